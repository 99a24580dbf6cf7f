/* SPDX-License-Identifier: ISC
 *
 * What the program was started with: a client, or sockets that listen (systemd's LISTEN_FDS, or
 * standard input under inetd's "wait"). For those it accepts connections, within limits, and forks
 * a process for each. systemd is told how it goes (sd_notify(3)). */
#pragma once

#include "lib/peer.h"
#include "scoreboard.h"

#include <stdbool.h>

struct listener;

/* Sessions reserved for telling clients why they are refused. */
#define LISTENER_REFUSALS_MAX 64

struct listener_limits {
	unsigned sessions; /* at most SCOREBOARD_SLOTS - LISTENER_REFUSALS_MAX */
	unsigned sessions_per_source;
};

enum listener_event {
	LISTENER_SESSION, /* this is a new process, with a client on descriptors 0 and 1 */
	LISTENER_RELOAD,  /* SIGHUP: the settings are to be read again */
	LISTENER_END, /* SIGTERM, or inetd's listener has nothing to do: all sessions are over */
};

struct listener_session {
	struct peer peer;
	struct scoreboard_slot_ref slot_ref;
	const char *refusal; /* why it cannot be served; a string constant. NULL: it can */
};

/* Takes what was inherited. A client is on descriptors 0 and 1 then, and *ret is NULL; otherwise
 * the caller frees the listener. Returns 0, or
 *   -EINVAL  LISTEN_FDS has something else than one connection or stream sockets that listen
 *   -ENOMEM  or what the system says */
int listener_inherit(struct listener **ret);

/* Listens until something happens that is not the listener's to do. After LISTENER_SESSION the
 * process has nothing to do with the listener any more but to free it, when it is done with the
 * scoreboard. Returns 0, or what the system says if it cannot go on. */
int listener_next(struct listener *listener, const struct listener_limits *limits,
		  enum listener_event *ret_event, struct listener_session *ret_session);

/* Frees it. Takes NULL. */
void listener_free(struct listener *listener);
