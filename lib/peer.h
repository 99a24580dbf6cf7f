/* SPDX-License-Identifier: ISC
 * The peer of a connection. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

struct peer {
	char text[INET6_ADDRSTRLEN]; /* its address; else "local" or "unknown" */
	bool is_local;		     /* on this machine; false if unknown */
	struct in6_addr address;     /* IPv4 is mapped into IPv6; all 0: no internet address */
};

/* A socket address. Both families have the port at the same offset. */
union peer_endpoint {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

/* Prefix lengths (IPv6, IPv4) of one source of connections, and of one network of sources. */
#define PEER_SOURCE_BITS 64, 32 /* a customer has at least an IPv6 /64 */
#define PEER_NETWORK_BITS 56, 24

#define PEER_LOCAL ((struct peer){ .text = "local", .is_local = true })

/* The peer of a connected socket. If `fd` is not a socket, the peer is local. Returns false if the
 * peer has reset the connection: it is unknown. */
bool peer_of_socket(int fd, struct peer *ret);

/* The client on two descriptors, local only if both peers are. A local peer may be a relay, such as
 * tcpserver(1), systemd.exec(5), socat(1), ncat(1) or stunnel(8), that names the client in the
 * environment: then the client is local only if all these names are. A name that is not an address
 * means an unknown client. */
struct peer peer_of_client(int in_fd, int out_fd);

/* The peer at an internet address. */
void peer_of_address(const struct in6_addr *address, struct peer *ret);

/* Clears the bits of an address after the prefix of its network. */
void peer_cut_address(struct in6_addr *address, unsigned bits6, unsigned bits4);

/* Whether an address is in a network: "192.0.2.0/24", "2001:db8::/32", or one address. Returns 1,
 * 0, or -EINVAL if `network` is malformed. */
int peer_is_in_network(const struct in6_addr *address, const char *network);
