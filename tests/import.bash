# SPDX-License-Identifier: ISC
# shellcheck shell=bash
# Shared by the tests of imported unique-ids.

# A Maildir of alice, `box`, that Dovecot has left with its list; and the path of the file of unique-ids.
setup_import() {
	setup_site
	make_maildir alice
	box=$mail/alice
	list=$box/dovecot-uidlist
	ids=$box/.pop3-handler.ids
	options+=('--unique-ids-from=dovecot %u')
}

# uids: sets `found` to the unique-ids of a session of alice, separated by blanks.
uids() {
	as_alice UIDL QUIT
	lines=("${lines[@]:1:${#lines[@]}-3}")
	found=${lines[*]#* }
}
