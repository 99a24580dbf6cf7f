#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Lines of the log: what a client can do to them, and what a log that stalls can do to clients.

load helpers

# --- Names ---

@test "a line of the log that is too long is cut, and shows it" {
	expect_status=78
	printf '%01200d = 1\n' 0 >settings
	handle /dev/null --config=settings
	grep -xE "pop3-handler: settings:1: there is no setting '0+\.\.\." log >line
	[ "$(wc -c <line)" -eq 1015 ] # 1,000, the name, a colon, a blank and a line end
	for zeros in {955..975}; do # an escaped octet stays whole, or is cut as a whole
		printf "%0${zeros}d\x01 = 1\n" 0 >settings
		handle /dev/null --config=settings
		grep -xE "pop3-handler: settings:1: there is no setting '0+((\\\\x01)?'|(\\\\x01)?\.\.\.)" log >line
		[ "$(wc -c <line)" -le 1015 ]
		[[ $(<line) == *\' || $(wc -c <line) -ge 1012 ]]
	done
}

@test "a name cannot push address and reason off its line" {
	odd=$(printf '\xff%.0s' {1..300})
	export TCPREMOTEIP=192.0.2.1
	refused="' from 192.0.2.1 refused: "
	talk "USER $odd"
	grep -xE "pop3-handler: login of '(\\\\xff)+\.\.\.${refused}a password without TLS" log
	options+=(--plaintext-auth=always)
	talk "USER $odd" 'PASS x'
	grep -xE "pop3-handler: login of '(\\\\xff)+\.\.\.${refused}[a-z ]+" log
	talk "AUTH PLAIN $(printf '\0%s\0x' "$odd" | base64 -w 0)"
	grep -xE "pop3-handler: login of '(\\\\xff)+\.\.\.${refused}[a-z ]+" log >line
	[ "$(grep -oE "'.*'" line | wc -c)" -le 258 ] # 255 octets, quotes, a line end
	talk "AUTH PLAIN $(printf 'bob\0%s\0x' "$odd" | base64 -w 0)"
	grep -xE "pop3-handler: login of '(\\\\xff)+\.\.\.${refused}the mailbox of somebody else" log
	# An escaped octet stays whole, or is cut as a whole, and 255 octets stay.
	for octets in {240..256}; do
		name=$(printf "%0${octets}d" 0)
		talk "USER $name"$'\xff' 'PASS x'
		grep -xE "pop3-handler: login of '0+(\\\\xff|\.\.\.)${refused}[a-z ]+" log
	done
	talk "USER ${name%0}" 'PASS x'
	grep -xE "pop3-handler: login of '0{255}${refused}[a-z ]+" log
}

@test "a path or a file name cannot push the reason off its line" {
	odd=$(printf '\xff%.0s' {1..200})
	options+=("--mailbox=$mail/%u/$odd/$odd/$odd")
	mkdir -p "$mail/alice"
	printf x >"$mail/alice/$odd"
	talk 'USER alice' 'PASS apple'
	grep -xE "pop3-handler: cannot open the mailbox '$mail/alice/(\\\\xff)+\.\.\.': Not a directory" log
	options+=("--users=/$odd/$odd/$odd")
	talk "USER $odd" 'PASS apple'
	grep -xE "pop3-handler: cannot look up '(\\\\xff)+\.\.\.' in the passwd-file '/(\\\\xff)+\.\.\.': No such file or directory" log
}

@test "a name cannot end its quotes" {
	export TCPREMOTEIP=192.0.2.1
	options+=(--plaintext-auth=always)
	name="x' from 192.0.2.1 accepted: "
	quoted="'x\\x27 from 192.0.2.1 accepted: '"
	talk "AUTH PLAIN $(printf '\0%s\0x' "$name" | base64 -w 0)"
	grep -xF "pop3-handler: login of $quoted from 192.0.2.1 refused: no such user" log
	# Nor can the file name of a message, which an ordinary user may not read.
	make_maildir alice
	printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' "RETR UID:it's" QUIT >script
	as_nobody true
	make_message "alice/new/it's"
	chmod 0 "$mail/alice/new/it's"
	start_session one setpriv --reuid=nobody --regid=nogroup --clear-groups ./handler "${options[@]/#--user=*/--user=nobody}"
	login one
	for message in 1 "UID:it's"; do
		ask one "RETR $message"
		[[ $reply == -ERR* ]]
	done
	grep -xF "pop3-handler: cannot open the message 'it\\x27s': Permission denied" one.log
}
