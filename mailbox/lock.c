/* SPDX-License-Identifier: ISC
 * Opens a mailbox, locks it, and reads and writes its record. Runs after login only. Trusts the
 * path, which administrators set, and nothing below it, which the owner of the mailbox can change.
 * - A record is valid only if it is whole (a crash may leave a part of it) and was written for this
 *   mailbox (a backup may have copied it). Its keys contain inodes, so it matches no restored file.
 * - A record whose writing was reported as failed must never be found. Only a disk that cannot even
 *   sync that it is void can bring it back, after a loss of power. */
#include "mailbox/lock.h"

#include "lib/util.h"

#include <assert.h>
#include <dirent.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>

/* The dot keeps the state file from being a message of a folder. */
#define STATE_NAME ".pop3-handler.state"

#define STATE_NEW_NAME ".pop3-handler.state.new"

#define ENTRIES_OCTETS 6144 /* of directory entries, read at once; small: each session has them */

/* The state file grows in steps of the usual block size. */
#define BLOCK_OCTETS 4096UL

#define MAGIC UINT64_C(0x316d6d6f63336f70) /* "po3comm1": the last digit is the version */

static const struct record no_record;

static_assert(sizeof(no_record) == 4 * sizeof(uint64_t) + DIGEST_OCTETS, "it has no holes");

#define ZFS_SUPER_MAGIC 0x2fc12fc1

/* ---- Directories ---- */

void lock_close(struct lock *lock)
{
	util_drop(&lock->state_fd); /* the lock is on this, or on root_fd */
	for (size_t i = 0; i < SUBDIRS; i++)
		util_drop(&lock->fds[i]);
	util_drop(&lock->root_fd);
	free(take_ptr(lock->old_record));
	lock->is_record_kept = false;
}

static mode_t type_of(int dir_fd, const char *name)
{
	struct stat status;

	return fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status.st_mode & S_IFMT :
									  0;
}

int lock_for_entries(int dir_fd, lock_entry_handler *handle, void *context)
{
	auto_free char *buffer = malloc(ENTRIES_OCTETS);
	ssize_t octets;

	if (!buffer)
		return -ENOMEM;
	if (lseek(dir_fd, 0, SEEK_SET) < 0)
		return -errno;
	while ((octets = getdents64(dir_fd, buffer, ENTRIES_OCTETS)) > 0) {
		for (ssize_t at = 0; at < octets;) {
			const struct dirent64 *entry = (const void *)(buffer + at);
			int r = handle(context, dir_fd, entry);

			if (r < 0)
				return r;
			at += entry->d_reclen;
		}
	}
	return octets < 0 ? -errno : 0;
}

/* For lock_for_entries(): recognises another program's store. */
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

/* Opens a folder. Refuses another program's store, because a client could delete its files. Checks
 * the names only if the directory has changed since the last check. */
static int open_folder(struct lock *lock)
{
	struct file_stamp stamp;
	int fd = openat(lock->root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int r = fd < 0 ? -errno : file_stamp_take(fd, &stamp);

	lock->fds[SUBDIR_CUR] = fd;
	if (r == 0 && memcmp(&stamp, &lock->looked_at, sizeof(stamp)) != 0)
		r = lock_for_entries(fd, look_for_store, &lock->report.problem);
	if (r == 0)
		lock->looked_at = stamp;
	return r;
}

int lock_open_subdirs(struct lock *lock)
{
	static const char *const names[] = { [SUBDIR_NEW] = "new", [SUBDIR_CUR] = "cur" };
	int opened = 0;

	for (size_t i = 0; i < SUBDIRS; i++) {
		int *fd = &lock->fds[i];

		if (*fd >= 0)
			continue;
		*fd = openat(lock->root_fd, names[i],
			     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		opened += *fd >= 0;
		if (*fd >= 0 || errno == ENOENT)
			continue;
		if (errno != ENOTDIR && errno != ELOOP)
			return -errno;
		if (type_of(lock->root_fd, names[i]) == S_IFLNK) {
			lock->report.problem = "its new or cur is a symbolic link";
			return -EMEDIUMTYPE;
		}
	}
	return opened;
}

/* ---- Records ---- */

static size_t record_octets(size_t count)
{
	return sizeof(struct record) + count * sizeof(struct record_key);
}

struct record_key record_make_key(const char *unique, size_t unique_octets, uint64_t inode,
				  int64_t born_ns)
{
	const uint64_t file[] = { inode, (uint64_t)born_ns };
	struct sha256_ctx context;
	struct record_key key;

	sha256_init(&context);
	sha256_update(&context, sizeof(file), (const uint8_t *)file);
	sha256_update(&context, unique_octets, (const uint8_t *)unique);
	sha256_digest(&context, sizeof(key.octets), key.octets);
	return key;
}

/* For qsort(3) and bsearch(3). */
static int compare_record_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct record_key));
}

