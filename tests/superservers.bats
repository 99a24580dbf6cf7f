#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Started by inetd, xinetd, tcpserver and systemd-socket-activate with the manual's entries: as root with a
# keeper and an account that has a uid, and as one mail user, nobody.

load helpers
load boot

setup_file() {
	boot
	# shellcheck disable=SC2016
	inside bash -e -c '
		install -m 755 "$1" /usr/local/sbin/pop3-handler
		cp "${1%/*}/pop3-handler-pam.so" /usr/local/sbin # the first place that is searched
		mkdir -p /srv/mail/alice/new /srv/mail/alice/cur /srv/run
		printf "Subject: 1\n\nHello\n" >/srv/mail/alice/new/1.M1P1.h
		chown -R nobody: /srv/mail /srv/run
		chmod 700 /srv/run
		echo "alice:{PLAIN}apple" >/srv/users
		printf "%s\n" "user = nobody" "users = /srv/users" "mailbox = /srv/mail/%u" "login-penalty = 0" >/srv/nobody.conf
		cp "$2" /srv/xinetd

		# For root: the users of the service, and an account with a uid and a private home.
		systemd-sysusers "$3/systemd/sysusers.conf"
		useradd -m -u 4711 -U alice
		chmod 700 /home/alice
		cp -r /srv/mail/alice /home/alice/Maildir
		chown -R alice: /home/alice
		mkdir /srv/accounts
		echo "alice:{PLAIN}apple:4711:4711::/home/alice" >/srv/accounts/users
		chown root:pop3-keeper /srv/accounts/users
		chmod 640 /srv/accounts/users
		printf "%s\n" "users = /srv/accounts/users" "login-penalty = 0" >/srv/root.conf
		echo alice:pear | chpasswd
		cp "$3/examples/pam" /etc/pam.d/pop3
		cat >/srv/checkpassword <<-"PROGRAM"
			#!/bin/bash
			IFS= read -r -d "" -u 3 user
			IFS= read -r -d "" -u 3 password
			[ "$user:$password" = alice:plum ] || exit 1
			export USER=$user HOME=/home/$user
			exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"
		PROGRAM
		chmod +x /srv/checkpassword
	' install "$HANDLER" /var/cache/pop3-handler/xinetd "$(realpath "$BATS_TEST_DIRNAME/..")"
}

teardown_file() {
	power_off
}

setup() {
	setup_site
	cp "$BATS_TEST_DIRNAME/client.py" .
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || inside journalctl --no-pager -n 25
	stop 2>/dev/null || true
}

# start COMMAND...: runs it as a service, and waits until it listens on port 110. LeakSanitizer is off: it hangs if
# SIGCONT, which systemd sends after SIGTERM, takes its SIGSTOP away.
start() {
	inside systemd-run --quiet --collect --unit="starter$BATS_TEST_NUMBER" \
		--setenv=ASAN_OPTIONS=exitcode=99:detect_leaks=0 "$@"
	until [ -n "$(inside ss -Hltn 'sport = :110')" ]; do
		inside systemctl is-active --quiet "starter$BATS_TEST_NUMBER.service"
	done
}

# activate OPTION...: the same with systemd-socket-activate, which passes no other variable.
activate() {
	start systemd-socket-activate -E ASAN_OPTIONS "$@"
}

stop() {
	inside systemctl stop "starter$BATS_TEST_NUMBER.service"
}

# serves TEXT [NUMBER]: a session of a client from 127.0.0.5 or 127.0.NUMBER.5 (a listener logs one line a
# second for each) and a refused login. The output of TEXT, a command that prints the log, has both.
serves() {
	{
		cat client.py
		cat <<-'END'
			import subprocess, sys, time
			number = sys.argv[2]
			def session():
			    client = Client(source=f'127.0.{number}.5').login()
			    client.expect('RETR 1', '+OK')
			    while client.hear() != '.':
			        pass
			    client.expect('QUIT', '+OK')
			Client(source=f'127.0.{number}.6').expect('AUTH PLAIN AGFsaWNlAHg=', '-ERR [AUTH]')
			session()
			end = time.monotonic() + TIMEOUT
			wanted = [f"login of 'alice' from 127.0.{number}.6 refused: wrong password",
			          f"session of 'alice' from 127.0.{number}.5 ended: QUIT; no TLS, retrieved 1 (21 octets)"]
			while not all(text in (log := subprocess.check_output(sys.argv[1], shell=True, text=True))
			              for text in wanted):
			    assert time.monotonic() < end, log
		END
	} >scenario.py
	inside timeout 50 /usr/bin/python3 - "$1" "${2-0}" <scenario.py
}

