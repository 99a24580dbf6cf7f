#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# SLEE and WAKE.

load helpers

setup() {
	setup_site
	make_maildir alice
	make_message alice/new/1.M1P1.h 'message 1\n'
	make_message alice/new/2.M1P1.h 'message 2\n'
}

@test "SLEE commits like QUIT, but keeps the connection and the login" {
	start_session one
	login one
	ask one 'RETR 2'
	hear_all one
	ask one 'DELE 1'
	ask one SLEE
	[ "$reply" = '+OK asleep, 1 messages deleted' ]
	[ "$(files alice)" = ./cur/2.M1P1.h:2,S ]
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 1 messages' ]
	ask one 'LIST 1'
	[ "$reply" = '+OK 1 11' ]
	ask one 'UIDL 1'
	[ "$reply" = '+OK 1 2.M1P1.h' ]
}

@test "WAKE announces new mail once, and nothing else" {
	start_session one
	login one
	for what in none new none delete none 'rename new' none; do
		ask one SLEE
		case $what in
		new) make_message alice/new/3.M1P1.h ;;
		delete) rm "$mail"/alice/*/3.M1P1.h* ;;
		'rename new')
			mv "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,S"
			make_message alice/cur/0.M1P1.h:2,
			;;
		esac
		ask one WAKE
		echo "$what: $reply"
		case $what in
		*new) [[ $reply == '+OK [ACTIVITY/NEW] '* ]] ;;
		*) [[ $reply == '+OK [ACTIVITY/NONE] '* ]] ;;
		esac
	done
	ask one UIDL
	hear_all one
	[ "${lines[*]}" = '1 0.M1P1.h 2 1.M1P1.h 3 2.M1P1.h' ]
}

@test "WAKE does not report a renamed message as new mail" {
	start_session one
	login one
	ask one SLEE
	mv "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,S"
	ask one WAKE
	[[ $reply == '+OK [ACTIVITY/NONE] '* ]]
	ask one 'RETR UID:1.M1P1.h'
	[[ $reply == +OK* ]]
}

@test "mail that came during the session before SLEE is new at WAKE" {
	start_session one
	login one
	make_message alice/new/3.M1P1.h
	ask one SLEE
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 3 messages' ]
}

@test "a directory that has just changed is read once, and not again at WAKE" {
	# The first login creates the lock file, which changes a folder.
	mkdir "$mail/bob"
	make_message bob/a.eml
	printf '%s\r\n' 'USER bob' 'PASS banana split ' SLEE WAKE SLEE WAKE QUIT >script
	trace_calls trace trace=getdents64 "$HANDLER" "${options[@]}" <script >out
	grep -qx $'+OK \[ACTIVITY/NONE\] 1 messages\r' out
	# The first read looks for the names of another program's store.
	[ "$(grep -c '= 0$' trace)" -eq 2 ]
}

@test "only NOOP, WAKE and QUIT are valid in SLEEP, and QUIT there commits nothing" {
	as_alice SLEE STAT 'DELE 1' CAPA SLEE 'USER alice' NOOP QUIT
	for line in 1 2 3 4 5; do
		[ "${lines[line]}" = '-ERR this command is not valid in this state' ]
	done
	[ "${lines[6]}" = '+OK nothing done' ]
	[ "${lines[7]}" = '+OK goodbye' ]
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "DELI leaves its number unused until WAKE" {
	as_alice 'DELI 1' 'LIST 2' SLEE WAKE 'UIDL 1' 'LIST 2'
	[ "${lines[1]}" = '+OK 2 11' ]
	[ "${lines[4]}" = '+OK 1 2.M1P1.h' ]
	[[ ${lines[5]} == -ERR* ]]
}

@test "marks end with RSET and with a sleep" {
	as_alice 'DELE 1' RSET SLEE WAKE STAT QUIT
	[ "${lines[4]}" = '+OK 2 22' ]
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "WAKE finds a mailbox that has appeared or vanished during the sleep" {
	rm -r "$mail/alice"
	start_session off "$HANDLER" "${options[@]}" --sandbox=off # with the sandbox, only a new session may read it
	login off
	ask off SLEE
	make_maildir alice
	make_message alice/new/1.M1P1.h
	ask off WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
	hang_up off
	start_session one
	login one
	ask one SLEE
	mv "$mail/alice" "$mail/old"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 0 messages' ]
	ask one SLEE
	mv "$mail/old" "$mail/alice"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
}

@test "a session does not wake to a directory that has replaced its mailbox" {
	make_maildir bob
	make_message bob/new/1.M1P1.h
	for sandbox in on off; do
		options+=("--sandbox=$sandbox")
		start_session $sandbox
		login $sandbox
		ask $sandbox SLEE
		mv "$mail/alice" "$mail/old"
		for how in link directory; do
			case $how in
			link) ln -s bob "$mail/alice" ;;
			directory) make_maildir alice ;;
			esac
			ask $sandbox WAKE
			[ "$reply" = '-ERR [SYS/TEMP] cannot open the mailbox: it has been replaced, log in again' ]
			rm -r "$mail/alice"
		done
		[ ! -e "$mail/bob/.pop3-handler.state" ]
		mv "$mail/old" "$mail/alice"
		ask $sandbox WAKE
		[[ $reply == '+OK [ACTIVITY/NONE] '* ]]
		ask $sandbox QUIT
	done
}

@test "WAKE checks the account again, and a failed WAKE stays in SLEEP" {
	start_session one
	login one
	for change in 's/^alice.*//' 's/apple/avocado/' 's/apple/apple::::::nologin/' \
		's/apple/apple::::::userdb_mail=\/x/'; do
		ask one SLEE
		cp "$users" users.good
		sed "$change" users.good >"$users.new"
		mv "$users.new" "$users"
		for _ in 1 2; do
			ask one WAKE
			[ "$reply" = '-ERR [AUTH] the account has changed since login' ]
			ask one STAT
			[ "$reply" = '-ERR this command is not valid in this state' ]
		done
		mv users.good "$users"
		ask one WAKE
		[ "$reply" = '+OK [ACTIVITY/NONE] 2 messages' ]
	done
	ask one SLEE
	mv "$users" users.away
	ask one WAKE
	[ "$reply" = '-ERR [SYS/TEMP] cannot look up the account' ]
	grep -F "login of 'alice' from local refused: the account has nologin" one.log
	grep -F "cannot look up 'alice' in the passwd-file '$users': No such file or directory" one.log
	mv users.away "$users"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 2 messages' ]
}

