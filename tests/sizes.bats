#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The size cache: each message is read once to measure it, and the cache is trusted only as far as it
# can be checked.

load helpers

setup() {
	setup_site
	make_messages 3
	make_message alice/new/4.M1P1.h,S=5,W=6 '1234\n'
	cache=$mail/alice/.pop3-handler.cache
}

# opened LINE...: a session of alice; sets `opened` to the names of the messages that it opens.
opened() {
	printf '%s\r\n' 'USER alice' 'PASS apple' "$@" >script
	trace trace trace=openat "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	lines=("${lines[@]:3}")
	mapfile -t opened < <(sed -nE 's/^openat\([0-9]+, "([^."][^"]*)", O_RDONLY\|O_NOCTTY.*/\1/p' trace)
}

@test "the second session opens no message to measure it, however the first ended" {
	opened STAT
	[ "${#opened[@]}" -eq 3 ]
	opened STAT LIST
	[ "${#opened[@]}" -eq 0 ]
	[ "${lines[0]}" = '+OK 4 39' ]
	mv "$mail/alice/new/2.M1P1.h" "$mail/alice/cur/2.M1P1.h:2,FS"
	make_message alice/new/5.M1P1.h
	opened LIST QUIT
	[ "${opened[*]}" = 5.M1P1.h ]
	[ "${lines[*]:1:5}" = '1 11 2 11 3 11 4 6 5 24' ]
	opened 'DELI 1' STAT QUIT
	[ "${#opened[@]}" -eq 0 ]
	[ "$(stat -c %a "$cache")" = 600 ]
	run ! grep -aq '4\.M1P1' "$cache" # its name has the size
}

@test "a mailbox that needs no size cache has none" {
	rm "$mail"/alice/new/[123]*
	as_alice STAT LIST 'RETR 1' QUIT
	[ ! -e "$cache" ]
	talk 'USER bob' 'PASS banana split ' STAT QUIT
	[ ! -e "$mail/bob" ]
}

@test "sizes outlive SLEE, QUIT and a disconnect, and a read-only session uses them" {
	start_session one
	login one
	ask one STAT
	[ ! -e "$cache" ]
	ask one SLEE
	[ -e "$cache" ]
	opened STAT
	[ "${#opened[@]}" -eq 0 ]
	find "$mail/alice" -printf '%P %T@ %C@ %s\n' | sort >before
	options+=(--read-only=yes)
	opened STAT 'RETR 1' QUIT
	[ "${opened[*]}" = 1.M1P1.h ]
	rm "$cache"
	opened STAT QUIT
	[ ! -e "$cache" ]
}

@test "WAKE learns the sizes that another session has measured" {
	needs_root
	start_session one strace -qq -o trace -e trace=openat "$HANDLER" "${options[@]}"
	login one
	ask one STAT
	ask one SLEE
	make_message alice/new/5.M1P1.h
	as_alice STAT QUIT
	ask one WAKE
	ask one STAT
	[ "$reply" = '+OK 5 63' ]
	hang_up one
	run ! grep '"5.M1P1.h"' trace
}

@test "a read-only session, which writes no size cache, measures no message twice" {
	needs_root
	options+=(--read-only=yes)
	start_session one strace -qq -o trace -e trace=openat "$HANDLER" "${options[@]}"
	login one
	ask one STAT
	ask one SLEE
	make_message alice/new/5.M1P1.h
	ask one WAKE
	ask one STAT
	[ "$reply" = '+OK 5 63' ]
	hang_up one
	[ "$(grep -c '"1.M1P1.h"' trace)" -eq 1 ]
}

@test "a size cache with any octet changed, or truncated anywhere, is ignored" {
	as_alice STAT QUIT
	cat >damage.py <<-'END'
		import os, subprocess, sys
		path, *command = sys.argv[1:]
		cache = open(path, 'rb').read()
		for damaged in ([cache[:i] + bytes([cache[i] ^ 1]) + cache[i + 1:] for i in range(len(cache))] +
		                [cache[:i] for i in range(len(cache))] + [cache + b'x', cache * 2]):
		    open(path, 'wb').write(damaged)
		    done = subprocess.run(command, input=b'USER alice\nPASS apple\nLIST\n',
		                          capture_output=True)
		    assert b'\r\n1 11\r\n2 11\r\n3 11\r\n4 6\r\n.\r\n' in done.stdout, (damaged, done)
		    assert done.returncode == 0, (damaged, done)
		    assert open(path, 'rb').read() == cache, damaged
	END
	ASAN_OPTIONS=exitcode=99 /usr/bin/python3 damage.py "$cache" "$HANDLER" "${options[@]}"
}

