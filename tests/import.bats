#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Unique-ids of another server: the first session imports them from its list.
# shellcheck disable=SC2016 # $POP3Deleted is a keyword

load helpers
load import

setup() {
	setup_import
}

# from SERVER: the mailbox is imported from this server instead.
from() {
	options[-1]=--unique-ids-from=$1
}

# lists LINE...: writes these lines into Dovecot's list.
lists() {
	printf '%s\n' '3 V5 N99 Gbeef' "$@" >"$list"
}

# keeps LINE...: the file of unique-ids has these lines below its header.
keeps() {
	[[ $(head -n 1 "$ids") =~ ^'pop3-handler unique-ids 1 '[0-9a-f]{16}$ ]]
	tail -n +2 "$ids" | diff - <([ $# -eq 0 ] || printf '%s\n' "$@")
}

# make_many COUNT: makes messages that are in Dovecot's list.
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

@test "a message that shares another's unique part does not affect the unique-ids of the others" {
	make_many 1100
	uids
	keeps_all=$found
	[[ $found == '1 2 3 '*' 1100' ]]
	echo second >"$box/new/1000.M1P1.h"
	for name in 9000 9001; do
		uids
		[ "${found% sha256*}" = "$keeps_all" ] # not yet 30 s old, so not renamed
		make_message "alice/new/$name.M1P1.h"
		uids
		[[ $found == "$keeps_all "*sha256*" $name.M1P1.h"* ]]
	done
	uids
	[[ $found == "$keeps_all "*sha256*' 9000.M1P1.h 9001.M1P1.h' ]]
}

@test "a file that is renamed while it is read is imported" {
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

@test "the first X-UIDL header counts, trimmed, however long its lines are" {
	from x-uidl
	/usr/bin/python3 -c "print('X-UIDL: a\n' + ' ' * 2**18 + '\n\nHello')" >"$box/cur/1.M1P1.h:2,S"
	make_message alice/cur/2.M1P1.h:2,S 'Subject: a\nx-uidl:\tb \n\nX-UIDL: no header\n'
	make_message alice/cur/3.M1P1.h:2,S 'X-UIDL: two words\n\n'
	make_message alice/cur/4.M1P1.h:2,S 'X-UIDL:\n folded\nX-UIDL: second\n\n'
	make_message alice/cur/5.M1P1.h:2,S 'X-UIDL: last line'
	uids
	[ "$found" = 'a b folded 3.M1P1.h 5.M1P1.h' ]
}

@test "an X-UIDL header is recognised as Dovecot recognises it" {
	from 'x-uidl dovecot UID%u'
	lists '1 :1.M1P1.h' '2 :2.M1P1.h' '3 :3.M1P1.h' '4 :4.M1P1.h' '5 :5.M1P1.h' '6 :6.M1P1.h' '7 :7.M1P1.h'
	make_message alice/cur/1.M1P1.h:2,S 'Subject: \0\nX-UIDL: behind-a-nul\n\n'
	make_message alice/cur/2.M1P1.h:2,S 'X-UIDL \t: behind-blanks\n\n'
	make_message alice/cur/3.M1P1.h:2,S 'X-UIDL: last-line'
	make_message alice/cur/4.M1P1.h:2,S 'no header\nX-UIDL: behind-it\r\n\r\n'
	make_message alice/cur/5.M1P1.h:2,S 'X-UIDL: a\0nul\n\n'
	make_message alice/cur/6.M1P1.h:2,S 'X-UIDLs: another\nX-UIDL\n : none\n\n'
	make_message alice/cur/7.M1P1.h:2,S ''
	uids
	[ "$found" = 'behind-a-nul behind-blanks last-line behind-it UID6 UID7 5.M1P1.h' ]
}

@test "mail that Dovecot hid stays hidden, even if its unique-id could not be served" {
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
	# Hidden files stay when all listed messages are deleted.
	as_alice 'DELE 1' 'DELE 2' 'DELE 3' QUIT
	[ "$(files alice | grep -c /cur/)" -eq 2 ]
}

@test "without a list an account counts as new if cur has no mail" {
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

@test "a session that sleeps during an import wakes to the imported unique-ids" {
	for i in 1 2 3 4; do
		make_message "alice/cur/$i.M1P1.h:2,S"
	done
	mv "$box/cur/2.M1P1.h:2,S" "$box/cur/2.M1P1.h:2,Sa"
	mv "$box/cur/3.M1P1.h:2,S" "$box/cur/3.M1P1.h:2,Sa"
	lists '7 :4.M1P1.h' '8 :2.M1P1.h' '9 :3.M1P1.h'
	printf '0 $POP3Deleted\n' >"$box/dovecot-keywords"
	# With the settings from before the import.
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

@test "mail that arrives beside hidden mail is new for a session that knew the hidden mail" {
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

@test "nothing is imported from directories that change while they are read" {
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

# size_of NUMBER: sets `listed` and `announced` to the sizes of LIST and RETR, and `sent` to the number of
# octets that RETR sends.
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

@test "sizes of the old list are only hints: RETR is right whatever they say" {
	# In order: right; without the missing line end, as Dovecot counts; none; wrong, of which only the first
	# is plausible; for a message whose unique-id cannot be served; invalid.
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
			4 | 2) [ "$session" = first ] || [ "$listed" -eq "$sent" ] ;; # plausible
			*) [ "$listed" -eq "$sent" ] ;;
			esac
		done
		rm -r "$box"
		mv saved "$box"
	done
}

# mail NAME...: messages with these file names and different contents in cur.
mail() {
	local name
	for name in "$@"; do
		printf 'Subject: %s\n\nHello\n' "$name" >"$box/cur/$name"
	done
}

@test "Dovecot: unique-ids, order and new mail" {
	from 'dovecot %08Xu%08Xv'
	mail 1.M1P1.h:2, 2.M1P1.h,S=30:2,S 3.M1P1.h:2,FS '4.M1P1.with a blank:2,S' 5.M1P1.h:2, 6.M1P1.h 7.M1P1.h:2, 8.M1P1.h:2,
	# An outdated entry, an entry followed by another of the same name, and an unfinished entry.
	lists '3 :7.M1P1.h:2,S' '4 W99 Pkept O7 P2 :2.M1P1.h,S=30' '10 O8 :4.M1P1.with a blank' '11 :99.M1P1.h' '12 P :5.M1P1.h:2,T' \
		'13 O7 :8.M1P1.h' '14 Oa Gguid :3.M1P1.h' '4294967294 :7.M1P1.h'
	printf '4294967295 Px :1.M1P1.h' >>"$list"
	for _ in 1 2; do
		uids
		[ "$found" = 'kept 0000000d00000005 0000000a00000005 5.M1P1.h 0000000e00000005 fffffffe00000005 1.M1P1.h 6.M1P1.h' ]
	done
	keeps 'kept 2.M1P1.h,S=30' '0000000d00000005 8.M1P1.h' '0000000a00000005 4.M1P1.with a blank' '5.M1P1.h 5.M1P1.h' \
		'0000000e00000005 3.M1P1.h' 'fffffffe00000005 7.M1P1.h'
	[ "$(stat -c %a "$ids")" = 600 ]
	make_message alice/new/0.M1P1.h
	make_message alice/new/9.M1P1.h
	uids
	[ "$found" = 'kept 0000000d00000005 0000000a00000005 5.M1P1.h 0000000e00000005 fffffffe00000005 0.M1P1.h 1.M1P1.h 6.M1P1.h 9.M1P1.h' ]
	as_alice 'RETR UID:0000000A00000005' 'RETR UID:0000000a00000005' 'TOP UID:fffffffe00000005 0' 'DELE UID:kept' QUIT
	[[ ${lines[0]} == '-ERR [UID]'* ]]
	[ "${lines[2]}" = 'Subject: 4.M1P1.with a blank:2,S' ]
	[ "${lines[7]}" = 'Subject: 7.M1P1.h:2,' ]
	[ ! -e "$box/cur/2.M1P1.h,S=30:2,S" ]
	uids
	[ "${found%% 5.*}" = '0000000d00000005 0000000a00000005' ]
}

@test "Dovecot: the list of version 1, and GUIDs" {
	mail 1.M1P1.h:2, 2.M1P1.h:2,S
	printf '%s\n' '1 7 3' '1 2.M1P1.h:2,S' '2 1.M1P1.h' >"$list"
	from 'dovecot %v.%u'
	uids
	[ "$found" = '7.1 7.2' ]
	rm "$ids"
	lists '1 Gguid :1.M1P1.h' '2 G :2.M1P1.h'
	from 'dovecot %g'
	uids
	[ "$found" = 'guid 2.M1P1.h' ]
}

@test "Courier: unique-ids, order and sizes" {
	from courier
	mail 9.M1P1.h:2, 10.M1P1.h:2,S 'x a+b:2,S' 8.M1P1.h:2, 7.M1P1.h:2,
	printf '%s\n' '/2 9 77' '10.M1P1.h:2,S 28 5:77' '9.M1P1.h:2, 99 6:0' 'x a+b 26 0:77' '8.M1P1.h 28 7:66:1' '99 1 8:77' >"$box/courierpop3dsizelist"
	make_message alice/new/1.M1P1.h
	for _ in 1 2; do
		uids
		[ "$found" = 'x+20a+2Bb UID7-66 UID6 UID5-77 1.M1P1.h 7.M1P1.h' ]
	done
	as_alice 'RETR UID:x+20a+2Bb' QUIT
	[ "${lines[1]}" = 'Subject: x a+b:2,S' ]
	keeps 'x+20a+2Bb x a+b' 'UID7-66 8.M1P1.h' 'UID6 9.M1P1.h' 'UID5-77 10.M1P1.h'
}

@test "qmail: the order is that of the files' times" {
	from qmail
	mail 1.h:2, 2.h:2, 3.h:2, 4.h:2,S
	make_message alice/new/5.h
	touch -d @1000 "$box/cur/3.h:2,"
	touch -d @1001.2 "$box/cur/2.h:2,"
	touch -d @1001.1 "$box/cur/4.h:2,S"
	touch -d @999.9 "$box/new/5.h"
	touch -d @1002 "$box/cur/1.h:2,"
	uids
	[ "$found" = '5.h 3.h 2.h 4.h 1.h' ]
	# New mail comes last, and times do not matter any more.
	touch -d @1 "$box"/cur/*
	make_message alice/new/0.h
	uids
	[ "$found" = '5.h 3.h 2.h 4.h 1.h 0.h' ]
	# qmail could have this long name, but not one with a blank.
	long=$(printf '%0100d' 7)
	make_message "alice/new/$long"
	make_message 'alice/new/6 a'
	rm "$ids"
	uids
	[[ $found == "1.h 2.h 3.h 4.h 5.h 0.h $long sha256"* ]]
}

@test "x-uidl dovecot: the header takes precedence over the format, P over the header" {
	from 'x-uidl dovecot %u'
	lists '1 :1.M1P1.h' '2 :2.M1P1.h' '3 Pkept :3.M1P1.h' '4 :4.M1P1.h'
	make_message alice/cur/1.M1P1.h:2, 'x-uidl:  head \n\n'
	make_message alice/cur/2.M1P1.h:2, 'X-UIDL: \n\n'
	make_message alice/cur/3.M1P1.h:2, 'X-UIDL: other\n\n'
	make_message alice/cur/4.M1P1.h:2, 'X-UIDL2: a\n\nX-UIDL: body\n'
	make_message alice/cur/5.M1P1.h:2, 'X-UIDL: unlisted\n\n'
	uids
	[ "$found" = 'head 2 kept 4 5.M1P1.h' ]
}

@test "unique-ids of more than 70 octets are served and accepted as arguments" {
	long=$(printf '%0480d' 9)
	lists "1 P$long :1.M1P1.h" "2 P${long:0:71} :2.M1P1.h"
	mail 1.M1P1.h:2,S 2.M1P1.h:2,S 3.M1P1.h:2,S
	for _ in 1 2; do
		uids
		[ "$found" = "$long ${long:0:71} 3.M1P1.h" ]
	done
	as_alice "RETR UID:$long" "TOP UID:$long 4294967295" "UIDL uid:$long" "LIST UID:$long" "DELE UID:${long:0:71}" "DELI UID:$long" \
		"RETR UID:$long" "RETR UID:${long}9" QUIT
	[ "${lines[1]}" = 'Subject: 1.M1P1.h:2,S' ]
	[ "${lines[6]}" = 'Subject: 1.M1P1.h:2,S' ]
	[ "${lines[10]}" = "+OK 1 $long" ]
	[[ ${lines[11]} == '+OK 1 '* && ${lines[12]} == +OK* && ${lines[13]} == +OK* ]]
	[[ ${lines[14]} == '-ERR [UID]'* && ${lines[15]} == '-ERR [UID]'* && ${lines[16]} == '+OK goodbye' ]]
	[ "$(files alice | grep cur/)" = './cur/3.M1P1.h:2,S' ]
}

@test "unique-ids that cannot be served are reported and permanently replaced" {
	from 'dovecot %f'
	long=$(printf '%0481d' 9)
	stand_in=sha256$(printf '%064d' 7)
	lists "1 P$long :1.M1P1.h" '2 :2.M1P1.a blank' "3 P$stand_in :3.M1P1.h" '4 P- :4.M1P1.h' $'5 P\xc3\xa4 :5.M1P1.h' '6 P_ :6.M1P1.h' \
		'7 Ptwice :7.M1P1.h' '8 Ptwice :8.M1P1.h' "9 P${stand_in}1 :9.M1P1.h"
	mail 1.M1P1.h:2, '2.M1P1.a blank:2,' {3..9}.M1P1.h:2,
	uids
	wanted=$found
	[[ $found == "_ twice ${stand_in}1 1.M1P1.h sha256"*' 3.M1P1.h 4.M1P1.h 5.M1P1.h 8.M1P1.h' ]]
	[ "$(wc -w <<<"$found")" -eq 9 ]
	grep -F "6 messages of '$box' cannot have their old unique-id, and 0 not that of their name, which is an old one: the first is '1.M1P1.h'" log
	lists
	for _ in 1 2; do
		uids
		[ "$found" = "$wanted" ]
		[ -z "$(troubles)" ]
		rm -f "$box/.pop3-handler.cache"
	done
}

@test "a message whose name is an imported unique-id gets a permanent stand-in" {
	lists '1 P3.M1P1.h :1.M1P1.h' '2 P1.M1P1.h :2.M1P1.h' '3 P9.M1P1.h :4.M1P1.h' '4 Pa :5.M1P1.h' '5 Pb :6.M1P1.h'
	mail {1..6}.M1P1.h:2,S
	uids
	[[ $found == '3.M1P1.h 1.M1P1.h 9.M1P1.h a b sha256'* ]]
	grep -F "0 messages of '$box' cannot have their old unique-id, and 1 not that of their name, which is an old one: the first is '3.M1P1.h:2,S'" log
	stand_in=${found##* }
	[ "$stand_in" = "sha256$(printf 3.M1P1.h | sha256sum | cut -c -64)" ]
	mail 9.M1P1.h:2,
	uids
	other=sha256$(printf 9.M1P1.h | sha256sum | cut -c -64)
	[ "$found" = "3.M1P1.h 1.M1P1.h 9.M1P1.h a b $stand_in $other" ]
	# The owners are deleted. Their unique-ids stay reserved, also when the file is rewritten.
	as_alice 'DELE 1' 'DELE 2' 'DELE 3' 'DELE 4' QUIT
	for _ in 1 2; do
		uids
		[ "$found" = "b $stand_in $other" ]
		keeps '3.M1P1.h 1.M1P1.h' '9.M1P1.h 4.M1P1.h' 'b 6.M1P1.h' || keeps '3.M1P1.h 1.M1P1.h' '1.M1P1.h 2.M1P1.h' '9.M1P1.h 4.M1P1.h' 'a 5.M1P1.h' 'b 6.M1P1.h'
	done
	as_alice 'DELE UID:b' QUIT
	uids
	uids
	[ "$found" = "$stand_in $other" ]
	as_alice 'RETR UID:3.M1P1.h' "RETR UID:$other" QUIT
	[[ ${lines[0]} == '-ERR [UID]'* ]]
	[ "${lines[2]}" = 'Subject: 9.M1P1.h:2,' ]
}

@test "after the import, no list, setting or other server changes a unique-id" {
	mail 1.M1P1.h:2, 2.M1P1.h:2, 3.M1P1.h:2,
	lists '4 :2.M1P1.h' '5 :1.M1P1.h'
	uids
	[ "$found" = '4 5 3.M1P1.h' ]
	cp -p "$ids" saved
	lists '6 :1.M1P1.h' '7 :2.M1P1.h' '8 :3.M1P1.h'
	for server in 'dovecot %u' 'dovecot %v-%u' courier qmail none; do
		from "$server"
		[ "$server" != none ] || unset 'options[-1]'
		make_message "alice/new/9.M1P1.${server// /}"
		uids
		[[ $found == '4 5 3.M1P1.h 9.'* ]]
		rm -f "$list"
	done
	[ "$(stat -c %i%Z "$ids")" = "$(stat -c %i%Z saved)" ] || cmp "$ids" saved
	# Removing the file starts the import again; here without the setting.
	rm "$ids"
	uids
	[[ $found == '1.M1P1.h 2.M1P1.h 3.M1P1.h 9.'* ]]
	options+=('--unique-ids-from=dovecot %u')
	lists '6 :1.M1P1.h' '7 :2.M1P1.h' '8 :3.M1P1.h'
	uids
	[[ $found == '6 7 8 9.'* ]]
}

@test "a file that has just disappeared is not mistaken for one that never existed" {
	mail 1.M1P1.h:2,
	lists '4 :1.M1P1.h'
	uids
	make_message alice/new/2.M1P1.h
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
	trace_calls trace trace=openat "$HANDLER" "${options[@]}" <script >out 2>log
	when=$(grep -n -m 1 '"\.pop3-handler\.ids"' trace | cut -d : -f 1)
	make_message alice/new/3.M1P1.h
	trace_calls trace trace=openat -e "inject=openat:error=ENOENT:when=$when" "$HANDLER" "${options[@]}" <script >out 2>log
	grep '"\.pop3-handler\.ids".*INJECTED' trace
	grep -xFe $'-ERR [SYS/TEMP] cannot open the mailbox\r' out
	uids
	[ "$found" = '4 2.M1P1.h 3.M1P1.h' ]
}

@test "imported messages are renamed, retrieved, marked as seen and deleted like others" {
	mail 1.M1P1.h:2, 3.M1P1.h:2,
	make_message alice/new/2.M1P1.h
	lists '4 :2.M1P1.h' '5 :1.M1P1.h' '6 :3.M1P1.h'
	start_session one
	login one
	mv "$box/cur/1.M1P1.h:2," "$box/cur/1.M1P1.h:2,F"
	mv "$box/new/2.M1P1.h" "$box/cur/2.M1P1.h:2,R"
	ask one 'UIDL 1'
	[ "$reply" = '+OK 1 4' ]
	ask one 'RETR UID:5'
	hear_all one
	[ "${lines[0]}" = 'Subject: 1.M1P1.h:2,' ]
	ask one 'RETR UID:4'
	hear_all one
	mv "$box/cur/1.M1P1.h:2,F" "$box/cur/1.M1P1.h:2,FR"
	ask one 'DELI UID:5'
	[ "$reply" = '+OK message 2 is deleted' ]
	ask one SLEE
	[ -e "$box/cur/2.M1P1.h:2,RS" ]
	make_message alice/new/0.M1P1.h
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 3 messages' ]
	for wanted in '1 4' '2 6' '3 0.M1P1.h'; do
		ask one "UIDL ${wanted% *}"
		[ "$reply" = "+OK $wanted" ]
	done
	ask one SLEE
	mv "$box/new/0.M1P1.h" "$box/cur/0.M1P1.h:2,"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 3 messages' ]
	ask one 'UIDL 3'
	[ "$reply" = '+OK 3 0.M1P1.h' ]
	ask one QUIT
}

@test "leftovers of an unfinished deletion are neither imported nor listed" {
	mail 1.M1P1.h:2, 2.M1P1.h:2, 3.M1P1.h:2,
	lists '4 :3.M1P1.h' '5 :2.M1P1.h' '6 :1.M1P1.h'
	cp -a "$box" saved
	for had_ids in no yes; do
		[ $had_ids = no ] || as_alice QUIT
		printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' QUIT >script
		trace_calls trace trace=unlinkat -e inject=unlinkat:signal=KILL:when=2 "$HANDLER" "${options[@]}" <script >out 2>log || true
		[ "$(files alice | grep -c cur/)" -ge 2 ]
		[ $had_ids = yes ] || rm "$ids"
		uids
		[ "$found" = 6 ]
		[ "$(files alice | grep cur/)" = './cur/1.M1P1.h:2,' ]
		rm -r "$box"
		cp -a saved "$box"
	done
}

@test "a large mailbox serves imported unique-ids, in their order, from the cache" {
	make_many 1100
	printf '%s\n' '3 V5 N9999' '1098 O1 :2000.M1P1.h' '1099 :1500.M1P1.h' '2000 :1001.M1P1.h' >"$list"
	long=$(printf '%0400d' 9)
	printf '3000 P%s :1002.M1P1.h\n' "$long" >>"$list"
	wanted="1098 1099 2000 $long 1000.M1P1.h 1003.M1P1.h"
	printf '%s\r\n' 'USER alice' 'PASS apple' UIDL LIST QUIT >script
	# A cache from before the import.
	"$HANDLER" "${options[@]:0:${#options[@]}-1}" <script >out 2>log
	grep -x $'2 1001.M1P1.h\r' out
	for session in takeover second third; do
		trace_calls trace trace=getdents64 "$HANDLER" "${options[@]}" <script >out 2>log
		[ "$(tr -d '\r' <out | sed -n '5,10p' | cut -d ' ' -f 2 | tr '\n' ' ')" = "$wanted " ]
		[ $session = takeover ] || { cmp out first && run ! grep getdents64 trace; }
		cp out first
	done
	# A read-only session uses the cache, too. It is useless once the file of unique-ids has gone.
	trace_calls trace trace=getdents64 "$HANDLER" "${options[@]}" --read-only=yes <script >out 2>log
	cmp out first
	run ! grep getdents64 trace
	rm "$ids"
	trace_calls trace trace=getdents64 "$HANDLER" "${options[@]}" --read-only=yes <script >out 2>log
	cmp out first
	grep getdents64 trace
	printf '%s\n' '3 V5 N9999' '7 :1003.M1P1.h' >"$list"
	uids
	[[ $found == '7 1000.M1P1.h 1001.M1P1.h '* ]]
	# A sleeping session reads again; a record of a deletion takes precedence over the cache.
	start_session one
	login one
	ask one SLEE
	as_alice 'DELE UID:1001.M1P1.h' 'DELE UID:7' QUIT
	as_alice QUIT # saves the whole listing
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 1098 messages' ]
	ask one 'UIDL 2'
	[ "$reply" = '+OK 2 1002.M1P1.h' ]
}

@test "sizes come from the list, and messages are not opened" {
	mail {100..199}.M1P1.h:2,S
	# Each has three lines and 31 octets: 34 on the wire.
	{
		echo '3 V5 N999'
		seq 100 199 | sed 's/.*/& W34 :&.M1P1.h/'
	} >"$list"
	{
		echo '/3 999 5'
		seq 100 199 | sed 's/.*/&.M1P1.h:2,S 34 &:5/'
	} >"$box/courierpop3dsizelist"
	printf '%s\r\n' 'USER alice' 'PASS apple' LIST STAT QUIT >sizes
	for server in 'dovecot %u' courier; do
		from "$server"
		rm -f "$ids" "$box/.pop3-handler.cache"
		for _ in 1 2; do
			trace_calls trace trace=openat "$HANDLER" "${options[@]}" <sizes >out 2>log
			run ! grep -F P1.h trace
			grep -xF $'+OK 100 3400\r' out
		done
		# LIST says the number of octets that RETR sends.
		size_of 42
		[ "$listed $announced $sent" = '34 34 34' ]
	done
	# For two messages the size is not plausible: these are read.
	sed -i 's/^150 W34/150 W999/; s/^151 W34/151 W1/' "$list"
	from 'dovecot %u'
	rm -f "$ids" "$box/.pop3-handler.cache"
	trace_calls trace trace=openat "$HANDLER" "${options[@]}" <sizes >out 2>log
	[ "$(grep -o '"15.\.M1P1.h' trace | tr '\n' ' ')" = '"150.M1P1.h "151.M1P1.h ' ]
	grep -xF $'+OK 100 3400\r' out
}

@test "a message keeps its imported unique-id when an older file gets its name" {
	echo first >"$box/new/1.M1P1.h"
	until echo second >"$box/cur/2.M1P1.h:2,S" &&
		[[ $(stat -c %.9W "$box/new/1.M1P1.h") != "$(stat -c %.9W "$box/cur/2.M1P1.h:2,S")" ]]; do
		rm "$box/cur/2.M1P1.h:2,S"
	done
	lists '7 :2.M1P1.h'
	start_session one
	login one
	ask one SLEE
	mv "$box/new/1.M1P1.h" "$box/new/2.M1P1.h"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 2 messages' ]
	ask one QUIT
	for _ in 1 2; do
		as_alice 'RETR UID:7' UIDL QUIT
		[ "${lines[1]}" = second ]
		[[ ${lines[5]} == '2 sha256'* ]]
	done
	keeps '7 2.M1P1.h'
}
