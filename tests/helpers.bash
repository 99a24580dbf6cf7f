# SPDX-License-Identifier: ISC
# shellcheck shell=bash
# Shared by the bats files.

bats_require_minimum_version 1.5.0

# meson sets HANDLER, the program, and SANITIZED, its sanitizers. The default is the build folder of
# README.md, so that `bats tests/retr.bats` works.
HANDLER=$(realpath -m "${HANDLER:-${BASH_SOURCE[0]%/*}/../build/pop3-handler}")
export HANDLER SANITIZED=${SANITIZED:-none}
if [ ! -x "$HANDLER" ]; then
	echo "there is no $HANDLER: build it first (meson setup build && meson compile -C build)" >&2
	exit 1
fi

# A site for each test: a passwd-file with alice and bob in its own directory, because the sandbox permits
# the whole directory; and a directory for their mailboxes, which do not exist yet. `options` are the
# handler's; a test may add to them.
setup_site() {
	cd "$BATS_TEST_TMPDIR" || return 1
	mail=$BATS_TEST_TMPDIR/mail
	users=$BATS_TEST_TMPDIR/accounts/users
	mkdir "$mail" accounts
	printf '%s\n' 'alice:{PLAIN}apple' 'bob:{PLAIN}banana split ' >"$users"
	as_me=--user=$(id -un)
	options=("$as_me" "--users=$users" "--mailbox=$mail/%u" --login-penalty=0)
	export ASAN_OPTIONS=exitcode=99 UBSAN_OPTIONS=print_stacktrace=1
	export RUNTIME_DIRECTORY=$BATS_TEST_TMPDIR/run
	mkdir -m 700 run
	export CREDENTIALS_DIRECTORY=$BATS_TEST_TMPDIR/none
}

setup() {
	setup_site
}

# Shows the files of a failed test, and ends everything that it started.
teardown() {
	if [ -z "$BATS_TEST_COMPLETED" ]; then
		for file in script out log; do
			[ -f "$file" ] && head -c 4000 "$file" | sed "s/^/$file: /" | cat -v
		done
	fi
	stop_sessions
	for pid in "${background[@]}"; do
		# strace ignores signals, and ends with its program.
		read -r name 2>/dev/null <"/proc/$pid/comm" && [ "$name" = strace ] && pkill -P "$pid"
		kill "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	# bats cannot remove what an ordinary user has made read-only.
	[ "$(id -u)" -eq 0 ] || chmod -R u+rwX "$BATS_TEST_TMPDIR"
	return 0
}

# Pids for teardown to kill.
background=()

# A command under which listen_port and talk_on_disk run the handler.
wrapper=()
client_wrapper=() # of with_client

# --- Mailboxes ---

# make_maildir NAME: makes an empty Maildir.
make_maildir() {
	mkdir -p "$mail/$1/new" "$mail/$1/cur" "$mail/$1/tmp"
}

# make_message FILE [TEXT]: makes a message, by default an ordinary one; TEXT is for printf.
make_message() {
	# shellcheck disable=SC2059
	printf "${2-Subject: test\n\nHello\n}" >"$mail/$1"
}

# make_messages COUNT: makes a Maildir of alice with COUNT messages, `message NUMBER`.
make_messages() {
	local i
	make_maildir alice
	for ((i = 1; i <= $1; i++)); do
		make_message "alice/new/$i.M1P1.h" "message $i\n"
	done
}

# files NAME: prints the files of a mailbox without our own.
files() {
	(cd "$mail/$1" && find . -type f ! -name '.pop3-handler.*' | LC_ALL=C sort)
}

# --- Sessions from a script ---

# handle SCRIPT-FILE [OPTION...]: one session; its output is in the file `out`, its log in `log`, and its
# exit status, which must be 0 or `expect_status`, in `status`.
handle() {
	local script=$1
	shift
	status=0
	"$HANDLER" "${options[@]}" "$@" <"$script" >out 2>log || status=$?
	[ "$status" -eq "${expect_status:-0}" ]
}

