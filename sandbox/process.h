/* SPDX-License-Identifier: ISC
 * What the stages of the sandbox have in common. Functions that return an int return 0 or a
 * negative errno. */
#pragma once

#include <stdint.h>

/* The permitted capabilities, of the first 32, as bits. */
uint32_t process_capabilities(void);

/* Gives up all capabilities but these. -EPERM: others are left. */
int process_keep_capabilities(uint32_t kept);

/* From now on: no core dump, no debugger of the same user, no more rights by execve(2). */
int process_harden(void);
