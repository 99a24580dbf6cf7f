#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# TLS sessions that resume in another process, and the ticket key: a listener's, and the file.

load helpers

setup() {
	setup_site
	setup_tls
	key=run/ticket-key
}

# openssl_client VERSION OPTION...: one session; sets `resumed` to New or Reused.
openssl_client() {
	printf 'QUIT\r\n' | timeout 20 openssl s_client -connect "127.0.0.1:$port" -CAfile ca.pem \
		-verify_return_error -servername localhost -ign_eof "$@" >out 2>client
	grep -xF $'+OK goodbye\r' out
	resumed=$(grep -oE '^(New|Reused), TLS' out | head -n 1)
	resumed=${resumed%,*}
}

@test "openssl's second connection resumes in another process, on either port" {
	serve_port --tls=implicit
	implicit=$port
	serve_port
	starttls=$port
	for version in -tls1_2 -tls1_3; do
		port=$implicit
		openssl_client $version -sess_out session
		[ "$resumed" = New ]
		grep -F 'TLS session ticket lifetime hint: 43200 (seconds)' out
		[ "$(grep -cF 'TLS session ticket:' out)" -eq 1 ]
		openssl_client $version -sess_in session
		[ "$resumed" = Reused ]
		port=$starttls
		openssl_client $version -starttls pop3 -sess_in session
		[ "$resumed" = Reused ]
	done
	[ -z "$(troubles)" ]
}

@test "gnutls-cli --resume resumes" {
	serve_port --tls=implicit
	for version in 1.2 1.3; do
		timeout 20 gnutls-cli --priority "NORMAL:-VERS-ALL:+VERS-TLS$version" --x509cafile ca.pem \
			--resume --waitresumption -p "$port" 127.0.0.1 <<<QUIT >out 2>&1
		grep -F '*** This is a resumed session' out
		grep -F '+OK goodbye' out
	done
}

@test "a resumed TLS 1.3 session makes new keys, so that the ticket key alone cannot decrypt it" {
	serve_port --tls=implicit
	openssl_client -tls1_3 -sess_out session
	openssl_client -tls1_3 -sess_in session
	[ "$resumed" = Reused ]
	grep -F 'Server Temp Key: X25519' out
}

@test "the file of the ticket key is readable by its owner only and is created once" {
	serve_port --tls=implicit
	openssl_client
	[ "$(stat -c '%a %s' "$key")" = '600 72' ]
	cp "$key" before
	openssl_client
	cmp "$key" before
	[ "$(ls run)" = ticket-key ]
}

@test "a ticket key that is a day old is replaced, and its tickets become invalid" {
	serve_port --tls=implicit
	openssl_client -sess_out session
	# age SECONDS: makes the key this old, with a valid seal.
	age() {
		/usr/bin/python3 - "$key" "$1" <<-'END'
			import hashlib, struct, sys, time
			octets = open(sys.argv[1], 'rb').read()
			made = struct.pack('=q', int(time.time()) - int(sys.argv[2]))
			octets = made + octets[8:72] + bytes(32)
			open(sys.argv[1], 'wb').write(octets[:72] + hashlib.sha256(octets).digest())
		END
	}
	cp "$key" before
	age 86000
	openssl_client -sess_in session
	[ "$resumed" = Reused ]
	cmp -s -n 64 -i 8 "$key" before
	for age in 86500 -1000; do
		age $age
		openssl_client -sess_in session
		[ "$resumed" = New ]
		run ! cmp -s -n 64 -i 8 "$key" before
		openssl_client -sess_out session
		cp "$key" before
	done
	openssl_client -sess_in session
	[ "$resumed" = Reused ]
}

@test "a damaged file of the ticket key is replaced" {
	serve_port --tls=implicit
	openssl_client
	cp "$key" before
	for octets in 0 1 71 72; do
		head -c $octets before >"$key"
		[ $octets -ne 72 ] || dd if=/dev/zero of="$key" bs=1 count=72 conv=notrunc status=none
		openssl_client -sess_out session
		[ "$(stat -c %s "$key")" -eq 72 ]
		openssl_client -sess_in session
		[ "$resumed" = Reused ]
	done
}

@test "a ticket key that others can read or replace is not used, and the reason is logged" {
	needs_root
	serve_port --tls=implicit
	refused() {
		openssl_client -sess_out session
		run grep -c 'TLS session ticket:' out
		[ "$output" = 0 ]
		logged "pop3-handler: no TLS session tickets, their key cannot be shared in '$PWD/run': $1"
		: >log
	}
	umask 077
	openssl_client
	chmod 644 "$key"
	refused 'Operation not permitted'
	chmod 600 "$key"
	ln "$key" run/other
	refused 'Operation not permitted'
	rm run/other
	mv "$key" elsewhere
	ln -s "$PWD/elsewhere" "$key"
	refused 'Too many levels of symbolic links'
	rm "$key"
	mkdir "$key"
	refused 'Operation not permitted'
	rmdir "$key"
	cp elsewhere "$key"
	chown nobody "$key"
	refused 'Permission denied' # root has no capability here
	rm "$key"
	for mode in 777 770; do
		chmod $mode run
		refused 'Operation not permitted'
		[ -z "$(ls run)" ]
	done
	chmod 700 run
	chown nobody run
	refused 'Permission denied'
}

