#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The command line and the settings file.

load helpers

# fails STATUS TEXT OPTION...: exits so, with one line on standard error that has the text.
fails() {
	local expected=$1 text=$2
	shift 2
	status=0
	"$HANDLER" "$@" </dev/null >out 2>log || status=$?
	cat log
	[ "$status" -eq "$expected" ]
	[ "$(troubles | wc -l)" -eq 1 ]
	[ ! -s out ]
	grep -qF -e "$text" log
}

@test "a mistake on the command line is one line that names the setting, and status 64" {
	fails 64 "command line: there is no setting 'usr'" --usr=x
	fails 64 "command line: there is no setting ''" --=x
	fails 64 "command line: idle-timeout: '10m' is not a number of seconds from 1 to 31536000" \
		--idle-timeout=10m
	fails 64 "idle-timeout: '0' is not" --idle-timeout=0
	fails 64 "idle-timeout: '31536001' is not" --idle-timeout=31536001
	fails 64 "login-penalty: '-1' is not" --login-penalty=-1
	fails 64 "read-only: 'true' is not yes or no" --read-only=true
	fails 64 "plaintext-auth: 'Local' is not never, local or always" --plaintext-auth=Local
	fails 64 "mailbox: '/mail/%x' is not a path, in which '%' is followed by u, n, d, h or %" \
		--mailbox=/mail/%x
	fails 64 "users: '' is not the path of a file" --users=
	fails 64 "tls: 'on' is not off, starttls or implicit" --tls=on
	fails 64 "tls-cert: '' is not the path of a file" --tls-cert=
	fails 64 "tls-priority: '' is not a GnuTLS priority string" --tls-priority=
	fails 64 "'--users' is not of the form --NAME=VALUE" --users
	fails 64 "'users=x' is not of the form" users=x
	fails 64 "'-h' is not of the form" -h
	fails 64 "'' is not of the form" ''
	fails 64 '\x0a' $'--us\ners=x'
}

@test "a mistake in the settings file is one line with file and line, and status 78" {
	printf '# one\nusers = /x\n  idle-timeout = ten\n' >conf
	fails 78 "conf:3: idle-timeout: 'ten' is not a number" --config=conf
	printf 'userss = /x\n' >conf
	fails 78 "conf:1: there is no setting 'userss'" --config=conf
	printf '\n\nusers\n' >conf
	fails 78 "conf:3: 'users' is not of the form name = value" --config=conf
	printf 'users = # nothing\n' >conf
	fails 78 "conf:1: users: '' is not the path of a file" --config=conf
	printf '[section]\n' >conf
	fails 78 "conf:1: '[section]' is not of the form" --config=conf
	printf 'users = /x\0y\n' >conf
	fails 78 "conf:1: the line has a NUL" --config=conf
	printf 'users = %05000d\n' 1 >conf
	fails 78 "conf:1: the line has a NUL or is longer than 4096 octets" --config=conf
	fails 78 "cannot read the settings file 'missing': No such file or directory" --config=missing
	fails 78 "cannot read the settings file '.': Is a directory" --config=.
}

@test "a mistake stops the program before it says a word, also in a session" {
	status=0
	"$HANDLER" --bogus=1 <<<'QUIT' >out 2>log || status=$?
	[ "$status" -eq 64 ]
	[ ! -s out ]
}

@test "a settings file has comments, blanks and CRLF as they come" {
	printf '# comment\n\n \t# another\nusers=%s # behind\r\n\tmailbox \t=  %s/%%u\t\nlogin-penalty = 0' \
		"$users" "$mail" >conf
	make_maildir alice
	make_message alice/new/1.M1P1.h
	printf '%s\n' 'USER alice' 'PASS apple' STAT >script
	options=("$as_me" --config=conf)
	handle script
	[ "$(tail -n 1 out)" = $'+OK 1 24\r' ]
}

@test "a value may have a # in it" {
	mkdir 'a#b'
	printf 'alice:{PLAIN}apple\n' >'a#b/users'
	printf 'users = a#b/users\nmailbox = %s/%%u\n' "$mail" >conf
	options=("$as_me" --config=conf)
	talk 'USER alice' 'PASS apple'
	[[ ${lines[2]} == +OK* ]]
}

