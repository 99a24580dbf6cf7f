/* SPDX-License-Identifier: ISC */
#include "mailbox/old-list.h"

#include "lib/util.h"
#include "lib/wire.h"
#include "tap.h"

/* Parses a copy of a list; the entries' texts are in *ret_text. */
static ssize_t parse(enum uidl_server server, const char *list, size_t octets, char **ret_text,
		     struct old_entry **ret, unsigned *ret_line)
{
	*ret_text = malloc(octets + 1);
	if (!*ret_text)
		return -ENOMEM;
	memcpy(*ret_text, list, octets);
	return old_list_parse(server, *ret_text, octets, ret, ret_line);
}

#define DOVECOT "3 V1700000123 N9 G0f\n"
#define COURIER "/3 9 1700000123\n"

static void test_dovecot(void)
{
	static const struct {
		const char *list, *what;
		ssize_t count;
	} cases[] = {
		{ DOVECOT, "no entry", 0 },
		{ "3 N1 V1\n", "N before V, and neither G", 0 },
		{ "3 V4294967295 N4294967295 Xx\n", "the largest header", 0 },
		{ "1 1700000123 9\n", "no entry of version 1", 0 },
		{ DOVECOT "1 :a\n2 :b\n", "entries without keys", 2 },
		{ DOVECOT "1 :a\n4294967294 :b\n", "the largest uid", 2 },
		{ DOVECOT "9 :a\n", "a uid that N does not tell yet", 1 },
		{ DOVECOT "1 Zz Aa P :a:2,S\n", "all keys from A to Z", 1 },
		{ DOVECOT "1 :a\n2 :a\n", "a name twice", 2 },
		{ DOVECOT "1 :a\n2 :b", "an unfinished entry", 1 },
		{ DOVECOT "1 :a\n2 P/ :b\n", "a slash elsewhere than in the name", 2 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free struct old_entry *entries = NULL;
		auto_free char *text = NULL;
		unsigned line = 0;
		ssize_t count = parse(UIDL_DOVECOT, cases[i].list, strlen(cases[i].list), &text,
				      &entries, &line);

		(void)tap(count == cases[i].count, "Dovecot: %s (%zd, line %u)", cases[i].what,
			  count, line);
	}
}

static void test_dovecot_fields(void)
{
	static const char list[] = DOVECOT "2 :a:2,S\n"
					   "3 S7 W70 G0a O4 Pid P2 G3 O5 W6 :b with blanks:b\n"
					   "5 P G O W :c\n"
					   "6 O4294967296 W18446744073709551615 :d\n"
					   "7 O1x W1x :e\n";
	static const struct old_entry wanted[] = {
		{ "a:2,S", NULL, NULL, 2, 1700000123, UINT32_MAX, 2, UINT64_MAX, 0 },
		{ "b with blanks:b", "id", "0a", 3, 1700000123, 4, 3, 70, 0 },
		{ "c", "", "", 5, 1700000123, UINT32_MAX, 5, UINT64_MAX, 0 },
		{ "d", NULL, NULL, 6, 1700000123, UINT32_MAX, 6, UINT64_MAX, 0 },
		{ "e", NULL, NULL, 7, 1700000123, UINT32_MAX, 7, UINT64_MAX, 0 },
	};
	auto_free struct old_entry *entries = NULL;
	auto_free char *text = NULL;
	unsigned line;

	if (!tap(parse(UIDL_DOVECOT, list, strlen(list), &text, &entries, &line) ==
			 ARRAY_SIZE(wanted),
		 "a list of Dovecot"))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		const struct old_entry *a = &entries[i], *b = &wanted[i];

		(void)tap(strcmp(a->name, b->name) == 0 && !a->id == !b->id &&
				  (!a->id || strcmp(a->id, b->id) == 0) && !a->guid == !b->guid &&
				  (!a->guid || strcmp(a->guid, b->guid) == 0),
			  "its entry %zu: texts", i + 1);
		(void)tap(a->uid == b->uid && a->validity == b->validity && a->order == b->order &&
				  a->suborder == b->suborder && a->octets == b->octets,
			  "its entry %zu: numbers", i + 1);
	}
}