@test "the size cache of another mailbox is ignored" {
	cp -r "$mail/alice" "$mail/bob"
	as_alice STAT QUIT
	echo "a longer message 1" >"$mail/bob/new/1.M1P1.h"
	cp "$cache" "$mail/bob"
	talk 'USER bob' 'PASS banana split ' LIST
	[ "${lines[4]}" = '1 20' ]
}

@test "no session fails because the size cache cannot be read or written" {
	make_cache_unusable() {
		case $1 in
		directory) mkdir "$cache" "$cache.new" ;;
		link) ln -s "$mail/elsewhere" "$cache" && ln -s "$mail/elsewhere" "$cache.new" ;;
		fifo) mkfifo "$cache" "$cache.new" ;;
		esac
	}
	for kind in directory link fifo; do
		make_cache_unusable $kind
		as_alice STAT QUIT
		[ "${lines[*]}" = '+OK 4 39 +OK goodbye' ]
		[ ! -e "$mail/elsewhere" ]
		rm -rf "$cache" "$cache.new"
	done
	as_alice QUIT
	for call in renameat pwrite64; do
		printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
		trace trace trace=$call -e inject=$call:error=ENOSPC "$HANDLER" "${options[@]}" \
			<script >out 2>log
		grep -q INJECTED trace
		read_lines
		[ "${lines[*]:3}" = '+OK 4 39 +OK goodbye' ]
		[ "$(files alice | wc -l)" -eq 4 ]
		[ ! -e "$cache" ]
		[ ! -e "$cache.new" ]
	done
}

@test "a size that is wrong in the name is corrected in the cache and logged once" {
	make_message alice/new/5.M1P1.h,W=99 'message 5\n'
	wrong="pop3-handler: the message '5.M1P1.h,W=99' has 11 octets, not as many as was believed"
	as_alice 'LIST 5' 'RETR 5' 'LIST 5'
	[ "${lines[0]}" = '+OK 5 99' ]
	[ "${lines[-1]}" = '+OK 5 11' ]
	grep -qxF "$wrong" log
	as_alice 'LIST 5' 'RETR 5'
	[ "${lines[0]}" = '+OK 5 11' ]
	[ -z "$(troubles)" ]
	# The same in a session that did not ask for sizes.
	rm "$cache"
	as_alice 'RETR 5' QUIT
	grep -qxF "$wrong" log
	as_alice 'LIST 5'
	[ "${lines[0]}" = '+OK 5 11' ]
}

@test "a size that is wrong in the cache is corrected and logged when RETR finds out" {
	as_alice STAT QUIT
	echo 'a longer message 1' >"$mail/alice/new/1.M1P1.h" # no program may do this in a Maildir
	as_alice 'LIST 1' 'RETR 1'
	[ "${lines[0]}" = '+OK 1 11' ]
	grep -qxF "pop3-handler: the message '1.M1P1.h' has 20 octets, not as many as was believed" log
	as_alice 'LIST 1'
	[ "${lines[0]}" = '+OK 1 20' ]
}

# unreadable FILE...: makes these unreadable; sessions run as nobody, by `as_reader`.
unreadable() {
	as_nobody true
	as_reader=(setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "${options[@]/#--user=*/--user=nobody}")
	chmod 000 "${@/#/$mail/}"
}