@test "the command line wins, whatever the order" {
	printf 'users = /nonexistent\nmailbox = %s/%%u\n' "$mail" >conf
	for options in "--users=$users --config=conf" "--config=conf --users=$users"; do
		# shellcheck disable=SC2206
		options=("$as_me" $options)
		talk 'USER alice' 'PASS apple'
		[[ ${lines[2]} == +OK* ]]
	done
}

@test "no file is read unless it is named" {
	trace trace trace=openat "$HANDLER" "${options[@]}" </dev/null >out
	# What has O_PATH is not read: the sandbox asks which file it is.
	run ! grep -vE '/(lib|ld\.so)|/proc/|/sys/|/etc/(gnutls|pkcs11|crypto|ssl)|gnutls|O_PATH|/etc/(nsswitch.conf|passwd|group|localtime)"|/users", O_RDONLY' trace
}

@test "trusted-networks is a list of networks, and what is none is named" {
	for good in 192.0.2.0/24 '192.0.2.1, 2001:db8::/32' '  ::1	10.0.0.0/8 '; do
		run -0 "$HANDLER" --keeper=no "--trusted-networks=$good" --check-config
	done
	for bad in '' ', ' localhost 192.0.2.0/33 192.0.2/24 '192.0.2.1 ::1/129' 192.0.2.1-192.0.2.9; do
		fails 64 "trusted-networks: '$bad' is not a list of networks" "--trusted-networks=$bad"
	done
}

@test "auth is one of three, and what is none is named" {
	for bad in '' pamm passwd 'passwd-file x' 'pam a b' checkpassword 'checkpassword program'; do
		fails 64 "auth: '$bad' is not passwd-file, pam [SERVICE] or checkpassword /PROGRAM [ARGUMENT ...]" "--auth=$bad"
	done
	fails 64 "users: '/%d/%x' is not the path of a file" --users=/%d/%x
	fails 64 "users: '/%d/%h' is not the path of a file" --users=/%d/%h
	fails 64 "keeper: 'yes' is not auto or no" --keeper=yes
	fails 64 "first-valid-uid: '0' is not a number from 1 to 2147483647" --first-valid-uid=0
	run -0 "$HANDLER" --auth=passwd-file --auth=passwd-file --keeper=no --check-config
}

@test "unique-ids-from names a server and the format of Dovecot, and what is none is refused" {
	for good in 'dovecot %08Xu%08Xv' 'dovecot "%u-%v"' 'dovecot %{uid | hex(8)}%{uidvalidity | hex(8)}' 'dovecot %f' \
		courier qmail x-uidl 'x-uidl dovecot %g'; do
		run -0 "$HANDLER" --keeper=no "--unique-ids-from=$good" --check-config
		printf 'unique-ids-from =\t%s  # moved in\n' "$good" >conf
		run -0 "$HANDLER" --keeper=no --config=conf --check-config
	done
	for bad in '' yes Courier 'courier x' 'qmail %f' dovecot 'dovecot ' 'dovecot 2.3' 'dovecot %m' 'dovecot %v' \
		'dovecot %8Xu' 'dovecot %u %v' 'dovecot "%u' 'dovecot %{uid | hex(4)}' 'dovecot %{uid}%v' 'dovecot %u%' \
		'x-uidl %u' 'x-uidl dovecot'; do
		what="unique-ids-from: '$bad' is not dovecot FORMAT, courier, qmail, x-uidl or x-uidl dovecot FORMAT, where FORMAT"
		fails 64 "$what" --check-config --keeper=no "--unique-ids-from=$bad"
		fails 64 "$what is what 'doveconf -h -f protocol=pop3 pop3_uidl_format' prints" "--unique-ids-from=$bad"
	done
	printf 'unique-ids-from = dovecot %%m\n' >conf
	fails 78 "conf:1: unique-ids-from: 'dovecot %m' is not dovecot FORMAT" --check-config --config=conf
}

