/* SPDX-License-Identifier: ISC
 * scoreboard.c: states, the limit for sleepers, and the parts that a session can read. */
#include "scoreboard.h"

#include "log.h"
#include "tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ALICE = 1, BOB };

/* Forks, because a session unmaps parts that the following tests need. */
static void login(const struct scoreboard_slot_ref *slot_ref, uint64_t user)
{
	pid_t pid = fork();

	if (pid == 0) {
		(void)scoreboard_enter(slot_ref);
		scoreboard_note_login(slot_ref, user);
		(void)scoreboard_note_password(slot_ref);
		_exit(0);
	}
	(void)waitpid(pid, NULL, 0);
}

static void test_states(struct scoreboard *scoreboard)
{
	const struct scoreboard_slot_ref slot_ref = { scoreboard, 0, 9, false };

	scoreboard_set(scoreboard, 0, SCOREBOARD_BEFORE_LOGIN);
	login(&slot_ref, ALICE);
	(void)tap(!scoreboard_evict(scoreboard, 0), "a session that has logged in is not evicted");
	scoreboard_note(&slot_ref, SCOREBOARD_BEFORE_LOGIN);
	(void)tap(scoreboard_evict(scoreboard, 0) && !scoreboard_evict(scoreboard, 0),
		  "a session that has not logged in is evicted, once");
	(void)tap(scoreboard_is_evicted(&slot_ref) &&
			  scoreboard_note_password(&slot_ref) == -ECANCELED,
		  "and knows it");
	scoreboard_set(scoreboard, 0, SCOREBOARD_FREE);
	(void)tap(!scoreboard_is_evicted(&slot_ref), "the next session in its slot is not");
}

static sigjmp_buf after_fault;

static void catch_fault(int signal_number)
{
	(void)signal_number;
	siglongjmp(after_fault, 1);
}

/* Whether the page of this slot or quota is readable. */
static bool is_mapped(struct scoreboard *scoreboard, size_t index, bool is_quota)
{
	if (sigsetjmp(after_fault, 1))
		return false;
	return (is_quota ? (size_t)scoreboard_quota(scoreboard, index)->next_s :
			   (size_t)scoreboard_state(scoreboard, index)) < SIZE_MAX;
}

/* Returns the parts that a session can read, as bits: its slot, the next slot, its source's quota,
 * the quota 20 sources further. */
static unsigned look(struct scoreboard *scoreboard)
{
	return (unsigned)is_mapped(scoreboard, 700, false) |
	       (unsigned)is_mapped(scoreboard, 701, false) << 1 |
	       (unsigned)is_mapped(scoreboard, 5000, true) << 2 |
	       (unsigned)is_mapped(scoreboard, 9000, true) << 3;
}

/* Whether a session can read these parts before and after login. */
static bool sees(struct scoreboard *scoreboard, bool is_trusted, unsigned before, unsigned after)
{
	const struct scoreboard_slot_ref slot_ref = { scoreboard, 700, 5000, is_trusted };
	pid_t pid = fork();
	int status = -1;

	if (pid == 0) {
		(void)signal(SIGSEGV, catch_fault);
		if (look(scoreboard) != 15)
			_exit(1);
		if (!scoreboard_enter(&slot_ref) != is_trusted || look(scoreboard) != before)
			_exit(2);
		scoreboard_note_login(&slot_ref, ALICE);
		if (look(scoreboard) != after)
			_exit(3);
		(void)signal(SIGSEGV, SIG_DFL);
		_exit(scoreboard_note_sleep(&slot_ref, UINT_MAX) == 0 ? 0 : 4);
	}
	(void)waitpid(pid, &status, 0);
	return status == 0;
}

static void test_pages(struct scoreboard *alone, struct scoreboard *with_keeper)
{
	(void)tap(sees(with_keeper, false, 1 | 4, 1),
		  "with a keeper a session has its own slot, and before login its source's quota");
	(void)tap(sees(with_keeper, true, 1, 1), "a trusted session has no quota");
	(void)tap(sees(alone, false, 1 | 2 | 4, 1 | 2),
		  "without a keeper it has all slots, and before login its source's quota");
	(void)tap(sees(alone, true, 1 | 2, 1 | 2), "and a trusted session has all slots");
}

/* The last slot and source are in the last pages. */
static void test_ends(struct scoreboard *scoreboard)
{
	const struct scoreboard_slot_ref first = { scoreboard, 0, 0, false };
	const struct scoreboard_slot_ref last = { scoreboard, SCOREBOARD_SLOTS - 1,
						  SCOREBOARD_SOURCES - 1, false };

	scoreboard_set(scoreboard, last.slot, SCOREBOARD_BEFORE_LOGIN);
	login(&first, ALICE);
	login(&last, ALICE);
	(void)tap(scoreboard_state(scoreboard, 0) == SCOREBOARD_AWAKE &&
			  scoreboard_state(scoreboard, last.slot) == SCOREBOARD_AWAKE,
		  "the first and the last slot and source are treated like others");
	scoreboard_set(scoreboard, last.slot, SCOREBOARD_FREE);
	(void)tap(scoreboard_state(scoreboard, last.slot) < SCOREBOARD_BEFORE_LOGIN,
		  "the slot of a session that has ended is free");
}

