/* SPDX-License-Identifier: ISC
 * The messages of a mailbox in the order of arrival, and their unique-ids. Not seen does not mean
 * gone: a read that others disturb (a torn read) may miss files that are there all the time.
 *
 * Functions that return an int return 0, or a negative errno of the system, or -ENOMEM. */
#pragma once

#include "mailbox/lock.h"

#define LISTING_SIZE_UNKNOWN UINT64_MAX

/* How long a listing and a search for files go on while others change the directories. */
#define LISTING_PATIENCE_MS 2000

struct message {
	const char *name;      /* of its file */
	const char *unique_id; /* if it is not the unique part of the name */
	uint64_t arrival_us;   /* 0 in a folder: there versions tell it */
	uint64_t octets;       /* as RETR will send it, or LISTING_SIZE_UNKNOWN */
	union {
		struct file_stamp *version; /* in a folder: as listed, or what has this size */
		struct message *others;	    /* in a Maildir: its file under its other names */
	};
	uint16_t unique_octets; /* of the part of the name that never changes */
	uint16_t inode_tag;	/* differs for most other inodes; 0: not known */
	uint8_t subdir;		/* of enum subdir */
	bool is_wanted : 1;	/* listing_with_files() has still to find its file */
	bool is_marked : 1;	/* by DELE, or deleted: by DELI or a commit */
	bool is_chosen : 1;	/* its file has been found, to be deleted */
	bool is_expunged : 1;	/* deleted for good, also if its file is still there */
	bool is_replaced : 1;	/* in a folder, another file has got its name since it was listed */
	bool is_gone : 1;	/* if it is not marked, somebody else deleted it */
	bool is_namesake : 1;	/* its unique part is, or was, that of an older message */
	bool is_measured : 1;	/* its size has been found right since login or WAKE */
	bool is_retrieved : 1;	/* by RETR, in full */
	bool is_imported : 1;	/* its unique-id is from another server */
	bool is_hint : 1;	/* so is its size, which has not been compared with the file's */
};

/* The file with imported unique-ids, see mailbox/import.h. */
#define LISTING_IDS_NAME ".pop3-handler.ids"
enum { STAMP_IDS = SUBDIRS, STAMPS };

struct listing {
	struct lock *lock;	  /* borrowed */
	struct message *messages; /* in the order of arrival */
	struct block *blocks;	  /* what messages point to */
	size_t count;
	size_t namesakes;		     /* messages with is_namesake */
	const struct message **by_unique_id; /* sorted; NULL until somebody asks */
	struct file_stamp stamps[STAMPS];    /* all 0: there is no such directory or file */
	uint32_t *imported;    /* which messages are the first, until it is put in order */
	size_t imported_count; /* of these, and then of those in the listing */
	size_t excluded;       /* messages that are not to be listed, until then */
	bool is_torn;	       /* it may lack messages, */
	bool hides;	       /* and does: those that a record deletes */
	bool is_stable;	       /* if the stamps are the same later, so is the listing */
};

/* ---- Listings ---- */

/* Lists what is there now, for the caller to clear; nothing on failure. If no read is undisturbed
 * until `deadline_ms` (of util_now_ms()), it lists what any has shown, and is torn. Where change
 * times are coarse, two equal reads count as undisturbed, unless it `must_prove` what is gone. */
int listing_read(struct lock *lock, int64_t deadline_ms, bool must_prove, struct listing *ret);

/* Frees what a listing holds, and leaves it empty. */
void listing_clear(struct listing *listing);

#define auto_listing __attribute__((cleanup(listing_clear)))

/* Whether times of the directories, and of the imported unique-ids, show that nothing changed. */
bool listing_is_unchanged(const struct listing *listing);

/* Whether a file with this stamp, on such a file system, will have another if it changes again. */
bool listing_can_trust(const struct lock *lock, const struct file_stamp *stamp);

/* Whether a listing, before it is put in order, has a message that an older one has not; in a
 * folder, also a file that has replaced another. */
