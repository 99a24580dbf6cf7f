/* SPDX-License-Identifier: ISC
 *
 * What is in the directories of a mailbox. Runs after login only. Others are at work there at any
 * moment: a delivering agent adds files, an IMAP server renames and deletes them, and file names
 * are whatever they chose. */
#include "mailbox/listing.h"

#include "lib/digest.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "mailbox/maildir-name.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

/* How often a listing is begun again, and a message looked for, while others rename files. */
#define TRIES 5

#define ENTRIES_OCTETS 6144 /* of directory entries at once; little, for each session has it */

/* How many ticks of the clock a listing waits for, at most, until a change of just now is past. */
#define TICKS_MAX 5

/* What a unique-id that stands in for a name begins with, before the digest. */
#define STAND_IN_PREFIX "sha256"
static_assert(sizeof(STAND_IN_PREFIX) - 1 + DIGEST_HEX_OCTETS == WIRE_UNIQUE_ID_MAX,
	      "a stand-in is as long as a unique-id may be");

/* ---- Change times ---- */

static int take_stamps(const struct subdirs *subdirs, struct file_stamp ret_stamps[SUBDIRS])
{
	for (size_t i = 0; i < SUBDIRS; i++) {
		int r = 0;

		ret_stamps[i] = (struct file_stamp){ 0 };
		if (subdirs->fds[i] >= 0)
			r = file_stamp_take(subdirs->fds[i], &ret_stamps[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool are_same_stamps(const struct file_stamp a[SUBDIRS], const struct file_stamp b[SUBDIRS])
{
	for (size_t i = 0; i < SUBDIRS; i++) {
		if (!file_stamp_is_same(&a[i], &b[i]))
			return false;
	}
	return true;
}

static bool are_stable(const struct file_stamp stamps[SUBDIRS], const struct timespec *now)
{
	for (size_t i = 0; i < SUBDIRS; i++) {
		if (!file_stamp_is_stable(&stamps[i].changed, now))
			return false;
	}
	return true;
}

/* Takes stamps. If a directory has changed just now, it waits some milliseconds for the clock's
 * next tick, which saves the next WAKE from reading everything. */
static int take_stable_stamps(const struct subdirs *subdirs, struct listing *listing)
{
	struct timespec tick;
	int r = 0;

	for (int i = 0; i <= TICKS_MAX && r == 0; i++) {
		struct timespec now = file_stamp_now();

		r = take_stamps(subdirs, listing->stamps);
		listing->is_stable = are_stable(listing->stamps, &now);
		if (i == TICKS_MAX || listing->is_stable)
			break;
		(void)clock_getres(CLOCK_REALTIME_COARSE, &tick);
		(void)nanosleep(&tick, NULL);
	}
	return r;
}

int listing_is_unchanged(const struct listing *listing, const struct subdirs *subdirs)
{
	struct file_stamp stamps[SUBDIRS];
	int r = take_stamps(subdirs, stamps);

	if (r < 0)
		return r;
	return listing->is_stable && are_same_stamps(stamps, listing->stamps);
}

/* ---- Memory ---- */

/* Of the first block; each is twice as long as the one before, up to the last. */
#define BLOCK_OCTETS_MIN 1024
#define BLOCK_OCTETS_MAX (1 << 20)

struct block {
	struct block *next;
	size_t used, capacity;
	_Alignas(max_align_t) char octets[];
};

/* Adds a block before the others. */
static struct block *add_block(struct listing *listing, size_t capacity)
{
	struct block *block = malloc(sizeof(*block) + capacity);

	if (!block)
		return NULL;
	*block = (struct block){ .next = listing->blocks, .capacity = capacity };
	listing->blocks = block;
	return block;
}

/* What has been allocated is not freed before all is, so it takes a step forward. */
void *listing_allocate(struct listing *listing, size_t octets)
{
	struct block *block = listing->blocks;
	size_t rounded = (octets + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1);
	void *memory;

	if (!block || block->capacity - block->used < rounded) {
		size_t capacity = block ? 2 * block->capacity : BLOCK_OCTETS_MIN;

		capacity = capacity > BLOCK_OCTETS_MAX ? BLOCK_OCTETS_MAX : capacity;
		block = add_block(listing, rounded > capacity ? rounded : capacity);
	}
	if (!block)
		return NULL;
	memory = block->octets + block->used;
	block->used += rounded;
	return memory;
}

/* ---- Unique-ids ---- */

void listing_unique_id(const struct message *message, const char **ret_text, size_t *ret_octets)
{
	*ret_text = message->stand_in ? message->stand_in : message->name;
	*ret_octets = message->stand_in ? WIRE_UNIQUE_ID_MAX : message->unique_octets;
}

/* Compares octets; what is the beginning of the other comes first. */
static int compare_octets(const char *a, size_t a_octets, const char *b, size_t b_octets)
{
	int order = memcmp(a, b, a_octets < b_octets ? a_octets : b_octets);

	return order != 0 ? order : (a_octets > b_octets) - (a_octets < b_octets);
}

/* Whether a name could be taken for a stand-in. It gets one, so nobody can forge a unique-id. */
static bool looks_like_stand_in(const char *text, size_t octets)
{
	size_t prefix = sizeof(STAND_IN_PREFIX) - 1;

	return octets == WIRE_UNIQUE_ID_MAX && memcmp(text, STAND_IN_PREFIX, prefix) == 0 &&
	       strspn(text + prefix, "0123456789abcdef") >= DIGEST_HEX_OCTETS;
}

/* A lone "_" is not used, though RFC 1939 would allow it. */
static bool is_good_unique_id(const char *text, size_t octets)
{
	return wire_is_unique_id(text, octets) && !(octets == 1 && *text == '_') &&
	       !looks_like_stand_in(text, octets);
}

/* Gives a message a stand-in for its unique part. `detail` tells apart messages that share it:
 * it is "" or begins with "/", which no name has. */
static int make_stand_in(struct listing *listing, struct message *message, const char *detail)
{
	auto_free char *text = NULL;
	char *stand_in = listing_allocate(listing, WIRE_UNIQUE_ID_MAX + 1);
	int octets = asprintf(&text, "%.*s%s", message->unique_octets, message->name, detail);

	if (octets < 0)
		text = NULL;
	if (!text || !stand_in)
		return -ENOMEM;
	memcpy(stand_in, STAND_IN_PREFIX, sizeof(STAND_IN_PREFIX) - 1);
	digest_make_hex(text, (size_t)octets, stand_in + sizeof(STAND_IN_PREFIX) - 1);
	message->stand_in = stand_in;
	return 0;
}

/* ---- The listing ---- */

int listing_rename(struct listing *listing, struct message *message, const char *name)
{
	size_t octets = strlen(name);
	char *copy = listing_allocate(listing, octets + 1);

	if (!copy)
		return -ENOMEM;
	message->name = memcpy(copy, name, octets + 1);
	message->name_octets = (uint16_t)octets;
	return 0;
}

int listing_set_version(struct listing *listing, struct message *message,
			const struct file_version *version)
{
	if (!message->version)
		message->version = listing_allocate(listing, sizeof(*message->version));
	if (!message->version)
		return -ENOMEM;
	*message->version = *version;
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
	*listing = (struct listing){ 0 };
}

static int compare_unique_parts(const struct message *a, const struct message *b)
{
	if (a->arrival_us != b->arrival_us)
		return a->arrival_us < b->arrival_us ? -1 : 1;
	return compare_octets(a->name, a->unique_octets, b->name, b->unique_octets);
}

/* The order of arrival. */
static int compare_messages(const struct message *a, const struct message *b)
{
	int order = compare_unique_parts(a, b);

	if (order == 0)
		order = strcmp(a->name, b->name);
	return order != 0 ? order : a->subdir - b->subdir;
}

/* What a message is sorted by: it is small, and most often enough. */
struct sort_key {
	uint64_t arrival_us;
	size_t index;
};

/* For qsort_r(3). */
static int compare_sort_keys(const void *left, const void *right, void *messages)
{
	const struct sort_key *a = left, *b = right;

	if (a->arrival_us != b->arrival_us)
		return a->arrival_us < b->arrival_us ? -1 : 1;
	return compare_messages((const struct message *)messages + a->index,
				(const struct message *)messages + b->index);
}

/* Copies a text to where *next points, and moves that behind it. */
static const char *copy_text(char **next, const char *text, size_t octets)
{
	char *copy = memcpy(*next, text, octets);

	copy[octets] = '\0';
	*next += octets + 1;
	return copy;
}

/* Sorts messages, and what they point to, into one block: later passes read memory in order. */
static int sort_messages(struct listing *listing)
{
	auto_free struct sort_key *keys = reallocarray(NULL, listing->count, sizeof(*keys));
	auto_listing struct listing sorted = *listing;
	struct listing unsorted = *listing;
	size_t octets = 0;
	char *next;

	sorted.blocks = NULL;
	sorted.capacity = sorted.count;
	sorted.messages = reallocarray(NULL, sorted.capacity, sizeof(*sorted.messages));
	if (!keys || !sorted.messages)
		return -ENOMEM;
	for (size_t i = 0; i < listing->count; i++) {
		const struct message *message = &listing->messages[i];

		keys[i] = (struct sort_key){ message->arrival_us, i };
		octets += message->name_octets + 1;
		octets += message->stand_in ? WIRE_UNIQUE_ID_MAX + 1 : 0;
	}
	next = listing_allocate(&sorted, octets);
	if (!next)
		return -ENOMEM;
	qsort_r(keys, listing->count, sizeof(*keys), compare_sort_keys, listing->messages);
	for (size_t i = 0; i < sorted.count; i++) {
		struct message *message = &sorted.messages[i];

		*message = listing->messages[keys[i].index];
		message->name = copy_text(&next, message->name, message->name_octets);
		if (message->stand_in)
			message->stand_in = copy_text(&next, message->stand_in, WIRE_UNIQUE_ID_MAX);
	}
	*listing = sorted;
	sorted = unsorted; /* to be cleared */
	return 0;
}

/* A message as its name tells; the listing owns what it holds. */
static int listing_add(struct listing *listing, const char *name, enum subdir subdir,
		       bool is_maildir)
{
	struct message *message;

	if (listing->count == listing->capacity) {
		size_t capacity = listing->capacity ? 2 * listing->capacity : 16;
		struct message *messages =
			reallocarray(listing->messages, capacity, sizeof(*messages));

		if (!messages)
			return -ENOMEM;
		listing->messages = messages;
		listing->capacity = capacity;
	}
	message = &listing->messages[listing->count];
	*message = (struct message){ .octets = LISTING_SIZE_UNKNOWN, .subdir = (uint8_t)subdir };
	if (listing_rename(listing, message, name) < 0)
		return -ENOMEM;
	listing->count++;
	message->unique_octets = message->name_octets;
	if (is_maildir) {
		message->unique_octets = (uint16_t)maildir_name_unique_octets(name);
		message->arrival_us = maildir_name_arrival_us(name);
		(void)maildir_name_size_octets(name, &message->octets);
	}
	if (!is_good_unique_id(message->name, message->unique_octets))
		return make_stand_in(listing, message, "");
	return 0;
}

/* Only regular files are messages. Most file systems tell without being asked for each. */
static bool is_message(int dir_fd, const struct dirent64 *entry)
{
	struct stat status;

	if (entry->d_name[0] == '.')
		return false;
	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_REG;
	return fstatat(dir_fd, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(status.st_mode);
}

static int add_entries(const struct subdirs *subdirs, enum subdir subdir, const char *entries,
		       size_t octets, struct listing *listing)
{
	const char *end = entries + octets;
	int r = 0;

	while (entries < end && r == 0) {
		const struct dirent64 *entry = (const void *)entries;

		if (is_message(subdirs->fds[subdir], entry))
			r = listing_add(listing, entry->d_name, subdir, subdirs->is_maildir);
		entries += entry->d_reclen;
	}
	return r;
}

static int read_subdir(const struct subdirs *subdirs, enum subdir subdir, char *buffer,
		       struct listing *listing)
{
	int fd = subdirs->fds[subdir], r = 0;

	if (fd < 0)
		return 0;
	if (lseek(fd, 0, SEEK_SET) < 0)
		return -errno;
	while (r == 0) {
		ssize_t octets = getdents64(fd, buffer, ENTRIES_OCTETS);

		if (octets <= 0)
			return octets < 0 ? -errno : 0;
		r = add_entries(subdirs, subdir, buffer, (size_t)octets, listing);
	}
	return r;
}

static int read_subdirs(const struct subdirs *subdirs, struct listing *listing)
{
	auto_free char *buffer = malloc(ENTRIES_OCTETS);
	int r = buffer ? 0 : -ENOMEM;

	/* A file moves from new to cur: in this order it is seen at least once. */
	for (enum subdir subdir = 0; subdir < SUBDIRS && r == 0; subdir++)
		r = read_subdir(subdirs, subdir, buffer, listing);
	return r;
}

static int stat_message(const struct subdirs *subdirs, const struct message *message,
			struct stat *ret_status)
{
	if (fstatat(subdirs->fds[message->subdir], message->name, ret_status, AT_SYMLINK_NOFOLLOW) <
	    0)
		return -errno;
	return 0;
}

/* Drops those of some messages that are not there any more, and returns how many are left. */
static size_t drop_vanished(const struct subdirs *subdirs, struct message *messages, size_t count)
{
	size_t left = 0;

	for (size_t i = 0; i < count; i++) {
		struct stat status;

		if (stat_message(subdirs, &messages[i], &status) != -ENOENT)
			messages[left++] = messages[i];
	}
	return left;
}

/* Gives a stand-in to one of several messages with the same unique part. It comes from the inode
 * number, which survives a rename; hard links share that, so theirs comes from the name, too. */
static int make_namesake_stand_in(const struct subdirs *subdirs, struct listing *listing,
				  struct message *message)
{
	auto_free char *detail = NULL;
	struct stat status;
	int r = stat_message(subdirs, message, &status);

	if (r < 0)
		return r;
	if (asprintf(&detail, "/%ju/%d/%s", (uintmax_t)status.st_ino,
		     status.st_nlink > 1 ? message->subdir : 0,
		     status.st_nlink > 1 ? message->name : "") < 0)
		return -ENOMEM;
	return make_stand_in(listing, message, detail);
}

/* Gives stand-ins to all messages with the same unique part: if one kept it as its unique-id, that
 * one would depend on the others, and a client could delete a message that it has never seen. */
static int dedupe_namesakes(const struct subdirs *subdirs, struct listing *listing,
			    struct message *messages, size_t count)
{
	int r = 0;

	for (size_t i = 0; i < count && r == 0; i++)
		r = make_namesake_stand_in(subdirs, listing, &messages[i]);
	return r;
}

/* Makes the unique-ids of a sorted listing differ. Messages that share a unique part may be one
 * file, renamed while the directories were read, so that the listing has both names. */
static int dedupe_unique_ids(const struct subdirs *subdirs, struct listing *listing)
{
	struct message *messages = listing->messages;
	size_t left = 0, count = listing->count, same;
	int r = 0;

	for (size_t i = 0; i < count; i += same) {
		size_t kept;

		for (same = 1; i + same < count; same++) {
			if (compare_unique_parts(&messages[i], &messages[i + same]) != 0)
				break;
		}
		kept = same > 1 ? drop_vanished(subdirs, messages + i, same) : same;
		memmove(messages + left, messages + i, kept * sizeof(*messages));
		if (r == 0 && kept > 1)
			r = dedupe_namesakes(subdirs, listing, messages + left, kept);
		left += kept;
	}
	listing->count = left;
	return r;
}

/* Lists what is there now, once. -ENOENT: a file was renamed under our hands. */
static int listing_read_once(const struct subdirs *subdirs, struct listing *listing)
{
	int r = take_stable_stamps(subdirs, listing);

	if (r == 0)
		r = read_subdirs(subdirs, listing);
	if (r < 0 || listing->count == 0)
		return r;
	r = sort_messages(listing);
	return r == 0 ? dedupe_unique_ids(subdirs, listing) : r;
}

/* A directory that is changed while it is read may show a file under both of its names, or under
 * none: so it is read again, within reason. */
int listing_read(const struct subdirs *subdirs, struct listing *ret)
{
	for (int i = 1;; i++) {
		auto_listing struct listing listing = { 0 };
		struct file_stamp stamps[SUBDIRS];
		int r = listing_read_once(subdirs, &listing);

		if (r == 0)
			r = take_stamps(subdirs, stamps);
		if (r < 0 && (r != -ENOENT || i == TRIES))
			return r;
		if (r == 0 && (i == TRIES || are_same_stamps(stamps, listing.stamps))) {
			listing.is_stable &= i < TRIES;
			*ret = listing;
			listing = (struct listing){ 0 };
			return 0;
		}
	}
}

struct message *listing_find_like(const struct listing *listing, const struct message *like)
{
	size_t low = 0, high = listing->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare_unique_parts(&listing->messages[middle], like) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < listing->count; low++) {
		struct message *found = &listing->messages[low];

		if (compare_unique_parts(found, like) != 0)
			break;
		if (!found->stand_in == !like->stand_in &&
		    (!found->stand_in || strcmp(found->stand_in, like->stand_in) == 0))
			return found;
		if (found->subdir == like->subdir && strcmp(found->name, like->name) == 0)
			return found;
	}
	return NULL;
}

bool listing_has_new(const struct listing *listing, const struct listing *older)
{
	for (size_t i = 0; i < listing->count; i++) {
		if (!listing_find_like(older, &listing->messages[i]))
			return true;
	}
	return false;
}

void listing_take_sizes(struct listing *listing, const struct listing *older)
{
	for (size_t i = 0; i < older->count; i++) {
		const struct message *known = &older->messages[i];
		struct message *message;

		if (known->octets == LISTING_SIZE_UNKNOWN)
			continue;
		message = listing_find_like(listing, known);
		if (!message)
			continue;
		if (!known->version || listing_set_version(listing, message, known->version) == 0)
			message->octets = known->octets;
	}
}

void listing_drop(struct listing *listing, unsigned marks)
{
	size_t left = 0;

	for (size_t i = 0; i < listing->count; i++) {
		if (!(listing->messages[i].marks & marks))
			listing->messages[left++] = listing->messages[i];
	}
	listing->count = left;
	free(listing->by_unique_id);
	listing->by_unique_id = NULL;
}

/* For qsort_r(3): compares the unique-ids of two indices. */
static int compare_unique_ids(const void *left, const void *right, void *messages)
{
	const char *a, *b;
	size_t a_octets, b_octets;

	listing_unique_id((const struct message *)messages + *(const size_t *)left, &a, &a_octets);
	listing_unique_id((const struct message *)messages + *(const size_t *)right, &b, &b_octets);
	return compare_octets(a, a_octets, b, b_octets);
}

static int index_unique_ids(struct listing *listing)
{
	if (listing->by_unique_id || listing->count == 0)
		return 0;
	listing->by_unique_id = reallocarray(NULL, listing->count, sizeof(size_t));
	if (!listing->by_unique_id)
		return -ENOMEM;
	for (size_t i = 0; i < listing->count; i++)
		listing->by_unique_id[i] = i;
	qsort_r(listing->by_unique_id, listing->count, sizeof(size_t), compare_unique_ids,
		listing->messages);
	return 0;
}

int listing_find(struct listing *listing, const char *unique_id, size_t *ret_index)
{
	size_t low = 0, high = listing->count;
	size_t octets = strlen(unique_id);
	int r = index_unique_ids(listing);

	if (r < 0)
		return r;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		size_t index = listing->by_unique_id[middle];
		const char *text;
		size_t text_octets;
		int order;

		listing_unique_id(&listing->messages[index], &text, &text_octets);
		order = compare_octets(text, text_octets, unique_id, octets);
		if (order == 0) {
			*ret_index = index;
			return 0;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return -ENOENT;
}

/* ---- Message files ---- */

/* Finds the names that all messages have now, and marks those that are gone. */
static int look_again(struct listing *listing, const struct subdirs *subdirs)
{
	auto_listing struct listing fresh = { 0 };
	int r = listing_read(subdirs, &fresh);

	for (size_t i = 0; i < listing->count && r == 0; i++) {
		struct message *message = &listing->messages[i];
		struct message *found = listing_find_like(&fresh, message);

		if (!found) {
			message->marks |= MARK_GONE;
			continue;
		}
		message->subdir = found->subdir;
		if (strcmp(message->name, found->name) != 0)
			r = listing_rename(listing, message, found->name);
	}
	return r;
}

int listing_with_file(struct listing *listing, const struct subdirs *subdirs,
		      struct message *message, listing_file_handler *handle, void *context)
{
	for (int i = 0; i < TRIES; i++) {
		int r;

		if (message->marks & MARK_GONE)
			return -ENOENT;
		r = handle(subdirs, message, context);
		if (r != -ENOENT)
			return r;
		/* In a folder the name is all there is to find a message by. */
		if (!subdirs->is_maildir)
			message->marks |= MARK_GONE;
		else
			r = look_again(listing, subdirs);
		if (r < 0 && r != -ENOENT)
			return r;
	}
	return -EAGAIN;
}

void listing_mark(struct listing *listing, struct message *message, enum mark mark)
{
	message->marks |= (uint8_t)mark;
	listing->marks |= mark;
}
