/* SPDX-License-Identifier: ISC
 *
 * The AUTHORIZATION state (RFC 1939 section 4): who the client is. */
#pragma once

#include "session.h"

/* Puts the capabilities that depend on how the client may log in here. */
int login_put_capabilities(struct session *session);

/* Starts TLS before the greeting (RFC 8314). Returns 0, or why the connection cannot go on, which
 * has been logged. */
int login_start_implicit_tls(struct session *session);

command_handler login_cmd_stls, login_cmd_user, login_cmd_pass, login_cmd_auth;
