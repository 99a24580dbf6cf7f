#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# shellcheck disable=SC2016
# The passwd-file: password schemes, names, fields, and the findings of --check-config.

load helpers

# accounts LINE...: the passwd-file has these lines.
accounts() {
	printf '%s\n' "$@" >"$users"
}

# accepted USER PASSWORD [AS]: the login succeeds, and the log names the user AS.
accepted() {
	talk "USER $1" "PASS $2" QUIT
	[ "${lines[2]}" = '+OK 0 messages' ]
	[ -z "$3" ] || grep -qF "login of '$3' from " log
}

# refused USER PASSWORD REASON: the login is refused like a wrong password, and the log has the reason.
refused() {
	talk "USER $1" "PASS $2" QUIT
	[ "${lines[2]}" = '-ERR [AUTH] wrong user name or password' ]
	grep -qxF "pop3-handler: login of '$1' from ${REMOTE_ADDR-local} refused: $3" log
}

# checked STATUS FINDING...: --check-config reports exactly these findings about the passwd-file, with
# this exit status.
checked() {
	status=0
	"$HANDLER" "${options[@]}" --check-config >out 2>log || status=$?
	[ "$status" -eq "$1" ]
	{ [ $# -eq 1 ] || printf "pop3-handler: $users:%s\n" "${@:2}"; } | diff - log
	[ ! -s out ]
}

# needs_doveadm: skips the test unless Dovecot's doveadm, which makes hashes, is installed.
needs_doveadm() {
	command -v doveadm >/dev/null || skip 'needs doveadm, which tools/packages check installs'
}

# has_argon2: this build can check Argon2.
has_argon2() {
	accounts 'alice:{ARGON2ID}x'
	"$HANDLER" "${options[@]}" --check-config 2>log || true
	! grep -qF 'is not built in' log
}

@test "a password is accepted in each scheme that Dovecot has, and a wrong one is refused" {
	needs_doveadm
	has_argon2 && argon2=1 || argon2=0
	schemes=$(doveadm pw -l)
	[ "$(wc -w <<<"$schemes")" -ge 28 ]
	for scheme in $schemes sSha512.hEx PLAIN-MD5.b64 PLAIN.hex SHA512-CRYPT.b64 PBKDF2.BASE64; do
		user=$scheme@example.org
		case $scheme in
		OTP) ;; # for one-time use only
		ARGON2*) # either name is valid for both kinds
			[ "$argon2" -eq 0 ] || {
				hash=$(doveadm pw -s "$scheme" -p 'päss word')
				printf '%s\n' "$user:$hash" "i-$user:{ARGON2I}${hash#*\}}" "d-$user:{ARGON2ID}${hash#*\}}"
			}
			;;
		PLAIN-TRUNC) echo "$user:{PLAIN-TRUNC}8-päss wo" ;;
		*) echo "$user:$(doveadm pw -s "$scheme" -p 'päss word' -u "$user"):1:1::/home:/bin/sh" ;;
		esac
	done >"$users"
	while IFS=: read -r user _; do
		talk "USER $user" 'PASS pass word' "USER $user" 'PASS päss word' QUIT
		echo "$user: ${lines[*]}"
		[ "${lines[2]}" = '-ERR [AUTH] wrong user name or password' ]
		grep -qxF "pop3-handler: login of '$user' from local refused: wrong password" log
		[ "${lines[4]}" = '+OK 0 messages' ]
	done <"$users"
	checked 0
}

@test "a path outside the home directory is refused as a mailbox; ~ is the home directory" {
	mkdir -p home/new home/cur
	for bad in 'mail=maildir:~/Maildir:INBOX=~/in' mail_path=mail/x userdb_mail=maildir:box mail=pop3c: mail=Maildir:~/m; do
		accounts "alice:{PLAIN}apple::::$PWD/home::$bad"
		talk 'USER alice' 'PASS apple'
		[ "${lines[2]}" = '-ERR [SYS/PERM] cannot look up the account' ]
		checked 78 '1: the account has no usable mailbox path'
	done
	for good in 'mail=~' 'mail=maildir:~' 'mail=maildir:~:LAYOUT=fs' 'mail=~/'; do
		accounts "alice:{PLAIN}apple::::$PWD/home::$good"
		as_alice QUIT
		[ -z "$(troubles)" ]
	done
}

