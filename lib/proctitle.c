/* SPDX-License-Identifier: ISC
 * The title overwrites the command line and the environment, which lie one after the other: Linux
 * shows both, up to a NUL, if the command line no longer ends in one. */
#include "lib/proctitle.h"

#include "lib/util.h"

#include <stdarg.h>

#define NAME "pop3-handler: "

static char *area; /* set once, by proctitle_open() */
static size_t area_octets;

/* The area goes on as long as each text lies right behind the one before. */
void proctitle_open(int argc, char *argv[])
{
	area = argv[0];
	for (int i = 0; i < argc && argv[i] == area + area_octets; i++)
		area_octets += strlen(argv[i]) + 1;
	for (char **variable = environ; variable && *variable == area + area_octets; variable++) {
		char *copy = strdup(*variable);

		if (!copy)
			return;
		*variable = copy; /* it belongs to the environment from now on */
		area_octets += strlen(copy) + 1;
	}
}

void proctitle_set(const char *format, ...)
{
	va_list arguments;

	if (area_octets <= sizeof(NAME))
		return;
	memset(area, 0, area_octets);
	memcpy(area, NAME, sizeof(NAME));
	va_start(arguments, format);
	(void)vsnprintf(area + sizeof(NAME) - 1, area_octets - sizeof(NAME) + 1, format, arguments);
	va_end(arguments);
}
