/* SPDX-License-Identifier: ISC
 * Loads libsystemd for one call, then unloads it, because each page of a listener makes fork(2)
 * slower. Trusts the environment, because the process was started with it. */
#include "lib/libsystemd.h"

#include "lib/util.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <systemd/sd-daemon.h>

#define NOTIFY_US 100000 /* how long a state waits for a busy systemd */

int libsystemd_listen_fds(void)
{
	bool is_wanted = getenv("LISTEN_FDS") != NULL;
	void *library = is_wanted ? dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL) : NULL;
	__typeof__(sd_listen_fds) *function = library ? dlsym(library, "sd_listen_fds") : NULL;
	int r = function ? function(1) : is_wanted ? -ELIBACC : 0;

	if (library)
		(void)dlclose(library);
	return r;
}

uint64_t libsystemd_watchdog_us(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	return us && (!pid || strtol(pid, NULL, 10) == getpid()) ? strtoull(us, NULL, 10) : 0;
}

/* The protocol of sd_notify(3), which itself blocks while nobody reads. */
void libsystemd_notify(const char *format, ...)
{
	static const struct timeval patience = { 0, NOTIFY_US };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	auto_fd int fd = -1;
	char state[256];
	va_list arguments;

	if (!path || !util_copy(address.sun_path, path))
		return;
	if (*path == '@') /* an abstract socket */
		*address.sun_path = '\0';
	va_start(arguments, format);
	(void)vsnprintf(state, sizeof(state), format, arguments);
	va_end(arguments);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&address,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path)));
}
