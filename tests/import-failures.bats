#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Imported unique-ids when the list of the other server, or the file that keeps them, is damaged, is no file, or
# cannot be read or written.
# shellcheck disable=SC2016 # $POP3Deleted is a keyword

load helpers

setup() {
	setup_site
	make_maildir alice
	box=$mail/alice
	list=$box/dovecot-uidlist
	ids=$box/.pop3-handler.ids
	options+=('--unique-ids-from=dovecot %u')
	for i in 1 2 3; do
		make_message "alice/cur/$i.M1P1.h:2,S"
	done
	make_message alice/new/4.M1P1.h
	printf '%s\n' '3 V5 N99' '7 :2.M1P1.h' '8 :1.M1P1.h' '9 :3.M1P1.h' >"$list"
	all='7 8 9 4.M1P1.h'
}

# uids: the unique-ids of a session of alice, with blanks between them, are in `found`.
uids() {
	as_alice UIDL QUIT
	lines=("${lines[@]:1:${#lines[@]}-3}")
	found=${lines[*]#* }
}

# all_is_well: a session finds all messages with their imported unique-ids.
all_is_well() {
	uids
	[ "$found" = "$all" ]
	[ -z "$(troubles | grep -v 'are taken over: 3 messages, and 0 that were hidden$')" ]
}

# serve_as_nobody: sessions, and the mailbox, are those of an ordinary user from now on.
serve_as_nobody() {
	as_nobody true
	HANDLER=$PWD/as-nobody
	printf '#!/bin/sh\nexec setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "$@"\n' >"$HANDLER"
	chmod +x "$HANDLER"
	options[0]=--user=nobody
}

# is_refused REASON [OPTION...]: a session of alice shows nothing, and says why in the log.
is_refused() {
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT UIDL 'RETR 1' QUIT >script
	handle script "${@:2}"
	read_lines
	[ "${lines[2]}" = '-ERR [SYS/TEMP] cannot open the mailbox' ]
	[[ "${lines[*]:3}" != *'+OK '[0-9]* ]]
	[ "$(grep -c '^+OK' out)" -eq 3 ] # the greeting, USER and QUIT
	grep -qxF "pop3-handler: cannot open the mailbox '$box': $1" log || { cat log && return 1; }
}

# --- The file of unique-ids ---

@test "a file of unique-ids that is damaged anywhere, cut or longer, is refused" {
	all_is_well
	cp -p "$ids" saved
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT UIDL 'RETR 1' QUIT >script
	/usr/bin/python3 - "$ids" "$HANDLER" "${options[@]}" <<-'END'
		import subprocess, sys
		path, *command = sys.argv[1:]
		octets = open(path, 'rb').read()
		damaged = [octets[:i] + bytes([octets[i] ^ 1 << i % 8]) + octets[i + 1:] for i in range(len(octets))]
		damaged += [octets[:i] for i in range(len(octets))]
		damaged += [octets + more for more in (b'\n', b'a', b'10 4.M1P1.h\n', b'\0')]
		damaged += [b'\n' + octets, octets.replace(b'\n', b'\r\n'), octets.replace(b'ids 1', b'ids 2'), octets * 2]
		for octets in damaged:
		    open(path, 'wb').write(octets)
		    session = subprocess.run(command, stdin=open('script'), capture_output=True, text=True)
		    said = [line[:4] for line in session.stdout.splitlines()]
		    assert said == ['+OK ', '+OK ', '-ERR', '-ERR', '-ERR', '-ERR', '+OK '], (octets, session)
		    assert '-ERR [SYS/TEMP] cannot open the mailbox' in session.stdout, (octets, session)
		    assert '/mail/alice\': .pop3-handler.ids is damaged\n' in session.stderr, (octets, session)
		    assert open(path, 'rb').read() == octets
	END
	# The cache has what it had, but does not count.
	cp -p saved "$ids"
	all_is_well
}

@test "a file of unique-ids that is another's, too large, or no file, is refused" {
	needs_root
	all_is_well
	for kind in link dangling fifo directory foreign large; do
		mv "$ids" saved
		reason='it is no regular file'
		case $kind in
		link) ln -s "$PWD/saved" "$ids" ;;
		dangling) ln -s nothing "$ids" ;;
		fifo) mkfifo "$ids" ;;
		directory) mkdir "$ids" ;;
		foreign)
			cp saved "$ids"
			chmod 644 "$ids"
			chown 12345 "$ids"
			reason="it is another user's"
			;;
		large)
			cp saved "$ids"
			truncate -s 300M "$ids"
			reason='File too large'
			;;
		esac
		is_refused "cannot use .pop3-handler.ids: $reason"
		is_refused "cannot use .pop3-handler.ids: $reason" --read-only=yes
		is_refused "cannot use .pop3-handler.ids: $reason" --unique-ids-from=courier
		rm -r "$ids"
		mv saved "$ids"
		all_is_well
	done
	# A backup may be made of hard links.
	ln "$ids" saved
	all_is_well
}