@test "base64 and hex, and {MD5} and {MD5-CRYPT}, are distinguished as Dovecot does" {
	hex=$(printf pear | openssl dgst -r -sha1 | cut -d ' ' -f 1)
	md5=$(printf pear | openssl dgst -binary -md5 | base64)
	accounts "hex:{SHA}$hex" "upper:{sha1}${hex^^}" "md5:{MD5}$md5" "crypt:{MD5}$(openssl passwd -1 -salt s pear)"
	for user in hex upper md5 crypt; do
		accepted "$user" pear
		refused "$user" pears 'wrong password'
	done
}

@test "an unknown scheme is named at login and by --check-config" {
	accounts 'alice:{SCRYPT}$s0$apple' 'bob:{OTP}sha1 1024 0c19630ced3261dd f35c39f318bab2df' 'carol:{SHA.X}apple'
	refused alice apple 'the password scheme {SCRYPT} is unknown'
	refused bob apple 'the password scheme {OTP} is unknown'
	refused carol apple 'the password scheme {SHA.X} is unknown'
	checked 78 '1: the password scheme {SCRYPT} is unknown' '2: the password scheme {OTP} is unknown' \
		'3: the password scheme {SHA.X} is unknown'
}

@test "a hash that can never match is reported, not treated as a wrong password" {
	six=$(openssl passwd -6 -salt salt apple)
	text=apple
	b64=$(printf %s "$text" | openssl dgst -binary -sha256 | base64)
	malformed=('' "$text" "${six%?}" "${six}x" "\$6\$salt\$" '{SHA256}' "{SHA256}${b64:4}" "{SHA512}$b64"
		'{SSHA256}'"${b64:4}" '{SHA256}*' '{SHA.HEX}0' '{SHA.HEX}xx' '{PBKDF2}$1$salt$0$1234'
		'{PBKDF2}$1$salt$100$1234' '{PBKDF2}$1$salt$x$'"${b64}" '{SCRAM-SHA-1}4096,c2FsdA==,eA==,eA=='
		'{SCRAM-SHA-256}4096,c2FsdA==' '{PLAIN-TRUNC}apple' '{PLAIN-TRUNC}0-' '{BLF-CRYPT}$2y$05$apple')
	malformed+=('{PBKDF2}$1$salt$10000001$055830e94db5cacda858c94c8aaab4d6cdeb3630'
		"{SCRAM-SHA-256}99999999999999999999,c2FsdA==,$b64,$b64")
	# Hashes that would keep crypt(3) busy for hours, or can never match.
	c22=$(printf 'x%.0s' {1..22}) c43=$(printf 'x%.0s' {1..43}) c86=$(printf 'x%.0s' {1..86})
	malformed+=("\$2y\$31\$$c22$c22${c22:13}" "\$2y\$03\$$c22$c22${c22:13}" "\$6\$rounds=999999999\$salt\$$c86" \
		"\$6\$rounds=1\$salt\$$c86" "\$sha1\$4000000000\$salt\$${c22}xxxxxx" "\$gy\$j9T\$salt\$abc")
	if has_argon2; then
		malformed+=('{ARGON2ID}$argon2$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ'
			'{ARGON2ID}$argon2id$v=19$m=64,t=1,p=64$c2FsdHNhbHQ$c2FsdHNhbHQ'
			'{ARGON2ID}$argon2id$v=19$m=64,t=1,p=0$c2FsdHNhbHQ$c2FsdHNhbHQ'
			'{ARGON2ID}$argon2id$v=19$m=64,t=1,p=1$c2FsdA$c2FsdHNhbHQ')
		malformed+=('{ARGON2ID}$argon2id$v=19$m=1048577,t=1,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ'
			'{ARGON2ID}$argon2id$v=19$m=64,t=101,p=1$c2FsdHNhbHQ$c2FsdHNhbHQ')
	fi
	for hash in "${malformed[@]}"; do
		echo "$hash"
		accounts "alice:$hash"
		reason='the password hash is malformed, or costs too much'
		[[ -n $hash && $hash != *\} ]] || reason='the account has no password'
		refused alice "$text" "$reason"
		refused alice '' "$reason" || [ "${lines[2]}" = '-ERR this command needs an argument' ]
		checked 78 "1: $reason"
	done
	# Locked accounts.
	for hash in '!' '*' "!$six" "{CRYPT}!$six" '{SHA512-CRYPT}*'; do
		accounts "alice:$hash"
		refused alice "$text" 'the account has no password'
		checked 0
	done
}

