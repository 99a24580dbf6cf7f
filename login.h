/* SPDX-License-Identifier: ISC
 *
 * The AUTHORIZATION state (RFC 1939 section 4): who the client is. */
#pragma once

#include "session.h"

/* Puts the line `SASL` with the mechanisms that are allowed, if any is (RFC 5034 section 3). */
int login_put_sasl(struct session *session);

bool login_is_plaintext_allowed(const struct session *session);
bool login_is_tls_offered(const struct session *session);

/* Starts TLS before the greeting (RFC 8314). Returns 0, or why the connection cannot go on, which
 * has been logged. */
int login_start_implicit_tls(struct session *session);

command_handler login_stls, login_user, login_pass, login_auth;
