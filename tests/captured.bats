#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Attacks from a session under the control of an attacker on other processes: only those that
# SECURITY.md admits succeed. A debugger makes the session do the system calls.

load helpers

setup() {
	setup_site
	[ "$(uname -m)" = x86_64 ] || skip 'tests/from-inside.py supports x86_64 only'
	[ "$SANITIZED" = none ] || skip 'sanitizer builds refuse no system call'
	needs_root
	for user in alice bob; do
		make_maildir $user
		make_message $user/new/1.M1P1.h
	done
}

# start_listener: the file `log` receives its log through a socket that all its sessions share.
start_listener() {
	# shellcheck disable=SC2034 # of listen_port
	wrapper=(/usr/bin/python3 -c 'import os, socket, sys
ours, theirs = socket.socketpair()
if os.fork() == 0:
    theirs.close()
    os.closerange(0, 2)
    while octets := ours.recv(4096):
        os.write(2, octets)
    os._exit(0)
os.dup2(theirs.fileno(), 2)
os.closerange(3, 1024)
os.execv(sys.argv[1], sys.argv[1:])')
	listen_port --trusted-networks=127.0.0.1 # trusted, so that its crashes shut no client out
	listener=${background[-1]}
}

# capture: opens a session of the listener, `session`, with `to_one` and `from_one`.
capture() {
	exec {to}<>"/dev/tcp/127.0.0.1/$port"
	from_one=$to to_one=$to
	hear one
	session=$(pgrep -P "$listener" -n)
	# Replaces that of helpers.bash: after a failure the session is killed, because the listener would wait for it.
	pid_one=$session sessions=(one)
}

let_go() {
	exec {to}>&-
	sessions=()
}

# from_inside CALL...: makes the calls in the session and prints their results.
from_inside() {
	run -0 "$BATS_TEST_DIRNAME/from-inside.py" "$session" "$@"
	printf '%s\n' "${lines[@]}"
}

# refuses ERROR CALL...: each of the calls fails with this error.
refuses() {
	from_inside "${@:2}"
	[ "${#lines[@]}" -eq $(($# - 1)) ]
	for line in "${lines[@]}"; do
		[[ $line == *": $1" ]]
	done
}

# another_logs_in: another client can log in within a second.
another_logs_in() {
	# shellcheck disable=SC2016
	timeout 1 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0"
		printf "USER bob\r\nPASS banana split \r\nQUIT\r\n" >&3
		cat <&3' "$port" >other
	[ "$(tail -n 1 other)" = $'+OK goodbye\r' ]
}

# is_powerless COUNT: in any stage, the session can do nothing to other processes, the network or the log.
is_powerless() {
	# Signals: F_SETOWN, F_SETSIG, F_SETFL with O_ASYNC.
	refuses EPERM "kill $listener 0" "kill -1 0" "tgkill $listener $listener 0" "tkill $listener 0" \
		"rt_sigqueueinfo $listener 0 0" "pidfd_open $listener 0" "pidfd_send_signal 0 0 0 0" \
		"fcntl 0 8 $listener" 'fcntl 0 10 9' 'fcntl 0 4 0x2000' "fcntl 2 8 $listener" 'fcntl 0x100000000 37 0'
	# The network and other daemons, also with an address above 32 bits.
	local address
	address=@0100$(printf %s "$PWD/daemon" | od -An -v -tx1 | tr -d ' \n')
	refuses EPERM 'socket 1 2 0' 'socket 2 1 0' 'socketpair 1 1 0 0' "connect 2 $address 110" "sendto 2 x 1 0 $address 110" \
		'sendto 2 x 1 0 0x100000000 16' 'sendmsg 2 0 0' 'sendmmsg 2 0 1 0' 'recvmsg 0 0 0' 'bind 0 0 0' 'listen 0 1' \
		'accept4 0 0 0 0' 'setsockopt 1 1 9 0 0' 'getsockopt 1 1 9 0 0' 'getpeername 0 0 0' 'ioctl 0 0x541b 0' \
		'prctl 4 1' 'setitimer 1 0 0'
	# The log, which all sessions share.
	refuses EPERM 'shutdown 2 2' 'shutdown 0 2' 'recvfrom 2 xxxx 4 0' 'sendto 2 x 1 1 0 0' 'pwrite64 2 x 1 0' 'lseek 2 0 0' \
		'lseek 0x100000002 0 0' 'fallocate 2 3 0 4096' 'ftruncate 2 0' 'flock 2 2' 'utimensat 2 0 0 0' 'fcntl 2 37 0'
	# The rights that remain on the log.
	from_inside 'write 2 @666f726765640a 7' # "forged\n"
	[ "${lines[0]}" = 'write: 7' ]
	logged forged
	# Shared memory: states of sessions and, before login, the quota of log lines and the failed logins.
	[ "$(grep -c ' rw-s ' "/proc/$session/maps")" -eq "$1" ]
	# All other calls, and all other commands of those that are allowed.
	local calls command
	mapfile -t calls < <(refused_calls landlock_add_rule landlock_create_ruleset landlock_restrict_self)
	[ "${#calls[@]}" -gt 250 ]
	for command in {0..36} {38..48} {1024..1048}; do
		calls+=("fcntl 7 $command")
	done
	for command in 0 1 2 3 5; do
		calls+=("fadvise64 7 0 0 $command")
	done
	calls+=('fcntl 2 37' 'fadvise64 2 0 0 4' 'flock 7 2' 'flock 7 5' 'flock 7 8' 'fallocate 7 0 0 1' 'fallocate 7 3 0 1'
		'renameat2 -100 x -100 y 2' 'renameat2 -100 x -100 y 4' 'futex 0 0' 'futex 0 1' 'madvise 0 4096 9' 'mmap 0 4096 3 1 3 0'
		'mmap 0 4096 1 3 3 0' 'mmap 0 4096 5 2 3 0' 'sendto 1 x 1 1' 'shutdown 3 2')
	calls+=(0x40000027 0x4000003b 0x40000208) # x32: getpid, two of execve
	refuses EPERM "${calls[@]}"
	# Nothing of it that was unmapped comes back: a shared mapping does not grow.
	local from to
	while IFS=' -' read -r from to _; do
		refuses EPERM "mremap 0x$from $((0x$to - 0x$from)) 0x100000 1" "mremap 0x$from 0 0x100000 1" "mremap 0x$from 4096 4096 0"
	done < <(grep ' rw-s ' "/proc/$session/maps")
	# The processor time of another process.
	local clock=$((~listener << 3 | 2))
	refuses EPERM "clock_gettime $clock xxxxxxxxxxxxxxxx" "clock_getres $clock xxxxxxxxxxxxxxxx" "clock_nanosleep $clock 0 0 0"
	# Memory of other processes, and execution of programs.
	refuses EPERM "process_vm_readv $listener 0 0 0 0 0" "process_vm_writev $listener 0 0 0 0 0" \
		'fork' 'vfork' 'clone 17' 'clone3 0 0' 'mprotect 4096 4096 4' 'pkey_mprotect 4096 4096 4 0' \
		'mmap 0 4096 7 0x22 -1 0' 'memfd_create x 0' 'userfaultfd 0' 'personality 0x400000' 'unshare 0x10000000' \
		'setns 0 0' 'seccomp 0 0 0' 'capset 0 0' 'setuid 0' "prlimit64 $listener 0 0 0" "sched_setaffinity $listener 0 0" \
		"setpriority 0 $listener 0" 'inotify_init1 0' 'fanotify_init 0 0'
	refuses EACCES "openat -100 /proc/$listener/mem 2" "openat -100 /proc/$session/mem 2" 'openat -100 /dev/shm 0' \
		'openat -100 / 0' 'openat -100 /etc/passwd 0' "openat -100 $users 2"
	# The passwd-file cannot be changed, and files of its own get no other mode.
	cp -p "$users" before
	refuses EPERM "openat -100 $users 0x200" "truncate $users 0" "utimensat -100 $users 0 0" "openat -100 $mail/alice/new/x 0x41 0x9ed" \
		"chmod $users 0x1ff" "fchmodat -100 $users 0x1ff" "chown $users 0 0" "linkat -100 $users -100 $mail/alice/new/y 0" \
		"symlinkat / -100 $mail/alice/new/y" "mkdirat -100 $mail/alice/new/y 0x1ff" "mknodat -100 $mail/alice/new/y 0x2180 0x103"
	cmp before "$users"
	[ "$(stat -c %Y before)" = "$(stat -c %Y "$users")" ]
}

# dies_alone CALL: the call kills the session and affects no other.
dies_alone() {
	from_inside "$1"
	[ "${lines[0]}" = "${1%% *}: killed by SIGSYS" ]
	another_logs_in
	logged "session from 127.0.0.1"
	kill -0 "$listener"
}

deadly=('execve /bin/sh' 'execveat -100 /bin/sh 0 0 0' 'ptrace 16 1 0 0' 'bpf 0 0 0' 'io_uring_setup 1 0' 'io_uring_enter 0 0 0' 'io_uring_register 0 0 0'
	'int80:20') # of a 32-bit program

@test "a session under attack before login can harm nothing but the mail" {
	start_listener
	capture
	is_powerless 2
	another_logs_in
	logged "login of 'bob' from 127.0.0.1 accepted"
	let_go
	for call in "${deadly[@]}"; do
		capture
		dies_alone "$call"
		let_go
	done
}

@test "a session under attack after login can harm nothing but its mailbox" {
	start_listener
	capture
	login one
	is_powerless 1
	touch -d '2001-02-03' "$mail/bob/new/1.M1P1.h"
	refuses EACCES "openat -100 $mail/bob/new/1.M1P1.h 0" "openat -100 $mail/bob 0" "openat -100 $mail 0" \
		"openat -100 $mail/bob/new/2 0x41 0x180" "unlinkat -100 $mail/bob/new/1.M1P1.h 0" \
		"renameat -100 $mail/alice/new/1.M1P1.h -100 $mail/bob/new/2" "renameat -100 $mail/bob/new/1.M1P1.h -100 $mail/alice/new/2"
	refuses EPERM "utimensat -100 $mail/bob/new/1.M1P1.h 0 0" "truncate $mail/bob/new/1.M1P1.h 0" 'unlinkat -100 / 0x200'
	[ "$(stat -c %Y "$mail/bob/new/1.M1P1.h")" = "$(date -d '2001-02-03' +%s)" ]
	another_logs_in
	logged "login of 'bob' from 127.0.0.1 accepted"
	ask one STAT # the session continues
	[ "$reply" = '+OK 1 24' ]
	dies_alone "${deadly[0]}"
	let_go
	capture
	login one
	dies_alone "${deadly[2]}"
	let_go
}
