#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# TLS from outside: both ports, the settings, the certificates. Attacks on it are in tls-broken.bats.

load helpers

setup() {
	setup_site
	without=("${options[@]}")
	setup_tls
}

# without_certificate: removes the options that setup_tls has added.
without_certificate() {
	options=("${without[@]}")
}

# peer_is NAME: the last client saw this certificate.
peer_is() {
	grep -xF "Peer certificate: CN = $1" client
}

# served_is NAME OPTION...: a client with these options is shown the certificate NAME.
served_is() {
	printf 'QUIT\r\n' | timeout 20 openssl s_client -connect "127.0.0.1:$port" -brief -CAfile ca.pem \
		-ign_eof "${@:2}" >out 2>client
	peer_is "$1"
}

@test "a session over implicit TLS or STLS is the same as one without TLS" {
	make_maildir alice
	make_message alice/new/1.M1P1.h
	script=('USER alice' 'PASS apple' STAT UIDL 'RETR 1' 'DELE 1' RSET SLEE WAKE QUIT)
	talk "${script[@]}"
	plain=("${lines[@]:1}")
	serve_port --tls=implicit
	for version in -tls1_2 -tls1_3; do
		tls_talk $version "${script[@]}"
		[ "$status" -eq 0 ]
		grep -xF "Protocol version: TLSv1.${version#-tls1_}" client
		[ "${lines[0]}" = '+OK pop3-handler ready' ]
		[ "${lines[*]:1}" = "${plain[*]}" ]
	done
	serve_port
	for version in -tls1_2 -tls1_3; do
		tls_talk "-starttls pop3 $version" "${script[@]}"
		grep -xF "Protocol version: TLSv1.${version#-tls1_}" client
		[ "${lines[*]}" = "${plain[*]}" ]
	done
	[ -z "$(troubles)" ]
}

@test "a session over pipes can use TLS" {
	/usr/bin/python3 - "$HANDLER" "${options[@]}" <<-'END'
		import ssl, subprocess, sys
		handler = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
		assert handler.stdout.readline() == b'+OK pop3-handler ready\r\n'
		handler.stdin.write(b'STLS\r\n')
		assert handler.stdout.readline() == b'+OK begin TLS\r\n'
		incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
		tls = ssl.create_default_context(cafile='ca.pem').wrap_bio(
		    incoming, outgoing, server_hostname='localhost')
		def step(what, *arguments):
		    while True:
		        try:
		            result = what(*arguments)
		        except ssl.SSLWantReadError:
		            result = None
		        handler.stdin.write(outgoing.read())
		        if result is not None:
		            return result
		        incoming.write(handler.stdout.read(65536))
		step(lambda: tls.do_handshake() or True)
		step(tls.write, b'NOOP\r\nQUIT\r\n')
		answers = b''
		while answers.count(b'\n') < 2:
		    answers += step(tls.read)
		assert answers.endswith(b'+OK goodbye\r\n'), answers
		assert handler.wait(20) == 0
	END
}

@test "STLS is announced until TLS is active, and valid once, before login" {
	serve_port
	talk CAPA
	printf '%s\n' "${lines[@]}" | grep -xF STLS
	as_alice CAPA STLS
	printf '%s\n' "${lines[@]}" | grep -xF STLS # RFC 2595: announced in both states
	[ "${lines[-1]}" = '-ERR this command is not valid in this state' ]
	talk 'STLS now'
	[[ ${lines[1]} == -ERR* ]]
	tls_talk '-starttls pop3' CAPA STLS 'USER alice' 'PASS apple' CAPA QUIT
	printf '%s\n' "${lines[@]}" | grep -qxF -- '-ERR TLS is active already'
	[ "${lines[-1]}" = '+OK goodbye' ]
	run ! grep -F STLS out
	serve_port --tls=implicit
	tls_talk '' CAPA STLS QUIT
	[ "${lines[-2]}" = '-ERR TLS is active already' ]
	run ! grep -F STLS out
	options+=(--tls=off)
	talk CAPA STLS NOOP
	[ "${lines[-2]}" = '-ERR TLS is not offered here' ]
	run ! grep -F STLS out
}

