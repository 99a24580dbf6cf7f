/* SPDX-License-Identifier: ISC
 * The connection to the client: reads bounded lines, writes through a buffer, keeps deadlines; on
 * plain descriptors or through TLS.
 *
 * Functions that return an int return a negative errno on failure. The first failure ends the
 * connection: every later call fails with the same error.
 *   -EPIPE, -ECONNRESET  the client has closed or reset the connection (end of file: -EPIPE)
 *   -ETIMEDOUT           the client took too long to send a command or to read our octets
 *   -EPROTO              TLS failed: a protocol error, or an alert of the client
 *   -ECANCELED           SIGTERM or CHANNEL_END arrived while the session waited for the client
 *   others               errors of system calls, unchanged */
#pragma once

#include "lib/stream.h"

#include <stdint.h>

struct tls;
struct transport;
struct wire_converter;

/* Borrows the descriptors. Does not change their file status flags, because other processes share
 * the open file descriptions. Catches SIGTERM from now on. `channel_fd` is the channel to the
 * keeper (-1: none), which may send CHANNEL_END. Returns 0, -ENOMEM, or an error of fstat(2). */
int transport_new(int in_fd, int out_fd, int channel_fd, struct transport **ret);

/* Frees the transport and wipes unread input; unsent octets are discarded. Accepts NULL. */
void transport_free(struct transport *transport);

/* Reading and writing fail with -ETIMEDOUT from this time (util_now_ms()) on. 15 seconds later the
 * process gets SIGKILL. INT64_MAX: no deadline. */
void transport_set_deadline(struct transport *transport, int64_t deadline_ms);

/* Milliseconds until the deadline. */
int64_t transport_left_ms(const struct transport *transport);

/* Replaces the deadline by a timeout of `seconds` for each command, counted from the reply to the
 * one before it, and for each write that makes progress. */
void transport_set_timeout(struct transport *transport, unsigned seconds);

/* Makes the stream for transport_start_tls(), and borrows `tls` until the handshake ends. Returns
 * 0, -EBADMSG (no certificate can be used) or -ENOMEM: the connection is still usable. */
int transport_prepare_tls(struct transport *transport, struct tls *tls);

/* Flushes, discards the input read so far (RFC 2595 section 4), and does the TLS handshake. */
int transport_start_tls(struct transport *transport);

/* The stream with the properties of TLS, borrowed; its tls_version is NULL before the handshake. */
const struct stream *transport_tls_stream(const struct transport *transport);

/* Reads a line that ends in LF or CRLF, and replaces the line end by a NUL. Flushes before it waits
 * for input. The line is writable and borrowed until the next call. Returns 0, a failure as above,
 * or, if the line was skipped and the connection is still usable:
 *   -EMSGSIZE  it was longer than max_octets, without its line end
 *   -EBADMSG   it contained a NUL */
int transport_read_line(struct transport *transport, size_t max_octets, char **ret_line);

/* Returns the memory of the buffers to the system if they are empty. */
void transport_shrink(struct transport *transport);

/* Appends a line and its CRLF to the buffer. The line is truncated to 510 octets. The line, and
 * a final ".\r\n" after it, leave in one write. */
int transport_put_line(struct transport *transport, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The same for a text of at most 510 octets, without formatting. */
int transport_put_text(struct transport *transport, const char *text, size_t octets);

/* Appends `before` and the ".\r\n" that ends a multi-line reply. Both leave in one write, together
 * with the line end before them: some clients look for "\r\n.\r\n" in each piece that they read. */
int transport_put_end(struct transport *transport, const char *before);

/* Appends octets of a message, converted by wire_convert(). */
int transport_put_message(struct transport *transport, struct wire_converter *converter,
			  const char *octets, size_t count);

/* Sends the buffer. */
int transport_flush(struct transport *transport);

/* Sends a last line, which includes its CRLF, after a failure. Does not wait. Does nothing during a
 * TLS handshake or while unsent octets are left, because the client would misread the line. */
void transport_put_last(struct transport *transport, const char *line);

/* Flushes, then waits for `ms` milliseconds; fails if the client hangs up or the deadline comes. */
int transport_pause(struct transport *transport, int64_t ms);

/* Flushes, closes TLS, and reads what the client still sends: close(2) of a socket with unread
 * octets resets the connection, and the client may lose the last reply. */
int transport_finish(struct transport *transport);
