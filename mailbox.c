/* SPDX-License-Identifier: ISC
 * A session's mailbox, on top of mailbox/listing, /deletion, /lock, /cache and /import. Runs after
 * login only. Does not trust the directories: opens files only below directory descriptors, never
 * through symbolic links, and looks for files that were renamed. */
#include "mailbox.h"

#include "lib/util.h"
#include "lib/wire.h"
#include "mailbox/cache.h"
#include "mailbox/deletion.h"
#include "mailbox/import.h"
#include "mailbox/listing.h"
#include "mailbox/maildir-name.h"

#include <assert.h>

#define READ_OCTETS 65536 /* read from a message at once */

/* Listing fewer messages is so fast that a whole cache would not pay. */
#define CACHED_MESSAGES_MIN 1000

struct mailbox {
	const char *path;	      /* borrowed */
	struct mailbox_origin origin; /* its strings are borrowed */
	struct lock lock;
	struct listing listing;
	char unique_id[WIRE_IMPORTED_ID_MAX + 1]; /* returned last */
	bool has_marked, has_retrieved;		  /* messages with is_marked, is_retrieved */
	bool has_unsaved;			  /* the cache lacks a size or unique-id */
	bool is_cached; /* the whole listing is in the cache, or need not be */
};

/* ---- Messages ---- */

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
	const struct message *message = message_at(mailbox, index);

	return !message->is_marked && !message->is_gone;
}

bool mailbox_is_deleted(const struct mailbox *mailbox, size_t index)
{
	return message_at(mailbox, index)->is_marked;
}

const char *mailbox_unique_id(struct mailbox *mailbox, size_t index)
{
	size_t octets;
	const char *text = listing_unique_id(message_at(mailbox, index), &octets);

	*(char *)mempcpy(mailbox->unique_id, text, octets) = '\0';
	return mailbox->unique_id;
}

const struct mailbox_report *mailbox_report(const struct mailbox *mailbox)
{
	return &mailbox->lock.report;
}

int mailbox_find(struct mailbox *mailbox, const char *unique_id, size_t *ret_index)
{
	return listing_find(&mailbox->listing, unique_id, ret_index);
}

/* ---- Message files ---- */

/* Calls `handle` for the file of one message. -ENOENT: the message is gone. */
static int with_file(struct mailbox *mailbox, size_t index, listing_file_handler *handle,
		     void *context)
{
	int r;

	message_at(mailbox, index)->is_wanted = true;
	r = listing_with_files(&mailbox->listing, index, 1, handle, context);
	return r == 0 && message_at(mailbox, index)->is_gone ? -ENOENT : r;
}

