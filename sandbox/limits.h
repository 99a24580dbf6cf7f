/* SPDX-License-Identifier: ISC
 *
 * What the process may use, and what others may do to it.
 *
 * Functions return 0 or a negative errno. */
#pragma once

/* Bounds the memory and the files of the process, for a client that finds a way to let it grow. */
int limits_lower(void);

/* No core dump from now on, no debugger of the same user, and no program that is started has more
 * rights. Landlock and seccomp need this, here or in the process that forks this one. */
int limits_harden(void);
