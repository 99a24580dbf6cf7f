/* SPDX-License-Identifier: ISC
 * The process itself: its user, limits and privileges. Functions return 0 or a negative errno. */
#pragma once

/* Becomes the user of this name for good, with the groups that it is in; NULL: stays what it is.
 *   -EACCES  that would be root, and no user is named
 *   -ENOENT  there is no such user
 *   -EPERM   this process may not become another user */
int process_become_user(const char *user);

/* Bounds memory and files, in case that a client finds a way to let them grow. */
int process_limit(void);

/* From now on: no capability, no core dump, no debugger of the same user, no more rights by
 * execve(2). Landlock and seccomp need this, here or in the process that forks this one. */
int process_harden(void);
