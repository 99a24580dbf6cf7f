/* SPDX-License-Identifier: ISC
 *
 * The title is written over the command line and the environment, which lie one after the other:
 * Linux shows what is there, up to a NUL, when the command line no longer ends in one. */
#include "lib/proctitle.h"

#include "lib/util.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define NAME "pop3-handler: "

static char *room; /* set once, by title_open() */
static size_t room_octets;

/* Adds a text to the room if it lies right behind it. */
static int take_room(const char *text)
{
	if (text != room + room_octets)
		return -ENOENT;
	room_octets += strlen(text) + 1;
	return 0;
}

void title_open(int argc, char *argv[])
{
	if (argc < 1)
		return;
	room = argv[0];
	for (int i = 0; i < argc; i++)
		(void)take_room(argv[i]);
	for (char **variable = environ; variable && *variable; variable++) {
		char *copy = strdup(*variable);

		if (!copy || take_room(*variable) < 0) {
			free(copy);
			return;
		}
		*variable = copy; /* it belongs to the environment from now on */
	}
}

void title_set(const char *format, ...)
{
	va_list arguments;

	if (room_octets <= sizeof(NAME))
		return;
	memset(room, 0, room_octets);
	memcpy(room, NAME, sizeof(NAME));
	va_start(arguments, format);
	(void)vsnprintf(room + sizeof(NAME) - 1, room_octets - sizeof(NAME) + 1, format, arguments);
	va_end(arguments);
}
