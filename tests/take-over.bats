#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# pop3-handler --take-over: the mailboxes of many accounts at once.

load helpers

setup() {
	setup_site
	export ASAN_OPTIONS=exitcode=99:detect_leaks=0 # LeakSanitizer finds nothing after a change of users
	from='--unique-ids-from=dovecot %u.%v'
	printf '%s\n' 'alice:{PLAIN}apple' 'bob:{PLAIN}banana' 'carol:{PLAIN}cherry' >"$users"
	for name in alice bob carol; do
		make_left "$mail/$name"
	done
}

# make_left PATH [LIST-PATH]: a Maildir that Dovecot has left, with two messages in its list and a new one.
make_left() {
	mkdir -p "$1"/{new,cur,tmp} "${2-$1}"
	printf 'Subject: 1\n\nbody\n' | tee "$1/cur/1.M1P1.h:2,S" "$1/cur/2.M1P1.h:2," >"$1/new/3.M1P1.h"
	printf '3 V1700000000 N8 G1234\n5 :1.M1P1.h\n7 :2.M1P1.h\n' >"${2-$1}/dovecot-uidlist"
}

# take_over [OPTION...]: sets `output` and `status`; its log is in the file `log`.
take_over() {
	status=0
	output=$("$HANDLER" "${options[@]}" "$from" --take-over "$@" 2>log) || status=$?
	printf '%s\n' "$output"
	cat log
}

# taken NAME...: exactly these mailboxes have been taken over.
taken() {
	(cd "$mail" && printf '%s\n' */.pop3-handler.ids) >found
	diff <(printf '%s/.pop3-handler.ids\n' "$@") found
}

line='3 messages, 2 unique-ids imported, 0 hidden'

@test "every account of the passwd-files is taken over, with a line for each and a summary" {
	take_over
	[ "$status" -eq 0 ]
	[ "$output" = "alice: $line"$'\n'"bob: $line"$'\n'"carol: $line"$'\n3 accounts: 3 taken over, 0 before, 0 failed' ]
	[ ! -s log ]
	taken alice bob carol
	as_alice UIDL
	[ "${lines[*]:1}" = '1 5.1700000000 2 7.1700000000 3 3.M1P1.h .' ]
	take_over bob alice
	[ "$status" -eq 0 ]
	[ "$output" = $'bob: was taken over before\nalice: was taken over before\n2 accounts: 0 taken over, 2 before, 0 failed' ]
}

@test "an account that may not log in, or only read, is taken over" {
	printf '%s\n' 'alice:{PLAIN}apple::::::nologin' 'bob:!::::::allow_nets=192.0.2.0/24' 'carol:::::::read-only=yes' >"$users"
	take_over
	[[ $output == *'3 accounts: 3 taken over, 0 before, 0 failed' ]]
	taken alice bob carol
}

@test "--dry-run and read-only print the same and write nothing" {
	find "$mail" -printf '%p %s %T@ %C@\n' | sort >before
	for option in --dry-run --read-only=yes; do
		take_over "$option"
		[ "$status" -eq 0 ]
		[ "${output%%$'\n'*}" = 'alice: 3 messages, 2 unique-ids would be imported, 0 hidden' ]
		[[ $output == *'3 accounts: 3 would be taken over, 0 before, 0 failed' ]]
	done
	find "$mail" -printf '%p %s %T@ %C@\n' | sort | diff before -
}

