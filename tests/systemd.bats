#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Under a real systemd, installed by `meson install`: units, journal, listener, limits.

load helpers
load boot

setup_file() {
	[ "$SANITIZED" = none ] || return 0 # the units' seccomp filters are not for sanitizers
	boot
	inside meson install -C "$(dirname "$HANDLER")" --no-rebuild >"$BATS_FILE_TMPDIR/install.log"
	inside bash -e <<-'END'
		mkdir -p -m 700 /etc/letsencrypt/live /etc/letsencrypt/live/machine
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 1 -subj /CN=machine \
			-addext subjectAltName=IP:127.0.0.1 -keyout /etc/letsencrypt/live/machine/privkey.pem \
			-out /etc/letsencrypt/live/machine/fullchain.pem 2>/dev/null
		ln -s /etc/letsencrypt/live/machine /etc/pop3-handler/tls
		sed -i 's|^mailbox = .*|mailbox = /var/vmail/%u|' /etc/pop3-handler/pop3-handler.conf
		echo 'log-deletions = yes' >>/etc/pop3-handler/pop3-handler.conf
		for user in alice bob carol dave erin; do
			echo "$user:{PLAIN}apple" >>/etc/pop3-handler/users
			mkdir -p "/var/vmail/$user/new" "/var/vmail/$user/cur"
		done
		for i in 1 2 3; do
			printf 'Subject: %s\n\nHello\n' $i | tee /var/vmail/alice/new/$i.M1P1.h >/var/vmail/bob/new/$i.M1P1.h
		done
		chown -R vmail: /var/vmail
	END
}

teardown_file() {
	[ ! -e "$BATS_FILE_TMPDIR/boot.pid" ] || power_off
}

setup() {
	[ "$SANITIZED" = none ] || skip 'the plain build tests the units'
	setup_site
}

teardown() {
	if [ -z "$BATS_TEST_COMPLETED" ] && [ -e "$BATS_FILE_TMPDIR/boot.pid" ]; then
		inside journalctl --no-pager -n 25
		as_it_was # for the following tests
	fi
}

# listen [LINE...]: both ports by listeners, with these lines added to their settings.
listen() {
	inside cat /etc/pop3-handler/pop3-handler.conf >before.conf
	printf '%s\n' "$@" | inside tee -a /etc/pop3-handler/pop3-handler.conf >/dev/null
	inside systemctl --quiet enable --now --force /usr/local/share/pop3-handler/listener/pop3.socket \
		/usr/local/share/pop3-handler/listener/pop3s.socket
	inside systemctl start pop3.service pop3s.service
}

# serve FORM [LINE...]: both ports in the form `connection`, a unit for each connection, or `listener`.
serve() {
	[ "$1" = connection ] || {
		listen "${@:2}"
		return
	}
	inside cat /etc/pop3-handler/pop3-handler.conf >before.conf
	printf '%s\n' "${@:2}" | inside tee -a /etc/pop3-handler/pop3-handler.conf >/dev/null
	inside systemctl --quiet enable --now pop3.socket pop3s.socket
}

# unlisten: restores the state before `listen` or `serve`.
unlisten() {
	inside systemctl --quiet disable --now pop3.socket pop3s.socket pop3.service pop3s.service
	inside systemctl stop 'pop3@*' 'pop3s@*'
	[ ! -e before.conf ] || inside tee /etc/pop3-handler/pop3-handler.conf <before.conf >/dev/null
}

# use KIND: the installed units, `keeper`, or those for one mail user, `one-user`, with the commands of
# pop3-handler(8).
use() {
	if [ "$1" = one-user ]; then
		inside sh -ec 'cp -r /usr/local/share/pop3-handler/one-user/* /etc/systemd/system
			chgrp vmail /etc/pop3-handler/users
			sed -i "s/^tls-/#&/" /etc/pop3-handler/pop3-handler.conf'
	else
		inside sh -ec 'rm -rf /etc/systemd/system/pop3*.service.d
			chgrp pop3-keeper /etc/pop3-handler/users
			sed -i "s/^#tls-/tls-/" /etc/pop3-handler/pop3-handler.conf'
	fi
	inside systemctl daemon-reload
}

