/* SPDX-License-Identifier: ISC
 * The messages between the keeper (keeper.h) and those that ask it: a listener on its control
 * socket, and a talker, the process of a session, on a channel of its own. All are packets of fixed
 * size; texts in them end in a NUL. The keeper believes nothing that a talker says. */
#pragma once

#include "auth.h"
#include "lib/peer.h"
#include "tls.h"

#include <stdint.h>

#define CHANNEL_PASSWORD_OCTETS 8193 /* with the NUL */

enum channel_type {
	/* On the control socket. */
	CHANNEL_RELOAD = 1, /* the settings; answered */
	CHANNEL_BEGIN,	    /* a session; with its channel and its descriptor of notifications */
	CHANNEL_HANG_UP,    /* on the session of a slot */
	/* On a channel. */
	CHANNEL_LOGIN,	 /* answered; a password follows in the same packet */
	CHANNEL_RECHECK, /* of the account, at WAKE; answered */
	CHANNEL_SLEEP,	 /* may the session fall asleep? Answered */
	CHANNEL_WAKE,	 /* it did not fall asleep */
	CHANNEL_END,	 /* from the keeper: the session must end */
	CHANNEL_SIGN,	 /* for the handshake of TLS, once before login; answered */
	/* On the control socket, from the keeper. */
	CHANNEL_RENEWED, /* certificates; with their public file */
};

struct channel_request {
	uint32_t type;
	uint32_t is_trusted; /* BEGIN: its source */
	uint64_t slot;	     /* BEGIN, HANG_UP: on the scoreboard; without a listener 0 */
	struct peer peer;    /* BEGIN */
};

struct channel_login {
	struct channel_request request;
	char user[AUTH_USER_OCTETS];
	char password[CHANNEL_PASSWORD_OCTETS];
};

/* The answer is a struct tls_signature. */
struct channel_signing {
	struct channel_request request;
	struct tls_signing signing;
};

/* That of a reload comes with the ruleset that sessions begin with, and with the public file of
 * TLS, if it can be served (tls.h). */
struct channel_answer {
	int32_t error;	      /* as auth_login(); -EAGAIN: another answer follows, in wait_s */
	uint32_t wait_s;      /* for failed logins from the same source */
	uint32_t is_shut_out; /* the mailbox does not exist: nothing is in reach */
	struct account account;
	struct auth_report report;
};

/* Sends a packet with up to two descriptors (-1: none), without waiting. Returns 0 or a negative
 * errno. */
int channel_send(int fd, void *packet, size_t octets, const int fds[2]);

/* Receives a packet into `space`, and descriptors, which the caller closes (-1: none). Waits for
 * `ms` milliseconds. Returns its octets (0: the other side has closed) or a negative errno:
 * -ETIMEDOUT; -EMSGSIZE: it is longer. */
ssize_t channel_receive(int fd, void *space, size_t octets, int ret_fds[2], int64_t ms);

/* For a talker, which may neither send nor receive descriptors: tells the keeper something. Returns
 * 0, or -EIO if there is none. */
int channel_tell(int fd, const void *request, size_t octets);

/* Likewise: takes the next answer to that. Returns 0, -EIO if there is none, or -ECANCELED: the
 * session must end. */
int channel_await(int fd, void *ret_answer, size_t octets, int64_t ms);
