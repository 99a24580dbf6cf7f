/* SPDX-License-Identifier: ISC
 * Every shared member is atomic, since nobody has a lock. */
#include "scoreboard.h"

#include "lib/util.h"
#include "log.h"

#include <ctype.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <xxhash.h>

#define PASSWORD_MASK UINT64_C(0xffff) /* of a digest: too few bits to find out the password */
#define FORGET_S 300		       /* without a new failure: nobody is shut out for good */
#define ATTEMPTS 8		       /* that are told apart: enough for the longest delay */

struct slots {
	_Atomic uint32_t lost_lines;
	_Atomic size_t end; /* of those that have been used */
	struct scoreboard_slot {
		_Atomic uint64_t user; /* a digest of the name, from login on */
		_Atomic uint32_t state;
	} slots[SCOREBOARD_SLOTS];
};

struct failure_row {
	_Atomic uint32_t failures;
	_Atomic uint32_t last_s;	     /* monotonic */
	_Atomic uint32_t next;		     /* attempt, modulo ATTEMPTS */
	_Atomic uint64_t attempts[ATTEMPTS]; /* the last that failed; 0: none */
	struct log_quota quota;
};

#define TABLE_OCTETS (SCOREBOARD_SOURCES * sizeof(struct failure_row))

/* Where many users have one source, that of a trusted network, failures count by account. Accounts
 * share rows: attempts tell which. */
enum { OF_SOURCES, OF_ACCOUNTS, TABLES };

struct scoreboard {
	uint64_t key; /* of digests; wiped at login */
	struct slots *slots;
	struct failure_row *tables[TABLES]; /* NULL where they are unmapped */
};

/* ---- For the listener ---- */

