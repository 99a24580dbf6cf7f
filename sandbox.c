/* SPDX-License-Identifier: ISC
 * Limits what an attacker can do with a compromised process: its user, its memory, the files that
 * it can open (Landlock), and the system calls that it can make (seccomp: sandbox/make-filter.c).
 * sandbox/consent.c has the users of a keeper. A client may compromise the process with its first
 * octet, so each step only takes away, and for good.
 * - Landlock allows inodes, not paths: a new file is in reach only below an allowed directory.
 * - A refused call that may be an accident fails, and is logged; any other kills the process.
 * - What this kernel lacks is a warning, or with sandbox = required a refusal to serve. */
#include "sandbox.h"

#include "auth.h"
#include "lib/util.h"
#include "log.h"
#include "sandbox/filter.h"
#include "sandbox/process.h"
#include "settings.h"
#include "tls.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pwd.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <ucontext.h>

/* ---- The process ---- */

static bool is_root(void)
{
	return getuid() == 0 || geteuid() == 0;
}

/* Becomes a user for good, with its groups. -EPERM: this process may not. */
static int become(const struct passwd *user)
{
	/* A process that is that user already keeps its groups. */
	if (!is_root())
		return getuid() == user->pw_uid && geteuid() == user->pw_uid ? 0 : -EPERM;
	if (initgroups(user->pw_name, user->pw_gid) < 0 ||
	    setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0)
		return -errno;
	if (user->pw_uid != 0 && (setuid(0) == 0 || (user->pw_gid != 0 && setgid(0) == 0)))
		return -EPERM; /* it could become root again */
	return 0;
}

int sandbox_become_user(const char *user)
{
	const struct passwd *entry;
	int r;

	if (!user && !is_root())
		return 0;
	errno = 0;
	entry = user ? getpwnam(user) : NULL;
	r = entry ? become(entry) : -errno;
	if (!user)
		log_error(
			"refusing to serve as root: name another user, for instance --user=nobody");
	else if (r < 0)
		log_error("cannot become user = %s: %s", log_quote(user), strerror(-r));
	else if (!entry)
		log_error("there is no user = %s", log_quote(user));
	return entry && r == 0 ? 0 : -EBADMSG;
}

/* Ten million messages take less. If crypt(3) takes more, the password is refused. */
#define ADDRESS_SPACE_OCTETS (UINT64_C(2) << 30)
#define FILE_OCTETS (UINT64_C(256) << 20) /* the largest file, the cache, is smaller */

/* Lowers a limit; a lower one stays. */
static int lower_limit(__rlimit_resource_t resource, rlim_t most)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0)
		return -errno;
	limit.rlim_cur = MIN(limit.rlim_cur, most);
	limit.rlim_max = MIN(limit.rlim_max, most);
	return setrlimit(resource, &limit) < 0 ? -errno : 0;
}

/* Bounds memory and files, in case a client finds a way to make them grow. */
static int limit_process(void)
{
	int r = UTIL_HAS_ASAN ? 0 : lower_limit(RLIMIT_AS, ADDRESS_SPACE_OCTETS);
	struct stat status;

	/* Standard output and the log may be longer files. */
	for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode))
			return r;
	}
	return r ?: lower_limit(RLIMIT_FSIZE, FILE_OCTETS);
}

void process_drop_bounding_set(void)
{
	for (int i = 0; prctl(PR_CAPBSET_DROP, i, 0, 0, 0) == 0; i++)
		;
}

/* Dropping inheritable capabilities drops ambient ones, too. A unit without capabilities may refuse
 * capset(2), so only the result counts. */
int process_keep_capabilities(uint32_t kept)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	const struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
		{ .effective = kept, .permitted = kept }
	};
	struct __user_cap_data_struct left[_LINUX_CAPABILITY_U32S_3];

	(void)syscall(SYS_capset, &header, data);
	if (syscall(SYS_capget, &header, left) < 0)
		return -errno;
	return memcmp(left, data, sizeof(left)) == 0 ? 0 : -EPERM;
}

