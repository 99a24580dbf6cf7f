/* SPDX-License-Identifier: ISC
 * Unique-ids from the POP3 server that served the mailbox before. They are imported once, from that
 * server's list, into a file of our own, which no other program changes: if each login read the
 * list, or predicted what it would say, the unique-ids would change when that server resets it. */
#pragma once

#include "mailbox/listing.h"

/* Whether unique-ids must still be imported, as far as the stamps of a listing tell. */
bool import_is_due(const struct listing *listing, const struct mailbox_origin *origin);

/* Gives the messages of a Maildir, which are sorted by name, their imported unique-ids and their
 * order in the listing, and excludes messages that the other server hid. Imports the unique-ids
 * first if that is due, and notes it in the report of the lock. Returns 0, -ENOMEM, or -EUCLEAN:
 * the unique-ids cannot be read, and the report has the problem. */
int import_apply(struct listing *listing, const struct mailbox_origin *origin);
