/* SPDX-License-Identifier: ISC
 * Deletes messages in four steps: finds (chooses) the files, writes the record, unlinks the files,
 * voids the record. Runs after login only. Does not trust the record of an earlier session: its
 * keys are only compared with those of listed messages.
 * - The commit point is the moment when the record is on the disk. Before it, an error leaves every
 *   message, except where there is no space for a record (see delete_found()).
 * - After it, all messages count as deleted. A message whose file cannot be unlinked is hidden: no
 *   listing shows it until a session has unlinked the file.
 * - While no file is gone, a record can be withdrawn; after that it is voided once all are gone. */
#include "mailbox/deletion.h"

#include "lib/util.h"
#include "mailbox/maildir-name.h"

#define QUOTA_NAME "maildirsize"

struct deletion {
	struct listing *listing;
	struct lock *lock;	 /* the listing's */
	bool is_recovery;	 /* completes the deletion of an earlier session */
	bool has_record;	 /* the commit point has passed */
	bool can_withdraw;	 /* no file is gone yet; never in a recovery */
	bool has_more_links;	 /* a file has names not listed: some programs rename by link(2) */
	bool may_reuse_inodes;	 /* without times of birth, a new file may look like an old one */
	bool has_unexamined;	 /* a file that the record may name could not be examined */
	bool uses[SUBDIRS];	 /* directories with chosen messages */
	size_t first, end;	 /* the range of messages to choose from */
	uint64_t *octets;	 /* by index: what a quota counts for the message */
	size_t chosen;		 /* messages with is_chosen */
	struct record *record;	 /* their keys, and those of the earlier record */
	uint64_t removed_octets; /* what a quota counts for the files that are unlinked */
	size_t removed;		 /* number of these files */
};

static void clear_deletion(struct deletion *deletion)
{
	free(deletion->record);
	free(deletion->octets);
}

#define auto_deletion __attribute__((cleanup(clear_deletion)))

/* ---- Before the commit point ---- */

/* Whether a folder's file may not be the one that the client saw: also one that was only touched.
 * Inode numbers do not count, because they may have changed. */
static bool is_replaced(const struct listing *listing, const struct message *message,
			const struct statx *file)
{
	const struct file_stamp *version = listing->lock->is_maildir ? NULL : message->version;

	return version && (version->modified_ns != listing_ns(file->stx_mtime) ||
			   version->octets != file->stx_size);
}

/* In a recovery: hides a message that the record may have, because its file, which may still exist,
 * was not found or could not be examined. */
static void hide_unexamined(struct deletion *deletion, struct message *message)
{
	deletion->has_unexamined = message->is_gone = true;
}

/* Chooses a message if its file exists and, in a recovery, the record has its key. */
static int choose(struct listing *listing, struct message *message, void *context)
{
	struct deletion *deletion = context;
	struct record_key *key = &deletion->record->keys[deletion->record->count];
	uint64_t octets = maildir_name_find_octets(message->name, ",S=");
	struct message name = *message;
	struct statx file;
	int r = listing_identify(listing, message, &file);

	if (r < 0 && r != -ENOENT && r != -ENOMEM && deletion->is_recovery) {
		hide_unexamined(deletion, message);
		return 0;
	}
	if (r == 0 && !deletion->is_recovery && is_replaced(listing, message, &file))
		r = -ENOENT;
	if (r < 0)
		return r;
	while (listing_next_name(listing, &name))
		file.stx_nlink--;
	deletion->has_more_links |= file.stx_nlink > 1 && listing->lock->is_maildir;
	deletion->may_reuse_inodes |= listing_ns(file.stx_btime) == 0;
	deletion->uses[message->subdir] = true;
	*key = record_make_key(message->name, message->unique_octets, file.stx_ino,
			       listing_ns(file.stx_btime));
	if (deletion->is_recovery && !record_has_key(deletion->lock->old_record, key))
		return 0;
	deletion->record->count++;
	deletion->chosen++;
	message->is_chosen = true;
	deletion->octets[message - listing->messages] =
		octets == UINT64_MAX ? file.stx_size : octets;
	return 0;
}

/* Chooses the marked messages, or in a recovery those in the record. A new record includes the keys
 * of an earlier one. Allocates the report now: after the commit point, that must not fail. */
