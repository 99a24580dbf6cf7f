/* SPDX-License-Identifier: ISC
 * The scoreboard: memory that a listener shares with its sessions. A slot says whether its session
 * has logged in, and whether it sleeps. A quota limits log lines about a source; until login, a
 * session has its source's. A compromised session can write there, so no process trusts it: the
 * worst results are wrong limits before login, and wrong states (with a keeper, only its own). */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_quota;

#define SCOREBOARD_SLOTS 65664
#define SCOREBOARD_SOURCES (SCOREBOARD_SLOTS + 4224) /* some are remembered without a session */

enum scoreboard_state {
	SCOREBOARD_NEVER_USED,
	SCOREBOARD_FREE,
	SCOREBOARD_BEFORE_LOGIN,
	SCOREBOARD_EVICTED, /* before login, and must end */
	SCOREBOARD_AWAKE,
	SCOREBOARD_ASLEEP,
};

struct scoreboard;

/* ---- For the listener ---- */

/* Makes a scoreboard, for free(3); shared memory stays until the process ends. Only used slots and
 * sources take memory. The log now counts lost lines there. With a keeper, a slot is a page, and
 * the next session reports the lines that an ended one has lost. Returns 0 or -ENOMEM. */
int scoreboard_new(bool has_keeper, struct scoreboard **ret);

/* Begins (SCOREBOARD_BEFORE_LOGIN) or ends (SCOREBOARD_FREE) the use of a slot. A slot to be used
 * is free, or the first that was never used. */
void scoreboard_set(struct scoreboard *scoreboard, size_t slot, enum scoreboard_state state);
enum scoreboard_state scoreboard_state(const struct scoreboard *scoreboard, size_t slot);

/* Marks a session before login as evicted. Returns false if it has logged in. */
bool scoreboard_evict(struct scoreboard *scoreboard, size_t slot);

/* The quota of log lines about a source. The listener sets it to 0 for a new source. */
struct log_quota *scoreboard_quota(struct scoreboard *scoreboard, size_t source);

/* ---- For a session ---- */

/* A session's slot. Without a listener it is NULL, and the functions below do nothing. */
struct scoreboard_slot_ref {
	struct scoreboard *scoreboard;
	size_t slot, source;
	bool is_trusted; /* from a trusted network: without a quota */
};

/* Before a session reads from its client: unmaps quotas of other sources, except in the same page,
 * and with a keeper all other slots. Returns the session's quota; NULL: none. */
struct log_quota *scoreboard_enter(const struct scoreboard_slot_ref *slot_ref);

/* Notes that the password was right: the session counts as logged in, also while it waits for its
 * mailbox. Returns 0, or -ECANCELED: it was evicted (never from a trusted network). */
int scoreboard_note_password(const struct scoreboard_slot_ref *slot_ref);

/* Notes that the session did not get its mailbox after the password (SCOREBOARD_BEFORE_LOGIN), or
 * wakes up (SCOREBOARD_AWAKE). */
void scoreboard_note(const struct scoreboard_slot_ref *slot_ref, enum scoreboard_state state);

/* Notes a login of a user with this digest, and unmaps the quota. */
void scoreboard_note_login(const struct scoreboard_slot_ref *slot_ref, uint64_t user);

bool scoreboard_is_evicted(const struct scoreboard_slot_ref *slot_ref);

/* Notes that the session falls asleep. Returns 0, or -EDQUOT: `max` of its user's sessions sleep
 * already. Always 0 with a keeper, which counts them itself. */
int scoreboard_note_sleep(const struct scoreboard_slot_ref *slot_ref, unsigned max);
