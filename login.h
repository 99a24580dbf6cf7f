/* SPDX-License-Identifier: ISC
 * The AUTHORIZATION state (RFC 1939 section 4): who the client is. */
#pragma once

#include "session.h"

/* Puts the capabilities that depend on the session: `SASL` with the mechanisms that are allowed, if
 * any is (RFC 5034 section 3), `USER` and `STLS`. */
void login_put_capabilities(struct session *session);

command_handler login_stls, login_user, login_pass, login_auth;
