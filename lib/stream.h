/* SPDX-License-Identifier: ISC
 * A stream of octets in both directions: plain descriptors, or TLS over them. Each kind has a table
 * of functions, so that callers need not know the kind. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct stream;

/* No function blocks. After -EAGAIN, a function is called again with the same arguments when the
 * descriptor is readable, or writable if wants_write is set. Other errors end the stream. */
struct stream_functions {
	/* Return a number of octets; 0 from read: the peer closed the stream properly. */
	ssize_t (*read)(struct stream *stream, void *space, size_t octets);
	ssize_t (*write)(struct stream *stream, const void *octets, size_t count);
	/* Begin and end the stream. Return 0 or a negative errno. NULL: nothing to do. */
	int (*handshake)(struct stream *stream);
	int (*close)(struct stream *stream);
	void (*free)(struct stream *stream);
};

/* The common part of all kinds. The strings belong to the stream. */
struct stream {
	const struct stream_functions *functions;
	bool has_pending;    /* the stream holds octets to read, which poll(2) does not show */
	bool wants_write;    /* after -EAGAIN of handshake or close */
	size_t piece_octets; /* writes up to this size are sent in one piece */
	/* TLS only, after the handshake: */
	const char *tls_version; /* "TLS1.3" for instance; NULL: this is not TLS, or not yet */
	const char *tls_problem; /* of the handshake or a client certificate; NULL: none */
	const char *const *client_names; /* from a verified client certificate; ends in NULL */
};
