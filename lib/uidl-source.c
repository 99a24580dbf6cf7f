/* SPDX-License-Identifier: ISC
 * A format is the administrator's; the names and GUIDs are from the mailbox, whoever wrote them.
 * Dovecot 2.3 has `%[0WIDTH][MODIFIERS]LETTER`, Dovecot 2.4 `%{NAME | FILTER ...}`, in which `%` is
 * otherwise an ordinary character. What differs between them in one format is refused. */
#include "lib/uidl-source.h"

#include "lib/util.h"
#include "lib/wire.h"

#include <limits.h>
#include <nettle/base16.h>
#include <nettle/md5.h>

#define ANSWER_OCTETS_MAX 512 /* of a line (RFC 2449 section 4) */
#define MODIFIERS_MAX 10      /* Dovecot takes the next one for a variable */
#define WIDTH_MAX 32
#define HEX_WIDTH_MIN 8 /* Dovecot 2.4 would cut a number of 32 bits */

/* What a variable stands for: octets of the caller, or in `own` once they are changed. */
struct uidl_text {
	const char *octets;
	size_t count;
	char own[ANSWER_OCTETS_MAX];
};

static const char blanks[] = " \t";

/* Skips a word that blanks or one of `ends` follow, with the blanks. Whether it is there. */
static bool take_word(const char **text, const char *word, const char *ends)
{
	const char *end = *text + strlen(word);

	if (strncmp(*text, word, strlen(word)) != 0 || (*end && !strchr(ends, *end)))
		return false;
	*text = end + strspn(end, blanks);
	return true;
}

/* Likewise a character. */
static bool take_mark(const char **text, char mark)
{
	if (**text != mark)
		return false;
	*text += 1 + strspn(*text + 1, blanks);
	return true;
}

/* Digits; without any, or if it is larger than WIDTH_MAX, the result is larger, too. */
static size_t take_width(const char **text)
{
	size_t octets = strspn(*text, "0123456789");
	unsigned long width = octets > 0 ? strtoul(*text, NULL, 10) : ULONG_MAX;

	*text += octets;
	return width;
}

/* Gives a text the value of a variable. Whether there is one of that letter. */
static bool set_variable(struct uidl_text *text, char letter, const struct uidl_values *values)
{
	if (letter == 'u' || letter == 'v') {
		text->octets = text->own;
		text->count =
			wire_put_number(letter == 'u' ? values->uid : values->validity, text->own);
		return true;
	}
	text->octets = letter == 'f' ? values->name : values->guid;
	text->count = letter == 'f' ? values->name_octets : values->guid_octets;
	return letter == 'f' || letter == 'g';
}

/* A whole number becomes hexadecimal; text that is none, or needs more than 64 bits, becomes 0. */
static void make_hex(struct uidl_text *text)
{
	size_t start = sizeof(text->own);
	uint64_t number = 0;

	for (size_t i = 0; i < text->count; i++) {
		unsigned digit = (unsigned char)text->octets[i] - (unsigned)'0';

		if (digit > 9 || __builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, digit, &number)) {
			number = 0;
			break;
		}
	}
	do {
		text->own[--start] = "0123456789abcdef"[number % 16];
		number /= 16;
	} while (number > 0);
	text->octets = text->own + start;
	text->count = sizeof(text->own) - start;
}

static void make_md5(struct uidl_text *text)
{
	uint8_t digest[MD5_DIGEST_SIZE];
	struct md5_ctx context;

	md5_init(&context);
	md5_update(&context, text->count, (const uint8_t *)text->octets);
	md5_digest(&context, sizeof(digest), digest);
	base16_encode_update(text->own, sizeof(digest), digest);
	text->octets = text->own;
	text->count = BASE16_ENCODE_LENGTH(sizeof(digest));
}

/* Other letters than those of ASCII stay. Returns 0 or -ENAMETOOLONG. */
static int change_case(struct uidl_text *text, char first)
{
	if (text->count > sizeof(text->own))
		return -ENAMETOOLONG;
	memmove(text->own, text->octets, text->count);
	text->octets = text->own;
	for (size_t i = 0; i < text->count; i++) {
		if (text->own[i] >= first && text->own[i] < first + 26)
			text->own[i] ^= 'a' ^ 'A';
	}
	return 0;
}

