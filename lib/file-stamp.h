/* SPDX-License-Identifier: ISC
 * Identity and times of a file. Equal stamps, by memcmp(3), prove no change if they are stable. */
#pragma once

#include "lib/util.h"

/* All 0: no file. Times are in nanoseconds since the epoch. There is no device number, because
 * hosts number a shared file system differently. */
struct file_stamp {
	uint64_t inode;
	uint64_t octets; /* 0 for a directory */
	int64_t modified_ns, changed_ns;
};

/* Converts a time of the system. It wraps if an owner has set a modification time too large. */
static inline int64_t file_stamp_ns(int64_t seconds, int64_t ns)
{
	return (int64_t)((uint64_t)seconds * UTIL_NS_PER_S + (uint64_t)ns);
}

static inline struct file_stamp file_stamp_of(const struct stat *status)
{
	return (struct file_stamp){
		.inode = status->st_ino,
		.octets = S_ISDIR(status->st_mode) ? 0 : (uint64_t)status->st_size,
		.modified_ns = file_stamp_ns(status->st_mtim.tv_sec, status->st_mtim.tv_nsec),
		.changed_ns = file_stamp_ns(status->st_ctim.tv_sec, status->st_ctim.tv_nsec),
	};
}

/* Takes the stamp of an open file or directory: all 0 on failure. Returns 0 or a negative errno. */
static inline int file_stamp_take(int fd, struct file_stamp *ret)
{
	struct stat status = { 0 };
	int r = fstat(fd, &status) < 0 ? -errno : 0;

	*ret = file_stamp_of(&status);
	return r;
}

/* The current time, by the clock that the kernel stamps files with. */
static inline int64_t file_stamp_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return file_stamp_ns(now.tv_sec, now.tv_nsec);
}

/* Whether a stamp is stable: every change of the file after `now_ns` will change it. The clock
 * advances in steps of some milliseconds, so the current time may be given again. File systems with
 * whole seconds (FAT: two) round times down. Only the change time counts, because an owner can set
 * the modification time. */
static inline bool file_stamp_is_stable(const struct file_stamp *stamp, int64_t now_ns)
{
	bool has_seconds_only = stamp->changed_ns % UTIL_NS_PER_S == 0;

	return stamp->changed_ns < now_ns - (has_seconds_only ? 2 * UTIL_NS_PER_S : 0);
}
