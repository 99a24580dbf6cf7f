/* SPDX-License-Identifier: ISC
 * A stream of octets in both directions: plain descriptors, or TLS over them. Its user does not ask
 * which: each kind has a table of functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct stream;

/* No function waits. One that returns -EAGAIN is called again, with the same arguments, when the
 * descriptor can be read, or written if wants_write is set. Other errors end the stream. */
struct stream_functions {
	/* These return how many octets; 0 read: the peer has ended the stream properly. */
	ssize_t (*read)(struct stream *stream, void *space, size_t octets);
	ssize_t (*write)(struct stream *stream, const void *octets, size_t count);
	/* Begin and end the stream. Return 0 or a negative errno. NULL: nothing to do. */
	int (*handshake)(struct stream *stream);
	int (*close)(struct stream *stream);
	void (*free)(struct stream *stream);
};

/* The common part of all kinds. The texts are borrowed from the stream. */
struct stream {
	const struct stream_functions *functions;
	bool has_pending;    /* octets wait to be read that the descriptor does not show any more */
	bool wants_write;    /* after -EAGAIN of handshake or close */
	size_t piece_octets; /* a write of at most this many octets leaves in one piece */
	/* Of TLS, after the handshake: */
	const char *tls_version; /* "TLS1.3" for instance; NULL: this is not TLS, or not yet */
	const char *tls_problem; /* of the handshake or a client certificate; NULL: none */
	const char *const *client_names; /* that a client certificate vouches for; ends in NULL */
};
