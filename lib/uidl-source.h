/* SPDX-License-Identifier: ISC
 * The setting `unique-ids-from`: the server that mailboxes are taken over from, and how that server
 * made unique-ids. Pure functions. */
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
	bool has_headers;   /* an X-UIDL header takes precedence over the format, if any */
	const char *format; /* Dovecot's pop3_uidl_format, borrowed from the text; else NULL */
};

/* Parses `dovecot FORMAT`, `courier`, `qmail`, `x-uidl` or `x-uidl dovecot FORMAT`. Returns 0,
 * -ENOMEM, or -EINVAL: the text is malformed, or two messages could get the same unique-id. */
int uidl_source_parse(const char *text, struct uidl_source *ret);

/* The values of a format's variables. `name` is the file name without flags. If there is no GUID,
 * `guid` is the name, too. */
struct uidl_values {
	uint32_t uid, validity;
	const char *name, *guid;
	size_t name_octets, guid_octets;
};

/* Expands a format of uidl_source_parse(), without a NUL. Returns the number of octets, or
 * -ENAMETOOLONG: there are more than `capacity`. */
ssize_t uidl_source_expand(const char *format, const struct uidl_values *values, char *ret,
			   size_t capacity);
