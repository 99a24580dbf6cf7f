#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The state file, which has the lock and the record of a commit, when others have changed it: its owner,
# its blocks, or what has its name.

load helpers

setup() {
	setup_site
	make_messages 4
	state=$mail/alice/.pop3-handler.state
}

# serve_nobody: sessions run as nobody, whose the mailbox is; only root can give a file to others.
serve_nobody() {
	needs_root
	chmod a+rx "$BATS_RUN_TMPDIR" "${BATS_TEST_TMPDIR%/*}" "$BATS_TEST_TMPDIR"
	chown -R nobody "$mail"
	options+=(--user=nobody)
}

@test "a state file of another owner is named in the log at login, and mail is served" {
	serve_nobody
	for mode in 600 400; do
		rm -f "$state"
		install -o root -m $mode /dev/null "$state"
		as_alice UIDL 'RETR 1' QUIT
		[ "${#lines[@]}" -eq 10 ]
		[ "${lines[7]}" = 'message 1' ]
		[ "${lines[-1]}" = '+OK goodbye' ]
		grep -F .pop3-handler.state log
		# What was read and marked as seen is all that has changed.
		[ "$(files alice | wc -l)" -eq 4 ]
		[ "$(stat -c '%U %a %s' "$state")" = "root $mode 0" ]
	done
	# A set needs a record; one message does not.
	as_alice 'DELE 1' 'DELE 2' QUIT
	[[ ${lines[2]} == *': none is gone' ]]
	as_alice 'DELE 1' QUIT
	[ "${lines[1]}" = '+OK goodbye' ]
	[ "$(files alice | wc -l)" -eq 3 ]
}

@test "a state file of another owner is named in the log at WAKE" {
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

@test "a record in a state file of another owner still hides its messages if it can be read" {
	serve_nobody
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' 'DELE 3' QUIT >script
	trace_calls trace trace=unlinkat -e inject=unlinkat:signal=KILL:when=2 \
		"$HANDLER" "${options[@]}" <script >out 2>log || true
	grep -q 'killed by SIGKILL' trace
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
	[ "$(stat -c %s "$state")" -eq 1048576 ]
	for i in {1000..1999}; do
		echo >"$mail/alice/new/$i.M1P1.h"
	done
	as_alice QUIT
	sync "$state"
	[ "$(stat -c %b "$state")" -ge 32 ] # 64 and 1004 times 16, in whole blocks of 4096
	[ -z "$(troubles)" ]
}

@test "a state file that has holes behind its blocks gets the missing ones" {
	as_alice QUIT
	truncate -s 1M "$state"
	for i in {1000..1999}; do
		echo >"$mail/alice/new/$i.M1P1.h"
	done
	as_alice QUIT
	sync "$state"
	[ "$(stat -c %b "$state")" -ge 32 ]
}

# replace HOW: does that to the state file.
replace() {
	case $1 in
	remove) rm "$state" ;;
	replace) touch "$state.other" && mv "$state.other" "$state" ;;
	restore) cp "$state" "$state.other" && mv "$state.other" "$state" ;;
	rename) mv "$state" "$state.other" ;;
	esac
}

@test "QUIT of a set says -ERR and nothing is gone if the state file was removed or replaced since login" {
	for how in remove replace restore rename; do
		echo "$how"
		start_session $how
		login $how
		ask $how 'DELE 1'
		ask $how 'DELE 2'
		replace $how
		ask $how QUIT
		[[ $reply == '-ERR '*': none is gone' ]]
		hang_up $how
		[ "$(files alice | wc -l)" -eq 4 ]
		[ -n "$(troubles $how.log)" ]
		rm -f "$state.other"
		# The next session finds the mailbox in order.
		as_alice UIDL
		[ "${#lines[@]}" -eq 6 ]
		[ -z "$(troubles)" ]
	done
	as_alice 'DELE 1' 'DELE 2' QUIT
	[ "${lines[2]}" = '+OK goodbye' ]
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "SLEE of a set says -ERR and nothing is gone if another session has a new state file" {
	start_session one
	login one
	ask one 'DELE 1'
	ask one 'DELE 2'
	rm "$state"
	start_session two
	login two
	ask one SLEE
	[[ $reply == '-ERR '*': none is gone' ]]
	[ "$(files alice | wc -l)" -eq 4 ]
	ask two 'DELE 3'
	ask two 'DELE 4'
	ask two QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(files alice | tr '\n' ' ')" = './new/1.M1P1.h ./new/2.M1P1.h ' ]
}

@test "a state file that was renamed and has its name again is what it was" {
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
