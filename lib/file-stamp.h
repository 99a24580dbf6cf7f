/* SPDX-License-Identifier: ISC
 *
 * Identity and change time of a file; equal stamps mean unchanged content. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* All 0: no file. */
struct file_stamp {
	dev_t device;
	ino_t inode;
	struct timespec modified, changed;
};

/* Takes the stamp of an open file or directory. Returns 0, or what fstat(2) says. */
int file_stamp_take(int fd, struct file_stamp *ret);

bool file_stamp_is_same(const struct file_stamp *a, const struct file_stamp *b);

/* Whether every change after `now` will show: that what has changed at `changed`, and changes
 * again, will have another time of change. */
bool file_stamp_is_stable(const struct timespec *changed, const struct timespec *now);

/* The time to compare with. */
struct timespec file_stamp_now(void);
