/* SPDX-License-Identifier: ISC
 * Formats come from the administrator. Names and GUIDs from the mailbox are not trusted. */
#include "lib/uidl-source.h"

#include "lib/util.h"
#include "lib/wire.h"

#include <assert.h>
#include <ctype.h>
#include <nettle/base16.h>
#include <nettle/md5.h>
#include <regex.h>

#define ANSWER_OCTETS_MAX 512 /* of a response line (RFC 2449 section 4) */
#define WIDTH_MAX 32

/* The formats, as regular expressions. Dovecot 2.3 has `%[0WIDTH][MODIFIERS]LETTER`, takes an
 * eleventh modifier for a variable, and refuses `%{`. Dovecot 2.4 has `%{NAME | FILTER}`, where
 * `hex` applies only to numbers, and truncates wide ones. Dovecot 2.4 takes any other `%` as a
 * plain character, so a format that mixes both forms is refused. */
#define CHARACTER "[!#$&-~]"
#define LETTER "%(%|(0+([12]?[0-9]|3[0-2])?)?[XLUM]{0,10}[uvfg])"
#define BLANKS "[ \t]*"
#define BAR BLANKS "\\|" BLANKS
#define CASES "(" BAR "(lower|upper))*"
#define HEX BAR "hex(" BLANKS "\\(" BLANKS "0*([89]|[12][0-9]|3[0-2])" BLANKS "\\))?"
#define NAME                                                                                      \
	"%\\{" BLANKS "((filename|guid)" CASES "|uid(validity)?" CASES "(" HEX CASES ")?)" BLANKS \
	"\\}"
#define FORMAT "((" CHARACTER "|" LETTER ")+|(" CHARACTER "|" NAME ")+)"
#define QUOTED_OR_NOT "^(" FORMAT "|\"" FORMAT "\")$"

static const char blanks[] = " \t";

/* The value of a variable. */
struct uidl_text {
	size_t count;
	char octets[ANSWER_OCTETS_MAX + 1]; /* + 1: a NUL */
};

static int set_variable(struct uidl_text *text, char letter, const struct uidl_values *values)
{
	bool is_name = letter == 'f';

	if (letter == 'u' || letter == 'v') {
		text->count = wire_put_number(letter == 'u' ? values->uid : values->validity,
					      text->octets);
		return 0;
	}
	text->count = is_name ? values->name_octets : values->guid_octets;
	if (text->count > ANSWER_OCTETS_MAX)
		return -ENAMETOOLONG;
	memcpy(text->octets, is_name ? values->name : values->guid, text->count);
	return 0;
}

static void modify(struct uidl_text *text, char modifier)
{
	char first = toupper(modifier) == 'L' ? 'A' : 'a';
	uint8_t digest[MD5_DIGEST_SIZE];
	struct md5_ctx context;
	uint64_t number = 0; /* also if the text is not a number, or too large */

	switch (modifier) {
	case 'X':
	case 'h':
		text->octets[text->count] = '\0';
		(void)wire_parse_number(text->octets, UINT64_MAX, &number);
		text->count = 0;
		for (int shift = number ? (63 - __builtin_clzll(number)) / 4 * 4 : 0; shift >= 0;
		     shift -= 4)
			text->octets[text->count++] = "0123456789abcdef"[number >> shift & 15];
		break;
	case 'M':
		md5_init(&context);
		md5_update(&context, text->count, (const uint8_t *)text->octets);
		md5_digest(&context, sizeof(digest), digest);
		base16_encode_update(text->octets, sizeof(digest), digest);
		text->count = BASE16_ENCODE_LENGTH(sizeof(digest));
		break;
	default: /* L, l, U or u: ASCII letters only */
		for (size_t i = 0; i < text->count; i++) {
			if (text->octets[i] >= first && text->octets[i] < first + 26)
				text->octets[i] ^= 'a' ^ 'A';
		}
	}
}

static void pad(struct uidl_text *text, size_t width)
{
	size_t zeros = width - MIN(width, text->count);

	assert(width <= WIDTH_MAX);
	memmove(text->octets + zeros, text->octets, text->count);
	memset(text->octets, '0', zeros);
	text->count += zeros;
}

