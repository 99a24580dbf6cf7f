/* SPDX-License-Identifier: ISC
 * The users of the keeper, the listener and talkers, and how a talker takes on the ids of its
 * account at login: the kernel asks the keeper (seccomp's user notification) about each call, which
 * may come from a compromised talker. */
#include "sandbox.h"

#include "auth.h"
#include "lib/util.h"
#include "log.h"
#include "sandbox/filter.h"
#include "sandbox/process.h"

#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define BIT(capability) (1U << (capability))
#define TAKE_ON_IDS (BIT(CAP_SETUID) | BIT(CAP_SETGID))

/* The permitted capabilities as bits; only the first 32. */
static uint32_t own_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	return syscall(SYS_capget, &header, data) < 0 ? 0 : data[0].permitted;
}

bool sandbox_has_privilege(void)
{
	return (own_capabilities() & TAKE_ON_IDS) == TAKE_ON_IDS;
}

/* In a child: installs a filter with the flags of a talker's. Returns 0 or errno. */
static int try_filter(void)
{
	struct sock_filter allow = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
	const struct sock_fprog program = { 1, &allow };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		    SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
		    &program) < 0)
		return errno;
	return 0;
}

/* Returns the result of the function, as an exit status, or errno. */
static int run_in_child(int (*function)(void))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(function());
	if (pid < 0 || TEMP_FAILURE_RETRY(waitpid(pid, &status, 0)) < 0)
		return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
}

int sandbox_test_keeper(void)
{
	int error = run_in_child(try_filter);

	if (error == 0)
		return 0;
	log_error("cannot use a keeper (try keeper = no, with a user): seccomp's notification: %s",
		  error == EINVAL ? "this kernel is older than Linux 5.19" :
		  error == EBUSY  ? "something else, perhaps a container manager, is notified" :
				    strerror(error));
	return -EOPNOTSUPP;
}

/* Whether all ids of the process are these. */
static bool has_ids(uid_t uid, gid_t gid)
{
	uid_t uids[3];
	gid_t gids[3];
	int r = getresuid(&uids[0], &uids[1], &uids[2]) ?: getresgid(&gids[0], &gids[1], &gids[2]);

	for (int i = 0; i < 3 && r == 0; i++)
		r = uids[i] != uid || gids[i] != gid;
	return r == 0;
}

/* Becomes this user for good, and keeps only these capabilities, as far as it has them. */
static int become_own_user(const char *name, bool has_groups, uint32_t kept)
{
	const struct passwd *user = getpwnam(name);
	uint32_t own = own_capabilities() & kept;

	if (!user || user->pw_uid == 0 || user->pw_gid == 0)
		return -ESRCH;
	process_drop_bounding_set();
	(void)prctl(PR_SET_SECUREBITS,
		    SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE |
			    SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED,
		    0, 0, 0);
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 ||
	    (has_groups ? initgroups(name, user->pw_gid) : setgroups(0, NULL)) < 0 ||
	    setresgid(user->pw_gid, user->pw_gid, user->pw_gid) < 0 ||
	    setresuid(user->pw_uid, user->pw_uid, user->pw_uid) < 0 ||
	    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return -errno;
	if (!has_ids(user->pw_uid, user->pw_gid))
		return -EPERM;
	return process_keep_capabilities(own) ?: process_harden();
}

static int report(int error, const char *name)
{
	if (error < 0)
		log_error("cannot become the user %s for the keeper (or set keeper = no): %s", name,
			  error == -ESRCH ? "there is no such user" : strerror(-error));
	return error < 0 ? -EBADMSG : 0;
}

