/* SPDX-License-Identifier: ISC
 * channel-packet TYPE [USER PASSWORD]: prints in hexadecimal a packet from a session to its keeper,
 * for tests/keeper-attacks.bats. */
#include "channel.h"

#include "lib/util.h"

static struct channel_login login;

int main(int argc, char *argv[])
{
	size_t octets = argc == 4 ? sizeof(login) : sizeof(login.request);

	if (argc != 2 && argc != 4)
		return 1;
	login.request.type = (uint32_t)strtoul(argv[1], NULL, 0);
	if (argc == 4 && (!util_copy(login.user, argv[2]) || !util_copy(login.password, argv[3])))
		return 1;
	for (size_t i = 0; i < octets; i++)
		(void)printf("%02x", ((const unsigned char *)&login)[i]);
	return 0;
}
