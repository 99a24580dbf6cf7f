#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Which names, passwords and addresses may log in, and to which mailbox.

load helpers

# refused: the last login got the answer to a wrong password.
refused() {
	[ "${lines[-1]}" = '-ERR [AUTH] wrong user name or password' ]
}

@test "PASS takes the password with its blanks" {
	talk 'USER bob' 'PASS banana split '
	[[ ${lines[2]} == +OK* ]]
	for password in 'banana split' 'banana' ' banana split ' 'banana split  ' banana; do
		talk 'USER bob' "PASS $password"
		refused
	done
}

@test "a wrong password, an unknown user and a bad name get the same answer" {
	printf '%s\n' '../bob:{PLAIN}x' '..:{PLAIN}x' '.:{PLAIN}x' 'a/b:{PLAIN}x' $'c\001:{PLAIN}x' \
		'empty:' 'locked:!' 'unknown:{MD4}x' 'off:{PLAIN}x::::::nologin' >>"$users"
	make_maildir bob
	for user in alice nobody ../bob .. . a/b $'c\001' empty locked unknown off; do
		talk "USER $user" 'PASS x'
		[ "${lines[1]}" = '+OK send PASS' ]
		refused
		grep -q "^pop3-handler: login of '.*' from local refused: [a-z ]*\({MD4} is unknown\)\?$" log
	done
	talk $'USER c\001' 'PASS x'
	grep -qF "login of 'c\\x01' from local refused: a bad user name" log
}

@test "no password is ever logged, and a name cannot forge a log line" {
	talk 'USER alice' 'PASS wrong-secret' $'USER x\rforged' 'PASS wrong-secret'
	run ! grep -F wrong-secret log
	[ "$(troubles | wc -l)" -eq 2 ]
	grep -F 'x\x0dforged' log
}

@test "crypt(3) passwords are checked by libxcrypt" {
	# shellcheck disable=SC2016
	printf '%s\n' \
		"six:$(openssl passwd -6 -salt salt 'pass word')" \
		"five:{SHA256-CRYPT}$(openssl passwd -5 -salt salt 'pass word')" \
		"tagged:{sha512-crypt}$(openssl passwd -6 -salt other 'pass word'):1000:1000::/h" >"$users"
	for user in six five tagged; do
		talk "USER $user" 'PASS pass word'
		[[ ${lines[2]} == +OK* ]]
		talk "USER $user" 'PASS pass words'
		refused
	done
}

@test "PASS needs USER before it, and again after a refused PASS" {
	talk 'PASS apple' 'USER alice' 'PASS wrong' 'PASS apple' 'USER bob' 'USER alice' 'PASS apple'
	[ "${lines[1]}" = '-ERR send USER first' ]
	[ "${lines[4]}" = '-ERR send USER first' ]
	[[ ${lines[7]} == +OK* ]]
}

@test "without a users setting every login fails, and an unreadable file is a temporary failure" {
	options=("$as_me" "--mailbox=$mail/%u" --login-penalty=0)
	talk 'USER alice' 'PASS apple'
	refused
	talk_users=$PWD/missing
	options+=("--users=$talk_users")
	talk 'USER alice' 'PASS apple' NOOP QUIT
	[ "${lines[2]}" = '-ERR [SYS/TEMP] cannot look up the account' ]
	[ "${lines[-1]}" = '+OK goodbye' ]
	grep -xF "pop3-handler: cannot look up 'alice' in the passwd-file '$talk_users': No such file or directory" log
}

@test "a malformed line of the passwd-file is skipped and logged" {
	printf '%s\n' '# comment' '' 'no colon' 'alice:{PLAIN}apple' >"$users"
	as_alice STAT
	grep -xF "pop3-handler: malformed lines in '$users' are skipped: 1, the first is line 3" log
	printf 'x\0y:z\nalice:{PLAIN}apple' >"$users"
	as_alice STAT
	grep -F 'the first is line 1' log
}

