/* SPDX-License-Identifier: ISC
 * What `unique-ids-from` says: the server that mailboxes are taken over from, and how it made
 * unique-ids. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum uidl_server {
	UIDL_DOVECOT,
	UIDL_COURIER,
	UIDL_QMAIL,
	UIDL_HEADERS, /* mailutils: the X-UIDL header alone */
};

struct uidl_source {
	enum uidl_server server;
	bool has_headers;   /* an X-UIDL header goes before the format, or is everything */
	const char *format; /* Dovecot's pop3_uidl_format, borrowed from the text; else NULL */
};

/* Reads `dovecot FORMAT`, `courier`, `qmail`, `x-uidl` or `x-uidl dovecot FORMAT`. Returns 0,
 * -ENOMEM, or -EINVAL: it is none of these, or two messages could have the same unique-id. */
int uidl_source_parse(const char *text, struct uidl_source *ret);

/* What a format is about. The file name is that before its flags; without a GUID it counts as one.
 */
struct uidl_values {
	uint32_t uid, validity;
	const char *name, *guid;
	size_t name_octets, guid_octets;
};

/* Expands a format of uidl_source_parse(). Returns how many octets it has put, without a NUL, or
 * -ENAMETOOLONG: there are more than `capacity`. */
ssize_t uidl_source_expand(const char *format, const struct uidl_values *values, char *ret,
			   size_t capacity);
