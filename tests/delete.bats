#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# DELE, RSET, DELI, the commit at QUIT, and the flags that it sets.

load helpers

setup() {
	setup_site
	make_messages 4
}

@test "a message that DELE marks vanishes from STAT, LIST and UIDL at once, and numbers stay" {
	as_alice 'DELE 2' STAT LIST UIDL 'LIST 2' 'UIDL 2' 'RETR 2' 'TOP 2 0' 'DELE 2' 'DELI 2' \
		'DELE UID:2.M1P1.h' 'LIST 3'
	expected=('+OK message 2 is marked as deleted' '+OK 3 33' '+OK 3 messages (33 octets)'
		'1 11' '3 11' '4 11' . '+OK unique-ids follow' '1 1.M1P1.h' '3 3.M1P1.h' '4 4.M1P1.h' .)
	for _ in 1 2 3 4 5 6; do
		expected+=('-ERR the message is deleted')
	done
	expected+=('-ERR [UID] the message is deleted' '+OK 3 11')
	[ "${lines[*]}" = "${expected[*]}" ]
	[ "$(files alice | wc -l)" -eq 4 ]
}

@test "RSET unmarks messages, but never restores one that DELI deleted" {
	as_alice 'DELE 1' 'DELI 2' 'DELE 3' RSET UIDL STAT LIST QUIT
	[ "${lines[*]:5:3}" = '1 1.M1P1.h 3 3.M1P1.h 4 4.M1P1.h' ]
	[ "${lines[9]}" = '+OK 3 33' ]
	[ "${lines[*]:11:3}" = '1 11 3 11 4 11' ]
	[ "$(files alice | tr '\n' ' ')" = './new/1.M1P1.h ./new/3.M1P1.h ./new/4.M1P1.h ' ]
}

@test "DELI deletes one message at once, and the others keep their numbers" {
	start_session one
	login one
	ask one 'DELI 2'
	[ "$reply" = '+OK message 2 is deleted' ]
	[ "$(files alice | tr '\n' ' ')" = './new/1.M1P1.h ./new/3.M1P1.h ./new/4.M1P1.h ' ]
	ask one 'DELI uid:4.M1P1.h'
	[ "$reply" = '+OK message 4 is deleted' ]
	ask one STAT
	[ "$reply" = '+OK 2 22' ]
	ask one 'RETR 2'
	[ "$reply" = '-ERR the message is deleted' ]
	ask one 'UIDL 3'
	[ "$reply" = '+OK 3 3.M1P1.h' ]
	ask one QUIT
	hang_up one
	[ "$(files alice | tr '\n' ' ')" = './new/1.M1P1.h ./new/3.M1P1.h ' ]
}

@test "QUIT deletes the marked messages, and only QUIT does" {
	start_session one
	login one
	ask one 'DELE 1'
	ask one 'DELE 3'
	ask one NOOP
	[ "$(files alice | wc -l)" -eq 4 ]
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
	[ "$(files alice | tr '\n' ' ')" = './new/2.M1P1.h ./new/4.M1P1.h ' ]
	hang_up one
	[ "$status" -eq 0 ]
}

@test "QUIT is answered after the messages are deleted and the lock is free" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' QUIT >script
	trace trace trace=unlink,unlinkat,write,close,openat "$HANDLER" "${options[@]}" <script >out
	lock_fd=$(sed -nE 's/^openat\(.*\.pop3-handler\.state".*= ([0-9]+)$/\1/p' trace)
	grep -nE "^(unlink|write\(1,|close\($lock_fd\))" trace | tail -n 4 >order
	cat order
	[ "$(cut -d: -f 2 order | sed -E 's/\(.*//' | tr '\n' ' ')" = 'unlinkat unlinkat close write ' ]
}

@test "QUIT says -ERR if the deletion fails, nothing is gone, and the log has the reason" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' 'DELE 2' 'DELE 3' QUIT >script
	trace_calls trace trace=faccessat2 -e inject=faccessat2:error=EACCES \
		"$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[6]}" = '-ERR [SYS/PERM] cannot delete the marked messages: none was deleted' ]
	[ "${#lines[@]}" -eq 7 ]
	grep -xF "pop3-handler: cannot delete the marked messages of '$mail/alice', 0 are gone: Permission denied" log
	[ "$(files alice | wc -l)" -eq 4 ]
}

@test "SLEE says -ERR if the deletion fails, and the session stays in TRANSACTION, marks kept" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 2' 'DELE 3' SLEE STAT RSET STAT 'DELI 1' SLEE >script
	trace_calls trace trace=fdatasync -e inject=fdatasync:error=EIO \
		"$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[5]}" = '-ERR [SYS/TEMP] cannot delete the marked messages: none was deleted' ]
	[ "${lines[6]}" = '+OK 2 22' ]
	[ "${lines[8]}" = '+OK 4 44' ]
	[ "${lines[9]}" = '+OK message 1 is deleted' ]
	[ "${lines[10]}" = '+OK asleep, 0 messages deleted' ]
	[ "$(files alice | wc -l)" -eq 3 ]
}

@test "DELI says -ERR if the deletion fails, and the message is still there" {
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELI 2' STAT 'RETR 2' >script
	trace_calls trace trace=unlinkat -e inject=unlinkat:error=EROFS \
		"$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[3]}" = '-ERR [SYS/PERM] cannot delete the message' ]
	[ "${lines[4]}" = '+OK 4 44' ]
	[ "${lines[6]}" = 'message 2' ]
	grep -xF "pop3-handler: cannot delete the message '2.M1P1.h': Read-only file system" log
}