# resumes: a second session resumes the first.
resumes() {
	openssl_client "$@" -sess_out session
	[ "$resumed" = New ]
	openssl_client "$@" -sess_in session
	[ "$resumed" = Reused ]
}

@test "without a usable directory there are no tickets, and the reason is logged" {
	for directory in "$PWD/none" "$PWD/log"; do
		: >log
		RUNTIME_DIRECTORY=$directory serve_port --tls=implicit
		openssl_client
		run ! grep -F 'TLS session ticket:' out
		[ "$directory" = "$PWD/none" ] && why='No such file or directory' || why='Not a directory'
		logged "pop3-handler: no TLS session tickets, their key cannot be shared in '$directory': $why"
		[ "$(troubles | wc -l)" -eq 1 ]
	done
}

@test "root makes the directory for the user that it becomes, and keeps an existing file" {
	chmod 644 server.key # readable for both users
	# In a private /run.
	cat >scenario <<-'END'
		mount -t tmpfs tmpfs /run
		unset RUNTIME_DIRECTORY
		/usr/bin/python3 - "$@" <<-'PYTHON'
			import os, socket, ssl, subprocess, sys
			context, session = ssl.create_default_context(cafile='ca.pem'), None
			context.maximum_version = ssl.TLSVersion.TLSv1_2
			def client(user):
			    ours, theirs = socket.socketpair()
			    handler = subprocess.Popen([*sys.argv[1:], '--user=' + user], stdin=theirs, stdout=theirs)
			    theirs.close()
			    tls = context.wrap_socket(ours, server_hostname='localhost', session=session)
			    tls.sendall(b'QUIT\r\n')
			    tls.recv(100), tls.recv(100)
			    assert handler.wait(20) == 0
			    return tls
			session = client('nobody').session
			assert client('nobody').session_reused
			os.system('stat -c "%a %U" /run/pop3-handler /run/pop3-handler/ticket-key')
			assert not client('root').session_reused
			os.system('stat -c "%a %U" /run/pop3-handler')
		PYTHON
	END
	as_nobody true
	unshare --mount bash -e scenario ./handler "${options[@]}" --tls=implicit >modes 2>log
	[ "$(cat modes)" = $'700 nobody\n600 nobody\n700 nobody' ]
	grep -xF "pop3-handler: no TLS session tickets, their key cannot be shared in '/run/pop3-handler': Permission denied" log
}

@test "a listener keeps its key in memory, whatever the directory, and across a reload" {
	for directory in "$PWD/run" "$PWD/none"; do
		RUNTIME_DIRECTORY=$directory listen_port --tls=implicit
		for version in -tls1_2 -tls1_3; do
			resumes $version
		done
		kill -s HUP "${background[-1]}"
		logged 'settings and certificates are read again'
		openssl_client -tls1_3 -sess_in session
		[ "$resumed" = Reused ]
		[ -z "$(ls run)" ]
		[ "$(troubles)" = 'pop3-handler: settings and certificates are read again' ]
		: >log
	done
}

@test "a listener changes the key once a day" {
	[ "$SANITIZED" = none ] || skip 'faketime cannot be loaded into a sanitized program'
	echo +0 >clock
	wrapper=(env "LD_PRELOAD=$(faketime -f +0 printenv LD_PRELOAD)" FAKETIME_NO_CACHE=1
		"FAKETIME_TIMESTAMP_FILE=$PWD/clock")
	listen_port --tls=implicit --sandbox=off
	resumes
	echo '+80000' >clock
	resumes
	echo '+86000' >clock
	openssl_client -sess_in session
	[ "$resumed" = Reused ]
	echo '+86500' >clock
	openssl_client -sess_in session
	[ "$resumed" = New ]
	resumes
}

@test "of several runtime directories, the first holds the ticket key" {
	export RUNTIME_DIRECTORY=$PWD/run:$PWD/other
	serve_port --tls=implicit
	openssl_client
	[ -s "$key" ]
}

@test "twenty sessions that start at once use one ticket key" {
	serve_port --tls=implicit
	for i in {1..20}; do
		(printf 'QUIT\r\n' | timeout 20 openssl s_client -connect "127.0.0.1:$port" -quiet -ign_eof \
			>"out$i" 2>/dev/null 3>&-) &
		clients[i]=$!
	done
	wait "${clients[@]}"
	[ "$(cat out? out?? | grep -c '+OK goodbye')" -eq 20 ]
	openssl_client -sess_out session
	cp "$key" before
	openssl_client -sess_in session
	[ "$resumed" = Reused ]
	cmp "$key" before
	[ -z "$(troubles)" ]
}
