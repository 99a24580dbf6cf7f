/* SPDX-License-Identifier: ISC
 *
 * What the process gives up. All of this is for the day on which somebody finds a mistake in the
 * rest, or in a library, and makes the process do what he wants. */
#include "sandbox.h"

#include "lib/util.h"
#include "sandbox/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>

/* ---- The user ---- */

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

int sandbox_become_user(const char *user)
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

/* ---- Bounds ---- */

/* Ten million messages take less; a password whose crypt(3) takes more is too much. */
#define ADDRESS_SPACE_OCTETS (UINT64_C(2) << 30)

/* The size cache is the largest file that is written, and is not larger than this. */
#define FILE_OCTETS (UINT64_C(256) << 20)

/* AddressSanitizer lives in an address space of its own making. */
#ifdef __SANITIZE_ADDRESS__
#define IS_SANITIZED true
#else
#define IS_SANITIZED false
#endif

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

int sandbox_limit(void)
{
	int r = 0;

	if (!IS_SANITIZED)
		r = lower_limit(RLIMIT_AS, ADDRESS_SPACE_OCTETS);
	/* What the session says, and its log, may go to files that are longer. */
	if (r == 0 && !is_regular_file(STDOUT_FILENO) && !is_regular_file(STDERR_FILENO))
		r = lower_limit(RLIMIT_FSIZE, FILE_OCTETS);
	return r;
}

int sandbox_prepare(void)
{
	int r = lower_limit(RLIMIT_CORE, 0);

	if (r == 0 &&
	    (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0))
		r = -errno;
	return r;
}

/* ---- Files: Landlock ---- */

/* The headers may be older than the kernel. Each comes with the version that has it first. */
#define ACCESS_REFER (UINT64_C(1) << 13)     /* 2 */
#define ACCESS_TRUNCATE (UINT64_C(1) << 14)  /* 3 */
#define ACCESS_IOCTL_DEV (UINT64_C(1) << 15) /* 5 */
#define ACCESS_NET (UINT64_C(3))	     /* 4: bind and connect TCP */
#define SCOPED_ALL (UINT64_C(3))	     /* 6: abstract sockets, signals */

/* The first that lets a file be renamed from new/ to cur/. */
#define VERSION_MIN 2

/* struct landlock_ruleset_attr, as long as it is in the last version. */
struct ruleset {
	uint64_t access_fs, access_net, scoped;
};

#define ACCESS_READ_FILE (UINT64_C(0) + LANDLOCK_ACCESS_FS_READ_FILE)
#define ACCESS_READ (ACCESS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* Whoever may write a file may empty it as well. The kernel wants to know that of each file that is
 * opened, and without this would ask each directory up to the root. */
#define ACCESS_WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE)
#define ACCESS_CHANGE                                                       \
	(ACCESS_READ | ACCESS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | ACCESS_REFER)
#define ACCESS_OF_FILES (ACCESS_READ_FILE | ACCESS_WRITE_FILE)

/* All that the kernel can refuse. */
static struct ruleset make_ruleset(long version)
{
	struct ruleset ruleset = { .access_fs = ACCESS_REFER | (ACCESS_REFER - 1) };

	if (version >= 3)
		ruleset.access_fs |= ACCESS_TRUNCATE;
	if (version >= 4)
		ruleset.access_net = ACCESS_NET;
	if (version >= 5)
		ruleset.access_fs |= ACCESS_IOCTL_DEV;
	if (version >= 6)
		ruleset.scoped = SCOPED_ALL;
	return ruleset;
}

static long find_version(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

int sandbox_new_set(void)
{
	long version = find_version();
	struct ruleset ruleset = make_ruleset(version);
	int set_fd;

	/* EPERM: a container's filter does not know the call. */
	if (version < VERSION_MIN)
		return version >= 0 || errno == ENOSYS || errno == EPERM ? -EOPNOTSUPP : -errno;
	/* It has O_CLOEXEC. */
	set_fd = (int)syscall(SYS_landlock_create_ruleset, &ruleset, sizeof(ruleset), 0);
	return set_fd < 0 ? -errno : set_fd;
}

static int add_rule(int set_fd, const struct landlock_path_beneath_attr *rule)
{
	long r = syscall(SYS_landlock_add_rule, set_fd, LANDLOCK_RULE_PATH_BENEATH, rule, 0);

	return r < 0 ? -errno : 0;
}

int sandbox_allow(int set_fd, const char *path, enum sandbox_access access)
{
	auto_fd int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = {
		.allowed_access = access == SANDBOX_CHANGE ? ACCESS_CHANGE : ACCESS_READ,
		.parent_fd = fd,
	};
	struct stat status;
	int r;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISDIR(status.st_mode))
		rule.allowed_access &= ACCESS_OF_FILES;
	r = add_rule(set_fd, &rule);
	if (r == -EINVAL) { /* the kernel's version is 2, which cannot refuse that */
		rule.allowed_access &= ~ACCESS_TRUNCATE;
		r = add_rule(set_fd, &rule);
	}
	return r;
}

int sandbox_enter(int set_fd)
{
#ifdef SANDBOX_ALSO /* what instruments in the program need (meson.build) */
	(void)sandbox_allow(set_fd, SANDBOX_ALSO, SANDBOX_CHANGE);
#endif
	return syscall(SYS_landlock_restrict_self, set_fd, 0) < 0 ? -errno : 0;
}

/* ---- System calls: seccomp ---- */

static volatile sig_atomic_t refused_call = -1;

/* A refused call raises SIGSYS, so that we know of it; then it goes on as one that has failed. */
static void note_refusal(int signal_number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal_number;
	if (info->si_code <= 0)
		return; /* not the kernel, but somebody has sent it */
	/* What a tracer makes of a call that it lets fail, as the tests do; it sets the error. */
	if (info->si_syscall == -1)
		return;
	refused_call = info->si_syscall;
#if defined(__x86_64__)
	user->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
	user->uc_mcontext.regs[0] = (uint64_t)-EPERM;
#else
	(void)user; /* the filter lets it fail without a signal */
#endif
}

bool sandbox_can_refuse_calls(void)
{
	uint32_t action = SECCOMP_RET_TRAP;

	return IS_SANITIZED || syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

/* What only a process that was taken over would try is also in the kernel's log, which it cannot
 * keep from being written. */
int sandbox_refuse_calls(void)
{
	struct sigaction action = { .sa_sigaction = note_refusal, .sa_flags = SA_SIGINFO };
	struct sock_filter instructions[ARRAY_SIZE(sandbox_filter)];
	const struct sock_fprog program = { ARRAY_SIZE(instructions), instructions };

	if (IS_SANITIZED)
		return 0;
	memcpy(instructions, sandbox_filter, sizeof(instructions));
	if (sigaction(SIGSYS, &action, NULL) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_LOG, &program) < 0)
		return -errno;
	return 0;
}

int sandbox_take_refusal(void)
{
	int refused = refused_call;

	refused_call = -1;
	return refused;
}