/* Returns the resident octets of the process's shared memory. */
static long shared_octets(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	long size, resident, shared = -1;

	if (!file || fscanf(file, "%ld %ld %ld", &size, &resident, &shared) != 3)
		abort();
	(void)fclose(file);
	return shared * sysconf(_SC_PAGESIZE);
}

static void test_memory(struct scoreboard *scoreboard)
{
	long before = shared_octets(), used;

	for (size_t i = 0; i < 1000; i++)
		scoreboard_set(scoreboard, i, SCOREBOARD_BEFORE_LOGIN);
	used = (shared_octets() - before) / 1000;
	(void)tap(used <= sysconf(_SC_PAGESIZE), "a slot uses at most one page (%ld octets)", used);
	for (size_t i = 0; i < 1000; i++)
		scoreboard_set(scoreboard, i, SCOREBOARD_FREE);
	(void)tap(shared_octets() - before < 100 * sysconf(_SC_PAGESIZE), "and releases it");
}

static void test_sleep(struct scoreboard *scoreboard)
{
	const struct scoreboard_slot_ref refs[] = {
		{ scoreboard, 0, 0, false },
		{ scoreboard, 1, 0, false },
		{ scoreboard, 2, 0, false },
	};

	for (int i = 0; i < 3; i++) {
		scoreboard_set(scoreboard, refs[i].slot, SCOREBOARD_BEFORE_LOGIN);
		login(&refs[i], i < 2 ? ALICE : BOB);
	}
	(void)tap(scoreboard_note_sleep(&refs[0], 1) == 0, "one may sleep");
	(void)tap(scoreboard_note_sleep(&refs[1], 1) == -EDQUOT,
		  "a second session of the user may not sleep");
	(void)tap(scoreboard_state(scoreboard, 1) == SCOREBOARD_AWAKE, "and counts as awake");
	(void)tap(scoreboard_note_sleep(&refs[2], 1) == 0, "another user's may");
	scoreboard_note(&refs[0], SCOREBOARD_AWAKE);
	(void)tap(scoreboard_note_sleep(&refs[1], 1) == 0,
		  "a session that wakes up releases its place");
	scoreboard_set(scoreboard, 1, SCOREBOARD_FREE);
	(void)tap(scoreboard_note_sleep(&refs[0], 1) == 0, "and so does a session that ends");
	scoreboard_set(scoreboard, 0, SCOREBOARD_FREE);
	(void)tap(scoreboard_note_sleep(&refs[1], 0) == -EDQUOT,
		  "a free slot does not stop the count before later slots");
	(void)tap(scoreboard_note_sleep(NULL, 0) == 0,
		  "without a listener every session may sleep");
}

static void test_sleep_with_keeper(struct scoreboard *scoreboard)
{
	const struct scoreboard_slot_ref slot_ref = { scoreboard, 3, 0, false };

	scoreboard_set(scoreboard, 3, SCOREBOARD_BEFORE_LOGIN);
	(void)tap(scoreboard_note_sleep(&slot_ref, UINT_MAX) == 0 &&
			  scoreboard_state(scoreboard, 3) == SCOREBOARD_ASLEEP,
		  "with a keeper a session notes its own sleep and counts no others");
	scoreboard_note(&slot_ref, SCOREBOARD_AWAKE);
	(void)tap(scoreboard_state(scoreboard, 3) == SCOREBOARD_AWAKE, "and its awakening");
}

/* Log lines that could not be written. */
static void test_lost_lines(struct scoreboard *scoreboard)
{
	const struct scoreboard_slot_ref slot_ref = { scoreboard, 0, 0, false };
	int pipes[2];
	char text[200] = "";
	pid_t pid;

	if (pipe(pipes) < 0)
		abort();
	(void)fflush(stdout);
	for (int i = 0; i < 2; i++) { /* the first cannot log, the second can */
		scoreboard_set(scoreboard, 0, SCOREBOARD_BEFORE_LOGIN);
		pid = fork();
		if (pid == 0) {
			(void)dup2(i == 0 ? open("/dev/full", O_WRONLY) : pipes[1], STDERR_FILENO);
			(void)scoreboard_enter(&slot_ref);
			log_warning("one");
			log_warning("two");
			_exit(0);
		}
		(void)waitpid(pid, NULL, 0);
		scoreboard_set(scoreboard, 0, SCOREBOARD_FREE);
	}
	if (read(pipes[0], text, sizeof(text) - 1) < 0)
		abort();
	(void)tap(strstr(text, "2 log lines were lost"),
		  "the next session reports the lines that one lost: %s", strtok(text, "\n"));
}

int main(void)
{
	struct scoreboard *alone, *with_keeper;

	if (scoreboard_new(false, &alone) < 0 || scoreboard_new(true, &with_keeper) < 0)
		return 1;
	test_sleep(alone);
	test_sleep_with_keeper(with_keeper);
	test_states(alone);
	test_states(with_keeper);
	test_pages(alone, with_keeper);
	test_ends(alone);
	test_ends(with_keeper);
	test_memory(alone);
	test_memory(with_keeper);
	test_lost_lines(with_keeper);
	free(alone);
	free(with_keeper);
	return tap_end();
}
