/* SPDX-License-Identifier: ISC
 * Passwords as the passwd-file has them: all schemes of `doveadm pw -l`, but for one-time use. */
#pragma once

/* Checks a password against the password field of a user. Returns 1, or with a reason of
 * AUTH_REASON_OCTETS for the log:
 *   0          it is another one
 *   -ENODATA   the field is empty
 *   -EACCES    the field is locked, with "!" or "*"
 *   -EINVAL    it can never accept one: the scheme is unknown, the hash malformed or too costly
 *   -ENOMEM
 * NULL: whether it could accept one. Returns 1 if a check takes noticeably long, 0, or one of
 * these. */
int password_check(const char *field, const char *user, const char *typed, char *ret_reason);
