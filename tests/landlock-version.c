/* SPDX-License-Identifier: ISC
 * A preloaded library: the kernel reports Landlock version LANDLOCK_VERSION, an older one. */
#include <dlfcn.h>
#include <linux/landlock.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

long syscall(long number, ...)
{
	static long (*real)(long number, ...);
	static long version;
	long arguments[6];
	va_list list;

	if (!real) { /* before the sandbox closes */
		real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
		version = atol(getenv("LANDLOCK_VERSION"));
	}
	va_start(list, number);
	for (int i = 0; i < 6; i++)
		arguments[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_landlock_create_ruleset &&
	    arguments[2] == LANDLOCK_CREATE_RULESET_VERSION)
		return version;
	return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
		    arguments[5]);
}
