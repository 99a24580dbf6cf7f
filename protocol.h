/* SPDX-License-Identifier: ISC
 * One POP3 session: RFC 1939, 2449 (CAPA, response codes, pipelining), 2595 (STLS), 3206, 5034
 * (AUTH), 8314, and the extensions SLEE-WAKE, UID-PARAM and DELI. */
#pragma once

struct session;

/* Serves a session from the greeting, or the handshake before it, to its end; or only tells it a
 * `refusal`, unless that is NULL. Everything in `session` is 0 but its beginning. Returns 0 after
 * QUIT or too many mistakes, and otherwise why it could not go on, which has been logged: as
 * transport.h says, or -EIO if a message could not be read to its end. */
int protocol_serve(struct session *session, const char *refusal);
