#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# TLS with a keeper: only the keeper has the private keys. Also renewals of certificates.

load helpers
load keeper

setup() {
	setup_site
	needs_root
	export ASAN_OPTIONS=exitcode=99:detect_leaks=0 # LeakSanitizer finds nothing after a change of users
	let_others_in
	mkdir -p homes/61001/Maildir/{new,cur,tmp}
	printf 'Subject: test\n\nHello\n' >homes/61001/Maildir/new/1.M1P1.h
	chown -R 61001:61001 homes/61001
	chmod 755 homes
	chmod 700 homes/61001
	printf '%s\n' "alice:{PLAIN}apple:61001:61001::$PWD/homes/61001" >users
	make_service_users
	chown root:64990 users
	chmod 640 users
	options=("--users=$PWD/users" --keeper=auto --login-penalty=0 --login-timeout=8)
	setup_tls
	options=("${options[@]/#--tls-cert=/--tls-cert=$PWD/}")
	options=("${options[@]/#--tls-key=/--tls-key=$PWD/}")
	chmod 600 server.key # owned by root
	chown 64991:64991 run
}

# open_port [OPTION...]: a listener that does not end while it has no client.
open_port() {
	mkfifo port.pipe
	"${wrapper[@]}" "$HANDLER" --listen=127.0.0.1:0 "${options[@]}" "$@" >port.pipe 2>>log 3>&- &
	background+=($!)
	read -r port <port.pipe
	port=${port##*:}
	rm port.pipe
}

# served OPTION...: openssl's client logs in with these options.
served() {
	tls_talk "$*" 'USER alice' 'PASS apple' STAT QUIT
	[ "$status" -eq 0 ]
	[[ ${lines[*]} == *'+OK 1 messages'*'+OK 1 '*'+OK goodbye'* ]]
}

# peer_is NAME: the last connection showed the certificate of NAME.
peer_is() {
	grep -F "CN = $1" client
}

# renew NAME: replaces certificate and key, each atomically.
renew() {
	rm -f renewed.key
	make_certificate renewed ca "/CN=$1" subjectAltName=DNS:localhost
	mv renewed.key server.key
	mv renewed.pem server.pem
}

@test "keys of either kind serve TLS 1.2 and 1.3, with STLS and without, in each form" {
	local common=("${options[@]}")
	for kind in ec rsa; do
		make_key $kind.key $kind
		make_certificate $kind ca /CN=localhost subjectAltName=DNS:localhost,IP:127.0.0.1
		options=("${common[@]//\/server./\/$kind.}")
		for how in serve_port listen_port; do
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

@test "a session resumes in another process" {
	for how in serve_port listen_port; do
		$how --tls=implicit
		for version in -tls1_2 -tls1_3; do
			served $version -sess_out session
			printf 'QUIT\r\n' | openssl s_client -connect "127.0.0.1:$port" -CAfile ca.pem -servername localhost \
				$version -sess_in session -ign_eof >out 2>client
			grep '^Reused, TLS' out
		done
	done
	[ -z "$(troubles)" ]
	[ "$(stat -c %a run/ticket-key)" = 600 ]
}

@test "only the keeper has the private key" {
	[ "$SANITIZED" = none ] || skip 'the sanitizers keep freed memory'
	open_port
	with_client <<-END
		tests = '$BATS_TEST_DIRNAME'
		$(cat <<-'PYTHON'
			import importlib.util, re
			spec = importlib.util.spec_from_file_location('memory', tests + '/search-memory.py')
			memory = importlib.util.module_from_spec(spec)
			spec.loader.exec_module(memory)
			text = subprocess.run(['openssl', 'pkey', '-in', 'server.key', '-text', '-noout'],
			                      capture_output=True, text=True, check=True).stdout
			key = bytes.fromhex(re.sub(r'[\s:]', '', re.search(r'priv:((?:\s+[0-9a-f:]+\n)+)', text)[1])).lstrip(b'\0')
			pieces = [key[at:at + 8] for at in range(0, len(key) - 7, 8)]
			sought = ['hex:' + octets.hex() for piece in pieces for octets in (piece, piece[::-1])]
			sought.append('hex:' + open('server.key', 'rb').read()[40:80].hex())

			def found(pid):
			    return memory.search(pid, *sought)

			keeper = children()[0]
			assert found(keeper), 'the search finds what is there'
			assert not found(listener)
			plain = Client(port)
			pid = next(pid for pid in children() if pid != keeper)
			assert not found(pid)
			plain.expect('STLS', '+OK')
			assert not found(pid)
			context = ssl.create_default_context(cafile='ca.pem')
			plain.socket = context.wrap_socket(plain.socket, server_hostname='localhost')
			plain.file = plain.socket.makefile('rwb')
			plain.expect('USER alice', '+OK')
			assert not found(pid)
			plain.expect('PASS apple', '+OK')
			assert not found(pid)
			plain.expect('SLEE', '+OK')
			assert not found(pid)
			for process in pid, listener: # nor can another process open the file
			    for descriptor in os.listdir(f'/proc/{process}/fd'):
			        assert 'server' not in os.readlink(f'/proc/{process}/fd/{descriptor}')
			plain.close()
		PYTHON
		)
	END
}

# within_20_s COMMAND...: repeats it until it succeeds.
within_20_s() {
	local end=$((SECONDS + 20))
	until "$@"; do
		[ $SECONDS -lt $end ]
		sleep 0.5
	done
}

is_served() {
	tls_talk '' QUIT
	[ "$status" -eq 0 ]
	peer_is "$1"
}

@test "a renewed certificate is served without a restart, and sleeping sessions continue" {
	listen_port --tls=implicit
	mkfifo to
	openssl s_client -connect "127.0.0.1:$port" -quiet -CAfile ca.pem <to >from 2>/dev/null 3>&- &
	background=("$!" "${background[@]}")
	exec 9>to
	printf '%s\r\n' 'USER alice' 'PASS apple' SLEE >&9
	within_20_s grep -F 'asleep' from
	is_served localhost
	renew renewed
	within_20_s is_served renewed
	served
	renew again
	kill -s HUP "${background[-1]}"
	logged 'settings and certificates are read again'
	is_served again
	[ "$(grep -c 'renewed certificates are served' log)" -eq 1 ]
	printf 'WAKE\r\nQUIT\r\n' >&9
	within_20_s grep -F '+OK goodbye' from
	exec 9>&-
	run -1 grep -vE 'accepted|ended|read again|renewed certificates' log
}

@test "a connection older than a renewal has its handshake with the old certificate" {
	listen_port
	exec {early}<>"/dev/tcp/127.0.0.1/$port"
	read -r -u "$early"
	renew renewed
	kill -s HUP "${background[-1]}"
	logged 'settings and certificates are read again'
	kill -s HUP "${background[-1]}" # this reload reads no file, since nothing has changed
	served -starttls pop3
	peer_is renewed
	/usr/bin/python3 - "$early" <<-'END'
		import socket, ssl, sys
		plain = socket.socket(fileno=int(sys.argv[1]))
		plain.sendall(b'STLS\r\n')
		assert plain.recv(100).startswith(b'+OK')
		context = ssl.create_default_context(cafile='ca.pem')
		tls = context.wrap_socket(plain, server_hostname='localhost')
		assert ('commonName', 'localhost') in [pair for name in tls.getpeercert()['subject'] for pair in name]
		tls.sendall(b'QUIT\r\n')
		assert tls.recv(100) == b'+OK goodbye\r\n'
	END
}

@test "a broken renewal is logged in one line, and the old certificate is served until the files are good" {
	for how in keeper alone; do
		rm -f log
		if [ $how = alone ]; then
			chown nobody server.key users
			options+=(--keeper=no --user=nobody "--mailbox=$PWD/homes/%u")
			wrapper=()
		fi
		open_port --tls=implicit
		is_served localhost
		cp -p server.key good.key
		make_key other.key
		chown --reference=good.key other.key
		mv other.key server.key
		within_20_s grep -F "is not the key of tls-cert" log
		for i in {1..4}; do
			is_served localhost
			sleep 0.6
		done
		[ "$(troubles | wc -l)" -eq 1 ]
		kill -s HUP "${background[-1]}"
		logged 'reload failed, the settings are as before: '
		is_served localhost
		mv good.key server.key
		within_20_s grep -F 'renewed certificates are served from now on' log
		is_served localhost
	done
}

offers_stls() {
	exec {client}<>"/dev/tcp/127.0.0.1/$port"
	printf 'CAPA\r\nQUIT\r\n' >&"$client"
	tr -d '\r' <&"$client" >out
	exec {client}>&-
	grep -x STLS out
}

@test "STLS is offered as soon as the files can be read, and a reload may change the file names" {
	mv server.key away
	printf 'tls-priority = NORMAL\n' >settings
	options+=("--config=$PWD/settings")
	for how in keeper alone; do
		rm -f log
		if [ $how = alone ]; then
			chown nobody away users
			options+=(--keeper=no --user=nobody "--mailbox=$PWD/homes/%u")
			wrapper=()
		fi
		open_port
		run ! offers_stls
		mv away server.key
		within_20_s offers_stls
		tls_talk '-starttls pop3' QUIT
		[ "$status" -eq 0 ]
		# A mistake outside the files.
		printf 'tls-priority = NONSENSE\n' >settings
		kill -s HUP "${background[-1]}"
		logged 'reload failed, the settings are as before: '
		tls_talk '-starttls pop3' QUIT
		[ "$status" -eq 0 ]
		printf 'tls-priority = NORMAL\ntls = off\n' >settings
		kill -s HUP "${background[-1]}"
		logged 'settings and certificates are read again'
		run ! offers_stls
		: >log
		printf 'tls-priority = NORMAL\n' >settings
		kill -s HUP "${background[-1]}"
		logged 'settings and certificates are read again'
		tls_talk '-starttls pop3' QUIT
		[ "$status" -eq 0 ]
		mv server.key away
	done
}

@test "a session that requests a second signature, or one after login, is ended" {
	[ "$(uname -m)" = x86_64 ] || skip 'tests/from-inside.py supports x86_64 only'
	type=$(grep -oE '^	CHANNEL_[A-Z_]+' "$BATS_TEST_DIRNAME/../channel.h" | grep -n CHANNEL_SIGN | cut -d: -f1)
	for when in before after; do
		rm -f log
		listen_port # a fresh listener, because a listener logs one such line a second
		exec {to}<>"/dev/tcp/127.0.0.1/$port"
		read -r -u "$to"
		talker=$(pgrep -n -P "${background[-1]}" -U 64991)
		if [ $when = after ]; then
			printf 'USER alice\r\nPASS apple\r\n' >&"$to"
			read -r -u "$to"
			read -r -u "$to" reply
			[[ $reply == '+OK 1'* ]]
		fi
		channel=$(find "/proc/$talker/fd" -lname 'socket:*' -printf '%f\n' | grep -vx '[012]')
		# The keeper does not read the request before that. The sizes are those of struct channel_signing.
		packet=@$(printf '%02x' "$type")$(printf '0%.0s' {1..606})
		run -0 "$BATS_TEST_DIRNAME/from-inside.py" "$talker" "write $channel $packet 304" \
			"read $channel x 1032" "write $channel $packet 304"
		echo "$output"
		logged 'the session from 127.0.0.1 is ended: it asks for a signature that it does not need'
		exec {to}>&-
	done
	served -starttls pop3
}

@test "a handshake from a trusted network does not wait behind those of strangers" {
	listen_port --tls=starttls --max-sessions-per-source=100 --trusted-networks=127.200.0.1 --login-timeout=60
	with_client <<-'END'
		def begin(source):
		    client = Client(port, source=source)
		    client.expect('STLS', '+OK')
		    return client.socket
		strangers = [begin('127.0.0.1') for i in range(40)]
		[keeper] = [pid for pid in children() if 'keeper' in open(f'/proc/{pid}/cmdline').read()]
		# Each signature takes 0.2 seconds.
		tracer = subprocess.Popen(['strace', '-qq', '-f', '-o', 'trace', '-p', str(keeper), '-e', 'trace=sendmsg',
		                           '-e', 'inject=sendmsg:delay_exit=200000'])
		wait_for(lambda: f'TracerPid:\t{tracer.pid}\n' in open(f'/proc/{keeper}/status').readlines())
		context = ssl.create_default_context()
		context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
		def hello(stranger):
		    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
		    try:
		        context.wrap_bio(incoming, outgoing).do_handshake()
		    except ssl.SSLWantReadError:
		        stranger.sendall(outgoing.read())
		for stranger in strangers:
		    hello(stranger)
		context.wrap_socket(begin('127.200.0.1')).close()
		signatures = open('trace').read().count('sendmsg(')
		tracer.kill()
		assert 0 < signatures < 40, signatures
	END
}

@test "when the keeper dies, a handshake fails with an alert and a log line" {
	for version in -tls1_2 -tls1_3; do
		rm -f log
		serve_port --tls=starttls
		/usr/bin/python3 - "$port" ${version#-tls} <<-'END'
			import os, signal, socket, ssl, subprocess, sys
			plain = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20)
			plain.recv(100)
			plain.sendall(b'STLS\r\n')
			plain.recv(100)
			talker = subprocess.run(['ss', '-Htnp', f'dport = :{plain.getsockname()[1]}'], capture_output=True, text=True,
			                        check=True).stdout.split('pid=')[1].split(',')[0]
			keeper, = open(f'/proc/{talker}/task/{talker}/children').read().split()
			os.kill(int(keeper), signal.SIGKILL)
			context = ssl.create_default_context(cafile='ca.pem')
			context.maximum_version = ssl.TLSVersion['TLSv' + sys.argv[2]]
			try:
			    context.wrap_socket(plain, server_hostname='localhost')
			except ssl.SSLError as error:
			    assert 'ALERT' in error.reason, error.reason
			else:
			    raise AssertionError('it is served')
		END
		logged 'TLS handshake with 127.0.0.1 failed: the keeper does not sign'
		[ "$(troubles | wc -l)" -eq 1 ]
	done
}

@test "whatever tls-priority says, the key exchange is one that a keeper can sign for" {
	listen_port --tls=implicit '--tls-priority=NORMAL:+RSA:+DHE-RSA:-VERS-TLS1.3'
	served -tls1_2
	for cipher in AES128-SHA DHE-RSA-AES128-GCM-SHA256; do
		tls_talk "-tls1_2 -cipher $cipher@SECLEVEL=0" QUIT
		[ "$status" -ne 0 ]
	done
	[ "$(troubles | grep -vc 'no cipher suite in common')" -eq 0 ]
}

@test "unreadable files and a missing module are refused as without a keeper" {
	# refused TEXT OPTION...: exits with 78 after this one line.
	refused() {
		local status=0
		"${wrapper[@]}" "$program" "${options[@]}" "${@:2}" </dev/null >out 2>log || status=$?
		cat log
		[ "$status" -eq 78 ]
		[ "$(wc -l <log)" -eq 1 ]
		grep -F "$1" log
	}
	program=$HANDLER
	mv server.key away
	refused "cannot read tls-key = '$PWD/server.key': No such file or directory" --tls=implicit
	# STLS is not offered.
	printf '%s\r\n' CAPA STLS QUIT | "${wrapper[@]}" "$HANDLER" "${options[@]}" >out 2>log
	run -1 grep -x $'STLS\r' out
	grep -F -- '-ERR [SYS/PERM] TLS is not available' out
	[ "$(troubles)" = "pop3-handler: cannot read tls-key = '$PWD/server.key': No such file or directory" ]
	mv away server.key
	wrapper+=(setpriv '--bounding-set=-dac_read_search,-dac_override')
	refused "cannot read tls-key = '$PWD/server.key': Permission denied" --tls=implicit
	mkdir elsewhere
	cp "$HANDLER" elsewhere
	program=elsewhere/pop3-handler
	refused 'cannot load TLS:' --tls=implicit
}
