/* SPDX-License-Identifier: ISC
 * What TLS is served with, as the files that the settings name say. */
#pragma once

#include "tls.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stddef.h>

/* The choice of the platform, if it has one; never less than TLS 1.2. */
#define TLS_SYSTEM_PRIORITY "@SYSTEM:-VERS-TLS1.1:-VERS-TLS1.0:-VERS-SSL3.0"
/* Else forward secrecy and authenticated encryption, which clients of the last ten years can do. */
#define TLS_DEFAULT_PRIORITY                                                           \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"   \
	":-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:-MAC-ALL:+AEAD"     \
	":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1" \
	":-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"

/* What a keeper signs: it decrypts nothing (RSA), and knows no groups of DHE. */
#define TLS_KEEPER_PRIORITY ":-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"

#define CERTIFICATES_NAME_OCTETS_MAX 255 /* RFC 1035 section 2.3.4 */

struct certificate {
	const char *cert_path, *key_path;
	gnutls_x509_crt_t *chain; /* in order, its own certificate first */
	unsigned length;
	gnutls_x509_privkey_t key;	   /* which credentials refer to; NULL: the keeper has it */
	const struct tls_service *service; /* that it belongs to */
	/* It, and those that can stand in for it: RSA and ECDSA side by side. */
	gnutls_certificate_credentials_t credentials;
	unsigned in_credentials; /* the number of certificates there */
};

/* All 0 but the first member until certificates_load(). */
struct tls_service {
	struct tls tls;
	int complaints;
	gnutls_priority_t priority;
	struct certificate *list;
	size_t count;
	uint32_t generation;	 /* of the public file that they are in */
	uint64_t public_octets;	 /* of that, as far as it is read */
	gnutls_session_t gnutls; /* the handshake that the keeper is asked to sign for */
	uint64_t seen_stamps;	 /* when files were looked at last */
};

/* Whether another process has the keys. */
static inline bool asks_keeper(const struct tls *tls)
{
	return tls->public_fd >= 0 && !tls->is_keeper;
}

/* log_error(). */
#define complain(tls, ...) (tls)->log(NULL, LOG_EVENT_ERROR, NULL, __VA_ARGS__)

/* `load` of tls.h. */
int certificates_load(struct tls *tls);

/* `has_changed` of tls.h. */
bool certificates_have_changed(struct tls *tls);

/* Frees everything but itself, wiping keys. */
void certificates_unload(struct tls_service *service);

/* `forget` of tls.h. */
void certificates_forget_keys(struct tls *tls);

/* What a failure of GnuTLS means that is not a client's: -ENOMEM or -EBADMSG. */
int certificates_turn_error(int error);
