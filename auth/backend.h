/* SPDX-License-Identifier: ISC
 * What the kinds of `auth`, the backends, have in common. */
#pragma once

#include "auth.h"

#include <stdio.h>

/* A login, the check of an account again, or an administrator's look-up. */
struct auth_attempt {
	const struct settings *settings;
	const struct peer *peer;
	const char *argument; /* what the setting has behind the backend's name; "": nothing */
	const char *user;     /* no bad name, unless the backend needs no keeper */
	const char *password; /* NULL: none is checked; likewise not empty */
	/* For a look-up it does not matter whether the account may log in. */
	enum { AUTH_LOGIN, AUTH_AGAIN, AUTH_LOOK_UP } purpose;
	struct account *account; /* to be made; `users` is that of the account before */
	struct auth_report *report;
	const char *template; /* of a directory that is taken for the mailbox; NULL: none */
};

/* Makes the account of an attempt. Returns 0, 1 if it cannot have changed, or with `refusal` set
 *   -ENOKEY        this backend does not know the user
 *   -EKEYREJECTED  and the others of auth_login(): it does, and no other backend is asked */
typedef int auth_backend(struct auth_attempt *attempt);
auth_backend passwd_file_check, nss_check, checkpassword_check;

/* Get a backend ready. Return 0, or -EBADMSG after an error in the log. */
int nss_prepare(const char *argument);
int checkpassword_prepare(const char *argument);

/* A name that could leave its component of a path, or forge a line of a log. */
bool backend_is_bad_name(const char *user);

/* Notes why an attempt fails, for the log alone. */
#define auth_fail(report, error, ...) \
	((void)snprintf((report)->refusal, AUTH_REASON_OCTETS, __VA_ARGS__), (error))

/* Sets the account's user and group. Returns 0, or -EKEYREJECTED: they may not log in. */
int backend_set_ids(struct auth_attempt *attempt, uid_t uid, gid_t gid);

/* Makes the account mail-user's. Returns as backend_set_ids(), -ENXIO: there is no such user, or
 * -EIO. */
int backend_use_mail_user(struct auth_attempt *attempt);

/* Sets where the mailbox is; template NULL: as the settings say. Returns 0, -ENXIO, -EKEYREJECTED
 * or -ENOMEM. */
int backend_set_mailbox(struct auth_attempt *attempt, const char *template, const char *home);

/* Makes the account's digest, also of the secret (two texts) that it was checked against. */
void backend_make_digest(struct account *account, const char *secret, const char *more);

/* Makes the key of digests, unless there is one. Returns 0, or as getentropy(3). */
int backend_make_key(void);

/* PAM, in its module: lets a service check a password (NULL: only whether the account is still
 * good). Returns 0, -EKEYREJECTED or -EIO, with a reason of AUTH_REASON_OCTETS. */
typedef int pam_checker(const char *service, const char *user, const char *password,
			const char *address, char *ret_reason);
#define PAM_CHECKER "pam_check_user"
