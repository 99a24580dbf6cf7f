/* SPDX-License-Identifier: ISC
 * The messages between the keeper (keeper.h) and its clients: the listener, on the control socket,
 * and each talker (the process of one session), on a channel of its own. Each type of message is a
 * packet of fixed size; its texts end in a NUL. The keeper does not trust a talker. */
#pragma once

#include "auth.h"
#include "lib/peer.h"
#include "tls.h"

#include <stdint.h>

#define CHANNEL_PASSWORD_OCTETS 8193 /* with the NUL */

enum channel_type {
	/* To the keeper, on the control socket. */
	CHANNEL_RELOAD = 1, /* reload the settings; answered */
	CHANNEL_BEGIN,	    /* a session begins; with its channel and its seccomp notify fd */
	CHANNEL_HANG_UP,    /* end the session of a slot: send it CHANNEL_END */
	/* To the keeper, on the channel of a talker. */
	CHANNEL_LOGIN,	 /* check a login: a struct channel_login; answered */
	CHANNEL_RECHECK, /* check the account again, at WAKE; answered */
	CHANNEL_SLEEP,	 /* count the session as asleep; answered: -EDQUOT over the limit */
	CHANNEL_WAKE,	 /* the session is awake, or did not fall asleep */
	CHANNEL_END,	 /* from the keeper: the session must end */
	CHANNEL_SIGN,	 /* sign a TLS handshake, once before login; answered */
	/* From the keeper, on the control socket. */
	CHANNEL_RENEWED, /* certificates were renewed; with the public TLS file */
};

struct channel_request {
	uint32_t type;
	uint32_t is_trusted; /* BEGIN: the client is in trusted-networks */
	uint64_t slot;	     /* BEGIN, HANG_UP: of the scoreboard; 0 without a listener */
	struct peer peer;    /* BEGIN */
};

struct channel_login {
	struct channel_request request;
	char user[AUTH_USER_OCTETS];
	char password[CHANNEL_PASSWORD_OCTETS];
};

/* CHANNEL_SIGN. The answer is a struct tls_signature. */
struct channel_signing {
	struct channel_request request;
	struct tls_signing signing;
};

/* On the control socket (after the start and a CHANNEL_RELOAD), the answer carries the Landlock
 * ruleset of sessions before login, and the public TLS file (tls.h) if TLS is served. */
struct channel_answer {
	int32_t error;	      /* as auth_login(); -EAGAIN: the final answer follows after wait_s;
			       * -EFAULT: the checker has crashed, and the session must end */
	uint32_t wait_s;      /* the delay after failed logins from the same source */
	uint32_t is_shut_out; /* the mailbox does not exist: the ruleset allows no file of it */
	struct account account;
	struct auth_report report;
};

/* Sends a packet, without waiting, with up to two descriptors (-1 or NULL: none). Returns 0 or a
 * negative errno. */
int channel_send(int fd, void *packet, size_t octets, const int fds[2]);

/* Receives a packet of at most `octets`, and two descriptors (-1: none), which the caller closes
 * even after a failure. Waits up to `ms` milliseconds. Returns the octets of the packet (0: the
 * peer has closed), or a negative errno: -ETIMEDOUT; -EMSGSIZE: the packet is longer. */
ssize_t channel_receive(int fd, void *space, size_t octets, int ret_fds[2], int64_t ms);

/* For a talker: sends the keeper a request with write(2), because seccomp denies it sendmsg(2).
 * Returns 0, or -EIO if the keeper is gone. */
int channel_tell(int fd, const void *request, size_t octets);

/* For a talker: waits up to `ms` milliseconds for the keeper's next answer, of `octets`. Returns 0,
 * -EIO if no valid answer comes, or -ECANCELED after SIGTERM or CHANNEL_END: the session must end.
 */
int channel_await(int fd, void *ret_answer, size_t octets, int64_t ms);
