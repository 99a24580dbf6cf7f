#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# One session per mailbox.

load helpers

@test "a second session of the same user is refused, and may try again" {
	make_maildir alice
	start_session one
	login one
	start_session two
	ask two 'USER alice'
	ask two 'PASS apple'
	[ "$reply" = '-ERR [IN-USE] the mailbox is locked by another session' ]
	ask one QUIT
	ask two 'USER alice'
	ask two 'PASS apple'
	[[ $reply == '+OK '* ]]
}

# start_traced NAME: a session whose calls for the lock are in NAME.trace.
start_traced() {
	ASAN_OPTIONS=detect_leaks=0 start_session "$1" \
		strace -qq -I 2 -o "$1.trace" -e trace=fcntl "$HANDLER" "${options[@]}"
}

# locked NAME: waits until a traced session has found the mailbox locked.
locked() {
	until grep -q 'F_OFD_SETLK.*EAGAIN' "$1.trace"; do :; done
}

# try_lock NAME: a session of alice finds the mailbox locked.
try_lock() {
	start_traced "$1"
	ask "$1" 'USER alice'
	say "$1" 'PASS apple'
	locked "$1"
}

@test "PASS, AUTH and WAKE wait for the lock, and succeed when it is released" {
	make_maildir alice
	for command in 'PASS apple' "AUTH PLAIN $(printf '\0alice\0apple' | base64)" WAKE; do
		start_traced two
		if [ "$command" = WAKE ]; then
			login two
			ask two SLEE
		else
			ask two 'USER alice'
		fi
		start_session one
		login one
		say two "$command"
		locked two
		ask one QUIT
		hear two
		echo "$command: $reply"
		[[ $reply == '+OK '*messages ]]
		hang_up one
		hang_up two
		[ -z "$(troubles two.log)" ]
		rm one.* two.*
	done
}

@test "a session that waits for the lock ends when its client leaves, and on SIGTERM" {
	make_maildir alice
	start_session one
	login one
	for how in leave TERM; do
		try_lock two
		[ $how = leave ] || pkill -TERM -P "$pid_two"
		hang_up two
		grep 'ended before login' two.log
		[ "$(grep -c F_OFD_SETLK two.trace)" -lt 30 ]
		rm two.*
	done
}

@test "a session that waits for the lock does not count towards max-logins" {
	make_maildir alice
	# shellcheck disable=SC2034
	wrapper=(strace -f -qq -o trace -e trace=fcntl)
	ASAN_OPTIONS=detect_leaks=0 listen_port --max-logins=1
	with_client <<-'END'
		one = Client(port).login()
		two = Client(port)
		two.expect('USER alice', '+OK')
		two.say('PASS apple')
		wait_for(lambda: 'EAGAIN' in open('trace').read())
		for i in range(3):
		    Client(port).login('bob', 'banana split ').expect('QUIT', '+OK')
		one.expect('QUIT', '+OK')
		assert two.hear().startswith('+OK'), 'evicted'
	END
}

@test "a client that got [IN-USE] has not logged in: it does not stop the service from ending" {
	make_maildir alice
	listen_port
	with_client <<-'END'
		one = Client(port).login()
		two = Client(port)
		two.expect('USER alice', '+OK')
		two.expect('PASS apple', '-ERR [IN-USE]')
		one.expect('QUIT', '+OK')
		start = time.monotonic()
		os.kill(listener, signal.SIGTERM)
		assert two.hear() == ''
		assert time.monotonic() - start < 20
	END
}

@test "a folder is locked like a Maildir, and each mailbox has its own lock" {
	mkdir "$mail/alice" "$mail/bob"
	start_session one
	login one
	start_session two
	login two bob 'banana split '
	try_lock three
}

@test "SLEE releases the lock, and WAKE takes it again" {
	make_maildir alice
	start_session one
	login one
	ask one SLEE
	start_session two
	login two
	ask two QUIT
	ask one WAKE
	[[ $reply == '+OK '* ]]
	try_lock three
}

@test "the lock is released before QUIT is answered" {
	make_maildir alice
	for _ in {1..10}; do
		start_session one
		start_session two
		login one
		ask two 'USER alice'
		ask one QUIT
		ask two 'PASS apple'
		[[ $reply == '+OK '* ]]
		hang_up one
		hang_up two
		rm one.* two.*
	done
}