@test "STLS discards earlier input: commands in the same packet, and a USER name" {
	serve_port
	/usr/bin/python3 - "$port" <<-'END'
		import socket, ssl, sys
		plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20)
		assert plain.recv(100) == b'+OK pop3-handler ready\r\n'
		plain.sendall(b'USER alice\r\n')
		assert plain.recv(100) == b'+OK send PASS\r\n'
		plain.sendall(b'STLS\r\nPASS apple\r\nXYZZY\r\n')
		assert plain.recv(100) == b'+OK begin TLS\r\n'
		tls = ssl.create_default_context(cafile='ca.pem').wrap_socket(plain, server_hostname='localhost')
		tls.sendall(b'PASS apple\r\n')
		answer = tls.recv(1000)
		assert answer == b'-ERR send USER first\r\n', answer
		tls.sendall(b'QUIT\r\n')
		assert tls.recv(1000) == b'+OK goodbye\r\n'
	END
}

@test "sessions in TLS may always log in; others are told to use STLS" {
	options+=(--plaintext-auth=never)
	serve_port
	talk CAPA 'USER alice' 'PASS apple' 'AUTH PLAIN' 'AUTH PLAIN AGFsaWNlAGFwcGxl' AUTH
	for line in 3 4 5 6; do
		[ "${lines[-line]}" = '-ERR passwords are refused without TLS: use TLS (STLS)' ]
	done
	[ "${lines[*]: -2}" = '+OK mechanisms follow .' ]
	run ! grep -E '^(USER|SASL)' out
	tls_talk '-starttls pop3' CAPA 'USER alice' 'PASS apple' QUIT
	printf '%s\n' "${lines[@]}" | grep -xF USER
	printf '%s\n' "${lines[@]}" | grep -xF 'SASL PLAIN LOGIN'
	[ "${lines[-2]}" = '+OK 0 messages' ]
}

@test "only TLS 1.2 and 1.3 are served, with forward secrecy and AEAD" {
	serve_port --tls=implicit
	for version in -tls1 -tls1_1; do
		tls_talk "$version -cipher ALL:@SECLEVEL=0" QUIT
		[ "$status" -ne 0 ]
		grep -F 'alert protocol version' client
	done
	[ "$(grep -c 'TLS handshake with 127.0.0.1 failed: no TLS version in common' log)" -eq 2 ]
	for cipher in AES128-GCM-SHA256 ECDHE-ECDSA-AES128-SHA ECDHE-ECDSA-AES256-SHA384 NULL-SHA256; do
		tls_talk "-tls1_2 -cipher $cipher:@SECLEVEL=0" QUIT
		grep -F 'alert handshake failure' client
	done
	[ "$(grep -c 'TLS handshake with 127.0.0.1 failed: no cipher suite in common' log)" -eq 4 ]
	tls_talk "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256" QUIT
	[ "$status" -eq 0 ]
}

@test "the key exchange takes one round trip, because the client's first group is accepted" {
	serve_port --tls=implicit
	for group in X25519 P-256 P-384; do
		tls_talk "-msg -groups $group:P-521" QUIT
		[ "$(grep -c 'ClientHello' out)" -eq 1 ]
	done
}

@test "tls-priority decides which TLS versions are served" {
	serve_port --tls=implicit '--tls-priority=NORMAL:-VERS-ALL:+VERS-TLS1.2'
	tls_talk -tls1_3 QUIT
	[ "$status" -ne 0 ]
	tls_talk '' QUIT
	grep -F 'Protocol version: TLSv1.2' client
}

@test "without tls-priority the system's priority applies, but nothing below TLS 1.2 is served" {
	printf '[priorities]\nSYSTEM = NORMAL:-VERS-TLS1.3\n' >config
	export GNUTLS_SYSTEM_PRIORITY_FILE=$PWD/config
	serve_port --tls=implicit
	tls_talk -tls1_3 QUIT
	[ "$status" -ne 0 ]
	tls_talk '' QUIT
	grep -F 'Protocol version: TLSv1.2' client
	tls_talk '-tls1_1 -cipher ALL:@SECLEVEL=0' QUIT
	[ "$status" -ne 0 ]
}

@test "ALPN: pop3 is accepted, another protocol is refused" {
	serve_port --tls=implicit
	printf 'QUIT\r\n' | openssl s_client -connect "127.0.0.1:$port" -alpn imap,pop3 \
		-ign_eof >out 2>client
	grep -xF 'ALPN protocol: pop3' out
	tls_talk '-alpn imap' QUIT
	[ "$status" -ne 0 ]
	grep -F 'alert no application protocol' client
	logged 'failed: the client asks for another protocol than POP3 (ALPN)'
}

