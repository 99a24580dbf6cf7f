#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Maildir++ quota: sessions subtract what they remove in maildirsize.

load helpers

setup() {
	setup_site
	make_messages 4
	make_message alice/new/5.M1P1.h,S=1000,W=2000
	quota=$mail/alice/maildirsize
	printf '1000000S\n9000 9\n' >"$quota"
}

# added LINE...: these lines were added to maildirsize, and nothing else was changed.
added() {
	printf '%s\n' 1000000S '9000 9' "$@" | cmp - "$quota"
}

@test "each commit and each DELI adds a line: the files' octets (or S=) and their number" {
	as_alice 'DELI 1' 'DELE 2' 'DELE 5' SLEE WAKE 'DELE 1' RSET QUIT
	[ "${lines[-1]}" = '+OK goodbye' ]
	added '-10 -1' '-1010 -2'
	[ -z "$(troubles)" ]
}

@test "a recovered commit adds a line, and so does one without space for a record" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' 'DELE 5' QUIT >script
	trace_calls trace trace=unlinkat -e inject=unlinkat:signal=KILL:when=1 \
		"$HANDLER" "${options[@]}" <script >out 2>log || true
	added
	as_alice QUIT
	added '-1010 -2' || added '-1020 -3'
	printf '1000000S\n9000 9\n' >"$quota"
	rm "$mail/alice/.pop3-handler.state"
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' QUIT >script
	trace_calls trace trace=pwrite64,unlinkat -e inject=pwrite64:error=EDQUOT \
		-e inject=unlinkat:error=EIO:when=2 "$HANDLER" "${options[@]}" <script >out 2>log
	added '-10 -1'
}

@test "no line counts messages that other programs removed, or that are only hidden" {
	start_session one
	login one
	ask one 'DELE 1'
	ask one 'DELE 2'
	rm "$mail/alice/new/1.M1P1.h"
	ask one SLEE
	[ "$reply" = '+OK asleep, 1 messages deleted' ]
	added '-10 -1'
	ask one WAKE
	ask one 'DELE 1'
	rm "$mail/alice/new/3.M1P1.h"
	ask one 'DELI 1'
	ask one QUIT
	added '-10 -1'
}

@test "maildirsize is never created, and a link, a file with two links or a special file is not written to" {
	for kind in none link hard fifo directory; do
		make_message alice/new/1.M1P1.h
		make_message alice/new/2.M1P1.h
		rm -rf "$quota" "$mail/other"
		echo other >"$mail/other"
		case $kind in
		link) ln -s "$mail/other" "$quota" ;;
		hard) ln "$mail/other" "$quota" ;;
		fifo) mkfifo "$quota" ;;
		directory) mkdir "$quota" ;;
		esac
		as_alice 'DELI 1' 'DELE 2' QUIT
		[ "${lines[2]}" = '+OK goodbye' ]
		[ -z "$(troubles)" ]
		[ "$(cat "$mail/other")" = other ]
		[ $kind != none ] || [ ! -e "$quota" ]
	done
}

@test "a line that fits only in part is logged" {
	as_alice QUIT
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELI 1' QUIT >script
	# The file may grow by three octets. The session's output goes to pipes, which have no such limit.
	{ prlimit --fsize=$(($(stat -c %s "$quota") + 3)) "$HANDLER" "${options[@]}" <script 2> >(cat >log) || true; } | cat >out
	grep -qx $'+OK message 1 is deleted\r' out
	logged "cannot take deleted messages of '$mail/alice' off maildirsize: No space left on device"
}

@test "a line that cannot be added is logged, and the messages are deleted" {
	needs_root
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' QUIT >script
	chmod 000 "$quota"
	as_nobody ./handler "${options[@]}" <script >out 2>log || { chown root "$quota"; }
	grep -qx $'+OK goodbye\r' out
	[ "$(troubles)" = "pop3-handler: cannot take deleted messages of '$mail/alice' off maildirsize: Permission denied" ]
	[ "$(files alice | grep -c new/)" -eq 3 ]
}