bool listing_has_new(const struct listing *listing, const struct listing *older);

/* Puts a listing, which is sorted by name until then, in its order: imported messages as they were,
 * then by arrival. Older listings, in any order, are compared with it before. Returns 0 or -ENOMEM.
 */
int listing_put_in_order(struct listing *listing);

/* Takes over what an older listing of the same mailbox knows: sizes, and the unique-ids of messages
 * that had a namesake, where one that is newer than that does not have them otherwise. */
int listing_merge(struct listing *listing, const struct listing *older,
		  const struct listing *newer);

/* Gives namesakes that have not changed for a while unique parts of their own, and reports them;
 * needs the lock. Then the listing must be read again. */
void listing_rename_namesakes(const struct listing *listing, struct mailbox_report *report);

/* Memory for as long as the listing is there, aligned to 8 octets. NULL: there is none. */
void *listing_allocate(struct listing *listing, size_t octets);

/* ---- Messages ---- */

/* The unique-id of a message, borrowed from it; no NUL ends it. */
const char *listing_unique_id(const struct message *message, size_t *ret_octets);

/* Gives a message a unique-id of another server, which is copied. */
int listing_import(struct listing *listing, struct message *message, const char *id, size_t octets);

/* Gives a message a unique-id that is made from its name, and of a namesake also from its inode; 0:
 * it is none. */
int listing_give_stand_in(struct listing *listing, struct message *message, uint64_t inode);

/* Whether a unique-id looks like one of these. */
bool listing_is_stand_in(const char *id, size_t octets);

/* Finds the message, no namesake, with the unique part of a name; NULL: there is none. The listing
 * is sorted by name. `next`, 0 at first, makes it fast for names that are sorted likewise. */
struct message *listing_find_name(const struct listing *listing, const char *name, size_t *next);

/* Finds a message by its unique-id. -ENOENT: there is none. */
int listing_find(struct listing *listing, const char *unique_id, size_t *ret_index);

/* Leaves out the messages that are expunged; those after them get a lower index. */
void listing_drop_expunged(struct listing *listing);

/* Keeps the version of a folder's file, which has the size of `message`; not without memory. A
 * change time of 0 is none's: the next change might not show. */
void listing_set_version(struct listing *listing, struct message *message,
			 const struct file_stamp *version);

/* Gives a message another name, which is copied. */
int listing_rename(struct listing *listing, struct message *message, const char *name);

/* Notes one more name of a message's file. */
int listing_add_name(struct listing *listing, struct message *message, const char *name,
		     enum subdir subdir);

/* ---- Message files ---- */

/* Finds out what tells a message's file from all others: inode and time of birth (0: the file
 * system does not keep it), also after a rename. */
int listing_identify(const struct listing *listing, const struct message *message,
		     struct statx *ret);

static inline int64_t listing_ns(struct statx_timestamp time)
{
	return file_stamp_ns(time.tv_sec, time.tv_nsec);
}

/* Renames, but never onto another file. */
int listing_rename_file(int from_fd, const char *from, int to_fd, const char *to);

/* Goes on to another name of a message's file. Returns whether there is one. */
bool listing_next_name(const struct listing *listing, struct message *message);

/* Acts on a message's file, by its present name. -ENOENT: there is no such file. */
typedef int listing_file_handler(struct listing *listing, struct message *message, void *context);

/* Calls `handle` for the files of the wanted messages among `count`; renamed ones are looked for.
 * Returns 0 when each message has been handled or is known to be gone, what `handle` returned if
 * that is a failure, or -EAGAIN: some are neither found in time nor known to be gone. Messages for
 * which that is so, and those after a failure, stay wanted. */
int listing_with_files(struct listing *listing, size_t first, size_t count,
		       listing_file_handler *handle, void *context);

/* Finds all names that the messages of a Maildir have now, and notes which messages are gone. */
int listing_look_again(struct listing *listing);
