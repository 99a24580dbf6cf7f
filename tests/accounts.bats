#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# System users under a real systemd: PAM, a checkpassword program and a passwd-file with uids check
# their passwords, Postfix delivers to their home directories, and sessions run under their uids.

load helpers
load boot

setup_file() {
	[ "$SANITIZED" = none ] || return 0 # the units' seccomp filters are not for sanitizers
	boot
	inside meson install -C "$(dirname "$HANDLER")" --no-rebuild >"$BATS_FILE_TMPDIR/install.log"
	inside bash -e <<-'END' >"$BATS_FILE_TMPDIR/install.log" 2>&1
		useradd -m -s /bin/sh ann
		useradd -m -s /bin/sh ben
		useradd -r -m -d /home/robot robot # its uid is below first-valid-uid
		printf '%s\n' ann:apple ben:banana robot:radish | chpasswd
		chmod 700 /home/ann /home/ben

		# A certificate in the layout of certbot.
		cd /etc/letsencrypt 2>/dev/null || { mkdir -m 755 /etc/letsencrypt && cd /etc/letsencrypt; }
		mkdir -m 700 live archive
		mkdir live/machine archive/machine
		cat >/srv/renew <<-'RENEW'
			#!/bin/bash
			# renew NUMBER: makes certificate and key NUMBER and points the links at them.
			set -e
			cd /etc/letsencrypt/archive/machine
			umask 077
			openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 9 -set_serial "$1" \
				-subj /CN=machine -addext subjectAltName=DNS:machine,IP:127.0.0.1 -keyout privkey$1.pem -out fullchain$1.pem
			cd ../../live/machine
			for name in privkey fullchain; do
				ln -s ../../archive/machine/$name$1.pem $name.new
				mv -T $name.new $name.pem
			done
		RENEW
		chmod +x /srv/renew
		/srv/renew 1
		ln -s /etc/letsencrypt/live/machine /etc/pop3-handler/tls

		# A checkpassword program with other passwords than PAM; it becomes the user.
		cat >/srv/checkpassword <<-'PROGRAM'
			#!/bin/bash
			IFS= read -r -d '' -u 3 user
			IFS= read -r -d '' -u 3 password
			exec 3<&-
			case $user:$password in
			ann:cherry | ben:damson) ;;
			down:*) exit 111 ;;
			*) exit 1 ;;
			esac
			export USER=$user HOME=/home/$user SHELL=/bin/sh
			exec setpriv --reuid="$user" --regid="$user" --init-groups "$@"
		PROGRAM
		chmod +x /srv/checkpassword
	END
	local packages=(/var/cache/pop3-handler/postfix_*.deb)
	[ -e "${packages[0]}" ] || return 0
	inside bash -e <<-'END' >>"$BATS_FILE_TMPDIR/install.log" 2>&1
		export DEBIAN_FRONTEND=noninteractive
		dpkg --purge --no-triggers --force-unsafe-io --force-depends $(
			dpkg-query -W -f '${Package} ${Provides}\n' | sed -n 's/ .*mail-transport-agent.*//p') || true
		dpkg --install --no-triggers --force-unsafe-io /var/cache/pop3-handler/postfix_*.deb
		postconf 'home_mailbox = Maildir/' 'mydestination = $myhostname, localhost' 'myhostname = machine' \
			'myorigin = machine' 'alias_maps =' 'alias_database ='
		systemctl daemon-reload
		systemctl restart postfix
	END
}

teardown_file() {
	[ ! -e "$BATS_FILE_TMPDIR/boot.pid" ] || power_off
}

setup() {
	[ "$SANITIZED" = none ] || skip 'the plain build tests the units'
	[ -e "$BATS_FILE_TMPDIR/boot.pid" ]
	setup_site
}

teardown() {
	[ -e "$BATS_FILE_TMPDIR/boot.pid" ] || return 0
	if [ -z "$BATS_TEST_COMPLETED" ]; then
		tail -n 5 "$BATS_FILE_TMPDIR/install.log"
		inside journalctl --no-pager -n 30
	fi
	stop_serving
	inside usermod -U ann
	inside sh -c 'rm -rf /home/ann/Maildir /home/ben/Maildir; printf "" >/etc/pop3-handler/users'
}

