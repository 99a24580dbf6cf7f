/* SPDX-License-Identifier: ISC
 * What a C test needs to speak TAP. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int tap_count, tap_failures;

/* One test point. Returns `good`, so that a caller can say more. */
__attribute__((format(printf, 2, 3))) static inline bool tap(bool good, const char *title, ...)
{
	va_list arguments;

	(void)printf("%sok %d - ", good ? "" : "not ", ++tap_count);
	va_start(arguments, title);
	(void)vprintf(title, arguments);
	va_end(arguments);
	(void)putchar('\n');
	tap_failures += !good;
	return good;
}

/* Ends the tests: what main() returns. */
static inline int tap_end(void)
{
	(void)printf("1..%d\n", tap_count);
	return tap_failures > 0;
}
