#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs the handler on a connected socket, and acts as its client.

on-socket.py ADDRESS COMMAND...: ADDRESS is an IP address to serve and to connect to ("unix" for a
Unix socket, "mapped:" before an IPv4 address to serve it on an IPv6 socket). Sends standard input,
prints the replies, and exits with the command's status. With LATE in the environment it reads only
after the command has ended."""
import os
import socket
import subprocess
import sys
import threading


def connect(address):
    """Returns the two ends of a connection."""
    if address == 'unix':
        return socket.socketpair()
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    # On an IPv6 wildcard socket, an IPv4 client has a mapped address.
    mapped = address.startswith('mapped:')
    if mapped:
        address, family = address.removeprefix('mapped:'), socket.AF_INET6
    with socket.socket(family) as listener:
        if mapped:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(('::' if mapped else address, 0))
        listener.listen()
        client = socket.create_connection((address, listener.getsockname()[1]))
        return client, listener.accept()[0]


def main():
    client, server = connect(sys.argv[1])
    handler = subprocess.Popen(sys.argv[2:], stdin=server, stdout=server)
    server.close()
    script = sys.stdin.buffer.read()
    threading.Thread(target=client.sendall, args=[script], daemon=True).start()
    if 'LATE' in os.environ:
        handler.wait()
    while data := client.recv(65536):
        sys.stdout.buffer.write(data)
    sys.exit(handler.wait())


main()