@test "SNI: each name selects its certificate, whatever its case; an unknown name selects the first" {
	make_certificate one ca /CN=one subjectAltName=DNS:one.example.org,DNS:one.example.net
	make_certificate two ca /CN=two subjectAltName=DNS:two.example.org,DNS:two.example.net
	make_certificate wild ca /CN=wild 'subjectAltName=DNS:*.example.com'
	without_certificate
	serve_port --tls=implicit --tls-cert=one.pem --tls-key=one.key --tls-cert=two.pem \
		--tls-key=two.key --tls-cert=wild.pem --tls-key=wild.key
	for case in one.example.org=one two.example.org=two two.example.net=two TWO.Example.Org=two \
		mail.example.com=wild Mail.EXAMPLE.com=wild example.com=one a.b.example.com=one other=one; do
		for version in -tls1_2 -tls1_3; do
			echo "$case $version"
			served_is "${case#*=}" $version -servername "${case%=*}"
		done
	done
	served_is one -noservername
}

@test "of an RSA and an ECDSA certificate, a client gets the one it supports, or ECDSA if it supports both" {
	make_key rsa.key rsa
	make_certificate rsa ca /CN=rsa subjectAltName=DNS:localhost,email:postmaster@localhost,IP:127.0.0.1
	make_certificate other ca /CN=other subjectAltName=DNS:other.example.org
	without_certificate
	for order in 'rsa server other' 'server rsa other'; do
		arguments=()
		for name in $order; do
			arguments+=("--tls-cert=$name.pem" "--tls-key=$name.key")
		done
		serve_port --tls=implicit "${arguments[@]}"
		for case in 'ECDSA+SHA256=localhost' 'RSA-PSS+SHA256=rsa' 'RSA-PSS+SHA256:ECDSA+SHA256=localhost'; do
			for version in -tls1_2 -tls1_3; do
				served_is "${case#*=}" $version -servername localhost -sigalgs "${case%=*}"
				served_is "${case#*=}" $version -noservername -sigalgs "${case%=*}"
			done
		done
	done
}

@test "of two certificates with the same wildcards, a client gets one it supports; for other names the first" {
	make_key rsa.key rsa
	make_certificate rsa ca /CN=rsa 'subjectAltName=DNS:*.example.org,DNS:example.org'
	make_certificate ecdsa ca /CN=ecdsa 'subjectAltName=DNS:example.org,DNS:*.example.org'
	make_certificate more ca /CN=more 'subjectAltName=DNS:*.example.org,DNS:*.example.net'
	without_certificate
	serve_port --tls=implicit --tls-cert=rsa.pem --tls-key=rsa.key --tls-cert=ecdsa.pem --tls-key=ecdsa.key
	for name in mail.example.org example.org; do
		served_is ecdsa -servername $name
		served_is rsa -servername $name -sigalgs RSA-PSS+SHA256
	done
	# One key for three certificates: their order decides which one a client gets.
	cp ecdsa.key less.key
	make_certificate less ca /CN=less subjectAltName=DNS:mail.example.org
	serve_port --tls=implicit --tls-cert=less.pem --tls-key=less.key --tls-cert=more.pem --tls-key=more.key
	served_is less -servername mail.example.org
	served_is more -servername pop.example.org
	served_is less -noservername
}

