/* SPDX-License-Identifier: ISC
 * The two descriptors that the client is on: bounded lines in, buffered octets out, deadlines,
 * plain or TLS.
 *
 * Functions that return an int or ssize_t return a negative errno on failure, and from the first
 * failure on the connection is of no use:
 *   -EPIPE, -ECONNRESET  the client is gone (end of file is -EPIPE too)
 *   -ETIMEDOUT           the client took too long, to send a command or to take our octets
 *   -EPROTO              the client broke the protocol of TLS, or refused something
 *   -ECANCELED           SIGTERM came, or the keeper said so, while we waited for the client
 *   others               from the system, as they are */
#pragma once

#include "lib/stream.h"

#include <stdint.h>

struct tls;
struct transport;
struct wire_converter;

/* Borrows the descriptors, and leaves their flags alone: others share them. Catches SIGTERM from
 * now on. A keeper ends the session, too (-ECANCELED), by saying so on its channel (-1: there is
 * none), which the other side may close. Returns 0, -ENOMEM, or what fstat(2) says. */
int transport_new(int in_fd, int out_fd, int channel_fd, struct transport **ret);

/* Frees it, without sending what is still in the buffer. Takes NULL. */
void transport_free(struct transport *transport);

/* The connection must be over `seconds` from now. */
void transport_set_deadline(struct transport *transport, unsigned seconds);

/* The client has `seconds` for each command, counted from the answer to the one before it, and for
 * each time that it takes some of our octets. */
void transport_set_timeout(struct transport *transport, unsigned seconds);

/* Makes a stream for transport_start_tls(), until which `tls` is borrowed. Returns 0, -EBADMSG
 * or -ENOMEM; the connection remains usable. */
int transport_prepare_tls(struct transport *transport, struct tls *tls);

/* Sends the buffer, forgets what has been received (RFC 2595 section 4), and does the handshake. */
int transport_start_tls(struct transport *transport);

/* The stream that TLS is known from, borrowed: it has a tls_version once octets are encrypted.
 * Before transport_prepare_tls() it is the plain one. */
const struct stream *transport_tls_stream(const struct transport *transport);

/* Reads a line to its LF or CRLF, which is not counted; sends what is in the buffer before it waits
 * for one. The line ends in a NUL, is writable, and is borrowed until the next call. Returns 0, a
 * failure as above, or, if the line was skipped and the connection remains usable:
 *   -EMSGSIZE  it was longer than max_octets
 *   -EBADMSG   it had a NUL in it */
int transport_read_line(struct transport *transport, size_t max_octets, char **ret_line);

/* Gives back the memory of the buffers, if they hold nothing. */
void transport_shrink(struct transport *transport);

/* Puts a line into the buffer (without its CRLF; cut to 510 octets). It, and a final ".\r\n" after
 * it, are never split over two writes. */
int transport_put_line(struct transport *transport, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for text that needs no formatting, and is no longer than that. */
int transport_put_text(struct transport *transport, const char *text, size_t octets);

/* The ".\r\n" that ends a multi-line answer, in one write with `before` and the line end before. */
int transport_put_end(struct transport *transport, const char *before);

/* Puts octets of a message, as wire_convert() converts them. */
int transport_put_message(struct transport *transport, struct wire_converter *converter,
			  const char *octets, size_t count);

/* Sends what is in the buffer. */
int transport_flush(struct transport *transport);

/* Sends a line, with its CRLF, without waiting, if the client can understand it now: not in a
 * handshake, nor in the middle of something. For a connection that has ended otherwise. */
void transport_put_last(struct transport *transport, const char *line);

/* Sends the buffer; waits for `ms` milliseconds unless the client is gone or the deadline comes. */
int transport_pause(struct transport *transport, int64_t ms);

/* Sends what is in the buffer, ends TLS, and reads what the client still sends: if a socket is
 * closed with octets unread, those in flight to the client may be lost. */
int transport_finish(struct transport *transport);
