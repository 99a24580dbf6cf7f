/* SPDX-License-Identifier: ISC
 * Runs after login only. The mailbox's owner can write anything into the file, so a cache with an
 * entry that no listing of real files could have is refused. */
#include "mailbox/cache.h"

#include "lib/util.h"
#include "lib/wire.h"
#include "mailbox/maildir-name.h"

#include <assert.h>
#include <xxhash.h>

#define CACHE_NAME ".pop3-handler.cache"
#define CACHE_NEW_NAME ".pop3-handler.cache.new"

/* Enough for some millions of messages. A file that is larger is neither written nor read. */
#define CACHE_OCTETS_MAX (256 << 20)

#define MAGIC UINT64_C(0x3463616333706f70) /* "pop3cac4" */

enum cache_flag {
	CACHE_OTHER_NAME = 1, /* another name of the previous message */
	CACHE_UNIQUE_ID = 2,  /* a unique-id follows the name, which does not tell it */
	CACHE_NAMESAKE = 4,
	CACHE_IMPORTED = 8,
	CACHE_HINT = 16,
};

/* One file name, in the listing's order. The name follows, then the unique-id, if any, each with a
 * NUL. So entries are not aligned. */
struct cache_entry {
	uint64_t arrival_us;
	uint64_t octets;
	uint16_t unique_octets, inode_tag;
	uint16_t subdir, flags;	   /* of enum cache_flag */
	struct file_stamp version; /* only in a folder: of the file of this size; all 0: unknown */
};

/* The header, in this machine's byte order. The entries follow. */
struct cache {
	uint64_t magic;
	uint64_t mailbox_inode; /* of the mailbox that the cache was written for */
	struct file_stamp stamps[STAMPS];
	uint64_t is_whole; /* 0 or 1: the cache has all messages as of these stamps */
	uint64_t count;
	uint64_t checksum; /* of the whole file, with 0 here */
};

static_assert(sizeof(struct file_stamp) == 4 * sizeof(uint64_t) &&
		      sizeof(struct cache) ==
			      5 * sizeof(uint64_t) + sizeof(struct file_stamp[STAMPS]) &&
		      sizeof(struct cache_entry) ==
			      3 * sizeof(uint64_t) + sizeof(struct file_stamp),
	      "the structures have no padding");

static size_t entry_octets(const struct listing *listing)
{
	return listing->lock->is_maildir ? offsetof(struct cache_entry, version) :
					   sizeof(struct cache_entry);
}

/* XXH3: SHA-256 would take longer than all the rest, and would not stop the file's owner either. */
static uint64_t make_checksum(struct cache *cache, size_t octets)
{
	cache->checksum = 0;
	return XXH3_64bits(cache, octets);
}

/* ---- Loading ---- */

/* Takes a message, or another name of the previous one. Returns the next entry; NULL: this entry is
 * invalid. */
static const char *take_entry(const char *at, const char *end, struct listing *listing)
{
	struct message *message = &listing->messages[listing->count];
	const char *name = at + entry_octets(listing), *unique_id = NULL;
	struct cache_entry entry = { 0 };
	size_t octets;

	if ((size_t)(end - at) <= entry_octets(listing))
		return NULL;
	memcpy(&entry, at, entry_octets(listing));
	at = memchr(name, '\0', (size_t)(end - name));
	if (!at || *name == '.' || strchr(name, '/') || entry.subdir >= SUBDIRS ||
	    entry.unique_octets == 0 || entry.unique_octets > at - name)
		return NULL;
	at++;
	if (entry.flags & CACHE_OTHER_NAME) {
		bool is_good = listing->count > 0 && listing->lock->is_maildir &&
			       entry.unique_octets == message[-1].unique_octets &&
			       memcmp(name, message[-1].name, entry.unique_octets) == 0;

		return is_good && !listing_add_name(listing, message - 1, name, entry.subdir) ?
			       at :
			       NULL;
	}
	if (entry.flags & CACHE_UNIQUE_ID) {
		unique_id = at;
		at = memchr(at, '\0', (size_t)(end - at));
		if (!at++)
			return NULL;
	}
	*message = (struct message){
		.name = name,
		.unique_id = unique_id,
		.arrival_us = entry.arrival_us,
		.octets = entry.octets,
		.unique_octets = entry.unique_octets,
		.inode_tag = entry.inode_tag,
		.subdir = (uint8_t)entry.subdir,
		.is_namesake = unique_id && (entry.flags & CACHE_NAMESAKE),
		.is_imported = entry.flags & CACHE_IMPORTED,
		.is_hint = entry.flags & CACHE_HINT,
	};
	if (entry.version.inode != 0)
		listing_set_version(listing, message, &entry.version);
	listing->namesakes += message->is_namesake;
	listing->imported_count += message->is_imported;
	listing->count++;
	name = listing_unique_id(message, &octets);
	return wire_is_printable(name, octets, WIRE_IMPORTED_ID_MAX) ? at : NULL;
}

