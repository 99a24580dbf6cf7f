/* SPDX-License-Identifier: ISC
 * Deleting messages. Runs after login only. The commit point is the record: before it, any trouble
 * leaves every message; after it, files that cannot be removed are hidden until they can. */
#include "mailbox/deletion.h"

#include "lib/util.h"
#include "mailbox/maildir-name.h"

#define QUOTA_NAME "maildirsize"

/* A deletion that is under way. */
struct deletion {
	struct listing *listing;
	struct lock *lock;   /* the listing's */
	bool has_record;     /* they are deleted, whatever happens: a record says so */
	bool can_withdraw;   /* while nothing has gone */
	bool has_more_links; /* a file may have unknown names: a neighbour may rename by link(2) */
	bool may_reuse_inodes;	 /* the file system does not tell a new file from an old one */
	bool is_blind;		 /* a file that a record may name could not be looked at */
	bool uses[SUBDIRS];	 /* where the messages are */
	size_t first, end;	 /* the messages that it is about, */
	uint64_t *octets;	 /* what a quota counts for each, */
	size_t chosen;		 /* how many are there, to be deleted, */
	struct record *record;	 /* and their keys */
	uint64_t removed_octets; /* for the quota: of the files that are removed, */
	size_t removed;		 /* and how many these are */
};

static void clear_deletion(struct deletion *deletion)
{
	free(deletion->record);
	free(deletion->octets);
}

#define auto_deletion __attribute__((cleanup(clear_deletion)))

/* ---- Before the commit point ---- */

/* Whether a folder's file is not as the client knows it. Inodes may have been numbered anew. */
static bool is_replaced(const struct listing *listing, const struct message *message,
			const struct statx *file)
{
	const struct file_stamp *version = listing->lock->is_maildir ? NULL : message->version;

	return version && (version->modified_ns != listing_ns(file->stx_mtime) ||
			   version->octets != file->stx_size);
}

/* Takes a message that is there into the deletion; where a record was left, only if that has it. */
static int choose(struct listing *listing, struct message *message, void *context)
{
	struct deletion *deletion = context;
	struct record_key *key = &deletion->record->keys[deletion->record->count];
	uint64_t octets = maildir_name_find_octets(message->name, ",S=");
	struct message name = *message;
	struct statx file;
	int r = listing_identify(listing, message, &file);

	if (r < 0 && r != -ENOENT && r != -ENOMEM && deletion->has_record) {
		deletion->is_blind = message->is_gone = true;
		return 0;
	}
	if (r == 0 && !deletion->has_record && is_replaced(listing, message, &file))
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
	if (deletion->has_record && !record_has_key(deletion->lock->left, key))
		return 0;
	deletion->record->count++;
	deletion->chosen++;
	message->is_chosen = true;
	deletion->octets[message - listing->messages] =
		octets == UINT64_MAX ? file.stx_size : octets;
	return 0;
}

/* Chooses from the messages: those that are marked; or, if a record was left, that it has. After
 * that, nothing fails for lack of memory. The keys of a record that must be kept are carried along
 * in a new one. */
static int choose_messages(struct deletion *deletion)
{
	size_t count = deletion->end - deletion->first;
	struct message *messages = deletion->listing->messages;
	int r;

	deletion->record = record_new(deletion->has_record ? NULL : deletion->lock->left, count);
	deletion->octets = calloc(deletion->end, sizeof(uint64_t));
	deletion->lock->report.removed = calloc(count, sizeof(size_t));
	if (!deletion->record || !deletion->octets || !deletion->lock->report.removed)
		return -ENOMEM;
	for (size_t i = deletion->first; i < deletion->end; i++) {
		messages[i].is_wanted =
			deletion->has_record || (messages[i].is_marked && !messages[i].is_expunged);
		messages[i].is_chosen = false;
	}
	r = listing_with_files(deletion->listing, deletion->first, count, choose, deletion);
	for (size_t i = deletion->first; i < deletion->end; i++) {
		/* One whose file could not be looked at may be deleted: nobody must see it. */
		if (messages[i].is_wanted && deletion->has_record)
			deletion->is_blind = messages[i].is_gone = true;
		messages[i].is_wanted = messages[i].is_chosen;
	}
	if (r == -EAGAIN && deletion->has_record)
		r = 0;
	return r == 0 && deletion->has_more_links ? listing_look_again(deletion->listing) : r;
}

/* Writes the record, if permissions and the file system let the messages be removed. */
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

/* Takes the record back while nothing has gone. */
static int withdraw_record(const struct deletion *deletion)
{
	struct lock *lock = deletion->lock;
	int r = lock->left ? lock_write_record(lock, lock->left) : lock_clear_record(lock);

	if (r == 0)
		(void)fdatasync(lock->state_fd);
	return r;
}

/* ---- Removing files ---- */

