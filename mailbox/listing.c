/* SPDX-License-Identifier: ISC
 * Reads the directories of a mailbox. Runs after login only. Trusts nothing in the directories:
 * other programs add, rename and delete files at any moment, and choose the names.
 * - Stamps prove that a read is stable if they are equal before and after it, and older than the
 *   clock's present tick: a second change within a tick would not change them.
 * - Until a read is stable, the listing is the union of all reads.
 * - A unique-id that a client may have seen never passes to another file. */
#include "mailbox/listing.h"

#include "lib/digest.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "mailbox/maildir-name.h"

#include <assert.h>
#include <dirent.h>
#include <fnmatch.h>
#include <sys/random.h>

/* How many ticks of the clock a read waits, at most, after the directories have changed. */
#define TICKS_MAX 5

/* The clock of a file server may tick this slowly. Where its time is unknown, or each host stamps
 * with its own clock, a stamp must be older than the margin to be trusted later. */
#define REMOTE_TICK_NS (20 * INT64_C(1000000))
#define REMOTE_MARGIN_NS (2 * UTIL_NS_PER_S)

/* A stamp this far in the future was made before the clock was set back. */
#define FUTURE_NS (10 * UTIL_NS_PER_S)

/* A namesake that has not changed for this long is renamed: its writer has finished. */
#define NAMESAKE_QUIET_NS (30 * UTIL_NS_PER_S)

/* In two lists that are sorted alike, the next match is mostly within this many messages. */
#define NEARBY 8UL

/* A stand-in begins with this; the digest in hexadecimal follows. */
#define STAND_IN_PREFIX "sha256"
static_assert(sizeof(STAND_IN_PREFIX) - 1 + 2UL * DIGEST_OCTETS == WIRE_UNIQUE_ID_MAX,
	      "a stand-in is as long as a unique-id may be");

/* ---- Change times ---- */

static int take_stamps(const struct lock *lock, struct file_stamp ret_stamps[STAMPS])
{
	struct stat ids;
	int r = 0;

	for (size_t i = 0; i < SUBDIRS && r == 0; i++) {
		ret_stamps[i] = (struct file_stamp){ 0 };
		if (lock->fds[i] >= 0)
			r = file_stamp_take(lock->fds[i], &ret_stamps[i]);
	}
	ret_stamps[STAMP_IDS] = (struct file_stamp){ 0 };
	if (lock->is_maildir &&
	    fstatat(lock->root_fd, LISTING_IDS_NAME, &ids, AT_SYMLINK_NOFOLLOW) == 0)
		ret_stamps[STAMP_IDS] = file_stamp_of(&ids);
	return r;
}

/* Whether a change of a directory after `now_ns` will change its stamp. */
static bool are_stable(const struct file_stamp stamps[STAMPS], int64_t now_ns)
{
	for (size_t i = 0; i < SUBDIRS; i++) {
		if (!file_stamp_is_stable(&stamps[i], now_ns) &&
		    stamps[i].changed_ns < now_ns + FUTURE_NS)
			return false;
	}
	return true;
}

