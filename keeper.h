/* SPDX-License-Identifier: ISC
 * The keeper: a process that has never read an octet of a client. It checks passwords, each in a
 * child of its own (a checker), counts failures, and consents when a talker, the process of a
 * session, takes on the ids of its account. Beside a listener there is one; else one for each
 * connection. doc/DESIGN.md says who may do what. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct channel_request;
struct listener;
struct settings;

/* Whether the settings and the privilege of this process ask for a keeper. */
bool keeper_is_wanted(const struct settings *settings);

/* Starts the keeper, which ends with its last session once SANDBOX_CONTROL_FD, its other end, is
 * closed everywhere: by this process, the listener or (`listener` is NULL) the talker, and by its
 * children. ret_fds: what sessions enter before login; the public file of TLS, or -1 if it is off
 * or cannot be served. With `argc` and `argv` settings can be read again. Returns 0, 1 in the
 * keeper when it has ended, or -EBADMSG after an error in the log. */
int keeper_start(struct settings *settings, int argc, char *argv[], struct listener *listener,
		 pid_t *ret_pid, int ret_fds[2]);

/* For --check-config: becomes what the keeper is, if all that it and talkers need is there. Returns
 * 0, or -EBADMSG after an error in the log. */
int keeper_become(const struct settings *settings);

/* For a listener: the keeper reads the settings again. Returns as keeper_start(). */
int keeper_reload(int ret_fds[2]);

/* For a listener, when there is something to read: returns the public file of certificates that
 * the keeper has found renewed, which the caller closes, or a negative errno. */
int keeper_take_renewed(void);

/* For a talker, before it reads an octet: tells the keeper about it. Closes the way to do so, and
 * both descriptors: the keeper's end of the channel, and that of notifications. */
int keeper_begin(struct channel_request *begin_request, const int fds[2]);
