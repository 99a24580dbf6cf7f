#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Capabilities of an attacker in control of a process, before login and after it: a debugger makes the
# process do system calls.

load helpers

setup() {
	setup_site
	for user in alice bob; do
		make_maildir $user
		make_message $user/new/1.M1P1.h
	done
	echo secret >elsewhere
}

# from_inside PID CALL...: sets `lines` to the calls with their results.
from_inside() {
	[ "$(uname -m)" = x86_64 ] || skip 'tests/from-inside.py supports x86_64 only'
	needs_root
	run -0 "$BATS_TEST_DIRNAME/from-inside.py" "$@"
}

# is_closed PID: in any stage, the process can reach nothing but mail. (The sanitizers need /proc and system
# calls of their own, so that nothing is refused.)
is_closed() {
	from_inside "$1" 'openat -100 /etc/passwd 0' "openat -100 $PWD/elsewhere 0" \
		"openat -100 $PWD/made 0x41 0x180" "mkdirat -100 $PWD/made 0x1c0" \
		"symlinkat /etc -100 $mail/alice/new/link" "openat -100 / 0"
	printf '%s\n' "${lines[@]}"
	if [ "$SANITIZED" = none ]; then
		[ "${lines[*]}" = 'openat: EACCES openat: EACCES openat: EACCES mkdirat: EACCES symlinkat: EPERM openat: EACCES' ]
	else
		[[ "${lines[*]}" != *:\ [0-9]* ]]
	fi
	grep -xE 'NoNewPrivs:\s1' "/proc/$1/status"
	grep -E 'Max core file size +0 +0 ' "/proc/$1/limits"
	[ "$SANITIZED" = none ] || return 0
	grep -xE 'Seccomp:\s2' "/proc/$1/status"
	from_inside "$1" 'openat -100 /proc/1/environ 0'
	[ "${lines[*]}" = 'openat: EACCES' ]
	from_inside "$1" fork 'clone 17 0 0 0 0' 'socket 2 1 0' 'socket 1 2 0' \
		'connect 0 0 0' "mount none $mail tmpfs 0 0" "kill $$ 0" 'mprotect 4096 4096 7' \
		'mmap 0 4096 7 0x22 -1 0' 'ioctl 0 0x5412 0' 'seccomp 0 0 0' 'prctl 4 1 0 0 0' \
		"process_vm_readv $$ 0 0 0 0 0" 'keyctl 0 0' "chmod $mail/alice 0x1ff" 'setuid 0' \
		"mkdirat -100 $mail/made 0x1ff"
	printf '%s\n' "${lines[@]}"
	[ "${#lines[@]}" -eq 17 ]
	for line in "${lines[@]}"; do
		[[ $line == *': EPERM' ]]
	done
}

