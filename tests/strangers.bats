#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Attacks of strangers on a listener: they must not shut clients out or stop it. (Attacks on the log are in
# log.bats, attempts to log in in failures.bats.)

load helpers
load keeper

# Two listeners with a stopped session each: before login, and after login while the service ends. They kill
# it after 11 and 30 seconds, although whoever ends the service is impatient. Meanwhile the other tests run;
# the last test checks the result.
setup_file() {
	local BATS_TEST_TMPDIR=$BATS_FILE_TMPDIR background=() when
	setup_site
	make_messages 1
	for when in before after; do
		mkdir "$BATS_FILE_TMPDIR/$when"
		cd "$BATS_FILE_TMPDIR/$when" || return 1
		listen_port --login-timeout=1
		echo "${background[-1]}" >listener.pid
		with_client <<-END
			client = Client(port)
			if '$when' == 'after':
			    client.login()
			[stopped] = children()
			print(stopped, file=open('stopped.pid', 'w'))
			os.kill(stopped, signal.SIGSTOP)
			if '$when' == 'after':
			    os.kill(listener, signal.SIGTERM)
		END
	done
	while kill -s TERM "${background[-1]}" 2>/dev/null; do
		sleep 1
	done 3>&- &
}

teardown_file() {
	# shellcheck disable=SC2046
	kill -s KILL $(cat "$BATS_FILE_TMPDIR"/*/*.pid) 2>/dev/null || true
}

setup() {
	setup_site
	make_messages 1
}

# --- Slots ---

@test "at the limit, the oldest client that has not logged in is evicted, with a message" {
	listen_port --max-logins=3
	with_client <<-'END'
		first, second, third = (Client(port, source=f'127.0.{i}.1') for i in (1, 2, 2))
		other = Client(port, source='127.0.3.1')
		# The oldest client of the network that has the most.
		assert second.hear() == '-ERR [SYS/TEMP] too many clients are logging in, try again later'
		assert second.hear() == ''
		# Now each network has one client: the oldest of all.
		for client in first, third, other:
		    client.expect('CAPA', '+OK')
		last = Client(port, source='127.0.4.1')
		rest = iter(first.hear, '')
		assert any(line.startswith('-ERR [SYS/TEMP]') for line in rest)
		last.expect('QUIT', '+OK')
	END
	logged 'session from 127.0.2.1 ended before login: max-logins'
}

@test "a network is a /56 of IPv6, or a /24 of IPv4, at a socket of IPv6, too" {
	needs_root
	listen_ipv6 'fd00:0:0:100::1 fd00:0:0:200::1 fd00:0:0:2ff::1 fd00:0:0:300::1' --max-logins=3
	with_client <<-'END'
		for sources in (('fd00:0:0:100::1', 'fd00:0:0:200::1', 'fd00:0:0:2ff::1', 'fd00:0:0:300::1'),
		                ('127.0.1.1', '127.0.2.1', '127.0.2.255', '127.0.3.1')):
		    clients = [Client(port, source=source) for source in sources]
		    assert clients[1].hear().startswith('-ERR [SYS/TEMP]')
		    for i in 0, 2, 3:
		        clients[i].expect('QUIT', '+OK')
		    wait_for(lambda: not children())
	END
}

@test "20 addresses with 50 idle connections each shut no client out" {
	listen_port
	with_client <<-'END'
		def connect(i):
		    client = socket.create_connection(('127.0.0.1', port), TIMEOUT, (f'127.0.{i % 20}.9', 0))
		    client.recv(100)
		    return client
		idle = [connect(i) for i in range(1000)]
		wait_for(lambda: len(children()) <= 200)
		with Client(port, source='127.9.9.9').login().socket:
		    pass
	END
}

@test "at max-sessions, strangers are evicted for strangers, and sessions that have logged in stay" {
	printf 'user%d:{PLAIN}p\n' {1..4} >"$users"
	listen_port --max-sessions=2 --trusted-networks=127.0.7.1
	with_client <<-'END'
		strangers = [Client(port, source=f'127.0.{i}.1') for i in (1, 2)]
		refusal = '-ERR [SYS/TEMP] too many sessions, try again later'
		assert Client(port, source='127.0.3.1').greeting == refusal
		users = []
		for i in 0, 1:
		    users.append(Client(port, source='127.0.7.1').login(f'user{i + 1}', 'p'))
		    assert strangers[i].hear() == '-ERR [SYS/TEMP] too many clients are logging in, try again later'
		for source in '127.0.7.1', '127.0.4.1':
		    assert Client(port, source=source).greeting == refusal
		for user in users:
		    user.expect('QUIT', '+OK')
	END
	logged 'connection from 127.0.3.1 refused: max-sessions = 2'
}

@test "clients that have logged in leave an eighth of max-sessions to trusted networks" {
	printf 'user%d:{PLAIN}p\n' {1..16} >"$users"
	listen_port --max-sessions=16 --trusted-networks=127.0.7.1
	with_client <<-'END'
		refusal = '-ERR [SYS/TEMP] too many sessions, try again later'
		users = [Client(port, source=f'127.0.8.{i}').login(f'user{i}', 'p') for i in range(1, 15)]
		assert Client(port, source='127.0.8.15').greeting == refusal
		users += [Client(port, source='127.0.7.1').login(f'user{i}', 'p') for i in (15, 16)]
		assert Client(port, source='127.0.7.1').greeting == refusal
		for user in users:
		    user.expect('QUIT', '+OK')
	END
	logged 'connection from 127.0.8.15 refused: max-sessions = 16'
	logged 'connection from 127.0.7.1 refused: max-sessions = 16'
}

@test "trusted-networks have no limits by source, and their sessions are not evicted" {
	listen_port --max-sessions-per-source=2 --max-logins=2 '--trusted-networks=127.0.7.0/24, ::1'
	with_client <<-'END'
		trusted = [Client(port, source=f'127.0.7.{i % 2 + 1}') for i in range(20)]
		others = [Client(port, source='127.0.8.1') for i in range(2)]
		assert Client(port, source='127.0.8.1').greeting.startswith('-ERR [SYS/TEMP] too many sessions from your')
		later = Client(port, source='127.0.9.1')
		assert others[0].hear().startswith('-ERR [SYS/TEMP]')
		for client in trusted:
		    client.expect('QUIT', '+OK')
	END
}

@test "clients of a Unix socket can be trusted, too" {
	for trusted in ::1 ::; do
		/usr/bin/python3 - "$HANDLER" "${options[@]}" --max-sessions-per-source=1 "--trusted-networks=$trusted" <<-'END'
			import socket, subprocess, sys
			socket_path = f'./{sys.argv[-1][-3:]}'
			with socket.socket(socket.AF_UNIX) as listener:
			    listener.bind(socket_path)
			    listener.listen()
			    server = subprocess.Popen(sys.argv[1:], stdin=listener)
			def greeting():
			    clients.append(socket.socket(socket.AF_UNIX))
			    clients[-1].connect(socket_path)
			    return clients[-1].recv(3)
			clients = []
			try:
			    assert greeting() == b'+OK'
			    assert greeting() == (b'+OK' if sys.argv[-1].endswith('=::') else b'-ER')
			finally:
			    server.terminate()
			    server.wait()
		END
	done
}

@test "a session that is evicted during its login ends" {
	listen_port --max-logins=1
	with_client <<-'END'
		first = Client(port)
		[pid] = children()
		os.kill(pid, signal.SIGSTOP)
		second = Client(port, source='127.0.2.1')
		first.say('USER alice\r\nPASS apple')
		os.kill(pid, signal.SIGCONT)
		try:
		    while first.hear():
		        pass
		except ConnectionResetError:
		    pass
		second.login()
	END
}

@test "if some clients have logged in, strangers are evicted below max-logins, too" {
	printf 'user%d:{PLAIN}p\n' {1..4} >"$users"
	listen_port --max-sessions=3
	with_client <<-'END'
		user = Client(port).login('user1', 'p')
		strangers = [Client(port, source=f'127.0.{i}.1') for i in (1, 2)]
		Client(port, source='127.0.3.1').login('user2', 'p')
		assert strangers[0].hear().startswith('-ERR [SYS/TEMP]')
		user.expect('QUIT', '+OK')
	END
}

@test "two alternating addresses cause at most one log line each per second" {
	listen_port
	with_client <<-'END'
		start = time.monotonic()
		for i in range(200):
		    Client(port, source=f'127.0.{i % 2}.9').expect('QUIT', '+OK')
		    wait_for(lambda: not children())
		elapsed = time.monotonic() - start
		lines = open('log').read().count('ended before login')
		assert lines <= 2 * (elapsed + 1), (lines, elapsed)
	END
}

# --- Sessions that do not end ---

@test "a stopped session is killed when it is evicted, and a running one continues" {
	listen_port --max-logins=1
	with_client <<-'END'
		user = Client(port, source='127.0.1.1').login()
		[awake] = children()
		evicted = Client(port, source='127.0.2.1')
		[stopped] = set(children()) - {awake}
		os.kill(stopped, signal.SIGSTOP)
		waiting = Client(port, source='127.0.3.1')
		wait_for(lambda: stopped not in children())
		for client in user, waiting:
		    client.expect('NOOP' if client is user else 'CAPA', '+OK')
	END
	[ "$(grep -c 'session from 127.0.2.1 .* is killed: it does not end' log)" -eq 1 ]
	[ "$(grep -c 'is killed: it does not end' log)" -eq 1 ]
}

@test "a session that is stopped before login is killed without a listener, too" {
	options+=(--login-timeout=6 --idle-timeout=600)
	start_session in
	login in
	start_session stopped
	kill -STOP "$pid_in" "$pid_stopped"
	# Meanwhile: a mailbox that is locked does not begin login-timeout anew.
	start_session waiting
	for _ in 1 2; do # five seconds each
		ask waiting 'USER alice'
		ask waiting 'PASS apple'
		[[ $reply == '-ERR [IN-USE]'* ]]
	done
	(trap '' PIPE && say waiting 'USER alice' 'PASS apple') 2>/dev/null || true # it may have ended
	timeout 20 cat <&"$from_waiting" >rest
	[ ! -s rest ]
	status=0
	wait "$pid_stopped" || status=$?
	[ "$status" -eq 137 ]
	kill -CONT "$pid_in"
	ask in QUIT
	[[ $reply == '+OK'* ]]
}

# --- Crashes ---

@test "after a crash only its source is delayed" {
	listen_port
	with_client <<-'END'
		client = Client(port)
		os.kill(children()[0], signal.SIGABRT)
		wait_for(lambda: not children())
		assert Client(port).greeting == ''
		Client(port, source='127.0.0.2').login()
		wait_for(lambda: Client(port).greeting)
	END
}

@test "repeated crashes delay strangers for longer and longer, but not trusted networks" {
	listen_port --trusted-networks=127.0.7.1
	with_client <<-'END'
		def crash(network):
		    for i in range(11):
		        client = Client(port, source=f'127.1.{network}.{i + 1}')
		        assert client.greeting, i
		        if network == 7: # without a keeper no user can send the signal
		            client.login()
		        os.kill(children()[0], signal.SIGABRT)
		        wait_for(lambda: not children())
		crash(8)
		assert Client(port, source='127.0.9.1').greeting == ''
		start = time.monotonic()
		Client(port, source='127.0.7.1').login().expect('QUIT', '+OK')
		print('a trusted login took', time.monotonic() - start)
		# The delay ends; the next one is longer.
		wait_for(lambda: Client(port, source='127.0.9.2').greeting)
		wait_for(lambda: not children())
		crash(7)
		assert Client(port, source='127.0.9.1').greeting == ''
	END
	grep -F 'for 1 seconds only clients of trusted-networks are served' log
	logged 'for 2 seconds only clients of trusted-networks are served'
}

# --- What a session can read ---

@test "no session has another client's address in memory, nor the table of failures after login" {
	needs_root
	[ "$SANITIZED" = none ] || skip 'the sanitizers keep freed memory'
	listen_port --max-sessions-per-source=1
	with_client <<-END
		search = '$BATS_TEST_DIRNAME/search-memory.py'
		found = lambda pid, *texts: subprocess.run([search, str(pid), *texts], capture_output=True, text=True).stdout.split()
		mapped = lambda pid: sum(line.count('/dev/zero') for line in open(f'/proc/{pid}/maps'))
		others = [Client(port, source=f'127.0.{i}.77') for i in range(1, 20)]
		refused = Client(port, source='127.0.5.77')
		assert refused.greeting.startswith('-ERR')
		def serve(source):
		    before = set(children())
		    client = Client(port, source=source)
		    return client, *(set(children()) - before)
		crashed, pid = serve('127.0.20.77')
		os.kill(pid, signal.SIGSEGV)
		wait_for(lambda: pid not in children())
		client, pid = serve('127.8.8.8')
		own = ['127.8.8.8', 'hex:7f080808']
		texts = own + [f'127.0.{i}.77' for i in range(1, 21)] + [f'hex:7f00{i:02x}4d' for i in range(1, 21)] + ['signal 11 (Segm'] # of the last line
		assert found(pid, *texts) == own, found(pid, *texts)
		assert mapped(pid) == 3
		client.login()
		assert found(pid, *texts) == own
		assert mapped(pid) == 1
	END
}

# --- At start ---

@test "inherited signals, mask, umask and descriptors do not harm the listener" {
	needs_root
	cat >start.py <<-'END'
		import os, signal, sys
		for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
		    signal.signal(number, signal.SIG_IGN)
		signal.signal(signal.SIGPIPE, signal.SIG_DFL)
		signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
		os.umask(0)
		for fd in range(10, 20):
		    os.dup2(os.open('/etc/passwd', os.O_RDONLY), fd)
		os.environ |= {'LISTEN_FDS': '8', 'LISTEN_PID': '1'} # for another process
		os.execvp(sys.argv[1], sys.argv[1:])
	END
	wrapper=(/usr/bin/python3 start.py)
	listen_port --max-sessions=1
	with_client <<-'END'
		for i in range(5):
		    wait_for(lambda: not children())
		    Client(port).login().expect('QUIT', '+OK')
		wait_for(lambda: not children())
		client = Client(port)
		for pid in listener, *children():
		    assert '/etc/passwd' not in [os.readlink(f'/proc/{pid}/fd/{fd}') for fd in os.listdir(f'/proc/{pid}/fd')]
		    status = dict(line.split(':\t', 1) for line in open(f'/proc/{pid}/status').read().splitlines())
		    assert status['Umask'] == '0077'
		    assert not int(status['SigIgn'], 16) >> signal.SIGALRM - 1 & 1
		    assert bin(int(status['SigBlk'], 16)).count('1') <= 4
		os.kill(listener, signal.SIGHUP)
		wait_for(lambda: 'settings and certificates are read again' in open('log').read())
		os.kill(listener, signal.SIGTERM)
		while client.hear():
		    pass
	END
	wait "${background[-1]}"
	grep -F 'ended before login: the service stops' log
	# Without a listener, a client that has gone is no reason for a signal.
	/usr/bin/python3 - start.py "$HANDLER" "${options[@]}" <<-'END'
		import subprocess, sys
		session = subprocess.Popen(['/usr/bin/python3', *sys.argv[1:]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
		session.stdout.readline()
		session.stdout.close()
		session.stdin.write(b'CAPA\r\n')
		session.stdin.close()
		assert session.wait() == 0, session.returncode
	END
	make_service_users
	"${wrapper[@]}" /usr/bin/python3 start.py "$HANDLER" --check-config --keeper=auto '--auth=checkpassword /bin/true'
}

# The last test: its sessions were started before the first one.
@test "a stopped session is killed after login-timeout, and when the service ends" {
	cd "$BATS_FILE_TMPDIR"
	timeout 45 tail --pid="$(cat after/listener.pid)" -f /dev/null
	for when in before after; do
		grep -xF "pop3-handler: session from 127.0.0.1 (process $(cat $when/stopped.pid)) is killed: it does not end" $when/log
		[ "$(grep -c 'is killed' $when/log)" -eq 1 ]
	done
}
