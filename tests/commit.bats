#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The record of a commit: what it deletes, what it must never delete, and where it finds space.

load helpers

setup() {
	setup_site
	make_messages 4
	state=$mail/alice/.pop3-handler.state
}

# interrupted: a session that deletes 1, 2 and 3, and is killed when it removes the second one.
interrupted() {
	killed_at 2
}

# broken CALL ERRNO LINE...: a session of alice in which that system call always fails.
broken() {
	printf '%s\r\n' 'USER alice' 'PASS apple' "${@:3}" >script
	trace_calls trace "trace=$1" -e "inject=$1:error=$2" "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	lines=("${lines[@]:3}")
}

@test "the next session hides the messages of an unfinished deletion, and completes it" {
	interrupted
	[ "$(files alice | wc -l)" -eq 3 ]
	as_alice UIDL STAT LIST 'RETR 1'
	[ "${lines[*]:0:3}" = '+OK unique-ids follow 1 4.M1P1.h .' ]
	[ "${lines[3]}" = '+OK 1 11' ]
	[ "${lines[8]}" = 'message 4' ]
	[ "$(files alice)" = ./new/4.M1P1.h ]
	grep -xF "pop3-handler: an interrupted deletion in '$mail/alice' is finished: 2 messages" log
	as_alice UIDL
	[ -z "$(troubles)" ]
}

@test "the removals of a killed session are synced before its record is cleared" {
	mv "$mail/alice/new/3.M1P1.h" "$mail/alice/cur/3.M1P1.h:2,"
	as_alice QUIT
	interrupted
	printf '%s\r\n' 'USER alice' 'PASS apple' >script
	trace_calls trace trace=unlinkat,fsync,pwrite64 "$HANDLER" "${options[@]}" <script >out 2>log
	[ "$(sed 's/(.*//' trace | tr '\n' ' ')" = 'unlinkat unlinkat fsync fsync pwrite64 ' ]
}

@test "a deletion is completed even if messages were renamed in between, and new messages stay" {
	interrupted
	mv "$mail/alice/new/2.M1P1.h" "$mail/alice/cur/2.M1P1.h:2,FS"
	mv "$mail/alice/new/4.M1P1.h" "$mail/alice/cur/4.M1P1.h:2,S"
	make_message alice/new/1.M1P2.h
	as_alice UIDL
	[ "${lines[*]}" = '+OK unique-ids follow 1 1.M1P2.h 2 4.M1P1.h .' ]
	[ "$(files alice | tr '\n' ' ')" = './cur/4.M1P1.h:2,S ./new/1.M1P2.h ' ]
}

@test "a read-only session hides the messages of a record, and changes nothing" {
	interrupted
	find "$mail/alice" -printf '%P %T@ %C@ %s\n' | sort >before
	options+=(--read-only=yes)
	as_alice UIDL
	[ "${lines[*]}" = '+OK unique-ids follow 1 4.M1P1.h .' ]
	find "$mail/alice" -printf '%P %T@ %C@ %s\n' | sort | cmp before -
}

@test "on a file system that has become read-only, deleted messages stay hidden" {
	needs_root
	interrupted
	printf '%s\r\n' 'USER alice' 'PASS apple' UIDL QUIT >script
	# shellcheck disable=SC2016
	unshare --mount env mail="$mail" sh -c 'mount --bind "$mail" "$mail" &&
		mount -o remount,bind,ro "$mail" && exec "$@"' sh "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[*]:4}" = '1 4.M1P1.h . +OK goodbye' ]
	grep -F "2 deleted messages of '$mail/alice' are hidden, but not yet removed: Read-only" log
}

@test "QUIT says +OK if some messages cannot be removed: they stay hidden until a session can remove them" {
	broken unlinkat EIO 'DELE 1' 'DELE 3' SLEE WAKE UIDL SLEE WAKE QUIT
	[ "${lines[*]:2:2}" = '+OK asleep, 2 messages deleted +OK [ACTIVITY/NONE] 2 messages' ]
	[ "${lines[*]:4:4}" = '+OK unique-ids follow 1 2.M1P1.h 2 4.M1P1.h .' ]
	[ "${lines[9]}" = '+OK [ACTIVITY/NONE] 2 messages' ]
	[ "$(files alice | wc -l)" -eq 4 ]
	hidden="pop3-handler: 2 deleted messages of '$mail/alice' are hidden, but not yet removed: Input/output error"
	[ "$(grep -cxF "$hidden" log)" -eq 1 ]
	grep -xF 'pop3-handler: 2 lines about local were omitted: 2 other' log
	broken unlinkat EIO UIDL 'DELE 1' 'DELE 2' QUIT
	[ "${lines[*]:0:4}" = '+OK unique-ids follow 1 2.M1P1.h 2 4.M1P1.h .' ]
	# A second record carries the first along.
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ "$(files alice | wc -l)" -eq 4 ]
	as_alice UIDL
	[ "${lines[*]}" = '+OK unique-ids follow .' ]
	[ -z "$(files alice)" ]
}

