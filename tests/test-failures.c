/* SPDX-License-Identifier: ISC
 * failures.c: which logins are delayed, for how long, and how a file shares the counts. */
#include "failures.h"

#include "lib/peer.h"
#include "tap.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct in6_addr source_of(const char *text)
{
	struct in6_addr address;

	if (inet_pton(AF_INET6, text, &address) != 1)
		abort();
	return address;
}

/* A client: the table that counts its failures, and its source. */
struct client {
	struct failures *failures;
	const char *source;
	bool is_trusted;
};

static unsigned wait_s(const struct client *client, const char *user)
{
	struct in6_addr source = source_of(client->source);

	return failures_wait_s(client->failures, &source, client->is_trusted, user, 2, 15);
}

static void fail(const struct client *client, const char *user, int first, int count)
{
	struct in6_addr source = source_of(client->source);
	char password[12];

	for (int i = first; i < first + count; i++) {
		(void)snprintf(password, sizeof(password), "%d", i);
		failures_note(client->failures, &source, client->is_trusted, user, password);
	}
}

static void forgive(const struct client *client, const char *user)
{
	struct in6_addr source = source_of(client->source);

	failures_forgive(client->failures, &source, client->is_trusted, user);
}

/* The tables are kept, so they are no leak. */
static struct failures *make(int fd)
{
	static struct failures *made[16];
	static size_t count;

	if (failures_new(fd, &made[count]) < 0)
		abort();
	return made[count++];
}

static void test_waits(struct failures *failures)
{
	static const unsigned expected[] = { 0, 0, 0, 2, 4, 8, 15, 15 };
	const struct client client = { failures, "::ffff:192.0.2.7", false };
	const struct client none = { NULL, "::ffff:192.0.2.7", false };
	struct in6_addr source = source_of(client.source);
	bool good = true;

	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		good &= wait_s(&client, "bob") == expected[i];
		fail(&client, "alice", (int)i, 1);
	}
	(void)tap(good, "a login waits from the third failure on, twice as long each time");
	(void)tap(failures_wait_s(failures, &source, false, "alice", 0, 15) == 0,
		  "without a penalty no login waits");
	fail(&client, "alice", 100, 100);
	(void)tap(wait_s(&client, "bob") == 15, "many failures do not overflow");
	fail(&none, "alice", 0, 9);
	forgive(&none, "alice");
	(void)tap(wait_s(&none, "alice") == 0, "without a table no login waits");
}

static void test_sources(struct failures *failures)
{
	const struct client client = { failures, "2001:db8:1:2::3", false };
	const struct client neighbour = { failures, "2001:db8:1:2:ffff::9", false };
	const struct client other = { failures, "2001:db8:1:3::3", false };
	const struct client first = { failures, "::ffff:192.0.2.1", false };
	const struct client second = { failures, "::ffff:192.0.2.2", false };

	fail(&client, "alice", 0, 3);
	(void)tap(wait_s(&neighbour, "bob") == 2, "an IPv6 source is a /64");
	(void)tap(wait_s(&other, "alice") == 0, "and no more");
	fail(&first, "alice", 0, 3);
	(void)tap(wait_s(&first, "bob") == 2 && wait_s(&second, "alice") == 0,
		  "an IPv4 source is an address");
}

static void test_attempts(struct failures *failures)
{
	const struct client client = { failures, "2001:db8:2::", false };

	fail(&client, "alice", 0, 3);
	fail(&client, "alice", 0, 3);
	(void)tap(wait_s(&client, "bob") == 2, "repeated attempts add no failures");
	fail(&client, "ALICE", 3, 1);
	(void)tap(wait_s(&client, "bob") == 4, "another password adds a failure");
	fail(&client, "bob", 0, 1);
	(void)tap(wait_s(&client, "bob") == 8, "and so does the same password for another user");
}