# serve FORM LINE...: both ports, by a unit for each connection (`connection`) or by one listener
# (`listener`), with these settings added to the installed ones.
serve() {
	inside sed 's|^mailbox = .*||' /usr/local/share/pop3-handler/pop3-handler.conf >settings
	printf '%s\n' 'login-penalty = 0' "${@:2}" | cat settings - | inside tee /etc/pop3-handler/pop3-handler.conf >/dev/null
	local where=
	[ "$1" = connection ] || where=/usr/local/share/pop3-handler/listener/
	inside systemctl --quiet enable --now --force "${where}pop3.socket" "${where}pop3s.socket"
	[ "$1" = connection ] || inside systemctl start pop3.service pop3s.service
}

stop_serving() {
	inside systemctl --quiet disable --now pop3.socket pop3s.socket pop3.service pop3s.service
	inside systemctl stop 'pop3@*' 'pop3s@*'
	# systemd removes this cgroup late; a socket unit that is started again before that cannot accept.
	inside timeout 5 sh -c 'while [ -d /sys/fs/cgroup/system.slice/pop3s.socket ]; do sleep 0.1; done' || true
}

# have_mail USER NUMBER: waits until the user's Maildir has that many messages.
have_mail() {
	# shellcheck disable=SC2016
	inside setpriv --reuid="$1" --regid="$1" --clear-groups sh -ec '
		mkdir -p -m 700 "$1" "$1/new" "$1/cur" "$1/tmp"
		for number in $(seq "$2"); do
			printf "Subject: mail %s\n\nHello\n" "$number" >"$1/new/$number.M1P1.h"
		done' have "/home/$1/Maildir" "$2"
}

# lists PASSWORD [USER]: curl lists the mail of ann, or of USER, over POP3 in TLS.
lists() {
	inside curl -sS --cacert /etc/pop3-handler/tls/fullchain.pem --user "${2-ann}:$1" pop3s://127.0.0.1/
}

# with_sessions [ARGUMENT...]: runs a Python script from standard input that has a Client and looks at
# the processes of sessions.
with_sessions() {
	{
		cat <<-'END'
			import pwd, re
			ANN = pwd.getpwnam('ann')
			def status(pid, name): # one value for each thread
			    for task in os.listdir(f'/proc/{pid}/task'):
			        text = open(f'/proc/{pid}/task/{task}/status').read()
			        yield re.search(rf'^{name}:[ \t]*(.*)$', text, re.M)[1].split()
			def session(source, user='ann'): # the process that serves a client from this address
			    titles = run('ps -eo pid,args').split('\n')
			    found = [title.split()[0] for title in titles if f'pop3-handler: {user} {source}' in title]
			    assert len(found) == 1, titles
			    return int(found[0])
			def belongs_to(pid, account): # runs as the user, without groups or capabilities, and cannot change back
			    for name, wanted in ('Uid', account.pw_uid), ('Gid', account.pw_gid):
			        for ids in status(pid, name):
			            assert ids == [str(wanted)] * 4, (name, ids)
			    for name, wanted in ('Groups', ''), ('NoNewPrivs', '1'), ('Seccomp', '2'):
			        for found in status(pid, name):
			            assert found == wanted.split(), (name, found)
			    for name in 'CapInh', 'CapPrm', 'CapEff', 'CapAmb':
			        for found in status(pid, name):
			            assert int(found[0], 16) == 0, (name, found)
			def owners(path): # of a directory and everything in it
			    paths = [path] + [os.path.join(top, name) for top, folders, files in os.walk(path) for name in folders + files]
			    return {(os.lstat(path).st_uid, os.lstat(path).st_gid) for path in paths}
		END
		cat
	} | with_client "$@"
}

@test "after useradd and a password, curl lists what Postfix has delivered to a user" {
	inside sh -c 'command -v postfix' || skip 'there is no package postfix: run tools/packages check'
	for user in ann ben; do
		printf 'Subject: for %s\n\nHello\n' "$user" | inside sendmail "$user"
	done
	# shellcheck disable=SC2016
	inside timeout 40 sh -c 'for user in ann ben; do
		until [ -n "$(ls /home/$user/Maildir/new 2>/dev/null)" ]; do sleep 0.1; done; done'
	for form in connection listener; do
		serve "$form" 'auth = pam' 'mailbox = %h/Maildir'
		lists apple | tee list
		grep -q '^1 [1-9]' list
		[ "$(wc -l <list)" -eq 1 ]
		inside curl -sS --cacert /etc/pop3-handler/tls/fullchain.pem --user ben:banana pop3s://127.0.0.1/1 | grep '^Subject: for ben'
		run -67 lists apple ben
		run -67 lists banana
		run -67 lists '!'
		run -67 lists apple nobody-knows
		stop_serving
	done
}

