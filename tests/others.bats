#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# An IMAP server or another program changes the mailbox during a session.

load helpers

setup() {
	setup_site
	make_messages 4
	start_session one
	login one
}

@test "a renamed message is found again by RETR, TOP, LIST and STAT" {
	mv "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,"
	mv "$mail/alice/new/2.M1P1.h" "$mail/alice/new/2.M1P1.h:2,F"
	ask one 'RETR 1'
	hear_all one
	[ "${lines[0]}" = 'message 1' ]
	mv "$mail/alice/cur/1.M1P1.h:2," "$mail/alice/cur/1.M1P1.h:2,S"
	ask one 'TOP 1 9'
	hear_all one
	[ "${lines[0]}" = 'message 1' ]
	ask one 'LIST 2'
	[ "$reply" = '+OK 2 11' ]
	mv "$mail/alice/new/3.M1P1.h" "$mail/alice/cur/3.M1P1.h:2,"
	ask one STAT
	[ "$reply" = '+OK 4 44' ]
}

@test "a renamed message is deleted by QUIT, and by DELI" {
	ask one 'DELE 1'
	mv "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,S"
	mv "$mail/alice/new/2.M1P1.h" "$mail/alice/cur/2.M1P1.h:2,S"
	ask one 'DELI 2'
	[[ $reply == +OK* ]]
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(files alice | tr '\n' ' ')" = './new/3.M1P1.h ./new/4.M1P1.h ' ]
}

@test "a message that is renamed after RETR gets the S beside its new flags" {
	ask one 'RETR 1'
	hear_all one
	mv "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,FT"
	ask one QUIT
	[ "$(files alice | head -n 1)" = ./cur/1.M1P1.h:2,FST ]
}

@test "a message that is gone is a clear -ERR, vanishes from the listing, and can be deleted" {
	rm "$mail/alice/new/1.M1P1.h" "$mail/alice/new/3.M1P1.h"
	for command in 'RETR 1' 'RETR 1' 'TOP 1 0' 'LIST 1' 'UIDL 1'; do
		ask one "$command"
		[ "$reply" = '-ERR message 1 is gone' ]
	done
	ask one 'RETR UID:1.M1P1.h'
	[ "$reply" = '-ERR [UID] message 1 is gone' ]
	ask one STAT
	[ "$reply" = '+OK 2 22' ]
	ask one LIST
	hear_all one
	[ "${lines[*]}" = '2 11 4 11' ]
	ask one UIDL
	hear_all one
	[ "${lines[*]}" = '2 2.M1P1.h 4 4.M1P1.h' ]
	ask one 'DELE 1'
	[ "$reply" = '+OK message 1 is marked as deleted' ]
	ask one 'DELI 3'
	[ "$reply" = '+OK message 3 is deleted' ]
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	hang_up one
	[ -z "$(troubles one.log)" ]
}

@test "a marked message that vanished unnoticed does not make QUIT fail" {
	ask one 'DELE 1'
	rm "$mail/alice/new/1.M1P1.h"
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
}

@test "when all messages are renamed at once, the directories are read once, not for each message" {
	ask one QUIT
	(cd "$mail/alice/new" && seq -f '%.0f.M1P1.h' 1700000001 1700000500 | xargs touch)
	start_session two env ASAN_OPTIONS=exitcode=99:detect_leaks=0 \
		strace -qq -o trace -e trace=getdents64 "$HANDLER" "${options[@]}"
	login two
	before=$(grep -c '= 0$' trace)
	/usr/bin/python3 -c "
import os
for name in os.listdir('$mail/alice/new'):
    os.rename(f'$mail/alice/new/{name}', f'$mail/alice/cur/{name}:2,')"
	ask two STAT
	[ "$reply" = '+OK 504 44' ]
	[ "$(($(grep -c '= 0$' trace) - before))" -le 4 ]
}

@test "a message that leaves a folder is gone" {
	ask one QUIT
	mkdir "$mail/bob"
	make_message bob/a.eml
	make_message bob/b.eml
	start_session two
	login two bob 'banana split '
	mv "$mail/bob/a.eml" "$mail/bob/c.eml"
	ask two 'RETR 1'
	[ "$reply" = '-ERR message 1 is gone' ]
	ask two 'DELE 1'
	ask two QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(files bob | tr '\n' ' ')" = './b.eml ./c.eml ' ]
}

@test "mail that arrives during a session changes nothing in it" {
	make_message alice/new/0.M1P1.h
	ask one 'UIDL 1'
	[ "$reply" = '+OK 1 1.M1P1.h' ]
	ask one STAT
	[ "$reply" = '+OK 4 44' ]
	ask one 'DELE 1'
	ask one QUIT
	[ -e "$mail/alice/new/0.M1P1.h" ]
}

@test "a session finds messages in a new or cur that appears during it" {
	ask one QUIT
	mv "$mail"/alice/cur/* "$mail/alice/new" 2>/dev/null || true
	rmdir "$mail/alice/cur"
	start_session two
	login two
	ask two 'DELE 1'
	mkdir "$mail/alice/cur"
	mv "$mail"/alice/new/* "$mail/alice/cur"
	ask two 'RETR UID:2.M1P1.h'
	[ "$reply" = '+OK 11 octets' ]
	hear_all two
	ask two QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(files alice | tr '\n' ' ')" = './cur/2.M1P1.h:2,S ./cur/3.M1P1.h ./cur/4.M1P1.h ' ]
}

@test "QUIT does not delete a folder's file that has replaced another since it was listed" {
	mkdir "$mail/bob"
	for how in rename rewrite 'same size' 'same time' touch; do
		for command in 'DELE 1' 'DELI 1'; do
			left=another
			make_message bob/1.eml 'one\n'
			start_session three
			login three bob 'banana split '
			ask three 'RETR 1'
			hear_all three
			[[ $command == DELI* ]] || ask three "$command"
			case $how in
			rename)
				make_message 1.eml 'another\n'
				mv "$mail/1.eml" "$mail/bob"
				;;
			rewrite) make_message bob/1.eml 'another\n' ;;
			'same size') make_message bob/1.eml 'two\n' && left=two ;;
			'same time')
				make_message 1.eml 'another\n'
				touch -r "$mail/bob/1.eml" "$mail/1.eml"
				mv "$mail/1.eml" "$mail/bob"
				;;
			touch) touch -d tomorrow "$mail/bob/1.eml" && left=one ;; # the file may be another
			esac
			[[ $command == DELE* ]] || ask three "$command"
			ask three QUIT
			[ "$reply" = '+OK goodbye' ]
			hang_up three
			[ "$(cat "$mail/bob/1.eml")" = "$left" ]
			grep -F 'deleted 0, slept' three.log
			rm three.*
		done
	done
}
