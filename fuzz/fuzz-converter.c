/* SPDX-License-Identifier: ISC
 * The converter of line ends, which stuffs dots, and the cut of TOP, each compared with a simple
 * implementation. The first two octets of the input are the sizes of pieces, the third is TOP's
 * number of lines. */
#include "lib/wire.h"

#include "fuzz.h"

#include <stdbool.h>

/* Small, so that an input has many pieces. */
#define PIECE_OCTETS_MAX 16

struct text {
	char *octets;
	size_t count;
};

/* Returns the message as it is on the wire, converted octet by octet, and its size. */
static struct text convert_plainly(const uint8_t *in, size_t octets, uint64_t *ret_size)
{
	struct text out = { .octets = malloc(3 * octets + 3) };
	size_t stuffed = 0;

	FUZZ_CHECK(out.octets);
	for (size_t i = 0; i < octets; i++) {
		bool at_start = i == 0 || in[i - 1] == '\n';

		if (at_start && in[i] == '.') {
			out.octets[out.count++] = '.';
			stuffed++;
		}
		if (in[i] == '\n' && (i == 0 || in[i - 1] != '\r'))
			out.octets[out.count++] = '\r';
		out.octets[out.count++] = (char)in[i];
	}
	if (octets > 0 && in[octets - 1] != '\n') {
		out.octets[out.count++] = '\r'; /* even after another CR */
		out.octets[out.count++] = '\n';
	}
	*ret_size = out.count - stuffed;
	return out;
}

/* The same by wire_convert(), a piece at a time. */
static struct text convert_in_pieces(const char *in, size_t octets, size_t in_max, size_t out_max,
				     uint64_t *ret_size)
{
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	struct text out = { .octets = malloc(3 * octets + 3 + out_max) };

	FUZZ_CHECK(out.octets);
	while (octets > 0) {
		size_t count = octets < in_max ? octets : in_max, put = 0;
		size_t used =
			wire_convert(&converter, in, count, out.octets + out.count, out_max, &put);

		FUZZ_CHECK(used <= count && put <= out_max && used > 0);
		out.count += put;
		in += used;
		octets -= used;
	}
	for (const char *end = wire_convert_end(&converter); *end; end++)
		out.octets[out.count++] = *end;
	*ret_size = converter.octets;
	return out;
}

static uint64_t count_only(const char *in, size_t octets)
{
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	size_t put;

	FUZZ_CHECK(wire_convert(&converter, in, octets, NULL, 0, &put) == octets);
	(void)wire_convert_end(&converter);
	return converter.octets;
}

/* Returns how many octets of the message TOP sends: the headers, the blank line and `lines` lines.
 */
static size_t cut_plainly(const uint8_t *in, size_t octets, uint64_t lines)
{
	size_t start = 0;
	bool in_body = false;

	for (size_t i = 0; i < octets; i++) {
		bool is_blank = i == start || (i == start + 1 && in[start] == '\r');

		if (in_body && lines == 0)
			return start;
		if (in[i] != '\n')
			continue;
		if (in_body)
			lines--;
		in_body |= is_blank;
		start = i + 1;
	}
	return in_body && lines == 0 ? start : octets;
}

static size_t cut_in_pieces(const char *in, size_t octets, size_t in_max, uint64_t lines)
{
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	size_t sent = 0;

	converter.lines_left = lines;
	while (sent < octets && !converter.is_done) {
		size_t count = octets - sent < in_max ? octets - sent : in_max, put;
		size_t used = wire_convert(&converter, in + sent, count, NULL, 0, &put);

		FUZZ_CHECK(used <= count);
		sent += used;
		if (used < count)
			break;
	}
	return sent;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	size_t in_max, out_max;
	uint64_t lines, expected, size;
	struct text plain, pieces;
	char *copy;

	if (octets < 3)
		return 0;
	in_max = 1 + data[0] % PIECE_OCTETS_MAX;
	out_max = WIRE_STEP_OCTETS + data[1] % PIECE_OCTETS_MAX;
	lines = data[2] % 4;
	data += 3;
	octets -= 3;
	copy = fuzz_string(data, octets);
	plain = convert_plainly(data, octets, &expected);
	pieces = convert_in_pieces(copy, octets, in_max, out_max, &size);
	FUZZ_CHECK(pieces.count == plain.count);
	FUZZ_CHECK(memcmp(pieces.octets, plain.octets, plain.count) == 0);
	FUZZ_CHECK(size == expected);
	FUZZ_CHECK(count_only(copy, octets) == expected);
	FUZZ_CHECK(cut_in_pieces(copy, octets, in_max, lines) == cut_plainly(data, octets, lines));
	free(copy);
	free(plain.octets);
	free(pieces.octets);
	return 0;
}
