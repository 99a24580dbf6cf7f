#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# TLS with a keeper, which alone has the private keys, and certificates that are renewed.

load helpers

setup() {
	setup_site
	needs_root
	[ "$SANITIZED" = none ] || skip 'the filter of the sanitizers is another one'
	chmod a+rx "$BATS_RUN_TMPDIR" "${BATS_TEST_TMPDIR%/*}" .
	mkdir -p homes/61001/Maildir/{new,cur,tmp}
	printf 'Subject: test\n\nHello\n' >homes/61001/Maildir/new/1.M1P1.h
	chown -R 61001:61001 homes/61001
	chmod 755 homes
	chmod 700 homes/61001
	printf '%s\n' "alice:{PLAIN}apple:61001:61001::$PWD/homes/61001" >users
	cp /etc/passwd passwd
	sed -i '/^pop3-/d' passwd
	printf '%s\n' 'pop3-keeper:x:64990:64990::/:/bin/false' 'pop3-login:x:64991:64991::/:/bin/false' >>passwd
	chown root:64990 users
	chmod 640 users
	options=("--users=$PWD/users" --keeper=auto --login-penalty=0 --login-timeout=8)
	setup_tls
	options=("${options[@]/#--tls-cert=/--tls-cert=$PWD/}")
	options=("${options[@]/#--tls-key=/--tls-key=$PWD/}")
	chmod 600 server.key # root's
	# Where the users of the service exist, and /run is its own.
	# shellcheck disable=SC2016
	wrapper=(unshare --mount bash -c 'mount --bind passwd /etc/passwd && mount -t tmpfs run /run && exec "$@"' bash)
}

# pipe_port [OPTION...]: a process for each connection at `port`.
pipe_port() {
	mkfifo port.pipe
	"${wrapper[@]}" tcpserver -1 -R -H -l localhost 127.0.0.1 0 "$HANDLER" "${options[@]}" "$@" \
		>port.pipe 2>>log 3>&- &
	background+=($!)
	read -r port <port.pipe
	rm port.pipe
}

# served OPTION...: openssl's client, with these options, logs in.
served() {
	tls_talk "$*" 'USER alice' 'PASS apple' STAT QUIT
	[ "$status" -eq 0 ]
	[[ ${lines[*]} == *'+OK 1 messages'*'+OK 1 '*'+OK goodbye'* ]]
}

# peer_is NAME: whom the server of the last connection was.
peer_is() {
	grep -F "CN = $1" client
}

# renew NAME: another certificate and key, each in place of the old one at once.
renew() {
	rm -f renewed.key
	make_certificate renewed ca "/CN=$1" subjectAltName=DNS:localhost
	mv renewed.key server.key
	mv renewed.pem server.pem
}

@test "keys of either kind serve TLS 1.2 and 1.3, with STLS and without, in each form" {
	for kind in ec rsa; do
		rm server.key
		make_key server.key $kind
		make_certificate server ca /CN=localhost subjectAltName=DNS:localhost,IP:127.0.0.1
		for how in pipe_port listen_port; do
			for version in -tls1_2 -tls1_3; do
				[ $version = -tls1_2 ] && $how --tls=implicit
				served $version
			done
			$how
			served -tls1_2 -starttls pop3
			served -tls1_3 -starttls pop3
		done
		run -0 gnutls-cli --starttls-proto=pop3 -p "$port" --x509cafile ca.pem --verify-hostname localhost \
			--priority NORMAL:-VERS-ALL:+VERS-TLS1.3 127.0.0.1 <<<QUIT
		[[ $output == *'+OK goodbye'* ]]
	done
	[ -z "$(troubles)" ]
}
