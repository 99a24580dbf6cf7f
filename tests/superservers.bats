#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Started by inetd, xinetd, tcpserver and systemd-socket-activate, with the entries that README has.

load helpers
load boot

setup_file() {
	boot
	# shellcheck disable=SC2016
	inside bash -e -c '
		install -m 755 "$1" /usr/local/sbin/pop3-handler
		mkdir -p /srv/mail/alice/new /srv/mail/alice/cur /srv/run
		printf "Subject: 1\n\nHello\n" >/srv/mail/alice/new/1.M1P1.h
		chown -R nobody: /srv/mail /srv/run
		chmod 700 /srv/run
		echo "alice:{PLAIN}apple" >/srv/users
		printf "%s\n" "user = nobody" "users = /srv/users" "mailbox = /srv/mail/%u" "login-penalty = 0" >/srv/pop3.conf
		cp "$2" /srv/xinetd
	' install "$HANDLER" /var/cache/pop3-handler/xinetd
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
	inside systemctl stop "starter$BATS_TEST_NUMBER.service" 2>/dev/null || true
}

# start COMMAND...: starts it as a service of its own, and waits until it has port 110.
start() {
	inside systemd-run --quiet --collect --unit="starter$BATS_TEST_NUMBER" --setenv=ASAN_OPTIONS=exitcode=99 "$@"
	until [ -n "$(inside ss -Hltn 'sport = :110')" ]; do
		inside systemctl is-active --quiet "starter$BATS_TEST_NUMBER.service"
	done
}

# serves TEXT [NUMBER]: a session of a client from 127.0.0.5, or 127.0.NUMBER.5 (a listener logs one
# line a second for each), and one that may not log in. Both are in what
# TEXT, a command, shows of the log.
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

syslog='journalctl -b -o cat _TRANSPORT=syslog SYSLOG_FACILITY=2 SYSLOG_IDENTIFIER=pop3-handler'

@test "inetd with nowait starts a process for each connection, which knows its peer" {
	echo '127.0.0.1:110 stream tcp nowait nobody /usr/local/sbin/pop3-handler pop3-handler --config=/srv/pop3.conf' |
		inside tee /srv/inetd.conf
	start inetd -i /srv/inetd.conf
	serves "$syslog"
}

@test "inetd with wait starts one listener for all, which ends when there is nothing to do" {
	echo '127.0.0.1:110 stream tcp wait nobody /usr/local/sbin/pop3-handler pop3-handler --config=/srv/pop3.conf' |
		inside tee /srv/inetd.conf
	start inetd -i /srv/inetd.conf
	serves "$syslog" 1
	listener=$(inside pgrep -f '^pop3-handler --config')
	# The socket that listens is nobody's standard error.
	inside readlink "/proc/$listener/fd/2" | grep -x /dev/null
	[ "$(wc -w <<<"$listener")" -eq 1 ]
	serves "$syslog" 2
	[ "$(inside pgrep -f '^pop3-handler --config')" = "$listener" ]
	inside timeout 20 tail --pid="$listener" -f /dev/null
	inside systemctl is-active --quiet "starter$BATS_TEST_NUMBER.service"
	serves "$syslog" 3
}

@test "xinetd starts a process for each connection, which knows its peer" {
	inside tee /srv/xinetd.conf <<-'END'
		service pop3
		{
		        type        = UNLISTED
		        port        = 110
		        socket_type = stream
		        protocol    = tcp
		        wait        = no
		        user        = nobody
		        server      = /usr/local/sbin/pop3-handler
		        server_args = --config=/srv/pop3.conf
		}
	END
	before=$(inside bash -c "$syslog | wc -l")
	start /srv/xinetd -dontfork -f /srv/xinetd.conf
	serves "$syslog | tail -n +$((before + 1))"
}

@test "tcpserver starts a process for each connection, which knows its peer" {
	# shellcheck disable=SC2016
	start bash -c 'exec tcpserver -R -H -l0 -u "$(id -u nobody)" -g "$(id -g nobody)" 0 110 \
		/usr/local/sbin/pop3-handler --config=/srv/pop3.conf 2>/srv/tcpserver.log'
	serves 'cat /srv/tcpserver.log'
}

@test "behind a pipe from tcpserver the peer is the one in the environment" {
	# shellcheck disable=SC2016
	start bash -c 'exec tcpserver -R -H -l0 0 110 sh -c \
		"cat | /usr/local/sbin/pop3-handler --config=/srv/pop3.conf --plaintext-auth=always" 2>/srv/between.log'
	serves 'cat /srv/between.log'
}

# From a machine without these programs nothing can be said about them.
@test "behind socat, ncat and stunnel the peer is the one that they name" {
	echo 'exec /usr/local/sbin/pop3-handler --config=/srv/pop3.conf --plaintext-auth=always 2>>/srv/relay.log' |
		inside tee /srv/relay
	for relay in 'socat TCP-LISTEN:110,bind=127.0.0.1,reuseaddr,fork SYSTEM:"sh /srv/relay"' \
		'ncat --listen --keep-open 127.0.0.1 110 --sh-exec "sh /srv/relay"'; do
		inside rm -f /srv/relay.log
		start sh -c "$relay"
		serves 'cat /srv/relay.log'
		inside systemctl stop "starter$BATS_TEST_NUMBER.service"
	done
	# stunnel in front of a program: its clients speak TLS.
	inside bash -c 'openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 \
		-subj /CN=localhost -keyout /srv/stunnel.pem -out /srv/stunnel.pem.crt && cat /srv/stunnel.pem.crt >>/srv/stunnel.pem'
	printf '%s\n' 'foreground = yes' 'pid =' 'syslog = no' 'output = /dev/null' '[pop3s]' 'accept = 127.0.0.1:110' \
		'cert = /srv/stunnel.pem' 'exec = /bin/sh' 'execArgs = sh /srv/relay' | inside tee /srv/stunnel.conf
	inside rm -f /srv/relay.log
	start stunnel /srv/stunnel.conf
	inside timeout 20 curl -sSk --interface 127.0.0.7 --user alice:apple pop3s://127.0.0.1:110/ | grep '^1 21'
	inside grep "login of 'alice' from 127.0.0.7 accepted" /srv/relay.log
}

@test "LISTEN_FDS may be a connection, or several listening sockets" {
	# As root, who is refused unless the settings name another user.
	start systemd-socket-activate -l 127.0.0.1:110 --accept \
		/usr/local/sbin/pop3-handler --config=/srv/pop3.conf
	serves "journalctl -b -o cat -u starter$BATS_TEST_NUMBER.service"
	inside systemctl stop "starter$BATS_TEST_NUMBER.service"
	start systemd-socket-activate -l 127.0.0.1:110 -l 127.0.0.1:111 \
		/usr/local/sbin/pop3-handler --config=/srv/pop3.conf
	serves "journalctl -b -o cat -u starter$BATS_TEST_NUMBER.service"
	inside bash -c 'printf "QUIT\r\n" | curl -sS --max-time 20 telnet://127.0.0.1:111' | grep -q '+OK goodbye'
	[ "$(inside pgrep -cf '^/usr/local/sbin/pop3-handler')" -eq 1 ]
}

@test "LISTEN_FDS that is neither a connection nor a listening socket is refused" {
	status=0
	bash -c 'exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" --user=root' "$HANDLER" 2>log || status=$?
	cat log
	[ "$status" -eq 74 ]
	grep -q 'cannot use the sockets that were passed' log
}
