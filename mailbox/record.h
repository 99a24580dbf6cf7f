/* SPDX-License-Identifier: ISC
 *
 * The record of a commit: which messages a session has deleted, written before the first of their
 * files goes. It stands at the beginning of the state file, which is in every mailbox, and is
 * overwritten in place. mailbox.c's own business; nobody else calls it.
 *
 * Functions that return an int return 0 or more, or a negative errno: what the system says of
 * files, or -ENOMEM. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What tells a file from every other that has had its name, or will: the inode number, and when the
 * inode was made (nanoseconds since the epoch; 0 where the file system does not keep that). Both
 * survive a rename. */
struct record_file {
	uint64_t inode;
	int64_t born_ns;
};

/* Names a message in a record: a digest, from which no path can be made. */
struct record_key {
	unsigned char octets[16];
};

int record_identify(int dir_fd, const char *name, struct record_file *ret);

/* The key of a message: of the part of its name that never changes, and of its file. */
int record_make_key(const char *unique, size_t unique_octets, const struct record_file *file,
		    struct record_key *ret);

/* Whether sorted keys, as record_read() returns them, hold this one. */
bool record_has_key(const struct record_key *keys, size_t count, const struct record_key *key);

/* Writes a record of these messages, and sorts the keys. When it returns 0, the messages are
 * deleted, whatever happens to us. On failure there is no record:
 *   -ENOSPC, -EDQUOT  no space
 *   -EIO and others   the disk failed */
int record_write(int state_fd, int mailbox_fd, struct record_key *keys, size_t count);

/* Reads the record. Returns how many messages it has (0: there is no record) and their keys, which
 * the caller frees; or
 *   -EBADMSG  what is there is no record, or one of another mailbox; it means nothing */
ssize_t record_read(int state_fd, int mailbox_fd, struct record_key **ret_keys);

/* Whether a file is one for records: it is empty, or begins with one, of whatever mailbox, or with
 * one that is void. */
bool record_is_ours(int state_fd);

/* Makes the record void. That need not outlast a loss of power once the messages are gone for good:
 * a record of them then does nothing. */
int record_clear(int state_fd);

/* Sees to it that a record of so many messages can be written without free space on the disk. The
 * state file has `state_octets` now. */
int record_reserve(int state_fd, int mailbox_fd, uint64_t state_octets, size_t count);
