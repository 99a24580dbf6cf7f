/* SPDX-License-Identifier: ISC
 * A checker: a child of the keeper that checks one account. It may take long, block, or crash. */
#pragma once

#include "channel.h"

#include <sys/types.h>

/* More wait. */
#define CHECKERS_MAX 32

/* Forks a process in a group of its own that ends with this one. It closes all but these
 * descriptors (-1: none) and the first three: those of sessions would last as long as it does.
 * Returns as fork(2). */
pid_t checker_fork(int fd, int other_fd);

/* Starts one. With a password it is a login; else (NULL) `account` is looked at again. Returns 0 or
 * a negative errno. *ret_fd: where its answer comes, if it can. */
int checker_start(const struct settings *settings, const struct channel_request *begin,
		  const struct channel_login *login, const struct account *account, pid_t *ret_pid,
		  int *ret_fd);

/* Takes the answer, and the ruleset of its account (-1: none), which the caller closes. Kills it
 * and its children. -ETIMEDOUT: there is none yet; -EIO: it has ended without an answer. */
int checker_end(pid_t pid, int fd, struct channel_answer *ret_answer, int *ret_ruleset_fd);

/* Reaps those that have ended; returns how many have not. */
unsigned checker_count(void);
