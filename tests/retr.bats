#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The octets that RETR and TOP send, and that LIST and STAT announced them.

load helpers

setup() {
	setup_site
	make_maildir alice
}

# unstuffed: prints the octets of the one RETR in `out`, without its first line, the stuffing and the
# final ".".
unstuffed() {
	/usr/bin/python3 -c '
import re, sys
out = sys.stdin.buffer.read()
octets, body = re.search(rb"(?s)\+OK ([0-9]+) octets\r\n(.*)", out).groups()
assert body == b".\r\n" or b"\r\n.\r\n" in body
text = b"" if body.startswith(b".\r\n") else body.split(b"\r\n.\r\n", 1)[0] + b"\r\n"
text = b"\r\n".join(l[1:] if l.startswith(b".") else l for l in text.split(b"\r\n"))
assert len(text) == int(octets), (len(text), octets)
sys.stdout.buffer.write(text)' <out
}

# retrieve_each COUNT LINE...: a script of these lines, and then LIST and RETR of each message.
retrieve_each() {
	printf '%s\r\n' "${@:2}" >script
	for ((i = 1; i <= $1; i++)); do
		printf '%s\r\n' "LIST $i" "RETR $i"
	done >>script
}

@test "RETR sends the octets that LIST announced, however the message is stored" {
	mkdir "$mail/bob"
	/usr/bin/python3 - "$mail" expected <<-'END'
		import re, sys
		cases = [
		    (b'a: b\n\nc\n', b'a: b\r\n\r\nc\r\n'),
		    (b'a: b\r\n\r\nc\r\n', b'a: b\r\n\r\nc\r\n'),
		    (b'a: b\n\r\nc\n', b'a: b\r\n\r\nc\r\n'),
		    (b'a: b\n\nc', b'a: b\r\n\r\nc\r\n'),
		    (b'a: b\n\nc\r', b'a: b\r\n\r\nc\r\r\n'),
		    (b'', b''),
		    (b'\n', b'\r\n'),
		    (b'\r', b'\r\r\n'),
		    (b'\r\r\n', b'\r\r\n'),
		    (b'a\rb\n\rc\n', b'a\rb\r\n\rc\r\n'),
		    (b'a\0b\n\0\n', b'a\0b\r\n\0\r\n'),
		    (b'a\0', b'a\0\r\n'),
		    (b'\xc3\xa4\xff\x80\n', b'\xc3\xa4\xff\x80\r\n'),
		    (b'.', b'.\r\n'),
		    (b'.\n', b'.\r\n'),
		    (b'.a\n..\n\n.\n', b'.a\r\n..\r\n\r\n.\r\n'),
		    (b'a\r.\n', b'a\r.\r\n'),
		    (b'a\n.\r\n.\r\nb\n', b'a\r\n.\r\n.\r\nb\r\n'),
		]
		sizes = [len(wire) for stored, wire in cases]
		expected = b'+OK %d %d\r\n' % (len(cases), sum(sizes))
		for i, (stored, wire) in enumerate(cases, 1):
		    for path in f'alice/new/{100 + i}.M1P1.h', f'bob/{100 + i}.eml':
		        open(f'{sys.argv[1]}/{path}', 'wb').write(stored)
		    expected += b'+OK %d %d\r\n+OK %d octets\r\n' % (i, len(wire), len(wire))
		    expected += re.sub(rb'(?m)^\.', b'..', wire) + b'.\r\n'
		open(sys.argv[2], 'wb').write(expected)
	END
	for login in $'USER alice\r\nPASS apple' $'USER bob\r\nPASS banana split '; do
		retrieve_each 18 "$login" STAT
		handle script
		tail -n +4 out | cmp - expected
		[ -z "$(troubles)" ]
	done
}

@test "a first octet \".\" and a line that is just \".\" are stuffed" {
	make_message alice/new/1.M1P1.h '.a\n.\n\n..\nb.\n.'
	as_alice 'RETR 1' NOOP
	expected=('+OK 20 octets' ..a .. '' ... b. .. . '+OK nothing done')
	[ "${lines[*]@Q}" = "${expected[*]@Q}" ]
}

@test "a line of many MiB arrives unchanged" {
	head -c 20000000 /dev/urandom | tr -d '\n\r' >"$mail/alice/new/1.M1P1.h"
	{ cat "$mail/alice/new/1.M1P1.h"; printf '\r\n'; } >expected
	printf '%s\r\n' 'USER alice' 'PASS apple' 'LIST 1' 'RETR 1' QUIT >script
	handle script
	unstuffed >got
	cmp expected got
	grep -qaF "+OK 1 $(wc -c <expected)" out
}

