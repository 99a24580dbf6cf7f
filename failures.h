/* SPDX-License-Identifier: ISC
 * Counts failed logins, by source of connections or, for trusted networks, by account, in memory
 * that several processes share: those of a listener, or all that open one file. Whoever was taken
 * over can write to what it has of that: the worst result is wrong delays. NULL is none: nothing
 * is counted then, and nobody waits. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define FAILURES_FREE 3 /* in a row that a user trying passwords may make */

#define FAILURES_WAIT_MAX_S 15 /* for failures of other sessions from the same source */

struct failures;

/* Makes one that lives as long as the process, which shares it with its children (`fd` < 0); or
 * with all that open a file, which nobody else may write to or shorten. A file of another layout,
 * or a shorter one, is begun anew. Returns 0, or a negative errno, for instance -ENOSPC. */
int failures_new(int fd, struct failures **ret);

/* The seconds that a login as `user` has to wait after several recent failures from its source:
 * `penalty_s`, doubling with each, but at most `max_s`. */
unsigned failures_wait_s(const struct failures *failures, const struct in6_addr *source,
			 bool is_trusted, const char *user, unsigned penalty_s, unsigned max_s);

/* Notes that a login has failed. The same password again for the same user is one failure. */
void failures_note(struct failures *failures, const struct in6_addr *source, bool is_trusted,
		   const char *user, const char *password);

/* Notes a login: forgets the user's failures. */
void failures_forgive(struct failures *failures, const struct in6_addr *source, bool is_trusted,
		      const char *user);

/* ---- For a session without a keeper ---- */

/* Unmaps what sessions of the other kind need, trusted or not. First. */
void failures_confine(struct failures *failures, bool is_trusted);

/* Notes its login, and unmaps the rest. Returns a digest of the user for scoreboard_note_login(),
 * under a key that is wiped. */
uint64_t failures_leave(struct failures *failures, const struct in6_addr *source, bool is_trusted,
			const char *user);
