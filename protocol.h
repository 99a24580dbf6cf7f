/* SPDX-License-Identifier: ISC
 * One POP3 session: RFC 1939, 2449 (CAPA, response codes, pipelining), 2595 (STLS), 3206, 5034
 * (AUTH), 8314, and the extensions SLEE-WAKE, UID-PARAM and DELI. */
#pragma once

struct session;

/* Serves a session from the TLS handshake (tls = implicit) or the greeting to its end. If `refusal`
 * is not NULL, the client gets only an -ERR with that text. The caller has set the borrowed members
 * of `session`; the others are 0. Returns 0 after QUIT or too many mistakes; otherwise the error
 * that ended the session, already logged: one of transport.h, or -EIO if a message could not be
 * read to its end. */
int protocol_serve(struct session *session, const char *refusal);
