/* SPDX-License-Identifier: ISC
 * An IP address and a TCP port. */
#pragma once

#include <netinet/in.h>

union endpoint {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6; /* its port is where that of `in` is */
};

/* Reads "127.0.0.1:110" or "[::1]:110". Returns 0 or -EINVAL. */
int endpoint_parse(const char *text, union endpoint *ret);
