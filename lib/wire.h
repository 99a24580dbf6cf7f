/* SPDX-License-Identifier: ISC
 * Pure functions on the octets of the protocol: no state but the caller's, no input or output. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WIRE_UNIQUE_ID_MAX 70	 /* octets (RFC 1939 section 7, UIDL) */
#define WIRE_IMPORTED_ID_MAX 480 /* of another server: fits into `TOP UID:... 4294967295` */
#define WIRE_STEP_OCTETS 3	 /* the most that wire_convert() needs at once */
#define WIRE_NUMBER_OCTETS_MAX 20

/* Reads a decimal number of digits only: no sign, no blanks, nothing after it. Returns 0, or
 *   -EINVAL  `text` is empty or holds something other than digits
 *   -ERANGE  the number is larger than `max` */
int wire_parse_number(const char *text, uint64_t max, uint64_t *ret_number);

/* Whether these are 1 to `max` octets from '!' to '~', as in a unique-id (RFC 1939 section 7). */
bool wire_is_printable(const char *text, size_t octets, size_t max);

/* Writes a number in decimal digits, without a NUL. Returns how many octets it has put there. */
size_t wire_put_number(uint64_t number, char ret_digits[WIRE_NUMBER_OCTETS_MAX]);

/* Decodes base64 (RFC 4648 section 4), all of `text` and padded, in place. Returns how many octets,
 * which a NUL follows, or -EINVAL. */
ssize_t wire_decode_base64(char *text);

/* The parts of a PLAIN message (RFC 4616), as strings in it. */
struct wire_plain {
	const char *authorization; /* whose mailbox; "": the user's own */
	const char *user;
	const char *password;
};

/* Takes apart a message that a NUL follows. Returns 0, or -EINVAL: it has not three parts. */
int wire_parse_plain(const char *message, size_t octets, struct wire_plain *ret_plain);

/* A message on its way from a file, with LF or CRLF, to the wire: there lines end in CRLF, and one
 * that begins with "." has another before it (RFC 1939 section 3). A CR without LF stays. */
struct wire_converter {
	uint64_t octets; /* converted so far, as RETR's size counts them: without the stuffing */
	char last;	 /* the last octet read; LF before the first one */
	bool is_in_body;
	bool is_done;	      /* everything that is to be sent has been read */
	uint64_t lines_left;  /* of the body, still to come: TOP sets it (RFC 1939 section 7) */
	uint64_t line_octets; /* read of a line, without LF */
};

#define WIRE_CONVERTER_INIT ((struct wire_converter){ .last = '\n', .lines_left = UINT64_MAX })

/* Converts octets of a file until `in` is used up, the converter is done, or `out` has less space
 * than WIRE_STEP_OCTETS; if `out` is NULL, only counts. Returns how many octets it used, and in
 * ret_put how many it put. */
size_t wire_convert(struct wire_converter *converter, const char *in, size_t in_octets, char *out,
		    size_t out_octets, size_t *ret_put);

/* Ends a last line that has no line end, and counts it. Returns what is to be sent: CRLF or "". */
const char *wire_convert_end(struct wire_converter *converter);