static void test_courier(void)
{
	static const char list[] = COURIER "12.a:2,S 70 5:1700000123:0\n"
					   "b with blanks 0 0:0:1\n"
					   "18446744073709551616.c 1 18446744073709551615:2\n";
	static const struct old_entry wanted[] = {
		{ "12.a:2,S", NULL, NULL, 5, 1700000123, 12, 0, 70, 0 },
		{ "b with blanks", NULL, NULL, 0, 0, 0, 0, 0, 0 },
		{ "18446744073709551616.c", NULL, NULL, UINT64_MAX, 2, UINT64_MAX, 0, 1, 0 },
	};
	auto_free struct old_entry *entries = NULL, *none = NULL;
	auto_free char *text = NULL, *empty = NULL;
	unsigned line;

	(void)tap(parse(UIDL_COURIER, "/2 0 0\n", 7, &empty, &none, &line) == 0,
		  "Courier: no entry of version 2");
	if (!tap(parse(UIDL_COURIER, list, strlen(list), &text, &entries, &line) ==
			 ARRAY_SIZE(wanted),
		 "a list of Courier"))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		const struct old_entry *a = &entries[i], *b = &wanted[i];

		(void)tap(strcmp(a->name, b->name) == 0 && !a->id && !a->guid && a->uid == b->uid &&
				  a->validity == b->validity && a->order == b->order &&
				  a->suborder == b->suborder && a->octets == b->octets,
			  "its entry %zu", i + 1);
	}
}

