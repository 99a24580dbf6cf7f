/* SPDX-License-Identifier: ISC
 *
 * The record of a commit: which messages a session has deleted, written before the first of their
 * files goes. It stands at the beginning of the state file, and is overwritten in place.
 *
 * Functions that return an int return 0 or a negative errno: of the system, -ENOMEM, or
 * -ENAMETOOLONG for a name that no file has. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Tells a file from all others that have had its name, or will, also after a rename. `born_ns` is
 * the inode's birth time in nanoseconds since the epoch; 0 if the file system does not keep it. */
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
 *   -EBADMSG  it is damaged, or another mailbox's */
ssize_t record_read(int state_fd, int mailbox_fd, struct record_key **ret_keys);

/* Whether a file is one for records: empty, or with a record, void or of another mailbox. */
bool record_is_ours(int state_fd);

/* Makes the record void. It is not synced: a record of messages that are gone does nothing. */
int record_clear(int state_fd);

/* Reserves disk space for a record of `count` messages. `state_octets`: the size of the file. */
int record_reserve(int state_fd, int mailbox_fd, uint64_t state_octets, size_t count);
