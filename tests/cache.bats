#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The cache of a mailbox: one file, whatever the names in the mailbox are.

load helpers

setup() {
	setup_site
	make_maildir alice
	cache=$mail/alice/.pop3-handler.cache
}

# make_large: 1,505 messages, in 1,506 files. Beside ordinary ones there are a unique part of more than 70 octets, one
# with a blank, a file with two names, and two files with one unique part. No name has a size.
make_large() {
	/usr/bin/python3 - "$mail/alice" <<-'END'
		import os, sys
		folder = sys.argv[1]
		def make(name, text):
		    with open(f'{folder}/{name}', 'w') as file:
		        file.write(text)
		for i in range(1500):
		    make(f'new/{i + 1000}.M1P1.h' if i % 3 else f'cur/{i + 1000}.M1P1.h:2,S', 'message\n' * (i % 9))
		make(f'cur/1100.M2P1.{"x" * 70}:2,S', 'long\n')
		make('new/1200.M2P1.with a blank', 'odd\n')
		make('new/1300.M2P1.h', 'two names\n')
		os.link(f'{folder}/new/1300.M2P1.h', f'{folder}/cur/1300.M2P1.h:2,F')
		make('cur/1400.M2P1.h:2,', 'first\n')
	END
	until echo second >"$mail/alice/cur/1400.M2P1.h:2,F" &&
		[[ $(stat -c %.9W "$mail/alice/cur/1400.M2P1.h:2,") != "$(stat -c %.9W "$mail/alice/cur/1400.M2P1.h:2,F")" ]]; do
		rm "$mail/alice/cur/1400.M2P1.h:2,F"
	done
}

# listed LINE...: a session of alice with these lines; its replies are in `out`, the files it opened in `trace`.
listed() {
	printf '%s\r\n' 'USER alice' 'PASS apple' "$@" >script
	trace trace trace=getdents64,openat "$HANDLER" "${options[@]}" <script >out 2>log
}

# took_cache: the last session read neither the directories nor the messages.
took_cache() {
	! grep -qE 'getdents64|"[0-9]+\.M[12]P1\.' trace
}

# fill FROM TO: five ordinary messages for each number; their names have no size.
fill() {
	/usr/bin/python3 - "$mail/alice/cur" "$@" <<-'END'
		import sys
		path, first, last = sys.argv[1], *map(int, sys.argv[2:])
		for i in range(first * 1000, last * 1000, 200):
		    open(f'{path}/{i}.M1P1.h:2,S', 'w').write('message\n' * (i % 9))
	END
}

# read_no_directory: the last session read no directory.
read_no_directory() {
	! grep -q getdents64 trace
}

# opened_message: the last session opened the file of a message.
opened_message() {
	grep -q '"[0-9]*\.M1P1\.h.*O_NOCTTY' trace
}

@test "with a cache a session reads no directory and no message, whatever the names are" {
	make_large
	listed UIDL LIST STAT QUIT
	run ! took_cache
	cp out first
	grep '^+OK 1505 ' out
	[ "$(tr -d '\r' <out | grep -cE '^[0-9]+ sha256[0-9a-f]{64}$')" -eq 3 ]
	for id in 1300.M2P1.h 1400.M2P1.h; do
		[ "$(tr -d '\r' <out | grep -cE "^[0-9]+ $id\$")" -eq 1 ]
	done
	[ "$(stat -c %a "$cache")" = 600 ]
	for _ in 1 2; do
		listed UIDL LIST STAT QUIT
		took_cache
		cmp out first
	done
	# A read-only session uses the cache, too.
	options+=(--read-only=yes)
	listed UIDL LIST STAT QUIT
	took_cache
	cmp out first
}

@test "messages listed from the cache can be retrieved and deleted" {
	make_large
	listed UIDL QUIT
	tr -d '\r' <out | sed -nE 's/^[0-9]+ (1300.M2P1.h|1400.M2P1.h|sha256.*)$/\1/p' >ids
	mapfile -t ids <ids
	[ "${#ids[@]}" -eq 5 ]
	listed NOOP
	took_cache
	for id in "${ids[@]}"; do
		as_alice "RETR UID:$id"
		echo "${lines[1]}"
	done | sort | tr '\n' ' ' | grep -xF 'first long odd second two names '
	as_alice "${ids[@]/#/DELE UID:}" QUIT
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ "$(files alice | wc -l)" -eq 1500 ]
	run ! grep -F M2P1 <(files alice)
}

@test "the unique-ids of a large mailbox stay the same when its cache is lost" {
	make_large
	listed UIDL QUIT
	cp out first
	rm "$cache"
	listed UIDL QUIT
	run ! took_cache
	cmp out first
}

