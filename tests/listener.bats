#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# A listener that forks: its sessions, and events that must not end it. (systemd.bats has units, limits
# and signals; superservers.bats has inetd.)

load helpers

setup() {
	setup_site
	make_messages 1
}

@test "a session inherits its connection and the log from the listener, and nothing else" {
	needs_root
	listen_port
	with_client <<-'END'
		first, client = Client(port), Client(port)
		children = open(f'/proc/{listener}/task/{listener}/children').read().split()
		assert len(children) == 2
		for pid in children:
		    fds = {fd: os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')}
		    assert set(fds) == {'0', '1', '2'}, fds
		    assert fds['0'] == fds['1'] != fds['2'], fds
		    # It waits for its client with all signals unblocked.
		    end = time.monotonic() + TIMEOUT
		    while 'SigBlk:\t0000000000000000\n' not in open(f'/proc/{pid}/status').readlines():
		        assert time.monotonic() < end
	END
}

@test "the listener survives clients that leave at once, and failures of accept and fork" {
	wrapper=(strace -f -qq -o trace -e 'trace=accept4,clone,clone3,fork' -e inject=accept4:error=EMFILE:when=1
		-e inject=clone:error=EAGAIN:when=1)
	export ASAN_OPTIONS=exitcode=99:detect_leaks=0
	listen_port
	with_client <<-'END'
		# fork fails for the first client, whose connection is closed silently.
		assert Client(port).greeting == ''
		for i in range(20):
		    Client(port).close()
		Client(port).login().expect('QUIT', '+OK')
	END
	grep -q 'cannot accept connections: Too many open files' log
	grep -q 'cannot start a session: Resource temporarily unavailable' log
}

@test "clients that reset their connection before it is accepted get no process" {
	listen_port
	with_client <<-'END'
		import struct
		os.kill(listener, signal.SIGSTOP)
		for i in range(100):
		    with socket.create_connection(('127.0.0.1', port)) as client:
		        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
		waiting = socket.create_connection(('127.0.0.1', port), TIMEOUT)
		os.kill(listener, signal.SIGCONT)
		assert waiting.recv(100).startswith(b'+OK')
		Client(port).login().expect('QUIT', '+OK')
		wait_for(lambda: len(children()) == 1)
	END
	run ! grep -F unknown log
}

@test "200 clients at once are all served" {
	listen_port --max-sessions-per-source=200
	with_client <<-'END'
		clients = [socket.create_connection(('127.0.0.1', port)) for i in range(200)]
		for client in clients:
		    client.settimeout(TIMEOUT)
		    assert client.recv(100) == b'+OK pop3-handler ready\r\n'
	END
}

@test "refused clients that never begin TLS shut no other client out" {
	setup_tls
	listen_port --tls=implicit --max-sessions-per-source=1
	with_client <<-'END'
		first = Client(port, tls=True)
		mute = [socket.create_connection(('127.0.0.1', port)) for i in range(100)]
		# 64 of these are waited for; the others are closed at once.
		def is_closed(client):
		    client.settimeout(0.001)
		    try:
		        return client.recv(1) == b''
		    except TimeoutError:
		        return False
		end = time.monotonic() + TIMEOUT
		while sum(map(is_closed, mute)) != 36:
		    assert time.monotonic() < end
		other = Client(port, source='127.0.0.2', tls=True).login()
		other.expect('QUIT', '+OK')
		first.expect('QUIT', '+OK')
	END
}

@test "SIGHUP to the listener and all sessions causes one reload and ends no session" {
	listen_port
	with_client <<-'END'
		client = Client(port).login()
		for pid in open(f'/proc/{listener}/task/{listener}/children').read().split():
		    os.kill(int(pid), signal.SIGHUP)
		os.kill(listener, signal.SIGHUP)
		client.expect('STAT', '+OK')
		Client(port).expect('QUIT', '+OK')
	END
	logged 'settings and certificates are read again'
}

@test "a login that fails long after login-timeout, because the disk is slow, is answered, and no crash" {
	[ "$SANITIZED" = none ] || skip 'it mostly waits: the plain build is enough'
	needs_root
	# The timer of the session would kill it after 15 seconds more.
	wrapper=(strace -D -f -qq -o trace -P "$mail/alice" -e trace=openat -e inject=openat:error=EIO:delay_enter=16000ms)
	listen_port --login-timeout=1
	with_client <<-'END'
		client = Client(port)
		client.expect('USER alice', '+OK')
		client.expect('PASS apple', '-ERR [SYS/TEMP] cannot open the mailbox')
		wait_for(lambda: not children())
		Client(port).expect('QUIT', '+OK')
	END
	run ! grep -F killed log
}
