/* SPDX-License-Identifier: ISC
 *
 * TLS for the server's side of a connection: RFC 8446 and 5246, with ALPN "pop3" (RFC 7301), server
 * names (RFC 6066), stapled OCSP responses, session tickets and client certificates. GnuTLS, and
 * tls.c with it, is loaded by tls_new(): without TLS a process starts in half the time. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* ---- What a service serves TLS with ---- */

struct tls;

/* Lists end in NULL. All of it is borrowed, for as long as the struct tls lives. */
struct tls_options {
	char *const *certs;    /* PEM files: a certificate and its chain; at least one */
	char *const *keys;     /* PEM files: the nth is for the nth certificate */
	char *const *ocsp;     /* files with an OCSP response; NULL: none */
	const char *client_ca; /* PEM file: who vouches for clients; NULL: they are not asked */
	const char *priority;  /* a GnuTLS priority string; NULL: @SYSTEM, else a safe choice */
	void (*complain)(const char *format, ...) __attribute__((format(printf, 1, 2)));
};

/* Loads the library, and reads nothing yet. Returns 0 or -ENOMEM; or -ELIBACC if the library cannot
 * be loaded, after a complaint. */
int tls_new(const struct tls_options *options, struct tls **ret);

/* Frees it, wiping keys, and returns NULL. Takes NULL; sessions may outlive it once their handshake
 * is over. */
struct tls *tls_free(struct tls *tls);

/* Reads the files, unless that has been done. Each mistake in them goes to options.complain, one
 * line each: also those that it can do with, an expired certificate, a key that others can read, a
 * useless OCSP response. Returns the number of such, or
 *   -EBADMSG  it cannot serve with these files
 *   -ENOMEM */
int tls_load(struct tls *tls);

/* The file in which the platform says what @SYSTEM is, and which tls_load() reads if it is there.
 * Borrowed; NULL: the library has none. */
const char *tls_system_file(void);

/* ---- One connection ---- */

struct tls_session;

/* How a session reads and writes. Neither waits: they return how many octets (0 from read_some: end
 * of file) or a negative errno, -EAGAIN if there is nothing to be had now. */
struct tls_io {
	void *context;
	ssize_t (*read_some)(void *context, void *space, size_t octets);
	ssize_t (*write_some)(void *context, const void *octets, size_t count);
};

/* The functions below that say -EAGAIN want to be called again, with the same arguments, when the
 * connection can be read, or written if tls_session_wants_write(). Other failures end it:
 *   -ECONNRESET  it ended without close_notify, which anyone on the way could have done
 *   -EPROTO      the client broke the protocol, refused something, or asked to negotiate again
 *   -ENOMEM      or what read_some and write_some say */

/* Loads `tls` if need be and makes a session of it. Returns 0, or as tls_load(). */
int tls_session_new(struct tls *tls, const struct tls_io *io, struct tls_session **ret);

/* Frees it, and returns NULL. Takes NULL. */
struct tls_session *tls_session_free(struct tls_session *session);

/* Does the handshake. When it is over nothing is left of what it needed: `tls`, private keys and
 * all, is as before tls_load(). */
int tls_session_handshake(struct tls_session *session);

/* What went wrong in words, after a handshake that failed, or after one that a client certificate
 * which cannot be accepted was shown in; NULL: nothing. Borrowed from the session. */
const char *tls_session_problem(const struct tls_session *session);

/* Who the client is by a certificate that options.client_ca vouches for: its e-mail addresses
 * (rfc822Name), or if it has none its CN. The list ends in NULL and may be empty. Borrowed from the
 * session. */
const char *const *tls_session_names(const struct tls_session *session);

/* The version that was agreed on, "TLS1.3" for instance. A string constant. */
const char *tls_session_version(const struct tls_session *session);

/* Reads some octets; 0 is a proper end (close_notify). */
ssize_t tls_session_read(struct tls_session *session, void *space, size_t octets);

/* Whether octets that have been received already wait to be read. */
bool tls_session_holds_octets(const struct tls_session *session);

/* Writes a record of at most as many octets as tls_session_record_octets() says. */
ssize_t tls_session_write(struct tls_session *session, const void *octets, size_t count);
size_t tls_session_record_octets(const struct tls_session *session);

/* Tells the client that nothing more will come (close_notify). */
int tls_session_close(struct tls_session *session);

bool tls_session_wants_write(const struct tls_session *session);

/* ---- The module ---- */

/* All of the above, as tls.c is found by tls/load.c. */
struct tls_functions {
	__typeof__(tls_new) *new;
	__typeof__(tls_free) *free;
	__typeof__(tls_load) *load;
	__typeof__(tls_system_file) *system_file;
	__typeof__(tls_session_new) *session_new;
	__typeof__(tls_session_free) *session_free;
	__typeof__(tls_session_handshake) *session_handshake;
	__typeof__(tls_session_problem) *session_problem;
	__typeof__(tls_session_names) *session_names;
	__typeof__(tls_session_version) *session_version;
	__typeof__(tls_session_read) *session_read;
	__typeof__(tls_session_holds_octets) *session_holds_octets;
	__typeof__(tls_session_write) *session_write;
	__typeof__(tls_session_record_octets) *session_record_octets;
	__typeof__(tls_session_close) *session_close;
	__typeof__(tls_session_wants_write) *session_wants_write;
};

#define TLS_MODULE "pop3-handler-tls.so"
#define TLS_FUNCTIONS "tls_functions"