bool record_has_key(const struct record *record, const struct record_key *key)
{
	return bsearch(key, record->keys, record->count, sizeof(*key), compare_record_keys) != NULL;
}

struct record *record_new(const struct record *other, size_t more)
{
	size_t count = other ? other->count : 0;
	struct record *record = calloc(1, record_octets(count + more));

	if (record && other)
		memcpy(record, other, record_octets(count));
	return record;
}

/* Whether a file looks like a state file: it is empty, or has a record or a void one. */
static bool has_record_space(int state_fd)
{
	uint64_t magic = 0;
	ssize_t n = util_pread(state_fd, &magic, sizeof(magic), 0);

	return n == 0 || (n == sizeof(magic) && (magic == 0 || magic == MAGIC));
}

int lock_clear_record(const struct lock *lock)
{
	return util_pwrite(lock->state_fd, &no_record, sizeof(no_record), 0);
}

static void seal(struct record *record, size_t octets)
{
	memset(record->seal, 0, sizeof(record->seal));
	digest_make(record, octets, record->seal); /* reads all before it writes */
}

/* Reads the record, which the caller frees. If there is none, returns 0 and leaves *ret. Errors:
 *   -EBADMSG  the record is damaged, or was copied here with a state file
 *   -EMLINK   another mailbox with the same state file needs it: it must not be changed */
static int record_read(const struct lock *lock, int state_fd, struct record **ret)
{
	auto_free struct record *record = NULL;
	struct record header = { 0 };
	struct stat state;
	size_t octets;
	ssize_t n = util_pread(state_fd, &header, sizeof(header), 0);

	if (n < 0)
		return (int)n;
	if (memcmp(&header, &no_record, sizeof(header)) == 0)
		return 0;
	if (fstat(state_fd, &state) < 0)
		return -errno;
	if (header.magic != MAGIC || header.state_inode != state.st_ino || header.count == 0 ||
	    header.count > (uint64_t)state.st_size / sizeof(struct record_key))
		return -EBADMSG;
	octets = record_octets(header.count);
	record = record_new(NULL, header.count);
	if (!record)
		return -ENOMEM;
	n = util_pread(state_fd, record->keys, octets - sizeof(header), sizeof(header));
	if (n < 0)
		return (int)n;
	/* A read without the lock may see a record half written: the seal shows that. */
	*record = header;
	seal(record, octets);
	if ((size_t)n < octets - sizeof(header) || memcmp(record, &header, sizeof(header)) != 0)
		return -EBADMSG;
	/* A copy of a mailbox that is made of hard links shares the original's state file. */
	if (header.mailbox_inode != lock->inode)
		return -EMLINK;
	*ret = take_ptr(record);
	return 0;
}