# runs_as USER: a session of alice is a process of this user, without groups and capabilities.
runs_as() {
	local user=nobody
	[ "$1" = nobody ] || user=alice
	{
		cat client.py
		cat <<-'END'
			import pwd, re, subprocess, sys
			client = Client(source='127.0.0.8').login()
			account = pwd.getpwnam(sys.argv[1])
			pids = subprocess.check_output(['pgrep', '-f', '^pop3-handler: alice 127.0.0.8'], text=True).split()
			assert len(pids) == 1, pids
			status = dict(re.findall(r'^(\w+):[ \t]*(.*)$', open(f'/proc/{pids[0]}/status').read(), re.M))
			assert status['Uid'].split() == [str(account.pw_uid)] * 4, status['Uid']
			assert status['Gid'].split() == [str(account.pw_gid)] * 4, status['Gid']
			assert int(status['CapPrm'], 16) == int(status['CapEff'], 16) == 0
			keepers = subprocess.run(['pgrep', '-u', 'pop3-keeper', '-f', '^pop3-handler'], capture_output=True, text=True)
			assert bool(keepers.stdout) == (sys.argv[1] == 'alice'), keepers
			client.expect('QUIT', '+OK')
		END
	} >scenario.py
	inside timeout 50 /usr/bin/python3 - "$user" <scenario.py
}

syslog='journalctl -b -o cat _TRANSPORT=syslog SYSLOG_FACILITY=2 SYSLOG_IDENTIFIER=pop3-handler'

# entry TEXT USER SETTINGS: prints the manual's example that begins like this, for another user and file.
entry() {
	sed -n "/^$1/,/^\(}\|\.Ed\)/{/^\.Ed/d;p}" "$BATS_TEST_DIRNAME/../man/pop3-handler.8" |
		sed "s/\\\\e\$/\\\\/; s/ root\b/ $2/; s|/etc/pop3-handler/pop3-handler.conf|$3|"
}

# configure_inetd USER SETTINGS [WAIT]; configure_xinetd USER SETTINGS: starts the program as this user.
configure_inetd() {
	entry 'pop3 stream' "$@" | sed "s/^pop3/127.0.0.1:110/; s/nowait[^ ]*/${3:-&}/" | inside tee /srv/inetd.conf
}

configure_xinetd() {
	entry 'service pop3' "$@" | sed 's/^{/&\ntype = UNLISTED\nport = 110/' | inside tee /srv/xinetd.conf
}

@test "inetd with nowait starts a process for each connection, which knows its peer" {
	local number=10
	for user in nobody root; do
		configure_inetd "$user" "/srv/$user.conf"
		start inetd -i /srv/inetd.conf
		serves "$syslog" $((number++))
		runs_as "$user"
		stop
	done
}

@test "inetd as root: the processes for single connections share the counts of failed logins" {
	inside sh -c 'sed "s/^login-penalty.*/login-penalty = 1/" /srv/root.conf >/srv/penalty.conf'
	configure_inetd root /srv/penalty.conf
	start inetd -i /srv/inetd.conf
	{
		cat client.py
		cat <<-'END'
			import subprocess
			for attempt in range(4):
			    client = Client(source='127.0.0.9')
			    client.expect('USER alice', '+OK')
			    client.expect(f'PASS x{attempt}', '-ERR [AUTH]')
			    client.close()
			subprocess.run(['journalctl', '--sync'], check=True)
			log = subprocess.check_output(['journalctl', '-b', '-o', 'cat', '-t', 'pop3-handler'], text=True)
			assert 'from 127.0.0.9 waits for 1 seconds: several have failed from there' in log, log
			Client(source='127.0.0.10').login().expect('QUIT', '+OK')
		END
	} >scenario.py
	inside timeout 50 /usr/bin/python3 - <scenario.py
	[ "$(inside stat -c '%U %a' /run/pop3-keeper)" = 'pop3-keeper 700' ]
}