@test "a session runs as its user and owns what it creates" {
	for form in connection listener; do
		serve "$form" 'auth = pam' 'mailbox = %h/Maildir'
		for user in ann ben; do
			have_mail "$user" 3
		done
		with_sessions <<-'END'
			clients = [Client(source='127.0.0.11'), Client(995, source='127.0.0.12', tls=True)]
			login = pwd.getpwnam('pop3-login')
			for client, source, user, password in zip(clients, ('127.0.0.11', '127.0.0.12'), ('ann', 'ben'), ('apple', 'banana')):
			    before = int(run(f"pgrep -f '^pop3-handler: {source}'"))
			    assert all(ids == [str(login.pw_uid)] * 4 for ids in status(before, 'Uid'))
			    assert all(int(value, 16) & ~0xc0 == 0 for value, in status(before, 'CapEff')) # CAP_SETUID, CAP_SETGID
			    client.login(user, password)
			    account = pwd.getpwnam(user)
			    pid = session(source, user)
			    assert pid == before
			    belongs_to(pid, account)
			    client.expect('RETR 1', '+OK')
			    while client.hear() != '.':
			        pass
			    client.expect('DELE 2', '+OK')
			    client.expect('SLEE', '+OK')
			    belongs_to(pid, account)
			    client.expect('WAKE', '+OK')
			    client.expect('DELI 2', '+OK')
			    client.expect('QUIT', '+OK')
			    maildir = f'{account.pw_dir}/Maildir'
			    wait_for(lambda: not os.path.exists(f'/proc/{pid}'))
			    assert owners(maildir) == {(account.pw_uid, account.pw_gid)}
			    assert os.listdir(f'{maildir}/cur') == ['1.M1P1.h:2,S'] and os.listdir(f'{maildir}/new') == []
			    assert os.path.exists(f'{maildir}/.pop3-handler.state')
		END
		stop_serving
		inside rm -r /home/ann/Maildir /home/ben/Maildir
	done
}

@test "only processes of the keeper see passwords, and no other process can read a shadow file" {
	serve listener 'auth = pam' 'mailbox = %h/Maildir'
	have_mail ann 1
	with_sessions <<-'END'
		client = Client(source='127.0.0.13').login('ann')
		keeper, login = pwd.getpwnam('pop3-keeper'), pwd.getpwnam('pop3-login')
		unit = run('systemctl show -P ControlGroup pop3.service')
		def pids(): # the kernel shows 0 for a process that is ending, such as the checker
		    return set(run(f'cat /sys/fs/cgroup{unit}/cgroup.procs').split())
		wait_for(lambda: len(pids()) == 3 and '0' not in pids())
		pids = pids()
		uids = sorted(int(ids[0]) for pid in pids for ids in list(status(pid, 'Uid'))[:1])
		assert uids == sorted([keeper.pw_uid, login.pw_uid, ANN.pw_uid]), uids
		main = run('systemctl show -P MainPID pop3.service')
		assert all(ids == [str(login.pw_uid)] * 4 for ids in status(main, 'Uid'))
		assert all(int(value, 16) & ~0xc0 == 0 for value, in status(main, 'CapEff'))
		for pid in pids:
		    for ids in status(pid, 'Uid'):
		        if ids == [str(keeper.pw_uid)] * 4: # at most CAP_DAC_READ_SEARCH
		            assert all(int(value, 16) & ~0x4 == 0 for value, in status(pid, 'CapEff'))
		client.expect('QUIT', '+OK')
	END
}