@test "--help and pop3-handler.conf(5) agree: names and their order, defaults, lists" {
	"$HANDLER" --help >help
	run ! grep -E '.{101}' help
	# name, default; and "list" for a setting that may be given several times
	/usr/bin/python3 - help >of-help <<-'END'
		import re, sys
		for part in open(sys.argv[1]).read().split('\n  --')[1:]:
		    match = re.match(r'([a-z0-9-]+)=\.\.\.  \(default: (.*)\)\n', part)
		    if match:
		        print(*match.groups(), 'list' if 'several times' in part else '', sep='; ')
	END
	mandoc -Tascii -O width=1000 "$BATS_TEST_DIRNAME/../man/pop3-handler.conf.5" | col -b | expand >manual
	/usr/bin/python3 - manual >of-manual <<-'END'
		import re, sys
		text = open(sys.argv[1]).read().split('\nSETTINGS\n')[1].split('\nACCOUNTS\n')[0]
		for part in re.split(r'\n {5}(?=[a-z])', text)[1:]:
		    name, default = re.match(r'(\S+)\s+.*?, default (.*?)\.( |\n)', part).groups()[:2]
		    print(name, default, 'list' if 'several times' in part else '', sep='; ')
	END
	diff of-help of-manual
	[ "$(wc -l <of-help)" -ge 30 ]
}

@test "--version prints name and version" {
	"$HANDLER" --version >out
	[[ "$(cat out)" =~ ^pop3-handler\ [0-9]+\.[0-9]+\.[0-9]+$ ]]
}

@test "--help and --version fail if their text cannot be written" {
	for option in --help --version; do
		status=0
		"$HANDLER" $option >/dev/full 2>log || status=$?
		[ "$status" -eq 74 ]
	done
}

@test "--check-config accepts good settings silently" {
	"$HANDLER" "${options[@]}" --check-config >out 2>&1
	[ ! -s out ]
	fails 64 idle-timeout --check-config --idle-timeout=x
	printf 'x\n' >conf
	fails 78 conf:1: --check-config --config=conf
}

@test "--check-config warns of short timeouts and a missing users setting" {
	"$HANDLER" --keeper=no "--users=$users" "--mailbox=$mail/%u" --check-config --idle-timeout=599 --sleep-timeout=1 2>log
	[ "$(troubles | wc -l)" -eq 2 ]
	grep -F 'idle-timeout = 599 is shorter than the 600 seconds that RFC 1939 asks for' log
	grep -F 'sleep-timeout = 1 is shorter' log
	"$HANDLER" --keeper=no --check-config 2>log
	grep -F 'users is not set: nobody can log in' log
	"$HANDLER" --keeper=no "--users=$users" "--mailbox=$mail/%u" --check-config --idle-timeout=600 --sleep-timeout=600 2>log
	[ -z "$(troubles)" ]
}

@test "--check-config warns if clients that do not log in can fill max-sessions, or the part that is theirs" {
	# warns LINE OPTION...: that is all that it says.
	warns() {
		"$HANDLER" "${options[@]}" "--mail-root=$mail" --check-config "${@:2}" 2>log
		[ "$(<log)" = "$1" ]
	}
	warning='pop3-handler: max-logins = %d is not below max-sessions = 80%s: clients that do not log in can keep others out'
	# shellcheck disable=SC2059
	warns "$(printf "$warning" 80 '')" --max-sessions=80 --max-logins=80
	warns '' --max-sessions=80 --max-logins=79
	# shellcheck disable=SC2059
	warns "$(printf "$warning" 70 ' less an eighth')" --max-sessions=80 --max-logins=70 --trusted-networks=192.0.2.1
	warns '' --max-sessions=80 --max-logins=69 --trusted-networks=192.0.2.1
}

@test "--check-config fails if the passwd-file cannot be read" {
	fails 78 "cannot read users = 'missing': No such file or directory" --check-config --keeper=no --users=missing --mail-root=.
	fails 78 "cannot read users = '.': Is a directory" --check-config --keeper=no --users=. --mail-root=.
}

# With the groups of root and of the process; a file with another group needs root.
@test "a mistake is on standard error, whatever that is, if no client can be on it" {
	# As ssh(1) starts a command with 2>&1.
	/usr/bin/python3 - "$HANDLER" <<-'END'
		import socket, subprocess, sys
		ours, theirs = socket.socketpair()
		def said(*arguments):
		    subprocess.run([sys.argv[1], *arguments], stdin=theirs, stdout=theirs, stderr=theirs)
		    ours.settimeout(5)
		    return ours.recv(1000)
		assert b'cannot read the settings file' in said('--config=missing', '--check-config')
		assert b"'--bad' is not of the form" in said('--bad', '--check-config')
	END
	# shellcheck disable=SC2016
	run -74 bash -c '"$0" --help <&-' "$HANDLER"
	[ "$output" = 'pop3-handler: standard input or output is closed' ]
}

