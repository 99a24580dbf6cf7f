#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# TLS that fails: broken handshakes, cut connections, hostile clients.

load helpers

setup() {
	setup_site
	setup_tls
	make_maildir alice
	make_message alice/new/1.M1P1.h
}

# python SCRIPT: with `connect` (a TCP connection), `secure` (TLS on it) and `start` (a client up to the
# beginning of its session).
python() {
	/usr/bin/python3 - "$port" <<-END
		import os, re, socket, ssl, struct, sys
		def connect():
		    return socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20)
		def secure(plain, **more):
		    context = ssl.create_default_context(cafile='ca.pem')
		    context.options &= ~0x80 # SSL_OP_IGNORE_UNEXPECTED_EOF, which some Pythons set
		    for name, value in more.items():
		        setattr(context, name, value)
		    return context.wrap_socket(plain, server_hostname='localhost', suppress_ragged_eofs=False)
		def ask(tls, command):
		    tls.sendall(command + b'\r\n')
		    return tls.recv(10000)
		def start(**more):
		    tls = secure(connect(), **more)
		    assert tls.recv(1000) == b'+OK pop3-handler ready\r\n'
		    assert ask(tls, b'USER alice').startswith(b'+OK')
		    assert ask(tls, b'PASS apple').startswith(b'+OK')
		    return tls
		def rest(plain):
		    octets = b''
		    while more := plain.recv(65536):
		        octets += more
		    return octets
		$1
	END
}

# alice_is_free: waits until no session has alice's mailbox.
alice_is_free() {
	until talk 'USER alice' 'PASS apple' QUIT && [[ ${lines[2]} == +OK* ]]; do
		:
	done
}

# handshake_failed WHY: the log has this one line.
handshake_failed() {
	logged "pop3-handler: TLS handshake with 127.0.0.1 failed: $1"
	[ "$(troubles | wc -l)" -eq 1 ]
	: >log
}

@test "a session that must end during the handshake says why, and TLS has not failed" {
	start_session one "$HANDLER" "${options[@]}" --tls=starttls
	ask one STLS
	kill -TERM "$pid_one"
	run hear one # the end
	hang_up one
	grep -F 'session from local ended before login: the service stops; no TLS' one.log
	[ -z "$(troubles one.log)" ]
}

@test "other protocols than TLS are reported as such: garbage, and clients without TLS on port 995" {
	serve_port --tls=implicit
	for octets in 'USER alice\r\nPASS apple\r\n' '\0' '\377\377\377\377\377\377' 'GET / HTTP/1.1\r\n\r\n' \
		'\200\056\001\003\001\000\025'; do
		printf '%b' "$octets" >garbage
		python "
plain = connect()
plain.sendall(open('garbage', 'rb').read())
plain.shutdown(socket.SHUT_WR)
try:
    assert b'+OK pop3-handler' not in rest(plain)
except ConnectionResetError:
    pass"
		handshake_failed 'what the client sent is not TLS'
	done
}

@test "after STLS, a client that does not begin TLS is disconnected" {
	serve_port
	python "
plain = connect()
plain.recv(100)
assert ask(plain, b'STLS') == b'+OK begin TLS\r\n'
plain.sendall(b'USER alice\r\nPASS apple\r\nSTAT\r\n')
try:
    assert b'+OK send PASS' not in rest(plain)
except ConnectionResetError:
    pass"
	handshake_failed 'what the client sent is not TLS'
}

