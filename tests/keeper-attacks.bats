#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# An attacker in control of a session, against its keeper, with the ids and capabilities of each stage:
# before login, with its own account, and after login. A debugger makes the session's system calls.

load helpers
load keeper

setup() {
	[ "$(uname -m)" = x86_64 ] || skip 'tests/from-inside.py supports x86_64 only'
	[ "$SANITIZED" = none ] || skip 'sanitizer builds have another seccomp filter'
	setup_keeper
	options+=(--login-timeout=60) # a debugger is slow
	packet=${HANDLER%/*}/tests/channel-packet
	[ -x "$packet" ] || skip 'tests/channel-packet is not built'
	request_octets=$(($("$packet" $SLEEP | wc -c) / 2)) login_octets=$(($("$packet" $LOGIN a b | wc -c) / 2))
}

# enum channel_type
RELOAD=1 BEGIN=2 HANG_UP=3 LOGIN=4 RECHECK=5 SLEEP=6 WAKE=7 END=8 SIGN=9 RENEWED=10

# capture NAME: opens a session of the listener; its pid is in `session`.
capture() {
	local end
	exec {end}<>"/dev/tcp/127.0.0.1/$port"
	eval "to_$1=$end from_$1=$end"
	hear "$1"
	session=$(pgrep -P "$listener" -n)
	eval "pid_$1=$session"
	sessions+=("$1")
}

# attacks: each line has the result that a call must return (FD: a descriptor), and the call.
attacks() {
	local row rows count=0
	mapfile -t rows
	run -0 "$BATS_TEST_DIRNAME/from-inside.py" "$session" "${rows[@]#* }"
	for row in "${rows[@]}"; do
		printf '%.60s -> %s\n' "$row" "${lines[count]}"
		case ${row%% *} in
		FD) [[ ${lines[count]} =~ ': '[0-9]+$ ]] ;;
		SIG*) [[ ${lines[count]} == *": killed by ${row%% *}" ]] ;;
		*) [[ ${lines[count]} == *": ${row%% *}" ]] ;;
		esac
		count=$((count + 1))
	done
}

# The ids, groups and capabilities of the session.
is_user() {
	grep -E "^Uid:(.$1){4}$" "/proc/$session/status"
	grep -E "^Gid:(.$1){4}$" "/proc/$session/status"
	grep -E '^Groups:[[:space:]]*$' "/proc/$session/status"
	grep -E "^CapPrm:.0{14}$2$" "/proc/$session/status"
	grep -E '^CapBnd:.0{16}$' "/proc/$session/status"
}

# has_capabilities PID CAPABILITIES: the process has these, which no program would inherit.
has_capabilities() {
	[ "$(sed -n 's/^Cap\(Inh\|Prm\|Eff\|Amb\):.*\(....\)$/\2/p' "/proc/$1/status" | xargs)" = "0000 $2 $2 0000" ]
	run ! grep -E '^Cap(Inh|Prm|Eff|Amb):.*[1-9a-f].{4}$' "/proc/$1/status"
}

# Refused in each stage.
always() {
	refused_calls setresuid setresgid landlock_restrict_self capget capset getresuid getresgid | sed 's/^/EPERM /'
	cat <<-END
		EPERM setuid 0
		EPERM setuid 61001
		EPERM setgid 0
		EPERM setreuid 0 0
		EPERM setregid 0 0
		EPERM setfsuid 0
		EPERM setfsgid 0
		EPERM setgroups 0 0
		EPERM setgroups 1 @00000000
		EPERM seccomp 1 8 0
		EPERM seccomp 2 0 0
		EPERM unshare 0x10000000
		EPERM setns 0 0x10000000
		EPERM clone 0x10000011
		EPERM clone 0x50f00
		EPERM clone3 0 64
		EPERM fork
		EPERM vfork
		EPERM keyctl 22 0 0xfffffffe
		EPERM add_key user x y 1 0xfffffffd
		EPERM request_key user x y 0
		EPERM process_vm_readv $keeper 0 0 0 0 0
		EPERM process_vm_writev $keeper 0 0 0 0 0
		EPERM pidfd_open $keeper 0
		EPERM pidfd_getfd 0 0 0
		EPERM kill $keeper 9
		EPERM tgkill $keeper $keeper 9
		EPERM rt_sigqueueinfo $keeper 9 0
		EPERM kill $listener 0
		EPERM prlimit64 $keeper 7 0 0
		EPERM prlimit64 $listener 7 0 0
		EPERM setrlimit 7 0
		EPERM sched_setaffinity $listener 0 0
		EPERM socket 1 1 0
		EPERM socketpair 1 1 0 0
		EPERM connect 0 0 0
		EPERM sendmsg 0 0 0
		EPERM sendmsg 2 0 0
		EPERM sendmmsg 0 0 0 0
		EPERM recvmsg 0 0 0
		EPERM dup 0
		EPERM dup2 0 62
		EPERM dup3 0 63 0
		EPERM fcntl 0 0 62
		EPERM fcntl 0 8 $keeper
		EPERM ioctl 0 0 0
		EPERM mount 0 0 0 0 0
		EPERM chroot /
		EPERM open_by_handle_at 3 0 0
		EPERM landlock_create_ruleset 0 0 1
		EPERM landlock_add_rule 63 1 0 0
		EPERM prctl 4 1
		EPERM prctl 8 1
		EPERM prctl 47 2 7 0 0
		EPERM prctl 28 0
		EPERM prctl 24 7
		EBADF sendmsg 62 0 0
		EPERM 0x40000075 0 0 0
		EPERM 0x40000069 0
		EPERM clock_gettime $((~keeper << 3 | 2)) xxxxxxxxxxxxxxxx
		EPERM clock_getres $((~keeper << 3 | 2)) xxxxxxxxxxxxxxxx
		EPERM clock_nanosleep $((~keeper << 3 | 2)) 0 0 0
		EACCES openat -100 $users 0
		EACCES openat -100 $PWD/accounts 0x10000
		EACCES openat -100 /etc/passwd 0
		EACCES openat -100 /etc/shadow 0
		EACCES openat -100 /run/pop3-keeper 0
		EACCES openat -100 /run/pop3-keeper/failures 2
		EACCES openat -100 /proc/$keeper/mem 2
		EACCES openat -100 /proc/$listener/mem 2
		EACCES openat -100 /proc/self/mem 2
		EACCES openat -100 /proc/self/uid_map 2
		EACCES openat -100 /proc/$keeper/fd 0
		EACCES openat -100 /dev/shm 0
		EACCES openat -100 / 0
		EACCES openat -100 $homes/ben/Maildir/new/1.ben.host 0
		EACCES openat -100 $homes/ben/Maildir/new/x 0x41 0x180
		EACCES openat -100 $homes/ben/private 0
		EACCES openat -100 $homes/wim/Maildir/new/1.wim.host 0
	END
}

ids() {
	cat <<-END
		$1 setresuid 0 0 0
		$1 setresuid -1 0 -1
		$1 setresuid -1 -1 -1
		$1 setresuid 0x100000000 0x100000000 0x100000000
		$1 setresuid 61001 61001 61001
		$1 setresuid 64991 64991 64991
		$1 setresgid 0 0 0
		$1 setresgid 61001 61001 61001
		$1 landlock_restrict_self 63 0
		$1 landlock_restrict_self 0 0
	END
}

# Capabilities that the session lacks, and those of another process.
capabilities() {
	local header=@22050820
	cat <<-END
		EPERM capset ${header}00000000 @000020000000200000000000$(printf '0%.0s' {1..24})
		EPERM capset ${header}00000000 @c2000000c200000000000000$(printf '0%.0s' {1..24})
		EPERM capset ${header}00000000 @c0000000c000000000000000010000000100000000000000
		EPERM capset ${header}$(printf '%08x' "$keeper" | fold -w 2 | tac | tr -d '\n') @$(printf '0%.0s' {1..48})
	END
}

is_alive() {
	kill -0 "$keeper"
	kill -0 "$listener"
	capture other
	login other ben secret
	ask other QUIT
}

@test "of the capabilities that a unit gives, each process keeps its own only" {
	given=+setuid,+setgid,+dac_read_search,+chown,+kill,+sys_admin
	wrapper+=(setpriv --reuid=64991 --regid=64991 "--groups=4,6" "--inh-caps=$given" "--ambient-caps=$given")
	listen_keeper
	capture one
	has_capabilities "$listener" 00c0
	has_capabilities "$keeper" 0004
	has_capabilities "$session" 00c0
	login one ann secret
	has_capabilities "$session" 0000
	grep -E '^Groups:[[:space:]]*$' "/proc/$session/status"
}

deadly=('execve /bin/sh' 'execveat -100 /bin/sh 0 0 0' 'ptrace 16 1 0 0' 'ptrace 0 0 0 0' 'bpf 0 0 0' 'io_uring_setup 1 0'
	'io_uring_enter 0 0 0' 'io_uring_register 0 0 0' 'int80:208 0 0 0' 'int80:213 0')

@test "before login, a session cannot use its capabilities to become a user or to reach an account" {
	listen_keeper
	capture one
	is_user 64991 c0
	attacks < <(always; ids EPERM; capabilities)
	is_user 64991 c0
	# A wrong password changes nothing, nor does the right one of an account that may not log in.
	attacks < <(echo "EKEYREJECTED ask $("$packet" $LOGIN ann wrong)"; ids EPERM; echo "EKEYREJECTED ask $("$packet" $LOGIN root secret)"; ids EPERM)
	is_user 64991 c0
	is_alive
}

@test "a system call that no session makes kills it, including those of 32-bit programs" {
	listen_keeper --trusted-networks=127.0.0.1 # trusted: crashes of its sessions shut no client out
	for call in "${deadly[@]}"; do
		capture one
		attacks <<<"SIGSYS $call"
		sessions=()
	done
	is_alive
}

# An attacker that has the account of ann or vic, from before the login on.
takes_on() {
	local name=$1 uid=$2 other=$3
	attacks <<-END
		0 ask $("$packet" $LOGIN "$name" secret)
		EPERM setresuid $uid $uid $uid
		EPERM setresgid $uid $uid $uid
		EPERM landlock_restrict_self 62 0
		EPERM landlock_restrict_self 63 1
		EPERM landlock_restrict_self 63 8
		EPERM landlock_restrict_self -1 2
		0 landlock_restrict_self 63 0
		EPERM setresuid 0 0 0
		EPERM setresuid $uid 0 $uid
		EPERM setresuid $uid $uid 0
		EPERM setresuid 0 $uid $uid
		EPERM setresuid -1 -1 -1
		EPERM setresuid 61002 61002 61002
		EPERM setresuid $uid $uid -1
		EPERM setresgid 0 0 0
		EPERM setresgid $uid 61002 $uid
		EPERM setresgid 61002 61002 61002
		EPERM setgroups 0 0
		EPERM setuid $uid
		0 setresgid $uid $uid $uid
		0 setresgid $uid $uid $uid
		0 setresuid $uid $uid $uid
		ENOSYS setresuid $uid $uid $uid
		ENOSYS setresuid 64991 64991 64991
		ENOSYS setresuid 0 0 0
		ENOSYS setresgid 64991 64991 64991
		ENOSYS setresgid 0 0 0
		EACCES openat -100 $homes/$name/private 0
		EACCES openat -100 $homes/$name 0
		FD openat -100 $homes/$name/Maildir/new/1.$name.host 0
		EACCES openat -100 $homes/$other/Maildir/new/1.$other.host 0
		EACCES openat -100 $homes/$other/Maildir/new/x 0x41 0x180
		EACCES renameat -100 $homes/$name/Maildir/new/1.$name.host -100 $homes/$other/Maildir/new/x
		$4 ask $("$packet" $LOGIN "$other" secret)
		ENOSYS setresuid 61002 61002 61002
		0 ask $("$packet" $LOGIN "$name" secret)
		ENOSYS landlock_restrict_self 63 0
		EACCES openat -100 $homes/$other/Maildir/new/1.$other.host 0
	END
	is_user "$uid" c0 # these are useless
	attacks < <(always)
	attacks <<-END
		0 ask $("$packet" $SLEEP)
		ENOSYS landlock_restrict_self 63 0
		ENOSYS setresuid $uid $uid $uid
		0 ask $("$packet" $RECHECK)
	END
	attacks < <(always)
}

@test "an attacker with an account becomes that user only, confined to its mailbox" {
	listen_keeper
	capture one
	takes_on ann 61001 ben EPERM
	capture two
	takes_on vic 61003 wim EPERM
	is_alive
}

# ends_session PACKET-OR-ROW...: the keeper ends a session that sends these, and no other session.
ends_session() {
	local one
	capture one
	attacks < <(for one; do
		case $one in
		*' '*) echo "$one" ;;
		*) echo "$((${#one} / 2)) send $one" ;;
		esac
	done; echo "closed ask $("$packet" $RECHECK)"; echo 'ENOSYS setresuid 61001 61001 61001')
	ask one 'USER ann'
	ask one 'PASS secret'
	[[ $reply == '-ERR [SYS/TEMP]'* ]]
	sessions=()
}

# The log has the first of these lines in each second, and counts the others.
has_reason() {
	logged "the session from 127.0.0.1 is ended: $1"
	[ "$(grep -c ' is ended: ' log)" -le $((SECONDS + 2)) ] # one for each second that has begun
}

@test "a packet that only an account may send ends the session before login" {
	listen_keeper
	SECONDS=0
	for type in $RECHECK $SLEEP $WAKE $RELOAD $BEGIN $HANG_UP $LOGIN $END $SIGN $RENEWED 0 11; do
		ends_session "$("$packet" "$type")"
	done
	has_reason 'it sends a request that needs a login'
	is_alive
	# Each session is in the log, or counted in a report, the last of which comes with the end.
	kill "$listener"
	timeout 20 tail --pid="$keeper" -f /dev/null
	run -0 sed -nE 's/.* is ended: .*/1/p; s/.*: ([0-9]+) lines about what sessions asked were omitted: .*/\1/p' log
	[ "$(($(IFS=+ && echo "${lines[*]}")))" -eq 12 ]
}

@test "an invalid packet ends the session after login" {
	listen_keeper
	SECONDS=0
	for type in $RELOAD $BEGIN $HANG_UP $LOGIN $END $SIGN $RENEWED 0 11 0xffffffff; do
		ends_session "0 ask $("$packet" $LOGIN ann secret)" "$("$packet" "$type")"
	done
	has_reason 'it sends an unknown request'
	is_alive
}

@test "a packet of a wrong size ends the session, and one without NUL is truncated" {
	listen_keeper
	SECONDS=0
	login=$("$packet" $LOGIN ann secret)
	for message in "${login%??}" "${login}00" "${login:0:8}" 04 "$("$packet" $SLEEP ann secret)"; do
		ends_session "$message"
	done
	has_reason 'it breaks the protocol'
	capture one
	attacks <<<"EKEYREJECTED ask ${login:0:2*request_octets}$(printf '61%.0s' $(seq $((login_octets - request_octets))))"
	is_alive
}

@test "a packet sent while another is being answered ends the session and has no effect" {
	listen_keeper
	SECONDS=0
	login=$("$packet" $LOGIN ann secret)
	mkfifo hanging
	mv "$users" accounts/there
	mv hanging "$users" # the login must wait
	ends_session "$login" "$login"
	ends_session "$login" "$("$packet" $RECHECK)"
	has_reason 'it does not wait for an answer'
	mv "$users" hanging
	mv accounts/there "$users"
	capture one
	attacks <<<"0 ask $login"
	mv "$users" accounts/there
	mv hanging "$users"
	attacks <<<"$login_octets send $login" # again; the session ends while its password is checked
	exec {to_one}>&-
	sessions=()
	mv accounts/there "$users"
	while readlink "/proc/$keeper/fd/"* | grep -q landlock; do # the limits of an account
		:
	done
	is_alive
}

@test "a session may try three passwords, and no more" {
	listen_keeper
	SECONDS=0
	wrong=$("$packet" $LOGIN ann wrong)
	rows=("EKEYREJECTED ask $wrong" "EKEYREJECTED ask $wrong" "EKEYREJECTED ask $wrong")
	ends_session "${rows[@]}" "$("$packet" $LOGIN ann secret)"
	ends_session "0 ask $("$packet" $LOGIN ann secret)" "${rows[@]}" "$wrong"
	has_reason 'it goes on to try passwords'
	# The same after login, where the keeper cannot know that no client waits for a mailbox any more.
	capture one
	login one ann secret
	attacks < <(printf '%s\n' "EPERM ask $("$packet" $LOGIN ben secret)" "${rows[@]}" "closed ask $wrong")
	is_alive
}

# A session of ann that has logged in normally.
is_confined() {
	is_user 61001 00
	attacks < <(always; ids ENOSYS; capabilities)
	attacks <<-END
		EPERM capset @2205082000000000 @4000000040000000$(printf '0%.0s' {1..32})
		EPERM prctl 4 1
		FD openat -100 $homes/ann/Maildir/new/1.ann.host 0
		EACCES openat -100 $homes/ann/private 0
		EACCES openat -100 $homes/ann 0
		EACCES openat -100 $homes/vic/Maildir/new/1.vic.host 0
	END
	is_user 61001 00
}

@test "after login there is no way back, and the session sees only its own slot of the shared memory" {
	listen_keeper
	capture one
	[ "$(grep -c ' rw-s ' "/proc/$session/maps")" -eq 2 ]
	login one ann secret
	is_confined
	IFS=' -' read -r from to _ < <(grep ' rw-s ' "/proc/$session/maps")
	[ $((0x$to - 0x$from)) -eq "$(getconf PAGESIZE)" ]
	[ "$(grep -c ' rw-s ' "/proc/$session/maps")" -eq 1 ]
	ask one SLEE
	ask one WAKE # the session continues
	[[ $reply == '+OK'* ]]
	is_confined
	is_alive
}

@test "a session that only claims to have logged in is killed after login-timeout" {
	listen_keeper --login-timeout=1
	with_client <<-'END'
		client = Client(port)
		[pid] = [pid for pid in children() if 'keeper' not in open(f'/proc/{pid}/cmdline').read()]
		os.kill(pid, signal.SIGSTOP)
		with open(f'/proc/{pid}/mem', 'r+b', buffering=0) as memory:
		    for line in open(f'/proc/{pid}/maps'):
		        if ' rw-s ' in line:
		            memory.seek(int(line.split('-')[0], 16) + 8) # the state, if this is the slot
		            if memory.read(4) == b'\2\0\0\0': # SCOREBOARD_BEFORE_LOGIN
		                memory.seek(-4, os.SEEK_CUR)
		                memory.write(b'\4\0\0\0') # SCOREBOARD_AWAKE
		try:
		    wait_for(lambda: pid not in children())
		except AssertionError:
		    os.kill(pid, signal.SIGKILL) # the listener would wait for it
		    raise
	END
	logged "session from 127.0.0.1 (process "
	grep -F 'is killed: it does not end' log
}

# admits FOLDER: the rows of the table in SECURITY.md that are the same before login and after it.
admits() {
	local fd space
	space=$(printf '%0200d' 0 | tr 0 .)
	attacks <<-END
		FD openat -100 $1/new/1.host 2
		0 mkdirat -100 $1/made 0x1c0
		FD openat -100 $1/new/2.host 0x41 0x180
		0 renameat -100 $1/new/2.host -100 $1/cur/2.host
		0 unlinkat -100 $1/cur/2.host 0
		0 newfstatat -100 /etc/shadow $space 0
		ENOENT newfstatat -100 /etc/nonesuch $space 0
		EACCES newfstatat -100 $homes/ben/private $space 0
		5 readlink /proc/self/exe $space 5
		7 write 2 @666f726765640a 7
		5 pread64 2 $space 5 0
		0 sysinfo $space
		0 timer_settime 0 0 @$(printf '%064d' 0) 0
		0 fstatfs 0 $space
		0 capget @22050820$(printf '%08x' "$keeper" | fold -w 2 | tac | tr -d '\n') $space
	END
	fd=${lines[0]##* }
	attacks <<-END
		0 flock $fd 6
		0 utimensat $fd 0 0 0
		0 close $fd
	END
	grep -xF forged log
}

@test "what SECURITY.md admits is possible before login and after it" {
	local open=$homes/open/Maildir
	mkdir -p "$open/"{new,cur}
	touch "$open/new/1.host"
	chown -R 61004:61004 "$homes/open"
	chmod -R 777 "$homes/open"
	echo "open:{PLAIN}secret:61004:61004::$homes/open" >>"$users"
	printf 'line\n' >log
	cat >both.py <<-'END'
		import os, sys
		os.dup2(os.open('log', os.O_RDWR), 2)
		os.execvp(sys.argv[1], sys.argv[1:])
	END
	wrapper+=(/usr/bin/python3 both.py)
	listen_keeper
	capture one
	admits "$open"
	login one open secret
	rmdir "$open/made"
	admits "$open"
	# Not its user's any more, after the login of another account.
	capture two
	login two ann secret
	attacks <<<"EACCES openat -100 $open/new/1.host 0"
}

@test "with each version of Landlock since the second, a session cannot reach more" {
	version=$(/usr/bin/python3 -c 'import ctypes; print(ctypes.CDLL(None).syscall(444, None, 0, 1))')
	[ "$version" -ge 2 ] || skip 'this kernel has no Landlock'
	for ((version = version < 7 ? version : 7; version >= 2; version--)); do
		start_keeper "v$version" env "LD_PRELOAD=${HANDLER%/*}/tests/landlock-version.so" LANDLOCK_VERSION=$version
		session=pid_v$version session=${!session} listener=$session
		read -r keeper _ <"/proc/$session/task/$session/children" || [ -n "$keeper" ]
		attacks < <(always)
		login "v$version" ann secret
		is_confined
		attacks <<<"EPERM openat -100 $homes/ann/Maildir/new/1.ann.host 0x200"
		ask "v$version" QUIT
		[ -z "$(troubles "v$version.log")" ]
	done
}

@test "threads that go on asking the keeper get no ids of others, and a login beside them gets its own" {
	start_keeper one env "LD_PRELOAD=${HANDLER%/*}/tests/racing-threads.so"
	ln -s one.log log
	session=$pid_one
	logged 'a thread has tried to be 0'
	logged 'a thread has tried to be 61002'
	login one ann secret
	is_user 61001 00 # the first thread
	ask one STAT
	[ "$reply" = '+OK 1 22' ]
	ask one QUIT
	! grep 'has become' one.log || false
}
