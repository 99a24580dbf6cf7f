/* SPDX-License-Identifier: ISC
 *
 * Deleting messages, all or none: the order of a commit (RFC 1939 section 6).
 *
 * Functions return 0 or a negative errno, and in the report what has become of the messages. */
#pragma once

#include "mailbox/listing.h"

struct lock;
struct record_keys;

struct deletion_report {
	struct selection
		removed; /* messages that are gone now; not those of other sessions' doing */
	size_t hidden;	 /* of these: their files could not be removed yet */
	int error; /* why (negative errno), or why else the record could not be cleared; or 0 */
};

/* Deletes the messages of `set`. `left` has the keys of a record that must be kept: it is carried
 * along. Returns 0 when the deletion is certain, whatever happens. On failure no message is gone,
 * unless the disk had no space for a record and they were deleted one by one:
 *   -EROFS, -EACCES, -EPERM  the files cannot be removed
 *   -EAGAIN                  others rename a message faster than we can follow
 *   -ENOLCK                  the state file, and with it the lock, was removed
 *   -EIO, -ENOMEM            and others of the system */
int deletion_run(struct listing *listing, struct lock *lock, struct record_keys *left,
		 const struct selection *set, struct deletion_report *report);

/* Completes the deletion of the messages in a record that an earlier session has left, or leaves
 * them out of the listing at least; looks for files until `deadline_ms`. On success, `keys` has
 * those that are still needed. */
int deletion_recover(struct listing *listing, struct lock *lock, int64_t deadline_ms,
		     struct record_keys *keys, struct deletion_report *report);