@test "inetd with wait starts one listener for all connections, which ends when it is idle" {
	local listener number=20 listeners
	for user in nobody root; do
		listeners=(pgrep -u "${user/root/pop3-login}" -f '^pop3-handler --config')
		configure_inetd "$user" "/srv/$user.conf" wait
		start inetd -i /srv/inetd.conf
		serves "$syslog" $((number++))
		listener=$(inside "${listeners[@]}")
		# The listening socket is no process's standard error.
		inside readlink "/proc/$listener/fd/2" | grep -x /dev/null
		[ "$(wc -w <<<"$listener")" -eq 1 ]
		serves "$syslog" $((number++))
		runs_as "$user"
		[ "$(inside "${listeners[@]}")" = "$listener" ]
		inside timeout 20 tail --pid="$listener" -f /dev/null
		inside systemctl is-active --quiet "starter$BATS_TEST_NUMBER.service"
		serves "$syslog" $((number++))
		stop
		run -1 inside pgrep -u pop3-keeper # the keeper ends with its listener
	done
}

@test "a burst of clients stops none of inetd, xinetd and tcpserver, nor do idle clients of one address" {
	{
		cat client.py
		cat <<-'END'
			import sys
			for i in range(300):
			    Client(source='127.0.0.9').close()
			idle = [Client(source='127.0.0.9') for i in range(50)]
			Client(source='127.0.0.10').login().expect('QUIT', '+OK')
			if sys.argv[1] == 'xinetd':
			    assert Client(source='127.0.0.9').greeting == ''
		END
	} >scenario.py
	configure_inetd nobody /srv/nobody.conf
	configure_xinetd nobody /srv/nobody.conf
	entry tcpserver '' /srv/nobody.conf | inside tee /srv/tcpserver
	start inetd -i /srv/inetd.conf
	inside timeout 50 /usr/bin/python3 - inetd <scenario.py
	stop
	start /srv/xinetd -dontfork -f /srv/xinetd.conf
	inside timeout 50 /usr/bin/python3 - xinetd <scenario.py
	stop
	start sh -c '. /srv/tcpserver'
	inside timeout 50 /usr/bin/python3 - tcpserver <scenario.py
	stop
}

@test "xinetd starts a process for each connection, which knows its peer" {
	local before
	for user in nobody root; do
		configure_xinetd "$user" "/srv/$user.conf"
		before=$(inside bash -c "$syslog | wc -l")
		start /srv/xinetd -dontfork -f /srv/xinetd.conf
		serves "$syslog | tail -n +$((before + 1))"
		runs_as "$user"
		stop
	done
}

@test "tcpserver starts a process for each connection, which knows its peer" {
	# shellcheck disable=SC2016
	start bash -c 'exec tcpserver -R -H -l0 -u "$(id -u nobody)" -g "$(id -g nobody)" 0 110 \
		/usr/local/sbin/pop3-handler --config=/srv/nobody.conf 2>/srv/tcpserver.log'
	serves 'cat /srv/tcpserver.log'
	runs_as nobody
	stop
	start bash -c 'exec tcpserver -R -H -l0 0 110 /usr/local/sbin/pop3-handler --config=/srv/root.conf 2>/srv/tcpserver-root.log'
	serves 'cat /srv/tcpserver-root.log'
	runs_as root
}

@test "as root, inetd, xinetd and tcpserver authenticate with PAM and a program, and WAKE notices a locked account" {
	{
		cat client.py
		cat <<-'END'
			import pwd, re, subprocess, sys
			def run(command):
			    return subprocess.check_output(command, shell=True, text=True)
			auth, password = sys.argv[1:]
			open('/srv/auth.conf', 'w').write(f'auth = {auth}\nmailbox = %h/Maildir\nlogin-penalty = 0\n')
			client = Client(source='127.0.0.8').login('alice', password)
			pid = run("pgrep -f '^pop3-handler: alice 127.0.0.8'").split()
			status = dict(re.findall(r'^(\w+):[ \t]*(.*)$', open(f'/proc/{pid[0]}/status').read(), re.M))
			assert len(pid) == 1 and status['Uid'].split() == [str(pwd.getpwnam('alice').pw_uid)] * 4
			assert status['Groups'].split() == [] and int(status['CapPrm'], 16) == 0
			client.expect('STAT', '+OK 1 ')
			client.expect('SLEE', '+OK')
			client.expect('WAKE', '+OK')
			client.expect('SLEE', '+OK')
			run('usermod -L alice')
			try:
			    other = Client(source='127.0.0.9')
			    other.expect('USER alice', '+OK')
			    if auth == 'pam': # the program is asked only at login
			        other.expect(f'PASS {password}', '-ERR [AUTH]')
			        client.expect('WAKE', '-ERR [AUTH]')
			    else:
			        client.expect('WAKE', '+OK')
			        client.expect('QUIT', '+OK')
			finally:
			    run('usermod -U alice')
		END
	} >scenario.py
	configure_inetd root /srv/auth.conf
	configure_xinetd root /srv/auth.conf
	for starter in 'inetd -i /srv/inetd.conf' '/srv/xinetd -dontfork -f /srv/xinetd.conf' \
		'tcpserver -R -H -l0 0 110 /usr/local/sbin/pop3-handler --config=/srv/auth.conf'; do
		# shellcheck disable=SC2086
		start sh -c "exec $starter"
		inside timeout 50 /usr/bin/python3 - pam pear <scenario.py
		inside timeout 50 /usr/bin/python3 - 'checkpassword /srv/checkpassword' plum <scenario.py
		stop
	done
}

