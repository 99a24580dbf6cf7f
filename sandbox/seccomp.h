/* SPDX-License-Identifier: ISC
 * Seccomp: which system calls the process can make. */
#pragma once

#include <stdbool.h>

/* Whether this kernel can refuse system calls. */
bool seccomp_is_available(void);

/* Makes system calls that no session needs fail with EPERM. Returns 0 or a negative errno. */
int seccomp_enter(void);

/* The number of a system call that was refused since this was called last; -1: none. */
int seccomp_take_refusal(void);
