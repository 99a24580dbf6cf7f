#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Marking retrieved messages as seen where a file cannot be renamed, or only by replacing another.

load helpers

setup() {
	setup_site
}

@test "a message that cannot be marked as seen is logged in one line and does not stop the others" {
	needs_root
	truncate -s 8M disk
	mkfs.ext4 -q disk
	# shellcheck disable=SC2016
	on_disk sh -c 'mkdir -p "$1/alice/new" "$1/alice/cur" "$1/alice/tmp" && cd "$1/alice/new" &&
		for i in 1 2 3 4 5; do echo "message $i" >"$i.M1P1.h"; done && chattr +i 1.M1P1.h 3.M1P1.h' sh "$mail"
	for last in SLEE QUIT; do
		talk_on_disk 'RETR 1' 'RETR 2' 'RETR 3' 'RETR 4' $last
		[[ ${lines[-1]} == +OK* ]]
		[ "$(troubles | wc -l)" -eq 1 ]
		troubles | grep -F 'Operation not permitted'
		found=$(on_disk find "$mail/alice" -type f -name '[0-9]*' -printf '%P\n' | LC_ALL=C sort | tr '\n' ' ')
		[ "$found" = 'cur/2.M1P1.h:2,S cur/4.M1P1.h:2,S new/1.M1P1.h new/3.M1P1.h new/5.M1P1.h ' ]
		on_disk mv "$mail/alice/cur/2.M1P1.h:2,S" "$mail/alice/cur/4.M1P1.h:2,S" "$mail/alice/new"
		on_disk mv "$mail/alice/new/2.M1P1.h:2,S" "$mail/alice/new/2.M1P1.h"
		on_disk mv "$mail/alice/new/4.M1P1.h:2,S" "$mail/alice/new/4.M1P1.h"
	done
	on_disk chattr -i "$mail/alice/new/1.M1P1.h" "$mail/alice/new/3.M1P1.h"
	talk_on_disk 'RETR 1' 'RETR 3' QUIT
	[ -z "$(troubles)" ]
	[ "$(on_disk find "$mail/alice/cur" -type f | wc -l)" -eq 2 ]
}

@test "a message that cannot be marked as seen does not stop the others when some are deleted" {
	needs_root
	truncate -s 8M disk
	mkfs.ext4 -q disk
	# shellcheck disable=SC2016
	on_disk sh -c 'mkdir -p "$1/alice/new" "$1/alice/cur" "$1/alice/tmp" && cd "$1/alice/new" &&
		for i in 1 2 3 4 5; do echo "message $i" >"$i.M1P1.h"; done && chattr +i 1.M1P1.h' sh "$mail"
	talk_on_disk 'RETR 1' 'RETR 2' 'RETR 3' 'DELE 2' 'DELE 4' QUIT
	[ "${lines[-1]}" = '+OK goodbye' ]
	found=$(on_disk find "$mail/alice" -type f -name '[0-9]*' -printf '%P\n' | LC_ALL=C sort | tr '\n' ' ')
	[ "$found" = 'cur/3.M1P1.h:2,S new/1.M1P1.h new/5.M1P1.h ' ]
}

# without_noreplace STRACE-OPTION...: a session of `script` where the file system has no RENAME_NOREPLACE.
without_noreplace() {
	trace_calls trace trace=all -e inject=renameat2:error=EINVAL "$@" "$HANDLER" "${options[@]}" <script >out 2>log
}

@test "without RENAME_NOREPLACE, marking a message as seen never replaces another" {
	make_messages 4
	make_message alice/cur/1.M1P1.h:2,S 'the other 1\n'
	make_message alice/new/2.M1P1.h:2,F 'the other 2\n'
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' 'RETR 2' 'RETR 3' 'RETR 4' 'RETR 5' 'RETR 6' QUIT >script
	without_noreplace
	[ "$(tail -n 1 out)" = $'+OK goodbye\r' ]
	[ "$(files alice | wc -l)" -eq 6 ]
	[ "$(cat "$mail"/alice/*/*.M1P1.h* | sort | tr '\n' ' ')" = 'message 1 message 2 message 3 message 4 the other 1 the other 2 ' ]
	[ "$(cat "$mail/alice/cur/1.M1P1.h:2,S")" = 'the other 1' ]
	[ -e "$mail/alice/cur/3.M1P1.h:2,S" ]
	[ -e "$mail/alice/cur/4.M1P1.h:2,S" ]
	run ! grep -E '^(link|linkat)\(' trace
}

