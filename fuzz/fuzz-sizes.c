/* SPDX-License-Identifier: ISC
 *
 * The size cache of a Maildir (a first octet that is even) and of a folder. The second octet, if it
 * is odd, makes the rest what was written here: with magic, inode, length and seal. */
#include "mailbox/sizes.c"

#include "tmpdir.h"

static const char *const names[] = {
	"1.M1P1.h", "2.M2P2.h,S=20", "3.M3P3.h,S=20,W=22", "a-letter.eml", "with blanks in it.eml",
};

static int mailbox_fds[] = { -1, -1 };

static void make_mailboxes(void)
{
	static const char *const folders[] = { "cur", "folder" };

	tmpdir_make();
	for (size_t i = 0; i < ARRAY_SIZE(mailbox_fds); i++) {
		char path[128];

		(void)snprintf(path, sizeof(path), "%s/%s", tmpdir_path, folders[i]);
		FUZZ_CHECK(mkdir(path, 0700) == 0);
		mailbox_fds[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		for (size_t j = 0; j < ARRAY_SIZE(names); j++)
			tmpdir_write(mailbox_fds[i], names[j], "letter\n", 7);
	}
}

static void make_genuine(int fd, struct cache *cache, size_t octets)
{
	struct stat status;

	FUZZ_CHECK(fstat(fd, &status) == 0);
	cache->header.magic = MAGIC;
	cache->header.mailbox_inode = status.st_ino;
	cache->header.octets = octets - sizeof(*cache);
	digest_seal(cache, octets, cache->header.seal);
}

static void check_listing(const struct listing *listing, bool is_maildir)
{
	FUZZ_CHECK(listing->count == ARRAY_SIZE(names));
	for (size_t i = 0; i < listing->count; i++) {
		const struct message *message = &listing->messages[i];

		if (is_maildir && message->octets != LISTING_SIZE_UNKNOWN && !message->version)
			FUZZ_CHECK(maildir_name_allows_octets(message->name, message->octets));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	auto_free struct cache *cache = calloc(1, octets + sizeof(*cache));
	auto_listing struct listing listing = { 0 }, again = { 0 };
	struct subdirs subdirs = { .fds = { -1, -1 } };
	bool is_maildir;
	int fd;

	if (octets < 2)
		return 0;
	if (mailbox_fds[0] < 0)
		make_mailboxes();
	FUZZ_CHECK(cache);
	is_maildir = subdirs.is_maildir = !(data[0] & 1);
	fd = subdirs.fds[SUBDIR_CUR] = mailbox_fds[data[0] & 1];
	memcpy(cache, data + 2, octets - 2);
	octets -= 2;
	if ((data[1] & 1) && octets >= sizeof(*cache))
		make_genuine(fd, cache, octets);
	tmpdir_write(fd, SIZES_NAME, cache, octets);
	FUZZ_CHECK(listing_read(&subdirs, &listing) == 0);
	sizes_load(fd, &listing);
	check_listing(&listing, is_maildir);
	/* What is saved is loaded. */
	sizes_save(fd, &listing, is_maildir);
	FUZZ_CHECK(listing_read(&subdirs, &again) == 0);
	sizes_load(fd, &again);
	for (size_t i = 0; i < listing.count; i++) {
		if (is_worth_keeping(&listing.messages[i], is_maildir))
			FUZZ_CHECK(again.messages[i].octets == listing.messages[i].octets);
	}
	return 0;
}
