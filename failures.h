/* SPDX-License-Identifier: ISC
 * Counts failed logins, so that clients that guess passwords back off: by source, or for trusted
 * networks by account. The first wait is the penalty (`login-penalty`); each failure doubles it.
 * Runs before login, in memory shared by a listener's processes, or by all that open one file. A
 * compromised process can write there: the worst result is wrong waits. NULL counts nothing. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#define FAILURES_FREE 3 /* the failure that begins a wait: a user may try passwords */

#define FAILURES_WAIT_MAX_S 15 /* after failures of other sessions */

struct failures;

/* Maps counts for as long as the process lives: shared with its children (`fd` < 0), or with all
 * that open this file; no other process may write to it or truncate it. Resets a file that has
 * another layout or is too short. Returns 0 or a negative errno, for instance -ENOSPC. */
int failures_new(int fd, struct failures **ret);

/* The seconds that a login as `user` waits after recent failures: 0 below FAILURES_FREE of them,
 * then `penalty_s`, doubling with each, but at most `max_s`. */
unsigned failures_wait_s(const struct failures *failures, const struct in6_addr *source,
			 bool is_trusted, const char *user, unsigned penalty_s, unsigned max_s);

/* Notes a failed login. The same password for the same user counts once. */
void failures_note(struct failures *failures, const struct in6_addr *source, bool is_trusted,
		   const char *user, const char *password);

/* Notes a login: forgets the failures of this user, but no others of the source. */
void failures_forgive(struct failures *failures, const struct in6_addr *source, bool is_trusted,
		      const char *user);

/* ---- For a session without a keeper ---- */

/* Before a session reads: unmaps the table that it does not use (trusted: that of sources). */
void failures_confine(struct failures *failures, bool is_trusted);

/* Notes the login, as failures_forgive(), unmaps the table in use, and wipes the key of digests.
 * Returns the digest of the user for scoreboard_note_login(). */
uint64_t failures_leave(struct failures *failures, const struct in6_addr *source, bool is_trusted,
			const char *user);