# drop_in UNIT LINE...: adds these lines to a unit, until `no_drop_ins`.
drop_in() {
	inside mkdir -p "/run/systemd/system/$1.d"
	printf '%s\n' "${@:2}" | inside tee "/run/systemd/system/$1.d/test.conf" >/dev/null
	inside systemctl daemon-reload
}

no_drop_ins() {
	inside sh -c 'rm -rf /run/systemd/system/pop3*'
	inside systemctl daemon-reload
}

# as_it_was: cleans up after a test that failed.
as_it_was() {
	unlisten
	no_drop_ins
	use keeper
	inside sh -c 'rm -rf /run/systemd/journald.conf.d; systemctl restart systemd-journald
		sysctl -q net.ipv6.bindv6only=0; [ ! -e /tmp/tls ] || mv /tmp/tls /etc/pop3-handler/'
}

# entry EVENT-FIELD=VALUE...: prints all fields of the journal's last entry that matches.
entry() {
	inside journalctl --sync
	inside journalctl -b -o verbose -n 1 --no-pager -t pop3-handler "$@" | sed 's/^ *//'
}

@test "both forms of both kinds serve mail to curl on both ports, and fill the journal's fields" {
	for kind in one-user keeper; do
		use "$kind"
		for form in connection listener; do
			serve "$form"
			for url in pop3://127.0.0.1 pop3s://127.0.0.1; do
				inside curl -sS --ssl-reqd --cacert /etc/pop3-handler/tls/fullchain.pem --user alice:apple "$url/2" |
					grep -q 'Subject: 2'
			done
			run -67 inside curl -sS --user alice:pear pop3://127.0.0.1/
			unique_id=3$kind-$form.M1P1.h
			inside install -o vmail /dev/null "/var/vmail/alice/new/$unique_id"
			with_client "$unique_id" "$kind" <<-'END'
				client = Client().login()
				users = set(run('ps -C pop3-handler -o user:20=').split()) - {'pop3-login'}
				assert users == ({'vmail'} if sys.argv[2] == 'one-user' else {'vmail', 'pop3-keeper'}), users
				client.expect('QUIT', '+OK')
				logged("of 'alice' from 127.0.0.1 ended: QUIT; no TLS")
				client = Client(995, tls=True).login()
				client.expect(f'DELI UID:{sys.argv[1]}', '+OK')
				client.expect('QUIT', '+OK')
				logged("of 'alice' from 127.0.0.1 ended: QUIT; TLS1.3, retrieved 0 (0 octets), deleted 1")
			END
			entry "POP3_UNIQUE_ID=$unique_id" POP3_USER=alice >fields
			cat fields
			grep -qx 'POP3_PEER=127.0.0.1' fields
			grep -qxE 'POP3_SESSION=[0-9a-f]{16}' fields
			grep -qxE 'POP3_TLS=TLS1.3' fields
			grep -qx 'SYSLOG_FACILITY=2' fields
			session=$(grep POP3_SESSION fields)
			[ "$(inside journalctl -b -o cat "$session" | wc -l)" -eq 3 ]
			entry "$session" POP3_REASON=QUIT >fields
			for field in POP3_RETRIEVED=0 POP3_RETRIEVED_OCTETS=0 POP3_DELETED=1 POP3_SLEEPS=0; do
				grep -qx "$field" fields
			done
			grep -qE '^POP3_DURATION=0\.[0-9]{3}$' fields
			entry 'POP3_REASON=wrong password' | grep -qx 'POP3_USER=alice'
			unlisten
		done
	done
	# The units do not get in the way of the program's own sandbox.
	run ! inside journalctl -b -o cat -g sandbox SYSLOG_IDENTIFIER=pop3-handler
}

@test "journalctl -x explains every kind of log line" {
	grep -oE '\b[0-9a-f]{32}\b' "$BATS_TEST_DIRNAME/../log.c" >ids
	[ "$(wc -l <ids)" -ge 10 ]
	while read -r id; do
		inside journalctl --dump-catalog "$id" </dev/null | grep -q '^Defined-By: pop3-handler'
	done <ids
}

