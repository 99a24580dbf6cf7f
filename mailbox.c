/* SPDX-License-Identifier: ISC
 *
 * A session's view of a mailbox. Runs after login only. A file name is used only below a directory
 * that we hold open, never followed if it is a symbolic link, and a message that is not where it
 * was is looked for once more: others rename files at any moment. */
#include "mailbox.h"

#include "lib/file-stamp.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "mailbox/deletion.h"
#include "mailbox/listing.h"
#include "mailbox/lock.h"
#include "mailbox/maildir-name.h"
#include "mailbox/record.h"
#include "mailbox/sizes.h"
#include "mailbox/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

static_assert(MAILBOX_UNIQUE_ID_MAX == WIRE_UNIQUE_ID_MAX, "they are the same thing");

#define READ_OCTETS 65536

struct mailbox {
	char *path;
	dev_t device; /* of the directory that it was when it was there first; inode 0: never yet */
	ino_t inode;
	enum mailbox_access access;
	struct lock lock;
	struct listing listing;
	struct mailbox_report report;
	bool has_loaded_sizes; /* from the size cache */
	bool has_unsaved_sizes;
	bool has_snapshot; /* of the listing as it is, or there need be none */
};

/* ---- A session's view of it ---- */

size_t mailbox_count(const struct mailbox *mailbox)
{
	return mailbox->listing.count;
}

static struct message *message_at(const struct mailbox *mailbox, size_t index)
{
	assert(index < mailbox->listing.count);
	return &mailbox->listing.messages[index];
}

bool mailbox_has(const struct mailbox *mailbox, size_t index)
{
	return (message_at(mailbox, index)->marks & (MARK_DELETED | MARK_GONE)) == 0;
}

bool mailbox_is_deleted(const struct mailbox *mailbox, size_t index)
{
	return (message_at(mailbox, index)->marks & (MARK_DELETED | MARK_EXPUNGED)) != 0;
}

void mailbox_unique_id(const struct mailbox *mailbox, size_t index,
		       char ret_unique_id[MAILBOX_UNIQUE_ID_MAX + 1])
{
	const char *text;
	size_t octets;

	listing_unique_id(message_at(mailbox, index), &text, &octets);
	memcpy(ret_unique_id, text, octets);
	ret_unique_id[octets] = '\0';
}

const struct mailbox_report *mailbox_report(const struct mailbox *mailbox)
{
	return &mailbox->report;
}

int mailbox_find(struct mailbox *mailbox, const char *unique_id, size_t *ret_index)
{
	return listing_find(&mailbox->listing, unique_id, ret_index);
}

/* ---- Message files ---- */

/* When the file changed last; 0 if it might change again and that not show. */
static int64_t stable_change_ns(const struct stat *status)
{
	struct timespec now = file_stamp_now();

	if (!file_stamp_is_stable(&status->st_ctim, &now))
		return 0;
	return status->st_ctim.tv_sec * UTIL_NS_PER_S + status->st_ctim.tv_nsec;
}

/* Opens a message's file, only if it is a regular one; never waits. */
static int open_file(const struct subdirs *subdirs, struct message *message, void *context)
{
	struct mailbox_message *ret = context;
	struct stat status;
	auto_fd int fd = util_open_regular_file(subdirs->fds[message->subdir], message->name,
						O_RDONLY, &status);

	if (fd < 0)
		return fd == -ELOOP || fd == -ENXIO ? -ENOENT : fd;
	ret->file_octets = ret->left_octets = (uint64_t)status.st_size;
	ret->inode = status.st_ino;
	ret->changed_ns = stable_change_ns(&status);
	ret->fd = take_fd(&fd);
	return 0;
}

int mailbox_message_open(struct mailbox *mailbox, size_t index, struct mailbox_message *ret)
{
	return listing_with_file(&mailbox->listing, &mailbox->lock.subdirs,
				 message_at(mailbox, index), open_file, ret);
}

