/* SPDX-License-Identifier: ISC
 *
 * What the sessions of one listener have to know of each other, in memory that all of them share:
 * who sleeps, and which clients failed to log in. Each session has a slot, each source of
 * connections a row of failures. A session that somebody has taken over can put nonsense there:
 * the worst that comes of it are wrong limits and waits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SCOREBOARD_SLOTS 65600
/* As many may be connected, and some more are remembered for their failures. */
#define SCOREBOARD_SOURCES (SCOREBOARD_SLOTS + 4096)

/* Failures in a row that a user trying passwords may make. */
#define SCOREBOARD_FREE_FAILURES 3

enum scoreboard_state {
	SCOREBOARD_FREE,
	SCOREBOARD_BEFORE_LOGIN,
	SCOREBOARD_AWAKE,
	SCOREBOARD_ASLEEP,
};

struct scoreboard;

/* ---- For the listener ---- */

/* Memory is used as slots are. Returns 0, or what mmap(2) says. */
int scoreboard_new(struct scoreboard **ret);

/* Unmaps it here. Takes NULL. */
void scoreboard_free(struct scoreboard *scoreboard);

/* Begins and ends the use of a slot. */
void scoreboard_begin(struct scoreboard *scoreboard, size_t slot);
void scoreboard_end(struct scoreboard *scoreboard, size_t slot);
enum scoreboard_state scoreboard_state(const struct scoreboard *scoreboard, size_t slot);

/* Notes that a login from a source failed. */
void scoreboard_add_failure(struct scoreboard *scoreboard, size_t source);

/* Whether a source has failures that still count; forgets them. */
bool scoreboard_has_failures(const struct scoreboard *scoreboard, size_t source);
void scoreboard_forget(struct scoreboard *scoreboard, size_t source);

/* ---- For a session ---- */

/* A session's slot on the scoreboard; without one (NULL) nothing below does anything. */
struct scoreboard_slot_ref {
	struct scoreboard *scoreboard;
	size_t slot, source;
};

/* Notes that this session's login failed, or that it is `user` who has logged in. */
void scoreboard_note_failure(const struct scoreboard_slot_ref *slot_ref);
void scoreboard_note_login(const struct scoreboard_slot_ref *slot_ref, const char *user);

/* The seconds that a login has to wait, after several failures in a row from its source and unless
 * they are long ago: `penalty_s`, doubling with each, but never more than `max_s`. */
unsigned scoreboard_wait_s(const struct scoreboard_slot_ref *slot_ref, unsigned penalty_s,
			   unsigned max_s);

/* Notes that the session falls asleep, unless `max` sessions of its user sleep already, and that it
 * has woken up. Returns 0 or -EDQUOT. */
int scoreboard_note_sleep(const struct scoreboard_slot_ref *slot_ref, unsigned max);
void scoreboard_note_wake(const struct scoreboard_slot_ref *slot_ref);
