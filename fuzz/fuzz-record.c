/* SPDX-License-Identifier: ISC
 * The commit record. If the first octet is odd, the rest gets the magic, inodes and seal of a
 * record of this mailbox. */
#include "mailbox/lock.c"

#include "fuzz.h"

static struct lock lock = { .inode = 1, .root_fd = -1, .state_fd = -1 };

static void open_file(void)
{
	lock.state_fd = memfd_create("state", MFD_CLOEXEC);
	FUZZ_CHECK(lock.state_fd >= 0);
}

static void make_genuine(struct record *record, size_t octets)
{
	struct stat state;

	FUZZ_CHECK(fstat(lock.state_fd, &state) == 0);
	record->magic = MAGIC;
	record->state_inode = state.st_ino;
	record->mailbox_inode = lock.inode;
	/* The seal covers the number of keys that the record states. */
	if (record->count <= (octets - sizeof(*record)) / sizeof(*record->keys))
		octets = record_octets(record->count);
	seal(record, octets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	auto_free struct record *record = calloc(1, octets + sizeof(*record));
	auto_free struct record *found = NULL;
	bool genuine;
	int r;

	if (octets == 0)
		return 0;
	if (lock.state_fd < 0)
		open_file();
	FUZZ_CHECK(record);
	genuine = *data & 1;
	octets--;
	memcpy(record, data + 1, octets);
	genuine = genuine && octets >= sizeof(*record);
	if (genuine)
		make_genuine(record, octets);
	FUZZ_CHECK(ftruncate(lock.state_fd, 0) == 0);
	FUZZ_CHECK(pwrite(lock.state_fd, record, octets, 0) == (ssize_t)octets);
	r = record_read(&lock, lock.state_fd, &found);
	FUZZ_CHECK(r == 0 || ((r == -EBADMSG || r == -EMLINK) && !found));
	for (size_t i = 0; found && i < found->count; i++)
		(void)record_has_key(found, &found->keys[i]);
	if (found) { /* a record that is written can be read */
		auto_free struct record *again = NULL;

		FUZZ_CHECK(record_write(&lock, lock.state_fd, found) == 0);
		FUZZ_CHECK(record_read(&lock, lock.state_fd, &again) == 0);
		FUZZ_CHECK(again && again->count == found->count);
		for (size_t i = 0; i < found->count; i++)
			FUZZ_CHECK(record_has_key(again, &found->keys[i]));
	}
	FUZZ_CHECK(lock_clear_record(&lock) == 0);
	free(take_ptr(found));
	FUZZ_CHECK(record_read(&lock, lock.state_fd, &found) == 0 && !found);
	return 0;
}
