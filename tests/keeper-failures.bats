#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# A keeper, or a service it asks, fails, hangs or is missing: a login gets [SYS/TEMP] within half of login-timeout,
# no failure is counted, sessions that have logged in continue, and a line is logged.

load helpers
load keeper

setup() {
	setup_keeper
}

# connect NAME: opens a session of the listener.
connect() {
	local end
	exec {end}<>"/dev/tcp/127.0.0.1/$port"
	eval "to_$1=$end from_$1=$end"
	hear "$1"
	eval "pid_$1=$(pgrep -P "$listener" -n)"
	sessions+=("$1")
	[[ $reply == +OK* ]]
}

# now: prints milliseconds.
now() {
	local time=${EPOCHREALTIME/[.,]/}
	echo "${time%???}"
}

# begins_login NAME USER [PASSWORD]; fails_soon NAME: the login fails in time.
begins_login() {
	ask "$1" "USER $2"
	begun=$(now)
	say "$1" "PASS ${3-secret}"
}

fails_soon() {
	hear "$1"
	[[ $reply == '-ERR [SYS/TEMP]'* ]]
	[ $(($(now) - begun)) -lt $((2000 + ${slack-0})) ]
}

# alone USER REASON: the same for a session with its own keeper, whose lines no other session's quota omits.
alone() {
	begins_login alone "$1"
	fails_soon alone
	cat alone.log
	grep -xE "pop3-handler: login of '$1' from .* refused: $2" alone.log
	hang_up alone
	rm alone.*
}

# goes_on NAME: a session of ann that has logged in still works.
goes_on() {
	ask "$1" 'RETR 1'
	[[ $reply == '+OK'* ]]
	hear_all "$1"
	[ "${lines[0]}" = 'Subject: ann' ]
}

# logs_in_at_once USER: logs in without a wait.
logs_in_at_once() {
	connect later
	ask later "USER $1"
	begun=$(now)
	ask later 'PASS secret'
	[[ $reply == '+OK'* ]]
	[ $(($(now) - begun)) -lt 1000 ]
	ask later QUIT
}

# is_gone PID: the process has ended, or ends within a second.
is_gone() {
	for _ in {1..20}; do
		grep -qs '^State:.[^ZX]' "/proc/$1/status" || return 0
		sleep 0.05
	done
	return 1
}

# checks_by SCRIPT: a program knows the accounts that the passwd-file does not have. `users` has only ann.
checks_by() {
	printf '#!/bin/sh\n%s\n' "$1" >program
	chmod 755 program
	sed -i '/^ann:/!d' "$users"
	options+=(--auth=passwd-file "--auth=checkpassword $PWD/program")
}

# hangs: makes the passwd-file a pipe without a writer, until `works`.
hangs() {
	mkfifo -m 640 accounts/hanging
	chgrp 64990 accounts/hanging
	mv "$users" accounts/there
	mv accounts/hanging "$users"
}

works() {
	mv accounts/there "$users"
}

# checkers COUNT: waits until the keeper has this number of living children.
checkers() {
	until [ "$(pgrep -r D,R,S,T -c -P "$keeper")" -eq "$1" ]; do
		:
	done
}

@test "when the keeper is killed, waiting logins fail at once, and logged-in sessions continue" {
	listen_keeper
	connect one
	login one ann secret
	connect two
	connect three
	hangs
	begins_login two ben
	checkers 1
	read -r checker _ <"/proc/$keeper/task/$keeper/children" || true
	kill -KILL "$keeper"
	slack=-1500
	fails_soon two
	begins_login three ben # the checker of another session must hold no end of the channel
	fails_soon three
	is_gone "$checker"
	goes_on one
	logged 'the keeper has ended (Killed): nobody can log in, so the service ends'
	connect four || [[ $reply == '-ERR [SYS/TEMP]'* ]]
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	status=0
	wait "$listener" || status=$?
	[ "$status" -ne 0 ]
}