@test "no unit of a connection remains, whatever the client did" {
	serve connection
	with_client <<-'END'
		Client(995, tls=True).close()
		Client().close()
		wait_for(lambda: not run('systemctl list-units --all --plain --no-legend "pop3@*" "pop3s@*"'))
	END
	unlisten
}

@test "a burst of clients does not put the socket into the failed state" {
	for form in connection listener; do
		serve "$form"
		with_client <<-'END'
			clients = [socket.create_connection(('127.0.0.1', 110)) for i in range(250)]
			for client in clients:
			    client.close()
			assert Client(source='127.0.0.2').ask('QUIT').startswith('+OK')
			assert run('systemctl is-active pop3.socket') == 'active'
		END
		unlisten
	done
}

@test "IPv4 is served where IPv6 sockets serve IPv6 only" {
	inside sysctl -q net.ipv6.bindv6only=1
	for form in connection listener; do
		serve "$form"
		with_client <<-'END'
			Client().expect('QUIT', '+OK')
			Client(995, tls=True).expect('QUIT', '+OK')
		END
		unlisten
	done
	inside sysctl -q net.ipv6.bindv6only=0
}

@test "with a unit for each connection, systemd closes and counts excess connections without a line for each" {
	drop_in pop3.socket '[Socket]' MaxConnections=5 MaxConnectionsPerSource=3
	serve connection
	with_client <<-'END'
		clients = [Client() for i in range(3)]
		assert Client().greeting == '' # the fourth
		clients += [Client(source='127.0.0.2') for i in range(2)]
		assert Client(source='127.0.0.3').greeting == '' # the sixth
		refused = lambda: int(run('systemctl show -P NRefused pop3.socket'))
		assert refused() == 2
		for i in range(50):
		    assert Client(source='127.0.0.3').greeting == ''
		assert refused() == 52
		assert 'Too many incoming connections' not in run('journalctl -b -o cat UNIT=pop3.socket')
		clients[0].close()
		wait_for(lambda: Client().greeting.startswith('+OK'))
	END
	unlisten
	no_drop_ins
}

@test "a listener that always fails is restarted every two seconds, whatever its status" {
	for status in 0 1; do
		inside cp /usr/local/share/pop3-handler/listener/pop3.socket /run/systemd/system/
		drop_in pop3.service '[Service]' Type=exec ExecStart= "ExecStart=/bin/sh -c 'exit $status'"
		with_client <<-'END'
			begin = time.monotonic()
			run('systemctl start pop3.socket')
			client = socket.create_connection(('127.0.0.1', 110))
			restarts = lambda: int(run('systemctl show -P NRestarts pop3.service'))
			wait_for(lambda: restarts() >= 1)
			assert time.monotonic() - begin >= 2
			assert run('systemctl is-active pop3.socket') == 'active'
		END
		inside systemctl stop pop3.socket pop3.service
		no_drop_ins
	done
}

@test "a listener without a restart is started 60 times, and then its socket fails" {
	inside cp /usr/local/share/pop3-handler/listener/pop3.socket /run/systemd/system/
	inside tee /run/systemd/system/pop3.service >/dev/null <<-'END'
		[Unit]
		StartLimitIntervalSec=0
		[Service]
		ExecStart=/bin/true
	END
	inside systemctl daemon-reload
	with_client <<-'END'
		run('systemctl start pop3.socket')
		client = socket.create_connection(('127.0.0.1', 110))
		wait_for(lambda: run('systemctl show -P Result pop3.socket') == 'trigger-limit-hit')
		run('journalctl --sync')
		assert run('journalctl -b -o cat UNIT=pop3.service').count('Started pop3.service.') == 60
	END
	inside systemctl reset-failed pop3.socket
	no_drop_ins
}

@test "a listener that cannot accept logs it twice a second, and serves again when it can" {
	listen
	with_client <<-'END'
		main = run('systemctl show -P MainPID pop3.service')
		tracer = subprocess.Popen(['strace', '-qq', '-o', '/dev/null', '-e', 'inject=accept4:error=EMFILE', '-p', main])
		wait_for(lambda: run(f'grep TracerPid /proc/{main}/status').split()[1] != '0')
		begin = time.monotonic()
		client = socket.create_connection(('127.0.0.1', 110), TIMEOUT)
		failed = lambda: run('journalctl -b -o cat -t pop3-handler').count('cannot accept connections: Too many open files')
		wait_for(lambda: failed() >= 3)
		assert failed() <= 2 * (time.monotonic() - begin) + 1
		tracer.terminate()
		assert client.recv(3) == b'+OK'
		Client().login().expect('QUIT', '+OK')
	END
	unlisten
}

