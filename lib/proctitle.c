/* SPDX-License-Identifier: ISC
 * The title overwrites the command line and the environment, which are contiguous. If the command
 * line no longer ends in a NUL, Linux shows both, up to the first NUL. */
#include "lib/proctitle.h"

#include "lib/util.h"

#include <stdarg.h>

#define NAME "pop3-handler: "

static char *area; /* set once, by proctitle_open() */
static size_t area_octets;

/* If a string directly follows the area, adds it to the area and replaces the string by a copy. */
static bool take(char **text)
{
	char *copy = *text == area + area_octets ? strdup(*text) : NULL;

	if (!copy)
		return false;
	area_octets += strlen(copy) + 1;
	*text = copy; /* now owned by the arguments or the environment */
	return true;
}

void proctitle_open(char *argv[])
{
	area = argv[0];
	while (*argv && take(argv))
		argv++;
	for (char **variable = environ; variable && *variable && take(variable); variable++)
		;
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
