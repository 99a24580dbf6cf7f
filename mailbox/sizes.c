/* SPDX-License-Identifier: ISC
 *
 * The size cache. Runs after login only. It names messages by unique-id, in the order of the
 * listing, so that most are found without a search. */
#include "mailbox/sizes.h"

#include "lib/digest.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "mailbox/maildir-name.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#define SIZES_NAME ".pop3-handler.sizes"
#define SIZES_NEW_NAME ".pop3-handler.sizes.new"

/* Enough for some millions of messages; whatever is longer was not written here. */
#define CACHE_OCTETS_MAX (256 << 20)

/* In the byte order of this machine. */
struct sizes_header {
	uint64_t magic;
	uint64_t mailbox_inode;		   /* where it was written */
	uint64_t octets;		   /* of the entries that follow */
	unsigned char seal[DIGEST_OCTETS]; /* of header and entries */
};

#define MAGIC UINT64_C(0x317a697333706f70) /* "pop3siz1" */

static_assert(sizeof(struct sizes_header) == 3 * sizeof(uint64_t) + DIGEST_OCTETS,
	      "it has no holes");

/* One message; its unique-id follows. */
struct size_entry {
	uint64_t octets;
	struct file_version version; /* of a folder's file */
	uint64_t unique_id_octets;
};

static_assert(sizeof(struct size_entry) == 5 * sizeof(uint64_t), "it has no holes");

/* A whole cache in memory. */
struct cache {
	struct sizes_header header;
	char entries[];
};

static size_t cache_octets(const struct cache *cache)
{
	return sizeof(*cache) + cache->header.octets;
}

/* ---- Loading ---- */

/* Reads the file as it is. NULL: there is none that could be a cache. */
static struct cache *read_cache(int mailbox_fd)
{
	struct stat status;
	auto_fd int fd = util_open_regular_file(mailbox_fd, SIZES_NAME, O_RDONLY, &status);
	struct cache *cache;

	if (fd < 0)
		return NULL;
	if (status.st_size < (off_t)sizeof(*cache) || status.st_size > CACHE_OCTETS_MAX)
		return NULL;
	cache = malloc((size_t)status.st_size);
	if (!cache)
		return NULL;
	if (util_pread(fd, cache, (size_t)status.st_size, 0) == status.st_size &&
	    cache->header.octets == (uint64_t)status.st_size - sizeof(*cache))
		return cache;
	free(cache);
	return NULL;
}

static bool is_sound(int mailbox_fd, struct cache *cache)
{
	struct stat mailbox;

	return cache->header.magic == MAGIC && fstat(mailbox_fd, &mailbox) == 0 &&
	       cache->header.mailbox_inode == mailbox.st_ino &&
	       digest_check_seal(cache, cache_octets(cache), cache->header.seal) == 0;
}

static bool has_unique_id(const struct message *message, const char *unique_id, size_t octets)
{
	const char *text;
	size_t text_octets;

	listing_unique_id(message, &text, &text_octets);
	return text_octets == octets && memcmp(text, unique_id, octets) == 0;
}

/* Finds an entry's message: most often the one at *guess, which then moves on. NULL: none. */
static struct message *find_message(struct listing *listing, size_t *guess, const char *unique_id,
				    size_t octets)
{
	char text[WIRE_UNIQUE_ID_MAX + 1];

	if (*guess >= listing->count ||
	    !has_unique_id(&listing->messages[*guess], unique_id, octets)) {
		size_t index;

		memcpy(text, unique_id, octets);
		text[octets] = '\0';
		if (listing_find(listing, text, &index) < 0)
			return NULL;
		*guess = index;
	}
	return &listing->messages[(*guess)++];
}

/* Takes over one entry. A size that the message cannot have is left. */
static void use_entry(const struct size_entry *entry, struct listing *listing,
		      struct message *message)
{
	static const struct file_version none;

	if (memcmp(&entry->version, &none, sizeof(none)) != 0) {
		if (listing_set_version(listing, message, &entry->version) < 0)
			return;
	} else if (!maildir_name_allows_octets(message->name, entry->octets)) {
		return;
	}
	message->octets = entry->octets;
}

static void use_entries(const struct cache *cache, struct listing *listing)
{
	const char *next = cache->entries;
	const char *end = next + cache->header.octets;
	size_t guess = 0;

	while ((size_t)(end - next) > sizeof(struct size_entry)) {
		struct message *message;
		struct size_entry entry;

		memcpy(&entry, next, sizeof(entry));
		next += sizeof(entry);
		if (entry.unique_id_octets > WIRE_UNIQUE_ID_MAX ||
		    entry.unique_id_octets > (size_t)(end - next))
			return;
		message = find_message(listing, &guess, next, entry.unique_id_octets);
		if (message)
			use_entry(&entry, listing, message);
		next += entry.unique_id_octets;
	}
}

void sizes_load(int mailbox_fd, struct listing *listing)
{
	auto_free struct cache *cache = read_cache(mailbox_fd);

	if (cache && is_sound(mailbox_fd, cache))
		use_entries(cache, listing);
}

/* ---- Saving ---- */

/* Whether a message belongs into the cache: if its size is known, and not from its name. */
static bool is_worth_keeping(const struct message *message, bool is_maildir)
{
	uint64_t octets;

	if (message->octets == LISTING_SIZE_UNKNOWN)
		return false;
	if (!is_maildir)
		return message->version && message->version->inode != 0;
	return maildir_name_size_octets(message->name, &octets) < 0 || octets != message->octets;
}

static size_t add_entry(const struct message *message, char *space)
{
	struct size_entry entry = { .octets = message->octets };
	const char *unique_id;
	size_t octets;

	listing_unique_id(message, &unique_id, &octets);
	entry.unique_id_octets = octets;
	if (message->version)
		entry.version = *message->version;
	memcpy(space, &entry, sizeof(entry));
	memcpy(space + sizeof(entry), unique_id, octets);
	return sizeof(entry) + octets;
}

/* NULL: no memory. */
static struct cache *make_cache(int mailbox_fd, const struct listing *listing, bool is_maildir)
{
	size_t entry_octets_max = sizeof(struct size_entry) + WIRE_UNIQUE_ID_MAX;
	auto_free struct cache *cache = malloc(sizeof(*cache) + listing->count * entry_octets_max);
	struct stat mailbox;

	if (!cache || fstat(mailbox_fd, &mailbox) < 0)
		return NULL;
	cache->header = (struct sizes_header){ .magic = MAGIC, .mailbox_inode = mailbox.st_ino };
	for (size_t i = 0; i < listing->count; i++) {
		const struct message *message = &listing->messages[i];

		if (is_worth_keeping(message, is_maildir))
			cache->header.octets +=
				add_entry(message, cache->entries + cache->header.octets);
	}
	digest_seal(cache, cache_octets(cache), cache->header.seal);
	return take_ptr(cache);
}

void sizes_save(int mailbox_fd, const struct listing *listing, bool is_maildir)
{
	auto_free struct cache *cache = make_cache(mailbox_fd, listing, is_maildir);

	if (cache)
		(void)util_replace(mailbox_fd, SIZES_NAME, SIZES_NEW_NAME, cache,
				   cache_octets(cache));
}
