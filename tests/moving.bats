#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Moving: a real Dovecot or Courier serves a Maildir, then this server does, and no client fetches a message
# twice. Needs root.

load helpers

setup() {
	needs_root
	setup_site
	export HOME=$BATS_TEST_TMPDIR
	options=(--user=nobody "--users=$users" "--mailbox=$mail/%u" --login-penalty=0 --tls=off)
	let_others_in
	make_maildir alice
	chown -R nobody:nogroup "$mail" run
}

# --- Mail ---

# deliver NAME SUBJECT [HEADER-LINE]: delivers like an MDA, and adds the subject to `delivered`.
delivered=()
deliver() {
	delivered+=("$2")
	printf 'Subject: %s\n%s\nHello\n' "$2" "${3-}" >"$mail/alice/tmp/$1"
	chown nobody:nogroup "$mail/alice/tmp/$1"
	mv "$mail/alice/tmp/$1" "$mail/alice/new/$1"
}

# file_of SUBJECT
file_of() {
	grep -rlx "Subject: $1" "$mail/alice/new" "$mail/alice/cur"
}

# lose SUBJECT...
lose() {
	local subject
	for subject; do
		rm "$(file_of "$subject")"
	done
}

# flag SUBJECT FLAGS: as an IMAP server does.
flag() {
	local file name
	file=$(file_of "$1")
	name=${file##*/}
	mv "$file" "$mail/alice/cur/${name%%:*}:2,$2"
}

# --- Old servers and the new one, on port 110 of a private network: a move does not change the port ---

make_network() {
	mkfifo network.pipe
	unshare --net sh -c 'ip link set lo up && echo up && exec sleep infinity' >network.pipe 3>&- &
	network=$!
	background+=("$network")
	read -r _ <network.pipe
}

# beside COMMAND...: runs a command in that network.
beside() {
	nsenter --target "$network" --net "$@"
}

# serve COMMAND...: starts a server there, and waits until it listens.
serve() {
	nsenter --target "$network" --net "$@" </dev/null >>served 2>&1 3>&- &
	server=$!
	background+=("$server")
	until [ -n "$(beside ss -Hltn 'sport = :110')" ]; do
		kill -0 "$server" || {
			cat served
			return 1
		}
	done
}

# end_server [SIGNAL]: ends it, and waits for all its listening processes.
end_server() {
	kill -s "${1-TERM}" "$server"
	wait "$server" || true
	unset 'background[-1]'
	until [ -z "$(beside ss -Hltn 'sport = :110')" ]; do
		:
	done
}

# serve_dovecot [SETTING...]
serve_dovecot() {
	mkdir -p dovecot home
	chown nobody home
	cat >dovecot.conf <<-END
		base_dir = $PWD/dovecot
		log_path = $PWD/dovecot.log
		protocols = pop3
		listen = 127.0.0.1
		ssl = no
		disable_plaintext_auth = no
		mail_location = maildir:$mail/alice
		mail_home = $PWD/home
		first_valid_uid = 1
		passdb {
		  driver = passwd-file
		  args = $users
		}
		userdb {
		  driver = static
		  args = uid=nobody gid=nogroup
		}
	END
	printf '%s\n' "$@" >>dovecot.conf
	serve dovecot -F -c "$PWD/dovecot.conf"
}

# serve_courier: mounts our files over the system's, where Courier looks for them.
serve_courier() {
	local package file
	mkdir -p courier etc/courier
	for package in courier-authlib courier-authlib-userdb courier-pop; do
		file=$(find /var/cache/pop3-handler -name "${package}_*.deb" -print -quit)
		[ -n "$file" ] || skip "there is no package $package: run tools/packages check"
		dpkg -x "$file" courier
	done
	printf '%s\n' 'authmodulelist="authuserdb"' 'authmodulelistorig="authuserdb"' daemons=1 \
		authdaemonvar=/run/courier/authdaemon >etc/courier/authdaemonrc
	printf 'alice\tuid=%s|gid=%s|home=%s|mail=%s|systempw=%s\n' "$(id -u nobody)" "$(id -g nobody)" "$mail" \
		"$mail/alice" "$(openssl passwd -6 apple)" >etc/courier/userdb
	chmod 700 etc/courier
	chmod 600 etc/courier/userdb
	# shellcheck disable=SC2016
	serve unshare --mount bash -ec '
		mount --make-rprivate /
		for folder in usr/lib usr/sbin; do
			mount -t overlay overlay -o "lowerdir=$PWD/courier/$folder:/$folder" "/$folder"
		done
		mount -t overlay overlay -o "lowerdir=$PWD/etc:/etc" /etc
		mount --bind etc/courier /etc/courier
		mount -t tmpfs tmpfs /run
		mkdir -p /run/courier/authdaemon
		makeuserdb
		/usr/lib/courier/courier-authlib/authdaemond &
		daemon=$!
		until [ -S /run/courier/authdaemon/socket ]; do
			kill -0 $daemon
		done
		login=/usr/lib/courier/courier/courierpop3login
		POP3_STARTTLS=NO tcpserver -R -H -l localhost 127.0.0.1 110 $login ${login%login}d Maildir &
		trap "kill $daemon $!" EXIT
		trap exit TERM
		wait'
}

# serve_ours [OPTION...]
serve_ours() {
	serve "$HANDLER" "${options[@]}" --listen=127.0.0.1:110 "$@"
}

# --- Clients that leave mail on the server; they refuse to run as root ---

clients=(mpop getmail linear binary)

make_clients() {
	local client
	mkdir client
	for client in "${clients[@]}"; do
		mkdir -p client/at-"$client"/{new,cur,tmp}
	done
	cat >client/mpoprc <<-END
		account default
		host 127.0.0.1
		user alice
		password apple
		auth user
		tls off
		received_header off
		delivery maildir $PWD/client/at-mpop
		uidls_file $PWD/client/uidls
		keep on
	END
	cat >client/getmailrc <<-END
		[retriever]
		type = SimplePOP3Retriever
		server = 127.0.0.1
		username = alice
		password = apple
		[destination]
		type = Maildir
		path = $PWD/client/at-getmail/
		[options]
		read_all = false
		delete = false
	END
	# With fastuidl = 1, fetchmail finds the first new message by a binary search.
	fetchmailrc linear 0
	fetchmailrc binary 1
	chmod 600 client/*rc
	chown -R nobody:nogroup client
}

# fetchmailrc CLIENT FASTUIDL
fetchmailrc() {
	printf '%s\n' 'poll 127.0.0.1 protocol pop3 uidl user alice password apple' "keep fastuidl $2 sslproto ''" \
		"mda 'cat >$PWD/client/at-$1/new/\$(date +%s%N)'" >"client/$1rc"
}

# as_client COMMAND...
as_client() {
	beside setpriv --reuid=nobody --regid=nogroup --clear-groups env USER=nobody "HOME=$PWD/client" "$@"
}

# fetch: each client fetches new mail.
fetch() {
	local client
	as_client mpop -C client/mpoprc
	as_client getmail --getmaildir client
	for client in linear binary; do
		status=0
		as_client fetchmail -v -f "client/${client}rc" --nosyslog --nodetach --invisible \
			--pidfile "client/$client.pid" --idfile "client/$client.ids" || status=$?
		[ "$status" -le 1 ] # 1: there is no new mail
	done
} >>fetched 2>&1

# each_has TIMES: each client has fetched each delivered message this number of times.
each_has() {
	local client i
	for ((i = 0; i < $1; i++)); do
		printf '%s\n' "${delivered[@]}"
	done | sort >expected
	for client in "${clients[@]}"; do
		grep -rh '^Subject: ' "client/at-$client" | tr -d '\r' | cut -d ' ' -f 2- | sort | diff expected - || {
			echo "this is what $client has"
			tail -n 40 fetched served
			return 1
		}
	done
}

# --- Moves ---

# move OLD SETTING NAME: a message with this name comes late, and the old server lists it last.
move() {
	local i
	make_network
	make_clients
	for i in {10..18}; do # with fewer messages, fetchmail makes no binary search
		deliver "16900000$i.M1P1.mx" "$i"
	done
	deliver 1700000001.M1P1.mx,S=20 one
	deliver 1700000002.M1P2.mx,S=20,W=23 two
	deliver 1700000003.M1P3.mx three
	deliver 1700000004.M1P4.mx four
	flag two F
	"serve_$1"
	fetch
	each_has 1
	deliver "$3" five
	deliver 1700000006.M1P6.mx six
	fetch
	each_has 1
	end_server
	# No server is running.
	lose three six
	flag one ''
	flag five FRS
	deliver 1600000000.M1P7.mx seven
	deliver 1700000008.M1P8.mx eight
	serve_ours "--unique-ids-from=$2"
	fetch
	each_has 1
	deliver 1700000009.M1P9.mx nine
	flag eight F
	end_server
	serve_ours "--unique-ids-from=$2"
	fetch
	each_has 1
	end_server
	serve_ours
	lose one
	fetch
	deliver 1700000010.M1P10.mx ten
	: >fetched
	fetch
	each_has 1
	grep 'POP3> UIDL [0-9]' fetched # the binary search
	end_server
}

@test "from Dovecot: mpop, getmail and fetchmail fetch nothing twice" {
	move dovecot 'dovecot %08Xu%08Xv' 1699999999.M1P5.mx
}

@test "from Courier: mpop, getmail and fetchmail fetch nothing twice" {
	move courier courier 1700000005.M1P5.mx
}

@test "without the setting, each client fetches everything twice" {
	make_network
	make_clients
	deliver 1700000001.M1P1.mx one
	deliver 1700000002.M1P2.mx two
	serve_dovecot
	fetch
	end_server
	serve_ours
	fetch
	each_has 2
}

# --- The answers of the old server, and ours ---

# they_say COMMAND...: prints the lines of the old server's answers to UIDL and LIST. (Courier drops
# commands that arrive together with PASS.)
they_say() {
	beside /usr/bin/python3 -c '
import poplib, sys
server = poplib.POP3("127.0.0.1", timeout=20)
server.user("alice")
server.pass_("apple")
for command in sys.argv[1:]:
    verb, *numbers = command.lower().split()
    answer = getattr(server, verb)(*numbers)
    if verb in ("uidl", "list"):
        print(*(line.decode() for line in answer[1]), sep="\n")
server.quit()' "$@"
}

# we_say [SETTING] -- COMMAND...: the same of our server.
we_say() {
	local settings=()
	[ "$1" = -- ] || { settings=("--unique-ids-from=$1") && shift; }
	printf '%s\r\n' 'USER alice' 'PASS apple' "${@:2}" QUIT >script
	handle script "${settings[@]}"
	tr -d '\r' <out | grep '^[0-9]'
}

# was OLD [SETTING...] -- COMMAND: leaves a Maildir as a server with these settings would, after new mail,
# flags and removals. COMMAND runs before its last session, whose answers go to the file `theirs`.
was() {
	local old=$1 settings=()
	while shift && [ "$1" != -- ]; do
		settings+=("$1")
	done
	rm -rf "$mail/alice"
	make_maildir alice
	chown -R nobody:nogroup "$mail/alice"
	"serve_$old" "${settings[@]}"
	deliver 1700000001.M1P1.mx,S=20,W=23 one
	deliver 1700000002.M222222P2.mx two $'X-UIDL: id-2.!~\n'
	deliver 1700000003.M1P3.mx three
	deliver 1700000004.V801I2f3aM444444.mx,S=21 four
	deliver 1700000005.5+it\'s.mx five $'x-uidl:  id-5\n'
	deliver 1700000006.H108P9.a-host-with-a-very-long-name.some-department.some-institute.example.org six
	they_say UIDL
	lose three
	flag one FS
	flag five RT
	deliver 1600000007.M1P7.mx seven # old according to its name
	deliver mx.1700000000 zero
	"${@:2}"
	deliver 1700000008.M1P8.mx,S=22 eight
	they_say UIDL LIST >theirs
	if [ "$old" = dovecot ]; then
		end_server KILL # otherwise it takes a second
	else
		end_server
	fi
	cat theirs "$mail"/alice/{dovecot-uidlist,courierpop3dsizelist} 2>/dev/null || true
}

# we_go_on SETTING...: imports the mailbox with each of these equivalent settings; Dovecot's unique-ids stay,
# whatever happens afterwards.
we_go_on() {
	local setting count
	count=$(($(wc -l <theirs) / 2))
	[ "$count" -ge 5 ]
	mv "$mail/alice" "$mail/left"
	for setting; do
		cp -a "$mail/left" "$mail/alice"
		we_say "$setting" -- UIDL LIST | diff theirs -
		run ! grep -v 'are taken over:' <(troubles)
		deliver 1500000000.M1P9.mx nine
		flag one R
		flag eight ST
		rm -f "$mail"/alice/{dovecot,courier}*
		head -n $count theirs >expected
		echo "$((count + 1)) 1500000000.M1P9.mx" >>expected
		we_say "$setting" -- UIDL | diff expected -
		we_say 'dovecot %v.%u' -- UIDL | diff expected -
		rm "$mail/alice/.pop3-handler.cache"
		we_say -- UIDL | diff expected -
		rm -r "$mail/alice"
	done
	rm -r "$mail/left"
}

@test "Dovecot's unique-ids and sizes, in each format, are kept" {
	make_network
	was dovecot -- true
	we_go_on 'dovecot %08Xu%08Xv' 'dovecot %{uid | hex(8)}%{uidvalidity | hex(8)}'
	was dovecot 'pop3_uidl_format = %v-%u' -- true
	we_go_on 'dovecot %v-%u' 'dovecot %{uidvalidity}-%{uid}'
	was dovecot 'pop3_uidl_format = %u' -- true
	we_go_on 'dovecot %u' 'dovecot %{uid}'
	was dovecot 'pop3_uidl_format = UID%u-%v' -- true
	we_go_on 'dovecot UID%u-%v'
	was dovecot 'pop3_uidl_format = %f' -- true
	we_go_on 'dovecot %f' 'dovecot %{filename}'
}

# there_and_back OLD SETTING: follows doc/MOVING.md back, and then to us again.
there_and_back() {
	deliver 1700000001.M1P1.mx one
	deliver 1700000002.M1P2.mx two
	"serve_$1"
	they_say UIDL >before
	end_server
	deliver 1700000003.M1P3.mx three
	serve_ours "--unique-ids-from=$2"
	they_say UIDL >here
	(cat before && echo '3 1700000003.M1P3.mx') | diff - here
	end_server
	"serve_$1"
	they_say UIDL >back
	head -n 2 back | diff before -
	[[ $(tail -n 1 back) == '3 '* && $(tail -n 1 back) != *M1P3* ]]
	end_server
	rm "$mail/alice/.pop3-handler.ids"
	serve_ours "--unique-ids-from=$2"
	they_say UIDL | diff back -
	end_server
}

@test "the way back to Dovecot: imported mail keeps its unique-ids, newer mail gets others" {
	make_network
	there_and_back dovecot 'dovecot %08Xu%08Xv'
}

@test "the way back to Courier: imported mail keeps its unique-ids, newer mail gets others" {
	make_network
	there_and_back courier courier
}

# edit_list: changes order numbers, unique-ids and GUIDs, which Dovecot respects.
edit_list() {
	sed -i -E 's/^1 .*:/1 O9 G11111111111111111111111111111111 :/
		s/^2 /2 PUID2-1600000000 O8 /
		s/^4 /4 P /
		s/^5 /5 O9 Plegacy.5 /' "$mail/alice/dovecot-uidlist"
	rm -f "$mail"/alice/dovecot.index*
}

# restart_dovecot: with another format of unique-ids.
restart_dovecot() {
	end_server KILL
	serve_dovecot 'pop3_save_uidl = yes'
}

@test "unique-ids of Dovecot that are fields in its list, or that it saves there, are kept" {
	make_network
	was dovecot -- edit_list
	grep UID2-1600000000 theirs
	we_go_on 'dovecot %08Xu%08Xv'
	was dovecot 'pop3_uidl_format = %g' -- edit_list
	grep 11111111111111111111111111111111 theirs
	we_go_on 'dovecot %g' 'dovecot %{guid}'
	was dovecot 'pop3_uidl_format = %g' 'pop3_save_uidl = yes' -- restart_dovecot
	grep 1700000001.M1P1.mx theirs
	grep '00000008[0-9a-f]*' theirs
	we_go_on 'dovecot %08Xu%08Xv'
}

@test "unique-ids of Dovecot with pop3_reuse_xuidl are kept" {
	make_network
	was dovecot 'pop3_reuse_xuidl = yes' -- true
	grep 'id-5' theirs
	we_go_on 'x-uidl dovecot %08Xu%08Xv'
}

@test "messages that Dovecot hides because of pop3_deleted_flag stay hidden" {
	make_network
	# shellcheck disable=SC2016
	was dovecot 'pop3_deleted_flag = "$POP3Deleted"' -- they_say 'DELE 2' 'DELE 5' UIDL
	grep POP3Deleted "$mail/alice/dovecot-keywords"
	[ "$(wc -l <theirs)" -eq 12 ]
	we_go_on 'dovecot %08Xu%08Xv'
}

@test "Courier's unique-ids, sizes and order are kept" {
	make_network
	was courier -- true
	we_go_on courier
}

@test "beside the IMAP of that Dovecot, even when it recreates its list, no unique-id changes" {
	local i
	for i in {1..300}; do
		make_message "alice/new/$((1700000000 + i)).M1P1.mx" "Subject: $i\n\nHello\n"
	done
	printf '%s\n' "base_dir = $mail/run" "state_dir = $mail/run" 'log_path = /dev/stderr' 'ssl = no' \
		"mail_location = maildir:$mail/alice" >"$mail/dovecot.conf"
	cp "$BATS_TEST_DIRNAME/beside-imap.py" . # the user nobody cannot read the source directory
	as_nobody /usr/bin/python3 beside-imap.py 2 "$PWD/handler" "$mail" "${options[@]}" \
		'--unique-ids-from=dovecot %08Xu%08Xv'
}
