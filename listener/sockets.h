/* SPDX-License-Identifier: ISC
 * The sockets of a listener: those that were passed, or that the setting `listen` names. */
#pragma once

#include "settings.h"

#include <stdbool.h>
#include <stddef.h>

struct listener_sockets {
	int fds[SETTINGS_SOCKETS_MAX];
	size_t count;
	bool is_inetd; /* its "wait": with the next client it starts the program again */
};

/* Puts a client on descriptors 0 and 1, and closes `fd`. Returns 0 or what dup2(2) says. */
int sockets_move_client(int fd);

/* Whether there are any, in the settings or as libsystemd_listen_fds() says. */
bool sockets_are_wanted(char *const *endpoints, int passed);

/* Opens or takes them; everything in *sockets is 0 before. If there are none it leaves, or puts, a
 * client on descriptors 0 and 1. Returns 0, or a failure that has been logged:
 *   -EBADMSG  the settings name some, but others were passed
 *   -EINVAL   what was passed is something else
 *   -E2BIG    they are more than SETTINGS_SOCKETS_MAX
 *   or what the system says */
int sockets_open(struct listener_sockets *sockets, char *const *endpoints, int passed);

/* Prints where those of the settings listen, with the ports that were assigned. */
void sockets_announce(const struct listener_sockets *sockets, char *const *endpoints);

void sockets_close(struct listener_sockets *sockets);
