#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Real clients over a real socket.

load helpers

setup() {
	setup_site
	setup_tls
	export HOME=$BATS_TEST_TMPDIR
	# The bodies, as they must arrive.
	printf '.\n..dots\nend\n' >body1
	printf 'no line end\n' >body2
	seq 100000 >body3
	fill
}

# fill: gives alice exactly three messages.
fill() {
	rm -rf "$mail/alice"
	make_maildir alice
	printf 'From: Ann <ann@example.org>\nSubject: One\nMessage-ID: <1@example.org>\n\n.\n..dots\nend\n' \
		>"$mail/alice/new/1700000001.M1P1.h"
	printf 'From: Ben <ben@example.org>\r\nSubject: Two\r\nMessage-ID: <2@example.org>\r\n\r\nno line end' \
		>"$mail/alice/new/1700000002.M1P1.h"
	{
		printf 'From: Cat <cat@example.org>\nSubject: Large\nMessage-ID: <3@example.org>\n\n'
		seq 100000
	} >"$mail/alice/cur/1700000003.M1P1.h:2,F"
}

# serve_way WAY: serves a port without TLS (plain), with STLS, or with implicit TLS.
serve_way() {
	way=$1
	fill
	case $way in
	plain) serve_port --tls=off ;;
	starttls) serve_port --plaintext-auth=never ;;
	implicit) serve_port --tls=implicit ;;
	esac
}

# without_dns COMMAND...: for clients that look up the name of the machine repeatedly, and wait long for
# an answer.
without_dns() {
	needs_root
	echo 'hosts: files' >nsswitch.conf
	unshare --mount sh -e -c 'mount --bind nsswitch.conf /etc/nsswitch.conf; exec "$@"' sh "$@"
}

# arrived FILE...: these are the three messages, complete and in any order.
arrived() {
	local i=0 subject
	[ $# -eq 3 ]
	for subject in One Two Large; do
		i=$((i + 1))
		tr -d '\r' <"$(grep -l "^Subject: $subject" "$@")" | sed '1,/^\r*$/d' | cmp "body$i" -
	done
}

@test "curl lists, retrieves, and deletes" {
	for way in plain starttls implicit; do
		serve_way $way
		[ "$way" = implicit ] && url=pop3s://127.0.0.1:$port || url=pop3://127.0.0.1:$port
		[ "$way" = starttls ] && tls=(--ssl-reqd) || tls=()
		curl() {
			command curl -sS "${tls[@]}" --cacert ca.pem "$@"
		}
		curl -u alice:apple "$url/" | tr -d '\r' >list
		[ "$(cut -d ' ' -f 1 list | tr '\n' ' ')" = '1 2 3 ' ]
		for i in 1 2 3; do
			curl -u alice:apple "$url/$i" >"curl$i"
			[ "$(wc -c <"curl$i")" -eq "$(sed -n "s/^$i //p" list)" ]
		done
		arrived curl1 curl2 curl3
		curl -u alice:apple -X 'UIDL' "$url/" | grep -F '2 1700000002.M1P1.h'
		curl -u alice:apple -X 'DELE 1' -l "$url/1" || true
		run ! curl -u alice:wrong "$url/"
	done
}

fetch() {
	local tls
	case $way in
	plain) tls="sslproto ''" ;;
	starttls) tls="sslproto 'auto' sslcertck sslcommonname localhost sslcertfile ca.pem" ;;
	implicit) tls='ssl sslcertck sslcommonname localhost sslcertfile ca.pem' ;;
	esac
	printf 'poll 127.0.0.1 protocol pop3 port %s uidl user alice password apple %s %s\n' "$port" "$tls" \
		"mda 'cat >$HOME/\$(date +%s%N).mail'" >fetchmailrc
	chmod 600 fetchmailrc
	without_dns fetchmail -f fetchmailrc --nosyslog --nodetach --pidfile fetchmail.pid --idfile fetchids \
		--invisible "$@" >fetchmail.log 2>&1
}