@test "a message that cannot be read has its file's size, its own -ERR, and one log line" {
	needs_root
	echo 'folder:{PLAIN}fig' >>"$users"
	mkdir "$mail/folder"
	for i in 1 2 3; do make_message "folder/$i.eml" "message $i\n"; done
	rm "$mail/alice/new/4.M1P1.h,S=5,W=6"
	unreadable alice/new/2.M1P1.h folder/2.eml
	for user in alice folder; do
		[ $user = alice ] && password=apple name=2.M1P1.h || password=fig name=2.eml
		printf '%s\r\n' "USER $user" "PASS $password" STAT LIST 'LIST 2' 'RETR 2' 'TOP 2 0' 'RETR 1' STAT >script
		"${as_reader[@]}" <script >out 2>log
		read_lines
		show
		unread='-ERR [SYS/PERM] cannot read the message'
		expected=('+OK 3 32' '+OK 3 messages (32 octets)' '1 11' '2 10' '3 11' . '+OK 2 10' "$unread" "$unread"
			'+OK 11 octets' 'message 1' . '+OK 3 32')
		[ "${lines[*]:3}" = "${expected[*]}" ]
		[ "$(troubles)" = "pop3-handler: cannot read the message '$name' of '$mail/$user': Permission denied" ]
	done
	# It was not cached: once it can be read, its size is right.
	chmod 644 "$mail/alice/new/2.M1P1.h" "$mail/folder/2.eml"
	as_alice 'LIST 2'
	[ "${lines[0]}" = '+OK 2 11' ]
}

@test "a message on a broken disk does not hide the others; a lack of descriptors is an -ERR" {
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT >script
	for error in EIO EUCLEAN ESTALE; do
		trace trace trace=read -P "$mail/alice/new/2.M1P1.h" -e inject=read:error=$error \
			"$HANDLER" "${options[@]}" <script >out 2>log
		read_lines
		[ "${lines[3]}" = '+OK 4 38' ]
		[ "$(troubles | wc -l)" -eq 1 ]
		rm "$cache"
	done
	trace trace trace=openat "$HANDLER" "${options[@]}" <script >out 2>log
	rm "$cache"
	when=$(sed '/"2.M1P1.h"/q' trace | wc -l)
	trace trace trace=openat -e "inject=openat:error=ENFILE:when=$when" "$HANDLER" "${options[@]}" <script >out 2>log
	grep '"2.M1P1.h".*INJECTED' trace
	read_lines
	[ "${lines[3]}" = '-ERR [SYS/TEMP] cannot read the message' ]
}

# damaged_disk NAME...: the file system in `disk`, on which stat(2) of these messages of alice fails.
damaged_disk() {
	local inodes inode
	# shellcheck disable=SC2016
	inodes=$(on_disk sh -c 'cd "$1" && shift && stat -c %i "$@"' sh "$mail/alice" "$@")
	for inode in $inodes; do
		debugfs -w -R "set_inode_field <$inode> mode 0170644" disk 2>/dev/null
	done
}

# disk_of LAYOUT: a disk with a mailbox of alice, messages 1 to 4; sets `names` to their names.
disk_of() {
	rm -f disk
	truncate -s 16M disk
	mkfs.ext4 -q -O '^metadata_csum,^has_journal' disk
	[ "$1" = folder ] && names=({1..4}.eml) || names=(new/{1..4}.M1P1.h)
	# shellcheck disable=SC2016
	on_disk sh -c 'cd "$1" && mkdir -p alice && [ "$2" = 1.eml ] || mkdir alice/new alice/cur; cd alice && shift &&
		for name; do echo "message $name" >"$name"; done' sh "$mail" "${names[@]}"
}

@test "a message with a damaged inode does not hide the others, is listed, and counts no octet" {
	needs_root
	for layout in maildir folder; do
		disk_of $layout
		damaged_disk "${names[1]}"
		talk_on_disk STAT UIDL 'LIST 2' 'RETR 2' 'UIDL 2' 'RETR 1' QUIT
		show
		[[ ${lines[0]} == '+OK 4 '* ]]
		[[ ${lines[*]:2:4} == *"${names[1]#new/}"* ]]
		bad=$(printf '%s\n' "${lines[@]:2:4}" | grep -F "${names[1]#new/}" | cut -d ' ' -f 1)
		[ "$(troubles | wc -l)" -eq 1 ]
		[ "${lines[-1]}" = '+OK goodbye' ]
		talk_on_disk "LIST $bad" "RETR $bad" "UIDL $bad" QUIT
		[ "${lines[0]}" = "+OK $bad 0" ]
		[ "${lines[1]}" = '-ERR [SYS/TEMP] cannot read the message' ]
		[ "${lines[2]}" = "+OK $bad ${names[1]#new/}" ]
	done
}

