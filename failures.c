/* SPDX-License-Identifier: ISC
 * Shared members are atomic, but there is no lock: two processes that write to a row at once make a
 * wait wrong. No shared value is a length or a bound of a loop, nor an index unless reduced. */
#include "failures.h"

#include "lib/peer.h"
#include "lib/util.h"

#include <assert.h>
#include <ctype.h>
#include <stdatomic.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <xxhash.h>

#define PASSWORD_MASK UINT64_C(0xffff) /* of a digest: too few bits to find a password by */
#define FORGET_S 300		       /* without a new failure, all are forgotten */
#define ATTEMPTS 8 /* failures that are told apart: enough for the longest wait */
#define ROWS 32768
#define NEIGHBOURS 8	  /* rows that an owner may be in */
#define HEAD_OCTETS 65536 /* whole pages on any machine */
#define LAYOUT UINT64_C(0x706f703366610002)

struct failure_row {
	_Atomic uint64_t owner; /* keyed digest of an address or name: no client can choose it */
	_Atomic uint32_t failures;
	_Atomic uint32_t last_s;	     /* monotonic: starts anew at boot, as /run does */
	_Atomic uint32_t next;		     /* index in `attempts`, modulo ATTEMPTS */
	_Atomic uint64_t attempts[ATTEMPTS]; /* the last failures; 0: none */
};

#define TABLE_OCTETS (ROWS * sizeof(struct failure_row))

static_assert(TABLE_OCTETS % HEAD_OCTETS == 0, "the second table begins with a page, too");

/* Two tables. A trusted source, such as webmail, has many users: its failures count by account. */
struct failures {
	uint64_t key;		  /* of digests */
	struct failure_row *rows; /* of sources, then of accounts */
};

/* The head of a file; the tables begin at HEAD_OCTETS. */
struct failures_head {
	uint64_t layout, key;
};

/* ---- Memory ---- */

static int make_key(uint64_t *ret_key)
{
	return getrandom(ret_key, sizeof(*ret_key), 0) == sizeof(*ret_key) ? 0 : -errno;
}

/* Uses the counts in the file, or resets it and reserves its space: without that, a write to the
 * mapping could raise SIGBUS. Never truncates the file, which others have mapped. */
static int lay_out_file(int fd, uint64_t *ret_key)
{
	const off_t octets = HEAD_OCTETS + 2 * TABLE_OCTETS;
	struct failures_head head = { 0 };
	struct stat status;
	ssize_t n = util_pread(fd, &head, sizeof(head), 0);

	if (n < 0 || fstat(fd, &status) < 0)
		return n < 0 ? (int)n : -errno;
	*ret_key = head.key;
	if (head.layout == LAYOUT && status.st_size >= octets)
		return 0;
	if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, octets) < 0 ||
	    fallocate(fd, 0, 0, octets) < 0 || make_key(ret_key) < 0)
		return -errno;
	head = (struct failures_head){ LAYOUT, *ret_key };
	return util_pwrite(fd, &head, sizeof(head), 0);
}

static int open_shared(int fd, uint64_t *ret_key)
{
	int r = TEMP_FAILURE_RETRY(flock(fd, LOCK_EX)) < 0 ? -errno : lay_out_file(fd, ret_key);

	(void)flock(fd, LOCK_UN);
	return r;
}

int failures_new(int fd, struct failures **ret)
{
	auto_free struct failures *failures = calloc(1, sizeof(*failures));
	int r = !failures ? -ENOMEM :
		fd < 0	  ? make_key(&failures->key) :
			    open_shared(fd, &failures->key);

	if (r < 0)
		return r;
	failures->rows = mmap(NULL, 2 * TABLE_OCTETS, PROT_READ | PROT_WRITE,
			      MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, HEAD_OCTETS);
	if (failures->rows == MAP_FAILED)
		return -errno;
	*ret = take_ptr(failures);
	return 0;
}

/* ---- Rows ---- */

static struct failure_row *table_of(const struct failures *failures, bool is_trusted)
{
	return failures->rows + (is_trusted ? ROWS : 0);
}

/* A time in the future counts as old, except for one second: another process may be one ahead. */
static uint32_t age_s(const struct failure_row *row)
{
	return row->failures > 0 ? util_now_s() + 1 - row->last_s : UINT32_MAX;
}

