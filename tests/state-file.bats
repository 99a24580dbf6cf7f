#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The state file holds the lock and the record of a commit. Here another program has changed its owner,
# its blocks, or the file behind its name.

load helpers

setup() {
	setup_site
	make_messages 4
	state=$mail/alice/.pop3-handler.state
}

# serve_nobody: sessions run as nobody, the owner of the mailbox; only root can give a file away.
serve_nobody() {
	needs_root
	let_others_in
	chown -R nobody "$mail"
	options+=(--user=nobody)
}

@test "a state file of another owner is logged at login, and mail is served" {
	serve_nobody
	for mode in 600 400; do
		rm -f "$state"
		install -o root -m $mode /dev/null "$state"
		as_alice UIDL 'RETR 1' QUIT
		[ "${#lines[@]}" -eq 10 ]
		[ "${lines[7]}" = 'message 1' ]
		[ "${lines[-1]}" = '+OK goodbye' ]
		grep -F .pop3-handler.state log
		# Only the message that was read and marked as seen has changed.
		[ "$(files alice | wc -l)" -eq 4 ]
		[ "$(stat -c '%U %a %s' "$state")" = "root $mode 0" ]
	done
	# A set needs a record; a single message does not.
	as_alice 'DELE 1' 'DELE 2' QUIT
	[[ ${lines[2]} == *': none was deleted' ]]
	as_alice 'DELE 1' QUIT
	[ "${lines[1]}" = '+OK goodbye' ]
	[ "$(files alice | wc -l)" -eq 3 ]
}

@test "a state file of another owner is logged at WAKE" {
	serve_nobody
	start_session one
	login one
	ask one SLEE
	[ -z "$(troubles one.log)" ]
	chown root "$state"
	ask one WAKE
	[[ $reply == '+OK [ACTIVITY/NONE] 4 messages' ]]
	grep -F .pop3-handler.state one.log
}

@test "a record in a readable state file of another owner still hides its messages" {
	serve_nobody
	killed_at 2
	[ "$(files alice | wc -l)" -eq 3 ]
	chown root "$state"
	chmod 644 "$state"
	cp "$state" before
	for _ in 1 2; do
		as_alice UIDL QUIT
		[ "${lines[*]:0:3}" = '+OK unique-ids follow 1 4.M1P1.h .' ]
		grep -F .pop3-handler.state log
		cmp "$state" before
	done
	chown nobody "$state"
	as_alice UIDL QUIT
	[ "${lines[*]:0:3}" = '+OK unique-ids follow 1 4.M1P1.h .' ]
	[ "$(files alice)" = ./new/4.M1P1.h ]
	as_alice UIDL
	[ -z "$(troubles)" ]
}

@test "a state file with holes gets blocks for a record of all messages" {
	truncate -s 1M "$state"
	sync "$state"
	[ "$(stat -c %b "$state")" -eq 0 ] || skip 'this file system makes no sparse files'
	as_alice QUIT
	sync "$state"
	[ "$(stat -c %b "$state")" -ge 8 ]
	for i in {1000..1999}; do
		echo >"$mail/alice/new/$i.M1P1.h"
	done
	as_alice QUIT
	sync "$state"
	[ "$(stat -c %b "$state")" -ge 32 ] # 64 + 1004 * 16, rounded up to blocks of 4096
	[ -z "$(troubles)" ]
}

@test "a state file with holes after its blocks gets the missing blocks" {
	as_alice QUIT
	truncate -s 1M "$state"
	for i in {1000..1999}; do
		echo >"$mail/alice/new/$i.M1P1.h"
	done
	as_alice QUIT
	sync "$state"
	[ "$(stat -c %b "$state")" -ge 32 ]
}

# replace HOW: removes or replaces the state file.
replace() {
	case $1 in
	remove) rm "$state" ;;
	replace) touch "$state.other" && mv "$state.other" "$state" ;;
	restore) cp "$state" "$state.other" && mv "$state.other" "$state" ;;
	rename) mv "$state" "$state.other" ;;
	esac
}