/* Whether nothing has gone, and trying again is in vain: no disk or neighbour is to blame. */
static bool may_withdraw(const struct deletion *deletion, int error)
{
	return deletion->can_withdraw && (error == -EPERM || error == -EACCES || error == -EROFS);
}

/* Notes that a message is deleted, even if its file is still there because of an error. */
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

/* Removes all names of a file. One that stays ends it if it still may; else, it is hidden. */
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

/* Takes the files that this session has removed off the quota of a Maildir++, if it has one. */
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
	errno = ENOSPC; /* if it takes less than all */
	if (fd < 0 || write(fd, line, strlen(line)) != (ssize_t)strlen(line))
		deletion->lock->report.quota_error = fd < 0 ? fd : -errno;
}

/* Makes removals outlast a loss of power. Both directories must be on the disk: a file may have
 * been moved just before, and a session that was killed may have removed files from either. */
static int sync_subdirs(const struct deletion *deletion)
{
	int r = 0;

	for (size_t i = 0; i < SUBDIRS; i++) {
		int fd = deletion->lock->fds[i];

		/* EINVAL: this file system knows no such thing, and we none better. */
		if (fd >= 0 && fsync(fd) < 0 && errno != EINVAL)
			r = -errno;
	}
	return r;
}

/* Removes the files of messages that a record has. Returns 0, or why nothing is gone: then the
 * record could be withdrawn. Else, what cannot be removed is hidden. */
static int unlink_recorded(struct deletion *deletion)
{
	struct mailbox_report *report = &deletion->lock->report;
	int r = deletion->lock->state_error;

	r = r ?: unlink_chosen(deletion);
	if (may_withdraw(deletion, r) && withdraw_record(deletion) == 0)
		return r;
	for (size_t i = deletion->first; i < deletion->end && r < 0; i++) {
		struct message *message = &deletion->listing->messages[i];

		if (message->is_wanted && !message->is_gone)
			note_removed(deletion, message, r);
	}
	r = sync_subdirs(deletion);
	report->error = report->error ?: r;
	return 0;
}

/* Makes the record void when nothing needs it any more. */
static int end_record(const struct deletion *deletion)
{
	int r = lock_clear_record(deletion->lock);

	/* A record that comes back could name a new file. */
	if (r == 0 && deletion->may_reuse_inodes && fdatasync(deletion->lock->state_fd) < 0)
		r = -errno;
	return r;
}

/* Deletes what was found, all or none. One message needs no record: unlink(2) is atomic. If the
 * disk has no space for a record they go one by one: else nobody could ever free space. */
static int delete_found(struct deletion *deletion)
{
	struct lock *lock = deletion->lock;
	int r = deletion->chosen > 1 ? write_record(deletion) : 0, error;

	if (deletion->has_record) {
		r = unlink_recorded(deletion);
		if (r == 0 && lock->report.error == 0 && !lock->left)
			lock->report.error = end_record(deletion);
		return r;
	}
	if (r < 0 && r != -ENOSPC && r != -EDQUOT)
		return r;
	r = unlink_chosen(deletion);
	error = sync_subdirs(deletion);
	/* What cannot be made to last may be by a record. */
	return r == 0 && error < 0 && write_record(deletion) < 0 ? error : r;
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
		r = sync_subdirs(&deletion); /* others removed them, but for good? */
	else if (r == 0)
		r = delete_found(&deletion);
	update_quota(&deletion);
	for (size_t i = first; i < deletion.end && r == 0; i++) {
		struct message *message = &listing->messages[i];

		message->is_expunged = message->is_marked;
		message->is_gone |= message->is_marked;
	}
	return r;
}

/* ---- What an earlier session has left ---- */

int deletion_recover(struct listing *listing)
{
	struct lock *lock = listing->lock;
	struct mailbox_report *report = &lock->report;
	auto_deletion struct deletion deletion = {
		.listing = listing,
		.lock = listing->lock,
		.has_record = true,
		.may_reuse_inodes = true, /* for all that is known of files that are gone */
		.end = listing->count,
	};
	int r = choose_messages(&deletion);
	/* No message in the record was missed. */
	bool is_complete = !listing->is_torn && !deletion.is_blind;

	if (r < 0)
		return r;
	(void)unlink_recorded(&deletion);
	update_quota(&deletion);
	if (!is_complete && report->error == 0)
		report->error = -EAGAIN;
	if (report->error == 0 && lock->state_error == 0)
		report->error = end_record(&deletion);
	if (is_complete) { /* the others' files are known to be gone */
		free(take_ptr(lock->left));
		if (report->error < 0 && deletion.record->count > 0)
			lock->left = take_ptr(deletion.record);
	}
	for (size_t i = 0; i < listing->count; i++)
		listing->messages[i].is_expunged = listing->messages[i].is_gone;
	listing->hides |= deletion.is_blind;
	listing_drop_expunged(listing);
	report->completed = report->removed_count - report->hidden;
	report->removed_count = 0; /* those were the earlier session's */
	return 0;
}
