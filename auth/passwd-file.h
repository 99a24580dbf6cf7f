/* SPDX-License-Identifier: ISC
 * The passwd-file: its lines, and the search for a user. */
#pragma once

#include "auth.h"
#include "lib/file-stamp.h"

#include <stddef.h>

/* The fields of a line of the passwd-file, which they point into; "": left out. */
struct passwd_line {
	char *user, *password; /* the line begins with the user */
	const char *uid, *gid, *home, *extra;
};

/* A word NAME[=VALUE] of `extra`, in it. */
struct passwd_field {
	const char *name; /* without "userdb_", and without what may follow after ":" */
	size_t name_octets;
	const char *value; /* "": none */
	size_t value_octets;
};

/* Reading all passwd-files for one user, and what has been found. */
struct passwd_search {
	char *name; /* of the user, with the default domain; "": a bad one */
	/* Of the name as given, with the default domain, and in a domain's file without any. */
	size_t name_octets[3];
	char domain[AUTH_USER_OCTETS]; /* that of the name, with its "@", in lower case; or "" */
	unsigned rank;		  /* of the line; the larger, the better the name fits; 0: none */
	struct passwd_line entry; /* the user's, which it owns; all NULL: not found */
	bool lacks_domain;	  /* its name, as it is in a domain's file */
	struct file_stamp stamp;  /* of the only file; all 0: a later change might not show */
	char cheap_scheme[32];	  /* the last one that makes no decoy */
	char *decoy;		  /* a password field that costs what a check of a password does */
};

/* Takes a line apart, in place, and writes a NUL behind it. */
struct passwd_line passwd_line_parse(char *line, size_t octets);

/* Takes the next field off `extra`. */
bool passwd_next_field(const char **extra, struct passwd_field *ret);

/* Whether its name is in a list for util_is_listed(). */
#define passwd_field_is(field, names) util_is_listed((names), (field)->name, (field)->name_octets)

/* A name that could leave its component of a path, or forge a line of a log. */
bool passwd_is_bad_name(const char *user);

/* Handles a line (NULL: too long, or with a NUL), and may write a NUL behind it (behind each, it is
 * a tenth of a login among 100,000 accounts). Returns 0, -EINVAL: no account, or what ends it. */
typedef int passwd_line_handler(void *context, char *line, size_t octets);

/* Reads all passwd-files, but those of domains. Returns 0, or what ended it. */
int passwd_file_read_all(const struct settings *settings, passwd_line_handler *handle,
			 void *context, struct auth_report *report);

/* Searches the passwd-files for a user, as if they were one. Returns 0, what ended it, or 1: there
 * is one, which has not changed since `stamp` was taken, and is not read. */
int passwd_file_search(struct passwd_search *search, const struct settings *settings,
		       const char *user, struct auth_report *report);

void passwd_search_end(struct passwd_search *search);

/* The scope of such a variable owns what has been found. */
#define auto_search __attribute__((cleanup(passwd_search_end)))
