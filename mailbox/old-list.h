/* SPDX-License-Identifier: ISC
 * Parses the lists in which other POP3 servers keep their unique-ids: dovecot-uidlist of Dovecot 1
 * to 2.4, and courierpop3dsizelist of Courier. Pure functions. */
#pragma once

#include "lib/uidl-source.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A message as the other server knew it. The strings point into the list's text. */
struct old_entry {
	const char *name; /* of the message file, perhaps with flags */
	const char *id;	  /* Dovecot's P, a stored unique-id; "": `name` is the id; NULL: none */
	const char *guid; /* Dovecot's G; NULL: none */
	uint64_t uid, validity;
	uint64_t order, suborder; /* see old_list_compare() */
	uint64_t octets;	  /* with CRLF line ends; UINT64_MAX: not known */
	size_t index;		  /* of the message: the caller sets it */
};

/* Parses a list in place: writes NULs into its text. The caller frees *ret. Returns the number of
 * entries, -ENOMEM, or -EBADMSG: the list is damaged at line *ret_line. */
ssize_t old_list_parse(enum uidl_server server, char *text, size_t octets, struct old_entry **ret,
		       unsigned *ret_line);

/* For qsort(3): the order in which the other server listed messages. */
int old_list_compare(const void *left, const void *right);

/* Makes the unique-id that the other server showed, in at most `capacity` octets. `header` is the
 * message's X-UIDL, or NULL. Returns the number of octets, -ENOENT (the message had no unique-id),
 * or -ENAMETOOLONG. The caller checks that the octets are valid in a unique-id. */
ssize_t old_list_make_id(const struct uidl_source *source, const struct old_entry *entry,
			 const char *header, char *ret, size_t capacity);

/* Finds the letter that stands for a keyword in file names. `text` is that of dovecot-keywords, and
 * is parsed in place. Returns the letter, 0 (none), or -EBADMSG. */
int old_list_find_keyword(char *text, size_t octets, const char *keyword);
