/* SPDX-License-Identifier: ISC
 *
 * What is in the directories of a mailbox: the messages in the order of their arrival, their
 * unique-ids, and whether that has changed.
 *
 * Functions that return an int return 0, or a negative errno of the system, or -ENOMEM. */
#pragma once

#include "lib/file-stamp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LISTING_SIZE_UNKNOWN UINT64_MAX

/* Where messages are. Those of a folder are all in its one directory, which stands as cur. */
enum subdir {
	SUBDIR_NEW,
	SUBDIR_CUR,
	SUBDIRS,
};

/* The open directories; -1: there is none. */
struct subdirs {
	int fds[SUBDIRS];
	bool is_maildir;
};

/* What changes when a file does. */
struct file_version {
	uint64_t inode;
	uint64_t octets;
	int64_t changed_ns; /* since the epoch */
};

enum mark {
	MARK_DELETED = 1,   /* by DELE, until the commit */
	MARK_RETRIEVED = 2, /* by RETR, in full */
	MARK_GONE = 4,	    /* it is not there any more, or must not be seen any more */
	MARK_EXPUNGED = 8,  /* because this session deleted it */
	MARK_CHOSEN = 16,   /* it is in the set that is being deleted */
	MARK_MEASURED = 32, /* its size has been found right in this session */
	MARK_REMOVED = 64,  /* this session removed it, and that has not been reported */
};

struct message {
	const char *name;	      /* of its file */
	const char *stand_in;	      /* the unique-id, if it is not the unique part of the name */
	uint64_t arrival_us;	      /* 0 in a folder */
	uint64_t octets;	      /* as RETR will send it, or LISTING_SIZE_UNKNOWN */
	struct file_version *version; /* of a folder's file; NULL or inode 0: unknown */
	uint16_t name_octets;	      /* of all of the name, */
	uint16_t unique_octets;	      /* and of the part that never changes */
	uint8_t subdir;
	uint8_t marks; /* of enum mark; 0 at first */
};

/* Memory of a listing's. */
struct block;

struct listing {
	struct message *messages; /* in the order of arrival */
	struct block *blocks;	  /* what messages point to */
	size_t count, capacity;
	int record_error; /* why the record of messages that are not listed must stay; 0: none is
			     left */
	unsigned marks;	  /* that any message may have: others need not be looked for */
	size_t *by_unique_id; /* indices, sorted by unique-id; NULL until somebody asks */
	struct file_stamp stamps[SUBDIRS]; /* all 0: there is no such directory */
	bool is_stable;			   /* if the stamps are the same later, so is the listing */
};

/* Lists what is there now; the caller clears it. */
int listing_read(const struct subdirs *subdirs, struct listing *ret);

/* Frees what a listing holds, and leaves it empty. */
void listing_clear(struct listing *listing);

/* Whether the directories' times show that nothing has changed. Returns 1, 0 or a failure. */
int listing_is_unchanged(const struct listing *listing, const struct subdirs *subdirs);

/* The unique-id of a message, borrowed from it; no NUL ends it. */
void listing_unique_id(const struct message *message, const char **ret_text, size_t *ret_octets);

/* Finds a message by its unique-id. -ENOENT: there is none. */
int listing_find(struct listing *listing, const char *unique_id, size_t *ret_index);

/* The message that `like`, of another listing of this mailbox, is; NULL if there is none. */
struct message *listing_find_like(const struct listing *listing, const struct message *like);

/* Whether a listing has a message that an older one has not. */
bool listing_has_new(const struct listing *listing, const struct listing *older);

/* Takes over the sizes that an older listing of the same mailbox knows. */
void listing_take_sizes(struct listing *listing, const struct listing *older);

/* Leaves out the messages that have one of these marks; those after them get a lower index. */
void listing_drop(struct listing *listing, unsigned marks);

/* Keeps the version of a folder's file that has the size of `message`. */
int listing_set_version(struct listing *listing, struct message *message,
			const struct file_version *version);

/* Memory for as long as the listing is there. NULL: there is none. */
void *listing_allocate(struct listing *listing, size_t octets);

/* Gives a message another name, which is copied. */
int listing_rename(struct listing *listing, struct message *message, const char *name);

/* Marks a message. */
void listing_mark(struct listing *listing, struct message *message, enum mark mark);

/* Acts on a message's file, by its present name. -ENOENT: there is no such file. */
typedef int listing_file_handler(const struct subdirs *subdirs, struct message *message,
				 void *context);

/* Calls `handle` for a message's file, which is looked for if it was renamed. Returns what it does,
 * -ENOENT if the message is gone, or -EAGAIN if it is renamed faster than we can follow. */
int listing_with_file(struct listing *listing, const struct subdirs *subdirs,
		      struct message *message, listing_file_handler *handle, void *context);

#define auto_listing __attribute__((cleanup(listing_clear)))
