/* SPDX-License-Identifier: ISC
 * The passwd-file: its lines, and the search for a user. */
#pragma once

#include "lib/file-stamp.h"

#include <stddef.h>

struct auth_report;

#define PASSWD_BLANKS " \t" /* between the words of `extra` */

/* The fields of a line of the passwd-file, which they point into; "": left out. */
struct passwd_line {
	const char *user, *password, *home, *extra;
};

/* Reading the whole passwd-file for one user, and what has been found. */
struct passwd_search {
	const char *user;   /* NULL: nobody; */
	size_t user_octets; /* of it: comparing lengths first is a sixth of a login less */
	char *line;	    /* the user's line; NULL: not found */
	size_t line_octets;
	struct passwd_line entry; /* the user's; it points into `line` */
	struct file_stamp stamp;  /* see passwd_file_read() */
	char *decoy;		  /* a crypt(3) string that costs what a check of a password does */
};

/* Takes a line apart, in place. */
struct passwd_line passwd_line_parse(char *line);

/* The value of `name` or `name=value` in `extra`, up to the next blank; NULL: it is not there. */
const char *passwd_line_find_extra(const char *extra, const char *name);

/* Handles a line, and may write a NUL behind it (behind each, it is a tenth of a login among
 * 100,000 accounts). Returns 0, -EINVAL if it is no account, or what ends the reading. */
typedef int passwd_line_handler(void *context, char *line, size_t octets);

/* `stamp`: of the file, all 0 if a later change might not show. Returns 1 if it was that before,
 * and then reads nothing. */
int passwd_file_read(const char *users, passwd_line_handler *handle, void *context,
		     struct auth_report *report, struct file_stamp *stamp);

/* Searches all of the passwd-file (NULL: none) for a user. Returns as passwd_file_read(). */
int passwd_file_search(struct passwd_search *search, const char *users, const char *user,
		       struct auth_report *ret_report);

void passwd_search_end(struct passwd_search *search);

/* The scope of such a variable owns what has been found. */
#define auto_search __attribute__((cleanup(passwd_search_end)))