@test "a WAKE with a changed account counts as a failed login: it is delayed, and the third in a row ends the session" {
	start_session one
	login one
	ask one SLEE
	start_session two "$HANDLER" "${options[@]/#--login-penalty=*/--login-penalty=1}"
	login two bob 'banana split '
	ask two SLEE
	echo nobody:x >"$users"
	for _ in 1 2 3; do
		ask one WAKE
		[ "$reply" = '-ERR [AUTH] the account has changed since login' ]
	done
	start=$(date +%s%N)
	ask two WAKE
	[ "$reply" = '-ERR [AUTH] the account has changed since login' ]
	[ $((($(date +%s%N) - start) / 1000000)) -ge 1000 ]
	hang_up one
	[ "$status" -eq 0 ]
	grep -F "session of 'alice' from local ended: too many mistakes" one.log
}

@test "SLEE counts the messages it has deleted, without those of DELI and of other programs" {
	make_message alice/new/3.M1P1.h
	make_message alice/new/4.M1P1.h
	start_session one
	login one
	ask one 'DELI 1'
	ask one 'DELE 2'
	ask one 'DELE 3'
	ask one 'DELE 4'
	rm "$mail/alice/new/3.M1P1.h"
	ask one SLEE
	[ "$reply" = '+OK asleep, 2 messages deleted' ]
	ask one QUIT
	hang_up one
	grep -F 'deleted 3, slept 1 times' one.log
}