/* The first password that is taken for one of two others; 1,000,000: there is none. */
static int find_collision(struct failures *failures)
{
	const struct client client = { failures, "2001:db8:8::", false };

	for (int i = 2; i < 1000000; i++) {
		fail(&client, "alice", 0, 2);
		fail(&client, "alice", i, 1);
		if (wait_s(&client, "alice") == 0)
			return i;
		forgive(&client, "alice");
	}
	return 1000000;
}

static void test_digests(void)
{
	int one = find_collision(make(-1)), other = find_collision(make(-1));

	(void)tap(one < 1000000 && other < 1000000,
		  "too few bits of a password are kept to find it (%d, %d)", one, other);
	(void)tap(one != other, "and each table has a key");
}

static void test_logins(struct failures *failures)
{
	const struct client client = { failures, "2001:db8:3::", false };
	const struct client trusted = { failures, "2001:db8:3::", true };
	const struct client elsewhere = { failures, "2001:db8:4::", true };
	unsigned others = 0;
	char name[20];

	fail(&client, "alice", 0, 3);
	fail(&client, "bob", 0, 3);
	forgive(&client, "carol");
	(void)tap(wait_s(&client, "eve") == 15, "a login clears no other account's failures");
	forgive(&client, "Alice");
	(void)tap(wait_s(&client, "eve") == 2, "and clears all failures of its account");
	forgive(&client, "bob");
	(void)tap(wait_s(&client, "eve") == 0, "so that no delay is left");
	fail(&trusted, "alice", 0, 4);
	(void)tap(wait_s(&trusted, "alice") == 4, "failures of a trusted source delay its account");
	for (int i = 0; i < 400000; i++) { /* some of these names hash to the row of alice */
		(void)snprintf(name, sizeof(name), "user%d", i);
		others += wait_s(&trusted, name) > 0;
	}
	(void)tap(others == 0, "and no other account");
	(void)tap(wait_s(&elsewhere, "ALICE") == 4, "also from another trusted source");
	(void)tap(wait_s(&client, "alice") == 0, "but not from elsewhere");
	forgive(&elsewhere, "alice");
	(void)tap(wait_s(&trusted, "alice") == 0, "a login from any trusted source ends the delay");
}

/* 16,384 sources fill half of the rows: nearly all are found again, a few have lost their row. Then
 * four times as many sources come as there are rows. */
static void test_crowd(void)
{
	const struct client early = { make(-1), "2001:db8:5::", false };
	char text[INET6_ADDRSTRLEN];
	struct client client = { early.failures, text, false };
	unsigned waits = 0;

	fail(&early, "alice", 0, 3);
	for (int i = 0; i < 16384; i++) {
		(void)snprintf(text, sizeof(text), "2001:db9:0:%x::", (unsigned)i);
		fail(&client, "alice", 0, 3);
	}
	for (int i = 0; i < 16384; i++) {
		(void)snprintf(text, sizeof(text), "2001:db9:0:%x::", (unsigned)i);
		waits += wait_s(&client, "bob") == 2;
	}
	(void)tap(waits > 16000 && wait_s(&early, "bob") == 2,
		  "nearly all of 16,384 sources wait (%u)", waits);
	for (int i = 0; i < 131072; i++) {
		(void)snprintf(text, sizeof(text), "2001:dba:%x:%x::", (unsigned)i >> 16,
			       (unsigned)i & 0xffff);
		fail(&client, "alice", 0, 3);
		if (wait_s(&client, "bob") != 2)
			waits = 0;
	}
	(void)tap(waits > 0,
		  "a source that has just failed has a row, however many came before it");
}

/* Forks, because a session unmaps the table. Returns some bits of the digest of the user that logs
 * in, or -1. */
