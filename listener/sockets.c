/* SPDX-License-Identifier: ISC
 * What the program was started with is its starter's, which is trusted. */
#include "listener/sockets.h"

#include "lib/util.h"
#include "log.h"

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

int sockets_move_client(int fd)
{
	if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

/* Non-blocking, since another process may take the connection between poll and accept. */
static int add_socket(struct listener_sockets *sockets, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	sockets->fds[sockets->count++] = fd;
	return 0;
}

/* ---- What was passed ---- */

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

static int take_passed(struct listener_sockets *sockets, int passed)
{
	int r = passed < 0 ? passed : passed > SETTINGS_SOCKETS_MAX ? -E2BIG : 0;

	if (passed == 0)
		return is_listening(STDIN_FILENO) == 1 ? take_inetd_socket(sockets) : 0;
	if (passed == 1 && is_listening(SD_LISTEN_FDS_START) == 0)
		return sockets_move_client(SD_LISTEN_FDS_START);
	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + passed && r == 0; fd++)
		r = is_listening(fd) == 1 ? add_socket(sockets, fd) : -EINVAL;
	return r;
}

/* ---- What the settings name ---- */

static int open_socket(struct listener_sockets *sockets, const char *text)
{
	static const int on = 1, off = 0;
	union peer_endpoint endpoint;
	auto_fd int fd = -1;

	(void)settings_parse_endpoint(text, &endpoint); /* the settings have checked it */
	fd = socket(endpoint.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)); /* IPv4 has it not */
	if (bind(fd, &endpoint.any, sizeof(endpoint)) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return add_socket(sockets, take_fd(&fd));
}

int sockets_open(struct listener_sockets *sockets, char *const *endpoints, int passed)
{
	int r = 0, domain = AF_UNIX; /* such a socket may be anything, for instance sshd's */
	socklen_t size = sizeof(domain);

	log_open(!endpoints && passed == 0 && is_listening(STDIN_FILENO) != 1);
	(void)getsockopt(STDIN_FILENO, SOL_SOCKET, SO_DOMAIN, &domain, &size);
	if (endpoints && (passed != 0 || domain != AF_UNIX)) {
		log_error("listen = %s, but a socket was passed, too", *endpoints);
		return -EBADMSG;
	}
	for (size_t i = 0; endpoints && endpoints[i] && r == 0; i++) {
		r = open_socket(sockets, endpoints[i]);
		if (r < 0)
			log_error("cannot listen on %s: %s", endpoints[i], strerror(-r));
	}
	if (endpoints)
		return r;
	r = take_passed(sockets, passed);
	if (r < 0)
		log_error("cannot use the sockets that were passed: %s",
			  r == -E2BIG ? "there are more than 16" : strerror(-r));
	return r;
}

void sockets_announce(const struct listener_sockets *sockets, char *const *endpoints)
{
	for (size_t i = 0; endpoints && i < sockets->count; i++) {
		union peer_endpoint endpoint = { 0 };
		socklen_t size = sizeof(endpoint);
		int octets = (int)(strrchr(endpoints[i], ':') - endpoints[i]);

		(void)getsockname(sockets->fds[i], &endpoint.any, &size);
		(void)dprintf(STDOUT_FILENO, "listening on %.*s:%u\n", octets, endpoints[i],
			      ntohs(endpoint.in.sin_port));
	}
}

void sockets_close(struct listener_sockets *sockets)
{
	while (sockets->count > 0)
		(void)close(sockets->fds[--sockets->count]);
}
