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

/* Has the lock, and the record of a commit. The dot keeps it from being a message of a folder. It
 * is never removed, so that nobody holds the lock of a file that is not in the mailbox any more. */
#define STATE_NAME ".pop3-handler.state"

void lock_close(struct lock *lock)
{
	util_drop(&lock->state_fd); /* the lock goes with it, or with the directory */
	for (size_t i = 0; i < SUBDIRS; i++)
		util_drop(&lock->subdirs.fds[i]);
	util_drop(&lock->root_fd);
}

/* Opens a directory below another; no symbolic link can lead elsewhere. -ENOENT: there is none. */
static int open_directory(int parent_fd, const char *name, int *ret_fd)
{
	int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? -ENOENT : -errno;
	*ret_fd = fd;
	return 0;
}

/* Finds out which layout it is, and opens where the messages are. */
static int open_subdirs(int root_fd, struct subdirs *subdirs)
{
	int r = open_directory(root_fd, "new", &subdirs->fds[SUBDIR_NEW]);

	if (r == 0)
		r = open_directory(root_fd, "cur", &subdirs->fds[SUBDIR_CUR]);
	subdirs->is_maildir = r == 0;
	if (r != -ENOENT)
		return r;
	util_drop(&subdirs->fds[SUBDIR_NEW]);
	return open_directory(root_fd, ".", &subdirs->fds[SUBDIR_CUR]);
}

/* Locks the directory itself, for a mailbox in which no file can be made (a full disk, for
 * example): sessions with the same trouble exclude each other. Some shared file systems have no
 * such lock. */
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

/* An OFD lock: any death of the process frees it, and shared file systems honour it. */
static int lock_state(int state_fd)
{
	struct flock whole_file = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (fcntl(state_fd, F_OFD_SETLK, &whole_file) < 0)
		return errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
	return 0;
}

static int open_state(struct lock *lock, int flags)
{
	struct stat status;
	auto_fd int fd = util_open_regular_file(lock->root_fd, STATE_NAME, flags, &status);

	if (fd < 0)
		return fd == -ENXIO ? -EINVAL : fd;
	/* A file with another name may be another owner's, or be in a backup made of links. */
	if (status.st_nlink > 1 && !record_is_ours(fd))
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
