#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# AUTH: PLAIN and LOGIN with a password, EXTERNAL with a client certificate.

load helpers

# encode TEXT: TEXT in base64; TEXT is for printf, so that it may contain NULs.
encode() {
	# shellcheck disable=SC2059
	printf "$1" | base64 -w 0
}

plain=$(encode '\0alice\0apple')
refused='-ERR [AUTH] wrong user name or password'
not_base64='-ERR the response is not base64'

@test "AUTH alone lists the mechanisms, and CAPA announces them" {
	for command in AUTH 'AUTH ' auth; do
		talk "$command" QUIT
		[ "${lines[*]:1}" = '+OK mechanisms follow PLAIN LOGIN . +OK goodbye' ]
	done
	talk CAPA
	printf '%s\n' "${lines[@]}" | grep -xF 'SASL PLAIN LOGIN'
}

@test "AUTH PLAIN accepts an initial response, or asks for it" {
	talk "AUTH PLAIN $plain" STAT
	[ "${lines[1]}" = '+OK 0 messages' ]
	[ "${lines[2]}" = '+OK 0 0' ]
	talk 'auth plain' "$plain" STAT
	[ "${lines[1]}" = '+ ' ]
	[ "${lines[2]}" = '+OK 0 messages' ]
	[ "${lines[3]}" = '+OK 0 0' ]
	talk "AUTH PLAIN $(encode 'alice\0alice\0apple')" "AUTH PLAIN $plain"
	[ "${lines[1]}" = '+OK 0 messages' ]
	[ "${lines[2]}" = '-ERR this command is not valid in this state' ]
	talk "AUTH PLAIN $(encode '\0bob\0banana split ')"
	[ "${lines[1]}" = '+OK 0 messages' ]
}

@test "AUTH PLAIN refuses a wrong password or another authorization identity, as PASS would" {
	for message in '\0alice\0orange' '\0alice\0' '\0nobody\0apple' '\0../alice\0apple' 'bob\0alice\0apple'; do
		talk "AUTH PLAIN $(encode "$message")" "AUTH PLAIN $plain"
		[ "${lines[1]}" = "$refused" ]
		[ "${lines[2]}" = '+OK 0 messages' ]
		[ "$(grep -c "^pop3-handler: login of '.*' from local refused: " log)" -eq 1 ]
	done
	for message in 'alice' 'alice\0apple' '\0\0apple' '\0alice\0apple\0' '\0a\0l\0i\0ce'; do
		talk "AUTH PLAIN $(encode "$message")" "AUTH PLAIN $plain"
		[ "${lines[1]}" = '-ERR the response is not a valid PLAIN message' ]
		[ "${lines[2]}" = '+OK 0 messages' ]
	done
}

@test "AUTH LOGIN asks for name and password, and accepts the name as an initial response" {
	talk 'AUTH LOGIN' "$(encode bob)" "$(encode 'banana split ')" STAT
	[ "${lines[*]:1:4}" = "+ $(encode Username:) + $(encode Password:) +OK 0 messages +OK 0 0" ]
	grep -qF "login of 'bob' from local accepted: LOGIN, no TLS" log
	talk "auth login $(encode bob)" "$(encode 'banana split ')"
	[ "${lines[*]:1}" = "+ $(encode Password:) +OK 0 messages" ]
}

@test "AUTH LOGIN refuses what PASS refuses, and an invalid name or password" {
	local message='-ERR the response is not a valid user name'
	talk 'AUTH LOGIN' "$(encode alice)" "$(encode orange)" "AUTH LOGIN $(encode nobody)" "$(encode apple)"
	[ "${lines[3]}" = "$refused" ]
	[ "${lines[5]}" = "$refused" ]
	talk 'AUTH LOGIN =' 'AUTH LOGIN' '' "AUTH LOGIN $(encode 'al\0ice')" "AUTH LOGIN $(encode alice)" "$(encode 'ap\0ple')"
	[ "${lines[*]:1}" = "$message + $(encode Username:) $message $message + $(encode Password:) -ERR the response is not a valid password" ]
	options+=(--plaintext-auth=never)
	talk 'AUTH LOGIN' CAPA
	[[ ${lines[1]} == '-ERR passwords are refused without TLS'* ]]
	run ! grep LOGIN out
}