@test "no rate limit of the journal hides a refused login" {
	inside mkdir -p /run/systemd/journald.conf.d
	printf '[Journal]\nRateLimitIntervalSec=1h\nRateLimitBurst=1\n' |
		inside tee /run/systemd/journald.conf.d/test.conf >/dev/null
	inside systemctl restart systemd-journald
	listen 'login-penalty = 0'
	with_client <<-'END'
		for i in range(1, 31):
		    client = Client(source=f'127.0.5.{i}')
		    client.expect(f'USER limit-{i}', '+OK')
		    client.expect('PASS x', '-ERR')
		for i in range(1, 31):
		    logged(f"login of 'limit-{i}' from 127.0.5.{i} refused: no such user")
		for unit in 'pop3@1', 'pop3s@1', 'pop3', 'pop3s':
		    assert run(f'systemctl show -P LogRateLimitBurst {unit}.service') == '1000000'
	END
	unlisten
	inside rm -r /run/systemd/journald.conf.d
	inside systemctl restart systemd-journald
}

@test "fail2ban counts the lines of both forms, and none that a user writes with logger(1)" {
	inside cp /usr/local/share/pop3-handler/fail2ban/filter.conf /etc/fail2ban/filter.d/pop3-handler.conf
	for name in pop3-handler 'pop3-handler[123]' pop3 pop3.service; do
		inside setpriv --reuid=nobody --clear-groups logger -t "$name" \
			"login of 'alice' from 203.0.113.9 refused: wrong password"
	done
	for form in connection listener; do
		serve "$form" 'login-penalty = 0'
		with_client "$form" <<-'END'
			source = '127.0.7.1' if sys.argv[1] == 'connection' else '127.0.7.2'
			for port, tls in (110, False), (995, True):
			    client = Client(port, source=source, tls=tls)
			    client.expect(f'USER {sys.argv[1]}{port}', '+OK')
			    client.expect('PASS x', '-ERR')
			    logged(f"login of '{sys.argv[1]}{port}' from {source} refused: no such user")
		END
		unlisten
	done
	inside journalctl --sync
	inside fail2ban-regex --out ip systemd-journal pop3-handler >ips
	grep -F -e 203.0.113.9 -e 127.0.7. ips | sort | uniq -c | sed 's/^ *//' >counts
	cat counts
	[ "$(cat counts)" = $'2 127.0.7.1\n2 127.0.7.2' ]
}

@test "neither another install nor a boot changes existing files, whatever their owner and mode" {
	inside bash -e <<-'END'
		paths='/etc/pop3-handler /etc/pop3-handler/pop3-handler.conf /etc/pop3-handler/users /etc/pam.d/pop3
			/var/vmail /run/pop3-handler /run/pop3-keeper'
		stat -c '%U:%G %a' $paths >/tmp/made
		diff /tmp/made - <<-'EXPECTED'
			root:root 755
			root:root 644
			root:pop3-keeper 640
			root:root 644
			vmail:vmail 750
			pop3-login:pop3-login 700
			pop3-keeper:pop3-keeper 700
		EXPECTED
		cp -a --parents $paths /tmp
		chown nobody:mail $paths
		chmod 711 $paths
		systemd-tmpfiles --create pop3-handler.conf
		stat -c '%U:%G %a' $paths | uniq | diff <(echo nobody:mail 711) -
		cmp /etc/pop3-handler/users /tmp/etc/pop3-handler/users
		for path in $paths; do
			chown --reference="/tmp$path" "$path"
			chmod --reference="/tmp$path" "$path"
		done
	END
}

@test "another install succeeds where mail and accounts are links to other places" {
	inside bash -e <<-'END'
		mv /etc/pop3-handler/users /var/vmail /srv
		ln -s /srv/users /etc/pop3-handler/
		ln -s /srv/vmail /var/
	END
	run -0 inside meson install -C "$(dirname "$HANDLER")" --no-rebuild
	inside sh -ec 'rm /etc/pop3-handler/users /var/vmail; mv /srv/users /etc/pop3-handler; mv /srv/vmail /var'
}