@test "without RENAME_NOREPLACE, a session killed at any moment leaves each message exactly once" {
	[ "$SANITIZED" = none ] || skip 'the plain build is enough'
	script() {
		rm -rf "$mail/alice"
		make_messages 3
		mv "$mail/alice/new/2.M1P1.h" "$mail/alice/cur/2.M1P1.h:2,F"
	}
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' 'RETR 2' 'RETR 3' QUIT >script
	script
	without_noreplace
	[ "$(files alice | tr '\n' ' ')" = './cur/1.M1P1.h:2,S ./cur/2.M1P1.h:2,FS ./cur/3.M1P1.h:2,S ' ]
	# Each call after the first renameat2, with its ordinal among the calls of that name.
	grep -E '^[a-z0-9_]+\(' trace | awk -F '(' '{ count[$1]++ } seen { print $1, count[$1] } $1 == "renameat2" { seen = 1 }' |
		grep -vE '^(renameat2|rt_sigreturn|exit_group)' >points
	cat points
	[ "$(wc -l <points)" -gt 5 ]
	while read -r call when; do
		script
		without_noreplace -e "inject=$call:signal=KILL:when=$when" || true
		grep -q 'killed by SIGKILL' trace
		files alice
		[ "$(files alice | sed -E 's|.*/([^:]*).*|\1|' | sort | tr '\n' ' ')" = '1.M1P1.h 2.M1P1.h 3.M1P1.h ' ]
	done <points
}

@test "flags after ;2, or !2, are not part of the unique-id, and the separator is kept" {
	make_maildir alice
	make_message 'alice/cur/1.M1P1.h,S=24;2,F'
	make_message 'alice/cur/2.M1P1.h!2,'
	make_message 'alice/cur/3.M1P1.h;x!2,RT'
	make_message 'alice/new/4.M1P1.h;2'
	as_alice UIDL 'RETR 1' 'RETR 2' 'RETR 3' 'RETR 4' SLEE WAKE UIDL QUIT
	[ "${lines[*]:1:4}" = '1 1.M1P1.h,S=24 2 2.M1P1.h 3 3.M1P1.h;x 4 4.M1P1.h;2' ]
	[ "${lines[*]: -6:4}" = "${lines[*]:1:4}" ]
	[ "$(files alice | tr '\n' ' ')" = \
		'./cur/1.M1P1.h,S=24;2,FS ./cur/2.M1P1.h!2,S ./cur/3.M1P1.h;x!2,RST ./cur/4.M1P1.h;2:2,S ' ]
	grep -F 'ended: QUIT' log
	start_session one
	login one
	mv "$mail/alice/cur/1.M1P1.h,S=24;2,FS" "$mail/alice/cur/1.M1P1.h,S=24;2,RS"
	ask one 'RETR 1'
	[ "$reply" = '+OK 24 octets' ]
	hear_all one
	ask one SLEE
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 4 messages' ]
}

@test "where names have no colon, as on FAT, messages are marked as seen with ;2," {
	make_messages 2
	make_message 'alice/cur/3.M1P1.h!2,'
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' 'RETR 3' QUIT >script
	trace_calls trace trace=renameat,renameat2 -e inject=renameat2:error=EINVAL:when=1 \
		-e inject=renameat:error=EINVAL:when=1 "$HANDLER" "${options[@]}" <script >out 2>log
	[ "$(grep -c INJECTED trace)" -eq 2 ]
	[ -z "$(troubles)" ]
	[ "$(files alice | tr '\n' ' ')" = './cur/1.M1P1.h;2,S ./cur/3.M1P1.h!2,S ./new/2.M1P1.h ' ]
}