@test "if the state file was removed or replaced since login, QUIT of a set says -ERR and nothing is gone" {
	for how in remove replace restore rename; do
		echo "$how"
		start_session $how
		login $how
		ask $how 'DELE 1'
		ask $how 'DELE 2'
		replace $how
		ask $how QUIT
		[[ $reply == '-ERR '*': none was deleted' ]]
		hang_up $how
		[ "$(files alice | wc -l)" -eq 4 ]
		[ -n "$(troubles $how.log)" ]
		rm -f "$state.other"
		# The next session can use the mailbox.
		as_alice UIDL
		[ "${#lines[@]}" -eq 6 ]
		[ -z "$(troubles)" ]
	done
	as_alice 'DELE 1' 'DELE 2' QUIT
	[ "${lines[2]}" = '+OK goodbye' ]
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "if another session has a new state file, SLEE of a set says -ERR and nothing is gone" {
	start_session one
	login one
	ask one 'DELE 1'
	ask one 'DELE 2'
	rm "$state"
	start_session two
	login two
	ask one SLEE
	[[ $reply == '-ERR '*': none was deleted' ]]
	[ "$(files alice | wc -l)" -eq 4 ]
	ask two 'DELE 3'
	ask two 'DELE 4'
	ask two QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(files alice | tr '\n' ' ')" = './new/1.M1P1.h ./new/2.M1P1.h ' ]
}

@test "a state file that was renamed and renamed back still works" {
	start_session one
	login one
	ask one 'DELE 1'
	ask one 'DELE 2'
	mv "$state" "$state.other"
	mv "$state.other" "$state"
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "in a linked copy of a mailbox, its record is not carried out and stays as it is" {
	echo 'carol:{PLAIN}cherry' >>"$users"
	# as_carol LINE...: a session on the copy; the record must not change.
	as_carol() {
		talk 'USER carol' 'PASS cherry' "$@"
		[[ ${lines[2]} == +OK* ]]
		cmp "$state" before
	}
	for when in 1 2; do
		make_messages 6
		killed_at $when
		left=$((7 - when))
		[ "$(files alice | wc -l)" -eq $left ]
		rm -rf "$mail/carol"
		cp -al "$mail/alice" "$mail/carol"
		cp "$state" before
		options+=(--read-only=yes)
		as_carol STAT QUIT
		[ "${lines[3]}" = "+OK $left $((11 * left))" ]
		unset 'options[-1]'
		as_carol STAT 'DELI 1' 'DELE 2' QUIT
		[ "${lines[3]}" = "+OK $left $((11 * left))" ]
		[ "${lines[6]}" = '+OK goodbye' ]
		[ "$(files carol | wc -l)" -eq $((left - 2)) ]
		# A set is deleted whole or not at all.
		as_carol 'DELE 1' 'DELE 2' QUIT
		if [ "${lines[5]}" = '+OK goodbye' ]; then
			[ "$(files carol | wc -l)" -eq $((left - 4)) ]
		else
			[[ ${lines[5]} == '-ERR '*': none was deleted' ]]
			[ "$(files carol | wc -l)" -eq $((left - 2)) ]
		fi
		# In the mailbox itself the record is carried out.
		as_alice UIDL QUIT
		[ "${lines[*]:0:5}" = '+OK unique-ids follow 1 4.M1P1.h 2 5.M1P1.h 3 6.M1P1.h .' ]
		[ "$(files alice | tr '\n' ' ')" = './new/4.M1P1.h ./new/5.M1P1.h ./new/6.M1P1.h ' ]
		[ "$(files carol | wc -l)" -ge $((left - 4)) ]
		rm "$mail"/alice/new/*
	done
}

@test "a record written by 0.1.0 is carried out" {
	as_alice QUIT
	# A mailbox in which 0.1.0 was killed after it had removed the first of three messages.
	/usr/bin/python3 - "$mail/alice" "$state" <<-'END'
		import hashlib, os, struct, subprocess, sys
		mailbox, state = sys.argv[1:]
		def key(unique):
		    inode, born = subprocess.check_output(['stat', '-c', '%i %.9W', f'{mailbox}/new/{unique}'], text=True).split()
		    born = 0 if born.startswith(('0', '-')) else int(born.replace('.', ''))
		    return hashlib.sha256(struct.pack('=Qq', int(inode), born) + unique.encode()).digest()[:16]
		keys = sorted(key(f'{i}.M1P1.h') for i in (1, 2, 3))
		numbers = struct.pack('=QQQQ', 0x316d6d6f63336f70, os.stat(mailbox).st_ino, os.stat(state).st_ino, len(keys))
		seal = hashlib.sha256(numbers + bytes(32) + b''.join(keys)).digest()
		with open(state, 'r+b') as file:
		    file.write(numbers + seal + b''.join(keys))
	END
	rm "$mail/alice/new/1.M1P1.h"
	mv "$mail/alice/new/2.M1P1.h" "$mail/alice/cur/2.M1P1.h:2,F"
	touch "$mail"/alice/.pop3-handler.{sizes,listing}
	as_alice UIDL QUIT
	[ "${lines[*]:0:3}" = '+OK unique-ids follow 1 4.M1P1.h .' ]
	[ "$(files alice)" = ./new/4.M1P1.h ]
	troubles | grep -E '\b2\b'
	cmp -n 64 "$state" /dev/zero
	as_alice UIDL
	[ -z "$(troubles)" ]
}