@test "a message that this session has deleted and that reappears is new at WAKE" {
	for command in 'DELE 1' 'DELI 1'; do
		for layout in maildir folder; do
			rm -rf "${mail:?}/alice"
			mkdir "$mail/alice"
			path=alice/1.eml
			[ $layout = folder ] || { make_maildir alice && path=alice/cur/1.M1P1.h:2,S; }
			make_message $path
			start_session one
			login one
			for _ in 1 2; do
				ask one "$command"
				ask one SLEE
				make_message $path 'again\n'
				ask one WAKE
				[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
				ask one 'LIST 1'
				[ "$reply" = '+OK 1 7' ]
			done
			# The same if it reappears before SLEE.
			ask one "$command"
			ask one SLEE
			ask one WAKE
			[ "$reply" = '+OK [ACTIVITY/NONE] 0 messages' ]
			hang_up one
			rm one.*
		done
	done
}

@test "a folder's file that has replaced another during the sleep is new at WAKE" {
	rm -r "$mail/alice"
	mkdir "$mail/alice"
	for how in rename anew 'same size' listed; do
		make_message alice/1.eml 'one\n'
		start_session one
		login one
		[ "$how" = anew ] || ask one STAT
		if [ "$how" = listed ]; then # its new size is listed
			make_message 1.eml 'one more\n'
			mv "$mail/1.eml" "$mail/alice"
			ask one STAT
		fi
		ask one SLEE
		case $how in
		rename)
			make_message 1.eml 'one more\n'
			mv "$mail/1.eml" "$mail/alice"
			;;
		anew)
			rm "$mail/alice/1.eml"
			make_message alice/1.eml 'one more\n'
			;;
		'same size')
			make_message 1.eml 'two\n'
			mv "$mail/1.eml" "$mail/alice"
			;;
		esac
		ask one WAKE
		[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
		ask one SLEE
		make_message alice/2.eml
		rm "$mail/alice/2.eml"
		ask one WAKE
		[ "$reply" = '+OK [ACTIVITY/NONE] 1 messages' ]
		hang_up one
		rm one.* "$mail/alice/1.eml"
	done
}

@test "a failed WAKE keeps the old listing, for the next WAKE to compare with" {
	start_session one
	login one
	ask one SLEE
	start_session two
	login two
	make_message alice/new/3.M1P1.h
	ask one WAKE
	[ "$reply" = '-ERR [IN-USE] the mailbox is locked by another session' ]
	ask two QUIT
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 3 messages' ]
}

@test "a WAKE that fails because the directory is no mailbox keeps the old listing" {
	start_session one
	login one
	ask one SLEE
	mv "$mail/alice/new" "$mail/alice/tmp"
	mv "$mail/alice/cur" "$mail/alice/tmp"
	touch "$mail/alice/maildirfolder"
	ask one WAKE
	[ "$reply" = '-ERR [SYS/PERM] cannot open the mailbox' ]
	mv "$mail"/alice/tmp/* "$mail/alice"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 2 messages' ]
}

@test "a WAKE that fails midway through a directory keeps the old listing" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELI 1' SLEE WAKE WAKE QUIT >script
	trace_calls trace trace=getdents64 -e inject=getdents64:error=EIO:when=5 \
		"$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[5]}" = '-ERR [SYS/TEMP] cannot open the mailbox' ]
	[ "${lines[6]}" = '+OK [ACTIVITY/NONE] 1 messages' ]
}

@test "a folder's sizes are measured again after a sleep if its files have changed" {
	rm -r "$mail/alice"
	mkdir "$mail/alice"
	make_message alice/a.eml 'a\n'
	start_session one
	login one
	ask one STAT
	[ "$reply" = '+OK 1 3' ]
	ask one SLEE
	echo b >>"$mail/alice/a.eml"
	ask one WAKE
	ask one STAT
	[ "$reply" = '+OK 1 6' ]
	# Once more: neither another program nor the size cache has changed the directory.
	for _ in 1 2 3 4; do
		ask one SLEE
		ask one WAKE
		ask one STAT
	done
	ask one SLEE
	echo c >>"$mail/alice/a.eml"
	ask one WAKE
	ask one STAT
	[ "$reply" = '+OK 1 9' ]
}

@test "a session that sleeps again after new mail takes no more memory than before" {
	[ "$SANITIZED" = none ] || skip 'the sanitizers keep freed memory'
	(cd "$mail/alice/cur" && seq -f '%.0f.M1P1.h,S=9,W=10:2,S' 1700000001 1700020000 | xargs touch)
	start_session one
	login one
	asleep=()
	for i in 1 2 3; do
		ask one SLEE
		asleep+=("$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$pid_one/status")")
		make_message "alice/new/180000000$i.M1P1.h"
		ask one WAKE
		[[ $reply == '+OK [ACTIVITY/NEW]'* ]]
	done
	echo "${asleep[@]}"
	[ "${asleep[2]}" -lt $((asleep[0] + 500)) ]
}
