/* SPDX-License-Identifier: ISC */
#include "lib/uidl-source.h"

#include "lib/util.h"
#include "tap.h"

#define MD5_OF_5 "e4da3b7fbbce2345d7772b0674a318d5"
#define MD5_OF_NAME "8801623ae622d36c82171f06220f9c4c"

/* The unique-ids are those of Dovecot 2.3.19.1; those with `%{` follow its documentation. */
static void test_formats(void)
{
	static const struct {
		const char *format, *id;
	} cases[] = {
		{ "%08Xu%08Xv", "000000056553f17b" },
		{ "\"%08Xu%08Xv\"", "000000056553f17b" },
		{ "%v-%u", "1700000123-5" },
		{ "UID%u-%v", "UID5-1700000123" },
		{ "%f", "1700000005.M5P105.Mx1,S=194" },
		{ "%g", "Guid" },
		{ "%Uf", "1700000005.M5P105.MX1,S=194" },
		{ "%Lf", "1700000005.m5p105.mx1,s=194" },
		{ "%Mf", MD5_OF_NAME },
		{ "%Mu", MD5_OF_5 },
		{ "%08Mu", MD5_OF_5 },
		{ "%UMu", MD5_OF_5 },
		{ "%MUu", "E4DA3B7FBBCE2345D7772B0674A318D5" },
		{ "%MXu.%u", "0.5" },
		{ "%Xf-%u", "0-5" },
		{ "%012Uguid-%u", "00000000GUIDuid-5" },
		{ "%00u", "5" },
		{ "%0u", "5" },
		{ "%010u", "0000000005" },
		{ "%01f", "1700000005.M5P105.Mx1,S=194" },
		{ "%032u", "00000000000000000000000000000005" },
		{ "%XXv%u", "05" }, /* "6553f17b" is not a number */
		{ "%v%Xu", "17000001235" },
		{ "%LLLLLLLLLLu", "5" },
		{ "%u%%", "5%" },
		{ "%%u%u", "%u5" },
		{ "%ua:b/c\\d'{}|!~", "5a:b/c\\d'{}|!~" },
		{ "%{uid | hex(8)}%{uidvalidity | hex(8)}", "000000056553f17b" },
		{ "\"%{uid | hex(8)}%{uidvalidity | hex(8)}\"", "000000056553f17b" },
		{ "%{uid|hex(8)}%{uidvalidity|hex(8)}", "000000056553f17b" },
		{ "%{ uid\t|  hex ( 32 ) }", "00000000000000000000000000000005" },
		{ "%{uid|hex}.%{uidvalidity|hex|upper}", "5.6553F17B" },
		{ "%{uidvalidity}-%{uid}", "1700000123-5" },
		{ "%{filename}", "1700000005.M5P105.Mx1,S=194" },
		{ "%{filename | lower}", "1700000005.m5p105.mx1,s=194" },
		{ "%{guid|upper}x", "GUIDx" },
	};
	static const char name[] = "1700000005.M5P105.Mx1,S=194", guid[] = "Guid";
	struct uidl_values values = { 5, 1700000123, name, guid, strlen(name), strlen(guid) };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct uidl_source source = { 0 };
		size_t octets = strlen(cases[i].id);
		char text[128], id[128];
		ssize_t n = -1;

		(void)snprintf(text, sizeof(text), "dovecot %s", cases[i].format);
		if (uidl_source_parse(text, &source) == 0)
			n = uidl_source_expand(source.format, &values, id, octets);
		(void)tap(n == (ssize_t)octets && memcmp(id, cases[i].id, octets) == 0,
			  "'%s' is '%s' (%zd '%.*s')", cases[i].format, cases[i].id, n,
			  (int)MAX(n, 0), id);
		(void)tap(source.format && uidl_source_expand(source.format, &values, id,
							      octets - 1) == -ENAMETOOLONG,
			  "'%s' needs the computed space", cases[i].format);
	}
}

static void test_limits(void)
{
	char name[513], id[600];
	struct uidl_values values = { UINT32_MAX, UINT32_MAX, name, name, 255, 1 };

	(void)memset(name, '7', sizeof(name));
	(void)tap(uidl_source_expand("%Xu%Xv", &values, id, sizeof(id)) == 16 &&
			  memcmp(id, "ffffffffffffffff", 16) == 0,
		  "the largest numbers");
	(void)tap(uidl_source_expand("%f", &values, id, sizeof(id)) == 255 &&
			  memcmp(id, name, 255) == 0,
		  "the longest name");
	(void)tap(uidl_source_expand("%Xf", &values, id, sizeof(id)) == 1 && id[0] == '0',
		  "a number of more than 64 bits becomes 0");
	values.name_octets = 19;
	(void)tap(uidl_source_expand("%Xf", &values, id, sizeof(id)) == 16 &&
			  memcmp(id, "6bf037ae325f1c71", 16) == 0,
		  "a name that is a number");
	values.name_octets = sizeof(name) - 1;
	(void)tap(uidl_source_expand("%f", &values, id, sizeof(id)) == 512, "512 octets");
	values.guid_octets = sizeof(name);
	(void)tap(uidl_source_expand("%g", &values, id, sizeof(id)) == -ENAMETOOLONG,
		  "a GUID of more than 512 octets");
}