/* Expands what follows a `%`: modifiers and a letter, or words of Dovecot 2.4, which differ in
 * their first letters. Pads last, as Dovecot 2.3 does. Dovecot 2.4 pads in `hex`, but after that
 * only changes of case may follow. */
static int expand_variable(const char **format, const struct uidl_values *values,
			   struct uidl_text *text)
{
	bool has_words = **format == '{';
	const char *at = *format + strspn(*format, has_words ? "{ \t" : "0123456789");
	const char *end = at + (has_words ? strcspn(at, "}") : strspn(at, "XLUM"));
	const char *width = has_words ? at + strcspn(at, "0123456789}") : *format;
	const char *name = has_words ? at : end;
	char letter = *name;

	if (has_words && strncmp(at, "uidv", 4) == 0)
		letter = 'v';
	*format = end + 1;
	if (set_variable(text, letter, values) < 0)
		return -ENAMETOOLONG;
	for (; at < end; at++) {
		if (!has_words)
			modify(text, *at);
		else if (*at == '|')
			modify(text, at[1 + strspn(at + 1, blanks)]);
	}
	pad(text, strtoul(width, NULL, 10));
	return 0;
}

ssize_t uidl_source_expand(const char *format, const struct uidl_values *values, char *ret,
			   size_t capacity)
{
	struct uidl_text text;
	size_t count = 0;

	while (*format) {
		char c = *format++;
		int r = 0;

		if (c == '"') /* quotes around the format */
			continue;
		text.octets[0] = c;
		text.count = 1;
		if (c == '%' && *format == '%')
			format++;
		else if (c == '%')
			r = expand_variable(&format, values, &text);
		if (r < 0 || text.count > capacity - count)
			return -ENAMETOOLONG;
		memcpy(ret + count, text.octets, text.count);
		count += text.count;
	}
	return (ssize_t)count;
}

/* Checks a format, and that two messages get different unique-ids. Returns 0, -EINVAL, -ENOMEM. */
static int check_format(const char *format)
{
	static const struct uidl_values values[] = { { 1, 1, "1.a", "1.a", 3, 3 },
						     { 2, 1, "2.b", "2.b", 3, 3 } };
	char ids[2][ANSWER_OCTETS_MAX];
	ssize_t counts[2];
	regex_t formats;
	int r;

	if (*format == '\'') /* quotes of dovecot.conf, which are no part of the format */
		return -EINVAL;
	if (regcomp(&formats, QUOTED_OR_NOT, REG_EXTENDED | REG_NOSUB) != 0)
		return -ENOMEM;
	r = regexec(&formats, format, 0, NULL, 0);
	regfree(&formats);
	if (r != 0)
		return r == REG_ESPACE ? -ENOMEM : -EINVAL;
	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		counts[i] = uidl_source_expand(format, &values[i], ids[i], sizeof(ids[i]));
	return counts[0] < 0 || (counts[0] == counts[1] &&
				 memcmp(ids[0], ids[1], (size_t)counts[0]) == 0) ?
		       -EINVAL :
		       0;
}

/* Skips a word and the blanks after it. Returns whether the word is there. */
static bool take_word(const char **text, const char *word)
{
	const char *end = *text + strlen(word);

	if (strncmp(*text, word, strlen(word)) != 0 || (*end && !strchr(blanks, *end)))
		return false;
	*text = end + strspn(end, blanks);
	return true;
}

int uidl_source_parse(const char *text, struct uidl_source *ret)
{
	struct uidl_source source = { .has_headers = take_word(&text, "x-uidl") };
	bool is_dovecot = take_word(&text, "dovecot");
	int r;

	if (is_dovecot)
		source.format = text;
	else if (source.has_headers)
		source.server = UIDL_HEADERS;
	else if (take_word(&text, "courier"))
		source.server = UIDL_COURIER;
	else if (take_word(&text, "qmail"))
		source.server = UIDL_QMAIL;
	else
		return -EINVAL;
	r = is_dovecot ? check_format(text) : *text ? -EINVAL : 0;
	if (r == 0)
		*ret = source;
	return r;
}