/* Landlock and seccomp need no_new_privs, here or in the parent. */
int process_harden(void)
{
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	return lower_limit(RLIMIT_CORE, 0);
}

/* ---- Landlock: which files the process can open ---- */

/* The headers may be older than the kernel. The number is the first Landlock version with it. */
#define ACCESS_REFER (UINT64_C(1) << 13)     /* 2 */
#define ACCESS_TRUNCATE (UINT64_C(1) << 14)  /* 3 */
#define ACCESS_IOCTL_DEV (UINT64_C(1) << 15) /* 5 */
#define ACCESS_NET (UINT64_C(3))	     /* 4: bind and connect TCP */
#define SCOPED_ALL (UINT64_C(3))	     /* 6: abstract sockets, signals */

#define VERSION_MIN 2 /* the first that can allow renames from new/ to cur/ */
#define NO_LANDLOCK "this kernel does not have it, or not as version 2 or later"

/* struct landlock_ruleset_attr of version 6. */
struct ruleset {
	uint64_t access_fs, access_net, scoped;
};

#define ACCESS_READ_FILE (UINT64_C(0) + LANDLOCK_ACCESS_FS_READ_FILE)
#define ACCESS_READ (ACCESS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
/* Includes truncation, because the kernel looks up that right at each open(2): unless a rule grants
 * it, the search goes up to the root directory. */
#define ACCESS_WRITE_FILE (LANDLOCK_ACCESS_FS_WRITE_FILE | ACCESS_TRUNCATE)
/* Of a directory: also to create, rename, truncate and unlink files below it. */
#define ACCESS_CHANGE                                                       \
	(ACCESS_READ | ACCESS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR | ACCESS_REFER)
#define ACCESS_KEEPER (ACCESS_READ | LANDLOCK_ACCESS_FS_EXECUTE)
#define ACCESS_OF_FILES (ACCESS_READ_FILE | ACCESS_WRITE_FILE)

/* Makes an empty ruleset, for a session also without network. Returns a descriptor, which the
 * caller closes, or -EOPNOTSUPP: this kernel has no Landlock, or not VERSION_MIN. */
static int landlock_new(bool is_for_session)
{
	long version =
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	/* Every right that this kernel can deny. */
	const struct ruleset all = {
		.access_fs = ACCESS_REFER | (ACCESS_REFER - 1) |
			     (version >= 3 ? ACCESS_TRUNCATE : 0) |
			     (version >= 5 ? ACCESS_IOCTL_DEV : 0),
		.access_net = is_for_session && version >= 4 ? ACCESS_NET : 0,
		.scoped = is_for_session && version >= 6 ? SCOPED_ALL : 0,
	};
	int ruleset_fd;

	/* EPERM: a container's seccomp filter does not know the call. */
	if (version < VERSION_MIN)
		return version >= 0 || errno == ENOSYS || errno == EPERM ? -EOPNOTSUPP : -errno;
	ruleset_fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);
	return ruleset_fd < 0 ? -errno : ruleset_fd; /* with O_CLOEXEC */
}

/* Adds a file, or a directory and everything below it: by inode, not by name. */
static int landlock_allow(int ruleset_fd, const char *path, uint64_t access)
{
	auto_fd int fd = open(path, O_PATH | O_CLOEXEC);
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };
	struct stat status;
	long r;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISDIR(status.st_mode))
		rule.allowed_access &= ACCESS_OF_FILES;
	r = syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
	if (r < 0 && errno == EINVAL) { /* version 2 does not know this right */
		rule.allowed_access &= ~ACCESS_TRUNCATE;
		r = syscall(SYS_landlock_add_rule, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, &rule,
			    0);
	}
	return r < 0 ? -errno : 0;
}

/* From now on a file can be opened only if this ruleset and all earlier ones allow it. */
static int landlock_enter(int ruleset_fd)
{
#ifdef SANDBOX_ALSO /* for sanitizers or coverage (meson.build) */
	(void)landlock_allow(ruleset_fd, SANDBOX_ALSO, ACCESS_CHANGE);
#endif
	return syscall(SYS_landlock_restrict_self, ruleset_fd, 0) < 0 ? -errno : 0;
}