int sandbox_become_keeper(bool stays_root)
{
	if (stays_root) /* checkpassword programs become users; units start us as another user */
		return setresuid(0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno :
											  0;
	return report(become_own_user(SANDBOX_KEEPER_USER, true, BIT(CAP_DAC_READ_SEARCH)),
		      SANDBOX_KEEPER_USER);
}

int sandbox_become_login(void)
{
	return report(become_own_user(SANDBOX_LOGIN_USER, false, TAKE_ON_IDS), SANDBOX_LOGIN_USER);
}

int sandbox_test_login(void)
{
	return run_in_child(sandbox_become_login) == 0 ? 0 : -EBADMSG;
}

bool sandbox_is_in_reach(int ruleset_fd, const char *mailbox)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0) {
		(void)syscall(SYS_landlock_restrict_self, ruleset_fd, 0);
		_exit(open(mailbox, O_RDONLY | O_DIRECTORY) < 0 && errno == EACCES);
	}
	return pid < 0 || TEMP_FAILURE_RETRY(waitpid(pid, &status, 0)) < 0 || status == 0;
}

/* ---- Consent ---- */

/* Puts the ruleset into the talker, which waits for the answer. */
static bool give_ruleset(int notify_fd, const struct seccomp_notif *call,
			 struct sandbox_consent *consent)
{
	struct seccomp_notif_addfd ruleset = { .id = call->id,
					       .flags = SECCOMP_ADDFD_FLAG_SETFD,
					       .srcfd = (uint32_t)consent->ruleset_fd,
					       .newfd = SANDBOX_RULESET_FD,
					       .newfd_flags = O_CLOEXEC };

	if ((uint32_t)call->data.args[0] != SANDBOX_RULESET_FD || (uint32_t)call->data.args[1] != 0)
		return false;
	consent->is_confined |=
		ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_ADDFD, &ruleset) == SANDBOX_RULESET_FD;
	return consent->is_confined;
}

/* Whether setresuid(2) or setresgid(2) sets the real, effective and saved id to this one. */
static bool is_threefold(const struct seccomp_notif *call, uint32_t id)
{
	const __u64 *ids = call->data.args;

	return (uint32_t)ids[0] == id && (uint32_t)ids[1] == id && (uint32_t)ids[2] == id;
}

bool sandbox_answer(int notify_fd, struct sandbox_consent *consent)
{
	struct seccomp_notif call = { 0 };
	struct seccomp_notif_resp answer = { .error = -EPERM };
	bool is_good = false;

	if (ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_RECV, &call) < 0)
		return false; /* the talker has ended, or was interrupted */
	if (consent->ruleset_fd < 0 || call.data.arch != SECCOMP_ARCHITECTURE)
		is_good = false;
	else if (call.data.nr == SYS_landlock_restrict_self)
		is_good = give_ruleset(notify_fd, &call, consent);
	else if (call.data.nr == SYS_setresgid)
		is_good = consent->is_confined && is_threefold(&call, consent->gid);
	else if (call.data.nr == SYS_setresuid)
		is_good = consent->is_confined && is_threefold(&call, consent->uid);
	answer.id = call.id;
	if (is_good) {
		answer.error = 0;
		answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE; /* no argument is a pointer */
	}
	(void)ioctl(notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &answer);
	return is_good && call.data.nr == SYS_setresuid;
}

/* ---- A talker ---- */

int sandbox_become_account(const struct account *account)
{
	long uid = (long)account->uid, gid = (long)account->gid;

	if (TEMP_FAILURE_RETRY(syscall(SYS_landlock_restrict_self, SANDBOX_RULESET_FD, 0)) < 0 ||
	    TEMP_FAILURE_RETRY(syscall(SYS_setresgid, gid, gid, gid)) < 0 ||
	    TEMP_FAILURE_RETRY(syscall(SYS_setresuid, uid, uid, uid)) < 0)
		return -errno;
	(void)close(SANDBOX_RULESET_FD);
	/* setresuid(2) sets dumpable to fs.suid_dumpable: 1 would let the user trace it. */
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return -errno;
	return process_keep_capabilities(0) ?: has_ids(account->uid, account->gid) ? 0 : -EPERM;
}
