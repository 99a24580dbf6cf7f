/* SPDX-License-Identifier: ISC
 *
 * Deleting messages. Runs after login only. The commit point is the record: before it, any trouble
 * leaves every message; after it, the messages are deleted, and files that cannot be removed are
 * hidden until they can. */
#include "mailbox/deletion.h"

#include "lib/util.h"
#include "mailbox/listing.h"
#include "mailbox/lock.h"
#include "mailbox/record.h"

/* What a deletion that is under way knows of its set: the messages with MARK_CHOSEN. */
struct deletion {
	struct listing *listing;
	struct lock *lock;
	size_t count;	 /* how many are to go */
	bool has_record; /* they are deleted, whatever happens: a record says so */
	struct deletion_report report;
	const struct message *message; /* the one that was looked at last, */
	struct record_file file;       /* and its file */
	struct record_key *keys;
	size_t key_count;
};

static void free_keys(struct deletion *deletion)
{
	free(deletion->keys);
}

#define auto_deletion __attribute__((cleanup(free_keys)))

static int identify_file(const struct subdirs *subdirs, struct message *message, void *context)
{
	struct deletion *deletion = context;

	deletion->message = message;
	return record_identify(subdirs->fds[message->subdir], message->name, &deletion->file);
}

/* The key of the message that was looked at last. */
static int make_key(const struct deletion *deletion, struct record_key *ret)
{
	return record_make_key(deletion->message->name, deletion->message->unique_octets,
			       &deletion->file, ret);
}

/* It is not in the listing any more, for the client and for us. */
static void mark_expunged(struct message *message)
{
	message->marks |= MARK_GONE | MARK_EXPUNGED;
	message->marks &= (uint8_t) ~(MARK_CHOSEN | MARK_DELETED);
	message->octets = LISTING_SIZE_UNKNOWN;
}

