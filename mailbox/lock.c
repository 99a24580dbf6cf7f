/* SPDX-License-Identifier: ISC
 * The directories of a mailbox and its lock. Runs after login only. The path is the administrator's
 * and the account's; what is below it is whatever its owner put there. */
#include "mailbox/lock.h"

#include "lib/util.h"

#include <dirent.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>

/* Has the lock and the record of a commit. The dot keeps it from being a folder's message. It may
 * be replaced by one that is locked before: lock_check() notices. */
#define STATE_NAME ".pop3-handler.state"

#define STATE_NEW_NAME ".pop3-handler.state.new"

#define ZFS_SUPER_MAGIC 0x2fc12fc1

void lock_close(struct lock *lock)
{
	util_drop(&lock->state_fd); /* the lock goes with it, or with the directory */
	for (size_t i = 0; i < SUBDIRS; i++)
		util_drop(&lock->subdirs.fds[i]);
	util_drop(&lock->root_fd);
	free(take_ptr(lock->left));
	lock->subdirs.clock_fd = -1;
	lock->is_record_kept = false;
}

static mode_t type_of(int dir_fd, const char *name)
{
	struct stat status;

	return fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_mode & S_IFMT :
									  0;
}

/* For listing_for_entries(): finds out whose store a directory is that is no Maildir. */
static int look_for_store(void *context, int dir_fd, const struct dirent64 *entry)
{
	static const char *const stores[][2] = {
		{ "dovecot.?(list.|map.)index*", "it looks like a mail store of Dovecot" },
		{ "dovecot-uidlist", "it looks like a Maildir of Dovecot without new and cur" },
		{ "courier@(pop3dsizelist|imapsubscribed|imapuiddb)",
		  "it looks like a Maildir of Courier without new and cur" },
		{ "maildirsize", "it looks like a Maildir++ without new and cur" },
		{ "maildirfolder", "it looks like a Maildir++ folder without new and cur" },
	};
	const char **problem = context, *name = entry->d_name;
	bool is_dbox = strcmp(name, "dbox-Mails") == 0 ||
		       (strcmp(name, "mailboxes") == 0 && type_of(dir_fd, "storage") == S_IFDIR);

	if (is_dbox && type_of(dir_fd, name) == S_IFDIR)
		*problem = "it looks like a dbox of Dovecot";
	for (size_t i = 0; i < ARRAY_SIZE(stores); i++) {
		if (fnmatch(stores[i][0], name, FNM_EXTMATCH) == 0)
			*problem = stores[i][1];
	}
	return *problem ? -EMEDIUMTYPE : 0;
}

/* A folder, unless it has something of another program's store, which no client may delete. It is
 * looked at once, and again when it has changed. */
