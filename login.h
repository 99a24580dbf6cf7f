/* SPDX-License-Identifier: ISC
 * The AUTHORIZATION state (RFC 1939 section 4): the commands that authenticate a client. */
#pragma once

#include "session.h"

/* Puts those of the capabilities SASL, USER and STLS that the session allows now. SASL lists only
 * mechanisms that are allowed (RFC 5034 section 3). */
void login_put_capabilities(struct session *session);

command_handler login_stls, login_user, login_pass, login_auth;
