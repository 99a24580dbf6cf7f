/* SPDX-License-Identifier: ISC
 * The keeper, with its own loop. Each line of the input is a list of steps, separated by `;`. A
 * step is a letter, the digit of a talker, and arguments. After each line, the keeper does its
 * work. This file plays everything around the keeper: talkers, checkers, the listener, the clock,
 * and the kernel, which asks for consent. */
#include "fuzz.h"

#define checker_start unused_start
#define checker_count unused_count
#define checker_fork unused_fork
#include "keeper/checker.c"
#undef checker_start
#undef checker_count
#undef checker_fork

static int checker_start(const struct settings *settings, const struct channel_request *begin,
			 const struct channel_login *login, const struct account *account,
			 pid_t *ret_pid, int *ret_fd);
static unsigned checker_count(void);
static pid_t checker_fork(int fd, int other_fd);

#include "keeper.c"

#include "sandbox/filter.h"

#include <linux/seccomp.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

#define TALKERS 8
#define PENALTY_MS 1000
#define ASLEEP_MAX 2
#define STAGES 4 /* at most, of a question: it waits, is checked, and is answered */
#define ROUNDS 500
#define LONG_MS 1000000 /* longer than any wait of the keeper */

static const char good_config[] = "users = /nonexistent/users\n"
				  "mailbox = /nonexistent/%u\n"
				  "default-domain = example.org\n"
				  "login-penalty = 1\n"
				  "login-timeout = 20\n"
				  "max-sleeping-per-user = 2\n";
static const char bad_config[] = "nothing\n";

static struct talker {
	int channel_fd; /* -1: the talker has not begun, or has ended */
	int calls_fd;	/* the other end of the talker's notifications */
	int checker_fd; /* the checker's end; -1: no checker was started */
	uint32_t question;
	unsigned asked; /* questions without an answer yet */
	int64_t asked_ms;
	unsigned failed;
	bool is_impatient; /* it has asked again before it got its answer */
	bool has_signed;
	char user[AUTH_USER_OCTETS];
	bool has_checker_answered, has_account, has_ruleset, is_asleep;
	unsigned account;   /* the first one that a checker has named */
	bool has_long_name; /* of that account */
	ino_t ruleset;	    /* likewise */
	int64_t end_ms;	    /* of the step that ended the talker; 0: none */
} talkers[TALKERS];

static const char *next; /* the next step of the input */
static int listener_fd = -1;
static int64_t now_ms;
static bool is_full, cannot_start; /* checkers */
static struct talker *flooder;	   /* never stops asking; NULL: no talker */
static unsigned rounds;		   /* of the flooder */
static struct keeper keeper;

/* ---- The clock ---- */

int clock_gettime(clockid_t clock, struct timespec *ret)
{
	if (clock != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, clock, ret);
	*ret = (struct timespec){ now_ms / 1000, now_ms % 1000 * 1000000 };
	return 0;
}

/* ---- The kernel ---- */

static uid_t uid_of(unsigned account)
{
	return 0x10101010 + account; /* no octet is NUL */
}

static gid_t gid_of(unsigned account)
{
	return 0x20202020 + account;
}

/* The system call that each talker waits in. */
static struct seccomp_notif calls[TALKERS];

#define FAILS (1 << 8) /* in the id of a call: adding a descriptor to the talker fails */

static int receive_call(int fd, struct seccomp_notif *ret)
{
	if (read(fd, ret, sizeof(*ret)) != sizeof(*ret)) {
		errno = ENOENT;
		return -1;
	}
	calls[ret->id % TALKERS] = *ret;
	return 0;
}

static int add_fd(const struct seccomp_notif_addfd *wanted)
{
	struct talker *talker = &talkers[wanted->id % TALKERS];
	struct stat status;

	FUZZ_CHECK(wanted->newfd == SANDBOX_RULESET_FD && wanted->newfd_flags == O_CLOEXEC);
	FUZZ_CHECK(wanted->flags == SECCOMP_ADDFD_FLAG_SETFD && talker->has_account);
	if (fstat((int)wanted->srcfd, &status) < 0)
		return -1;
	FUZZ_CHECK(talker->ruleset == status.st_ino);
	errno = EMFILE;
	if (wanted->id & FAILS)
		return -1;
	talker->has_ruleset = true;
	return SANDBOX_RULESET_FD;
}