/* ---- The files ---- */

/* A ruleset in the making; after an error nothing is added. */
struct file_set {
	int fd, error;
	uint64_t access; /* to mailboxes */
	bool has_warned; /* of a path that cannot be opened */
};

/* A path (or NULL) that cannot be opened stays out of reach: one bad path must not end the service.
 * A path that does not exist, or may not be searched, is nothing special. */
static void allow_if_there(struct file_set *set, const char *path, uint64_t access)
{
	int r = path && set->error == 0 ? landlock_allow(set->fd, path, access) : -ENOENT;

	if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
		set->error = r;
	if (r >= 0 || r == -ENOENT || r == -ENOTDIR || r == -EACCES || set->error < 0)
		return;
	if (!set->has_warned) /* once, because there may be thousands */
		log_warning("no session can reach %s: %s", log_quote(path), strerror(-r));
	set->has_warned = true;
}

/* Unless that is `/`, which holds every file. */
static void allow_directory_of(struct file_set *set, const char *path)
{
	char directory[PATH_MAX];

	(void)util_copy(directory, path);
	util_cut_path(directory);
	allow_if_there(set, util_is_root_directory(directory) ? path : directory, ACCESS_READ);
}

/* An administrator may replace a passwd-file by rename(2), so a rule needs its directory; for a
 * symbolic link also the directory of its target. */
static void allow_users(struct file_set *set, char *const *users)
{
	char real[PATH_MAX];
	struct stat status;

	for (; users && *users; users++) {
		allow_directory_of(set, *users);
		if (lstat(*users, &status) == 0 && S_ISLNK(status.st_mode) &&
		    realpath(*users, real))
			allow_directory_of(set, real);
	}
}

/* STLS may read certificates and the ticket key at any time before login. */
static void allow_tls(struct file_set *set, const struct settings *settings, const struct tls *tls)
{
	char *const *const lists[] = { settings->tls_cert, settings->tls_key, settings->tls_ocsp };

	allow_if_there(set, tls->ticket_directory, ACCESS_CHANGE);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (char *const *path = lists[i]; path && *path; path++)
			allow_if_there(set, *path, ACCESS_READ);
	}
	allow_if_there(set, settings->tls_client_ca, ACCESS_READ);
	allow_if_there(set, tls->functions->system_file(), ACCESS_READ);
}

/* For auth_find_roots(). A file, perhaps the passwd-file, is not for writing. */
static int allow_root(void *context, const char *path)
{
	struct file_set *set = context;
	struct stat status;

	if (stat(path, &status) < 0 || S_ISDIR(status.st_mode))
		allow_if_there(set, path, set->access);
	return set->error;
}

/* auth_find_roots() leaves out `/`, which would put all files in reach. */
static void allow_mailboxes(struct file_set *set, const struct settings *settings)
{
	struct auth_report report;
	int r = auth_find_roots(settings, allow_root, set, &report);

	if (set->error == 0)
		set->error = r;
	if (report.skip_error < 0)
		log_warning("cannot look for mailboxes in users = %s: %s",
			    log_quote(report.skipped), strerror(-report.skip_error));
	if (report.has_wide_root && settings->mail_root)
		log_warning("mail-root = '/' would put all files in reach: it is left out");
	else if (report.has_wide_root)
		log_warning("mailbox = %s can be anywhere, so it is out of reach: set mail-root",
			    log_quote(settings->mailbox));
	if (report.malformed_lines > 0)
		log_warning("%s:%u: the home or mailbox is relative or not deep enough: it is out "
			    "of reach (%u such lines in all)",
			    report.file, report.malformed_line, report.malformed_lines);
}

/* ---- Seccomp: which system calls the process can make ---- */

static volatile sig_atomic_t refused_call = -1;