@test "a ClientHello that is truncated or changed at any octet does no harm" {
	serve_port --tls=implicit --login-timeout=20
	python "
bio = ssl.MemoryBIO()
hello = ssl.create_default_context(cafile='ca.pem').wrap_bio(ssl.MemoryBIO(), bio, server_hostname='localhost')
try:
    hello.do_handshake()
except ssl.SSLWantReadError:
    pass
octets = bio.read()
def feed(octets):
    plain = connect()
    plain.sendall(octets)
    plain.shutdown(socket.SHUT_WR)
    try:
        assert b'+OK pop3-handler' not in rest(plain)
    except ConnectionResetError:
        pass
for i in range(0, len(octets), 3 if os.environ['SANITIZED'] == 'none' else 12):
    feed(octets[:i])
for i in range(0, len(octets), 1 if os.environ['SANITIZED'] == 'none' else 4):
    feed(octets[:i] + bytes([octets[i] ^ 0xff]) + octets[i + 1:])
"
	tls_talk '' QUIT
	[ "${lines[-1]}" = '+OK goodbye' ]
	run ! grep -vE 'TLS handshake with 127.0.0.1 failed: |session from 127.0.0.1 ended before login: ' log
}

@test "a record that claims an enormous length ends the handshake or the session" {
	serve_port --tls=implicit
	python "
plain = connect()
plain.sendall(b'\x16\x03\x01\xff\xff' + b'x' * 65535)
try:
    assert b'+OK pop3-handler' not in rest(plain)
except ConnectionResetError:
    pass"
	logged 'TLS handshake with 127.0.0.1 failed: '
	python "
tls = start()
assert ask(tls, b'DELE 1').startswith(b'+OK')
plain = socket.socket(fileno=tls.detach())
plain.settimeout(20)
plain.sendall(b'\x17\x03\x03\xff\xff' + b'x' * 65535)
try:
    rest(plain)
except ConnectionResetError:
    pass"
	alice_is_free
	as_alice STAT
	[ "${lines[0]}" = '+OK 1 24' ]
}

@test "login-timeout ends a handshake, however the client trickles" {
	python_client='
import os, socket, subprocess, sys, time
ours, theirs = socket.socketpair()
handler = subprocess.Popen(sys.argv[2:], stdin=theirs, stdout=theirs)
theirs.close()
if sys.argv[1] == "trickle":
    try:
        ours.sendall(b"\x16\x03\x01\x10\x00\x01\x00\x0f\xfc\x03\x03")
        while handler.poll() is None:
            ours.sendall(b"\0")
            try:
                handler.wait(0.05)
            except subprocess.TimeoutExpired:
                pass
    except (BrokenPipeError, ConnectionResetError):
        pass
sys.exit(handler.wait(20))'
	for how in silent trickle; do
		timeout 30 /usr/bin/python3 -c "$python_client" $how "$HANDLER" "${options[@]}" --tls=implicit \
			--login-timeout=1 2>log
		grep -xF 'pop3-handler: TLS handshake with local failed: Connection timed out' log
		[ "$(troubles | wc -l)" -eq 1 ]
	done
}

