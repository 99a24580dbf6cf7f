/* SPDX-License-Identifier: ISC
 * Loads libsystemd for each call and unloads it: each page of a listener costs its sessions time.
 * The environment is trusted: it is our starter's. */
#include "lib/libsystemd.h"

#include "lib/util.h"

#include <dlfcn.h>
#include <stdarg.h>

#include <systemd/sd-daemon.h>

/* The library, if the environment has a variable; else, or if there is none, NULL. */
static void *load(const char *variable)
{
	return getenv(variable) ? dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL) : NULL;
}

static void unload(void *const *library)
{
	if (*library)
		(void)dlclose(*library);
}

#define auto_library __attribute__((cleanup(unload)))

/* A function of the library; NULL: there is none. */
#define find(library, function) \
	((__typeof__(function) *)((library) ? dlsym(library, #function) : NULL))

int libsystemd_listen_fds(void)
{
	auto_library void *library = load("LISTEN_FDS");
	__typeof__(sd_listen_fds) *listen_fds = find(library, sd_listen_fds);

	return listen_fds ? listen_fds(1) : getenv("LISTEN_FDS") ? -ELIBACC : 0;
}

uint64_t libsystemd_watchdog_us(void)
{
	auto_library void *library = load("WATCHDOG_USEC");
	__typeof__(sd_watchdog_enabled) *enabled = find(library, sd_watchdog_enabled);
	uint64_t us = 0;

	return enabled && enabled(0, &us) > 0 ? us : 0;
}

void libsystemd_notify(const char *format, ...)
{
	auto_library void *library = load("NOTIFY_SOCKET");
	__typeof__(sd_notify) *notify = find(library, sd_notify);
	char state[256];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(state, sizeof(state), format, arguments);
	va_end(arguments);
	if (notify)
		(void)notify(0, state);
}