ssize_t mailbox_message_read(struct mailbox_message *message, char *ret_octets, size_t max_octets)
{
	ssize_t n;

	/* What is added to the file from now on is not part of the message. */
	if (max_octets > message->left_octets)
		max_octets = (size_t)message->left_octets;
	if (max_octets == 0)
		return 0;
	n = util_read(message->fd, ret_octets, max_octets);
	if (n <= 0)
		return n == 0 ? -ENODATA : n;
	message->left_octets -= (uint64_t)n;
	return n;
}

void mailbox_message_close(struct mailbox_message *message)
{
	util_drop(&message->fd);
}

/* ---- Sizes ---- */

/* Reads the cache when it may be needed, before anything is measured. */
static void load_sizes(struct mailbox *mailbox)
{
	if (mailbox->has_loaded_sizes || mailbox->lock.root_fd < 0)
		return;
	sizes_load(mailbox->lock.root_fd, &mailbox->listing);
	mailbox->has_loaded_sizes = true;
}

/* Keeps sizes and listing for the next session; a failure costs it only time. */
static void save_caches(struct mailbox *mailbox)
{
	const struct lock *lock = &mailbox->lock;

	if (lock->root_fd < 0 || lock->state_error != 0)
		return;
	if (mailbox->has_unsaved_sizes)
		sizes_save(lock->root_fd, &mailbox->listing, lock->subdirs.is_maildir);
	if ((mailbox->has_unsaved_sizes || !mailbox->has_snapshot) &&
	    snapshot_is_worthwhile(&mailbox->listing, &lock->subdirs)) {
		load_sizes(mailbox);
		snapshot_save(lock->root_fd, &mailbox->listing);
	}
	mailbox->has_snapshot = true;
	mailbox->has_unsaved_sizes = false;
}

/* Takes down what reading a message has shown to be its size. */
static void note_size(struct mailbox *mailbox, struct message *message,
		      const struct mailbox_message *file, uint64_t octets)
{
	struct file_version version = { .inode = file->inode,
					.octets = file->file_octets,
					.changed_ns = file->changed_ns };

	message->octets = octets;
	message->marks |= MARK_MEASURED;
	if (mailbox->lock.subdirs.is_maildir)
		return;
	if (version.changed_ns == 0)
		version.inode = 0;
	if (listing_set_version(&mailbox->listing, message, &version) < 0)
		message->version = NULL;
}

static int measure(struct mailbox *mailbox, size_t index)
{
	auto_message struct mailbox_message file = { .fd = -1 };
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	auto_free char *octets = malloc(READ_OCTETS);
	size_t put;
	ssize_t n;
	int r;

	if (!octets)
		return -ENOMEM;
	r = mailbox_message_open(mailbox, index, &file);
	if (r < 0)
		return r;
	while ((n = mailbox_message_read(&file, octets, READ_OCTETS)) > 0)
		(void)wire_convert(&converter, octets, (size_t)n, NULL, 0, &put);
	if (n < 0)
		return (int)n;
	(void)wire_convert_end(&converter, NULL);
	note_size(mailbox, message_at(mailbox, index), &file, converter.octets);
	mailbox->has_unsaved_sizes = true;
	return 0;
}

