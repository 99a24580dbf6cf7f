#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# tools/compare, the rehearsal of a move: with two of our servers, a real Dovecot, and servers that break
# the protocol.

load helpers

setup() {
	[ "${SANITIZED:-none}" = none ] || skip 'the tool is not a C program'
	setup_site
	echo 'alice apple' >list
	chmod 600 list
	make_message_in old 1 2 3
	make_message_in new 1 2 3
}

# make_message_in SERVER NUMBER...: messages of alice on a server.
make_message_in() {
	local number
	make_maildir "$1/alice"
	for number in "${@:2}"; do
		make_message "$1/alice/new/$number.M1P1.h" "message $number\n"
	done
}

# serve SERVER [OPTION...]: runs the handler with this server's mailboxes; the variable of that name gets
# its address.
serve() {
	options=("${options[@]/#--mailbox=*/--mailbox=$mail/$1/%u}")
	listen_port "${@:2}"
	eval "$1=127.0.0.1:$port"
}

serve_both() {
	serve old
	serve new --read-only=yes
}

# serve_command COMMAND...: runs a command for each connection to `port`.
serve_command() {
	mkfifo port.pipe
	tcpserver -1 -R -H -l localhost 127.0.0.1 0 "$@" >port.pipe 2>>log 3>&- &
	background+=($!)
	read -r port <port.pipe
	rm port.pipe
}

