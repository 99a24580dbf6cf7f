/* SPDX-License-Identifier: ISC
 * Times of change, and how far they can be trusted. */
#include "lib/file-stamp.h"

#include "lib/util.h"

int64_t file_stamp_ns(int64_t seconds, int64_t ns)
{
	/* Anybody can set a time of modification that is out of range: it wraps. */
	return (int64_t)((uint64_t)seconds * UTIL_NS_PER_S + (uint64_t)ns);
}

struct file_stamp file_stamp_of(const struct stat *status)
{
	return (struct file_stamp){
		.inode = status->st_ino,
		.octets = S_ISDIR(status->st_mode) ? 0 : (uint64_t)status->st_size,
		.modified_ns = file_stamp_ns(status->st_mtim.tv_sec, status->st_mtim.tv_nsec),
		.changed_ns = file_stamp_ns(status->st_ctim.tv_sec, status->st_ctim.tv_nsec),
	};
}

int file_stamp_take(int fd, struct file_stamp *ret)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	*ret = file_stamp_of(&status);
	return 0;
}

int64_t file_stamp_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return file_stamp_ns(now.tv_sec, now.tv_nsec);
}

/* The clock of stamps and of `now_ns` stands still for some milliseconds: only a stamp from before
 * differs from all that are to come. File systems that keep whole seconds (or two, FAT) make stamps
 * older than they are. Nobody can set the change time, unlike that of modification. */
bool file_stamp_is_stable(const struct file_stamp *stamp, int64_t now_ns)
{
	bool has_seconds_only = stamp->changed_ns % UTIL_NS_PER_S == 0;

	return stamp->changed_ns < now_ns - (has_seconds_only ? 2 * UTIL_NS_PER_S : 0);
}
