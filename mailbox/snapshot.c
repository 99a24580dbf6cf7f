/* SPDX-License-Identifier: ISC
 *
 * The snapshot. Runs after login only. The mailbox's owner can write anything into the file; so
 * what could not be in a listing of real files is refused. */
#include "mailbox/snapshot.h"

#include "lib/util.h"
#include "lib/wire.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <xxhash.h>

#define SNAPSHOT_NAME ".pop3-handler.listing"
#define SNAPSHOT_NEW_NAME ".pop3-handler.listing.new"

/* Fewer messages are read from the directories in no time. */
#define MESSAGES_MIN 1000
/* Enough for some millions of messages; whatever is longer was not written here. */
#define SNAPSHOT_OCTETS_MAX (256 << 20)

/* In the byte order of this machine. Entries follow it, then names, each ended by a NUL. */
struct snapshot_header {
	uint64_t magic;
	uint64_t mailbox_inode; /* where it was written */
	struct file_stamp stamps[SUBDIRS];
	uint64_t count;
	uint64_t names_octets;
	uint64_t checksum; /* of all of it, with 0 here */
};

#define MAGIC UINT64_C(0x32746e7333706f70) /* "pop3snt2" */

/* One message, in the listing's order, as the names are. */
struct snapshot_entry {
	uint64_t arrival_us;
	uint64_t octets;
	uint32_t subdir;
	uint16_t name_octets;
	uint16_t unique_octets;
};

static_assert(sizeof(struct file_stamp) == 6 * sizeof(uint64_t) &&
		      sizeof(struct snapshot_header) ==
			      5 * sizeof(uint64_t) + sizeof(struct file_stamp[SUBDIRS]) &&
		      sizeof(struct snapshot_entry) == 3 * sizeof(uint64_t),
	      "they have no holes");

/* A whole snapshot in memory. */
struct snapshot {
	struct snapshot_header header;
	struct snapshot_entry entries[];
};

static size_t snapshot_octets(const struct snapshot_header *header)
{
	return sizeof(struct snapshot) + header->count * sizeof(struct snapshot_entry) +
	       header->names_octets;
}

static char *snapshot_names(struct snapshot *snapshot)
{
	return (char *)(snapshot->entries + snapshot->header.count);
}

/* XXH3 of a whole snapshot: SHA-256 would take longer than all the rest, and would not stop an
 * owner who can write the whole file. */
static uint64_t make_checksum(struct snapshot *snapshot)
{
	uint64_t written = snapshot->header.checksum, checksum;

	snapshot->header.checksum = 0;
	checksum = XXH3_64bits(snapshot, snapshot_octets(&snapshot->header));
	snapshot->header.checksum = written;
	return checksum;
}

/* ---- Loading ---- */

/* Whether the header fits the file's size, this mailbox, and its directories as they are now. */
static bool is_current(const struct snapshot_header *header, uint64_t octets, int mailbox_fd,
		       const struct subdirs *subdirs)
{
	struct listing then = { .is_stable = true };
	struct stat mailbox;

	memcpy(then.stamps, header->stamps, sizeof(then.stamps));
	return header->magic == MAGIC && header->count <= octets / sizeof(struct snapshot_entry) &&
	       header->names_octets <= octets && snapshot_octets(header) == octets &&
	       fstat(mailbox_fd, &mailbox) == 0 && header->mailbox_inode == mailbox.st_ino &&
	       listing_is_unchanged(&then, subdirs) > 0;
}

/* Whether all names are such as a snapshot may have. Without a branch, so that it is vectorised. */
static bool has_good_names(const char *names, size_t octets)
{
	unsigned char bad = octets > 0 && names[octets - 1] != '\0';

	for (size_t i = 0; i < octets; i++)
		bad |= names[i] != '\0' && (names[i] <= ' ' || names[i] > '~' || names[i] == '/');
	return bad == 0;
}

/* Takes a message whose name is the first in `names`. */
static bool take_entry(const struct snapshot_entry *entry, const char *names, size_t octets,
		       struct message *ret)
{
	const char *end = memchr(names, '\0', octets);

	if (!end || (size_t)(end - names) != entry->name_octets || *names == '.' ||
	    entry->subdir >= SUBDIRS || entry->unique_octets == 0 ||
	    entry->unique_octets > WIRE_UNIQUE_ID_MAX || entry->unique_octets > entry->name_octets)
		return false;
	*ret = (struct message){
		.name = names,
		.arrival_us = entry->arrival_us,
		.octets = entry->octets,
		.name_octets = entry->name_octets,
		.unique_octets = entry->unique_octets,
		.subdir = (uint8_t)entry->subdir,
	};
	return true;
}