@test "usermod -L refuses a user, also at WAKE, and usermod -U lets it in again" {
	for form in connection listener; do
		serve "$form" 'auth = pam' 'mailbox = %h/Maildir'
		have_mail ann 2
		with_sessions <<-'END'
			def refuses(password='apple'):
			    client = Client()
			    client.expect('USER ann', '+OK')
			    client.expect(f'PASS {password}', '-ERR [AUTH]')
			sleeper, other = Client(995, tls=True).login('ann'), Client(source='127.0.0.15')
			sleeper.expect('DELE 1', '+OK')
			sleeper.expect('SLEE', '+OK')
			sleeper.expect('WAKE', '+OK')
			sleeper.expect('SLEE', '+OK')
			run('usermod -L ann')
			refuses()
			sleeper.expect('WAKE', '-ERR [AUTH]')
			other.expect('USER ben', '+OK')
			other.expect('PASS banana', '+OK') # other users are not affected
			run('usermod -U ann')
			again = Client(source='127.0.0.16').login('ann')
			again.expect('STAT', '+OK 1 ')
			again.expect('SLEE', '+OK')
			# A changed password ends the login, and so does an expired one.
			run('echo ann:another | chpasswd')
			again.expect('WAKE', '-ERR [AUTH]')
			refuses()
			Client(source='127.0.0.17').login('ann', 'another').expect('QUIT', '+OK')
			run('chage -d 0 ann')
			refuses('another')
			run('echo ann:apple | chpasswd')
			Client(source='127.0.0.18').login('ann').expect('QUIT', '+OK')
		END
		stop_serving
		inside rm -r /home/ann/Maildir
	done
}

@test "no account below first-valid-uid can log in, unless the settings allow it" {
	serve listener 'auth = pam' 'mailbox = %h/Maildir'
	with_sessions <<-'END'
		client = Client(source='127.0.0.19')
		client.expect('USER robot', '+OK')
		client.expect('PASS radish', '-ERR')
		logged("login of 'robot' from 127.0.0.19 refused")
		run(f'echo "first-valid-uid = {pwd.getpwnam("robot").pw_uid}" >>/etc/pop3-handler/pop3-handler.conf')
		run('systemctl reload pop3.service')
		wait_for(lambda: (client := Client(source='127.0.0.20')).ask('USER robot') and client.ask('PASS radish').startswith('+OK'))
	END
}

@test "a checkpassword program logs in the user that it becomes" {
	for form in connection listener; do
		serve "$form" 'auth = checkpassword /srv/checkpassword' 'mailbox = %h/Maildir'
		have_mail ann 2
		lists cherry | grep '^2 '
		with_sessions <<-'END'
			client = Client(995, source='127.0.0.21', tls=True).login('ann', 'cherry')
			pid = session('127.0.0.21')
			belongs_to(pid, ANN)
			client.expect('DELE 1', '+OK')
			client.expect('SLEE', '+OK')
			client.expect('WAKE', '+OK')
			client.expect('QUIT', '+OK')
			assert owners('/home/ann/Maildir') == {(ANN.pw_uid, ANN.pw_gid)}
			for user, password, answer in ('ann', 'apple', '-ERR [AUTH]'), ('down', 'x', '-ERR [SYS/TEMP]'):
			    client = Client(source='127.0.0.22')
			    client.expect(f'USER {user}', '+OK')
			    client.expect(f'PASS {password}', answer)
		END
		stop_serving
		inside rm -r /home/ann/Maildir
	done
}

@test "a passwd-file gives accounts their uids; accounts without one use mail-user" {
	# shellcheck disable=SC2016
	inside sh -ec 'echo "ann:{PLAIN}elder:$(id -u ann):$(id -g ann)::/home/ann" >>/etc/pop3-handler/users
		printf "%s\n" "virtual:{PLAIN}fig::::/var/vmail/virtual" "root:{PLAIN}grape:0:0::/root" >>/etc/pop3-handler/users
		mkdir -p /var/vmail/virtual/Maildir/new
		printf "Subject: v\n\nHello\n" >/var/vmail/virtual/Maildir/new/1.M1P1.h
		chown -R vmail: /var/vmail'
	for form in connection listener; do
		serve "$form" 'mailbox = %h/Maildir'
		have_mail ann 2
		lists elder | grep '^2 '
		lists fig virtual | grep '^1 '
		run -67 lists apple
		run ! lists grape root
		with_sessions <<-'END'
			for user, password, account in ('ann', 'elder', 'ann'), ('virtual', 'fig', 'vmail'):
			    client = Client(source='127.0.0.23').login(user, password)
			    pid = session('127.0.0.23', user)
			    belongs_to(pid, pwd.getpwnam(account))
			    client.expect('SLEE', '+OK')
			    client.expect('WAKE', '+OK')
			    client.expect('SLEE', '+OK')
			    run(f"sed -i 's/^{user}:.PLAIN./&x/' /etc/pop3-handler/users")
			    client.expect('WAKE', '-ERR [AUTH]')
			    run(f"sed -i 's/^{user}:.PLAIN.x/{user}:{{PLAIN}}/' /etc/pop3-handler/users")
			    account = pwd.getpwnam(account)
			    assert owners(f'{account.pw_dir}/Maildir' if user == 'ann' else '/var/vmail/virtual') == {(account.pw_uid, account.pw_gid)}
		END
		stop_serving
		inside rm -r /home/ann/Maildir
	done
}

