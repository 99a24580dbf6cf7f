/* SPDX-License-Identifier: ISC
 * `auth = checkpassword`: a program checks the password, becomes the user, and runs pop3-handler
 * --report-account (https://cr.yp.to/checkpwd/interface.html). The program is the administrator's;
 * user name and password are untrusted: this runs before login. */
#include "auth/backend.h"

#include "lib/peer.h"
#include "lib/util.h"
#include "log.h"
#include "settings.h"

#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* Descriptors of the program: for the password to check, and for auth_report_account(). */
#define PASSWORD_FD 3
#define REPORT_FD 4

/* The kernel attaches the sender's credentials (unix(7)). */
struct account_message {
	char user[AUTH_USER_OCTETS]; /* "": as given at login */
	char home[PATH_MAX];	     /* "": none */
};

int auth_report_account(void)
{
	struct account_message message = { 0 };
	const char *home = getenv("HOME");

	if (!util_copy(message.user, getenv("USER") ?: "") ||
	    !util_copy(message.home, home && *home == '/' ? home : ""))
		return -ENAMETOOLONG;
	return send(REPORT_FD, &message, sizeof(message), MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static char this_program[PATH_MAX]; /* found once: an upgrade may replace the file */

int checkpassword_prepare(const char *argument)
{
	const char *program = strndupa(argument, strcspn(argument, " \t"));

	if (faccessat(AT_FDCWD, program, X_OK, AT_EACCESS) == 0 &&
	    (*this_program || readlink("/proc/self/exe", this_program, PATH_MAX - 1) > 0))
		return 0;
	log_error("auth: cannot run checkpassword %s: %s", log_quote(program), strerror(errno));
	return -EBADMSG;
}

/* Starts the program. Returns 0 or a positive errno, as posix_spawn(3). */
static int start_program(const struct auth_attempt *attempt, int password_fd, int report_fd,
			 pid_t *ret)
{
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char protocol[] = "PROTO=TCP", address[sizeof("TCPREMOTEIP=") + INET6_ADDRSTRLEN];
	bool has_address = !IN6_IS_ADDR_UNSPECIFIED(&attempt->peer->address);
	char *const environment[] = { path, has_address ? protocol : NULL, address, NULL };
	char option[] = "--report-account", *rest = strdupa(attempt->argument), *word;
	auto_free char **arguments = calloc(strlen(rest) / 2 + 4, sizeof(*arguments));
	size_t count = 0;
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t all;
	int r;

	while (arguments && (word = strsep(&rest, " \t"))) {
		if (*word)
			arguments[count++] = word;
	}
	if (!arguments)
		return ENOMEM;
	arguments[count] = this_program;
	arguments[count + 1] = option;
	(void)snprintf(address, sizeof(address), "TCPREMOTEIP=%s", attempt->peer->text);
	(void)sigfillset(&all);
	(void)posix_spawnattr_init(&attributes);
	(void)posix_spawnattr_setsigdefault(&attributes, &all);
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
	(void)posix_spawn_file_actions_init(&files);
	r = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0) ?:
		    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0) ?:
		    posix_spawn_file_actions_adddup2(&files, password_fd, PASSWORD_FD) ?:
		    posix_spawn_file_actions_adddup2(&files, report_fd, REPORT_FD)     ?:
		    posix_spawn_file_actions_addclosefrom_np(&files, REPORT_FD + 1)    ?:
		    posix_spawn(ret, *arguments, &files, &attributes, arguments, environment);
	(void)posix_spawn_file_actions_destroy(&files);
	(void)posix_spawnattr_destroy(&attributes);
	return r;
}

/* Waits until the program exits. checker_end() kills the process group, because the program may
 * hang or leave processes behind. */
static int end_program(const struct auth_attempt *attempt, pid_t pid)
{
	siginfo_t info = { 0 };

	(void)TEMP_FAILURE_RETRY(waitid(P_PID, (id_t)pid, &info, WEXITED));
	if (info.si_code == CLD_EXITED && info.si_status == 0)
		return 0;
	return auth_fail(attempt->report,
			 info.si_code == CLD_EXITED && info.si_status == 1 ? -EKEYREJECTED : -EIO,
			 "checkpassword: %s %d",
			 info.si_code == CLD_EXITED ? "exit status" : "signal", info.si_status);
}

/* Receives the user that the program has become; its pid, uid and gid come from the kernel. */
static bool receive_account(int fd, pid_t pid, struct account_message *ret,
			    struct ucred *ret_sender)
{
	union {
		struct cmsghdr header;
		char octets[CMSG_SPACE(sizeof(struct ucred))];
	} control = { 0 };
	struct iovec part = { ret, sizeof(*ret) };
	struct msghdr message = { .msg_iov = &part,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	memcpy(ret_sender, CMSG_DATA(&control.header), sizeof(*ret_sender));
	return n == sizeof(*ret) && control.header.cmsg_type == SCM_CREDENTIALS &&
	       ret_sender->pid == pid && memchr(ret->user, '\0', sizeof(ret->user)) &&
	       memchr(ret->home, '\0', sizeof(ret->home));
}

/* Runs the program and receives the user. After a failure, leaves descriptors open, because this
 * process exits soon. */
static int run_program(const struct auth_attempt *attempt, struct account_message *ret,
		       struct ucred *ret_sender)
{
	/* In ascending order, so that dup2(2) to PASSWORD_FD does not close the last one. */
	int fds[4], is_on = 1, r;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds + 2) < 0 ||
	    setsockopt(fds[2], SOL_SOCKET, SO_PASSCRED, &is_on, sizeof(is_on)) < 0 ||
	    dprintf(fds[1], "%s%c%s%c%" PRId64 "%c", attempt->user, 0, attempt->password, 0,
		    (int64_t)time(NULL), 0) < 0 ||
	    close(fds[1]) < 0 || (errno = start_program(attempt, fds[0], fds[3], &pid)) != 0)
		return auth_fail(attempt->report, -EIO, "checkpassword: %s", strerror(errno));
	r = end_program(attempt, pid);
	if (r == 0 && !receive_account(fds[2], pid, ret, ret_sender))
		r = auth_fail(attempt->report, -EIO, "checkpassword: it has not reported");
	(void)close(fds[0]);
	(void)close(fds[2]);
	(void)close(fds[3]);
	return r;
}

int checkpassword_check(struct auth_attempt *attempt)
{
	struct account *account = attempt->account;
	struct account_message message = { 0 };
	struct ucred sender = { 0 };
	int r;

	if (attempt->purpose == AUTH_LOOK_UP)
		return auth_fail(attempt->report, -ENOKEY,
				 "checkpassword knows nobody without a password");
	if (attempt->purpose == AUTH_AGAIN)
		return 1; /* without a password, the program cannot be asked */
	r = run_program(attempt, &message, &sender);
	if (r < 0)
		return r;
	(void)util_copy(account->user, *message.user ? message.user : attempt->user);
	if (backend_is_bad_name(account->user))
		return auth_fail(attempt->report, -EKEYREJECTED, "a bad user name");
	(void)util_copy(attempt->report->user, account->user);
	r = backend_set_ids(attempt, sender.uid, sender.gid);
	return r ?: backend_set_mailbox(attempt, NULL, message.home);
}