@test "mailbox or userdb_mail gives the path of the mailbox" {
	make_maildir home/Maildir
	make_maildir domains/example.org/carol
	make_maildir own
	printf '%s\n' "alice:{PLAIN}apple:1:1::$mail/home" 'carol@example.org:{PLAIN}cherry' \
		"dave:{PLAIN}date::::$mail::userdb_mail=maildir:~/own quota=x" 'erin:{PLAIN}elder' >"$users"
	make_message home/Maildir/new/1.M1P1.home
	make_message domains/example.org/carol/new/1.M1P1.carol
	make_message own/new/1.M1P1.own
	options=("$as_me" "--users=$users" --login-penalty=0)
	as_alice 'UIDL 1'
	[ "${lines[0]}" = '+OK 1 1.M1P1.home' ]
	talk 'USER dave' 'PASS date' 'UIDL 1'
	[ "${lines[3]}" = '+OK 1 1.M1P1.own' ]
	talk 'USER erin' 'PASS elder'
	[ "${lines[2]}" = '-ERR [SYS/PERM] cannot look up the account' ]
	grep -xF "pop3-handler: the account 'erin' has no usable mailbox path" log
	options+=("--mailbox=$mail/domains/%d/%n")
	talk 'USER carol@example.org' 'PASS cherry' 'UIDL 1'
	[ "${lines[3]}" = '+OK 1 1.M1P1.carol' ]
	# alice has no domain: with this template, her mailbox would be the directory of a domain.
	talk 'USER alice' 'PASS apple'
	refused
}

@test "plaintext-auth: pipes, Unix sockets and loopback peers are local" {
	printf '%s\r\n' CAPA 'USER alice' 'PASS apple' QUIT >script
	for address in unix 127.0.0.1 127.9.9.9 ::1 mapped:127.0.0.1; do
		echo "$address"
		"$BATS_TEST_DIRNAME/on-socket.py" "$address" "$HANDLER" "${options[@]}" <script >out
		read_lines
		[ "${lines[-1]}" = '+OK goodbye' ]
		[[ ${lines[-2]} == '+OK 0 messages' ]]
		grep -qx $'USER\r' out
	done
	"$HANDLER" "${options[@]}" --plaintext-auth=never <script >out
	read_lines
	[[ ${lines[-3]} == '-ERR passwords are refused without TLS: use TLS' ]]
	[[ ${lines[-2]} == '-ERR passwords are refused without TLS: use TLS' ]]
	run ! grep -x $'USER\r' out
}

@test "plaintext-auth: peers in a network may send a password only with `always`" {
	needs_root
	printf '%s\r\n' CAPA 'USER alice' 'PASS apple' QUIT >script
	for address in 192.0.2.1 2001:db8::1 mapped:192.0.2.1; do
		for policy in never local always; do
			unshare --net sh -c '
				ip link set lo up
				ip address add 192.0.2.1/32 dev lo
				ip address add 2001:db8::1/128 dev lo nodad
				exec "$@"' sh "$BATS_TEST_DIRNAME/on-socket.py" "$address" \
				"$HANDLER" "${options[@]}" --plaintext-auth=$policy <script >out
			read_lines
			echo "$address $policy: ${lines[-2]}"
			if [ $policy = always ]; then
				[ "${lines[-2]}" = '+OK 0 messages' ]
				grep -qx $'USER\r' out
			else
				[ "${lines[-3]}" = '-ERR passwords are refused without TLS: use TLS' ]
				[ "${lines[-2]}" = '-ERR passwords are refused without TLS: use TLS' ]
				run ! grep -x $'USER\r' out
			fi
		done
	done
}

@test "the log names the peer" {
	printf '%s\r\n' 'USER alice' 'PASS wrong' QUIT >script
	for address in 127.0.0.1 ::1 mapped:127.0.0.1; do
		"$BATS_TEST_DIRNAME/on-socket.py" "$address" "$HANDLER" "${options[@]}" <script >out 2>log
		grep -xF "pop3-handler: login of 'alice' from ${address#mapped:} refused: wrong password" log
	done
}

@test "a log line never goes to the client, even where standard error leads to it" {
	printf '%s\r\n' 'USER alice' 'PASS wrong' QUIT >script
	"$BATS_TEST_DIRNAME/on-socket.py" 127.0.0.1 sh -c 'exec "$@" 2>&1' sh \
		"$HANDLER" "${options[@]}" <script >out
	run ! grep -F pop3-handler: out
	[ "$(wc -l <out)" -eq 4 ]
	"$HANDLER" "${options[@]}" <script >out 2>&1
	[ "$(wc -l <out)" -eq 4 ]
}