/* The time that a change would get now. Touches the state file, to see a file server's clock. */
static int64_t now_on_disk_ns(const struct lock *lock)
{
	struct stat status;

	if (lock->state_error == 0 && futimens(lock->state_fd, NULL) == 0 &&
	    fstat(lock->state_fd, &status) == 0)
		return file_stamp_ns(status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
	return file_stamp_now_ns();
}

/* Begins a read: takes the time, and then the stamps. If a directory has just changed, waits for
 * the clock's next tick (milliseconds): else the read could not be stable. */
static int begin_read(struct listing *listing, int64_t *ret_now_ns)
{
	struct lock *lock = listing->lock;
	struct timespec tick;

	for (int i = 0;; i++) {
		int r;

		*ret_now_ns = now_on_disk_ns(lock);
		r = take_stamps(lock, listing->stamps);
		/* A missing directory may exist now. This comes after the other's stamp is taken,
		 * which then shows if files move between them. */
		if (r == 0 && lock->is_maildir && lock_open_subdirs(lock) != 0)
			r = take_stamps(lock, listing->stamps);
		if (r < 0 || !lock->is_local || i == TICKS_MAX ||
		    are_stable(listing->stamps, *ret_now_ns))
			return r;
		(void)clock_getres(CLOCK_REALTIME_COARSE, &tick);
		(void)nanosleep(&tick, NULL);
	}
}

/* How much older than now a stamp must be to be trusted later. */
static int64_t margin_ns(const struct lock *lock)
{
	return lock->is_local && lock->state_error == 0 ? 0 : REMOTE_MARGIN_NS;
}

bool listing_can_trust(const struct lock *lock, const struct file_stamp *stamp)
{
	return file_stamp_is_stable(stamp, file_stamp_now_ns() - margin_ns(lock));
}

bool listing_is_unchanged(const struct listing *listing)
{
	struct file_stamp stamps[STAMPS];

	return listing->has_stable_stamps && take_stamps(listing->lock, stamps) == 0 &&
	       memcmp(stamps, listing->stamps, sizeof(stamps)) == 0;
}

/* ---- Memory ---- */

/* The least size; the kernel gives no memory to pages that are not used yet. */
#define BLOCK_OCTETS (1 << 15)

struct block {
	struct block *next;
	size_t used, capacity;
	_Alignas(max_align_t) char octets[];
};

void *listing_allocate(struct listing *listing, size_t octets)
{
	struct block *block = listing->blocks;

	octets = roundup(octets, sizeof(uint64_t)); /* aligns the next allocation */
	if (!block || octets > block->capacity - block->used) {
		size_t capacity = MAX(octets, BLOCK_OCTETS);

		block = malloc(sizeof(*block) + capacity);
		if (!block)
			return NULL;
		*block = (struct block){ .next = listing->blocks, .capacity = capacity };
		listing->blocks = block;
	}
	block->used += octets;
	return block->octets + block->used - octets;
}

static char *copy_text(struct listing *listing, const char *text)
{
	size_t octets = strlen(text) + 1;
	char *copy = listing_allocate(listing, octets);

	return copy ? memcpy(copy, text, octets) : NULL;
}

/* Whether two versions are known to be of different files, or of a file that was written to. */
static bool differ(const struct file_stamp *a, const struct file_stamp *b)
{
	return a && b && (a->inode != b->inode || a->modified_ns != b->modified_ns);
}

void listing_set_version(struct listing *listing, struct message *message,
			 const struct file_stamp *version)
{
	message->is_replaced |= differ(message->version, version);
	if (!message->version)
		message->version = listing_allocate(listing, sizeof(*version));
	if (message->version)
		*message->version = *version;
}

/* Copies what a message points to in another listing. On failure the message is unchanged. */
static int copy_texts(struct listing *listing, struct message *message)
{
	const char *unique_id = message->unique_id ? copy_text(listing, message->unique_id) : NULL;
	const struct file_stamp *version = message->version;

	if ((message->unique_id && !unique_id) ||
	    listing_rename(listing, message, message->name) < 0)
		return -ENOMEM;
	message->unique_id = unique_id;
	if (!listing->lock->is_maildir && take_ptr(message->version))
		listing_set_version(listing, message, version);
	return 0;
}

void listing_clear(struct listing *listing)
{
	while (listing->blocks) {
		struct block *next = listing->blocks->next;

		free(listing->blocks);
		listing->blocks = next;
	}
	free(listing->messages);
	free(listing->by_unique_id);
	free(listing->imported);
	*listing = (struct listing){ 0 };
}

/* ---- Unique-ids ---- */

const char *listing_unique_id(const struct message *message, size_t *ret_octets)
{
	*ret_octets = message->unique_id ? strlen(message->unique_id) : message->unique_octets;
	return message->unique_id ? message->unique_id : message->name;
}

#define COMPARE(a, b) (((a) > (b)) - ((a) < (b)))

/* Compares octets; a prefix comes before a longer string. */
static int compare_octets(const char *a, size_t a_octets, const char *b, size_t b_octets)
{
	return memcmp(a, b, MIN(a_octets, b_octets)) ?: COMPARE(a_octets, b_octets);
}

bool listing_is_stand_in(const char *id, size_t octets)
{
	size_t prefix = sizeof(STAND_IN_PREFIX) - 1;

	return octets == WIRE_UNIQUE_ID_MAX && memcmp(id, STAND_IN_PREFIX, prefix) == 0 &&
	       strspn(id + prefix, "0123456789abcdef") >= octets - prefix;
}

/* Rejects a lone "_", which RFC 1939 allows, and names that could be forged stand-ins. */
static bool is_good_unique_id(const char *text, size_t octets)
{
	return wire_is_printable(text, octets, WIRE_UNIQUE_ID_MAX) &&
	       !(octets == 1 && *text == '_') && !listing_is_stand_in(text, octets);
}

/* Makes the stand-in of a message, with NUL. `inode`: of a namesake, else 0. */
static void make_stand_in(const struct message *message, uint64_t inode,
			  char ret_stand_in[WIRE_UNIQUE_ID_MAX + 1])
{
	unsigned char digest[DIGEST_OCTETS];
	char number[sizeof("/18446744073709551615")];
	int octets = snprintf(number, sizeof(number), "/%" PRIu64, inode);
	struct sha256_ctx context;

	sha256_init(&context);
	sha256_update(&context, message->unique_octets, (const uint8_t *)message->name);
	sha256_update(&context, inode == 0 ? 0 : (size_t)octets, (const uint8_t *)number);
	sha256_digest(&context, sizeof(digest), digest);
	ret_stand_in = stpcpy(ret_stand_in, STAND_IN_PREFIX);
	for (size_t i = 0; i < sizeof(digest); i++)
		(void)snprintf(ret_stand_in + 2 * i, 3, "%02x", digest[i]);
}

int listing_give_stand_in(struct listing *listing, struct message *message, uint64_t inode)
{
	char *stand_in = listing_allocate(listing, WIRE_UNIQUE_ID_MAX + 1);

	if (!stand_in)
		return -ENOMEM;
	make_stand_in(message, inode, stand_in);
	message->unique_id = stand_in;
	message->is_namesake = inode != 0;
	listing->namesakes += message->is_namesake;
	return 0;
}

int listing_import(struct listing *listing, struct message *message, const char *id, size_t octets)
{
	char *copy = NULL;

	message->is_imported = true;
	if (octets != message->unique_octets || memcmp(id, message->name, octets) != 0) {
		copy = listing_allocate(listing, octets + 1);
		if (!copy)
			return -ENOMEM;
		*(char *)mempcpy(copy, id, octets) = '\0';
	}
	message->unique_id = copy;
	return 0;
}

/* ---- Messages and their order ---- */

int listing_rename(struct listing *listing, struct message *message, const char *name)
{
	name = copy_text(listing, name);
	if (!name)
		return -ENOMEM;
	message->name = name;
	return 0;
}

int listing_add_name(struct listing *listing, struct message *message, const char *name,
		     enum subdir subdir)
{
	struct message *other = listing_allocate(listing, sizeof(*other));
	const char *copy = copy_text(listing, name);

	if (!other || !copy)
		return -ENOMEM;
	*other = (struct message){ .name = copy,
				   .subdir = (uint8_t)subdir,
				   .others = message->others };
	message->others = other;
	return 0;
}

/* The order of arrival; 0: the same unique part. */
static int compare_unique_parts(const void *left, const void *right)
{
	const struct message *a = left, *b = right;

	if (a->arrival_us != b->arrival_us) /* decides most calls */
		return a->arrival_us < b->arrival_us ? -1 : 1;
	return compare_octets(a->name, a->unique_octets, b->name, b->unique_octets);
}

/* For qsort(3): the order of arrival; 0: the same file name. */
static int compare_messages(const void *left, const void *right)
{
	const struct message *a = left, *b = right;

	return compare_unique_parts(a, b) ?: strcmp(a->name, b->name) ?: a->subdir - b->subdir;
}

/* Sorts the messages that were read, and drops duplicates. Copies what they point to in the same
 * order, so that later passes read memory sequentially. After a failure the listing is unusable. */
static int sort_names(struct listing *listing)
{
	auto_listing struct listing unsorted = { 0 };
	struct message *messages = listing->messages;
	size_t count = listing->count;

	if (count == 0)
		return 0;
	unsorted.blocks = take_ptr(listing->blocks);
	listing->count = 0;
	qsort(messages, count, sizeof(*messages), compare_messages);
	for (size_t i = 0; i < count; i++) {
		struct message *message = &messages[listing->count];

		/* Names are in the order of the directory: each access would miss the CPU cache. */
		if (i + 8 < count)
			__builtin_prefetch(messages[i + 8].name);
		if (i > 0 && compare_messages(&messages[i], message - 1) == 0)
			continue;
		*message = messages[i];
		if (copy_texts(listing, message) < 0)
			return -ENOMEM;
		listing->count++;
	}
	return 0;
}

void listing_drop_expunged(struct listing *listing)
{
	size_t left = 0;

	for (size_t i = 0; i < listing->count; i++) {
		if (!listing->messages[i].is_expunged)
			listing->messages[left++] = listing->messages[i];
	}
	listing->count = left;
	free(take_ptr(listing->by_unique_id));
}

/* ---- Reading the directories ---- */

/* Adds a message with the name and file of `like`. Derives everything else from the name. */
static int add_message(struct listing *listing, const struct message *like)
{
	struct message *message = listing->messages;

	if ((listing->count & (listing->count - 1)) == 0) { /* it may be full */
		message = reallocarray(message, MAX(16, 2 * listing->count), sizeof(*message));
		if (!message)
			return -ENOMEM;
		listing->messages = message;
	}
	message += listing->count;
	*message = (struct message){ .name = like->name,
				     .version = like->version,
				     .octets = LISTING_SIZE_UNKNOWN,
				     .unique_octets = (uint16_t)strlen(like->name),
				     .inode_tag = like->inode_tag,
				     .subdir = like->subdir };
	if (copy_texts(listing, message) < 0)
		return -ENOMEM;
	listing->count++;
	if (listing->lock->is_maildir) {
		message->unique_octets = (uint16_t)maildir_name_unique_octets(message->name);
		message->arrival_us = maildir_name_arrival_us(message->name);
		message->octets = maildir_name_size_octets(message->name);
	}
	if (!is_good_unique_id(message->name, message->unique_octets))
		return listing_give_stand_in(listing, message, 0);
	return 0;
}

/* 0 in a folder, whose names identify messages, and on a file system that may renumber inodes. */
static uint16_t make_tag(const struct listing *listing, uint64_t inode)
{
	if (!listing->lock->keeps_inodes || !listing->lock->is_maildir)
		return 0;
	return (uint16_t)(inode % UINT16_MAX + 1);
}

/* Whether the name of a folder's file is that of litter, or of a file that is being written. */
static bool is_litter(const char *name)
{
	static const char pattern[] = "@(*.@(tmp|part|partial|filepart|crdownload|swp)|*~|#*#|"
				      "Thumbs.db|desktop.ini)";

	return fnmatch(pattern, name, FNM_CASEFOLD | FNM_EXTMATCH) == 0;
}

/* Adds a directory entry if it is a regular file. If its type is unknown and stat fails, the read
 * fails: the message must not count as gone. */
static int add_entry(void *context, int dir_fd, const struct dirent64 *entry)
{
	struct listing *listing = context;
	const struct lock *lock = listing->lock;
	struct message message = {
		.name = entry->d_name,
		.inode_tag = make_tag(listing, entry->d_ino),
		.subdir = dir_fd == lock->fds[SUBDIR_NEW] ? SUBDIR_NEW : SUBDIR_CUR,
	};
	struct file_stamp version;
	struct stat status;

	if (*entry->d_name == '.' || (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN) ||
	    (!lock->is_maildir && is_litter(entry->d_name)))
		return 0;
	if (!lock->is_maildir || entry->d_type == DT_UNKNOWN) {
		int r = fstatat(dir_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0 ? -errno :
											   0;

		if (r == -ENOENT || (r == 0 && !S_ISREG(status.st_mode)))
			return 0;
		if (r < 0 && entry->d_type == DT_UNKNOWN)
			return r;
		if (r == 0 && !lock->is_maildir) {
			version = file_stamp_of(&status);
			message.version = &version;
		}
	}
	return add_message(listing, &message);
}

/* The index of the first message with the unique part of `like`, or where it would be inserted. */
static size_t find_first(const struct listing *listing, const struct message *like)
{
	size_t low = 0, high = listing->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_unique_parts(&listing->messages[middle], like) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Whether the message at the index, if any, has the unique part of `like`. */
static bool is_at(const struct listing *listing, size_t index, const struct message *like)
{
	return index < listing->count && compare_unique_parts(&listing->messages[index], like) == 0;
}

/* Finds the messages with the unique part of `like`, and returns how many there are. The first is
 * the one without `is_namesake`, if there is one. */
static size_t find_namesakes(const struct listing *listing, const struct message *like,
			     struct message **ret_first)
{
	size_t first = find_first(listing, like), end = first;

	while (is_at(listing, end, like))
		end++;
	*ret_first = end > first ? &listing->messages[first] : NULL;
	return end - first;
}

struct message *listing_find_name(const struct listing *listing, const char *name, size_t *next)
{
	const struct message like = {
		.name = name,
		.unique_octets = (uint16_t)maildir_name_unique_octets(name),
		.arrival_us = maildir_name_arrival_us(name),
	};
	size_t index = *next;

	while (index < *next + NEARBY && !is_at(listing, index, &like))
		index++;
	/* Not find_namesakes(): a forged list may name one of many namesakes again and again. */
	if (index == *next + NEARBY || listing->messages[index].is_namesake)
		index = find_first(listing, &like);
	if (!is_at(listing, index, &like) || listing->messages[index].is_namesake)
		return NULL;
	*next = index - MIN(index, NEARBY / 2);
	return &listing->messages[index];
}

/* Whether two messages with the same unique part have the same unique-id and file. */
static bool are_alike(const struct message *a, const struct message *b)
{
	return a->is_namesake == b->is_namesake &&
	       (!a->is_namesake || strcmp(a->unique_id, b->unique_id) == 0) &&
	       (a->inode_tag == b->inode_tag || a->inode_tag == 0 || b->inode_tag == 0);
}

/* Finds the message with the unique part, unique-id and file of `like`, or NULL. */
static struct message *find_like(const struct listing *listing, const struct message *like)
{
	struct message *found;

	for (size_t left = find_namesakes(listing, like, &found); left > 0; left--, found++) {
		if (are_alike(found, like))
			return found;
	}
	return NULL;
}

/* As find_like(), also after listing_put_in_order(). */
static bool has_like(const struct listing *listing, const struct message *like)
{
	if (listing->imported_count == 0) /* it is still sorted by name */
		return find_like(listing, like);
	for (size_t i = 0; i < listing->count; i++) {
		if (is_at(listing, i, like) && are_alike(&listing->messages[i], like))
			return true;
	}
	return false;
}

static bool have_same_names(const struct listing *a, const struct listing *b)
{
	bool are_same = a->count == b->count;

	for (size_t i = 0; i < a->count && are_same; i++)
		are_same = compare_messages(&a->messages[i], &b->messages[i]) == 0;
	return are_same;
}

/* Adds the messages that only an earlier read has found. */
static int add_earlier(struct listing *listing, const struct listing *earlier)
{
	struct listing fresh = *listing; /* the sorted part: more are added behind it */

	for (size_t i = 0; i < earlier->count; i++) {
		const struct message *message = &earlier->messages[i];

		if (!find_like(&fresh, message) && add_message(listing, message) < 0)
			return -ENOMEM;
		fresh.messages = listing->messages;
	}
	return listing->count > fresh.count ? sort_names(listing) : 0;
}

/* ---- Namesakes ---- */

struct namesake {
	struct message message;
	struct statx file;
};

/* For qsort(3): the oldest file comes first. */
static int compare_namesakes(const void *left, const void *right)
{
	const struct statx *a = &((const struct namesake *)left)->file;
	const struct statx *b = &((const struct namesake *)right)->file;
	int64_t ns = listing_ns(a->stx_btime) - listing_ns(b->stx_btime);

	ns = ns ?: listing_ns(a->stx_mtime) - listing_ns(b->stx_mtime);
	return ns != 0 ? COMPARE(ns, 0) : COMPARE(a->stx_ino, b->stx_ino);
}

int listing_identify(const struct listing *listing, const struct message *message,
		     struct statx *ret)
{
	return statx(listing->lock->fds[message->subdir], message->name, AT_SYMLINK_NOFOLLOW,
		     STATX_BASIC_STATS | STATX_BTIME, ret) < 0 ?
		       -errno :
		       0;
}

/* Makes one message of each inode among `count` names with the same unique part. All but the oldest
 * get stand-ins. Returns the number of messages. */
static ssize_t tell_apart(struct listing *listing, struct message *messages, size_t count)
{
	auto_free struct namesake *found = calloc(count, sizeof(*found));
	size_t found_count = 0, left = 0;
	int r = found ? 0 : -ENOMEM;

	for (size_t i = 0; i < count && r == 0; i++) {
		struct namesake *next = &found[found_count];

		next->message = messages[i];
		r = listing_identify(listing, &messages[i], &next->file);
		next->message.inode_tag = make_tag(listing, next->file.stx_ino);
		found_count += r == 0;
		listing->is_torn |= r == -ENOENT; /* renamed since it was read */
		r = r == -ENOENT ? 0 : r;
	}
	if (r < 0 || found_count == 0)
		return r < 0 ? r : 1; /* none is known to be gone: keeps one */
	qsort(found, found_count, sizeof(*found), compare_namesakes);
	for (size_t i = 0; i < found_count && r == 0; i++) {
		if (i > 0 && found[i].file.stx_ino == found[i - 1].file.stx_ino) {
			r = listing_add_name(listing, &messages[left - 1], found[i].message.name,
					     found[i].message.subdir);
			continue;
		}
		messages[left] = found[i].message;
		if (left > 0)
			r = listing_give_stand_in(listing, &messages[left], found[i].file.stx_ino);
		left++;
	}
	return r < 0 ? r : (ssize_t)left;
}

/* Makes the unique-ids of a sorted listing unique. */
static int resolve_namesakes(struct listing *listing)
{
	struct message *messages = listing->messages;
	size_t left = 0, same;

	for (size_t i = 0; i < listing->count; i += same) {
		ssize_t kept = 1;

		same = 1;
		while (i + same < listing->count &&
		       compare_unique_parts(&messages[i], &messages[i + same]) == 0)
			same++;
		if (same > 1)
			kept = tell_apart(listing, messages + i, same);
		if (kept < 0)
			return (int)kept;
		memmove(messages + left, messages + i, (size_t)kept * sizeof(*messages));
		left += (size_t)kept;
	}
	listing->count = left;
	return 0;
}

int listing_rename_file(int from_fd, const char *from, int to_fd, const char *to)
{
	struct stat status;

	if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	/* Shared file systems lack RENAME_NOREPLACE. Not link(2): a crash would leave two names. */
	if (fstatat(to_fd, to, &status, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	return errno == ENOENT && renameat(from_fd, from, to_fd, to) == 0 ? 0 : -errno;
}

static int rename_namesake(const struct listing *listing, const struct message *namesake)
{
	struct mailbox_report *report = &listing->lock->report;
	struct message message = *namesake;
	struct statx file;
	uint64_t random;
	int r = listing_identify(listing, namesake, &file);

	if (r < 0 ||
	    now_on_disk_ns(listing->lock) - listing_ns(file.stx_ctime) <= NAMESAKE_QUIET_NS)
		return r == -ENOENT ? 0 : r;
	if (getrandom(&random, sizeof(random), 0) < 0)
		return -errno;
	do {
		auto_free char *name = NULL;
		int fd = listing->lock->fds[message.subdir];

		r = maildir_name_make_unique(message.name, random, &name);
		if (r == 0)
			r = listing_rename_file(fd, message.name, fd, name);
		if (r == 0 && message.name == namesake->name && report->renamed++ == 0) {
			(void)snprintf(report->renamed_from, NAME_MAX + 1, "%s", message.name);
			(void)snprintf(report->renamed_to, NAME_MAX + 1, "%s", name);
		}
	} while (r == 0 && listing_next_name(listing, &message));
	return r;
}

void listing_rename_namesakes(const struct listing *listing)
{
	int *error = &listing->lock->report.rename_error;

	for (size_t i = 0; i < listing->count && *error == 0; i++) {
		if (listing->messages[i].is_namesake)
			*error = rename_namesake(listing, &listing->messages[i]);
	}
}

/* ---- Listings ---- */

/* Reads the directories once: new before cur, because files move that way. Unless stamps prove that
 * the read is stable, adds the messages of earlier reads: a file that is renamed meanwhile may be
 * read under both names or under none. Where stamps are too coarse to prove anything, two equal
 * reads in a row count as stable, unless `must_prove`. */
static int read_again(struct listing *listing, bool must_prove)
{
	auto_listing struct listing earlier = *listing;
	struct lock *lock = earlier.lock;
	int64_t now_ns, tick_ns = lock->is_local ? 0 : REMOTE_TICK_NS;
	struct file_stamp stamps[STAMPS];
	int r;

	*listing = (struct listing){ .lock = lock };
	r = begin_read(listing, &now_ns);
	for (enum subdir subdir = 0; subdir < SUBDIRS && r == 0; subdir++) {
		if (lock->fds[subdir] >= 0)
			r = lock_for_entries(lock->fds[subdir], add_entry, listing);
	}
	r = r ?: take_stamps(lock, stamps) ?: sort_names(listing);
	if (r != 0)
		return r;
	listing->is_torn = memcmp(stamps, listing->stamps, sizeof(stamps)) != 0;
	listing->has_stable_stamps = are_stable(stamps, now_ns - margin_ns(lock));
	if (!listing->is_torn && (lock->is_local || lock->state_error == 0) &&
	    are_stable(stamps, now_ns - tick_ns))
		return 0;
	listing->is_torn |= must_prove || !have_same_names(listing, &earlier) ||
			    memcmp(stamps, earlier.stamps, sizeof(stamps)) != 0;
	return add_earlier(listing, &earlier);
}

int listing_read(struct lock *lock, int64_t deadline_ms, bool must_prove, struct listing *ret)
{
	bool is_late = false, is_last;
	int r;

	*ret = (struct listing){ .lock = lock };
	do {
		/* At least two reads. After 2 s, stamps in whole seconds are old enough. */
		is_last = is_late;
		is_late = util_now_ms() >= deadline_ms;
		r = read_again(ret, must_prove);
		if (r == 0 && (!ret->is_torn || is_last))
			r = resolve_namesakes(ret);
	} while (r == 0 && ret->is_torn && !is_last);
	ret->has_stable_stamps &= !ret->is_torn;
	if (r < 0)
		listing_clear(ret);
	return r;
}

bool listing_has_new(const struct listing *listing, const struct listing *older)
{
	size_t known = 0;

	for (size_t i = 0; i < older->count; i++) {
		const struct message *before = &older->messages[i];
		const struct message *now = find_like(listing, before);

		/* In a folder, another file may have taken the name. */
		if (now && !listing->lock->is_maildir &&
		    (before->is_replaced || differ(now->version, before->version)))
			return true;
		known += now && !now->is_expunged;
	}
	return known < listing->count - listing->excluded;
}

/* For qsort(3). */
static int compare_versions(const void *left, const void *right)
{
	const struct file_stamp *a = ((const struct message *)left)->version;
	const struct file_stamp *b = ((const struct message *)right)->version;
	int64_t a_ns = a ? a->modified_ns : 0, b_ns = b ? b->modified_ns : 0;

	return COMPARE(a_ns, b_ns) ?: compare_messages(left, right);
}

int listing_put_in_order(struct listing *listing)
{
	struct message *messages = listing->messages, *sorted;
	size_t count = 0;

	if (listing->count > 0 && !listing->lock->is_maildir)
		qsort(messages, listing->count, sizeof(*messages), compare_versions);
	if (!listing->imported)
		return 0;
	sorted = calloc(listing->count + 1, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (; count < listing->imported_count; count++)
		sorted[count] = messages[listing->imported[count]];
	for (size_t i = 0; i < listing->count; i++) {
		if (!messages[i].is_imported && !messages[i].is_expunged)
			sorted[count++] = messages[i];
	}
	free(messages);
	free(take_ptr(listing->imported));
	listing->messages = sorted;
	listing->count = count;
	listing->excluded = 0;
	return 0;
}

/* Restores a unique-id of an older listing (`known`). Now `first` has the unique part, as the
 * oldest file. If it was a namesake until an older file went, it gets its stand-in back. If `owner`
 * had the unique part until the older `first` came, `owner` gets that back, and `first` a stand-in.
 * Does nothing if `newer` has `first` as it is now. */
static int keep_unique_id(struct listing *listing, const struct message *known,
			  const struct listing *newer)
{
	struct message *first, *owner = NULL;
	size_t count = find_namesakes(listing, known, &first);
	char stand_in[WIRE_UNIQUE_ID_MAX + 1];
	struct statx file;
	int r = 0;

	if (!first || first->is_namesake)
		return 0;
	for (size_t i = 1; i < count && !known->is_namesake && known->inode_tag != 0; i++) {
		if (first[i].inode_tag == known->inode_tag)
			owner = &first[i];
	}
	/* has_like() is the slowest test, and comes last. */
	if ((!owner && !known->is_namesake) || listing_identify(listing, first, &file) < 0)
		return 0;
	make_stand_in(first, file.stx_ino, stand_in);
	if ((!owner && strcmp(stand_in, known->unique_id) != 0) || has_like(newer, first))
		return 0;
	if (owner) {
		struct message other = *first;

		*first = *owner;
		first->unique_id = NULL;
		first->is_namesake = false;
		listing->namesakes--;
		r = known->unique_id ? listing_give_stand_in(listing, first, 0) : 0;
		*owner = other;
		first = owner;
	}
	return r ?: listing_give_stand_in(listing, first, file.stx_ino);
}

int listing_merge(struct listing *listing, const struct listing *older, const struct listing *newer)
{
	bool is_maildir = listing->lock->is_maildir;

	for (size_t i = 0; i < older->count; i++) {
		const struct message *known = &older->messages[i];
		struct message *message = find_like(listing, known);

		if (!message && is_maildir) {
			int r = keep_unique_id(listing, known, newer);

			if (r < 0)
				return r;
			message = find_like(listing, known);
		}
		if (!message || known->octets == LISTING_SIZE_UNKNOWN ||
		    (is_maildir && !maildir_name_allows_octets(message->name, known->octets)))
			continue;
		if (is_maildir ||
		    (message->version && known->version &&
		     memcmp(message->version, known->version, sizeof(*known->version)) == 0)) {
			message->octets = known->octets;
			message->is_hint = known->is_hint;
		}
	}
	return 0;
}

/* For qsort(3) and bsearch(3): pointers to messages. */
static int compare_unique_ids(const void *left, const void *right)
{
	size_t a_octets, b_octets;
	const char *a = listing_unique_id(*(const struct message *const *)left, &a_octets);
	const char *b = listing_unique_id(*(const struct message *const *)right, &b_octets);

	return compare_octets(a, a_octets, b, b_octets);
}

int listing_find(struct listing *listing, const char *unique_id, size_t *ret_index)
{
	const struct message key = { .name = unique_id,
				     .unique_octets = (uint16_t)strlen(unique_id) };
	const struct message *wanted = &key, **found;
	size_t count = listing->count;

	if (!listing->by_unique_id) {
		listing->by_unique_id = calloc(count, sizeof(void *)); /* not NULL if count is 0 */
		if (!listing->by_unique_id)
			return -ENOMEM;
		for (size_t i = 0; i < count; i++)
			listing->by_unique_id[i] = &listing->messages[i];
		qsort(listing->by_unique_id, count, sizeof(void *), compare_unique_ids);
	}
	found = bsearch(&wanted, listing->by_unique_id, count, sizeof(void *), compare_unique_ids);
	if (!found)
		return -ENOENT;
	*ret_index = (size_t)(*found - listing->messages);
	return 0;
}

/* ---- Message files ---- */

bool listing_next_name(const struct listing *listing, struct message *message)
{
	const struct message *other = listing->lock->is_maildir ? message->others : NULL;

	if (!other)
		return false;
	message->name = other->name;
	message->subdir = other->subdir;
	message->others = other->others;
	return true;
}

/* Replaces all memory of the listing, so that repeated calls do not accumulate old names. */
int listing_look_again(struct listing *listing)
{
	auto_listing struct listing fresh = { 0 };
	auto_free struct message *messages = calloc(listing->count, sizeof(*messages));
	struct block *blocks = listing->blocks;
	int r = messages ? listing_read(listing->lock, 0, true, &fresh) : -ENOMEM;

	if (r == 0 && (listing->namesakes > 0 || fresh.namesakes > 0))
		r = listing_merge(&fresh, listing, &(struct listing){ 0 });
	for (size_t i = 0; i < listing->count && r == 0; i++) {
		struct message *message = &messages[i];
		const struct message *found;

		*message = listing->messages[i];
		found = message->is_gone ? NULL : find_like(&fresh, message);
		message->others = found ? found->others : NULL;
		if (found) {
			message->name = found->name;
			message->subdir = found->subdir;
		} else {
			message->is_gone |= !fresh.is_torn;
			r = listing_rename(&fresh, message, message->name);
		}
		if (message->unique_id) {
			message->unique_id = copy_text(&fresh, message->unique_id);
			r = message->unique_id ? r : -ENOMEM;
		}
	}
	if (r < 0)
		return r;
	memcpy(listing->messages, messages, listing->count * sizeof(*messages));
	listing->blocks = fresh.blocks;
	fresh.blocks = blocks;
	return 0;
}

/* Whether the name of a message leads to another file now: namesakes may swap names. */
static bool has_other_file(const struct listing *listing, const struct message *message)
{
	struct statx file;

	return listing->namesakes > 0 && message->inode_tag != 0 &&
	       listing_identify(listing, message, &file) == 0 &&
	       make_tag(listing, file.stx_ino) != message->inode_tag;
}

/* Calls `handle` for the files of wanted messages. Returns how many files were not found. */
static ssize_t handle_files(struct listing *listing, size_t first, size_t count,
			    listing_file_handler *handle, void *context)
{
	ssize_t left = 0;

	for (size_t i = first; i < first + count; i++) {
		struct message *message = &listing->messages[i];
		int r = 0;

		while (message->is_wanted && !message->is_gone) {
			r = has_other_file(listing, message) ? -ENOENT :
							       handle(listing, message, context);
			if (r != -ENOENT || !listing_next_name(listing, message))
				break;
		}
		if (r < 0 && r != -ENOENT)
			return r;
		/* In a folder, a message without its name cannot be found again. */
		message->is_wanted = r == -ENOENT && listing->lock->is_maildir;
		message->is_gone |= r == -ENOENT && !message->is_wanted;
		left += message->is_wanted;
	}
	return left;
}

int listing_with_files(struct listing *listing, size_t first, size_t count,
		       listing_file_handler *handle, void *context)
{
	int64_t deadline_ms = util_now_ms() + LISTING_PATIENCE_MS;
	bool is_late = false;
	ssize_t left;

	while ((left = handle_files(listing, first, count, handle, context)) > 0) {
		int r = is_late ? -EAGAIN : listing_look_again(listing);

		if (r < 0)
			return r;
		is_late = util_now_ms() >= deadline_ms;
	}
	return (int)left;
}
