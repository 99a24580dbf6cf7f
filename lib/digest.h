/* SPDX-License-Identifier: ISC
 * SHA-256, by Nettle. */
#pragma once

#include <nettle/sha2.h>
#include <string.h>

#define DIGEST_OCTETS SHA256_DIGEST_SIZE

static inline void digest_make(const void *octets, size_t count, unsigned char *ret_digest)
{
	struct sha256_ctx context;

	sha256_init(&context);
	sha256_update(&context, count, octets);
	sha256_digest(&context, DIGEST_OCTETS, ret_digest);
	explicit_bzero(&context, sizeof(context)); /* it holds the last octets, perhaps a key */
}
