/* SPDX-License-Identifier: ISC
 * The keeper: a process that never reads an octet from a client. It checks passwords, each in a
 * child (a checker), signs TLS handshakes, counts failed logins, and consents when a talker (the
 * process of one session) takes on the ids of its account. A listener has one keeper; without a
 * listener, each connection has its own. The keeper trusts the settings and the files that they
 * name, but no talker. doc/DESIGN.md has all processes. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct channel_request;
struct listener;
struct settings;

/* Whether the settings and the privileges of this process call for a keeper. */
bool keeper_is_wanted(const struct settings *settings);

/* Forks the keeper and waits until it is ready. SANDBOX_CONTROL_FD becomes this process's end of
 * the control socket; once all copies are closed, the keeper ends with its last session. Without a
 * listener (NULL) this process is the talker. `argc` and `argv` serve to read the settings again.
 * ret_fds, which the caller closes: the Landlock ruleset before login; the public TLS file (tls.h),
 * or -1: TLS is off or cannot be served. Returns 0, 1 in the keeper when it has ended, or -EBADMSG
 * after an error in the log. */
int keeper_start(struct settings *settings, int argc, char *argv[], struct listener *listener,
		 pid_t *ret_pid, int ret_fds[2]);

/* For --check-config: checks what the keeper and talkers need, and confines the process as the
 * keeper. Returns 0, or -EBADMSG or -EOPNOTSUPP after an error in the log. */
int keeper_become(const struct settings *settings);

/* For a listener: makes the keeper read the settings again. Returns as keeper_start(). */
int keeper_reload(int ret_fds[2]);

/* For a listener, when SANDBOX_CONTROL_FD is readable: returns the public TLS file of renewed
 * certificates, which the caller closes, or a negative errno. */
int keeper_take_renewed(void);

/* For a talker, before it reads from its client: registers the session with the keeper. Closes
 * SANDBOX_CONTROL_FD and both descriptors: the keeper's end of the channel, and the descriptor of
 * seccomp's notifications. Returns 0 or a negative errno. */
int keeper_begin(struct channel_request *begin_request, const int fds[2]);
