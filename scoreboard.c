/* SPDX-License-Identifier: ISC
 * Shared members are atomic, because there is no lock. A compromised session can set them to any
 * value, so none is an index, a length or a pointer. A session unmaps what it need not write before
 * it reads from its client. */
#include "scoreboard.h"

#include "lib/util.h"
#include "log.h"

#include <assert.h>
#include <sys/mman.h>

struct scoreboard_slot {
	_Atomic uint64_t user; /* a digest of the name, from login on */
	_Atomic uint32_t state;
	_Atomic uint32_t lost_lines;
};

/* Quotas share pages: with a page for each, an attacker with many addresses could fill memory. */
struct source_quota_entry {
	struct log_quota quota;
} __attribute__((aligned(256)));

struct scoreboard {
	size_t slot_octets; /* with a keeper a page, so that a session maps only its own slot */
	char *slots;	    /* and one more slot, which counts lines lost outside of sessions */
	struct source_quota_entry *quotas;
};

#define QUOTAS_OCTETS (SCOREBOARD_SOURCES * sizeof(struct source_quota_entry))

static_assert(QUOTAS_OCTETS % 65536 == 0, "the quotas are whole pages on any machine");

static struct scoreboard_slot *slot_at(const struct scoreboard *scoreboard, size_t slot)
{
	return (void *)(scoreboard->slots + slot * scoreboard->slot_octets);
}

static struct scoreboard_slot *own_slot(const struct scoreboard_slot_ref *slot_ref)
{
	return slot_at(slot_ref->scoreboard, slot_ref->slot);
}

static bool has_pages(const struct scoreboard *scoreboard)
{
	return scoreboard->slot_octets > sizeof(struct scoreboard_slot);
}

/* ---- For the listener ---- */

static void *map_shared(size_t octets)
{
	void *memory = mmap(NULL, octets, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

int scoreboard_new(bool has_keeper, struct scoreboard **ret)
{
	struct scoreboard *scoreboard = *ret = calloc(1, sizeof(*scoreboard));

	if (!scoreboard)
		return -ENOMEM;
	scoreboard->slot_octets =
		has_keeper ? (size_t)getpagesize() : sizeof(struct scoreboard_slot);
	scoreboard->slots = map_shared((SCOREBOARD_SLOTS + 1) * scoreboard->slot_octets);
	scoreboard->quotas = map_shared(QUOTAS_OCTETS);
	if (!scoreboard->slots || !scoreboard->quotas)
		return -ENOMEM;
	log_share_losses(&slot_at(scoreboard, SCOREBOARD_SLOTS)->lost_lines);
	return 0;
}

void scoreboard_set(struct scoreboard *scoreboard, size_t slot, enum scoreboard_state state)
{
	struct scoreboard_slot *set = slot_at(scoreboard, slot);
	_Atomic uint32_t *lost_lines = &slot_at(scoreboard, SCOREBOARD_SLOTS)->lost_lines;

	*lost_lines += set->lost_lines;
	*set = (struct scoreboard_slot){ .state = state };
	if (!has_pages(scoreboard))
		return;
	if (state != SCOREBOARD_FREE)
		set->lost_lines = atomic_exchange(lost_lines, 0);
	else
		(void)madvise(set, scoreboard->slot_octets, MADV_REMOVE);
}

enum scoreboard_state scoreboard_state(const struct scoreboard *scoreboard, size_t slot)
{
	return slot_at(scoreboard, slot)->state;
}

bool scoreboard_evict(struct scoreboard *scoreboard, size_t slot)
{
	uint32_t before = SCOREBOARD_BEFORE_LOGIN;

	return atomic_compare_exchange_strong(&slot_at(scoreboard, slot)->state, &before,
					      SCOREBOARD_EVICTED);
}

struct log_quota *scoreboard_quota(struct scoreboard *scoreboard, size_t source)
{
	return &scoreboard->quotas[source].quota;
}

/* ---- For a session ---- */

/* Unmaps all pages but the one that `kept` is in. */
static void unmap_others(void *memory, size_t octets, const void *kept)
{
	size_t page = (size_t)getpagesize(), before = (size_t)((const char *)kept - (char *)memory);

	before -= before % page;
	(void)munmap(memory, before);
	(void)munmap((char *)memory + before + page, octets - before - page);
}

struct log_quota *scoreboard_enter(const struct scoreboard_slot_ref *slot_ref)
{
	struct scoreboard *scoreboard = slot_ref ? slot_ref->scoreboard : NULL;
	struct log_quota *quota;

	if (!scoreboard)
		return NULL;
	if (has_pages(scoreboard)) {
		log_share_losses(&own_slot(slot_ref)->lost_lines);
		unmap_others(scoreboard->slots, (SCOREBOARD_SLOTS + 1) * scoreboard->slot_octets,
			     own_slot(slot_ref));
	}
	quota = scoreboard_quota(scoreboard, slot_ref->source);
	if (!slot_ref->is_trusted)
		unmap_others(scoreboard->quotas, QUOTAS_OCTETS, quota);
	else
		(void)munmap(scoreboard->quotas, QUOTAS_OCTETS);
	return slot_ref->is_trusted ? NULL : quota;
}

int scoreboard_note_password(const struct scoreboard_slot_ref *slot_ref)
{
	if (scoreboard_is_evicted(slot_ref) && !slot_ref->is_trusted)
		return -ECANCELED;
	scoreboard_note(slot_ref, SCOREBOARD_AWAKE);
	return 0;
}

void scoreboard_note(const struct scoreboard_slot_ref *slot_ref, enum scoreboard_state state)
{
	if (slot_ref)
		own_slot(slot_ref)->state = state;
}

void scoreboard_note_login(const struct scoreboard_slot_ref *slot_ref, uint64_t user)
{
	size_t page = (size_t)getpagesize();
	char *quota;

	if (!slot_ref)
		return;
	own_slot(slot_ref)->user = user;
	log_limit(NULL);
	quota = (char *)scoreboard_quota(slot_ref->scoreboard, slot_ref->source);
	if (!slot_ref->is_trusted)
		(void)munmap(quota - (uintptr_t)quota % page, page);
}

bool scoreboard_is_evicted(const struct scoreboard_slot_ref *slot_ref)
{
	return slot_ref && own_slot(slot_ref)->state == SCOREBOARD_EVICTED;
}

/* Counts the session: of two at once both may be refused, but never do more than `max` sleep. */
int scoreboard_note_sleep(const struct scoreboard_slot_ref *slot_ref, unsigned max)
{
	struct scoreboard *scoreboard = slot_ref ? slot_ref->scoreboard : NULL;
	struct scoreboard_slot *slot, *other;
	unsigned asleep = 0;

	if (!scoreboard)
		return 0;
	slot = own_slot(slot_ref);
	slot->state = SCOREBOARD_ASLEEP;
	for (size_t i = 0; i < SCOREBOARD_SLOTS && !has_pages(scoreboard); i++) {
		other = slot_at(scoreboard, i);
		if (other->state == SCOREBOARD_NEVER_USED)
			break;
		asleep += other->state == SCOREBOARD_ASLEEP && other->user == slot->user;
	}
	if (asleep <= max)
		return 0;
	slot->state = SCOREBOARD_AWAKE;
	return -EDQUOT;
}
