/* SPDX-License-Identifier: ISC
 * Accounts from a passwd-file, and the check of a password. The format is the one that Dovecot
 * and Exim share, one account a line:
 *
 *     user:{SCHEME}password:uid:gid:gecos:home:shell:extra
 *
 * Fields at the end may be left out. Words of `extra`, between blanks, are
 * userdb_mail=[maildir:]PATH (a template like the setting `mailbox`), read-only=yes, nologin. */
#pragma once

#include "lib/file-stamp.h"

#include <stdbool.h>

struct account {
	char *user;
	char *mailbox; /* the path */
	bool is_read_only;
	char *password; /* the whole field of the passwd-file, a secret: kept to see it change */
	struct file_stamp users; /* of the passwd-file; all 0: a change might not show */
};

/* What an administrator should hear about, whatever the outcome. */
struct auth_report {
	unsigned malformed_lines; /* skipped */
	unsigned malformed_line;  /* the number of the first of them */
	bool has_wide_template;	  /* of auth_find_roots(): every path is below its root */
	const char *refusal;	  /* why -EKEYREJECTED, for the log only; a string constant */
};

/* Checks a password against the passwd-file `users` (NULL: nobody is in it) and makes the account,
 * which the caller frees; its mailbox is from `template` unless the passwd-file has one. A failure
 * takes as long for an unknown user as for a known one. Returns 0, or
 *   -EKEYREJECTED  no such user, wrong or empty password, no login allowed, a bad name
 *   -ENXIO         the password is right, but the account has no usable mailbox path
 *   -ENOMEM        or what open(2) and read(2) say of the passwd-file */
int auth_login(const char *users, const char *template, const char *user, const char *password,
	       struct account **ret, struct auth_report *ret_report);

/* The same without a password. An account whose password is empty still lets nobody in. */
int auth_find(const char *users, const char *template, const char *user, struct account **ret,
	      struct auth_report *ret_report);

/* Checks that an account has the password, mailbox and rights of its login; reads the passwd-file
 * only if that has changed. Returns 0, -EKEYREJECTED if it has not, or as auth_login(). */
int auth_check_again(const char *users, const char *template, struct account *account,
		     struct auth_report *ret_report);

/* Reads all of the passwd-file (NULL: none), for --check-config. Returns 0, or as auth_login(). */
int auth_check_file(const char *users, struct auth_report *ret_report);

/* Finds the directories below which all mailboxes are, some more than once. `/` is left out, and so
 * is what is relative in the passwd-file: such lines count as malformed, like those that are too
 * long. Returns 0, what the handler returned if that ended it (< 0), or as auth_login(). */
typedef int auth_root_handler(void *context, const char *path);
int auth_find_roots(const char *users, const char *template, auth_root_handler *handle,
		    void *context, struct auth_report *ret_report);

/* Wipes and frees it. Takes NULL. */
void auth_free(struct account *account);
