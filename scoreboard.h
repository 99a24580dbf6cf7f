/* SPDX-License-Identifier: ISC
 *
 * Memory shared by a listener's sessions: who sleeps, and which clients failed to log in. Each
 * session has a slot, each source of connections a row of failures. A compromised session can write
 * anything there: the worst results are wrong limits and waits. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SCOREBOARD_SLOTS 65600
/* Those connected, and some more that are remembered for their failures. */
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

/* Returns 0, or what mmap(2) says. Memory is used only for slots that are. */
int scoreboard_new(struct scoreboard **ret);

/* Unmaps it in this process. Takes NULL. */
void scoreboard_free(struct scoreboard *scoreboard);

/* Begins and ends the use of a slot. */
void scoreboard_begin(struct scoreboard *scoreboard, size_t slot);
void scoreboard_end(struct scoreboard *scoreboard, size_t slot);
enum scoreboard_state scoreboard_state(const struct scoreboard *scoreboard, size_t slot);

/* Notes a failed login from a source; tells whether it has some that still count; forgets them. */
void scoreboard_add_failure(struct scoreboard *scoreboard, size_t source);
bool scoreboard_has_failures(const struct scoreboard *scoreboard, size_t source);
void scoreboard_forget(struct scoreboard *scoreboard, size_t source);

/* ---- For a session ---- */

/* A session's slot; without one (NULL) the functions below do nothing. */
struct scoreboard_slot_ref {
	struct scoreboard *scoreboard;
	size_t slot, source;
};

/* Notes that a login failed, or that `user` has logged in. */
void scoreboard_note_failure(const struct scoreboard_slot_ref *slot_ref);
void scoreboard_note_login(const struct scoreboard_slot_ref *slot_ref, const char *user);

/* The seconds that a login has to wait after several recent failures in a row from its source:
 * `penalty_s`, doubling with each, but at most `max_s`. */
unsigned scoreboard_wait_s(const struct scoreboard_slot_ref *slot_ref, unsigned penalty_s,
			   unsigned max_s);

/* Notes that the session falls asleep or wakes up. Returns 0, or -EDQUOT if `max` sessions of its
 * user sleep already. */
int scoreboard_note_sleep(const struct scoreboard_slot_ref *slot_ref, unsigned max);
void scoreboard_note_wake(const struct scoreboard_slot_ref *slot_ref);
