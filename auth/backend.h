/* SPDX-License-Identifier: ISC
 * The interface of the backends (the kinds of `auth`), and what they share. */
#pragma once

#include "auth.h"

#include <stdio.h>

/* A login, a later check of its account, or an administrator's look-up. */
struct auth_attempt {
	const struct settings *settings;
	const struct peer *peer;
	const char *argument; /* what follows the backend's name in `auth`; "": nothing */
	/* A backend that needs a keeper gets no bad name, and no empty password. */
	const char *user;
	const char *password; /* NULL: not checked */
	enum { AUTH_LOGIN, AUTH_AGAIN, AUTH_LOOK_UP } purpose;
	struct account *account; /* to be filled in; `users` is from the last check */
	struct auth_report *report;
	const char *template; /* replaces the template of the mailbox; NULL: none */
};

/* Fills in the account. Returns 0, 1 if it sees no change since the login, or with `refusal` set
 *   -ENOKEY        this backend does not know the user: the next one is asked
 *   -EKEYREJECTED  or another error of auth_login(): no other backend is asked */
typedef int auth_backend(struct auth_attempt *attempt);
auth_backend passwd_file_check, nss_check, checkpassword_check;

/* Load what a backend needs. Return 0, or -EBADMSG after logging an error. */
int nss_prepare(const char *argument);
int checkpassword_prepare(const char *argument);

/* Whether a name is empty, too long, or could escape its path component or forge a log line. */
bool backend_is_bad_name(const char *user);

/* Stores why an attempt fails, for the log only. The value of the macro is `error`. */
#define auth_fail(report, error, ...) \
	((void)snprintf((report)->refusal, AUTH_REASON_OCTETS, __VA_ARGS__), (error))

/* Sets the account's uid and gid. Returns 0, or -EKEYREJECTED if these may not log in. */
int backend_set_ids(struct auth_attempt *attempt, uid_t uid, gid_t gid);

/* Sets the account's ids to those of mail-user. Returns as backend_set_ids(), -ENXIO if there is no
 * such user, or -EIO if NSS fails. */
int backend_use_mail_user(struct auth_attempt *attempt);

/* Sets the path of the mailbox; template NULL: that of the settings. Returns 0, -ENXIO (no usable
 * path), -EKEYREJECTED (a bad user name) or -ENOMEM. */
int backend_set_mailbox(struct auth_attempt *attempt, const char *template, const char *home);

/* Sets the digest of the account and of the secret (two texts) that it was checked against. */
void backend_make_digest(struct account *account, const char *secret, const char *more);

/* Makes the digest key, unless it exists. Returns 0 or a negative errno. */
int backend_make_key(void);

/* In the PAM module: checks a password for a PAM service (NULL: only that the account is still
 * valid). Returns 0, or -EKEYREJECTED or -EIO with a reason of AUTH_REASON_OCTETS. */
typedef int pam_checker(const char *service, const char *user, const char *password,
			const char *address, char *ret_reason);
#define PAM_CHECKER "pam_check_user"
