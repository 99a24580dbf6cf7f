#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Which files are messages, their order, and their unique-ids.

load helpers

# unique_ids USER PASSWORD: the unique-ids of a mailbox, in order, in `ids`.
unique_ids() {
	talk "USER $1" "PASS $2" UIDL QUIT
	mapfile -t ids < <(printf '%s\n' "${lines[@]:4}" | sed '/^\.$/,$d' | cut -d ' ' -f 2-)
	[ "${lines[-1]}" = '+OK goodbye' ]
}

# good_ids COUNT: there are COUNT different ids, of the form that RFC 1939 allows.
good_ids() {
	show_ids
	[ "${#ids[@]}" -eq "$1" ]
	[ "$(printf '%s\n' "${ids[@]}" | LC_ALL=C grep -cE '^[!-~]{1,70}$')" -eq "$1" ]
	[ "$(printf '%s\n' "${ids[@]}" | sort -u | wc -l)" -eq "$1" ]
	run ! grep -x '_' <(printf '%s\n' "${ids[@]}")
}

show_ids() {
	printf 'id %s\n' "${ids[@]}"
}

@test "a mailbox that does not exist is empty and logged, and nothing is created for it" {
	as_alice STAT LIST UIDL SLEE WAKE 'RETR 1' QUIT
	expected=('+OK 0 0' '+OK 0 messages (0 octets)' . '+OK unique-ids follow' . '+OK asleep, 0 messages deleted'
		'+OK [ACTIVITY/NONE] 0 messages' '-ERR there is no such message' '+OK goodbye')
	[ "${lines[*]}" = "${expected[*]}" ]
	[ -z "$(ls -A "$mail")" ]
	# One line. Its path shows a template that is one level off.
	[ "$(troubles)" = "pop3-handler: the mailbox '$mail/alice' does not exist: it is served as empty" ]
}

@test "the messages of a Maildir are those in new and cur, in the order of their arrival" {
	make_maildir alice
	for name in new/1700000002.M5P9.h cur/1700000002.M40P1.h:2,S new/1700000010.M1P1.h \
		'cur/1700000001.V2I7M999999.h,S=9:2,' new/999999999.1_2.h cur/zzz new/1700000002.M5P1.h; do
		make_message "alice/$name"
	done
	unique_ids alice apple
	order='zzz 999999999.1_2.h 1700000001.V2I7M999999.h,S=9 1700000002.M5P1.h 1700000002.M5P9.h'
	order+=' 1700000002.M40P1.h 1700000010.M1P1.h'
	[ "${ids[*]}" = "$order" ]
}

@test "a folder lists messages by modification time, and those with equal times by name" {
	mkdir "$mail/alice"
	for name in b.eml B.eml a.eml 10.eml 9.eml 'x:2,S' 1700000000.M1P1.h; do
		make_message "alice/$name" "$name\n"
		touch -d '2026-01-02 03:04:05.000000002' "$mail/alice/$name"
	done
	unique_ids alice apple
	[ "${ids[*]}" = '10.eml 1700000000.M1P1.h 9.eml B.eml a.eml b.eml x:2,S' ]
	touch -d '2026-01-02 03:04:05.000000001' "$mail/alice/a.eml"
	touch -d '1969-01-02' "$mail/alice/x:2,S"
	touch -d '2026-01-02 03:04:06' "$mail/alice/9.eml"
	unique_ids alice apple
	[ "${ids[*]}" = 'x:2,S a.eml 10.eml 1700000000.M1P1.h B.eml b.eml 9.eml' ]
	as_alice STAT 'RETR 2' 'DELE 2' QUIT
	[ "${lines[2]}" = a.eml ]
	[ ! -e "$mail/alice/a.eml" ]
	# The same with a cache, and at WAKE.
	start_session one
	login one
	ask one SLEE
	touch -d '2026-01-03' "$mail/alice/b.eml"
	touch "$mail/alice/new.eml"
	ask one WAKE
	ask one UIDL
	hear_all one
	[ "${lines[*]}" = '1 x:2,S 2 10.eml 3 1700000000.M1P1.h 4 B.eml 5 9.eml 6 b.eml 7 new.eml' ]
}

