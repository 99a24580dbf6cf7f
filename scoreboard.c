/* SPDX-License-Identifier: ISC
 *
 * Every member is atomic, since nobody has a lock. */
#include "scoreboard.h"

#include "lib/util.h"

#include <stdatomic.h>
#include <sys/mman.h>

/* Failures are forgotten after this time without a new one: nobody is shut out for good. */
#define FORGET_S 300

struct scoreboard_slot {
	_Atomic uint64_t user; /* a digest of the name, from login on */
	_Atomic uint32_t state;
};

struct failure_row {
	_Atomic uint32_t failures;
	_Atomic uint32_t last_s; /* monotonic */
};

struct scoreboard {
	_Atomic size_t end; /* of the slots that have been used */
	struct scoreboard_slot slots[SCOREBOARD_SLOTS];
	struct failure_row sources[SCOREBOARD_SOURCES];
};

static uint32_t now_s(void)
{
	return (uint32_t)(util_now_ms() / 1000);
}

/* ---- For the listener ---- */

int scoreboard_new(struct scoreboard **ret)
{
	void *memory = mmap(NULL, sizeof(struct scoreboard), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return -errno;
	*ret = memory;
	return 0;
}

void scoreboard_free(struct scoreboard *scoreboard)
{
	if (scoreboard)
		(void)munmap(scoreboard, sizeof(*scoreboard));
}

void scoreboard_begin(struct scoreboard *scoreboard, size_t slot)
{
	scoreboard->slots[slot].user = 0;
	scoreboard->slots[slot].state = SCOREBOARD_BEFORE_LOGIN;
	if (scoreboard->end <= slot)
		scoreboard->end = slot + 1;
}

void scoreboard_end(struct scoreboard *scoreboard, size_t slot)
{
	scoreboard->slots[slot].state = SCOREBOARD_FREE;
}

enum scoreboard_state scoreboard_state(const struct scoreboard *scoreboard, size_t slot)
{
	return scoreboard->slots[slot].state;
}

void scoreboard_add_failure(struct scoreboard *scoreboard, size_t source)
{
	if (!scoreboard_has_failures(scoreboard, source))
		scoreboard_forget(scoreboard, source);
	scoreboard->sources[source].last_s = now_s();
	scoreboard->sources[source].failures++;
}

bool scoreboard_has_failures(const struct scoreboard *scoreboard, size_t source)
{
	return scoreboard->sources[source].failures > 0 &&
	       now_s() - scoreboard->sources[source].last_s < FORGET_S;
}

void scoreboard_forget(struct scoreboard *scoreboard, size_t source)
{
	scoreboard->sources[source].failures = 0;
}

/* ---- For a session ---- */

/* FNV-1a. Two users with the same digest share a limit. */
static uint64_t digest_name(const char *name)
{
	uint64_t digest = UINT64_C(14695981039346656037);

	for (; *name; name++)
		digest = (digest ^ (unsigned char)*name) * UINT64_C(1099511628211);
	return digest;
}

void scoreboard_note_failure(const struct scoreboard_slot_ref *slot_ref)
{
	if (slot_ref)
		scoreboard_add_failure(slot_ref->scoreboard, slot_ref->source);
}

void scoreboard_note_login(const struct scoreboard_slot_ref *slot_ref, const char *user)
{
	if (!slot_ref)
		return;
	scoreboard_forget(slot_ref->scoreboard, slot_ref->source);
	slot_ref->scoreboard->slots[slot_ref->slot].user = digest_name(user);
	scoreboard_note_wake(slot_ref);
}

unsigned scoreboard_wait_s(const struct scoreboard_slot_ref *slot_ref, unsigned penalty_s,
			   unsigned max_s)
{
	uint32_t failures = 0;

	if (slot_ref && scoreboard_has_failures(slot_ref->scoreboard, slot_ref->source))
		failures = slot_ref->scoreboard->sources[slot_ref->source].failures;
	if (failures < SCOREBOARD_FREE_FAILURES || penalty_s == 0)
		return 0;
	for (; failures > SCOREBOARD_FREE_FAILURES && penalty_s < max_s; failures--)
		penalty_s *= 2;
	return penalty_s < max_s ? penalty_s : max_s;
}

static unsigned count_sleeping(const struct scoreboard *scoreboard, uint64_t user)
{
	unsigned count = 0;

	for (size_t i = 0; i < scoreboard->end && i < SCOREBOARD_SLOTS; i++)
		count += scoreboard->slots[i].state == SCOREBOARD_ASLEEP &&
			 scoreboard->slots[i].user == user;
	return count;
}

/* Counts itself: of two sessions at once both may be refused, but never both let in. */
int scoreboard_note_sleep(const struct scoreboard_slot_ref *slot_ref, unsigned max)
{
	struct scoreboard_slot *slot;

	if (!slot_ref)
		return 0;
	slot = &slot_ref->scoreboard->slots[slot_ref->slot];
	slot->state = SCOREBOARD_ASLEEP;
	if (count_sleeping(slot_ref->scoreboard, slot->user) <= max)
		return 0;
	slot->state = SCOREBOARD_AWAKE;
	return -EDQUOT;
}

void scoreboard_note_wake(const struct scoreboard_slot_ref *slot_ref)
{
	if (slot_ref)
		slot_ref->scoreboard->slots[slot_ref->slot].state = SCOREBOARD_AWAKE;
}
