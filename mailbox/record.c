/* SPDX-License-Identifier: ISC
 * The record of a commit. Runs after login only. A record counts only if it is whole (a crash may
 * leave a part) and this mailbox's: a backup may have brought it here. Its keys, which have inodes,
 * match no restored file. None must be found that its writer reported as failed. */
#include "mailbox/record.h"

#include "lib/digest.h"
#include "lib/file-stamp.h"
#include "lib/util.h"

#include <assert.h>

/* The state file grows by this: what file systems allocate. */
#define BLOCK_OCTETS 4096

#define MAGIC UINT64_C(0x316d6d6f63336f70) /* ends in the version: "po3comm1" */

static const struct record no_record;

static_assert(sizeof(no_record) == 4 * sizeof(uint64_t) + DIGEST_OCTETS, "it has no holes");

static size_t record_octets(size_t count)
{
	return sizeof(struct record) + count * sizeof(struct record_key);
}

/* ---- Keys ---- */

/* What a key is made of is what stands before the times that may change. */
#define IDENTITY_OCTETS offsetof(struct record_file, modified_ns)

int record_identify(int dir_fd, const char *name, struct record_file *ret)
{
	struct statx status;

	if (statx(dir_fd, name, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &status) < 0)
		return -errno;
	*ret = (struct record_file){
		.inode = status.stx_ino,
		.modified_ns = file_stamp_ns(status.stx_mtime.tv_sec, status.stx_mtime.tv_nsec),
		.changed_ns = file_stamp_ns(status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec),
		.octets = status.stx_size,
		.links = status.stx_nlink,
	};
	if (status.stx_mask & STATX_BTIME)
		ret->born_ns = file_stamp_ns(status.stx_btime.tv_sec, status.stx_btime.tv_nsec);
	return 0;
}

struct record_key record_make_key(const char *unique, size_t unique_octets,
				  const struct record_file *file)
{
	struct sha256_ctx context;
	struct record_key key;

	sha256_init(&context);
	sha256_update(&context, IDENTITY_OCTETS, (const uint8_t *)file);
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

/* ---- Records ---- */

struct record *record_new(const struct record *other, size_t more)
{
	size_t count = other ? other->count : 0;
	struct record *record = calloc(1, record_octets(count + more));

	if (record && other)
		memcpy(record, other, record_octets(count));
	return record;
}

bool record_is_ours(int state_fd)
{
	uint64_t magic = 0;
	ssize_t n = util_pread(state_fd, &magic, sizeof(magic), 0);

	return n == 0 || (n == sizeof(magic) && (magic == 0 || magic == MAGIC));
}

int record_clear(int state_fd)
{
	return util_pwrite(state_fd, &no_record, sizeof(no_record), 0);
}

/* Puts in the digest of all of it, which it has with 0 in its place. */
static void seal(struct record *record, size_t octets)
{
	memset(record->seal, 0, sizeof(record->seal));
	digest_make(record, octets, record->seal); /* reads all before it writes */
}

int record_read(int state_fd, int mailbox_fd, struct record **ret)
{
	auto_free struct record *record = NULL;
	struct record header = { 0 };
	struct stat state, mailbox;
	size_t octets;
	ssize_t n = util_pread(state_fd, &header, sizeof(header), 0);

	if (n < 0)
		return (int)n;
	if (memcmp(&header, &no_record, sizeof(header)) == 0)
		return 0;
	if (fstat(state_fd, &state) < 0 || fstat(mailbox_fd, &mailbox) < 0)
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
	if (header.mailbox_inode != mailbox.st_ino)
		return -EMLINK;
	*ret = take_ptr(record);
	return 0;
}

int record_write(int state_fd, int mailbox_fd, struct record *record)
{
	auto_free struct record *found = NULL;
	size_t octets = record_octets(record->count);
	struct stat state, mailbox;
	int r;

	if (fstat(state_fd, &state) < 0 || fstat(mailbox_fd, &mailbox) < 0)
		return -errno;
	record->magic = MAGIC;
	record->state_inode = state.st_ino;
	record->mailbox_inode = mailbox.st_ino;
	qsort(record->keys, record->count, sizeof(*record->keys), compare_record_keys);
	seal(record, octets);
	r = util_pwrite(state_fd, record, octets, 0);
	/* The commit point: it outlasts a loss of power now (record_reserve() synced the name). */
	if (r == 0 && fdatasync(state_fd) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	/* Some of it may be there, or all. */
	if (record_clear(state_fd) == 0) {
		(void)fdatasync(state_fd);
		return r;
	}
	/* What every later session will go by, we must too. */
	return record_read(state_fd, mailbox_fd, &found) == 0 && found ? 0 : r;
}

int record_reserve(int state_fd, int mailbox_fd, uint64_t state_octets, size_t count)
{
	size_t octets = (record_octets(count) + BLOCK_OCTETS - 1) / BLOCK_OCTETS * BLOCK_OCTETS;
	auto_free char *nothing = NULL;

	if (state_octets >= octets)
		return 0;
	nothing = calloc(1, octets - state_octets);
	if (!nothing)
		return -ENOMEM;
	/* Syncs the name of a new file, so that a commit needs only to be written. */
	if (state_octets == 0 && fsync(mailbox_fd) < 0)
		return -errno;
	/* Octets, and not a hole: they have blocks on the disk. */
	return util_pwrite(state_fd, nothing, octets - state_octets, state_octets);
}
