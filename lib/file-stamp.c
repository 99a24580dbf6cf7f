/* SPDX-License-Identifier: ISC
 *
 * Times of change, and how far they can be trusted. */
#include "lib/file-stamp.h"

#include <errno.h>
#include <sys/stat.h>

int file_stamp_take(int fd, struct file_stamp *ret)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	*ret = (struct file_stamp){ .device = status.st_dev,
				    .inode = status.st_ino,
				    .modified = status.st_mtim,
				    .changed = status.st_ctim };
	return 0;
}

static bool is_same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool file_stamp_is_same(const struct file_stamp *a, const struct file_stamp *b)
{
	return a->device == b->device && a->inode == b->inode &&
	       is_same_time(&a->modified, &b->modified) && is_same_time(&a->changed, &b->changed);
}

struct timespec file_stamp_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now;
}

/* The kernel stamps a change with the clock that `now` is read from, which stands still for some
 * milliseconds: only a stamp from before `now` differs from all that are still to come. A file
 * system that keeps whole seconds (or two of them, FAT) makes stamps older than they are. Nobody
 * can set the change time, as they can the time of modification. */
bool file_stamp_is_stable(const struct timespec *changed, const struct timespec *now)
{
	time_t seconds = changed->tv_sec + (changed->tv_nsec == 0 ? 2 : 0);

	return seconds < now->tv_sec || (seconds == now->tv_sec && changed->tv_nsec < now->tv_nsec);
}
