/* SPDX-License-Identifier: ISC
 * The cache. Runs after login only. The mailbox's owner can write anything into the file; so what
 * could not be in a listing of real files is refused. */
#include "mailbox/cache.h"

#include "lib/util.h"
#include "lib/wire.h"
#include "mailbox/maildir-name.h"

#include <assert.h>
#include <xxhash.h>

#define CACHE_NAME ".pop3-handler.cache"
#define CACHE_NEW_NAME ".pop3-handler.cache.new"

/* Enough for some millions of messages; whatever is longer was not written here. */
#define CACHE_OCTETS_MAX (256 << 20)

#define MAGIC UINT64_C(0x3263616333706f70) /* "pop3cac2" */

enum cache_flag {
	CACHE_OTHER_NAME = 1, /* one more name of the message before it */
	CACHE_STAND_IN = 2,   /* a stand-in follows the name */
	CACHE_NAMESAKE = 4,
};

/* One file name, in the listing's order, as the texts are. */
struct cache_entry {
	uint64_t arrival_us;
	uint64_t octets;
	uint16_t name_octets, unique_octets;
	uint16_t inode_tag;
	uint8_t subdir;
	uint8_t flags; /* of enum cache_flag */
};

/* In the byte order of this machine. The entries are followed, in a folder, by as many stamps of
 * the files that have these sizes, all 0 if unknown; then by texts, each ended by a NUL. */
struct cache {
	uint64_t magic;
	uint64_t mailbox_inode; /* where it was written */
	struct file_stamp stamps[SUBDIRS];
	uint64_t is_whole; /* 0, 1: it has all messages that there were at these stamps */
	uint64_t count;
	uint64_t texts_octets;
	uint64_t checksum; /* of all of it, with 0 here */
	struct cache_entry entries[];
};

static_assert(sizeof(struct file_stamp) == 4 * sizeof(uint64_t) &&
		      sizeof(struct cache) ==
			      6 * sizeof(uint64_t) + sizeof(struct file_stamp[SUBDIRS]) &&
		      sizeof(struct cache_entry) == 3 * sizeof(uint64_t),
	      "they have no holes");

static size_t cache_octets(const struct cache *cache, bool is_maildir)
{
	size_t stamp_octets = is_maildir ? 0 : sizeof(struct file_stamp);

	return sizeof(*cache) + cache->count * (sizeof(struct cache_entry) + stamp_octets) +
	       cache->texts_octets;
}

static struct file_stamp *cache_stamps(struct cache *cache)
{
	return (struct file_stamp *)(cache->entries + cache->count);
}

/* XXH3: SHA-256 would take longer than all the rest, and would not stop the file's owner. */
static uint64_t make_checksum(struct cache *cache, size_t octets)
{
	cache->checksum = 0;
	return XXH3_64bits(cache, octets);
}

/* ---- Loading ---- */

/* The next text, which has this many octets; moves on. NULL: there is no such one. */
static const char *take_text(const char **texts, const char *end, size_t octets)
{
	const char *text = *texts;

	if ((size_t)(end - text) <= octets || memchr(text, '\0', octets + 1) != text + octets)
		return NULL;
	*texts += octets + 1;
	return text;
}

static bool is_good_entry(const struct cache_entry *entry, const char *name)
{
	bool is_unique_id = !(entry->flags & (CACHE_STAND_IN | CACHE_OTHER_NAME));

	return *name != '.' && !strchr(name, '/') && entry->subdir < SUBDIRS &&
	       entry->unique_octets > 0 && entry->unique_octets <= entry->name_octets &&
	       (!is_unique_id || wire_is_unique_id(name, entry->unique_octets));
}

/* Takes a message, or one more name of the last. */
static bool take_entry(const struct cache_entry *entry, struct file_stamp *version,
		       const char **texts, const char *end, struct listing *listing)
{
	struct message *message = &listing->messages[listing->count];
	const char *name = take_text(texts, end, entry->name_octets), *stand_in = NULL;

	if (!name || !is_good_entry(entry, name))
		return false;
	if (entry->flags & CACHE_OTHER_NAME)
		return listing->count > 0 && !version &&
		       entry->unique_octets == message[-1].unique_octets &&
		       memcmp(name, message[-1].name, entry->unique_octets) == 0 &&
		       listing_add_name(listing, message - 1, name, entry->subdir) == 0;
	if (entry->flags & CACHE_STAND_IN) {
		stand_in = take_text(texts, end, WIRE_UNIQUE_ID_MAX);
		if (!stand_in || !wire_is_unique_id(stand_in, WIRE_UNIQUE_ID_MAX))
			return false;
	}
	*message = (struct message){
		.name = name,
		.stand_in = stand_in,
		.arrival_us = entry->arrival_us,
		.octets = entry->octets,
		.version = version && version->inode != 0 ? version : NULL,
		.unique_octets = entry->unique_octets,
		.inode_tag = entry->inode_tag,
		.subdir = entry->subdir,
		.is_namesake = stand_in && (entry->flags & CACHE_NAMESAKE),
	};
	listing->namesakes += message->is_namesake;
	listing->count++;
	return true;
}

