/* SPDX-License-Identifier: ISC */
#include "lib/endpoint.h"

#include "lib/util.h"
#include "lib/wire.h"

#include <arpa/inet.h>

int endpoint_parse(const char *text, union endpoint *ret)
{
	const char *colon = strrchr(text, ':');
	size_t octets = colon ? (size_t)(colon - text) : 0;
	bool is_6 = octets > 0 && text[0] == '[' && colon[-1] == ']';
	auto_free char *address = is_6 ? strndup(text + 1, octets - 2) : strndup(text, octets);
	uint64_t port;

	*ret = (union endpoint){ .any.sa_family = is_6 ? AF_INET6 : AF_INET };
	if (!colon || !address || wire_parse_number(colon + 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	ret->in.sin_port = htons((uint16_t)port);
	return inet_pton(ret->any.sa_family, address,
			 is_6 ? (void *)&ret->in6.sin6_addr : &ret->in.sin_addr) == 1 ?
		       0 :
		       -EINVAL;
}
