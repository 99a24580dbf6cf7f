/* SPDX-License-Identifier: ISC
 *
 * Loads libsystemd when first needed. The environment is trusted: it is our starter's. */
#include "lib/libsystemd.h"

#include "lib/util.h"

#include <dlfcn.h>
#include <stdarg.h>

#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

#define LIBRARY "libsystemd.so.0"
#define STATE_OCTETS_MAX 256

/* A function of the library, which stays loaded from then on; NULL: there is none. */
static void *find(const char *name)
{
	void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

	return library ? dlsym(library, name) : NULL;
}

/* A function of the library if the environment has a variable, else NULL. */
#define find_if(variable, function) \
	((__typeof__(function) *)(getenv(variable) ? find(#function) : NULL))

/* Unloads the library if systemd wants no more: each page of a listener costs its sessions time. */
int libsystemd_listen_fds(void)
{
	void *library = getenv("LISTEN_FDS") ? dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL) : NULL;
	__typeof__(sd_listen_fds) *listen_fds = library ? dlsym(library, "sd_listen_fds") : NULL;
	int count;

	if (!listen_fds)
		return getenv("LISTEN_FDS") ? -ELIBACC : 0;
	count = listen_fds(1);
	(void)dlclose(library);
	return count;
}

uint64_t libsystemd_watchdog_us(void)
{
	__typeof__(sd_watchdog_enabled) *enabled = find_if("WATCHDOG_USEC", sd_watchdog_enabled);
	uint64_t us = 0;

	return enabled && enabled(0, &us) > 0 ? us : 0;
}

void libsystemd_notify(const char *format, ...)
{
	__typeof__(sd_notify) *notify = find_if("NOTIFY_SOCKET", sd_notify);
	char state[STATE_OCTETS_MAX];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(state, sizeof(state), format, arguments);
	va_end(arguments);
	if (notify)
		(void)notify(0, state);
}

void libsystemd_journal_send(const struct iovec *fields, int count)
{
	static __typeof__(sd_journal_sendv) *send_entry; /* no library is loaded in the sandbox */

	if (!send_entry)
		send_entry = find_if("JOURNAL_STREAM", sd_journal_sendv);
	if (send_entry)
		(void)send_entry(fields, count);
}
