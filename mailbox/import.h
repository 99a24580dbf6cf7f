/* SPDX-License-Identifier: ISC
 * Unique-ids from the POP3 server that the mailbox was on before. They are read from that server's
 * list once, and kept in a file of our own from then on, which no other program changes. */
#pragma once

#include "mailbox/listing.h"

/* Whether the unique-ids are still to be taken over, as far as the stamps of a listing tell. */
bool import_is_due(const struct listing *listing, const struct mailbox_origin *origin);

/* Gives the messages of a Maildir, which are sorted by name, their imported unique-ids and places
 * in the listing, and leaves out those that the other server hid. Takes them over if they are not
 * yet, which the report of the lock tells. Returns 0, -ENOMEM, or -EUCLEAN: they cannot be known,
 * and the report has the problem. */
int import_apply(struct listing *listing, const struct mailbox_origin *origin);