@test "in a folder, litter and half-written files are not messages; in a Maildir they are" {
	mkdir "$mail/alice"
	make_maildir bob
	litter=(a.tmp B.TMP b.part c.partial d.filepart e.crdownload .f.swp g.swp h.eml~ '#i.eml#' Thumbs.db
		thumbs.db desktop.ini Desktop.ini)
	for name in "${litter[@]}" 1.eml tmp part '#2.eml' desktop.ini.eml a.tmp.eml; do
		make_message "alice/$name"
		make_message "bob/cur/$name"
	done
	as_alice UIDL STAT
	[ "$(printf '%s\n' "${lines[@]:1:6}" | cut -d ' ' -f 2 | LC_ALL=C sort | tr '\n' ' ')" = \
		'#2.eml 1.eml a.tmp.eml desktop.ini.eml part tmp ' ]
	[[ ${lines[-1]} == '+OK 6 '* ]]
	talk 'USER bob' 'PASS banana split ' STAT
	[[ ${lines[3]} == "+OK $((${#litter[@]} - 1 + 6)) "* ]]
}

@test "a directory with only new or cur is a Maildir, and files beside it are not messages" {
	for there in new cur; do
		mkdir -p "$mail/alice/$there"
		for name in a.eml dovecot-uidlist subscriptions courierpop3dsizelist; do
			make_message "alice/$name"
		done
		make_message "alice/$there/1.M1P1.h"
		as_alice UIDL 'RETR 1' SLEE WAKE STAT 'DELE 1' QUIT
		show
		[ "${lines[*]:0:3}" = '+OK unique-ids follow 1 1.M1P1.h .' ]
		[ "${lines[-3]}" = '+OK 1 24' ]
		[ "$(files alice | tr '\n' ' ')" = './a.eml ./courierpop3dsizelist ./dovecot-uidlist ./subscriptions ' ]
		[ -z "$(troubles)" ]
		rm -r "$mail/alice"
	done
}

@test "cur is created for the owner alone, and only when a message moves there" {
	make_maildir alice
	rmdir "$mail/alice/cur"
	make_message alice/new/1.M1P1.h
	as_alice STAT 'TOP 1 0' QUIT
	[ ! -e "$mail/alice/cur" ]
	as_alice 'RETR 1' QUIT
	[ -z "$(troubles)" ]
	[ "$(files alice)" = ./cur/1.M1P1.h:2,S ]
	[ "$(stat -c %a "$mail/alice/cur")" = 700 ]
	# A file named cur: the message stays where it is, and the failure is logged.
	make_maildir bob
	make_message bob/new/1.M1P1.h
	rmdir "$mail/bob/cur"
	make_message bob/cur
	talk 'USER bob' 'PASS banana split ' 'RETR 1' QUIT
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ "$(files bob | tr '\n' ' ')" = './cur ./new/1.M1P1.h ' ]
	[ "$(troubles)" = "pop3-handler: cannot mark messages of '$mail/bob' as seen: Not a directory" ]
}

@test "WAKE notices when a mailbox becomes a Maildir, one without new, or a folder" {
	mkdir "$mail/alice"
	make_message alice/1.eml
	start_session one
	login one
	ask one STAT
	ask one SLEE
	mkdir "$mail/alice/cur"
	make_message alice/cur/2.M1P1.h:2,S
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
	ask one 'UIDL 1'
	[ "$reply" = '+OK 1 2.M1P1.h' ]
	ask one LIST
	hear_all one
	ask one SLEE
	mv "$mail/alice/cur" "$mail/alice/new"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 1 messages' ]
	ask one SLEE
	rm -r "$mail/alice/new"
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 1 messages' ]
	ask one 'LIST UID:1.eml'
	[ "$reply" = '+OK 1 24' ]
}