@test "fetchmail fetches everything and deletes it" {
	for way in plain starttls implicit; do
		serve_way $way
		fetch --all
		arrived ./*.mail
		[ -z "$(files alice)" ]
		rm ./*.mail
	done
}

@test "fetchmail leaves messages on the server and does not fetch them twice" {
	serve_way plain
	fetch --keep
	arrived ./*.mail
	[ "$(files alice | wc -l)" -eq 3 ]
	status=0
	fetch --keep || status=$?
	[ "$status" -eq 1 ] # there is no new mail
	[ "$(printf '%s\n' ./*.mail | wc -l)" -eq 3 ]
	make_message alice/new/1700000004.M1P1.h 'Subject: New\n\nnew\n'
	fetch --keep
	[ "$(printf '%s\n' ./*.mail | wc -l)" -eq 4 ]
}

@test "mpop fetches with pipelining, keeps or deletes, and fetches nothing twice" {
	for way in plain starttls implicit; do
		serve_way $way
		rm -rf in uidls
		mkdir -p in/new in/cur in/tmp
		cat >mpoprc <<-END
			account default
			host 127.0.0.1
			port $port
			user alice
			password apple
			auth user
			tls $([ "$way" = plain ] && echo off || echo on)
			tls_starttls $([ "$way" = starttls ] && echo on || echo off)
			tls_trust_file ca.pem
			pipelining on
			received_header off
			delivery maildir $PWD/in
			uidls_file $PWD/uidls
			keep on
		END
		chmod 600 mpoprc
		mpop -C mpoprc >mpop.log
		arrived in/new/*
		mpop -C mpoprc >mpop.log
		[ "$(find in -type f | wc -l)" -eq 3 ]
		[ "$(files alice | wc -l)" -eq 3 ]
		rm uidls
		mpop -C mpoprc --keep=off --auth=plain >mpop.log
		[ "$(find in -type f | wc -l)" -eq 6 ]
		[ -z "$(files alice)" ]
	done
}

@test "Python's poplib lists, retrieves and deletes: without TLS, with STLS, on port 995" {
	for way in plain starttls implicit; do
		serve_way $way
		/usr/bin/python3 - "$port" "$way" <<-'END'
			import poplib, ssl, sys
			port, way = int(sys.argv[1]), sys.argv[2]
			context = ssl.create_default_context(cafile='ca.pem')
			if way == 'implicit':
			    pop = poplib.POP3_SSL('127.0.0.1', port, context=context, timeout=20)
			else:
			    pop = poplib.POP3('127.0.0.1', port, timeout=20)
			if way == 'starttls':
			    assert 'STLS' in pop.capa()
			    pop.stls(context)
			    assert 'STLS' not in pop.capa()
			assert 'UIDL' in pop.capa()
			pop.user('alice')
			pop.pass_('apple')
			count, octets = pop.stat()
			assert count == 3
			assert octets == sum(int(line.split()[1]) for line in pop.list()[1])
			for number in 1, 2, 3:
			    _, lines, _ = pop.retr(number)
			    assert sum(len(line) + 2 for line in lines) == int(pop.list(number).split()[2])
			assert pop.retr(1)[1][-3:] == [b'.', b'..dots', b'end']
			assert pop.top(3, 2)[1][-2:] == [b'1', b'2']
			assert pop.uidl(2).split()[2] == b'1700000002.M1P1.h'
			pop.dele(2)
			assert pop.stat()[0] == 2
			pop.rset()
			pop.dele(1)
			pop.noop()
			pop.quit()
		END
		[ "$(files alice | wc -l)" -eq 2 ]
	done
}

@test "gnutls-cli retrieves with STLS and on port 995" {
	for way in starttls implicit; do
		serve_way $way
		[ "$way" = starttls ] && tls=(--starttls-proto=pop3) || tls=()
		start_session client gnutls-cli --x509cafile ca.pem --port "$port" "${tls[@]}" 127.0.0.1
		until [ "$reply" = '- Simple Client Mode:' ]; do
			hear client
		done
		hear client
		[ "$way" = starttls ] || hear client # the greeting
		for command in 'USER alice' 'PASS apple' 'RETR 1'; do
			ask client "$command"
			[[ $reply == +OK* ]]
		done
		hear_all client
		printf '%s\n' "${lines[@]}" | grep -xF '...dots'
		ask client QUIT
		[ "$reply" = '+OK goodbye' ]
		hang_up client
		rm client.*
	done
}

@test "Perl's Net::POP3 lists, retrieves and deletes" {
	serve_way plain
	perl -MNet::POP3 -e '
		my $pop = Net::POP3->new("127.0.0.1", Port => $ARGV[0], Timeout => 20) or die "connect";
		$pop->login("alice", "apple") == 3 or die "login";
		my $list = $pop->list; my $uidl = $pop->uidl;
		$uidl->{3} eq "1700000003.M1P1.h" or die "uidl";
		my $lines = $pop->get(1);
		join("", @$lines[-3 .. -1]) eq ".\n..dots\nend\n" or die "get";
		my ($count, $octets) = $pop->popstat;
		$count == 3 && $octets == $list->{1} + $list->{2} + $list->{3} or die "popstat";
		scalar @{$pop->top(3, 2)} == 6 or die "top";
		$pop->delete(3) or die "delete";
		$pop->quit or die "quit";' "$port"
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "a session on a socket sleeps and wakes" {
	serve_way plain
	start_session one /usr/bin/python3 -c '
import os, socket, sys, threading
client = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def up():
    while data := os.read(0, 4096):
        client.sendall(data)
threading.Thread(target=up, daemon=True).start()
while data := client.recv(4096):
    os.write(1, data)' "$port"
	login one
	ask one SLEE
	make_message alice/new/1700000004.M1P1.h
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NEW] 4 messages' ]
	ask one QUIT
	[ "$reply" = '+OK goodbye' ]
}
