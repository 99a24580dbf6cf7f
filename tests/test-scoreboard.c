/* SPDX-License-Identifier: ISC
 * scoreboard.c: waits, and who may sleep. */
#include "scoreboard.h"

#include "tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned wait_s(const struct scoreboard_slot_ref *slot_ref, const char *user)
{
	return scoreboard_wait_s(slot_ref, user, 2, 15);
}

static void fail(const struct scoreboard_slot_ref *slot_ref, const char *user, int first, int count)
{
	char password[12];

	for (int i = first; i < first + count; i++) {
		(void)snprintf(password, sizeof(password), "%d", i);
		scoreboard_note_failure(slot_ref, user, password);
	}
}

static void test_waits(struct scoreboard *scoreboard)
{
	static const unsigned expected[] = { 0, 0, 0, 2, 4, 8, 15, 15 };
	const struct scoreboard_slot_ref slot_ref = { scoreboard, 0, 7, false };
	bool good = true;

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		good &= wait_s(&slot_ref, "bob") == expected[i];
		fail(&slot_ref, "alice", (int)i, 1);
	}
	(void)tap(good, "a login waits from the third failure on, twice as long each time");
	(void)tap(scoreboard_wait_s(&slot_ref, "alice", 0, 15) == 0,
		  "without a penalty nobody waits");
	(void)tap(wait_s(&(struct scoreboard_slot_ref){ scoreboard, 0, 8, false }, "alice") == 0,
		  "nor does another source");
	fail(&slot_ref, "alice", 100, 100);
	(void)tap(wait_s(&slot_ref, "bob") == 15, "many failures do not overflow");
	(void)tap(wait_s(NULL, "alice") == 0, "without a listener nobody waits");
	scoreboard_forget(scoreboard, 7);
	fail(&slot_ref, "alice", 0, 3);
	fail(&slot_ref, "alice", 0, 3);
	(void)tap(wait_s(&slot_ref, "bob") == 2, "the same attempts again are no more failures");
	fail(&slot_ref, "ALICE", 3, 1);
	(void)tap(wait_s(&slot_ref, "bob") == 4, "another password is one");
	fail(&slot_ref, "bob", 0, 1);
	(void)tap(wait_s(&slot_ref, "bob") == 8, "and the same for another user is one");
}

/* In a process of its own, since it unmaps the failures. */
static void login(const struct scoreboard_slot_ref *slot_ref, const char *user)
{
	pid_t pid = fork();

	if (pid == 0) {
		scoreboard_note_login(slot_ref, user);
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
}

static unsigned wait_after_login(const struct scoreboard_slot_ref *slot_ref, const char *user)
{
	scoreboard_set(slot_ref->scoreboard, slot_ref->slot, SCOREBOARD_BEFORE_LOGIN);
	(void)login(slot_ref, user);
	return wait_s(slot_ref, "eve");
}

static void test_logins(struct scoreboard *scoreboard)
{
	const struct scoreboard_slot_ref slot_ref = { scoreboard, 0, 9, false };
	const struct scoreboard_slot_ref trusted = { scoreboard, 1, 9, true };

	fail(&slot_ref, "alice", 0, 3);
	fail(&slot_ref, "bob", 0, 3);
	(void)tap(wait_after_login(&slot_ref, "carol") == 15, "a login forgives nobody else");
	(void)tap(wait_after_login(&slot_ref, "Alice") == 2, "and all failures of its account");
	(void)tap(wait_after_login(&slot_ref, "bob") == 0, "so that none is left");
	fail(&trusted, "alice", 0, 4);
	(void)tap(wait_s(&trusted, "alice") == 4, "a trusted source waits for one account");
	(void)tap(wait_s(&trusted, "bob") == 0, "and not for another");
	(void)tap(wait_s(&slot_ref, "alice") == 0, "nor does another source");
	scoreboard_set(scoreboard, 0, SCOREBOARD_BEFORE_LOGIN);
	(void)tap(scoreboard_evict(scoreboard, 0) && !scoreboard_evict(scoreboard, 0),
		  "a session is evicted once");
	(void)tap(scoreboard_is_evicted(&slot_ref), "and knows it");
	login(&slot_ref, "alice");
	(void)tap(!scoreboard_evict(scoreboard, 0), "one that has logged in is not");
}

static void test_sleep(struct scoreboard *scoreboard)
{
	const struct scoreboard_slot_ref refs[] = {
		{ scoreboard, 0, 0, false },
		{ scoreboard, 200, 0, false },
		{ scoreboard, SCOREBOARD_SLOTS - 1, 0, false },
	};

	for (int i = 0; i < 3; i++) {
		scoreboard_set(scoreboard, refs[i].slot, SCOREBOARD_BEFORE_LOGIN);
		login(&refs[i], i < 2 ? "alice" : "bob");
	}
	(void)tap(scoreboard_note_sleep(&refs[0], 1) == 0, "one may sleep");
	(void)tap(scoreboard_note_sleep(&refs[1], 1) == -EDQUOT, "a second of the user may not");
	(void)tap(scoreboard_state(scoreboard, 200) == SCOREBOARD_AWAKE, "and stays awake");
	(void)tap(scoreboard_note_sleep(&refs[2], 1) == 0, "another user's may");
	scoreboard_note_wake(&refs[0]);
	(void)tap(scoreboard_note_sleep(&refs[1], 1) == 0, "who wakes up gives the slot back");
	scoreboard_set(scoreboard, 200, SCOREBOARD_FREE);
	(void)tap(scoreboard_note_sleep(&refs[0], 1) == 0, "and so does who ends");
}

int main(void)
{
	struct scoreboard *scoreboard;

	if (scoreboard_new(&scoreboard) < 0)
		return 1;
	test_waits(scoreboard);
	test_logins(scoreboard);
	test_sleep(scoreboard);
	free(scoreboard);
	return tap_end();
}
