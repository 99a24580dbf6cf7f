/* SPDX-License-Identifier: ISC
 * The cache of a Maildir (first octet even) or of a folder (odd). If the second octet is odd, the
 * rest gets the magic, inode, times and checksum of a cache that was written here just now. */
#include "mailbox/cache.c"

#include "tmpdir.h"

static const char *const names[] = {
	"1.M1P1.h:2,", "2.M2P2.h,S=20", "3.M3P3.h,S=20,W=22", "4.M4P4.h", "with blanks in it.eml",
};

static struct lock locks[] = {
	{ .fds = { -1, -1 },
	  .state_fd = -1,
	  .state_error = -EROFS,
	  .is_local = true,
	  .keeps_inodes = true,
	  .is_maildir = true },
	{ .fds = { -1, -1 },
	  .state_fd = -1,
	  .state_error = -EROFS,
	  .is_local = true,
	  .keeps_inodes = true },
};

static void make_mailboxes(void)
{
	static const char *const folders[] = { "cur", "folder" };

	tmpdir_make();
	for (size_t i = 0; i < ARRAY_SIZE(locks); i++) {
		struct stat status;
		char path[128];
		int fd;

		(void)snprintf(path, sizeof(path), "%s/%s", tmpdir_path, folders[i]);
		FUZZ_CHECK(mkdir(path, 0700) == 0);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		FUZZ_CHECK(fstat(fd, &status) == 0);
		locks[i].root_fd = locks[i].fds[SUBDIR_CUR] = fd;
		locks[i].inode = status.st_ino;
		for (size_t j = 0; j < ARRAY_SIZE(names); j++)
			tmpdir_write(fd, names[j], "letter\n", 7);
	}
}

static void make_genuine(const struct lock *lock, struct cache *cache, size_t octets)
{
	struct stat status;

	FUZZ_CHECK(fstat(lock->fds[SUBDIR_CUR], &status) == 0);
	cache->magic = MAGIC;
	cache->mailbox_inode = lock->inode;
	memset(cache->stamps, 0, sizeof(cache->stamps));
	cache->stamps[SUBDIR_CUR] = file_stamp_of(&status);
	cache->checksum = make_checksum(cache, octets);
}

static void check_listing(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++) {
		const struct message *message = &listing->messages[i];
		const char *text;
		size_t octets, index;
		char unique_id[WIRE_IMPORTED_ID_MAX + 1];

		FUZZ_CHECK(*message->name != '.' && !strchr(message->name, '/'));
		FUZZ_CHECK(message->subdir < SUBDIRS);
		FUZZ_CHECK(strlen(message->name) >= message->unique_octets);
		text = listing_unique_id(message, &octets);
		FUZZ_CHECK(wire_is_printable(text, octets, WIRE_IMPORTED_ID_MAX));
		memcpy(unique_id, text, octets);
		unique_id[octets] = '\0';
		(void)listing_find(listing, unique_id, &index);
	}
}

/* A cache that is saved can be loaded. */
static void check_saving(const struct listing *listing)
{
	auto_listing struct listing again = { 0 };

	cache_save(listing, true);
	if (listing->count == 0)
		return;
	cache_load(listing->lock, &again);
	FUZZ_CHECK(again.count == listing->count && again.namesakes == listing->namesakes);
	for (size_t i = 0; i < listing->count; i++) {
		const struct message *a = &listing->messages[i], *b = &again.messages[i];

		FUZZ_CHECK(strcmp(a->name, b->name) == 0 && a->octets == b->octets &&
			   a->arrival_us == b->arrival_us && a->is_namesake == b->is_namesake &&
			   a->is_imported == b->is_imported && a->is_hint == b->is_hint &&
			   !a->unique_id == !b->unique_id && !a->others == !b->others);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	auto_free struct cache *cache = calloc(1, octets + sizeof(*cache));
	auto_listing struct listing older = { 0 }, listing = { 0 };
	struct lock *lock;
	int fd;

	if (octets < 2)
		return 0;
	if (locks[0].fds[SUBDIR_CUR] < 0)
		make_mailboxes();
	FUZZ_CHECK(cache);
	lock = &locks[data[0] & 1];
	fd = lock->fds[SUBDIR_CUR];
	memcpy(cache, data + 2, octets - 2);
	octets -= 2;
	/* Written first, because creating the file changes the directory's time. */
	tmpdir_write(fd, CACHE_NAME, cache, octets);
	if ((data[1] & 1) && octets >= sizeof(*cache))
		make_genuine(lock, cache, octets);
	tmpdir_write(fd, CACHE_NAME, cache, octets);
	FUZZ_CHECK(listing_read(lock, 0, false, &listing) == 0 &&
		   listing.count == ARRAY_SIZE(names));
	cache_load(lock, &older);
	if (older.count > 0) {
		check_listing(&older);
		check_saving(&older);
		FUZZ_CHECK(listing_merge(&listing, &older, &(struct listing){ 0 }) == 0);
		check_listing(&listing);
	}
	check_saving(&listing);
	return 0;
}