@test "commands after the responses of AUTH LOGIN in the same packet are all carried out" {
	make_messages 3
	for begin in "AUTH LOGIN\r\n$(encode alice)" "AUTH LOGIN $(encode alice)"; do
		start_session one
		printf '%b\r\n' "$begin" >&"$to_one"
		[[ $begin == *' '*' '* ]] || hear one
		hear one
		[ "$reply" = "+ $(encode Password:)" ]
		printf '%s\r\n' "$(encode apple)" 'UIDL 1' 'UIDL 2' 'UIDL 3' NOOP QUIT >&"$to_one"
		for text in '+OK 3 messages' '+OK 1 1.M1P1.h' '+OK 2 2.M1P1.h' '+OK 3 3.M1P1.h' '+OK nothing done' '+OK goodbye'; do
			hear one
			[ "$reply" = "$text" ]
		done
		hang_up one
		rm one.*
	done
}

@test "AUTH PLAIN accepts the own name in another case as authorization identity" {
	talk "AUTH PLAIN $(encode 'ALICE\0alice\0apple')"
	[ "${lines[1]}" = '+OK 0 messages' ]
}

@test "the name of an unfinished AUTH LOGIN cannot be used by PASS" {
	for response in '*' 'x' "$(encode 'a\0b')" "$(encode orange)"; do
		talk 'AUTH LOGIN' "$(encode alice)" "$response" 'PASS apple'
		[[ ${lines[3]} == -ERR* ]]
		[ "${lines[4]}" = '-ERR send USER first' ]
	done
	# The same for a name that USER has given.
	talk 'USER alice' 'AUTH LOGIN' "$(encode bob)" '*' 'PASS apple'
	[ "${lines[5]}" = '-ERR send USER first' ]
}

@test "* or invalid base64 ends an exchange" {
	talk 'AUTH PLAIN' '*' NOOP "AUTH PLAIN" "$plain"
	[ "${lines[2]}" = '-ERR the login is cancelled' ]
	[[ ${lines[3]} == '-ERR this command'* ]]
	[ "${lines[5]}" = '+OK 0 messages' ]
	for response in '' '**' 'AGFsaWNl=' 'AGFsaWNlAGFwcGx' 'AGFs aWNl' "${plain}x" '=' '====' 'é'; do
		talk 'AUTH PLAIN' "$response" "AUTH PLAIN ${response:-x}" "AUTH PLAIN $plain"
		[[ ${lines[2]} == "$not_base64" || ${lines[2]} == '-ERR the response is not a valid PLAIN message' ]]
		[[ ${lines[3]} == "$not_base64" || ${lines[3]} == '-ERR the response is not a valid PLAIN message' ]]
		[ "${lines[4]}" = '+OK 0 messages' ]
	done
	talk 'AUTH PLAIN' '=' 'AUTH PLAIN =' 'AUTH PLAIN x' "AUTH PLAIN $plain x"
	[ "${lines[2]}" = "$not_base64" ]
	[ "${lines[3]}" = '-ERR the response is not a valid PLAIN message' ] # "=" is an empty response
	[ "${lines[4]}" = "$not_base64" ]
	[ "${lines[5]}" = "$not_base64" ]
	printf 'AUTH PLAIN\r\nAG\0s\r\nAUTH PLAIN %s\r\n' "$plain" >script
	handle script
	read_lines
	[ "${lines[2]}" = "$not_base64" ]
	[ "${lines[3]}" = '+OK 0 messages' ]
}