/* Whether the known size of a message holds. A Maildir's message never changes; a folder's may. */
static bool is_size_valid(const struct mailbox *mailbox, const struct message *message)
{
	struct stat status;

	if (message->octets == LISTING_SIZE_UNKNOWN)
		return false;
	if (mailbox->lock.subdirs.is_maildir || (message->marks & MARK_MEASURED))
		return true;
	return message->version && message->version->inode != 0 &&
	       fstatat(mailbox->lock.subdirs.fds[message->subdir], message->name, &status,
		       AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(status.st_mode) && status.st_ino == message->version->inode &&
	       (uint64_t)status.st_size == message->version->octets &&
	       stable_change_ns(&status) == message->version->changed_ns;
}

int mailbox_size(struct mailbox *mailbox, size_t index, uint64_t *ret_octets)
{
	struct message *message = message_at(mailbox, index);
	int r = 0;

	if (message->marks & MARK_GONE)
		return -ENOENT;
	load_sizes(mailbox);
	if (is_size_valid(mailbox, message))
		message->marks |= MARK_MEASURED;
	else
		r = measure(mailbox, index);
	if (r == 0)
		*ret_octets = message->octets;
	return r;
}

bool mailbox_note_retrieved(struct mailbox *mailbox, size_t index,
			    const struct mailbox_message *file, uint64_t octets)
{
	struct message *message = message_at(mailbox, index);
	bool was_wrong;

	load_sizes(mailbox);
	was_wrong = message->octets != octets && is_size_valid(mailbox, message);
	mailbox->has_unsaved_sizes |= was_wrong;
	note_size(mailbox, message, file, octets);
	listing_mark(&mailbox->listing, message, MARK_RETRIEVED);
	return was_wrong;
}

/* ---- Deletion ---- */

void mailbox_mark(struct mailbox *mailbox, size_t index)
{
	listing_mark(&mailbox->listing, message_at(mailbox, index), MARK_DELETED);
}

void mailbox_unmark_all(struct mailbox *mailbox)
{
	for (size_t i = 0; i < mailbox->listing.count; i++)
		mailbox->listing.messages[i].marks &= (uint8_t)~MARK_DELETED;
	mailbox->listing.marks &= ~(unsigned)MARK_DELETED;
}

int mailbox_delete(struct mailbox *mailbox, size_t index)
{
	struct deletion_report report;

	message_at(mailbox, index)->marks |= MARK_CHOSEN;
	return deletion_run(&mailbox->listing, &mailbox->lock, &report);
}

int mailbox_commit(struct mailbox *mailbox, size_t *ret_deleted)
{
	struct deletion_report report = { 0 };
	int r = 0;

	mailbox->report = (struct mailbox_report){ 0 };
	if (mailbox->listing.marks & MARK_DELETED) {
		for (size_t i = 0; i < mailbox->listing.count; i++) {
			if (mailbox->listing.messages[i].marks & MARK_DELETED)
				mailbox->listing.messages[i].marks |= MARK_CHOSEN;
		}
		r = deletion_run(&mailbox->listing, &mailbox->lock, &report);
	}
	mailbox->report.hidden = report.hidden;
	mailbox->report.error = report.error;
	*ret_deleted = report.deleted;
	return r;
}

bool mailbox_next_removed(struct mailbox *mailbox, size_t *index)
{
	for (; (mailbox->listing.marks & MARK_REMOVED) && *index < mailbox->listing.count;
	     (*index)++) {
		struct message *message = &mailbox->listing.messages[*index];

		if (!(message->marks & MARK_REMOVED))
			continue;
		message->marks &= (uint8_t)~MARK_REMOVED;
		return true;
	}
	mailbox->listing.marks &= ~(unsigned)MARK_REMOVED;
	return false;
}

/* ---- Deletions that were interrupted ---- */

/* Reads the record that a session before this one has left. Returns 0, in *ret_count how many
 * messages it has (0 also for what is no record of this mailbox), and their keys, or a failure. */
static int read_record(struct mailbox *mailbox, struct record_key **ret_keys, size_t *ret_count)
{
	const struct lock *lock = &mailbox->lock;
	ssize_t count = 0;

	if (lock->state_fd >= 0)
		count = record_read(lock->state_fd, lock->root_fd, ret_keys);
	if (count == -EBADMSG) {
		mailbox->report.has_bad_record = true;
		if (lock->state_error == 0) /* reported once is enough */
			(void)record_clear(lock->state_fd);
		count = 0;
	}
	if (count < 0)
		return (int)count;
	*ret_count = (size_t)count;
	return 0;
}

/* ---- Flags ---- */

/* Renames, but never onto another message. */
static int rename_file(int from_fd, const char *from, int to_fd, const char *to)
{
	if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	/* Some file systems, NFS among them, do not know RENAME_NOREPLACE. */
	if (linkat(from_fd, from, to_fd, to, 0) < 0 || unlinkat(from_fd, from, 0) < 0)
		return -errno;
	return 0;
}

static int mark_file_seen(const struct subdirs *subdirs, struct message *message, void *context)
{
	const int *fds = subdirs->fds;
	auto_free char *name = NULL;
	int r = maildir_name_add_seen(message->name, &name);

	if (r < 0 || (message->subdir == SUBDIR_CUR && strcmp(name, message->name) == 0))
		return r;
	r = rename_file(fds[message->subdir], message->name, fds[SUBDIR_CUR], name);
	if (r < 0)
		return r;
	message->subdir = SUBDIR_CUR;
	return listing_rename(context, message, name);
}

int mailbox_mark_seen(struct mailbox *mailbox)
{
	if (!mailbox->lock.subdirs.is_maildir || mailbox->access == MAILBOX_READ_ONLY ||
	    !(mailbox->listing.marks & MARK_RETRIEVED))
		return 0;
	for (size_t i = 0; i < mailbox->listing.count; i++) {
		struct message *message = &mailbox->listing.messages[i];
		int r;

		if (!(message->marks & MARK_RETRIEVED))
			continue;
		r = listing_with_file(&mailbox->listing, &mailbox->lock.subdirs, message,
				      mark_file_seen, &mailbox->listing);
		if (r < 0 && r != -ENOENT)
			return r;
		message->marks &= (uint8_t)~MARK_RETRIEVED;
	}
	mailbox->listing.marks &= ~(unsigned)MARK_RETRIEVED;
	return 0;
}

/* ---- Beginning and end ---- */

/* Lists what is there, without what an earlier session has deleted. */
static int read_listing(struct mailbox *mailbox, const struct record_key *keys, size_t key_count)
{
	const struct lock *lock = &mailbox->lock;
	struct deletion_report report = { 0 };
	int r = 0;

	mailbox->has_snapshot = key_count == 0 && lock->root_fd >= 0 &&
				snapshot_load(lock->root_fd, &lock->subdirs, &mailbox->listing);
	if (!mailbox->has_snapshot)
		r = listing_read(&lock->subdirs, &mailbox->listing);
	mailbox->has_loaded_sizes = mailbox->has_snapshot; /* it had all that was known */
	if (r < 0 || key_count == 0)
		return r;
	r = deletion_recover(&mailbox->listing, &mailbox->lock, keys, key_count, &report);
	mailbox->report.completed = report.deleted - report.hidden;
	mailbox->report.hidden = report.hidden;
	mailbox->report.error = report.error;
	return r;
}

/* Reserves space for a record of all messages. If there is none, the next session tries again. */
static void reserve_record(const struct mailbox *mailbox)
{
	const struct lock *lock = &mailbox->lock;

	if (lock->state_fd >= 0 && lock->state_error == 0)
		(void)record_reserve(lock->state_fd, lock->root_fd, lock->state_octets,
				     mailbox->listing.count);
}

/* Whether a directory is the session's own still, and not a link to another user's mailbox. */
static int check_directory(struct mailbox *mailbox, const struct stat *status)
{
	if (mailbox->inode == 0) {
		mailbox->device = status->st_dev;
		mailbox->inode = status->st_ino;
	}
	return mailbox->device == status->st_dev && mailbox->inode == status->st_ino ? 0 : -ESTALE;
}

/* Opens and locks the mailbox, and reads the record. Checks the directory before it makes a file in
 * it, and again when it is open. */
static int open_and_lock(struct mailbox *mailbox, struct record_key **ret_keys,
			 size_t *ret_key_count)
{
	struct stat status;
	int r = 0;

	if (stat(mailbox->path, &status) == 0)
		r = check_directory(mailbox, &status);
	if (r < 0)
		return r;
	if (mailbox->access == MAILBOX_READ_ONLY)
		r = lock_open_read_only(mailbox->path, &mailbox->lock);
	else
		r = lock_open(mailbox->path, &mailbox->lock);
	if (r == 0 && mailbox->lock.root_fd >= 0 && fstat(mailbox->lock.root_fd, &status) == 0)
		r = check_directory(mailbox, &status);
	return r == 0 ? read_record(mailbox, ret_keys, ret_key_count) : r;
}

static int open_lock_and_list(struct mailbox *mailbox)
{
	auto_free struct record_key *keys = NULL;
	size_t key_count;
	int r = open_and_lock(mailbox, &keys, &key_count);

	if (r == 0)
		r = read_listing(mailbox, keys, key_count);
	if (r == 0)
		reserve_record(mailbox);
	return r;
}

int mailbox_open(const char *path, enum mailbox_access access, struct mailbox **ret)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
	int r;

	if (!mailbox)
		return -ENOMEM;
	mailbox->lock = LOCK_NONE;
	mailbox->access = access;
	mailbox->path = strdup(path);
	r = mailbox->path ? open_lock_and_list(mailbox) : -ENOMEM;
	if (r < 0)
		(void)mailbox_free(mailbox);
	else
		*ret = mailbox;
	return r;
}