@test "an Argon2 hash with several lanes is checked inside the sandbox, which allows no threads" {
	command -v argon2 >/dev/null || skip 'needs argon2, which tools/packages check installs'
	has_argon2 || skip 'this build has no Argon2'
	accounts "alice:{ARGON2ID}$(printf apple | argon2 saltsalt -id -p 4 -k 4096 -t 2 -e)" \
		"bob:{ARGON2I}$(printf apple | argon2 saltsalt -i -p 3 -k 999 -t 3 -l 64 -e)"
	for user in alice bob; do
		accepted "$user" apple
		refused "$user" apples 'wrong password'
		[ "$(troubles | wc -l)" -eq 1 ]
	done
}

@test "every failed login costs as much as the first costly password of the file, whatever its scheme" {
	# The password check dominates the CPU time of a session.
	cpu() {
		printf 'USER %s\nPASS y\n' "$1" >script
		TIMEFORMAT=%U
		{ time "$HANDLER" "${options[@]}" <script >out 2>log; } 2>&1 | tr -d .
	}
	key=$(head -c 32 /dev/zero | base64)
	# The first line with {CRYPT} is locked, so its cost says nothing about the others. The password for "far" is right.
	for hash in "{CRYPT}\$6\$rounds=500000\$salt\$$(printf 'x%.0s' {1..86})" \
		'{PBKDF2}$1$salt$1000000$055830e94db5cacda858c94c8aaab4d6cdeb3630' "{SCRAM-SHA-256}1000000,c2FsdA==,$key,$key"; do
		accounts 'shut:{CRYPT}!' 'plain:{PLAIN}x' "sha:{SHA256}$key" "slow:$hash" 'locked:!' 'unknown:{MD4}x' 'bad:$6$x' \
			'far:{PLAIN}y::::::allow_nets=192.0.2.1'
		slow=$(cpu slow)
		[ "$((10#$slow))" -ge 20 ]
		for user in plain sha nobody locked shut .. unknown bad far; do
			cost=$(cpu "$user")
			echo "$hash, $user: $cost ms, $slow ms"
			[ "$((10#$cost * 3))" -ge "$((10#$slow))" ]
		done
	done
}

@test "the log says when a wrong password was not ASCII, and its encoding" {
	refused alice $'\xc3\xa4pfel' 'wrong password (it is not ASCII, but UTF-8)'
	refused alice $'a\xe2\x82\xac\xf0\x9f\x8d\x8f' 'wrong password (it is not ASCII, but UTF-8)'
	for password in $'\xe4pfel' $'\xe4' $'\xc3' $'a\xe2\x82' $'\xa4\xc3' $'\xff\xbf'; do
		refused alice "$password" 'wrong password (it is not ASCII, and not UTF-8: Latin-1 perhaps)'
	done
	accounts $'alice:{PLAIN}\xe4pfel'
	accepted alice $'\xe4pfel'
}

