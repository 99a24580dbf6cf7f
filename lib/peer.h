/* SPDX-License-Identifier: ISC
 * The other end of a connection. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

struct peer {
	char text[INET6_ADDRSTRLEN]; /* its address; else "local" or "unknown" */
	bool is_local;		     /* on this machine; false if in doubt */
	struct in6_addr address;     /* IPv4 is mapped into IPv6; all 0: no internet address */
};

/* The address of a socket. The two ports are in the same place. */
union peer_endpoint {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* How much of an address is one source of connections, and one network of sources. */
#define PEER_SOURCE_BITS 64, 32 /* IPv6: a customer's /64; IPv4 */
#define PEER_NETWORK_BITS 56, 24

#define PEER_LOCAL ((struct peer){ .text = "local", .is_local = true })

/* The peer of a connected socket; what is no socket is local. */
void peer_of_socket(int fd, struct peer *ret);

/* The client on two descriptors, local only if both are. Behind a local one may be a relay, and the
 * client is the one that the environment names, as tcpserver(1), systemd.exec(5), socat(1), ncat(1)
 * and stunnel(8) do: local only if all names are. What is no address is an unknown client. */
struct peer peer_of_client(int in_fd, int out_fd);

/* The peer at an internet address. */
void peer_of_address(const struct in6_addr *address, struct peer *ret);

/* Sets all bits of an address to 0 but those of its network. */
void peer_cut_address(struct in6_addr *address, unsigned bits6, unsigned bits4);

/* Whether an address is in a network: "192.0.2.0/24", "2001:db8::/32", or one address. Returns 1,
 * 0, or -EINVAL if `network` is none. */
int peer_is_in_network(const struct in6_addr *address, const char *network);
