/* SPDX-License-Identifier: ISC
 *
 * SHA-256 (FIPS 180-4), as GnuTLS computes it. */
#pragma once

#include <stddef.h>

/* The digest of some octets in lower-case hexadecimal, with a NUL. Returns 0, or -EIO if the
 * library fails (it has no reason to). */
#define DIGEST_HEX_OCTETS 64
int digest_hex(const void *octets, size_t count, char ret_hex[DIGEST_HEX_OCTETS + 1]);
