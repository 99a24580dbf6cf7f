/* SPDX-License-Identifier: ISC
 *
 * What the settings say of TLS. */
#pragma once

/* The choice of the platform, if it has one; never less than TLS 1.2. */
#define TLS_SYSTEM_PRIORITY "@SYSTEM:-VERS-TLS1.1:-VERS-TLS1.0:-VERS-SSL3.0"
/* Else forward secrecy and authenticated encryption, which clients of the last ten years can do. */
#define TLS_DEFAULT_PRIORITY                                                           \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"   \
	":-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:-MAC-ALL:+AEAD"     \
	":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1" \
	":-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"

/* Lists end in NULL. All of it is borrowed, for as long as the struct tls lives. */
struct tls_options {
	char *const *certs;    /* PEM files: a certificate and its chain; at least one */
	char *const *keys;     /* PEM files: the nth is for the nth certificate */
	char *const *ocsp;     /* files with an OCSP response; NULL: none */
	const char *client_ca; /* PEM file: who vouches for clients; NULL: they are not asked */
	const char *priority;  /* a GnuTLS priority string; NULL: one of those above */
	void (*complain)(const char *format, ...) __attribute__((format(printf, 1, 2)));
};
