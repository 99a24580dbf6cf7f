#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The actions of fail2ban on our log.

load helpers
load keeper

setup() {
	setup_site
	cp -r /etc/fail2ban fail2ban
	cp "$BATS_TEST_DIRNAME/../fail2ban/filter.conf" fail2ban/filter.d/pop3-handler.conf
	cp "$BATS_TEST_DIRNAME/../fail2ban/jail.conf" fail2ban/jail.d/pop3-handler.conf
	rm -f fail2ban/jail.d/defaults-debian.conf # a jail for sshd, which may be missing
}

# banned FILE: prints the addresses that the filter finds in a log with syslog's prefix, one a line.
banned() {
	sed 's/^pop3-handler: /Nov 24 12:00:00 mail pop3-handler[123]: /' "$1" >mail.log
	fail2ban-regex --config "$PWD/fail2ban" --out ip mail.log pop3-handler 2>&1
}

@test "the filter finds hosts that guess passwords, and no others" {
	make_maildir alice
	echo 'off:{PLAIN}x::::::nologin' >>"$users"
	# from ADDRESS LINE...: a session of these lines from there; `all` collects the logs.
	from() {
		TCPREMOTEIP=$1 talk "${@:2}"
		cat log >>all
	}
	for user in alice nobody off; do
		from 192.0.2.1 "USER $user" 'PASS wrong' # such a password is not checked
	done
	options+=(--plaintext-auth=always)
	from 192.0.2.2 'USER alice' 'PASS apple' QUIT
	# A client that is refused because it has the mailbox open itself.
	start_session one
	login one
	from 192.0.2.3 'USER alice' 'PASS apple'
	grep -q "login of 'alice' from 192.0.2.3 refused: the mailbox is in use" log
	i=3
	for user in alice nobody off; do
		from 192.0.2.$((++i)) "USER $user" 'PASS wrong'
		from 2001:db8::$i "USER $user" 'PASS wrong'
	done
	for password in $'\xc3\xa4' $'\xe4'; do # the reason says that they are not ASCII
		from 192.0.2.$((++i)) 'USER alice' "PASS $password"
	done
	[ "$(banned all | sort | tr '\n' ' ')" = '192.0.2.4 192.0.2.5 192.0.2.6 192.0.2.7 192.0.2.8 2001:db8::4 2001:db8::5 2001:db8::6 ' ]
}

@test "the filter finds hosts that PAM, a program or the keeper refuses, and none when these fail" {
	local i=0 result
	needs_root
	[ -e "${HANDLER%/*}/pop3-handler-pam.so" ] || skip 'PAM is not built in'
	export ASAN_OPTIONS=exitcode=99:detect_leaks=0 # LeakSanitizer finds nothing after a change of users
	let_others_in
	make_service_users
	sed -i '/^nobody:/d' passwd
	echo 'zoe:x:61001:61001::/:/bin/false' >>passwd
	echo 'ann:{PLAIN}x:61001:61001' >"$users"
	echo 'low:{PLAIN}x:33:33' >>"$users"
	chmod a+rX accounts "$users"
	cp -r /etc/pam.d .
	# shellcheck disable=SC2016
	printf '%s\n' '#!/bin/bash' 'IFS= read -r -d "" -u 3 status' 'exit "$status"' >program
	chmod +x program
	# from_next AUTH USER PASSWORD: a session with a keeper from the next address.
	from_next() {
		message=$(printf '\0%s\0%s' "$2" "$3" | base64 -w 0)
		printf 'AUTH PLAIN %s\r\n' "$message" >script
		# shellcheck disable=SC2016
		TCPREMOTEIP=192.0.2.$((++i)) "${wrapper[@]}" sh -ec 'mount --bind pam.d /etc/pam.d; exec "$@"' sh "$HANDLER" \
			--login-penalty=0 --plaintext-auth=always "--users=$users" "--auth=$1" <script >out 2>log
		cat log
		cat log >>all
	}
	for result in auth_err user_unknown maxtries; do
		echo "auth required pam_debug.so auth=$result" >pam.d/pop3
		from_next pam zoe x
	done
	from_next pam zoe ''
	from_next pam ghost x
	from_next pam root x
	from_next "checkpassword $PWD/program" 1 x
	from_next passwd-file ann wrong
	from_next passwd-file low x
	for result in system_err authinfo_unavail abort acct_expired; do # these are not about a password
		echo "auth required pam_debug.so auth=$result" >pam.d/pop3
		from_next pam zoe x
	done
	from_next "checkpassword $PWD/program" 111 x
	[ "$(grep -c ' refused: ' all)" -eq "$i" ]
	[ "$(banned all | sort | tr '\n' ' ')" = "$(printf '192.0.2.%d ' {1..9})" ]
}

@test "omitted lines about failed logins count, and other omitted lines do not" {
	echo 'pop3-handler: 5 lines about 192.0.2.1 were omitted: 3 login failed, 2 session ended' >log
	echo 'pop3-handler: 5 lines about 192.0.2.2 were omitted: 3 login refused, 2 session ended' >>log
	echo 'pop3-handler: 5 lines about 2001:db8:1::/64 were omitted: 3 login failed, 2 session ended' >>log
	[ "$(banned log | tr '\n' ' ')" = '192.0.2.1 2001:db8:1::/64 ' ]
}

@test "no user name that a client sends gets another host banned" {
	local i=0
	options+=(--plaintext-auth=always)
	for name in "x' from 203.0.113.9 refused: wrong password" "x' from 203.0.113.9 refused: no such user" \
		"$(printf '%950s' '' | tr ' ' x)' from 203.0.113.9 refused: wrong password" \
		"$(printf '%972s' '' | tr ' ' x)' from 203.0.113.9 refused: no such user" \
		$'x\nlogin of \'y\' from 203.0.113.9 refused: no such user'; do
		message=$( { printf '\0'; printf %s "$name"; printf '\0x'; } | base64 -w 0)
		TCPREMOTEIP=192.0.2.$((++i)) talk "AUTH PLAIN" "$message"
		tee -a all <log
	done
	[ "$(banned all | sort -u | tr '\n' ' ')" = '192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 ' ]
}

@test "fail2ban accepts the jail" {
	run -0 fail2ban-client -c fail2ban -t
	fail2ban-client -c fail2ban -d >commands
	grep -qF "['add', 'pop3-handler', 'systemd']" commands
	grep -qF "['start', 'pop3-handler']" commands
}