@test "when the keeper is killed, clients that are refused cause one line a second" {
	listen_keeper
	export keeper
	with_client <<-'END'
		user = Client(port).login('ann', 'secret') # the listener goes on until it leaves
		start = time.monotonic()
		os.kill(int(os.environ['keeper']), signal.SIGKILL)
		wait_for(lambda: 'the keeper has ended' in open('log').read())
		for _ in range(100):
		    assert Client(port).greeting.startswith('-ERR [SYS/TEMP]')
		wait_for(lambda: len(children()) == 1)
		elapsed = time.monotonic() - start
		user.expect('QUIT', '+OK')
		lines = open('log').read().count('cannot reach the keeper: ')
		assert lines <= elapsed + 1, (lines, elapsed)
	END
	wait "$listener" || true
	count=$(grep -c 'cannot reach the keeper: ' log) || true
	grep "lines about 127.0.0.1 were omitted: .*\b$((100 - count)) other" log
}

@test "when the keeper is killed, the listener does not wait for a session that it has left" {
	# A session with the ids of its account, but no mailbox, which has stopped.
	"${wrapper[@]}" "$HANDLER" "${options[@]}" --login-timeout=8 --listen=127.0.0.1:0 </dev/null >listening 2>log &
	background+=($!)
	listener=$!
	until grep -q listening listening; do
		sleep 0.1
	done
	port=$(sed 's/.*://' listening)
	read -r keeper _ <"/proc/$listener/task/$listener/children" || [ -n "$keeper" ]
	connect one
	login one ann secret
	connect two
	ask two 'USER ann'
	ask two 'PASS secret'
	[[ $reply == *IN-USE* ]]
	kill -STOP "$pid_two"
	logged 'does not end, and is left'
	ask one QUIT
	kill -KILL "$keeper"
	status=0
	wait "$listener" || status=$?
	kill -KILL "$pid_two"
	[ "$status" -ne 0 ]
}

@test "while the keeper is stopped a login fails, and succeeds as soon as it continues" {
	listen_keeper
	connect one
	login one ann secret
	connect two
	kill -STOP "$keeper"
	begins_login two ben
	slack=300 # a session waits for half of login-timeout
	fails_soon two
	goes_on one
	kill -CONT "$keeper"
	logs_in_at_once ben
}

@test "a session that waits for the keeper ends at once if it is evicted, with a message, or the service ends" {
	options+=(--login-timeout=60)
	for state in delayed checked; do
		listen_keeper --max-logins=1 --login-penalty=2
		[ "$state" = delayed ] || hangs
		with_client <<-END
			if '$state' == 'delayed': # the fourth failure is
			    for i in range(3):
			        client = Client(port)
			        client.expect('USER ann', '+OK')
			        client.expect(f'PASS wrong{i}', '-ERR [AUTH]')
			        client.close()
			def begin(source):
			    before = set(children())
			    client = Client(port, source=source)
			    [pid] = set(children()) - before
			    client.say('USER ann\\r\\nPASS wrong') # at once: the first reply must not wait
			    assert client.hear() == '+OK send PASS'
			    return client
			evicted = begin('127.0.0.1')
			waiting = begin('127.0.2.1')
			assert evicted.hear() == '-ERR [SYS/TEMP] too many clients are logging in, try again later'
			assert evicted.hear() == ''
			os.kill(listener, signal.SIGTERM)
			assert waiting.hear() == ''
		END
		wait "$listener"
		run ! grep -E 'is killed|does not answer|login of .ann. from 127.0.2.1' log
	done
}

@test "a login that waits for the keeper ends at login-timeout" {
	options=("${options[@]/#--login-penalty=*/--login-penalty=60}" --login-timeout=1)
	ln -s log alone.log
	start_keeper alone
	ask alone 'USER ann'
	say alone 'PASS wrong'
	logged 'ended before login: timed out'
	rm log
	listen_keeper
	with_client <<-'END'
		client = Client(port)
		client.expect('USER ann', '+OK')
		assert client.ask('PASS wrong') == ''
		wait_for(lambda: len(children()) == 1) # the keeper
	END
	run ! grep 'is killed' log
}