/* Reads and checks the whole file into the listing's memory. NULL: it is not what is there now. */
static struct snapshot *read_snapshot(int fd, const struct snapshot_header *header,
				      struct listing *listing)
{
	size_t octets = snapshot_octets(header);
	struct snapshot *snapshot = listing_allocate(listing, octets);

	if (!snapshot || util_pread(fd, snapshot, octets, 0) != (ssize_t)octets ||
	    memcmp(&snapshot->header, header, sizeof(*header)) != 0 ||
	    make_checksum(snapshot) != header->checksum ||
	    !has_good_names(snapshot_names(snapshot), header->names_octets))
		return NULL;
	return snapshot;
}

static bool take_entries(struct snapshot *snapshot, struct listing *listing)
{
	const struct snapshot_header *header = &snapshot->header;
	const char *names = snapshot_names(snapshot), *end = names + header->names_octets;

	listing->messages = reallocarray(NULL, header->count, sizeof(*listing->messages));
	if (!listing->messages)
		return false;
	listing->capacity = header->count;
	for (size_t i = 0; i < header->count; i++) {
		const struct snapshot_entry *entry = &snapshot->entries[i];

		if (!take_entry(entry, names, (size_t)(end - names), &listing->messages[i]))
			return false;
		names += entry->name_octets + 1;
	}
	listing->count = header->count;
	memcpy(listing->stamps, header->stamps, sizeof(listing->stamps));
	listing->is_stable = true;
	return true;
}

bool snapshot_load(int mailbox_fd, const struct subdirs *subdirs, struct listing *ret)
{
	auto_listing struct listing listing = { 0 };
	struct stat status;
	auto_fd int fd = util_open_regular_file(mailbox_fd, SNAPSHOT_NAME, O_RDONLY, &status);
	struct snapshot *snapshot;
	struct snapshot_header header;

	if (fd < 0 || status.st_size > SNAPSHOT_OCTETS_MAX ||
	    util_pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    !is_current(&header, (uint64_t)status.st_size, mailbox_fd, subdirs))
		return false;
	snapshot = read_snapshot(fd, &header, &listing);
	if (!snapshot || !take_entries(snapshot, &listing))
		return false;
	*ret = listing;
	listing = (struct listing){ 0 };
	return true;
}

/* ---- Saving ---- */

bool snapshot_is_worthwhile(const struct listing *listing, const struct subdirs *subdirs)
{
	/* A record that hides messages may go. */
	if (listing->count < MESSAGES_MIN || !subdirs->is_maildir || listing->record_error ||
	    listing_is_unchanged(listing, subdirs) <= 0)
		return false;
	for (size_t i = 0; i < listing->count; i++) {
		if (listing->messages[i].stand_in)
			return false;
	}
	return true;
}

static void fill_snapshot(struct snapshot *snapshot, const struct listing *listing)
{
	char *name = snapshot_names(snapshot);

	for (size_t i = 0; i < listing->count; i++) {
		const struct message *message = &listing->messages[i];

		snapshot->entries[i] = (struct snapshot_entry){
			.arrival_us = message->arrival_us,
			.octets = message->octets,
			.subdir = message->subdir,
			.name_octets = message->name_octets,
			.unique_octets = message->unique_octets,
		};
		memcpy(name, message->name, message->name_octets + 1);
		name += message->name_octets + 1;
	}
}

/* NULL: no memory, or it would be too long, or has names that none may have. */
static struct snapshot *make_snapshot(int mailbox_fd, const struct listing *listing)
{
	struct snapshot_header header = { .magic = MAGIC, .count = listing->count };
	auto_free struct snapshot *snapshot = NULL;
	struct stat mailbox;

	for (size_t i = 0; i < listing->count; i++)
		header.names_octets += listing->messages[i].name_octets + 1;
	if (snapshot_octets(&header) > SNAPSHOT_OCTETS_MAX || fstat(mailbox_fd, &mailbox) < 0)
		return NULL;
	header.mailbox_inode = mailbox.st_ino;
	memcpy(header.stamps, listing->stamps, sizeof(header.stamps));
	snapshot = malloc(snapshot_octets(&header));
	if (!snapshot)
		return NULL;
	snapshot->header = header;
	fill_snapshot(snapshot, listing);
	if (!has_good_names(snapshot_names(snapshot), header.names_octets))
		return NULL;
	snapshot->header.checksum = make_checksum(snapshot);
	return take_ptr(snapshot);
}

void snapshot_save(int mailbox_fd, const struct listing *listing)
{
	auto_free struct snapshot *snapshot = make_snapshot(mailbox_fd, listing);

	if (!snapshot || util_replace(mailbox_fd, SNAPSHOT_NAME, SNAPSHOT_NEW_NAME, snapshot,
				      snapshot_octets(&snapshot->header)) < 0)
		(void)unlinkat(mailbox_fd, SNAPSHOT_NAME, 0);
}
