/* SPDX-License-Identifier: ISC
 *
 * The other end of a connection. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>

struct peer {
	char text[INET6_ADDRSTRLEN]; /* its address; else "local" or "unknown" */
	bool is_local;		     /* on this machine; when in doubt not */
	/* What may belong to one client: an IPv4 address (mapped into IPv6), or the first 64 bits
	 * of an IPv6 address; all zeros for others. */
	struct in6_addr source;
};

/* The peer of a connected socket. If that has no internet address: peer_from_environment(). */
void peer_of_socket(int fd, struct peer *ret);

/* The client as reported by a superserver in the environment, in the variables of tcpserver(1) and
 * systemd.exec(5); else a local one. */
void peer_from_environment(struct peer *ret);