/* Finds out what the chosen messages' files are. Those that are gone already count as deleted. */
static int identify_chosen(struct deletion *deletion)
{
	deletion->keys = calloc(deletion->count, sizeof(*deletion->keys));
	if (!deletion->keys)
		return -ENOMEM;
	for (size_t i = 0; i < deletion->listing->count; i++) {
		struct message *message = &deletion->listing->messages[i];
		int r;

		if (!(message->marks & MARK_CHOSEN))
			continue;
		r = listing_with_file(deletion->listing, &deletion->lock->subdirs, message,
				      identify_file, deletion);
		if (r == -ENOENT) {
			mark_expunged(message);
			deletion->count--;
			deletion->report.deleted++;
			continue;
		}
		if (r == 0 && deletion->count > 1)
			r = make_key(deletion, &deletion->keys[deletion->key_count++]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Whether permissions and the file system let the chosen messages be removed: asked before the
 * commit point. */
static int check_subdirs(const struct deletion *deletion)
{
	bool is_checked[SUBDIRS] = { false };

	for (size_t i = 0; i < deletion->listing->count; i++) {
		const struct message *message = &deletion->listing->messages[i];

		if (!(message->marks & MARK_CHOSEN) || is_checked[message->subdir])
			continue;
		is_checked[message->subdir] = true;
		if (faccessat(deletion->lock->subdirs.fds[message->subdir], ".", W_OK | X_OK, 0) <
		    0)
			return -errno;
	}
	return 0;
}

/* Writes the record of the keys that have been collected; not over one that is still needed. */
static int write_record(struct deletion *deletion)
{
	const struct lock *lock = deletion->lock;
	int r = deletion->listing->record_error ?: lock->state_error;

	if (r == 0)
		r = record_write(lock->state_fd, lock->root_fd, deletion->keys,
				 deletion->key_count);
	deletion->has_record = r == 0;
	return r;
}

static int unlink_file(const struct subdirs *subdirs, struct message *message, void *context)
{
	(void)context;
	if (unlinkat(subdirs->fds[message->subdir], message->name, 0) < 0)
		return -errno;
	return 0;
}

/* Removes the chosen messages' files. Without a record it ends at the first that stays. */
static int unlink_chosen(struct deletion *deletion)
{
	for (size_t i = 0; i < deletion->listing->count; i++) {
		struct message *message = &deletion->listing->messages[i];
		int r;

		if (!(message->marks & MARK_CHOSEN))
			continue;
		r = listing_with_file(deletion->listing, &deletion->lock->subdirs, message,
				      unlink_file, NULL);
		if (r < 0 && r != -ENOENT && !deletion->has_record)
			return r;
		if (r < 0 && r != -ENOENT) {
			deletion->report.hidden++;
			deletion->report.error =
				deletion->report.error ? deletion->report.error : r;
		}
		if (r != -ENOENT)
			listing_mark(deletion->listing, message, MARK_REMOVED);
		mark_expunged(message);
		deletion->report.deleted++;
	}
	return 0;
}

/* Makes removals outlast a loss of power. Both directories must be on the disk: a file may have
 * been moved just before, and a session that was killed may have removed files from either. */
static int sync_subdirs(const struct deletion *deletion)
{
	int r = 0;

	for (size_t i = 0; i < SUBDIRS; i++) {
		int fd = deletion->lock->subdirs.fds[i];

		/* EINVAL: this file system knows no such thing, and we none better. */
		if (fd >= 0 && fsync(fd) < 0 && errno != EINVAL)
			r = -errno;
	}
	return r;
}

/* Completes a deletion after its commit point. While files cannot be removed, the record stays and
 * hides their messages. */
static void complete_deletion(struct deletion *deletion)
{
	int r;

	(void)unlink_chosen(deletion);
	r = sync_subdirs(deletion);
	if (deletion->report.error)
		r = deletion->report.error;
	if (r == 0)
		r = record_clear(deletion->lock->state_fd);
	deletion->listing->record_error = deletion->report.error = r;
}

/* Removes messages without a record, and makes that last. If it cannot be made so, a record may. */
static int delete_without_record(struct deletion *deletion)
{
	int r = unlink_chosen(deletion);
	int error = sync_subdirs(deletion);

	if (r < 0 || error == 0)
		return r;
	if (deletion->key_count == 0)
		r = make_key(deletion, &deletion->keys[deletion->key_count++]);
	return r == 0 && write_record(deletion) == 0 ? 0 : error;
}

/* Deletes the chosen messages, all or none. One needs no record: unlink(2) is atomic. If the disk
 * has no space for a record they go one by one: else nobody could ever free space. */
static int delete_chosen(struct deletion *deletion)
{
	int r = identify_chosen(deletion);

	if (r < 0)
		return r;
	if (deletion->count == 0)
		return sync_subdirs(deletion); /* others removed them, but for good? */
	if (deletion->count > 1) {
		r = check_subdirs(deletion);
		if (r == 0)
			r = write_record(deletion);
	}
	if (deletion->has_record)
		complete_deletion(deletion);
	else if (r == 0 || r == -ENOSPC || r == -EDQUOT)
		r = delete_without_record(deletion);
	return r;
}

int deletion_run(struct listing *listing, struct lock *lock, struct deletion_report *ret)
{
	auto_deletion struct deletion deletion = { .listing = listing, .lock = lock };
	int r = 0;

	for (size_t i = 0; i < listing->count; i++)
		deletion.count += (listing->messages[i].marks & MARK_CHOSEN) != 0;
	if (deletion.count > 0)
		r = delete_chosen(&deletion);
	for (size_t i = 0; i < listing->count && r < 0; i++)
		listing->messages[i].marks &= (uint8_t)~MARK_CHOSEN;
	*ret = deletion.report;
	return r;
}

/* Chooses the messages that a record says are deleted. */
static int choose_recorded(struct deletion *deletion, const struct record_key *keys, size_t count)
{
	for (size_t i = 0; i < deletion->listing->count; i++) {
		struct message *message = &deletion->listing->messages[i];
		struct record_key key;
		int r = listing_with_file(deletion->listing, &deletion->lock->subdirs, message,
					  identify_file, deletion);

		if (r == -ENOENT)
			continue;
		if (r == 0)
			r = make_key(deletion, &key);
		if (r < 0)
			return r;
		if (!record_has_key(keys, count, &key))
			continue;
		message->marks |= MARK_CHOSEN;
		deletion->count++;
	}
	return 0;
}

int deletion_recover(struct listing *listing, struct lock *lock, const struct record_key *keys,
		     size_t count, struct deletion_report *ret)
{
	auto_deletion struct deletion deletion = {
		.listing = listing,
		.lock = lock,
		.has_record = true,
	};
	int r = choose_recorded(&deletion, keys, count);

	if (r < 0)
		return r;
	listing->record_error = lock->state_error;
	if (listing->record_error == 0)
		complete_deletion(&deletion);
	else
		deletion.report = (struct deletion_report){ deletion.count, deletion.count,
							    listing->record_error };
	listing_drop(listing, MARK_GONE | MARK_CHOSEN);
	*ret = deletion.report;
	return 0;
}
