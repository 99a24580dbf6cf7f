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
