/* SPDX-License-Identifier: ISC
 * The mailbox's owner can write anything into these lists. A line that the other server would not
 * write makes the list damaged: nothing is guessed. */
#include "mailbox/old-list.h"

#include "lib/util.h"
#include "lib/wire.h"

#define DOVECOT_UID_MAX (UINT32_MAX - 1)
#define DOVECOT_NO_ORDER UINT32_MAX /* sorts after every order */

/* The values of the header line, and the uid of the last entry. */
struct old_header {
	uint64_t validity;
	uint64_t last_uid;
	bool has_keys; /* version 3 of Dovecot's list */
};

/* Cuts off the next line. NULL: no LF is left. */
static char *next_line(char **rest, const char *end)
{
	char *line = *rest, *line_end = memchr(line, '\n', (size_t)(end - line));

	if (!line_end)
		return NULL;
	*line_end = '\0';
	*rest = line_end + 1;
	return line;
}

/* Whether a line is text: these servers write neither NUL nor CRLF. `end` is after the line end. */
static bool is_text(const char *line, const char *end)
{
	size_t octets = (size_t)(end - line) - 1;

	return !memchr(line, '\0', octets) && (octets == 0 || line[octets - 1] != '\r');
}

static bool take_number(const char *text, uint64_t max, uint64_t *ret)
{
	return text && wire_parse_number(text, max, ret) == 0;
}

/* ---- Dovecot ---- */

static bool take_dovecot_header(char *line, struct old_header *ret)
{
	const char *version = strsep(&line, " "), *word;
	uint64_t next = 0;

	ret->has_keys = strcmp(version, "3") == 0;
	if (strcmp(version, "1") == 0)
		return take_number(strsep(&line, " "), UINT32_MAX, &ret->validity) &&
		       take_number(line, UINT32_MAX, &next) && ret->validity > 0 && next > 0;
	while (ret->has_keys && (word = strsep(&line, " "))) {
		uint64_t *field = *word == 'V' ? &ret->validity : *word == 'N' ? &next : NULL;

		if (*word < 'A' || *word > 'Z' ||
		    (field && (*field != 0 || !take_number(word + 1, UINT32_MAX, field))))
			return false;
	}
	return ret->validity > 0 && next > 0;
}

/* Of two values for one key, the first counts. */
static bool take_dovecot_keys(char **line, struct old_entry *entry)
{
	const char *word, *order = NULL, *octets = NULL;

	while (*line && **line != ':') {
		const char **field;

		word = strsep(line, " ");
		field = *word == 'P' ? &entry->id :
			*word == 'G' ? &entry->guid :
			*word == 'O' ? &order :
			*word == 'W' ? &octets :
				       NULL;
		if (*word < 'A' || *word > 'Z')
			return false;
		if (field && !*field)
			*field = word + 1;
	}
	(void)take_number(order, UINT32_MAX, &entry->order);
	(void)take_number(octets, UINT64_MAX - 1, &entry->octets);
	return *line && *(*line)++ == ':';
}

static bool take_dovecot_entry(char *line, struct old_header *header, struct old_entry *ret)
{
	ret->order = DOVECOT_NO_ORDER;
	ret->validity = header->validity;
	if (!take_number(strsep(&line, " "), DOVECOT_UID_MAX, &ret->uid) ||
	    ret->uid <= header->last_uid || (header->has_keys && !take_dovecot_keys(&line, ret)))
		return false;
	ret->suborder = header->last_uid = ret->uid;
	ret->name = line;
	return true;
}

/* ---- Courier ---- */

static bool take_courier_header(char *line, struct old_header *ret)
{
	const char *version = strsep(&line, " ");
	uint64_t next;

	return (strcmp(version, "/2") == 0 || strcmp(version, "/3") == 0) &&
	       take_number(strsep(&line, " "), UINT64_MAX, &next) &&
	       take_number(line, UINT64_MAX, &ret->validity);
}

/* `NAME OCTETS UID:VALIDITY[:UTF8]`; the name may contain blanks. */
static bool take_courier_entry(char *line, struct old_header *header, struct old_entry *ret)
{
	char *numbers = strrchr(line, ' '), *octets;

	(void)header;
	if (!numbers)
		return false;
	*numbers++ = '\0';
	octets = strrchr(line, ' ');
	if (!octets)
		return false;
	*octets++ = '\0';
	ret->name = line;
	ret->order = *line >= '0' && *line <= '9' ? strtoull(line, NULL, 10) : 0;
	return take_number(octets, UINT64_MAX - 1, &ret->octets) &&
	       take_number(strsep(&numbers, ":"), UINT64_MAX, &ret->uid) &&
	       take_number(strsep(&numbers, ":"), UINT64_MAX, &ret->validity);
}

/* ---- Lists ---- */

