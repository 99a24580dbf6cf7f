/* SPDX-License-Identifier: ISC
 * A format is the administrator's; the names and GUIDs are from the mailbox, whoever wrote them.
 * Dovecot 2.3 has `%[0WIDTH][MODIFIERS]LETTER` and refuses `%{`. Dovecot 2.4 has `%{NAME |
 * FILTER}`, and there another `%` is an ordinary character. So a format that has both is refused.
 */
#include "lib/uidl-source.h"

#include "lib/util.h"
#include "lib/wire.h"

#include <nettle/base16.h>
#include <nettle/md5.h>

#define ANSWER_OCTETS_MAX 512 /* of a line (RFC 2449 section 4) */
#define MODIFIERS_MAX 10      /* Dovecot takes the next one for a variable */
#define WIDTH_MAX 32
#define HEX_WIDTH_MIN 8 /* Dovecot 2.4 cuts a number that is wider */

/* What a variable stands for. */
struct uidl_text {
	size_t count;
	char octets[ANSWER_OCTETS_MAX + 1]; /* NUL */
};

/* A word of Dovecot 2.4, and what it is in Dovecot 2.3. */
struct uidl_word {
	const char *word;
	char letter;
};

static const char blanks[] = " \t";
static const struct uidl_word variables[] = {
	{ "uid", 'u' }, { "uidvalidity", 'v' }, { "filename", 'f' }, { "guid", 'g' }, { 0 }
};
static const struct uidl_word filters[] = {
	{ "hex", 'X' }, { "lower", 'L' }, { "upper", 'U' }, { 0 }
};

/* Skips a word that blanks or one of `ends` follow, with the blanks. Whether it is there. */
static bool take_word(const char **text, const char *word, const char *ends)
{
	const char *end = *text + strlen(word);

	if (strncmp(*text, word, strlen(word)) != 0 || (*end && !strchr(ends, *end)))
		return false;
	*text = end + strspn(end, blanks);
	return true;
}

/* Likewise one of these words. Returns its letter; 0: it is none of them. */
static char take_letter(const char **text, const struct uidl_word *words)
{
	while (words->word && !take_word(text, words->word, " \t|(}"))
		words++;
	return words->letter;
}

/* Likewise a single character, whatever follows it. */
static bool take_mark(const char **text, char mark)
{
	if (**text != mark)
		return false;
	*text += 1 + strspn(*text + 1, blanks);
	return true;
}

/* Skips a number. Returns it; 0: there is none. What is too large is more than WIDTH_MAX. */
static size_t take_width(const char **text)
{
	size_t octets = strspn(*text, "0123456789");
	size_t width = octets > 0 ? strtoul(*text, NULL, 10) : 0;

	*text += octets;
	return width;
}

/* Returns 0, -ENAMETOOLONG, or -EINVAL: there is no such variable. */
static int set_variable(struct uidl_text *text, char letter, const struct uidl_values *values)
{
	const char *octets = letter == 'f' ? values->name : values->guid;

	if (letter == 'u' || letter == 'v') {
		text->count = wire_put_number(letter == 'u' ? values->uid : values->validity,
					      text->octets);
		return 0;
	}
	if (letter != 'f' && letter != 'g')
		return -EINVAL;
	text->count = letter == 'f' ? values->name_octets : values->guid_octets;
	if (text->count > ANSWER_OCTETS_MAX)
		return -ENAMETOOLONG;
	memcpy(text->octets, octets, text->count);
	return 0;
}

static void modify(struct uidl_text *text, char modifier)
{
	static const char digits[] = "0123456789abcdef";
	char first = modifier == 'L' ? 'A' : 'a';
	uint8_t digest[MD5_DIGEST_SIZE];
	struct md5_ctx context;
	uint64_t number = 0; /* also for text that is none, or is too large */

	switch (modifier) {
	case 'X':
		text->octets[text->count] = '\0';
		(void)wire_parse_number(text->octets, UINT64_MAX, &number);
		text->count = 0;
		for (int shift = number ? (63 - __builtin_clzll(number)) / 4 * 4 : 0; shift >= 0;
		     shift -= 4)
			text->octets[text->count++] = digits[number >> shift & 15];
		break;
	case 'M':
		md5_init(&context);
		md5_update(&context, text->count, (const uint8_t *)text->octets);
		md5_digest(&context, sizeof(digest), digest);
		base16_encode_update(text->octets, sizeof(digest), digest);
		text->count = BASE16_ENCODE_LENGTH(sizeof(digest));
		break;
	default: /* L or U: ASCII letters only */
		for (size_t i = 0; i < text->count; i++) {
			if (text->octets[i] >= first && text->octets[i] < first + 26)
				text->octets[i] ^= 'a' ^ 'A';
		}
	}
}

