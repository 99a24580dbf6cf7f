/* SPDX-License-Identifier: ISC
 * The directories of a mailbox, its lock and its record. Runs after login only. The path is the
 * administrator's and the account's; what is below it is whatever its owner put there. A record
 * counts only if it is whole (a crash may leave a part) and this mailbox's: a backup may have
 * brought it here. Its keys, which have inodes, match no restored file. None must be found that its
 * writer reported as failed. */
#include "mailbox/lock.h"

#include "lib/util.h"

#include <assert.h>
#include <dirent.h>
#include <fnmatch.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/vfs.h>

/* Has the lock and the record of a commit. The dot keeps it from being a folder's message. It may
 * be replaced by one that is locked before: lock_check() notices. */
#define STATE_NAME ".pop3-handler.state"

#define STATE_NEW_NAME ".pop3-handler.state.new"

#define ENTRIES_OCTETS 6144 /* of directory entries at once; little, for each session has it */

/* The state file grows by this: what file systems allocate. */
#define BLOCK_OCTETS 4096

#define MAGIC UINT64_C(0x316d6d6f63336f70) /* ends in the version: "po3comm1" */

static const struct record no_record;

static_assert(sizeof(no_record) == 4 * sizeof(uint64_t) + DIGEST_OCTETS, "it has no holes");

#define ZFS_SUPER_MAGIC 0x2fc12fc1

/* ---- Directories ---- */

void lock_close(struct lock *lock)
{
	util_drop(&lock->state_fd); /* the lock goes with it, or with the directory */
	for (size_t i = 0; i < SUBDIRS; i++)
		util_drop(&lock->fds[i]);
	util_drop(&lock->root_fd);
	free(take_ptr(lock->left));
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

/* For lock_for_entries(): finds out whose store a directory is that is no Maildir. */
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

/* Whether a file is one for records: empty, or with a record, void or of another mailbox. */
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

/* Puts in the digest of all of it, which it has with 0 in its place. */
static void seal(struct record *record, size_t octets)
{
	memset(record->seal, 0, sizeof(record->seal));
	digest_make(record, octets, record->seal); /* reads all before it writes */
}

/* Reads the record, if there is one, for the caller to free; else *ret stays. Returns 0, or
 *   -EBADMSG  it is damaged, or was written elsewhere and came here
 *   -EMLINK   it is another mailbox's that has the same state file: it must not be changed */
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
	/* Another process may write it while one that has no lock reads: the seal shows that. */
	*record = header;
	seal(record, octets);
	if ((size_t)n < octets - sizeof(header) || memcmp(record, &header, sizeof(header)) != 0)
		return -EBADMSG;
	/* A copy made of hard links has the very state file of the other mailbox. */
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
	/* The commit point: it outlasts a loss of power now (lock_reserve_record() synced the
	 * name). */
	if (r == 0 && fdatasync(state_fd) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	/* Some of it may be there, or all. */
	if (util_pwrite(state_fd, &no_record, sizeof(no_record), 0) == 0) {
		(void)fdatasync(state_fd);
		return r;
	}
	/* What every later session will go by, we must too. */
	return record_read(lock, state_fd, &found) == 0 && found ? 0 : r;
}

int lock_reserve_record(const struct lock *lock, size_t count)
{
	uint64_t state_octets = lock->state_octets;
	size_t octets = (record_octets(count) + BLOCK_OCTETS - 1) / BLOCK_OCTETS * BLOCK_OCTETS;
	auto_free char *nothing = NULL;

	if (state_octets >= octets)
		return 0;
	nothing = calloc(1, octets - state_octets);
	if (!nothing)
		return -ENOMEM;
	/* Syncs the name of a new file, so that a commit needs only to be written. */
	if (state_octets == 0 && fsync(lock->root_fd) < 0)
		return -errno;
	/* Octets, and not a hole: they have blocks on the disk. */
	return util_pwrite(lock->state_fd, nothing, octets - state_octets, state_octets);
}

/* ---- The lock ---- */

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
	/* Ends what this host knows of a file that another may have written: the kernel's pages,
	 * and GlusterFS's quick-read, which only a change ends. This one changes nothing. */
	if (!lock->is_local) {
		(void)fallocate(lock->state_fd, FALLOC_FL_KEEP_SIZE, 0, 1);
		(void)posix_fadvise(lock->state_fd, 0, 0, POSIX_FADV_DONTNEED);
	}
	/* Else its session has just replaced it. */
	return lock_check(lock) == 0 ? 0 : -EBUSY;
}

/* Reads the record that an earlier session has left. */
static int read_record(struct lock *lock)
{
	int r = lock->state_fd >= 0 ? record_read(lock, lock->state_fd, &lock->left) : 0;

	lock->is_record_kept = lock->left || r == -EMLINK;
	lock->report.has_bad_record = r == -EBADMSG || r == -EMLINK;
	if (r == -EBADMSG && lock->state_error == 0) /* reported once is enough */
		(void)lock_clear_record(lock);
	return lock->report.has_bad_record ? 0 : r;
}

/* Finds out if only this host changes the file system, and if inodes keep their numbers. */
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

/* Opens the directory at `path`, if it is the one that it was before. */
static int open_root(const char *path, struct lock *lock)
{
	struct stat status;
	int r;

	lock->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = lock->root_fd < 0 ? -errno : 0;
	/* What it was replaced by, the sandbox may deny. */
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
	if (r == 0 && !lock->is_maildir) /* the state file may be new */
		r = file_stamp_take(lock->fds[SUBDIR_CUR], &lock->looked_at);
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
		return record_write(lock, lock->state_fd, record);
	/* A new file, which is locked before anybody can see it. */
	fd = util_create(lock->root_fd, STATE_NEW_NAME);
	r = fd < 0 ? fd : lock_state(fd) ?: record_write(lock, fd, record);
	r = util_replace(lock->root_fd, STATE_NAME, STATE_NEW_NAME, r);
	if (r < 0)
		return r;
	util_drop(&lock->state_fd);
	lock->state_fd = take_fd(&fd);
	lock->state_inode = record->state_inode;
	/* If this fails, it is there all the same, and what every later session will go by. */
	(void)fsync(lock->root_fd);
	return 0;
}