static int choose_messages(struct deletion *deletion)
{
	size_t count = deletion->end - deletion->first;
	struct message *messages = deletion->listing->messages;
	struct lock *lock = deletion->lock;
	int r;

	deletion->record = record_new(deletion->is_recovery ? NULL : lock->old_record, count);
	deletion->octets = calloc(deletion->end, sizeof(uint64_t));
	lock->report.removed = calloc(count, sizeof(size_t));
	if (!deletion->record || !deletion->octets || !lock->report.removed)
		return -ENOMEM;
	for (size_t i = deletion->first; i < deletion->end; i++) {
		messages[i].is_wanted = deletion->is_recovery ||
					(messages[i].is_marked && !messages[i].is_expunged);
		messages[i].is_chosen = false;
	}
	r = listing_with_files(deletion->listing, deletion->first, count, choose, deletion);
	for (size_t i = deletion->first; i < deletion->end; i++) {
		if (messages[i].is_wanted && deletion->is_recovery)
			hide_unexamined(deletion, &messages[i]);
		messages[i].is_wanted = messages[i].is_chosen;
	}
	if (r == -EAGAIN && deletion->is_recovery)
		r = 0;
	return r == 0 && deletion->has_more_links ? listing_look_again(deletion->listing) : r;
}

/* Writes the record, unless the directories are known not to be writable. */
static int write_record(struct deletion *deletion)
{
	struct lock *lock = deletion->lock;
	int r = 0;

	for (size_t i = 0; i < SUBDIRS; i++) {
		if (deletion->uses[i] && faccessat(lock->fds[i], ".", W_OK | X_OK, 0) < 0)
			r = -errno;
	}
	r = r ?: lock->state_error ?: lock_write_record(lock, deletion->record);
	deletion->has_record = r == 0;
	return r;
}

/* Writes the earlier record again, or voids the record if there was none. */
static int withdraw_record(const struct deletion *deletion)
{
	struct lock *lock = deletion->lock;

	return lock->old_record ? lock_write_record(lock, lock->old_record) :
				  lock_clear_record(lock);
}

/* ---- Removing files ---- */

/* Whether no file is gone and the error is permanent: not from a disk or another program. */
static bool may_withdraw(const struct deletion *deletion, int error)
{
	return deletion->can_withdraw && (error == -EPERM || error == -EACCES || error == -EROFS);
}

/* Notes that a message is deleted; with an error, that it is hidden, because its file remains. */
static void note_removed(struct deletion *deletion, struct message *message, int error)
{
	struct mailbox_report *report = &deletion->lock->report;
	size_t index = (size_t)(message - deletion->listing->messages);

	message->is_marked = message->is_gone = message->is_expunged = true;
	deletion->removed += error == 0;
	deletion->removed_octets += error == 0 ? deletion->octets[index] : 0;
	report->removed[report->removed_count++] = index;
	deletion->can_withdraw = false;
	deletion->listing->hides |= error < 0;
	report->hidden += error < 0;
	report->error = report->error ?: error;
}

/* Unlinks all names of a file. An error that cannot end the deletion any more hides the message.
 * -ENOENT: the name in `message` was not found; listing_with_files() tries the names after it. */
static int unlink_file(struct listing *listing, struct message *message, void *context)
{
	const int *fds = listing->lock->fds;
	struct deletion *deletion = context;
	int r;

	do {
		r = unlinkat(fds[message->subdir], message->name, 0) < 0 ? -errno : 0;
	} while (r == 0 && listing_next_name(listing, message));
	if (r == -ENOENT || (r < 0 && !deletion->has_record) || may_withdraw(deletion, r))
		return r;
	note_removed(deletion, message, r);
	return 0;
}

static int unlink_chosen(struct deletion *deletion)
{
	return listing_with_files(deletion->listing, deletion->first,
				  deletion->end - deletion->first, unlink_file, deletion);
}

/* Subtracts the files that the session has unlinked from the quota of a Maildir++, if any: a line
 * in one write(2), because other programs append to the file, too. */
static void update_quota(const struct deletion *deletion)
{
	struct stat status;
	char line[sizeof("-18446744073709551615 -18446744073709551615\n")];
	auto_fd int fd = -1;

	if (deletion->removed == 0 || !deletion->lock->is_maildir)
		return;
	fd = util_open_regular_file(deletion->lock->root_fd, QUOTA_NAME, O_WRONLY | O_APPEND,
				    &status);
	if (fd == -ENOENT || fd == -ELOOP || fd == -ENXIO || fd == -EISDIR ||
	    (fd >= 0 && status.st_nlink != 1))
		return;
	(void)snprintf(line, sizeof(line), "-%" PRIu64 " -%zu\n", deletion->removed_octets,
		       deletion->removed);
	errno = ENOSPC; /* for a short write */
	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		deletion->lock->report.quota_error = fd < 0 ? fd : -errno;
}

/* Makes unlinks durable. Syncs both directories: another program may have just moved a file, and
 * an earlier session may have unlinked files in either. */
static int sync_subdirs(const struct deletion *deletion)
{
	int r = 0;

	for (size_t i = 0; i < SUBDIRS; i++) {
		int fd = deletion->lock->fds[i];

		/* EINVAL: this file system cannot sync directories. */
		if (fd >= 0 && fsync(fd) < 0 && errno != EINVAL)
			r = -errno;
	}
	return r;
}

