#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The snapshot of a large Maildir: it spares reading the directories, and is never believed beyond
# what they say themselves.

load helpers

setup() {
	setup_site
	make_maildir alice
	fill 1000 1300
	snapshot=$mail/alice/.pop3-handler.cache
}

# fill FROM TO: messages whose names tell no size.
fill() {
	/usr/bin/python3 - "$mail/alice/cur" "$@" <<-'END'
		import sys
		path, first, last = sys.argv[1], *map(int, sys.argv[2:])
		for i in range(first * 1000, last * 1000, 200):
		    open(f'{path}/{i}.M1P1.h:2,S', 'w').write('message\n' * (i % 9))
	END
}

# listed LINE...: what alice's session says to LINEs is in the file `out`, what it opened in `trace`.
listed() {
	printf '%s\r\n' 'USER alice' 'PASS apple' "$@" >script
	trace trace trace=getdents64,openat "$HANDLER" "${options[@]}" <script >out 2>log
}

# took_snapshot: whether the last session did without the directories.
took_snapshot() {
	! grep -q getdents64 trace
}

# opened_message: whether the last session opened the file of a message.
opened_message() {
	grep -q '"[0-9]*\.M1P1\.h.*O_NOCTTY' trace
}

@test "a session reads no directory that has a snapshot, and lists the same" {
	listed UIDL LIST STAT QUIT
	run ! took_snapshot
	cp out first
	listed UIDL LIST STAT QUIT
	took_snapshot
	cmp out first
	[ "$(stat -c %a "$snapshot")" = 600 ]
	run ! opened_message
}

@test "a session that asks for no sizes leaves a snapshot that hides none" {
	listed STAT QUIT
	touch "$mail/alice/new/1.M1P1.h,W=0"
	listed UIDL QUIT
	run ! took_snapshot
	rm "$mail/alice/new/1.M1P1.h,W=0"
	listed STAT QUIT
	cp out first
	listed STAT QUIT
	took_snapshot
	cmp out first
	run ! opened_message
}

@test "any change of a directory makes its snapshot void" {
	listed UIDL QUIT
	changes=(
		"touch $mail/alice/new/1.M1P1.h"
		"mv $mail/alice/new/1.M1P1.h $mail/alice/cur/1.M1P1.h:2,"
		"mv $mail/alice/cur/1.M1P1.h:2, $mail/alice/cur/1.M1P1.h:2,F"
		"rm $mail/alice/cur/1.M1P1.h:2,F"
	)
	for change in "${changes[@]}"; do
		$change
		listed UIDL QUIT
		run ! took_snapshot
		cp out with
		rm "$snapshot"
		listed UIDL QUIT
		cmp out with
		listed UIDL QUIT
		took_snapshot
		cmp out with
	done
}

@test "what a session deletes is in no snapshot" {
	listed UIDL QUIT
	listed 'DELE 1' 'DELE 3' 'RETR 2' QUIT
	listed UIDL QUIT
	run ! took_snapshot
	grep -q '^1 1000200\.M1P1' out
	listed UIDL QUIT
	took_snapshot
	grep -q '^1 1000200\.M1P1' out
	grep -q '^2 1000600\.M1P1' out
}

@test "a size that RETR finds wrong is corrected in the snapshot" {
	mv "$mail/alice/cur/1000000.M1P1.h:2,S" "$mail/alice/cur/1000000.M1P1.h,W=99:2,S"
	listed 'LIST 1' QUIT
	grep -q '^+OK 1 99' out
	right=$(sed 's/$/\r/' "$mail/alice/cur/1000000.M1P1.h,W=99:2,S" | wc -c)
	listed 'RETR 1'
	took_snapshot
	listed 'LIST 1'
	took_snapshot
	grep -q "^+OK 1 $right" out
}

@test "a snapshot that is damaged, cut off, somebody else's or a copy is as none" {
	listed UIDL QUIT
	cp out first
	cp "$snapshot" good
	cat >damage.py <<-'END'
		import subprocess, sys
		path, *command = sys.argv[1:]
		good = open('good', 'rb').read()
		places = [*range(0, 260), *range(260, len(good), 997), len(good) - 1]
		for damaged in ([good[:i] + bytes([good[i] ^ 1]) + good[i + 1:] for i in places] +
		                [good[:i] for i in places[::7]] + [good + b'x', b'', good * 2]):
		    open(path, 'wb').write(damaged)
		    done = subprocess.run(command, input=b'USER alice\nPASS apple\nUIDL\nQUIT\n', capture_output=True)
		    assert done.stdout == open('first', 'rb').read(), done
		    assert open(path, 'rb').read() == good
	END
	ASAN_OPTIONS=exitcode=99 /usr/bin/python3 damage.py "$snapshot" "$HANDLER" "${options[@]}"
	# All of the mailbox, with its times.
	cp -a "$mail/alice" "$mail/bob"
	rm -r "$mail/alice"
	mv "$mail/bob" "$mail/alice"
	listed UIDL QUIT
	run ! took_snapshot
	cmp out first
}

@test "no session fails because the snapshot cannot be read or written" {
	listed UIDL QUIT
	cp out first
	rm "$snapshot"
	mkdir "$snapshot" "$snapshot.new"
	listed UIDL QUIT
	cmp out first
	rmdir "$snapshot" "$snapshot.new"
	printf '%s\r\n' 'USER alice' 'PASS apple' UIDL QUIT >script
	trace trace trace=pwrite64 -e inject=pwrite64:error=ENOSPC "$HANDLER" "${options[@]}" <script >out 2>log
	grep -q INJECTED trace
	cmp out first
	[ ! -e "$snapshot" ]
	[ ! -e "$snapshot.new" ]
	options+=(--read-only=yes)
	listed UIDL QUIT
	[ ! -e "$snapshot" ]
}

# A file that is root's in a sticky directory cannot be removed: its message is deleted by a record.
@test "a snapshot hides no message after the record that deleted it is gone" {
	needs_root
	chmod a+rx "$BATS_RUN_TMPDIR" "${BATS_TEST_TMPDIR%/*}" "$BATS_TEST_TMPDIR"
	chown -R nobody "$mail"
	chown root "$mail/alice/cur" "$mail/alice/cur/1000200.M1P1.h:2,S"
	chmod 1777 "$mail/alice/cur"
	options+=(--user=nobody)
	as_alice 'DELE 1' 'DELE 2' QUIT
	[ "${lines[2]}" = '+OK goodbye' ]
	grep -q '1 deleted messages of .* are hidden' log
	rm -f "$snapshot"
	start_session sleeper
	login sleeper
	ask sleeper SLEE
	rm "$mail/alice/.pop3-handler.state"
	ask sleeper WAKE
	[[ $reply == '+OK [ACTIVITY/NONE] 1498 messages' ]]
	ask sleeper STAT # so that there is something to save
	ask sleeper QUIT
	hang_up sleeper
	as_alice
	[[ $(cat out) == *'+OK 1499 messages'* ]]
}
