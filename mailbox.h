/* SPDX-License-Identifier: ISC
 * A mailbox: a Maildir (a directory that has new/ or cur/) or a flat folder (any other that is not
 * another program's store). It owns every message file: listing, sizes, reading, the lock,
 * deletion.
 *
 * Messages have an index from 0 to mailbox_count() - 1 that never changes until mailbox_wake().
 * Functions that return an int or ssize_t return a negative errno on failure. Besides what they
 * name, and what the system says of files and directories:
 *   -ENOENT  the message is gone: it was deleted here or by somebody else
 *   -ENOMEM */
#pragma once

#include "lib/file-stamp.h"

#include <limits.h>

struct mailbox;

/* What was seen when a mailbox was opened, woken or committed, or a message was deleted. */
struct mailbox_report {
	const char *problem; /* what is there instead of a mailbox, or of the message last opened */
	bool is_missing;     /* the mailbox does not exist */
	bool has_bad_record; /* a commit record was damaged, or another mailbox's */
	bool has_bad_state;  /* the state file is another owner's, or is none */
	size_t completed;    /* messages of an interrupted deletion, now removed */
	size_t hidden;	/* messages that are deleted, but whose files could not be removed yet */
	int error;	/* why (negative errno), or why else a record could not be ended; or 0 */
	size_t renamed; /* messages that had the unique part of another; of the first, the names */
	char renamed_from[NAME_MAX + 1], renamed_to[NAME_MAX + 1];
	int rename_error; /* why not all of these (negative errno), or 0 */
	int quota_error;  /* why maildirsize could not be updated (negative errno), or 0 */
	bool has_ids;	  /* unique-ids of another server are kept for it */
	bool is_takeover; /* unique-ids have been taken over from another server: */
	size_t imported;  /* messages with one of its unique-ids */
	size_t excluded;  /* messages that it hid, and that are left out */
	int ids_error; /* why they could not be kept (negative errno): no others are listed; or 0 */
	size_t unusable; /* messages whose old unique-id cannot be served, or is another's */
	size_t clashes;	 /* messages whose own unique-id would be an old one */
	char import_text[NAME_MAX + 1]; /* for `problem`, or the first of these two kinds */
	/* The messages that the last mailbox_delete() or mailbox_commit() removed, not others. */
	size_t *removed, removed_count;
};

/* The server that a Maildir is taken over from, once. */
struct mailbox_origin {
	const char *from;    /* as in lib/uidl-source.h; NULL: none */
	const char *control; /* the directory with Dovecot's list; NULL: the Maildir */
	bool may_lack_list;  /* also a Maildir with mail: no client has seen it there */
};

/* A mailbox at `path` for mailbox_wake() to open; the caller frees it. The path, and what
 * `origin` names, are borrowed. One that is read-only is not changed or locked. One that does not
 * exist is empty, and is not created. */
int mailbox_new(const char *path, bool is_read_only, const struct mailbox_origin *origin,
		struct mailbox **ret);

/* Opens, locks and lists it, again with new indices if its directories have changed. Returns 0, and
 * whether a message is new, or may be; or, and it is as before,
 *   -EBUSY        another session has the lock
 *   -ENOTDIR      the path is something else than a directory
 *   -EMEDIUMTYPE  it is another program's store, or new or cur is a symbolic link: see the report
 *   -ESTALE       another directory, or a link to one, is where it was
 *   -EUCLEAN      unique-ids of the other server, or the file that keeps them, cannot be read: see
 *                 the report */
int mailbox_wake(struct mailbox *mailbox, bool *ret_has_new);

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
 * unique part of the name, for a folder the name, else a digest. One that is imported is as the
 * other server had it, up to WIRE_IMPORTED_ID_MAX octets. Borrowed until the next call. */
const char *mailbox_unique_id(struct mailbox *mailbox, size_t index);

/* Looks a unique-id up in the listing, and nowhere else. Returns 0, -ENOENT or -ENOMEM. */
int mailbox_find(struct mailbox *mailbox, const char *unique_id, size_t *ret_index);

/* Whether its file is there, under any name that others give it: 0 or -ENOENT. */
int mailbox_check(struct mailbox *mailbox, size_t index);

/* The octets that RETR will send, before dot-stuffing, with CRLF line ends. Returns 0; or why
 * the message cannot be read (an errno > 0): then these are the octets of its file. */
int mailbox_size(struct mailbox *mailbox, size_t index, uint64_t *ret_octets);

/* A message that is being read. */
struct mailbox_message {
	int fd;
	char *octets;			     /* as stored: those that were read last */
	size_t count;			     /* of these; 0: there are no more */
	uint64_t stored_octets, read_octets; /* of the file: all, and those read so far */
	uint64_t believed_octets;	     /* its size as it was known before */
	struct file_stamp version; /* as it was opened; changed_ns 0: a change might not show */
};

/* Opens a message and reads its first octets; mailbox_message_close() closes it, also on failure.
 *   -EMEDIUMTYPE  it is no plain mail: the report has the problem
 *   -ENODATA      the file has become shorter */
int mailbox_message_open(struct mailbox *mailbox, size_t index, struct mailbox_message *ret);

/* What RETR will send of a message that was just opened, as mailbox_size() from then on. */
int mailbox_message_size(struct mailbox *mailbox, size_t index, struct mailbox_message *file,
			 uint64_t *ret_octets);

/* Reads the next octets. */
int mailbox_message_read(struct mailbox_message *message);

void mailbox_message_close(struct mailbox_message *message);

#define auto_message __attribute__((cleanup(mailbox_message_close)))

/* Notes that the client got a message, and its size. Returns whether another was believed. */
bool mailbox_note_retrieved(struct mailbox *mailbox, size_t index,
			    const struct mailbox_message *file, uint64_t octets);

/* Marks a message as deleted; unmarks all. */
void mailbox_mark(struct mailbox *mailbox, size_t index);
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

/* For --check-config: why a session could not serve the mailbox that is at `path`, if there is one,
 * or delete in it. NULL: it could. Makes and locks nothing. */
const char *mailbox_test(const char *path, bool is_read_only);