ssize_t old_list_parse(enum uidl_server server, char *text, size_t octets, struct old_entry **ret,
		       unsigned *ret_line)
{
	bool is_dovecot = server == UIDL_DOVECOT;
	auto_free struct old_entry *entries = NULL;
	struct old_header header = { 0 };
	const char *end = text + octets;
	char *line = next_line(&text, end);
	size_t count = 0;

	*ret_line = 1;
	if (!line || !is_text(line, text) ||
	    !(is_dovecot ? take_dovecot_header : take_courier_header)(line, &header))
		return -EBADMSG;
	while ((line = next_line(&text, end))) {
		struct old_entry entry = { .octets = UINT64_MAX };

		++*ret_line;
		if (!is_text(line, text) ||
		    !(is_dovecot ? take_dovecot_entry : take_courier_entry)(line, &header,
									    &entry) ||
		    !entry.name || !*entry.name || strlen(entry.name) > NAME_MAX ||
		    strchr(entry.name, '/'))
			return -EBADMSG;
		if ((count & (count - 1)) == 0) { /* grow at each power of 2 */
			struct old_entry *more =
				reallocarray(entries, MAX(16, 2 * count), sizeof(*more));

			if (!more)
				return -ENOMEM;
			entries = more;
		}
		entries[count++] = entry;
	}
	++*ret_line;
	if (text < end && !is_dovecot) /* Dovecot appends: its last line may be incomplete */
		return -EBADMSG;
	*ret = take_ptr(entries);
	return (ssize_t)count;
}

int old_list_compare(const void *left, const void *right)
{
	const struct old_entry *a = left, *b = right;
	size_t a_octets, b_octets;

	if (a->order != b->order)
		return a->order < b->order ? -1 : 1;
	if (a->suborder != b->suborder)
		return a->suborder < b->suborder ? -1 : 1;
	a_octets = strcspn(a->name, ":");
	b_octets = strcspn(b->name, ":");
	return memcmp(a->name, b->name, MIN(a_octets, b_octets)) ?:
		       (a_octets > b_octets) - (a_octets < b_octets);
}

/* ---- Unique-ids ---- */

static ssize_t copy_id(const char *id, size_t octets, char *ret, size_t capacity)
{
	if (octets > capacity)
		return -ENAMETOOLONG;
	memcpy(ret, id, octets);
	return (ssize_t)octets;
}

/* `UIDn-v` or `UIDn`; without a uid, the encoded name, as Courier 0.x showed it. */
static ssize_t make_courier_id(const struct old_entry *entry, size_t name_octets, char *ret,
			       size_t capacity)
{
	char id[3 * 256 + 1], *end = id;

	if (entry->uid > 0) {
		end = stpcpy(end, "UID");
		end += wire_put_number(entry->uid, end);
		if (entry->validity > 0) {
			*end++ = '-';
			end += wire_put_number(entry->validity, end);
		}
		return copy_id(id, (size_t)(end - id), ret, capacity);
	}
	if (name_octets > sizeof(id) / 3)
		return -ENAMETOOLONG;
	for (size_t i = 0; i < name_octets; i++) {
		unsigned char c = (unsigned char)entry->name[i];

		if (c < '!' || c > '~' || strchr("'\"+", c))
			end += sprintf(end, "+%02X", c);
		else
			*end++ = (char)c;
	}
	return copy_id(id, (size_t)(end - id), ret, capacity);
}

ssize_t old_list_make_id(const struct uidl_source *source, const struct old_entry *entry,
			 const char *header, char *ret, size_t capacity)
{
	size_t name_octets = strcspn(entry->name, ":");
	bool has_guid = entry->guid && *entry->guid;
	struct uidl_values values = {
		.uid = (uint32_t)entry->uid,
		.validity = (uint32_t)entry->validity,
		.name = entry->name,
		.name_octets = name_octets,
		.guid = has_guid ? entry->guid : entry->name,
		.guid_octets = has_guid ? strlen(entry->guid) : name_octets,
	};

	if (source->server == UIDL_QMAIL || (entry->id && !*entry->id))
		return copy_id(entry->name, name_octets, ret, capacity);
	if (entry->id)
		return copy_id(entry->id, strlen(entry->id), ret, capacity);
	if (header && *header)
		return copy_id(header, strlen(header), ret, capacity);
	if (source->server == UIDL_HEADERS)
		return -ENOENT;
	return source->server == UIDL_COURIER ?
		       make_courier_id(entry, name_octets, ret, capacity) :
		       uidl_source_expand(source->format, &values, ret, capacity);
}

int old_list_find_keyword(char *text, size_t octets, const char *keyword)
{
	const char *end = text + octets;
	uint64_t number;
	int flag = 0;
	char *line;

	while ((line = next_line(&text, end))) {
		if (!is_text(line, text) || !take_number(strsep(&line, " "), UINT32_MAX, &number) ||
		    !line)
			return -EBADMSG;
		if (strcasecmp(line, keyword) == 0 && number <= 'z' - 'a')
			flag = (int)('a' + number);
	}
	return text < end ? -EBADMSG : flag;
}