/* For SIGSYS: notes a refused call, which then fails. */
static void note_refusal(int signal_number, siginfo_t *info, void *context)
{
	ucontext_t *user = context;

	(void)signal_number;
	/* Another process sent the signal, or a tracer (in tests) sets the call's error. */
	if (info->si_code <= 0 || info->si_syscall == -1)
		return;
	refused_call = info->si_syscall;
#if defined(__x86_64__)
	user->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
	user->uc_mcontext.regs[0] = (uint64_t)-EPERM;
#else
	(void)user; /* the filter makes the call fail without a signal */
#endif
}

/* The kernel logs a call that kills, which a compromised process cannot prevent. Returns 0 or, with
 * a keeper, the descriptor of notifications. */
static int seccomp_enter(bool has_keeper)
{
	struct sigaction action = { .sa_sigaction = note_refusal, .sa_flags = SA_SIGINFO };
	unsigned long flags = SECCOMP_FILTER_FLAG_LOG;
	long r;

	/* Otherwise realloc(3) calls mremap(2), which the filter refuses. */
	(void)mallopt(M_MMAP_MAX, 0);
	if (UTIL_HAS_ASAN && !has_keeper)
		return 0;
	if (has_keeper)
		flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
	if (sigaction(SIGSYS, &action, NULL) < 0)
		return -errno;
	r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags,
		    UTIL_HAS_ASAN ? &seccomp_asking :
		    has_keeper	  ? &seccomp_talker :
				    &seccomp_alone);
	return r < 0 ? -errno : (int)r;
}

/* ---- The stages ---- */

/* Logs that a part of the sandbox is missing. -EOPNOTSUPP: it is required. */
static int note_lack(const struct settings *settings, const char *what, const char *reason)
{
	if (settings->sandbox != SANDBOX_REQUIRED) {
		log_warning("%s: %s", what, reason);
		return 0;
	}
	log_error("refusing to serve with sandbox = required: %s: %s", what, reason);
	return -EOPNOTSUPP;
}

int sandbox_prepare(const struct settings *settings, const struct tls *tls, struct sandbox *ret)
{
	static const uint32_t trap = SECCOMP_RET_TRAP;
	int r = limit_process();

	*ret = SANDBOX_NONE;
	if (r < 0)
		r = note_lack(settings, "cannot bound what a session may use", strerror(-r));
	if (settings->has_keeper) { /* it tests the rest, and makes the ruleset */
		ret->has_seccomp = true;
		return r;
	}
	if (r < 0 || settings->sandbox == SANDBOX_OFF)
		return r;
	ret->has_seccomp =
		UTIL_HAS_ASAN || syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) == 0;
	if (!ret->has_seccomp)
		r = note_lack(settings, "the sandbox is without seccomp",
			      "this kernel does not have it");
	process_drop_bounding_set();
	r = r ?: process_harden() ?: process_keep_capabilities(0);
	if (r == 0) {
		ret->ruleset_fd = sandbox_make_base(settings, tls);
		r = ret->ruleset_fd != -EOPNOTSUPP ?
			    MIN(ret->ruleset_fd, 0) :
			    note_lack(settings, "the sandbox is without Landlock", NO_LANDLOCK);
	}
	if (r < 0 && r != -EOPNOTSUPP)
		log_error("cannot make the sandbox: %s", strerror(-r));
	return r;
}

int sandbox_before_login(const struct settings *settings, struct sandbox *sandbox)
{
	int r = sandbox->ruleset_fd < 0 ? 0 : landlock_enter(sandbox->ruleset_fd);

	if (r == 0 && sandbox->has_seccomp)
		r = seccomp_enter(settings->has_keeper);
	util_drop(&sandbox->ruleset_fd);
	if (r < 0)
		log_error("cannot enter the sandbox: %s", strerror(-r));
	else if (settings->has_keeper)
		sandbox->notify_fd = r;
	return MIN(r, 0);
}

int sandbox_make_base(const struct settings *settings, const struct tls *tls)
{
	auto_fd int ruleset_fd = landlock_new(true);
	struct file_set set = { .fd = ruleset_fd,
				.access = settings->read_only ? ACCESS_READ : ACCESS_CHANGE };

	if (ruleset_fd < 0)
		return ruleset_fd;
	allow_mailboxes(&set, settings);
	if (!settings->has_keeper) /* else only the keeper reads them */
		allow_users(&set, settings->users);
	if (tls)
		allow_tls(&set, settings, tls);
	return set.error ?: take_fd(&ruleset_fd);
}

