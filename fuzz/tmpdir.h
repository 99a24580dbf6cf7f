/* SPDX-License-Identifier: ISC
 * A directory for the files of a fuzz target, in memory if /dev/shm exists. It is removed when the
 * program ends. */
#pragma once

#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <time.h>

static char tmpdir_path[64];

/* Replaces libc's, because a listing waits for the next tick of the clock. */
int nanosleep(const struct timespec *wanted, struct timespec *left)
{
	(void)wanted;
	(void)left;
	return 0;
}

static int tmpdir_remove(const char *path, const struct stat *status, int type, struct FTW *walk)
{
	(void)status;
	(void)type;
	(void)walk;
	return remove(path);
}

static void tmpdir_end(void)
{
	(void)nftw(tmpdir_path, tmpdir_remove, 8, FTW_DEPTH | FTW_PHYS);
}

static inline void tmpdir_make(void)
{
	const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

	(void)snprintf(tmpdir_path, sizeof(tmpdir_path), "%s/pop3-handler-fuzz-XXXXXX", base);
	FUZZ_CHECK(mkdtemp(tmpdir_path));
	(void)atexit(tmpdir_end);
}

static inline void tmpdir_write(int dir_fd, const char *name, const void *octets, size_t count)
{
	int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	FUZZ_CHECK(fd >= 0 && write(fd, octets, count) == (ssize_t)count && close(fd) == 0);
}