@test "pop3-check sees the site as the service does: certificate, user, sandbox and drop-ins" {
	for kind in one-user keeper; do
		use "$kind"
		for form in connection listener; do
			serve "$form"
			unit=pop3s$([ "$form" = listener ] || echo @).service
			run -0 inside pop3-check
			[ -z "$output" ]
			run -0 inside pop3-check pop3
			[ -z "$output" ]
			inside bash -c 'cd /etc/letsencrypt/live/machine; cp privkey.pem /tmp; openssl genrsa -out privkey.pem 2>/dev/null'
			run -78 inside pop3-check
			echo "$output"
			[[ $output == *tls-key* ]]
			inside cp /tmp/privkey.pem /etc/letsencrypt/live/machine
			# Forms that systemd accepts: blanks, comments with a backslash at the end, quotes, specifiers.
			for user in User=nobody '  User=nobody' 'User = nobody' $'# no more \\\nUser=nobody'; do
				[ "$kind" = one-user ] || continue
				drop_in "$unit" '[Service]' "$user"
				run -78 inside pop3-check
				echo "$output"
				[[ $output == */etc/pop3-handler/users* ]]
			done
			drop_in "$unit" '[Service]' ExecStart= "ExecStart=/usr/local/sbin/pop3-handler \\" '--users=/nowhere'
			run -78 inside pop3-check
			echo "$output"
			[[ $output == */nowhere* ]]
			drop_in "$unit" '[Service]' NonBlocking=no ExecStart= \
				'ExecStart=-/usr/local/sbin/pop3-handler "--trusted-networks=192.0.2.0/24 2001:db8::/32" --tls=off --users=/etc/pop3-handler/users --mailbox=/var/vmail/%%u'
			run -0 inside pop3-check
			[ -z "$output" ]
			drop_in "$unit" '[Service]' ExecStart= 'ExecStart=/usr/local/sbin/pop3-handler --tls=off --users=/etc/pop3-handler/users --mailbox=/nowhere/%%u'
			run -0 inside pop3-check
			[[ $output == *"'/nowhere'"* ]]
			drop_in "$unit" '[Service]' LoadCredential=more:/nowhere
			run inside pop3-check
			[ "$status" -gt 200 ]
			[[ $output == *'cannot be started'* ]]
			no_drop_ins
			unlisten
		done
	done
	[ "$(inside stat -c %U /run/pop3-handler)" = pop3-login ]
	[ -z "$(inside bash -c 'ls /run/systemd/system/ | grep pop3-check; systemctl list-units --all --no-legend "pop3-check*"')" ]
}

@test "the units are hardened and verify without a warning" {
	local -A most=([one-user]=5 [keeper]=20)
	for kind in one-user keeper; do
		use "$kind"
		for unit in pop3@1 pop3s@1 pop3 pop3s; do
			run -0 inside systemd-analyze security "--threshold=${most[$kind]}" "$unit.service"
			run -0 inside systemd-analyze verify --man=no "$unit.service"
			[ -z "$output" ]
		done
	done
	run -0 inside systemd-analyze verify --man=no /usr/local/lib/systemd/system/pop3{,s,@,s@}.service \
		/usr/local/lib/systemd/system/pop3{,s}.socket /usr/local/share/pop3-handler/listener/pop3{,s}.socket
	[ -z "$output" ]
	# All four are the same from `Where mail lives` to the end.
	for unit in pop3 pop3s pop3@ pop3s@; do
		inside sed '1,/^# Where mail lives/d' "/usr/local/lib/systemd/system/$unit.service" | sha256sum
	done | uniq | wc -l >kinds
	[ "$(cat kinds)" -eq 1 ]
}

