/* SPDX-License-Identifier: ISC
 * IPv4 addresses are stored mapped into IPv6, because clients may come as either. */
#include "lib/peer.h"

#include "lib/util.h"
#include "lib/wire.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#define MAPPED_BITS 96 /* of the prefix of a mapped IPv4 address */
#define MAPPED(address4) ((struct in6_addr){ .s6_addr32 = { 0, 0, htonl(0xffff), (address4) } })

void peer_of_address(const struct in6_addr *address, struct peer *ret)
{
	bool is_4 = IN6_IS_ADDR_V4MAPPED(address);
	const uint8_t *octets = address->s6_addr + (is_4 ? MAPPED_BITS / 8 : 0);

	*ret = (struct peer){ .address = *address };
	ret->is_local = is_4 ? *octets == IN_LOOPBACKNET : IN6_IS_ADDR_LOOPBACK(address);
	(void)inet_ntop(is_4 ? AF_INET : AF_INET6, octets, ret->text, sizeof(ret->text));
}

static bool parse_address(const char *text, size_t octets, struct in6_addr *ret)
{
	char copy[INET6_ADDRSTRLEN + 1]; /* + 1: a truncated text must not parse */

	(void)snprintf(copy, sizeof(copy), "%.*s", (int)octets, text);
	*ret = MAPPED(0);
	return inet_pton(AF_INET, copy, ret->s6_addr + MAPPED_BITS / 8) == 1 ||
	       inet_pton(AF_INET6, copy, ret) == 1;
}

static void ask_environment(struct peer *peer)
{
	static const char *const names[] = { "TCPREMOTEIP", "REMOTE_ADDR", "REMOTE_HOST",
					     "SOCAT_PEERADDR", "NCAT_REMOTE_ADDR" };

	/* A remote peer wins over a local one, and a remote address over an unknown peer. */
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *text = getenv(names[i]);
		struct peer named = { .text = "unknown" };
		struct in6_addr address;

		if (!text || !*text)
			continue;
		text += *text == '['; /* socat writes "[ADDRESS]", others "ADDRESS%ZONE" */
		if (parse_address(text, strcspn(text, "]%"), &address))
			peer_of_address(&address, &named);
		if (peer->is_local || (IN6_IS_ADDR_UNSPECIFIED(&peer->address) && !named.is_local))
			*peer = named;
	}
}

bool peer_of_socket(int fd, struct peer *ret)
{
	union peer_endpoint address = { 0 };
	socklen_t size = sizeof(address);
	bool is_socket = getpeername(fd, &address.any, &size) == 0 || errno != ENOTSOCK;
	sa_family_t family = address.any.sa_family; /* 0 after a failure */

	*ret = family == AF_UNIX || !is_socket ? PEER_LOCAL : (struct peer){ .text = "unknown" };
	if (family == AF_INET)
		address.in6.sin6_addr = MAPPED(address.in.sin_addr.s_addr);
	if (family == AF_INET || family == AF_INET6)
		peer_of_address(&address.in6.sin6_addr, ret);
	return !is_socket || family != AF_UNSPEC;
}

struct peer peer_of_client(int in_fd, int out_fd)
{
	struct peer peer, other;

	(void)peer_of_socket(in_fd, &peer);
	(void)peer_of_socket(out_fd, &other);
	if (peer.is_local)
		ask_environment(&peer);
	peer.is_local &= other.is_local;
	return peer;
}

void peer_cut_address(struct in6_addr *address, unsigned bits6, unsigned bits4)
{
	unsigned bits = IN6_IS_ADDR_V4MAPPED(address) ? MAPPED_BITS + bits4 : bits6;

	for (unsigned i = 0; i < sizeof(*address); i++, bits -= bits < 8 ? bits : 8) {
		if (bits < 8)
			address->s6_addr[i] &= (unsigned char)(0xff00 >> bits);
	}
}

int peer_is_in_network(const struct in6_addr *address, const char *network)
{
	size_t octets = strcspn(network, "/");
	struct in6_addr wanted, cut = *address;
	uint64_t bits;

	if (!parse_address(network, octets, &wanted))
		return -EINVAL;
	bits = IN6_IS_ADDR_V4MAPPED(&wanted) ? 32 : 128; /* all bits: default and maximum */
	if (network[octets] && wire_parse_number(network + octets + 1, bits, &bits) < 0)
		return -EINVAL;
	peer_cut_address(&wanted, (unsigned)bits, (unsigned)bits);
	peer_cut_address(&cut, (unsigned)bits, (unsigned)bits);
	return IN6_ARE_ADDR_EQUAL(&wanted, &cut);
}