@test "a damaged or truncated cache is ignored" {
	make_large
	listed UIDL LIST QUIT
	cp out first
	listed UIDL LIST QUIT
	took_cache
	cp "$cache" good
	cat >damage.py <<-'END'
		import os, subprocess, sys
		path, *command = sys.argv[1:]
		good = open('good', 'rb').read()
		few = 1 if os.environ['SANITIZED'] == 'none' else 4
		places = [*range(0, 300, 7), *range(300, len(good), 1999), len(good) - 1][::few]
		for damaged in ([good[:i] + bytes([good[i] ^ 1]) + good[i + 1:] for i in places] +
		                [good[:i] for i in places[::7]] + [good + b'x', b'', good * 2]):
		    open(path, 'wb').write(damaged)
		    done = subprocess.run(command, input=b'USER alice\nPASS apple\nUIDL\nLIST\nQUIT\n', capture_output=True)
		    assert done.stdout == open('first', 'rb').read(), done
		    assert done.returncode == 0, done
		    assert open(path, 'rb').read() == good
	END
	ASAN_OPTIONS=exitcode=99 /usr/bin/python3 damage.py "$cache" "$HANDLER" "${options[@]}"
	listed UIDL LIST QUIT
	took_cache
	cmp out first
	# The cache of another mailbox with the same names and times.
	cp -a "$mail/alice" "$mail/bob"
	rm -r "$mail/alice"
	mv "$mail/bob" "$mail/alice"
	listed QUIT
	run ! took_cache
}

@test "a session that asks for no sizes keeps the cached ones" {
	fill 1000 1300
	listed STAT QUIT
	touch "$mail/alice/new/1.M1P1.h,W=0"
	listed UIDL QUIT
	run ! read_no_directory
	rm "$mail/alice/new/1.M1P1.h,W=0"
	listed STAT QUIT
	cp out first
	listed STAT QUIT
	read_no_directory
	cmp out first
	run ! opened_message
}

@test "a directory is read again after any change of it" {
	fill 1000 1300
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
		run ! read_no_directory
		cp out with
		rm "$cache"
		listed UIDL QUIT
		cmp out with
		listed UIDL QUIT
		read_no_directory
		cmp out with
	done
}

@test "the messages that a session deletes leave the cache" {
	fill 1000 1300
	listed UIDL QUIT
	listed 'DELE 1' 'DELE 3' 'RETR 2' QUIT
	listed UIDL QUIT
	run ! read_no_directory
	grep -q '^1 1000200\.M1P1' out
	listed UIDL QUIT
	read_no_directory
	grep -q '^1 1000200\.M1P1' out
	grep -q '^2 1000600\.M1P1' out
}

@test "a size that RETR finds wrong is corrected in the cache of a large mailbox" {
	fill 1000 1300
	mv "$mail/alice/cur/1000000.M1P1.h:2,S" "$mail/alice/cur/1000000.M1P1.h,W=99:2,S"
	listed 'LIST 1' QUIT
	grep -q '^+OK 1 99' out
	right=$(sed 's/$/\r/' "$mail/alice/cur/1000000.M1P1.h,W=99:2,S" | wc -c)
	listed 'RETR 1'
	read_no_directory
	listed 'LIST 1'
	read_no_directory
	grep -q "^+OK 1 $right" out
}

# root's file in a sticky directory cannot be removed: a record hides its message.
@test "a message that a record hid is listed again after the record is gone, whatever the cache says" {
	needs_root
	fill 1000 1300
	let_others_in
	chown -R nobody "$mail"
	chown root "$mail/alice/cur" "$mail/alice/cur/1000200.M1P1.h:2,S"
	chmod 1777 "$mail/alice/cur"
	options+=(--user=nobody)
	as_alice 'DELE 1' 'DELE 2' QUIT
	[ "${lines[2]}" = '+OK goodbye' ]
	grep -q '1 deleted messages of .* are hidden' log
	rm -f "$cache"
	start_session sleeper
	login sleeper
	ask sleeper SLEE
	rm "$mail/alice/.pop3-handler.state"
	ask sleeper WAKE
	[[ $reply == '+OK [ACTIVITY/NONE] 1498 messages' ]]
	ask sleeper STAT # so that the session has something to save
	ask sleeper QUIT
	hang_up sleeper
	as_alice
	[[ $(cat out) == *'+OK 1499 messages'* ]]
}

@test "a session that has lost its lock saves no cache: another session may have saved one since" {
	make_messages 3
	start_session one
	login one
	ask one STAT
	rm "$mail/alice/.pop3-handler.state"
	hang_up one
	[ ! -e "$mail/alice/.pop3-handler.cache" ]
	start_session two
	login two
	ask two STAT
	hang_up two
	[ -e "$mail/alice/.pop3-handler.cache" ]
}