static void pad(struct uidl_text *text, size_t width)
{
	size_t zeros = width - MIN(width, text->count);

	memmove(text->octets + zeros, text->octets, text->count);
	memset(text->octets, '0', zeros);
	text->count += zeros;
}

/* Reads what follows a `%`. Dovecot 2.3 pads last. */
static int expand_letter(const char **format, const struct uidl_values *values,
			 struct uidl_text *text)
{
	size_t width = **format == '0' ? take_width(format) : 0;
	size_t count = strspn(*format, "XLUM");
	int r = set_variable(text, (*format)[count], values);

	if (r < 0 || width > WIDTH_MAX || count > MODIFIERS_MAX)
		return r < 0 ? r : -EINVAL;
	for (size_t i = 0; i < count; i++)
		modify(text, (*format)[i]);
	pad(text, width);
	*format += count + 1;
	return 0;
}

/* Reads what follows a `%{`. In Dovecot 2.4, `hex` fails for anything but a number. */
static int expand_name(const char **format, const struct uidl_values *values,
		       struct uidl_text *text)
{
	char variable = take_letter(format, variables);
	bool may_be_hex = variable == 'u' || variable == 'v';
	int r = set_variable(text, variable, values);

	while (r == 0 && take_mark(format, '|')) {
		char filter = take_letter(format, filters);

		if (!filter || (filter == 'X' && !may_be_hex))
			return -EINVAL;
		modify(text, filter);
		if (filter == 'X' && take_mark(format, '(')) {
			size_t width = take_width(format);

			*format += strspn(*format, blanks);
			if (width < HEX_WIDTH_MIN || width > WIDTH_MAX || !take_mark(format, ')'))
				return -EINVAL;
			pad(text, width);
		}
		may_be_hex &= filter != 'X';
	}
	return r < 0 || *(*format)++ == '}' ? r : -EINVAL;
}

ssize_t uidl_source_expand(const char *format, const struct uidl_values *values, char *ret,
			   size_t capacity)
{
	bool has_letters = false, has_names = false;
	struct uidl_text text;
	size_t count = 0;

	while (*format) {
		int r = 0;

		text.count = 1;
		text.octets[0] = *format++;
		if (text.octets[0] == '"') /* around the format */
			continue;
		if (text.octets[0] != '%') {
			r = text.octets[0] < '!' || text.octets[0] > '~' ? -EINVAL : 0;
		} else if (take_mark(&format, '{')) {
			has_names = true;
			r = expand_name(&format, values, &text);
		} else {
			has_letters = true;
			if (*format == '%')
				format++;
			else
				r = expand_letter(&format, values, &text);
		}
		if (r < 0 || (has_letters && has_names))
			return r < 0 ? r : -EINVAL;
		if (text.count > capacity - count)
			return -ENAMETOOLONG;
		memcpy(ret + count, text.octets, text.count);
		count += text.count;
	}
	return (ssize_t)count;
}

/* Whether two messages have two unique-ids by it. Returns 0 or -EINVAL. */
static int check_format(const char *format)
{
	static const struct uidl_values values[] = { { 1, 1, "1.a", "1.a", 3, 3 },
						     { 2, 1, "2.b", "2.b", 3, 3 } };
	const char *last_quote = *format == '"' ? format + strlen(format) - 1 : NULL;
	char ids[2][ANSWER_OCTETS_MAX];
	ssize_t counts[2];

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
		counts[i] = uidl_source_expand(format, &values[i], ids[i], sizeof(ids[i]));
	if (strchr(format + (*format == '"'), '"') != last_quote || counts[0] < 0)
		return -EINVAL;
	return counts[0] == counts[1] && memcmp(ids[0], ids[1], (size_t)counts[0]) == 0 ? -EINVAL :
											  0;
}

int uidl_source_parse(const char *text, struct uidl_source *ret)
{
	struct uidl_source source = { .has_headers = take_word(&text, "x-uidl", blanks) };

	if (take_word(&text, "dovecot", blanks))
		source.format = text;
	else if (source.has_headers)
		source.server = UIDL_HEADERS;
	else if (take_word(&text, "courier", blanks))
		source.server = UIDL_COURIER;
	else if (take_word(&text, "qmail", blanks))
		source.server = UIDL_QMAIL;
	else
		return -EINVAL;
	if (source.format ? check_format(text) < 0 : *text != '\0')
		return -EINVAL;
	*ret = source;
	return 0;
}
