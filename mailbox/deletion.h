/* SPDX-License-Identifier: ISC
 * Deleting messages, all or none: the order of a commit (RFC 1939 section 6).
 *
 * Functions return 0 or a negative errno, and in the lock's report what has become of the messages.
 */
#pragma once

#include "mailbox/listing.h"

/* Deletes the marked messages among `count`. Returns what mailbox_commit() does. */
int deletion_run(struct listing *listing, size_t first, size_t count);

/* Completes the deletion of the messages in a record that an earlier session has left, or leaves
 * them out of the listing at least. On success, `lock->left` has the keys that are still needed. */
int deletion_recover(struct listing *listing);
