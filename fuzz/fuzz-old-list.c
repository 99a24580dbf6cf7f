/* SPDX-License-Identifier: ISC
 * The lists of other servers; the first octet selects the server. A list that is written from the
 * parsed entries must be parsed into the same entries. */
#include "mailbox/old-list.h"

#include "lib/util.h"
#include "lib/wire.h"

#include "fuzz.h"

static const char *const texts[] = {
	"dovecot %08Xu%08Xv",
	"dovecot %v-%u",
	"dovecot %f",
	"dovecot %Mg",
	"dovecot %0UXu.%Lg",
	"dovecot %{uid | hex(8)}%{filename}",
	"courier",
	"qmail",
	"x-uidl",
	"x-uidl dovecot %UXv.%u",
};
static struct uidl_source sources[ARRAY_SIZE(texts)];
static const char *const headers[] = { NULL, "", "X-UIDL of its own", "x" };

static void check_text(const char *text, size_t octets, const char *part)
{
	FUZZ_CHECK(part >= text && part < text + octets);
	FUZZ_CHECK(memchr(part, '\0', (size_t)(text + octets - part)));
	FUZZ_CHECK(!strpbrk(part, "\n"));
}

static void check_entries(bool is_dovecot, const char *text, size_t octets,
			  const struct old_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct old_entry *entry = &entries[i];

		check_text(text, octets, entry->name);
		FUZZ_CHECK(*entry->name && !strchr(entry->name, '/'));
		if (entry->id)
			check_text(text, octets, entry->id);
		if (entry->guid)
			check_text(text, octets, entry->guid);
		if (!is_dovecot)
			continue;
		FUZZ_CHECK(entry->uid > 0 && entry->uid < UINT32_MAX && entry->validity > 0 &&
			   entry->validity <= UINT32_MAX && entry->order <= UINT32_MAX);
		FUZZ_CHECK(i == 0 || entry->uid > entries[i - 1].uid);
	}
}

static void check_ids(const struct old_entry *entry)
{
	static const size_t capacities[] = { 0, 1, 16, WIRE_IMPORTED_ID_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(sources) * ARRAY_SIZE(headers); i++) {
		const char *header = headers[i % ARRAY_SIZE(headers)];
		const struct uidl_source *source = &sources[i / ARRAY_SIZE(headers)];
		ssize_t last = -ENAMETOOLONG;

		for (size_t j = 0; j < ARRAY_SIZE(capacities); j++) {
			size_t capacity = capacities[j];
			auto_free char *id = malloc(capacity);
			ssize_t n = old_list_make_id(source, entry, header, id, capacity);
			bool may_lack = source->server == UIDL_HEADERS && !entry->id &&
					(!header || !*header);

			FUZZ_CHECK(n <= (ssize_t)capacity && (n == -ENOENT) == may_lack);
			FUZZ_CHECK(n >= 0 || n == -ENOENT || n == -ENAMETOOLONG);
			/* More space must not change the unique-id. */
			FUZZ_CHECK(n == last || last == -ENAMETOOLONG);
			last = n;
		}
	}
}

static void check_order(const struct old_entry *entries, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		FUZZ_CHECK(old_list_compare(&entries[i - 1], &entries[i]) <= 0);
		FUZZ_CHECK(old_list_compare(&entries[i], &entries[i - 1]) >= 0);
		FUZZ_CHECK(old_list_compare(&entries[i], &entries[i]) == 0);
	}
}

static void put_entry(FILE *file, bool is_dovecot, const struct old_entry *entry)
{
	if (!is_dovecot) {
		(void)fprintf(file, "%s %ju %ju:%ju:x\n", entry->name, (uintmax_t)entry->octets,
			      (uintmax_t)entry->uid, (uintmax_t)entry->validity);
		return;
	}
	(void)fprintf(file, "%ju O%ju", (uintmax_t)entry->uid, (uintmax_t)entry->order);
	if (entry->octets != UINT64_MAX)
		(void)fprintf(file, " W%ju", (uintmax_t)entry->octets);
	if (entry->guid)
		(void)fprintf(file, " G%s Gx", entry->guid);
	if (entry->id)
		(void)fprintf(file, " P%s", entry->id);
	(void)fprintf(file, " :%s\n", entry->name);
}

static bool are_same_texts(const char *a, const char *b)
{
	return !a == !b && (!a || strcmp(a, b) == 0);
}

static void check_again(bool is_dovecot, const struct old_entry *entries, size_t count)
{
	auto_free struct old_entry *again = NULL;
	auto_free char *text = NULL;
	size_t octets;
	unsigned line;
	FILE *file = open_memstream(&text, &octets);

	FUZZ_CHECK(file);
	if (is_dovecot)
		(void)fprintf(file, "3 V%ju N1 G\n", (uintmax_t)entries->validity);
	else
		(void)fputs("/2 1 1\n", file);
	for (size_t i = 0; i < count; i++)
		put_entry(file, is_dovecot, &entries[i]);
	FUZZ_CHECK(fclose(file) == 0);
	FUZZ_CHECK(old_list_parse(is_dovecot ? UIDL_DOVECOT : UIDL_COURIER, text, octets, &again,
				  &line) == (ssize_t)count);
	for (size_t i = 0; i < count; i++) {
		const struct old_entry *a = &entries[i], *b = &again[i];

		FUZZ_CHECK(a->uid == b->uid && a->validity == b->validity && a->order == b->order &&
			   a->suborder == b->suborder && a->octets == b->octets);
		FUZZ_CHECK(are_same_texts(a->name, b->name) && are_same_texts(a->id, b->id) &&
			   are_same_texts(a->guid, b->guid));
	}
}

static void parse_sources(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		FUZZ_CHECK(uidl_source_parse(texts[i], &sources[i]) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	auto_free struct old_entry *entries = NULL;
	auto_free char *text = malloc(octets);
	size_t lines = 0;
	unsigned line;
	bool is_dovecot;
	ssize_t count;

	if (octets == 0)
		return 0;
	FUZZ_CHECK(text);
	if (!sources[0].format) /* once, because it takes longer than the rest */
		parse_sources();
	octets--;
	is_dovecot = *data == 'd';
	memcpy(text, data + 1, octets);
	for (size_t i = 0; i < octets; i++)
		lines += text[i] == '\n';
	if (*data == 'k') {
		int flag = old_list_find_keyword(text, octets, "$POP3Deleted");

		FUZZ_CHECK(flag == 0 || flag == -EBADMSG || (flag >= 'a' && flag <= 'z'));
		return 0;
	}
	count = old_list_parse(is_dovecot ? UIDL_DOVECOT : UIDL_COURIER, text, octets, &entries,
			       &line);
	if (count < 0) {
		FUZZ_CHECK(count == -EBADMSG && !entries && line >= 1 && line <= lines + 1);
		return 0;
	}
	FUZZ_CHECK((size_t)count == lines - 1);
	if (count == 0)
		return 0;
	check_entries(is_dovecot, text, octets, entries, (size_t)count);
	check_again(is_dovecot, entries, (size_t)count);
	for (size_t i = 0; i < (size_t)count && i < 4; i++)
		check_ids(&entries[i]);
	qsort(entries, (size_t)count, sizeof(*entries), old_list_compare);
	check_order(entries, (size_t)count);
	return 0;
}
