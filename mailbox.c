/* SPDX-License-Identifier: ISC
 *
 * A session's view of a mailbox. Runs after login only. A file name is used only below a directory
 * that we hold open, never followed if it is a symbolic link, and a message that is not where it
 * was is looked for once more: others rename files at any moment. */
#include "mailbox.h"

#include "listing.h"
#include "name.h"
#include "util.h"
#include "wire.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

static_assert(MAILBOX_UNIQUE_ID_MAX == WIRE_UNIQUE_ID_MAX, "they are the same thing");

/* Begins with a dot: in a folder it must not be a message. It is never removed, so that nobody
 * can hold the lock of a file that no longer is in the mailbox. */
#define LOCK_NAME ".pop3-handler.lock"

/* How often a message that is being renamed is looked for. */
#define TRIES 5

#define READ_OCTETS 65536

enum mark {
	MARK_DELETED = 1,   /* by DELE, until the commit */
	MARK_RETRIEVED = 2, /* by RETR, in full */
	MARK_GONE = 4,	    /* the file is not there any more */
	MARK_EXPUNGED = 8,  /* because this session deleted it */
};

/* What is open while a session has the mailbox; -1 what is not. */
struct directories {
	int root_fd;
	int lock_fd;
	struct places places;
};

struct mailbox {
	char *path;
	enum mailbox_access access;
	struct directories directories;
	struct listing listing;
	bool knows_sizes; /* that are not from names */
};

/* ---- The directories and the lock ---- */

static void close_fd(int *fd)
{
	util_close(fd);
	*fd = -1;
}

static void directories_close(struct directories *directories)
{
	close_fd(&directories->lock_fd); /* the lock goes with it, or with the directory */
	for (size_t i = 0; i < PLACES; i++)
		close_fd(&directories->places.fds[i]);
	close_fd(&directories->root_fd);
}

/* Finds out which layout it is, and opens where the messages are. */
static int open_places(int root_fd, struct places *places)
{
	int r = listing_open_directory(root_fd, "new", &places->fds[PLACE_NEW]);

	if (r == 0)
		r = listing_open_directory(root_fd, "cur", &places->fds[PLACE_CUR]);
	places->is_maildir = r == 0;
	if (r != -ENOENT)
		return r;
	close_fd(&places->fds[PLACE_NEW]);
	return listing_open_directory(root_fd, ".", &places->fds[PLACE_CUR]);
}

/* Locks the directory itself, for where no file can be made in it: its owner must still get at his
 * mail, and on a full disk delete some. It keeps out those who have the same trouble. Some shared
 * file systems have no such lock; there it is none. */
