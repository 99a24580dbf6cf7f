#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Commands, states, lines and arguments.

load helpers

@test "the greeting is one +OK line" {
	handle /dev/null
	[ "$(cat out)" = $'+OK pop3-handler ready\r' ]
}

# rows: the command table, as NAME SHAPE CAPABILITY STATES.
rows() {
	sed -nE 's/^\t\{ "([A-Z]+)", +(IN_[A-Z_ |]+), +ARG_([A-Z_]+), +[a-z_]+, +"?([A-Z]+)"?, .*/\1 \3 \4 \2/p' \
		"$BATS_TEST_DIRNAME/../protocol.c"
}

@test "CAPA lists the same in AUTHORIZATION and in TRANSACTION" {
	talk CAPA
	before=("${lines[@]:2}")
	as_alice CAPA
	[ "${lines[*]:1}" = "${before[*]}" ]
	rows | awk '$3 != "NULL" { print $3 }' >expected
	[ "$(wc -l <expected)" -ge 3 ]
	printf '%s\n' USER 'SASL PLAIN LOGIN' RESP-CODES AUTH-RESP-CODE PIPELINING 'EXPIRE NEVER' 'SLEE-WAKE 86400' \
		SLEEPING UID-PARAM 'IMPLEMENTATION pop3-handler' . >>expected
	diff <(sort expected) <(printf '%s\n' "${before[@]}" | sort)
}

@test "pop3-handler(8) has each command, and the states in which it is valid" {
	rows | sed 's/IN_AUTH/A/; s/IN_TRANSACTION/T/; s/IN_SLEEP/S/; s/IN_ANY/A | T | S/; s/ |/,/g' |
		awk '{ name = $1; $1 = $2 = $3 = ""; sub(/^ +/, ""); print name, $0 }' | sort >expected
	[ "$(wc -l <expected)" -ge 17 ]
	sed -n '/^\.Sh COMMANDS/,/^\.El/p' "$BATS_TEST_DIRNAME/../man/pop3-handler.8" |
		sed -nE '/^\.It Cm /{ s/^\.It Cm ([A-Z]+).*/\1/; N; s/\n(.*):.*/ \1/p }' | sort >documented
	diff expected documented
}

