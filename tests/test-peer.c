/* SPDX-License-Identifier: ISC
 *
 * lib/peer.c: what addresses mean. */
#include "lib/peer.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

static struct peer find(const char *text)
{
	struct peer peer;

	(void)setenv("REMOTE_ADDR", text, 1);
	peer_from_environment(&peer);
	return peer;
}

/* Whether two addresses are the same source. */
static bool is_same(const char *a, const char *b)
{
	const struct peer first = find(a), second = find(b);

	return IN6_ARE_ADDR_EQUAL(&first.source, &second.source);
}

static bool is_shown(const char *text, const char *expected, bool local)
{
	const struct peer peer = find(text);

	return strcmp(peer.text, expected) == 0 && peer.is_local == local;
}

int main(void)
{
	(void)unsetenv("TCPREMOTEIP");
	(void)tap(is_shown("192.0.2.1", "192.0.2.1", false), "an IPv4 address");
	(void)tap(is_shown("::ffff:192.0.2.1", "192.0.2.1", false), "one that is mapped");
	(void)tap(is_shown("2001:DB8::1", "2001:db8::1", false), "an IPv6 address");
	(void)tap(is_shown("127.1.2.3", "127.1.2.3", true), "loopback");
	(void)tap(is_shown("::ffff:127.0.0.1", "127.0.0.1", true), "mapped loopback");
	(void)tap(is_shown("::1", "::1", true), "IPv6 loopback");
	(void)tap(is_shown("2001:db8::7f00:1", "2001:db8::7f00:1", false), "nothing like it");
	(void)tap(is_shown("nonsense", "local", true), "what is no address does not count");
	(void)tap(is_same("192.0.2.1", "::ffff:192.0.2.1"), "one source, mapped or not");
	(void)tap(!is_same("192.0.2.1", "192.0.2.2"), "two IPv4 addresses are two sources");
	(void)tap(is_same("2001:db8:0:1::1", "2001:db8:0:1:ffff::2"), "a /64 is one source");
	(void)tap(!is_same("2001:db8:0:1::1", "2001:db8:0:2::1"), "two /64 are two");
	return tap_end();
}
