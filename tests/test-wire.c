/* SPDX-License-Identifier: ISC
 * lib/wire.c compared with slow, obvious references. */
#include "lib/wire.h"

#include "lib/util.h"
#include "tap.h"

#include <errno.h>

#define ROUNDS 20000
#define OCTETS_MAX 60

/* Deterministic, so that a failure can be repeated. */
static unsigned random_below(unsigned limit)
{
	static uint64_t state = 1;

	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(state >> 33) % limit;
}

static size_t random_message(char *message)
{
	static const char alphabet[] = "\n\n\n\r\r..ab\0\x80";
	size_t octets = random_below(OCTETS_MAX);

	for (size_t i = 0; i < octets; i++)
		message[i] = alphabet[random_below(sizeof(alphabet) - 1)];
	return octets;
}

/* Converts octet by octet as RETR must. Returns the number of octets; *ret_size is the number
 * without stuffing. */
static size_t reference(const char *in, size_t octets, char *out, size_t *ret_size)
{
	size_t put = 0, stuffed = 0;

	for (size_t i = 0; i < octets; i++) {
		bool first = i == 0 || in[i - 1] == '\n';

		if (first && in[i] == '.') {
			out[put++] = '.';
			stuffed++;
		}
		if (in[i] == '\n' && (i == 0 || in[i - 1] != '\r'))
			out[put++] = '\r';
		out[put++] = in[i];
	}
	if (octets > 0 && in[octets - 1] != '\n') {
		out[put++] = '\r';
		out[put++] = '\n';
	}
	*ret_size = put - stuffed;
	return put;
}

/* The same with wire_convert(), with random pieces of input and of output space. */
static size_t convert(const char *in, size_t octets, char *out, size_t *ret_size)
{
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	size_t used = 0, put = 0;

	while (used < octets) {
		size_t piece = 1 + random_below(8), space = random_below(12), piece_put;

		if (piece > octets - used)
			piece = octets - used;
		used += wire_convert(&converter, in + used, piece, out + put, space, &piece_put);
		if (piece_put > space)
			return 0;
		put += piece_put;
	}
	put = (size_t)(stpcpy(out + put, wire_convert_end(&converter)) - out);
	*ret_size = converter.octets;
	return put;
}

static size_t count(const char *in, size_t octets)
{
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	size_t cut = octets ? random_below((unsigned)octets) : 0, put;

	(void)wire_convert(&converter, in, cut, NULL, 0, &put);
	(void)wire_convert(&converter, in + cut, octets - cut, NULL, 0, &put);
	(void)wire_convert_end(&converter);
	return converter.octets;
}

static void test_convert(void)
{
	bool same = true, same_size = true, same_count = true;

	for (int i = 0; i < ROUNDS; i++) {
		char message[OCTETS_MAX], good[4 * OCTETS_MAX], got[4 * OCTETS_MAX];
		size_t octets = random_message(message), good_size = 0, got_size = 0;
		size_t good_octets = reference(message, octets, good, &good_size);
		size_t got_octets = convert(message, octets, got, &got_size);

		same &= good_octets == got_octets && memcmp(good, got, got_octets) == 0;
		same_size &= good_size == got_size;
		same_count &= good_size == count(message, octets);
	}
	(void)tap(same, "wire_convert makes the reference's octets, however the input is split");
	(void)tap(same_size, "wire_convert counts the reference's octets");
	(void)tap(same_count, "wire_convert without output counts the same");
}

/* Finds the end of TOP's answer in the stored message, line by line. */
static size_t top_reference(const char *in, size_t octets, size_t lines)
{
	bool in_body = false;
	size_t start = 0;

	for (size_t i = 0; i < octets; i++) {
		size_t line_octets = i - start;

		if (in[i] != '\n')
			continue;
		start = i + 1;
		if (in_body)
			lines--;
		else
			in_body = line_octets == 0 || (line_octets == 1 && in[i - 1] == '\r');
		if (in_body && lines == 0)
			return i + 1;
	}
	return octets;
}

static void test_top(void)
{
	bool same = true;

	for (int i = 0; i < ROUNDS; i++) {
		char message[OCTETS_MAX];
		size_t octets = random_message(message), lines = random_below(4), used = 0;
		struct wire_converter converter = WIRE_CONVERTER_INIT;

		converter.lines_left = lines;
		while (used < octets && !converter.is_done) {
			size_t piece = 1 + random_below(8), put;

			if (piece > octets - used)
				piece = octets - used;
			used += wire_convert(&converter, message + used, piece, NULL, 0, &put);
		}
		same &= used == top_reference(message, octets, lines);
	}
	(void)tap(same,
		  "wire_convert ends TOP where the reference ends, however the input is split");
}

static void test_numbers(void)
{
	static const char *const bad[] = { "",	 "+1", "-1",  " 1",  "1 ",
					   "1x", "x",  "1.0", "0x1", "\xd9\xa1" };
	static const char *const large[] = { "256", "1000", "18446744073709551616",
					     "99999999999999999999999999" };
	uint64_t number = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		(void)tap(wire_parse_number(bad[i], 255, &number) == -EINVAL && number == 7,
			  "'%s' is no number", bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(large); i++)
		(void)tap(wire_parse_number(large[i], 255, &number) == -ERANGE && number == 7,
			  "%s is larger than 255", large[i]);
	(void)tap(wire_parse_number("0", 255, &number) == 0 && number == 0, "0 is a number");
	(void)tap(wire_parse_number("0255", 255, &number) == 0 && number == 255,
		  "0255 is not larger than 255");
	(void)tap(wire_parse_number("18446744073709551615", UINT64_MAX, &number) == 0 &&
			  number == UINT64_MAX,
		  "the largest number is a number");
}