@test "--check-config names a mail root that is missing or read-only, and mail that is out of reach" {
	needs_root # which the permissions are for
	as_nobody true
	options=(--user=nobody "--users=$users" --check-config)
	says() {
		./handler "${options[@]}" "${@:2}" >out 2>log
		cat log
		[ "$(cat log)" = "$1" ]
	}
	chown nobody "$mail"
	says '' "--mailbox=$mail/%u"
	says "pop3-handler: no mailbox can be in '$PWD/gone/mail': No such file or directory" "--mailbox=$PWD/gone/mail/%u"
	says "pop3-handler: no mailbox can be in '/gone/mail': No such file or directory" "--mailbox=$mail/%u" \
		"--mail-root=$mail" --mail-root=/gone/mail
	mkdir -p disk/alice/{new,cur} "$mail/bob"
	chmod 755 disk disk/alice
	ln -s "$PWD/disk/alice" "$mail/alice"
	chmod 700 "$mail/bob"
	denied="permissions or the sandbox deny access to the mailbox (see mail-root)"
	says "$(printf 'pop3-handler: %s\n' "$users:1: $denied" "$users:2: $denied")" "--mailbox=$mail/%u"
	chown nobody "$mail/bob"
	mkdir "$mail/bob/new" # in which nothing can be deleted
	says "$(printf 'pop3-handler: %s\n' "$users:1: $denied" "$users:2: $denied")" "--mailbox=$mail/%u"
	sed -i '/^bob/s/$/::::::read-only=no/' "$users" # bob may delete
	says "$(printf 'pop3-handler: %s\n' "$users:1: $denied" "$users:2: $denied")" "--mailbox=$mail/%u"
	chown nobody "$mail/bob/new"
	says "pop3-handler: $users:1: $denied" "--mailbox=$mail/%u"
	touch "$mail/bob/new/maildirsize" "$mail/bob/maildirsize"
	says "pop3-handler: $users:1: $denied" "--mailbox=$mail/%u"
	mv "$mail/bob/new" "$mail/bob/old"
	foreign="the mailbox is another program's store, or its new or cur is a symbolic link"
	says "$(printf 'pop3-handler: %s\n' "$users:1: $denied" "$users:2: $foreign")" "--mailbox=$mail/%u"
	ln -s old "$mail/bob/cur"
	says "$(printf 'pop3-handler: %s\n' "$users:1: $denied" "$users:2: $foreign")" "--mailbox=$mail/%u"
	rm "$mail/bob/cur" "$mail/bob/maildirsize"
	[ -z "$(find "$mail/bob" -name '.pop3-handler*')" ]
	chown nobody disk disk/alice disk/alice/*
	chown root "$mail"
	chmod 755 "$mail"
	says "pop3-handler: no mailbox can be in '$mail': Permission denied" \
		"--mailbox=$mail/%u" "--mail-root=$mail" "--mail-root=$PWD/disk/alice"
	says '' "--mailbox=$mail/%u" "--mail-root=$mail" "--mail-root=$PWD/disk" --read-only=yes
}

@test "a passwd-file or settings file that others can write is a line in the log, and a mistake" {
	chmod 600 "$users"
	printf 'users = %s\n' "$users" >conf
	mkdir credentials
	ln -s "../accounts/users" credentials/users
	export CREDENTIALS_DIRECTORY=$PWD/credentials
	try() {
		local what=$1 file=$2 mode
		for mode in 0602 0666 4646; do
			chmod "$mode" "$file"
			fails 78 "the $what can be written by others (mode $mode)" "$as_me" "--mailbox=$mail/%u" --check-config "${@:3}"
			# At start it is a warning, one for all logins of the session.
			options=("$as_me" "--mailbox=$mail/%u" --login-penalty=0 "${@:3}")
			talk 'USER alice' 'PASS pear' 'USER alice' 'PASS apple'
			[[ ${lines[4]} == +OK* ]]
			[ "$(grep -cF "the $what can be written by others (mode $mode)" log)" -eq 1 ]
		done
		for mode in 0600 0644 0664; do
			chmod "$mode" "$file"
			"$HANDLER" "$as_me" "--mailbox=$mail/%u" --check-config "${@:3}" >out 2>&1
			[ ! -s out ]
		done
	}
	try "passwd-file '$users'" "$users" "--users=$users"
	try "settings file 'conf'" conf --config=conf
	# It is the file that counts, not the link, whose mode is 0777.
	ln -s accounts/users link
	ln -s conf conf-link
	try "passwd-file 'link'" "$users" --users=link
	try "settings file 'conf-link'" conf --config=conf-link
	try "passwd-file '$PWD/credentials/users'" "$users"
	# A device is no such file.
	"$HANDLER" "$as_me" "--mailbox=$mail/%u" --check-config --users=/dev/null >out 2>&1
	[ ! -s out ]
	needs_root
	chmod 660 "$users"
	chgrp nogroup "$users"
	fails 78 "the passwd-file '$users' can be written by others (mode 0660)" "$as_me" "--mailbox=$mail/%u" --check-config "--users=$users"
	as_nobody ./handler "--mailbox=$mail/%u" --check-config "--users=$users" >out 2>&1
	[ ! -s out ]
	chmod 644 "$users"
	chown daemon "$users"
	fails 78 "the passwd-file '$users' can be written by its owner, user 1" "$as_me" "--mailbox=$mail/%u" --check-config "--users=$users"
}

@test "a directory in which others can replace such a file is a line in the log, and a mistake" {
	make_maildir alice
	mkdir real config
	mv "$users" real/users
	ln -s "$PWD/real/users" "$users"
	printf 'users = %s\n' "$users" >config/file
	options=("$as_me" "--mailbox=$mail/%u" "--config=$PWD/config/file")
	"$HANDLER" "${options[@]}" --check-config >out 2>&1
	[ ! -s out ]
	while read -r what directory; do
		chmod 777 "$directory"
		line="the directory of the $what file '$PWD/$directory' can be written by others (mode 0777)"
		fails 78 "${line/passwd /passwd-}" "${options[@]}" --check-config
		talk 'USER alice' 'PASS apple'
		[ "$(troubles)" = "pop3-handler: ${line/passwd /passwd-}" ]
		chmod 1777 "$directory" # as /tmp
		"$HANDLER" "${options[@]}" --check-config >out 2>&1
		[ ! -s out ]
	done <<-'END'
		passwd accounts
		passwd real
		settings config
	END
}

@test "an entry of an ACL that lets others write a passwd-file is a mistake" {
	# acl PERMISSIONS: gives them to user 1.
	acl() {
		/usr/bin/python3 -c 'import os, struct, sys
parts = (1, 6, -1), (2, int(sys.argv[2]), 1), (4, 4, -1), (16, int(sys.argv[2]), -1), (32, 0, -1)
os.setxattr(sys.argv[1], "system.posix_acl_access", struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *part) for part in parts))' \
			"$users" "$1" || skip 'this file system has no ACL'
	}
	options=("$as_me" "--mailbox=$mail/%u" "--users=$users")
	acl 4
	"$HANDLER" "${options[@]}" --check-config >out 2>&1
	[ ! -s out ]
	acl 6
	fails 78 "the passwd-file '$users' can be written by others (mode 0660)" "${options[@]}" --check-config
}

@test "a reload warns of a passwd-file that others can write" {
	local client
	listen_port
	exec {client}<>"/dev/tcp/127.0.0.1/$port"
	read -r -t 20 <&"$client" # then it listens
	exec {client}<&-
	chmod 666 "$users"
	kill -s HUP "${background[-1]}"
	logged 'settings and certificates are read again'
	[ "$(grep -cF "the passwd-file '$users' can be written by others (mode 0666)" log)" -eq 1 ]
}

@test "closed standard descriptors do no harm" {
	status=0
	"$HANDLER" "${options[@]}" <&- >out || status=$?
	[ "$status" -eq 74 ]
	status=0
	"$HANDLER" "${options[@]}" </dev/null >&- || status=$?
	[ "$status" -eq 74 ]
	printf 'USER alice\nPASS wrong\nUSER alice\nPASS apple\nQUIT\n' >script
	trace trace trace=openat "$HANDLER" "${options[@]}" <script >out 2>&-
	grep -qF '"/dev/null", O_WRONLY) = 2' trace
	[ "$(tail -n 1 out)" = $'+OK goodbye\r' ]
	[ "$(wc -l <out)" -eq 6 ]
}

@test "--check-config without credentials names those that it did not see and the settings do not replace" {
	unset CREDENTIALS_DIRECTORY
	# says CREDENTIALS OPTION...: this is all it says, and it is content.
	says() {
		"$HANDLER" "$as_me" "--mailbox=$mail/%u" --check-config "${@:2}" >out 2>log
		cat log
		grep -v 'users is not set' log >said || true
		[ "$(cat said)" = "${1:+pop3-handler: CREDENTIALS_DIRECTORY is not set: the credentials $1 were not seen}" ]
	}
	printf 'tls = off\n' >conf
	says 'users, tls-cert, tls-key'
	says 'tls-cert, tls-key' "--users=$users"
	says users --tls=off
	says users --config=conf
	says '' --tls=off "--users=$users"
	make_ca own
	cat own.key >>own.pem
	chmod 600 own.pem
	says '' --tls-cert=own.pem "--users=$users"
	fails 64 'tls is on, but tls-cert is not set, and there are no credentials' --check-config --tls=implicit
}

@test "a tls-cert of the settings has its key in its own file, whatever credentials there are" {
	mkdir credentials
	export CREDENTIALS_DIRECTORY=$PWD/credentials
	for name in own other; do
		make_ca $name
		(umask 077 && cat $name.key $name.pem >$name.both)
	done
	cp other.pem credentials/tls-cert
	cp other.key credentials/tls-key
	printf 'tls-cert = own.both\n' >conf
	for option in --config=conf --tls-cert=own.both '--tls-cert=own.pem --tls-key=own.key'; do
		# shellcheck disable=SC2086
		run -0 "$HANDLER" "${options[@]}" --check-config $option
		[ -z "$output" ]
	done
	fails 78 "there is no private key in tls-cert = 'own.pem', and tls-key is not set" --check-config \
		"${options[@]}" --tls-cert=own.pem
	# The key of the settings is for the certificate that counts: here the credential.
	run -0 "$HANDLER" "${options[@]}" --check-config --tls-key=other.key
	[ -z "$output" ]
	fails 78 "tls-key = 'own.key' is not the key of tls-cert = '$PWD/credentials/tls-cert'" --check-config \
		"${options[@]}" --tls-key=own.key
}

@test "a key without its certificate, and a certificate without its key, are a mistake that names both" {
	mkdir credentials
	export CREDENTIALS_DIRECTORY=$PWD/credentials
	make_ca own
	cp own.key credentials/tls-key
	for what in 'rm -f credentials/tls-cert' 'cp /dev/null credentials/tls-cert'; do
		$what # units may make an empty one
		fails 78 "tls-key = '$PWD/credentials/tls-key', but there is no tls-cert" "${options[@]}"
	done
	run -0 "$HANDLER" "${options[@]}" --check-config --tls=off
	[ -z "$output" ]
	mv own.pem credentials/tls-cert
	rm credentials/tls-key
	fails 78 "there is no private key in tls-cert = '$PWD/credentials/tls-cert', and tls-key is not set" \
		"${options[@]}" --tls=implicit
	rm credentials/tls-cert
	fails 64 "tls-key = 'own.key', but there is no tls-cert" "${options[@]}" --tls-key=own.key
	printf 'tls-key = own.key\n' >conf
	fails 78 "tls-key = 'own.key', but there is no tls-cert" "${options[@]}" --config=conf
}

@test "the users file is found among systemd's credentials, unless a setting names one" {
	mkdir credentials
	echo 'carol:{PLAIN}cherry' >credentials/users
	export CREDENTIALS_DIRECTORY=$PWD/credentials
	talk 'USER carol' 'PASS cherry'
	[[ ${lines[2]} == -ERR* ]]
	options=("$as_me" "--mailbox=$mail/%u")
	talk 'USER carol' 'PASS cherry'
	[ "${lines[2]}" = '+OK 0 messages' ]
	# A unit may make an empty one where the administrator has none.
	echo >credentials/users
	talk 'USER carol' 'PASS cherry'
	grep -q 'refused: users is not set' log
}

@test "--check-config checks as the keeper, if there would be one" {
	needs_root
	[ "$SANITIZED" = none ] || skip 'the filter of the sanitizers is another one'
	local with_users
	# shellcheck disable=SC2016
	with_users=(unshare --mount bash -c 'mount --bind passwd /etc/passwd && mount --bind pam.d /etc/pam.d && exec "$@"' bash)
	# says STATUS LINE OPTION...: that line, or nothing, is all that is said.
	says() {
		status=0
		"${with_users[@]}" "$HANDLER" --check-config "--mailbox=$mail/%u" "${@:3}" >log 2>&1 || status=$?
		cat log
		[ "$status" -eq "$1" ]
		[ "$(<log)" = "${2:+pop3-handler: }$2" ]
	}
	chmod a+rx "$BATS_RUN_TMPDIR" "${BATS_TEST_TMPDIR%/*}" .
	mkdir pam.d
	grep -v '^pop3-\|^vmail:' /etc/passwd >others
	cp others passwd
	printf '%s\n' 'pop3-keeper:x:64990:64990::/:/bin/false' 'pop3-login:x:64991:64991::/:/bin/false' >>passwd
	make_maildir alice
	chown -R 4711 "$mail/alice"
	echo 'alice:{PLAIN}apple:4711:4711' >"$users"
	chown root:64990 "$users"
	chmod 640 "$users"
	says 0 '' "--users=$users"
	# An account that may not log in, one that has another's mailbox, one without a user.
	chown -R 4712 "$mail/alice"
	says 0 "$users:1: the mailbox belongs to another user" "--users=$users"
	chown -R 4711 "$mail/alice"
	says 78 "$users:1: uid 4711 with gid 4711 may not log in" "--users=$users" --first-valid-uid=5000
	echo 'bob:{PLAIN}apple' >>"$users"
	says 78 "$users:2: mail-user = 'vmail' does not exist" "--users=$users"
	echo 'post:x:4713:4713::/:/bin/false' >>passwd
	says 0 '' "--users=$users" --mail-user=post
	sed -i /bob/d "$users"
	# The files of domains, in a folder whose name is special to the template and to glob(3).
	mkdir -p 'a%b[1]'/{one,two}
	cp "$users" 'a%b[1]/one/users'
	: >'a%b[1]/two/users'
	chmod 666 'a%b[1]/two/users'
	says 78 "the passwd-file '$PWD/a%b[1]/two/users' can be written by others (mode 0666)" "--users=$PWD/a%%b[1]/%d/users"
	chmod 600 'a%b[1]/two/users'
	says 0 '' "--users=$PWD/a%%b[1]/%d/users"
	# The backends.
	says 0 'auth: there is no /etc/pam.d/pop3: for PAM, what is in other counts' --auth=pam
	: >pam.d/pop3
	says 0 '' --auth=pam
	says 0 'auth: there is no /etc/pam.d/mail: for PAM, what is in other counts' '--auth=pam mail'
	says 78 "auth: cannot run checkpassword '/missing': No such file or directory" '--auth=checkpassword /missing'
	install -m 775 -g 64990 /bin/true program
	says 78 "the checkpassword program '$PWD/program' can be written by others (mode 0775)" "--auth=checkpassword $PWD/program x"
	says 0 '' '--auth=checkpassword /bin/true x'
	# A certificate of root's; then what no keeper serves.
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 99 -subj /CN=x -keyout key -out cert
	says 0 '' "--users=$users" --tls-cert=cert --tls-key=key
	says 78 'sandbox = off cannot be served with a keeper: set keeper = no and a user' "--users=$users" --sandbox=off
	sed -i /pop3-login/d passwd
	says 78 'cannot become the user pop3-login for the keeper (or set keeper = no): there is no such user' "--users=$users"
	sed -i s/64990/0/ passwd
	says 78 "$(printf '%s\n' 'cannot become the user pop3-login for the keeper (or set keeper = no): there is no such user' \
		'pop3-handler: cannot become the user pop3-keeper for the keeper (or set keeper = no): there is no such user')" "--users=$users"
}
