/* SPDX-License-Identifier: ISC
 *
 * The title overwrites the command line and the environment, which lie one after the other: Linux
 * shows both, up to a NUL, if the command line no longer ends in one. */
#include "lib/proctitle.h"

#include "lib/util.h"

#include <stdarg.h>

#define NAME "pop3-handler: "

static char *area; /* set once, by proctitle_open() */
static size_t area_octets;

/* Adds a text to the area if it lies right behind it. */
static int extend_area(const char *text)
{
	if (text != area + area_octets)
		return -ENOENT;
	area_octets += strlen(text) + 1;
	return 0;
}

void proctitle_open(int argc, char *argv[])
{
	area = argv[0];
	for (int i = 0; i < argc; i++)
		(void)extend_area(argv[i]);
	for (char **variable = environ; variable && *variable; variable++) {
		char *copy = strdup(*variable);

		if (!copy || extend_area(*variable) < 0) {
			free(copy);
			return;
		}
		*variable = copy; /* it belongs to the environment from now on */
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