@test "where permissions forbid removing files, SLEE and DELI say -ERR and nothing is gone" {
	needs_root
	chmod a-w "$mail/alice/new"
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' SLEE STAT RSET STAT 'DELI 1' >script
	as_nobody ./handler "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[5]}" = '-ERR [SYS/PERM] cannot delete the marked messages: none was deleted' ]
	[ "${lines[6]}" = '+OK 2 22' ]
	[ "${lines[8]}" = '+OK 4 44' ]
	[ "${lines[9]}" = '-ERR [SYS/PERM] cannot delete the message' ]
	[ "$(files alice | wc -l)" -eq 4 ]
	as_alice UIDL
	[ "${#lines[@]}" -eq 6 ]
}

@test "a record with any octet changed, or truncated anywhere, deletes nothing" {
	interrupted
	cat >damage.py <<-'END'
		import os, subprocess, sys
		state, mailbox, *command = sys.argv[1:]
		record = open(state, 'rb').read()
		used = len(record.rstrip(b'\0'))
		# The header and the keys of the three messages.
		assert used > 64 + 2 * 16
		def session(content):
		    with open(state, 'r+b') as file:
		        file.truncate(0)
		        file.write(content)
		    return subprocess.run(command, input=b'USER alice\nPASS apple\nUIDL\n',
		                          capture_output=True)
		for i in range(64 + 3 * 16):
		    for change in (1, 0x80, record[i]) if os.environ['SANITIZED'] == 'none' else (1 << i % 8,):
		        if not change:
		            continue
		        done = session(record[:i] + bytes([record[i] ^ change]) + record[i + 1:])
		        assert done.stdout.count(b'\n') == 8, (i, done)
		        assert b'damaged or foreign' in done.stderr, (i, done)
		        done = subprocess.run(command, input=b'USER alice\nPASS apple\n', capture_output=True)
		        assert b'record' not in done.stderr, done  # the record has been cleared, so it is reported once
		for i in range(1, used) if os.environ['SANITIZED'] == 'none' else range(1, used, 5):
		    done = session(record[:i])
		    assert done.stdout.count(b'\n') == 8, (i, done)
		assert len(os.listdir(mailbox + '/new')) == 3
		assert session(record).stdout.count(b'\n') == 6
		assert len(os.listdir(mailbox + '/new')) == 1
	END
	ASAN_OPTIONS=exitcode=99 /usr/bin/python3 damage.py "$state" "$mail/alice" "$HANDLER" "${options[@]}"
}