# has_only_alice PID: the process can reach alice's mail and the passwd-file, but no other mail.
has_only_alice() {
	from_inside "$1" "openat -100 $mail/bob/new/1.M1P1.h 0" "openat -100 $mail/bob 0" "openat -100 $mail 0" \
		"unlinkat -100 $mail/bob/new/1.M1P1.h 0" \
		"renameat -100 $mail/alice/new/1.M1P1.h -100 $mail/bob/new/2.M1P1.h" "openat -100 $mail/alice/../bob 0"
	[ "${lines[*]}" = 'openat: EACCES openat: EACCES openat: EACCES unlinkat: EACCES renameat: EACCES openat: EACCES' ]
	from_inside "$1" "openat -100 $mail/alice/new/1.M1P1.h 2" "openat -100 $users 0" "openat -100 $users 2"
	[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: '[0-9]+' openat: EACCES'$ ]]
	cannot_empty "$1" "$users"
}

# cannot_empty PID FILE: the process cannot truncate a file that it may read. Landlock denies this since
# version 3, the seccomp filter always.
cannot_empty() {
	[ "$SANITIZED" = none ] || return 0
	from_inside "$1" "openat -100 $2 0x200"
	[ "${lines[*]}" = 'openat: EPERM' ]
	[ -s "$2" ]
}

@test "with the sandbox off, a debugger makes the process read files and make sockets" {
	start_session one "$HANDLER" "${options[@]}" --sandbox=off
	login one
	from_inside "$pid_one" 'openat -100 /etc/passwd 0' "openat -100 $mail/bob/new/1.M1P1.h 0" \
		"openat -100 $PWD/made 0x41 0x180" 'socket 2 1 0' "mkdirat -100 $mail/made 0x1c0" 'prctl 4 1 0 0 0' fork
	printf '%s\n' "${lines[@]}"
	[[ "${lines[*]}" =~ ^('openat: '[0-9]+' '){3}'socket: '[0-9]+' mkdirat: 0 prctl: 0 fork: '[0-9]+$ ]]
	ask one STAT
	[ "$reply" = '+OK 1 24' ]
	grep -xE 'Seccomp:\s0' "/proc/$pid_one/status"
}

@test "before login a session can reach mail and the passwd-file only" {
	start_session one
	is_closed "$pid_one"
	from_inside "$pid_one" "openat -100 $mail/bob/new/1.M1P1.h 0" "openat -100 $users 0" "openat -100 $users 2"
	[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: '[0-9]+' openat: EACCES'$ ]]
	login one
}

@test "after login and after WAKE a session can reach its mailbox and the passwd-file only" {
	start_session one
	login one
	is_closed "$pid_one"
	has_only_alice "$pid_one"
	ask one SLEE
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 1 messages' ]
	has_only_alice "$pid_one"
	is_closed "$pid_one"
	ask one QUIT
	[ -z "$(troubles one.log)" ]
}

@test "a session that a listener forks can reach all mail before login, and its mailbox afterwards" {
	listen_port
	listener=${background[-1]}
	exec {to}<>"/dev/tcp/127.0.0.1/$port"
	from_one=$to to_one=$to
	hear one
	session=$(cat "/proc/$listener/task/$listener/children")
	# shellcheck disable=SC2086
	is_closed $session
	login one
	# shellcheck disable=SC2086
	is_closed $session
	# shellcheck disable=SC2086
	has_only_alice $session
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	exec {to}>&-
}

@test "a read-only session can only read" {
	echo 'alice:{PLAIN}apple::::::read-only=yes' >"$users"
	start_session one
	login one
	from_inside "$pid_one" "openat -100 $mail/alice/new/1.M1P1.h 2" "openat -100 $mail/alice/new/1.M1P1.h 0" \
		"unlinkat -100 $mail/alice/new/1.M1P1.h 0"
	[[ "${lines[*]}" =~ ^'openat: EACCES openat: '[0-9]+' unlinkat: EACCES'$ ]]
	cannot_empty "$pid_one" "$mail/alice/new/1.M1P1.h"
	start_session two "$HANDLER" "${options[@]}" --read-only=yes
	from_inside "$pid_two" "openat -100 $mail/bob/new/1.M1P1.h 2" "openat -100 $mail/bob/new/1.M1P1.h 0"
	[[ "${lines[*]}" =~ ^'openat: EACCES openat: '[0-9]+$ ]]
	cannot_empty "$pid_two" "$mail/bob/new/1.M1P1.h"
}

@test "certificates, keys and the ticket key can be reached before login, but not after it" {
	setup_tls
	start_session one
	from_inside "$pid_one" "openat -100 $PWD/server.key 0" "openat -100 $PWD/server.key 2" "openat -100 $PWD/server.pem 0" \
		"openat -100 $PWD/run/ticket-key 0x42 0x180" "unlinkat -100 $PWD/run/ticket-key 0"
	[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: EACCES openat: '[0-9]+' openat: '[0-9]+' unlinkat: 0'$ ]]
	login one
	from_inside "$pid_one" "openat -100 $PWD/server.key 0" "openat -100 $PWD/server.pem 0" "openat -100 $PWD/run/ticket-key 0x42 0x180"
	[ "${lines[*]}" = 'openat: EACCES openat: EACCES openat: EACCES' ]
}

@test "a session can see that a file exists, lock and touch one that it can open, make directories, and use its log" {
	local fd space stage
	space=$(printf '%0200d' 0 | tr 0 .)
	ln -s "$users" link
	echo line >one.log
	start_session one bash -c 'exec "$@" 2<>one.log' bash "$HANDLER" "${options[@]}"
	for stage in before after; do
		[ $stage = before ] || login one
		from_inside "$pid_one" "newfstatat -100 $mail/bob/new/1.M1P1.h $space 0" "newfstatat -100 /nonesuch $space 0" \
			"readlink $PWD/link $space 200" "faccessat -100 /etc/passwd 4" "mkdirat -100 $mail/alice/$stage 0x1c0" \
			"sysinfo $space" "fstatfs 2 $space" "write 2 @666f726765640a 7" "pread64 2 $space 4 0" \
			"timer_settime 0 0 @$(printf '%064d' 0) 0" "openat -100 $users 0"
		printf '%s\n' "${lines[@]}"
		[[ "${lines[*]}" =~ ^"newfstatat: 0 newfstatat: ENOENT readlink: ${#users} faccessat: 0 mkdirat: 0 sysinfo: 0 fstatfs: 0 write: 7 pread64: 4 timer_settime: 0 openat: "([0-9]+)$ ]]
		fd=${BASH_REMATCH[1]}
		touch -d 2001-02-03 "$users"
		from_inside "$pid_one" "utimensat $fd 0 0 0" "flock $fd 6" "write $fd x 1" "utimensat -100 $users 0 0" "close $fd"
		[ "$SANITIZED" != none ] || [ "${lines[*]}" = 'utimensat: 0 flock: 0 write: EBADF utimensat: EPERM close: 0' ]
		[ "$(stat -c %Y "$users")" -gt "$(date -d 2020-01-01 +%s)" ]
	done
	[ "$(grep -c '^forged$' one.log)" -gt 0 ]
}

@test "a session without a mailbox can reach no mail, and must log in again when the mailbox appears" {
	rm -r "$mail/alice"
	start_session one
	login one
	is_closed "$pid_one"
	from_inside "$pid_one" "openat -100 $mail 0" "openat -100 $mail/bob/new/1.M1P1.h 0" "openat -100 $mail/alice 0" \
		"openat -100 $mail/made 0x41 0x180" "openat -100 $users 0"
	[[ "${lines[*]}" =~ ^('openat: EACCES '){2}'openat: ENOENT openat: EACCES openat: '[0-9]+$ ]]
	ask one SLEE
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 0 messages' ]
	ask one SLEE
	make_maildir alice
	make_message alice/new/1.M1P1.h
	for _ in 1 2; do # the session stays asleep
		ask one WAKE
		[ "$reply" = '-ERR [SYS/TEMP] the mailbox is new: log in again' ]
	done
	ask one NOOP
	[[ $reply == +OK* ]]
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(troubles one.log)" = "pop3-handler: the mailbox '$mail/alice' does not exist: it is served as empty" ]
	as_alice STAT
	[ "${lines[0]}" = '+OK 1 24' ]
}

@test "a session whose domain has no directory yet can reach no mail of any domain" {
	printf '%s\n' 'alice@new.example:{PLAIN}apple' 'bob@old.example:{PLAIN}b' >"$users"
	options=("$as_me" "--users=$users" "--mailbox=$mail/%d/%n")
	make_maildir old.example/bob
	for _ in domain mailbox; do # is missing
		for option in --read-only=no --read-only=yes; do
			start_session one "$HANDLER" "${options[@]}" "$option"
			login one alice@new.example
			from_inside "$pid_one" "openat -100 $mail 0" "openat -100 $mail/old.example/bob/new 0" \
				"openat -100 $mail/made 0x41 0x180" "mkdirat -100 $mail/new.example/alice 0x1c0" "openat -100 $mail/old.example 0"
			[[ "${lines[*]}" =~ ^('openat: EACCES '){3}'mkdirat: '(ENOENT|EACCES)' openat: EACCES'$ ]]
			ask one SLEE
			make_maildir new.example/alice
			ask one WAKE
			[ "$reply" = '-ERR [SYS/TEMP] the mailbox is new: log in again' ]
			hang_up one
			rm -r one.* "$mail/new.example/alice"
		done
	done
	# A link to nothing.
	ln -s nowhere "$mail/new.example/alice"
	start_session one
	login one alice@new.example
	from_inside "$pid_one" "openat -100 $mail 0" "openat -100 $mail/new.example 0" "openat -100 $mail/old.example/bob/new 0"
	[ "${lines[*]}" = 'openat: EACCES openat: EACCES openat: EACCES' ]
}

@test "with each version of Landlock since the second, a session cannot reach more" {
	[ "$SANITIZED" = none ] || skip 'sanitizer builds refuse no system call'
	version=$(/usr/bin/python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))')
	[ "$version" -ge 2 ] || skip 'this kernel has no Landlock'
	for ((version = version < 7 ? version : 7; version >= 2; version--)); do
		start_session "v$version" env "LD_PRELOAD=${HANDLER%/*}/tests/landlock-version.so" LANDLOCK_VERSION=$version \
			"$HANDLER" "${options[@]}"
		pid=pid_v$version
		is_closed "${!pid}"
		cannot_empty "${!pid}" "$users"
		login "v$version"
		is_closed "${!pid}"
		has_only_alice "${!pid}"
		ask "v$version" QUIT
		[ -z "$(troubles "v$version.log")" ]
	done
}

@test "a session whose home does not exist yet cannot reach another home" {
	printf '%s\n' "alice:{PLAIN}apple::::$PWD/homes/alice" "bob:{PLAIN}b::::$PWD/homes/bob" >"$users"
	mkdir -p homes/alice homes/bob/Maildir/{new,cur} homes/later
	options=("$as_me" "--users=$users")
	start_session one
	# A home for an account that is added before the login.
	from_inside "$pid_one" "openat -100 $PWD/homes/later 0"
	[[ ${lines[0]} =~ ^'openat: '[0-9]+$ ]]
	from_inside "$pid_one" "openat -100 $PWD/homes/bob/Maildir/new 0" "openat -100 $mail 0"
	[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: EACCES'$ ]]
	login one
	from_inside "$pid_one" "openat -100 $PWD/homes/bob/Maildir/new 0" "openat -100 $PWD/homes/alice 0"
	[ "${lines[*]}" = 'openat: EACCES openat: EACCES' ]
}

@test "many mailboxes in many directories can be reached by their users" {
	for i in {1..40}; do
		mkdir -p "far/$i/box/new" "far/$i/box/cur"
		echo "user$i:{PLAIN}p::::::userdb_mail=maildir:$PWD/far/$i/box"
	done >"$users"
	for i in 1 16 17 40; do
		talk "USER user$i" 'PASS p' STAT QUIT
		[ "${lines[3]}" = '+OK 0 0' ]
	done
	start_session one
	from_inside "$pid_one" "openat -100 $PWD/far/40/box 0" "openat -100 $PWD/elsewhere 0"
	[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: EACCES'$ ]]
}

@test "homes that cannot be roots are reported and left out, whatever their number" {
	options=("$as_me" "--users=$users")
	mkdir -p homes/alice/Maildir/{new,cur} place{1..16}
	for bad in home/bob / /top /nonexistent /../bob "$PWD/../../../../../../../../../../bob" //bob /top/ \
		/./bob /. /top/. /top/./ /place/.. /tmp/../ "$PWD/homes/.."; do
		{
			echo "alice:{PLAIN}apple::::$PWD/homes/alice"
			for i in {1..16}; do
				echo "user$i:{PLAIN}p::::$PWD/place$i/user"
			done
			printf '%s\n' "bob:{PLAIN}b::::$bad" "carol:{PLAIN}c::::$bad"
		} >"$users"
		echo "$bad"
		timeout 10 "$HANDLER" "${options[@]}" --check-config >out 2>log
		line="pop3-handler: $users:18: the home or mailbox is relative or not deep enough: it is out of reach (2 such lines in all)"
		[ "$(cat log)" = "$line" ]
		rm -f one.*
		start_session one timeout 10 "$HANDLER" "${options[@]}"
		from_inside "$(pgrep -P "$pid_one")" "openat -100 $PWD/homes/alice 0" "openat -100 $PWD/elsewhere 0" "openat -100 / 0" 'openat -100 /etc/passwd 0'
		[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: EACCES openat: EACCES openat: EACCES'$ ]]
		[ "$(cat one.log)" = "$line" ]
		login one
		hang_up one
	done
}

@test "a home that cannot be opened, or is below a file, keeps no other user out" {
	options=("$as_me" "--users=$users")
	mkdir -p homes/alice/Maildir/{new,cur}
	ln -s loop loop
	long=$PWD/$(printf '%0300d' 0)
	for bad in "$PWD/loop" "$long" "$users"; do
		printf '%s\n' "bob:{PLAIN}b::::$bad/bob" "carol:{PLAIN}c::::$bad/../loop/carol" "alice:{PLAIN}apple::::$PWD/homes/alice" >"$users"
		echo "${bad##*/}"
		start_session one
		from_inside "$pid_one" "openat -100 $users 2" "openat -100 $PWD/homes 0" "openat -100 $PWD 0"
		[[ "${lines[*]}" =~ ^'openat: EACCES openat: '[0-9]+' openat: EACCES'$ ]]
		login one
		[ "$(grep -c 'no session can reach' one.log)" -eq "$([ "$bad" = "$users" ]; echo $?)" ]
		"$HANDLER" "${options[@]}" --check-config 2>log
		grep "no mailbox can be in '${bad:0:100}" log
		hang_up one
		rm one.*
	done
}

@test "18 and 300 homes in as many directories can be reached, and nothing beside them" {
	options=("$as_me" "--users=$users")
	for count in 18 300; do
		for ((i = 1; i <= count; i++)); do
			mkdir -p "far/$i/user$i/Maildir/new" "far/$i/user$i/Maildir/cur"
			echo "user$i:{PLAIN}p::::$PWD/far/$i/user$i"
		done >"$users"
		"$HANDLER" "${options[@]}" --check-config >out 2>log
		[ ! -s log ]
		start_session "s$count"
		pid=pid_s$count
		from_inside "${!pid}" "openat -100 $PWD/far/1/user1 0" "openat -100 $PWD/far/17/user17 0" \
			"openat -100 $PWD/far/$count/user$count 0" "openat -100 $PWD/far 0" "openat -100 $PWD/elsewhere 0" 'openat -100 / 0'
		[[ "${lines[*]}" =~ ^('openat: '[0-9]+' '){3}'openat: EACCES openat: EACCES openat: EACCES'$ ]]
		login "s$count" "user$count" p
		[ -z "$(troubles "s$count.log")" ]
	done
}

@test "a mailbox at the top of the file system is reported, whether one account or all have it" {
	echo 'carol:{PLAIN}cherry::::::userdb_mail=/x' >>"$users"
	echo 'dave:{PLAIN}d::::::userdb_mail=maildir:mail/%u' >>"$users"
	start_session one
	from_inside "$pid_one" "openat -100 $mail/bob/new 0" "openat -100 $PWD/elsewhere 0" 'openat -100 / 0'
	[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: EACCES openat: EACCES'$ ]]
	[ "$(cat one.log)" = "pop3-handler: $users:3: the home or mailbox is relative or not deep enough: it is out of reach (1 such lines in all)" ]
	run -78 "$HANDLER" "${options[@]}" --check-config
	[ "$output" = "$(cat one.log && echo "pop3-handler: $users:4: the account has no usable mailbox path")" ]
	sed -i '3,$d' "$users"
	options=("$as_me" "--users=$users" '--mailbox=/%u')
	"$HANDLER" "${options[@]}" --check-config 2>log
	[ "$(cat log)" = "pop3-handler: mailbox = '/%u' can be anywhere, so it is out of reach: set mail-root" ]
	start_session two
	from_inside "$pid_two" "openat -100 $mail/bob/new 0" 'openat -100 / 0'
	[ "${lines[*]}" = 'openat: EACCES openat: EACCES' ]
	# A relative path in the settings is accepted.
	options=("$as_me" "--users=$users" '--mailbox=mail/%u')
	"$HANDLER" "${options[@]}" --check-config 2>log
	[ ! -s log ]
	as_alice STAT
	[ "${lines[0]}" = '+OK 1 24' ]
}

@test "a passwd-file that cannot be read while roots are collected is logged" {
	options=("$as_me" "--users=$PWD/missing")
	talk QUIT
	grep -xF "pop3-handler: cannot look for mailboxes in users = '$PWD/missing': No such file or directory" log
}

@test "mail-root names the directory of the mailboxes, and nothing else can be reached" {
	echo "carol:{PLAIN}cherry::::::userdb_mail=$PWD/far" >>"$users"
	mkdir far
	talk 'USER carol' 'PASS cherry'
	[ "${lines[2]}" = '+OK 0 messages' ]
	options+=("--mail-root=$mail/alice" "--mail-root=$mail/missing")
	talk 'USER carol' 'PASS cherry' 'USER alice' 'PASS apple'
	[ "${lines[2]}" = '-ERR [SYS/PERM] cannot open the mailbox' ]
	[ "${lines[4]}" = '+OK 1 messages' ]
	options+=("--mail-root=$PWD/far")
	talk 'USER carol' 'PASS cherry'
	[ "${lines[2]}" = '+OK 0 messages' ]
	# Not even the administrator can open everything, except by sandbox = off.
	for root in / // /tmp/..; do
		start_session one "$HANDLER" "${options[@]}" "--mail-root=$root"
		from_inside "$pid_one" "openat -100 $PWD/far 0" 'openat -100 /etc/passwd 0'
		[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: EACCES'$ ]]
		hang_up one
		[ "$(head -n 1 one.log)" = "pop3-handler: mail-root = '/' would put all files in reach: it is left out" ]
		rm one.*
	done
}

@test "a mailbox that only the sandbox denies is logged with the setting that helps" {
	mkdir -p disk/alice/{new,cur}
	rm -r "$mail/alice"
	ln -s "$PWD/disk/alice" "$mail/alice"
	chmod 0 "$mail/bob"
	for why in link mode; do
		name=alice password=apple
		[ "$why" = link ] || name=bob password='banana split '
		talk "USER $name" "PASS $password"
		[ "$why" = link ] || [ "$(id -u)" -ne 0 ] || break # permissions do not restrict root
		[ "${lines[2]}" = '-ERR [SYS/PERM] cannot open the mailbox' ]
		[ "$(grep -c 'set mail-root to where it really is' log)" -eq "$([ "$why" = mode ]; echo $?)" ]
	done
	options+=("--mail-root=$mail" "--mail-root=$PWD/disk")
	as_alice STAT
}

@test "a passwd-file that is replaced, or behind a link, is read again by WAKE" {
	mkdir real
	mv "$users" real/users
	ln -s ../real/users "$users"
	start_session one
	login one
	for change in ok gone; do
		ask one SLEE
		[ $change = ok ] || sed -i /alice/d real/users
		ask one WAKE
		case $change in
		ok) [[ $reply == '+OK [ACTIVITY/NONE]'* ]] ;;
		gone) [[ $reply == '-ERR [AUTH]'* ]] ;;
		esac
	done
}

@test "a passwd-file in the directory / puts no other file in reach" {
	needs_root
	mkdir root
	cat >chroot.sh <<-'END'
		mount -t tmpfs tmpfs root
		for path in /*; do
			if [ -L "$path" ]; then
				cp -a "$path" root
			elif [ -d "$path" ]; then
				mkdir "root$path"
				mount --rbind "$path" "root$path"
			fi
		done
		cp accounts/users root
		exec chroot root "$@"
	END
	for path in /users users "$PWD/accounts/link"; do # chroot(1) changes to the directory /
		ln -sf /users accounts/link
		options=("$as_me" "--users=$path" "--mailbox=$mail/%u")
		start_session one unshare --mount sh -e chroot.sh "$HANDLER" "${options[@]}"
		from_inside "$pid_one" 'openat -100 /users 0' 'openat -100 /users 2' 'openat -100 /etc/passwd 0' 'openat -100 / 0'
		[[ "${lines[*]}" =~ ^'openat: '[0-9]+' openat: EACCES openat: EACCES openat: EACCES'$ ]]
		login one
		from_inside "$pid_one" 'openat -100 /etc/passwd 0' 'openat -100 / 0' "openat -100 $mail/bob 0"
		[ "${lines[*]}" = 'openat: EACCES openat: EACCES openat: EACCES' ]
		ask one SLEE
		ask one WAKE
		[[ $reply == '+OK [ACTIVITY/NONE]'* ]]
		hang_up one
		rm one.*
	done
}

@test "a system call that is refused is logged and ends no session" {
	[ "$SANITIZED" = none ] || skip 'sanitizer builds refuse no system call'
	start_session one
	login one
	from_inside "$pid_one" '!socket 1 2'
	status=0
	wait "$pid_one" || status=$?
	[ "$status" -eq 74 ]
	grep -xF 'pop3-handler: the sandbox has refused the system call 41' one.log
	grep -F "session of 'alice' from local ended: Operation not permitted" one.log
	# The same signal from another process does no harm.
	start_session two
	kill -s SYS "$pid_two"
	login two
	ask two QUIT
	[ "$reply" = '+OK goodbye' ]
	[ -z "$(troubles two.log)" ]
}

@test "without a syslog daemon a session does not log that logging fails" {
	needs_root
	[ "$SANITIZED" = none ] || skip 'sanitizer builds refuse no system call'
	printf '%s\r\n' 'USER alice' 'PASS apple' {,,,,}{NOOP,STAT,NOOP,STAT} QUIT >script
	cat >scenario <<-'END'
		mount -t tmpfs tmpfs /dev
		mknod -m 666 /dev/null c 1 3
		exec strace -qq -o trace -e trace=socket "$@" 2>/dev/null
	END
	unshare --mount bash -e scenario "$HANDLER" "${options[@]}" <script >out
	[ "$(tail -n 1 out)" = $'+OK goodbye\r' ]
	cat trace
	# Standard error is /dev/null, so the log goes to syslog, which is opened once for three lines.
	[ "$(grep -c 'AF_UNIX, SOCK_DGRAM' trace)" -le 4 ]
}

@test "on a kernel without Landlock or seccomp clients are served, and the log says so once" {
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT SLEE WAKE QUIT >script
	is_served() {
		[ "$(grep -c '^+OK' out)" -eq 7 ]
	}
	for error in ENOSYS EOPNOTSUPP EPERM; do
		trace trace inject=landlock_create_ruleset:error=$error "$HANDLER" "${options[@]}" <script >out 2>log
		is_served
		[ "$(grep -c 'without Landlock' log)" -eq 1 ]
	done
	trace trace inject=landlock_create_ruleset:retval=1 "$HANDLER" "${options[@]}" <script >out 2>log
	is_served
	grep 'without Landlock' log
	# Version 2 knows no rule about truncation, but all others.
	trace trace inject=landlock_add_rule:error=EINVAL:when=1+2 "$HANDLER" "${options[@]}" <script >out 2>log
	is_served
	[ -z "$(troubles log)" ]
	[ "$SANITIZED" = none ] || return 0
	trace trace inject=seccomp:error=EINVAL "$HANDLER" "${options[@]}" <script >out 2>log
	is_served
	[ "$(grep -c 'without seccomp' log)" -eq 1 ]
}

@test "if the sandbox cannot be closed, no client can log in" {
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
	for call in prctl:error=EPERM landlock_restrict_self:error=E2BIG landlock_add_rule:error=ENOMEM; do
		status=0
		trace trace inject=$call "$HANDLER" "${options[@]}" <script >out 2>log || status=$?
		[ "$status" -ne 0 ]
		[ ! -s out ]
		grep -E 'cannot (make|enter) the sandbox' log
	done
	trace trace inject=landlock_restrict_self:error=E2BIG:when=2 "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[[ ${lines[2]} == '-ERR [SYS/TEMP]'* && ${lines[3]} == -ERR* ]]
}

@test "with sandbox = required, an incomplete sandbox serves no client and is logged" {
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
	options+=(--sandbox=required)
	handle script
	[ "$(tail -n 1 out)" = $'+OK goodbye\r' ]
	is_refused() {
		local status action
		for action in '' --check-config; do
			status=0
			# shellcheck disable=SC2086
			trace trace "$1" "$HANDLER" "${options[@]}" $action <script >out 2>log || status=$?
			[ "$status" -eq 78 ]
			[ ! -s out ]
			[ "$(cat log)" = "pop3-handler: refusing to serve with sandbox = required: $2" ]
		done
	}
	lacks='the sandbox is without Landlock: this kernel does not have it, or not as version 2 or later'
	is_refused inject=landlock_create_ruleset:error=ENOSYS "$lacks"
	is_refused inject=landlock_create_ruleset:retval=1 "$lacks"
	# The same for the stage after login.
	trace trace inject=landlock_create_ruleset:error=ENOSYS:when=3 "$HANDLER" "${options[@]}" <script >out 2>log
	[ "$(sed -n 3p out)" = $'-ERR [SYS/TEMP] cannot open the mailbox\r' ]
	[ "$SANITIZED" = none ] || return 0
	is_refused inject=prlimit64:error=EPERM 'cannot bound what a session may use: Operation not permitted'
	is_refused inject=seccomp:error=EINVAL 'the sandbox is without seccomp: this kernel does not have it'
}

@test "a reload that requires an unsupported sandbox keeps the old settings" {
	needs_root
	printf '%s\n' "users = $users" "mailbox = $mail/%u" "${as_me#--}" >conf
	options=(--config=conf)
	# shellcheck disable=SC2034 # of listen_port
	wrapper=(env LD_PRELOAD="${HANDLER%/*}/tests/landlock-version.so" LANDLOCK_VERSION=1)
	[ "$SANITIZED" = none ] || skip 'the sanitizers must be loaded first'
	listen_port
	logged 'without Landlock'
	echo 'sandbox = required' >>conf
	kill -s HUP "${background[-1]}"
	logged 'reload failed, the settings are as before: '
	grep -F 'refusing to serve with sandbox = required: the sandbox is without Landlock' log
	exec {to}<>"/dev/tcp/127.0.0.1/$port"
	# shellcheck disable=SC2034 # of hear
	from_one=$to to_one=$to
	hear one
	login one
	exec {to}>&-
}

# --- Root ---

# has_no_capability PID
has_no_capability() {
	run -0 grep -E '^Cap(Inh|Prm|Eff|Amb):' "/proc/$1/status"
	echo "$output"
	[ "${#lines[@]}" -eq 4 ]
	run ! grep -E '[1-9a-f]$|[1-9a-f]0' <<<"${output//Cap/}"
}

@test "no capability survives the sandbox, in a session as in a listener" {
	needs_root
	chmod -R a+rX accounts
	as_nobody true
	options=("--users=$users" "--mailbox=$mail/%u")
	for some in +net_bind_service,+dac_override +setpcap,+sys_admin,+chown; do
		start_session "${some//[+,]/}" setpriv --reuid=nobody --regid=nogroup --clear-groups --inh-caps="$some" --ambient-caps="$some" \
			./handler "${options[@]}"
		pid=pid_${some//[+,]/}
		has_no_capability "${!pid}"
		[[ $some != *setpcap* ]] || grep -xE 'CapBnd:\s0+' "/proc/${!pid}/status"
		login "${some//[+,]/}"
		hang_up "${some//[+,]/}"
	done
	start_session root "$HANDLER" "${options[@]}" --user=nobody
	has_no_capability "$pid_root"
	options+=("$as_me")
	wrapper=(setpriv --inh-caps=+chown --ambient-caps=+chown)
	listen_port
	exec {to}<>"/dev/tcp/127.0.0.1/$port"
	from_one=$to to_one=$to
	hear one
	has_no_capability "${background[-1]}"
	has_no_capability "$(pgrep -P "${background[-1]}")"
	exec {to}>&-
	# The kernel reports success without dropping the capabilities.
	echo QUIT >script
	status=0
	trace trace inject=capset:retval=0 "$HANDLER" "${options[@]}" <script >out 2>log || status=$?
	[ "$status" -eq 74 ]
	grep -xF 'pop3-handler: cannot make the sandbox: Operation not permitted' log
}

@test "root serves no session: the process becomes the user of the settings, or ends" {
	needs_root
	chown -R nobody "$mail"
	let_others_in
	options=("--users=$users" "--mailbox=$mail/%u" --keeper=no)
	expect_status=78
	talk QUIT
	[ ! -s out ]
	[ "$(cat log)" = "pop3-handler: refusing to serve as root: name another user, for instance --user=nobody" ]
	options+=(--user=nonesuch)
	talk QUIT
	[ "$(cat log)" = "pop3-handler: there is no user = 'nonesuch'" ]
	expect_status=0
	options+=(--user=nobody)
	start_session one setpriv --groups=4,6 "$HANDLER" "${options[@]}"
	ids=$(grep -E '^(Uid|Gid|Groups):' "/proc/$pid_one/status" | tr '\n\t' '  ')
	[[ $ids =~ ^Uid:\ +65534\ 65534\ 65534\ 65534\ Gid:\ +65534\ 65534\ 65534\ 65534\ Groups:\ +(65534)?\ *$ ]]
	grep -xE 'CapEff:\s0+' "/proc/$pid_one/status"
	login one
	ask one STAT
	[ "$reply" = '+OK 1 24' ]
	# A session that is still root is not served.
	for call in setresuid setresgid; do
		status=0
		trace trace inject=$call:retval=0 "$HANDLER" "${options[@]}" <script >out 2>log || status=$?
		[ "$status" -eq 78 ]
		[ ! -s out ]
		[ "$(cat log)" = "pop3-handler: cannot become user = 'nobody': Operation not permitted" ]
	done
}

@test "a session that is not started as root does not change its user" {
	chmod -R a+rX accounts
	options=("--users=$users" "--mailbox=$mail/%u")
	echo QUIT >script
	as_nobody ./handler "${options[@]}" <script >out 2>log
	as_nobody ./handler "${options[@]}" --user=nobody <script >out 2>log
	# The process is not dumpable, so its files in /proc belong to root.
	start_session one setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "${options[@]}"
	[ "$(stat -c %u "/proc/$pid_one/environ")" -eq 0 ]
	status=0
	as_nobody sh -c './handler --user=daemon' <script >out 2>log || status=$?
	[ "$status" -eq 78 ]
	[ "$(cat log)" = "pop3-handler: cannot become user = 'daemon': Operation not permitted" ]
	[ ! -s out ]
}

@test "a listener that root starts becomes the user of the settings" {
	needs_root
	chown -R nobody "$mail"
	let_others_in
	options+=(--user=nobody)
	listen_port
	exec {to}<>"/dev/tcp/127.0.0.1/$port" # the greeting comes after the change of user
	from_one=$to
	hear one
	grep -xE 'Uid:\s65534\s65534\s65534\s65534' "/proc/${background[-1]}/status"
	exec {to}>&-
}
