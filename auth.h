/* SPDX-License-Identifier: ISC
 * Accounts from a passwd-file, and the check of a password. The format is the one that Dovecot
 * and Exim share, one account a line:
 *
 *     user:{SCHEME}password:uid:gid:gecos:home:shell:extra
 *
 * Fields at the end may be left out. pop3-handler.conf(5) has the schemes and fields. */
#pragma once

#include "lib/file-stamp.h"

#include <stdbool.h>

struct peer;
struct settings;

#define AUTH_REASON_OCTETS 128 /* of a text for the log, with its NUL */

struct account {
	char *user;	/* as the passwd-file has it, which may not be as it was typed */
	char *password; /* the whole field behind it, a secret: kept to see it change */
	char *mailbox;	/* the path */
	bool is_read_only;
	struct file_stamp users; /* of the passwd-file; all 0: a change might not show */
};

/* What an administrator should hear about, whatever the outcome. */
struct auth_report {
	unsigned line_number;	  /* that is being read */
	unsigned malformed_lines; /* skipped */
	unsigned malformed_line;  /* the number of the first of them */
	bool has_wide_template;	  /* of auth_find_roots(): its root is `/` */
	char user[256];		  /* the name of the line that was found, cut; "": none was */
	char refusal[AUTH_REASON_OCTETS]; /* why -EKEYREJECTED, for the log only */
};

/* Checks a password against the passwd-file and makes the account of a peer, which the caller
 * frees. A failure takes as long for an unknown user as for a known one. NULL: a certificate stands
 * for the password; an account whose password is empty still lets nobody in. Returns 0, or
 *   -EKEYREJECTED  no such user, wrong or empty password, no login allowed, a bad name
 *   -ENXIO         the password is right, but the account has no usable mailbox path
 *   -ENOMEM        or what open(2) and read(2) say of the passwd-file */
int auth_login(const struct settings *settings, const struct peer *peer, const char *user,
	       const char *password, struct account **ret, struct auth_report *ret_report);

/* Checks that an account has the password, mailbox and rights of its login; reads the passwd-file
 * only if that has changed. Returns 0, -EKEYREJECTED if it has not, or as auth_login(). */
int auth_check_again(const struct settings *settings, const struct peer *peer,
		     struct account *account, struct auth_report *ret_report);

/* For --check-config: what is wrong with a line. */
typedef void auth_finding_handler(void *context, unsigned line, bool is_mistake, const char *text);

/* Says what is wrong with a mailbox. NULL: nothing. */
typedef const char *auth_mailbox_test(const char *path, bool is_read_only);

/* Checks the passwd-file, if there is one, and its mailboxes. Returns 0, or as auth_login(). */
int auth_check_file(const struct settings *settings, auth_mailbox_test *test_mailbox,
		    auth_finding_handler *handle, void *context);

/* Finds the directories that all mailboxes are in: those of `mail-root`, else of `mailbox` and the
 * passwd-file. `/` is left out, and so is what is relative in the passwd-file: such lines count as
 * malformed. Returns 0, the handler's failure, or one of auth_login(). */
typedef int auth_root_handler(void *context, const char *path);
int auth_find_roots(const struct settings *settings, auth_root_handler *handle, void *context,
		    struct auth_report *ret_report);

/* Wipes and frees it. Takes NULL. */
void auth_free(struct account *account);
