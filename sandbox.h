/* SPDX-License-Identifier: ISC
 *
 * What the process gives up: root, the files that it does not need (Landlock), the system calls
 * that it does not need (seccomp), and how much it may use. Descriptors that are open stay of use.
 *
 * Functions that return an int return 0 or a negative errno. */
#pragma once

#include <stdbool.h>

/* Becomes the user of this name for good, with the groups that he is in; NULL: stays what it is.
 * Returns 0, or
 *   -EACCES  that would be root, and nobody has said that it may be
 *   -ENOENT  there is no such user
 *   -EPERM   this process may not become another user */
int sandbox_become_user(const char *user);

/* Bounds what the process may use, of whatever it is offered to: for a client that finds a way to
 * let it grow. */
int sandbox_limit(void);

/* Comes before all that follows, here or in the process that forks this one: no core dump from now
 * on, no debugger of the same user, and no program that is started has more rights. */
int sandbox_prepare(void);

/* ---- Files ---- */

enum sandbox_access {
	SANDBOX_READ,
	SANDBOX_CHANGE, /* and create, rename, empty and delete files below it */
};

/* Makes a set of files that may be reached, an empty one. Returns its descriptor, which the caller
 * closes, or what the system says, or
 *   -EOPNOTSUPP  this kernel cannot keep a process from files, or not so that we can live with it
 */
int sandbox_new_set(void);

/* Adds a file, or a directory with all below it, as it is now: what will stand there later under
 * its name is not meant. -ENOENT: there is nothing. */
int sandbox_allow(int set_fd, const char *path, enum sandbox_access access);

/* From now on nothing else can be opened. What an earlier set did not have stays out of reach. */
int sandbox_enter(int set_fd);

/* ---- System calls ---- */

/* Whether this kernel can refuse system calls. */
bool sandbox_can_refuse_calls(void);

/* From now on system calls that no session needs fail with EPERM; for a kernel that can do that. */
int sandbox_refuse_calls(void);

/* The number of a system call that has been refused since this was asked last; -1: none. */
int sandbox_take_refusal(void);
