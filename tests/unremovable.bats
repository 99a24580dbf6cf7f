#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# Messages that the session may not remove, although it may write to their directory: immutable files,
# and those of other owners in a sticky directory.

load helpers

setup() {
	setup_site
	none_is_gone='-ERR [SYS/PERM] cannot delete the marked messages: none was deleted'
}

# make_disk: a disk on which alice has 9 messages.
make_disk() {
	needs_root
	truncate -s 8M disk
	mkfs.ext4 -q disk
	# shellcheck disable=SC2016
	on_disk sh -c 'mkdir -p "$1/alice/new" "$1/alice/cur" "$1/alice/tmp" && cd "$1/alice/new" &&
		for i in 1 2 3 4 5 6 7 8 9; do echo "message $i" >"$i.M1P1.h"; done' sh "$mail"
}

# change_disk ATTRIBUTE NAME...: makes messages immutable (+i) or mutable again (-i).
change_disk() {
	local names=("${@:2}")
	on_disk chattr "$1" "${names[@]/#/$mail/alice/new/}"
}

# numbers COMMAND...: sets `found` to the numbers in the names of the messages that COMMAND finds.
numbers() {
	found=$("$@" find "$mail/alice" -type f ! -name '.pop3-handler.*' -printf '%f\n' | sort -n | cut -d . -f 1 | tr '\n' ' ')
}

# lists NUMBER...: the replies to UIDL, as the first command, list these.
lists() {
	[ "$(printf '%s\n' "${lines[@]:1}" | sed '/^\.$/,$d' | cut -d ' ' -f 2 | cut -d . -f 1 | tr '\n' ' ')" = "$(printf '%s ' "$@")" ]
}

# has_no_record COMMAND...: the state file has no record.
has_no_record() {
	"$@" cmp -n 64 "$mail/alice/.pop3-handler.state" /dev/zero
}

@test "if the first message of a set cannot be removed, QUIT says -ERR and none is gone" {
	make_disk
	change_disk +i 2.M1P1.h
	talk_on_disk 'DELE 2' 'DELE 3' 'DELE 5' QUIT
	show
	[ "${lines[3]}" = "$none_is_gone" ]
	numbers on_disk
	[ "$found" = '1 2 3 4 5 6 7 8 9 ' ]
	has_no_record on_disk
	# No later session hides or deletes a message.
	talk_on_disk UIDL QUIT
	lists 1 2 3 4 5 6 7 8 9
	[ -z "$(troubles)" ]
	# A set of removable messages is deleted.
	talk_on_disk 'DELE 3' 'DELE 5' QUIT
	[ "${lines[2]}" = '+OK goodbye' ]
	numbers on_disk
	[ "$found" = '1 2 4 6 7 8 9 ' ]
	change_disk -i 2.M1P1.h
	talk_on_disk UIDL QUIT
	lists 1 2 4 6 7 8 9
}

@test "if the first message of a set cannot be removed, SLEE says -ERR and the marks are kept" {
	make_disk
	change_disk +i 1.M1P1.h
	talk_on_disk 'DELE 1' 'DELE 2' SLEE STAT SLEE RSET STAT 'DELE 2' 'DELE 3' SLEE WAKE QUIT
	show
	[ "${lines[2]}" = "$none_is_gone" ]
	[ "${lines[3]}" = '+OK 7 77' ]
	[ "${lines[4]}" = "$none_is_gone" ]
	[ "${lines[6]}" = '+OK 9 99' ]
	[ "${lines[9]}" = '+OK asleep, 2 messages deleted' ]
	[[ ${lines[10]} == '+OK [ACTIVITY/NONE] 7 messages' ]]
	[ "${lines[11]}" = '+OK goodbye' ]
	numbers on_disk
	[ "$found" = '1 4 5 6 7 8 9 ' ]
}

@test "if another message of a set cannot be removed, it is hidden, and further sets can be deleted" {
	make_disk
	change_disk +i 2.M1P1.h
	talk_on_disk 'DELE 1' 'DELE 2' 'DELE 3' QUIT
	show
	[ "${lines[3]}" = '+OK goodbye' ]
	[ "$(troubles | grep -c '1 .*hidden')" -eq 1 ]
	talk_on_disk UIDL 'DELE 1' 'DELE 2' SLEE WAKE 'DELE 1' 'DELE 2' QUIT
	show
	lists 4 5 6 7 8 9
	[ "${lines[10]}" = '+OK asleep, 2 messages deleted' ]
	[[ ${lines[11]} == '+OK [ACTIVITY/NONE] 4 messages' ]]
	[ "${lines[14]}" = '+OK goodbye' ]
	numbers on_disk
	[ "$found" = '2 8 9 ' ]
	talk_on_disk UIDL QUIT
	lists 8 9
	change_disk -i 2.M1P1.h
	talk_on_disk UIDL QUIT
	lists 8 9
	numbers on_disk
	[ "$found" = '8 9 ' ]
	has_no_record on_disk
	talk_on_disk UIDL
	[ -z "$(troubles)" ]
}