static void test_damages(void)
{
#define DAMAGED(server, text, line)                         \
	{                                                   \
		UIDL_##server, text, sizeof(text) - 1, line \
	}
	static const struct {
		enum uidl_server server;
		const char *list;
		size_t octets;
		unsigned line;
	} cases[] = {
		DAMAGED(DOVECOT, "", 1),
		DAMAGED(DOVECOT, "\n", 1),
		DAMAGED(DOVECOT, "3 V1 N1", 1), /* cut */
		DAMAGED(DOVECOT, "2 V1 N1\n", 1),
		DAMAGED(DOVECOT, "4 V1 N1\n", 1),
		DAMAGED(DOVECOT, " 3 V1 N1\n", 1),
		DAMAGED(DOVECOT, "3\n", 1),
		DAMAGED(DOVECOT, "3 V1\n", 1),
		DAMAGED(DOVECOT, "3 N1\n", 1),
		DAMAGED(DOVECOT, "3 V0 N1\n", 1),
		DAMAGED(DOVECOT, "3 V1 N0\n", 1),
		DAMAGED(DOVECOT, "3 V1 V2 N1\n", 1),
		DAMAGED(DOVECOT, "3 V N1\n", 1),
		DAMAGED(DOVECOT, "3 V-1 N1\n", 1),
		DAMAGED(DOVECOT, "3 Vx N1\n", 1),
		DAMAGED(DOVECOT, "3 V1 N4294967296\n", 1),
		DAMAGED(DOVECOT, "3 V4294967296 N1\n", 1),
		DAMAGED(DOVECOT, "3  V1 N1\n", 1),
		DAMAGED(DOVECOT, "3V1 N1\n", 1),
		DAMAGED(DOVECOT, "V1 N1\n", 1),
		DAMAGED(DOVECOT, "3 V1 N1 \n", 1),
		DAMAGED(DOVECOT, "3 V1 N1 g0\n", 1),
		DAMAGED(DOVECOT, "3 V1 N1\r\n", 1),
		DAMAGED(DOVECOT, "3 V1 N1\0\n", 1),
		DAMAGED(DOVECOT, "3 V1 N1 G0\r\n", 1),
		DAMAGED(DOVECOT, "1\n", 1),
		DAMAGED(DOVECOT, "1 1\n", 1),
		DAMAGED(DOVECOT, "1 0 1\n", 1),
		DAMAGED(DOVECOT, "1 1 0\n", 1),
		DAMAGED(DOVECOT, "1 1 1 1\n", 1),
		DAMAGED(DOVECOT, DOVECOT "\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 :a\n\n2 :b\n", 3),
		DAMAGED(DOVECOT, DOVECOT "0 :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "4294967295 :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "x :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "+1 :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "-1 :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1a :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "18446744073709551617 :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1\t:a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1  :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT " \n", 2),
		DAMAGED(DOVECOT, DOVECOT " 1 :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1:a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 \n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 :\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 Ga\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 Ga:a\n", 2), /* a value without a name */
		DAMAGED(DOVECOT, DOVECOT "1 ga :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 1a :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1  Ga :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 Ga  :a\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 :a\n1 :b\n", 3),
		DAMAGED(DOVECOT, DOVECOT "2 :a\n3 :b\n1 :c\n", 4),
		DAMAGED(DOVECOT, DOVECOT "1 :a/b\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 :/\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 :..\n2 :a:2,/\n", 3),
		DAMAGED(DOVECOT, DOVECOT "1 :a\0b\n", 2),
		DAMAGED(DOVECOT, DOVECOT "1 :a\n2 P\0 :b\n", 3),
		DAMAGED(DOVECOT, DOVECOT "1 :a\n2 :b\r\n", 3),
		DAMAGED(DOVECOT, "1 1 9\n1\n", 2),
		DAMAGED(DOVECOT, "1 1 9\n1 \n", 2),
		DAMAGED(DOVECOT, "1 1 9\n2 a\n1 b\n", 3),
		DAMAGED(COURIER, "", 1),
		DAMAGED(COURIER, "/3 1 1", 1), /* cut */
		DAMAGED(COURIER, "/1 1 1\n", 1),
		DAMAGED(COURIER, "/4 1 1\n", 1),
		DAMAGED(COURIER, "3 1 1\n", 1),
		DAMAGED(COURIER, "/3\n", 1),
		DAMAGED(COURIER, "/3 1\n", 1),
		DAMAGED(COURIER, "/31 1\n", 1),
		DAMAGED(COURIER, "/3 x 1\n", 1),
		DAMAGED(COURIER, "/3 1 x\n", 1),
		DAMAGED(COURIER, "/3 1 1 1\n", 1),
		DAMAGED(COURIER, "/3 1 18446744073709551616\n", 1),
		DAMAGED(COURIER, COURIER "\n", 2),
		DAMAGED(COURIER, COURIER "a\n", 2),
		DAMAGED(COURIER, COURIER "a 1:1\n", 2),
		DAMAGED(COURIER, COURIER " 1 1:1\n", 2),
		DAMAGED(COURIER, COURIER "a x 1:1\n", 2),
		DAMAGED(COURIER, COURIER "a -1 1:1\n", 2),
		DAMAGED(COURIER, COURIER "a 18446744073709551615 1:1\n", 2),
		DAMAGED(COURIER, COURIER "a 1 1\n", 2),
		DAMAGED(COURIER, COURIER "a 1 :1\n", 2),
		DAMAGED(COURIER, COURIER "a 1 1:\n", 2),
		DAMAGED(COURIER, COURIER "a 1 x:1\n", 2),
		DAMAGED(COURIER, COURIER "a 1 1:x\n", 2),
		DAMAGED(COURIER, COURIER "a 1 1:1 \n", 2),
		DAMAGED(COURIER, COURIER "a 1 18446744073709551616:1\n", 2),
		DAMAGED(COURIER, COURIER "a 1 1:1:0\r\n", 2),
		DAMAGED(COURIER, COURIER "a 1 1:1\nb 1 2:1", 3), /* cut */
		DAMAGED(COURIER, COURIER "a 1 1:1\nb/c 1 2:1\n", 3),
		DAMAGED(COURIER, COURIER "a 1 1:1\nb\0 1 2:1\n", 3),
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct old_entry *entries = NULL;
		auto_free char *text = NULL;
		unsigned line = 0;
		ssize_t count = parse(cases[i].server, cases[i].list, cases[i].octets, &text,
				      &entries, &line);

		(void)tap(count == -EBADMSG && line == cases[i].line && !entries,
			  "damage %zu is refused, in line %u (%zd, line %u)", i + 1, cases[i].line,
			  count, line);
	}
}

/* A list that is truncated anywhere has the entries of its complete lines, or is refused. */
static void test_cuts(void)
{
	static const char list[] = DOVECOT "1 P1 :a\n2 G :b\n3 :c\n";
	size_t lines = 0, good = 0;

	for (size_t octets = 0; octets < sizeof(list); octets++) {
		auto_free struct old_entry *entries = NULL;
		auto_free char *text = NULL;
		unsigned line;
		ssize_t count = parse(UIDL_DOVECOT, list, octets, &text, &entries, &line);

		lines += octets > 0 && list[octets - 1] == '\n';
		good += count == (lines > 0 ? (ssize_t)lines - 1 : -EBADMSG);
	}
	(void)tap(lines == 4 && good == sizeof(list), "a list truncated anywhere");
}

