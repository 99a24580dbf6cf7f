/* SPDX-License-Identifier: ISC
 * Runs after login only. The mailbox's owner can write anything into the lists and into our file;
 * the sender of a message chooses its X-UIDL. A damaged file is refused, never guessed at: after a
 * wrong guess, every client would download all mail again. */
#include "mailbox/import.h"

#include "lib/util.h"
#include "lib/wire.h"
#include "mailbox/maildir-name.h"
#include "mailbox/old-list.h"

#include <stdarg.h>
#include <sys/random.h>
#include <xxhash.h>

#define IDS_NEW_NAME LISTING_IDS_NAME ".new"

/* Our file has a header line, then one line for each message, in the order of the listing:
 *   pop3-handler unique-ids 1 CHECKSUM   (XXH3 of the lines below, 16 hex digits)
 *   UNIQUE-ID NAME                       (the unique part of the file name)
 * The UNIQUE-ID `-` hides the message. */
#define HEADER "pop3-handler unique-ids 1 "
#define HEADER_OCTETS (sizeof(HEADER) - 1 + 16 + 1)

/* Enough for two million messages. It bounds the memory that a mailbox's owner can make us use. */
#define FILE_OCTETS_MAX (128 << 20)

/* X-UIDL is looked for in this many octets of a message. */
#define HEADERS_OCTETS_MAX (256 << 10)

/* A line of the file. */
struct id_line {
	uint32_t at; /* offset in the text */
	uint16_t id_octets, name_octets;
	bool is_needed;		 /* its message exists, or another message must not get its id */
	struct message *message; /* NULL: not looked up, or it does not exist */
};

/* The contents of our file. */
struct ids {
	char *text; /* the whole file */
	size_t octets, capacity;
	struct id_line *lines;
	size_t count, needed;
	uint32_t *table; /* hash table of ids: line numbers from 1; 0: free */
	size_t mask;	 /* the table's length, a power of 2, minus 1 */
	uint64_t seed;	 /* of the hash; secret, so that no attacker can provoke collisions */
};

static void ids_clear(struct ids *ids)
{
	free(ids->text);
	free(ids->lines);
	free(ids->table);
	*ids = (struct ids){ 0 };
}

#define auto_ids __attribute__((cleanup(ids_clear)))

/* Puts the reason why unique-ids cannot be read into the report. Returns -EUCLEAN. */
__attribute__((format(printf, 2, 3))) static int refuse(struct lock *lock, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	(void)vsnprintf(lock->report.import_text, sizeof(lock->report.import_text), format, values);
	va_end(values);
	lock->report.problem = lock->report.import_text;
	return -EUCLEAN;
}

/* Counts a message that cannot get its proper unique-id. The report keeps the first name. */
static void note_loss(struct mailbox_report *report, size_t *count, const char *name)
{
	++*count;
	if (!*report->import_text)
		(void)util_copy(report->import_text, name);
}

/* ---- The lines of the file ---- */

static int ids_new(size_t lines_max, struct ids *ret)
{
	size_t length = 16;

	while (length < 2 * lines_max)
		length *= 2;
	ret->mask = length - 1;
	ret->table = calloc(length, sizeof(*ret->table));
	ret->lines = calloc(lines_max + 1, sizeof(*ret->lines));
	if (!ret->table || !ret->lines)
		return -ENOMEM;
	return getrandom(&ret->seed, sizeof(ret->seed), 0) < 0 ? -errno : 0;
}

/* The slot of an id, or the free slot where it belongs. */
static uint32_t *find_id_slot(const struct ids *ids, const char *id, size_t octets)
{
	for (size_t at = XXH3_64bits_withSeed(id, octets, ids->seed);; at++) {
		uint32_t *slot = &ids->table[at & ids->mask];
		const struct id_line *line = &ids->lines[*slot - (*slot > 0)];

		if (*slot == 0 ||
		    (line->id_octets == octets && memcmp(ids->text + line->at, id, octets) == 0))
			return slot;
	}
}

static bool is_hidden(const char *id, size_t octets)
{
	return octets == 1 && *id == '-';
}