/* Unlinks the files of chosen messages, which a record has, and hides those that remain. Returns 0,
 * or an error if no file is gone and the record is withdrawn: -EIO if the disk, which has just
 * taken the record, may still have it. After a loss of power, the next session may then delete
 * messages of which the client heard that none was deleted; the log has the disk's failure. */
static int unlink_recorded(struct deletion *deletion)
{
	struct mailbox_report *report = &deletion->lock->report;
	int r = deletion->lock->state_error;

	r = r ?: unlink_chosen(deletion);
	if (may_withdraw(deletion, r) && withdraw_record(deletion) == 0)
		return fdatasync(deletion->lock->state_fd) < 0 ? -EIO : r;
	for (size_t i = deletion->first; i < deletion->end && r < 0; i++) {
		struct message *message = &deletion->listing->messages[i];

		if (message->is_wanted && !message->is_gone)
			note_removed(deletion, message, r);
	}
	r = sync_subdirs(deletion);
	report->error = report->error ?: r;
	return 0;
}

static int end_record(const struct deletion *deletion)
{
	int r = lock_clear_record(deletion->lock);

	/* If a crash brought the record back, it could match a new file. */
	if (r == 0 && deletion->may_reuse_inodes && fdatasync(deletion->lock->state_fd) < 0)
		r = -errno;
	return r;
}

/* Deletes the chosen messages, all or none. One message needs no record: it exists until its last
 * name is unlinked, and unlink(2) is atomic. If the disk has no space for a record, deletes them
 * one by one: else a full disk would stay full. */
static int delete_found(struct deletion *deletion)
{
	struct lock *lock = deletion->lock;
	int r = deletion->chosen > 1 ? write_record(deletion) : 0, error;

	if (deletion->has_record) {
		r = unlink_recorded(deletion);
		if (r == 0 && lock->report.error == 0 && !lock->old_record)
			lock->report.error = end_record(deletion);
		return r;
	}
	if (r < 0 && r != -ENOSPC && r != -EDQUOT)
		return r;
	r = unlink_chosen(deletion);
	error = sync_subdirs(deletion);
	/* If the directories cannot be synced, a record makes the deletion durable: the next
	 * session unlinks files that a crash brings back. */
	if (r == 0 && error < 0 && write_record(deletion) < 0)
		r = error;
	return r;
}

int deletion_run(struct listing *listing, size_t first, size_t count)
{
	auto_deletion struct deletion deletion = {
		.listing = listing,
		.lock = listing->lock,
		.can_withdraw = true,
		.first = first,
		.end = first + count,
	};
	struct lock *lock = listing->lock;
	int r;

	free(lock->report.removed);
	lock->report = (struct mailbox_report){ 0 };
	if (count == 0)
		return 0;
	r = lock->state_error == 0 ? lock_check(lock) : 0;
	r = r ?: choose_messages(&deletion);
	if (r == 0 && deletion.chosen == 0)
		r = sync_subdirs(&deletion); /* makes others' unlinks durable */
	else if (r == 0)
		r = delete_found(&deletion);
	update_quota(&deletion);
	/* Another program has removed a marked message that was not chosen. */
	for (size_t i = first; i < deletion.end && r == 0; i++) {
		struct message *message = &listing->messages[i];

		message->is_expunged = message->is_marked;
		message->is_gone |= message->is_marked;
	}
	return r;
}

/* ---- Completing an earlier session's deletion ---- */

int deletion_recover(struct listing *listing)
{
	struct lock *lock = listing->lock;
	struct mailbox_report *report = &lock->report;
	auto_deletion struct deletion deletion = {
		.listing = listing,
		.lock = listing->lock,
		.is_recovery = true,
		.has_record = true,
		.may_reuse_inodes = true, /* files that are gone may have had no times of birth */
		.end = listing->count,
	};
	int r = choose_messages(&deletion);
	/* Whether no message in the record was missed. */
	bool is_complete = !listing->is_torn && !deletion.has_unexamined;

	if (r < 0)
		return r;
	(void)unlink_recorded(&deletion);
	update_quota(&deletion);
	if (!is_complete && report->error == 0)
		report->error = -EAGAIN;
	if (report->error == 0 && lock->state_error == 0)
		report->error = end_record(&deletion);
	if (is_complete) { /* the files of all other keys are gone */
		free(take_ptr(lock->old_record));
		if (report->error < 0 && deletion.record->count > 0)
			lock->old_record = take_ptr(deletion.record);
	}
	for (size_t i = 0; i < listing->count; i++)
		listing->messages[i].is_expunged = listing->messages[i].is_gone;
	listing->hides |= deletion.has_unexamined;
	listing_drop_expunged(listing);
	report->completed = deletion.removed;
	report->removed_count = 0; /* an earlier session deleted them */
	return 0;
}