@test "a file of unique-ids that cannot be read is refused" {
	all_is_well
	make_message alice/new/5.M1P1.h
	serve_as_nobody
	chmod 000 "$ids"
	is_refused 'cannot use .pop3-handler.ids: Permission denied'
}

# --- The list ---

@test "a list that is damaged is refused, with the number of the line" {
	# line TEXT: the last one of the list; it is refused.
	bad() {
		printf '%s\n' '3 V5 N99' '7 :2.M1P1.h' "$1" '9 :3.M1P1.h' >"$list"
		is_refused 'dovecot-uidlist is damaged at line 3'
		[ ! -e "$ids" ]
	}
	for line in '' ' ' '8' '8 ' '8 1.M1P1.h' '8 :' '7 :1.M1P1.h' '6 :1.M1P1.h' '0 :1.M1P1.h' '-8 :1.M1P1.h' '+8 :1.M1P1.h' \
		'8a :1.M1P1.h' '4294967295 :1.M1P1.h' '18446744073709551624 :1.M1P1.h' '8  :1.M1P1.h' '8 w1 :1.M1P1.h' \
		'8 :cur/1.M1P1.h' '8 P' '8 Px' $'8\t:1.M1P1.h' ' 8 :1.M1P1.h'; do
		bad "$line"
	done
	for header in '' '2 V5 N99' '4 V5 N99' '3' '3 V5' '3 N99' '3 V0 N99' '3 V5 N0' '3 V5 V6 N99' '3 Vx N99' '3V5 N99' 'V5 N99' '1 5' \
		'1 0 99' '3 V4294967296 N99'; do
		printf '%s\n' "$header" '7 :2.M1P1.h' >"$list"
		is_refused 'dovecot-uidlist is damaged at line 1'
	done
	printf '3 V5 N99\n7 :2.M1\0P1.h\n' >"$list"
	is_refused 'dovecot-uidlist is damaged at line 2'
	: >"$list"
	is_refused 'dovecot-uidlist is damaged at line 1'
	printf '3 V5 N99' >"$list"
	is_refused 'dovecot-uidlist is damaged at line 1'
	[ ! -e "$ids" ]
	# What is being written at its end is not.
	printf '%s\n' '3 V5 N99' '7 :2.M1P1.h' '8 :1.M1P1.h' '9 :3.M1P1.h' >"$list"
	printf '10 ' >>"$list"
	printf 'x\n' >"$box/dovecot-keywords"
	is_refused 'dovecot-keywords is damaged'
	printf '0 a\n1 $POP3' >"$box/dovecot-keywords"
	all_is_well
}

@test "Courier's list that is damaged is refused, with the number of the line" {
	courier=$box/courierpop3dsizelist
	options[-1]=--unique-ids-from=courier
	for line in '' '2.M1P1.h' '2.M1P1.h 7' '2.M1P1.h 7 1' '2.M1P1.h a 1:5' '2.M1P1.h 7 1:x' '2.M1P1.h 7 x:5' ' 7 1:5' 'cur/2.M1P1.h 7 1:5' \
		'2.M1P1.h -7 1:5' '2.M1P1.h 7 18446744073709551616:5'; do
		printf '%s\n' '/3 9 5' "$line" >"$courier"
		is_refused 'courierpop3dsizelist is damaged at line 2'
	done
	for header in '' '/1 9 5' '/4 9 5' '/3 9' '/3 9 x' '3 9 5' '/39 5'; do
		printf '%s\n' "$header" '2.M1P1.h 7 1:5' >"$courier"
		is_refused 'courierpop3dsizelist is damaged at line 1'
	done
	[ ! -e "$ids" ]
}

@test "a list that is another's, too large, or no file, is refused" {
	needs_root
	mv "$list" saved
	for name in dovecot-uidlist dovecot-keywords; do
		[ $name = dovecot-uidlist ] || cp saved "$list"
		for kind in link dangling fifo directory foreign large; do
			case $kind in
			link) ln -s "$PWD/saved" "$box/$name" ;;
			dangling) ln -s nothing "$box/$name" ;;
			fifo) mkfifo "$box/$name" ;;
			directory) mkdir "$box/$name" ;;
			foreign)
				cp saved "$box/$name"
				chown 12345 "$box/$name"
				;;
			large) truncate -s 300M "$box/$name" ;;
			esac
			case $kind in
			link | dangling) is_refused "cannot use $name: Too many levels of symbolic links" ;;
			fifo | directory) is_refused "cannot use $name: No such device or address" ;;
			foreign) is_refused "cannot use $name: Operation not permitted" ;;
			large) is_refused "cannot use $name: File too large" ;;
			esac
			rm -r "${box:?}/$name"
		done
	done
	cp saved "$list"
	serve_as_nobody
	chmod 000 "$list"
	is_refused 'cannot use dovecot-uidlist: Permission denied'
	[ ! -e "$ids" ]
}
