#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Imported unique-ids when the old server's list, or the file that keeps them, is damaged, is not a file, or
# cannot be read or written.
# shellcheck disable=SC2016 # $POP3Deleted is a keyword

load helpers
load import

setup() {
	setup_import
	for i in 1 2 3; do
		make_message "alice/cur/$i.M1P1.h:2,S"
	done
	make_message alice/new/4.M1P1.h
	printf '%s\n' '3 V5 N99' '7 :2.M1P1.h' '8 :1.M1P1.h' '9 :3.M1P1.h' >"$list"
	all='7 8 9 4.M1P1.h'
}

# all_is_well: a session lists all messages with their imported unique-ids.
all_is_well() {
	uids
	[ "$found" = "$all" ]
	run ! grep -v 'are taken over: 3 messages, and 0 that were hidden$' <(troubles)
}

# serve_as_nobody: sessions, and the mailbox, belong to an ordinary user from now on.
serve_as_nobody() {
	as_nobody true
	HANDLER=$PWD/as-nobody
	printf '#!/bin/sh\nexec setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "$@"\n' >"$HANDLER"
	chmod +x "$HANDLER"
	options[0]=--user=nobody
}

# is_refused REASON [OPTION...]: a session of alice shows nothing, and the log has the reason.
is_refused() {
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT UIDL 'RETR 1' QUIT >script
	handle script "${@:2}"
	read_lines
	[ "${lines[2]}" = '-ERR [SYS/TEMP] cannot open the mailbox' ]
	[[ "${lines[*]:3}" != *'+OK '[0-9]* ]]
	[ "$(grep -c '^+OK' out)" -eq 3 ] # the greeting, USER and QUIT
	grep -qxF "pop3-handler: cannot open the mailbox '$box': $1" log || { cat log && return 1; }
}

# put_odd KIND PATH: puts an unusable file in place of `saved` and sets `reason` to the expected message.
put_odd() {
	reason='it is no regular file'
	case $1 in
	link) ln -s "$PWD/saved" "$2" ;;
	dangling) ln -s nothing "$2" ;;
	fifo) mkfifo "$2" ;;
	directory) mkdir "$2" ;;
	foreign)
		cp saved "$2"
		chmod 644 "$2"
		chown 12345 "$2"
		reason="it is another user's"
		;;
	large)
		cp saved "$2"
		truncate -s 300M "$2"
		reason='File too large'
		;;
	esac
}

# --- The file of unique-ids ---

@test "a file of unique-ids that is damaged anywhere, truncated or extended is refused" {
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
	# The cache has the unique-ids, but is not used.
	cp -p saved "$ids"
	all_is_well
}

