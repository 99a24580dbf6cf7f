/* SPDX-License-Identifier: ISC
 * What is open while a session has a mailbox, and its lock. */
#pragma once

#include "mailbox/listing.h"
#include "mailbox/record.h"

/* -1: what is not open. */
struct lock {
	bool is_read_only; /* nothing is created or changed, and no lock taken */
	dev_t device;	   /* of the directory when it was there first; inode 0: never yet */
	ino_t inode;
	int root_fd;
	int state_fd; /* the state file, for reading at least */
	ino_t state_inode;
	int state_error;       /* why nothing can be written to it (negative errno); 0: it can */
	bool is_record_kept;   /* a record in it must not be overwritten */
	uint64_t state_octets; /* of that file on the disk when it was opened; 0: it has holes */
	struct record *left;   /* what it deletes: files may be there; NULL: nothing */
	struct subdirs subdirs;
	struct mailbox_report report; /* of the last lock_open() or deletion */
	struct file_stamp looked_at;  /* when it was a folder, and no other program's store */
};

#define LOCK_NONE(read_only)                         \
	((struct lock){ .is_read_only = (read_only), \
			.root_fd = -1,               \
			.state_fd = -1,              \
			.subdirs = { .fds = { -1, -1 }, .clock_fd = -1 } })

/* Opens what is at `path`, if anything, takes the lock, and reads the record that a session has
 * left. `lock` is a LOCK_NONE(), or was closed. Returns what mailbox_wake() does, or
 *   -EINVAL, -ELOOP  the state file is no regular file, or another file by a hard link */
int lock_open(const char *path, struct lock *lock);

/* Whether the lock still excludes others: -ENOLCK if its file was removed or replaced. */
int lock_check(const struct lock *lock);

/* Writes a record as record_write() does; where another must be kept, into a new state file. */
int lock_write_record(struct lock *lock, struct record *record);

/* Closes everything, and so drops the lock. */
void lock_close(struct lock *lock);