@test "without a certificate port 110 has no STLS, and the log says why 995 is not served" {
	inside mv /etc/pop3-handler/tls /tmp
	for kind in one-user keeper; do
		use "$kind"
		text='settings: tls is on, but tls-cert is not set'
		[ "$kind" = one-user ] || text="tls-cert = '/etc/pop3-handler/tls/fullchain.pem': No such file or directory"
		for form in connection listener; do
			serve "$form" || [ "$form" = listener ] # pop3s.service cannot start
			with_client "$text" <<-'END'
				count = lambda: run('journalctl -b -o cat -t pop3-handler').count(sys.argv[1])
				Client().login().expect('QUIT', '+OK')
				Client().expect('STLS', '-ERR')
				before = count()
				client = socket.create_connection(('127.0.0.1', 995))
				wait_for(lambda: count() > before)
			END
			unlisten
		done
	done
	inside mv /tmp/tls /etc/pop3-handler/
}

@test "one command switches to a listener, and reloads under load disturb no session" {
	listen
	with_client <<-'END'
		assert run('systemctl show -P Type pop3.service') == 'notify'
		main = run('systemctl show -P MainPID pop3.service')
		sleeper = Client(tls=True, port=995).login('carol')
		sleeper.expect('SLEE', '+OK')
		wait_for(lambda: run('systemctl show -P StatusText pop3s.service') == '1 sessions, 1 asleep')
		assert 'pop3-handler: carol 127.0.0.1 asleep' in run('ps -eo args')
		for i in range(10):
		    reload = subprocess.Popen(['systemctl', 'reload', 'pop3.service', 'pop3s.service'])
		    while reload.poll() is None:
		        for port in (110, 995):
		            Client(port, tls=port == 995).login('alice').expect('QUIT', '+OK')
		    assert reload.returncode == 0
		assert run('systemctl show -P MainPID pop3.service') == main
		sleeper.expect('WAKE', '+OK [ACTIVITY/NONE]')
		sleeper.expect('QUIT', '+OK')
	END
	# New settings apply to new connections; settings with a mistake are not used.
	with_client <<-'END'
		old = Client().login('alice')
		path = '/etc/pop3-handler/pop3-handler.conf'
		text = open(path).read()
		open(path, 'a').write('read-only = yes\n')
		run('systemctl reload pop3.service')
		logged('settings and certificates are read again')
		wait_for(lambda: Client().login('bob').ask('DELE 1') == '-ERR [READ-ONLY] the mailbox is read-only')
		old.expect('DELE 1', '+OK')
		open(path, 'a').write('max-sessions = many\n')
		run('systemctl reload pop3.service')
		logged("reload failed, the settings are as before: /etc/pop3-handler/pop3-handler.conf:")
		Client().login('bob').expect('DELE 1', '-ERR [READ-ONLY]')
		open(path, 'w').write(text)
	END
	unlisten
}

@test "a service that stops lets running commands complete, and wakes no sleeper" {
	listen
	with_client <<-'END'
		working, sleeping, new = Client().login('bob'), Client().login('carol'), Client()
		working.expect('DELE 1', '+OK')
		sleeping.expect('SLEE', '+OK')
		stop = subprocess.Popen(['systemctl', 'stop', 'pop3.socket', 'pop3.service'])
		assert sleeping.hear() == '' and new.hear() == ''
		assert stop.poll() is None
		working.expect('DELE 2', '+OK')
		working.expect('QUIT', '+OK')
		assert stop.wait(TIMEOUT) == 0
		assert run('systemctl is-failed pop3.service || true') == 'inactive'
		assert len(os.listdir('/var/vmail/bob/new') + os.listdir('/var/vmail/bob/cur')) == 1
		logged("session of 'carol' from 127.0.0.1 ended: the service stops")
		logged("message '2.M1P1.h' deleted by 'bob' from 127.0.0.1")
	END
	unlisten
}

