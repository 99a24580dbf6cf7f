/* SPDX-License-Identifier: ISC
 * Lists the messages of a mailbox, gives them unique-ids, and finds their files after a rename.
 *
 * - A torn read is one during which the directories changed: it may miss files that exist all the
 *   time. Any other read is stable: only a stable read shows which messages are gone.
 * - Equal stamps that are stable (lib/file-stamp.h) prove that a directory has not changed.
 * - Namesakes are Maildir names with the same unique part. Names of one inode are one message. Of
 *   several inodes, the oldest keeps the unique part as its unique-id; each other one becomes a
 *   message with `is_namesake` and a stand-in.
 * - A stand-in is a digest that serves as a unique-id, of a namesake or an unusable unique part.
 *
 * Functions that return an int return 0 or a negative errno: a system call's, or -ENOMEM. */
#pragma once

#include "mailbox/lock.h"

#define LISTING_SIZE_UNKNOWN UINT64_MAX

/* How long a listing or a search for files retries while others change the directories. */
#define LISTING_PATIENCE_MS 2000

struct message {
	const char *name;      /* of its file */
	const char *unique_id; /* NULL: it is the unique part of the name */
	uint64_t arrival_us;   /* 0 in a folder, which is sorted by modification time */
	uint64_t octets;       /* as RETR will send it, or LISTING_SIZE_UNKNOWN */
	union {
		struct file_stamp *version; /* folder: of the file when it was listed or measured */
		struct message *others;	    /* Maildir: the other names of the file */
	};
	uint16_t unique_octets; /* the length of the name's unique part */
	uint16_t inode_tag;	/* differs for most other inodes; 0: unknown */
	uint8_t subdir;		/* of enum subdir */
	bool is_wanted : 1;	/* listing_with_files() has still to find its file */
	bool is_marked : 1;	/* by DELE, or expunged */
	bool is_chosen : 1;	/* its file has been found, to be deleted */
	bool is_expunged : 1;	/* deleted for good by DELI or a commit, even if its file remains */
	bool is_replaced : 1;	/* folder: another file has taken its name since it was listed */
	bool is_gone : 1;	/* its file does not exist any more, or must not be shown */
	bool is_namesake : 1;	/* its unique part is, or was, that of an older message */
	bool is_measured : 1;	/* its size was found right since login or WAKE */
	bool is_retrieved : 1;	/* by RETR, in full */
	bool is_imported : 1;	/* its unique-id is from another server */
	bool is_hint : 1;	/* its size is from there, too, and not compared with its file's */
};

/* The file with imported unique-ids, see mailbox/import.h. */
#define LISTING_IDS_NAME ".pop3-handler.ids"
enum { STAMP_IDS = SUBDIRS, STAMPS };

struct listing {
	struct lock *lock;	  /* borrowed */
	struct message *messages; /* by arrival and name, until listing_put_in_order() */
	struct block *blocks;	  /* the memory that messages point to */
	size_t count;
	size_t namesakes;		     /* messages with is_namesake */
	const struct message **by_unique_id; /* sorted; NULL until listing_find() makes it */
	struct file_stamp stamps[STAMPS];    /* all 0: there is no such directory or file */
	uint32_t *imported;	/* indices of imported messages, until listing_put_in_order() */
	size_t imported_count;	/* messages with is_imported */
	size_t excluded;	/* messages that listing_put_in_order() will leave out */
	bool is_torn;		/* it may lack messages */
	bool hides;		/* it lacks messages that a record deletes */
	bool has_stable_stamps; /* while the stamps stay the same, so does the listing */
};

/* ---- Listings ---- */

/* Reads the directories until a read is stable. The caller clears *ret, which is empty on failure.
 * After `deadline_ms` (of util_now_ms()), *ret is the union of all reads, and torn. Where change
 * times are coarse, two equal reads count as stable, unless stamps `must_prove` what is gone. */
int listing_read(struct lock *lock, int64_t deadline_ms, bool must_prove, struct listing *ret);

void listing_clear(struct listing *listing);

#define auto_listing __attribute__((cleanup(listing_clear)))

/* Whether stamps prove that the directories and the imported unique-ids have not changed. */
bool listing_is_unchanged(const struct listing *listing);

