#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# The directories of mailboxes that sessions of a keeper can reach, and what --check-config says about them.

load helpers
load keeper

setup() {
	setup_keeper
}

@test "a mailbox in a home that only the passwd-file of a domain names can be reached" {
	mkdir -p accounts/{one.org,two.org}
	sed '/^ben/d' "$users" >accounts/one.org/users
	grep ^ben "$users" >accounts/two.org/users
	chown -R root:64990 accounts
	chmod -R u=rwX,g=rX,o= accounts
	mkdir elsewhere
	mv homes/ben elsewhere
	sed -i s,homes/ben,elsewhere/ben, accounts/two.org/users
	options[0]=--users=$PWD/accounts/%d/users
	"${wrapper[@]}" "$HANDLER" "${options[@]}" --check-config
	start_keeper one
	login one ann@one.org secret
	hang_up one
	start_keeper two
	login two ben@two.org secret
	[ -z "$(troubles two.log)" ]
}

@test "--check-config of a keeper names homes that no session can reach, and a session does not reach them" {
	[ "$(uname -m)" = x86_64 ] || skip 'tests/from-inside.py supports x86_64 only'
	sed -i /^root/d "$users"
	# says STATUS LINE...: that is all that --check-config says; a start says the first line, if it is about FILE:1.
	says() {
		status=0
		"${wrapper[@]}" "$HANDLER" "${options[@]}" --check-config >log 2>&1 || status=$?
		cat log
		[ "$status" -eq "$1" ]
		[ "$(<log)" = "$(printf 'pop3-handler: %s\n' "${@:2}")" ]
	}
	for bad in /bob / /tmp/.. /srv/. homes; do
		echo "$bad"
		echo "carol:{PLAIN}secret:61009:61009::$bad" | cat - <(grep -v ^carol "$users") >"$users.new"
		cat "$users.new" >"$users"
		line="$users:1: the home or mailbox is relative or not deep enough: it is out of reach (1 such lines in all)"
		if [ "$bad" = homes ]; then
			says 78 "$line" "$users:1: the account has no usable mailbox path"
		else
			says 0 "$line"
		fi
		start_keeper one
		[ "$(<one.log)" = "pop3-handler: $line" ]
		run -0 "$BATS_TEST_DIRNAME/from-inside.py" "$pid_one" 'openat -100 / 0' 'openat -100 /tmp 0' 'openat -100 /srv 0' "openat -100 $homes 0"
		[[ "${lines[*]}" =~ ^('openat: EACCES '){3}'openat: '[0-9]+$ ]]
		hang_up one
		rm one.*
	done
	sed -i /^carol/d "$users"
	mkdir -m 755 disk
	mv "$homes/ann" disk/ann
	ln -s "$PWD/disk/ann" "$homes/ann"
	says 0 "$users:1: the sandbox denies access to the mailbox (see mail-root)"
	start_keeper one
	ask one 'USER ann'
	ask one 'PASS secret'
	[ "$reply" = '-ERR [SYS/PERM] cannot open the mailbox' ]
	hang_up one
	options+=("--mail-root=$homes" "--mail-root=$PWD/disk")
	"${wrapper[@]}" "$HANDLER" "${options[@]}" --check-config
	start_keeper two
	login two ann secret
}

@test "one domain's file that cannot be read keeps no other domain's homes out of reach" {
	mkdir -m 750 domains
	sed -n 's/^ann/&/p' "$users" >domains/new.example
	echo "top:{PLAIN}secret:61001:61001::/top" >domains/b.example
	ln -s missing domains/c.example
	ln -s d.example domains/d.example
	mkfifo domains/e.example
	chown -R root:64990 domains
	options[0]="--users=$PWD/domains/%d"
	start_keeper one
	login one ann@new.example secret
	hang_up one
	run -1 grep -F 'd.example' one.log
	grep -xF "pop3-handler: cannot look for mailboxes in users = '$PWD/domains/c.example': No such file or directory" one.log
	grep -F "$PWD/domains/b.example:1: the home or mailbox is relative or not deep enough" one.log
	"${wrapper[@]}" "$HANDLER" "${options[@]}" --check-config >log 2>&1 || status=$?
	[ "$status" -eq 78 ]
	[ "$(grep -c 'cannot look for mailboxes' log)" -eq 1 ]
}

@test "with a keeper, too, a session whose domain has no directory yet can reach no mail" {
	[ "$(uname -m)" = x86_64 ] || skip 'tests/from-inside.py supports x86_64 only'
	mkdir -p "$mail/old.example/ben/new"
	chmod -R 777 "$mail" # so that only the sandbox protects it
	sed -i '/^ann/s/ann/&@new.example/' "$users"
	options+=("--mailbox=$mail/%d/%n")
	start_keeper one
	login one ann@new.example secret
	ask one SLEE
	ask one WAKE
	[ "$reply" = '+OK [ACTIVITY/NONE] 0 messages' ]
	run -0 "$BATS_TEST_DIRNAME/from-inside.py" "$pid_one" "openat -100 $mail 0" "openat -100 $mail/old.example 0" \
		"openat -100 $mail/old.example/ben/new 0" "openat -100 $mail/made 0x41 0x180" "mkdirat -100 $mail/made 0x1c0"
	[ "${lines[*]}" = 'openat: EACCES openat: EACCES openat: EACCES openat: EACCES mkdirat: EACCES' ]
	ask one SLEE
	mkdir -p "$mail/new.example/ann/new"
	chown -R 61001:61001 "$mail/new.example/ann"
	ask one WAKE
	[ "$reply" = '-ERR [SYS/TEMP] the mailbox is new: log in again' ]
	start_keeper two
	login two ann@new.example secret
	ask one NOOP
	[[ $reply == +OK* ]]
}
