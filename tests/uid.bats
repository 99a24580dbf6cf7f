#!/usr/bin/env bats
# SPDX-License-Identifier: ISC
# UID: parameters in place of message numbers.

load helpers

setup() {
	setup_site
	make_maildir alice
	make_message alice/new/1.M1P1.h 'one\n\nbody\n'
	make_message alice/cur/2.M1P1.h:2,F 'two\n'
}

@test "RETR, TOP, LIST, UIDL, DELE and DELI take UID: and a unique-id" {
	as_alice 'RETR UID:2.M1P1.h' 'TOP UID:1.M1P1.h 0' 'LIST UID:2.M1P1.h' 'UIDL UID:1.M1P1.h' \
		'DELE UID:1.M1P1.h' 'DELI UID:2.M1P1.h' STAT QUIT
	expected=('+OK 5 octets' two . '+OK message follows' one '' . '+OK 2 5' '+OK 1 1.M1P1.h'
		'+OK message 1 is marked as deleted' '+OK message 2 is deleted' '+OK 0 0' '+OK goodbye')
	[ "${lines[*]}" = "${expected[*]}" ]
	[ -z "$(files alice)" ]
}

@test "the prefix UID: is accepted in any case, a unique-id only exactly" {
	as_alice 'LIST uid:2.M1P1.h' 'LIST uId:2.M1P1.h' 'LIST UID:2.m1P1.h' 'LIST UID:2.M1P1' \
		'LIST UID:2.M1P1.h:2,F' 'LIST UID:2.M1P1.hh' 'LIST UID: 2.M1P1.h' 'LIST UID2.M1P1.h'
	[ "${lines[0]}" = '+OK 2 5' ]
	[ "${lines[1]}" = '+OK 2 5' ]
	for line in 2 3 4 5; do
		[ "${lines[line]}" = '-ERR [UID] there is no such message' ]
	done
	[[ ${lines[6]} == -ERR* ]]
	[[ ${lines[7]} == -ERR* ]]
}

@test "an unknown unique-id is -ERR [UID], whatever it looks like" {
	make_message secret
	ids=('UID:../../secret' 'UID:../new/1.M1P1.h' 'UID:/etc/passwd' 'UID:.' 'UID:..' 'UID:1' 'UID:0'
		'UID:new/1.M1P1.h' 'UID:%s' "UID:$(printf 'x%.0s' {1..490})" 'UID:UID:1.M1P1.h' 'UID:')
	for id in "${ids[@]}"; do
		as_alice "RETR $id" "TOP $id 0" "LIST $id" "UIDL $id" "DELE $id" "DELI $id" QUIT
		for line in 0 1 2 3 4 5; do
			[ "${lines[line]}" = '-ERR [UID] there is no such message' ]
		done
	done
	[ "$(files alice | wc -l)" -eq 2 ]
}

@test "a unique-id is never looked up in the file system, so new mail is not found before WAKE" {
	start_session one
	login one
	make_message alice/new/3.M1P1.h
	ask one 'RETR UID:3.M1P1.h'
	[ "$reply" = '-ERR [UID] there is no such message' ]
	ask one SLEE
	ask one WAKE
	ask one 'LIST UID:3.M1P1.h'
	[ "$reply" = '+OK 3 24' ]
}

@test "each command answers [UID] for a vanished message, but only if it was named by UID:" {
	ask_all() {
		for command in "RETR $1" "TOP $1 0" "LIST $1" "UIDL $1"; do
			start_session one
			login one
			[ -z "$2" ] || { ask one "$2" && [ "$reply" = . ] || hear_all one; }
			rm "$mail"/alice/*/1.*
			ask one "$command"
			echo "$command: $reply"
			[ "$reply" = "$3" ]
			ask one "DELE $1"
			[ "$reply" = '+OK message 1 is marked as deleted' ]
			ask one RSET
			ask one "DELI $1"
			[ "$reply" = '+OK message 1 is deleted' ]
			ask one "$command"
			[[ $reply == -ERR* ]]
			hang_up one
			grep -F 'deleted 0, slept' one.log
			rm one.*
			make_message alice/new/1.M1P1.h 'one\n\nbody\n'
		done
	}
	for before in '' LIST UIDL; do
		ask_all UID:1.M1P1.h "$before" '-ERR [UID] message 1 is gone'
		ask_all 1 "$before" '-ERR message 1 is gone'
	done
}

@test "UID: does not find a message that is marked as deleted" {
	as_alice 'DELE 1' 'RETR UID:1.M1P1.h' 'DELI 2' 'LIST UID:2.M1P1.h' RSET 'LIST UID:1.M1P1.h'
	[[ ${lines[1]} == '-ERR [UID] '* ]]
	[[ ${lines[3]} == '-ERR [UID] '* ]]
	[ "${lines[5]}" = '+OK 1 13' ]
}