/* Whether the next change of a file of the mailbox will change its stamp. */
bool listing_can_trust(const struct lock *lock, const struct file_stamp *stamp);

/* Whether a listing has a message that `older` lacks; in a folder, also a file that has replaced
 * another. Only before listing_put_in_order(). */
bool listing_has_new(const struct listing *listing, const struct listing *older);

/* Sorts a listing for the client: imported messages in their old order, then the rest by arrival.
 * Compare it with older listings, which may be in any order, before. Returns 0 or -ENOMEM. */
int listing_put_in_order(struct listing *listing);

/* Copies what an older listing of the mailbox knows: sizes, and unique-ids of messages that had a
 * namesake, unless `newer`, a listing made after `older`, has the message. */
int listing_merge(struct listing *listing, const struct listing *older,
		  const struct listing *newer);

/* Renames and reports namesakes that have not changed for a while: each gets a unique part of its
 * own. The caller holds the lock, and must list again. */
void listing_rename_namesakes(const struct listing *listing);

/* Allocates memory, aligned to 8 octets, that listing_clear() frees. NULL: out of memory. */
void *listing_allocate(struct listing *listing, size_t octets);

/* ---- Messages ---- */

/* The unique-id of a message, borrowed from it. Its end has no NUL. */
const char *listing_unique_id(const struct message *message, size_t *ret_octets);

/* Gives a message the unique-id of another server, which is copied. */
int listing_import(struct listing *listing, struct message *message, const char *id, size_t octets);

/* Gives a message a stand-in. `inode` is that of a namesake, or 0 for any other message. */
int listing_give_stand_in(struct listing *listing, struct message *message, uint64_t inode);

bool listing_is_stand_in(const char *id, size_t octets);

/* Finds the message with the unique part of a name, but never a namesake. NULL: not found. Only
 * before listing_put_in_order(). *next, 0 at first, makes calls with sorted names fast. */
struct message *listing_find_name(const struct listing *listing, const char *name, size_t *next);

/* Finds a message by its unique-id. -ENOENT: there is none. */
int listing_find(struct listing *listing, const char *unique_id, size_t *ret_index);

/* Removes the expunged messages; the indices of later ones change. */
void listing_drop_expunged(struct listing *listing);

/* Notes the stamp that a folder's file had when `message->octets` was found, if there is memory. A
 * change time of 0 matches no file: it means that the next change might not show. */
void listing_set_version(struct listing *listing, struct message *message,
			 const struct file_stamp *version);

/* Notes a new name of a message's file, which is copied. */
int listing_rename(struct listing *listing, struct message *message, const char *name);

/* Notes an additional name of a message's file, which is copied. */
int listing_add_name(struct listing *listing, struct message *message, const char *name,
		     enum subdir subdir);

/* ---- Message files ---- */

/* Gets the status of a message's file. Its inode number and time of birth (0 if the file system has
 * none) identify it, also after a rename. */
int listing_identify(const struct listing *listing, const struct message *message,
		     struct statx *ret);

static inline int64_t listing_ns(struct statx_timestamp time)
{
	return file_stamp_ns(time.tv_sec, time.tv_nsec);
}

/* Renames a file. -EEXIST: there is a file with the new name, which stays. */
int listing_rename_file(int from_fd, const char *from, int to_fd, const char *to);

/* Switches a message to the next name of its file. Returns false if there is none. */
bool listing_next_name(const struct listing *listing, struct message *message);

/* Acts on a message's file by its present name. -ENOENT: no file has that name. */
typedef int listing_file_handler(struct listing *listing, struct message *message, void *context);

/* Calls `handle` for the files of the wanted messages among `count`, and looks for renamed files.
 * Returns 0 when each message was handled or is gone, a failure of `handle`, or -EAGAIN: some files
 * were not found in time, and may still exist. Messages that were not handled stay wanted. One
 * search serves all messages, because a program that renames one file often renames many. */
int listing_with_files(struct listing *listing, size_t first, size_t count,
		       listing_file_handler *handle, void *context);

/* Reads a Maildir again: updates the names of all messages, and notes which messages are gone. */
int listing_look_again(struct listing *listing);
