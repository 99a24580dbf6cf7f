/* SPDX-License-Identifier: ISC
 *
 * scoreboard.c: waits, and who may sleep. */
#include "scoreboard.h"

#include "tap.h"

#include <errno.h>

static void test_waits(struct scoreboard *scoreboard)
{
	static const unsigned expected[] = { 0, 0, 0, 2, 4, 8, 15, 15 };
	const struct scoreboard_slot_ref slot_ref = { scoreboard, 0, 7 };
	bool good = true;

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		good &= scoreboard_wait_s(&slot_ref, 2, 15) == expected[i];
		scoreboard_note_failure(&slot_ref);
	}
	(void)tap(good, "a login waits from the third failure on, twice as long each time");
	(void)tap(scoreboard_wait_s(&slot_ref, 0, 15) == 0, "without a penalty nobody waits");
	(void)tap(scoreboard_wait_s(&(struct scoreboard_slot_ref){ scoreboard, 0, 8 }, 2, 15) == 0,
		  "nor does another source");
	for (int i = 0; i < 100; i++)
		scoreboard_note_failure(&slot_ref);
	(void)tap(scoreboard_wait_s(&slot_ref, 2, 15) == 15, "many failures do not overflow");
	scoreboard_begin(scoreboard, 0);
	scoreboard_note_login(&slot_ref, "alice");
	(void)tap(scoreboard_wait_s(&slot_ref, 2, 15) == 0, "one that succeeds ends the row");
	(void)tap(scoreboard_wait_s(NULL, 2, 15) == 0, "without a listener nobody waits");
}

static void test_sleep(struct scoreboard *scoreboard)
{
	const struct scoreboard_slot_ref refs[] = {
		{ scoreboard, 0, 0 },
		{ scoreboard, 200, 0 },
		{ scoreboard, SCOREBOARD_SLOTS - 1, 0 },
	};

	for (int i = 0; i < 3; i++) {
		scoreboard_begin(scoreboard, refs[i].slot);
		scoreboard_note_login(&refs[i], i < 2 ? "alice" : "bob");
	}
	(void)tap(scoreboard_note_sleep(&refs[0], 1) == 0, "one may sleep");
	(void)tap(scoreboard_note_sleep(&refs[1], 1) == -EDQUOT, "a second of the user may not");
	(void)tap(scoreboard_state(scoreboard, 200) == SCOREBOARD_AWAKE, "and stays awake");
	(void)tap(scoreboard_note_sleep(&refs[2], 1) == 0, "another user's may");
	scoreboard_note_wake(&refs[0]);
	(void)tap(scoreboard_note_sleep(&refs[1], 1) == 0, "who wakes up gives the slot back");
	scoreboard_end(scoreboard, 200);
	(void)tap(scoreboard_note_sleep(&refs[0], 1) == 0, "and so does who ends");
}

int main(void)
{
	struct scoreboard *scoreboard;

	if (scoreboard_new(&scoreboard) < 0)
		return 1;
	test_waits(scoreboard);
	test_sleep(scoreboard);
	scoreboard_free(scoreboard);
	return tap_end();
}
