/* SPDX-License-Identifier: ISC
 * Slow work, before login: crypt(3), NSS, PAM, checkpassword programs, slow file systems. */
#include "keeper/checker.h"

#include "lib/proctitle.h"
#include "lib/util.h"
#include "sandbox.h"
#include "settings.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define STRANGER_NICE 10

static unsigned running; /* started and not reaped */

static void answer_check(const struct settings *settings, const struct channel_request *begin,
			 const struct channel_login *login, const struct account *account, int fd)
{
	struct channel_answer answer = { 0 };
	int fds[2] = { -1, -1 };
	bool is_there = true;

	proctitle_set("checking %s", login ? login->user : account->user);
	if (login) {
		answer.error = auth_login(settings, &begin->peer, login->user, login->password,
					  &answer.account, &answer.report);
	} else {
		answer.account = *account;
		answer.error =
			auth_check_again(settings, &begin->peer, &answer.account, &answer.report);
	}
	if (login && answer.error == 0) {
		fds[0] = sandbox_make_ruleset(&answer.account,
					      settings->read_only || answer.account.is_read_only,
					      &is_there);
		/* Treated like a missing mailbox: otherwise a user could find out, by symbolic
		 * links, which paths of other users exist. */
		if (fds[0] == -EPERM) {
			fds[0] = sandbox_make_ruleset(&(struct account){ 0 }, true, &is_there);
			(void)util_copy(answer.report.refusal,
					"the mailbox belongs to another user");
		}
		answer.error = MIN(fds[0], 0);
		answer.is_shut_out = !is_there;
	}
	(void)channel_send(fd, &answer, sizeof(answer), fds);
}

pid_t checker_fork(int fd, int other_fd)
{
	int first = other_fd < 0 ? fd : MIN(fd, other_fd), last = MAX(fd, other_fd);
	pid_t pid = fork();

	running += pid > 0;
	if (pid >= 0)
		(void)setpgid(pid, pid); /* in both processes: either may run first */
	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	(void)close_range(STDERR_FILENO + 1, (unsigned)first - 1, 0);
	(void)close_range((unsigned)first + 1, (unsigned)last - 1, 0);
	(void)close_range((unsigned)last + 1, UINT_MAX, 0);
	return 0;
}

int checker_start(const struct settings *settings, const struct channel_request *begin,
		  const struct channel_login *login, const struct account *account, pid_t *ret_pid,
		  int *ret_fd)
{
	int pair[2], error;

	*ret_pid = *ret_fd = -1;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	*ret_pid = checker_fork(pair[1], -1);
	error = *ret_pid < 0 ? errno : 0;
	if (*ret_pid == 0) {
		/* In a flood of passwords, trusted networks come first. */
		if (settings->trusted_networks && !begin->is_trusted)
			(void)setpriority(PRIO_PROCESS, 0, STRANGER_NICE);
		answer_check(settings, begin, login, account, pair[1]);
		_exit(0);
	}
	(void)close(pair[1]);
	*ret_fd = pair[0];
	return -error;
}

int checker_end(pid_t pid, int fd, struct channel_answer *ret_answer, int *ret_ruleset_fd)
{
	int fds[2];
	ssize_t n = channel_receive(fd, ret_answer, sizeof(*ret_answer), fds, 0);

	if (pid > 0) /* else fork(2) has failed */
		(void)kill(-pid, SIGKILL);
	util_drop(&fds[1]);
	*ret_ruleset_fd = fds[0];
	/* A PAM module, for instance, may have compromised the checker. */
	ret_answer->account.user[AUTH_USER_OCTETS - 1] = '\0';
	ret_answer->account.mailbox[PATH_MAX - 1] = '\0';
	ret_answer->report.file[sizeof(ret_answer->report.file) - 1] = '\0';
	ret_answer->report.user[AUTH_USER_OCTETS - 1] = '\0';
	ret_answer->report.refusal[AUTH_REASON_OCTETS - 1] = '\0';
	if (n == sizeof(*ret_answer))
		return 0;
	util_drop(ret_ruleset_fd);
	return n == -ETIMEDOUT ? -ETIMEDOUT : pid > 0 ? -EFAULT : -EIO;
}

unsigned checker_count(void)
{
	while (running > 0 && waitpid(-1, NULL, WNOHANG) > 0)
		running--;
	return running;
}
