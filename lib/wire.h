/* SPDX-License-Identifier: ISC
 * Pure functions on the octets of the protocol. The caller keeps all state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define WIRE_UNIQUE_ID_MAX 70	 /* octets (RFC 1939 section 7, UIDL) */
#define WIRE_IMPORTED_ID_MAX 480 /* so that `TOP UID:... 4294967295` fits into a line */
#define WIRE_STEP_OCTETS 3	 /* the space that one step of wire_convert() needs */
#define WIRE_NUMBER_OCTETS_MAX 20

/* Parses a decimal number, with digits only. Returns 0, or
 *   -EINVAL  `text` is empty or has another octet than a digit
 *   -ERANGE  the number is larger than `max` */
int wire_parse_number(const char *text, uint64_t max, uint64_t *ret_number);

/* Whether a text is 1 to `max` octets from '!' to '~', as in a unique-id (RFC 1939 section 7). */
bool wire_is_printable(const char *text, size_t octets, size_t max);

/* Writes a number in decimal digits, without a NUL. Returns the number of octets. */
size_t wire_put_number(uint64_t number, char ret_digits[WIRE_NUMBER_OCTETS_MAX]);

/* Decodes all of `text` in place, as padded base64 (RFC 4648 section 4), and adds a NUL. Returns
 * the number of octets before the NUL, or -EINVAL. */
ssize_t wire_decode_base64(char *text);

/* The parts of a PLAIN message (RFC 4616), as strings in it. */
struct wire_plain {
	const char *authorization; /* whose mailbox; "": the user's own */
	const char *user;
	const char *password;
};

/* Splits a message that a NUL follows. Returns 0, or -EINVAL: not three parts, or an empty user. */
int wire_parse_plain(const char *message, size_t octets, struct wire_plain *ret_plain);

/* Converts a message from a file, with LF or CRLF, to the wire: each line ends in CRLF, and a line
 * that begins with "." gets another "." before it (RFC 1939 section 3). A CR without LF stays. */
struct wire_converter {
	uint64_t octets; /* converted so far, as RETR's size counts them: without dot-stuffing */
	char last;	 /* the last octet read; LF before the first one */
	bool is_in_body;
	bool is_done;	      /* TOP has read its last line */
	uint64_t lines_left;  /* of the body, not sent yet; TOP sets it (RFC 1939 section 7) */
	uint64_t line_octets; /* read of the current line, without LF */
};

#define WIRE_CONVERTER_INIT ((struct wire_converter){ .last = '\n', .lines_left = UINT64_MAX })

/* Converts octets of a file until `in` is used up, the converter is done, or `out` has less space
 * than WIRE_STEP_OCTETS; if `out` is NULL, only counts. Returns how many octets of `in` it used,
 * and in *ret_put how many it wrote. */
size_t wire_convert(struct wire_converter *converter, const char *in, size_t in_octets, char *out,
		    size_t out_octets, size_t *ret_put);

/* Counts the line end that the last line may lack. Returns the octets to send: CRLF or "". */
const char *wire_convert_end(struct wire_converter *converter);
