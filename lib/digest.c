/* SPDX-License-Identifier: ISC
 * SHA-256, as Nettle computes it. */
#include "lib/digest.h"

#include <errno.h>
#include <nettle/sha2.h>
#include <string.h>

void digest_make(const void *octets, size_t count, unsigned char ret_digest[DIGEST_OCTETS])
{
	struct sha256_ctx context;

	sha256_init(&context);
	sha256_update(&context, count, octets);
	sha256_digest(&context, DIGEST_OCTETS, ret_digest);
	explicit_bzero(&context, sizeof(context)); /* it has the last octets, perhaps a key */
}

void digest_seal(void *octets, size_t count, unsigned char seal_field[DIGEST_OCTETS])
{
	memset(seal_field, 0, DIGEST_OCTETS);
	digest_make(octets, count, seal_field); /* reads all before it writes */
}

int digest_check_seal(void *octets, size_t count, unsigned char seal_field[DIGEST_OCTETS])
{
	unsigned char written[DIGEST_OCTETS];

	memcpy(written, seal_field, sizeof(written));
	digest_seal(octets, count, seal_field);
	return memcmp(written, seal_field, sizeof(written)) == 0 ? 0 : -EBADMSG;
}
