/* SPDX-License-Identifier: ISC
 * A checker: a child of the keeper that checks one account, for a login or a WAKE. It may block,
 * leak or crash. It trusts the settings and what they name, but no text from a client. */
#pragma once

#include "channel.h"

#include <sys/types.h>

#define CHECKERS_MAX 32	   /* at the limit, further checks wait */
#define CHECKERS_TRUSTED 8 /* more, for trusted networks only */

/* Forks a child, which has its own process group, and is killed when this process ends. The child
 * closes all descriptors but 0 to 2 and these two (-1: none), because a copy would keep a session's
 * channel open. Returns as fork(2). */
pid_t checker_fork(int fd, int other_fd);

/* Starts a checker: for a login, or (NULL) to check `account` again. Returns 0 or a negative errno;
 * in both cases the caller passes *ret_pid and *ret_fd to checker_end(), and closes *ret_fd. */
int checker_start(const struct settings *settings, const struct channel_request *begin,
		  const struct channel_login *login, const struct account *account, pid_t *ret_pid,
		  int *ret_fd);

/* Receives the answer and the account's Landlock ruleset (-1: none; the caller closes it). Kills
 * the checker and its children. Returns 0, -ETIMEDOUT: no answer yet, -EFAULT: it has ended without
 * a valid answer, or -EIO: it was not started. */
int checker_end(pid_t pid, int fd, struct channel_answer *ret_answer, int *ret_ruleset_fd);

/* Reaps the checkers that have ended. Returns how many are left. */
unsigned checker_count(void);