@test "a client over a limit is told so, with and without TLS, and is logged" {
	listen 'max-sessions = 5' 'max-sessions-per-source = 3' 'max-sleeping-per-user = 2'
	with_client <<-'END'
		for port, tls in (110, False), (995, True):
		    clients = [Client(port, tls=tls) for i in range(3)]
		    refused = Client(port, tls=tls)
		    assert refused.greeting == '-ERR [SYS/TEMP] too many sessions from your address, try again later'
		    assert refused.hear() == ''
		    clients += [Client(port, source='127.0.0.2', tls=tls) for i in range(2)]
		    assert all(client.greeting.startswith('+OK') for client in clients)
		    refused = Client(port, source='127.0.0.3', tls=tls)
		    assert refused.greeting == '-ERR [SYS/TEMP] too many sessions, try again later'
		    for client in clients[:3]:
		        client.close()
		    wait_for(lambda: Client(port, tls=tls).greeting.startswith('+OK'))
		    for client in clients[3:]:
		        client.close()
		logged('connection from 127.0.0.1 refused: max-sessions-per-source = 3')
		logged('connection from 127.0.0.3 refused: max-sessions = 5')
		wait_for(lambda: run('systemctl show -P StatusText pop3.service').startswith('0 '))
		def enter(user): # a session counts until the listener has reaped its process
		    while not (client := Client()).greeting.startswith('+OK'):
		        pass
		    return client.login(user)
		sleepers = []
		for i in range(2):
		    sleepers.append(Client().login('carol'))
		    sleepers[i].expect('SLEE', '+OK')
		more = Client().login('carol')
		more.expect('SLEE', '-ERR [SYS/TEMP] too many of your sessions are asleep')
		more.expect('STAT', '+OK')
		other = Client(source='127.0.0.2').login('dave')
		other.expect('SLEE', '+OK')
		more.expect('QUIT', '+OK')
		sleepers[0].expect('WAKE', '+OK')
		sleepers[0].expect('QUIT', '+OK')
		more = enter('carol')
		more.expect('SLEE', '+OK')
		sleepers[1].close() # a client that leaves in SLEEP frees its slot
		def may_sleep():
		    return enter('carol').ask('SLEE').startswith('+OK')
		wait_for(may_sleep)
		logged("'carol' from 127.0.0.1 may not sleep: max-sleeping-per-user = 2")
		def is_told(text):
		    return run('systemctl show -P StatusText pop3.service') == text
		wait_for(lambda: is_told('2 sessions, 2 asleep'))
		more.close()
		other.close()
		wait_for(lambda: is_told('0 sessions, 0 asleep'))
	END
	unlisten
}

@test "a session that crashes affects no other, and the log names its peer" {
	for form in connection listener; do
		serve "$form"
		with_client "$form" <<-'END'
			asleep, awake, victim = Client().login('carol'), Client().login('alice'), Client(source='127.0.0.9').login('dave')
			asleep.expect('SLEE', '+OK')
			os.kill(int(run("pgrep -f '^pop3-handler: dave 127.0.0.9'")), signal.SIGSEGV)
			assert victim.hear() == ''
			if sys.argv[1] == 'listener':
			    logged('was killed by signal 11 (Segmentation fault)')
			else: # systemd logs the crash; the name of the unit has the peer
			    lines = lambda: run('journalctl -b -o cat _PID=1').split('\n')
			    wait_for(lambda: any('-127.0.0.9:' in line and 'status=11/SEGV' in line for line in lines()))
			asleep.expect('WAKE', '+OK')
			awake.expect('QUIT', '+OK')
			asleep.expect('QUIT', '+OK')
			Client().login('dave').expect('QUIT', '+OK') # the lock is released
		END
		unlisten
	done
	entry POP3_SIGNAL=11 | grep -qx POP3_PEER=127.0.0.9
}

@test "after failed logins all connections of the source are delayed until one succeeds" {
	listen 'login-penalty = 1' 'login-timeout = 8'
	with_client <<-'END'
		from concurrent.futures import ThreadPoolExecutor
		def fail(source, password):
		    client = Client(source=source)
		    client.expect('USER alice', '+OK')
		    client.expect(f'PASS {password}', '-ERR [AUTH]')
		    client.close()
		# Each login has its own delay.
		with ThreadPoolExecutor(4) as pool:
		    list(pool.map(fail, ['127.0.0.7'] * 3 + ['127.0.0.8'], range(4)))
		time.sleep(2) # the log's limit of lines is per second
		waits = "from 127.0.0.7 waits for {} seconds: several have failed from there"
		assert 'waits for' not in run('journalctl -b -o cat -t pop3-handler')
		fail('127.0.0.7', 4)
		logged(waits.format(1))
		time.sleep(2)
		Client(source='127.0.0.7').login('alice').expect('QUIT', '+OK')
		logged(waits.format(2))
		before = run('journalctl -b -o cat -t pop3-handler').count('waits for')
		Client(source='127.0.0.7').login('alice').expect('QUIT', '+OK')
		assert run('journalctl -b -o cat -t pop3-handler').count('waits for') == before == 2
	END
	unlisten
}