static void *map_shared(size_t octets)
{
	void *memory =
		mmap(NULL, octets, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void unmap_table(struct scoreboard *scoreboard, size_t table)
{
	if (scoreboard->tables[table])
		(void)munmap(take_ptr(scoreboard->tables[table]), TABLE_OCTETS);
}

int scoreboard_new(struct scoreboard **ret)
{
	struct scoreboard *scoreboard = *ret = calloc(1, sizeof(*scoreboard));
	bool is_good = scoreboard && (scoreboard->slots = map_shared(sizeof(struct slots))) &&
		       getrandom(&scoreboard->key, sizeof(scoreboard->key), 0) > 0;

	for (size_t i = 0; i < TABLES && is_good; i++)
		is_good = (scoreboard->tables[i] = map_shared(TABLE_OCTETS));
	if (is_good)
		log_share_losses(&scoreboard->slots->lost_lines);
	return is_good ? 0 : -ENOMEM;
}

void scoreboard_set(struct scoreboard *scoreboard, size_t slot, enum scoreboard_state state)
{
	struct slots *slots = scoreboard->slots;

	slots->slots[slot] = (struct scoreboard_slot){ .state = state };
	if (slots->end <= slot)
		slots->end = slot + 1;
}

enum scoreboard_state scoreboard_state(const struct scoreboard *scoreboard, size_t slot)
{
	return scoreboard->slots->slots[slot].state;
}

bool scoreboard_evict(struct scoreboard *scoreboard, size_t slot)
{
	uint32_t before = SCOREBOARD_BEFORE_LOGIN;

	return atomic_compare_exchange_strong(&scoreboard->slots->slots[slot].state, &before,
					      SCOREBOARD_EVICTED);
}

static bool has_failures(const struct failure_row *row)
{
	return row->failures > 0 && util_now_s() - row->last_s < FORGET_S;
}

bool scoreboard_has_failures(const struct scoreboard *scoreboard, size_t source)
{
	return has_failures(&scoreboard->tables[OF_SOURCES][source]);
}

void scoreboard_forget(struct scoreboard *scoreboard, size_t source)
{
	scoreboard->tables[OF_SOURCES][source] = (struct failure_row){ 0 };
}

struct log_quota *scoreboard_quota(struct scoreboard *scoreboard, size_t source)
{
	return &scoreboard->tables[OF_SOURCES][source].quota;
}

/* ---- Failures, for a session before login ---- */

struct log_quota *scoreboard_enter(const struct scoreboard_slot_ref *slot_ref)
{
	if (!slot_ref)
		return NULL;
	unmap_table(slot_ref->scoreboard, slot_ref->is_trusted ? OF_SOURCES : OF_ACCOUNTS);
	return slot_ref->is_trusted ? NULL :
				      scoreboard_quota(slot_ref->scoreboard, slot_ref->source);
}

/* The row where a user's failures count, and the user's digest. NULL: there is no listener. */
static struct failure_row *find_row(const struct scoreboard_slot_ref *slot_ref, const char *user,
				    uint64_t *ret_digest)
{
	const struct scoreboard *scoreboard = slot_ref ? slot_ref->scoreboard : NULL;
	uint64_t digest = UINT64_C(14695981039346656037);

	if (!scoreboard)
		return NULL;
	/* FNV-1a of the name, in any case. Two users with the same digest share limits. */
	for (digest ^= scoreboard->key; *user; user++)
		digest = (digest ^ (uint64_t)tolower((unsigned char)*user)) *
			 UINT64_C(1099511628211);
	*ret_digest = digest;
	return slot_ref->is_trusted ?
		       &scoreboard->tables[OF_ACCOUNTS][digest % SCOREBOARD_SOURCES] :
		       &scoreboard->tables[OF_SOURCES][slot_ref->source];
}

void scoreboard_note_failure(const struct scoreboard_slot_ref *slot_ref, const char *user,
			     const char *password)
{
	uint64_t digest, attempt;
	struct failure_row *row = find_row(slot_ref, user, &digest);

	if (!row)
		return;
	if (!has_failures(row)) {
		row->failures = 0;
		for (size_t i = 0; i < ATTEMPTS; i++)
			row->attempts[i] = 0;
	}
	/* What tells it from others: digests of the user name, and of both. */
	attempt = (digest & ~PASSWORD_MASK) |
		  (XXH64(password, strlen(password), digest) & PASSWORD_MASK);
	for (size_t i = 0; i < ATTEMPTS; i++) {
		if (row->attempts[i] == attempt)
			return;
	}
	row->attempts[row->next++ % ATTEMPTS] = attempt;
	row->failures++;
	row->last_s = util_now_s();
}

/* Counts a user's attempts among the last that failed, and may forget them. */
static uint32_t count_attempts(struct failure_row *row, uint64_t user_digest, bool forgets)
{
	uint32_t count = 0;

	for (size_t i = 0; i < ATTEMPTS; i++) {
		uint64_t attempt = row->attempts[i];

		if (((attempt ^ user_digest) & ~PASSWORD_MASK) != 0)
			continue;
		if (!forgets || atomic_compare_exchange_strong(&row->attempts[i], &attempt, 0))
			count++;
	}
	return count;
}

unsigned scoreboard_wait_s(const struct scoreboard_slot_ref *slot_ref, const char *user,
			   unsigned penalty_s, unsigned max_s)
{
	uint64_t digest;
	struct failure_row *row = find_row(slot_ref, user, &digest);
	uint32_t failures = row && has_failures(row) ? row->failures : 0;

	if (failures > 0 && slot_ref->is_trusted)
		failures = count_attempts(row, digest, false);
	if (failures < SCOREBOARD_FREE_FAILURES || penalty_s == 0)
		return 0;
	for (; failures > SCOREBOARD_FREE_FAILURES && penalty_s < max_s; failures--)
		penalty_s *= 2;
	return MIN(penalty_s, max_s);
}

/* ---- States, for a session ---- */

int scoreboard_note_password(const struct scoreboard_slot_ref *slot_ref)
{
	if (scoreboard_is_evicted(slot_ref) && !slot_ref->is_trusted)
		return -ECANCELED;
	scoreboard_note_wake(slot_ref);
	return 0;
}

void scoreboard_note_refusal(const struct scoreboard_slot_ref *slot_ref)
{
	if (slot_ref)
		scoreboard_set(slot_ref->scoreboard, slot_ref->slot, SCOREBOARD_BEFORE_LOGIN);
}

void scoreboard_note_login(const struct scoreboard_slot_ref *slot_ref, const char *user)
{
	uint64_t digest;
	struct failure_row *row = find_row(slot_ref, user, &digest);

	if (!row)
		return;
	slot_ref->scoreboard->slots->slots[slot_ref->slot].user = digest;
	explicit_bzero(&slot_ref->scoreboard->key, sizeof(slot_ref->scoreboard->key));
	if (row->failures > 0)
		row->failures -= count_attempts(row, digest, true);
	log_limit(NULL);
	for (size_t i = 0; i < TABLES; i++)
		unmap_table(slot_ref->scoreboard, i);
}

bool scoreboard_is_evicted(const struct scoreboard_slot_ref *slot_ref)
{
	return slot_ref &&
	       scoreboard_state(slot_ref->scoreboard, slot_ref->slot) == SCOREBOARD_EVICTED;
}

/* Counts itself: of two sessions at once both may be refused, but never both let in. */
int scoreboard_note_sleep(const struct scoreboard_slot_ref *slot_ref, unsigned max)
{
	struct slots *all;
	struct scoreboard_slot *slot;
	unsigned asleep = 0;

	if (!slot_ref)
		return 0;
	all = slot_ref->scoreboard->slots;
	slot = &all->slots[slot_ref->slot];
	slot->state = SCOREBOARD_ASLEEP;
	for (size_t i = 0; i < all->end && i < SCOREBOARD_SLOTS; i++)
		asleep += all->slots[i].state == SCOREBOARD_ASLEEP &&
			  all->slots[i].user == slot->user;
	if (asleep <= max)
		return 0;
	slot->state = SCOREBOARD_AWAKE;
	return -EDQUOT;
}

void scoreboard_note_wake(const struct scoreboard_slot_ref *slot_ref)
{
	if (slot_ref)
		slot_ref->scoreboard->slots->slots[slot_ref->slot].state = SCOREBOARD_AWAKE;
}
