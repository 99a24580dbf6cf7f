/* SPDX-License-Identifier: ISC
 * TLS for the server's side of a connection: RFC 8446 and 5246, with ALPN "pop3" (RFC 7301), server
 * names (RFC 6066), stapled OCSP responses, session tickets and client certificates. tls.c with
 * GnuTLS is a module that tls_new() loads: a process without TLS starts twice as fast. */
#pragma once

#include "lib/stream.h"
#include "log.h"

#include <stdint.h>

struct settings;

#define TLS_TICKET_KEY_OCTETS 64
#define TLS_SIGNED_OCTETS_MAX 208
#define TLS_SIGNATURE_OCTETS_MAX 1024 /* of an RSA key with 8,192 bits */

/* What a process without private keys asks the keeper for, and its answer: flat, for messages. */
struct tls_signing {
	uint32_t key; /* the index of its tls-cert */
	uint32_t generation, algorithm, count;
	unsigned char octets[TLS_SIGNED_OCTETS_MAX];
};

struct tls_signature {
	int32_t error; /* as `sign` of the functions */
	uint32_t count;
	unsigned char octets[TLS_SIGNATURE_OCTETS_MAX];
};

/* What a service serves TLS with. */
struct tls {
	const struct tls_functions *functions;
	const struct settings *settings; /* borrowed */
	unsigned char *ticket_key;	 /* of a listener; NULL: it is in a file */
	char *ticket_directory;		 /* of that file */
	int load_error;			 /* of `load`, which is not tried again; 0: none yet */
	bool is_keeper;
	/* What the keeper has read: borrowed until `load`, or (is_keeper) what that makes. */
	int public_fd; /* -1: there is no keeper */
	/* Checksums of the stamps of all files: when they were loaded, and when that was tried. */
	uint64_t stamps, tried_stamps;
	/* Asks the keeper for a signature. Returns 0 or a negative errno. */
	int (*sign)(void *context, const struct tls_signing *signing, struct tls_signature *ret);
	void *sign_context;
	bool is_check;			  /* `load` also warns of chains that lack an issuer */
	__typeof__(log_event_about) *log; /* which the module cannot call itself */
	/* What was in the file of the ticket key, or why there is none. */
	unsigned char own_ticket_key[TLS_TICKET_KEY_OCTETS];
	int ticket_error;
};

/* The functions of the module. */
struct tls_functions {
	/* Of what tls_new() makes, all 0 but its beginning. */
	size_t size;

	/* Frees it, wiping keys. Streams may outlive it once their handshake is over. */
	void (*free)(struct tls *tls);

	/* Reads the files, unless it has done so. Each mistake is a line in the log, also
	 * an expired certificate, a key that others can read, a useless OCSP response. Returns
	 * how many there were; -EBADMSG: it cannot serve with these files; or -ENOMEM. In the
	 * keeper it puts all but the keys into a sealed file for other processes, public_fd. */
	int (*load)(struct tls *tls);

	/* Wipes the private keys and a listener's ticket key: no handshake can begin after that. */
	void (*forget)(struct tls *tls);

	/* Whether a file is another one than when they were read, or that was tried; once for each
	 * change, and not before all are as they were when it was asked last. */
	bool (*has_changed)(struct tls *tls);

	/* For the keeper: signs what belongs to a server's handshake, else it is -EPERM. Returns
	 * the error in `ret`, which may be -ENOMEM or -EIO, too. */
	int (*sign)(struct tls *tls, const struct tls_signing *signing, struct tls_signature *ret);

	/* Finds the key of session tickets, whose file will be out of reach. Logs failures. */
	void (*find_ticket_key)(struct tls *tls);

	/* The file that says what @SYSTEM is, for `load`. Borrowed; NULL: the library has none. */
	const char *(*system_file)(void);

	/* Loads `tls` if need be and makes a stream over `below`. Both are borrowed, `tls` until
	 * the handshake is over: a successful one wipes its keys, so it is the only one in this
	 * process. Returns 0, -EBADMSG or -ENOMEM. The stream fails as `below` does, and with:
	 *   -ECONNRESET  it ended without close_notify, which anyone on the way could have done
	 *   -EPROTO      the client broke the protocol, refused something, or renegotiated
	 *   -ENOMEM */
	int (*new_stream)(struct tls *tls, struct stream *below, struct stream **ret);
};

/* Loads the module if TLS is on (else *ret is NULL), and reads nothing else yet. Borrows the
 * settings, and the key of session tickets; if that is NULL, root makes the directory for it that
 * the service's user needs. The caller frees the result with its `free`. Returns 0, -ENOMEM,
 * or -ELIBACC if the module cannot be loaded, which it logs. */
int tls_new(const struct settings *settings, unsigned char *ticket_key, struct tls **ret);

/* Whether `load` has not failed, and can open the files: if not, the log has the reason. */
bool tls_is_available(struct tls *tls);
