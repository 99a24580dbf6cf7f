#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Sessions that become the users whose mail they serve, with the keeper's consent.

load helpers
load keeper

setup() {
	setup_site
	needs_root
	export ASAN_OPTIONS=exitcode=99:detect_leaks=0 # LeakSanitizer finds nothing after a change of users
	cd "$BATS_TEST_TMPDIR" || return 1
	let_others_in
	mkdir homes
	chmod 755 homes
	for uid in 61001 61002; do
		mkdir -p "homes/$uid/Maildir/"{new,cur,tmp}
		printf 'Subject: %s\n\nbody\n' "$uid" >"homes/$uid/Maildir/new/1.$uid.host"
		chown -R "$uid:$uid" "homes/$uid"
		chmod 700 "homes/$uid"
	done
	homes=$PWD/homes
	printf '%s\n' "ann:{PLAIN}secret:61001:61001::$homes/61001" "ben:{PLAIN}secret:61002:61002::$homes/61002" \
		"root:{PLAIN}secret:0:0::$homes/61001" "www:{PLAIN}secret:33:33::$homes/61001" \
		"thief:{PLAIN}secret:61001:61001::$homes/61002" >users
	make_service_users
	chown root:64990 users
	chmod 640 users
	keeper=("$HANDLER" "--users=$PWD/users" --keeper=auto --login-penalty=0 --login-timeout=8)
}

# as USER COMMAND...: a session of this user.
as() {
	printf '%s\r\n' "USER $1" 'PASS secret' "${@:2}" QUIT | "${wrapper[@]}" "${keeper[@]}" 2>log | tr -d '\r' >out
	cat out log
}

@test "a session runs as its user and owns what it creates" {
	run -0 as ann STAT 'RETR 1' SLEE WAKE
	[[ $output == *'+OK asleep'*'+OK [ACTIVITY/NONE] 1 messages'*'+OK goodbye'* ]]
	[ -e homes/61001/Maildir/cur/1.61001.host:2,S ]
	[ -e homes/61001/Maildir/.pop3-handler.state ]
	run -0 find homes/61001 ! \( -user 61001 -group 61001 \)
	[ -z "$output" ]
}

@test "no session becomes root, a system user, or the owner of another mailbox" {
	for user in root www; do
		run -0 as "$user"
		[[ $output == *'-ERR [AUTH] wrong user name or password'*"uid "*'may not log in'* ]]
	done
	run -0 as thief
	[[ $output == *'-ERR [SYS/PERM]'*'the mailbox belongs to another user'* ]]
}

@test "a symbolic link in place of a mailbox does not tell its user what exists elsewhere" {
	mv homes/61001/Maildir homes/61001/away
	mkdir -m 700 hidden
	mkdir hidden/folder
	touch hidden/file
	for target in "$homes/61002/Maildir" "$PWD"/hidden/{folder,file,nothing}; do
		ln -sfn "$target" homes/61001/Maildir
		as ann >/dev/null
		cat log
		grep -vF ready out >"replies.${target##*/}"
		cmp replies.Maildir "replies.${target##*/}"
	done
	grep -F -- '-ERR [SYS/PERM] cannot open the mailbox' replies.Maildir
}

@test "privileges of each process: no talker has a hash, and each has only what it needs" {
	coproc session { exec "${wrapper[@]}" "${keeper[@]}" 2>log; }
	read -r -u "${session[0]}"
	talker=$session_PID
	child=$(<"/proc/$talker/task/$talker/children")
	grep -E '^Uid:(.64991){4}$' "/proc/$talker/status"
	grep -E '^CapEff:.00000000000000c0$' "/proc/$talker/status"
	grep -E '^Seccomp:.2$' "/proc/$talker/status"
	grep -E '^Uid:(.64990){4}$' "/proc/${child% }/status"
	grep -E '^CapEff:.0000000000000004$' "/proc/${child% }/status"
	for status in "/proc/$talker/status" "/proc/${child% }/status"; do
		grep -E '^CapBnd:.0{16}$' "$status"
		grep -E '^NoNewPrivs:.1$' "$status"
	done
	printf 'USER ann\r\nPASS secret\r\n' >&"${session[1]}"
	read -r -u "${session[0]}"
	read -r -u "${session[0]}" reply
	[[ $reply == '+OK 1 messages'* ]]
	grep -E '^Uid:(.61001){4}$' "/proc/$talker/status"
	grep -E '^Gid:(.61001){4}$' "/proc/$talker/status"
	grep -E '^Groups:[[:space:]]*$' "/proc/$talker/status"
	grep -E '^CapPrm:.0{16}$' "/proc/$talker/status"
	printf 'QUIT\r\n' >&"${session[1]}"
	wait "$talker"
}

@test "a session that has become its user cannot be traced by it, whatever fs.suid_dumpable is" {
	printf '%s\r\n' 'USER ann' 'PASS secret' QUIT >script
	"${wrapper[@]}" strace -f -qq -o trace -e trace=setresuid,prctl "${keeper[@]}" <script >out 2>log
	grep -F '+OK 1 messages' out
	sed '1,/setresuid(61001, /d' trace | grep -F 'prctl(PR_SET_DUMPABLE, SUID_DUMP_DISABLE'
}

