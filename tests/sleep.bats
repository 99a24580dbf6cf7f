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
	[ "$reply" = '+OK asleep' ]
	[ "$(files alice)" = ./cur/2.M1P1.h:2,S ]
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 1 messages' ]
	ask one 'LIST 1'
	[ "$reply" = '+OK 1 11' ]
	ask one 'UIDL 1'
	[ "$reply" = '+OK 1 2.M1P1.h' ]
}

@test "WAKE tells of new mail once, and of nothing else" {
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

@test "new mail in the same instant as the listing is never missed" {
	# Newer kernels stamp files on many file systems so that no two changes look the same to who
	# has looked; not so on ramfs, where the clock stands still for some milliseconds, nor on an
	# ext2 that keeps whole seconds.
	truncate -s 8M ext2.image
	mke2fs -q -t ext2 -I 128 ext2.image 2>&1
	cat >scenario.py <<-'END'
		import os, subprocess, sys
		mail = sys.argv[1]
		subprocess.run(['mount', '-t', sys.argv[2], sys.argv[3], mail], check=True)
		os.makedirs(mail + '/alice/new')
		os.makedirs(mail + '/alice/cur')
		handler = subprocess.Popen(sys.argv[4:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
		def hear():
		    return handler.stdout.readline()
		def ask(*lines):
		    handler.stdin.write(b''.join(line + b'\r\n' for line in lines))
		    handler.stdin.flush()
		    return [hear() for line in lines][-1]
		def deliver(name):
		    open(f'{mail}/alice/new/{name}.M1P1.h', 'x').close()
		hear()
		assert ask(b'USER alice', b'PASS apple').startswith(b'+OK')
		for i in range(200):
		    # A delivery, a listing, and a delivery, as close as they can be.
		    assert ask(b'SLEE').startswith(b'+OK')
		    deliver(2 * i)
		    assert ask(b'WAKE').startswith(b'+OK [ACTIVITY/NEW]'), i
		    deliver(2 * i + 1)
		    assert ask(b'SLEE', b'WAKE').startswith(b'+OK [ACTIVITY/NEW]'), i
	END
	unshare --mount /usr/bin/python3 scenario.py "$mail" ramfs none "$HANDLER" "${options[@]}"
	unshare --mount /usr/bin/python3 scenario.py "$mail" ext2 ext2.image "$HANDLER" "${options[@]}"
}

@test "a directory that has changed just now is read once, and not again at WAKE" {
	# The first login of all makes the lock, which changes a folder.
	mkdir "$mail/bob"
	make_message bob/a.eml
	printf '%s\r\n' 'USER bob' 'PASS banana split ' SLEE WAKE SLEE WAKE QUIT >script
	trace trace trace=getdents64 "$HANDLER" "${options[@]}" <script >out
	grep -qx $'+OK \[ACTIVITY/NONE\] 1 messages\r' out
	[ "$(grep -c '= 0$' trace)" -eq 1 ]
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

@test "marks do not outlive RSET, nor a sleep" {
	as_alice 'DELE 1' RSET SLEE WAKE STAT QUIT
	[ "${lines[4]}" = '+OK 2 22' ]
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "a mailbox that appears or vanishes in sleep is found as it is at WAKE" {
	rm -r "$mail/alice"
	start_session one
	login one
	ask one SLEE
	make_maildir alice
	make_message alice/new/1.M1P1.h
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
	ask one SLEE
	mv "$mail/alice" "$mail/old"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 0 messages' ]
	ask one SLEE
	mv "$mail/old" "$mail/alice"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
}

@test "a mailbox that is replaced in sleep is not the session's any more" {
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
	ask one SLEE
	for change in 's/^alice.*//' 's/apple/avocado/' 's/apple/apple::::::nologin/' \
		's/apple/apple::::::userdb_mail=\/x/'; do
		cp "$users" users.good
		sed "$change" users.good >"$users.new"
		mv "$users.new" "$users"
		ask one WAKE
		[ "$reply" = '-ERR [AUTH] the account is not as it was at login' ]
		ask one STAT
		[ "$reply" = '-ERR this command is not valid in this state' ]
		mv users.good "$users"
	done
	mv "$users" users.away
	ask one WAKE
	[ "$reply" = '-ERR [SYS/TEMP] cannot look up the account' ]
	grep -F "cannot look up 'alice' in the passwd-file '$users': No such file or directory" one.log
	mv users.away "$users"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 2 messages' ]
}

@test "a failed WAKE keeps what was listed before, for the next one to compare with" {
	start_session one
	login one
	ask one SLEE
	start_session two
	login two
	make_message alice/new/3.M1P1.h
	ask one WAKE
	[ "$reply" = '-ERR [IN-USE] cannot open the mailbox: another session has it' ]
	ask two QUIT
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 3 messages' ]
}

@test "a WAKE that fails in the middle of a directory keeps what was listed before" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELI 1' SLEE WAKE WAKE QUIT >script
	trace trace trace=getdents64 -e inject=getdents64:error=EIO:when=5 \
		"$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[5]}" = '-ERR [SYS/TEMP] cannot open the mailbox' ]
	[ "${lines[6]}" = '+OK [ACTIVITY/NONE] 1 messages' ]
}

@test "WAKE on 100,000 messages in which nothing changed reads no directory" {
	(cd "$mail/alice/cur" && seq -f '%.0f.M1P1.h:2,S' 1700000001 1700100000 | xargs touch)
	printf '%s\r\n' 'USER alice' 'PASS apple' SLEE WAKE SLEE WAKE SLEE WAKE QUIT >script
	trace trace all "$HANDLER" "${options[@]}" <script >out
	read_lines
	[ "$(grep -cxF $'+OK [ACTIVITY/NONE] 100002 messages\r' out)" -eq 3 ]
	# Each of new and cur is read to its end once: at login.
	[ "$(grep -c 'getdents64.*= 0$' trace)" -eq 2 ]
	# And what follows, two polls and more, is no more than a few system calls each.
	[ "$(tac trace | sed '/getdents64/q' | wc -l)" -lt 150 ]
}

@test "sizes of a folder's files that have changed are found out again after a sleep" {
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
	# Once more: this time the directory has not changed, by the size cache neither.
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
