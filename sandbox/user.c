/* SPDX-License-Identifier: ISC
 *
 * The user that the process runs as: root is given up for good. */
#include "sandbox/user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <unistd.h>

static bool is_root(void)
{
	return getuid() == 0 || geteuid() == 0;
}

/* Whether the process is this user, and can be nobody else any more. */
static bool is_user_for_good(const struct passwd *user)
{
	uid_t real, effective, saved;
	gid_t real_group, effective_group, saved_group;

	if (getresuid(&real, &effective, &saved) < 0 ||
	    getresgid(&real_group, &effective_group, &saved_group) < 0)
		return false;
	if (real != user->pw_uid || effective != real || saved != real ||
	    real_group != user->pw_gid || effective_group != real_group ||
	    saved_group != real_group)
		return false;
	return real == 0 || (setuid(0) < 0 && seteuid(0) < 0);
}

int user_become(const char *user)
{
	const struct passwd *entry;

	if (!user)
		return is_root() ? -EACCES : 0;
	errno = 0;
	entry = getpwnam(user);
	if (!entry)
		return errno == 0 ? -ENOENT : -errno;
	/* Who is that user already keeps the groups that he was given. */
	if (!is_root())
		return getuid() == entry->pw_uid && geteuid() == entry->pw_uid ? 0 : -EPERM;
	if (initgroups(user, entry->pw_gid) < 0 ||
	    setresgid(entry->pw_gid, entry->pw_gid, entry->pw_gid) < 0 ||
	    setresuid(entry->pw_uid, entry->pw_uid, entry->pw_uid) < 0)
		return -errno;
	return is_user_for_good(entry) ? 0 : -EPERM;
}