static int open_folder(struct lock *lock)
{
	struct file_stamp stamp;
	int fd = openat(lock->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return -errno;
	lock->subdirs.fds[SUBDIR_CUR] = fd;
	r = file_stamp_take(fd, &stamp);
	if (r == 0 && memcmp(&stamp, &lock->looked_at, sizeof(stamp)) != 0)
		r = listing_for_entries(fd, look_for_store, &lock->report.problem);
	if (r == 0)
		lock->looked_at = stamp;
	return r;
}

/* Finds out which layout it is, and opens where the messages are. */
static int open_subdirs(struct lock *lock)
{
	int r = listing_open_subdirs(&lock->subdirs);

	if (r == -EMEDIUMTYPE)
		lock->report.problem = "its new or cur is a symbolic link";
	lock->subdirs.is_maildir = r > 0;
	return r == 0 ? open_folder(lock) : MIN(r, 0);
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
	lock->state_inode = status.st_ino;
	lock->state_octets =
		status.st_blocks * S_BLKSIZE < status.st_size ? 0 : (uint64_t)status.st_size;
	lock->state_fd = take_fd(&fd);
	return 0;
}

int lock_check(const struct lock *lock)
{
	struct stat status;

	if (fstatat(lock->root_fd, STATE_NAME, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? -ENOLCK : -errno;
	return status.st_ino == lock->state_inode ? 0 : -ENOLCK;
}

/* Opens the state file for its record only, where none can be written (a full disk, for example).
 * Sessions with that trouble lock the directory. Some shared file systems have no such lock. */
static int read_state(struct lock *lock)
{
	int r;

	if (!lock->is_read_only && flock(lock->root_fd, LOCK_EX | LOCK_NB) < 0 &&
	    errno == EWOULDBLOCK)
		return -EBUSY;
	r = open_state(lock, O_RDONLY);
	if (r == -EIO || r == -ENFILE || r == -EMFILE || r == -ENOMEM)
		return r;
	/* If it is another owner's, others can be made beside it. */
	lock->report.has_bad_state = r == 0 ? lock->state_error != -EROFS : r != -ENOENT;
	return 0;
}

static int take_lock(struct lock *lock)
{
	int r = lock->is_read_only ? -EROFS : open_state(lock, O_RDWR | O_CREAT);

	if (r == -EROFS || r == -EACCES || r == -EPERM || r == -ENOSPC || r == -EDQUOT) {
		lock->state_error = r;
		return read_state(lock);
	}
	r = r ?: lock_state(lock->state_fd);
	if (r < 0)
		return r;
	lock->subdirs.clock_fd = lock->state_fd;
	/* Ends what this host knows of a file that another may have written: the kernel's pages,
	 * and GlusterFS's quick-read, which only a change ends. This one changes nothing. */
	if (!lock->subdirs.is_local) {
		(void)fallocate(lock->state_fd, FALLOC_FL_KEEP_SIZE, 0, 1);
		(void)posix_fadvise(lock->state_fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	/* Else its session has just replaced it. */
	return lock_check(lock) == 0 ? 0 : -EBUSY;
}

/* Reads the record that an earlier session has left. */
static int read_record(struct lock *lock)
{
	int r = lock->state_fd >= 0 ? record_read(lock->state_fd, lock->root_fd, &lock->left) : 0;

	lock->is_record_kept = lock->left || r == -EMLINK;
	lock->report.has_bad_record = r == -EBADMSG || r == -EMLINK;
	if (r == -EBADMSG && lock->state_error == 0) /* reported once is enough */
		(void)record_clear(lock->state_fd);
	return lock->report.has_bad_record ? 0 : r;
}

/* Finds out if only this host changes the file system, and if inodes keep their numbers. */
static void identify_file_system(int fd, struct subdirs *subdirs)
{
	static const uint32_t keeping[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,	BTRFS_SUPER_MAGIC,
					    TMPFS_MAGIC,      RAMFS_MAGIC,	F2FS_SUPER_MAGIC,
					    ZFS_SUPER_MAGIC,  NILFS_SUPER_MAGIC };
	struct statfs status = { 0 };
	uint32_t type;

	(void)fstatfs(fd, &status);
	type = (uint32_t)status.f_type;
	for (size_t i = 0; i < ARRAY_SIZE(keeping); i++)
		subdirs->keeps_inodes |= type == keeping[i];
	subdirs->is_local = subdirs->keeps_inodes || type == OVERLAYFS_SUPER_MAGIC ||
			    type == MSDOS_SUPER_MAGIC || type == EXFAT_SUPER_MAGIC;
}

/* Opens the directory at `path`, if it is the one that it was before. */
static int open_root(const char *path, struct lock *lock)
{
	struct stat status;
	int r;

	lock->root_fd = lock->subdirs.root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = lock->root_fd < 0 ? -errno : 0;
	/* What it was replaced by, the sandbox may deny. */
	if ((r == 0 ? fstat(lock->root_fd, &status) : stat(path, &status)) < 0)
		return -errno;
	if (r == 0 && lock->inode == 0) {
		lock->device = status.st_dev;
		lock->inode = status.st_ino;
		identify_file_system(lock->root_fd, &lock->subdirs);
	}
	if (lock->inode != 0 && (lock->device != status.st_dev || lock->inode != status.st_ino))
		return -ESTALE;
	return r;
}

static int open_once(const char *path, struct lock *lock)
{
	int r = open_root(path, lock);

	lock->state_error = r;
	lock->report.is_missing = r == -ENOENT;
	if (r == -ENOENT)
		return 0;
	r = r ?: open_subdirs(lock) ?: take_lock(lock);
	if (r == 0 && !lock->subdirs.is_maildir) /* the state file may be new */
		r = file_stamp_take(lock->subdirs.fds[SUBDIR_CUR], &lock->looked_at);
	r = r ?: read_record(lock);
	if (r < 0)
		lock_close(lock);
	return r;
}

int lock_open(const char *path, struct lock *lock)
{
	int r = open_once(path, lock);

	/* When another host has replaced something, a shared file system knows only then. */
	return r == -ESTALE ? open_once(path, lock) : r;
}

int lock_write_record(struct lock *lock, struct record *record)
{
	auto_fd int fd = -1;
	int r;

	if (!lock->is_record_kept)
		return record_write(lock->state_fd, lock->root_fd, record);
	/* A new file, which is locked before anybody can see it. */
	fd = util_create(lock->root_fd, STATE_NEW_NAME);
	r = fd < 0 ? fd : lock_state(fd) ?: record_write(fd, lock->root_fd, record);
	r = util_replace(lock->root_fd, STATE_NAME, STATE_NEW_NAME, r);
	if (r < 0)
		return r;
	util_drop(&lock->state_fd);
	lock->state_fd = lock->subdirs.clock_fd = take_fd(&fd);
	lock->state_inode = record->state_inode;
	/* If this fails, it is there all the same, and what every later session will go by. */
	(void)fsync(lock->root_fd);
	return 0;
}