/* Adds the line at offset `at`. Returns false if it is malformed or its id is not unique. */
static bool add_line(struct ids *ids, size_t at, size_t octets)
{
	const char *id = ids->text + at, *blank = memchr(id, ' ', octets);
	size_t id_octets, name_octets;
	uint32_t *slot;

	if (!blank)
		return false;
	id_octets = (size_t)(blank - id);
	name_octets = octets - id_octets - 1;
	slot = is_hidden(id, id_octets) ? NULL : find_id_slot(ids, id, id_octets);
	if (!wire_is_printable(id, id_octets, WIRE_IMPORTED_ID_MAX) ||
	    listing_is_stand_in(id, id_octets) || name_octets < 1 || name_octets > UINT16_MAX ||
	    memchr(blank, '/', name_octets + 1) || (slot && *slot > 0))
		return false;
	ids->lines[ids->count++] = (struct id_line){ .at = (uint32_t)at,
						     .id_octets = (uint16_t)id_octets,
						     .name_octets = (uint16_t)name_octets };
	if (slot)
		*slot = (uint32_t)ids->count;
	return true;
}

static void put_header(struct ids *ids)
{
	uint64_t checksum = XXH3_64bits(ids->text + HEADER_OCTETS, ids->octets - HEADER_OCTETS);
	char header[HEADER_OCTETS + 1];

	(void)snprintf(header, sizeof(header), HEADER "%016" PRIx64 "\n", checksum);
	memcpy(ids->text, header, HEADER_OCTETS);
}

/* Reads a whole file. Returns the number of octets, or a negative errno: -ELOOP, -ENXIO (it is not
 * a regular file), -EPERM (neither we nor the mailbox's owner own it), -EFBIG, or the system's. */
static ssize_t read_owned_file(const struct lock *lock, int dir_fd, const char *name,
			       char **ret_text, struct file_stamp *ret_stamp)
{
	struct stat status, owner;
	auto_fd int fd = util_open_regular_file(dir_fd, name, O_RDONLY, &status);
	auto_free char *text = NULL;
	ssize_t octets;

	if (fd < 0)
		return fd;
	if (fstat(lock->root_fd, &owner) < 0)
		return -errno;
	if (status.st_uid != geteuid() && status.st_uid != owner.st_uid)
		return -EPERM;
	if (status.st_size > FILE_OCTETS_MAX)
		return -EFBIG;
	text = malloc((size_t)status.st_size + 1);
	if (!text)
		return -ENOMEM;
	octets = util_pread(fd, text, (size_t)status.st_size, 0);
	if (octets < 0)
		return octets;
	*ret_stamp = file_stamp_of(&status);
	*ret_text = take_ptr(text);
	return octets;
}

/* Reports an error of read_owned_file(). */
static int refuse_file(struct lock *lock, const char *name, int error)
{
	return refuse(lock, "cannot use %s: %s", name,
		      error == -ELOOP || error == -ENXIO ? "it is no regular file" :
		      error == -EPERM			 ? "it is another user's" :
							   strerror(-error));
}

/* Reads our file. Returns 0, -ENOENT, -ENOMEM, or -EUCLEAN (damaged or unreadable). */
static int read_ids(struct listing *listing, struct ids *ret)
{
	struct lock *lock = listing->lock;
	size_t lines = 0;
	ssize_t octets = read_owned_file(lock, lock->root_fd, LISTING_IDS_NAME, &ret->text,
					 &listing->stamps[STAMP_IDS]);
	char header[HEADER_OCTETS] = "", *end;
	int r;

	if ((octets == -ENOENT && listing->stamps[STAMP_IDS].inode == 0) || octets == -ENOMEM)
		return (int)octets;
	if (octets < 0) /* also if the file was there when it was listed */
		return refuse_file(lock, LISTING_IDS_NAME, (int)octets);
	ret->octets = (size_t)octets;
	end = ret->text + octets;
	if (ret->octets >= HEADER_OCTETS) {
		memcpy(header, ret->text, HEADER_OCTETS);
		put_header(ret);
	}
	if (ret->octets < HEADER_OCTETS || memcmp(header, ret->text, HEADER_OCTETS) != 0)
		return refuse(lock, LISTING_IDS_NAME " is damaged");
	for (const char *at = ret->text; (at = memchr(at, '\n', (size_t)(end - at))); at++)
		lines++;
	r = ids_new(lines, ret);
	if (r < 0)
		return r;
	for (char *at = ret->text + HEADER_OCTETS, *line_end; at < end; at = line_end + 1) {
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (!line_end || !add_line(ret, (size_t)(at - ret->text), (size_t)(line_end - at)))
			return refuse(lock, LISTING_IDS_NAME " is damaged at line %zu",
				      ret->count + 2);
	}
	return 0;
}

