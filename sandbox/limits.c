/* SPDX-License-Identifier: ISC
 *
 * What the process may use, and what others may do to it. */
#include "sandbox/limits.h"

#include "lib/instruments.h"

#include <errno.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Ten million messages take less; a password whose crypt(3) takes more is too much. */
#define ADDRESS_SPACE_OCTETS (UINT64_C(2) << 30)

/* The size cache is the largest file that is written, and is not larger than this. */
#define FILE_OCTETS (UINT64_C(256) << 20)

/* Lowers a limit; one that is lower stays. */
static int lower_limit(__rlimit_resource_t resource, rlim_t most)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return -errno;
	if (limit.rlim_max <= most)
		return 0;
	limit.rlim_max = most;
	if (limit.rlim_cur > most)
		limit.rlim_cur = most;
	return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

static bool is_regular_file(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

int limits_lower(void)
{
	int r = 0;

	if (!instruments_have_asan())
		r = lower_limit(RLIMIT_AS, ADDRESS_SPACE_OCTETS);
	/* What the session says, and its log, may go to files that are longer. */
	if (r == 0 && !is_regular_file(STDOUT_FILENO) && !is_regular_file(STDERR_FILENO))
		r = lower_limit(RLIMIT_FSIZE, FILE_OCTETS);
	return r;
}

int limits_harden(void)
{
	int r = lower_limit(RLIMIT_CORE, 0);

	if (r == 0 &&
	    (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0))
		r = -errno;
	return r;
}