@test "random messages arrive as Python would convert them" {
	/usr/bin/python3 - "$mail/alice/new" expected <<-'END'
		import random, re, sys
		random.seed(1)
		expected = b''
		for i in range(40):
		    size = random.choice([10, 4095, 4096, 4097, 65535, 65536, 65537, 200000])
		    text = bytes(random.choices(b'\n\r.abc\0\xff', [9, 3, 9, 9, 9, 9, 1, 1], k=size))
		    open(f'{sys.argv[1]}/{1000 + i}.M1P1.h', 'wb').write(text)
		    wire = re.sub(rb'(?<!\r)\n', rb'\r\n', text)
		    if not wire.endswith(b'\n'):
		        wire += b'\r\n'
		    expected += b'+OK %d %d\r\n' % (i + 1, len(wire))
		    expected += b'+OK %d octets\r\n' % len(wire) + re.sub(rb'(?m)^\.', b'..', wire) + b'.\r\n'
		open(sys.argv[2], 'wb').write(expected)
	END
	retrieve_each 40 'USER alice' 'PASS apple'
	handle script
	tail -n +4 out | cmp - expected
	# Reads from a pipe are split elsewhere than reads from a file.
	"$HANDLER" "${options[@]}" <script | tail -n +4 | cmp - expected
}

@test "TOP n is the header, the blank line and n lines of the body" {
	printf 'a: 1\nb: 2\n 3\n\none\n.two\n\nfour' >"$mail/alice/new/1.M1P1.h"
	header=('+OK message follows' 'a: 1' 'b: 2' ' 3' '')
	as_alice 'TOP 1 0'
	expected=("${header[@]}" .)
	[ "${lines[*]@Q}" = "${expected[*]@Q}" ]
	as_alice 'TOP 1 2'
	expected=("${header[@]}" one ..two .)
	[ "${lines[*]@Q}" = "${expected[*]@Q}" ]
	for count in 4 5 18446744073709551615; do
		as_alice "TOP 1 $count"
		expected=("${header[@]}" one ..two '' four .)
		[ "${lines[*]@Q}" = "${expected[*]@Q}" ]
	done
}

@test "TOP finds the end of a header stored with CRLF, and of a message without a body" {
	printf 'a: 1\r\n\r\none\r\ntwo\r\n' >"$mail/alice/new/1.M1P1.h"
	printf 'a: 1\nb: 2' >"$mail/alice/new/2.M1P1.h"
	printf '\nbody\n' >"$mail/alice/new/3.M1P1.h"
	: >"$mail/alice/new/4.M1P1.h"
	as_alice 'TOP 1 1' 'TOP 2 0' 'TOP 3 0' 'TOP 4 1'
	ok='+OK message follows'
	expected=("$ok" 'a: 1' '' one . "$ok" 'a: 1' 'b: 2' . "$ok" '' . "$ok" .)
	[ "${lines[*]@Q}" = "${expected[*]@Q}" ]
}

@test "no message is opened or sized before STAT or LIST, and no directory is read before login" {
	for i in 1 2 3; do
		make_message "alice/new/$i.M1P1.h"
	done
	printf '%s\r\n' 'USER alice' >script
	trace trace trace=openat,getdents64 "$HANDLER" "${options[@]}" <script
	grep -vF O_PATH trace >opened # O_PATH reads nothing
	run ! grep -E "getdents|$mail" opened
	printf '%s\r\n' 'USER alice' 'PASS apple' UIDL 'DELE 1' NOOP >script
	trace trace trace=openat,stat,newfstatat "$HANDLER" "${options[@]}" <script
	run ! grep -F .M1P1.h trace
	printf '%s\r\n' STAT LIST STAT >>script
	trace trace trace=openat "$HANDLER" "${options[@]}" <script
	[ "$(grep -cF .M1P1.h trace)" -eq 2 ]
}

# retr_says SIZE: RETR of alice's only message announces SIZE octets and sends them, and LIST says SIZE
# from then on, in this session and in the next.
retr_says() {
	as_alice 'RETR 1' 'LIST 1' QUIT
	[ "${lines[0]}" = "+OK $1 octets" ]
	[ "${lines[-2]}" = "+OK 1 $1" ]
	[ -z "$(troubles)" ]
	as_alice 'LIST 1' 'RETR 1'
	unstuffed >/dev/null
	[ "${lines[0]}" = "+OK 1 $1" ]
	[ "${lines[1]}" = "+OK $1 octets" ]
}