static int record_write(const struct lock *lock, int state_fd, struct record *record)
{
	auto_free struct record *found = NULL;
	size_t octets = record_octets(record->count);
	struct stat state;
	int r;

	if (fstat(state_fd, &state) < 0)
		return -errno;
	record->magic = MAGIC;
	record->state_inode = state.st_ino;
	record->mailbox_inode = lock->inode;
	qsort(record->keys, record->count, sizeof(*record->keys), compare_record_keys);
	seal(record, octets);
	r = util_pwrite(state_fd, record, octets, 0);
	/* The commit point, if the name of the file is durable; else that is still to come. */
	if (r == 0 && fdatasync(state_fd) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	/* A part of the record may be on the disk, or the whole record. */
	if (util_pwrite(state_fd, &no_record, sizeof(no_record), 0) == 0) {
		(void)fdatasync(state_fd);
		return r;
	}
	/* The record cannot be voided. If it is whole, later sessions find it: the commit holds. */
	return record_read(lock, state_fd, &found) == 0 && found ? 0 : r;
}

/* Makes the name of a new state file durable. A file with octets has been reserved or written to,
 * which comes after this. EINVAL: this file system cannot sync directories. */
static int sync_name(const struct lock *lock)
{
	return lock->state_octets > 0 || fsync(lock->root_fd) == 0 || errno == EINVAL ? 0 : -errno;
}

int lock_reserve_record(struct lock *lock, size_t count)
{
	size_t octets = roundup(record_octets(count), BLOCK_OCTETS);
	auto_free char *nothing = NULL;
	int r;

	if (lock->state_octets >= octets)
		return 0;
	nothing = calloc(1, octets - lock->state_octets);
	r = nothing ? sync_name(lock) : -ENOMEM;
	/* Writes zeros, because a hole would have no blocks on the disk. */
	r = r	  ?:
		    util_pwrite(lock->state_fd, nothing, octets - lock->state_octets,
				lock->state_octets);
	if (r == 0)
		lock->state_octets = octets;
	return r;
}

/* ---- The lock ---- */

/* An OFD lock: the kernel releases it if the process dies, and shared file systems honour it. */
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
	/* A hard link may be a file of another owner, or belong to a backup made of links. */
	if (status.st_nlink > 1 && !has_record_space(fd))
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

/* Where the state file cannot be written (on a full disk, for example), opens it for reading, and
 * locks the directory instead. Some shared file systems cannot lock directories. */
static int read_state(struct lock *lock)
{
	int r;

	if (!lock->is_read_only && flock(lock->root_fd, LOCK_EX | LOCK_NB) < 0 &&
	    errno == EWOULDBLOCK)
		return -EBUSY;
	r = open_state(lock, O_RDONLY);
	if (r == -EIO || r == -ENFILE || r == -EMFILE || r == -ENOMEM)
		return r;
	/* A state file of another owner is reported; with EROFS nothing can be changed anyway. */
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
	/* Drops what this host caches of the file, because another host may have written it: the
	 * page cache, and GlusterFS's quick-read, which needs a (void) change of the file. */
	if (!lock->is_local) {
		(void)fallocate(lock->state_fd, FALLOC_FL_KEEP_SIZE, 0, 1);
		(void)posix_fadvise(lock->state_fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	/* Another session may just have replaced the file, with one that it has locked. */
	return lock_check(lock) == 0 ? 0 : -EBUSY;
}

static int read_record(struct lock *lock)
{
	int r = lock->state_fd >= 0 ? record_read(lock, lock->state_fd, &lock->old_record) : 0;

	lock->is_record_kept = lock->old_record || r == -EMLINK;
	lock->report.has_bad_record = r == -EBADMSG || r == -EMLINK;
	if (r == -EBADMSG && lock->state_error == 0) /* reported only once */
		(void)lock_clear_record(lock);
	return lock->report.has_bad_record ? 0 : r;
}

static void identify_file_system(struct lock *lock)
{
	static const uint32_t keeping[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC,	BTRFS_SUPER_MAGIC,
					    TMPFS_MAGIC,      RAMFS_MAGIC,	F2FS_SUPER_MAGIC,
					    ZFS_SUPER_MAGIC,  NILFS_SUPER_MAGIC };
	struct statfs status = { 0 };
	uint32_t type;

	(void)fstatfs(lock->root_fd, &status);
	type = (uint32_t)status.f_type;
	for (size_t i = 0; i < ARRAY_SIZE(keeping); i++)
		lock->keeps_inodes |= type == keeping[i];
	lock->is_local = lock->keeps_inodes || type == OVERLAYFS_SUPER_MAGIC ||
			 type == MSDOS_SUPER_MAGIC || type == EXFAT_SUPER_MAGIC;
}

/* Opens the directory at `path`. -ESTALE: it is not the one that was there before. */
static int open_root(const char *path, struct lock *lock)
{
	struct stat status;
	int r;

	lock->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = lock->root_fd < 0 ? -errno : 0;
	/* The sandbox may deny access to a new directory: stat(2) still shows that it is one. */
	if ((r == 0 ? fstat(lock->root_fd, &status) : stat(path, &status)) < 0)
		return -errno;
	if (r == 0 && lock->inode == 0) {
		lock->device = status.st_dev;
		lock->inode = status.st_ino;
		identify_file_system(lock);
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
	r = r ?: lock_open_subdirs(lock);
	lock->is_maildir = r > 0;
	if (r == 0)
		r = open_folder(lock);
	r = MIN(r, 0) ?: take_lock(lock);
	if (r == 0 && !lock->is_maildir) /* a new state file has changed the directory */
		r = file_stamp_take(lock->fds[SUBDIR_CUR], &lock->looked_at);
	r = r ?: read_record(lock);
	if (r < 0)
		lock_close(lock);
	return r;
}

int lock_open(const char *path, struct lock *lock)
{
	int r = open_once(path, lock);

	/* A shared file system may notice only now that another host has replaced something. */
	return r == -ESTALE ? open_once(path, lock) : r;
}

int lock_write_record(struct lock *lock, struct record *record)
{
	auto_fd int fd = -1;
	int r;

	if (!lock->is_record_kept) /* the name is durable already, unless no space was reserved */
		return sync_name(lock) ?: record_write(lock, lock->state_fd, record);
	/* The new file is locked before it gets its name: no other session can lock it first. */
	fd = util_create(lock->root_fd, STATE_NEW_NAME);
	r = fd < 0 ? fd : lock_state(fd) ?: record_write(lock, fd, record);
	r = util_replace(lock->root_fd, STATE_NAME, STATE_NEW_NAME, r);
	if (r < 0)
		return r;
	util_drop(&lock->state_fd);
	lock->state_fd = take_fd(&fd);
	lock->state_inode = record->state_inode;
	/* If this fails, later sessions find the record all the same, unless the power goes. */
	(void)fsync(lock->root_fd);
	return 0;
}
