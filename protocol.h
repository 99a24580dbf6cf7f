/* SPDX-License-Identifier: ISC
 *
 * One POP3 session: RFC 1939, 2449 (CAPA, response codes, pipelining), 3206, and the extensions
 * SLEE-WAKE, UID-PARAM and DELI. */
#pragma once

struct settings;
struct transport;

/* Serves a session from the greeting to its end. Returns 0 if it ended with QUIT, and otherwise
 * why it could not go on: as transport.h says, or -EIO if a message could not be read to its end.
 */
int protocol_serve(const struct settings *settings, struct transport *transport);
