#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Timeouts, each in its state. A timeout sends nothing and deletes nothing.

load helpers

# ends NAME: the session ends by itself, sends nothing more, and exits with 0.
ends() {
	local from=from_$1 pid=pid_$1
	timeout 20 cat <&"${!from}" >rest
	[ ! -s rest ]
	status=0
	wait "${!pid}" || status=$?
	[ "$status" -eq 0 ]
	[ -z "$(troubles "$1.log")" ]
}

# trickle FD TEXT: sends the text repeatedly until the reader is gone.
trickle() {
	(
		trap '' PIPE
		while printf %s "$2" >&"$1"; do
			read -r -t 0.05 <> <(:)
		done 2>/dev/null 3>&-
	) &
	background+=($!)
}

@test "login-timeout runs from the start to a login, whatever the client sends" {
	options+=(--login-timeout=1 --idle-timeout=600)
	start_session silent
	ends silent
	start_session talker
	# An octet or a whole command does not restart the timeout.
	trickle "$to_talker" $'CAPA\nx'
	status=0
	wait "$pid_talker" || status=$?
	[ "$status" -eq 0 ]
}

@test "idle-timeout ends a session in TRANSACTION, and deletes nothing" {
	make_maildir alice
	make_message alice/new/1.M1P1.h
	options+=(--login-timeout=600 --idle-timeout=1 --sleep-timeout=600)
	start_session one
	login one
	ask one 'RETR 1'
	hear_all one
	ask one 'DELE 1'
	ends one
	[ "$(files alice)" = ./new/1.M1P1.h ]
}

@test "an incomplete command does not restart idle-timeout" {
	make_maildir alice
	options+=(--idle-timeout=1)
	start_session one
	login one
	trickle "$to_one" x
	status=0
	wait "$pid_one" || status=$?
	[ "$status" -eq 0 ]
}

@test "a command restarts idle-timeout" {
	make_maildir alice
	options+=(--idle-timeout=1)
	start_session one
	login one
	start=${EPOCHREALTIME/./}
	while [ $((${EPOCHREALTIME/./} - start)) -lt 1500000 ]; do
		ask one NOOP
		[ "$reply" = '+OK nothing done' ]
		read -r -t 0.1 <> <(:) || true
	done
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
}

@test "sleep-timeout applies in SLEEP" {
	make_maildir alice
	options+=(--idle-timeout=600 --sleep-timeout=1)
	start_session one
	login one
	ask one SLEE
	ends one
	options+=(--idle-timeout=1 --sleep-timeout=600)
	start_session two
	login two
	ask two SLEE
	ask two WAKE
	ends two
}

@test "a client that stops reading counts as idle" {
	make_maildir alice
	head -c 3000000 /dev/zero | tr '\0' x >"$mail/alice/new/1.M1P1.h"
	options+=(--idle-timeout=1)
	start_session one
	login one
	say one 'RETR 1' 'DELE 1' QUIT
	status=0
	wait "$pid_one" || status=$?
	[ "$status" -eq 0 ]
	[ "$(files alice)" = ./new/1.M1P1.h ]
}

@test "a failed AUTH or PASS is answered after a delay, and the next one after twice that" {
	options+=(--login-penalty=1 --login-timeout=60)
	printf '%s\r\n' 'AUTH PLAIN AGFsaWNlAHg=' 'USER alice' 'PASS y' 'USER alice' 'PASS apple' QUIT >script
	trace trace trace=ppoll "$HANDLER" "${options[@]}" <script >out 2>log
	read_lines
	[[ ${lines[1]} == '-ERR [AUTH]'* ]]
	[[ ${lines[3]} == '-ERR [AUTH]'* ]]
	[ "${lines[6]}" = '+OK goodbye' ]
	# During a delay, the session polls only for an error at the client's end.
	grep -E 'ppoll\(\[\{fd=1, events=0\}\], 1, .* = 0' trace |
		sed -E 's/.*tv_sec=([0-9]+), tv_nsec=([0-9]+)\}.*/\1 \2/' |
		awk '{ print int($1 * 1000 + $2 / 1000000) }' >waits
	cat waits
	[ "$(wc -l <waits)" -eq 2 ]
	[ "$(sed -n 1p waits)" -le 1000 ]
	[ "$(sed -n 2p waits)" -gt 1900 ]
}

@test "a delay ends at login-timeout" {
	options+=(--login-penalty=600 --login-timeout=1)
	start_session one
	say one 'USER alice' 'PASS x'
	hear one
	timeout 20 cat <&"$from_one" >rest
	[ ! -s rest ]
	status=0
	wait "$pid_one" || status=$?
	[ "$status" -eq 0 ]
}

@test "a delay ends when the client disconnects" {
	options+=(--login-penalty=600 --login-timeout=600)
	start_session one
	say one 'USER alice' 'PASS x'
	hear one
	exec {from_one}<&-
	status=0
	wait "$pid_one" || status=$?
	[ "$status" -eq 0 ]
}
