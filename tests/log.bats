#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Log lines: the influence that clients have on them, and that a stalled log has on clients.

load helpers
load keeper

eval "stop_$(declare -f teardown)"

# A listener waits for its clients to leave.
teardown() {
	[ -z "${to_one-}" ] || exec {to_one}>&-
	stop_teardown
}

# --- Where lines go ---

@test "mistakes, --check-config and --help print to standard error even if that is standard output" {
	printf 'users\n' >bad
	while read -r expected text arguments; do
		status=0
		# shellcheck disable=SC2016,SC2086
		bash -o pipefail -c '"$@" 2>&1 </dev/null | cat >log' bash "$HANDLER" $arguments || status=$?
		cat log
		[ "$status" -eq "$expected" ]
		grep -F -e "${text//_/ }" log
	done <<-END
		64 there_is_no_setting_'usr' --usr=x
		78 bad:1:_'users'_is_not_of_the_form --config=bad
		78 cannot_read_the_settings_file_'missing' --config=missing
		78 cannot_read_users_=_'missing' $as_me --users=missing --check-config
		0 Usage:_pop3-handler --help
	END
}

@test "a mistake in the settings goes to syslog, not to a client" {
	stall datagrams "$PWD/socket"
	with_devices '&0' # as under inetd and xinetd
	touch taken
	kill -USR1 "$reader"
	status=0
	"$BATS_TEST_DIRNAME/on-socket.py" 127.0.0.1 "${wrapper[@]}" "$HANDLER" --usr=x </dev/null >out || status=$?
	[ "$status" -eq 64 ]
	[ ! -s out ]
	taken "command line: there is no setting 'usr'"
}

# open_sockets FORM: runs a listener with a socket, whose port it prints, on descriptor 0 as inetd does or
# on 3 as systemd does.
open_sockets() {
	cat >open_sockets.py <<-END
		import os, socket, sys
		listener = socket.create_server(("127.0.0.1", 0), backlog=200)
		print(listener.getsockname()[1], file=open("port.pipe", "w"), flush=True)
		fd = 0 if "$1" == "inetd" else 3
		os.dup2(listener.fileno(), fd)
		os.set_inheritable(fd, True)
		os.closerange(4, 1024)
		if "$1" == "systemd":
		    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
		os.execvp(sys.argv[1], sys.argv[1:])
	END
	wrapper=(/usr/bin/python3 open_sockets.py)
}

@test "a listener and its sessions log to standard error, also where that is standard output" {
	for form in inetd systemd listen; do
		: >log # so that logged() finds the file
		if [ "$form" = listen ]; then
			"$HANDLER" "${options[@]}" --listen=127.0.0.1:0 </dev/null >>log 2>&1 3>&- &
			background+=($!)
			logged 'listening on 127.0.0.1:'
			port=$(sed -n 's/^listening on 127.0.0.1://p' log)
		else
			open_sockets "$form"
			mkfifo port.pipe
			"${wrapper[@]}" "$HANDLER" "${options[@]}" </dev/null >>log 2>&1 3>&- &
			background+=($!)
			read -r port <port.pipe
			rm port.pipe
		fi
		serves_sessions 1
		ask one QUIT
		exec {to_one}>&-
		logged "session of 'bob' from 127.0.0.1 ended: QUIT"
		logged "session of 'alice' from 127.0.0.1 ended: QUIT"
		ends "${background[-1]}"
		mv log "$form.log"
	done
}

# --- Names ---