static void test_put_number(void)
{
	static const uint64_t numbers[] = { 0, 1, 9, 10, 11, 99, 100, 12345678901, UINT64_MAX };

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		char digits[WIRE_NUMBER_OCTETS_MAX + 1] = "xxxxxxxxxxxxxxxxxxxx", wanted[32];
		size_t octets = wire_put_number(numbers[i], digits);

		digits[octets] = '\0';
		(void)snprintf(wanted, sizeof(wanted), "%ju", (uintmax_t)numbers[i]);
		(void)tap(strcmp(digits, wanted) == 0, "%s in digits", wanted);
	}
}

static void test_unique_ids(void)
{
	char text[72];

	memset(text, 'x', sizeof(text));
	(void)tap(wire_is_printable(text, 70, WIRE_UNIQUE_ID_MAX),
		  "a unique-id may have 70 octets");
	(void)tap(!wire_is_printable(text, 71, WIRE_UNIQUE_ID_MAX), "but not 71");
	(void)tap(!wire_is_printable(text, 0, WIRE_UNIQUE_ID_MAX), "nor none");
	(void)tap(wire_is_printable("!~", 2, WIRE_UNIQUE_ID_MAX), "'!' and '~' are allowed");
	(void)tap(!wire_is_printable("a b", 3, WIRE_UNIQUE_ID_MAX), "a blank is not");
	(void)tap(!wire_is_printable("a\x7f", 2, WIRE_UNIQUE_ID_MAX), "DEL may not");
	(void)tap(!wire_is_printable("a\xc3\xa4", 3, WIRE_UNIQUE_ID_MAX), "UTF-8 may not");
}

/* Encodes as RFC 4648 section 4 says, three octets at a time. */
static void encode(const unsigned char *octets, size_t count, char *ret_text)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < count; i += 3) {
		unsigned long bits = (unsigned long)octets[i] << 16;

		bits |= i + 1 < count ? (unsigned long)octets[i + 1] << 8 : 0;
		bits |= i + 2 < count ? octets[i + 2] : 0;
		*ret_text++ = digits[bits >> 18];
		*ret_text++ = digits[bits >> 12 & 63];
		*ret_text++ = i + 1 < count ? digits[bits >> 6 & 63] : '=';
		*ret_text++ = i + 2 < count ? digits[bits & 63] : '=';
	}
	*ret_text = '\0';
}

static void test_base64(void)
{
	static const char *const bad[] = {
		"A",	      "AA",
		"AAA",	      "AAAAA",
		"=",	      "==",
		"====",	      "A===",
		"AA=A",	      "AA==AA",
		"AA=",	      "AAA==",
		"AAAA==",     "AAAA====",
		"AB==",	      "AAB=",
		"AAA ",	      " AAA",
		"AA\nA",      "AA-_",
		"AA\xff\xff", "\xc3\xa4\x41\x41",
		"AAAA=AAA",
	};
	bool same = true;

	for (int i = 0; i < ROUNDS; i++) {
		unsigned char octets[OCTETS_MAX];
		char text[2 * OCTETS_MAX];
		size_t count = random_below(OCTETS_MAX);

		for (size_t j = 0; j < count; j++)
			octets[j] = (unsigned char)random_below(256);
		encode(octets, count, text);
		same &= wire_decode_base64(text) == (ssize_t)count &&
			memcmp(text, octets, count) == 0 && text[count] == '\0';
	}
	(void)tap(same, "wire_decode_base64 inverts the encoding");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char text[16];

		(void)snprintf(text, sizeof(text), "%s", bad[i]);
		(void)tap(wire_decode_base64(text) == -EINVAL, "bad base64: case %zu", i);
	}
}

static void test_plain(void)
{
	static const struct {
		const char *message;
		size_t octets;
	} bad[] = {
		{ "", 0 },	 { "a", 1 },	      { "\0", 1 },	 { "\0a", 2 },
		{ "\0\0p", 3 },	 { "z\0\0p", 4 },     { "\0a\0p\0", 5 }, { "\0a\0p\0x", 6 },
		{ "\0\0\0", 3 }, { "\0a\0p\0\0", 6 },
	};
	struct wire_plain plain;

	(void)tap(wire_parse_plain("\0ann\0a b ", 9, &plain) == 0 &&
			  strcmp(plain.authorization, "") == 0 && strcmp(plain.user, "ann") == 0 &&
			  strcmp(plain.password, "a b ") == 0,
		  "a PLAIN message without an authorization identity");
	(void)tap(wire_parse_plain("bob\0ann\0", 8, &plain) == 0 &&
			  strcmp(plain.authorization, "bob") == 0 &&
			  strcmp(plain.user, "ann") == 0 && strcmp(plain.password, "") == 0,
		  "a PLAIN message with one, and with an empty password");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		(void)tap(wire_parse_plain(bad[i].message, bad[i].octets, &plain) == -EINVAL,
			  "no PLAIN message: case %zu", i);
}

int main(void)
{
	test_base64();
	test_plain();
	test_convert();
	test_top();
	test_numbers();
	test_put_number();
	test_unique_ids();
	return tap_end();
}
