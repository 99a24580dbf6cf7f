#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Mailboxes of 100,000 messages, and a message of 4 GiB.

load helpers

setup() {
	setup_site
	make_maildir alice
}

@test "100,000 messages are listed, and found by unique-id" {
	(cd "$mail/alice/cur" && seq -f '%.0f.M1P1.h,S=9,W=10:2,S' 1700000001 1700100000 | xargs touch)
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT UIDL 'UIDL UID:1700050000.M1P1.h,S=9,W=10' >script
	handle script
	[ "$(sed -n 4p out)" = $'+OK 100000 1000000\r' ]
	tail -n 1 out | grep -F '+OK 50000 1700050000.M1P1.h'
	sed -n '6,100005p' out | tr -d '\r' | cmp - <(seq -f '%.0f.M1P1.h,S=9,W=10' 1700000001 1700100000 |
		cat -n | tr -s ' \t' ' ' | sed 's/^ //')
	[ -z "$(troubles)" ] # the sandbox refuses no system call
}

@test "WAKE on an unchanged mailbox of 100,000 messages reads no directory" {
	[ "$SANITIZED" = none ] || skip 'it counts system calls; cache.bats does so with fewer messages'
	(cd "$mail/alice/cur" && seq -f '%.0f.M1P1.h:2,S' 1700000001 1700100000 | xargs touch)
	printf '%s\r\n' 'USER alice' 'PASS apple' SLEE WAKE SLEE WAKE SLEE WAKE QUIT >script
	trace trace all "$HANDLER" "${options[@]}" <script >out
	read_lines
	[ "$(grep -cxF $'+OK [ACTIVITY/NONE] 100000 messages\r' out)" -eq 3 ]
	# new and cur are each read to the end once, at login.
	[ "$(grep -c 'getdents64.*= 0$' trace)" -eq 2 ]
	# Everything after that, two polls included, takes a few system calls each.
	[ "$(tac trace | sed '/getdents64/q' | wc -l)" -lt 150 ]
}

@test "STAT, LIST and RETR are right for a message of more than 4 GiB" {
	# A sparse file takes no space, and its 4 GiB of NULs are one line.
	printf 'Subject: large\n\n' >"$mail/alice/new/1.M1P1.h"
	truncate -s 4294967400 "$mail/alice/new/1.M1P1.h"
	printf x >"$mail/alice/new/2.M1P1.h"
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT LIST 'LIST 1' >script
	# RETR would take minutes under a sanitizer.
	[ "$SANITIZED" != none ] || printf '%s\r\n' 'RETR 1' >>script
	# The client reads from a socket and drops the NULs.
	/usr/bin/python3 - "$HANDLER" "${options[@]}" <<-'END'
		import socket, subprocess, sys
		ours, theirs = socket.socketpair()
		session = subprocess.Popen(sys.argv[1:], stdin=open('script'), stdout=theirs, stderr=open('log', 'w'))
		theirs.close()
		octets, nothing = 0, bytes(1 << 20)
		with open('out', 'wb') as out:
		    while data := ours.recv(1 << 20):
		        octets += len(data)
		        if data != nothing[:len(data)]: # fast comparison
		            out.write(data.translate(None, b'\0'))
		print(octets, file=open('octets', 'w'))
		sys.exit(session.wait())
	END
	read_lines
	lines=("${lines[@]:3}")
	[ "${lines[0]}" = '+OK 2 4294967407' ]
	[ "${lines[2]}" = '1 4294967404' ]
	[ "${lines[5]}" = '+OK 1 4294967404' ]
	[ "$SANITIZED" = none ] || return 0
	# The ten lines of answers, the message, and the final line.
	[ "${lines[6]}" = '+OK 4294967404 octets' ]
	[ "$(cat octets)" -eq $(($(head -n 10 out | wc -c) + 4294967404 + 3)) ]
}

@test "DELI takes as many system calls in a mailbox of 2,000 messages as in one of ten" {
	for count in 10 2000; do
		rm -rf "$mail/alice"
		make_messages $count
		ln "$mail/alice/new/6.M1P1.h" "$mail/alice/cur/6.M1P1.h:2,S"
		printf '%s\r\n' 'USER alice' 'PASS apple' 'DELI 4' 'RETR 3' 'DELI 5' 'DELI 6' 'DELI UID:8.M1P1.h' >script
		trace_calls trace trace=all "$HANDLER" "${options[@]}" <script >out 2>log
		[ "$(grep -c 'is deleted' out)" -eq 4 ]
		# The calls from the first deletion to the last one.
		sed -n '/^unlinkat/,$p' trace | tac | sed -n '/^unlinkat/,$p' | tac | sed -E 's/\(.*//' |
			grep -vE 'mmap|munmap|brk|madvise|clock_gettime' >"calls.$count" # AddressSanitizer manages memory differently
		[ "$(grep -c unlinkat "calls.$count")" -eq 5 ] # one of the messages has two names
		run ! grep getdents64 "calls.$count"
	done
	diff calls.10 calls.2000
}
