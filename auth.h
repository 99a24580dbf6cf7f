/* SPDX-License-Identifier: ISC
 * Accounts, and the check of a password: by a passwd-file, PAM or a program. With a keeper these
 * calls are made in a process that it can kill: they may wait, fork and leak. */
#pragma once

#include "lib/digest.h"
#include "lib/file-stamp.h"

#include <limits.h>
#include <stdbool.h>

struct peer;
struct settings;

#define AUTH_USER_OCTETS 256   /* of a name, with its NUL */
#define AUTH_REASON_OCTETS 128 /* of a text for the log, with its NUL */

/* It has no pointers: processes send it to each other. */
struct account {
	char user[AUTH_USER_OCTETS]; /* as the backend has it, which may not be as it was typed */
	char mailbox[PATH_MAX];
	bool is_read_only;
	uid_t uid; /* with a keeper: whom the session becomes */
	gid_t gid;
	unsigned backend;		     /* which of `auth` knows it */
	unsigned char digest[DIGEST_OCTETS]; /* keyed, of what the login was checked against */
	struct file_stamp users; /* of the passwd-file; all 0: a change might not show */
};

/* What an administrator should hear about, whatever the outcome. */
struct auth_report {
	unsigned line_number;		  /* that is being read */
	unsigned malformed_lines;	  /* skipped */
	unsigned malformed_line;	  /* the number of the first of them */
	char file[2 * AUTH_USER_OCTETS];  /* with that line, or the last one read, cut */
	bool has_wide_template;		  /* of auth_find_roots(): its root is `/` */
	char user[AUTH_USER_OCTETS];	  /* that was found, as the backend has it; "": none was */
	char refusal[AUTH_REASON_OCTETS]; /* why it failed, for the log only; "": the error says */
};

/* Loads what `auth` needs, and makes the key of digests, which processes that are forked later
 * have. Returns 0, or -EBADMSG after an error in the log: also if that needs a keeper, and there is
 * none. */
int auth_prepare(const struct settings *settings);

/* Whether one of `auth` is of this kind. */
bool auth_has_backend(const struct settings *settings, const char *name);

/* Checks a password and makes the account of a peer: the first of `auth` that knows the user
 * decides. A failure takes as long for a user whom no passwd-file has as for another. NULL: a
 * certificate stands for the password; an account whose password is empty still lets nobody in.
 * Returns 0, or
 *   -EKEYREJECTED  no such user, wrong or empty password, no login allowed, a bad name
 *   -ENXIO         the password is right, but the account has no usable mailbox path, or no user
 *   -EIO           PAM, NSS or a program failed
 *   -ENOMEM        or what open(2) and read(2) say of a passwd-file */
int auth_login(const struct settings *settings, const struct peer *peer, const char *user,
	       const char *password, struct account *ret, struct auth_report *ret_report);

/* Checks that an account has the password, mailbox and rights of its login, as far as its backend
 * can know; reads a passwd-file only if that has changed. Returns 0, -EKEYREJECTED if it has not,
 * or as auth_login(). */
int auth_check_again(const struct settings *settings, const struct peer *peer,
		     struct account *account, struct auth_report *ret_report);

/* Finds an account for the administrator, whether it may log in or not. Its mailbox is another
 * directory of it, if `template` is not NULL. No checkpassword program can be asked. Returns as
 * auth_login(). */
int auth_look_up(const struct settings *settings, const char *user, const char *template,
		 struct account *ret, struct auth_report *ret_report);

/* Handles the name of each account of the passwd-files. Returns 0, the handler's failure, or one of
 * auth_login(). */
typedef int auth_name_handler(void *context, const char *name);
int auth_for_each_name(const struct settings *settings, auth_name_handler *handle, void *context,
		       struct auth_report *ret_report);

/* What the program that a checkpassword program starts is for: tells the checker who it has become.
 * Returns 0 or a negative errno. */
int auth_report_account(void);

/* Says what is wrong with a mailbox. NULL: nothing. */
typedef const char *auth_mailbox_test(const struct account *account, bool is_read_only);

/* For --check-config: logs what is wrong with passwd-files, and with their mailboxes. Returns
 * whether there is no mistake. */
bool auth_check_files(const struct settings *settings, auth_mailbox_test *test_mailbox);

/* Finds the directories that all mailboxes are in: those of `mail-root`, else of `mailbox` and the
 * passwd-files. `/` is left out, and so is what is relative in a passwd-file: such lines count as
 * malformed. Returns 0, the handler's failure, or one of auth_login(). */
typedef int auth_root_handler(void *context, const char *path);
int auth_find_roots(const struct settings *settings, auth_root_handler *handle, void *context,
		    struct auth_report *ret_report);