@test "a file of unique-ids that has another owner, is too large or not regular is refused" {
	needs_root
	all_is_well
	for kind in link dangling fifo directory foreign large; do
		mv "$ids" saved
		put_odd $kind "$ids"
		is_refused "cannot use .pop3-handler.ids: $reason"
		is_refused "cannot use .pop3-handler.ids: $reason" --read-only=yes
		is_refused "cannot use .pop3-handler.ids: $reason" --unique-ids-from=courier
		rm -r "$ids"
		mv saved "$ids"
		all_is_well
	done
	# A hard link is accepted: a backup may consist of them.
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

# test-old-list.c has many damages.
@test "a damaged list is refused, with the number of its line" {
	printf '%s\n' '3 V5 N99' '7 :2.M1P1.h' '8 :cur/1.M1P1.h' '9 :3.M1P1.h' >"$list"
	is_refused 'dovecot-uidlist is damaged at line 3'
	[ ! -e "$ids" ]
	printf '%s\n' '4 V5 N99' '7 :2.M1P1.h' >"$list"
	is_refused 'dovecot-uidlist is damaged at line 1'
	printf '3 V5 N99\n7 :2.M1\0P1.h\n' >"$list"
	is_refused 'dovecot-uidlist is damaged at line 2'
	: >"$list"
	is_refused 'dovecot-uidlist is damaged at line 1'
	printf '3 V5 N99' >"$list"
	is_refused 'dovecot-uidlist is damaged at line 1'
	[ ! -e "$ids" ]
	# An unfinished line at the end is accepted.
	printf '%s\n' '3 V5 N99' '7 :2.M1P1.h' '8 :1.M1P1.h' '9 :3.M1P1.h' >"$list"
	printf '10 ' >>"$list"
	printf 'x\n' >"$box/dovecot-keywords"
	is_refused 'dovecot-keywords is damaged'
	printf '0 a\n1 $POP3' >"$box/dovecot-keywords"
	is_refused 'dovecot-keywords is damaged'
	printf '0 a\n1 $POP3\n' >"$box/dovecot-keywords"
	all_is_well
}

@test "a damaged list of Courier is refused, with the number of its line" {
	courier=$box/courierpop3dsizelist
	options[-1]=--unique-ids-from=courier
	printf '%s\n' '/3 9 5' '2.M1P1.h 7 1:x' >"$courier"
	is_refused 'courierpop3dsizelist is damaged at line 2'
	printf '%s\n' '/4 9 5' '2.M1P1.h 7 1:5' >"$courier"
	is_refused 'courierpop3dsizelist is damaged at line 1'
	printf '/3 9 5\n2.M1P1.h 7 1:5:0\n1.M1P1.h 7 ' >"$courier" # Courier never writes it in place
	is_refused 'courierpop3dsizelist is damaged at line 3'
	[ ! -e "$ids" ]
}

@test "a list that has another owner, is too large or not regular is refused" {
	needs_root
	mv "$list" saved
	for name in dovecot-uidlist dovecot-keywords; do
		[ $name = dovecot-uidlist ] || cp saved "$list"
		for kind in link dangling fifo directory foreign large; do
			put_odd $kind "$box/$name"
			is_refused "cannot use $name: $reason"
			rm -r "${box:?}/$name"
		done
	done
	cp saved "$list"
	serve_as_nobody
	chmod 000 "$list"
	is_refused 'cannot use dovecot-uidlist: Permission denied'
	[ ! -e "$ids" ]
}

@test "X-UIDL headers that are longer than any unique-id use no memory" {
	[ "$SANITIZED" = none ] || skip 'the sanitizers need more memory'
	options[-1]=--unique-ids-from=x-uidl
	rm "$box"/*/*.h*
	for i in {100..299}; do
		printf 'X-UIDL: ' >"$box/cur/$i.M1P1.h:2,"
	done
	truncate -s 200K "$box"/cur/* # NULs are octets of the header
	printf '%s\r\n' 'USER alice' 'PASS apple' 'UIDL 1' QUIT >script
	prlimit --data=$((24 << 20)) "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[3]}" = '+OK 1 100.M1P1.h' ]
	grep -F "200 messages of '$box' cannot have their old unique-id" log
}

# --- Where nothing can be written ---

# tree: prints the files of the mailbox with their times.
tree() {
	find "$box" -printf '%P %T@ %C@ %s %i\n' | sort
}

@test "on a full disk only imported messages are listed, and can be deleted, which gives space" {
	needs_root
	mv "$box" saved
	for session in first second; do
		printf '%s\r\n' 'USER alice' 'PASS apple' UIDL STAT 'RETR 1' QUIT >"$session.script"
	done
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 3' QUIT >third.script
	printf '%s\r\n' 'USER alice' 'PASS apple' UIDL QUIT >fourth.script
	mail=$mail box=$box unshare --mount sh -c 'mount -t tmpfs -o size=128k tmpfs "$mail" && cp -a saved "$box" &&
		{ cat /dev/zero >"$box/filler" 2>/dev/null || true; } &&
		for session in first second third fourth; do
			"$@" <$session.script >$session 2>$session.log && ls -A "$box" >$session.files || exit
		done' sh "$HANDLER" "${options[@]}"
	for session in first second; do
		cp $session out
		read_lines
		[ "${lines[*]:2:7}" = '+OK 3 messages +OK unique-ids follow 1 7 2 8 3 9 . +OK 3 72' ]
		grep -xF "pop3-handler: cannot keep the unique-ids of '$box', and lists no messages without an old one: No space left on device" $session.log
		run ! grep -E 'ids|cache' $session.files
	done
	tail -n 1 third | grep -F '+OK goodbye'
	cp fourth out
	read_lines
	[ "${lines[*]:2}" = '+OK 2 messages +OK unique-ids follow 1 8 2 4.M1P1.h . +OK goodbye' ]
	grep -F 'are taken over: 1 messages' fourth.log
}

@test "a session that could not save unique-ids tries again at WAKE" {
	printf '%s\r\n' 'USER alice' 'PASS apple' UIDL SLEE WAKE UIDL SLEE WAKE QUIT >script
	trace_calls trace trace=renameat -e inject=renameat:error=EDQUOT:when=1 "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[*]:2:6}" = '+OK 3 messages +OK unique-ids follow 1 7 2 8 3 9 .' ]
	[ "${lines[*]:9:7}" = '+OK [ACTIVITY/NEW] 4 messages +OK unique-ids follow 1 7 2 8 3 9 4 4.M1P1.h .' ]
	[ "${lines[17]}" = '+OK [ACTIVITY/NONE] 4 messages' ]
	grep -F 'lists no messages without an old one: Disk quota exceeded' log
	all_is_well
}

@test "in a directory without write permission only imported messages are listed, and can be deleted" {
	needs_root
	serve_as_nobody
	chmod 555 "$box"
	uids
	[ "$found" = '7 8 9' ]
	grep -xF "pop3-handler: cannot keep the unique-ids of '$box', and lists no messages without an old one: Permission denied" log
	as_alice 'DELE 2' QUIT
	[ "${lines[1]}" = '+OK goodbye' ]
	[ ! -e "$box/cur/1.M1P1.h:2,S" ]
	uids
	[ "$found" = '7 9' ]
	chmod 755 "$box"
	uids
	[ "$found" = '7 9 4.M1P1.h' ]
}

@test "on a read-only file system only imported messages are listed" {
	needs_root
	printf '%s\r\n' 'USER alice' 'PASS apple' UIDL 'DELE 1' QUIT >script
	tree >before
	for session in first second; do
		unshare --mount sh -c 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"' "$mail" \
			"$HANDLER" "${options[@]}" <script >out 2>log
		read_lines
		[[ "${lines[*]:2}" == '+OK 3 messages +OK unique-ids follow 1 7 2 8 3 9 . '*'-ERR'* ]]
		grep -F 'lists no messages without an old one: Read-only file system' log
		tree | cmp before -
	done
	all_is_well
	tree >before
	# An existing file is read.
	unshare --mount sh -c 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"' "$mail" \
		"$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[[ "${lines[*]:2}" == '+OK 4 messages +OK unique-ids follow 1 7 2 8 3 9 4 4.M1P1.h . '* ]]
	tree | cmp before -
}

@test "a read-only session shows the result of an import, and changes nothing" {
	options+=(--read-only=yes)
	tree >before
	for _ in 1 2; do
		uids
		[ "$found" = "$all" ]
		as_alice SLEE WAKE 'UIDL 4' 'DELE 1' QUIT
		[ "${lines[1]} ${lines[2]}" = '+OK [ACTIVITY/NONE] 4 messages +OK 4 4.M1P1.h' ]
		tree | cmp before -
	done
	# New mail is new, and an import by another session changes nothing.
	start_session one
	login one
	ask one SLEE
	make_message alice/new/5.M1P1.h
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 5 messages' ]
	ask one SLEE
	unset 'options[-1]'
	all='7 8 9 4.M1P1.h 5.M1P1.h'
	all_is_well
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 5 messages' ]
	ask one 'UIDL 1'
	[ "$reply" = '+OK 1 7' ]
	ask one QUIT
}

# --- Rewriting ---

# lines_of: prints the number of lines below the header of the file of unique-ids.
lines_of() {
	tail -n +2 "$ids" | wc -l
}

@test "the file is rewritten when more than half of its lines belong to vanished mail" {
	printf '0 $POP3Deleted\n' >"$box/dovecot-keywords"
	printf '3 V5 N99\n' >"$list"
	for i in {1..9}; do
		make_message "alice/cur/$i.M2P1.h:2,$([ "$i" -gt 1 ] || echo a)"
		printf '%s\n' "$i P$([ "$i" -ne 9 ] && echo "u$i" || echo 5.M1P1.h) :$i.M2P1.h" >>"$list"
	done
	rm "$box"/cur/*.M1P1.h* "$box"/new/*
	make_message alice/new/5.M1P1.h # its name is an imported unique-id
	uids
	[ "${found%sha256*}" = 'u2 u3 u4 u5 u6 u7 u8 5.M1P1.h ' ]
	stand_in=${found##* }
	[ "$(lines_of)" -eq 9 ]
	# Half of them: the 5 others are listed.
	as_alice 'DELE UID:u2' 'DELE UID:u3' 'DELE UID:u4' 'DELE UID:5.M1P1.h' QUIT
	inode=$(stat -c %i "$ids")
	uids
	[ "$found" = "u5 u6 u7 u8 $stand_in" ]
	[ "$(lines_of)" -eq 9 ]
	# Other programs may remove mail, too.
	rm "$box"/cur/[56].M2*
	as_alice UIDL QUIT
	[ "$(lines_of)" -eq 4 ]
	diff <(tail -n +2 "$ids") - <<-END
		- 1.M2P1.h
		u7 7.M2P1.h
		u8 8.M2P1.h
		5.M1P1.h 9.M2P1.h
	END
	[ "$(stat -c %i "$ids")" != "$inode" ]
	uids
	[ "$found" = "u7 u8 $stand_in" ]
	as_alice 'DELE 1' 'DELE 2' 'DELE 3' QUIT
	rm "$box"/cur/*
	uids
	[ -z "$found" ]
	[ "$(lines_of)" -eq 0 ]
	# The mailbox still counts as imported.
	make_message alice/cur/1.M2P1.h:2,
	uids
	[ "$found" = 1.M2P1.h ]
}

@test "no line is dropped while cur is missing" {
	all_is_well
	mv "$box/cur" "$BATS_TEST_TMPDIR/cur"
	uids
	mv "$BATS_TEST_TMPDIR/cur" "$box/cur"
	uids
	[ "$found" = "$all" ]
}

@test "neither a read-only session nor a read of a changing directory rewrites the file" {
	all_is_well
	rm "$box"/cur/*
	# Without a lock, a change must be two seconds old to be reliable.
	until [ "$(date +%s)" -gt $(($(stat -c %Z "$box/cur") + 2)) ]; do
		sleep 0.1
	done
	tree >before
	uids_of_others() {
		printf '%s\r\n' 'USER alice' 'PASS apple' UIDL QUIT >script
		"$@" "$HANDLER" "${options[@]}" <script >out 2>log
		read_lines
		[ "${lines[*]:2}" = '+OK 1 messages +OK unique-ids follow 1 4.M1P1.h . +OK goodbye' ]
		[ "$(lines_of)" -eq 3 ]
	}
	options+=(--read-only=yes --sandbox=off) # the sandbox would prevent a write
	uids_of_others
	tree | cmp before -
	unset 'options[-1]' 'options[-1]'
	while :; do
		: >"$box/cur/.busy"
		rm "$box/cur/.busy"
	done &
	background+=($!)
	uids_of_others trace_calls trace trace=getdents64 -e inject=getdents64:delay_exit=20000
	kill "${background[-1]}"
	wait "${background[-1]}" || true
	uids
	[ "$found" = 4.M1P1.h ]
	[ "$(lines_of)" -eq 0 ]
}

# --- Concurrency ---

@test "during logins, deliveries and renames each session lists the imported unique-ids in their order" {
	/usr/bin/python3 - "$box" "$HANDLER" "${options[@]}" <<-'END'
		import os, random, subprocess, sys, threading, time
		box, *command = sys.argv[1:]
		names = [f'{i}.M3P1.h' for i in range(100, 400)]
		for name in names:
		    open(f'{box}/cur/{name}:2,', 'w').write('Subject: a\n\nHello\n')
		order = random.sample(names, len(names))
		delivered, sessions, stop = ['4.M1P1.h'], {'listed': 0, 'refused': 0}, threading.Event()
		delivery = threading.Lock() # a message is in the mailbox and in `delivered`, or in neither

		def rename():
		    while not stop.is_set():
		        for name in random.sample(os.listdir(box + '/cur'), 5):
		            os.rename(f'{box}/cur/{name}', f'{box}/cur/{name.split(":")[0]}:2,' + random.choice(['', 'F', 'S', 'RS']))

		def deliver():
		    while not stop.wait(0.01):
		        name = f'{1000 + len(delivered)}.M4P1.h'
		        open(f'{box}/tmp/{name}', 'w').write('Subject: b\n\n')
		        with delivery:
		            os.rename(f'{box}/tmp/{name}', f'{box}/new/{name}')
		            delivered.append(name)

		def check(is_last=False):
		    before = list(delivered)
		    said = subprocess.run(command, input='USER alice\nPASS apple\nUIDL\nQUIT\n', capture_output=True, text=True)
		    lines = said.stdout.splitlines()
		    if lines[2].startswith('-ERR') and not is_last:
		        assert '[IN-USE]' in lines[2] or 'rename messages all the time' in said.stderr, said
		        sessions['refused'] += 1
		        return
		    ids = [line.split()[1] for line in lines[4:-2]]
		    assert ids[:len(wanted)] == wanted, said
		    after = ids[len(wanted):]
		    with delivery:
		        listed = delivered[:len(after)]
		    assert after == listed and after[:len(before)] == before, (said, before)
		    sessions['listed'] += 1

		def collect():
		    try:
		        while not stop.is_set():
		            check()
		    except BaseException:
		        stop.set()
		        failures.append(sys.exc_info())
		        raise

		failures = []
		wanted = [f'u{i}' for i in range(300)] + ['7', '8', '9']
		for round in range(3):
		    for name in ('.pop3-handler.ids', '.pop3-handler.cache', '.pop3-handler.state'):
		        if os.path.exists(f'{box}/{name}'):
		            os.remove(f'{box}/{name}')
		    with open(box + '/dovecot-uidlist', 'w') as file:
		        file.write('3 V5 N999\n')
		        for i, name in enumerate(order + ['2.M1P1.h', '1.M1P1.h', '3.M1P1.h']):
		            file.write(f'{i + 1} P{wanted[i]} :{name}\n')
		    stop.clear()
		    threads = [threading.Thread(target=work) for work in (rename, deliver, collect, collect)]
		    for thread in threads:
		        thread.start()
		    stop.wait(1)
		    stop.set()
		    for thread in threads:
		        thread.join()
		    assert not failures
		    check(True)
		print(sessions)
		assert sessions['listed'] > 6
	END
}
