/* SPDX-License-Identifier: ISC
 * Loads the priority string, certificates, keys, CAs and OCSP responses that the settings name. */
#pragma once

#include "tls.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stddef.h>

/* The system's policy, if it has one, but at least TLS 1.2. */
#define TLS_SYSTEM_PRIORITY "@SYSTEM:-VERS-TLS1.1:-VERS-TLS1.0:-VERS-SSL3.0"
/* Otherwise forward secrecy and AEAD ciphers, which clients of the last ten years support. */
#define TLS_DEFAULT_PRIORITY                                                           \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"   \
	":-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:-MAC-ALL:+AEAD"     \
	":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1" \
	":-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"

/* Appended with a keeper: it does not decrypt (RSA key exchange), and does not check DHE groups. */
#define TLS_KEEPER_PRIORITY ":-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"

#define CERTIFICATES_NAME_OCTETS_MAX 255 /* RFC 1035 section 2.3.4 */

struct certificate {
	const char *cert_path, *key_path;
	gnutls_x509_crt_t *chain; /* the end-entity certificate first, then issuers */
	unsigned length;
	gnutls_x509_privkey_t key;	   /* credentials refer to it; NULL: in the keeper */
	const struct tls_service *service; /* which contains this */
	/* This certificate, and others for the same names: RSA beside ECDSA. */
	gnutls_certificate_credentials_t credentials;
	unsigned in_credentials; /* number of certificates in `credentials` */
};

/* All 0 except `tls` until certificates_load(). */
struct tls_service {
	struct tls tls;
	int complaints;
	gnutls_priority_t priority;
	struct certificate *list;
	size_t count;
	uint32_t generation;	 /* inode of the public file, which identifies a set of keys */
	uint64_t public_octets;	 /* of the public file, read so far */
	gnutls_session_t gnutls; /* whose handshake needs the keeper's signature */
	uint64_t seen_stamps;	 /* at the last certificates_have_changed() */
};

/* Whether the private keys are in another process. */
static inline bool asks_keeper(const struct tls *tls)
{
	return tls->public_fd >= 0 && !tls->is_keeper;
}

/* As log_error(). */
#define complain(tls, ...) (tls)->log(NULL, LOG_EVENT_ERROR, NULL, __VA_ARGS__)

/* Implements `load` of tls.h. */
int certificates_load(struct tls *tls);

/* Implements `has_changed` of tls.h. */
bool certificates_have_changed(struct tls *tls);

/* Undoes certificates_load(), and wipes the keys. Does not free the service itself. */
void certificates_unload(struct tls_service *service);

/* Implements `forget` of tls.h. */
void certificates_forget_keys(struct tls *tls);

/* Converts an error of GnuTLS that no client caused to -ENOMEM or -EBADMSG. */
int certificates_errno(int error);