# mounted SETUP OPTION...: a session of `script` in its own mount namespace, after SETUP has changed
# $mail there.
mounted() {
	needs_root
	# shellcheck disable=SC2016
	unshare --mount env mail="$mail" sh -c 'eval "$1"; shift; exec "$@"' sh "$1" \
		"$HANDLER" "${options[@]}" "${@:2}" <script >out 2>log
	read_lines
}

@test "on a read-only file system mail can be read, and deleting it is a clear -ERR" {
	# shellcheck disable=SC2016
	read_only='mount --bind "$mail" "$mail" && mount -o remount,bind,ro "$mail"'
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' 'DELE 1' SLEE 'DELI 2' STAT QUIT >script
	mounted "$read_only"
	[ "${lines[4]}" = 'message 1' ]
	failure='-ERR [SYS/PERM] cannot delete the marked messages: none was deleted'
	[ "${lines[7]}" = "$failure" ]
	[ "${lines[8]}" = '-ERR [SYS/PERM] cannot delete the message' ]
	[ "${lines[9]}" = '+OK 3 33' ]
	[ "${lines[10]}" = "$failure" ]
	grep -xF "pop3-handler: cannot delete the marked messages of '$mail/alice', 0 are gone: Read-only file system" log
	mounted "$read_only" --read-only=yes
	[ "${lines[6]}" = '-ERR [READ-ONLY] the mailbox is read-only' ]
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ -z "$(troubles)" ]
	[ "$(files alice | wc -l)" -eq 4 ]
}

@test "on a file system without space for another file, messages can be deleted" {
	truncate -s 8M full.image
	mke2fs -q -t ext2 -N 16 full.image 2>&1
	# shellcheck disable=SC2016
	full='mount -t ext2 full.image "$mail" && mkdir -p "$mail/alice/new" "$mail/alice/cur" &&
		echo hello >"$mail/alice/new/1.M1P1.h"
		while touch "$mail/filler$((i += 1))" 2>/dev/null; do :; done'
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' 'DELE 1' QUIT >script
	mounted "$full"
	[ "${lines[4]}" = hello ]
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ -z "$(troubles)" ]
	# shellcheck disable=SC2016
	mounted 'mount -t ext2 full.image "$mail"; exec find "$mail/alice" -type f'
	[ ! -s out ]
}

@test "after QUIT, retrieved messages are in cur with the flag S and their other flags" {
	mv "$mail/alice/new/2.M1P1.h" "$mail/alice/cur/2.M1P1.h:2,FR"
	mv "$mail/alice/new/3.M1P1.h" "$mail/alice/cur/3.M1P1.h:2,S"
	as_alice 'RETR 1' 'RETR 2' 'RETR 3' 'TOP 4 99' QUIT
	[ "$(files alice | tr '\n' ' ')" = \
		'./cur/1.M1P1.h:2,S ./cur/2.M1P1.h:2,FRS ./cur/3.M1P1.h:2,S ./new/4.M1P1.h ' ]
}

@test "TOP marks nothing as read, and neither does a session without QUIT" {
	as_alice 'TOP 1 99' QUIT
	as_alice 'RETR 2'
	[ "$(files alice | grep -c new)" -eq 4 ]
}

@test "messages that were retrieved and then deleted leave nothing in cur" {
	as_alice 'RETR 1' 'DELE 1' 'RETR 2' 'DELI 2' QUIT
	[ "$(files alice | tr '\n' ' ')" = './new/3.M1P1.h ./new/4.M1P1.h ' ]
}

@test "keep-new leaves retrieved messages where they are, unchanged" {
	options+=(--keep-new=yes)
	as_alice 'RETR 1' 'DELE 2' QUIT
	[ "$(files alice | tr '\n' ' ')" = './new/1.M1P1.h ./new/3.M1P1.h ./new/4.M1P1.h ' ]
}

@test "marking a message as seen never replaces another message" {
	make_message alice/cur/1.M1P1.h:2,S 'the other 1\n'
	as_alice 'RETR 1' 'RETR 2' QUIT
	[ "${lines[-1]}" = '+OK goodbye' ]
	[ "$(cat "$mail"/alice/*/1.M1P1.h* | sort | tr '\n' ' ')" = 'message 1 the other 1 ' ]
}

@test "retrieved messages of a folder keep their names" {
	rm -r "$mail/alice"
	mkdir "$mail/alice"
	make_message alice/a.eml
	make_message alice/b.eml
	as_alice 'RETR 1' 'DELE 2' QUIT
	[ "$(files alice)" = ./a.eml ]
}

@test "read-only refuses DELE and DELI, and neither changes nor creates a file" {
	echo 'carol:{PLAIN}cherry::::::read-only=yes' >>"$users"
	cp -r "$mail/alice" "$mail/carol"
	chmod -R a-w "$mail/carol"
	find "$mail/carol" -printf '%P %T@ %C@ %s\n' | sort >before
	talk 'USER carol' 'PASS cherry' 'RETR 1' 'DELE 1' 'DELI 1' 'DELE 9' STAT SLEE WAKE 'RETR 2' QUIT
	[ "$(grep -cxFe $'-ERR [READ-ONLY] the mailbox is read-only\r' out)" -eq 3 ]
	[ "${lines[-1]}" = '+OK goodbye' ]
	find "$mail/carol" -printf '%P %T@ %C@ %s\n' | sort | cmp before -
	options+=(--read-only=yes)
	rm -rf "$mail/alice/.pop3-handler.state"
	as_alice 'RETR 1' 'DELI 1' QUIT
	[ "$(find "$mail/alice" -type f | wc -l)" -eq 4 ]
	[ "$(files alice | grep -c new)" -eq 4 ]
}