@test "a burst of connections waits for a busy keeper" {
	listen_keeper --max-sessions=1000 --max-sessions-per-source=1000 --max-logins=1000
	kill -STOP "$keeper"
	ends=()
	for _ in {1..320}; do # a socket queues fewer messages
		exec {end}<>"/dev/tcp/127.0.0.1/$port"
		ends+=("$end")
	done
	kill -CONT "$keeper"
	for end in "${ends[@]}"; do
		read -r -t 20 -u "$end" line
		[[ $line == '+OK'* ]]
	done
	[ -z "$(troubles)" ]
}

@test "while a checker hangs its login fails, without being counted, and no other login does" {
	options+=(--login-penalty=1)
	listen_keeper
	connect one
	login one ann secret
	start_keeper alone
	hangs
	for i in {1..6}; do # more than there are free checkers; a repeated attempt counts once
		connect "two$i"
		begins_login "two$i" ben "secret$i"
	done
	for i in {1..6}; do
		fails_soon "two$i"
	done
	alone ben 'the check takes too long'
	goes_on one
	works
	logs_in_at_once ben
}

@test "with more logins than checkers, the next login waits for a free one, and others are refused" {
	listen_keeper --max-sessions-per-source=100 --login-timeout=10
	slack=3000 # half of that is five seconds
	connect one
	login one ann secret
	hangs
	for i in {1..32}; do
		connect "slow$i"
		ask "slow$i" 'USER ben'
	done
	connect next
	ask next 'USER ben'
	begun=$(now)
	for i in {1..32}; do
		say "slow$i" 'PASS secret'
	done
	checkers 32
	say next 'PASS secret'
	goes_on one
	works
	hear next
	[[ $reply == '+OK 1 '* ]]
	for i in {1..32}; do
		fails_soon "slow$i"
	done
	logs_in_at_once vic
}

@test "a login from a trusted network does not wait behind those of strangers" {
	checks_by 'exec sleep 600'
	listen_keeper --max-sessions-per-source=100 --login-timeout=100 --trusted-networks=127.200.0.1
	checks="pgrep -c -P $keeper"
	with_client < <(
		echo "checks = '$checks'"
		cat <<-'END'
			import select
			strangers = [Client(port, source=f'127.1.{i}.1') for i in range(40)]
			for i, client in enumerate(strangers):
			    client.expect(f'USER stranger{i}', '+OK')
			    client.say('PASS wrong')
			wait_for(lambda: subprocess.run(checks.split(), capture_output=True, text=True).stdout == '32\n')
			# It gets an answer, and no stranger does.
			Client(port, source='127.200.0.1').login('ann', 'secret').expect('QUIT', '+OK')
			assert not select.select([client.socket for client in strangers], [], [], 0)[0]
		END
	)
}

@test "logins that wait for a checker are checked in the order of their arrival" {
	checks_by "head -c 3 <&3 >>$PWD/order
echo >>$PWD/order
sleep 2
exit 1"
	listen_keeper --max-sessions-per-source=100 --login-timeout=30
	for i in {10..49}; do
		connect "w$i"
		ask "w$i" "USER n$i"
	done
	for i in {10..49}; do
		say "w$i" 'PASS wrong'
		sleep 0.03
	done
	until [ -e order ] && [ "$(wc -l <order)" -eq 40 ]; do
		sleep 0.1
	done
	cat order
	[ "$(sed -n '33,36p' order | sort)" = "$(printf 'n%s\n' {42..45})" ]
}

@test "a login fails if its checker stops or dies, or if its program hangs or lingers" {
	# shellcheck disable=SC2016
	checks_by 'user=$(head -c 3 <&3)
case $user in
sto) kill -STOP $PPID ;;
die) kill -KILL $PPID ;;
han) echo $$ >hanging; (sleep 60 & echo $! >sleeping); exec sleep 60 ;;
lin) (sleep 60 & echo $! >lingering); exit 1 ;;
*) HOME=/home USER=$user exec setpriv --reuid=61002 --regid=61002 --clear-groups "$@" ;;
esac'
	options+=("--mailbox=$homes/%u/Maildir" --trusted-networks=127.0.0.1) # after a crash strangers wait
	listen_keeper
	connect one
	login one ann secret
	for user in sto die han; do
		connect "$user"
		begins_login "$user" "$user"
		fails_soon "$user"
	done
	start_keeper alone
	alone die 'the checker ended without an answer'
	start_keeper alone
	alone han 'the check takes too long'
	is_gone "$(cat hanging)"
	is_gone "$(cat sleeping)"
	connect lin
	begins_login lin lin
	hear lin
	[[ $reply == '-ERR [AUTH]'* ]]
	is_gone "$(cat lingering)"
	goes_on one
	logs_in_at_once ben
}

