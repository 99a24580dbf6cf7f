/* SPDX-License-Identifier: ISC
 * Imported unique-ids. The first octet says what follows the second: the headers of a message (h),
 * the file .pop3-handler.ids (r; i: with a correct header), or else, separated by NULs, the list of
 * the server that this octet selects, its keywords and a message. The second octet has flags. */
#include "mailbox/import.c"

#include "tmpdir.h"

enum flag {
	FLAG_READ_ONLY = 1,
	FLAG_STABLE = 2,
	FLAG_MAY_LACK_LIST = 4,
	FLAG_UNWRITABLE = 8,
	FLAG_RENAMED = 16, /* a file is renamed after the directories were read */
};

static const char *const sources[] = {
	"dovecot %08Xu%08Xv", "dovecot %f", "courier", "qmail", "x-uidl", "x-uidl dovecot UID%u-%v",
};

static const char *const names[] = {
	"1.M1P1.h:2,",
	"2.M2P2.h,S=20:2,S",
	"3.M3P3.h,S=20,W=22:2,a",
	"4.M4P4.h,u=7:2,b",
	"5.M5P5.h,u=4:2,",
	"6.M6P6.h:2,S",
	"UID5-1:2,",
	"UID6-1:2,",
	"with blanks in it:2,",
	"line\nfeed:2,",
	/* In new: a namesake, and a name that is too long for a unique-id. */
	"6.M6P6.h",
	"8.M8P8.a-very-long-host-name-such-as-only-large-sites-have.mail.example.org",
};
#define NAMESAKE 5
#define NEW_FIRST 10
#define NAME_RENAMED "1.M1P1.h:2,RS"

#define INPUT_OCTETS_MAX (64 << 10)

static struct lock lock = { .root_fd = -1,
			    .fds = { -1, -1 },
			    .state_fd = -1,
			    .state_error = -EROFS,
			    .is_local = true,
			    .keeps_inodes = true,
			    .is_maildir = true };

static int open_dir(const char *name)
{
	int fd;

	FUZZ_CHECK(lock.root_fd < 0 || mkdirat(lock.root_fd, name, 0700) == 0);
	fd = openat(lock.root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	return fd;
}

static void write_mail(size_t i, const char *octets, size_t count)
{
	struct timespec times[] = { { .tv_sec = 9 }, { .tv_sec = (time_t)(i / 2) } };
	int fd = lock.fds[i < NEW_FIRST ? SUBDIR_CUR : SUBDIR_NEW];

	tmpdir_write(fd, names[i], octets, count);
	FUZZ_CHECK(utimensat(fd, names[i], times, 0) == 0);
}

static void make_mailbox(void)
{
	tmpdir_make();
	lock.root_fd = open_dir(tmpdir_path);
	lock.fds[SUBDIR_CUR] = open_dir("cur");
	lock.fds[SUBDIR_NEW] = open_dir("new");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		char text[64];
		int octets = snprintf(text, sizeof(text), "x-uidl: %zu\n\n", 2 * i / 3);

		write_mail(i, text, i == NAMESAKE ? 0 : (size_t)octets);
	}
}

/* Writes a file for each text; a NUL separates two texts. */
static void write_files(const char *text, const char *end, const char *source)
{
	const char *const files[] = {
		strcmp(source, "courier") == 0 ? "courierpop3dsizelist" : "dovecot-uidlist",
		"dovecot-keywords",
		"",
	};

	write_mail(0, "letter\n", 7);
	for (size_t i = 0; i < ARRAY_SIZE(files) && text < end; i++) {
		const char *text_end = memchr(text, '\0', (size_t)(end - text)) ?: end;

		if (*files[i])
			tmpdir_write(lock.root_fd, files[i], text, (size_t)(text_end - text));
		else
			write_mail(0, text, (size_t)(text_end - text));
		text = text_end + 1;
	}
}

static void write_ids_file(const char *text, size_t octets, bool make_genuine)
{
	struct ids ids = { .text = malloc(HEADER_OCTETS + octets), .octets = octets };

	FUZZ_CHECK(ids.text);
	if (make_genuine) {
		memcpy(ids.text + HEADER_OCTETS, text, octets);
		ids.octets += HEADER_OCTETS;
		put_header(&ids);
	} else {
		memcpy(ids.text, text, octets);
	}
	tmpdir_write(lock.root_fd, LISTING_IDS_NAME, ids.text, ids.octets);
	ids_clear(&ids);
}

static int read_and_apply(unsigned flags, const struct mailbox_origin *origin, struct listing *ret)
{
	int cur_fd = lock.fds[SUBDIR_CUR], r;
	size_t count;

	lock.report = (struct mailbox_report){ 0 };
	lock.is_read_only = flags & FLAG_READ_ONLY;
	FUZZ_CHECK(listing_read(&lock, 0, false, ret) == 0 && ret->count == ARRAY_SIZE(names));
	count = ret->count;
	ret->has_stable_stamps = flags & FLAG_STABLE;
	if (flags & FLAG_RENAMED)
		FUZZ_CHECK(renameat(cur_fd, names[0], cur_fd, NAME_RENAMED) == 0);
	r = import_apply(ret, origin);
	if (flags & FLAG_RENAMED)
		FUZZ_CHECK(renameat(cur_fd, NAME_RENAMED, cur_fd, names[0]) == 0);
	FUZZ_CHECK(r == 0 || (r == -EUCLEAN && lock.report.problem && *lock.report.problem));
	if (r < 0)
		return r;
	FUZZ_CHECK(ret->imported_count + ret->excluded <= count);
	count -= ret->excluded;
	FUZZ_CHECK(listing_put_in_order(ret) == 0 && ret->count == count);
	return 0;
}