@test "a record is carried out although a message that it may name has a damaged inode: that one is hidden" {
	needs_root
	for layout in maildir folder; do
		disk_of $layout
		printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 3' QUIT >script
		on_disk strace -qq -o trace -e trace=unlinkat -e inject=unlinkat:signal=KILL:when=2 \
			"$HANDLER" "${options[@]}" <script >out 2>log || true
		damaged_disk "${names[3]}"
		for _ in 1 2; do
			talk_on_disk UIDL QUIT
			show
			[ "${lines[*]:1:2}" = "1 ${names[1]#new/} ." ]
			grep -F "cannot end the commit record of '$mail/alice'" log
		done
	done
}

@test "a message that could not be read is measured at a later WAKE" {
	needs_root
	unreadable alice/new/2.M1P1.h
	start_session one "${as_reader[@]}"
	login one
	ask one 'LIST 2'
	[ "$reply" = '+OK 2 10' ]
	ask one SLEE
	chmod 644 "$mail/alice/new/2.M1P1.h"
	ask one WAKE
	ask one 'LIST 2'
	[ "$reply" = '+OK 2 11' ]
}

@test "a ,W= that contradicts its ,S= is not trusted" {
	make_message alice/new/5.M1P1.h,S=10,W=9 'message 5\n'
	make_message alice/new/6.M1P1.h,S=10,W=23 'message 6\n'
	make_message alice/new/7.M1P1.h,S=10,W=20 'message 7\n'
	opened LIST
	[ "${lines[*]:5:3}" = '5 11 6 11 7 20' ]
}

@test "a cached size that contradicts ,S= is measured again" {
	make_message alice/new/5.M1P1.h,S=4 'message 5\n'
	opened STAT QUIT
	opened 'LIST 5' QUIT
	[ "${opened[*]}" = 5.M1P1.h,S=4 ]
	[ "${lines[0]}" = '+OK 5 11' ]
}

@test "an unfinished new size cache of a killed session does no harm" {
	echo rubbish >"$cache.new"
	as_alice STAT QUIT
	[ -s "$cache" ]
	[ ! -e "$cache.new" ]
}

@test "a folder's file is measured again only if it has changed" {
	rm -r "$mail/alice"
	mkdir "$mail/alice"
	for name in a b c; do
		make_message $name.eml "message $name\n"
		mv "$mail/$name.eml" "$mail/alice"
	done
	# A change in the same tick of the clock would go unnoticed.
	until opened STAT QUIT && opened STAT && [ "${#opened[@]}" -eq 0 ]; do :; done
	[ "${lines[0]}" = '+OK 3 33' ]
	# The same name, length and modification time.
	touch -r "$mail/alice/b.eml" stamp
	printf 'message\n\n\n' >"$mail/alice/b.eml"
	touch -r stamp "$mail/alice/b.eml"
	opened LIST QUIT
	[ "${opened[*]}" = b.eml ]
	[ "${lines[*]:1:3}" = '1 11 2 13 3 11' ]
	make_message ../d.eml 'message d is new\n'
	mv d.eml "$mail/alice/c.eml"
	opened 'LIST 3' STAT QUIT
	[ "${opened[*]}" = c.eml ]
	[ "${lines[*]:0:2}" = '+OK 3 18 +OK 3 42' ]
}

@test "a folder's sizes are not measured again after a sleep without changes" {
	rm -r "$mail/alice"
	mkdir "$mail/alice"
	make_message alice/a.eml
	make_message alice/b.eml
	until opened STAT QUIT && opened STAT && [ "${#opened[@]}" -eq 0 ]; do :; done
	opened STAT SLEE WAKE STAT SLEE WAKE LIST
	[ "${#opened[@]}" -eq 0 ]
	[ "${lines[3]}" = "${lines[0]}" ]
}
