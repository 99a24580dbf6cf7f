/* SPDX-License-Identifier: ISC
 * What is open while a session has a mailbox, its lock, and the record of a commit: which messages
 * a session has deleted, written before the first of their files goes.
 *
 * Functions that return an int return 0 or a negative errno: of the system, or -ENOMEM. */
#pragma once

#include "lib/digest.h"
#include "mailbox.h"

struct dirent64;

/* Where messages are. Those of a folder are all in its one directory, which stands as cur. */
enum subdir {
	SUBDIR_NEW,
	SUBDIR_CUR,
	SUBDIRS,
};

/* Names a message in a record: a digest, from which no path can be made. */
struct record_key {
	unsigned char octets[16];
};

/* It stands at the beginning of the state file. In this machine's byte order; the magic tells if it
 * is another. */
struct record {
	uint64_t magic;
	uint64_t mailbox_inode, state_inode; /* where it was written */
	uint64_t count;			     /* of keys */
	unsigned char seal[DIGEST_OCTETS];   /* of all of it */
	struct record_key keys[];	     /* sorted, once it was written */
};

/* -1: what is not open. */
struct lock {
	bool is_read_only; /* nothing is created or changed, and no lock taken */
	dev_t device;	   /* of the directory when it was there first; inode 0: never yet */
	ino_t inode;
	int root_fd;
	int fds[SUBDIRS]; /* the directories with messages */
	int state_fd;	  /* the state file, for reading at least */
	ino_t state_inode;
	int state_error;       /* why nothing can be written to it (negative errno); 0: it can */
	bool is_record_kept;   /* a record in it must not be overwritten */
	uint64_t state_octets; /* of that file on the disk when it was opened; 0: it has holes */
	struct record *left;   /* what it deletes: files may be there; NULL: nothing */
	bool is_maildir;
	bool is_local;	   /* no other host changes the file system */
	bool keeps_inodes; /* the number of a file's inode is the same whenever it is asked for */
	struct mailbox_report report; /* of the last lock_open() or deletion */
	struct file_stamp looked_at;  /* when it was a folder, and no other program's store */
};

#define LOCK_NONE(read_only) \
	((struct lock){      \
		.is_read_only = (read_only), .root_fd = -1, .fds = { -1, -1 }, .state_fd = -1 })

/* Opens what is at `path`, if anything, takes the lock, and reads the record that a session has
 * left. `lock` is a LOCK_NONE(), or was closed. Returns what mailbox_wake() does, or
 *   -EINVAL, -ELOOP  the state file is no regular file, or another file by a hard link */
int lock_open(const char *path, struct lock *lock);

/* Closes everything, and so drops the lock. */
void lock_close(struct lock *lock);

/* Opens new/ and cur/, where they are not open yet. They may be missing: a backup may keep no empty
 * directories. Returns how many it opened, or -EMEDIUMTYPE: one is a symbolic link, which could
 * lead into another mailbox. */
int lock_open_subdirs(struct lock *lock);

/* Handles an entry of a directory. Returns 0, or a failure, which ends it. */
typedef int lock_entry_handler(void *context, int dir_fd, const struct dirent64 *entry);

/* Calls `handle` for each entry of a directory, once unless others change it meanwhile. */
int lock_for_entries(int dir_fd, lock_entry_handler *handle, void *context);

/* Whether the lock still excludes others: -ENOLCK if its file was removed or replaced. */
int lock_check(const struct lock *lock);

/* Reserves disk space for a record of `count` messages. */
int lock_reserve_record(const struct lock *lock, size_t count);

/* The key of a message: of the part of its name that never changes, and of its file. The inode and
 * the time of birth (in ns; 0: it is not kept) tell that from all that have had its name, or will.
 */
struct record_key record_make_key(const char *unique, size_t unique_octets, uint64_t inode,
				  int64_t born_ns);

/* A record with the keys of another one (or NULL), and space for more. NULL: no memory. */
struct record *record_new(const struct record *other, size_t more);

/* Whether a record that was read has this key. */
bool record_has_key(const struct record *record, const struct record_key *key);

/* Makes the record whole and writes it into the state file, or where another must be kept, into a
 * new one. When it returns 0, its messages are deleted, whatever happens to us. On failure
 * (-ENOSPC, -EDQUOT: no space) there is no record. */
int lock_write_record(struct lock *lock, struct record *record);

/* Makes the record void. It is not synced: a record of messages that are gone does nothing. */
int lock_clear_record(const struct lock *lock);