static bool take_entries(struct cache *cache, size_t octets, struct listing *listing)
{
	struct file_stamp *versions = listing->lock->is_maildir ? NULL : cache_stamps(cache);
	const char *end = (const char *)cache + octets, *texts = end - cache->texts_octets;

	listing->messages = reallocarray(NULL, cache->count, sizeof(*listing->messages));
	if (!listing->messages)
		return false;
	for (size_t i = 0; i < cache->count; i++) {
		if (!take_entry(&cache->entries[i], versions ? &versions[i] : NULL, &texts, end,
				listing))
			return false;
	}
	memcpy(listing->stamps, cache->stamps, sizeof(listing->stamps));
	listing->is_stable = cache->is_whole;
	return true;
}

/* Whether what was read has its full length, is undamaged, and this mailbox's. */
static bool is_sound(struct cache *cache, size_t octets, const struct lock *lock)
{
	uint64_t checksum = cache->checksum;

	return cache->magic == MAGIC && cache->count > 0 &&
	       cache->count <= octets / sizeof(struct cache_entry) &&
	       cache->texts_octets <= octets && cache_octets(cache, lock->is_maildir) == octets &&
	       cache->mailbox_inode == lock->inode && make_checksum(cache, octets) == checksum;
}

bool cache_load(struct lock *lock, struct listing *ret)
{
	struct stat status;
	auto_fd int fd = util_open_regular_file(lock->root_fd, CACHE_NAME, O_RDONLY, &status);
	size_t octets = (size_t)status.st_size;
	struct cache *cache = NULL;

	*ret = (struct listing){ .lock = lock };
	if (fd >= 0 && octets >= sizeof(*cache) && octets <= CACHE_OCTETS_MAX)
		cache = listing_allocate(ret, octets, _Alignof(struct cache));
	if (cache && util_pread(fd, cache, octets, 0) == (ssize_t)octets &&
	    is_sound(cache, octets, lock) && take_entries(cache, octets, ret))
		return true;
	listing_clear(ret);
	return false;
}

/* ---- Saving ---- */

/* Whether something is known of a message that neither its name nor its file tells at once. */
static bool is_worth_keeping(const struct message *message, bool is_maildir)
{
	if (message->is_namesake || message->octets == LISTING_SIZE_UNKNOWN)
		return message->is_namesake;
	return is_maildir ? maildir_name_size_octets(message->name) != message->octets :
			    message->version && message->version->changed_ns != 0;
}

/* Puts in one file name and what belongs to it. Returns where the next text goes. */
static char *put_entry(struct cache *cache, size_t index, const struct message *message,
		       unsigned flags, bool is_maildir, char *text)
{
	cache->entries[index] = (struct cache_entry){
		.arrival_us = message->arrival_us,
		.octets = message->octets,
		.name_octets = (uint16_t)strlen(message->name),
		.unique_octets = message->unique_octets,
		.inode_tag = message->inode_tag,
		.subdir = message->subdir,
		.flags = (uint8_t)flags,
	};
	if (!is_maildir)
		cache_stamps(cache)[index] =
			message->version ? *message->version : (struct file_stamp){ 0 };
	text = stpcpy(text, message->name) + 1;
	return flags & CACHE_STAND_IN ? stpcpy(text, message->stand_in) + 1 : text;
}

/* Counts in the header what is to be saved, and puts it into the cache, if there is one already. */
static void put_messages(const struct listing *listing, struct cache *header, struct cache *cache)
{
	bool is_maildir = listing->lock->is_maildir;
	char *text = cache ? (char *)(cache_stamps(cache) + (is_maildir ? 0 : cache->count)) : NULL;

	for (size_t i = 0; i < listing->count; i++) {
		struct message message = listing->messages[i];
		unsigned flags = (message.stand_in ? CACHE_STAND_IN : 0) |
				 (message.is_namesake ? CACHE_NAMESAKE : 0);

		if (message.is_gone ||
		    !(header->is_whole || is_worth_keeping(&message, is_maildir)))
			continue;
		do {
			if (cache)
				text = put_entry(cache, header->count, &message, flags, is_maildir,
						 text);
			header->count++;
			header->texts_octets += strlen(message.name) + 1;
			if (flags & CACHE_STAND_IN)
				header->texts_octets += WIRE_UNIQUE_ID_MAX + 1;
			flags = CACHE_OTHER_NAME;
		} while (listing_next_name(listing, &message));
	}
}

void cache_save(const struct listing *listing, bool is_whole)
{
	struct cache header = { .magic = MAGIC, .is_whole = is_whole };
	int mailbox_fd = listing->lock->root_fd;
	auto_free struct cache *cache = NULL;
	auto_fd int fd = -1;
	size_t octets;
	int r = -ENOMEM;

	put_messages(listing, &header, NULL);
	octets = cache_octets(&header, listing->lock->is_maildir);
	if (header.count > 0 && octets <= CACHE_OCTETS_MAX)
		cache = malloc(octets);
	if (cache) {
		header.mailbox_inode = listing->lock->inode;
		memcpy(header.stamps, listing->stamps, sizeof(header.stamps));
		*cache = header;
		header.count = header.texts_octets = 0;
		put_messages(listing, &header, cache);
		cache->checksum = make_checksum(cache, octets);
		fd = util_create(mailbox_fd, CACHE_NEW_NAME);
		r = fd < 0 ? fd : util_pwrite(fd, cache, octets, 0);
		/* After a loss of power it may be damaged. */
		r = util_replace(mailbox_fd, CACHE_NAME, CACHE_NEW_NAME, r);
	}
	if (r < 0)
		(void)unlinkat(mailbox_fd, CACHE_NAME, 0);
}
