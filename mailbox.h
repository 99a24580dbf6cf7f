/* SPDX-License-Identifier: ISC
 * A session's mailbox: locks it, lists, measures, reads and deletes its messages. A mailbox is a
 * Maildir (a directory with new/ or cur/) or a folder (any other directory that is not another
 * program's store).
 *
 * A message has an index from 0 to mailbox_count() - 1, which changes only in mailbox_wake().
 * Functions that return an int return 0, or a negative errno: a system call's, one that is named at
 * the function, or
 *   -ENOENT  the message is gone: the session or another program has deleted it
 *   -ENOMEM */
#pragma once

#include "lib/file-stamp.h"

#include <limits.h>

struct mailbox;

/* What the last mailbox_wake(), mailbox_commit() or mailbox_delete() found. Errors are negative
 * errnos, or 0. */
struct mailbox_report {
	const char *problem; /* why this is not a mailbox, or the last message not plain mail */
	bool is_missing;     /* the mailbox does not exist */
	bool has_bad_record; /* a record was damaged, or another mailbox's */
	bool has_bad_state;  /* the state file is another owner's, or not a state file */
	size_t completed;    /* messages of an interrupted deletion that were unlinked now */
	size_t hidden;	     /* deleted messages whose files could not be unlinked yet */
	int error;	     /* why files could not be unlinked, or the record not be voided */
	size_t renamed;	     /* namesakes (see mailbox/listing.h) that were renamed; the first: */
	char renamed_from[NAME_MAX + 1], renamed_to[NAME_MAX + 1];
	int rename_error; /* why a namesake could not be renamed */
	int quota_error;  /* why maildirsize could not be updated */
	bool has_ids;	  /* the mailbox has imported unique-ids */
	bool is_takeover; /* unique-ids were imported now */
	size_t imported;  /* messages with an imported unique-id */
	size_t excluded;  /* messages that the other server hid, and that are not listed */
	int ids_error;	  /* why ids could not be saved; then only imported messages are listed */
	size_t unusable;  /* messages whose imported unique-id is invalid or another message's */
	size_t clashes;	  /* messages whose own unique-id equals an imported one */
	char import_text[NAME_MAX + 1]; /* of `problem`, or the first name in these two counts */
	size_t *removed, removed_count; /* indices that mailbox_delete() or _commit() deleted */
};

/* The server that a Maildir's unique-ids are imported from, once. */
struct mailbox_origin {
	const char *from;    /* as in lib/uidl-source.h; NULL: none */
	const char *control; /* the directory with Dovecot's list; NULL: the Maildir */
	bool may_lack_list;  /* accepts mail without a list: no client has fetched that mail */
};

/* Makes a mailbox, which mailbox_wake() opens and the caller frees. Borrows the path and the
 * strings of `origin`. A read-only mailbox is neither changed nor locked. A mailbox that does not
 * exist is empty, and is not created. */
int mailbox_new(const char *path, bool is_read_only, const struct mailbox_origin *origin,
		struct mailbox **ret);

/* Opens and locks the mailbox. If its directories have changed, lists it again with new indices,
 * and *ret_has_new says whether a message is or may be new. On failure the mailbox stays as it was:
 *   -EBUSY        another session has the lock
 *   -ENOTDIR      the path is not a directory
 *   -EMEDIUMTYPE  it is another program's store, or new or cur is a symbolic link: see the report
 *   -ESTALE       the path leads to another directory than before
 *   -EUCLEAN      the list of the other server, or the file with imported unique-ids, is not valid:
 *                 see the report */
int mailbox_wake(struct mailbox *mailbox, bool *ret_has_new);

/* Saves the cache, closes every file, and so releases the lock; commits nothing. The listing stays
 * for mailbox_wake(). Until then, only mailbox_wake() and mailbox_free() may be called. */
void mailbox_close(struct mailbox *mailbox);

/* Closes and frees a mailbox, which may be NULL. Returns NULL. */
struct mailbox *mailbox_free(struct mailbox *mailbox);

/* Borrowed until the next call of mailbox_wake(), _commit() or _delete(). */
const struct mailbox_report *mailbox_report(const struct mailbox *mailbox);

/* The number of messages that were listed, including those deleted since. */
size_t mailbox_count(const struct mailbox *mailbox);

