/* SPDX-License-Identifier: ISC
 * The open files of a mailbox, its lock and its record. The record names the messages that a commit
 * deletes; it is on the disk before the first of their files is unlinked. The lock and the record
 * are in one file, the state file.
 *
 * Functions that return an int return 0 or a negative errno: a system call's, or -ENOMEM. */
#pragma once

#include "lib/digest.h"
#include "mailbox.h"

struct dirent64;

/* The directories with messages. A folder has one directory, as SUBDIR_CUR. */
enum subdir {
	SUBDIR_NEW,
	SUBDIR_CUR,
	SUBDIRS,
};

/* Identifies a message in a record. It is a digest, so that a forged record cannot name a path. */
struct record_key {
	unsigned char octets[16];
};

/* The start of the state file, in the machine's byte order (the magic shows another order). */
struct record {
	uint64_t magic;
	uint64_t mailbox_inode, state_inode; /* that the record was written for */
	uint64_t count;			     /* of keys */
	unsigned char seal[DIGEST_OCTETS];   /* of header and keys, with zeros here */
	struct record_key keys[];	     /* sorted when written */
};

/* A descriptor is -1 while it is not open. */
struct lock {
	bool is_read_only; /* creates and changes nothing, and takes no lock */
	dev_t device;	   /* of the directory when it was first opened */
	ino_t inode;	   /* of the same; 0: it was never opened */
	int root_fd;
	int fds[SUBDIRS]; /* the directories with messages */
	int state_fd;	  /* the state file, for reading at least */
	ino_t state_inode;
	int state_error;	   /* why the state file cannot be written (negative errno), or 0 */
	bool is_record_kept;	   /* a record in the state file must not be overwritten */
	uint64_t state_octets;	   /* reserved in the state file; 0 if it is new or has holes */
	struct record *old_record; /* an earlier record whose files may still exist; NULL: none */
	bool is_maildir;
	bool is_local;		      /* no other host changes the file system */
	bool keeps_inodes;	      /* the file system never renumbers the inode of a file */
	struct mailbox_report report; /* of the last lock_open() or deletion */
	struct file_stamp looked_at;  /* of a folder, when it was no other program's store */
};

#define LOCK_NONE(read_only) \
	((struct lock){      \
		.is_read_only = (read_only), .root_fd = -1, .fds = { -1, -1 }, .state_fd = -1 })

/* Opens the mailbox at `path` if it exists, takes the lock, and reads the record that an earlier
 * session left. `lock` is a LOCK_NONE(), or was closed. Returns the errors of mailbox_wake(), or
 *   -EINVAL, -ELOOP  the state file is not a regular file, or is a hard link to some other file */
int lock_open(const char *path, struct lock *lock);

/* Closes everything, which releases the lock. */
void lock_close(struct lock *lock);

/* Opens new/ and cur/ unless they are open. They may be missing, because some backups skip empty
 * directories. Returns how many it opened, or -EMEDIUMTYPE: one is a symbolic link, which could
 * lead into another mailbox. */
int lock_open_subdirs(struct lock *lock);

/* Handles an entry of a directory. Returns 0, or a negative errno, which ends the loop. */
typedef int lock_entry_handler(void *context, int dir_fd, const struct dirent64 *entry);

/* Calls `handle` for each entry of a directory. While other programs change the directory, it may
 * miss entries, or handle them twice. */
int lock_for_entries(int dir_fd, lock_entry_handler *handle, void *context);

/* Returns 0 if the lock still excludes others, or -ENOLCK: its file was removed or replaced. */
int lock_check(const struct lock *lock);

/* Reserves blocks for a record of `count` messages, because the disk may be full at the commit, and
 * syncs the name of a new state file, so that a commit need not. After a failure,
 * lock_write_record() syncs the name. */
int lock_reserve_record(struct lock *lock, size_t count);

/* The key of a message: a digest of the unique part of its name, and, because other files may get
 * that name, of its file's inode number and time of birth (ns; 0 if the file system has none). */
struct record_key record_make_key(const char *unique, size_t unique_octets, uint64_t inode,
				  int64_t born_ns);

/* A record with the keys of `other` (may be NULL), and space for `more`. NULL: no memory. */
struct record *record_new(const struct record *other, size_t more);

/* Whether a record that was read or written has the key. */
bool record_has_key(const struct record *record, const struct record_key *key);

/* Sorts and seals the record, and writes it to the disk: into the state file, or into a new state
 * file if the record in the old one must be kept. 0 is the commit point: now the messages count as
 * deleted, even after a crash. On failure (-ENOSPC, -EDQUOT: no space) there is no new record. */
int lock_write_record(struct lock *lock, struct record *record);

/* Voids the record, without a sync: if a crash brings the record back, its files are gone. */
int lock_clear_record(const struct lock *lock);
