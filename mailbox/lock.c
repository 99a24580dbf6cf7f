/* SPDX-License-Identifier: ISC
 *
 * The directories of a mailbox and its lock. Runs after login only. The path is the administrator's
 * and the account's; what is below it is whatever its owner put there. */
#include "mailbox/lock.h"

#include "lib/util.h"
#include "mailbox/record.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

/* The state file: it has the lock, and the record of a commit. It begins with a dot: in a folder it
 * must not be a message. It is never removed, so that nobody can hold the lock of a file that no
 * longer is in the mailbox. */
#define STATE_NAME ".pop3-handler.state"

void lock_close(struct lock *lock)
{
	util_drop(&lock->state_fd); /* the lock goes with it, or with the directory */
	for (size_t i = 0; i < SUBDIRS; i++)
		util_drop(&lock->subdirs.fds[i]);
	util_drop(&lock->root_fd);
}

/* Finds out which layout it is, and opens where the messages are. */
static int open_subdirs(int root_fd, struct subdirs *subdirs)
{
	int r = listing_open_directory(root_fd, "new", &subdirs->fds[SUBDIR_NEW]);

	if (r == 0)
		r = listing_open_directory(root_fd, "cur", &subdirs->fds[SUBDIR_CUR]);
	subdirs->is_maildir = r == 0;
	if (r != -ENOENT)
		return r;
	util_drop(&subdirs->fds[SUBDIR_NEW]);
	return listing_open_directory(root_fd, ".", &subdirs->fds[SUBDIR_CUR]);
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
static int lock_state(int state_fd)
{
	struct flock whole_file = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(state_fd, F_OFD_SETLK, &whole_file) < 0)
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	return 0;
}

static int open_state(struct lock *lock, int flags)
{
	auto_fd int fd = openat(lock->root_fd, STATE_NAME,
				flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, S_IRUSR | S_IWUSR);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	/* A file that has another name, too, may be somebody else's; or only be in a backup that is
	 * made of links. */
	if (!S_ISREG(status.st_mode) || (status.st_nlink > 1 && !record_is_ours(fd)))
		return -EINVAL;
	lock->state_octets = (uint64_t)status.st_size;
	lock->state_fd = take_fd(&fd);
	return 0;
}

/* Opens the state file for its record only, if there is one that can be read. */
static int read_state(struct lock *lock)
{
	int r = open_state(lock, O_RDONLY);

	return r == -EIO || r == -ENFILE || r == -EMFILE || r == -ENOMEM ? r : 0;
}

static int take_lock(struct lock *lock)
{
	int r = open_state(lock, O_RDWR | O_CREAT);

	if (r == 0)
		return lock_state(lock->state_fd);
	if (!is_unwritable(-r))
		return r;
	lock->state_error = r;
	r = lock_directory(lock->root_fd);
	return r == 0 ? read_state(lock) : r;
}

/* Opens what is at `path`, and then the state file as `open_its_state` does. */
static int open_with(const char *path, int (*open_its_state)(struct lock *lock), struct lock *ret)
{
	int r;

	*ret = LOCK_NONE;
	ret->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ret->root_fd < 0)
		return errno == ENOENT ? 0 : -errno;
	r = open_subdirs(ret->root_fd, &ret->subdirs);
	if (r == 0)
		r = open_its_state(ret);
	if (r < 0)
		lock_close(ret);
	return r;
}

int lock_open(const char *path, struct lock *ret)
{
	return open_with(path, take_lock, ret);
}

int lock_open_read_only(const char *path, struct lock *ret)
{
	int r = open_with(path, read_state, ret);

	ret->state_error = -EROFS;
	return r;
}