@test "the listener notifies systemd's watchdog" {
	drop_in pop3.service '[Service]' WatchdogSec=1
	listen
	with_client <<-'END'
		def fed():
		    return int(run('systemctl show -P WatchdogTimestampMonotonic pop3.service'))
		first = fed()
		wait_for(lambda: fed() > first + 1100000)
		assert run('systemctl show -P NRestarts pop3.service') == '0'
	END
	unlisten
	no_drop_ins
}

@test "1,000 sessions sleep and wake at one listener" {
	listen 'max-sessions = 2000' 'max-sessions-per-source = 2000' 'max-sleeping-per-user = 2000'
	with_client <<-'END'
		import resource
		resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
		sleepers = []
		for i in range(1000):
		    sleepers.append(Client().login('carol'))
		    sleepers[-1].expect('SLEE', '+OK')
		wait_for(lambda: run('systemctl show -P StatusText pop3.service') == '1000 sessions, 1000 asleep')
		open('/var/vmail/carol/new/9.M1P1.h', 'w').close()
		for sleeper in sleepers:
		    sleeper.expect('WAKE', '+OK [ACTIVITY/NEW] 1 messages')
		    sleeper.expect('SLEE', '+OK')
		stop = subprocess.Popen(['systemctl', 'stop', 'pop3.socket', 'pop3.service'])
		for sleeper in sleepers:
		    assert sleeper.hear() == ''
		assert stop.wait(TIMEOUT) == 0
	END
	unlisten
}

@test "uninstalling removes nothing from a prefix named like the program" {
	# shellcheck disable=SC2016
	inside bash -ec '
		mkdir -p /srv/b/meson-logs /srv/pop3-handler/mail/new /srv/pop3-handler/{lib/x,share}/pop3-handler/empty
		echo "build uninstall: phony" >/srv/b/build.ninja
		printf "%s\n" /srv/pop3-handler/lib/x/pop3-handler/m.so /srv/pop3-handler/share/pop3-handler/a/b >/srv/b/meson-logs/install-log.txt
		"$1" /srv/b' uninstall "$BATS_TEST_DIRNAME/../tools/uninstall"
	inside find /srv/pop3-handler -type d >left
	sort left | diff - <(printf '%s\n' /srv/pop3-handler{,/lib,/lib/x,/mail,/mail/new,/share})
	inside rm -r /srv/b /srv/pop3-handler
}

# The last one: afterwards nothing is installed.
@test "uninstalling leaves no file, enabled socket or open port; mail, accounts and settings stay" {
	inside systemctl --quiet enable --now pop3.socket
	inside systemctl --quiet enable --now --force /usr/local/share/pop3-handler/listener/pop3s.socket
	inside curl -sS --cacert /etc/pop3-handler/tls/fullchain.pem --user alice:apple pop3s://127.0.0.1/
	inside meson install -C "$(dirname "$HANDLER")" --no-rebuild
	inside grep '^/' "$(dirname "$HANDLER")/meson-logs/install-log.txt" >installed
	[ "$(wc -l <installed)" -ge 15 ]
	inside "$BATS_TEST_DIRNAME/../tools/uninstall" "$(dirname "$HANDLER")"
	inside xargs ls -d <installed 2>&1 | grep -v 'No such file' | tee left
	[ ! -s left ]
	inside find /etc/systemd/system /usr/local/lib/systemd /usr/local/share/pop3-handler '(' -name '*pop3*' -o -xtype l ')' >left || true
	inside systemctl list-units --all --plain --no-legend 'pop3*' >>left
	inside ss -Hltn 'sport = :110 or sport = :995' >>left
	cat left
	[ ! -s left ]
	inside ls /etc/pop3-handler/users /etc/pop3-handler/pop3-handler.conf /etc/pam.d/pop3 /var/vmail/alice
}
