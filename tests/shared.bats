#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Requirements of shared file systems and of those that store less about a file. Local file systems
# can show them.

load helpers

setup() {
	setup_site
	make_messages 4
	state=$mail/alice/.pop3-handler.state
}

@test "after the state file is locked, its cached pages are dropped before the record is read" {
	as_alice QUIT
	printf '%s\r\n' 'USER alice' 'PASS apple' SLEE WAKE QUIT >script
	# The type of the file system is unknown, so it may be a shared one.
	trace trace trace=fcntl,fadvise64,pread64,fstatfs -e inject=fstatfs:error=ENOSYS -P "$mail/alice" -P "$state" \
		"$HANDLER" "${options[@]}" <script >out 2>log
	grep -E 'F_OFD_SETLK|^fadvise64|^pread64' trace | sed -E 's/\(.*//' | uniq | tr '\n' ' ' >order
	cat trace order
	[ "$(cat order)" = 'fcntl fadvise64 pread64 fcntl fadvise64 pread64 ' ]
	[ "$(grep -c 'fadvise64(.*POSIX_FADV_DONTNEED) = 0' trace)" -eq 2 ]
}

# opening FAULT: a session of alice; FAULT is for strace's `inject=openat:`, and counts the files opened
# in her mailbox, the directory first.
opening() {
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
	trace trace trace=openat -P "$mail/alice" -e "inject=openat:$1" "$HANDLER" "${options[@]}" <script >out 2>log
	cat trace
	grep -q INJECTED trace
	read_lines
}

@test "a mailbox whose handle is stale is opened again" {
	opening error=ESTALE:when=1
	[ "${lines[*]:2}" = '+OK 4 messages +OK 4 44 +OK goodbye' ]
	[ -z "$(troubles)" ]
}

@test "a mailbox that stays stale is a clear error" {
	opening error=ESTALE
	[[ ${lines[2]} == -ERR* ]]
	[ "${lines[-1]}" = '+OK goodbye' ]
	grep -F 'Stale file handle' log
	[ "$(grep -c openat trace)" -le 4 ]
}

# Without a birth time, a file that reuses an inode number can have the key of a removed one.
@test "where files have no birth time, clearing a record is synced" {
	needs_root
	truncate -s 8M disk
	mkfs.ext4 -q -I 128 disk
	# shellcheck disable=SC2016
	on_disk sh -c 'mkdir -p "$1/alice/new" "$1/alice/cur" "$1/alice/tmp" && cd "$1/alice/new" &&
		for i in 1 2 3 4 5 6 7; do echo "message $i" >"$i.M1P1.h"; done; stat -c %W 1.M1P1.h' sh "$mail" >born
	[ "$(cat born)" -eq 0 ]
	talk_on_disk QUIT
	wrapper=(env ASAN_OPTIONS=exitcode=99:detect_leaks=0 strace -qq -o trace)
	filter=(-e 'trace=pwrite64,fdatasync,unlinkat,fsync' -P "$state" -P "$mail/alice/new" -P "$mail/alice/cur")
	order() {
		sed -E 's/\(.*//' trace | grep -E '^[a-z]' | uniq | tr '\n' ' '
	}
	wrapper+=("${filter[@]}")
	talk_on_disk 'DELE 1' 'DELE 2' 'DELE 3' QUIT
	cat trace
	[ "$(order)" = 'pwrite64 fdatasync unlinkat fsync pwrite64 fdatasync ' ]
	# The same in a session that completes a deletion.
	wrapper+=(-e 'inject=unlinkat:signal=KILL:when=2')
	talk_on_disk 'DELE 1' 'DELE 2' 'DELE 3' QUIT || true
	grep -q 'killed by SIGKILL' trace
	wrapper=("${wrapper[@]:0:${#wrapper[@]}-2}")
	# Times are whole seconds there, and a recent change may be followed by an unnoticed one.
	for folder in new cur; do
		for field in ctime mtime; do
			debugfs -w -R "set_inode_field /alice/$folder $field @1600000000" disk
		done
	done
	talk_on_disk UIDL
	cat trace
	[ "${lines[1]}" = '1 7.M1P1.h' ]
	[ "$(order)" = 'unlinkat fsync pwrite64 fdatasync ' ]
}

# A server with its own clock may give a later change the same time.
@test "a size measured while its file was younger than two seconds is measured again later" {
	mkdir "$mail/bob"
	printf '%s\r\n' 'USER bob' 'PASS banana split ' STAT QUIT >script
	while :; do
		SECONDS=0
		make_message bob/a.eml 'message\n'
		until [ -n "$(find "$mail/bob/a.eml" ! -newerct '0.1 seconds ago')" ]; do
			:
		done
		trace trace trace=fstatfs -e inject=fstatfs:error=ENOSYS "$HANDLER" "${options[@]}" <script >out 2>log
		grep -q INJECTED trace
		[ $SECONDS -gt 1 ] || break
	done
	grep -q '^+OK 1 9' out
	trace trace trace=openat "$HANDLER" "${options[@]}" <script >out 2>log
	grep -q '^+OK 1 9' out
	grep -q '"a.eml", O_RDONLY' trace
}