/* Replaces our file atomically. When this returns 0, the new file is durable. */
static int write_ids(struct listing *listing, struct ids *ids)
{
	struct lock *lock = listing->lock;
	int r = lock->state_error == 0 ? lock_check(lock) : 0;
	auto_fd int fd = -1;

	put_header(ids);
	if (ids->octets > FILE_OCTETS_MAX) /* read_owned_file() would refuse it */
		r = -EFBIG;
	fd = r < 0 ? r : util_create(lock->root_fd, IDS_NEW_NAME);
	r = fd < 0 ? fd : util_pwrite(fd, ids->text, ids->octets, 0);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	r = util_replace(lock->root_fd, LISTING_IDS_NAME, IDS_NEW_NAME, r);
	if (r == 0 && fsync(lock->root_fd) < 0 && errno != EINVAL)
		r = -errno;
	return r ?: file_stamp_take(fd, &listing->stamps[STAMP_IDS]);
}

/* Rewrites our file without the lines that are not needed, if these are the majority. A failure
 * only costs space. */
static void drop_lines(struct listing *listing, const struct ids *ids)
{
	const struct lock *lock = listing->lock;
	auto_ids struct ids fresh = { .octets = HEADER_OCTETS };
	char *end;

	/* Only stable stamps prove that a message is gone. A missing cur may come back. */
	if (2 * ids->needed >= ids->count || lock->is_read_only || !listing->has_stable_stamps ||
	    lock->fds[SUBDIR_CUR] < 0)
		return;
	fresh.text = malloc(ids->octets);
	if (!fresh.text)
		return;
	end = fresh.text + HEADER_OCTETS;
	for (size_t i = 0; i < ids->count; i++) {
		const struct id_line *line = &ids->lines[i];

		if (!line->is_needed)
			continue;
		end = mempcpy(end, ids->text + line->at,
			      (size_t)line->id_octets + 1 + line->name_octets);
		*end++ = '\n';
	}
	fresh.octets = (size_t)(end - fresh.text);
	(void)write_ids(listing, &fresh);
}

/* ---- The messages of a listing ---- */

/* Gives messages with a line their imported id and their place in the order. A message without a
 * line whose own id equals an imported one gets a stand-in. Messages without a line are listed only
 * if `has_others` is set. */