static int run_session(struct failures *failures, bool is_trusted, const char *user)
{
	const struct client client = { failures, "2001:db8:6::", is_trusted };
	struct in6_addr source = source_of(client.source);
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		failures_confine(failures, is_trusted);
		fail(&client, "alice", 0, 3);
		fail(&client, "bob", 3, 3);
		if (wait_s(&client, "alice") != (is_trusted ? 2 : 15))
			abort();
		status = (int)(failures_leave(failures, &source, is_trusted, user) & 0xff);
		if (*(const uint64_t *)failures != 0) /* the key, its first member */
			abort();
		_exit(status);
	}
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_sessions(struct failures *failures)
{
	const struct client client = { failures, "2001:db8:6::", false };
	const struct client trusted = { failures, "2001:db8:6::", true };
	int digest = run_session(failures, false, "Alice");

	(void)tap(digest >= 0 && wait_s(&client, "eve") == 2,
		  "a session clears its user's failures for all processes, and its own key");
	(void)tap(run_session(failures, true, "alice") == digest &&
			  wait_s(&trusted, "alice") == 0 && wait_s(&trusted, "bob") == 2,
		  "so does a trusted session, with the same digest of the user");
}

static void test_file(void)
{
	char path[] = "/tmp/test-failures-XXXXXX";
	int fd = mkstemp(path);
	const struct client one = { make(fd), "2001:db8:7::", false };
	const struct client other = { make(fd), "2001:db8:7::", false };
	struct client later = other;
	struct stat status;
	unsigned char *octets;
	off_t size;
	bool good = true;

	(void)unlink(path);
	fail(&one, "alice", 0, 2);
	fail(&other, "alice", 1, 2);
	(void)tap(wait_s(&one, "bob") == 2 && wait_s(&other, "bob") == 2,
		  "processes that open one file share the counts and recognise the same attempts");
	forgive(&other, "alice");
	(void)tap(wait_s(&one, "bob") == 0, "a login clears failures for all of them");
	(void)fstat(fd, &status);
	size = status.st_size;
	(void)tap((off_t)status.st_blocks * 512 >= size, "the file's space is reserved");
	fail(&one, "alice", 0, 3);
	good &= ftruncate(fd, size + 4096) == 0;
	later.failures = make(fd);
	(void)fstat(fd, &status);
	(void)tap(wait_s(&later, "bob") == 2 && status.st_size == size + 4096,
		  "a longer file is used unchanged");
	good &= pwrite(fd, "x", 1, 0) == 1;
	later.failures = make(fd);
	(void)fstat(fd, &status);
	(void)tap(wait_s(&later, "bob") == 0 && status.st_size == size + 4096,
		  "a file of another layout is cleared, and not shortened");
	(void)tap(wait_s(&one, "bob") == 0, "also for processes that have it mapped");
	fail(&later, "alice", 0, 3);
	octets = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	for (int octet = 0; octet < 256; octet += 5) {
		memset(octets + 65536, octet, (size_t)size - 65536);
		for (int trusted = 0; trusted < 2; trusted++) {
			later.is_trusted = trusted;
			good &= wait_s(&later, "alice") <= 15;
			fail(&later, "alice", octet, 3);
			forgive(&later, "alice");
			good &= wait_s(&later, "alice") <= 15;
		}
	}
	(void)tap(good, "garbage in the file causes a delay at most");
	good &= ftruncate(fd, 4096) == 0;
	later = (struct client){ make(fd), "2001:db8:7::", false };
	(void)fstat(fd, &status);
	fail(&later, "alice", 0, 3);
	(void)tap(wait_s(&later, "bob") == 2 && status.st_size == size,
		  "a file that is too short is cleared");
	(void)close(fd);
	fd = open("/dev/null", O_RDWR);
	(void)tap(failures_new(fd, &later.failures) < 0, "a special file is refused");
	(void)close(fd);
}

int main(void)
{
	struct failures *failures = make(-1);

	test_waits(failures);
	test_sources(failures);
	test_attempts(failures);
	test_digests();
	test_logins(failures);
	test_crowd();
	test_sessions(failures);
	test_file();
	return tap_end();
}