@test "a response may have 12,288 octets, a command line 512" {
	# response OCTETS: a response of this length, for alice with a long wrong password.
	response() {
		printf '\0alice\0%*s' $(($1 * 3 / 4 - 7)) x | base64 -w 0
	}
	talk 'AUTH PLAIN' "$(response 12288)" 'AUTH PLAIN' "x$(response 12288)" 'AUTH PLAIN' "$plain"
	[ "${lines[2]}" = "$refused" ]
	[ "${lines[4]}" = '-ERR the response is too long' ]
	[ "${lines[6]}" = '+OK 0 messages' ]
	talk "AUTH PLAIN $(response 500)" "AUTH PLAIN $(response 504)" "AUTH PLAIN $plain"
	[ "${lines[1]}" = "$refused" ]
	[ "${lines[2]}" = '-ERR the line is too long' ]
	[ "${lines[3]}" = '+OK 0 messages' ]
}

@test "octets after a response in the same packet are the next command" {
	talk 'AUTH PLAIN' "$plain" STAT UIDL QUIT
	[ "${lines[3]}" = '+OK 0 0' ]
	[ "${lines[-1]}" = '+OK goodbye' ]
}

@test "an unknown mechanism is refused, and EXTERNAL without a certificate" {
	talk 'AUTH LOGINX' 'AUTH CRAM-MD5' 'AUTH PLAINX' 'AUTH EXTERNAL =' "AUTH PLAIN $plain"
	for line in 1 2 3; do
		[ "${lines[line]}" = '-ERR unknown authentication mechanism' ]
	done
	[ "${lines[4]}" = '-ERR AUTH EXTERNAL needs a client certificate that this server accepts' ]
	[ "${lines[5]}" = '+OK 0 messages' ]
}

@test "a client that disconnects during an exchange ends the session" {
	for script in 'AUTH PLAIN\r\n' 'AUTH PLAIN\r\nAGFs'; do
		printf '%b' "$script" >script
		handle script
		[ "$(wc -l <out)" -eq 2 ]
	done
}

@test "a password in a response is never logged" {
	talk "AUTH PLAIN $(encode '\0alice\0wrong-secret')" 'AUTH PLAIN' "$(encode '\0bob\0wrong-secret')"
	run ! grep -E "wrong-secret|$(encode 'wrong-secret' | head -c 12)" log
	[ "$(troubles | wc -l)" -eq 2 ]
}

@test "a password is wiped from memory after use" {
	needs_root
	[ "$SANITIZED" = none ] || skip 'the sanitizers keep freed memory'
	printf 'alice:%s\n' "$(openssl passwd -6 -salt salt open-sesame)" >"$users"
	search() {
		local found
		found=$("$BATS_TEST_DIRNAME/search-memory.py" "$pid_one" "$1") && [ -z "$found" ]
	}
	for response in "$(encode '\0alice\0open-sesame')" "$(encode '\0alice\0open-sesame-not')"; do
		for how in "AUTH PLAIN $response" "AUTH PLAIN"; do
			start_session one
			ask one "$how"
			[ "$how" != 'AUTH PLAIN' ] || ask one "$response"
			ask one NOOP
			search open-sesame
			search "${response:4:12}"
			hang_up one
			rm one.*
		done
	done
	# The same while a later command of the same packet is served, and for a response that was not asked for.
	make_maildir alice
	truncate -s 1M "$mail/alice/new/1.M1P1.h"
	for commands in $'USER alice\r\nPASS open-sesame' $'USER alice\r\nPASS open-sesame\r\nPASS open-sesame' \
		"AUTH PLAIN $(encode '\0alice\0open-sesame')" $'AUTH PLAIN\r\n'"$(encode '\0alice\0open-sesame')"; do
		start_session one
		printf '%s\r\n' "$commands" 'RETR 1' NOOP >script
		cat script >&"$to_one" # in one write
		until [ "$reply" = '+OK 1048578 octets' ]; do
			hear one
		done
		search open-sesame
		search "${response:4:12}"
		run ! search 'NOOP' # the search does find present octets
		hang_up one
		rm one.*
	done
}

# --- Client certificates ---

# setup_external: a port that asks for a certificate, and `usage`, which such a certificate has.
setup_external() {
	setup_tls
	make_ca people
	printf '%s\n' 'alice:{PLAIN}apple' 'carol@example.org:!' 'dora@example.org:' \
		'erin@example.org:!::::::nologin' 'fay@example.org:!::::::allow_nets=192.0.2.0/24' >"$users"
	usage='extendedKeyUsage=clientAuth'
	serve_port --tls=implicit --tls-client-ca=people.pem
}

