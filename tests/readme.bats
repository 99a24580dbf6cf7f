#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The commands in the documents work as they are written: a developer's in a fresh clone, and an
# administrator's under a real systemd, where the fresh clone is built and installed. A new command
# needs an entry in the table and a `try` in a test. Uncommitted changes are not in the clone.

load helpers
load boot

# Each command of the documents, as documents.py prints it. An indented line below it is run instead: the
# shortest form, or one with the arguments that the text leaves out. Or it is "see " and another command,
# which covers this one, or "not run: " and the reason.
table() {
	cat <<-'END'
		# Try it
		git clone REPOSITORY pop3-handler && cd pop3-handler
		    git clone --quiet /root/origin /root/pop3-handler
		tools/demo
		tools/demo --serve
		echo 'me:{PLAIN}secret' >users
		build-demo/pop3-handler --listen=127.0.0.1:1100 --users=users --mailbox=mail
		    coproc build-demo/pop3-handler --listen=127.0.0.1:0 --users=users --mailbox=mail --user=root; read -r line <&${COPROC[0]}; curl -sS --user me:secret pop3://${line##* }/1; kill $COPROC_PID; wait

		# Install
		apt-get install certbot curl openssl
		    not run: it needs the Internet
		tools/packages build
		meson setup build --buildtype=release
		meson install -C build
		meson install
		    see meson install -C build
		certbot certonly --standalone -d mail.example.org
		    not run: it needs the Internet; a certificate is put where it would put one
		ln -s /etc/letsencrypt/live/mail.example.org /etc/pop3-handler/tls
		echo "alice@example.org:$(openssl passwd -6)" >>/etc/pop3-handler/users
		systemctl enable --now pop3s.socket
		curl --user alice@example.org pop3s://mail.example.org/
		systemctl enable --now pop3.socket
		pop3-check
		systemctl disable --now dovecot.socket dovecot
		tools/uninstall build
		systemctl edit pop3@.service
		    SYSTEMD_EDITOR=/root/editor script -qec 'systemctl edit pop3@.service' /dev/null
		systemd-analyze security

		# Deliver
		postconf -n
		postconf home_mailbox=Maildir/
		sed -nE 's|^([^#:@ /]+)@([^: /]+):.*|\1@\2 \2/\1/|p' /etc/pop3-handler/users >/etc/mailboxes
		postconf mydestination='$myhostname, localhost' virtual_mailbox_domains=example.org virtual_mailbox_base=/var/vmail virtual_mailbox_maps=texthash:/etc/mailboxes virtual_uid_maps=static:$(id -u vmail) virtual_gid_maps=static:$(id -g vmail)
		systemctl restart postfix
		sed -nE 's|^([^#:@ /]+@[^: /]+):.*|\1 vmail|p' /etc/pop3-handler/users >/etc/mailboxes
		systemctl restart opensmtpd

		# pop3-handler(8)
		systemctl enable --now --force /usr/local/share/pop3-handler/listener/pop3s.socket
		systemctl enable --now --force /usr/local/share/pop3-handler/listener/pop3.socket
		systemctl disable --now pop3s.socket pop3s.service
		systemctl reload pop3s.service
		systemctl try-restart pop3.service pop3s.service
		pop3-check pop3
		systemctl stop
		    systemctl stop pop3s.socket pop3s.service
		systemctl status
		    systemctl status pop3s.service
		cp -r /usr/local/share/pop3-handler/one-user/* /etc/systemd/system
		sed -i 's/^tls-/#&/' /etc/pop3-handler/pop3-handler.conf
		chgrp vmail /etc/pop3-handler/users
		systemctl daemon-reload
		tcpserver -c 1000 -R -H -l0 0 110 /usr/local/sbin/pop3-handler --config=/etc/pop3-handler/pop3-handler.conf
		printf 'USER alice@example.org\nPASS secret\nLIST\nQUIT\n' | sudo pop3-handler --config=/etc/pop3-handler/pop3-handler.conf --read-only=yes
		journalctl MESSAGE_ID=2074c6677a2c45b680a8825a7bcc8dec POP3_USER=alice@example.org
		journalctl POP3_USER=alice@example.org
		journalctl -t pop3-handler
		journalctl -x
		    journalctl -x -t pop3-handler
		cp /usr/local/share/pop3-handler/fail2ban/filter.conf /etc/fail2ban/filter.d/pop3-handler.conf
		cp /usr/local/share/pop3-handler/fail2ban/jail.conf /etc/fail2ban/jail.d/pop3-handler.conf

		# MOVING
		doveconf -h -f protocol=pop3 pop3_uidl_format
		doveconf -n -f protocol=pop3
		doveconf -h protocols
		systemctl disable --now pop3.socket pop3s.socket pop3.service pop3s.service
		pop3-handler --config=/etc/pop3-handler/pop3-handler.conf --take-over --dry-run
		pop3-handler --config=/etc/pop3-handler/pop3-handler.conf --read-only=yes --listen=127.0.0.1:1110
		    systemd-run --quiet --collect --unit=starter pop3-handler --config=/etc/pop3-handler/pop3-handler.conf --read-only=yes --listen=127.0.0.1:1110
		pop3-compare 127.0.0.1:110 127.0.0.1:1110 accounts
		pop3-handler --config=/etc/pop3-handler/pop3-handler.conf --take-over
		pop3-handler --config=/etc/pop3-handler/pop3-handler.conf --take-over --no-list bob@example.org

		# Report it
		git log -1 --format=%ae

		# Measure it
		bench/run --quick
		    bench/run --quick --smoke --only='RETR 2 x 50 KiB, TLS; listener; '
		bench/run
		    see bench/run --quick
		bench/compare OLD NEW
		    bench/compare --smoke --only='RETR 2 x 50 KiB, TLS; listener; ' HEAD build-bench
		bench/compare
		    see bench/compare OLD NEW
		bench/compare HEAD~1 HEAD
		    see bench/compare OLD NEW
		bench/sleepers
		    bench/sleepers --sleepers=10 --seconds=1 --every=1
		bench/sleepers --seconds=600
		    see bench/sleepers
		bench/large PROGRAM...
		    bench/large --messages=100 --moved build/pop3-handler
		bench/large --messages=100000 --moved PROGRAM
		    see bench/large PROGRAM...
		bench/large OLD NEW
		    see bench/large PROGRAM...
		bench/keeper
		    bench/keeper --smoke
		bench/sandbox build/pop3-handler 30
		    bench/sandbox build/pop3-handler 1
		bench/sandbox
		    see bench/sandbox build/pop3-handler 30

		# Break it
		tests/crash.py kill
		    HANDLER=$PWD/build-demo/pop3-handler tests/crash.py kill folder DELI
		tests/crash.py EIO
		    HANDLER=$PWD/build-demo/pop3-handler tests/crash.py EIO folder DELI
		tests/power.py
		    HANDLER=$PWD/build-demo/pop3-handler unshare --mount tests/power.py ext4 folder 50
		tests/torn.py
		    HANDLER=$PWD/build/pop3-handler tests/torn.py --messages=200 --seconds=1 commit wakes
		tests/stress.py
		    tests/stress.py 1 renames build/pop3-handler build/mail --user=root --users=build/users --mailbox=build/mail/%u

		# CONTRIBUTING
		tools/packages build check
		meson setup build -Dwerror=true
		meson test -C build --suite quick
		meson test -C build
		    meson test -C build test-wire
		meson test -C build retr --verbose
		    meson test -C build uid --verbose
		bats tests/retr.bats
		    bats tests/uid.bats
		tools/check
		    tools/check test-wire
		meson setup build-asan -Dwerror=true -Db_sanitize=address,undefined
		tests/glusterfs.py
		    not run: it needs GlusterFS, and takes minutes
		tools/check --coverage
		    tools/check --coverage test-wire
		meson test -C build --suite analysis
		    meson test -C build --suite analysis analysis-cppcheck
		tests/differential.py
		    tests/differential.py --seconds=2 --no-namesakes
		HANDLER=$PWD/tests/valgrind SANITIZED=none bats tests/retr.bats
		    HANDLER=$PWD/tests/valgrind SANITIZED=none bats --filter 'a first octet' tests/retr.bats
		tools/fuzz NAME SECONDS
		    tools/fuzz sasl 1
	END
}

# These use no build folder of the others, and run one after the other beside the tests.
meanwhile=(tools/demo 'bench/run --quick' 'bench/compare OLD NEW' bench/sleepers bench/keeper 'tests/crash.py kill' 'tests/crash.py EIO'
	tests/power.py 'tools/fuzz NAME SECONDS' tools/check 'tools/check --coverage')

setup_file() {
	[ "${SANITIZED:-none}" = none ] || return 0 # the commands are the same
	cd "$BATS_FILE_TMPDIR" || return 1
	chmod a+rx "$BATS_RUN_TMPDIR" . # the demonstration serves its mail as nobody
	mkdir -m 1777 tmp
	mkdir results bin home
	# A missing package is a mistake in tools/packages.
	printf '#!/bin/sh\necho "the tests install nothing: apt-get $*" >&2\nexit 1\n' >bin/apt-get
	chmod +x bin/apt-get
	[ -e "$BATS_TEST_DIRNAME/../.git" ] || return 0 # from a tarball
	printf '[safe]\n\tdirectory = *\n' >gitconfig # the repository may have another owner
	env -i PATH="$PATH" GIT_CONFIG_GLOBAL="$PWD/gitconfig" git clone --quiet "$BATS_TEST_DIRNAME/.." clone
	chmod 700 clone # like a clone below /root, which nobody cannot enter
	tar -cf fresh.tar -C clone .
	{
		for command in "${meanwhile[@]}"; do
			perform clone "$command"
		done
		touch meanwhile.done # afterwards the pid may be reused
	} </dev/null >/dev/null 2>&1 3>&- &
	echo $! >meanwhile.pid
	boot
	inside sh -c 'mkdir /root/pop3-handler /root/origin && cd /root/origin && tar -x' <fresh.tar
	inside bash -e <<-'END'
		echo '127.0.0.1 machine mail.example.org' >>/etc/hosts
		mkdir -p -m 700 /etc/letsencrypt/live /etc/letsencrypt/live/mail.example.org
		openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 1 -subj /CN=mail.example.org \
			-addext subjectAltName=DNS:mail.example.org -keyout /etc/letsencrypt/live/mail.example.org/privkey.pem \
			-out /etc/letsencrypt/live/mail.example.org/fullchain.pem 2>/dev/null
	END
}

teardown_file() {
	if [ -e "$BATS_FILE_TMPDIR/meanwhile.pid" ] && [ ! -e "$BATS_FILE_TMPDIR/meanwhile.done" ]; then
		pid=$(cat "$BATS_FILE_TMPDIR/meanwhile.pid")
		group=$(pgrep -P "$pid" || true)
		kill -s KILL "$pid" 2>/dev/null || true
		[ -z "$group" ] || end_group "$group"
	fi
	[ ! -e "$BATS_FILE_TMPDIR/boot.pid" ] || power_off
}

# end_group PID: ends the process group of an interrupted command after it has cleaned up.
end_group() {
	kill -s INT -- "-$1"
	timeout 5 tail --pid="$1" -f /dev/null || true
	kill -s KILL -- "-$1" 2>/dev/null || true
}

setup() {
	[ "${SANITIZED:-none}" = none ] || skip 'the plain build tests the commands'
	cd "$BATS_TEST_TMPDIR" || return 1
	clone=$BATS_FILE_TMPDIR/clone
	input=
	uses_machine=
	serving= # the process group of a server in the clone
}

teardown() {
	[ -z "$serving" ] || end_group "$serving"
	[ -n "$BATS_TEST_COMPLETED" ] || [ -z "$uses_machine" ] || inside journalctl --no-pager -n 25
}

# --- The documents and the table ---

# documents KIND: prints the parts of this kind in documents and manuals (documents.py), without NEWS.md,
# which is about the past.
documents() {
	(
		cd "$BATS_TEST_DIRNAME/.." || return 1
		shopt -s nullglob
		GLOBIGNORE=./NEWS.md
		tests/documents.py "$1" ./*.md doc/*.md man/*
	)
}

# in_table: prints the commands of the table.
in_table() {
	table | grep -vE '^( |#|$)'
}

# how COMMAND: prints the line that is run for it.
how() {
	local lines
	mapfile -t lines < <(table | grep -xF -A 1 -e "$1")
	[ ${#lines[@]} -gt 0 ] || lines=('' "    not run: '$1' is not in the table")
	case ${lines[1]-} in
	'    '*) echo "${lines[1]#    }" ;;
	*) echo "$1" ;;
	esac
}

# --- Running them ---

cflags='-O1 -g0' # for faster builds

# in_clone LINE: runs a line in the clone, in its own process group, without our variables.
in_clone() {
	clone_command "$1"
	"${argv[@]}" 3>&-
}

# clone_command LINE: sets the array `argv` to the command for this. SIGINT has its default action again,
# which bash disables in commands that it starts with "&".
clone_command() {
	argv=(setsid env -i --chdir="$BATS_FILE_TMPDIR/clone" --default-signal=INT
		PATH="$BATS_FILE_TMPDIR/bin:${PATH//"$BATS_LIBEXEC:"/}" HOME="$BATS_FILE_TMPDIR/home"
		TMPDIR="$BATS_FILE_TMPDIR/tmp" LC_ALL=C.UTF-8 CFLAGS="$cflags" bash -c "$1")
}

# in_machine LINE: runs a line in the machine's clone, without a terminal. curl trusts the certificate.
in_machine() {
	uses_machine=yes
	inside setsid --wait env --chdir=/root/pop3-handler CFLAGS="$cflags" \
		CURL_CA_BUNDLE=/etc/letsencrypt/live/mail.example.org/fullchain.pem bash -c "$1"
}

# perform WHERE COMMAND: runs a command of the documents in the clone or in the machine, and saves its
# output and exit status in results.
perform() {
	local result status=0
	result=$BATS_FILE_TMPDIR/results/$(result_of "$2")
	"in_$1" "$(how "$2")" <<<"${input-}" >"$result.out" 2>&1 || status=$?
	echo $status >"$result.status"
}

# result_of COMMAND: prints the name of these files.
result_of() {
	md5sum <<<"$1" | cut -c 1-32
}

# try WHERE COMMAND [TEXT...]: a command of the documents succeeds, and its output has a line for each TEXT,
# an extended regular expression. `input` is its standard input.
try() {
	local result text
	result=$BATS_FILE_TMPDIR/results/$(result_of "$2")
	if printf '%s\n' "${meanwhile[@]}" | grep -qxF -e "$2"; then
		while [ ! -s "$result.status" ] && kill -0 "$(cat "$BATS_FILE_TMPDIR/meanwhile.pid")"; do
			sleep 0.1
		done
	else
		perform "$1" "$2"
	fi
	printf '%s\n' "$2" >>"$BATS_FILE_TMPDIR/tried"
	echo "$ $(how "$2")"
	tail -n 100 "$result.out"
	echo "exit status $(cat "$result.status")"
	[ "$(cat "$result.status")" -eq 0 ]
	for text in "${@:3}"; do
		grep -qE -e "$text" "$result.out" || {
			echo "it does not show: $text"
			return 1
		}
	done
}

# needs_clone: skips a test if there is no repository to clone.
needs_clone() {
	[ -d "$clone" ] || skip 'this is no git repository: there is nothing to clone'
}

# --- The tests ---

@test "each line in a code block of the documents is a command or of another known kind" {
	documents unknown >lines
	cat lines
	[ ! -s lines ]
}

@test "each command of the documents is in the table" {
	documents command >commands
	grep -vxFf <(in_table) commands | tee missing
	[ ! -s missing ]
}

@test "each command of the table is in the documents" {
	documents command >commands
	in_table | grep -vxFf commands | tee superfluous
	[ ! -s superfluous ]
	in_table | sort | uniq -d | tee twice
	[ ! -s twice ]
}

@test "install: the commands give mail on ports 995 and 110" {
	needs_clone
	try machine 'git clone REPOSITORY pop3-handler && cd pop3-handler'
	try machine 'tools/packages build'
	try machine 'meson setup build --buildtype=release'
	try machine 'meson install -C build'
	inside install -D -m 600 /etc/letsencrypt/live/mail.example.org/fullchain.pem /etc/dovecot/private/dovecot.pem
	inside cp /etc/letsencrypt/live/mail.example.org/privkey.pem /etc/dovecot/private/dovecot.key
	inside systemctl start dovecot
	[ -n "$(inside ss -Hltn 'sport = :995')" ]
	try machine 'systemctl disable --now dovecot.socket dovecot'
	[ -z "$(inside ss -Hltn 'sport = :110 or sport = :995')" ]
	try machine 'ln -s /etc/letsencrypt/live/mail.example.org /etc/pop3-handler/tls'
	# shellcheck disable=SC2016
	input=$'secret\nsecret' try machine 'echo "alice@example.org:$(openssl passwd -6)" >>/etc/pop3-handler/users'
	try machine pop3-check
	try machine 'systemctl enable --now pop3s.socket'
	input=secret try machine 'curl --user alice@example.org pop3s://mail.example.org/'
	try machine 'systemctl enable --now pop3.socket'
	try machine 'pop3-check pop3'
	inside tee /root/editor <<-'END'
		#!/bin/bash
		printf '[Service]\nReadWritePaths=/srv\n' >"${@: -1}"
	END
	inside chmod +x /root/editor
	try machine 'systemctl edit pop3@.service'
	inside systemctl show -P ReadWritePaths pop3@x.service | grep -w /srv
}

# mta PACKAGE...: installs an MTA in the machine instead of the last one.
mta() {
	needs_clone
	uses_machine=yes
	[ -n "$(find /var/cache/pop3-handler -name "$1_*.deb" 2>/dev/null)" ] ||
		skip "there is no package $1: run tools/packages check"
	# shellcheck disable=SC2016
	inside bash -ec '
		systemctl stop postfix opensmtpd exim4 2>/dev/null || true
		export DEBIAN_FRONTEND=noninteractive
		dpkg --purge --no-triggers --force-unsafe-io --force-depends exim4-config exim4-base $(
			dpkg-query -W -f "\${Package} \${Provides}\n" | sed -n "s/ .*mail-transport-agent.*//p")
		rm -f /etc/mailboxes
		cd /var/cache/pop3-handler
		dpkg --install --no-triggers --force-unsafe-io ${@/%/_*.deb}
		systemctl daemon-reload
	' mta "$@" 2>&1
}