@test "an account that fails does not stop the others, and the exit status is 75" {
	rm "$mail/alice/dovecot-uidlist"
	rm -r "$mail/bob"
	echo 'dora:{PLAIN}date::::::proxy=y' >>"$users"
	take_over
	[ "$status" -eq 75 ]
	[[ $output == "alice: failed: dovecot-uidlist is missing, and there is mail in cur
bob: there is no Maildir
carol: $line
dora: failed: the field proxy is not supported
4 accounts: 1 taken over, 0 before, 1 without a Maildir, 2 failed" ]]
	taken carol
	take_over --no-list alice eve
	[ "$status" -eq 75 ]
	[[ $output == 'alice: 3 messages, 0 unique-ids imported, 0 hidden'*'eve: failed: no such user'* ]]
	taken alice carol
}

@test "hidden messages are counted, and a message that cannot have its unique-id is a warning" {
	from='--unique-ids-from=dovecot %u'
	mv "$mail/alice/new/3.M1P1.h" "$mail/alice/new/5"
	mv "$mail/alice/cur/2.M1P1.h:2,"{,b}
	printf '%s\n' '0 Other' "1 \$POP3Deleted" >"$mail/alice/dovecot-keywords"
	rm -r "${mail:?}/bob/"{new,cur,tmp,dovecot-uidlist}
	take_over alice bob
	[ "$status" -eq 0 ]
	[[ $output == 'alice: 2 messages, 1 unique-ids imported, 1 hidden; warning: 0 messages cannot have their old unique-id, and 1 not '*'the first is 5
bob: there is no Maildir'* ]]
}

@test "no control character of a mailbox reaches the terminal, whatever its encoding" {
	file=$'1.M1\e[2J\302\2332J\233h' # CSI in ASCII, in UTF-8 and in ISO 8859
	mv "$mail/alice/cur/"{1.M1P1.h,"$file"}:2,S
	printf '3 V5 N9\n5 Pa\001 :%s\n' "$file" >"$mail/alice/dovecot-uidlist"
	echo 'jÃ¼rgen:{PLAIN}x' >>"$users"
	take_over alice $'j\303\274rgen'
	[[ $output == *' the first is 1.M1?[2J??2J?h'$'\n'$'j\303\274rgen: '* ]]
}

@test "names come from standard input with -, or if no passwd-file has them" {
	printf 'carol\r\n\nalice\ncarol' >names
	take_over - <names
	[ "$output" = "carol: $line"$'\n'"alice: $line"$'\ncarol: was taken over before\n3 accounts: 2 taken over, 1 before, 0 failed' ]
	taken alice carol
	needs_root
	printf 'no\33user\nann\n' >names
	options=("$from" '--auth=checkpassword /bin/true')
	take_over <names
	[ "$status" -eq 75 ]
	[ "$output" = 'no?user: failed: a bad user name
ann: failed: checkpassword knows nobody without a password
2 accounts: 0 taken over, 0 before, 2 failed' ]
}

@test "--control is the directory of Dovecot's list" {
	for name in alice bob; do
		rm -r "${mail:?}/$name"
		make_left "$mail/$name" "lists/$name"
	done
	take_over "--control=$PWD/lists/%u"
	[ "$status" -eq 75 ]
	[[ $output == "alice: $line"$'\n'"bob: $line"$'\ncarol: failed: '* ]]
	taken alice bob
	sed -i 's|$|::::/home/of/&|' "$users"
	take_over --control=%h/x carol
	[ "$status" -eq 75 ]
	[[ $output == 'carol: failed: '* ]]
	from=--unique-ids-from=courier
	take_over "--control=$PWD/lists/%u"
	[ "$status" -eq 64 ]
	grep -F -- '--control is for unique-ids-from = dovecot' log
}

# hold_alice: a session holds alice's mailbox; take_over waits for it in the background. Sets `pid`, and
# `child` to its child.
hold_alice() {
	start_session holder
	login holder
	env --default-signal=INT "$HANDLER" "${options[@]}" "$from" --take-over >out 2>log 3>&- &
	pid=$!
	background+=("$pid")
	child=
	until [ -n "$child" ]; do
		read -r child <"/proc/$pid/task/$pid/children" || true
	done
}

@test "after SIGINT it stops after the current account, and another run resumes" {
	hold_alice
	kill -INT "$pid"
	kill -INT "$child" # a terminal signals both
	hang_up holder
	status=0
	wait "$pid" || status=$?
	cat out
	[ "$status" -eq 130 ]
	diff out - <<-END
		alice: $line
		interrupted: 1 of 3 accounts: 1 taken over, 0 before, 0 failed
	END
	taken alice
	take_over
	[ "$output" = $'alice: was taken over before\n'"bob: $line"$'\n'"carol: $line"$'\n3 accounts: 2 taken over, 1 before, 0 failed' ]
}

@test "it waits for a mailbox that a session holds, and a child that dies is a failure" {
	hold_alice
	# The child has no terminal either.
	until [ "$(cut -d ' ' -f 6 "/proc/$child/stat")" -eq "$child" ]; do
		:
	done
	[ "$(id -u)" -ne 0 ] || until [ "$(readlink "/proc/$child/fd/"{0,1} | uniq)" = /dev/null ]; do
		:
	done
	kill -KILL "$child"
	status=0
	wait "$pid" || status=$?
	cat out
	[ "$status" -eq 75 ]
	[ "$(head -n 1 out)" = 'alice: failed: no answer from its process: Killed' ]
	[ "$(tail -n 1 out)" = '3 accounts: 2 taken over, 0 before, 1 failed' ]
	take_over alice
	[ "${output%%$'\n'*}" = 'alice: failed: a session has it locked' ]
}

@test "on a terminal there is a bar, which no line disturbs, and elsewhere there is none" {
	printf '%q ' "$HANDLER" "${options[@]}" "$from" --take-over >line
	script -qec "$(<line)" /dev/null </dev/null | tr -d '\r' >out
	cat -v out
	clear=$'\e[K'
	empty=$(printf '%40s' '')
	[[ $(head -n 1 out) == "[$empty] 0/3${clear}alice: $line" ]]
	[[ $(sed -n 3p out) == '[##########################'*" ] 2/3${clear}carol: $line" ]]
	[ "$(sed -n 4p out)" = '3 accounts: 3 taken over, 0 before, 0 failed' ]
	script -qec "$(<line) >lines" /dev/null </dev/null | tr -d '\r' >out
	[[ $(<out) == "[$empty] 0/3${clear}["*"$clear" ]]
	[ "$(wc -l <lines)" -eq 4 ]
	run ! grep -q '\[' lines
}

@test "mistakes in its arguments are usage errors, and a missing setting is named" {
	for wrong in --dry-run --no-list --control=/x alice -; do
		run -64 "$HANDLER" "${options[@]}" "$from" "$wrong"
		run -64 "$HANDLER" "${options[@]}" "$from" --check-config "$wrong"
	done
	for wrong in -x --dryrun '' --control= --control=x --control=/%x --check-config; do
		run -64 "$HANDLER" "${options[@]}" "$from" --take-over "$wrong"
		run -64 "$HANDLER" "${options[@]}" "$from" "$wrong" --take-over
	done
	run -64 "$HANDLER" "${options[@]}" "$from" --take-over --no-list
	from=--keep-new=no
	take_over
	[ "$status" -eq 78 ]
	grep -F 'unique-ids-from is not set' log
	from='--unique-ids-from=dovecot %u'
	take_over --users=missing
	[ "$status" -eq 78 ]
	grep -F "cannot read the names of accounts in 'missing': No such file or directory" log
	[ "$(find "$mail" -name '.pop3-handler.*')" = '' ]
}

@test "a line that cannot be written is an error: a full disk gives status 74" {
	status=0
	"$HANDLER" "${options[@]}" "$from" --take-over >/dev/full || status=$?
	[ "$status" -eq 74 ]
	taken alice
}

# --- As root ---

# setup_uids: ann and ben have their own uids; thief's mailbox is ben's.
setup_uids() {
	needs_root
	let_others_in
	mkdir -m 755 homes
	for uid in 61001 61002; do
		make_left "homes/$uid/Maildir"
		chown -R "$uid:$uid" "homes/$uid"
		chmod 700 "homes/$uid"
	done
	printf '%s\n' "ann:{PLAIN}secret:61001:61001::$PWD/homes/61001" "thief:{PLAIN}secret:61001:61001::$PWD/homes/62/" \
		"root:{PLAIN}secret:0:0::$PWD/homes/61001" "ben:{PLAIN}secret:61002:61002::$PWD/homes/61002" >"$users"
	chmod 600 "$users"
	mkdir homes/62
	make_left homes/62/Maildir
	options=("--users=$users" --keeper=auto)
}

@test "root handles each mailbox as its user, who owns the new files" {
	setup_uids
	take_over
	[ "$status" -eq 75 ]
	[[ $output == "ann: $line
thief: failed: the mailbox belongs to another user
root: failed: uid 0 with gid 0 may not log in
ben: $line"* ]]
	run -0 find homes/6100? \( -name '.pop3-handler.ids' -o -newer "$users" \) \( ! -uid +61000 -o ! -gid +61000 \)
	[ -z "$output" ]
	[ "$(stat -c '%u:%g %a' homes/61002/Maildir/.pop3-handler.ids)" = '61002:61002 600' ]
	[ ! -e homes/62/Maildir/.pop3-handler.ids ]
}

@test "no system call of root names a file of a mailbox, and the child can reach only its mailbox" {
	setup_uids
	# One trace for each process; the first is root's.
	trace_calls trace trace=%file,setresuid,landlock_restrict_self,capset -ff -- "$HANDLER" "${options[@]}" "$from" --take-over ann ben
	first=$(find . -name 'trace.*' -printf '%f\n' | sort -V | head -n 1)
	run ! grep -E 'homes' "$first"
	for file in trace.*; do
		[ "$file" != "$first" ] || continue
		awk '/homes/ && !is_user { exit 1 } /^setresuid\(6100/ { is_user = 1 } /^landlock_restrict_self/ { is_in = 1 }
			/openat.*dovecot-uidlist/ { has_read = is_in } END { exit !has_read }' "$file"
	done
}

@test "without Landlock, sandbox = required takes over no mailbox" {
	inject=inject=landlock_create_ruleset:error=ENOSYS
	run -75 trace_calls trace "$inject" -f -- "$HANDLER" "${options[@]}" "$from" --sandbox=required --take-over alice
	[[ $output == 'alice: failed: '* ]]
	[ ! -e "$mail/alice/.pop3-handler.ids" ]
	run -0 trace_calls trace "$inject" -f -- "$HANDLER" "${options[@]}" "$from" --take-over alice
	run -0 trace_calls trace trace=landlock_restrict_self -f -- "$HANDLER" "${options[@]}" "$from" --sandbox=off --take-over bob
	run ! grep landlock trace
}

@test "a link to a mailbox is followed only if the same user owns it, and so is one to a list" {
	setup_uids
	mv homes/61001/Maildir homes/61001/away
	ln -s "$PWD/homes/61002/Maildir" homes/61001/Maildir
	take_over ann
	[[ $output == 'ann: failed: '* ]]
	ln -sfn away homes/61001/Maildir
	mkdir homes/lists
	mv homes/61001/away/dovecot-uidlist homes/lists/
	take_over "--control=$PWD/homes/lists" ann
	[ "$status" -eq 0 ]
	[[ $output == "ann: $line"* ]]
}

@test "without a keeper one user does everything, and root is refused" {
	needs_root
	take_over --keeper=no
	[ "$status" -eq 0 ] # options has --user
	options=("${options[@]:1}" --keeper=no)
	take_over
	[ "$status" -eq 78 ]
	grep -F 'refusing to serve as root' log
	rm "$mail"/*/.pop3-handler.*
	chown -R nobody "$mail/alice"
	chmod 755 "$mail" accounts
	chmod 644 "$users"
	let_others_in
	take_over --user=nobody
	[ "$status" -eq 75 ]
	[[ $output == "alice: $line"$'\nbob: failed: '*$'\n3 accounts: 1 taken over, 0 before, 2 failed' ]]
	[ "$(stat -c %U "$mail/alice/.pop3-handler.ids")" = nobody ]
}

@test "a system account is looked up without PAM, which would refuse it" {
	setup_uids
	[ -e "${HANDLER%/*}/pop3-handler-pam.so" ] || skip 'built without PAM'
	sed '/:61001:/d' /etc/passwd >passwd
	echo "ann:x:61001:61001::$PWD/homes/61001:/bin/false" >>passwd
	options=(--auth=pam "--mailbox=%h/Maildir")
	# shellcheck disable=SC2016
	unshare --mount sh -c 'mount --bind passwd /etc/passwd && exec "$@"' sh \
		"$HANDLER" "${options[@]}" "$from" --take-over ann root >out 2>log || status=$?
	cat out log
	[ "$status" -eq 75 ]
	diff out - <<-END
		ann: $line
		root: failed: uid 0 with gid 0 may not log in
		2 accounts: 1 taken over, 0 before, 1 failed
	END
}

@test "names come from the passwd-files of all domains" {
	setup_uids
	mkdir -p 'a%b[1]'/{example.org,example.net} # special to the template and to glob(3)
	echo "ann:x:61001:61001::$PWD/homes/61001" >'a%b[1]/example.org/users'
	echo "ben@example.net:x:61002:61002::$PWD/homes/61002" >'a%b[1]/example.net/users'
	options=("--users=$PWD/a%%b[1]/%d/users" --keeper=auto)
	take_over
	[ "$status" -eq 0 ]
	[[ $output == *"ann@example.org: $line"* && $output == *"ben@example.net: $line"* ]]
}
