/* SPDX-License-Identifier: ISC
 *
 * SHA-256. */
#pragma once

#include <stddef.h>

#define DIGEST_OCTETS 32
#define DIGEST_HEX_OCTETS 64

/* The digest of some octets. */
void digest_make(const void *octets, size_t count, unsigned char ret_digest[DIGEST_OCTETS]);

/* The same in lower-case hexadecimal, ended by a NUL. */
void digest_make_hex(const void *octets, size_t count, char ret_hex[DIGEST_HEX_OCTETS + 1]);

/* Puts into `seal_field`, which stands among these octets, the digest of them with 0 in that
 * seal_field: so they vouch for themselves. */
void digest_seal(void *octets, size_t count, unsigned char seal_field[DIGEST_OCTETS]);

/* Whether that is what digest_seal() has put there. Returns 0, or -EBADMSG if not. */
int digest_check_seal(void *octets, size_t count, unsigned char seal_field[DIGEST_OCTETS]);