@test "the lock is released after a session ends, however it ends" {
	make_maildir alice
	for signal in KILL TERM HUP SEGV; do
		start_session one
		login one
		kill -s $signal "$pid_one"
		hang_up one
		as_alice STAT
		[ "${lines[0]}" = '+OK 0 0' ]
		rm one.*
	done
	start_session one
	login one
	hang_up one
	as_alice STAT
}

@test "the lock creates one file, which is not a message" {
	make_maildir alice
	mkdir "$mail/bob"
	as_alice STAT QUIT
	talk 'USER bob' 'PASS banana split ' STAT QUIT
	[ "${lines[3]}" = '+OK 0 0' ]
	[ "$(find "$mail" -type f)" = "$(printf '%s\n' "$mail/alice/.pop3-handler.state" "$mail/bob/.pop3-handler.state" |
		sort)" ] || [ "$(find "$mail" -type f | wc -l)" -eq 2 ]
	[ "$(stat -c %a "$mail/alice/.pop3-handler.state")" = 600 ]
}

@test "a lock file that is a link, a FIFO or a directory is refused and never followed" {
	make_maildir alice
	echo "somebody's" >"$mail/other"
	for kind in link hard fifo directory; do
		case $kind in
		hard) ln "$mail/other" "$mail/alice/.pop3-handler.state" ;;
		link) ln -s "$mail/elsewhere" "$mail/alice/.pop3-handler.state" ;;
		fifo) mkfifo "$mail/alice/.pop3-handler.state" ;;
		directory) mkdir "$mail/alice/.pop3-handler.state" ;;
		esac
		talk 'USER alice' 'PASS apple' NOOP QUIT
		[[ ${lines[2]} == '-ERR [SYS/'* ]]
		[ ! -e "$mail/elsewhere" ]
		[ "$(cat "$mail/other")" = "somebody's" ]
		rm -r "$mail/alice/.pop3-handler.state"
	done
}

@test "a lock file with a second hard link, from a linked backup, is accepted" {
	make_maildir alice
	make_message alice/new/1.M1P1.h
	make_message alice/new/2.M1P1.h
	as_alice 'DELE 1' QUIT
	cp -al "$mail/alice" "$mail/backup"
	as_alice 'DELE 1' QUIT
	[ "${lines[1]}" = '+OK goodbye' ]
	[ -z "$(files alice)" ]
	[ "$(files backup)" = ./new/2.M1P1.h ]
	# The same with an empty file and with one that holds a record.
	for content in '' po3comm1; do
		printf '%s' "$content" >"$mail/alice/.pop3-handler.state"
		as_alice QUIT
		[ "${lines[0]}" = '+OK goodbye' ]
	done
}

@test "on a read-only file system without a lock file there is still only one session at a time" {
	needs_root
	make_maildir alice
	cat >scenario.py <<-'END'
		import os, subprocess, sys
		mail, command = sys.argv[1], sys.argv[2:]
		subprocess.run(['mount', '--bind', mail, mail], check=True)
		subprocess.run(['mount', '-o', 'remount,bind,ro', mail], check=True)
		def login(*prefix):
		    handler = subprocess.Popen([*prefix, *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
		    handler.stdin.write(b'USER alice\r\nPASS apple\r\n')
		    handler.stdin.flush()
		    return handler
		def answer(handler):
		    return [handler.stdout.readline() for _ in range(3)][-1]
		one = login()
		assert answer(one).startswith(b'+OK')
		two = login('strace', '-qq', '-o', 'trace', '-e', 'trace=fcntl,flock')
		while not os.path.exists('trace') or b'EAGAIN' not in open('trace', 'rb').read():
		    pass
		one.communicate(b'QUIT\r\n')
		assert answer(two).startswith(b'+OK')
	END
	unshare --mount /usr/bin/python3 scenario.py "$mail" "$HANDLER" "${options[@]}"
}

@test "read-only sessions take no lock" {
	make_maildir alice
	options+=(--read-only=yes)
	start_session one
	login one
	start_session two
	login two
	[ ! -e "$mail/alice/.pop3-handler.state" ]
}
