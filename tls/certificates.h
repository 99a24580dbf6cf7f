/* SPDX-License-Identifier: ISC
 *
 * What TLS is served with, as the files that the settings name say. */
#pragma once

#include "tls/options.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stddef.h>

#define CERTIFICATES_NAME_OCTETS_MAX 255 /* RFC 1035 section 2.3.4 */

struct certificate {
	const char *cert_path, *key_path;
	gnutls_x509_crt_t *chain; /* its own certificate first */
	unsigned length;
	gnutls_x509_privkey_t key; /* NULL after certificates_load(): the credentials have a copy */
	/* It, and those that can stand in for it: RSA and ECDSA side by side. */
	gnutls_certificate_credentials_t credentials;
	unsigned in_credentials; /* the number of certificates there */
};

/* All 0 but the options until certificates_load(). */
struct certificates {
	struct tls_options options;
	int complaints;
	gnutls_priority_t priority;
	struct certificate *list;
	size_t count;
};

/* As `load` of tls.h, which calls it. */
int certificates_load(struct certificates *certificates);

/* Frees everything, wiping keys; the options stay. */
void certificates_unload(struct certificates *certificates);

/* Wipes the private keys: no handshake is possible after that. */
void certificates_forget_keys(struct certificates *certificates);

/* What a failure of GnuTLS means that is not a client's: -ENOMEM or -EBADMSG. */
int certificates_turn_error(int error);