static int modify(struct uidl_text *text, char modifier)
{
	if (modifier == 'L' || modifier == 'U')
		return change_case(text, modifier == 'L' ? 'A' : 'a');
	if (modifier == 'X')
		make_hex(text);
	else
		make_md5(text);
	return 0;
}

static void pad(struct uidl_text *text, size_t width)
{
	if (text->count >= width)
		return;
	memmove(text->own + width - text->count, text->octets, text->count);
	memset(text->own, '0', width - text->count);
	text->octets = text->own;
	text->count = width;
}

/* Reads what follows a `%`: Dovecot 2.3 pads at last. */
static int expand_letter(const char **format, const struct uidl_values *values,
			 struct uidl_text *text)
{
	size_t width = **format == '0' ? take_width(format) : 0;
	size_t count = strspn(*format, "XLUM");
	int r = 0;

	if (width > WIDTH_MAX || count > MODIFIERS_MAX ||
	    !set_variable(text, (*format)[count], values))
		return -EINVAL;
	for (size_t i = 0; i < count && r == 0; i++)
		r = modify(text, (*format)[i]);
	pad(text, width);
	*format += count + 1;
	return r;
}

/* Reads what follows a `%{`. The filter `hex` fails with anything but a number. */
static int expand_name(const char **format, const struct uidl_values *values,
		       struct uidl_text *text)
{
	static const char ends[] = " \t|(}";
	bool is_number = false;
	int r = 0;

	*format += strspn(*format, blanks);
	if (take_word(format, "uid", ends))
		is_number = set_variable(text, 'u', values);
	else if (take_word(format, "uidvalidity", ends))
		is_number = set_variable(text, 'v', values);
	else if (take_word(format, "filename", ends))
		(void)set_variable(text, 'f', values);
	else if (take_word(format, "guid", ends))
		(void)set_variable(text, 'g', values);
	else
		return -EINVAL;
	while (take_mark(format, '|') && r == 0) {
		if (take_word(format, "lower", ends)) {
			r = modify(text, 'L');
		} else if (take_word(format, "upper", ends)) {
			r = modify(text, 'U');
		} else if (is_number && take_word(format, "hex", ends)) {
			is_number = false;
			make_hex(text);
			if (take_mark(format, '(')) {
				size_t width = take_width(format);

				*format += strspn(*format, blanks);
				if (width < HEX_WIDTH_MIN || width > WIDTH_MAX ||
				    !take_mark(format, ')'))
					return -EINVAL;
				pad(text, width);
			}
		} else {
			return -EINVAL;
		}
	}
	if (r == 0 && *(*format)++ != '}')
		r = -EINVAL;
	return r;
}

ssize_t uidl_source_expand(const char *format, const struct uidl_values *values, char *ret,
			   size_t capacity)
{
	bool has_letters = false, has_names = false;
	struct uidl_text text;
	size_t count = 0;

	while (*format) {
		const char *start = format++;
		int r = 0;

		if (*start == '"') /* around the format */
			continue;
		text.octets = start;
		text.count = 1;
		if (*start != '%') {
			r = *start < '!' || *start > '~' ? -EINVAL : 0;
		} else if (*format == '{') {
			has_names = true;
			format++;
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
	if (strchr(format + (*format == '"'), '"') != last_quote || counts[0] < 0 ||
	    (counts[0] == counts[1] && memcmp(ids[0], ids[1], (size_t)counts[0]) == 0))
		return -EINVAL;
	return 0;
}

int uidl_source_parse(const char *text, struct uidl_source *ret)
{
	struct uidl_source source = { .has_headers = take_word(&text, "x-uidl", blanks) };

	if (take_word(&text, "dovecot", blanks)) {
		source.format = text;
		if (check_format(text) < 0)
			return -EINVAL;
	} else {
		if (source.has_headers)
			source.server = UIDL_HEADERS;
		else if (take_word(&text, "courier", blanks))
			source.server = UIDL_COURIER;
		else if (take_word(&text, "qmail", blanks))
			source.server = UIDL_QMAIL;
		else
			return -EINVAL;
		if (*text)
			return -EINVAL;
	}
	*ret = source;
	return 0;
}
