/* SPDX-License-Identifier: ISC
 * Signatures with a private key in another process, the keeper: both sides. */
#pragma once

#include "tls/certificates.h"

#include <gnutls/abstract.h>

/* Implements `sign` of tls.h. */
int signing_sign(struct tls *tls, const struct tls_signing *signing, struct tls_signature *ret);

/* Makes `key` sign through `sign` of the service, because this process has only its certificate.
 * Borrows both until the key is freed. Returns 0 or an error of GnuTLS. */
int signing_import_key(gnutls_privkey_t key, const struct tls_service *service,
		       struct certificate *certificate);
