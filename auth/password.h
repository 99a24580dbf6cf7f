/* SPDX-License-Identifier: ISC
 * Passwords as the passwd-file has them. */
#pragma once

#include <stdbool.h>

/* Finds what follows the scheme: a hash, or the password itself. NULL: an unknown scheme. */
const char *password_skip_scheme(const char *field, bool *ret_is_plain);

bool password_is_crypt_string(const char *text);

/* Compares all of `typed`, wherever the first difference is. */
bool password_is_equal(const char *secret, const char *typed);

/* Whether crypt(3) makes `hash` of the password. Returns 1, 0 or -ENOMEM. */
int password_matches_hash(const char *hash, const char *password);