/* No file name is longer; a part of a longer one could be another file's name. */
static void test_longest_name(void)
{
	static const struct {
		enum uidl_server server;
		const char *start, *end;
	} cases[] = { { UIDL_DOVECOT, DOVECOT "1 :", "" }, { UIDL_COURIER, COURIER, " 1 1:1" } };

	for (size_t i = 0; i < 2 * ARRAY_SIZE(cases); i++) {
		auto_free struct old_entry *entries = NULL;
		auto_free char *text = NULL;
		char list[512];
		unsigned line;
		int octets = NAME_MAX + (int)i % 2;

		(void)snprintf(list, sizeof(list), "%s%0*d%s\n", cases[i / 2].start, octets, 0,
			       cases[i / 2].end);
		(void)tap(parse(cases[i / 2].server, list, strlen(list), &text, &entries, &line) ==
				  (i % 2 ? -EBADMSG : 1),
			  "list %zu: a name of %d octets", i / 2 + 1, octets);
	}
}

static void test_many(void)
{
	auto_free struct old_entry *entries = NULL;
	auto_free char *text = NULL;
	size_t octets;
	unsigned line;
	ssize_t count = -1;
	FILE *file = open_memstream(&text, &octets);

	if (file) {
		(void)fputs(DOVECOT, file);
		for (unsigned i = 1; i <= 1000; i++)
			(void)fprintf(file, "%u :%u.h\n", 3 * i, i);
		if (fclose(file) == 0)
			count = old_list_parse(UIDL_DOVECOT, text, octets, &entries, &line);
	}
	(void)tap(count == 1000 && entries[0].uid == 3 && entries[999].uid == 3000 &&
			  strcmp(entries[999].name, "1000.h") == 0,
		  "1,000 entries");
}

static void test_order(enum uidl_server server, const char *list, const char *wanted)
{
	auto_free struct old_entry *entries = NULL;
	auto_free char *text = NULL;
	char names[64] = "";
	unsigned line;
	ssize_t count = parse(server, list, strlen(list), &text, &entries, &line);

	if (count > 0)
		qsort(entries, (size_t)count, sizeof(*entries), old_list_compare);
	for (ssize_t i = 0; i < count; i++)
		(void)strcat(strcat(names, i > 0 ? " " : ""), entries[i].name);
	(void)tap(strcmp(names, wanted) == 0, "the order of %s",
		  server == UIDL_DOVECOT ? "Dovecot" : "Courier");
}

static void test_orders(void)
{
	static const struct old_entry older = { .name = "b", .order = 1 };
	static const struct old_entry younger = { .name = "a", .order = 2 };

	test_order(UIDL_DOVECOT,
		   DOVECOT "1 :a\n2 O9 :b\n3 O10 :c\n4 O9 :d\n5 O09x :e\n6 O0 :f\n7 O :g\n",
		   "f b d c a e g");
	test_order(UIDL_COURIER,
		   COURIER "9.b 1 1:1\n10.a 1 2:1\n9.a+ 1 3:1\nx 1 4:1\n9.a:2,S 1 5:1\n"
			   "a1 1 6:1\n09.c 1 7:1\n-1.z 1 8:1\n9.\xff 1 9:1\n",
		   "-1.z a1 x 09.c 9.a:2,S 9.a+ 9.b 9.\xff 10.a");
	(void)tap(old_list_compare(&older, &younger) < 0 && old_list_compare(&younger, &older) > 0,
		  "the time is compared before the name");
}

/* Compares a unique-id, and checks the space that it needs. */
static void check_id(const char *from, const struct old_entry *entry, const char *header,
		     const char *wanted)
{
	struct uidl_source source = { 0 };
	char id[WIRE_IMPORTED_ID_MAX];
	ssize_t n = -1, cut = -1;

	if (uidl_source_parse(from, &source) == 0) {
		n = old_list_make_id(&source, entry, header, id, strlen(wanted));
		cut = old_list_make_id(&source, entry, header, id, strlen(wanted) - 1);
	}
	(void)tap(n == (ssize_t)strlen(wanted) && memcmp(id, wanted, (size_t)n) == 0 &&
			  cut == -ENAMETOOLONG,
		  "'%s' of uid %ju is '%s' (%zd '%.*s')", from, (uintmax_t)entry->uid, wanted, n,
		  (int)MAX(n, 0), id);
}

