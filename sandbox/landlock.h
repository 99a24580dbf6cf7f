/* SPDX-License-Identifier: ISC
 * Landlock: which files the process can open. Functions return 0 or more, or a negative errno. */
#pragma once

enum landlock_access {
	LANDLOCK_READ,
	LANDLOCK_CHANGE, /* and create, rename, empty and delete files below it */
};

/* Makes an empty set of files. Returns its descriptor, which the caller closes, or
 *   -EOPNOTSUPP  this kernel has no Landlock, or a version without renames */
int landlock_new(void);

/* Adds a file, or a directory with all below it: the inode, not the name. -ENOENT: none. */
int landlock_allow(int set_fd, const char *path, enum landlock_access access);

/* From now on only files that are in this set, and in each entered before, can be opened. */
int landlock_enter(int set_fd);
