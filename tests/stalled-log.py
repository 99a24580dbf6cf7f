#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Simulates a stalled log: fills it, prints its path, and reads it from SIGUSR1 on.

stalled-log.py pipe|pty|empty-pty|datagrams|stream|packets PATH: makes a pipe or socket at PATH. Clients fill an
empty-pty, and the connections of stream and packets. Appends what it reads to the file `taken`: for sockets a
line for each message, as Python writes it. SIGHUP replaces the socket, as a restart of its daemon would."""
import os
import pty
import select
import signal
import socket
import sys

kind, path = sys.argv[1], sys.argv[-1]
CONNECTED = {'stream': socket.SOCK_STREAM, 'packets': socket.SOCK_SEQPACKET}
SIGNALS = {signal.SIGUSR1, signal.SIGHUP}


def fill(write):
    """Writes until it is full."""
    for octets in (4096, 1):
        try:
            while True:
                write(b'.' * (octets - 1) + b'\n')
        except BlockingIOError:
            pass


def open_socket(is_full):
    """Makes a new socket in place of an old one."""
    if os.path.exists(path):
        os.unlink(path)
    server = socket.socket(socket.AF_UNIX, CONNECTED.get(kind, socket.SOCK_DGRAM))
    server.bind(path)
    os.chmod(path, 0o666)
    if kind in CONNECTED:
        server.listen()
    elif is_full:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(path)
            client.setblocking(False)
            fill(client.send)
    return server


def open_log():
    """Returns the path of the log, and the descriptor or socket to read from."""
    if kind == 'pipe':
        os.mkfifo(path)
        reader = os.open(path, os.O_RDWR)
        filler = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        fill(lambda octets: os.write(filler, octets))
        return path, reader
    if kind in ('pty', 'empty-pty'):
        reader, terminal = pty.openpty()
        filler = os.open(os.ttyname(terminal), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        if kind == 'pty':
            fill(lambda octets: os.write(filler, octets))
        return os.ttyname(terminal), reader
    return path, open_socket(True)


def read_some(log, readers):
    """Returns the octets that a reader has now, in the form for `taken`."""
    for reader in select.select(readers, [], [])[0]:
        if isinstance(reader, int):
            yield os.read(reader, 65536)
        elif kind in CONNECTED and reader is log:
            readers.append(reader.accept()[0])
        elif data := reader.recv(65536):
            yield repr(data).encode() + b'\n'
        else:
            readers.remove(reader)


signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
shown, log = open_log()
print(shown, flush=True)
while signal.sigwait(SIGNALS) == signal.SIGHUP:
    log.close()
    log = open_socket(False)
    print('again', flush=True)
readers = [log]
with open('taken', 'ab', buffering=0) as taken:
    while True:
        for octets in read_some(log, readers):
            taken.write(octets)
