/* SPDX-License-Identifier: ISC
 * The record of a commit: which messages a session has deleted, written before the first of their
 * files goes. It stands at the beginning of the state file.
 *
 * Functions that return an int return 0 or a negative errno: of the system, or -ENOMEM. */
#pragma once

#include "lib/digest.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What is known of a message's file. Inode and birth time tell it from all others that have had its
 * name, or will, also after a rename. Times are in nanoseconds since the epoch. */
struct record_file {
	uint64_t inode;
	int64_t born_ns; /* 0: the file system does not keep it */
	int64_t modified_ns, changed_ns;
	uint64_t octets;
	uint32_t links;
};

/* Names a message in a record: a digest, from which no path can be made. */
struct record_key {
	unsigned char octets[16];
};

/* In this machine's byte order; the magic tells if it is another. */
struct record {
	uint64_t magic;
	uint64_t mailbox_inode, state_inode; /* where it was written */
	uint64_t count;			     /* of keys */
	unsigned char seal[DIGEST_OCTETS];   /* of all of it */
	struct record_key keys[];	     /* sorted, once it was written */
};

int record_identify(int dir_fd, const char *name, struct record_file *ret);

/* The key of a message: of the part of its name that never changes, and of its file. */
struct record_key record_make_key(const char *unique, size_t unique_octets,
				  const struct record_file *file);

/* A record with the keys of another one (or NULL), and space for more. NULL: no memory. */
struct record *record_new(const struct record *other, size_t more);

/* Whether a record that was read has this key. */
bool record_has_key(const struct record *record, const struct record_key *key);

/* Makes the record whole and writes it into the state file. When it returns 0, its messages are
 * deleted, whatever happens to us. On failure (-ENOSPC, -EDQUOT: no space) there is no record. */
int record_write(int state_fd, int mailbox_fd, struct record *record);

/* Reads the record, if there is one, for the caller to free; else *ret stays. Returns 0, or
 *   -EBADMSG  it is damaged, or was written elsewhere and came here
 *   -EMLINK   it is another mailbox's that has the same state file: it must not be changed */
int record_read(int state_fd, int mailbox_fd, struct record **ret);

/* Whether a file is one for records: empty, or with a record, void or of another mailbox. */
bool record_is_ours(int state_fd);

/* Makes the record void. It is not synced: a record of messages that are gone does nothing. */
int record_clear(int state_fd);

/* Reserves disk space for a record of `count` messages. `state_octets`: what is allocated. */
int record_reserve(int state_fd, int mailbox_fd, uint64_t state_octets, size_t count);