static int look_at_file(struct listing *listing, struct message *message, void *context)
{
	struct stat *status = context;

	if (fstatat(listing->lock->fds[message->subdir], message->name, status,
		    AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISREG(status->st_mode) ? 0 : -ENOENT;
}

static int open_file(struct listing *listing, struct message *message, void *context)
{
	struct mailbox_message *ret = context;
	struct stat status;
	auto_fd int fd = util_open_regular_file(listing->lock->fds[message->subdir], message->name,
						O_RDONLY, &status);

	if (fd < 0)
		return fd == -ELOOP || fd == -ENXIO ? -ENOENT : fd;
	ret->stored_octets = (uint64_t)status.st_size;
	ret->version = file_stamp_of(&status);
	if (!listing_can_trust(listing->lock, &ret->version))
		ret->version.changed_ns = 0;
	ret->fd = take_fd(&fd);
	return 0;
}

/* Names the format of a file that is not plain mail, or returns NULL. Each magic has six octets or
 * more if the format has them, so that no mail matches. */
static const char *find_format(const char *octets, size_t count)
{
	static const struct {
		size_t octets;
		const char *magic; /* '?' matches any octet */
		const char *text;
	} formats[] = {
		{ 3, "\x1f\x8b\x08", "it is compressed (gzip)" },
		{ 10, "BZh?1AY&SY", "it is compressed (bzip2)" },
		{ 6, "\3757zXZ\0", "it is compressed (xz)" },
		{ 4, "\x28\xb5\x2f\xfd", "it is compressed (zstd)" },
		{ 4, "\x04\x22\x4d\x18", "it is compressed (lz4)" },
		{ 15, "Dovecot-LZ4\x0d\x2a\x9b\xc5", "it is compressed (lz4 of Dovecot)" },
		{ 9, "CRYPTED\x03\x07", "it is encrypted (mail_crypt of Dovecot)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *magic = formats[i].magic;
		size_t same = 0;

		while (same < MIN(count, formats[i].octets) &&
		       (magic[same] == octets[same] || magic[same] == '?'))
			same++;
		if (same == formats[i].octets)
			return formats[i].text;
	}
	return NULL;
}

int mailbox_message_open(struct mailbox *mailbox, size_t index, struct mailbox_message *ret)
{
	int r;

	*ret = (struct mailbox_message){ .fd = -1, .octets = malloc(READ_OCTETS) };
	r = ret->octets ? with_file(mailbox, index, open_file, ret) : -ENOMEM;
	r = r ?: mailbox_message_read(ret);
	if (r == 0)
		mailbox->lock.report.problem = find_format(ret->octets, ret->count);
	return r == 0 && mailbox->lock.report.problem ? -EMEDIUMTYPE : r;
}

int mailbox_message_read(struct mailbox_message *message)
{
	/* Does not read what was appended to the file since it was opened. */
	size_t count = (size_t)MIN(READ_OCTETS, message->stored_octets - message->read_octets);
	ssize_t n = count > 0 ? util_read(message->fd, message->octets, count) : 0;

	if (n < 0 || (n == 0 && count > 0))
		return n < 0 ? (int)n : -ENODATA;
	message->count = (size_t)n;
	message->read_octets += message->count;
	return 0;
}

void mailbox_message_close(struct mailbox_message *message)
{
	util_drop(&message->fd);
	free(take_ptr(message->octets));
}

/* ---- Sizes ---- */

/* Notes the size of a message that was read. */
static void note_size(struct mailbox *mailbox, struct message *message,
		      const struct mailbox_message *file, uint64_t octets)
{
	message->octets = octets;
	message->is_measured = true;
	message->is_hint = false;
	if (!mailbox->lock.is_maildir)
		listing_set_version(&mailbox->listing, message, &file->version);
}

/* Reads a message to its end, and counts the octets that RETR will send. */
static int count_octets(struct mailbox_message *file, uint64_t *ret_octets)
{
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	size_t put;
	int r = 0;

	do {
		(void)wire_convert(&converter, file->octets, file->count, NULL, 0, &put);
	} while (file->read_octets < file->stored_octets && (r = mailbox_message_read(file)) == 0);
	(void)wire_convert_end(&converter);
	*ret_octets = converter.octets;
	return r;
}

static int measure(struct mailbox *mailbox, size_t index)
{
	auto_message struct mailbox_message file = { .fd = -1 };
	uint64_t octets;
	int r = mailbox_message_open(mailbox, index, &file) ?: count_octets(&file, &octets);

	if (r != 0)
		return r;
	note_size(mailbox, message_at(mailbox, index), &file, octets);
	mailbox->has_unsaved = true;
	return 0;
}

/* Whether the size in the listing is right. Messages in a folder may change. */
static bool is_size_valid(struct mailbox *mailbox, struct message *message)
{
	struct file_stamp version;
	struct stat status;

	if (message->octets == LISTING_SIZE_UNKNOWN)
		return false;
	if (message->is_hint) {
		if (look_at_file(&mailbox->listing, message, &status) < 0 ||
		    !maildir_name_can_grow((uint64_t)status.st_size, message->octets))
			return false;
		message->is_hint = false;
		mailbox->has_unsaved = true;
	}
	if (mailbox->lock.is_maildir || message->is_measured)
		return true;
	if (!message->version || look_at_file(&mailbox->listing, message, &status) < 0)
		return false;
	version = file_stamp_of(&status);
	message->is_measured = memcmp(&version, message->version, sizeof(version)) == 0;
	return message->is_measured;
}

/* Whether a retry may soon succeed. Any other error concerns one message, or a disk. */
static bool is_temporary(int error)
{
	return error == -ENOMEM || error == -EMFILE || error == -ENFILE || error == -EAGAIN;
}

int mailbox_check(struct mailbox *mailbox, size_t index)
{
	struct stat status;
	int r = with_file(mailbox, index, look_at_file, &status);

	return r == -ENOENT || is_temporary(r) ? r : 0;
}

int mailbox_size(struct mailbox *mailbox, size_t index, uint64_t *ret_octets)
{
	struct message *message = message_at(mailbox, index);
	struct stat status;
	int error = 0, r;

	if (message->is_gone)
		return -ENOENT;
	if (!is_size_valid(mailbox, message))
		error = measure(mailbox, index);
	*ret_octets = message->octets;
	if (error == 0 || error == -ENOENT || is_temporary(error))
		return error;
	r = with_file(mailbox, index, look_at_file, &status);
	*ret_octets = r == 0 ? (uint64_t)status.st_size : 0;
	return r == -ENOENT || is_temporary(r) ? r : -error;
}

/* Whether an open message, which is not empty, ends in a line end. If not, RETR adds one. */
static bool ends_in_lf(const struct mailbox_message *file)
{
	char last;

	return util_pread(file->fd, &last, 1, file->stored_octets - 1) == 1 && last == '\n';
}

int mailbox_message_size(struct mailbox *mailbox, size_t index, struct mailbox_message *file,
			 uint64_t *ret_octets)
{
	struct message *message = message_at(mailbox, index);
	uint64_t stored = file->stored_octets, known = message->octets;
	bool is_maildir = mailbox->lock.is_maildir;
	bool is_hint = is_maildir && !message->is_measured &&
		       (message->is_imported || known == maildir_name_size_octets(message->name));
	int r = 0;

	if (!is_maildir && (!message->version ||
			    memcmp(message->version, &file->version, sizeof(file->version)) != 0))
		known = LISTING_SIZE_UNKNOWN;
	*ret_octets = known;
	/* Replaces a size that is unknown or impossible. Checks a size from a name or a list only
	 * if the whole message has been read already, or lacks its last line end. */
	if (known == LISTING_SIZE_UNKNOWN || !maildir_name_can_grow(stored, known) ||
	    (is_hint && (file->count == stored || !ends_in_lf(file))))
		r = count_octets(file, ret_octets);
	if (r == 0 && file->read_octets > file->count) { /* reads the beginning again */
		file->read_octets = 0;
		r = lseek(file->fd, 0, SEEK_SET) < 0 ? -errno : mailbox_message_read(file);
	}
	if (r < 0)
		return r;
	/* Dovecot does not count the line end that RETR adds. */
	if (is_hint && stored > 0 && *ret_octets == known + 2 && !ends_in_lf(file)) {
		mailbox->has_unsaved = true;
		known = *ret_octets;
	}
	file->believed_octets = known;
	note_size(mailbox, message, file, *ret_octets);
	return 0;
}

bool mailbox_note_retrieved(struct mailbox *mailbox, size_t index,
			    const struct mailbox_message *file, uint64_t octets)
{
	struct message *message = message_at(mailbox, index);
	bool was_wrong =
		file->believed_octets != octets && file->believed_octets != LISTING_SIZE_UNKNOWN;

	mailbox->has_unsaved |= was_wrong;
	note_size(mailbox, message, file, octets);
	mailbox->has_retrieved = message->is_retrieved = true;
	return was_wrong;
}

/* ---- Deletion ---- */

void mailbox_mark(struct mailbox *mailbox, size_t index)
{
	mailbox->has_marked = message_at(mailbox, index)->is_marked = true;
}

void mailbox_unmark_all(struct mailbox *mailbox)
{
	for (size_t i = 0; i < mailbox->listing.count && mailbox->has_marked; i++)
		message_at(mailbox, i)->is_marked = message_at(mailbox, i)->is_expunged;
	mailbox->has_marked = false;
}

int mailbox_delete(struct mailbox *mailbox, size_t index)
{
	struct message *message = message_at(mailbox, index);
	int r;

	message->is_marked = true;
	r = deletion_run(&mailbox->listing, index, 1);
	message->is_marked = message->is_expunged;
	return r;
}

int mailbox_commit(struct mailbox *mailbox)
{
	int r = deletion_run(&mailbox->listing, 0,
			     mailbox->has_marked ? mailbox->listing.count : 0);

	mailbox->has_marked &= r < 0;
	return r;
}

/* ---- Flags ---- */

/* For listing_with_files(). `context` gets the first error, which does not stop the others. */
static int mark_file_seen(struct listing *listing, struct message *message, void *context)
{
	static const char *const info_starts[] = { ":2,", ";2," }; /* for FAT, NTFS and SMB: ';' */
	const int *fds = listing->lock->fds;
	int *error = context, r = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(info_starts) && r == -EINVAL; i++) {
		auto_free char *name = NULL;

		r = maildir_name_add_seen(message->name, info_starts[i], &name);
		if (r == 0 && message->subdir == SUBDIR_CUR && strcmp(name, message->name) == 0)
			return 0;
		r = r	  ?:
			    listing_rename_file(fds[message->subdir], message->name,
						fds[SUBDIR_CUR], name);
		if (r == 0) {
			message->subdir = SUBDIR_CUR;
			r = listing_rename(listing, message, name);
		}
	}
	/* -EEXIST may be due to another name of the same file. */
	if (*error == 0 && r != -ENOENT && !(r == -EEXIST && message->others))
		*error = r;
	return r == -ENOENT ? r : 0;
}

int mailbox_mark_seen(struct mailbox *mailbox)
{
	struct lock *lock = &mailbox->lock;
	struct listing *listing = &mailbox->listing;
	int error = 0, r = 0;

	if (!lock->is_maildir || lock->is_read_only || !mailbox->has_retrieved)
		return 0;
	if (lock->fds[SUBDIR_CUR] < 0) {
		if (mkdirat(lock->root_fd, "cur", S_IRWXU) < 0 && errno != EEXIST)
			r = -errno;
		else if (lock_open_subdirs(lock) <= 0)
			r = -ENOTDIR;
	}
	for (size_t i = 0; i < listing->count; i++) {
		listing->messages[i].is_wanted = listing->messages[i].is_retrieved;
		listing->messages[i].is_retrieved = false;
	}
	mailbox->has_retrieved = false;
	r = r ?: listing_with_files(listing, 0, listing->count, mark_file_seen, &error);
	return error ? error : r;
}

/* ---- Opening and closing ---- */

/* Reads the directories, completes an earlier deletion, and merges what older listings know. */
static int read_directories(struct mailbox *mailbox, const struct listing *cached,
			    const struct listing *older)
{
	struct listing *listing = &mailbox->listing;
	bool has_record = mailbox->lock.old_record; /* then a read must prove what is gone */
	int r = listing_read(&mailbox->lock, util_now_ms() + LISTING_PATIENCE_MS, has_record,
			     listing);

	if (r == 0 && has_record)
		r = deletion_recover(listing);
	r = r ?: listing_merge(listing, cached, older);
	return r ?: listing_merge(listing, older, &(struct listing){ 0 });
}

/* Saves the cache, if the next session needs it; a failure costs only time. `is_ready`: unique-ids
 * are imported and the listing is in its final order, so a whole cache can spare both steps. */
static void save_cache(struct mailbox *mailbox, bool is_ready)
{
	const struct lock *lock = &mailbox->lock;
	bool is_whole;

	if (lock->root_fd < 0 || lock->state_error != 0)
		return;
	is_whole = is_ready && mailbox->listing.count >= CACHED_MESSAGES_MIN && lock->is_maildir &&
		   !mailbox->listing.hides && /* if the record is lost, hidden messages return */
		   listing_is_unchanged(&mailbox->listing);
	if (mailbox->has_unsaved || (is_whole && !mailbox->is_cached)) {
		if (lock_check(lock) < 0) /* another session may have saved since */
			return;
		cache_save(&mailbox->listing, is_whole);
	}
	mailbox->is_cached = is_ready;
	mailbox->has_unsaved = false;
}

/* Renames namesakes. Returns whether any was renamed. */
static bool rename_namesakes(struct mailbox *mailbox)
{
	if (mailbox->listing.namesakes == 0)
		return false;
	/* Later sessions need the old unique-ids, even if this one is killed after a rename. */
	mailbox->has_unsaved = true;
	save_cache(mailbox, mailbox->is_cached);
	if (!mailbox->listing.is_torn && !mailbox->lock.old_record &&
	    mailbox->lock.state_error == 0)
		listing_rename_namesakes(&mailbox->listing);
	return mailbox->lock.report.renamed > 0;
}

/* Lists the mailbox from the cache if that is up to date, else from the directories. `older` is the
 * session's last listing. */
static int read_listing(struct mailbox *mailbox, const struct listing *older)
{
	struct lock *lock = &mailbox->lock;
	auto_listing struct listing cached = { 0 };
	int r = 0;

	cache_load(lock, &cached);
	mailbox->is_cached = !lock->old_record && listing_is_unchanged(&cached) &&
			     !import_is_due(&cached, &mailbox->origin) &&
			     /* list_anew() compares it with `older`: it must be sorted by name. */
			     (older->count == 0 || cached.imported_count == 0);
	if (!mailbox->is_cached) {
		r = read_directories(mailbox, &cached, older);
	} else {
		mailbox->listing = take_ptr(cached);
		/* The session that saved the cache may lack unique-ids that this one showed. */
		if (older->namesakes > 0)
			r = listing_merge(&mailbox->listing, older, &(struct listing){ 0 });
	}
	if (r == 0 && rename_namesakes(mailbox)) {
		listing_clear(&cached);
		cached = take_ptr(mailbox->listing);
		mailbox->is_cached = false;
		r = read_directories(mailbox, &cached, older);
	}
	if (r == 0 && !mailbox->is_cached)
		r = import_apply(&mailbox->listing, &mailbox->origin);
	lock->report.has_ids = mailbox->listing.stamps[STAMP_IDS].inode != 0;
	mailbox->has_unsaved |= lock->report.is_takeover;
	return r;
}

void mailbox_close(struct mailbox *mailbox)
{
	save_cache(mailbox, true);
	lock_close(&mailbox->lock);
}

struct mailbox *mailbox_free(struct mailbox *mailbox)
{
	if (mailbox) {
		mailbox_close(mailbox);
		listing_clear(&mailbox->listing);
		free(mailbox->lock.report.removed);
		free(mailbox);
	}
	return NULL;
}

/* Lists the mailbox again. On failure the old listing stays. */
static int list_anew(struct mailbox *mailbox, bool *ret_has_new)
{
	auto_listing struct listing older = take_ptr(mailbox->listing);
	int r;

	listing_drop_expunged(&older); /* if a file of theirs appears again, it is new */
	r = read_listing(mailbox, &older);
	if (r == 0)
		*ret_has_new =
			mailbox->listing.is_torn || listing_has_new(&mailbox->listing, &older);
	r = r ?: listing_put_in_order(&mailbox->listing);
	if (r < 0) {
		listing_clear(&mailbox->listing);
		mailbox->listing = take_ptr(older);
	}
	return r;
}

int mailbox_wake(struct mailbox *mailbox, bool *ret_has_new)
{
	struct lock *lock = &mailbox->lock;
	struct listing *listing = &mailbox->listing;
	bool was_maildir = lock->is_maildir;
	int r;

	free(mailbox->lock.report.removed);
	mailbox->lock.report = (struct mailbox_report){ 0 };
	*ret_has_new = false;
	r = lock_open(mailbox->path, lock);
	if (r == 0 && was_maildir != lock->is_maildir) /* the listing is of another layout */
		listing_clear(listing);
	/* With namesakes, lists again in any case: they may be old enough to be renamed. */
	if (r == 0 &&
	    (lock->old_record || listing->namesakes > 0 || !listing_is_unchanged(listing)))
		r = list_anew(mailbox, ret_has_new);
	/* A folder's files may be written to without a change of the directory. */
	for (size_t i = 0; i < listing->count && !lock->is_maildir; i++)
		listing->messages[i].is_measured = false;
	/* Space for a record of all messages. A failure is not final: a commit, or the next
	 * session, tries again. */
	if (r == 0 && lock->state_error == 0 && !lock->is_record_kept)
		(void)lock_reserve_record(lock, listing->count);
	if (r < 0) {
		lock_close(lock);
		lock->is_maildir = was_maildir;
	}
	return r;
}

int mailbox_new(const char *path, bool is_read_only, const struct mailbox_origin *origin,
		struct mailbox **ret)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));

	if (!mailbox)
		return -ENOMEM;
	mailbox->lock = LOCK_NONE(is_read_only);
	mailbox->path = path;
	mailbox->origin = *origin;
	*ret = mailbox;
	return 0;
}

const char *mailbox_test(const char *path, bool is_read_only)
{
	struct lock lock = LOCK_NONE(true);
	int r = lock_open(path, &lock);
	const int fds[] = { lock.root_fd, lock.fds[0], lock.fds[1] };

	for (size_t i = 0; i < ARRAY_SIZE(fds) && r == 0 && !is_read_only; i++) {
		if (fds[i] >= 0 && faccessat(fds[i], ".", W_OK | X_OK, AT_EACCESS) < 0)
			r = -errno;
	}
	lock_close(&lock);
	if (r == -EMEDIUMTYPE)
		return "the mailbox is another program's store, or its new or cur is a symbolic link";
	return r == -EACCES ?
		       "permissions or the sandbox deny access to the mailbox (see mail-root)" :
	       r < 0 ? "the mailbox cannot be opened" :
		       NULL;
}
