/* SPDX-License-Identifier: ISC
 * Which file, and which version: equal stamps, by memcmp(3), mean unchanged content. */
#pragma once

#include "lib/util.h"

/* All 0: no file. Times are in nanoseconds since the epoch. There is no device number: each host
 * has another for a shared file system. */
struct file_stamp {
	uint64_t inode;
	uint64_t octets; /* 0 for a directory */
	int64_t modified_ns, changed_ns;
};

/* A time of the system. Anybody can set one of modification that is out of range: it wraps. */
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

/* Takes the stamp of an open file or directory. Returns 0; or what fstat(2) says: it is no file. */
static inline int file_stamp_take(int fd, struct file_stamp *ret)
{
	struct stat status = { 0 };
	int r = fstat(fd, &status) < 0 ? -errno : 0;

	*ret = file_stamp_of(&status);
	return r;
}

/* The time to compare with. */
static inline int64_t file_stamp_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return file_stamp_ns(now.tv_sec, now.tv_nsec);
}

/* Whether a file with this stamp that changes after `now_ns` will have another one. The clock of
 * both stands still for some milliseconds: only a stamp from before differs from all that are to
 * come. File systems that keep whole seconds (or two, FAT) make stamps older than they are. Nobody
 * can set the change time, unlike that of modification. */
static inline bool file_stamp_is_stable(const struct file_stamp *stamp, int64_t now_ns)
{
	bool has_seconds_only = stamp->changed_ns % UTIL_NS_PER_S == 0;

	return stamp->changed_ns < now_ns - (has_seconds_only ? 2 * UTIL_NS_PER_S : 0);
}
