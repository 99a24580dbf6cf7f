/* SPDX-License-Identifier: ISC
 * The sockets of a listener: those that were passed, or that the setting `listen` names. */
#pragma once

#include "settings.h"

#include <stdbool.h>

struct listener_sockets {
	int fds[SETTINGS_SOCKETS_MAX];
	size_t count;
	bool is_inetd; /* its "wait": with the next client it starts the program again */
};

/* As listener_open(); everything in *sockets is 0 before, and count is if there is a client. */
int sockets_open(struct listener_sockets *sockets, char *const *endpoints, int passed);

/* Prints where those of the settings listen, with the ports that were assigned. */
void sockets_announce(const struct listener_sockets *sockets, char *const *endpoints);

/* Puts a client on descriptors 0 and 1, and closes `fd`. Returns 0 or what dup2(2) says. */
int sockets_move_client(int fd);

void sockets_close(struct listener_sockets *sockets);
