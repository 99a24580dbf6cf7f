/* SPDX-License-Identifier: ISC
 * Deletes messages, all or none (RFC 1939 section 6).
 *
 * Functions return 0 or a negative errno. The lock's report says what happened to the messages. */
#pragma once

#include "mailbox/listing.h"

/* Deletes the marked messages among `count`. Errors are those of mailbox_commit(). */
int deletion_run(struct listing *listing, size_t first, size_t count);

/* Completes the deletion in `lock->old_record`. Drops its messages from the listing, even if files
 * remain. On success, `lock->old_record` has the keys that are still needed. */
int deletion_recover(struct listing *listing);