static int end_call(const struct seccomp_notif_resp *answer)
{
	const struct talker *talker = &talkers[answer->id % TALKERS];
	const struct seccomp_data *call = &calls[answer->id % TALKERS].data;
	uint32_t id = call->nr == SYS_setresuid ? uid_of(talker->account) : gid_of(talker->account);

	FUZZ_CHECK(answer->val == 0);
	if (answer->error != 0) {
		FUZZ_CHECK(answer->flags == 0);
		return 0;
	}
	FUZZ_CHECK(answer->flags == SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	FUZZ_CHECK(talker->has_account && talker->has_ruleset);
	FUZZ_CHECK(call->arch == SECCOMP_ARCHITECTURE);
	if (call->nr == SYS_landlock_restrict_self) {
		FUZZ_CHECK((uint32_t)call->args[0] == SANDBOX_RULESET_FD);
		FUZZ_CHECK((uint32_t)call->args[1] == 0);
		return 0;
	}
	FUZZ_CHECK(call->nr == SYS_setresuid || call->nr == SYS_setresgid);
	for (int i = 0; i < 3; i++)
		FUZZ_CHECK((uint32_t)call->args[i] == id);
	return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list arguments;
	void *argument;

	va_start(arguments, request);
	argument = va_arg(arguments, void *);
	va_end(arguments);
	if (request == SECCOMP_IOCTL_NOTIF_RECV)
		return receive_call(fd, argument);
	if (request == SECCOMP_IOCTL_NOTIF_ADDFD)
		return add_fd(argument);
	if (request == SECCOMP_IOCTL_NOTIF_SEND)
		return end_call(argument);
	return (int)syscall(SYS_ioctl, fd, request, argument);
}

/* ---- Checkers ---- */

static bool is_closed(int fd)
{
	struct pollfd polled = { .fd = fd };

	return fd < 0 || (poll(&polled, 1, 0) > 0 && (polled.revents & POLLHUP));
}

static int checker_start(const struct settings *settings, const struct channel_request *begin,
			 const struct channel_login *login, const struct account *account,
			 pid_t *ret_pid, int *ret_fd)
{
	struct talker *talker = &talkers[begin->slot];
	int pair[2];

	FUZZ_CHECK(settings->has_keeper && !is_full && is_closed(talker->checker_fd));
	FUZZ_CHECK(memchr(begin->peer.text, '\0', sizeof(begin->peer.text)));
	*ret_pid = *ret_fd = -1;
	if (talker->is_impatient) {
		FUZZ_CHECK(login || talker->has_account);
	} else if (login) {
		FUZZ_CHECK(talker->question == CHANNEL_LOGIN);
		FUZZ_CHECK(strcmp(login->user, talker->user) == 0);
		FUZZ_CHECK(strlen(login->password) < CHANNEL_PASSWORD_OCTETS);
	} else {
		FUZZ_CHECK(talker->has_account && account->uid == uid_of(talker->account));
	}
	if (cannot_start)
		return -EAGAIN;
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	util_drop(&talker->checker_fd);
	talker->checker_fd = pair[1];
	talker->has_checker_answered = false;
	*ret_fd = pair[0];
	return 0;
}

/* Replaces the process that reads the settings at a reload. */
static pid_t checker_fork(int fd, int other_fd)
{
	FUZZ_CHECK(fd == keeper.control_fd && other_fd == keeper.public_fd);
	errno = EAGAIN;
	if (cannot_start)
		return -1;
	(void)answer_settings(&keeper, 0);
	return 1;
}

static unsigned checker_count(void)
{
	return is_full ? CHECKERS_MAX : 0;
}

/* "k0o3": talker 0 gets account 3 (0: root). In place of `o`: `r` refused, `x` another failure.
 * More letters: `n` without a ruleset, `u` texts without a NUL, `s` too short, `l` too long, `d`
 * the checker dies without an answer. */
static void tell_result(struct talker *talker, const char *how)
{
	struct {
		struct channel_answer answer;
		char more;
	} packet = { 0 };
	struct channel_answer *answer = &packet.answer;
	unsigned number = *how ? (unsigned)how[1] % 10 : 0;
	size_t octets = sizeof(*answer) - !!strchr(how, 's') + !!strchr(how, 'l');
	bool is_root = strchr(how, '0');
	int fds[2] = { -1, -1 };
	struct stat status = { 0 };

	if (talker->checker_fd < 0 || talker->has_checker_answered)
		return;
	talker->has_checker_answered = true;
	if (strchr(how, 'u'))
		memset(answer, 'x', sizeof(*answer));
	answer->account.digest[0] = 1;
	answer->error = *how == 'o' ? 0 : *how == 'r' ? -EKEYREJECTED : -ENXIO;
	answer->account.uid = is_root ? 0 : uid_of(number);
	answer->account.gid = gid_of(number);
	answer->account.user[0] = answer->account.mailbox[0] = (char)('0' + number);
	if (!strchr(how, 'n')) {
		fds[0] = memfd_create("ruleset", MFD_CLOEXEC);
		FUZZ_CHECK(fds[0] >= 0 && fstat(fds[0], &status) == 0);
	}
	if (!strchr(how, 'd') && channel_send(talker->checker_fd, &packet, octets, fds) == 0 &&
	    *how == 'o' && !is_root && octets == sizeof(*answer) &&
	    talker->question == CHANNEL_LOGIN && !talker->has_account) {
		talker->has_account = true;
		talker->account = number;
		talker->has_long_name = strchr(how, 'u');
		talker->ruleset = status.st_ino;
	}
	util_drop(&fds[0]);
	util_drop(&talker->checker_fd);
}

/* ---- TLS ---- */

/* Replaces the function of the TLS module. */
static int sign_once(struct tls *tls, const struct tls_signing *signing, struct tls_signature *ret)
{
	struct talker *talker = &talkers[signing->key];

	FUZZ_CHECK(tls == keeper.tls && !talker->has_signed && !talker->has_account);
	talker->has_signed = true;
	*ret = (struct tls_signature){ .count = 1 };
	return 0;
}

/* ---- Talkers ---- */

/* "b0": talker 0 begins. `t`: its source is trusted; `-`: it has no notifications. */
static void begin_talker(struct talker *talker, const char *how)
{
	struct channel_request request = { .type = CHANNEL_BEGIN,
					   .is_trusted = !!strchr(how, 't'),
					   .slot = (uint64_t)(talker - talkers) };
	int pair[2], pipes[2];

	/* In the line that has ended a talker, the keeper does not know of the end yet. */
	if (talker->channel_fd >= 0 || listener_fd < 0 || talker->end_ms == now_ms)
		return;
	memset(request.peer.text, 'x', sizeof(request.peer.text));
	(void)snprintf(request.peer.text, *how == 'u' ? 2 : sizeof(request.peer.text), "192.0.2.1");
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	FUZZ_CHECK(pipe2(pipes, O_NONBLOCK | O_CLOEXEC) == 0);
	*talker = (struct talker){ pair[0], pipes[1], .checker_fd = talker->checker_fd };
	(void)channel_send(listener_fd, &request, sizeof(request),
			   (int[2]){ pair[1], strchr(how, '-') ? -1 : pipes[0] });
	(void)close(pair[1]);
	(void)close(pipes[0]);
}

static void end_talker(struct talker *talker)
{
	util_drop(&talker->channel_fd);
	util_drop(&talker->calls_fd);
	talker->is_asleep = false;
}

/* Checks that the answer has a question, and that a failure is not told too early. */
static void take_answer(struct talker *talker, const struct channel_answer *answer)
{
	static const unsigned char wiped[DIGEST_OCTETS];
	unsigned asleep = 0;

	FUZZ_CHECK(talker->asked > 0 || talker->is_impatient);
	FUZZ_CHECK(memcmp(answer->account.digest, wiped, DIGEST_OCTETS) == 0);
	if (talker->is_impatient)
		return;
	if (answer->error == -EAGAIN) {
		FUZZ_CHECK(talker->question == CHANNEL_LOGIN && answer->wait_s > 0);
		talker->asked_ms += INT64_C(1000) * answer->wait_s;
		return;
	}
	talker->asked--;
	if (talker->question == CHANNEL_SLEEP)
		talker->is_asleep = answer->error == 0;
	if (talker->question == CHANNEL_LOGIN && answer->error == 0) {
		FUZZ_CHECK(talker->has_account);
		FUZZ_CHECK(answer->account.uid == uid_of(talker->account));
		FUZZ_CHECK(answer->account.gid == gid_of(talker->account));
	}
	if (talker->question == CHANNEL_LOGIN && answer->error == -EKEYREJECTED) {
		FUZZ_CHECK(talker->failed < SESSION_FAILED_LOGINS_MAX);
		FUZZ_CHECK(now_ms >= talker->asked_ms + (PENALTY_MS << talker->failed++));
	}
	for (size_t i = 0; i < TALKERS; i++)
		asleep += talkers[i].is_asleep && talkers[i].account == talker->account &&
			  talkers[i].has_long_name == talker->has_long_name;
	FUZZ_CHECK(asleep <= ASLEEP_MAX);
}

/* Reads the answers of the keeper. */
static void read_answers(struct talker *talker)
{
	struct channel_answer answer;
	ssize_t n = 1;

	while (n > 0 && talker->channel_fd >= 0) {
		n = recv(talker->channel_fd, &answer, sizeof(answer), MSG_DONTWAIT | MSG_TRUNC);
		if (n == sizeof(answer))
			take_answer(talker, &answer);
		else if (n == sizeof(struct tls_signature))
			talker->asked--;
		else if (n > 0)
			FUZZ_CHECK(n == sizeof(struct channel_request));
		else if (n == 0 || errno != EAGAIN)
			end_talker(talker);
	}
}

static void note_question(struct talker *talker, uint32_t type)
{
	read_answers(talker);
	talker->is_impatient |= talker->asked > 0;
	talker->question = type;
	talker->asked_ms = now_ms;
	talker->asked += type == CHANNEL_LOGIN || type == CHANNEL_RECHECK ||
			 type == CHANNEL_SLEEP || type == CHANNEL_SIGN;
	talker->is_asleep &= type != CHANNEL_WAKE;
}

/* "l0alice apple": talker 0 logs in. `L`: its texts have no NUL. */
static void ask_login(struct talker *talker, char *how, bool has_nul)
{
	struct channel_login login;
	char *password = how + strcspn(how, " ");
	bool is_ready = talker->asked == 0;

	if (*password)
		*password++ = '\0';
	memset(&login, has_nul ? '\0' : 'x', sizeof(login));
	login.request = (struct channel_request){ .type = CHANNEL_LOGIN };
	(void)memccpy(login.user, how, '\0', sizeof(login.user) - 1);
	(void)memccpy(login.password, password, '\0', sizeof(login.password) - 1);
	if (!has_nul) {
		login.user[strlen(how)] = 'x';
		login.password[strlen(password)] = 'x';
	}
	note_question(talker, CHANNEL_LOGIN);
	if (is_ready)
		(void)snprintf(talker->user, sizeof(talker->user), "%.*s", AUTH_USER_OCTETS - 1,
			       login.user);
	(void)send(talker->channel_fd, &login, sizeof(login), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* "q0s": talker 0 asks whether it may sleep. Another letter is another type, see below, or an
 * unknown one. */
static void ask_other(struct talker *talker, char letter)
{
	static const char letters[] = {
		[CHANNEL_RELOAD] = 'R',	 [CHANNEL_BEGIN] = 'B', [CHANNEL_HANG_UP] = 'H',
		[CHANNEL_RENEWED] = 'N', [CHANNEL_LOGIN] = 'l', [CHANNEL_SIGN] = 'g',
		[CHANNEL_RECHECK] = 'r', [CHANNEL_SLEEP] = 's', [CHANNEL_WAKE] = 'w',
		[CHANNEL_END] = 'e',
	};
	const char *known = letter ? memchr(letters, letter, sizeof(letters)) : NULL;
	struct channel_request request = { .type = known ? (uint32_t)(known - letters) : 0 };

	note_question(talker, request.type);
	(void)send(talker->channel_fd, &request, sizeof(request), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* "s0": talker 0 asks for a signature. */
static void ask_to_sign(struct talker *talker)
{
	const struct channel_signing packet = { .request.type = CHANNEL_SIGN,
						.signing.key = (uint32_t)(talker - talkers) };

	note_question(talker, CHANNEL_SIGN);
	(void)send(talker->channel_fd, &packet, sizeof(packet), MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Returns the argument that a letter stands for, where `id` would be right. */
static uint64_t argument_of(char letter, uint32_t id)
{
	switch (letter) {
	case 'a':
		return id;
	case 'h': /* the kernel uses only the lower half */
		return UINT64_C(7) << 32 | id;
	case '-':
		return UINT32_MAX;
	case '+':
		return id + 1;
	default:
		return 0;
	}
}

/* "n0uaaa": talker 0 calls setresuid(2) with the ids of its account. In place of `u`: `g`
 * setresgid(2), `r` landlock_restrict_self(2), `x` another call. A fourth argument: `f` adding a
 * descriptor fails, `m` a call of another architecture. */
static void make_call(struct talker *talker, const char *how)
{
	struct seccomp_notif call = { .id = (uint64_t)(talker - talkers),
				      .data.arch = SECCOMP_ARCHITECTURE };
	size_t octets = strlen(how);
	uint32_t id = *how == 'u' ? uid_of(talker->account) :
		      *how == 'g' ? gid_of(talker->account) :
				    SANDBOX_RULESET_FD;

	call.data.nr = *how == 'u' ? SYS_setresuid :
		       *how == 'g' ? SYS_setresgid :
		       *how == 'r' ? SYS_landlock_restrict_self :
				     SYS_setuid;
	for (size_t i = 0; i < 3 && i + 1 < octets; i++)
		call.data.args[i] = argument_of(how[i + 1], *how == 'r' && i > 0 ? 0 : id);
	if (octets > 4 && how[4] == 'f')
		call.id |= FAILS;
	if (octets > 4 && how[4] == 'm')
		call.data.arch++;
	(void)TEMP_FAILURE_RETRY(write(talker->calls_fd, &call, sizeof(call)));
}

/* ---- The listener ---- */

/* Asks the keeper to read the settings again, which are good or bad. */
static void reload(bool is_good)
{
	struct channel_request request = { .type = CHANNEL_RELOAD };

	keeper.argv[1] = keeper.argv[is_good ? 2 : 3];
	(void)channel_send(listener_fd, &request, sizeof(request), NULL);
}

static void hang_up_on(uint64_t slot)
{
	struct channel_request request = { .type = CHANNEL_HANG_UP, .slot = slot };

	(void)channel_send(listener_fd, &request, sizeof(request), NULL);
}

static void read_control(void)
{
	struct channel_answer answer;
	int fds[2];

	while (listener_fd >= 0 &&
	       channel_receive(listener_fd, &answer, sizeof(answer), fds, 0) > 0) {
		FUZZ_CHECK(fds[0] < 0 || answer.error == 0);
		util_drop(&fds[0]);
		util_drop(&fds[1]);
	}
}

/* ---- The input ---- */

static void take_step(char *step)
{
	size_t octets = strlen(step);
	struct talker *talker = &talkers[octets > 1 ? (size_t)step[1] % TALKERS : 0];
	char *how = step + MIN(octets, 2);

	switch (*step) {
	case 'b':
		begin_talker(talker, how);
		break;
	case 'l':
	case 'L':
		ask_login(talker, how, *step == 'l');
		break;
	case 'q':
		ask_other(talker, *how);
		break;
	case 's':
		ask_to_sign(talker);
		break;
	case 'p': /* a packet of any octets */
		(void)send(talker->channel_fd, how, strlen(how), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 'n':
		make_call(talker, how);
		break;
	case 'z': /* the talker's process has ended, but another one has the channel */
		util_drop(&talker->calls_fd);
		break;
	case 'c':
		end_talker(talker);
		talker->end_ms = now_ms;
		break;
	case 'k':
		tell_result(talker, how);
		break;
	case 'm': /* "m1": there are too many checkers; "m2": starting one fails */
		is_full = octets > 1 && step[1] == '1';
		cannot_start = octets > 1 && step[1] == '2';
		break;
	case 't': /* tenths of a second */
		now_ms += strtol(step + 1, NULL, 10) % 100000 * 100;
		break;
	case 'r':
	case 'R':
		reload(*step == 'r');
		break;
	case 'h':
		hang_up_on((uint64_t)(talker - talkers));
		break;
	case 'x': /* a packet that no listener sends */
		(void)send(listener_fd, how, strlen(how), MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	case 'f': /* "f0": talker 0 asks all the time */
		flooder = talker;
		rounds = 0;
		break;
	case 'e':
		util_drop(&listener_fd);
		break;
	default:
		break;
	}
}

/* Keeps a talker's socket from being empty, and checks that others get signatures meanwhile. */
static void flood(void)
{
	if (!flooder)
		return;
	ask_other(flooder, 'w');
	if (flooder->channel_fd >= 0 && rounds++ < ROUNDS)
		return;
	flooder = NULL;
	for (size_t i = 0; i < TALKERS && rounds > ROUNDS; i++) {
		const struct talker *talker = &talkers[i];

		FUZZ_CHECK(talker->question != CHANNEL_SIGN || talker->asked == 0 ||
			   talker->channel_fd < 0 || talker->is_impatient);
	}
}

/* Checks that every question was answered, unless its talker has ended. */
static void end_input(void)
{
	util_drop(&listener_fd);
	for (size_t i = 0; i < TALKERS; i++) {
		struct talker *talker = &talkers[i];

		FUZZ_CHECK(talker->channel_fd < 0 || talker->asked == 0 || talker->is_impatient);
		end_talker(talker);
	}
}

/* Replaces libc's: takes the next line of the input when the keeper has nothing to do. */
int epoll_wait(int fd, struct epoll_event *events, int count, int ms)
{
	static unsigned idle; /* rounds since the end of the input */
	int ready;
	auto_free char *line = NULL;
	char *rest, *step;

	flood();
	ready = epoll_pwait(fd, events, count, 0, NULL);
	for (size_t i = 0; i < TALKERS; i++)
		read_answers(&talkers[i]);
	read_control();
	if (ready != 0)
		return ready;
	if (ms == 0) /* the keeper has to sign */
		return 0;
	FUZZ_CHECK(ms > 0);
	if (*next) {
		size_t octets = strcspn(next, "\n");

		line = rest = strndup(next, octets);
		FUZZ_CHECK(line);
		next += octets + (next[octets] == '\n');
		while ((step = strsep(&rest, ";")))
			take_step(step);
		now_ms++;
	} else if (idle++ < STAGES) {
		now_ms += LONG_MS;
	} else {
		idle = 0;
		end_input();
	}
	return 0;
}

static void load_settings(struct settings **ret)
{
	FUZZ_CHECK(settings_load(2, keeper.argv, ret) == 0);
	(*ret)->has_keeper = true;
	FUZZ_CHECK(auth_prepare(*ret) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	static char good[64] = "--config=", bad[64] = "--config=", program[] = "pop3-handler";
	char *arguments[] = { program, good, good, bad, NULL };
	static const struct tls_functions functions = { .sign = sign_once };
	struct tls tls = { .functions = &functions };
	static int config_fds[2];
	char *input = fuzz_string(data, octets);
	int pair[2], free_fd;

	if (config_fds[0] == 0) {
		config_fds[0] = fuzz_file((const uint8_t *)good_config, sizeof(good_config) - 1,
					  good + strlen(good));
		config_fds[1] = fuzz_file((const uint8_t *)bad_config, sizeof(bad_config) - 1,
					  bad + strlen(bad));
		(void)signal(SIGPIPE, SIG_IGN);
	}
	for (size_t i = 0; i < TALKERS; i++)
		talkers[i] = (struct talker){ .channel_fd = -1, .calls_fd = -1, .checker_fd = -1 };
	free_fd = dup(STDIN_FILENO);
	(void)close(free_fd);
	next = input;
	is_full = cannot_start = false;
	flooder = NULL;
	now_ms = LONG_MS;
	keeper = (struct keeper){
		.argc = 2, .argv = arguments, .tls = &tls, .public_fd = -1, .look_ms = INT64_MAX
	};
	load_settings(&keeper.settings);
	keeper.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	listener_fd = pair[0];
	keeper.control_fd = pair[1];
	FUZZ_CHECK(failures_new(-1, &keeper.failures) == 0);
	TAILQ_INIT(&keeper.busy);

	FUZZ_CHECK(serve_sessions(&keeper) == 0);
	FUZZ_CHECK(LIST_EMPTY(&keeper.all) && TAILQ_EMPTY(&keeper.busy));

	failures_confine(keeper.failures, false);
	(void)failures_leave(keeper.failures, &in6addr_any, false, "");
	free(keeper.failures);
	settings_free(keeper.settings);
	(void)close(keeper.epoll_fd);
	for (size_t i = 0; i < TALKERS; i++)
		util_drop(&talkers[i].checker_fd);
	FUZZ_CHECK(dup(STDIN_FILENO) == free_fd);
	(void)close(free_fd);
	free(input);
	return 0;
}
