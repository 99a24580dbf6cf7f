/* SPDX-License-Identifier: ISC
 *
 * The snapshot. Runs after login only. Whoever owns the mailbox can write what he likes into the
 * file; so what he could not have got into a listing by naming files is refused. */
#include "snapshot.h"

#include "digest.h"
#include "util.h"
#include "wire.h"

#include <assert.h>
#include <fcntl.h>
#include <sys/stat.h>

#define SNAPSHOT_NAME ".pop3-handler.listing"
#define SNAPSHOT_NEW_NAME ".pop3-handler.listing.new"

/* Fewer messages are read from the directories in no time. */
#define MESSAGES_MIN 1000
/* Enough for some millions of messages; whatever is longer was not written here. */
#define SNAPSHOT_OCTETS_MAX (256 << 20)

/* In the byte order of this machine. Entries follow it, then names, each ended by a NUL. */
struct header {
	uint64_t magic;
	uint64_t mailbox_inode; /* where it was written */
	struct stamp stamps[PLACES];
	uint64_t count;
	uint64_t names_octets;
	unsigned char seal[DIGEST_OCTETS]; /* of all of it */
};

#define MAGIC UINT64_C(0x31746e7333706f70) /* "pop3snt1" */

/* One message, in the listing's order. */
struct entry {
	uint64_t arrival_us;
	uint64_t octets;
	uint32_t name; /* where it begins among the names */
	uint16_t unique_octets;
	uint16_t place;
};

static_assert(sizeof(struct stamp) == 6 * sizeof(uint64_t) &&
		      sizeof(struct header) ==
			      4 * sizeof(uint64_t) + sizeof(struct stamp[PLACES]) + DIGEST_OCTETS &&
		      sizeof(struct entry) == 3 * sizeof(uint64_t),
	      "they have no holes");

/* A whole snapshot in memory. */
struct snapshot {
	struct header header;
	struct entry entries[];
};

static size_t snapshot_octets(const struct header *header)
{
	return sizeof(struct snapshot) + header->count * sizeof(struct entry) +
	       header->names_octets;
}

static char *snapshot_names(struct snapshot *snapshot)
{
	return (char *)(snapshot->entries + snapshot->header.count);
}

/* ---- Loading ---- */

/* Whether the header fits a file of so many octets, this mailbox, and the directories as they are
 * now. */
static bool is_current(const struct header *header, uint64_t octets, int mailbox_fd,
		       const struct places *places)
{
	struct listing then = { .settled = true };
	struct stat mailbox;

	memcpy(then.stamps, header->stamps, sizeof(then.stamps));
	return header->magic == MAGIC && header->count <= octets / sizeof(struct entry) &&
	       header->names_octets <= octets && snapshot_octets(header) == octets &&
	       fstat(mailbox_fd, &mailbox) == 0 && header->mailbox_inode == mailbox.st_ino &&
	       listing_is_unchanged(&then, places) > 0;
}

/* Whether all names are such as listings in snapshots have. */
static bool has_good_names(const char *names, size_t octets)
{
	bool is_good = octets == 0 || names[octets - 1] == '\0';

	for (size_t i = 0; i < octets; i++)
		is_good &=
			names[i] == '\0' || (names[i] > ' ' && names[i] <= '~' && names[i] != '/');
	return is_good;
}

static bool take_entry(const struct entry *entry, const char *names, size_t names_octets,
		       struct message *ret)
{
	const char *name = names + entry->name;

	if (entry->name >= names_octets || entry->place >= PLACES || *name == '.' ||
	    entry->unique_octets == 0 || entry->unique_octets > WIRE_UNIQUE_ID_MAX ||
	    strnlen(name, entry->unique_octets) < entry->unique_octets)
		return false;
	*ret = (struct message){
		.name = name,
		.arrival_us = entry->arrival_us,
		.octets = entry->octets,
		.unique_octets = entry->unique_octets,
		.place = (uint8_t)entry->place,
	};
	return true;
}

/* Reads and checks the whole file into the listing's memory. NULL: it is not what is there now. */
static struct snapshot *read_snapshot(int fd, const struct header *header, struct listing *listing)
{
	size_t octets = snapshot_octets(header);
	struct snapshot *snapshot = listing_allocate(listing, octets);

