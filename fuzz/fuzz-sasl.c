/* SPDX-License-Identifier: ISC
 * Base64 and SASL messages, compared with a decoder that works bit by bit. */
#include "lib/wire.h"

#include "fuzz.h"

#include <errno.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Returns the number of octets, or -EINVAL. RFC 4648: padded, no line ends, unused bits are 0. */
static ssize_t decode_plainly(const char *text, char *out)
{
	size_t octets = strlen(text), digit_count = octets;
	ssize_t count = 0;
	unsigned bits = 0, bit_count = 0;

	if (octets % 4 != 0)
		return -EINVAL;
	for (int i = 0; i < 2 && digit_count > 0 && text[digit_count - 1] == '='; i++)
		digit_count--;
	for (size_t i = 0; i < digit_count; i++) {
		const char *digit = strchr(digits, text[i]);

		if (!digit)
			return -EINVAL;
		bits = bits << 6 | (unsigned)(digit - digits);
		bit_count += 6;
		if (bit_count >= 8) {
			bit_count -= 8;
			out[count++] = (char)(bits >> bit_count);
			bits &= (1U << bit_count) - 1;
		}
	}
	return bits == 0 ? count : -EINVAL;
}

/* The three parts of a PLAIN message make up the whole message. */
static void check_plain(const char *message, size_t octets)
{
	struct wire_plain plain;

	if (wire_parse_plain(message, octets, &plain) < 0)
		return;
	FUZZ_CHECK(plain.authorization == message);
	FUZZ_CHECK(plain.user == message + strlen(message) + 1);
	FUZZ_CHECK(plain.password == plain.user + strlen(plain.user) + 1);
	FUZZ_CHECK(plain.password + strlen(plain.password) == message + octets);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	char *text = fuzz_string(data, octets);
	char *expected = malloc(octets + 1);
	ssize_t wanted, count;

	FUZZ_CHECK(expected);
	check_plain(text, octets);
	wanted = decode_plainly(text, expected);
	count = wire_decode_base64(text);
	FUZZ_CHECK(count == wanted);
	if (count >= 0) {
		FUZZ_CHECK(memcmp(text, expected, (size_t)count) == 0 && text[count] == '\0');
		check_plain(text, (size_t)count);
	}
	free(expected);
	free(text);
	return 0;
}