@test "every command is valid in its states only, and otherwise the session continues" {
	make_maildir alice
	while read -r name shape _ valid; do
		case $shape in
		NAME) command="$name alice" ;;
		SECRET) command="$name apple" ;;
		MSG) command="$name 1" ;;
		MSG_COUNT) command="$name 1 1" ;;
		*) command=$name ;;
		esac
		for state in AUTH TRANSACTION SLEEP; do
			make_message alice/new/1.M1P1.h
			case $state in
			AUTH) before=() ;;
			TRANSACTION) before=('USER alice' 'PASS apple') ;;
			SLEEP) before=('USER alice' 'PASS apple' 'SLEE') ;;
			esac
			[ "$command $state" != 'PASS apple AUTH' ] || before=('USER alice')
			talk "${before[@]}" "$command" XYZZY
			reply=${lines[${#before[@]} + 1]}
			echo "$command in $state: $reply"
			if [[ " $valid " == *" IN_ANY "* || " $valid " == *" IN_$state "* ]]; then
				[[ $reply == +OK* || $reply == '-ERR TLS is not offered here' ]]
			else
				[ "$reply" = '-ERR this command is not valid in this state' ]
			fi
			if [ "$command" != QUIT ]; then
				[ "${lines[-1]}" = '-ERR unknown command' ]
			fi
		done
	done < <(rows)
}

@test "keywords are accepted in any case, and lines may end in LF or CRLF" {
	printf 'uSeR alice\npass apple\r\nStat\nquit\r\n' >script
	handle script
	read_lines
	[ "${lines[3]}" = '+OK 0 0' ]
	[ "${lines[4]}" = '+OK goodbye' ]
}

@test "every line that is sent ends in CRLF" {
	make_maildir alice
	make_message alice/new/1.M1P1.h 'a: b\n\nc\nd'
	as_alice CAPA LIST UIDL 'RETR 1' 'TOP 1 0' XYZZY QUIT
	[ "$(tr -cd '\n' <out | wc -c)" -eq "$(grep -c $'\r$' out)" ]
	[ "$(tr -cd '\r' <out | wc -c)" -eq "$(grep -c $'\r$' out)" ]
}

@test "blanks at the end of a line are ignored, except for PASS" {
	talk 'USER bob  ' 'PASS banana split' 'USER bob' 'PASS banana split ' $'STAT \t ' 'NOOP '
	[[ ${lines[2]} == '-ERR [AUTH]'* ]]
	[[ ${lines[4]} == +OK* ]]
	[ "${lines[5]}" = '+OK 0 0' ]
	[[ ${lines[6]} == +OK* ]]
}

@test "a command without its argument, or with one too many, is an error" {
	make_maildir alice
	make_message alice/new/1.M1P1.h
	as_alice RETR 'RETR 1 1' TOP 'TOP 1' 'TOP 1 x' 'TOP 1 1 1' DELE 'DELE 1 1' DELI 'DELI 1 1' \
		'LIST 1 1' 'UIDL 1 1' 'STAT 1' 'NOOP x' 'RSET x' 'SLEE x' 'CAPA x' 'QUIT x' \
		'RETR UID:' 'RETR UID: 1.M1P1.h' 'TOP 1 -1' 'TOP 1 99999999999999999999' ' NOOP' ''
	show
	[ "${#lines[@]}" -eq 24 ]
	for line in "${lines[@]}"; do
		[[ $line == -ERR* ]]
	done
	talk USER PASS 'USER alice' 'PASS ' 'QUIT now'
	for line in 1 2 4 5; do
		[[ ${lines[line]} == -ERR* ]]
	done
	[ "$(files alice)" = ./new/1.M1P1.h ]
}

@test "only a plain number from 1 to the number of messages names a message" {
	make_maildir alice
	make_message alice/new/1.M1P1.h
	make_message alice/new/2.M1P1.h
	for number in 0 3 1x x1 +1 -1 1.0 0x1 '1,' 18446744073709551617 99999999999999999999 \
		4294967297 '' '*'; do
		for command in RETR DELE DELI; do
			as_alice "$command $number" STAT
			[[ ${lines[0]} == -ERR* ]]
			[ "${lines[1]}" = '+OK 2 48' ]
		done
		[ -z "$number" ] && continue
		as_alice "LIST $number" "UIDL $number" "TOP $number 0"
		[[ ${lines[0]} == -ERR* ]]
		[[ ${lines[1]} == -ERR* ]]
		[[ ${lines[2]} == -ERR* ]]
	done
}

@test "a line of 512 octets is a command, a line of 513 gets one -ERR" {
	for end in '\n' '\r\n'; do
		printf "NOOP%508s$end" '' >line512
		printf "NOOP%509s$end" '' >line513
		printf 'USER alice\nPASS apple\n' | cat - line512 line513 <(printf 'STAT\n') >script
		handle script
		read_lines
		[ "${lines[3]}" = '+OK nothing done' ]
		[ "${lines[4]}" = '-ERR the line is too long' ]
		[ "${lines[5]}" = '+OK 0 0' ]
		[ "${#lines[@]}" -eq 6 ]
	done
}

@test "a line of 10 MiB gets one -ERR, and the next command works" {
	{
		printf 'USER alice\nPASS apple\nNOOP '
		head -c 10485760 /dev/zero | tr '\0' x
		printf '\nSTAT\n'
	} >script
	handle script
	read_lines
	[[ ${lines[3]} == -ERR* ]]
	[ "${lines[4]}" = '+OK 0 0' ]
	[ "${#lines[@]}" -eq 5 ]
}

@test "a line with a NUL is an error, and the next command works" {
	printf 'USER alice\nPASS apple\nNOOP\0\nSTAT\0 1\nST\0AT\nSTAT\n' >script
	handle script
	read_lines
	for line in 3 4 5; do
		[ "${lines[line]}" = '-ERR the line has a NUL in it' ]
	done
	[ "${lines[6]}" = '+OK 0 0' ]
}

@test "a line that end of file truncates is not a command" {
	make_maildir alice
	make_message alice/new/1.M1P1.h
	printf 'USER alice\nPASS apple\nDELE 1\nQUIT' >script
	handle script
	read_lines
	[ "${#lines[@]}" -eq 4 ]
	[ "$(files alice)" = ./new/1.M1P1.h ]
	printf 'USER alice\nPASS apple\nDELI 1' >script
	handle script
	[ "$(files alice)" = ./new/1.M1P1.h ]
}

@test "hundreds of commands in one write are all answered, in order" {
	make_messages 9
	commands=() expected=()
	for i in {1..300}; do
		commands+=("RETR $((i % 9 + 1))" "UIDL $((i % 9 + 1))")
		expected+=('+OK 11 octets' "message $((i % 9 + 1))" . \
			"+OK $((i % 9 + 1)) $((i % 9 + 1)).M1P1.h")
	done
	as_alice "${commands[@]}"
	[ "${lines[*]}" = "${expected[*]}" ]
}

@test "pipelined commands are answered without a system call each" {
	commands=()
	for _ in {1..1000}; do
		commands+=(NOOP)
	done
	printf '%s\r\n' 'USER alice' 'PASS apple' "${commands[@]}" >script
	trace_calls trace trace=read,write,poll "$HANDLER" "${options[@]}" <script >out
	[ "$(grep -c '^+OK nothing done' out)" -eq 1000 ]
	[ "$(grep -cE '(write\(1,|poll\()' trace)" -lt 50 ]
}

@test "a command may arrive octet by octet" {
	start_session one
	login one
	for octet in S T A T $'\r' $'\n'; do
		printf %s "$octet" >&"$to_one"
	done
	hear one
	[ "$reply" = '+OK 0 0' ]
	# The longest line, split everywhere, also between its CR and its LF.
	for _ in {1..5}; do
		printf %s STAT >&"$to_one"
		for _ in {1..508}; do
			printf ' ' >&"$to_one"
		done
		printf '\r' >&"$to_one"
		printf '\n' >&"$to_one"
		hear one
		[ "$reply" = '+OK 0 0' ]
	done
}

@test "neither a status line nor the end of a message is split over two writes" {
	make_maildir alice
	# Sizes around those of the buffers for a pipe (4,096) and for a file or socket (65,536).
	i=0
	for size in {4040..4110..7} 8150 8190 {65420..65536..29}; do
		i=$((i + 1))
		head -c "$size" /dev/zero | tr '\0' x >"$mail/alice/new/$((1000 + i)).M1P1.h"
		commands+=("RETR $i" "LIST $i" NOOP)
	done
	# Short answers in any order, so that the buffer becomes full anywhere in them.
	for size in {0..60}; do
		i=$((i + 1))
		head -c "$size" /dev/zero | tr '\0' x >"$mail/alice/new/$((1000 + i)).M1P1.h"
	done
	RANDOM=1
	for _ in {1..4000}; do
		n=$((i - RANDOM % 61))
		short=("RETR $n" "LIST $n" NOOP "TOP $n 0")
		commands+=("${short[RANDOM % 4]}")
	done
	printf '%s\r\n' 'USER alice' 'PASS apple' "${commands[@]}" >script
	trace trace trace=write -s 70000 -xx "$HANDLER" "${options[@]}" <script | cat >out
	trace trace-file trace=write -s 70000 -xx "$HANDLER" "${options[@]}" <script >out2
	cmp out out2
	/usr/bin/python3 - trace trace-file <<-'END'
		import re, sys
		for name in sys.argv[1:]:
		    writes = [bytes.fromhex(m.replace('\\x', '')) for m in
		              re.findall(r'write\(1, "([^"]*)"', open(name).read())]
		    assert len(writes) > 2, name
		    for before, after in zip(writes, writes[1:]):
		        line = before[before.rfind(b'\n') + 1:]
		        assert not line.startswith((b'+OK', b'-ERR')), (name, line)
		        assert not after.startswith((b'\n', b'\r\n', b'.\r\n')), (name, after[:9])
	END
}

@test "a client that closes early ends the session without an error, and nothing is deleted" {
	make_maildir alice
	head -c 3000000 /dev/zero | tr '\0' x >"$mail/alice/new/1.M1P1.h"
	printf '%s\r\n' 'USER alice' 'PASS apple' 'DELE 1' RSET 'RETR 1' 'DELE 1' QUIT >script
	{
		status=0
		"$HANDLER" "${options[@]}" <script 2>log || status=$?
		echo "$status" >status
	} | head -c 100 >out
	[ "$(cat status)" -eq 0 ]
	[ -z "$(troubles)" ]
	[ "$(files alice)" = ./new/1.M1P1.h ]
}

@test "free text never begins with [" {
	make_maildir alice
	as_alice STAT LIST 'LIST 1' UIDL 'RETR 1' XYZZY 'DELE UID:[x]' 'RETR [x' '[' 'UIDL UID:[' SLEE NOOP \
		WAKE QUIT
	code='\[(AUTH|SYS/TEMP|SYS/PERM|IN-USE|LOGIN-DELAY|UID|ACTIVITY/NEW|ACTIVITY/NONE|READ-ONLY)\] [^[]'
	[ "$(grep -cE '^(\+OK|-ERR) \[' out)" -gt 0 ]
	[ "$(grep -E '^(\+OK|-ERR) \[' out | grep -vcE "^(\+OK|-ERR) $code")" -eq 0 ]
}
