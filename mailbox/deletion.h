/* SPDX-License-Identifier: ISC
 *
 * Deleting messages, all or none: the order of a commit (RFC 1939 section 6).
 *
 * Functions return 0 or a negative errno, and in *ret what has become of the messages. */
#pragma once

#include <stddef.h>

struct listing;
struct lock;
struct record_key;

struct deletion_report {
	size_t deleted; /* messages, also those that others were quicker to remove */
	size_t hidden;	/* of these: their files could not be removed yet */
	int error;	/* why (negative errno), or why else the record could not be cleared; 0 */
};

/* Deletes the messages with MARK_CHOSEN, and takes this mark from all. Returns 0 when that
 * is certain, whatever happens. On failure ret->deleted messages are gone; that is 0, unless the
 * disk had no space for a record and they were deleted one by one:
 *   -EROFS, -EACCES  the mailbox cannot be written
 *   -EAGAIN          others rename a message faster than we can follow
 *   -EIO, -ENOMEM    and others of the system */
int deletion_run(struct listing *listing, struct lock *lock, struct deletion_report *ret);

/* Completes the deletion of the messages in a record that an earlier session has left, or leaves
 * them out of the listing at least. *ret is written on success only. */
int deletion_recover(struct listing *listing, struct lock *lock, const struct record_key *keys,
		     size_t count, struct deletion_report *ret);