@test "a client that sends more octets after QUIT still gets the whole answer" {
	make_maildir alice
	head -c 30000 /dev/zero | tr '\0' x >"$mail/alice/new/1.M1P1.h"
	{
		printf '%s\r\n' 'USER alice' 'PASS apple' 'RETR 1' QUIT
		head -c 20000 /dev/zero
	} >script
	# Closing a socket with unread octets discards what the client has not read yet.
	LATE=1 "$BATS_TEST_DIRNAME/on-socket.py" 127.0.0.1 "$HANDLER" "${options[@]}" <script >out
	[ "$(tr -cd x <out | wc -c)" -eq 30000 ]
	[ "$(tail -n 1 out)" = $'+OK goodbye\r' ]
}

@test "a peer named in the environment is remote, even over a pipe" {
	for name in REMOTE_ADDR TCPREMOTEIP REMOTE_HOST SOCAT_PEERADDR NCAT_REMOTE_ADDR; do
		for address in 192.0.2.7 2001:db8::7 ::ffff:192.0.2.7 mail.example.org localhost /run/socket; do
			export "$name=$address"
			talk 'USER alice' QUIT
			[[ ${lines[1]} == '-ERR passwords are refused without TLS'* ]]
			address=${address#::ffff:}
			[[ $address == *[.:]*[0-9] ]] || address=unknown
			grep -qF "login of 'alice' from $address refused: a password without TLS" log
		done
		for address in 127.0.0.1 ::1 ''; do
			export "$name=$address"
			as_alice QUIT
		done
		unset "$name"
	done
}

@test "one line at login and one at the end say what a session did" {
	make_messages 3
	as_alice 'RETR 1' 'RETR 1' 'DELE 1' 'DELI 2' SLEE WAKE 'DELE 1' QUIT
	sed -E 's/[0-9.]+ seconds/T seconds/' log >lines
	cat >expected <<-'END'
		pop3-handler: login of 'alice' from local accepted: PASS, no TLS, 3 messages
		pop3-handler: session of 'alice' from local ended: QUIT; no TLS, retrieved 2 (22 octets), deleted 3, slept 1 times, T seconds
	END
	diff expected lines
}

@test "log-deletions names every message that this session deleted, exactly once" {
	make_messages 4
	start_session one "$HANDLER" "${options[@]}" --log-deletions=yes
	login one
	ask one 'DELI 1'
	rm "$mail/alice/new/2.M1P1.h" # another program deletes it first
	ask one 'DELE 2'
	ask one 'DELE 3'
	ask one SLEE
	ask one WAKE
	ask one 'DELE 1'
	ask one RSET
	ask one QUIT
	hang_up one
	grep -F "deleted by" one.log >lines
	cat >expected <<-'END'
		pop3-handler: message '1.M1P1.h' deleted by 'alice' from local
		pop3-handler: message '3.M1P1.h' deleted by 'alice' from local
	END
	diff expected lines
}

@test "SIGTERM ends a session that waits for its client, and deletes nothing" {
	make_messages 1
	start_session one
	login one
	ask one 'DELE 1'
	kill -s TERM "$pid_one"
	hear one || true
	[ -z "$reply" ]
	hang_up one
	[ "$status" -eq 0 ]
	grep -q "session of 'alice' from local ended: the service stops;" one.log
	[ "$(files alice | wc -l)" -eq 1 ]
}

@test "ps shows the user of a session and whether it sleeps" {
	export PADDING=padding # the title may be longer than the command line
	start_session one
	title() {
		tr '\0' ' ' <"/proc/$pid_one/cmdline" | sed 's/ *$//'
	}
	[ "$(title)" = 'pop3-handler: local before login' ]
	login one
	[ "$(title)" = 'pop3-handler: alice local' ]
	ask one SLEE
	[ "$(title)" = 'pop3-handler: alice local asleep' ]
	ask one WAKE
	[ "$(title)" = 'pop3-handler: alice local' ]
}
