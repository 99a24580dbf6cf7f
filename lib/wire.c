/* SPDX-License-Identifier: ISC
 *
 * Pure functions on the octets of the protocol. What they are given is not trusted: arguments
 * come from the client (some before login), message octets from whoever sent the mail. */
#include "lib/wire.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

int wire_parse_number(const char *text, uint64_t max, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (*text == '\0' || text[strspn(text, "0123456789")] != '\0')
		return -EINVAL;
	for (; *text; text++) {
		if (__builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number) ||
		    number > max)
			return -ERANGE;
	}
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

const char *wire_skip_uid_prefix(const char *argument)
{
	static const char prefix[] = "UID:";
	size_t octets = sizeof(prefix) - 1;

	return strncasecmp(argument, prefix, octets) == 0 ? argument + octets : NULL;
}

bool wire_is_unique_id(const char *text, size_t octets)
{
	unsigned char bad = 0;

	if (octets < 1 || octets > WIRE_UNIQUE_ID_MAX)
		return false;
	for (size_t i = 0; i < octets; i++)
		bad |= text[i] < '!' || text[i] > '~';
	return bad == 0;
}

/* The value of a base64 digit, or -1. */
static int base64_value(char digit)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *found = digit ? strchr(digits, digit) : NULL;

	return found ? (int)(found - digits) : -1;
}

ssize_t wire_decode_base64(char *text)
{
	size_t octets = strlen(text), put = 0;
	size_t padding = octets - strcspn(text, "=");
	uint32_t bits = 0;

	if (octets % 4 != 0 || padding > 2 || strspn(text + octets - padding, "=") != padding)
		return -EINVAL;
	for (size_t i = 0; i < octets; i++) {
		int value = i < octets - padding ? base64_value(text[i]) : 0;

		if (value < 0)
			return -EINVAL;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4 == 3) {
			text[put++] = (char)(bits >> 16 & 0xff);
			text[put++] = (char)(bits >> 8 & 0xff);
			text[put++] = (char)(bits & 0xff);
		}
	}
	/* What the padding stands for is 0: there is one way to write some octets. */
	put -= padding;
	for (size_t i = 0; i < padding; i++) {
		if (text[put + i] != '\0')
			return -EINVAL;
	}
	text[put] = '\0';
	return (ssize_t)put;
}

int wire_parse_plain(const char *message, size_t octets, struct wire_plain *ret_plain)
{
	const char *parts[3];
	size_t count = 0;

	for (size_t start = 0; start <= octets; start += strlen(message + start) + 1) {
		if (count == 3)
			return -EINVAL;
		parts[count++] = message + start;
	}
	if (count != 3 || *parts[1] == '\0')
		return -EINVAL;
	*ret_plain = (struct wire_plain){ parts[0], parts[1], parts[2] };
	return 0;
}

/* One step of a conversion: the rest of a line, or as much of it as there is space for. */
struct step {
	bool is_stuffed;   /* a "." goes before it */
	size_t text;	   /* octets copied as they are, from the start of `in` */
	bool has_line_end; /* an LF follows them in `in`: a line end goes after them */
	bool needs_cr;
};

static struct step next_step(const struct wire_converter *converter, const char *in,
			     size_t in_octets, size_t space)
{
	const char *lf = memchr(in, '\n', in_octets);
	struct step step = {
		.is_stuffed = converter->last == '\n' && *in == '.',
		.text = lf ? (size_t)(lf - in) : in_octets,
		.has_line_end = lf != NULL,
	};
	size_t text_space = space - (step.is_stuffed ? 1 : 0);

	if (step.text > text_space - (step.has_line_end ? 2 : 0)) {
		step.text = text_space < step.text ? text_space : step.text;
		step.has_line_end = false;
	}
	if (step.has_line_end)
		step.needs_cr = (step.text > 0 ? in[step.text - 1] : converter->last) != '\r';
	return step;
}

static size_t put_step(const struct step *step, const char *in, char *out)
{
	char *end = out;

	if (step->is_stuffed)
		*end++ = '.';
	memcpy(end, in, step->text);
	end += step->text;
	if (step->needs_cr)
		*end++ = '\r';
	if (step->has_line_end)
		*end++ = '\n';
	return (size_t)(end - out);
}

size_t wire_convert(struct wire_converter *converter, const char *in, size_t in_octets, char *out,
		    size_t out_octets, size_t *ret_put)
{
	size_t used = 0, put = 0;

	while (used < in_octets && (!out || out_octets - put >= WIRE_STEP_OCTETS)) {
		size_t space = out ? out_octets - put : SIZE_MAX;
		struct step step = next_step(converter, in + used, in_octets - used, space);

		if (out)
			put += put_step(&step, in + used, out + put);
		used += step.text + (step.has_line_end ? 1 : 0);
		converter->octets +=
			step.text + (step.has_line_end ? 1 : 0) + (step.needs_cr ? 1 : 0);
		converter->last = in[used - 1];
	}
	*ret_put = put;
	return used;
}

size_t wire_convert_end(struct wire_converter *converter, char out[2])
{
	if (converter->last == '\n')
		return 0;
	if (out)
		memcpy(out, "\r\n", 2);
	converter->octets += 2;
	converter->last = '\n';
	return 2;
}

/* Takes note of a line that ended. */
static void end_line(struct wire_top *top)
{
	bool is_blank = top->line_octets == 0 || (top->line_octets == 1 && top->is_line_cr);

	if (top->is_in_body)
		top->lines_left--;
	else
		top->is_in_body = is_blank;
	top->is_done = top->is_in_body && top->lines_left == 0;
	top->line_octets = 0;
}

size_t wire_top_cut(struct wire_top *top, const char *in, size_t octets)
{
	size_t used = 0;

	while (used < octets && !top->is_done) {
		const char *line = in + used;
		const char *lf = memchr(line, '\n', octets - used);
		size_t text = lf ? (size_t)(lf - line) : octets - used;

		if (top->line_octets == 0 && text > 0)
			top->is_line_cr = *line == '\r';
		top->line_octets += text;
		used += text;
		if (lf) {
			used++;
			end_line(top);
		}
	}
	return used;
}