@test "hidden messages stay hidden if a session that deletes another set is killed" {
	make_disk
	change_disk +i 2.M1P1.h
	talk_on_disk 'DELE 1' 'DELE 2' 'DELE 3' QUIT
	cp disk hidden
	torn=0
	for ((when = 1; when < 20; when++)); do
		cp hidden disk
		wrapper=(strace -qq -o trace -e trace=unlinkat -e "inject=unlinkat:signal=KILL:when=$when")
		ASAN_OPTIONS=exitcode=99:detect_leaks=0 talk_on_disk 'DELE 1' 'DELE 2' 'DELE 3' QUIT || true
		wrapper=()
		grep -q 'killed by SIGKILL' trace || break
		numbers on_disk
		echo "killed at $when: $found"
		[[ $found != '2 5 6 7 8 9 ' && $found != '2 6 7 8 9 ' ]] || torn=$((torn + 1))
		# The second set is deleted whole or not at all, and the first one stays deleted.
		talk_on_disk UIDL QUIT
		show
		lists 4 5 6 7 8 9 || lists 7 8 9
		[ "$found" = '2 4 5 6 7 8 9 ' ] || lists 7 8 9
		change_disk -i 2.M1P1.h
		talk_on_disk UIDL QUIT
		lists 4 5 6 7 8 9 || lists 7 8 9
		numbers on_disk
		[ "$found" = '4 5 6 7 8 9 ' ] || [ "$found" = '7 8 9 ' ]
	done
	[ "$torn" -ge 2 ]
}

@test "a single message that cannot be removed is a clear -ERR, also beside hidden ones" {
	make_disk
	change_disk +i 2.M1P1.h 4.M1P1.h
	talk_on_disk 'DELI 2' 'DELE 2' QUIT
	[ "${lines[0]}" = '-ERR [SYS/PERM] cannot delete the message' ]
	[ "${lines[2]}" = "$none_is_gone" ]
	talk_on_disk 'DELE 1' 'DELE 2' QUIT
	[ "${lines[2]}" = '+OK goodbye' ]
	talk_on_disk UIDL 'DELI 2' 'DELI 1' 'DELE 2' 'DELE 3' QUIT
	show
	lists 3 4 5 6 7 8 9
	[ "${lines[9]}" = '-ERR [SYS/PERM] cannot delete the message' ]
	[[ ${lines[10]} == +OK* ]]
	[ "${lines[13]}" = "$none_is_gone" ] # the first message of this set is 4
	talk_on_disk UIDL QUIT
	lists 4 5 6 7 8 9
	numbers on_disk
	[ "$found" = '2 4 5 6 7 8 9 ' ]
}

# sticky NAME...: alice's messages are nobody's, in root's sticky directory; those named are root's.
sticky() {
	needs_root
	make_messages 9
	let_others_in
	chown -R nobody "$mail"
	chown root "$mail/alice/new" "${@/#/$mail/alice/new/}"
	chmod 1777 "$mail/alice/new"
	options+=(--user=nobody)
}

@test "in a sticky directory, a set whose first message has another owner stays whole" {
	sticky 1.M1P1.h
	as_alice 'DELE 1' 'DELE 2' QUIT
	[ "${lines[2]}" = "$none_is_gone" ]
	numbers
	[ "$found" = '1 2 3 4 5 6 7 8 9 ' ]
	has_no_record
	as_alice UIDL 'DELE 2' 'DELE 3' QUIT
	lists 1 2 3 4 5 6 7 8 9
	[ "${lines[-1]}" = '+OK goodbye' ]
	numbers
	[ "$found" = '1 4 5 6 7 8 9 ' ]
}

@test "in a sticky directory, another message of another owner is hidden, and further sets can be deleted" {
	sticky 2.M1P1.h
	as_alice 'DELE 1' 'DELE 2' 'DELE 3' QUIT
	[ "${lines[3]}" = '+OK goodbye' ]
	as_alice UIDL 'DELE 1' 'DELE 2' QUIT
	show
	lists 4 5 6 7 8 9
	[ "${lines[-1]}" = '+OK goodbye' ]
	numbers
	[ "$found" = '2 6 7 8 9 ' ]
	chown nobody "$mail/alice/new/2.M1P1.h"
	as_alice UIDL QUIT
	lists 6 7 8 9
	numbers
	[ "$found" = '6 7 8 9 ' ]
	has_no_record
}
