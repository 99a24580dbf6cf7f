/* SPDX-License-Identifier: ISC
 * The process itself: its user, its limits, its privileges. */
#include "sandbox/process.h"

#include "lib/util.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

static bool is_root(void)
{
	return getuid() == 0 || geteuid() == 0;
}

int process_become_user(const char *user)
{
	const struct passwd *entry;

	if (!user)
		return is_root() ? -EACCES : 0;
	errno = 0;
	entry = getpwnam(user);
	if (!entry)
		return errno == 0 ? -ENOENT : -errno;
	/* A process that is that user already keeps its groups. */
	if (!is_root())
		return getuid() == entry->pw_uid && geteuid() == entry->pw_uid ? 0 : -EPERM;
	if (initgroups(user, entry->pw_gid) < 0 ||
	    setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) < 0 ||
	    setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) < 0)
		return -errno;
	if (entry->pw_uid != 0 && (setuid(0) == 0 || (entry->pw_gid != 0 && setgid(0) == 0)))
		return -EPERM; /* it was not for good */
	return 0;
}

/* Ten million messages take less; a password whose crypt(3) takes more is refused. */
#define ADDRESS_SPACE_OCTETS (UINT64_C(2) << 30)
#define FILE_OCTETS (UINT64_C(256) << 20) /* the cache, the largest file, has no more */

/* Lowers a limit; one that is lower stays. */
static int lower_limit(__rlimit_resource_t resource, rlim_t most)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return -errno;
	limit.rlim_cur = MIN(limit.rlim_cur, most);
	limit.rlim_max = MIN(limit.rlim_max, most);
	return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

static bool is_regular_file(int fd)
{
	struct stat status;

	return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

int process_limit(void)
{
	int r = UTIL_HAS_ASAN ? 0 : lower_limit(RLIMIT_AS, ADDRESS_SPACE_OCTETS);

	/* What the session says, and its log, may go to files that are longer. */
	if (r == 0 && !is_regular_file(STDOUT_FILENO) && !is_regular_file(STDERR_FILENO))
		r = lower_limit(RLIMIT_FSIZE, FILE_OCTETS);
	return r;
}

/* With the permitted ones the ambient ones go; only CAP_SETPCAP can lower the bounding set. Where
 * there is none, systemd may refuse capset(2): what counts is what is left. */
static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	for (int i = 0; prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0; i++)
		;
	(void)syscall(SYS_capset, &header, data);
	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(data); i++) {
		if (data[i].effective || data[i].permitted || data[i].inheritable)
			return -EPERM;
	}
	return 0;
}

int process_harden(void)
{
	int r = lower_limit(RLIMIT_CORE, 0);

	if (r == 0 &&
	    (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0))
		r = -errno;
	return r == 0 ? drop_capabilities() : r;
}