@test "certificate and key may be systemd credentials, but settings take precedence" {
	without_certificate
	mkdir credentials
	cp server.pem credentials/tls-cert
	cp server.key credentials/tls-key
	export CREDENTIALS_DIRECTORY=$PWD/credentials
	serve_port
	tls_talk '-starttls pop3' QUIT
	peer_is localhost
	serve_port --tls=implicit
	tls_talk '' QUIT
	peer_is localhost
	make_certificate own ca /CN=own subjectAltName=DNS:localhost
	serve_port --tls=implicit --tls-cert=own.pem --tls-key=own.key
	tls_talk '' QUIT
	peer_is own
	printf 'junk\n' | tee credentials/tls-cert >credentials/tls-key
	tls_talk '' QUIT
	peer_is own # the credentials are not even read
	rm credentials/*
	talk CAPA
	run ! grep STLS out
}

@test "a certificate and its key may be in one file, and the whole chain is sent, in order" {
	without_certificate
	make_key middle.key
	make_certificate middle ca /CN=middle basicConstraints=critical,CA:true
	make_certificate leaf middle /CN=leaf subjectAltName=DNS:localhost
	# The server's certificate must be the first; the order of the others does not matter.
	(umask 077 && cat leaf.key leaf.pem ca.pem middle.pem >both.pem)
	serve_port --tls=implicit --tls-cert=both.pem
	printf 'QUIT\r\n' | openssl s_client -connect "127.0.0.1:$port" -CAfile ca.pem -ign_eof \
		-verify_return_error -verify_hostname localhost >out 2>client
	[ "$(sed -n 's/^ *[0-9] s:CN = //p' out | tr '\n' ' ')" = 'leaf middle ca ' ]
}

@test "private keys of all types and encodings are accepted" {
	make_key rsa.key rsa
	openssl rsa -in rsa.key -traditional -out rsa-traditional.key 2>/dev/null
	openssl ecparam -name secp384r1 -genkey -out ec-traditional.key # the parameters come first in the file
	openssl genpkey -algorithm ed25519 -out ed25519.key
	openssl genpkey -quiet -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048 -out rsa-pss.key
	chmod 600 ./*.key
	without_certificate
	for name in rsa-traditional ec-traditional ed25519 rsa-pss; do
		make_certificate $name ca /CN=$name subjectAltName=DNS:localhost
		serve_port --tls=implicit --tls-cert=$name.pem --tls-key=$name.key
		served_is $name
	done
	[ -z "$(troubles)" ]
}

@test "a renewed certificate is served to the next connection" {
	serve_port --tls=implicit
	tls_talk '' QUIT
	peer_is localhost
	make_certificate renewed ca /CN=renewed subjectAltName=DNS:localhost
	mv renewed.key server.key
	mv renewed.pem server.pem
	tls_talk '' QUIT
	peer_is renewed
}

# make_ocsp NAME [OPTION...]: NAME.ocsp, a response for the certificate NAME.
make_ocsp() {
	local serial
	serial=$(openssl x509 -in "$1.pem" -noout -serial)
	printf 'V\t%s\t\t%s\tunknown\t/CN=x\n' "$(date -u -d +100days +%y%m%d%H%M%SZ)" "${serial#*=}" >index
	openssl ocsp -index index -rsigner ca.pem -rkey ca.key -CA ca.pem -issuer ca.pem -cert "$1.pem" \
		-respout "$1.ocsp" "${@:2}" >/dev/null 2>&1
}

@test "an OCSP response, DER or PEM, is stapled to its certificate" {
	make_certificate two ca /CN=two subjectAltName=DNS:two
	make_key rsa.key rsa
	make_certificate rsa ca /CN=rsa subjectAltName=DNS:localhost # for the same names as the server's
	make_ocsp server -ndays 2
	make_ocsp rsa -ndays 2
	make_ocsp two -ndays 2
	{
		echo '-----BEGIN OCSP RESPONSE-----'
		openssl base64 -in two.ocsp
		echo '-----END OCSP RESPONSE-----'
	} >two.pem.ocsp
	serve_port --tls=implicit --tls-cert=server.pem --tls-key=server.key --tls-cert=two.pem \
		--tls-key=two.key --tls-cert=rsa.pem --tls-key=rsa.key --tls-ocsp=two.pem.ocsp \
		--tls-ocsp=rsa.ocsp --tls-ocsp=server.ocsp
	# Of each certificate: its file, the name to request, and what the client can verify.
	for case in 'server localhost ECDSA+SHA256' 'two two ECDSA+SHA256' 'rsa localhost RSA-PSS+SHA256'; do
		read -r file name algorithms <<<"$case"
		[ "$file" != rsa ] || algorithms+=:RSA+SHA256
		for version in -tls1_2 -tls1_3; do
			printf 'QUIT\r\n' | openssl s_client -connect "127.0.0.1:$port" -servername "$name" \
				-CAfile ca.pem -status $version -sigalgs "$algorithms" -ign_eof >out 2>client
			echo "$case $version"
			grep -F 'OCSP Response Status: successful' out
			serial=$(openssl x509 -in "$file.pem" -noout -serial)
			grep -F "Serial Number: ${serial#*=}" out
		done
	done
	[ -z "$(troubles)" ]
}

@test "an unusable OCSP response is logged, and its certificate is served without it" {
	make_certificate two ca /CN=two subjectAltName=DNS:two
	make_ocsp two -ndays 2
	faketime '3 days ago' bash -c "$(declare -f make_ocsp)"'; make_ocsp server -ndays 2'
	printf x >junk.ocsp
	for name in two server junk missing; do
		serve_port --tls=implicit --tls-ocsp=$name.ocsp
		tls_talk '-status' QUIT
		[ "$status" -eq 0 ]
		logged "'$name.ocsp': "
		[ "$(troubles | wc -l)" -eq 1 ]
		check_config --tls-ocsp=$name.ocsp
		[ "$status" -eq 78 ]
		cat log
		[ "$(troubles | wc -l)" -eq 1 ]
		: >log
	done
}

# each_mistake CHECK: calls CHECK with each mistake that makes TLS unusable: the expected text and the
# options that cause it.
each_mistake() {
	make_key other.key
	openssl pkey -in server.key -aes128 -passout pass:secret -out encrypted.key
	openssl pkey -in server.key -aes128 -passout pass:secret -traditional -out traditional.key
	printf 'junk\n' >junk
	: >empty
	local cert=--tls-cert=server.pem key=--tls-key=server.key
	"$1" "cannot read tls-cert = 'missing': No such file or directory" --tls-cert=missing $key
	"$1" "cannot read tls-cert = '.': Is a directory" --tls-cert=. $key
	"$1" "cannot use the certificate in tls-cert = 'junk': " --tls-cert=junk $key
	"$1" "cannot use the certificate in tls-cert = 'empty': " --tls-cert=empty $key
	"$1" "cannot read tls-key = 'missing': No such file or directory" $cert --tls-key=missing
	"$1" "cannot use the private key in tls-key = 'junk': " $cert --tls-key=junk
	"$1" "cannot use the private key in tls-key = 'encrypted.key': it is encrypted" $cert \
		--tls-key=encrypted.key
	"$1" "cannot use the private key in tls-key = 'traditional.key': it is encrypted" $cert \
		--tls-key=traditional.key
	"$1" "tls-key = 'other.key' is not the key of tls-cert = 'server.pem'" $cert --tls-key=other.key
	"$1" "tls-priority = 'NORMAL:+BOGUS' is not a GnuTLS priority string, from '" $cert $key \
		--tls-priority=NORMAL:+BOGUS
	"$1" "cannot read tls-client-ca = 'missing': No such file or directory" $cert $key \
		--tls-client-ca=missing
	"$1" "cannot use the certificates in tls-client-ca = 'junk': " $cert $key --tls-client-ca=junk
}

# one_line TEXT: the log is one line with this text.
one_line() {
	cat log
	[ "$(troubles | wc -l)" -eq 1 ]
	grep -qF -e "$1" log
}

# check_config [OPTION...]: sets `status`; `log` has the output without the line about the missing root
# of our certificates.
check_config() {
	status=0
	"$HANDLER" "${options[@]}" --check-config "$@" >out 2>log || status=$?
	sed -i "/lacks the certificate of the issuer 'CN=ca'/d" log
}

# check_fails TEXT OPTION...: --check-config says this in one line, and fails.
check_fails() {
	check_config "${@:2}"
	[ "$status" -eq 78 ]
	[ ! -s out ]
	one_line "$1"
}

@test "--check-config names each unusable file and the reason" {
	check_config
	[ "$status" -eq 0 ]
	[ -z "$(troubles)" ]
	umask 077
	each_mistake check_fails
}

@test "--check-config warns of a chain without its issuer, unless that is a system root or the certificate itself" {
	needs_root
	without_certificate
	make_key middle.key
	make_certificate middle ca /CN=middle basicConstraints=critical,CA:true
	make_certificate leaf middle /CN=leaf subjectAltName=DNS:localhost
	cat leaf.pem ca.pem >gap.pem
	cat leaf.pem ca.pem middle.pem >whole.pem
	cat leaf.pem middle.pem >chain.pem
	make_ca other
	# lacks ROOTS FILE [ISSUER]: with these roots, the only warning about the certificate is this, or none.
	lacks() {
		local expected=
		# shellcheck disable=SC2016
		unshare --mount bash -ec 'mount --bind "$1" /etc/ssl/certs/ca-certificates.crt; exec "${@:2}"' bash "$1" \
			"$HANDLER" "${options[@]}" --check-config "--tls-cert=$2" --tls-key="${4-leaf.key}" >log 2>&1
		cat log
		[ -z "${3-}" ] || expected="pop3-handler: tls-cert = '$2' lacks the certificate of the issuer 'CN=$3'"
		[ "$(cat log)" = "$expected" ]
	}
	for roots in other.pem ca.pem; do
		lacks $roots leaf.pem middle
		lacks $roots gap.pem middle
		lacks $roots whole.pem
		lacks $roots ca.pem '' ca.key
	done
	lacks other.pem chain.pem ca
	lacks ca.pem chain.pem
	lacks /dev/null leaf.pem # without roots, it is unknown what clients accept
}

# implicit_fails TEXT OPTION...: a session on port 995 ends and sends the client nothing.
implicit_fails() {
	status=0
	"$HANDLER" "${options[@]}" --tls=implicit "${@:2}" <<<QUIT >out 2>log || status=$?
	[ "$status" -eq 78 ]
	[ ! -s out ]
	one_line "$1"
}

# stls_fails TEXT OPTION...: STLS is refused, and the session continues.
stls_fails() {
	printf '%s\r\n' STLS 'USER alice' 'PASS apple' QUIT >script
	handle script "${@:2}"
	read_lines
	[ "${lines[1]}" = '-ERR [SYS/PERM] TLS is not available' ]
	[ "${lines[3]}" = '+OK 0 messages' ]
	one_line "$1"
}

@test "a session with unusable TLS files logs the reason; it ends on port 995, and refuses STLS on port 110" {
	umask 077
	make_maildir alice
	each_mistake implicit_fails
	each_mistake stls_fails
}

@test "a key that others can read and an expired certificate are logged, and served" {
	days=-1 make_certificate old ca /CN=old subjectAltName=DNS:localhost
	make_key young.key
	faketime '10 days' bash -c "$(declare -f make_certificate)
		make_certificate young ca /CN=young subjectAltName=DNS:localhost"
	cp server.key open.key
	chmod 644 open.key
	check_fails "the private key in tls-key = 'open.key' is open to others (mode 0644)" \
		--tls-cert=server.pem --tls-key=open.key
	check_fails "a certificate in tls-cert = 'old.pem' has expired on $(date -u -d -1day +%Y-%m-%d)" \
		--tls-cert=old.pem --tls-key=old.key
	check_fails "a certificate in tls-cert = 'young.pem' is not valid before $(date -u -d 10days +%Y-%m-%d)" \
		--tls-cert=young.pem --tls-key=young.key
	for name in open old young; do
		: >log
		[ $name = open ] && cert=server || cert=$name
		serve_port --tls=implicit "--tls-cert=$cert.pem" "--tls-key=$name.key"
		printf 'QUIT\r\n' | openssl s_client -connect "127.0.0.1:$port" -ign_eof -quiet >out 2>client
		read_lines
		[ "${lines[-1]}" = '+OK goodbye' ]
		logged "$name"
	done
}

@test "contradictory TLS settings are a mistake" {
	for arguments in '--tls=implicit' '--tls=starttls' '--tls-key=server.key' \
		'--tls-cert=a --tls-cert=b --tls-key=c' '--tls-cert=a --tls-key=b --tls-key=c'; do
		status=0
		# shellcheck disable=SC2086
		"$HANDLER" --users="$users" $arguments </dev/null >out 2>log || status=$?
		[ "$status" -eq 64 ]
		one_line 'settings: tls'
		status=0
		tr ' ' '\n' <<<"${arguments//--/}" >conf
		"$HANDLER" --config=conf </dev/null >out 2>log || status=$?
		[ "$status" -eq 78 ]
		one_line 'settings: tls'
	done
	printf 'tls-cert = missing\ntls-key = missing\ntls = implicit\n' >conf
	options=("$as_me" --config=conf --users="$users" --tls-cert=server.pem --tls-key=server.key)
	serve_port
	tls_talk '' QUIT
	[ "$status" -eq 0 ] # the command line's list replaces the file's
}

@test "TLS is not initialised in a session that does not use it" {
	printf '%s\r\n' 'USER alice' 'PASS apple' STAT QUIT >script
	trace trace trace=openat "$HANDLER" "${options[@]}" <script >out
	grep -vF O_PATH trace >opened # O_PATH reads nothing
	run ! grep -E 'server\.|ticket' opened
	[ -z "$(ls run)" ]
}

@test "small responses are sent at once: TCP_NODELAY" {
	needs_root
	printf 'QUIT\r\n' >script
	ASAN_OPTIONS=detect_leaks=0 "$BATS_TEST_DIRNAME/on-socket.py" 127.0.0.1 \
		strace -qq -o trace -e trace=setsockopt "$HANDLER" "${options[@]}" <script >out
	grep -F 'SOL_TCP, TCP_NODELAY, [1], 4) = 0' trace
}