# talk LINE...: a session of these lines; sets `lines` to the replies without CR.
talk() {
	printf '%s\r\n' "$@" >script
	handle script
	read_lines
}

read_lines() {
	mapfile -t lines < <(tr -d '\r' <out)
}

# as_alice LINE...: the same after a login, whose replies are left out.
as_alice() {
	talk 'USER alice' 'PASS apple' "$@"
	[[ ${lines[2]} == +OK* ]]
	lines=("${lines[@]:3}")
}

# show: prints the replies, for a test that fails.
show() {
	printf 'line %s\n' "${lines[@]}"
}

# troubles [FILE]: prints the log without the lines of successful sessions.
troubles() {
	grep -vE "^pop3-handler: (login of '.*' from [^ ]+ accepted|session (of '.*' )?from [^ ]+ ended)" "${1-log}"
}

# --- Sessions step by step ---

# Each session has a name; its descriptors are in to_NAME and from_NAME.
sessions=()

# start_session NAME [COMMAND...]: runs the handler, or a command that runs it, on two pipes.
start_session() {
	local name=$1 to from
	shift
	[ $# -gt 0 ] || set -- "$HANDLER" "${options[@]}"
	mkfifo "$name.to" "$name.from"
	(
		close_ends # those of other sessions, which must notice when we close our ends
		exec "$@" <"$name.to" >"$name.from" 2>>"$name.log" 3>&-
	) &
	eval "pid_$name=$!"
	exec {to}>"$name.to" {from}<"$name.from"
	eval "to_$name=$to from_$name=$from"
	sessions+=("$name")
	hear "$name"
}

# say NAME LINE...: sends lines.
say() {
	local to=to_$1
	printf '%s\r\n' "${@:2}" >&"${!to}"
}

# hear NAME: sets `reply` to a line of the answer, without CR.
hear() {
	local from=from_$1
	IFS= read -r -t 20 reply <&"${!from}"
	reply=${reply%$'\r'}
}

# ask NAME LINE: sends a line, and hears the first line of its answer.
ask() {
	say "$@"
	hear "$1"
}

# hear_all NAME: sets `lines` to the rest of a multi-line answer.
hear_all() {
	lines=()
	while hear "$1" && [ "$reply" != . ]; do
		lines+=("$reply")
	done
}

# login NAME [USER PASSWORD]
login() {
	ask "$1" "USER ${2:-alice}"
	ask "$1" "PASS ${3:-apple}"
	[[ $reply == +OK* ]]
}

# close_ends: closes our ends of all sessions.
close_ends() {
	local name to from
	for name in "${sessions[@]}"; do
		to=to_$name from=from_$name
		eval "exec ${!to}>&- ${!from}<&-"
	done
}

# hang_up NAME: closes our ends and waits for the session; sets `status` to its exit status.
hang_up() {
	local to=to_$1 from=from_$1 pid=pid_$1 name
	eval "exec ${!to}>&- ${!from}<&-"
	status=0
	wait "${!pid}" || status=$?
	for name in "${!sessions[@]}"; do
		[ "${sessions[name]}" != "$1" ] || unset "sessions[name]"
	done
}

# Kills sessions while they wait for us: a session that is killed while it ends, after its pipes are closed,
# would leave half of the counts of tools/check --coverage.
stop_sessions() {
	local name pid
	for name in "${sessions[@]}"; do
		pid=pid_$name
		kill -s KILL "${!pid}" 2>/dev/null
		wait "${!pid}" 2>/dev/null
	done
	close_ends
}

# refused_calls NAME...: prints all system calls, with arguments of -1, but for these; for those that the seccomp filter
# allows with any arguments; and for those that kill.
refused_calls() {
	local allowed=(poll ppoll read write writev close faccessat faccessat2 fdatasync fstat fstatfs fsync getcwd
		getdents64 lseek newfstatat pread64 pwrite64 readlink readlinkat renameat statx brk munmap exit_group getrandom
		restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn timer_delete timer_settime time geteuid getpid sysinfo)
	local deadly=(bpf execve execveat io_uring_enter io_uring_register io_uring_setup ptrace)
	sed -n 's/^#define __NR_\([a-z0-9_]*\) .*/\1/p' /usr/include/x86_64-linux-gnu/asm/unistd_64.h |
		grep -vxF "$(printf '%s\n' "${allowed[@]}" "${deadly[@]}" "$@")" | sed 's/$/ -1 -1 -1 -1 -1 -1/'
}

# needs_root: skips the rest of a test that mounts, changes its user, or examines a session: a session is
# not dumpable, so an ordinary user sees neither its memory nor the strings of its system calls.
needs_root() {
	[ "$(id -u)" -eq 0 ] || skip 'needs root'
}

# trace FILE FILTER COMMAND...: runs a command under strace.
trace() {
	needs_root
	trace_calls "$@"
}

# trace_calls FILE FILTER COMMAND...: the same for an ordinary user, who sees pointers instead of strings
# and cannot filter by paths. LeakSanitizer does not work under strace.
trace_calls() {
	ASAN_OPTIONS=exitcode=99:detect_leaks=0 strace -qq -o "$1" -e "$2" "${@:3}"
}

# killed_at WHEN: a session of alice that deletes 1, 2 and 3, and is killed when it removes one of them.
killed_at() {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' 'DELE 3' QUIT >script
	trace_calls trace trace=unlinkat -e "inject=unlinkat:signal=KILL:when=$1" \
		"$HANDLER" "${options[@]}" <script >out 2>log || true
	grep -q 'killed by SIGKILL' trace
}

# let_others_in: other users can enter the directory of the test.
let_others_in() {
	chmod a+rx "$BATS_RUN_TMPDIR" "${BATS_TEST_TMPDIR%/*}" "$BATS_TEST_TMPDIR"
}

# as_nobody COMMAND...: for programs that refuse to run as root, and for failures by permissions.
# From then on the mailboxes belong to nobody, and ./handler is a program that nobody can run.
as_nobody() {
	needs_root
	[ -e handler ] || {
		cp "$HANDLER" handler
		cp "${HANDLER%/*}/pop3-handler-tls.so" .
	}
	let_others_in
	chmod -R a+rX "$BATS_TEST_TMPDIR"
	chown -R nobody "$mail"
	setpriv --reuid=nobody --regid=nogroup --clear-groups env USER=nobody HOME="$mail" \
		"${@/#--user=*/--user=nobody}"
}

# --- Private file systems, for an administrator's or a disk's effects on them ---

# on_disk COMMAND...: runs a command while the file system in the file `disk` is mounted at $mail, in a
# private namespace.
on_disk() {
	needs_root
	# shellcheck disable=SC2016
	unshare --mount bash -c 'mount -o loop disk "$1" || exit
		"${@:2}"
		status=$?
		umount "$1" && exit "$status"' bash "$mail" "$@"
}

# talk_on_disk LINE...: a session of alice there; sets `lines` to the replies after the login.
talk_on_disk() {
	printf '%s\r\n' 'USER alice' 'PASS apple' "$@" >script
	on_disk "${wrapper[@]}" "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[[ ${lines[2]} == +OK* ]]
	lines=("${lines[@]:3}")
}

# --- Sockets ---

# serve_port [OPTION...]: the handler behind a TCP port on 127.0.0.1; sets `port`. The file `log` has its
# log. The array `wrapper` is the command it runs under.
serve_port() {
	mkfifo port.pipe
	"${wrapper[@]}" tcpserver -1 -R -H -l localhost 127.0.0.1 0 "$HANDLER" "${options[@]}" "$@" \
		>port.pipe 2>>log 3>&- &
	background+=($!)
	read -r port <port.pipe
	rm port.pipe
}

# listen_port [OPTION...]: the same with a forking listener, whose pid is the last one in `background`.
listen_port() {
	mkfifo port.pipe
	/usr/bin/python3 -c 'import os, socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=200)
print(listener.getsockname()[1], flush=True)
os.dup2(listener.fileno(), 0)
os.closerange(3, 1024)
os.execvp(sys.argv[1], sys.argv[1:])' "${wrapper[@]}" "$HANDLER" "${options[@]}" "$@" \
		>port.pipe 2>>log 3>&- &
	background+=($!)
	read -r port <port.pipe
	rm port.pipe
}

# listen_ipv6 ADDRESSES [OPTION...]: the same at [::] of a network of its own, where lo has these addresses, too, and
# sockets serve IPv6 only unless they ask for more.
listen_ipv6() {
	# shellcheck disable=SC2016
	local network='ip link set lo up; sysctl -q net.ipv6.bindv6only=1
		for address in $0; do ip address add "$address/128" dev lo; done; exec "$@"'
	unshare --net sh -ec "$network" "$1" "${wrapper[@]}" "$HANDLER" "${options[@]}" "${@:2}" '--listen=[::]:0' \
		</dev/null >listening 2>log 3>&- &
	background+=($!)
	until grep listening listening; do
		kill -0 "$!"
	done
	port=$(sed 's/.*://' listening)
	client_wrapper=(nsenter "--net=/proc/$!/ns/net")
}

# with_client: runs a Python script from standard input that has a Client, the port, and the pids of the
# listener and its children.
with_client() {
	{
		cat "$BATS_TEST_DIRNAME/client.py"
		cat <<-END
			import os, signal, subprocess, time; port = $port; listener = ${background[-1]}
			def children():
			    return [int(pid) for pid in open(f'/proc/{listener}/task/{listener}/children').read().split()]
			def wait_for(condition):
			    end = time.monotonic() + TIMEOUT
			    while not (result := condition()):
			        assert time.monotonic() < end
			        time.sleep(0.01)
			    return result
		END
		cat
	} >scenario.py
	timeout 60 "${client_wrapper[@]}" /usr/bin/python3 scenario.py
}

# logged TEXT: waits for a line with this text in the log; the client may be ahead of the server.
logged() {
	local watched found=0
	exec {watched}< <(exec tail -n +1 -f log 3>&-)
	timeout 20 grep -qF -m 1 -e "$1" <&"$watched" || found=$?
	kill $! 2>/dev/null || true # grep may have ended tail already
	exec {watched}<&-
	[ "$found" -eq 0 ] || cat log
	return "$found"
}

# --- TLS ---

# make_key FILE [rsa]: makes a private key, P-256 or RSA.
make_key() {
	if [ "${2-}" = rsa ]; then
		openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out "$1"
	else
		openssl genpkey -quiet -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"
	fi
}

# make_ca NAME: makes an authority, NAME.pem and NAME.key.
make_ca() {
	make_key "$1.key"
	openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 200 -out "$1.pem"
}

# make_certificate NAME CA SUBJECT EXTENSION...: makes NAME.pem, and NAME.key if that is missing.
make_certificate() {
	[ -e "$1.key" ] || make_key "$1.key"
	openssl req -new -key "$1.key" -subj "$3" |
		openssl x509 -req -CA "$2.pem" -CAkey "$2.key" -days "${days-100}" -out "$1.pem" \
			-extfile <(printf '%s\n' "${@:4}") 2>/dev/null
}

# setup_tls: makes a certificate for localhost and 127.0.0.1, server.pem and server.key, issued by `ca`. (Not
# every machine can look up localhost.)
setup_tls() {
	make_ca ca
	make_certificate server ca /CN=localhost subjectAltName=DNS:localhost,IP:127.0.0.1
	options+=(--tls-cert=server.pem --tls-key=server.key)
}

# tls_talk 'OPTION...' LINE...: a session of these lines with openssl's client at `port`; sets `lines` to the
# replies and `status` to the client's exit status. The file `client` has what it reports about the
# connection.
tls_talk() {
	status=0
	# shellcheck disable=SC2086
	printf '%s\r\n' "${@:2}" | timeout 20 openssl s_client -connect "127.0.0.1:$port" -brief \
		-CAfile ca.pem -verify_return_error -servername localhost -verify_hostname localhost -ign_eof -nocommands \
		$1 >out 2>client || status=$?
	read_lines
}
