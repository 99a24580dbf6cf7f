/* SPDX-License-Identifier: ISC
 * The AUTHORIZATION state (RFC 1939 section 4): the commands that authenticate a client. */
#pragma once

#include "session.h"

/* Puts the capabilities that depend on the session: USER, STLS, and SASL with the mechanisms that
 * are allowed now (RFC 5034 section 3); none of them if it is not allowed now. */
void login_put_capabilities(struct session *session);

command_handler login_stls, login_user, login_pass, login_auth;