@test "a client that stops reading, or sends less than a record, is idle" {
	truncate -s 30M "$mail/alice/new/2.M1P1.h" # larger than all buffers
	serve_port --tls=implicit --idle-timeout=1
	python "
tls = start()
tls.sendall(b'DELE 1\r\nRETR 2\r\nQUIT\r\n')
while True: # until the session is over and its lock released
    try:
        start()
        break
    except AssertionError:
        pass"
	python "
import select, time
tls = start()
assert ask(tls, b'DELE 1').startswith(b'+OK')
plain = socket.socket(fileno=tls.detach())
poll = select.poll()
poll.register(plain, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
try:
    plain.sendall(b'\x17\x03\x03\x40\x00')
    until = time.monotonic() + 20
    while not poll.poll(50):
        plain.sendall(b'x')
        assert time.monotonic() < until
except (BrokenPipeError, ConnectionResetError):
    pass"
	alice_is_free
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "the log has the reason for a failed handshake" {
	serve_port --tls=implicit
	: <>"/dev/tcp/127.0.0.1/$port"
	handshake_failed 'the client closed the connection'
	for version in -tls1_2 -tls1_3; do
		printf 'QUIT\r\n' | openssl s_client -connect "127.0.0.1:$port" -verify_return_error $version \
			>out 2>&1 || true
		handshake_failed 'the client rejected the certificate: CA is unknown (alert 48)'
	done
	for version in 1.2 1.3; do
		gnutls-cli --priority "NORMAL:-VERS-ALL:+VERS-TLS$version" -p "$port" 127.0.0.1 \
			</dev/null >out 2>&1 || true
		handshake_failed 'the client rejected the certificate: Certificate is bad (alert 42)'
	done
	# An alert of a client that disconnects is no complaint about certificates.
	python "connect().sendall(b'\x15\x03\x01\x00\x02\x02\x28')"
	handshake_failed 'the client gave up: Handshake failed (alert 40)'
}

@test "a failed handshake is not our failure: exit status 0" {
	for script in 'junk\n' '\026\003\001\0\005' ''; do
		printf '%b' "$script" >script
		handle script --tls=implicit
		[ "$(grep -c failed log)" -eq 1 ]
	done
}

@test "QUIT closes TLS properly, a timeout does not" {
	serve_port --tls=implicit --idle-timeout=1
	for version in TLSv1_2 TLSv1_3; do
		python "
tls = start(maximum_version=ssl.TLSVersion.$version)
assert ask(tls, b'QUIT') == b'+OK goodbye\r\n'
assert tls.recv(100) == b'' # close_notify; without it recv fails
tls = start(maximum_version=ssl.TLSVersion.$version)
try:
    tls.recv(100)
    raise SystemExit('close_notify after a timeout')
except ssl.SSLError as error:
    assert 'EOF' in str(error), error"
	done
}

@test "a message that cannot be read completely does not end like a complete one" {
	needs_root
	seq 100000 >"$mail/alice/new/2.M1P1.h"
	# Nine reads count the octets; then the message is read again.
	cat >broken <<-END
		#!/bin/sh
		exec strace -qq -o trace -P "$mail/alice/new/2.M1P1.h" -e trace=read \
			-e inject=read:error=EIO:when=12 "$HANDLER" "\$@"
	END
	chmod +x broken
	export ASAN_OPTIONS=exitcode=99:detect_leaks=0
	HANDLER=$PWD/broken serve_port --tls=implicit
	python "
tls = start()
tls.sendall(b'RETR 2\r\n')
answer = b''
try:
    while octets := tls.recv(65536):
        answer += octets
    raise SystemExit('close_notify after half a message')
except ssl.SSLError as error:
    assert 'EOF' in str(error), error
assert re.match(rb'\+OK [0-9]+ octets\r\n1\r\n2\r\n', answer)
assert len(answer) > 100000 and b'\r\n.\r\n' not in answer"
	logged "cannot read the message '2.M1P1.h' to its end: Input/output error"
}

@test "a client that is disconnected, or leaves without QUIT, has deleted nothing" {
	serve_port --tls=implicit
	for how in 'pass' 'tls.unwrap()' 'socket.socket(fileno=tls.detach()).sendall(b"QUIT\r\n")'; do
		for version in TLSv1_2 TLSv1_3; do
			python "
tls = start(maximum_version=ssl.TLSVersion.$version)
assert ask(tls, b'DELE 1').startswith(b'+OK')
tls.sendall(b'QUI')
try:
    $how
except (ssl.SSLError, OSError):
    pass
tls.close()"
			alice_is_free
			[ "$(files alice)" = ./new/1.M1P1.h ]
		done
	done
	[ -z "$(troubles)" ]
}

@test "a command that is changed in transit is not carried out" {
	serve_port --tls=implicit
	python "
import threading
def pump(source, sink, change=lambda octets: octets):
    while octets := source.recv(65536):
        sink.sendall(change(octets))
    sink.shutdown(socket.SHUT_WR)
def flip(octets):
    # The record of QUIT in TLS 1.3: 6 octets, their type, and the tag.
    is_quit = octets[:5] == b'\x17\x03\x03\x00\x17'
    return octets[:-1] + bytes([octets[-1] ^ 1]) if is_quit else octets
client, ours = socket.socketpair()
server = connect()
threading.Thread(target=pump, args=[ours, server, flip], daemon=True).start()
threading.Thread(target=pump, args=[server, ours], daemon=True).start()
def connect():
    return client
tls = start()
assert ask(tls, b'DELE 1').startswith(b'+OK')
tls.sendall(b'QUIT\r\n')
try:
    raise SystemExit(tls.recv(100))
except ssl.SSLError as error:
    assert 'bad record mac' in str(error).lower().replace('_', ' '), error"
	alice_is_free
	[ "$(files alice)" = ./new/1.M1P1.h ]
}

@test "renegotiation is refused" {
	serve_port --tls=implicit
	start_session client openssl s_client -connect "127.0.0.1:$port" -brief -tls1_2 -crlf
	say client NOOP
	hear client
	[[ $reply == -ERR* ]]
	say client R # requests a renegotiation from openssl
	timeout 20 cat <&"$from_client" >rest
	[ ! -s rest ]
	grep -F RENEGOTIATING client.log
	grep -F 'no renegotiation' client.log
}

@test "RETR fills its records, and no line that clients look for is split over two records" {
	seq -f 'line %.0f of a message that is long enough' 60000 >"$mail/alice/new/2.M1P1.h"
	for i in {3..400}; do
		make_message "alice/new/$i.M1P1.h" "$(printf '%*s' $((i * 3 % 150)) x)\n"
	done
	for version in TLSv1_2 TLSv1_3; do
		serve_port --tls=implicit
		python "
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
context = ssl.create_default_context(cafile='ca.pem')
context.maximum_version = ssl.TLSVersion.$version
tls = context.wrap_bio(incoming, outgoing, server_hostname='localhost')
plain = connect()
buffer = b''
def record():
    global buffer
    while len(buffer) < 5 or len(buffer) < 5 + int.from_bytes(buffer[3:5], 'big'):
        more = plain.recv(65536)
        if not more:
            return None
        buffer += more
    end = 5 + int.from_bytes(buffer[3:5], 'big')
    result, buffer = buffer[:end], buffer[end:]
    return result
while True:
    try:
        tls.do_handshake()
        break
    except ssl.SSLWantReadError:
        plain.sendall(outgoing.read())
        incoming.write(record())
tls.write(b'USER alice\r\nPASS apple\r\n' + b''.join(b'RETR %d\r\n' % i for i in range(1, 400)) + b'QUIT\r\n')
plain.sendall(outgoing.read())
pieces = []
while one := record():
    incoming.write(one)
    try:
        if piece := tls.read(65536):
            pieces.append(piece)
    except ssl.SSLWantReadError:
        pass # a ticket
whole = b''.join(pieces)
assert whole.endswith(b'+OK goodbye\r\n'), whole[-100:]
large = [len(piece) for piece in pieces if len(piece) > 1000]
assert sum(size >= 16000 for size in large) >= len(large) - 2, large
for piece in pieces:
    # A piece begins at the start of a line or within a line of the message, never within these.
    for end in b'\r\n.\r', b'\r\n.', b'\n.', b'+', b'+O', b'+OK', b'+OK 1', b' octets\r':
        assert not piece.endswith(end), piece[-40:]
"
	done
}

@test "a TLS record that is larger than the buffer is read completely" {
	serve_port --tls=implicit
	python "
tls = start()
tls.sendall(b'NO')
tls.sendall(b'OP\r\n' + 2730 * b'NOOP\r\n') # 16,384 octets, a whole record
answers = b''
while answers.count(b'\n') < 2731:
    answers += tls.recv(65536)
assert answers == 2731 * b'+OK nothing done\r\n'"
}

@test "the server sends its part of a handshake in one piece, and only the expected records after it" {
	cat >client.py <<-'END'
		import socket, ssl, subprocess, sys
		ours, theirs = socket.socketpair()
		handler = subprocess.Popen(sys.argv[2:], stdin=theirs, stdout=theirs)
		theirs.close()
		context = ssl.create_default_context(cafile='ca.pem')
		context.maximum_version = ssl.TLSVersion[sys.argv[1]]
		tls = context.wrap_socket(ours, server_hostname='localhost')
		assert tls.recv(100) == b'+OK pop3-handler ready\r\n'
		tls.close()
		handler.wait(20)
	END
	# TLS 1.2: the flight; the final message with a ticket; the greeting. TLS 1.3: the ServerHello, which is
	# not encrypted; the rest of the flight; a ticket; the greeting.
	for case in TLSv1_2=3 TLSv1_3=4; do
		ASAN_OPTIONS=detect_leaks=0 /usr/bin/python3 client.py "${case%=*}" strace -qq -o inner \
			-e trace=sendto "$HANDLER" "${options[@]}" --tls=implicit
		cat inner
		[ "$(grep -c sendto inner)" -eq "${case#*=}" ]
	done
}

@test "a client that asks for short records gets them" {
	make_message alice/new/2.M1P1.h "$(seq 5000)\n"
	serve_port --tls=implicit
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 2' QUIT >script
	for octets in 512 1024 4096; do
		timeout 20 openssl s_client -connect "127.0.0.1:$port" -quiet -maxfraglen $octets -ign_eof \
			<script >out 2>client
		tr -d '\r' <out | sed -n '/^1$/,/^5000$/p' | cmp - <(seq 5000)
	done
}

# talk_port LINE...: a session of these lines and QUIT at `port`; its replies are in `lines`.
talk_port() {
	local client
	exec {client}<>"/dev/tcp/127.0.0.1/$port"
	printf '%s\r\n' "$@" QUIT >&"$client"
	mapfile -t lines < <(timeout 20 tr -d '\r' <&"$client")
	exec {client}<&-
	show
}

offers_stls() {
	talk_port CAPA
	[[ " ${lines[*]} " == *' STLS '* ]]
}

# broken_listener: a listener whose certificate and key do not match. The matching key is mended.key.
broken_listener() {
	mv server.key mended.key
	make_key server.key
	listen_port "$@"
	reason="pop3-handler: tls-key = 'server.key' is not the key of tls-cert = 'server.pem'"
}

@test "a listener that cannot serve implicit TLS names the file and exits with 78" {
	broken_listener --tls=implicit
	status=0
	wait "${background[-1]}" || status=$?
	[ "$status" -eq 78 ]
	[ "$(cat log)" = "$reason" ]
}

@test "a listener that cannot serve STLS says so once, does not offer it, and offers it again after a repair" {
	broken_listener
	for i in 1 2; do
		run ! offers_stls
		talk_port STLS
		[ "${lines[1]}" = '-ERR [SYS/PERM] TLS is not available' ]
		[ "$(grep -cF "$reason" log)" -eq 1 ]
	done
	[ "$(troubles)" = "$reason" ]
	kill -s HUP "${background[-1]}"
	logged 'reload failed, the settings are as before: TLS cannot be served'
	run ! offers_stls
	cp mended.key server.key
	kill -s HUP "${background[-1]}"
	logged 'settings and certificates are read again'
	offers_stls
	tls_talk '-starttls pop3' QUIT
	[ "$status" -eq 0 ]
	# Files that break later do not withdraw the offer.
	: >server.key
	kill -s HUP "${background[-1]}"
	logged "cannot use the private key in tls-key = 'server.key'"
	tls_talk '-starttls pop3' QUIT
	[ "$status" -eq 0 ]
}

@test "a process for one connection does not list STLS if the files are unreadable, nor after a failure" {
	mv server.key mended.key
	talk CAPA CAPA STLS CAPA
	run ! grep -x STLS <(tr -d '\r' <out)
	grep -xF -- $'-ERR [SYS/PERM] TLS is not available\r' out
	[ "$(troubles)" = "pop3-handler: cannot read tls-key = 'server.key': No such file or directory" ]
	make_key server.key
	talk CAPA STLS CAPA STLS CAPA
	[ "$(grep -cxF $'STLS\r' out)" -eq 1 ]
	[ "$(grep -cxF -- $'-ERR [SYS/PERM] TLS is not available\r' out)" -eq 2 ]
	[ "$(troubles)" = "pop3-handler: tls-key = 'server.key' is not the key of tls-cert = 'server.pem'" ]
}