# foreign USER NAME: checks the reply and the log where a directory has an entry NAME (a directory
# if it ends in "/"), which stays unchanged; and the same at WAKE, when the entry appears during the sleep.
foreign() {
	rm -rf "${mail:?}/alice"
	mkdir "$mail/alice"
	make_message alice/1.eml
	start_session one
	login one
	ask one SLEE
	local name
	for name; do
		case $name in
		*/) mkdir -p "$mail/alice/$name" ;;
		*) make_message "alice/$name" ;;
		esac
	done
	ask one WAKE
	[ "$reply" = '-ERR [SYS/PERM] cannot open the mailbox' ]
	hang_up one
	problem="cannot open the mailbox '$mail/alice': it looks like "
	grep -qF "$problem" one.log
	rm -r one.* "$mail"/alice/.pop3-handler.*
	find "$mail/alice" | sort >before
	talk 'USER alice' 'PASS apple' UIDL
	[ "${lines[2]}" = '-ERR [SYS/PERM] cannot open the mailbox' ]
	grep -qF "$problem" log
	find "$mail/alice" | sort | cmp before -
}

@test "a directory of another program's store is refused by name and not changed" {
	for name in dovecot.index dovecot.index.log dovecot.index.cache dovecot-uidlist dovecot.list.index \
		dovecot.list.index.log dovecot.map.index dbox-Mails/ courierpop3dsizelist courierimapuiddb \
		courierimapsubscribed maildirsize maildirfolder; do
		echo "$name"
		foreign "$name"
		foreign "$name" subscriptions
	done
	foreign mailboxes/INBOX/dbox-Mails/ storage/
}

@test "names that only resemble those of another program's store are messages of a folder" {
	mkdir -p "$mail/alice/storage" "$mail/alice/tmp"
	names=(courier-invoice.eml dovecot.eml dovecot-uidlist.eml my-dovecot.index maildirsize.eml MAILDIRSIZE
		subscriptions dovecot.list dbox-mails dbox-Mails mailboxes)
	for name in "${names[@]}"; do
		make_message "alice/$name"
	done
	as_alice STAT
	[[ ${lines[0]} == "+OK ${#names[@]} "* ]]
	rm "$mail/alice/mailboxes"
	mkdir "$mail/alice/mailboxes"
	rmdir "$mail/alice/storage"
	as_alice STAT
	[[ ${lines[0]} == "+OK $((${#names[@]} - 1)) "* ]]
}

@test "only regular files without a leading dot are messages, and no other file blocks a session" {
	needs_root
	for user in alice folder; do
		make_maildir "$user"
		place=$user/new
		[ "$user" = alice ] || rm -r "$mail/folder/cur" "$mail/folder/new"
		[ "$user" = alice ] || place=$user
		make_message "$place/1.M1P1.h"
		make_message "$place/.2.M1P1.h"
		make_message secret
		ln -s "$mail/secret" "$mail/$place/3.M1P1.h"
		ln -s nowhere "$mail/$place/4.M1P1.h"
		mkfifo "$mail/$place/5.M1P1.h"
		mkdir "$mail/$place/6.M1P1.h"
		mknod "$mail/$place/7.M1P1.h" c 1 3
		/usr/bin/python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' \
			"$mail/$place/8.M1P1.h"
		make_message "alice/tmp/9.M1P1.h"
	done
	echo 'folder:{PLAIN}fig' >>"$users"
	unique_ids alice apple
	[ "${ids[*]}" = 1.M1P1.h ]
	unique_ids folder fig
	[ "${ids[*]}" = 1.M1P1.h ]
}

