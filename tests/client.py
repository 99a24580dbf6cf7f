# SPDX-License-Identifier: ISC
"""A POP3 client for the tests that shows every line."""
import socket
import ssl

TIMEOUT = 30


class Client:
    """A connection. `greeting` is the first line; replies are returned without their CRLF."""

    def __init__(self, port=110, source='127.0.0.1', tls=False):
        server = '::1' if ':' in source else '127.0.0.1'
        self.socket = socket.create_connection((server, port), TIMEOUT, (source, 0))
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self.socket = context.wrap_socket(self.socket)
        self.file = self.socket.makefile('rwb')
        self.greeting = self.hear()

    def hear(self):
        """Returns one line; '' at the end of the connection."""
        return self.file.readline().decode().removesuffix('\r\n')

    def say(self, lines):
        """Sends one line, or several with CRLF between them, at once, and waits for no answer."""
        self.file.write(lines.encode() + b'\r\n')
        self.file.flush()

    def ask(self, line):
        """Sends a line, and returns the first line of the answer."""
        self.say(line)
        return self.hear()

    def expect(self, line, answer):
        """Sends a line whose answer must begin like this, and returns its first line."""
        got = self.ask(line)
        assert got.startswith(answer), (line, got, answer)
        return got

    def login(self, user='alice', password='apple'):
        self.expect(f'USER {user}', '+OK')
        self.expect(f'PASS {password}', '+OK')
        return self

    def close(self):
        self.file.close()
        self.socket.close()
