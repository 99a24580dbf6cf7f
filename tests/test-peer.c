/* SPDX-License-Identifier: ISC
 * lib/peer.c: what addresses mean. */
#include "lib/peer.h"

#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

static const char *const names[] = { "TCPREMOTEIP", "REMOTE_ADDR", "REMOTE_HOST", "SOCAT_PEERADDR",
				     "NCAT_REMOTE_ADDR" };

static struct peer find(const char *text)
{
	(void)setenv("REMOTE_ADDR", text, 1);
	return peer_of_client(STDOUT_FILENO, STDOUT_FILENO);
}

/* Whether two addresses are the same source. */
static bool is_same(const char *a, const char *b)
{
	struct peer first = find(a), second = find(b);

	peer_cut_address(&first.address, PEER_SOURCE_BITS);
	peer_cut_address(&second.address, PEER_SOURCE_BITS);
	return IN6_ARE_ADDR_EQUAL(&first.address, &second.address);
}

static bool is_shown(const char *text, const char *expected, bool local)
{
	const struct peer peer = find(text);

	return strcmp(peer.text, expected) == 0 && peer.is_local == local;
}

/* Whether two variables together name this client. */
static bool is_decided(const char *name, const char *text, const char *other,
		       const char *other_text, const char *expected, bool local)
{
	struct peer peer;

	(void)unsetenv("REMOTE_ADDR");
	(void)setenv(name, text, 1);
	(void)setenv(other, other_text, 1);
	peer = peer_of_client(STDOUT_FILENO, STDOUT_FILENO);
	(void)unsetenv(name);
	(void)unsetenv(other);
	return strcmp(peer.text, expected) == 0 && peer.is_local == local;
}

static void test_names(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *name = names[i], *other = names[(i + 1) % ARRAY_SIZE(names)];

		(void)tap(is_decided(name, "192.0.2.1", other, "127.0.0.1", "192.0.2.1", false),
			  "%s is not local, %s is", name, other);
		(void)tap(is_decided(name, "127.0.0.1", other, "192.0.2.1", "192.0.2.1", false),
			  "%s is local, %s is not", name, other);
		(void)tap(is_decided(name, "mail", other, "192.0.2.1", "192.0.2.1", false),
			  "%s is a name, %s an address", name, other);
		(void)tap(is_decided(name, "::1", other, "mail", "unknown", false),
			  "%s is local, %s a name", name, other);
		(void)tap(is_decided(name, "::1", other, "127.0.0.1", i == 4 ? "::1" : "127.0.0.1",
				     true),
			  "%s and %s are local", name, other);
	}
}

static int is_in(const char *address, const char *network)
{
	const struct peer peer = find(address);

	return peer_is_in_network(&peer.address, network);
}

static void test_networks(void)
{
	(void)tap(is_in("192.0.2.77", "192.0.2.0/24") == 1, "an address in a network");
	(void)tap(is_in("192.0.3.1", "192.0.2.0/24") == 0, "and one outside");
	(void)tap(is_in("192.0.2.130", "192.0.2.200/26") == 0 &&
			  is_in("192.0.2.193", "192.0.2.200/26") == 1,
		  "a prefix within an octet");
	(void)tap(is_in("192.0.2.1", "192.0.2.1") == 1 && is_in("192.0.2.2", "192.0.2.1") == 0,
		  "one address");
	(void)tap(is_in("2001:db8:ffff::1", "2001:db8::/32") == 1, "an IPv6 network");
	(void)tap(is_in("::2", "::1") == 0 && is_in("::1", "::1") == 1, "an IPv6 address");
	(void)tap(is_in("192.0.2.1", "::/0") == 0 && is_in("::1", "0.0.0.0/0") == 0 &&
			  is_in("::1", "::/0") == 1 && is_in("192.0.2.1", "0.0.0.0/0") == 1,
		  "no network has addresses of both kinds");
	(void)tap(is_in("::ffff:192.0.2.1", "192.0.2.0/24") == 1, "a mapped address is IPv4");
	for (const char *const *bad =
		     (const char *const[]){ "", "x", "192.0.2.0/33", "::/129", "192.0.2.0/",
					    "192.0.2.0/-1", "192.0.2.0/24/1", "192.0.2/24",
					    "localhost", NULL };
	     *bad; bad++)
		(void)tap(is_in("::1", *bad) == -EINVAL, "%s is no network", *bad);
}

int main(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		(void)unsetenv(names[i]);
	(void)tap(is_shown("192.0.2.1", "192.0.2.1", false), "an IPv4 address");
	(void)tap(is_shown("::ffff:192.0.2.1", "192.0.2.1", false), "one that is mapped");
	(void)tap(is_shown("2001:DB8::1", "2001:db8::1", false), "an IPv6 address");
	(void)tap(is_shown("127.1.2.3", "127.1.2.3", true), "loopback");
	(void)tap(is_shown("::ffff:127.0.0.1", "127.0.0.1", true), "mapped loopback");
	(void)tap(is_shown("::1", "::1", true), "IPv6 loopback");
	(void)tap(is_shown("2001:db8::7f00:1", "2001:db8::7f00:1", false),
		  "an address that only resembles loopback");
	(void)tap(is_shown("", "local", true), "no address is a local client");
	(void)tap(is_shown("host.example.org", "unknown", false), "a name is somebody elsewhere");
	(void)tap(is_shown("localhost", "unknown", false), "even if it is localhost");
	(void)tap(is_shown("[2001:0db8:0000:0000:0000:0000:0000:0001]", "2001:db8::1", false),
		  "an IPv6 address as socat writes it");
	(void)tap(is_shown("[0000:0000:0000:0000:0000:0000:0000:0001]", "::1", true),
		  "loopback as socat writes it");
	(void)tap(is_shown("fe80::1%eth0", "fe80::1", false), "an address with a zone");
	(void)tap(is_shown("127.0.0.1.example.org", "unknown", false), "a name like loopback");
	test_names();
	(void)tap(is_same("192.0.2.1", "::ffff:192.0.2.1"), "one source, mapped or not");
	(void)tap(!is_same("192.0.2.1", "192.0.2.2"), "two IPv4 addresses are two sources");
	(void)tap(is_same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"), "a /64 is one source");
	(void)tap(!is_same("2001:db8:0:1::1", "2001:db8:0:2::1"), "two /64 are two");
	test_networks();
	return tap_end();
}