static int compare_ids(const void *left, const void *right)
{
	return strcmp(left, right);
}

static void check_listing(const struct listing *listing)
{
	char ids[ARRAY_SIZE(names)][WIRE_IMPORTED_ID_MAX + 1];

	for (size_t i = 0; i < listing->count; i++) {
		const struct message *message = &listing->messages[i];
		size_t octets;
		const char *id = listing_unique_id(message, &octets);

		FUZZ_CHECK(wire_is_printable(id, octets,
					     message->is_imported ? WIRE_IMPORTED_ID_MAX :
								    WIRE_UNIQUE_ID_MAX));
		*(char *)mempcpy(ids[i], id, octets) = '\0';
		FUZZ_CHECK(message->is_imported == (i < listing->imported_count));
		FUZZ_CHECK(!message->is_expunged && (octets > 1 || *id != '-'));
	}
	qsort(ids, listing->count, sizeof(*ids), compare_ids);
	for (size_t i = 1; i < listing->count; i++)
		FUZZ_CHECK(strcmp(ids[i - 1], ids[i]) != 0);
}

/* Checks that each unique-id is in the headers of its own message. */
static void check_headers(const struct listing *listing)
{
	for (size_t i = 0; i < listing->imported_count; i++) {
		const struct message *message = &listing->messages[i];
		int fd = openat(lock.fds[message->subdir], message->name, O_RDONLY | O_CLOEXEC);
		char text[INPUT_OCTETS_MAX + 2] = { 0 };
		ssize_t count = util_pread(fd, text, INPUT_OCTETS_MAX, 0);
		size_t octets;
		const char *id = listing_unique_id(message, &octets);

		FUZZ_CHECK(count >= 0 && close(fd) == 0);
		text[count] = '\n';
		FUZZ_CHECK(strncmp(id, find_header(text), octets) == 0);
	}
}

/* Checks that the first messages are the same in both listings. */
static void check_same(const struct listing *a, const struct listing *b, size_t count)
{
	FUZZ_CHECK(a->imported_count == b->imported_count && count <= a->count &&
		   count <= b->count);
	for (size_t i = 0; i < count; i++) {
		size_t a_octets, b_octets;
		const char *a_id = listing_unique_id(&a->messages[i], &a_octets);
		const char *b_id = listing_unique_id(&b->messages[i], &b_octets);

		FUZZ_CHECK(a_octets == b_octets && memcmp(a_id, b_id, a_octets) == 0);
		FUZZ_CHECK(a->messages[i].unique_octets == b->messages[i].unique_octets &&
			   memcmp(a->messages[i].name, b->messages[i].name,
				  a->messages[i].unique_octets) == 0);
	}
}

static void check_import(unsigned flags, const struct mailbox_origin *origin)
{
	auto_listing struct listing listing = { 0 }, again = { 0 };
	bool is_takeover, is_written;

	if ((flags & FLAG_UNWRITABLE) && !(flags & FLAG_READ_ONLY))
		FUZZ_CHECK(mkdirat(lock.root_fd, IDS_NEW_NAME, 0700) == 0);
	if (read_and_apply(flags, origin, &listing) < 0)
		return;
	check_listing(&listing);
	is_takeover = lock.report.is_takeover;
	is_written = is_takeover && lock.report.ids_error == 0 && !(flags & FLAG_READ_ONLY);
	FUZZ_CHECK(lock.report.ids_error == 0 || listing.imported_count == listing.count);
	(void)unlinkat(lock.root_fd, IDS_NEW_NAME, AT_REMOVEDIR);
	FUZZ_CHECK(faccessat(lock.root_fd, IDS_NEW_NAME, F_OK, 0) < 0);
	FUZZ_CHECK(!is_takeover ||
		   (faccessat(lock.root_fd, LISTING_IDS_NAME, F_OK, 0) == 0) == is_written);
	FUZZ_CHECK(read_and_apply(flags & ~(unsigned)FLAG_RENAMED, origin, &again) == 0);
	check_listing(&again);
	FUZZ_CHECK(lock.report.is_takeover == (is_takeover && !is_written));
	check_same(&listing, &again, MIN(listing.count, again.count));
	if (is_takeover && strcmp(origin->from, "x-uidl") == 0)
		check_headers(&again);
}

static void check_header(const uint8_t *data, size_t octets)
{
	auto_free char *text = fuzz_string(data, octets);
	const char *header = find_header(text);

	FUZZ_CHECK(!strchr(" \t\r\n", *header) || *header == '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	struct mailbox_origin origin = { 0 };
	const char *text = (const char *)data + 2;

	if (octets < 2)
		return 0;
	if (lock.root_fd < 0)
		make_mailbox();
	octets = MIN(octets - 2, INPUT_OCTETS_MAX);
	if (*data == 'h') {
		check_header(data + 2, octets);
		return 0;
	}
	origin.from = sources[*data % ARRAY_SIZE(sources)];
	origin.may_lack_list = data[1] & FLAG_MAY_LACK_LIST;
	if (*data == 'i' || *data == 'r')
		write_ids_file(text, octets, *data == 'i');
	else
		write_files(text, text + octets, origin.from);
	check_import(data[1], &origin);
	(void)unlinkat(lock.root_fd, IDS_NEW_NAME, AT_REMOVEDIR);
	(void)unlinkat(lock.root_fd, LISTING_IDS_NAME, 0);
	(void)unlinkat(lock.root_fd, "dovecot-uidlist", 0);
	(void)unlinkat(lock.root_fd, "dovecot-keywords", 0);
	(void)unlinkat(lock.root_fd, "courierpop3dsizelist", 0);
	return 0;
}
