/* SPDX-License-Identifier: ISC
 * The sockets that listen: those of the setting `listen`, or those that the program was started
 * with (systemd's LISTEN_FDS, or standard input under inetd's "wait"). Accepts connections, within
 * limits, and forks a process for each. Tells systemd its state (sd_notify(3)). */
#pragma once

#include "lib/peer.h"
#include "scoreboard.h"

struct failures;
struct listener;
struct settings;
struct tls;

enum listener_event {
	LISTENER_NOTHING, /* never returned */
	LISTENER_SESSION, /* this is a new process, with a client on descriptors 0 and 1 */
	LISTENER_RELOAD,  /* SIGHUP: the settings are to be read again */
	LISTENER_RENEWAL, /* certificates have been renewed, or the keeper says so */
	LISTENER_END,	  /* all sessions are over after SIGTERM, or for a while under inetd */
};

struct listener_session {
	struct peer peer;
	struct scoreboard_slot_ref slot_ref;
	struct failures *failures; /* NULL: a keeper counts them */
	const char *refusal;	   /* why it cannot be served; a string constant. NULL: it can */
};

/* Opens the log; then the sockets of the setting `listen`, or takes what was passed, as
 * libsystemd_listen_fds() says. Puts a client on descriptors 0 and 1, and leaves *ret as it is; or
 * makes a listener that lives as long as the process. Returns 0, or a failure that was logged:
 *   -EBADMSG  the settings name sockets, but others were passed
 *   -EINVAL   LISTEN_FDS has something else than one connection or stream sockets that listen
 *   -E2BIG    it has more than SETTINGS_SOCKETS_MAX; others are the system's */
int listener_open(const struct settings *settings, int passed, struct listener **ret);

/* For the keeper, which is forked after that: closes what it does not need. Takes NULL. */
void listener_close(struct listener *listener);

/* The keeper is this process. If it ends, so does the listener, soon, with -ECHILD. */
void listener_watch_keeper(struct listener *listener, pid_t keeper);

/* The key of TLS session tickets, borrowed. It changes once a day. NULL for NULL. */
unsigned char *listener_ticket_key(struct listener *listener);

/* Tells systemd that it is ready, and listens until there is an event, which it returns, or what
 * the system says if it cannot go on. `tls` has read the files that are looked at, unless there is
 * a keeper; it may be NULL. */
int listener_next(struct listener *listener, const struct settings *settings, struct tls *tls,
		  struct listener_session *ret_session);
