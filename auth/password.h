/* SPDX-License-Identifier: ISC
 * Passwords as the passwd-file has them: all schemes of `doveadm pw -l`, but for one-time use. */
#pragma once

#include <stdbool.h>

/* Checks a password against the password field of a user; NULL: finds out only whether there is one
 * that it could accept. Returns 1, or with a reason of AUTH_REASON_OCTETS for the log:
 *   0          it is another one
 *   -ENODATA   the field is empty
 *   -EACCES    the field is locked, with "!" or "*"
 *   -EINVAL    it can never accept one: the scheme is unknown, the hash malformed or too costly
 *   -ENOMEM */
int password_check(const char *field, const char *user, const char *typed, char *ret_reason);

/* Whether that takes so long that a client can notice. */
bool password_is_costly(const char *field);
