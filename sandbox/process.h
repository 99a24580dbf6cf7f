/* SPDX-License-Identifier: ISC
 *
 * The process itself: its user, its limits, its privileges.
 *
 * Functions return 0 or a negative errno. */
#pragma once

/* Becomes the user of this name for good, with the groups that it is in; NULL: stays what it is.
 *   -EACCES  that would be root, and no user is named
 *   -ENOENT  there is no such user
 *   -EPERM   this process may not become another user */
int process_become_user(const char *user);

/* Bounds the memory and the files of the process, for a client that finds a way to let it grow. */
int process_limit(void);

/* No core dump from now on, no debugger of the same user, and no program that is started has more
 * rights. Landlock and seccomp need this, here or in the process that forks this one. */
int process_harden(void);