@test "after a checker has crashed its source waits, and after many all strangers do" {
	# shellcheck disable=SC2016
	checks_by 'kill -KILL $PPID'
	listen_keeper --trusted-networks=127.0.7.1
	with_client <<-'END'
		def crash(i):
		    client = Client(port, source=f'127.1.1.{i}')
		    client.expect('USER die', '+OK')
		    client.expect('PASS x', '-ERR [SYS/TEMP]')
		    assert client.hear() == '' # and no other check
		crash(1)
		wait_for(lambda: not Client(port, source='127.1.1.1').greeting)
		for i in range(2, 12):
		    crash(i)
		wait_for(lambda: not Client(port, source='127.0.9.1').greeting)
		Client(port, source='127.0.7.1').login('ann', 'secret')
		wait_for(lambda: Client(port, source='127.0.9.1').greeting)
	END
	logged "login of 'die' from 127.1.1.1 refused: the checker ended without an answer"
	logged 'for 1 seconds only clients of trusted-networks are served'
}

@test "a checker that has ended is reaped, even if it is the last one" {
	listen_keeper
	connect one
	login one ann secret
	for _ in {1..100}; do
		read -r child _ <"/proc/$keeper/task/$keeper/children" || [ -n "$child" ] || break
		sleep 0.05
	done
	[ -z "$child" ]
}

@test "a stalled log stops no process of a service with a keeper" {
	"$BATS_TEST_DIRNAME/stalled-log.py" pipe log >shown 3>&- &
	background+=($!)
	until [ -s shown ]; do
		kill -0 $!
	done
	ln -s log alone.log
	start_keeper alone
	login alone ann secret
	ask alone QUIT
	listen_keeper
	connect one
	login one ann secret
	connect two
	ask two 'USER nobody'
	ask two 'PASS x'
	[[ $reply == '-ERR [AUTH]'* ]]
	kill -HUP "$listener"
	logs_in_at_once ben
	kill "$listener"
	goes_on one
	ask one QUIT
	wait "$listener"
	is_gone "$keeper"
}

@test "a user who kills their own sessions keeps no other user out" {
	listen_keeper --login-timeout=60
	with_client <<-'END'
		def is_session(pid): # the keeper is a child of the listener as well
		    try:
		        return 'keeper' not in open(f'/proc/{pid}/cmdline').read()
		    except OSError: # the process has just ended
		        return False
		def sessions():
		    return [pid for pid in children() if is_session(pid)]
		for i in range(12):
		    client = Client(port, source=f'127.1.1.{i + 1}') # otherwise it would be closed
		    client.login('ann', 'secret')
		    os.kill(sessions()[0], signal.SIGABRT)
		    wait_for(lambda: not sessions())
		assert Client(port, source='127.1.1.1').greeting == '' # waits, as after any crash
		# Nor do those that are their user's, but could not log in because the mailbox was locked.
		user = Client(port, source='127.2.2.1').login('ann', 'secret')
		kept, waiting = sessions(), [Client(port, source=f'127.3.{i}.1') for i in range(12)]
		for client in waiting:
		    client.expect('USER ann', '+OK')
		    client.say('PASS secret')
		for client in waiting:
		    assert client.hear().startswith('-ERR [IN-USE]')
		for pid in set(sessions()) - set(kept):
		    os.kill(pid, signal.SIGABRT)
		wait_for(lambda: sessions() == kept)
		Client(port, source='127.0.0.2').login('ben', 'secret')
	END
}

