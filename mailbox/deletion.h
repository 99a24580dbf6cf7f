/* SPDX-License-Identifier: ISC
 * Deletes messages, all or none (RFC 1939 section 6).
 *
 * Functions return 0 or a negative errno. The lock's report says what happened to the messages. */
#pragma once

#include "mailbox/listing.h"

/* Deletes the marked messages among the `count` from the index `first`. DELI passes its message, so
 * that those that DELE has marked stay; a commit passes all messages, or no message (count 0),
 * which only clears the report. Errors are those of mailbox_commit(); -EIO also says that the disk
 * failed while a record was withdrawn. */
int deletion_run(struct listing *listing, size_t first, size_t count);

/* Completes the deletion in `lock->old_record`. Drops its messages from the listing, even if files
 * remain. On success, `lock->old_record` has the keys that are still needed. */
int deletion_recover(struct listing *listing);
