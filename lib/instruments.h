/* SPDX-License-Identifier: ISC
 *
 * Whether the program was built with instruments, told at run time by symbols that only they have:
 * all builds have the same source. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

extern void __asan_init(void) __attribute__((weak)); /* NOLINT */
extern void __gcov_exit(void) __attribute__((weak)); /* NOLINT */

/* AddressSanitizer has an address space of its own making, and system calls of its own. */
static inline bool instruments_have_asan(void)
{
	return __asan_init != NULL;
}

/* Whether some instrument has something to do when the process exits. */
static inline bool instruments_report_at_exit(void)
{
	return instruments_have_asan() || __gcov_exit != NULL;
}