/* Takes all messages. Returns whether the cache is undamaged and this mailbox's. */
static bool take_cache(struct cache *cache, size_t octets, struct listing *listing)
{
	const char *at = (const char *)(cache + 1), *end = (const char *)cache + octets;
	uint64_t checksum = cache->checksum;

	if (cache->magic != MAGIC || cache->count == 0 ||
	    cache->count > octets / entry_octets(listing) ||
	    cache->mailbox_inode != listing->lock->inode ||
	    make_checksum(cache, octets) != checksum)
		return false;
	listing->messages = reallocarray(NULL, cache->count, sizeof(*listing->messages));
	if (!listing->messages)
		return false;
	for (size_t i = 0; i < cache->count && at; i++)
		at = take_entry(at, end, listing);
	memcpy(listing->stamps, cache->stamps, sizeof(listing->stamps));
	listing->has_stable_stamps = cache->is_whole;
	return at == end;
}

void cache_load(struct lock *lock, struct listing *ret)
{
	struct stat status;
	auto_fd int fd = util_open_regular_file(lock->root_fd, CACHE_NAME, O_RDONLY, &status);
	size_t octets = (size_t)status.st_size;
	struct cache *cache = NULL;

	*ret = (struct listing){ .lock = lock };
	if (fd >= 0 && octets >= sizeof(*cache) && octets <= CACHE_OCTETS_MAX)
		cache = listing_allocate(ret, octets);
	if (!cache || util_pread(fd, cache, octets, 0) != (ssize_t)octets ||
	    !take_cache(cache, octets, ret))
		listing_clear(ret);
}

/* ---- Saving ---- */

/* Whether a message has a size or unique-id that its name does not tell. */
static bool is_worth_keeping(const struct listing *listing, const struct message *message)
{
	/* With namesakes, the cache must also tell which message had the unique part first. */
	return listing->namesakes > 0 ||
	       message->octets != (listing->lock->is_maildir ?
					   maildir_name_size_octets(message->name) :
					   LISTING_SIZE_UNKNOWN);
}

/* Writes the entry of one file name. Returns where the next entry goes. */
static char *put_entry(char *at, const struct listing *listing, const struct message *message,
		       unsigned flags)
{
	struct cache_entry entry = {
		.arrival_us = message->arrival_us,
		.octets = message->octets,
		.unique_octets = message->unique_octets,
		.inode_tag = message->inode_tag,
		.subdir = message->subdir,
		.flags = (uint16_t)flags,
	};

	if (!listing->lock->is_maildir && message->version)
		entry.version = *message->version;
	at = mempcpy(at, &entry, entry_octets(listing));
	at = stpcpy(at, message->name) + 1;
	return flags & CACHE_UNIQUE_ID ? stpcpy(at, message->unique_id) + 1 : at;
}

/* Writes the entries after the header. Returns the octets of the whole file. */
static size_t put_messages(const struct listing *listing, struct cache *cache)
{
	char *at = (char *)(cache + 1);

	for (size_t i = 0; i < listing->count; i++) {
		struct message message = listing->messages[i];
		unsigned flags = (message.unique_id ? CACHE_UNIQUE_ID : 0) |
				 (message.is_namesake ? CACHE_NAMESAKE : 0) |
				 (message.is_imported ? CACHE_IMPORTED : 0) |
				 (message.is_hint ? CACHE_HINT : 0);

		if (message.is_gone || !(cache->is_whole || is_worth_keeping(listing, &message)))
			continue;
		do {
			at = put_entry(at, listing, &message, flags);
			flags = CACHE_OTHER_NAME;
			cache->count++;
		} while (listing_next_name(listing, &message));
	}
	return (size_t)(at - (char *)cache);
}

void cache_save(const struct listing *listing, bool is_whole)
{
	int mailbox_fd = listing->lock->root_fd, r = -ENOMEM;
	size_t octets = sizeof(struct cache);
	auto_free struct cache *cache = NULL;
	auto_fd int fd = -1;

	for (size_t i = 0; i < listing->count; i++) {
		struct message message = listing->messages[i];

		octets += message.unique_id ? strlen(message.unique_id) + 1 : 0;
		do {
			octets += entry_octets(listing) + strlen(message.name) + 1;
		} while (listing_next_name(listing, &message));
	}
	cache = malloc(octets);
	if (cache) {
		*cache = (struct cache){ .magic = MAGIC,
					 .mailbox_inode = listing->lock->inode,
					 .is_whole = is_whole };
		memcpy(cache->stamps, listing->stamps, sizeof(cache->stamps));
		octets = put_messages(listing, cache);
	}
	if (cache && cache->count > 0 && octets <= CACHE_OCTETS_MAX) {
		cache->checksum = make_checksum(cache, octets);
		fd = util_create(mailbox_fd, CACHE_NEW_NAME);
		r = fd < 0 ? fd : util_pwrite(fd, cache, octets, 0);
		/* No fsync: after a loss of power, a damaged cache is ignored. */
		r = util_replace(mailbox_fd, CACHE_NAME, CACHE_NEW_NAME, r);
	}
	if (r < 0)
		(void)unlinkat(mailbox_fd, CACHE_NAME, 0);
}