@test "after login the name is that of the passwd-file, in paths and in the log" {
	options+=(--default-domain=example.org)
	accounts 'Alice@Example.org:{PLAIN}apple' 'bob@example.org:{PLAIN}b' 'bob:{PLAIN}c' 'DORA:{PLAIN}d'
	make_maildir Alice@Example.org
	make_message Alice@Example.org/new/1.M1P1.h
	for name in alice@example.org ALICE alice Alice@Example.org; do
		talk "USER $name" 'PASS apple' STAT QUIT
		[ "${lines[3]}" = '+OK 1 24' ]
		grep -qF "login of 'Alice@Example.org' from local accepted" log
		grep -qF "session of 'Alice@Example.org' from local ended" log
	done
	accepted bob c bob
	accepted BOB@example.org b bob@example.org
	refused bob b 'wrong password'
	accepted dora d DORA
	refused dora@example.org d 'no such user'
	refused alice@example.com apple 'no such user'
}

@test "without default-domain, a name stays as it is" {
	accounts 'alice@example.org:{PLAIN}apple'
	accepted ALICE@example.org apple alice@example.org
	refused alice apple 'no such user'
}

@test "default-domain must be valid as part of a path and of a name" {
	for bad in '' . .. .org a/b a@b 'a b' a:b $'a\tb' '%d'; do
		status=0
		"$HANDLER" "--default-domain=$bad" --check-config 2>log || status=$?
		[ "$status" -eq 64 ]
		grep -F 'default-domain' log
	done
	checked 0
	options+=(--default-domain=Mail-1.example.org)
	"$HANDLER" "${options[@]}" --check-config 2>log
	[ ! -s log ]
}

@test "USER accepts a name with blanks, like AUTH" {
	accounts 'alice b. smith:{PLAIN}apple' 'alice:{PLAIN}a'
	accepted 'alice b. smith' apple 'alice b. smith'
	accepted 'alice b. smith  ' apple 'alice b. smith' # blanks at the end of a line are ignored
	refused 'alice b.' apple 'no such user'
	talk "AUTH PLAIN $(printf '\0alice b. smith\0apple' | base64)"
	[ "${lines[1]}" = '+OK 0 messages' ]
}

@test "only clients in allow_nets may log in, and others learn nothing" {
	options+=(--plaintext-auth=always)
	accounts 'alice:{PLAIN}apple::::::allow_nets=192.0.2.0/24,2001:db8::/32' \
		'bob:{PLAIN}b::::::allow_nets=local,198.51.100.1' 'carol:{PLAIN}c::::::allow_nets=192.0.2.0/x'
	refused alice apple 'the client is not in allow_nets'
	accepted bob b
	export REMOTE_ADDR=203.0.113.9
	refused alice apple 'the client is not in allow_nets'
	refused alice wrong 'wrong password'
	refused bob b 'the client is not in allow_nets'
	REMOTE_ADDR=192.0.2.200
	accepted alice apple
	refused carol c 'something that is no network is in allow_nets'
	REMOTE_ADDR=2001:db8::1
	accepted alice apple
	checked 78 '3: something that is no network is in allow_nets'
}

@test "WAKE respects changes of allow_nets and the other fields" {
	make_maildir alice
	start_session one
	login one
	ask one SLEE
	for extra in allow_nets=192.0.2.0/24 allow_nets=x proxy nologin; do
		accounts "alice:{PLAIN}apple::::::$extra"
		ask one WAKE
		[ "$reply" = '-ERR [AUTH] the account has changed since login' ]
		accounts 'alice:{PLAIN}apple::::::allow_nets=local,192.0.2.0/24'
		ask one WAKE
		[ "$reply" = '+OK [ACTIVITY/NONE] 0 messages' ]
		ask one SLEE
	done
}

@test "WAKE accepts only the account that logged in" {
	make_maildir alice
	options=("$as_me" "--users=$users" "--mailbox=$mail/alice" --default-domain=example.org --login-penalty=0)
	start_session one
	login one
	ask one SLEE
	for name in Alice alice@example.org; do
		accounts "$name:{PLAIN}apple"
		ask one WAKE
		[ "$reply" = '-ERR [AUTH] the account has changed since login' ]
	done
}