@test "a session with the ids of its user is evicted, or left if it is stopped, and the service ends without it" {
	listen_keeper --login-timeout=60 --max-logins=1
	with_client <<-'END'
		user = Client(port).login('ann', 'secret')
		def lock_out(source):
		    before = set(children())
		    client = Client(port, source=source)
		    [pid] = set(children()) - before
		    client.expect('USER ann', '+OK')
		    client.expect('PASS secret', '-ERR [IN-USE]')
		    assert 'Uid:\t61001' in open(f'/proc/{pid}/status').read()
		    return client, pid
		others = []
		def evict(client): # the first client has the listener count again
		    for i in range(2):
		        others.append(Client(port, source=f'127.2.{len(others)}.1'))
		def has_ended():
		    try:
		        return ') Z' in open(f'/proc/{listener}/stat').read()
		    except FileNotFoundError:
		        return True
		client, _ = lock_out('127.0.1.1')
		evict(client)
		assert client.hear().startswith('-ERR [SYS/TEMP]')
		client, pid = lock_out('127.0.1.1')
		os.kill(pid, signal.SIGSTOP)
		try:
		    evict(client)
		    wait_for(lambda: 'does not end, and is left' in open('log').read())
		    os.kill(listener, signal.SIGTERM)
		    user.expect('QUIT', '+OK')
		    wait_for(has_ended)
		finally:
		    os.kill(pid, signal.SIGKILL)
	END
}

@test "sessions that a user has stopped, and that are left, do not keep others from being evicted" {
	options+=(--login-timeout=60)
	listen_keeper --max-logins=66 --max-sessions-per-source=100
	with_client <<-'END'
		user = Client(port, source='127.0.5.1').login('ann', 'secret')
		before = set(children())
		held = [Client(port, source='127.0.1.1') for i in range(65)]
		pids = set(children()) - before
		for client in held:
		    client.expect('USER ann', '+OK')
		    client.say('PASS secret')
		for client in held:
		    assert client.hear().startswith('-ERR [IN-USE]')
		for pid in pids:
		    os.kill(pid, signal.SIGSTOP)
		try: # evict more of them than may be evicted at once
		    others = []
		    while len(others) < 200 and (not others or others[-1].greeting.startswith('+OK')):
		        others.append(Client(port, source=f'127.1.{len(others)}.1'))
		    wait_for(lambda: Client(port, source='127.2.0.1').greeting.startswith('+OK'))
		finally:
		    for pid in pids:
		        os.kill(pid, signal.SIGKILL)
	END
}