@test "a record of another mailbox deletes nothing, nor does a record restored from a backup" {
	cp -r "$mail/alice" "$mail/bob"
	cp -a "$mail/alice" saved
	talk 'USER bob' 'PASS banana split ' NOOP
	interrupted
	cp "$state" record
	# The record in another mailbox with the same names, and the file itself in a copy of the mailbox.
	cp record "$mail/bob/.pop3-handler.state"
	cp -a "$mail/alice" "$mail/carol"
	echo 'carol:{PLAIN}cherry' >>"$users"
	for user in 'bob banana split ' 'carol cherry'; do
		talk "USER ${user%% *}" "PASS ${user#* }" UIDL
		grep -qF "the commit record of '$mail/${user%% *}' is damaged or foreign: ignored" log
	done
	[ "$(files bob | wc -l)" -eq 4 ]
	[ "$(files carol | wc -l)" -eq 3 ]
	# The record in another file of the same mailbox, and the same file in a linked copy of the mailbox.
	cp "$state" other
	mv other "$state"
	talk 'USER alice' 'PASS apple' UIDL
	[ "$(files alice | wc -l)" -eq 3 ]
	interrupted # again: one message is removed, two are left
	cp -al "$mail/alice" "$mail/dave"
	echo 'dave:{PLAIN}dill' >>"$users"
	cp "$state" record
	talk 'USER dave' 'PASS dill' UIDL
	grep -qF "the commit record of '$mail/dave' is damaged or foreign: ignored" log
	[ "$(files dave | wc -l)" -eq 2 ]
	rm -r "$mail/dave"
	cat record >"$state"
	# The record in its own file again, after its deletion is complete and the messages are restored.
	as_alice UIDL
	[ -z "$(files alice)" ]
	cp -a saved/new/* "$mail/alice/new"
	cat record >"$state"
	as_alice UIDL
	[ "${#lines[@]}" -eq 6 ]
	[ "$(files alice | wc -l)" -eq 4 ]
	as_alice 'DELE 1' 'DELE 2' QUIT
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "no change of a record can make it name anything but a message of its mailbox" {
	make_message ../outside
	interrupted
	# The file holds digests and numbers, no names.
	head -c 8 "$state" | grep -q po3comm
	interrupted_record=$(tr -d '\0' <"$state" | tr -dc 'a-zA-Z0-9./' | head -c 1000)
	[[ $interrupted_record != *M1P1* ]]
	as_alice UIDL
	[ -e outside ]
}

@test "space for a record of all messages is reserved before it is needed" {
	printf '%s\r\n' 'USER alice' 'PASS apple' QUIT >script
	trace_calls trace trace=pwrite64,fsync "$HANDLER" "${options[@]}" <script >out
	# The new file is made durable while it is still empty.
	[ "$(sed 's/(.*//' trace | tr '\n' ' ')" = 'fsync pwrite64 ' ]
	[ "$(stat -c %s "$state")" -eq 4096 ]
	[ "$(stat -c %b "$state")" -ge 8 ]
	for i in {1000..1999}; do
		echo >"$mail/alice/new/$i.M1P1.h"
	done
	as_alice QUIT
	[ "$(stat -c %s "$state")" -eq 16384 ] # 64 + 1004 * 16, rounded up to whole blocks
	printf '%s\r\n' 'USER alice' 'PASS apple' >script
	printf 'DELE %d\r\n' {1..1004} >>script
	echo QUIT >>script
	trace_calls trace trace=pwrite64,fdatasync,unlinkat,fsync "$HANDLER" "${options[@]}" <script >out
	# The record is on the disk before the first file goes; the directory before it is void.
	[ "$(sed 's/(.*//' trace | uniq | tr '\n' ' ')" = 'pwrite64 fdatasync unlinkat fsync pwrite64 ' ]
	[ "$(stat -c %s "$state")" -eq 16384 ]
	[ -z "$(files alice)" ]
}

@test "if the name of a new state file could not be synced at login, that is done before the record" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' QUIT >script
	for faults in 1 1..2; do
		rm -f "$state"
		trace_calls trace trace=pwrite64,fdatasync,unlinkat,fsync -e "inject=fsync:error=EIO:when=$faults" \
			"$HANDLER" "${options[@]}" <script >out 2>log
		read_lines
		# The injection shows as a signal of seccomp, too.
		grep -v SIGSYS trace | sed 's/(.*//' | uniq | tr '\n' ' ' >order
		if [ "$faults" = 1 ]; then
			[ "$(cat order)" = 'fsync pwrite64 fdatasync unlinkat fsync pwrite64 ' ]
			[ "${lines[-1]}" = '+OK goodbye' ]
			make_messages 4
		else
			[ "$(cat order)" = 'fsync ' ]
			[ "${lines[-1]}" = '-ERR [SYS/TEMP] cannot delete the marked messages: none was deleted' ]
		fi
	done
}

@test "a single deletion needs no record, and is on the disk before +OK" {
	as_alice QUIT
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELI 1' 'DELE 2' QUIT >script
	trace trace trace=pwrite64,fdatasync,unlinkat,fsync,write "$HANDLER" "${options[@]}" <script >out 2>log
	grep -vE 'write\((1, "\+OK pop3-handler|2,)' trace | sed 's/(.*//' | tr '\n' ' ' >order
	[ "$(cat order)" = 'unlinkat fsync fsync unlinkat fsync fsync write ' ]
}

@test "a record that cannot be synced is withdrawn, or carried out if that fails, too" {
	for taken_back in yes no; do
		as_alice QUIT
		printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' QUIT >script
		faults=(-e inject=fdatasync:error=EIO)
		[ $taken_back = yes ] || faults+=(-e inject=pwrite64:error=EIO:when=2)
		trace_calls trace trace=fdatasync,pwrite64,unlinkat "${faults[@]}" \
			"$HANDLER" "${options[@]}" <script >out 2>log
		read_lines
		if [ $taken_back = yes ]; then
			[ "${lines[-1]}" = '-ERR [SYS/TEMP] cannot delete the marked messages: none was deleted' ]
			[ "$(files alice | wc -l)" -eq 4 ]
			cmp -n 64 "$state" /dev/zero
		else
			[ "${lines[-1]}" = '+OK goodbye' ]
			[ "$(files alice | wc -l)" -eq 2 ]
		fi
	done
}

