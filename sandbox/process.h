/* SPDX-License-Identifier: ISC
 * Steps of confinement that all kinds of processes share. Functions that return an int return 0 or
 * a negative errno. */
#pragma once

#include <stdint.h>

/* Drops the bounding set of capabilities. Without CAP_SETPCAP it stays. */
void process_drop_bounding_set(void);

/* Drops all capabilities but these. -EPERM: the process has others, or lacks some. */
int process_keep_capabilities(uint32_t kept);

/* From now on: no core dump, no ptrace(2) by the same user, no privileges by execve(2). */
int process_harden(void);
