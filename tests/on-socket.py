#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Runs the handler on a real connected socket, and is its client.

on-socket.py ADDRESS COMMAND...: ADDRESS is an IP address to serve and to connect to ("unix" for a
Unix socket, "mapped:" before an IPv4 address to serve it on an IPv6 socket). Sends standard input,
prints what comes back, and exits as the command does. With LATE in the environment it begins to
read only when the command has ended."""
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
    # Served on the wildcard address, an IPv4 client of an IPv6 socket has a mapped address.
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