@test "if a record is withdrawn but that cannot be synced, -ERR is about the disk, and nothing is gone" {
	as_alice QUIT
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' QUIT >script
	trace_calls trace trace=fdatasync,unlinkat -e inject=unlinkat:error=EPERM \
		-e inject=fdatasync:error=EIO:when=2 "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[-1]}" = '-ERR [SYS/TEMP] cannot delete the marked messages: none was deleted' ]
	grep -F '0 are gone: Input/output error' log
	[ "$(files alice | wc -l)" -eq 4 ]
	cmp -n 64 "$state" /dev/zero
}

@test "if the directory cannot be synced, a single deletion uses a record or is answered with -ERR" {
	as_alice QUIT
	broken fsync EIO 'DELI 1' STAT
	[ "${lines[0]}" = '+OK message 1 is deleted' ]
	head -c 8 "$state" | grep -q po3comm
	as_alice UIDL
	[ "${#lines[@]}" -eq 5 ]
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELI 1' STAT QUIT >script
	trace_calls trace trace=fsync,pwrite64 -e inject=fsync,pwrite64:error=EIO \
		"$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[3]}" = '-ERR [SYS/TEMP] cannot delete the message' ]
	[ "${lines[4]}" = '+OK 2 22' ]
}

# full COMMAND: runs a session of `script` on a small ext4 that COMMAND has filled.
full() {
	needs_root
	[ -e full.image ] || {
		truncate -s 4M full.image
		mke2fs -q -t ext4 -b 1024 -m 0 -O ^has_journal full.image
	}
	# shellcheck disable=SC2016
	unshare --mount env mail="$mail" sh -c 'mount -t ext4 full.image "$mail"; eval "$1"; shift
		exec "$@"' sh "$1" "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
}

# shellcheck disable=SC2016
fill='i=0; while [ $((i += 1)) -le 100 ]; do echo hello >"$mail/alice/new/$i.M1P1.h"; done
	cat /dev/zero >"$mail/filler" 2>/dev/null
	[ "$(stat -f -c %a "$mail")" -eq 0 ] && ! echo x 2>/dev/null >"$mail/more"'

@test "on a full disk, a record uses the reserved space" {
	printf '%s\r\n' 'USER alice' 'PASS apple' QUIT >script
	# shellcheck disable=SC2016
	full 'mkdir -p "$mail/alice/new" "$mail/alice/cur"'
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT 'DELE 1' 'DELE 2' 'DELE 3' QUIT >script
	ASAN_OPTIONS=detect_leaks=0 full "$fill
		shift; set -- '' strace -qq -o trace -e pwrite64,unlinkat -e inject=unlinkat:signal=KILL:when=2 \"\$@\"" || true
	grep -q 'killed by SIGKILL' trace
	grep -q '^pwrite64.* = 112$' trace
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
	full :
	[ "${lines[3]}" = '+OK 97 679' ]
	grep -F 'finished: 2 messages' log
}

@test "on a full disk without reserved space, messages are deleted one by one" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' 'DELE 3' QUIT >script
	# shellcheck disable=SC2016
	full 'mkdir -p "$mail/alice/new" "$mail/alice/cur"'" && $fill"
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ -z "$(troubles)" ]
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
	full :
	[ "${lines[3]}" = '+OK 97 679' ]
}

@test "if a deletion without a record fails midway, -ERR says how many messages are gone" {
	rm -f "$state"
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' 'DELE 3' SLEE STAT SLEE >script
	trace_calls trace trace=pwrite64,unlinkat -e inject=pwrite64:error=EDQUOT \
		-e inject=unlinkat:error=EIO:when=2 "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[6]}" = '-ERR [SYS/TEMP] cannot delete all marked messages: 1 deleted' ]
	[ "${lines[7]}" = '+OK 1 11' ]
	[ "${lines[8]}" = '+OK asleep, 2 messages deleted' ]
	grep -xF "pop3-handler: cannot delete the marked messages of '$mail/alice', 1 are gone: Input/output error" log
	[ "$(files alice)" = ./new/4.M1P1.h ]
}