static void test_ids(void)
{
	static const struct old_entry plain = { .name = "1.M1P1.h,S=7:2,S",
						.uid = 5,
						.validity = 9 };
	static const struct old_entry no_uid = { .name = "1.a'\"+ \x7f\xff~!:2,S", .validity = 9 };
	static const struct old_entry no_validity = { .name = "a", .uid = UINT64_MAX };
	static const struct old_entry largest = { .name = "a",
						  .uid = UINT64_MAX,
						  .validity = UINT64_MAX };
	struct old_entry guid = plain, id = plain;
	struct uidl_source source = { .server = UIDL_HEADERS, .has_headers = true };
	char octets[WIRE_IMPORTED_ID_MAX];

	check_id("dovecot %08Xu%08Xv", &plain, NULL, "0000000500000009");
	check_id("dovecot %08Xu%08Xv", &plain, "", "0000000500000009");
	check_id("dovecot %f", &plain, NULL, "1.M1P1.h,S=7");
	check_id("dovecot %g", &plain, NULL, "1.M1P1.h,S=7");
	guid.guid = "";
	check_id("dovecot %g", &guid, NULL, "1.M1P1.h,S=7");
	guid.guid = "0f:2,S";
	check_id("dovecot %g", &guid, NULL, "0f:2,S");
	check_id("dovecot %u", &guid, NULL, "5");
	check_id("x-uidl dovecot %u", &plain, "h 1", "h 1");
	check_id("x-uidl dovecot %u", &plain, "", "5");
	check_id("x-uidl dovecot %u", &plain, NULL, "5");
	check_id("x-uidl", &plain, "h", "h");
	(void)tap(old_list_make_id(&source, &plain, NULL, octets, sizeof(octets)) == -ENOENT &&
			  old_list_make_id(&source, &plain, "", octets, sizeof(octets)) == -ENOENT,
		  "without a header there is no unique-id");
	id.id = "old:5";
	check_id("dovecot %u", &id, NULL, "old:5");
	check_id("x-uidl dovecot %u", &id, "h", "old:5");
	id.id = "";
	check_id("x-uidl dovecot %u", &id, "h", "1.M1P1.h,S=7");
	check_id("courier", &plain, NULL, "UID5-9");
	check_id("courier", &no_validity, NULL, "UID18446744073709551615");
	check_id("courier", &largest, NULL, "UID18446744073709551615-18446744073709551615");
	check_id("courier", &no_uid, NULL, "1.a+27+22+2B+20+7F+FF~!");
	check_id("qmail", &plain, NULL, "1.M1P1.h,S=7");
}

static void test_long_names(void)
{
	static const struct uidl_source courier = { .server = UIDL_COURIER };
	char name[512], id[3 * 256];
	struct old_entry entry = { .name = name };

	(void)memset(name, '+', sizeof(name));
	name[256] = '\0';
	(void)tap(old_list_make_id(&courier, &entry, NULL, id, sizeof(id)) == sizeof(id) &&
			  memcmp(id + sizeof(id) - 3, "+2B", 3) == 0,
		  "Courier: the longest name");
	name[256] = '+';
	name[257] = '\0';
	(void)tap(old_list_make_id(&courier, &entry, NULL, id, sizeof(id)) == -ENAMETOOLONG,
		  "Courier: a name that is too long");
}

static void test_keywords(void)
{
	static const struct {
		const char *list;
		int flag;
	} cases[] = {
		{ "", 0 },
		{ "0 $Junk\n", 0 },
		{ "0 $POP3Deleted\n", 'a' },
		{ "0 $Junk\n3 $pop3deleted\n", 'd' },
		{ "25 $POP3Deleted\n", 'z' },
		{ "26 $POP3Deleted\n", 0 }, /* has no letter */
		{ "0 $POP3Deleted \n", 0 },
		{ "0 x $POP3Deleted\n", 0 },
		{ "0 $POP3Deleted", -EBADMSG }, /* cut */
		{ "0 $POP3Deleted\r\n", -EBADMSG },
		{ "\n", -EBADMSG },
		{ "0\n", -EBADMSG },
		{ "$POP3Deleted\n", -EBADMSG },
		{ "x $POP3Deleted\n", -EBADMSG },
		{ "0 a\n-1 $POP3Deleted\n", -EBADMSG },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free char *text = strdup(cases[i].list);
		int flag = text ? old_list_find_keyword(text, strlen(text), "$POP3Deleted") : -1;

		(void)tap(flag == cases[i].flag, "keywords %zu: %d", i + 1, flag);
	}
}

int main(void)
{
	test_dovecot();
	test_dovecot_fields();
	test_courier();
	test_damages();
	test_cuts();
	test_longest_name();
	test_many();
	test_orders();
	test_ids();
	test_long_names();
	test_keywords();
	return tap_end();
}
