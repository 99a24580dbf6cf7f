/* SPDX-License-Identifier: ISC
 *
 * What the settings say of TLS. */
#pragma once

/* Lists end in NULL. All of it is borrowed, for as long as the struct tls lives. */
struct tls_options {
	char *const *certs;    /* PEM files: a certificate and its chain; at least one */
	char *const *keys;     /* PEM files: the nth is for the nth certificate */
	char *const *ocsp;     /* files with an OCSP response; NULL: none */
	const char *client_ca; /* PEM file: who vouches for clients; NULL: they are not asked */
	const char *priority;  /* a GnuTLS priority string; NULL: @SYSTEM, else a safe choice */
	void (*complain)(const char *format, ...) __attribute__((format(printf, 1, 2)));
};
