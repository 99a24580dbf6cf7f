/* SPDX-License-Identifier: ISC
 * Password fields of a passwd-file, of every scheme of `doveadm pw -l` except for one-time use. */
#pragma once

/* Checks a typed password against the password field of a user. Returns 1, or with a reason of
 * AUTH_REASON_OCTETS for the log:
 *   0          the password is wrong
 *   -ENODATA   the field is empty
 *   -EACCES    the field is locked, with "!" or "*"
 *   -EINVAL    no password can match: the scheme is unknown, the hash malformed or too costly
 *   -ENOMEM
 * Typed NULL: checks only the field. Returns 0, 1 if checking a password is costly, or an error. */
int password_check(const char *field, const char *user, const char *typed, char *ret_reason);
