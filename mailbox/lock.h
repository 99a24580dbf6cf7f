/* SPDX-License-Identifier: ISC
 *
 * What is open while a session has a mailbox, and its lock. */
#pragma once

#include "mailbox/listing.h"

/* -1: what is not open. */
struct lock {
	int root_fd;
	int state_fd;	       /* the state file, for reading at least */
	int state_error;       /* why nothing can be written to it (negative errno); 0: it can */
	uint64_t state_octets; /* of that file when it was opened */
	struct subdirs subdirs;
};

#define LOCK_NONE ((struct lock){ .root_fd = -1, .state_fd = -1, .subdirs.fds = { -1, -1 } })

/* Opens what is at `path`, and takes the lock. If there is nothing, nothing is open. Returns 0, or
 * a negative errno; besides what the system says of directories and files:
 *   -EBUSY           another session has the lock
 *   -ENOTDIR         `path` is something else than a directory
 *   -EINVAL, -ELOOP  the state file is no regular file, or another file by a hard link */
int lock_open(const char *path, struct lock *ret);

/* The same, but takes no lock, and creates nothing. */
int lock_open_read_only(const char *path, struct lock *ret);

/* Closes everything, and so drops the lock. */
void lock_close(struct lock *lock);
