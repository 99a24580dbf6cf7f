/* SPDX-License-Identifier: ISC
 * The listener: accepts connections within limits, forks a process for each (a session), and reaps
 * it. Tells systemd its state (sd_notify(3)). Trusts the process that started it, and the keeper.
 *
 * A source is an IPv4 address or an IPv6 /64, a network a /24 or a /56. A stranger is a session
 * before login that is not from a trusted network (`trusted-networks`). To evict is to end a
 * stranger so that another client can be served. */
#pragma once

#include "lib/peer.h"
#include "scoreboard.h"

struct failures;
struct listener;
struct settings;
struct tls;

enum listener_event {
	LISTENER_NOTHING, /* listener_next() never returns it */
	LISTENER_SESSION, /* this is a new process, with a client on descriptors 0 and 1 */
	LISTENER_RELOAD,  /* SIGHUP: read the settings again */
	LISTENER_RENEWAL, /* certificates have been renewed, here or in the keeper */
	LISTENER_END,	  /* no session is left: after SIGTERM, or for a while under inetd */
};

struct listener_session {
	struct peer peer;
	struct scoreboard_slot_ref slot_ref;
	struct failures *failures; /* NULL: the keeper counts them */
	const char *refusal;	   /* a string constant for the -ERR; NULL: serve the client */
};

/* Opens the log, then the sockets of the setting `listen`; without those it takes the sockets in
 * LISTEN_FDS (`passed` is the result of libsystemd_listen_fds()) or the one on descriptor 0
 * (inetd's "wait"). Makes a listener, which lives as long as the process; if no socket listens,
 * leaves *ret alone: the client is on descriptors 0 and 1. Returns 0, or after an error in the log:
 *   -EBADMSG  the setting names sockets, but others were passed
 *   -EINVAL   LISTEN_FDS has neither one connection nor only stream sockets that listen
 *   -E2BIG    it has more than SETTINGS_SOCKETS_MAX; or another errno of the system */
int listener_open(const struct settings *settings, int passed, struct listener **ret);

/* For the keeper: closes its copies of the listener's descriptors. Takes NULL. */
void listener_close(struct listener *listener);

/* Watches the keeper. Soon after its end listener_next() returns -ECHILD. */
void listener_watch_keeper(struct listener *listener, pid_t keeper);

/* The key of TLS session tickets, borrowed. It changes once a day. NULL: no listener. */
unsigned char *listener_ticket_key(struct listener *listener);

/* Tells systemd that the service is ready, and serves until an event, which it returns, or a
 * negative errno if it cannot go on. Without a keeper, checks whether the files that `tls` has read
 * (NULL: none) have changed. */
int listener_next(struct listener *listener, const struct settings *settings, struct tls *tls,
		  struct listener_session *ret_session);
