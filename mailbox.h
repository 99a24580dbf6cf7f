/* SPDX-License-Identifier: ISC
 * A mailbox: a Maildir (a directory that has new/ and cur/) or a flat folder (any other). It owns
 * every message file: listing, sizes, reading, the lock, deletion.
 *
 * Messages have an index from 0 to mailbox_count() - 1 that never changes until mailbox_wake().
 * Functions that return an int or ssize_t return a negative errno on failure. Besides what they
 * name, and what the system says of files and directories:
 *   -ENOENT  the message is gone: it was deleted here or by somebody else
 *   -ENOMEM */
#pragma once

#include "lib/file-stamp.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct mailbox;

/* What was seen when a mailbox was opened, woken or committed, or a message was deleted. */
struct mailbox_report {
	bool is_missing;     /* the mailbox does not exist */
	bool has_bad_record; /* a commit record was damaged, or another mailbox's */
	bool has_bad_state;  /* the state file is another owner's, or is none */
	size_t completed;    /* messages of an interrupted deletion, now removed */
	size_t hidden;	/* messages that are deleted, but whose files could not be removed yet */
	int error;	/* why (negative errno), or why else a record could not be ended; or 0 */
	size_t renamed; /* messages that had the unique part of another; of the first, the names */
	char renamed_from[NAME_MAX + 1], renamed_to[NAME_MAX + 1];
	int rename_error; /* why not all of these (negative errno), or 0 */
	/* The messages that the last mailbox_delete() or mailbox_commit() removed, not others. */
	size_t *removed, removed_count;
};

/* Opens, locks and lists the mailbox at `path`, which is borrowed; the caller frees it. One that is
 * read-only is not changed or locked. One that does not exist is empty, and is not created.
 * Returns 0, or
 *   -EBUSY    another session has the lock
 *   -ENOTDIR  `path` is something else than a directory */
int mailbox_open(const char *path, bool is_read_only, struct mailbox **ret);

/* Keeps what is known for the next session, drops the lock and closes every file; commits nothing.
 * The listing stays for mailbox_wake(); until then only that and mailbox_free() may be called. */
void mailbox_close(struct mailbox *mailbox);

/* Frees it, and closes it if nobody has. Returns NULL, and takes NULL. */
struct mailbox *mailbox_free(struct mailbox *mailbox);

/* Borrowed until the next such call. */
const struct mailbox_report *mailbox_report(const struct mailbox *mailbox);

/* How many messages were listed, those deleted since included. */
size_t mailbox_count(const struct mailbox *mailbox);

/* Whether the message is there: not marked as deleted, and not known to be gone. */
bool mailbox_has(const struct mailbox *mailbox, size_t index);

/* Whether the session has marked or deleted it. What somebody else deleted may still be marked. */
bool mailbox_is_deleted(const struct mailbox *mailbox, size_t index);

/* Its unique-id (RFC 1939 section 7, UIDL), 1 to 70 octets from '!' to '~': for a Maildir the
 * unique part of the name, for a folder the name, or a digest if that won't do. Borrowed until
 * the next such call. */
const char *mailbox_unique_id(struct mailbox *mailbox, size_t index);

/* Looks a unique-id up in the listing, and nowhere else. Returns 0, -ENOENT or -ENOMEM. */
int mailbox_find(struct mailbox *mailbox, const char *unique_id, size_t *ret_index);

/* The octets that RETR will send, before dot-stuffing, with CRLF line ends. */
int mailbox_size(struct mailbox *mailbox, size_t index, uint64_t *ret_octets);

/* A message that is being read. */
struct mailbox_message {
	int fd;
	uint64_t left_octets;
	struct file_stamp version; /* as it was opened; all 0: a change might not show */
};

/* Opens a message; it is closed with mailbox_message_close(). */
int mailbox_message_open(struct mailbox *mailbox, size_t index, struct mailbox_message *ret);

/* Reads octets as stored. Returns how many, 0 at the end; -ENODATA: the file has become shorter. */
ssize_t mailbox_message_read(struct mailbox_message *message, char *ret_octets, size_t max_octets);

void mailbox_message_close(struct mailbox_message *message);

#define auto_message __attribute__((cleanup(mailbox_message_close)))

/* Notes that the client got all of a message, and its size. Returns whether that had been wrong. */
bool mailbox_note_retrieved(struct mailbox *mailbox, size_t index,
			    const struct mailbox_message *file, uint64_t octets);

/* Marks a message as deleted (-ENOMEM: it is not); unmarks all. */
int mailbox_mark(struct mailbox *mailbox, size_t index);
void mailbox_unmark_all(struct mailbox *mailbox);

/* Deletes one message for good; one that is gone counts as deleted. Returns 0 when that outlasts a
 * loss of power. On failure it is still there, unless the disk failed after its removal (-EIO).
 *   -EAGAIN  somebody renames it faster than we can follow */
int mailbox_delete(struct mailbox *mailbox, size_t index);

/* Deletes the marked messages, all or none (RFC 1939 section 6). Returns 0 when that is certain,
 * whatever happens; files that could not be removed yet are in the report. On failure no message is
 * gone, unless the disk had no space for the record of a commit and they were deleted one by one;
 * the report has them. The others are still there and marked:
 *   -EROFS, -EACCES, -EPERM  the files cannot be removed
 *   -ENOLCK                  the state file, and with it the lock, was removed
 *   -EIO                     the disk failed before anything was certain
 * and what mailbox_delete() says. */
int mailbox_commit(struct mailbox *mailbox);

/* Gives the messages of a Maildir that the client got the flag S, and moves them to cur/. Returns
 * 0, or why the first that could not be changed was not; the others are. */
int mailbox_mark_seen(struct mailbox *mailbox);

/* Locks the mailbox again and lists it anew, with new indices, if its directories have changed.
 * Returns 0, and whether a message is new, or may be; or, still asleep, as mailbox_open() or
 *   -ESTALE  another directory, or a link to one, is where it was */
int mailbox_wake(struct mailbox *mailbox, bool *ret_has_new);