@test "behind a pipe from tcpserver the peer comes from the environment" {
	# shellcheck disable=SC2016
	start bash -c 'exec tcpserver -R -H -l0 0 110 sh -c \
		"cat | /usr/local/sbin/pop3-handler --config=/srv/nobody.conf --plaintext-auth=always" 2>/srv/between.log'
	serves 'cat /srv/between.log'
}

# Skipped on a machine without these programs.
@test "behind socat, ncat and stunnel the peer is the one that they name" {
	echo 'exec /usr/local/sbin/pop3-handler --config=/srv/nobody.conf --plaintext-auth=always 2>>/srv/relay.log' |
		inside tee /srv/relay
	for relay in 'socat TCP-LISTEN:110,bind=127.0.0.1,reuseaddr,fork SYSTEM:"sh /srv/relay"' \
		'ncat --listen --keep-open 127.0.0.1 110 --sh-exec "sh /srv/relay"'; do
		inside rm -f /srv/relay.log
		start sh -c "$relay"
		serves 'cat /srv/relay.log'
		stop
	done
	# stunnel terminates TLS and starts the program.
	inside bash -c 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 \
		-subj /CN=localhost -keyout /srv/stunnel.pem -out /srv/stunnel.pem.crt && cat /srv/stunnel.pem.crt >>/srv/stunnel.pem'
	printf '%s\n' 'foreground = yes' 'pid =' 'syslog = no' 'output = /dev/null' '[pop3s]' 'accept = 127.0.0.1:110' \
		'cert = /srv/stunnel.pem' 'exec = /bin/sh' 'execArgs = sh /srv/relay' | inside tee /srv/stunnel.conf
	inside rm -f /srv/relay.log
	start stunnel /srv/stunnel.conf
	inside timeout 20 curl -sSk --interface 127.0.0.7 --user alice:apple pop3s://127.0.0.1:110/ | grep '^1 21'
	inside grep "login of 'alice' from 127.0.0.7 accepted" /srv/relay.log
}

@test "LISTEN_FDS may be one connection or several listening sockets" {
	# Started as root; the process becomes the user of the settings.
	activate -l 127.0.0.1:110 --accept \
		/usr/local/sbin/pop3-handler --config=/srv/nobody.conf
	serves "journalctl -b -o cat -u starter$BATS_TEST_NUMBER.service"
	stop
	activate -l 127.0.0.1:110 -l 127.0.0.1:111 \
		/usr/local/sbin/pop3-handler --config=/srv/nobody.conf
	serves "journalctl -b -o cat -u starter$BATS_TEST_NUMBER.service"
	inside bash -c 'printf "QUIT\r\n" | curl -sS --max-time 20 telnet://127.0.0.1:111' | grep -q '+OK goodbye'
	[ "$(inside pgrep -cf '^/usr/local/sbin/pop3-handler')" -eq 1 ]
	stop
	activate -l 127.0.0.1:110 --accept /usr/local/sbin/pop3-handler --config=/srv/root.conf
	serves "journalctl -b -o cat -u starter$BATS_TEST_NUMBER.service" 7
	runs_as root
	stop
	activate -l 127.0.0.1:110 /usr/local/sbin/pop3-handler --config=/srv/root.conf
	serves "journalctl -b -o cat -u starter$BATS_TEST_NUMBER.service" 8
	runs_as root
}

@test "LISTEN_FDS with neither a connection nor a listening socket is refused" {
	status=0
	bash -c 'exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" --user=root' "$HANDLER" 2>log || status=$?
	cat log
	[ "$status" -eq 74 ]
	grep -q 'cannot use the sockets that were passed' log
}