struct mailbox *mailbox_free(struct mailbox *mailbox)
{
	if (mailbox) {
		save_caches(mailbox);
		lock_close(&mailbox->lock);
		listing_clear(&mailbox->listing);
		free(mailbox->path);
		free(mailbox);
	}
	return NULL;
}

void mailbox_sleep(struct mailbox *mailbox)
{
	save_caches(mailbox);
	lock_close(&mailbox->lock);
}

/* A folder's files may change without a trace in its directory: their sizes are checked again. */
static void remeasure_sizes(struct mailbox *mailbox)
{
	for (size_t i = 0; i < mailbox->listing.count; i++)
		mailbox->listing.messages[i].marks &= (uint8_t)~MARK_MEASURED;
}

/* Replaces the listing by what is there now; on failure it stays. */
static int list_anew(struct mailbox *mailbox, const struct record_key *keys, size_t key_count,
		     bool *ret_has_new)
{
	auto_listing struct listing older = mailbox->listing;
	int r;

	mailbox->listing = (struct listing){ 0 };
	r = read_listing(mailbox, keys, key_count);
	if (r < 0) {
		struct listing partial = mailbox->listing;

		mailbox->listing = older;
		older = partial;
		return r;
	}
	*ret_has_new = listing_has_new(&mailbox->listing, &older);
	listing_take_sizes(&mailbox->listing, &older);
	return 0;
}

static int wake(struct mailbox *mailbox, bool *ret_has_new)
{
	auto_free struct record_key *keys = NULL;
	size_t key_count;
	int r = open_and_lock(mailbox, &keys, &key_count);

	*ret_has_new = false;
	if (r == 0 && key_count == 0)
		r = listing_is_unchanged(&mailbox->listing, &mailbox->lock.subdirs);
	if (r == 0)
		r = list_anew(mailbox, keys, key_count, ret_has_new);
	else if (r > 0 && !mailbox->lock.subdirs.is_maildir)
		remeasure_sizes(mailbox);
	if (r < 0)
		return r;
	reserve_record(mailbox);
	return 0;
}

int mailbox_wake(struct mailbox *mailbox, bool *ret_has_new)
{
	int r;

	mailbox->report = (struct mailbox_report){ 0 };
	r = wake(mailbox, ret_has_new);
	if (r < 0)
		lock_close(&mailbox->lock);
	return r;
}