static int lock_directory(int root_fd)
{
	if (flock(root_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return -EBUSY;
	return 0;
}

static bool is_unwritable(int error)
{
	return error == EROFS || error == EACCES || error == EPERM || error == ENOSPC ||
	       error == EDQUOT;
}

/* An open file description lock: it is freed by any death of the process, and shared file systems
 * honour it. */
static int take_lock(struct directories *directories)
{
	struct flock whole_file = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct stat status;

	directories->lock_fd =
		openat(directories->root_fd, LOCK_NAME,
		       O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, S_IRUSR | S_IWUSR);
	if (directories->lock_fd < 0)
		return is_unwritable(errno) ? lock_directory(directories->root_fd) : -errno;
	if (fstat(directories->lock_fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	if (fcntl(directories->lock_fd, F_OFD_SETLK, &whole_file) < 0)
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	return 0;
}

/* Opens what is at `path`, and takes the lock if there is something and it may be changed. */
static int directories_open(const char *path, enum mailbox_access access, struct directories *ret)
{
	int r;

	*ret = (struct directories){ .root_fd = -1, .lock_fd = -1, .places.fds = { -1, -1 } };
	ret->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->root_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = open_places(ret->root_fd, &ret->places);
	if (r == 0 && access == MAILBOX_READ_WRITE)
		r = take_lock(ret);
	if (r < 0)
		directories_close(ret);
	return r;
}

/* ---- A session's view of it ---- */

int mailbox_open(const char *path, enum mailbox_access access, struct mailbox **ret)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));
	int r;

	if (!mailbox)
		return -ENOMEM;
	mailbox->access = access;
	mailbox->path = strdup(path);
	r = directories_open(path, access, &mailbox->directories);
	if (r == 0)
		r = mailbox->path ? listing_read(&mailbox->directories.places, &mailbox->listing) :
				    -ENOMEM;
	if (r < 0)
		(void)mailbox_free(mailbox);
	else
		*ret = mailbox;
	return r;
}

struct mailbox *mailbox_free(struct mailbox *mailbox)
{
	if (mailbox) {
		directories_close(&mailbox->directories);
		listing_clear(&mailbox->listing);
		free(mailbox->path);
		free(mailbox);
	}
	return NULL;
}

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

int mailbox_find(struct mailbox *mailbox, const char *unique_id, size_t *ret_index)
{
	return listing_find(&mailbox->listing, unique_id, ret_index);
}

/* ---- Message files ---- */

/* Finds the names that all messages have now, and marks those that are gone: one look for all,
 * since who renames one message often renames many. */
static int look_again(struct mailbox *mailbox)
{
	auto_listing struct listing fresh = { 0 };
	int r = listing_read(&mailbox->directories.places, &fresh);

	for (size_t i = 0; i < mailbox->listing.count && r == 0; i++) {
		struct message *message = &mailbox->listing.messages[i];
		struct message *found = listing_find_like(&fresh, message);
		char *name;

		if (!found) {
			message->marks |= MARK_GONE;
			continue;
		}
		name = strdup(found->name); /* and not taken: the next search needs it */
		if (!name)
			return -ENOMEM;
		free(message->name);
		message->name = name;
		message->place = found->place;
	}
	return r;
}

/* Does something with a message's file, by its present name. `act` returns 0 or more, -ENOENT if
 * there is no such file, or another failure, which is passed on. Returns -ENOENT if the message is
 * gone, -EAGAIN if it is renamed faster than we can follow. */
static int with_file(struct mailbox *mailbox, struct message *message,
		     int (*act)(const struct mailbox *mailbox, struct message *message))
{
	for (int i = 0; i < TRIES; i++) {
		int r;

		if (message->marks & MARK_GONE)
			return -ENOENT;
		r = act(mailbox, message);
		if (r != -ENOENT)
			return r;
		/* In a folder the name is all there is to find a message by. */
		if (!mailbox->directories.places.is_maildir)
			message->marks |= MARK_GONE;
		else
			r = look_again(mailbox);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return -EAGAIN;
}

/* Opens a message's file, only if it is a regular one; never waits. */
static int open_file(const struct mailbox *mailbox, struct message *message)
{
	auto_fd int fd = openat(mailbox->directories.places.fds[message->place], message->name,
				O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat status;

	if (fd < 0)
		return errno == ELOOP || errno == ENXIO ? -ENOENT : -errno;
	if (fstat(fd, &status) < 0)
		return -errno;
	return S_ISREG(status.st_mode) ? take_fd(&fd) : -ENOENT;
}

int mailbox_message_open(struct mailbox *mailbox, size_t index, struct mailbox_message *ret)
{
	auto_fd int fd = with_file(mailbox, message_at(mailbox, index), open_file);
	struct stat status;

	if (fd < 0)
		return fd;
	if (fstat(fd, &status) < 0)
		return -errno;
	ret->left_octets = (uint64_t)status.st_size;
	ret->fd = take_fd(&fd);
	return 0;
}

ssize_t mailbox_message_read(struct mailbox_message *message, char *ret_octets, size_t max_octets)
{
	ssize_t n;

	/* What is added to the file from now on is not part of the message. */
	if (max_octets > message->left_octets)
		max_octets = (size_t)message->left_octets;
	if (max_octets == 0)
		return 0;
	do {
		n = read(message->fd, ret_octets, max_octets);
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n == 0 ? -ENODATA : -errno;
	message->left_octets -= (uint64_t)n;
	return n;
}

void mailbox_message_close(struct mailbox_message *message)
{
	close_fd(&message->fd);
}

static int count_octets(struct mailbox *mailbox, size_t index, uint64_t *ret_octets)
{
	auto_message struct mailbox_message message = { .fd = -1 };
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	auto_free char *octets = malloc(READ_OCTETS);
	size_t put;
	ssize_t n;
	int r;

	if (!octets)
		return -ENOMEM;
	r = mailbox_message_open(mailbox, index, &message);
	if (r < 0)
		return r;
	while ((n = mailbox_message_read(&message, octets, READ_OCTETS)) > 0)
		(void)wire_convert(&converter, octets, (size_t)n, NULL, 0, &put);
	if (n < 0)
		return (int)n;
	(void)wire_convert_end(&converter, NULL);
	*ret_octets = converter.octets;
	return 0;
}

int mailbox_size(struct mailbox *mailbox, size_t index, uint64_t *ret_octets)
{
	struct message *message = message_at(mailbox, index);
	int r = message->marks & MARK_GONE ? -ENOENT : 0;

	if (r == 0 && message->octets == LISTING_SIZE_UNKNOWN) {
		r = count_octets(mailbox, index, &message->octets);
		mailbox->knows_sizes = true;
	}
	if (r == 0)
		*ret_octets = message->octets;
	return r;
}

bool mailbox_retrieved(struct mailbox *mailbox, size_t index, uint64_t octets)
{
	struct message *message = message_at(mailbox, index);
	bool was_wrong = message->octets != LISTING_SIZE_UNKNOWN && message->octets != octets;

	message->marks |= MARK_RETRIEVED;
	message->octets = octets;
	mailbox->knows_sizes = true;
	return was_wrong;
}

/* ---- Deletion and flags ---- */

void mailbox_mark(struct mailbox *mailbox, size_t index)
{
	message_at(mailbox, index)->marks |= MARK_DELETED;
}

void mailbox_unmark_all(struct mailbox *mailbox)
{
	for (size_t i = 0; i < mailbox->listing.count; i++)
		mailbox->listing.messages[i].marks &= (uint8_t)~MARK_DELETED;
}

static int unlink_file(const struct mailbox *mailbox, struct message *message)
{
	if (unlinkat(mailbox->directories.places.fds[message->place], message->name, 0) < 0)
		return -errno;
	message->marks |= MARK_GONE;
	return 0;
}

int mailbox_delete(struct mailbox *mailbox, size_t index)
{
	struct message *message = message_at(mailbox, index);
	int r = with_file(mailbox, message, unlink_file);

	if (r < 0 && r != -ENOENT)
		return r;
	message->marks |= MARK_EXPUNGED;
	return 0;
}

int mailbox_commit(struct mailbox *mailbox, size_t *ret_deleted)
{
	*ret_deleted = 0;
	for (size_t i = 0; i < mailbox->listing.count; i++) {
		struct message *message = &mailbox->listing.messages[i];
		int r;

		if (!(message->marks & MARK_DELETED))
			continue;
		r = mailbox_delete(mailbox, i);
		if (r < 0)
			return r;
		message->marks &= (uint8_t)~MARK_DELETED;
		(*ret_deleted)++;
	}
	return 0;
}

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

static int mark_file_seen(const struct mailbox *mailbox, struct message *message)
{
	const int *fds = mailbox->directories.places.fds;
	auto_free char *name = NULL;
	int r = name_add_seen(message->name, &name);

	if (r < 0 || (message->place == PLACE_CUR && strcmp(name, message->name) == 0))
		return r;
	r = rename_file(fds[message->place], message->name, fds[PLACE_CUR], name);
	if (r < 0)
		return r;
	free(message->name);
	message->name = take_ptr(name);
	message->place = PLACE_CUR;
	return 0;
}

int mailbox_mark_seen(struct mailbox *mailbox)
{
	if (!mailbox->directories.places.is_maildir || mailbox->access == MAILBOX_READ_ONLY)
		return 0;
	for (size_t i = 0; i < mailbox->listing.count; i++) {
		struct message *message = &mailbox->listing.messages[i];
		int r;

		if (!(message->marks & MARK_RETRIEVED))
			continue;
		r = with_file(mailbox, message, mark_file_seen);
		if (r < 0 && r != -ENOENT)
			return r;
		message->marks &= (uint8_t)~MARK_RETRIEVED;
	}
	return 0;
}

/* ---- Sleep ---- */

void mailbox_sleep(struct mailbox *mailbox)
{
	directories_close(&mailbox->directories);
}

/* Replaces the listing by what is there now. */
static int list_anew(struct mailbox *mailbox, bool *ret_has_new)
{
	struct listing fresh = { 0 };
	int r = listing_read(&mailbox->directories.places, &fresh);

	if (r < 0)
		return r;
	*ret_has_new = listing_has_new(&fresh, &mailbox->listing);
	if (mailbox->directories.places.is_maildir)
		listing_keep_sizes(&fresh, &mailbox->listing);
	listing_clear(&mailbox->listing);
	mailbox->listing = fresh;
	return 0;
}

/* A folder's files may have changed, and its directory does not tell. */
static void forget_sizes(struct mailbox *mailbox)
{
	for (size_t i = 0; i < mailbox->listing.count && mailbox->knows_sizes; i++)
		mailbox->listing.messages[i].octets = LISTING_SIZE_UNKNOWN;
	mailbox->knows_sizes = false;
}

int mailbox_wake(struct mailbox *mailbox, bool *ret_has_new)
{
	int r = directories_open(mailbox->path, mailbox->access, &mailbox->directories);

	if (r == 0)
		r = listing_is_unchanged(&mailbox->listing, &mailbox->directories.places);
	if (r == 0) {
		r = list_anew(mailbox, ret_has_new);
	} else if (r > 0) {
		*ret_has_new = false;
		if (!mailbox->directories.places.is_maildir)
			forget_sizes(mailbox);
		r = 0;
	}
	if (r < 0)
		directories_close(&mailbox->directories);
	return r;
}