# as CERTIFICATE LINE...: a session of these lines and QUIT with a client certificate; sets `lines` to
# the replies after the greeting.
as() {
	tls_talk "-cert $1.pem -key $1.key" "${@:2}" QUIT
	lines=("${lines[@]:1}")
}

@test "AUTH EXTERNAL: the certificate's e-mail address names the user, or else its CN" {
	setup_external
	make_certificate mail people /CN=alice $usage 'subjectAltName=DNS:x,email:carol@example.org'
	make_certificate name people /CN=alice $usage
	make_certificate two people /CN=x $usage 'subjectAltName=email:other@example.org,email:carol@example.org'
	as mail AUTH 'AUTH EXTERNAL =' STAT
	[ "${lines[*]:0:5}" = '+OK mechanisms follow PLAIN LOGIN EXTERNAL .' ]
	[ "${lines[5]}" = '+OK 0 messages' ]
	as mail 'AUTH EXTERNAL' '' STAT
	[ "${lines[*]}" = '+  +OK 0 messages +OK 0 0 +OK goodbye' ]
	as mail "AUTH EXTERNAL $(encode carol@example.org)"
	[ "${lines[0]}" = '+OK 0 messages' ]
	as mail "AUTH EXTERNAL $(encode alice)" 'AUTH EXTERNAL =' # with an address, the CN does not count
	[ "${lines[0]}" = "$refused" ]
	[ "${lines[1]}" = '+OK 0 messages' ]
	as mail "AUTH EXTERNAL $(encode 'carol@example.org\0x')"
	[ "${lines[0]}" = '-ERR the response is not a valid user name' ]
	as name 'AUTH EXTERNAL =' STAT
	[ "${lines[0]}" = '+OK 0 messages' ]
	as name CAPA
	printf '%s\n' "${lines[@]}" | grep -xF 'SASL PLAIN LOGIN EXTERNAL'
	as two 'AUTH EXTERNAL =' "AUTH EXTERNAL $(encode carol@example.org)"
	[ "${lines[0]}" = "$refused" ]
	[ "${lines[1]}" = '+OK 0 messages' ]
	logged "pop3-handler: login of 'other@example.org' from 127.0.0.1 refused"
}

@test "AUTH EXTERNAL: the user must be in the passwd-file and be allowed to log in" {
	setup_external
	for user in nobody@example.org dora@example.org erin@example.org fay@example.org '../alice@x'; do
		make_certificate one people /CN=alice $usage "subjectAltName=email:$user"
		as one 'AUTH EXTERNAL =' 'USER alice' 'PASS apple'
		echo "$user: ${lines[*]}"
		[ "${lines[0]}" = "$refused" ]
		[ "${lines[2]}" = '+OK 0 messages' ]
		rm one.*
	done
	make_certificate one people /O=nobody $usage
	as one 'AUTH EXTERNAL ='
	[ "${lines[0]}" = '-ERR AUTH EXTERNAL needs a client certificate that this server accepts' ]
}

