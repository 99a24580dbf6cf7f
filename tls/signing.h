/* SPDX-License-Identifier: ISC
 * Signatures by a private key that another process has: both sides. */
#pragma once

#include "tls/certificates.h"

#include <gnutls/abstract.h>

/* `sign` of tls.h. */
int signing_sign(struct tls *tls, const struct tls_signing *signing, struct tls_signature *ret);

/* Makes a key of which this process has no more than the certificate: it asks `sign` of its
 * service. Returns as GnuTLS does. */
int signing_import_key(gnutls_privkey_t key, const struct tls_service *service,
		       struct certificate *certificate);