# serve_answers SERVER ANSWER...: a server that greets with the first answer, sends one for each line that it
# receives, and closes the connection after the last answer or at the answer "end". Answers are formats of
# printf without the last line end. The lines received are in the file `heard`.
serve_answers() {
	: >"$1.answers"
	[ $# -eq 1 ] || printf '%s\n' "${@:2}" >"$1.answers"
	cat >answer <<-'END'
		is_first=yes
		while IFS= read -r answer; do
			if [ $is_first = no ]; then
				IFS= read -r line <&3 || exit 0
				echo "${line%$'\r'}" >>heard
			fi
			is_first=no
			[ "$answer" != end ] || exit 0
			printf -- "$answer\r\n"
		done 3<&0 <"$1"
	END
	serve_command bash answer "$1.answers"
	eval "$1=127.0.0.1:$port"
}

# compare STATUS [ARGUMENT...]: compares old and new for the accounts in the file `list`; checks the exit
# status and sets `lines` to the output.
compare() {
	local status=0
	timeout 50 "$BATS_TEST_DIRNAME/../tools/compare" "${@:2}" "$old" "$new" list >out 2>err || status=$?
	cat out err
	mapfile -t lines <out
	[ "$status" -eq "$1" ] && ! grep -qF Traceback err
}

# fails REASON [ARGUMENT...]: the one account fails for this reason.
fails() {
	compare 2 "${@:2}"
	[[ ${lines[0]} == "failed alice: "$1 ]]
	[ "${lines[1]}" = '1 of 1 accounts: 0 same, 0 order, 0 DIFFERENT, 1 failed' ]
}

@test "accounts that are the same on both servers are listed with their number of messages" {
	printf '%s\n' '# NAME PASSWORD' 'alice apple' '' 'bob banana split ' >list
	printf 'alice apple\r\n' >>list
	serve_both
	compare 0
	[ "${lines[0]}" = 'same alice (3 messages)' ]
	[ "${lines[1]}" = 'same bob (0 messages)' ]
	[ "${lines[3]}" = '3 of 3 accounts: 3 same, 0 order, 0 DIFFERENT, 0 failed' ]
	[ ! -s err ]
	"$BATS_TEST_DIRNAME/../tools/compare" "$old" "$new" - <list >again
	cmp out again
}

@test "names and passwords may be any octets: invalid UTF-8, a colon, a star" {
	password=$'b\xe4r: s\xc3\xbc\xc3\x9f'
	printf '%s\n' $'j\xfcrgen*boss:{PLAIN.B64}'"$(printf %s "$password" | base64)" >"$users"
	printf '%s\n' $'j\xfcrgen*boss '"$password" >list
	serve_both
	LC_ALL=C compare 0
	[ "${lines[0]}" = 'same j\udcfcrgen*boss (0 messages)' ]
	printf '%s\n' $'j\xfcrgen*boss:'"$password" >list
	LC_ALL=C compare 0
}

@test "unique-ids that only one server has are DIFFERENT, in at most ten lines" {
	make_message_in old 7
	make_message_in new 8 9
	serve_both
	compare 1
	[ "${lines[0]}" = 'DIFFERENT alice' ]
	[ "${lines[1]}" = '    only on the old server: 7.M1P1.h (message 4)' ]
	[ "${lines[2]}" = '    only on the new server: 8.M1P1.h (message 4)' ]
	[ "${lines[3]}" = '    only on the new server: 9.M1P1.h (message 5)' ]
	[ "${lines[4]}" = '1 of 1 accounts: 0 same, 0 order, 1 DIFFERENT, 0 failed' ]
	make_message_in new 11 12 13 14 15 16 17 18 19
	compare 1
	[ "${#lines[@]}" -eq 12 ]
	[ "${lines[10]}" = '    and 3 more' ]
}

@test "the same unique-ids in another order are reported as such" {
	for server in old new; do
		rm -r "$mail/$server/alice"
		mkdir "$mail/$server/alice"
		make_message $server/alice/a.eml
		make_message $server/alice/b.eml
		make_message $server/alice/c.eml
	done
	touch -d @1000 "$mail"/*/alice/*
	touch -d @2000 "$mail/new/alice/b.eml"
	serve_both
	compare 1
	[ "${lines[0]}" = 'order alice' ]
	[ "${lines[1]}" = '    message 2: b.eml on the old server, c.eml on the new server' ]
	[ "${lines[2]}" = '    message 3: c.eml on the old server, b.eml on the new server' ]
	[ "${lines[3]}" = '1 of 1 accounts: 0 same, 1 order, 0 DIFFERENT, 0 failed' ]
}

@test "sizes that differ by two octets are the same; others are not, unless sizes are ignored" {
	make_message new/alice/new/2.M1P1.h 'message 234\n'
	serve_both
	compare 0
	make_message old/alice/new/3.M1P1.h 'message 345\n'
	compare 0
	make_message new/alice/new/1.M1P1.h 'message 1234\n'
	compare 1
	[ "${lines[0]}" = 'DIFFERENT alice' ]
	[ "${lines[1]}" = '    size of 1.M1P1.h: 11 on the old server, 14 on the new server' ]
	[[ ${lines[2]} == '1 of 1 accounts: '* ]]
	compare 0 --ignore-sizes
}

@test "of messages with the same unique-id, each is compared with its counterpart" {
	serve_answers old +OK +OK +OK '+OK\r\n1 a\r\n2 a\r\n3 b\r\n.' '+OK\r\n1 10\r\n2 20\r\n3 30\r\n.' +OK
	serve_answers new +OK +OK +OK '+OK\r\n2 a\r\n1 a\r\n3 b\r\n.' '+OK\r\n1 10 x\r\n2 20 y\r\n3 30\r\n.' +OK
	compare 0
	serve_answers new +OK +OK +OK '+OK\r\n1 a\r\n2 b\r\n3 b\r\n.' '+OK\r\n1 10\r\n2 20\r\n3 30\r\n.' +OK
	compare 1
	[ "${lines[1]}" = '    only on the old server: a (message 2)' ]
	[ "${lines[2]}" = '    only on the new server: b (message 3)' ]
	[ "${lines[3]}" = '    size of b: 30 on the old server, 20 on the new server' ]
}

@test "the new server is asked first, then the old, then the new again if they differ; nothing is changed" {
	answers=(+OK +OK +OK '+OK\r\n1 a\r\n.' '+OK\r\n1 10\r\n.' +OK)
	serve_answers new "${answers[@]}"
	serve_answers old "${answers[@]}"
	one=$'USER alice\nPASS apple\nUIDL\nLIST\nQUIT'
	compare 0
	[ "$(<heard)" = "$one"$'\n'"$one" ]
	rm heard
	sed -i 's/1 a/1 b/' old.answers
	compare 1
	[ "$(<heard)" = "$one"$'\n'"$one"$'\n'"$one" ]
	(cd "$mail" && find . -printf '%p %T@ %C@\n') >before
	serve new --read-only=yes
	old=$new
	compare 0
	(cd "$mail" && find . -printf '%p %T@ %C@\n') | diff before -
}

@test "mail that arrives while the old server is asked makes no difference; later mail does" {
	# shellcheck disable=SC2016
	deliver='echo "message 4" >"$1/$(find "$1" -type f | wc -l).M1P1.i"; exec "${@:2}"'
	serve new --read-only=yes
	same_mailbox=("${options[@]}")
	serve_command bash -c "$deliver" bash "$mail/new/alice/new" "$HANDLER" "${same_mailbox[@]}"
	old=127.0.0.1:$port
	compare 0
	[ "${lines[0]}" = 'same alice (4 messages)' ]
	serve old
	serve_command bash -c "$deliver" bash "$mail/new/alice/new" "$HANDLER" "${same_mailbox[@]}" --read-only=yes
	new=127.0.0.1:$port
	compare 1
	[ "$(grep -c 'only on the new server' out)" -eq 3 ]
}

@test "a real Dovecot with equal unique-ids is the same: with STLS, a master password and new mail" {
	needs_root
	serve new --read-only=yes --unique-ids-from='dovecot %u'
	importing=$new
	serve new --read-only=yes
	setup_tls
	echo 'boss:{PLAIN}key' >accounts/masters
	echo "alice*boss:{PLAIN}key::::::userdb_mail=$mail/new/alice" >>"$users"
	make_message new/alice/cur/4.M1P1.h:2,S 'Subject: four\n\nno line end'
	mkdir dovecot
	chown -R nobody dovecot server.key "$mail"
	let_others_in
	cat >dovecot.conf <<-END
		base_dir = $PWD/dovecot
		state_dir = $PWD/dovecot
		log_path = $PWD/dovecot/log
		protocols = pop3
		default_internal_user = nobody
		default_internal_group = nogroup
		default_login_user = nobody
		first_valid_uid = 1
		auth_master_user_separator = *
		mail_location = maildir:$mail/new/%n
		ssl = required
		ssl_cert = <$PWD/server.pem
		ssl_key = <$PWD/server.key
		passdb {
		  driver = passwd-file
		  args = $PWD/accounts/masters
		  master = yes
		}
		passdb {
		  driver = passwd-file
		  args = $users
		}
		userdb {
		  driver = static
		  args = uid=nobody gid=nogroup home=$mail/new/%n
		}
		service anvil {
		  chroot =
		}
		service pop3-login {
		  chroot =
		  inet_listener pop3 {
		    port = 0
		  }
		  inet_listener pop3s {
		    port = 0
		  }
		  unix_listener pop3 {
		    mode = 0666
		  }
		}
	END
	# start FORMAT: starts Dovecot with this format of unique-ids.
	start() {
		rm -f dovecot/pop3
		echo "pop3_uidl_format = $1" >>dovecot.conf
		setpriv --reuid=nobody --regid=nogroup --clear-groups dovecot -F -c dovecot.conf >>log 2>&1 3>&- &
		background+=($!)
		until [ -S dovecot/pop3 ]; do
			kill -0 $!
		done
	}
	serve_command socat - UNIX-CONNECT:dovecot/pop3
	old=127.0.0.1:$port+stls
	echo 'alice*boss key' >>list
	start %f
	compare 0 --ca=ca.pem
	[ "${lines[0]}" = 'same alice (4 messages)' ]
	[ "${lines[1]}" = 'same alice*boss (4 messages)' ]
	[ -z "$(ls "$mail/new/alice/new")" ] # Dovecot moves them for each client
	kill "${background[-1]}"
	wait "${background[-1]}"
	unset 'background[-1]'
	start %u
	compare 1 --ca=ca.pem
	[ "${lines[0]}" = 'DIFFERENT alice' ]
	[ "${lines[1]}" = '    only on the old server: 1 (message 1)' ]
	[ "${lines[2]}" = '    only on the new server: 1.M1P1.h (message 1)' ]
	make_message new/alice/new/5.M1P1.h
	new=$importing
	compare 0 --ca=ca.pem
	[ "${lines[0]}" = 'same alice (5 messages)' ]
}

@test "certificates and their host names are verified for +tls and +stls, unless --insecure is given" {
	setup_tls
	make_ca other
	make_certificate stranger ca /CN=other.example subjectAltName=DNS:other.example
	serve old
	for way in tls stls; do
		[ $way = tls ] && implicit=(--tls=implicit) || implicit=(--plaintext-auth=never)
		serve new "${implicit[@]}"
		new+=+$way
		compare 0 --ca=ca.pem
		SSL_CERT_FILE=ca.pem compare 0 # the system's certificates
		fails 'new server: unable to get local issuer certificate'
		fails 'new server: *certificate*' --ca=other.pem
		compare 0 --insecure
		options=("${options[@]/server./stranger.}")
		serve new "${implicit[@]}"
		options=("${options[@]/stranger./server.}")
		new+=+$way
		fails "new server: *certificate is not valid for '127.0.0.1'*" --ca=ca.pem
		compare 0 --insecure
	done
	run ! grep 'login of .* failed' log
}

@test "a password is sent without TLS only to a loopback address, unless allowed, and never needlessly" {
	needs_root
	serve old
	serve_answers new +OK '-ERR no TLS'
	new+=+stls
	fails "new server: STLS: '-ERR no TLS'"
	serve_answers new +OK +OK
	new+=+stls
	fails 'new server: *' --insecure
	[ "$(grep -ac STLS heard)" -eq 2 ]
	[ "$(grep -acE 'alice|apple' heard)" -eq 0 ]
	cat >elsewhere <<-'END'
		ip link set lo up
		ip address add 192.0.2.1/32 dev lo
		"$HANDLER" "$@" --plaintext-auth=always --listen=192.0.2.1:0 '--listen=[::1]:0' >said 2>>log 3>&- &
		trap "kill $!" EXIT
		until [ "$(wc -l <said)" -eq 2 ]; do
			kill -0 $!
		done
		old=$(sed -n '2s/listening on //p' said)
		new=$(sed -n '1s/listening on //p' said)
		for option in '' --plaintext; do
			"$tool" $option "$old" "$new" list || echo "status $?"
		done
	END
	tool=$BATS_TEST_DIRNAME/../tools/compare unshare --net bash -e elsewhere "${options[@]}" >out
	mapfile -t lines <out
	[ "${lines[0]}" = 'failed alice: new server: the password would travel unencrypted: use +tls, +stls or --plaintext' ]
	[ "${lines[2]}" = 'status 2' ]
	[ "${lines[3]}" = 'same alice (3 messages)' ]
	[ "${#lines[@]}" -eq 5 ]
}

@test "a failure is reported with its reason, and the other accounts are compared" {
	printf '%s\n' 'alice pear' 'carol apple' 'alice apple' >list
	serve_both
	compare 2
	[ "${lines[0]}" = "failed alice: new server: PASS: '-ERR [AUTH] wrong user name or password'" ]
	[[ ${lines[1]} == 'failed carol: new server: PASS: '* ]]
	[ "${lines[2]}" = 'same alice (3 messages)' ]
	[ "${lines[3]}" = '3 of 3 accounts: 1 same, 0 order, 0 DIFFERENT, 2 failed' ]
	echo 'alice apple' >list
	kill "${background[0]}"
	wait "${background[0]}"
	fails 'old server: Connection refused'
}

@test "a server that breaks the protocol is a failure: garbage, silence, end of file, endless lines" {
	serve new --read-only=yes
	fails_after() {
		serve_answers old "${@:2}"
		fails "old server: $1"
	}
	fails_after "greeting: 'HTTP/1.1 400 Bad Request'" 'HTTP/1.1 400 Bad Request'
	fails_after 'greeting: the connection was closed'
	fails_after 'USER: the connection was closed' +OK end
	fails_after "USER: ''" +OK ''
	fails_after "USER: '+OKAY'" +OK +OKAY
	fails_after "PASS: '-ERR \\\\x1b\\[31mred \\\\udcff'" +OK +OK '-ERR \033[31mred \377'
	fails_after 'PASS: an answer with the password in it' +OK +OK "-ERR no command 'PASS apple'"
	listing='+OK\r\n1 a\r\n2 b\r\n.'
	fails_after "UIDL: '-ERR'" +OK +OK +OK -ERR
	fails_after "UIDL: unexpected: 'a 1'" +OK +OK +OK '+OK\r\na 1\r\n.'
	fails_after "UIDL: unexpected: '1 b'" +OK +OK +OK '+OK\r\n1 a\r\n1 b\r\n.'
	fails_after 'UIDL: unexpected: an answer with the password in it' +OK +OK +OK '+OK\r\napple\r\n.'
	fails_after 'UIDL: the connection was closed' +OK +OK +OK '+OK\r\n1 a'
	fails_after "LIST: unexpected: '1 x'" +OK +OK +OK "$listing" '+OK\r\n1 x\r\n.'
	fails_after 'UIDL and LIST have different messages' +OK +OK +OK "$listing" '+OK\r\n1 5\r\n.' +OK
	fails_after 'QUIT: the connection was closed' +OK +OK +OK "$listing" '+OK\r\n1 5\r\n2 5\r\n.' end
	serve_command sh -c 'exec tr "\0" x </dev/zero'
	old=127.0.0.1:$port
	fails 'old server: greeting: a line is too long'
	serve_command sh -c 'printf "+OK\r\n+OK\r\n+OK\r\n+OK\r\n"; seq -f "%.0f x" 2000000'
	old=127.0.0.1:$port
	fails "old server: UIDL: unexpected: '1000001 x'"
	serve_command sh -c 'exec cat >/dev/null'
	old=127.0.0.1:$port
	old+=+tls # a handshake without a peer
	fails 'old server: *timed out' --timeout=1
}

@test "an interruption ends with the summary, a closed pipe without output; both with status 2" {
	old=127.0.0.1:1
	serve_command sh -c 'touch connected; exec cat >/dev/null'
	new=127.0.0.1:$port
	env --default-signal=INT "$BATS_TEST_DIRNAME/../tools/compare" "$old" "$new" list >out 2>err 3>&- &
	background+=($!)
	until [ -e connected ]; do
		kill -0 $!
	done
	kill -s INT $!
	status=0
	wait $! || status=$?
	[ "$status" -eq 2 ]
	[ "$(<out)" = $'interrupted\n0 of 1 accounts: 0 same, 0 order, 0 DIFFERENT, 0 failed' ]
	[ ! -s err ]
	serve_both # the reader of the output is gone
	/usr/bin/python3 - "$BATS_TEST_DIRNAME/../tools/compare" "$old" "$new" list <<-'END'
		import os, subprocess, sys
		end, closed = os.pipe()
		os.close(end)
		done = subprocess.run(sys.argv[1:], stdout=closed, stderr=subprocess.PIPE)
		assert (done.returncode, done.stderr) == (2, b''), done
	END
}

@test "mistakes in arguments and accounts are reported without passwords; a readable list is a warning" {
	serve_both
	good_old=$old
	for old in 127.0.0.1 :110 127.0.0.1:0 127.0.0.1:65536 127.0.0.1:110+ssl ::1:110 '[::1]' '[]:110'; do
		compare 2
		grep -qF "'$old' is not HOST:PORT" err
	done
	old=$good_old
	for line in alicepear 'alice ' ' pear' $'alice pe\rar'; do
		printf '%s\n' 'alice apple' "$line" >list
		compare 2
		grep -qF 'line 2 of list is not NAME PASSWORD' err
		run ! grep -E 'pe.?ar' out err
	done
	echo '# nobody' >list
	compare 2
	grep -qF 'there are no accounts' err
	echo 'alice apple' >list
	compare 2 --timeout=0
	compare 2 --ca=nowhere
	grep -qF "No such file or directory: 'nowhere'" err
	compare 2 --ca=list
	chmod 640 list
	compare 0
	grep -qF 'warning: other users may read list' err
	rm list
	compare 2
	grep -qF "No such file or directory: 'list'" err
	"$BATS_TEST_DIRNAME/../tools/compare" --help >help
	[ "$(wc -L <help)" -le 120 ]
}