@test "a field that would redirect, or set another password or user, refuses the login" {
	# The fields that the manual names.
	fields=$(sed -n '/^These fields refuse/,/^\.El/s/^\.It Cm //p' "$BATS_TEST_DIRNAME/../man/pop3-handler.conf.5" |
		sed 's/ Ta Cm / /g')
	[ "$(wc -w <<<"$fields")" -ge 24 ]
	for field in $fields; do
		accounts "alice:{PLAIN}apple::::::quota=1 userdb_$field=x"
		refused alice apple "the field $field is not supported"
	done
	accounts 'alice:{PLAIN}apple::::::userdb_mail_driver=mbox' 'bob:{PLAIN}b::::::mail_driver=maildir'
	refused alice apple 'the field mail_driver is not supported'
	accepted bob b
	checked 78 '1: the field mail_driver is not supported'
}

@test "--check-config reports each mistake of the passwd-file with its line" {
	long=$(printf 'x%.0s' {1..4097})
	accounts $'\xef\xbb\xbfalice:{PLAIN}a' '# a comment' 'bob' ':{PLAIN}x' "$long:" ' carol:{PLAIN}c' \
		'dave:{SSHA}eA== ' "erin:$(openssl passwd -6 e) " 'frank:{PLAIN} f ::::/home/frank ' 'a/b:{PLAIN}x' \
		'..:{PLAIN}x' 'gina:{PLAIN}x::::::host=192.0.2.1' 'hans:{PLAIN}x::::::userdb_mail=mbox:/x' \
		'ina:{PLAIN}x::::::allow_nets=' "jack:{PLAIN}x::::::userdb_mail_path=$mail/%{user}"
	printf 'n\0:{PLAIN}x\n' >>"$users"
	checked 78 '1: a byte order mark is part of the first user name' \
		"3: malformed line: it does not begin with a user name and ':'" \
		"4: malformed line: it does not begin with a user name and ':'" \
		'5: malformed line: longer than 4096 octets, or with a NUL' \
		'6: there are blanks round a field' \
		'7: the password hash is malformed, or costs too much' '7: there are blanks round a field' \
		'8: the password hash is malformed, or costs too much' '8: there are blanks round a field' \
		'9: there are blanks round a field' \
		'10: the account has no usable mailbox path' '10: this user name can never log in' \
		'11: the account has no usable mailbox path' \
		'12: the field host is not supported' \
		'13: the account has no usable mailbox path' \
		'14: something that is no network is in allow_nets' \
		'15: the account has no usable mailbox path' \
		'16: malformed line: longer than 4096 octets, or with a NUL'
	accepted frank ' f ' # other lines still work
	accounts 'alice:{PLAIN}a'
	options+=('--mailbox=%h/Maildir')
	checked 78 '1: the account has no usable mailbox path'
}

@test "--check-config warns of a second line for a user and of an unknown field" {
	accounts 'alice:{PLAIN}apple::::::userdb_quota_rule=x nodelay read-only=no' 'Alice:{PLAIN}a' 'alice:{PLAIN}b'
	checked 0 '1: the field quota_rule is unknown' '1: the field nodelay is unknown' \
		'3: this user has a line above, which counts'
	accepted alice apple
}

@test "a passwd-file whose name has %%d is no template" {
	mv "$users" "$users.100%%d"
	users=$users.100%%d
	options[1]=--users=$users
	accepted alice apple
	checked 0
}

@test "--check-config prints twenty findings and the number of further ones" {
	for i in {1..20}; do
		echo broken
	done >"$users"
	"$HANDLER" "${options[@]}" --check-config 2>log || [ "$?" -eq 78 ]
	[ "$(wc -l <log)" -eq 20 ]
	run ! grep -F 'more' log
	printf '%s\n' broken 'alice:{PLAIN}x::::::unknown' >>"$users"
	"$HANDLER" "${options[@]}" --check-config 2>log || [ "$?" -eq 78 ]
	[ "$(wc -l <log)" -eq 21 ]
	[ "$(tail -n 1 log)" = "pop3-handler: $users: and 2 more" ]
}