@test "a login fails if a PAM module crashes, or if NSS hangs" {
	pam=${HANDLER%/*}/pop3-handler-pam.so
	[ -e "$pam" ] || skip 'PAM is not built in'
	printf 'auth required %s/tests/pam-odd.so crashes\naccount required pam_permit.so\n' "${HANDLER%/*}" >pop3
	cp -r /etc/pam.d pam.d
	cp pop3 pam.d/pop3
	echo "crash:x:61004:61004::$homes/ben:/bin/sh" >>passwd
	echo 'passwd: files hang' >nsswitch.conf
	# shellcheck disable=SC2016
	wrapper+=(sh -ec 'mount --bind nsswitch.conf /etc/nsswitch.conf; mount --bind pam.d /etc/pam.d; exec "$@"' sh
		env "LD_LIBRARY_PATH=${HANDLER%/*}/tests")
	options+=(--auth=passwd-file --auth=pam '--mailbox=%h/Maildir' --trusted-networks=127.0.0.1)
	listen_keeper
	connect one
	login one ann secret
	connect two
	begins_login two crash
	fails_soon two
	start_keeper alone
	alone crash 'the checker ended without an answer'
	connect three
	connect four
	touch "/proc/$keeper/root/run/nss-hangs"
	begins_login three zoe
	fails_soon three
	goes_on one
	checkers 0
	kill -HUP "$listener" # the listener looks up the homes again
	checkers 1
	begun=$(now)
	login four ben secret
	[ $(($(now) - begun)) -lt 1000 ]
	checkers 1 # NSS still hangs
	kill -KILL "$keeper"
	logged 'the keeper has ended (Killed)'
}

@test "a module of PAM that answers for its checker: texts are cut" {
	[ -e "${HANDLER%/*}/pop3-handler-pam.so" ] || skip 'PAM is not built in'
	cp -r /etc/pam.d pam.d
	printf 'auth required %s/tests/pam-odd.so answers\n' "${HANDLER%/*}" >pam.d/pop3
	# shellcheck disable=SC2016
	wrapper+=(sh -ec 'mount --bind pam.d /etc/pam.d; exec "$@"' sh)
	echo "odd:x:61004:61004::$homes/ben:/bin/sh" >>passwd
	options+=(--auth=pam '--mailbox=%h/Maildir')
	start_keeper alone
	ask alone 'USER odd'
	ask alone 'PASS secret'
	[[ $reply == '-ERR [AUTH]'* ]]
	cat alone.log
	grep -xE "pop3-handler: login of 'x{255}' from .* refused: x{127}" alone.log
}

# refuses TEXT COMMAND...: a start under this command fails and says so.
refuses() {
	status=0
	"${wrapper[@]}" "${@:2}" "$HANDLER" "${options[@]}" </dev/null >out 2>log || status=$?
	cat log
	[ "$status" -eq 78 ]
	[ "$(wc -l <log)" -eq 1 ]
	grep -F "$1" log
	[ ! -s out ]
}

@test "without seccomp notification, with a foreign listener for it, or without Landlock, no keeper starts" {
	refuses 'seccomp'\''s notification: this kernel is older than Linux 5.19' \
		strace -f -qq -o trace -e trace=seccomp -e inject=seccomp:error=EINVAL
	refuses "seccomp's notification: Function not implemented" \
		strace -f -qq -o trace -e trace=seccomp -e inject=seccomp:error=ENOSYS
	# shellcheck disable=SC2016
	refuses 'something else, perhaps a container manager, is notified' /usr/bin/python3 -c '
import ctypes, os, struct, sys
instruction = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0x7fff0000))
program = ctypes.create_string_buffer(struct.pack("HP", 1, ctypes.addressof(instruction)))
assert ctypes.CDLL(None).syscall(317, 1, 8, program) > 0  # this listener stays open
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))'
	for lacks in error=ENOSYS retval=1; do
		refuses 'cannot use a keeper (try keeper = no): Landlock: this kernel does not have it, or not as version 2 or later' \
			strace -f -qq -o trace -e trace=landlock_create_ruleset -e "inject=landlock_create_ruleset:$lacks"
	done
	for user in keeper login; do
		cp passwd all
		sed -i "/pop3-$user/d" passwd
		refuses "cannot become the user pop3-$user for the keeper (or set keeper = no): there is no such user"
		cat all >passwd
	done
}

@test "a reload refuses the settings that a start refuses, and does not blame TLS" {
	: >settings
	listen_keeper "--config=$PWD/settings"
	for line in 'sandbox = off' 'tls-client-ca = settings' 'auth = checkpassword /nonexistent'; do
		: >log
		echo "$line" >settings
		kill -s HUP "$listener"
		logged 'reload failed, the settings are as before: the keeper cannot use them'
		grep -F -e "${line% = settings} cannot be served with a keeper" -e "cannot run checkpassword '/nonexistent'" log
	done
	connect one
	login one ann secret
}

@test "without space for counts of failed logins, a line is logged and no client is served" {
	wrapper=("${wrapper[@]/tmpfs run/tmpfs -o size=1m run}")
	local status=0
	"${wrapper[@]}" "$HANDLER" "${options[@]}" </dev/null >out 2>log || status=$?
	[ "$status" -eq 78 ]
	[ "$(<log)" = 'pop3-handler: cannot count failed logins in /run/pop3-keeper: No space left on device' ]
}

@test "keepers that start at the same time share the directory of counts, whichever makes it" {
	printf 'QUIT\r\n' >script
	mkfifo pause
	# shellcheck disable=SC2016
	"${wrapper[@]}" bash -ec '
		strace -qq -o trace -e trace=lchown -e inject=lchown:delay_enter=500ms "$@" <script &
		until compgen -G "/run/pop3-keeper*" >found; do read -r -t 0.01 <>pause || true; done
		"$@" <script
		wait $!
		[ "$(stat -c "%u %a %n" /run/pop3-keeper*)" = "64990 700 /run/pop3-keeper" ]' \
		bash "$HANDLER" "${options[@]}" >out 2>log
	[ "$(grep -c '^+OK goodbye' out)" -eq 2 ]
}
