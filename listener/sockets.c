/* SPDX-License-Identifier: ISC
 * What the program was started with is its starter's, which is trusted. */
#include "listener/sockets.h"

#include "lib/util.h"

#include <sys/socket.h>
#include <systemd/sd-daemon.h>

/* Returns 1 for a stream socket that listens, 0 for a connected one, or a negative errno. */
static int is_listening(int fd)
{
	int listening = 0, type = 0;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
		return -errno;
	return type == SOCK_STREAM ? listening : -EINVAL;
}

bool sockets_are_wanted(int passed)
{
	return is_listening(passed > 0 ? SD_LISTEN_FDS_START : STDIN_FILENO) == 1;
}

int sockets_move_client(int fd)
{
	if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

int sockets_take_client(int passed)
{
	int r;

	if (passed == 0)
		return !sockets_are_wanted(passed);
	if (passed != 1 || is_listening(SD_LISTEN_FDS_START) != 0)
		return 0;
	r = sockets_move_client(SD_LISTEN_FDS_START);
	return r < 0 ? r : 1;
}

/* Non-blocking, since another process may take the connection between poll and accept. */
static int add_socket(struct listener_sockets *sockets, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (sockets->count == SOCKETS_MAX)
		return -EINVAL;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	sockets->fds[sockets->count++] = fd;
	return 0;
}

/* Under inetd the listening socket is standard output and standard error as well. */
static int take_inetd_socket(struct listener_sockets *sockets)
{
	auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    (is_listening(STDERR_FILENO) == 1 && dup2(null, STDERR_FILENO) < 0))
		return -errno;
	sockets->is_inetd = true;
	return add_socket(sockets, STDIN_FILENO);
}

int sockets_take(struct listener_sockets *sockets, int passed)
{
	int r = passed == 0 ? take_inetd_socket(sockets) : 0;

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + passed && r == 0; fd++)
		r = is_listening(fd) == 1 ? add_socket(sockets, fd) : -EINVAL;
	return r;
}

void sockets_close(struct listener_sockets *sockets)
{
	while (sockets->count > 0)
		(void)close(sockets->fds[--sockets->count]);
}