@test "a log line that is too long is truncated and marked" {
	expect_status=78
	printf '%01200d = 1\n' 0 >settings
	handle /dev/null --config=settings
	grep -xE "pop3-handler: settings:1: there is no setting '0+\.\.\." log >line
	[ "$(wc -c <line)" -eq 1015 ] # 1,000, the program's name, a colon, a blank and a line end
	for zeros in {955..975}; do # an escaped octet is kept or dropped as a whole
		printf "%0${zeros}d\x01 = 1\n" 0 >settings
		handle /dev/null --config=settings
		grep -xE "pop3-handler: settings:1: there is no setting '0+((\\\\x01)?'|(\\\\x01)?\.\.\.)" log >line
		[ "$(wc -c <line)" -le 1015 ]
		[[ $(<line) == *\' || $(wc -c <line) -ge 1012 ]]
	done
}

@test "a long name cannot push address and reason out of its line" {
	odd=$(printf '\xff%.0s' {1..300})
	export TCPREMOTEIP=192.0.2.1
	refused="' from 192.0.2.1 refused: "
	talk "USER $odd"
	grep -xE "pop3-handler: login of '(\\\\xff)+\.\.\.${refused}a password without TLS" log
	options+=(--plaintext-auth=always)
	talk "USER $odd" 'PASS x'
	grep -xE "pop3-handler: login of '(\\\\xff)+\.\.\.${refused}[a-z ]+" log
	talk "AUTH PLAIN $(printf '\0%s\0x' "$odd" | base64 -w 0)"
	grep -xE "pop3-handler: login of '(\\\\xff)+\.\.\.${refused}[a-z ]+" log >line
	[ "$(grep -oE "'.*'" line | wc -c)" -le 258 ] # 255 octets, quotes, a line end
	talk "AUTH PLAIN $(printf 'bob\0%s\0x' "$odd" | base64 -w 0)"
	grep -xE "pop3-handler: login of '(\\\\xff)+\.\.\.${refused}the mailbox of somebody else" log
	# An escaped octet is kept or dropped as a whole, and 255 octets are kept.
	for octets in {240..256}; do
		name=$(printf "%0${octets}d" 0)
		talk "USER $name"$'\xff' 'PASS x'
		grep -xE "pop3-handler: login of '0+(\\\\xff|\.\.\.)${refused}[a-z ]+" log
	done
	talk "USER ${name%0}" 'PASS x'
	grep -xE "pop3-handler: login of '0{255}${refused}[a-z ]+" log
}

@test "a long path or file name cannot push the reason out of its line" {
	odd=$(printf '\xff%.0s' {1..200})
	options+=("--mailbox=$mail/%u/$odd/$odd/$odd")
	mkdir -p "$mail/alice"
	printf x >"$mail/alice/$odd"
	talk 'USER alice' 'PASS apple'
	grep -xE "pop3-handler: cannot open the mailbox '$mail/alice/(\\\\xff)+\.\.\.': Not a directory" log
	options+=("--users=/$odd/$odd/$odd")
	talk "USER $odd" 'PASS apple'
	grep -xE "pop3-handler: cannot look up '(\\\\xff)+\.\.\.' in the passwd-file '/(\\\\xff)+\.\.\.': No such file or directory" log
	expect_status=78
	handle /dev/null --tls=implicit "--tls-cert=/$odd/$odd/$odd"
	grep -xE "pop3-handler: cannot read tls-cert = '/(\\\\xff)+\.\.\.': No such file or directory" log
}

@test "a name cannot close its quotes" {
	export TCPREMOTEIP=192.0.2.1
	options+=(--plaintext-auth=always)
	name="x' from 192.0.2.1 accepted: "
	quoted="'x\\x27 from 192.0.2.1 accepted: '"
	talk "AUTH PLAIN $(printf '\0%s\0x' "$name" | base64 -w 0)"
	grep -xF "pop3-handler: login of $quoted from 192.0.2.1 refused: no such user" log
	# The same for the file name of a message, which must not be readable.
	make_maildir alice
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' "RETR UID:it's" QUIT >script
	as_nobody true
	make_message "alice/new/it's"
	chmod 0 "$mail/alice/new/it's"
	start_session one setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "${options[@]/#--user=*/--user=nobody}"
	login one
	for message in 1 "UID:it's"; do
		ask one "RETR $message"
		[[ $reply == -ERR* ]]
	done
	grep -xF "pop3-handler: cannot read the message 'it\\x27s' of '$mail/alice': Permission denied" one.log
}

# --- A stalled log ---

# stall KIND [PATH]: starts such a log (stalled-log.py). Its path is in `log_path`, its process in `reader`.
stall() {
	mkfifo stalled.pipe
	"$BATS_TEST_DIRNAME/stalled-log.py" "$1" "${2-log}" >stalled.pipe 3>&- &
	reader=$!
	background+=("$reader")
	exec {said}<stalled.pipe
	read -r -t 20 log_path <&"$said"
	rm stalled.pipe
}

# taken PATTERN: waits until the reader has got a line that matches.
taken() {
	local watched found=0
	exec {watched}< <(exec tail -n +1 -f taken 2>/dev/null 3>&-)
	timeout 20 grep -qE -m 1 -e "$1" <&"$watched" || found=$?
	kill $! 2>/dev/null || true
	exec {watched}<&-
	[ "$found" -eq 0 ] || tail -c 2000 taken
	return "$found"
}

# serves_sessions COUNT: COUNT sessions log in while another, `one`, waits. They belong to alice and, beyond
# ten, also to nine other users: each session waits once for a stalled log.
serves_sessions() {
	make_maildir bob
	[ "$1" -le 10 ] || [ -e helped ] || printf 'alice%d:{PLAIN}apple\n' {1..9} | tee helped >>"$users"
	exec {to_one}<>"/dev/tcp/127.0.0.1/$port"
	from_one=$to_one
	hear one
	login one bob 'banana split '
	/usr/bin/python3 - "$port" "$1" <<-'END'
		import concurrent.futures, socket, sys
		port, count = map(int, sys.argv[1:])
		users = [b'alice%d' % i if i else b'alice' for i in range(10 if count > 10 else 1)]
		def log_in(user, times):
		    for _ in range(times):
		        with socket.create_connection(('127.0.0.1', port), timeout=10) as client:
		            client.sendall(b'USER nobody\r\nPASS x\r\nUSER %s\r\nPASS apple\r\nQUIT\r\n' % user)
		            replies = b''
		            while data := client.recv(1000):
		                replies += data
		            assert replies.count(b'\n+OK') == 4, replies
		with concurrent.futures.ThreadPoolExecutor(len(users)) as pool:
		    list(pool.map(log_in, users, [count // len(users)] * len(users)))
	END
}

# is_read_again: after the log is read again, the waiting session can end, and a line counts the lost lines.
is_read_again() {
	touch taken
	kill -USR1 "$reader"
	taken '\.\.' # the filling
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	exec {to_one}>&-
	taken "session of 'bob'"
	grep -E '[^0-9][1-9][0-9]* log lines were lost: the log did not take them' taken
	# A terminal may accept part of a line when it is full.
	[[ $log_path == /dev/pts/* ]] || run ! grep -E "alice|wrong password|cannot" taken
}

# ends PID: SIGTERM ends a listener and its sessions.
ends() {
	kill "$1"
	timeout 10 tail --pid="$1" -f /dev/null
	run ! pgrep -P "$1"
}

# outlives_stall FORM NUMBER: as many sessions are served while the log is stalled, and a listener ends.
outlives_stall() {
	local listener
	"$1"
	listener=${background[-1]}
	serves_sessions "$2"
	is_read_again
	[ "$1" = serve_port ] || ends "$listener"
	kill "$reader" "$listener" 2>/dev/null || true
	rm taken
}

@test "a stalled pipe stops neither a session nor the listener" {
	[ "$SANITIZED" = none ] || skip 'it mostly waits: the plain build is enough'
	# Without /proc the pipe cannot be reopened.
	local no_proc=(unshare --mount sh -c 'mount -t tmpfs tmpfs /proc && exec "$@"' sh)
	for form in listen_port serve_port no_proc; do
		[ "$form" != no_proc ] || {
			[ "$SANITIZED" = none ] && [ "$(id -u)" -eq 0 ] || continue
			wrapper=("${no_proc[@]}")
		}
		stall pipe
		outlives_stall "${form/no_proc/listen_port}" 60
		rm log
	done
}

@test "other processes that share standard error with a session can still block on it" {
	stall pipe
	exec {shared}>log
	grep '^flags' "/proc/$BASHPID/fdinfo/$shared" >before
	printf '%s\r\n' 'USER nobody' 'PASS x' QUIT >script
	"$HANDLER" "${options[@]}" <script >out 2>&"$shared"
	grep '^flags' "/proc/$BASHPID/fdinfo/$shared" | cmp before -
}

@test "SIGTERM ends a listener and its sessions while the log is stalled" {
	stall pipe
	listen_port
	serves_sessions 3
	ask one SLEE
	ends "${background[-1]}"
}

@test "a stopped terminal stops neither a session nor the listener" {
	[ "$SANITIZED" = none ] || skip 'it mostly waits: the plain build is enough'
	stall pty
	ln -s "$log_path" log
	listen_port
	serves_sessions 60
	is_read_again
	ends "${background[-1]}"
}

# with_socket KIND: listen_port and serve_port run with a full socket that is connected to `log_path` as
# standard error.
with_socket() {
	cat >full-socket.py <<-'END'
		import os, socket, sys
		log = socket.socket(socket.AF_UNIX, getattr(socket, sys.argv[2]))
		log.connect(sys.argv[1])
		log.setblocking(False)
		try:
		    while True:
		        log.send(b'..\n')
		except BlockingIOError:
		    log.setblocking(True)
		os.dup2(log.fileno(), 2)
		os.execvp(sys.argv[3], sys.argv[3:])
	END
	wrapper=(/usr/bin/python3 full-socket.py "$log_path" "$1")
}

@test "a stalled socket stops neither a session nor the listener" {
	[ "$SANITIZED" = none ] || skip 'it mostly waits: the plain build is enough'
	for case in 'stream SOCK_STREAM listen_port' 'stream SOCK_STREAM serve_port' 'packets SOCK_SEQPACKET listen_port' \
		'datagrams SOCK_DGRAM listen_port'; do
		read -r kind type form <<<"$case"
		stall "$kind" "$PWD/socket"
		with_socket "$type"
		outlives_stall "$form" 30
		rm socket
	done
}

@test "a stopped terminal of another user stops neither a session nor the listener" {
	[ "$SANITIZED" = none ] || skip 'it mostly waits: the plain build is enough'
	as_nobody true
	make_maildir bob
	chown -R nobody mail
	HANDLER=./handler
	options=("${options[@]/#--user=*/--user=nobody}")
	stall empty-pty
	chmod 600 "$log_path"
	ln -s "$log_path" log
	wrapper=(setpriv --reuid=nobody --regid=nogroup --clear-groups)
	listen_port
	serves_sessions 120 # they fill it: at last the space is less than a line
	ask one SLEE
	ends "${background[-1]}"
}

# with_devices [ERROR]: listen_port runs with the socket `log_path` as /dev/log, and with ERROR as standard
# error.
with_devices() {
	needs_root
	cat >scenario <<-END
		mount -t tmpfs tmpfs /dev
		mknod -m 666 /dev/null c 1 3
		ln -s '$log_path' /dev/log
		exec "\$@" 2>${1-/dev/null}
	END
	wrapper=(unshare --mount bash -e scenario)
}

@test "a stalled syslog daemon stops neither a session nor the listener" {
	[ "$SANITIZED" = none ] || skip 'it mostly waits: the plain build is enough'
	stall datagrams "$PWD/socket"
	with_devices
	listen_port
	serves_sessions 60
	is_read_again
	ends "${background[-1]}"
}

@test "a full disk stops neither a session nor the listener, and the lost lines are counted" {
	needs_root
	mkdir disk
	cat >scenario <<-'END'
		mount -t tmpfs -o size=64k tmpfs disk
		head -c 100000 /dev/zero >disk/filling 2>/dev/null || true
		exec "$@" 2>disk/log
	END
	wrapper=(unshare --mount bash -e scenario)
	listen_port
	serves_sessions 3
	cd "/proc/${background[-1]}/root/$PWD/disk"
	[ ! -s log ]
	rm filling
	ask one QUIT
	logged "session of 'bob'"
	grep -E '^pop3-handler: [1-9][0-9]* log lines were lost: the log did not take them$' log
	cd "$BATS_TEST_TMPDIR"
	ends "${background[-1]}"
}

@test "a stalled reader of standard output or of notifications does not keep a listener from serving" {
	stall pipe
	stall datagrams "$PWD/socket"
	export NOTIFY_SOCKET=$PWD/socket
	"$HANDLER" "${options[@]}" --listen=127.0.0.1:0 </dev/null >log 2>&1 3>&- &
	background+=($!)
	until port=$(ss -Hltnp | sed -nE "s/.*127\.0\.0\.1:([0-9]+).*pid=$!,.*/\1/p") && [ -n "$port" ]; do
		kill -0 $!
	done
	serves_sessions 3
	ask one SLEE
	ends "${background[-1]}"
}

@test "a syslog daemon gets lines in the format of syslog(3), also after its restart" {
	needs_root
	for kind in datagrams stream; do
		stall "$kind" "$PWD/socket"
		with_devices
		listen_port
		listener=${background[-1]}
		serves_sessions 1
		ask one QUIT
		exec {to_one}>&-
		kill -HUP "$reader"
		read -r -t 20 <&"$said"
		kill -HUP "$listener" # causes a reload, which is logged
		touch taken
		kill -USR1 "$reader"
		taken 'settings and certificates are read again'
		serves_sessions 1
		taken "session of 'alice'"
		end=
		[ "$kind" = datagrams ] || end='\\x00'
		date='[A-Z][a-z]{2} [ 1-3][0-9] [0-2][0-9]:[0-5][0-9]:[0-5][0-9]'
		grep -E "^b\"<22>$date pop3-handler\[[0-9]+\]: login of 'bob' from 127\.0\.0\.1 accepted: PASS, no TLS, 0 messages$end\"" taken
		grep -E "^b'<22>$date pop3-handler\[$listener\]: settings and certificates are read again$end'" taken >line
		logged_at=$(grep -oE "$date" line | date -f - +%s)
		[ "$logged_at" -le "$(date +%s)" ]
		[ "$logged_at" -gt "$(($(date +%s) - 60))" ]
		ask one QUIT
		exec {to_one}>&-
		ends "$listener"
		kill "$reader"
		rm socket taken
	done
}

# with_journal: listen_port runs with the socket `log_path` as the journal's.
with_journal() {
	needs_root
	cat >scenario <<-END
		mount -t tmpfs tmpfs /run
		mkdir -p /run/systemd/journal
		ln -s '$log_path' /run/systemd/journal/socket
		JOURNAL_STREAM=\$(stat -Lc %d:%i /proc/self/fd/2) exec "\$@"
	END
	wrapper=(unshare --mount bash -e scenario)
}

@test "a stalled journal stops neither a session nor the listener" {
	[ "$SANITIZED" = none ] || skip 'it mostly waits: the plain build is enough'
	stall datagrams "$PWD/socket"
	with_journal
	listen_port
	serves_sessions 60
	is_read_again
	ends "${background[-1]}"
	[ ! -s log ]
}

@test "the journal gets each field, and a name cannot add a field" {
	stall datagrams "$PWD/socket"
	with_journal
	touch taken
	kill -USR1 "$reader"
	make_maildir bob
	listen_port --plaintext-auth=always
	exec {to_one}<>"/dev/tcp/127.0.0.1/$port"
	from_one=$to_one
	hear one
	name=$'x\nPOP3_PEER=192.0.2.1\nn\xc3\xa4me'
	ask one "AUTH PLAIN $(printf '\0%s\0x' "$name" | base64 -w 0)"
	login one bob 'banana split '
	ask one QUIT
	taken 'POP3_DURATION'
	/usr/bin/python3 - <<-'END'
		import ast
		entries = [ast.literal_eval(line) for line in open('taken') if line[0] == 'b']
		refused, accepted, ended = [entry for entry in entries if b'\nMESSAGE=' in entry]
		def fields(entry):
		    assert entry.endswith(b'\n')
		    return dict(line.split(b'=', 1) for line in entry.splitlines())
		usual = {b'SYSLOG_IDENTIFIER': b'pop3-handler', b'SYSLOG_FACILITY': b'2', b'POP3_PEER': b'127.0.0.1',
		         b'POP3_SESSION': fields(ended)[b'POP3_SESSION']}
		assert len(usual[b'POP3_SESSION']) == 16
		assert fields(refused) == usual | {
		    b'MESSAGE': b"login of 'x\\x0aPOP3_PEER=192.0.2.1\\x0an\\xc3\\xa4me' from 127.0.0.1 refused: a bad user name",
		    b'PRIORITY': b'4', b'MESSAGE_ID': b'5999c49e056d4a58a959b7ee302c2ab7',
		    b'POP3_USER': 'x POP3_PEER=192.0.2.1 n\u00e4me'.encode(), b'POP3_REASON': b'a bad user name'}, refused
		assert fields(accepted) == usual | {
		    b'MESSAGE': b"login of 'bob' from 127.0.0.1 accepted: PASS, no TLS, 0 messages", b'PRIORITY': b'6',
		    b'MESSAGE_ID': b'3394ab96a3b9472f9d39ebdbe52831f2', b'POP3_USER': b'bob', b'POP3_MECHANISM': b'PASS'}, accepted
		assert fields(ended)[b'POP3_REASON'] == b'QUIT' and fields(ended)[b'POP3_SLEEPS'] == b'0', ended
	END
}

@test "neither a listener under systemd's watchdog nor its sessions load libsystemd" {
	[ "$SANITIZED" = none ] || skip 'the sanitizers load it at the start'
	stall datagrams "$PWD/socket"
	with_journal
	export NOTIFY_SOCKET=$PWD/socket WATCHDOG_USEC=2000000
	# shellcheck disable=SC2016
	wrapper+=(sh -c 'WATCHDOG_PID=$$ exec "$@"' sh)
	touch taken
	kill -USR1 "$reader"
	listen_port
	serves_sessions 1
	taken 'READY=1'
	taken 'WATCHDOG=1'
	for pid in "${background[-1]}" $(pgrep -P "${background[-1]}"); do
		grep -q /libc.so "/proc/$pid/maps"
		run ! grep libsystemd "/proc/$pid/maps"
	done
	ask one QUIT
}

# --- Lines that a client causes ---

# commands: prints the command table, each with an argument if it takes one; # is a counter.
commands() {
	sed -nE '/^static const struct command commands/,/^};/s/^\t\{ "([A-Z]+)",.*(ARG_[A-Z_]+),.*/\1 \2/p' \
		"$BATS_TEST_DIRNAME/../protocol.c" | sort -u | sed -E 's/ARG_NONE//
		s/ARG_MECHANISM/PLAIN AHgAeA==/; s/ARG_(NAME|SECRET)/x#/; s/ARG_(OPT_)?MSG$/#/; s/ARG_MSG_COUNT/# 1/'
}

# repeats COUNT LINE...: prints the lines COUNT times.
repeats() {
	awk -v "count=$1" 'BEGIN {
		for (i = 1; i <= count; i++)
			for (j = 1; j < ARGC; j++) { line = ARGV[j]; sub("#", i, line); printf "%s\r\n", line }
	}' "${@:2}"
}

# is_bounded LOG: the log has at most 40 lines.
is_bounded() {
	[ "$(wc -l <"$1")" -le 40 ] || {
		tail -n 3 "$1"
		return 1
	}
}

# bounds PROLOGUE HANDLER...: sessions that repeat each command of the table, alone and together with
# harmless commands or those that change the state. Appends the lines about omissions to `omitted`.
bounds() {
	local command other script
	printf '%b' "$1" >prologue
	while read -r command; do
		repeats 200 "$command" | cat prologue - >alone
		for other in CAPA NOOP WAKE SLEE 'USER x#'; do
			repeats 20 "$command" "$other" "$command"
		done | cat prologue - >mixed
		for script in alone mixed; do
			"${@:2}" <"$script" >out 2>log
			is_bounded log
			grep -hE '[0-9]+ lines about .* were omitted: ' log >>omitted || true
		done
	done < <(commands)
}

@test "before login, no command fills the log, whatever fails" {
	[ "$(commands | wc -l)" -ge 17 ]
	run ! grep ARG_ < <(commands) # each shape has an argument
	export TCPREMOTEIP=192.0.2.1
	bounds '' "$HANDLER" "${options[@]}"
	grep -E '19 lines about 192\.0\.2\.1 were omitted: 19 login refused' omitted
	bounds '' "$HANDLER" "${options[@]}" --plaintext-auth=always --users="$PWD"
	grep -E '[0-9]+ lines about 192\.0\.2\.1 were omitted: [0-9]+ login refused, [0-9]+ other' omitted
	echo rubbish >server.pem
	: >omitted
	bounds '' "$HANDLER" "${options[@]}" --tls=starttls --tls-cert=server.pem
	grep -E '19 lines about 192\.0\.2\.1 were omitted: 19 login refused' omitted # after a failure STLS is not offered
	repeats 2000 'USER x#' CAPA >script
	handle script
	[ "$(wc -l <log)" -eq 3 ]
	[ "$(grep -c '^-ERR passwords are refused' out)" -eq 20 ]
}

@test "after login, no command fills the log, even if no message can be read or removed" {
	as_nobody true # subject to permissions
	make_messages 300
	chmod 0 "$mail/alice/new"/*
	chown -R nobody "$mail/alice"
	chmod 555 "$mail/alice/new"
	nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "${options[@]/#--user=*/--user=nobody}")
	bounds 'USER alice\r\nPASS apple\r\nDELE 1\r\n' "${nobody[@]}"
	bounds 'USER alice\r\nPASS apple\r\nSLEE\r\n' "${nobody[@]}"
	[ "$(grep -cE '[0-9]{2,3} lines about local were omitted: [0-9]+ other' omitted)" -ge 6 ]
}

@test "beside a keeper no command fills the log, whatever fails, before login and after it" {
	rm -r "$mail" accounts run
	setup_keeper
	export TCPREMOTEIP=192.0.2.1
	asks=("${wrapper[@]}" "$HANDLER" "${options[@]}")
	printf '#!/bin/sh\nexit 111\n' >program
	chmod 755 program
	echo rubbish >server.pem
	bounds '' "${asks[@]}" --tls=starttls --tls-cert=server.pem
	grep -E '19 lines about 192\.0\.2\.1 were omitted: 19 login refused' omitted
	echo 'has-no-uid:{PLAIN}secret' >>"$users"
	repeats 200 'USER has-no-uid' 'PASS secret' >script
	for broken in --users=/ "--auth=checkpassword $PWD/program" --mail-user=nobody-at-all; do
		"${asks[@]}" --plaintext-auth=always "$broken" <script >out 2>log
		[ "$(grep -c '^-ERR \[SYS/[A-Z]*\] cannot look up the account' out)" -eq 20 ]
		[ "$(wc -l <log)" -le 5 ]
		grep -F 'pop3-handler: 38 lines about 192.0.2.1 were omitted: 19 login refused, 19 other' log
	done
	: >omitted
	chmod 0 "$homes/ben/Maildir/new"/*
	chmod 555 "$homes/ben/Maildir/new"
	bounds 'USER ben\r\nPASS secret\r\nDELE 1\r\n' "${asks[@]}" --plaintext-auth=always
	bounds 'USER ben\r\nPASS secret\r\nSLEE\r\n' "${asks[@]}" --plaintext-auth=always
	grep -E '[0-9]{2,3} lines about 192\.0\.2\.1 were omitted: [0-9]+ other' omitted
}

# twenty HANDLER...: the twentieth bad command ends the session of `script`.
twenty() {
	"$@" <script >out 2>log
	[ "$(grep -c '^-ERR' out)" -eq 20 ]
	grep -E "^pop3-handler: session (of 'alice' )?from local ended.*: too many mistakes; " log
}

@test "a failure counts as a bad command, even if only the first is logged" {
	local prologue='USER alice\r\nPASS apple\r\nDELE 2\r\n'
	as_nobody true
	make_messages 2
	chmod 0 "$mail/alice/new"/*
	chown -R nobody "$mail/alice"
	chmod 555 "$mail/alice/new"
	nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "${options[@]/#--user=*/--user=nobody}")
	for command in 'RETR 1' 'TOP 1 0' 'DELI 1' SLEE; do
		repeats 30 "$command" | cat <(printf '%b' "$prologue") - >script
		twenty "${nobody[@]}"
	done
	start_session one "${nobody[@]}"
	login one
	ask one SLEE
	chmod 0 "$mail/alice"
	say one WAKE{,,,,}{,,,}
	for _ in {1..20}; do
		hear one
		[[ $reply == '-ERR [SYS/PERM] cannot open the mailbox' ]]
	done
	run ! read -r -t 20 -u "$from_one"
	repeats 30 'USER alice' 'PASS apple' >script
	twenty "${nobody[@]}"
	make_maildir bob
	start_session two
	login two bob 'banana split '
	{ # a login waits five seconds for the lock
		repeats 19 STAT
		repeats 5 'USER bob' 'PASS banana split '
	} >script
	twenty "$HANDLER" "${options[@]}"
	grep -F "login of 'bob' from local refused: the mailbox is in use" log
	echo rubbish >server.pem
	repeats 30 STLS >script
	twenty "$HANDLER" "${options[@]}" --tls=starttls --tls-cert=server.pem
}

@test "a failing WAKE does not fill the log" {
	as_nobody true
	make_messages 1
	chown -R nobody "$mail/alice"
	nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "${options[@]/#--user=*/--user=nobody}")
	for broken in "$users" "$mail/alice"; do
		start_session one "${nobody[@]}"
		login one
		ask one SLEE
		chmod 0 "$broken"
		repeats 200 WAKE NOOP WAKE WAKE >&"$to_one"
		for _ in {1..800}; do
			hear one
			[[ $reply == -ERR* || $reply == '+OK nothing done' ]]
		done
		hang_up one
		is_bounded one.log
		grep -E 'pop3-handler: 599 lines about local were omitted: 599 other' one.log
		chmod 755 "$broken"
		rm one.*
	done
}

@test "a refused SLEE does not fill the log" {
	listen_port --max-sleeping-per-user=1
	for account in 'alice apple' 'bob banana split '; do
		make_maildir "${account%% *}"
		exec {to_one}<>"/dev/tcp/127.0.0.1/$port" {to_two}<>"/dev/tcp/127.0.0.1/$port"
		from_one=$to_one from_two=$to_two
		for name in one two; do
			hear "$name"
			login "$name" "${account%% *}" "${account#* }"
			[ "$name" = two ] || ask one SLEE
		done
		repeats 200 SLEE >&"$to_two"
		[ "${account%% *}" = alice ] || repeats 200 SLEE NOOP >&"$to_two"
		say two QUIT
		# Until the answer to QUIT or the end: too many bad commands in a row end the session.
		errors=0
		while read -r -t 20 reply <&"$to_two" && [[ $reply != *goodbye* ]]; do
			[[ $reply != -ERR* ]] || errors=$((errors + 1))
		done
		[ "$errors" -eq 20 ]
		exec {to_one}>&- {to_two}>&-
		logged 'lines about 127.0.0.1 were omitted'
		is_bounded log
	done
}

@test "a listener reports omitted lines before it ends" {
	listen_port
	with_client <<-'END'
		for _ in range(50):
		    Client(port).expect('QUIT', '+OK')
		wait_for(lambda: not children())
		os.kill(listener, signal.SIGTERM)
	END
	wait "${background[-1]}"
	count=$(grep -c 'ended before login: QUIT' log)
	[ "$count" -lt 50 ]
	grep -E "lines about 127\.0\.0\.1 were omitted: $((50 - count)) session ended" log
}

@test "at a listener the line about a refused login has the cause, and no other line takes its place" {
	touch "$mail/alice"
	echo malformed >>"$users"
	listen_port --plaintext-auth=always
	with_client <<-'END'
		for i, user, reason in (
		    (1, 'alice', "the mailbox cannot be opened: Not a directory"),
		    (2, 'x', "no such user"),
		):
		    client = Client(port, source=f'127.0.9.{i}')
		    client.expect(f'USER {user}', '+OK')
		    client.expect('PASS apple', '-ERR')
		    wait_for(lambda: f"login of '{user}' from 127.0.9.{i} refused: {reason}\n" in open('log').read())
	END
	mv "$users" there
	with_client <<-'END'
		client = Client(port, source='127.0.9.3')
		client.expect('USER alice', '+OK')
		client.expect('PASS apple', '-ERR')
		wait_for(lambda: "login of 'alice' from 127.0.9.3 refused: the account cannot be looked up: "
		    "No such file or directory\n" in open('log').read())
	END
}

@test "a report about IPv6 names the network whose lines were omitted, but not that of ::1" {
	needs_root
	listen_ipv6 fd00::1
	with_client <<-'END'
		for _ in range(20):
		    for source in '::1', 'fd00::1':
		        Client(port, source=source).expect('QUIT', '+OK')
	END
	kill "${background[-1]}"
	wait "${background[-1]}"
	for address in ::1 fd00::1; do
		grep "session from $address ended before login: QUIT" log
	done
	grep -E '[0-9]+ lines about fd00::/64 were omitted: [0-9]+ session ended' log
	grep -E '[0-9]+ lines about local were omitted: [0-9]+ session ended' log
}
