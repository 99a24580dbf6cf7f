/* SPDX-License-Identifier: ISC
 * SHA-256. */
#pragma once

#include <stddef.h>

#define DIGEST_OCTETS 32

void digest_make(const void *octets, size_t count, unsigned char ret_digest[DIGEST_OCTETS]);
