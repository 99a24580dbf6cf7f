/* SPDX-License-Identifier: ISC
 * Accounts and the password check: by a passwd-file, PAM or a checkpassword program. With a keeper,
 * these functions run in a child that it can kill: they may block, fork and leak. */
#pragma once

#include "lib/digest.h"
#include "lib/file-stamp.h"

#include <limits.h>
#include <stdbool.h>

struct peer;
struct settings;

#define AUTH_USER_OCTETS 256   /* of a user name, including its NUL */
#define AUTH_REASON_OCTETS 128 /* of a text for the log, including its NUL */

/* Has no pointers, because processes send it to each other. */
struct account {
	char user[AUTH_USER_OCTETS]; /* as the backend spells it; a client may spell it otherwise */
	char mailbox[PATH_MAX];
	bool is_read_only;
	uid_t uid; /* with a keeper: the ids that the session takes on */
	gid_t gid;
	unsigned backend;		     /* index of the `auth` entry that knows the user */
	unsigned char digest[DIGEST_OCTETS]; /* keyed, of what the login was checked against */
	struct file_stamp users; /* of the only passwd-file; all 0: read it at each check */
};

/* What the log says about a call, whether it succeeds or fails. */
struct auth_report {
	unsigned line_number;		 /* of the line being read */
	unsigned malformed_lines;	 /* the number of lines skipped */
	unsigned malformed_line;	 /* line number of the first of these */
	char file[2 * AUTH_USER_OCTETS]; /* the file of that line, or the last one; truncated */
	bool has_wide_root;		 /* auth_find_roots(): a root in the settings is `/` */
	int skip_error; /* auth_find_roots(): of the first file that cannot be read; 0: none */
	char skipped[2 * AUTH_USER_OCTETS]; /* that file; truncated */
	char user[AUTH_USER_OCTETS];	    /* the user found, as the backend spells it; "": none */
	char refusal[AUTH_REASON_OCTETS];   /* why the call failed; "": the errno says it */
};

/* Loads the backends of `auth`, and makes the digest key, which processes forked later inherit.
 * Returns 0, or -EBADMSG after logging an error, for instance that a setting needs a keeper. */
int auth_prepare(const struct settings *settings);

/* Whether `auth` names this backend. */
bool auth_has_backend(const struct settings *settings, const char *name);

/* Checks a password and fills in the account: the first backend of `auth` that knows the user
 * decides. A passwd-file refuses an unknown user as slowly as a known one. Password NULL: a client
 * certificate has replaced it; an account with an empty password is still refused. Returns 0, or
 *   -EKEYREJECTED  unknown user, bad name, wrong or empty password, or login not allowed
 *   -ENXIO         the password is right, but there is no usable mailbox path, or no mail-user
 *   -EIO           PAM, NSS or a checkpassword program failed
 *   -ENOMEM        or an error of open(2) or read(2) on a passwd-file */
int auth_login(const struct settings *settings, const struct peer *peer, const char *user,
	       const char *password, struct account *ret, struct auth_report *ret_report);

/* Checks that the password, mailbox and rights of an account are still those of its login, as far
 * as the backend can tell. Reads a passwd-file only if it has changed. Returns 0, -EKEYREJECTED if
 * one of them differs, or as auth_login(). */
int auth_check_again(const struct settings *settings, const struct peer *peer,
		     struct account *account, struct auth_report *ret_report);

/* Finds an account for the administrator, even one that may not log in. `template` (NULL: none)
 * replaces the path template of its mailbox. Asks no checkpassword program, because that needs a
 * password. Returns as auth_login(). */
int auth_look_up(const struct settings *settings, const char *user, const char *template,
		 struct account *ret, struct auth_report *ret_report);

/* Calls `handle` with the name of each account in the passwd-files, until it fails. Returns 0, the
 * handler's error, or an error of auth_login(). */
typedef int auth_name_handler(void *context, const char *name);
int auth_for_each_name(const struct settings *settings, auth_name_handler *handle, void *context,
		       struct auth_report *ret_report);

/* For --report-account, which a checkpassword program runs after it has become the user: reports
 * the user and the home directory to the checker. Returns 0 or a negative errno. */
int auth_report_account(void);

/* Returns what is wrong with a mailbox; NULL: nothing. */
typedef const char *auth_mailbox_test(void *context, const struct account *account,
				      bool is_read_only);

/* For --check-config: logs mistakes in the passwd-files, and warnings about them and their
 * mailboxes. Returns whether there is no mistake. */
bool auth_check_files(const struct settings *settings, auth_mailbox_test *test_mailbox,
		      void *context);

/* Finds the directories that contain all mailboxes: those of `mail-root`; else those of `mailbox`
 * (%h: of the homes in NSS) and the passwd-files. Leaves out `/`. A line of a passwd-file with the
 * root `/` or a relative path counts as malformed. Returns as auth_for_each_name(). */
typedef int auth_root_handler(void *context, const char *path);
int auth_find_roots(const struct settings *settings, auth_root_handler *handle, void *context,
		    struct auth_report *ret_report);

/* Warns of passwd-files, checkpassword programs and settings files that a user other than root and
 * that of this process can write or replace. With --check-config also names files of domains that
 * cannot be read. Returns whether there is no mistake. */
bool auth_check_writers(const struct settings *settings, int argc, char *const argv[]);
