/* SPDX-License-Identifier: ISC
 *
 * The other end of a connection. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

struct peer {
	char text[INET6_ADDRSTRLEN]; /* its address; else "local" or "unknown" */
	bool is_local;		     /* on this machine; false if in doubt */
	struct in6_addr source;	     /* IPv4 (mapped into IPv6), or an IPv6 /64; all 0 for others */
};

/* The peer of a connected socket. If that has no internet address: peer_from_environment(). */
void peer_of_socket(int fd, struct peer *ret);

/* The client that the environment names (tcpserver(1), systemd.exec(5)); else a local one. */
void peer_from_environment(struct peer *ret);
