/* SPDX-License-Identifier: ISC
 * The server side of TLS 1.2 and 1.3 (RFC 5246, RFC 8446), with ALPN "pop3" (RFC 7301), SNI and
 * OCSP stapling (RFC 6066), session tickets and client certificates. tls.c and GnuTLS are a module
 * that tls_new() loads, because a process without them starts twice as fast. */
#pragma once

#include "lib/stream.h"
#include "log.h"

#include <stdint.h>

struct settings;

#define TLS_TICKET_KEY_OCTETS 64
#define TLS_SIGNED_OCTETS_MAX 208
#define TLS_SIGNATURE_OCTETS_MAX 1024 /* of an RSA key with 8,192 bits */

/* Messages, so no pointers: the request of a process without private keys, the keeper's answer. */
struct tls_signing {
	uint32_t key; /* index of the certificate in tls-cert */
	uint32_t generation, algorithm, count;
	unsigned char octets[TLS_SIGNED_OCTETS_MAX];
};

struct tls_signature {
	int32_t error; /* 0, or an error of `sign` in struct tls_functions */
	uint32_t count;
	unsigned char octets[TLS_SIGNATURE_OCTETS_MAX];
};

/* The certificates, keys and state of one service. */
struct tls {
	const struct tls_functions *functions;
	const struct settings *settings; /* borrowed */
	unsigned char *ticket_key;	 /* a listener's, borrowed; NULL: see own_ticket_key */
	char *ticket_directory;		 /* where the file of own_ticket_key is */
	int load_error;			 /* of `load`, which then is not retried; 0: none */
	bool is_keeper;
	/* The public TLS file: `load` makes it in the keeper; others read and borrow it. */
	int public_fd; /* -1: no keeper */
	/* Checksums of the stamps of all files: at the last load, and at the last attempt. */
	uint64_t stamps, tried_stamps;
	/* Asks the keeper for a signature. Returns 0 or a negative errno. */
	int (*sign)(void *context, const struct tls_signing *signing, struct tls_signature *ret);
	void *sign_context;
	bool is_check;			  /* `load` also warns of incomplete chains */
	__typeof__(log_event_about) *log; /* of the program, to which the module is not linked */
	__typeof__(log_quote) *quote;	  /* of the program, too */
	/* The ticket key from its file, and the error of ticket_key_find(). */
	unsigned char own_ticket_key[TLS_TICKET_KEY_OCTETS];
	int ticket_error;
};

/* The functions of the module. */
struct tls_functions {
	/* In octets, of what tls_new() allocates: a struct tls, then zeros. */
	size_t size;

	/* Wipes the keys and frees `tls`. A stream may outlive it after its handshake. */
	void (*free)(struct tls *tls);

	/* Reads the files, unless it has done so. Logs each mistake, such as an expired
	 * certificate, a key that others can read, or an unusable OCSP response. Returns the
	 * number of mistakes, -EBADMSG if TLS cannot be served, or -ENOMEM. The keeper writes
	 * everything but the keys to the public TLS file, a sealed memfd (public_fd). */
	int (*load)(struct tls *tls);

	/* Wipes the private keys and the ticket key: no handshake can begin afterwards. */
	void (*forget)(struct tls *tls);

	/* Whether a file has changed since the last attempt to load. True once for each change,
	 * and only after two calls have found the same files: a renewal may be in progress. */
	bool (*has_changed)(struct tls *tls);

	/* For the keeper: signs content of a TLS server's handshake, and nothing else (-EPERM).
	 * Returns `error` of `ret`: 0, -EPERM, -ENOMEM or -EIO. */
	int (*sign)(struct tls *tls, const struct tls_signing *signing, struct tls_signature *ret);

	/* Reads the ticket key before the sandbox denies access to its file. Logs errors. */
	void (*find_ticket_key)(struct tls *tls);

	/* The file that defines @SYSTEM, which `load` reads. Borrowed; NULL: GnuTLS has none. */
	const char *(*system_file)(void);

	/* Makes a stream over `below`, after `load` if needed. Borrows both, `tls` only until the
	 * handshake ends: success wipes the keys, so a process does one handshake. Returns 0,
	 * -EBADMSG or -ENOMEM. The stream returns the errors of `below`, and:
	 *   -ECONNRESET  end of file without close_notify, possibly a truncation attack
	 *   -EPROTO      a failed handshake, a fatal alert, renegotiation, a protocol violation
	 *   -ENOMEM */
	int (*new_stream)(struct tls *tls, struct stream *below, struct stream **ret);
};

/* Loads the module if TLS is on (else *ret is NULL), but no certificates yet. Borrows the settings
 * and the ticket key; if that is NULL, the key is in a file, for which root makes the directory
 * that the service's user needs. The caller frees the result with its `free`. Returns 0, -ENOMEM,
 * or -ELIBACC after logging why the module cannot be loaded. */
int tls_new(const struct settings *settings, unsigned char *ticket_key, struct tls **ret);

/* Whether the files can be opened and `load` has not failed. If false, the reason is logged. */
bool tls_is_available(struct tls *tls);