	if (!snapshot || util_pread(fd, snapshot, octets, 0) != (ssize_t)octets ||
	    memcmp(&snapshot->header, header, sizeof(*header)) != 0 ||
	    digest_check_seal(snapshot, octets, snapshot->header.seal) < 0 ||
	    !has_good_names(snapshot_names(snapshot), header->names_octets))
		return NULL;
	return snapshot;
}

static bool take_entries(struct snapshot *snapshot, struct listing *listing)
{
	const struct header *header = &snapshot->header;
	const char *names = snapshot_names(snapshot);

	listing->messages = reallocarray(NULL, header->count, sizeof(*listing->messages));
	if (!listing->messages)
		return false;
	listing->room = header->count;
	for (size_t i = 0; i < header->count; i++) {
		if (!take_entry(&snapshot->entries[i], names, header->names_octets,
				&listing->messages[i]))
			return false;
	}
	listing->count = header->count;
	memcpy(listing->stamps, header->stamps, sizeof(listing->stamps));
	listing->settled = true;
	return true;
}

bool snapshot_load(int mailbox_fd, const struct places *places, struct listing *ret)
{
	auto_listing struct listing listing = { 0 };
	auto_fd int fd =
		openat(mailbox_fd, SNAPSHOT_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct snapshot *snapshot;
	struct header header;
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode) ||
	    status.st_size > SNAPSHOT_OCTETS_MAX ||
	    util_pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    !is_current(&header, (uint64_t)status.st_size, mailbox_fd, places))
		return false;
	snapshot = read_snapshot(fd, &header, &listing);
	if (!snapshot || !take_entries(snapshot, &listing))
		return false;
	*ret = listing;
	listing = (struct listing){ 0 };
	return true;
}

/* ---- Saving ---- */

bool snapshot_is_worthwhile(const struct listing *listing, const struct places *places)
{
	if (listing->count < MESSAGES_MIN || !places->is_maildir ||
	    listing_is_unchanged(listing, places) <= 0)
		return false;
	for (size_t i = 0; i < listing->count; i++) {
		const char *name = listing->messages[i].name;

		if (listing->messages[i].stand_in || !has_good_names(name, strlen(name) + 1))
			return false;
	}
	return true;
}

/* NULL: no memory, or it would be too long. */
static struct snapshot *make_snapshot(int mailbox_fd, const struct listing *listing)
{
	struct header header = { .magic = MAGIC, .count = listing->count };
	auto_free struct snapshot *snapshot = NULL;
	struct stat mailbox;
	char *name;

	for (size_t i = 0; i < listing->count; i++)
		header.names_octets += strlen(listing->messages[i].name) + 1;
	if (snapshot_octets(&header) > SNAPSHOT_OCTETS_MAX || fstat(mailbox_fd, &mailbox) < 0)
		return NULL;
	header.mailbox_inode = mailbox.st_ino;
	memcpy(header.stamps, listing->stamps, sizeof(header.stamps));
	snapshot = malloc(snapshot_octets(&header));
	if (!snapshot)
		return NULL;
	snapshot->header = header;
	name = snapshot_names(snapshot);
	for (size_t i = 0; i < listing->count; i++) {
		const struct message *message = &listing->messages[i];

		snapshot->entries[i] = (struct entry){
			.arrival_us = message->arrival_us,
			.octets = message->octets,
			.name = (uint32_t)(name - snapshot_names(snapshot)),
			.unique_octets = message->unique_octets,
			.place = message->place,
		};
		name = stpcpy(name, message->name) + 1;
	}
	digest_seal(snapshot, snapshot_octets(&header), snapshot->header.seal);
	return take_ptr(snapshot);
}

void snapshot_save(int mailbox_fd, const struct listing *listing)
{
	auto_free struct snapshot *snapshot = make_snapshot(mailbox_fd, listing);

	if (!snapshot || util_replace(mailbox_fd, SNAPSHOT_NAME, SNAPSHOT_NEW_NAME, snapshot,
				      snapshot_octets(&snapshot->header)) < 0)
		(void)unlinkat(mailbox_fd, SNAPSHOT_NAME, 0);
}
