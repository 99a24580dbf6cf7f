/* SPDX-License-Identifier: ISC
 * The sockets of a listener, and the client of a process without one. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SOCKETS_MAX 16

struct listener_sockets {
	int fds[SOCKETS_MAX]; /* 0, or of LISTEN_FDS */
	size_t count;
	bool is_inetd; /* its "wait": whoever ends is started again */
};

/* Whether a socket that listens was passed, as libsystemd_listen_fds() says. */
bool sockets_are_wanted(int passed);

/* Puts a client, which is closed there, on descriptors 0 and 1. Returns 0 or what dup2(2) says. */
int sockets_move_client(int fd);

/* Puts the client there, if one was passed and not sockets that listen. Returns 1 if there is one,
 * 0 if not, or what the system says. */
int sockets_take_client(int passed);

/* Takes sockets that listen, as they were passed; all is 0 before. Returns 0, or
 *   -EINVAL  they are something else, or too many
 *   or what the system says */
int sockets_take(struct listener_sockets *sockets, int passed);

void sockets_close(struct listener_sockets *sockets);
