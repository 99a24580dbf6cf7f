/* SPDX-License-Identifier: ISC
 * Landlock: which files the process can reach. */
#include "sandbox/landlock.h"

#include "lib/util.h"

#include <linux/landlock.h>
#include <sys/syscall.h>

/* The headers may be older than the kernel. Each comes with the version that has it first. */
#define ACCESS_REFER (UINT64_C(1) << 13)     /* 2 */
#define ACCESS_TRUNCATE (UINT64_C(1) << 14)  /* 3 */
#define ACCESS_IOCTL_DEV (UINT64_C(1) << 15) /* 5 */
#define ACCESS_NET (UINT64_C(3))	     /* 4: bind and connect TCP */
#define SCOPED_ALL (UINT64_C(3))	     /* 6: abstract sockets, signals */

#define VERSION_MIN 2 /* the first that lets a file be renamed from new/ to cur/ */

/* struct landlock_ruleset_attr of the last of these versions. */
struct ruleset {
	uint64_t access_fs, access_net, scoped;
};

#define ACCESS_READ_FILE (UINT64_C(0) + LANDLOCK_ACCESS_FS_READ_FILE)
#define ACCESS_READ (ACCESS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* Whoever may write a file may empty it, too. The kernel looks for this right whenever a file is
 * opened: without it up to the root. */
#define ACCESS_WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE)
#define ACCESS_CHANGE                                                       \
	(ACCESS_READ | ACCESS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | ACCESS_REFER)
#define ACCESS_OF_FILES (ACCESS_READ_FILE | ACCESS_WRITE_FILE)

int landlock_new(void)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	/* All that the kernel can refuse. */
	const struct ruleset all = {
		.access_fs = ACCESS_REFER | (ACCESS_REFER - 1) |
			     (version >= 3 ? ACCESS_TRUNCATE : 0) |
			     (version >= 5 ? ACCESS_IOCTL_DEV : 0),
		.access_net = version >= 4 ? ACCESS_NET : 0,
		.scoped = version >= 6 ? SCOPED_ALL : 0,
	};
	int set_fd;

	/* EPERM: a container's filter does not know the call. */
	if (version < VERSION_MIN)
		return version >= 0 || errno == ENOSYS || errno == EPERM ? -EOPNOTSUPP : -errno;
	set_fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	return set_fd < 0 ? -errno : set_fd; /* with O_CLOEXEC */
}

int landlock_allow(int set_fd, const char *path, enum landlock_access access)
{
	auto_fd int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {
		.allowed_access = access == LANDLOCK_CHANGE ? ACCESS_CHANGE : ACCESS_READ,
		.parent_fd = fd,
	};
	struct stat status;
	long r;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISDIR(status.st_mode))
		rule.allowed_access &= ACCESS_OF_FILES;
	r = syscall(SYS_landlock_add_rule, set_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	if (r < 0 && errno == EINVAL) { /* the kernel's version is 2, which cannot refuse that */
		rule.allowed_access &= ~ACCESS_TRUNCATE;
		r = syscall(SYS_landlock_add_rule, set_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	}
	return r < 0 ? -errno : 0;
}

int landlock_enter(int set_fd)
{
#ifdef SANDBOX_ALSO /* what instruments in the program need (meson.build) */
	(void)landlock_allow(set_fd, SANDBOX_ALSO, LANDLOCK_CHANGE);
#endif
	return syscall(SYS_landlock_restrict_self, set_fd, 0) < 0 ? -errno : 0;
}