/* FNV-1a of the name without regard to case. Users with the same digest share counts. */
static uint64_t digest_user(const struct failures *failures, const char *user)
{
	uint64_t digest = UINT64_C(14695981039346656037) ^ failures->key;

	for (; *user; user++)
		digest = (digest ^ (uint64_t)tolower((unsigned char)*user)) *
			 UINT64_C(1099511628211);
	return digest;
}

/* Finds the row in which a login counts, and the user's digest. For an owner without a row, returns
 * NULL, or with `takes` evicts the candidate row with the oldest failure. The key decides which
 * rows are candidates, so that no client can choose the victim. NULL also if nothing is counted. */
static struct failure_row *find_row(const struct failures *failures, const struct in6_addr *source,
				    bool is_trusted, const char *user, bool takes,
				    uint64_t *ret_digest)
{
	struct in6_addr address = *source;
	struct failure_row *oldest = NULL;
	uint64_t owner;

	if (!failures)
		return NULL;
	*ret_digest = digest_user(failures, user);
	peer_cut_address(&address, PEER_SOURCE_BITS);
	owner = is_trusted ? *ret_digest : XXH64(&address, sizeof(address), failures->key);
	for (size_t i = 0; i < NEIGHBOURS; i++) {
		struct failure_row *row = table_of(failures, is_trusted) + (owner + i) % ROWS;

		if (row->owner == owner)
			return row;
		if (!oldest || age_s(row) > age_s(oldest))
			oldest = row;
	}
	if (!takes)
		return NULL;
	oldest->failures = 0;
	oldest->owner = owner;
	return oldest;
}

/* ---- Failures ---- */

unsigned failures_wait_s(const struct failures *failures, const struct in6_addr *source,
			 bool is_trusted, const char *user, unsigned penalty_s, unsigned max_s)
{
	uint64_t digest;
	struct failure_row *row = find_row(failures, source, is_trusted, user, false, &digest);
	uint32_t count = row && age_s(row) <= FORGET_S ? row->failures : 0;

	if (count < FAILURES_FREE || penalty_s == 0)
		return 0;
	for (; count > FAILURES_FREE && penalty_s < max_s; count--)
		penalty_s *= 2;
	return MIN(penalty_s, max_s);
}

void failures_note(struct failures *failures, const struct in6_addr *source, bool is_trusted,
		   const char *user, const char *password)
{
	uint64_t digest, attempt;
	struct failure_row *row = find_row(failures, source, is_trusted, user, true, &digest);

	if (!row)
		return;
	if (age_s(row) > FORGET_S) {
		row->failures = 0;
		for (size_t i = 0; i < ATTEMPTS; i++)
			row->attempts[i] = 0;
	}
	/* Bits of two digests: of the user name, and of user name and password. */
	attempt = (digest & ~PASSWORD_MASK) |
		  (XXH64(password, strlen(password), digest) & PASSWORD_MASK);
	for (size_t i = 0; i < ATTEMPTS; i++) {
		if (row->attempts[i] == attempt)
			return;
	}
	row->attempts[row->next++ % ATTEMPTS] = attempt;
	row->last_s = util_now_s();
	row->failures++;
}

void failures_forgive(struct failures *failures, const struct in6_addr *source, bool is_trusted,
		      const char *user)
{
	uint64_t digest;
	struct failure_row *row = find_row(failures, source, is_trusted, user, false, &digest);
	uint32_t count = row ? row->failures : 0, forgiven = 0;

	for (size_t i = 0; i < ATTEMPTS && count > 0; i++) {
		uint64_t attempt = row->attempts[i];

		if (((attempt ^ digest) & ~PASSWORD_MASK) == 0)
			forgiven += atomic_compare_exchange_strong(&row->attempts[i], &attempt, 0);
	}
	if (forgiven > 0)
		row->failures -= MIN(forgiven, count);
}

/* ---- For a session without a keeper ---- */

void failures_confine(struct failures *failures, bool is_trusted)
{
	if (failures)
		(void)munmap(table_of(failures, !is_trusted), TABLE_OCTETS);
}

uint64_t failures_leave(struct failures *failures, const struct in6_addr *source, bool is_trusted,
			const char *user)
{
	uint64_t digest;

	if (!failures)
		return 0;
	digest = digest_user(failures, user);
	failures_forgive(failures, source, is_trusted, user);
	(void)munmap(table_of(failures, is_trusted), TABLE_OCTETS);
	explicit_bzero(&failures->key, sizeof(failures->key));
	return digest;
}