int sandbox_make_ruleset(const struct account *account, bool is_read_only, bool *ret_is_there)
{
	auto_fd int ruleset_fd = landlock_new(true);
	struct stat status;
	int r = ruleset_fd < 0 ? ruleset_fd : 0;

	*ret_is_there = r == 0 && (stat(account->mailbox, &status) == 0 ||
				   (errno != ENOENT && errno != ENOTDIR));
	if (*ret_is_there)
		r = landlock_allow(ruleset_fd, account->mailbox,
				   is_read_only ? ACCESS_READ : ACCESS_CHANGE);
	if (*ret_is_there && r == 0 && account->uid != 0 && status.st_uid != account->uid)
		r = -EPERM;
	return r ?: take_fd(&ruleset_fd);
}

int sandbox_after_login(const struct settings *settings, const struct account *account,
			bool is_read_only)
{
	bool is_there;
	auto_fd int ruleset_fd = settings->sandbox == SANDBOX_OFF ?
					 -EOPNOTSUPP :
					 sandbox_make_ruleset(account, is_read_only, &is_there);
	struct file_set set = { .fd = ruleset_fd };

	if (ruleset_fd == -EOPNOTSUPP && settings->sandbox != SANDBOX_REQUIRED)
		return 0; /* sandbox_prepare() has logged it */
	if (ruleset_fd < 0)
		return ruleset_fd;
	allow_users(&set, settings->users); /* for WAKE */
	return set.error ?: landlock_enter(ruleset_fd) ?: !is_there;
}

int sandbox_enter_account(const struct settings *settings, const struct account *account,
			  const char *control, bool is_read_only)
{
	uid_t uid = account->uid;
	gid_t gid = account->gid;
	bool is_there;
	auto_fd int ruleset_fd = -1;
	struct file_set set = { 0 };
	int r;

	if (uid != 0 && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 ||
			 setresuid(uid, uid, uid) < 0))
		return -errno;
	r = process_keep_capabilities(0) ?: process_harden() ?: limit_process();
	if (r < 0)
		return r;
	if (uid != 0 && (is_root() || getuid() != uid || geteuid() != uid || getegid() != gid))
		return -EACCES;
	/* Only now, as the user: directories above the mailbox may be closed to others. */
	ruleset_fd = sandbox_make_ruleset(account, is_read_only, &is_there);
	if (ruleset_fd < 0)
		return ruleset_fd == -EOPNOTSUPP && settings->sandbox != SANDBOX_REQUIRED ?
			       0 :
			       ruleset_fd;
	if (settings->sandbox == SANDBOX_OFF)
		return 0;
	set.fd = ruleset_fd;
	allow_if_there(&set, control, ACCESS_READ);
	return set.error ?: landlock_enter(ruleset_fd);
}

/* PAM modules and NSS may need to read any file. */
int sandbox_confine_keeper(void)
{
	auto_fd int ruleset_fd = landlock_new(false);
	int r = ruleset_fd < 0 ? ruleset_fd : landlock_allow(ruleset_fd, "/", ACCESS_KEEPER);

	if (r == 0)
		r = landlock_allow(ruleset_fd, "/dev/null", ACCESS_OF_FILES);
	r = r ?: landlock_enter(ruleset_fd);
	if (r == 0)
		return 0;
	log_error("cannot use a keeper (try keeper = no): Landlock: %s",
		  r == -EOPNOTSUPP ? NO_LANDLOCK : strerror(-r));
	return -EOPNOTSUPP;
}

void sandbox_log_refusal(void)
{
	int number = refused_call;

	if (number < 0)
		return;
	log_event(LOG_EVENT_CALL_REFUSED, NULL, "the sandbox has refused the system call %d",
		  number);
	/* Only now: without a syslog daemon, logging makes a refused call itself (a new socket). */
	refused_call = -1;
}
