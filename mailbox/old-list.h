/* SPDX-License-Identifier: ISC
 * The lists in which other POP3 servers keep their unique-ids: dovecot-uidlist of Dovecot 1 to 2.4,
 * courierpop3dsizelist of Courier. Functions of texts and names, without input or output. */
#pragma once

#include "lib/uidl-source.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A message as the other server knew it. Texts are borrowed from the list. */
struct old_entry {
	const char *name; /* of its file, perhaps with flags */
	const char *id;	  /* its unique-id, if that was kept (Dovecot's P); else NULL */
	const char *guid; /* Dovecot's G; NULL: none */
	uint64_t uid, validity;
	uint64_t order, suborder; /* see old_list_compare() */
	uint64_t octets;	  /* with CRLF line ends; UINT64_MAX: not known */
	size_t index;		  /* for the caller: of the message */
};

/* Reads a list, in which NULs then end the texts. The caller frees *ret. Returns how many entries
 * there are, -ENOMEM, or -EBADMSG: the list is damaged, and ret_line says where. */
ssize_t old_list_parse(enum uidl_server server, char *text, size_t octets, struct old_entry **ret,
		       unsigned *ret_line);

/* For qsort(3): the order in which the server listed messages. */
int old_list_compare(const void *left, const void *right);

/* Makes the unique-id that the server showed, of at most `capacity` octets; `header` is what the
 * message has as X-UIDL, or NULL. Returns the octets, which may be unfit to be served, -ENOENT (it
 * had none), or -ENAMETOOLONG. */
ssize_t old_list_make_id(const struct uidl_source *source, const struct old_entry *entry,
			 const char *header, char *ret, size_t capacity);

/* Finds the flag that stands for a keyword in names, in a list as dovecot-keywords. Returns it, 0:
 * none, or -EBADMSG. */
int old_list_find_keyword(char *text, size_t octets, const char *keyword);
