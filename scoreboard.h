/* SPDX-License-Identifier: ISC
 * Memory that a listener shares with its sessions: one slot for each session, which says whether it
 * has logged in and sleeps; and, until it logs in, failed logins and log lines by source of
 * connections. A compromised session can write to what it has of that: before login the worst
 * result is wrong limits and delays, after login wrong states of sessions. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_quota;

#define SCOREBOARD_SLOTS 65664
#define SCOREBOARD_SOURCES (SCOREBOARD_SLOTS + 4096) /* with some that had failures */
#define SCOREBOARD_FREE_FAILURES 3 /* in a row that a user trying passwords may make */

enum scoreboard_state {
	SCOREBOARD_FREE,
	SCOREBOARD_BEFORE_LOGIN,
	SCOREBOARD_EVICTED, /* before login: it must end */
	SCOREBOARD_AWAKE,
	SCOREBOARD_ASLEEP,
};

struct scoreboard;

/* ---- For the listener ---- */

/* Makes one for free(3); what is shared stays until the process ends, and counts lines that the log
 * has lost. Memory is used only for slots and sources that are. Returns 0 or -ENOMEM. */
int scoreboard_new(struct scoreboard **ret);

/* Begins (SCOREBOARD_BEFORE_LOGIN) or ends (SCOREBOARD_FREE) the use of a slot. */
void scoreboard_set(struct scoreboard *scoreboard, size_t slot, enum scoreboard_state state);
enum scoreboard_state scoreboard_state(const struct scoreboard *scoreboard, size_t slot);

/* Evicts a session that has not logged in. Returns whether that is so. */
bool scoreboard_evict(struct scoreboard *scoreboard, size_t slot);

/* Whether a source has failures that still count; forgets all about it. */
bool scoreboard_has_failures(const struct scoreboard *scoreboard, size_t source);
void scoreboard_forget(struct scoreboard *scoreboard, size_t source);

/* What bounds the log lines about a source. */
struct log_quota *scoreboard_quota(struct scoreboard *scoreboard, size_t source);

/* ---- For a session ---- */

/* A session's slot. Without a listener it is NULL, and the functions below do nothing. */
struct scoreboard_slot_ref {
	struct scoreboard *scoreboard;
	size_t slot, source;
	bool is_trusted; /* its source: failures count for the account alone */
};

/* Unmaps what sessions of the other kind need, trusted or not. Returns its lines' quota or NULL. */
struct log_quota *scoreboard_enter(const struct scoreboard_slot_ref *slot_ref);

/* Notes that a login has failed. The same password again for the same user is one failure. */
void scoreboard_note_failure(const struct scoreboard_slot_ref *slot_ref, const char *user,
			     const char *password);

/* The seconds that a login as `user` has to wait after several recent failures from its source:
 * `penalty_s`, doubling with each, but at most `max_s`. */
unsigned scoreboard_wait_s(const struct scoreboard_slot_ref *slot_ref, const char *user,
			   unsigned penalty_s, unsigned max_s);

/* Notes that the client has shown who it is: it counts as one that has logged in, also while it
 * waits for its mailbox. Returns 0, or -ECANCELED: it was evicted, which no trusted one can be. */
int scoreboard_note_password(const struct scoreboard_slot_ref *slot_ref);

/* Notes that such a client did not get its mailbox: it has not logged in. */
void scoreboard_note_refusal(const struct scoreboard_slot_ref *slot_ref);

/* Notes a login: forgets the user's failures, and unmaps what is about sources. */
void scoreboard_note_login(const struct scoreboard_slot_ref *slot_ref, const char *user);

bool scoreboard_is_evicted(const struct scoreboard_slot_ref *slot_ref);

/* Notes that it falls asleep (-EDQUOT: it may not, `max` of its user do already) or wakes up. */
int scoreboard_note_sleep(const struct scoreboard_slot_ref *slot_ref, unsigned max);
void scoreboard_note_wake(const struct scoreboard_slot_ref *slot_ref);
