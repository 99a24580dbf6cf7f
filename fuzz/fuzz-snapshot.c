/* SPDX-License-Identifier: ISC
 *
 * The snapshot of a Maildir. The first octet, if it is odd, makes the rest what was written here
 * and now: with magic, inode, times, length and checksum. */
#include "mailbox/snapshot.c"

#include "tmpdir.h"

static struct subdirs subdirs = { .fds = { -1, -1 }, .is_maildir = true };

static void make_genuine(struct snapshot *snapshot, size_t octets)
{
	auto_listing struct listing listing = { 0 };
	struct snapshot_header *header = &snapshot->header;
	struct stat status;

	FUZZ_CHECK(listing_read(&subdirs, &listing) == 0);
	FUZZ_CHECK(fstat(subdirs.fds[SUBDIR_CUR], &status) == 0);
	header->magic = MAGIC;
	header->mailbox_inode = status.st_ino;
	memcpy(header->stamps, listing.stamps, sizeof(header->stamps));
	header->count %= (octets - sizeof(*snapshot)) / sizeof(struct snapshot_entry) + 1;
	header->names_octets =
		octets - sizeof(*snapshot) - header->count * sizeof(struct snapshot_entry);
	header->checksum = make_checksum(snapshot);
}

static void check_listing(struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++) {
		const struct message *message = &listing->messages[i];
		char unique_id[WIRE_UNIQUE_ID_MAX + 1];
		size_t index;

		FUZZ_CHECK(*message->name != '.' && !strchr(message->name, '/'));
		FUZZ_CHECK(message->subdir < SUBDIRS);
		FUZZ_CHECK(strlen(message->name) == message->name_octets &&
			   message->name_octets >= message->unique_octets);
		FUZZ_CHECK(wire_is_unique_id(message->name, message->unique_octets));
		memcpy(unique_id, message->name, message->unique_octets);
		unique_id[message->unique_octets] = '\0';
		(void)listing_find(listing, unique_id, &index);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	auto_free struct snapshot *snapshot = calloc(1, octets + sizeof(*snapshot));
	auto_listing struct listing listing = { 0 };
	int fd;

	if (octets < 1)
		return 0;
	if (subdirs.fds[SUBDIR_CUR] < 0) {
		tmpdir_make();
		subdirs.fds[SUBDIR_CUR] = open(tmpdir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	}
	fd = subdirs.fds[SUBDIR_CUR];
	FUZZ_CHECK(snapshot && fd >= 0);
	memcpy(snapshot, data + 1, octets - 1);
	octets--;
	/* Its own file changes the directory. */
	tmpdir_write(fd, SNAPSHOT_NAME, snapshot, octets);
	if ((data[0] & 1) && octets >= sizeof(*snapshot))
		make_genuine(snapshot, octets);
	fd = openat(fd, SNAPSHOT_NAME, O_WRONLY | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0 && util_pwrite(fd, snapshot, octets, 0) == 0);
	(void)close(fd);
	if (snapshot_load(subdirs.fds[SUBDIR_CUR], &subdirs, &listing))
		check_listing(&listing);
	if (snapshot_is_worthwhile(&listing, &subdirs))
		snapshot_save(subdirs.fds[SUBDIR_CUR], &listing);
	return 0;
}
