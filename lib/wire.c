/* SPDX-License-Identifier: ISC
 * No input is trusted: arguments come from the client (some before login), message octets from the
 * sender of the mail. */
#include "lib/wire.h"

#include "lib/util.h"

#include <nettle/base64.h>

int wire_parse_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	uint64_t number;

	if (*text == '\0' || text[strspn(text, "0123456789")] != '\0')
		return -EINVAL;
	errno = 0;
	number = strtoull(text, NULL, 10);
	if (errno != 0 || number > max)
		return -ERANGE;
	*ret_number = number;
	return 0;
}

size_t wire_put_number(uint64_t number, char ret_digits[WIRE_NUMBER_OCTETS_MAX])
{
	char digits[WIRE_NUMBER_OCTETS_MAX];
	size_t start = sizeof(digits);

	do {
		digits[--start] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	memcpy(ret_digits, digits + start, sizeof(digits) - start);
	return sizeof(digits) - start;
}

bool wire_is_printable(const char *text, size_t octets, size_t max)
{
	unsigned char bad = 0;

	if (octets < 1 || octets > max)
		return false;
	for (size_t i = 0; i < octets; i++)
		bad |= text[i] < '!' || text[i] > '~';
	return bad == 0;
}

ssize_t wire_decode_base64(char *text)
{
	struct base64_decode_ctx context;
	size_t octets;

	base64_decode_init(&context);
	/* Nettle would skip blanks, and accept three "=". */
	if (strpbrk(text, " \t\n\v\f\r") || strstr(text, "===") ||
	    !base64_decode_update(&context, &octets, (uint8_t *)text, strlen(text), text) ||
	    !base64_decode_final(&context))
		return -EINVAL;
	text[octets] = '\0';
	return (ssize_t)octets;
}

int wire_parse_plain(const char *message, size_t octets, struct wire_plain *ret_plain)
{
	const char *user = message + strlen(message) + 1, *end = message + octets;
	const char *password = user <= end ? user + strlen(user) + 1 : user;

	if (password > end || password + strlen(password) != end || *user == '\0')
		return -EINVAL;
	*ret_plain = (struct wire_plain){ message, user, password };
	return 0;
}

/* Appends octets to `out`, unless that is NULL. */
static void append(char *out, size_t *put, const char *octets, size_t count)
{
	if (out) {
		memcpy(out + *put, octets, count);
		*put += count;
	}
}

size_t wire_convert(struct wire_converter *converter, const char *in, size_t in_octets, char *out,
		    size_t out_octets, size_t *ret_put)
{
	size_t used = 0;

	*ret_put = 0;
	while (used < in_octets && !converter->is_done &&
	       (!out || out_octets - *ret_put >= WIRE_STEP_OCTETS)) {
		const char *text = in + used;
		size_t space = out ? out_octets - *ret_put - 2 : SIZE_MAX; /* less "." and CR */
		size_t octets = MIN(in_octets - used, space);
		const char *lf = memchr(text, '\n', octets);
		bool needs_cr;

		octets = lf ? (size_t)(lf - text) : octets;
		needs_cr = lf && (octets > 0 ? lf[-1] : converter->last) != '\r';
		if (converter->last == '\n' && *text == '.')
			append(out, ret_put, ".", 1);
		append(out, ret_put, text, octets);
		if (lf)
			append(out, ret_put, needs_cr ? "\r\n" : "\n", needs_cr ? 2 : 1);
		used += octets + (lf ? 1 : 0);
		converter->octets += octets + (lf ? 1 : 0) + (needs_cr ? 1 : 0);
		converter->last = in[used - 1];
		converter->line_octets += octets;
		if (lf) {
			converter->lines_left -= converter->is_in_body;
			/* The body begins after an empty line, which may hold a CR. */
			converter->is_in_body |= converter->line_octets == !needs_cr;
			converter->is_done = converter->is_in_body && converter->lines_left == 0;
			converter->line_octets = 0;
		}
	}
	return used;
}

const char *wire_convert_end(struct wire_converter *converter)
{
	if (converter->last == '\n')
		return "";
	converter->octets += 2;
	converter->last = '\n';
	return "\r\n";
}