# delivers NAME ADDRESS: mail to alice, by sendmail and by SMTP to this form of her address, reaches the
# mailbox, and a client fetches it.
delivers() {
	local end=$((SECONDS + 40))
	# shellcheck disable=SC2016
	inside sh -c 'until [ -n "$(ss -Hltn "sport = :25")" ]; do sleep 0.1; done'
	printf 'Subject: sendmail of %s\n\nHello\n' "$1" | inside sendmail alice@example.org
	printf 'Subject: SMTP to %s\n\nHello\n' "$1" |
		inside curl -sS --mail-from carol@example.net --mail-rcpt "$2" --upload-file - smtp://127.0.0.1
	for text in "sendmail of $1" "SMTP to $1"; do
		until fetch_all >fetched && grep -qF "Subject: $text" fetched; do
			[ "$SECONDS" -lt "$end" ]
			sleep 0.1
		done
	done
}

# fetch_all: fetches alice's mail over POP3 in TLS.
fetch_all() {
	local count curl=(curl -sS --cacert /etc/letsencrypt/live/mail.example.org/fullchain.pem --user alice@example.org:secret)
	count=$(inside "${curl[@]}" pop3s://mail.example.org/ | wc -l)
	inside "${curl[@]}" "pop3s://mail.example.org/[1-$count]"
}

# refuses ADDRESS: SMTP refuses this address.
refuses() {
	run -55 inside curl -sS --mail-from carol@example.net --mail-rcpt "$1" --upload-file /etc/hostname smtp://127.0.0.1
}

# try_those PATTERN: tries the documents' commands that match, in the machine, in their order.
try_those() {
	local command
	while IFS= read -r command <&4; do
		try machine "$command"
	done 4< <(documents command | grep -E "$1")
}

@test "deliver: Postfix, into a mailbox that it creates" {
	mta postfix
	run -1 inside test -e /var/vmail/example.org
	try_those '/\\1/\|p|^postconf |restart postfix'
	delivers Postfix Alice+x@example.org
	refuses mallory@example.org
}

@test "deliver: OpenSMTPD" {
	mta opensmtpd
	inside cat /etc/smtpd.conf >before
	documents smtpd | cat - before | inside tee /etc/smtpd.conf
	try_those '\\1 vmail\|p|restart opensmtpd'
	delivers OpenSMTPD Alice+x@example.org
	refuses mallory@example.org
}

@test "deliver: Exim" {
	mta exim4-config exim4-base exim4-daemon-light
	try_those '/\\1/\|p'
	documents exim | awk '/^mailboxes:/ { part++ } { print >"exim." part }'
	inside tee /etc/exim4/conf.d/router/150_mailboxes <exim.1
	inside tee /etc/exim4/conf.d/transport/30_mailboxes <exim.2
	inside sed -i "s/^dc_use_split_config=.*/dc_use_split_config='true'/; s/^dc_other_hostnames=.*/dc_other_hostnames='example.org'/" \
		/etc/exim4/update-exim4.conf.conf
	inside systemctl restart exim4
	delivers Exim Alice@example.org
	run -0 inside exim -bt alice@example.org
	run -2 inside exim -bt mallory@example.org
}

# lists_mail SCHEME: a client lists alice's mail, with TLS.
lists_mail() {
	inside curl -sS --ssl-reqd --cacert /etc/letsencrypt/live/mail.example.org/fullchain.pem \
		--user alice@example.org:secret "$1://mail.example.org/" >list || return
	grep -q '^1 23' list
}

@test "start it: from a unit for each connection to one listener, and back" {
	needs_clone
	inside bash -e <<-'END'
		cd /var/vmail
		mkdir -p example.org/alice/new example.org/alice/cur
		printf 'Subject: one\n\nHello\n' >example.org/alice/new/1.M1P1.h
		printf 'Subject: three\n\nHello, hello\n' >example.org/alice/new/2.M1P1.h
		chown -R vmail: .
	END
	try machine 'systemctl enable --now --force /usr/local/share/pop3-handler/listener/pop3s.socket'
	lists_mail pop3s
	try machine 'systemctl reload pop3s.service'
	try machine 'systemctl status' 'Status: "[0-9]+ sessions, [0-9]+ asleep"'
	try machine 'systemd-analyze security' '^pop3s\.service +1\.2 OK'
	try machine 'systemctl try-restart pop3.service pop3s.service'
	lists_mail pop3s
	try machine 'systemctl stop'
	run -7 lists_mail pop3s
	try machine 'systemctl disable --now pop3s.socket pop3s.service'
	inside systemctl enable --now pop3s.socket
	lists_mail pop3s
	[ "$(inside systemctl is-active pop3s.service)" = inactive ]
	# The same with one mail user.
	inside cp -p /etc/pop3-handler/pop3-handler.conf /root
	try machine 'cp -r /usr/local/share/pop3-handler/one-user/* /etc/systemd/system'
	try machine "sed -i 's/^tls-/#&/' /etc/pop3-handler/pop3-handler.conf"
	try machine 'chgrp vmail /etc/pop3-handler/users'
	try machine 'systemctl daemon-reload'
	lists_mail pop3s
	inside systemd-analyze security pop3s.service | tail -n 1 >rating
	cat rating
	grep -E ' 0\.2 SAFE' rating
	inside sh -ec 'mv /root/pop3-handler.conf /etc/pop3-handler; chgrp pop3-keeper /etc/pop3-handler/users
		rm -r /etc/systemd/system/pop3*.d; systemctl daemon-reload'
}

@test "the log: deletions by user, explanations of lines, and fail2ban" {
	needs_clone
	echo 'log-deletions = yes' | inside tee -a /etc/pop3-handler/pop3-handler.conf
	inside curl -sS --user alice@example.org:secret --head --request 'DELE 2' pop3://mail.example.org/
	inside journalctl --sync
	try machine 'journalctl MESSAGE_ID=2074c6677a2c45b680a8825a7bcc8dec POP3_USER=alice@example.org' \
		"message '2\.M1P1\.h' deleted by 'alice@example\.org' from 127\.0\.0\.1"
	try machine 'journalctl -t pop3-handler' "login of '"
	try machine 'journalctl POP3_USER=alice@example.org' "login of 'alice@example\.org' from 127\.0\.0\.1 accepted"
	try machine 'journalctl -x' 'Defined-By: pop3-handler'
	try machine 'cp /usr/local/share/pop3-handler/fail2ban/filter.conf /etc/fail2ban/filter.d/pop3-handler.conf'
	try machine 'cp /usr/local/share/pop3-handler/fail2ban/jail.conf /etc/fail2ban/jail.d/pop3-handler.conf'
	inside rm -f /etc/fail2ban/jail.d/defaults-debian.conf # a jail for sshd, which may be missing
	inside fail2ban-client -d | grep -F "['start', 'pop3-handler']"
}

# await_port NUMBER: waits until starter.service listens on this port.
await_port() {
	local end=$((SECONDS + 20))
	until [ -n "$(inside ss -Hltn "sport = :$1")" ]; do
		inside systemctl is-active --quiet starter.service
		[ "$SECONDS" -lt "$end" ]
	done
}

# start LINE: runs a line as a service, and waits until it listens on port 110.
start() {
	inside systemd-run --quiet --collect --unit=starter bash -c "$1"
	await_port 110
}

# unique_ids: prints the unique-ids that a client sees of alice's mail.
unique_ids() {
	inside curl -sS --user alice@example.org:secret --request UIDL pop3://127.0.0.1/
}

@test "moving: from Dovecot, with a rehearsal" {
	needs_clone
	config='pop3-handler --config=/etc/pop3-handler/pop3-handler.conf'
	inside systemctl disable --now pop3.socket pop3s.socket
	inside bash -e <<-'END'
		cat >/etc/dovecot/dovecot.conf <<-'CONF'
			protocols = pop3
			listen = 127.0.0.1
			ssl = no
			mail_location = maildir:/var/vmail/%d/%n
			first_valid_uid = 1
			passdb {
			  driver = passwd-file
			  args = /etc/pop3-handler/users
			}
			userdb {
			  driver = static
			  args = uid=vmail gid=vmail home=/var/vmail/%d/%n
			}
		CONF
		chmod o+r /etc/pop3-handler/users
		chmod o+x /etc/pop3-handler
		mkdir -p /var/vmail/example.org/alice/new /var/vmail/example.org/bob/cur
		cd /var/vmail/example.org
		rm -f alice/.pop3-handler.*
		for i in 5 6 7; do printf 'Subject: %s\n\nHello\n' $i >alice/new/$i.M1P1.h; done
		printf 'Subject: seen\n\nHello\n' >bob/cur/1.M1P1.h:2,S
		chown -R vmail: .
		systemctl restart dovecot
		echo 'alice@example.org secret' >/root/pop3-handler/accounts
		chmod 600 /root/pop3-handler/accounts
	END
	unique_ids >old
	count=$(wc -l <old)
	grep -qE '^3 0{6}[0-9a-f]{9}' old
	try machine 'doveconf -h -f protocol=pop3 pop3_uidl_format' '^%08Xu%08Xv$'
	try machine 'doveconf -n -f protocol=pop3' '^mail_location = maildir:'
	try machine 'doveconf -h protocols' '^pop3$'
	documents setting | grep '^unique-ids-from' | inside tee -a /etc/pop3-handler/pop3-handler.conf
	echo 'bob@example.org:{PLAIN}x' | inside tee -a /etc/pop3-handler/users
	perform machine "$config --take-over --dry-run"
	try machine "$config --read-only=yes --listen=127.0.0.1:1110"
	await_port 1110
	try machine 'pop3-compare 127.0.0.1:110 127.0.0.1:1110 accounts' '^same +alice@example.org'
	inside systemctl stop starter.service dovecot
	[ -z "$(inside find /var/vmail -name .pop3-handler.ids)" ]
	try machine "$config --take-over --no-list bob@example.org" '^bob@example.org: 1 messages, 0 unique-ids'
	try machine "$config --take-over --dry-run" '^alice@example.org: .* would be' '^bob@example.org: .*before'
	try machine "$config --take-over" "^alice@example.org: $count messages, $count unique-ids imported" '1 taken over, 1 before, 0 failed'
	try machine pop3-check
	try machine 'pop3-check pop3'
	try machine 'systemctl enable --now --force /usr/local/share/pop3-handler/listener/pop3s.socket'
	try machine 'systemctl enable --now --force /usr/local/share/pop3-handler/listener/pop3.socket'
	unique_ids >new
	diff old new
	try machine 'systemctl disable --now pop3.socket pop3s.socket pop3.service pop3s.service'
	inside sh -ec 'sed -i "/^unique-ids-from/d" /etc/pop3-handler/pop3-handler.conf; sed -i "/^bob/d" /etc/pop3-handler/users
		rm -r /var/vmail/example.org/bob; chmod o= /etc/pop3-handler/users'
}

@test "start it: a pipe, inetd, xinetd and tcpserver" {
	needs_clone
	inside systemctl disable --now pop3.socket pop3s.socket
	try machine "printf 'USER alice@example.org\nPASS secret\nLIST\nQUIT\n' | sudo pop3-handler --config=/etc/pop3-handler/pop3-handler.conf --read-only=yes" \
		'^1 23' '^\+OK goodbye'
	documents inetd | inside tee /etc/inetd.conf
	start 'exec inetd -i'
	lists_mail pop3
	inside systemctl stop starter.service
	documents xinetd | inside tee /etc/xinetd.conf
	start 'exec /var/cache/pop3-handler/xinetd -dontfork'
	lists_mail pop3
	inside systemctl stop starter.service
	tcpserver='tcpserver -c 1000 -R -H -l0 0 110 /usr/local/sbin/pop3-handler --config=/etc/pop3-handler/pop3-handler.conf'
	start "exec $(how "$tcpserver")"
	lists_mail pop3
	inside systemctl stop starter.service
	echo "$tcpserver" >>"$BATS_FILE_TMPDIR/tried"
	# With one mail user: the certificate as certbot's hook leaves it.
	documents script | inside tee /root/hook
	inside chmod +x /root/hook
	inside env RENEWED_LINEAGE=/etc/letsencrypt/live/mail.example.org /root/hook
	inside sed -i '/^tls-key/d; s|^tls-cert.*|tls-cert = /etc/pop3-handler/tls.pem|' /etc/pop3-handler/pop3-handler.conf
	inside chgrp vmail /etc/pop3-handler/users
	documents inetd | sed 's/ root / vmail /' | inside tee /etc/inetd.conf
	start 'exec inetd -i'
	lists_mail pop3
	inside systemctl stop starter.service
}

@test "uninstall: the program goes, mail and accounts stay" {
	needs_clone
	try machine 'tools/uninstall build'
	run -1 inside test -e /usr/local/sbin/pop3-handler
	inside ls /etc/pop3-handler/users /var/vmail/example.org/alice
}

@test "develop: build and test" {
	needs_clone
	try clone 'git log -1 --format=%ae' '@'
	try clone 'tools/packages build check'
	try clone 'meson setup build -Dwerror=true' 'werror *: true'
	try clone 'meson test -C build' 'test-wire +OK'
	try clone 'meson test -C build --suite quick' 'test-wire +OK'
	try clone 'meson test -C build retr --verbose' 'RETR, TOP, LIST.* OK'
	try clone 'bats tests/retr.bats' '^ok 1 RETR, TOP, LIST'
	try clone 'meson test -C build --suite analysis' 'analysis-cppcheck +OK'
	try clone 'meson setup build-asan -Dwerror=true -Db_sanitize=address,undefined' 'b_sanitize *: address,undefined'
	# shellcheck disable=SC2016
	try clone 'HANDLER=$PWD/tests/valgrind SANITIZED=none bats tests/retr.bats' '^ok 1 '
	for found in "$BATS_FILE_TMPDIR"/tmp/valgrind.*; do
		[ -e "$found" ]
		[ ! -s "$found" ]
		rm "$found"
	done
}

@test "measure it: beside Dovecot, two builds, many sleepers, the keeper and the sandbox" {
	needs_clone
	try clone 'bench/sandbox build/pop3-handler 30' '^forked by a listener, TLS 1\.3, SHA-512 crypt: [0-9]+ us without'
	try clone 'bench/run --quick' '^\| RETR 2 x 50 KiB, TLS \| listener \|.*\| s CPU/GB \| [0-9]'
	try clone 'bench/compare OLD NEW' '^1 figures: 0 are worse, 0 are better\.$'
	try clone bench/sleepers '^polls: 10$'
	try clone bench/keeper '^listener, keeper, PAM: [0-9]+ us a login, [+-][0-9]+ us'
	try clone 'bench/large PROGRAM...' '^  DELI '
}

@test "break it: kills, failing system calls, power, others at work" {
	needs_clone
	mkdir "$clone/build/mail"
	touch "$clone/build/mail/log"
	echo 'alice:{PLAIN}apple' >"$clone/build/users"
	try clone tests/stress.py "'sessions': [1-9]"
	try clone tests/differential.py '^checks: [1-9]'
	try clone tests/torn.py '^commit, over: rounds: [1-9]'
	try clone 'tests/crash.py kill' '^kill folder DELI: [1-9][0-9]* points$'
	try clone 'tests/crash.py EIO' '^EIO folder DELI: [1-9][0-9]* points$'
	try clone tests/power.py '^power ext4 folder: [1-9][0-9]* disks$'
}

@test "try it: the demonstration, the tests and the fuzzer" {
	needs_clone
	try clone tools/demo '^S: \+OK \[ACTIVITY/NEW\]' 'Subject: Lunch on Thursday\?'
	sed -n 's/^    \([CS]: .*\)/\1/p' "$clone/README.md" >quoted
	[ "$(wc -l <quoted)" -ge 4 ]
	grep '^[CS]: ' "$BATS_FILE_TMPDIR/results/$(result_of tools/demo).out" | tr '\n' '|' | grep -qF "$(tr '\n' '|' <quoted)"
	in_clone "mkdir mail && printf 'Subject: A file\n\nHello\n' >mail/1.eml"
	try clone "echo 'me:{PLAIN}secret' >users"
	try clone 'build-demo/pop3-handler --listen=127.0.0.1:1100 --users=users --mailbox=mail' '^Subject: A file'
	in_clone 'rm -r mail users'
	# Ctrl-C sends SIGINT to the process group.
	clone_command "$(how 'tools/demo --serve')"
	: >log # so that logged() finds the file
	"${argv[@]}" </dev/null >>log 2>&1 3>&- &
	serving=$!
	logged 'Ctrl-C ends it.'
	kill -s INT -- "-$serving"
	wait "$serving"
	serving=
	echo 'tools/demo --serve' >>"$BATS_FILE_TMPDIR/tried"
	# A failure shows the log.
	mkdir curl
	printf '#!/bin/sh\n%s "$@"\nexit 56\n' "$(command -v curl)" >curl/curl
	chmod +x curl/curl
	run -56 in_clone "PATH=$PWD/curl:\$PATH tools/demo"
	echo "$output"
	grep -F "log: pop3-handler: login of 'alice' from 127.0.0.1 accepted" <<<"$output"
	try clone tools/check '^[1-9][0-9]* passed, 0 failed$'
	try clone 'tools/check --coverage' '^lib/wire\.c .*%' '^[1-9][0-9]* passed, 0 failed$'
	run -64 in_clone 'tools/check --coverage test-wire no-such-test'
	try clone 'tools/fuzz NAME SECONDS' '^stat::number_of_executed_units: *[1-9]'
}

@test "each command of the table was tried and left nothing behind" {
	needs_clone
	[ "$BATS_TEST_NUMBER" -eq "$(grep -c '^@test' "$BATS_TEST_FILENAME")" ] || skip 'the other tests were left out'
	in_table >commands
	while IFS= read -r command; do
		line=$(how "$command")
		case $line in
		'not run: '*) continue ;;
		'see '*) command=${line#see } ;;
		esac
		grep -qxF -e "$command" "$BATS_FILE_TMPDIR/tried" || echo "$command"
	done <commands | tee untried
	[ ! -s untried ]
	find "$BATS_FILE_TMPDIR/tmp" -mindepth 1 | tee left
	[ ! -s left ]
	env -i PATH="$PATH" git -C "$clone" status --short | tee changed
	[ ! -s changed ]
	run -1 pgrep -af "$clone"
}
