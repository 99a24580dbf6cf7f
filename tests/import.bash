# SPDX-License-Identifier: ISC
# shellcheck shell=bash
# What the tests of unique-ids that are taken over share.

# A Maildir of alice, `box`, that Dovecot has left with its list, and the file of unique-ids.
setup_import() {
	setup_site
	make_maildir alice
	box=$mail/alice
	list=$box/dovecot-uidlist
	ids=$box/.pop3-handler.ids
	options+=('--unique-ids-from=dovecot %u')
}

# uids: the unique-ids of a session of alice, with blanks between them, are in `found`.
uids() {
	as_alice UIDL QUIT
	lines=("${lines[@]:1:${#lines[@]}-3}")
	found=${lines[*]#* }
}