static int apply_lines(struct listing *listing, struct ids *ids, bool has_others)
{
	struct mailbox_report *report = &listing->lock->report;
	size_t next = 0;

	listing->imported = calloc(listing->count + 1, sizeof(*listing->imported));
	if (!listing->imported)
		return -ENOMEM;
	for (size_t i = 0; i < ids->count; i++) {
		struct id_line *line = &ids->lines[i];
		const char *id = ids->text + line->at;
		char *name = ids->text + line->at + line->id_octets + 1;
		struct message *message = line->message;

		name[line->name_octets] = '\0';
		message = message ?: listing_find_name(listing, name, &next);
		if (!message || message->is_imported || message->is_expunged)
			continue;
		line->is_needed = true;
		ids->needed++;
		message->is_expunged = is_hidden(id, line->id_octets);
		listing->excluded += message->is_expunged;
		if (message->is_expunged)
			continue;
		listing->imported[listing->imported_count++] =
			(uint32_t)(message - listing->messages);
		if (listing_import(listing, message, id, line->id_octets) < 0)
			return -ENOMEM;
	}
	report->imported = listing->imported_count;
	report->excluded = listing->excluded;
	for (size_t i = 0; i < listing->count; i++) {
		struct message *message = &listing->messages[i];
		struct id_line *line;
		size_t octets;
		const char *id = listing_unique_id(message, &octets);

		if (message->is_imported || message->is_expunged)
			continue;
		message->is_expunged = !has_others;
		listing->excluded += message->is_expunged;
		line = &ids->lines[*find_id_slot(ids, id, octets)];
		if (message->is_expunged || line == ids->lines)
			continue;
		line--;
		ids->needed += !line->is_needed;
		line->is_needed = true;
		note_loss(report, &report->clashes, message->name);
		if (listing_give_stand_in(listing, message, 0) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* ---- Import ---- */

/* The state of an import. */
struct takeover {
	struct listing *listing;
	const struct mailbox_origin *origin;
	struct uidl_source source;
	struct old_entry *entries;
	size_t count;
	char **headers;	 /* X-UIDL of each message, or NULL */
	int hidden_flag; /* letter in the names of messages that the other server hid; 0: none */
};

static void takeover_clear(struct takeover *takeover)
{
	for (size_t i = 0; takeover->headers && i < takeover->listing->count; i++)
		free(takeover->headers[i]);
	free(takeover->headers);
	free(takeover->entries);
}

#define auto_takeover __attribute__((cleanup(takeover_clear)))

/* The value of X-UIDL, cut out of the beginning of a message in place; "": no such header. */
static const char *find_header(char *text)
{
	char *value, *end;

	for (char *line = text; *line != '\n' && *line != '\r'; line = end + 1) {
		end = strchr(line, '\n');
		if (!end)
			break;
		if (strncasecmp(line, "X-UIDL", 6) != 0)
			continue;
		value = line + 6 + strspn(line + 6, " \t");
		if (*value++ != ':')
			continue;
		while (*end && (end[1] == ' ' || end[1] == '\t')) /* a folded header */
			end += 1 + strcspn(end + 1, "\n");
		*end = '\0';
		return util_trim(value, " \t\r\n");
	}
	return "";
}

/* For listing_with_files(): gets the time (qmail) or the X-UIDL of a message from its file. */
static int look_into_file(struct listing *listing, struct message *message, void *context)
{
	struct takeover *takeover = context;
	size_t index = (size_t)(message - listing->messages);
	int dir_fd = listing->lock->fds[message->subdir], r;
	const char *header = " "; /* if the file cannot be read: not a valid unique-id */
	auto_free char *text = NULL;
	auto_fd int fd = -1;
	struct stat status;

	if (takeover->source.server == UIDL_QMAIL) {
		if (fstatat(dir_fd, message->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
			return -errno;
		takeover->entries[index].order = (uint64_t)status.st_mtim.tv_sec;
		return 0;
	}
	fd = util_open_regular_file(dir_fd, message->name, O_RDONLY, &status);
	if (fd < 0 && fd != -EACCES)
		return fd == -ELOOP || fd == -ENXIO ? -ENOENT : fd;
	if (fd >= 0) {
		text = malloc(HEADERS_OCTETS_MAX + 1);
		if (!text)
			return -ENOMEM;
		r = (int)util_pread(fd, text, HEADERS_OCTETS_MAX, 0);
		if (r < 0)
			return r;
		if (r < HEADERS_OCTETS_MAX)
			text[r++] = '\n'; /* the last line may lack it */
		text[r] = '\0';
		/* A NUL in some header must not end the text. A valid X-UIDL has no NUL or DEL. */
		for (char *nul = text; (nul = memchr(nul, '\0', (size_t)(text + r - nul)));)
			*nul = '\x7f';
		header = find_header(text);
	}
	takeover->headers[index] = strndup(header, MIN(strlen(header), WIRE_IMPORTED_ID_MAX + 1));
	return takeover->headers[index] ? 0 : -ENOMEM;
}

/* Looks into the files of all messages that are marked as wanted. */
static int look_into_files(struct takeover *takeover)
{
	struct listing *listing = takeover->listing;
	int r;

	takeover->headers = calloc(listing->count + 1, sizeof(*takeover->headers));
	r = !takeover->headers ?
		    -ENOMEM :
		    listing_with_files(listing, 0, listing->count, look_into_file, takeover);
	return r < 0 && r != -ENOMEM ?
		       refuse(listing->lock, "cannot read messages for their unique-ids: %s",
			      strerror(-r)) :
		       r;
}

/* Makes the entries from the files alone: qmail and mailutils keep no list. */
static int list_files(struct takeover *takeover)
{
	struct listing *listing = takeover->listing;
	int r;

	takeover->entries = calloc(listing->count + 1, sizeof(*takeover->entries));
	if (!takeover->entries)
		return -ENOMEM;
	for (size_t i = 0; i < listing->count; i++) {
		struct message *message = &listing->messages[i];

		takeover->entries[i] = (struct old_entry){
			.order = maildir_name_find_octets(message->name, ",u="),
			.octets = UINT64_MAX,
			.index = i,
		};
		message->is_wanted = true;
	}
	takeover->count = listing->count;
	r = look_into_files(takeover);
	/* Last, because look_into_files() updates the names of files that were renamed. */
	for (size_t i = 0; i < listing->count; i++)
		takeover->entries[i].name = listing->messages[i].name;
	return r;
}

/* Whether there is a message that a client of the other server may have seen. */
static bool has_seen_mail(const struct listing *listing)
{
	for (size_t i = 0; i < listing->count; i++) {
		if (listing->messages[i].subdir == SUBDIR_CUR)
			return true;
	}
	return false;
}

/* Finds the message of each entry. Drops entries without a message, if the listing proves that it
 * is gone. Of several entries for one message, the last counts. */
static int find_messages(struct takeover *takeover)
{
	struct listing *listing = takeover->listing;
	auto_free size_t *last = calloc(listing->count + 1, sizeof(*last));
	size_t next = 0, left = 0;

	if (!last)
		return -ENOMEM;
	for (size_t i = 0; i < takeover->count; i++) {
		struct old_entry *entry = &takeover->entries[i];
		const struct message *message = listing_find_name(listing, entry->name, &next);

		entry->index = message ? (size_t)(message - listing->messages) : listing->count;
		last[entry->index] = i;
	}
	for (size_t i = 0; i < takeover->count; i++) {
		struct old_entry *entry = &takeover->entries[i];
		bool is_there = entry->index < listing->count;

		if (is_there ? last[entry->index] != i : listing->has_stable_stamps)
			continue;
		if (is_there && takeover->source.has_headers && !entry->id)
			listing->messages[entry->index].is_wanted = true;
		takeover->entries[left++] = *entry;
	}
	takeover->count = left;
	return takeover->source.has_headers ? look_into_files(takeover) : 0;
}

/* Reads one of the other server's files. Returns the number of octets, -ENOENT, -ENOMEM, or
 * -EUCLEAN for any other error of read_owned_file(). */
static ssize_t read_old_file(const struct takeover *takeover, const char *name, char **ret_text)
{
	struct lock *lock = takeover->listing->lock;
	const char *control = takeover->origin->control;
	struct file_stamp unused;
	auto_fd int fd = openat(lock->root_fd, control ?: ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ssize_t octets = fd < 0 ? -errno : read_owned_file(lock, fd, name, ret_text, &unused);

	if (octets >= 0 || octets == -ENOENT || octets == -ENOMEM)
		return octets;
	return refuse_file(lock, name, (int)octets);
}

/* Reads the other server's list into *ret_text, which the entries point into. */
static int read_list(struct takeover *takeover, char **ret_text)
{
	struct listing *listing = takeover->listing;
	struct lock *lock = listing->lock;
	bool is_dovecot = takeover->source.server == UIDL_DOVECOT;
	const char *name = is_dovecot ? "dovecot-uidlist" : "courierpop3dsizelist";
	auto_free char *keywords = NULL;
	ssize_t octets, count;
	unsigned line;

	octets = read_old_file(takeover, name, ret_text);
	if (octets == -ENOENT && has_seen_mail(listing) && !takeover->origin->may_lack_list)
		return refuse(lock, "%s is missing, and there is mail in cur", name);
	if (octets < 0)
		return octets == -ENOENT ? 0 : (int)octets;
	count = old_list_parse(takeover->source.server, *ret_text, (size_t)octets,
			       &takeover->entries, &line);
	if (count < 0)
		return count == -ENOMEM ? -ENOMEM :
					  refuse(lock, "%s is damaged at line %u", name, line);
	takeover->count = (size_t)count;
	if (!is_dovecot)
		return find_messages(takeover);
	octets = read_old_file(takeover, "dovecot-keywords", &keywords);
	if (octets >= 0)
		takeover->hidden_flag =
			old_list_find_keyword(keywords, (size_t)octets, "$POP3Deleted");
	if (takeover->hidden_flag < 0)
		return refuse(lock, "dovecot-keywords is damaged");
	return octets < 0 && octets != -ENOENT ? (int)octets : find_messages(takeover);
}

/* Writes the line of an entry, unless the message had no unique-id. Returns false if the unique-id
 * cannot be served or belongs to another line. */
static bool put_id_line(const struct takeover *takeover, const struct old_entry *entry,
			struct ids *ids)
{
	const struct listing *listing = takeover->listing;
	bool is_there = entry->index < listing->count;
	struct message *message = is_there ? &listing->messages[entry->index] : NULL;
	const char *name = is_there ? message->name : entry->name;
	size_t name_octets = maildir_name_unique_octets(name);
	char *id = ids->text + ids->octets;
	ssize_t octets;

	if (is_there && message->is_namesake) /* the line would match an older message */
		return false;
	octets = old_list_make_id(&takeover->source, entry,
				  is_there && takeover->headers ? takeover->headers[entry->index] :
								  NULL,
				  id, WIRE_IMPORTED_ID_MAX);
	if (octets == -ENOENT)
		return true;
	if (takeover->hidden_flag && maildir_name_has_flag(name, (char)takeover->hidden_flag))
		octets = stpcpy(id, "-") - id;
	else if (octets < 0 || !wire_is_printable(id, (size_t)octets, WIRE_IMPORTED_ID_MAX) ||
		 is_hidden(id, (size_t)octets))
		return false;
	id[octets] = ' ';
	memcpy(id + octets + 1, name, name_octets);
	octets += 1 + (ssize_t)name_octets;
	if (memchr(id, '\n', (size_t)octets) || !add_line(ids, ids->octets, (size_t)octets))
		return false;
	ids->lines[ids->count - 1].message = message;
	id[octets] = '\n';
	ids->octets += (size_t)octets + 1;
	return true;
}

/* Takes the size from the other server's list, as a hint: it must be checked against the file. */
static void take_size(struct listing *listing, const struct old_entry *entry)
{
	struct message *message = &listing->messages[entry->index];

	if (entry->index == listing->count || message->octets != LISTING_SIZE_UNKNOWN ||
	    entry->octets == UINT64_MAX ||
	    !maildir_name_allows_octets(message->name, entry->octets))
		return;
	message->octets = entry->octets;
	message->is_hint = true;
}

/* Makes space after the text. */
static int reserve_text(struct ids *ids, size_t octets)
{
	size_t needed = ids->octets + octets;
	char *text;

	if (needed <= ids->capacity)
		return 0;
	text = realloc(ids->text, 2 * needed);
	if (!text)
		return -ENOMEM;
	ids->text = text;
	ids->capacity = 2 * needed;
	return 0;
}

static int put_id_lines(struct takeover *takeover, struct ids *ids)
{
	struct mailbox_report *report = &takeover->listing->lock->report;
	int r = ids_new(takeover->count, ids) ?: reserve_text(ids, HEADER_OCTETS);

	if (r < 0)
		return r;
	if (takeover->count > 0)
		qsort(takeover->entries, takeover->count, sizeof(*takeover->entries),
		      old_list_compare);
	ids->octets = HEADER_OCTETS;
	for (size_t i = 0; i < takeover->count; i++) {
		const struct old_entry *entry = &takeover->entries[i];

		r = reserve_text(ids, WIRE_IMPORTED_ID_MAX + 2 + strlen(entry->name) + NAME_MAX);
		if (r < 0)
			return r;
		if (put_id_line(takeover, entry, ids))
			take_size(takeover->listing, entry);
		else
			note_loss(report, &report->unusable, entry->name);
	}
	return 0;
}

static int take_over(struct listing *listing, const struct mailbox_origin *origin, struct ids *ids)
{
	auto_free char *text = NULL;
	auto_takeover struct takeover takeover = { .listing = listing, .origin = origin };
	struct mailbox_report *report = &listing->lock->report;
	bool has_list;
	int r = uidl_source_parse(origin->from, &takeover.source);

	if (r < 0)
		return r;
	/* A message that a torn listing lacks would get another unique-id later. */
	if (listing->is_torn)
		return refuse(listing->lock, "unique-ids cannot be taken over while other "
					     "programs rename messages all the time");
	has_list = takeover.source.server == UIDL_DOVECOT || takeover.source.server == UIDL_COURIER;
	r = (has_list ? read_list(&takeover, &text) : list_files(&takeover)) ?:
		    put_id_lines(&takeover, ids);
	if (r < 0)
		return r;
	report->is_takeover = true;
	if (!listing->lock->is_read_only)
		report->ids_error = write_ids(listing, ids);
	/* Without a file, a message that has no line could get another unique-id later. */
	r = apply_lines(listing, ids, report->ids_error == 0);
	listing->has_stable_stamps &= report->ids_error == 0; /* WAKE retries */
	return r;
}

bool import_is_due(const struct listing *listing, const struct mailbox_origin *origin)
{
	return origin->from && listing->lock->is_maildir && listing->stamps[STAMP_IDS].inode == 0;
}

int import_apply(struct listing *listing, const struct mailbox_origin *origin)
{
	auto_ids struct ids ids = { 0 };
	int r;

	if (!listing->lock->is_maildir || listing->lock->root_fd < 0)
		return 0;
	r = read_ids(listing, &ids);
	if (r == -ENOENT)
		return origin->from ? take_over(listing, origin, &ids) : 0;
	r = r ?: apply_lines(listing, &ids, true);
	if (r == 0)
		drop_lines(listing, &ids);
	return r;
}
