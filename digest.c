/* SPDX-License-Identifier: ISC
 *
 * SHA-256, as GnuTLS computes it. */
#include "digest.h"

#include <errno.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

/* The library initialises itself when it is loaded, unless the program says this: most sessions
 * need nothing of it. */
GNUTLS_SKIP_GLOBAL_INIT

int digest_make(const void *octets, size_t count, unsigned char ret_digest[DIGEST_OCTETS])
{
	if (gnutls_global_init() < 0) /* does something the first time only */
		return -EIO;
	return gnutls_hash_fast(GNUTLS_DIG_SHA256, octets, count, ret_digest) < 0 ? -EIO : 0;
}

int digest_make_hex(const void *octets, size_t count, char ret_hex[DIGEST_HEX_OCTETS + 1])
{
	unsigned char digest[DIGEST_OCTETS];
	int r = digest_make(octets, count, digest);

	for (size_t i = 0; i < sizeof(digest) && r == 0; i++)
		(void)snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
	return r;
}

int digest_seal(void *octets, size_t count, unsigned char place[DIGEST_OCTETS])
{
	unsigned char digest[DIGEST_OCTETS];
	int r;

	memset(place, 0, DIGEST_OCTETS);
	r = digest_make(octets, count, digest);
	if (r == 0)
		memcpy(place, digest, sizeof(digest));
	return r;
}

int digest_check_seal(void *octets, size_t count, unsigned char place[DIGEST_OCTETS])
{
	unsigned char written[DIGEST_OCTETS];
	int r;

	memcpy(written, place, sizeof(written));
	r = digest_seal(octets, count, place);
	if (r == 0 && memcmp(written, place, sizeof(written)) != 0)
		r = -EBADMSG;
	return r;
}
