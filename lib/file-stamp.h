/* SPDX-License-Identifier: ISC
 *
 * Which file it is, and when it last changed: if that is the same later, so is what it says. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

/* All 0: no file. */
struct stamp {
	dev_t device;
	ino_t inode;
	struct timespec modified, changed;
};

/* Takes the stamp of an open file or directory. Returns 0, or what fstat(2) says. */
int stamp_take(int fd, struct stamp *ret);

bool stamp_is_same(const struct stamp *a, const struct stamp *b);

/* Whether every change after `now` will show: that what has changed at `changed`, and changes
 * again, will have another time of change. */
bool stamp_is_settled(const struct timespec *changed, const struct timespec *now);

/* The time to compare with. */
struct timespec stamp_now(void);