@test "a mailbox that belongs to another user is refused and logged" {
	# shellcheck disable=SC2016
	inside sh -ec 'echo "ann:{PLAIN}elder:$(id -u ann):$(id -g ann)::/home/ben" >>/etc/pop3-handler/users'
	for form in connection listener; do
		serve "$form" 'mailbox = %h/Maildir'
		have_mail ben 1
		with_sessions "$form" <<-'END'
			source = '127.0.0.24' if sys.argv[1] == 'connection' else '127.0.0.25'
			client = Client(source=source)
			client.expect('USER ann', '+OK')
			client.expect('PASS elder', '-ERR')
			logged(f"login of 'ann' from {source} refused")
		END
		stop_serving
		inside rm -r /home/ben/Maildir
	done
}

@test "a renewed certificate is served without a restart, and sleeping sessions continue" {
	number=1
	for form in connection listener; do
		serve "$form" 'auth = pam' 'mailbox = %h/Maildir'
		have_mail ann 1
		with_sessions "$form" "$number" <<-'END'
			import ssl
			def serial(port):
			    option = '-starttls pop3' if port == 110 else ''
			    return run(f'openssl s_client -connect 127.0.0.1:{port} {option} -CAfile /etc/pop3-handler/tls/fullchain.pem '
			               '-verify_return_error </dev/null 2>/dev/null | openssl x509 -noout -serial || true')
			form, number = sys.argv[1], int(sys.argv[2])
			assert serial(995) == serial(110) == f'serial=0{number}', serial(995)
			main = run('systemctl show -P MainPID pop3s.service')
			sleeper = Client(995, source='127.0.0.26', tls=True).login('ann')
			sleeper.expect('SLEE', '+OK')
			connected = socket.create_connection(('127.0.0.1', 995)) # connected before the renewal; the handshake comes after it
			run(f'/srv/renew {number + 1}')
			wait_for(lambda: serial(995) == f'serial=0{number + 1}')
			wait_for(lambda: serial(110) == f'serial=0{number + 1}')
			context = ssl.create_default_context()
			context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
			assert context.wrap_socket(connected).recv(3) == b'+OK'
			sleeper.expect('WAKE', '+OK')
			sleeper.expect('STAT', '+OK 1 ')
			sleeper.expect('QUIT', '+OK')
			assert run('systemctl show -P MainPID pop3s.service') == main
			assert run('systemctl show -P NRestarts pop3s.service') == '0'
		END
		number=$((number + 1))
		stop_serving
	done
}

@test "TLS sessions resume in another process, though no talker can read the ticket key" {
	for form in connection listener; do
		serve "$form" 'auth = pam' 'mailbox = %h/Maildir'
		for version in 1.2 1.3; do
			inside timeout 20 gnutls-cli --priority "NORMAL:-VERS-ALL:+VERS-TLS$version" --resume --waitresumption \
				--x509cafile /etc/pop3-handler/tls/fullchain.pem -p 995 127.0.0.1 <<<QUIT >out 2>&1
			cat out
			grep -F '*** This is a resumed session' out
		done
		stop_serving
	done
	[ "$(inside stat -c '%U %a' /run/pop3-handler/ticket-key)" = 'pop3-login 600' ]
}

@test "pop3-check finds no mistake" {
	for form in connection listener; do
		serve "$form" "auth = $([ "$form" = listener ] && echo pam || echo passwd-file)" 'mailbox = %h/Maildir'
		run inside pop3-check
		echo "$output"
		[ "$status" -eq 0 ]
		[ -z "$output" ]
		stop_serving
	done
}
