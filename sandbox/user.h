/* SPDX-License-Identifier: ISC
 *
 * The user that the process runs as. */
#pragma once

/* Becomes the user of this name for good, with the groups that it is in; NULL: stays what it is.
 * Returns 0, or
 *   -EACCES  that would be root, and no user is named
 *   -ENOENT  there is no such user
 *   -EPERM   this process may not become another user */
int user_become(const char *user);
