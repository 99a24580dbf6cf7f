/* SPDX-License-Identifier: ISC
 *
 * An IPv4 address is kept as its IPv6 address, since it may come as either. */
#include "lib/peer.h"

#include "lib/util.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#define NETWORK_OCTETS 8 /* of an IPv6 address: its /64 is one customer's */

static void note_address(const struct in6_addr *address, struct peer *ret)
{
	*ret = (struct peer){ .source = *address };
	if (IN6_IS_ADDR_V4MAPPED(address)) {
		(void)inet_ntop(AF_INET, address->s6_addr + 12, ret->text, sizeof(ret->text));
		ret->is_local = address->s6_addr[12] == IN_LOOPBACKNET;
	} else {
		(void)inet_ntop(AF_INET6, address, ret->text, sizeof(ret->text));
		ret->is_local = IN6_IS_ADDR_LOOPBACK(address);
		memset(ret->source.s6_addr + NETWORK_OCTETS, 0,
		       sizeof(ret->source) - NETWORK_OCTETS);
	}
}

static void note_address4(const struct in_addr *address, struct peer *ret)
{
	struct in6_addr mapped = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	memcpy(mapped.s6_addr + 12, address, sizeof(*address));
	note_address(&mapped, ret);
}

void peer_from_environment(struct peer *ret)
{
	static const char *const names[] = { "TCPREMOTEIP", "REMOTE_ADDR" };
	struct in_addr address4;
	struct in6_addr address6;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *text = getenv(names[i]);

		if (text && inet_pton(AF_INET, text, &address4) == 1) {
			note_address4(&address4, ret);
			return;
		}
		if (text && inet_pton(AF_INET6, text, &address6) == 1) {
			note_address(&address6, ret);
			return;
		}
	}
	*ret = (struct peer){ .text = "local", .is_local = true };
}

void peer_of_socket(int fd, struct peer *ret)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_storage storage;
	} address = { 0 };
	socklen_t size = sizeof(address);

	*ret = (struct peer){ .text = "unknown" };
	if (getpeername(fd, &address.any, &size) < 0)
		return;
	if (address.any.sa_family == AF_UNIX)
		peer_from_environment(ret);
	else if (address.any.sa_family == AF_INET)
		note_address4(&address.in.sin_addr, ret);
	else if (address.any.sa_family == AF_INET6)
		note_address(&address.in6.sin6_addr, ret);
}
