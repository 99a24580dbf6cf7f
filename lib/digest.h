/* SPDX-License-Identifier: ISC
 * SHA-256. */
#pragma once

#include <stddef.h>

#define DIGEST_OCTETS 32

void digest_make(const void *octets, size_t count, unsigned char ret_digest[DIGEST_OCTETS]);

/* Puts into `seal_field`, which is among these octets, the digest that they have with 0 there. */
void digest_seal(void *octets, size_t count, unsigned char seal_field[DIGEST_OCTETS]);

/* Returns 0, or -EBADMSG if the field does not have what digest_seal() puts there. */
int digest_check_seal(void *octets, size_t count, unsigned char seal_field[DIGEST_OCTETS]);