@test "a message that becomes a link, a FIFO or a directory is gone, and does not block the session" {
	make_message secret
	for user in alice bob; do
		make_maildir "$user"
		place=$user/new
		[ $user = alice ] || { rm -r "$mail/bob" && mkdir "$mail/bob" && place=bob; }
		for kind in link fifo directory; do
			make_message "$place/1.M1P1.h"
			start_session one
			[ $user = alice ] && login one || login one bob 'banana split '
			rm "$mail/$place/1.M1P1.h"
			case $kind in
			link) ln -s "$mail/secret" "$mail/$place/1.M1P1.h" ;;
			fifo) mkfifo "$mail/$place/1.M1P1.h" ;;
			directory) mkdir "$mail/$place/1.M1P1.h" ;;
			esac
			for command in 'RETR 1' 'TOP 1 0' 'LIST 1'; do
				ask one "$command"
				[ "$reply" = '-ERR message 1 is gone' ]
			done
			ask one STAT
			[ "$reply" = '+OK 0 0' ]
			hang_up one
			rm -r one.* "$mail/$place/1.M1P1.h"
		done
	done
}

@test "a symbolic link as new or cur is refused and not followed, also at WAKE" {
	make_maildir bob
	make_message bob/new/1.M1P1.h
	for link in new cur; do
		for target in bob/$link nowhere; do
			make_maildir alice
			start_session one
			login one
			ask one SLEE
			rmdir "$mail/alice/$link"
			ln -s "$mail/$target" "$mail/alice/$link"
			ask one WAKE
			[ "$reply" = '-ERR [SYS/PERM] cannot open the mailbox' ]
			talk 'USER alice' 'PASS apple' STAT
			[ "${lines[2]}" = '-ERR [SYS/PERM] cannot open the mailbox' ]
			problem="cannot open the mailbox '$mail/alice': its new or cur is a symbolic link"
			grep -F "$problem" log
			grep -F "$problem" one.log
			hang_up one
			rm -r one.* "$mail/alice"
		done
	done
}

@test "a link that replaces the mailbox during a session is not followed" {
	make_maildir bob
	make_message bob/new/1.M1P1.h "bob's\n"
	for sandbox in on off; do
		make_maildir alice
		make_message alice/new/1.M1P1.h "alice's\n"
		make_message alice/new/2.M1P1.h
		start_session $sandbox "$HANDLER" "${options[@]}" --sandbox=$sandbox
		login $sandbox
		mv "$mail/alice" "$mail/old"
		ln -s bob "$mail/alice"
		ask $sandbox 'RETR 1'
		hear $sandbox
		[ "$reply" = "alice's" ]
		hear_all $sandbox
		ask $sandbox 'DELE 1'
		ask $sandbox 'DELI 2'
		ask $sandbox QUIT
		[ "$reply" = '+OK goodbye' ]
		[ "$(files bob)" = ./new/1.M1P1.h ]
		[ -z "$(files old)" ]
		rm -r "$mail/alice" "$mail/old"
	done
}

@test "a unique-id is the unique part of a Maildir name, and a folder's file name" {
	make_maildir alice
	mkdir "$mail/bob"
	make_message alice/new/1.M1P1.h,S=3,W=4
	make_message alice/cur/2.M1P1.h:2,FS
	make_message alice/cur/3.M1P1.h:weird:2,S
	make_message 'bob/Re:2,S[1].eml'
	long=$(printf 'x%.0s' {1..66})
	make_message "bob/$long.eml"
	unique_ids alice apple
	[ "${ids[*]}" = '1.M1P1.h,S=3,W=4 2.M1P1.h 3.M1P1.h' ]
	unique_ids bob 'banana split '
	[ "${ids[*]}" = "Re:2,S[1].eml $long.eml" ]
}