@test "RETR announces the octets that it sends, and LIST agrees from then on" {
	head -c 300000 /dev/zero | tr '\0' x | fold -w 72 >long
	wire=$(($(wc -c <long) + $(wc -l <long) + 2)) # the last line has no line end
	size=$(wc -c <long)
	for name in 1.M1P1.h "1.M1P1.h,S=$size" "1.M1P1.h,W=$wire" "1.M1P1.h,S=$size,W=$((wire - 2))" \
		"1.M1P1.h,W=$((wire + 1000000))" "1.M1P1.h,W=9"; do
		rm -rf "${mail:?}/alice"
		make_maildir alice
		cp long "$mail/alice/cur/$name:2,S"
		# An implausible size is logged.
		if [[ $name == *1308334 || $name == *W=9 ]]; then
			as_alice 'RETR 1' QUIT
			unstuffed >/dev/null
			grep -F "has $wire octets, not as many as was believed" log
		fi
		retr_says "$wire"
	done
	# If the last line has its line end, W= is confirmed without measuring the message.
	echo >>long
	rm "$mail"/alice/cur/*
	cp long "$mail/alice/cur/1.M1P1.h,W=$wire:2,S"
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' >script
	trace trace trace=read -P "$mail/alice/cur/1.M1P1.h,W=$wire:2,S" "$HANDLER" "${options[@]}" <script >out
	unstuffed >/dev/null
	[ "$(grep -c ', 65536)' trace)" -eq $((size / 65536)) ] # the last read is shorter
	rm "$mail"/alice/cur/*
	for short in 0: '3:a\n' 3:a '7:a\nb\r' '3:.\n'; do
		rm -rf "${mail:?}/alice" # and its cache
		make_maildir alice
		make_message alice/new/1.M1P1.h "${short#*:}"
		retr_says "${short%%:*}"
	done
}

@test "in a folder, RETR announces what it sends of a file that has changed since LIST" {
	rm -r "$mail/alice"
	mkdir "$mail/alice"
	head -c 200000 /dev/zero | tr '\0' x >"$mail/alice/1.eml"
	start_session one
	login one
	ask one 'LIST 1'
	[ "$reply" = '+OK 1 200002' ]
	head -c 100000 /dev/zero | tr '\0' x >"$mail/alice/1.eml"
	ask one 'RETR 1'
	[ "$reply" = '+OK 100002 octets' ]
	hear_all one
	ask one 'LIST 1'
	[ "$reply" = '+OK 1 100002' ]
}

@test "a size in a Maildir name is trusted, and corrected and logged when RETR finds it wrong" {
	make_message 'alice/new/1.M1P1.h,S=4,W=5' 'abc\n'
	make_message 'alice/new/2.M1P1.h,W=5' 'abc'
	make_message 'alice/new/3.M1P1.h,W=3' 'abc'
	as_alice LIST 'RETR 1' 'RETR 2' 'RETR 3' LIST QUIT
	[ "${lines[*]:1:3}" = '1 5 2 5 3 3' ]
	[ "${lines[*]: -5:3}" = '1 5 2 5 3 5' ]
	[ -z "$(troubles)" ]
	as_alice 'LIST 3'
	[ "${lines[0]}" = '+OK 3 5' ]
	make_message 'alice/cur/4.M1P1.h,W=7:2,S' 'abc\n'
	make_message 'alice/cur/5.M1P1.h,W=3:2,S' 'abc\n'
	as_alice 'LIST 4' 'RETR 4' 'LIST 4' STAT
	[ "${lines[0]}" = '+OK 4 7' ]
	[ "${lines[1]}" = '+OK 5 octets' ]
	[ "${lines[4]}" = '+OK 4 5' ]
	[ "${lines[5]}" = '+OK 5 23' ]
	grep -F "'4.M1P1.h,W=7' has 5 octets" log
	as_alice 'RETR 5'
	[ "${lines[0]}" = '+OK 5 octets' ]
	grep -F "'5.M1P1.h,W=3' has 5 octets" log
}

@test "a compressed or encrypted message is not sent as garbage, and can be deleted" {
	formats=('\x1f\x8b\x08' 'BZh11AY&SY' 'BZh91AY&SY' '\xfd7zXZ\0' '(\xb5/\xfd' '\x04"M\x18' \
		'Dovecot-LZ4\x0d*\x9b\xc5' 'CRYPTED\x03\x07')
	makers=(gzip bzip2 bzip2 xz zstd lz4 'lz4 of Dovecot' 'mail_crypt of Dovecot')
	mkdir "$mail/bob"
	for i in "${!formats[@]}"; do
		make_message "alice/cur/$((i + 1)).M1P1.h,S=20,W=21:2,S" "${formats[i]}\\x00rest\\n"
		make_message "bob/$((i + 1)).eml" "${formats[i]}"
		touch -d "2026-01-0$((i + 1))" "$mail/bob/$((i + 1)).eml"
		[[ ${makers[i]} == mail_crypt* ]] && what=encrypted || what=compressed
		for user in 'alice' 'bob'; do
			[ $user = alice ] && password=apple || password='banana split '
			talk "USER $user" "PASS $password" "RETR $((i + 1))" "TOP $((i + 1)) 0" "LIST $((i + 1))" STAT
			show
			[ "${lines[3]}" = "-ERR [SYS/PERM] cannot read the message: it is $what (${makers[i]})" ]
			[ "${lines[4]}" = "${lines[3]}" ]
			[[ ${lines[5]} == +OK* ]]
			[[ ${lines[6]} == +OK* ]]
			[ "$(troubles | wc -l)" -eq 1 ]
			grep -F "cannot read the message '$((i + 1))." log
			grep -F ": it is $what (${makers[i]})" log
		done
	done
	as_alice 'DELE 1' QUIT
	[ "$(files alice | wc -l)" -eq 7 ]
}

@test "mail that only begins like a compressed file is sent" {
	texts=('BZh9: a header\n' 'BZh91AY&SX\n' 'CRYPTED: yes\n' 'Dovecot-LZ4: 1\n' '\x1f\x8b' '7zXZ\n' '\x1f' 'C' '(\xb5/'
		'From alice\n' '\xef\xbb\xbfSubject: x\n')
	for i in "${!texts[@]}"; do
		make_message "alice/new/$((100 + i)).M1P1.h" "${texts[i]}"
	done
	for i in "${!texts[@]}"; do
		as_alice "RETR $((i + 1))" "TOP $((i + 1)) 0"
		[[ ${lines[0]} == '+OK '*' octets' ]]
		[ -z "$(troubles)" ]
	done
}

@test "in a folder, ,W= in a name has no meaning" {
	rm -r "$mail/alice"
	mkdir "$mail/alice"
	make_message 'alice/a,W=9' 'abc\n'
	as_alice 'LIST 1'
	[ "${lines[0]}" = '+OK 1 5' ]
}

@test "a read error in the middle of RETR ends the connection without a final dot" {
	head -c 300000 /dev/zero | tr '\0' x >"$mail/alice/new/1.M1P1.h"
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' 'DELE 1' QUIT >script
	status=0
	# Five reads count the octets; then the message is read again.
	trace trace trace=read -P "$mail/alice/new/1.M1P1.h" -e inject=read:error=EIO:when=8 \
		"$HANDLER" "${options[@]}" <script >out 2>log || status=$?
	grep -F 'EIO (Input/output error) (INJECTED)' trace
	[ "$status" -eq 74 ]
	[ "$(wc -c <out)" -gt 100000 ]
	[ "$(tail -c 5 out)" = xxxxx ]
	grep -F "cannot read the message '1.M1P1.h' to its end: Input/output error" log
	[ "$(files alice)" = ./new/1.M1P1.h ]
}

@test "a read error before the first octet is sent is an -ERR, and the session continues" {
	make_message alice/new/1.M1P1.h
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' 'TOP 1 0' STAT NOOP >script
	trace trace trace=read -P "$mail/alice/new/1.M1P1.h" -e inject=read:error=EIO \
		"$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[ "${lines[3]}" = '-ERR [SYS/TEMP] cannot read the message' ]
	[ "${lines[4]}" = '-ERR [SYS/TEMP] cannot read the message' ]
	[ "${lines[5]}" = '+OK 1 21' ]
	[ "${lines[6]}" = '+OK nothing done' ]
	[ "$(troubles)" = "pop3-handler: cannot read the message '1.M1P1.h' of '$mail/alice': Input/output error" ]
}

@test "a message that shrinks while it is sent is never ended with a dot" {
	head -c 8000000 /dev/zero | tr '\0' x >"$mail/alice/new/1.M1P1.h"
	start_session one
	login one
	ask one 'RETR 1'
	truncate -s 4000000 "$mail/alice/new/1.M1P1.h"
	cat <&"$from_one" >out
	hang_up one
	[ "$status" -eq 74 ]
	[ "$(tail -c 5 out)" = xxxxx ]
	grep -F "cannot read the message '1.M1P1.h' to its end" one.log
}

@test "a message that grows while it is sent ends at its former end" {
	head -c 8000000 /dev/zero | tr '\0' x >"$mail/alice/new/1.M1P1.h"
	start_session one
	login one
	ask one 'RETR 1'
	echo more >>"$mail/alice/new/1.M1P1.h"
	say one QUIT
	cat <&"$from_one" >out
	hang_up one
	[ "$status" -eq 0 ]
	[ "$(tr -d x <out)" = $'\r\n.\r\n+OK goodbye\r' ]
	[ "$(tr -cd x <out | wc -c)" -eq 8000000 ]
}