/* Whether the message is neither marked as deleted nor known to be gone. */
bool mailbox_has(const struct mailbox *mailbox, size_t index);

/* Whether the session has marked or deleted the message. */
bool mailbox_is_deleted(const struct mailbox *mailbox, size_t index);

/* The unique-id of a message (RFC 1939 section 7, UIDL), 1 to 70 octets from '!' to '~': the unique
 * part of a Maildir name, the name of a folder's file, or a stand-in (see mailbox/listing.h). An
 * imported unique-id has up to WIRE_IMPORTED_ID_MAX octets. Borrowed until the next call. */
const char *mailbox_unique_id(struct mailbox *mailbox, size_t index);

/* Looks a unique-id up, only in the listing. Returns 0, -ENOENT or -ENOMEM. */
int mailbox_find(struct mailbox *mailbox, const char *unique_id, size_t *ret_index);

/* Looks for the message's file, also after a rename. Returns 0 if the file exists or cannot be
 * examined, -ENOENT, or an error that may be temporary. */
int mailbox_check(struct mailbox *mailbox, size_t index);

/* The octets that RETR will send, with CRLF line ends, before dot-stuffing. Returns 0, or a
 * positive errno if the message cannot be read: then *ret_octets is the size of its file. */
int mailbox_size(struct mailbox *mailbox, size_t index, uint64_t *ret_octets);

/* A message that is being read. */
struct mailbox_message {
	int fd;
	char *octets;			     /* the octets read last, as stored */
	size_t count;			     /* of `octets`; 0 at the end of the file */
	uint64_t stored_octets, read_octets; /* the size of the file, and how much of it was read */
	uint64_t believed_octets;	     /* the message's size, as known before it was read */
	struct file_stamp version; /* of the file when opened; see listing_set_version() */
};

/* Opens a message and reads its first octets. Close it in any case. Errors:
 *   -EMEDIUMTYPE  the message is compressed or encrypted: the report has the problem
 *   -ENODATA      the file has become shorter */
int mailbox_message_open(struct mailbox *mailbox, size_t index, struct mailbox_message *ret);

/* The octets that RETR will send of a message that was just opened. mailbox_size() returns the same
 * from then on. */
int mailbox_message_size(struct mailbox *mailbox, size_t index, struct mailbox_message *file,
			 uint64_t *ret_octets);

/* Reads the next octets. -ENODATA: the file has become shorter. */
int mailbox_message_read(struct mailbox_message *message);

void mailbox_message_close(struct mailbox_message *message);

#define auto_message __attribute__((cleanup(mailbox_message_close)))

/* Notes that the client got a message of this size. Returns whether another size was believed. */
bool mailbox_note_retrieved(struct mailbox *mailbox, size_t index,
			    const struct mailbox_message *file, uint64_t octets);

/* Marks a message as deleted; unmarks all messages that are not deleted for good yet. */
void mailbox_mark(struct mailbox *mailbox, size_t index);
void mailbox_unmark_all(struct mailbox *mailbox);

/* Deletes one message. 0: the deletion is durable, or the message was gone before. On failure the
 * message is still there, unless the disk failed after the unlink (-EIO).
 *   -EAGAIN  another program renames the message faster than the session can find it */
int mailbox_delete(struct mailbox *mailbox, size_t index);

/* Deletes the marked messages, all or none (RFC 1939 section 6). 0: all are deleted, durably; the
 * report counts those whose files could not be unlinked yet. On failure no message is gone and all
 * stay marked. Exception: without space for a record, they are deleted one by one, and the report
 * has those that are gone. Errors are those of mailbox_delete(), and
 *   -EROFS, -EACCES, -EPERM  the files cannot be unlinked
 *   -ENOLCK                  the state file, and with it the lock, was removed
 *   -EIO                     the disk failed before the commit point, or while the record of a
 *                            deletion that was denied was withdrawn */
int mailbox_commit(struct mailbox *mailbox);

/* In a Maildir, sets the flag S on each message that the client got, and moves it to cur/. Goes on
 * after an error, and returns the first. */
int mailbox_mark_seen(struct mailbox *mailbox);

/* For --check-config: why a session could not serve the mailbox at `path`, or delete its messages.
 * NULL: it could, or there is no mailbox. Creates and locks nothing. */
const char *mailbox_test(const char *path, bool is_read_only);