@test "names that cannot be unique-ids get valid ones, the same in every session" {
	mkdir "$mail/bob"
	long=$(printf 'x%.0s' {1..67})
	names=("$long.eml" "$long.em2" 'a b.eml' 'a  b.eml' $'tab\t.eml' $'line\n.eml' 'Grüße.eml' _
		$'\xff' $'\x7f' "$(printf 'y%.0s' {1..255})" -n '*' '%s' "sha256$(printf '0%.0s' {1..64})")
	for name in "${names[@]}"; do
		make_message "bob/$name"
	done
	unique_ids bob 'banana split '
	good_ids ${#names[@]}
	first=("${ids[@]}")
	rm "$mail/bob/a b.eml"
	unique_ids bob 'banana split '
	good_ids $((${#names[@]} - 1))
	# In byte order 'a b.eml' follows six names; the other names keep their ids.
	without=()
	for id in "${first[@]}"; do
		if [[ " ${ids[*]} " == *" $id "* ]]; then
			without+=("$id")
		fi
	done
	[ "${without[*]}" = "${ids[*]}" ]
	for id in "${ids[@]}"; do
		talk 'USER bob' 'PASS banana split ' "RETR UID:$id"
		[[ ${lines[3]} == '+OK '*' octets' ]]
	done
}

@test "messages with hostile names can be read and deleted, and forge no log line" {
	long=$(printf 'y%.0s' {1..254})
	names=($'1\npop3-handler: login of \'bob\' from 1.2.3.4 refused: x.eml' $'\e[2J\e]0;title\a.eml' $'\xff\xfe.eml'
		"$long" '..eml ..' '%s%n%s' "..." "-rf" "c:\\d" $'\r\n.\r\n' '~root')
	mkdir "$mail/alice"
	for name in "${names[@]}"; do
		make_message "alice/x$name"
	done
	mkdir "$mail/alice/xdirectory"
	options+=(--log-deletions=yes)
	unique_ids alice apple
	good_ids ${#names[@]}
	as_alice "RETR UID:${ids[0]}" "DELI UID:${ids[1]}" "${ids[@]/#/DELE UID:}" 'RETR UID:../alice/x...' \
		"UIDL UID:x$long" SLEE WAKE QUIT
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ -z "$(files alice)" ]
	[ "$(grep -c 'deleted by' log)" -eq ${#names[@]} ]
	run ! grep -vE "^pop3-handler: (message '[!-~]+' deleted by 'alice' from local$|login of 'alice' |session of 'alice')" log
	run ! LC_ALL=C grep -P '[^ -~]' log
}

@test "a file named like the stand-in of another message does not get its unique-id" {
	mkdir "$mail/bob"
	make_message 'bob/a b.eml'
	unique_ids bob 'banana split '
	good_ids 1
	make_message "bob/${ids[0]}"
	unique_ids bob 'banana split '
	good_ids 2
}

@test "files with the same unique part get different unique-ids and keep them" {
	make_maildir alice
	make_message alice/new/1.M1P1.h 'new\n'
	make_message alice/cur/1.M1P1.h:2,S 'cur\n'
	make_message alice/cur/1.M1P1.h:2,FS 'flagged\n'
	ln "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,RS"
	unique_ids alice apple
	good_ids 3 # two names of one file count once
	rm "$mail/alice/cur/1.M1P1.h:2,RS"
	unique_ids alice apple
	good_ids 3
	declare -A text
	for id in "${ids[@]}"; do
		as_alice "RETR UID:$id"
		text[$id]=${lines[1]}
	done
	[ "$(printf '%s\n' "${text[@]}" | sort | tr '\n' ' ')" = 'cur flagged new ' ]
	# Each unique-id follows its message through renames.
	mv "$mail/alice/new/1.M1P1.h" "$mail/alice/cur/1.M1P1.h:2,T"
	mv "$mail/alice/cur/1.M1P1.h:2,S" "$mail/alice/cur/1.M1P1.h:2,"
	for id in "${!text[@]}"; do
		as_alice "RETR UID:$id"
		[ "${lines[1]}" = "${text[$id]}" ]
	done
	# No message is deleted in place of another.
	as_alice "DELE UID:${ids[0]}" QUIT
	run ! grep -rqx "${text[${ids[0]}]}" "$mail/alice"
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "a mailbox that is not a directory, or not readable, is a clear error" {
	make_message alice
	talk 'USER alice' 'PASS apple'
	[ "${lines[2]}" = '-ERR [SYS/PERM] cannot open the mailbox' ]
	grep -xF "pop3-handler: cannot open the mailbox '$mail/alice': Not a directory" log
}