@test "a NUL in a certificate's name gives access to no other account" {
	setup_external
	address='carol@example.org\0.example.net'
	# In DER, because openssl would not write it: SEQUENCE { [1] address }.
	octets=$(printf '%b' "$address" | od -An -v -tx1 | tr -d ' \n')
	size=$((${#octets} / 2))
	make_certificate nul people /CN=alice $usage \
		"subjectAltName=DER:$(printf '30%02x81%02x' $((size + 2)) $size)$octets"
	openssl x509 -in nul.pem -noout -text | grep -F carol@example.org
	for version in -tls1_2 -tls1_3; do
		tls_talk "-cert nul.pem -key nul.key $version" 'AUTH EXTERNAL =' \
			"AUTH EXTERNAL $(encode carol@example.org)" QUIT
		# The CN does not count either, because there is an address, although a bad one.
		[[ ${lines[1]} == -ERR* ]]
		[[ ${lines[2]} == -ERR* ]]
	done
	make_certificate long people /CN=alice $usage \
		"subjectAltName=email:$(printf 'x%.0s' {1..400})@example.org"
	as long 'AUTH EXTERNAL ='
	[[ ${lines[0]} == -ERR* ]]
}

@test "an invalid client certificate counts as none, and the log has the reason" {
	setup_external
	make_certificate stranger ca /CN=alice $usage
	days=-1 make_certificate late people /CN=alice $usage
	make_certificate other people /CN=alice extendedKeyUsage=serverAuth
	for name in stranger late other; do
		for version in -tls1_2 -tls1_3; do
			tls_talk "-cert $name.pem -key $name.key $version" CAPA 'AUTH EXTERNAL =' 'USER alice' 'PASS apple' QUIT
			printf '%s\n' "${lines[@]}" | grep -xF 'SASL PLAIN LOGIN'
			[ "${lines[-4]}" = '-ERR AUTH EXTERNAL needs a client certificate that this server accepts' ]
			[ "${lines[-2]}" = '+OK 0 messages' ]
		done
	done
	cat log
	grep -F 'pop3-handler: the client certificate of 127.0.0.1 is not accepted: ' log >why
	[ "$(wc -l <why)" -eq 6 ]
	[ "$(grep -cF 'issuer is unknown' why)" -eq 2 ]
	[ "$(grep -ciF 'expired' why)" -eq 2 ]
	[ "$(grep -ciF 'purpose' why)" -eq 2 ]
	tls_talk '' 'AUTH EXTERNAL =' 'USER alice' 'PASS apple' QUIT # without a certificate
	[ "${lines[-2]}" = '+OK 0 messages' ]
}

@test "without tls-client-ca no client is asked for a certificate" {
	setup_external
	make_certificate name people /CN=alice $usage
	serve_port --tls=implicit
	as name 'AUTH EXTERNAL ='
	[ "${lines[0]}" = '-ERR AUTH EXTERNAL needs a client certificate that this server accepts' ]
	[ -z "$(troubles)" ]
}

@test "a resumed session keeps its certificate, which is verified again" {
	setup_external
	make_certificate name people /CN=alice $usage
	implicit=$port
	make_ca elsewhere
	serve_port --tls=implicit --tls-client-ca=elsewhere.pem
	elsewhere=$port
	serve_port --tls=implicit
	without=$port
	for version in -tls1_2 -tls1_3; do
		resume() {
			printf '%s\r\n' 'AUTH EXTERNAL =' QUIT | timeout 20 openssl s_client -connect "127.0.0.1:$1" \
				-CAfile ca.pem -ign_eof $version "${@:2}" >out 2>client
			[ "$(grep -cE '^Reused, TLS' out)" -eq "$reused" ]
			tr -d '\r' <out | grep -oE '\+OK [0-9]+ messages|-ERR .*' >answer
			cat answer
		}
		reused=0 resume "$implicit" -cert name.pem -key name.key -sess_out session
		grep -xF '+OK 0 messages' answer
		reused=1 resume "$implicit" -sess_in session
		grep -xF '+OK 0 messages' answer
		reused=1 resume "$elsewhere" -sess_in session
		grep -F -- '-ERR AUTH EXTERNAL needs' answer
		logged 'issuer is unknown'
		: >log
		reused=1 resume "$without" -sess_in session
		grep -F -- '-ERR AUTH EXTERNAL needs' answer
		[ -z "$(troubles)" ]
	done
}

@test "WAKE checks the account of a session that logged in with a certificate" {
	setup_external
	make_certificate name people /CN=alice $usage
	start_session one openssl s_client -connect "127.0.0.1:$port" -brief -nocommands -cert name.pem \
		-key name.key
	ask one 'AUTH EXTERNAL ='
	[ "$reply" = '+OK 0 messages' ]
	ask one SLEE
	printf 'alice:!\n' >"$users"
	ask one WAKE
	[ "$reply" = '-ERR [AUTH] the account has changed since login' ]
}