@test "a checker holds no descriptor of a session, nor of the kernel's notifications about one" {
	hash=$(perl -e 'print crypt("other", "\$6\$rounds=900000\$salt")')
	echo "slow:$hash:61001:61001::$homes/61001" >>users
	coproc session { exec "${wrapper[@]}" "${keeper[@]}" 2>log; }
	talker=$session_PID
	read -r -u "${session[0]}"
	child=$(<"/proc/$talker/task/$talker/children")
	printf 'USER slow\r\nPASS secret\r\n' >&"${session[1]}"
	for ((i = 0; i < 200; i++)); do
		checker=$(<"/proc/${child% }/task/${child% }/children")
		[ -n "$checker" ] && [[ $(tr '\0' ' ' <"/proc/${checker% }/cmdline") == *'checking slow'* ]] && break
		sleep 0.01
	done
	run -0 ls -l "/proc/${checker% }/fd"
	[[ $output != *seccomp* && $output != *eventpoll* ]]
	[ "$(grep -c socket: <<<"$output")" = 1 ]
	printf 'QUIT\r\n' >&"${session[1]}"
	wait "$talker"
}

@test "when the keeper is killed, a session continues, but cannot wake up or log in" {
	for command in 'PASS secret' NOOP WAKE; do
		coproc session { exec "${wrapper[@]}" "${keeper[@]}" 2>log; }
		exec {from}<&"${session[0]}" {to}>&"${session[1]}"
		pid=$session_PID
		read -r -u "$from"
		child=$(<"/proc/$pid/task/$pid/children")
		printf 'USER ann\r\n' >&"$to"
		read -r -u "$from"
		if [ "$command" != 'PASS secret' ]; then
			printf 'PASS secret\r\n' >&"$to"
			read -r -u "$from"
		fi
		if [ "$command" = WAKE ]; then
			printf 'SLEE\r\n' >&"$to"
			read -r -u "$from"
		fi
		kill -KILL "${child% }"
		printf '%s\r\n' "$command" >&"$to" # in one write, because the session may end at once
		read -r -u "$from" reply
		if [ "$command" = NOOP ]; then
			[[ $reply == '+OK'* ]]
			printf 'STAT\r\nQUIT\r\n' >&"$to"
			read -r -u "$from" reply
			[[ $reply == '+OK 1 '* ]]
		else
			[[ $reply == '-ERR [SYS/TEMP]'* ]]
			grep -E 'the keeper does not answer|cannot look up .ann.: ' log
		fi
		[ "$command" != WAKE ] || printf 'QUIT\r\n' >&"$to"
		wait "$pid" || true
	done
}

@test "settings that a keeper cannot serve are refused at the start" {
	# refused TEXT OPTION...: the program says so and exits with 78.
	refused() {
		local status=0
		"${wrapper[@]}" "${keeper[@]}" "${@:2}" </dev/null >out 2>log || status=$?
		cat log
		[ "$status" -eq 78 ]
		grep -F "$1" log
	}
	for option in --sandbox=off --tls-client-ca=users; do
		refused 'cannot be served with a keeper: set keeper = no' "$option"
	done
	sed -i /pop3-login/d passwd
	refused 'cannot become the user pop3-login for the keeper (or set keeper = no): there is no such user'
}

@test "a keeper warns at its start and at a reload of files that others can write, even if only it sees them" {
	local client
	mv users accounts/users
	chown root:64990 accounts
	chmod 750 accounts
	echo "users = $PWD/accounts/users" >conf
	keeper=("$HANDLER" "--config=$PWD/conf" --keeper=auto)
	options=("${keeper[@]:1}")
	# warns [FILE...]: once about each of these files, and not about others.
	warns() {
		cat log
		[ "$(grep -o "the .* can be written by others" log)" = "$(printf "the %s can be written by others\n" "$@")" ]
	}
	as ann
	run ! grep 'can be written' log
	chmod 666 accounts/users conf
	as ann
	warns "passwd-file '$PWD/accounts/users'" "settings file '$PWD/conf'"
	chmod 640 accounts/users
	chmod 644 conf
	: >log
	listen_port
	exec {client}<>"/dev/tcp/127.0.0.1/$port"
	read -r -t 20 <&"$client" # then it listens
	exec {client}<&-
	run ! grep 'can be written' log
	chmod 660 accounts/users # its group is the keeper's
	chmod 666 conf
	kill -s HUP "${background[-1]}"
	logged 'settings and certificates are read again'
	warns "settings file '$PWD/conf'"
}

@test "nobody is served if a process keeps its ids or capabilities, or if a part of the sandbox is missing" {
	[ "$SANITIZED" = none ] || skip 'sanitizers need these calls'
	ids='cannot become the user pop3-keeper for the keeper'
	lacks='cannot use a keeper (try keeper = no'
	for option in --sandbox=on --sandbox=required --check-config --listen=127.0.0.1:0; do
		while read -r fault reason; do
			echo "$option $fault"
			status=0
			# The kernel reports success without doing it, or does not know the call.
			"${wrapper[@]}" strace -f -qq -o trace -e "inject=$fault" "${keeper[@]}" "$option" </dev/null >out 2>log || status=$?
			[ "$status" -eq 78 ]
			[ ! -s out ]
			grep -F "$reason" log
		done <<-END
			setresuid:retval=0 $ids
			setresgid:retval=0 $ids
			capset:retval=0 $ids
			prlimit64:error=EPERM $ids
			landlock_create_ruleset:error=ENOSYS $lacks): Landlock
			seccomp:error=EINVAL $lacks, with a user): seccomp
		END
	done
}
