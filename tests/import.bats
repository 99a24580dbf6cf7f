#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Unique-ids of another server, which the first session takes over from its list.

load helpers

setup() {
	setup_site
	make_maildir alice
	box=$mail/alice
	list=$box/dovecot-uidlist
	ids=$box/.pop3-handler.ids
	options+=('--unique-ids-from=dovecot %u')
}

# from SERVER: what the mailbox is taken over from instead.
from() {
	options[-1]=--unique-ids-from=$1
}

# lists LINE...: what Dovecot has written into its list.
lists() {
	printf '%s\n' '3 V5 N99 Gbeef' "$@" >"$list"
}

# uids: the unique-ids of a session of alice, with blanks between them, are in `found`.
uids() {
	as_alice UIDL QUIT
	lines=("${lines[@]:1:${#lines[@]}-3}")
	found=${lines[*]#* }
}

# keeps LINE...: these are the lines of the file of unique-ids, below its header.
keeps() {
	[[ $(head -n 1 "$ids") =~ ^'pop3-handler unique-ids 1 '[0-9a-f]{16}$ ]]
	tail -n +2 "$ids" | diff - <([ $# -eq 0 ] || printf '%s\n' "$@")
}

# make_many COUNT: messages that Dovecot listed, and then as many that it did not know.
make_many() {
	/usr/bin/python3 - "$box" "$1" <<-'END'
		import sys
		path, count = sys.argv[1], int(sys.argv[2])
		with open(path + '/dovecot-uidlist', 'w') as file:
		    file.write('3 V5 N9999\n')
		    for i in range(count):
		        file.write(f'{i + 1} :{i + 1000}.M1P1.h\n')
		        open(f'{path}/cur/{i + 1000}.M1P1.h:2,S', 'w').write('message\n' * (i % 9))
	END
}

@test "a message with the unique part of another does not make the others lose their unique-ids" {
	make_many 1100
	uids
	keeps_all=$found
	[[ $found == '1 2 3 '*' 1100' ]]
	echo second >"$box/new/1000.M1P1.h"
	for name in 9000 9001; do
		uids
		[ "${found% sha256*}" = "$keeps_all" ] # too young to be renamed
		make_message "alice/new/$name.M1P1.h"
		uids
		[[ $found == "$keeps_all "*sha256*" $name.M1P1.h"* ]]
	done
	uids
	[[ $found == "$keeps_all "*sha256*' 9000.M1P1.h 9001.M1P1.h' ]]
}

@test "a file that is renamed while it is looked into is taken over all the same" {
	for server in qmail x-uidl; do
		from "$server"
		for i in 1 2 3; do
			make_message "alice/cur/$i.M1P1.h:2,S" "X-UIDL: id$i\n\nHello\n"
		done
		printf '%s\r\n' 'USER alice' 'PASS apple' UIDL QUIT >script
		trace_calls trace trace=newfstatat,openat "$HANDLER" "${options[@]}" <script >wanted 2>log
		rm "$ids"
		call=$(grep '"2\.M1P1' trace | sed 's/(.*//')
		when=$(grep "^$call" trace | grep -n '"2\.M1P1' | cut -d : -f 1)
		trace_calls trace "trace=$call" -e "inject=$call:error=ENOENT:when=$when" "$HANDLER" "${options[@]}" <script >out 2>log
		grep '"2\.M1P1.*INJECTED' trace
		cmp out wanted
		[ "$(grep -c ' taken over: 3 messages' log)" -eq 1 ]
		rm "$ids"
	done
}

@test "the first X-UIDL header is taken, trimmed, however long its lines are" {
	from x-uidl
	/usr/bin/python3 -c "print('X-UIDL: a\n' + ' ' * 2**18 + '\n\nHello')" >"$box/cur/1.M1P1.h:2,S"
	make_message alice/cur/2.M1P1.h:2,S 'Subject: a\nx-uidl:\tb \n\nX-UIDL: no header\n'
	make_message alice/cur/3.M1P1.h:2,S 'X-UIDL: two words\n\n'
	make_message alice/cur/4.M1P1.h:2,S 'X-UIDL:\n folded\nX-UIDL: second\n\n'
	make_message alice/cur/5.M1P1.h:2,S 'X-UIDL: last line'
	uids
	[ "$found" = 'a b folded 3.M1P1.h 5.M1P1.h' ]
}

@test "mail that Dovecot hid stays hidden, also if its unique-id could not be served" {
	lists '1 Pone :1.M1P1.h' '2 Ptwo :2.M1P1.h' '3 P :3.M1P1.with a blank' '4 Pone :4.M1P1.h' '5 Psix :5.M1P1.h'
	printf '0 $Label1\n3 $pop3deleted\n' >"$box/dovecot-keywords"
	make_message alice/cur/1.M1P1.h:2,Sd
	make_message alice/cur/2.M1P1.h:2,FSacef
	make_message 'alice/cur/3.M1P1.with a blank:2,d'
	make_message alice/cur/4.M1P1.h:2,S
	make_message alice/cur/5.M1P1.h:2,D
	for _ in 1 2 3; do
		uids
		[ "$found" = 'two one six' ]
		[ "$(cat "$box"/cur/*.h:2,* | wc -l)" -eq 12 ]
		mv "$box/cur/1.M1P1.h:2,Sd" "$box/cur/1.M1P1.h:2,S" || [ -e "$box/cur/1.M1P1.h:2,S" ]
		mv "$box/cur/5.M1P1.h:2,D" "$box/cur/5.M1P1.h:2,d" || [ -e "$box/cur/5.M1P1.h:2,d" ]
	done
	keeps '- 1.M1P1.h' 'two 2.M1P1.h' '- 3.M1P1.with a blank' 'one 4.M1P1.h' 'six 5.M1P1.h'
	# Its files stay when all that is listed is deleted.
	as_alice 'DELE 1' 'DELE 2' 'DELE 3' QUIT
	[ "$(files alice | grep -c /cur/)" -eq 2 ]
}

@test "a list that is missing is that of a new account, if no mail is in cur" {
	for server in 'dovecot %u' courier qmail x-uidl; do
		from "$server"
		rm -f "$ids"
		uids
		[ -z "$found" ]
		keeps
		make_message "alice/new/1.M1P1.h"
		uids
		[ "$found" = 1.M1P1.h ]
		keeps
		rm "$ids"
		uids
		[ "$found" = 1.M1P1.h ]
		rm "$box/new/1.M1P1.h"
	done
	for server in 'dovecot %u' courier; do
		from "$server"
		rm -f "$ids"
		make_message alice/cur/2.M1P1.h:2,
		talk 'USER alice' 'PASS apple' STAT QUIT
		[ "${lines[2]}" = '-ERR [SYS/TEMP] cannot open the mailbox' ]
		[ "${lines[3]:0:4}" = -ERR ]
		[[ $(<log) == *"cannot open the mailbox '$box': "*' is missing, and there is mail in cur'* ]]
		[ ! -e "$ids" ]
		rm "$box"/cur/*
	done
}

@test "a session that sleeps while another takes over wakes to the imported unique-ids" {
	for i in 1 2 3 4; do
		make_message "alice/cur/$i.M1P1.h:2,S"
	done
	mv "$box/cur/2.M1P1.h:2,S" "$box/cur/2.M1P1.h:2,Sa"
	mv "$box/cur/3.M1P1.h:2,S" "$box/cur/3.M1P1.h:2,Sa"
	lists '7 :4.M1P1.h' '8 :2.M1P1.h' '9 :3.M1P1.h'
	printf '0 $POP3Deleted\n' >"$box/dovecot-keywords"
	# Before the settings are changed.
	start_session one "$HANDLER" "${options[@]:0:${#options[@]}-1}"
	login one
	ask one SLEE
	uids
	[ "$found" = '7 1.M1P1.h' ]
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 2 messages' ]
	ask one 'UIDL 1'
	[ "$reply" = '+OK 1 7' ]
	ask one SLEE
	make_message alice/new/5.M1P1.h
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 3 messages' ]
	ask one 'DELE UID:7'
	ask one SLEE
	[ "$reply" = '+OK asleep, 1 messages deleted' ]
	mv "$box/cur/1.M1P1.h:2,S" "$box/cur/1.M1P1.h:2,FS"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 2 messages' ]
	ask one QUIT
	uids
	[ "$found" = '1.M1P1.h 5.M1P1.h' ]
}

@test "mail that arrives beside hidden mail is new for a session that knew both" {
	for i in 1 2 3; do
		make_message "alice/cur/$i.M1P1.h:2,a"
	done
	lists '1 :1.M1P1.h' '2 :2.M1P1.h' '3 :3.M1P1.h'
	printf '0 $POP3Deleted\n' >"$box/dovecot-keywords"
	start_session one "$HANDLER" "${options[@]:0:${#options[@]}-1}"
	login one
	ask one SLEE
	uids
	[ -z "$found" ]
	make_message alice/new/4.M1P1.h
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
	ask one QUIT
}

@test "nothing is taken over from directories that change while they are read" {
	from 'x-uidl dovecot %u'
	lists '1 :1.M1P1.h' '2 :2.M1P1.h'
	make_message alice/cur/1.M1P1.h:2,S 'X-UIDL: first\n\n'
	make_message alice/cur/2.M1P1.h:2,S 'X-UIDL: second\n\n'
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
	while :; do
		: >"$box/cur/.busy"
		rm "$box/cur/.busy"
	done &
	background+=($!)
	trace_calls trace trace=getdents64 -e inject=getdents64:delay_exit=20000 "$HANDLER" "${options[@]}" <script >out 2>log
	kill "${background[-1]}"
	wait "${background[-1]}" || true
	grep -xFe $'-ERR [SYS/TEMP] cannot open the mailbox\r' out
	grep -F "cannot open the mailbox '$box': unique-ids cannot be taken over while" log
	[ ! -e "$ids" ]
	uids
	[ "$found" = 'first second' ]
}

# size_of NUMBER: what LIST says, and what RETR announces, is in `listed` and `announced`, and the
# octets that RETR sends, in `sent`.
size_of() {
	printf '%s\r\n' 'USER alice' 'PASS apple' "LIST $1" "RETR $1" QUIT >script
	handle script
	listed=$(sed -n 4p out | tr -d '\r')
	listed=${listed##* }
	announced=$(sed -n 5p out | tr -d '\r')
	announced=${announced#+OK }
	announced=${announced% octets}
	sent=$(sed '1,5d; /^\.\r$/,$d; s/^\.\././' out | wc -c)
}

@test "sizes of the old list are hints: RETR is right whatever they say" {
	# A right one; without the line end that is missing, as Dovecot counts; none; wrong ones, of which
	# only the first is possible; of a message whose unique-id cannot be served; none that is one.
	lists '1 W14 :1.M1P1.h' '2 W14 :2.M1P1.h' '3 :3.M1P1.h' '4 W15 :4.M1P1.h' '5 W99 :5.M1P1.h' '6 W3 :6.M1P1.h' \
		'7 Px W14 :7.M1P1.h' '8 Px W14 :8.M1P1.h' '9 W :9.M1P1.h' '10 W99999999999999999999 :10.M1P1.h'
	for i in {1..10}; do
		case $i in
		2 | 8) text='A: bcd\n\nHell' ;;
		*) text='A: bcd\n\nHe\n' ;;
		esac
		make_message "alice/cur/$i.M1P1.h:2,S" "$text"
	done
	for i in {1..10}; do
		cp -a "$box" saved
		for session in first second; do
			size_of "$i"
			echo "$i $session: $listed $announced $sent"
			[ "$announced" -eq "$sent" ]
			case $i in
			4 | 2) [ "$session" = first ] || [ "$listed" -eq "$sent" ] ;; # possible
			*) [ "$listed" -eq "$sent" ] ;;
			esac
		done
		rm -r "$box"
		mv saved "$box"
	done
}
