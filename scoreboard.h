/* SPDX-License-Identifier: ISC
 * Memory that a listener shares with its sessions: one slot for each session, which says whether it
 * has logged in and sleeps; and, until it logs in, what bounds the log lines of its source of
 * connections. A compromised session can write to what it has of that: the worst result is wrong
 * limits, before login, and wrong states: with a keeper its own alone, else of all sessions. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_quota;

#define SCOREBOARD_SLOTS 65664
#define SCOREBOARD_SOURCES (SCOREBOARD_SLOTS + 4224) /* with some that have no session now */

enum scoreboard_state {
	SCOREBOARD_NEVER_USED,
	SCOREBOARD_FREE,
	SCOREBOARD_BEFORE_LOGIN,
	SCOREBOARD_EVICTED, /* before login: it must end */
	SCOREBOARD_AWAKE,
	SCOREBOARD_ASLEEP,
};

struct scoreboard;

/* ---- For the listener ---- */

/* Makes one for free(3); what is shared stays until the process ends. It counts lines
 * that the log has lost. Memory is used only for slots and sources that are. With a keeper, a slot
 * has a page of its own; the lines that its session lost the next one tells of. Returns 0 or
 * -ENOMEM. */
int scoreboard_new(bool has_keeper, struct scoreboard **ret);

/* Begins (SCOREBOARD_BEFORE_LOGIN) or ends (SCOREBOARD_FREE) the use of a slot; the first that was
 * never used may be begun, too. */
void scoreboard_set(struct scoreboard *scoreboard, size_t slot, enum scoreboard_state state);
enum scoreboard_state scoreboard_state(const struct scoreboard *scoreboard, size_t slot);

/* Evicts a session that has not logged in. Returns whether that is so. */
bool scoreboard_evict(struct scoreboard *scoreboard, size_t slot);

/* What bounds the log lines about a source. A source that is new begins with all 0. */
struct log_quota *scoreboard_quota(struct scoreboard *scoreboard, size_t source);

/* ---- For a session ---- */

/* A session's slot. Without a listener it is NULL, and the functions below do nothing. */
struct scoreboard_slot_ref {
	struct scoreboard *scoreboard;
	size_t slot, source;
	bool is_trusted; /* its source: its lines have no bounds */
};

/* Unmaps all quotas but those in a page with that of its source and, with a keeper, all other
 * slots. Returns the quota of its lines or NULL. */
struct log_quota *scoreboard_enter(const struct scoreboard_slot_ref *slot_ref);

/* Notes that the client has shown who it is: it counts as one that has logged in, also while it
 * waits for its mailbox. Returns 0, or -ECANCELED: it was evicted, which no trusted one can be. */
int scoreboard_note_password(const struct scoreboard_slot_ref *slot_ref);

/* Notes a state: that such a client did not get its mailbox (SCOREBOARD_BEFORE_LOGIN), or that a
 * session wakes up. */
void scoreboard_note(const struct scoreboard_slot_ref *slot_ref, enum scoreboard_state state);

/* Notes a login of a user with this digest, and unmaps what is about sources. */
void scoreboard_note_login(const struct scoreboard_slot_ref *slot_ref, uint64_t user);

bool scoreboard_is_evicted(const struct scoreboard_slot_ref *slot_ref);

/* Notes that it falls asleep (-EDQUOT: it may not, `max` of its user do already; a keeper counts
 * them elsewhere). */
int scoreboard_note_sleep(const struct scoreboard_slot_ref *slot_ref, unsigned max);