static void test_words(void)
{
	static const struct {
		const char *text;
		enum uidl_server server;
		bool has_headers;
		const char *format;
	} cases[] = {
		{ "dovecot %u", UIDL_DOVECOT, false, "%u" },
		{ "dovecot \t%{uid | hex}", UIDL_DOVECOT, false, "%{uid | hex}" },
		{ "courier", UIDL_COURIER, false, NULL },
		{ "qmail ", UIDL_QMAIL, false, NULL },
		{ "x-uidl", UIDL_HEADERS, true, NULL },
		{ "x-uidl  dovecot\t%u", UIDL_DOVECOT, true, "%u" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct uidl_source source = { .server = UIDL_HEADERS, .format = "%f" };
		int r = uidl_source_parse(cases[i].text, &source);

		(void)tap(r == 0 && source.server == cases[i].server &&
				  source.has_headers == cases[i].has_headers &&
				  (cases[i].format ? strcmp(source.format, cases[i].format) == 0 :
						     !source.format),
			  "'%s' is understood", cases[i].text);
	}
}

static void test_mistakes(void)
{
	static const char *const bad[] = {
		"",
		" ",
		" courier",
		"mailutils",
		"Courier",
		"courier 3",
		"qmail %f",
		"x-uidl %u",
		"x-uidl courier",
		"x-uidl x-uidl",
		"x-uidls",
		"dovecot",
		"dovecot ",
		"dovecot%u",
		"x-uidl dovecot",
		"courier dovecot %u",
		/* These would give all messages one unique-id. */
		"dovecot x",
		"dovecot %%",
		"dovecot %%u",
		"dovecot %v",
		"dovecot %Xf",
		"dovecot %{uidvalidity}",
		/* Letters */
		"dovecot %u%",
		"dovecot %",
		"dovecot %0",
		"dovecot %08",
		"dovecot %uX%X",
		"dovecot %u%m",
		"dovecot %u%n",
		"dovecot %8Xu",
		"dovecot %-8u",
		"dovecot %2.3u",
		"dovecot %X08u",
		"dovecot %08 u",
		"dovecot %u%08%",
		"dovecot %Ru",
		"dovecot %Hu",
		"dovecot %033u",
		"dovecot %018446744073709551624u",
		"dovecot %LLLLLLLLLLLu",
		/* Other octets */
		"dovecot %u %v",
		"dovecot %u x",
		"dovecot %u\t",
		"dovecot %u\x7f",
		"dovecot %u\n",
		"dovecot %u\xc3\xa9",
		"dovecot \"%u",
		"dovecot %u\"",
		"dovecot \"%u\"%v",
		"dovecot \"\"%u\"\"",
		"dovecot \"",
		"dovecot \"\"",
		"dovecot %u \"%v\"",
		"dovecot '%u'",
		/* Names */
		"dovecot %{",
		"dovecot %{uid",
		"dovecot %{}",
		"dovecot %{u}",
		"dovecot %{uids}",
		"dovecot %{UID}",
		"dovecot %{uid|}",
		"dovecot %{uid hex}",
		"dovecot %{uid|hex|hex}",
		"dovecot %{uid|md5}",
		"dovecot %{uid|hexlify(8)}",
		"dovecot %{uid|hex(7)}",
		"dovecot %{uid|hex(33)}",
		"dovecot %{uid|hex(-8)}",
		"dovecot %{uid|hex()}",
		"dovecot %{uid|hex(8}",
		"dovecot %{uid|hex(8",
		"dovecot %{uid|hex(8))}",
		"dovecot %{uid|upper(8)}",
		"dovecot %{filename|hex(8)}",
		"dovecot %{guid|hex}",
		"dovecot %08X{uid}",
		"dovecot %{uid\"}",
		/* Both forms: Dovecot 2.3 refuses them, 2.4 takes a part for text */
		"dovecot %{uid}%u",
		"dovecot %v%{uid}",
		"dovecot %{uid}%%",
		"dovecot %{uid}%",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct uidl_source source;

		(void)tap(uidl_source_parse(bad[i], &source) == -EINVAL, "'%.*s' is refused",
			  (int)strcspn(bad[i], "\n"), bad[i]);
	}
}

int main(void)
{
	test_formats();
	test_limits();
	test_words();
	test_mistakes();
	return tap_end();
}
