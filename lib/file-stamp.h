/* SPDX-License-Identifier: ISC
 * Which file, and which version of it: equal stamps mean unchanged content. They have no padding,
 * so memcmp(3) compares them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* All 0: no file. Times are in nanoseconds since the epoch. There is no device number: each host
 * has another for a shared file system. */
struct file_stamp {
	uint64_t inode;
	uint64_t octets; /* 0 for a directory */
	int64_t modified_ns, changed_ns;
};

struct file_stamp file_stamp_of(const struct stat *status);

/* Takes the stamp of an open file or directory. Returns 0, or what fstat(2) says. */
int file_stamp_take(int fd, struct file_stamp *ret);

/* Whether a file with this stamp that changes after `now_ns` will have another one. */
bool file_stamp_is_stable(const struct file_stamp *stamp, int64_t now_ns);

/* The time to compare with; of a time of the system. */
int64_t file_stamp_now_ns(void);
int64_t file_stamp_ns(int64_t seconds, int64_t ns);
