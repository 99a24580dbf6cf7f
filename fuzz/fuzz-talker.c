/* SPDX-License-Identifier: ISC
 * Sessions with a keeper. This file plays the keeper. Lines of the input that begin with `c` are
 * what the client sends. The others are answers of the keeper: it sends one when the session waits
 * for it, and the next one at once, too early, if a line ends in a comma. */
#include "auth.h"
#include "channel.h"
#include "fuzz.h"
#include "lib/util.h"
#include "log.h"
#include "protocol.h"
#include "sandbox.h"
#include "session.h"
#include "settings.h"
#include "tmpdir.h"
#include "transport.c"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static struct settings *settings;
static int tmpdir_fd = -1;

static const char *next; /* answer of the keeper */
static int channel_fd = -1, keeper_fd = -1;
static struct account account; /* of the last good answer */
static bool is_good, cannot_become, has_become;

/* ---- The kernel ---- */

int sandbox_become_account(const struct account *wanted)
{
	FUZZ_CHECK(is_good && !has_become);
	FUZZ_CHECK(wanted->uid == account.uid && wanted->gid == account.gid);
	has_become = !cannot_become;
	return cannot_become ? -EPERM : 0;
}

/* ---- The keeper ---- */

#define HAS_NUL(text) (memchr((text), '\0', sizeof(text)) != NULL)

/* Checks that the session's questions are well-formed and allowed in its state. */
static void read_questions(void)
{
	struct channel_login login = { 0 };
	ssize_t n;

	while ((n = recv(keeper_fd, &login, sizeof(login), MSG_DONTWAIT | MSG_TRUNC)) > 0) {
		enum channel_type type = login.request.type;

		FUZZ_CHECK((size_t)n ==
			   (type == CHANNEL_LOGIN ? sizeof(login) : sizeof(login.request)));
		if (type == CHANNEL_LOGIN) {
			FUZZ_CHECK(HAS_NUL(login.user) && HAS_NUL(login.password));
			continue;
		}
		FUZZ_CHECK(has_become && (type == CHANNEL_RECHECK || type == CHANNEL_SLEEP ||
					  type == CHANNEL_WAKE));
	}
}

/* Only below this target's own directory, because the session changes the mailbox. */
static void set_mailbox(char letter)
{
	size_t octets = sizeof(account.mailbox);

	memset(account.mailbox, '\0', octets);
	if (letter == '0')
		(void)snprintf(account.mailbox, octets, "%s/alice", tmpdir_path);
	else if (letter == '1')
		(void)snprintf(account.mailbox, octets, "%s/missing", tmpdir_path);
	else if (letter == '2')
		(void)snprintf(account.mailbox, octets, "%s/users", tmpdir_path);
	else if (letter == '3') /* longer than any path */
		memset(account.mailbox, 'x', octets - 1);
}

/* "o0": the password is right, and the mailbox is number 0; `r` it is read-only, `s` it is out of
 * reach, `f` the kernel refuses the ids. "g": the account is unchanged. "r": it is refused; with
 * `u` texts have their maximum length. "w5": another answer follows in 5 s. "x13": errno 13. "l":
 * the packet is too long, which a session accepts; "s": too short. */
static void make_answer(const char *how, size_t octets, struct channel_answer *ret)
{
	int number = octets > 1 ? atoi(how + 1) : 0;

	memset(ret, memchr(how, 'u', octets) ? 'x' : '\0', sizeof(*ret));
	ret->error = *how == 'r' ? -EKEYREJECTED :
		     *how == 'w' ? -EAGAIN :
		     *how == 'x' ? -number :
				   0;
	ret->wait_s = (uint32_t)number;
	ret->is_shut_out = memchr(how, 's', octets) != NULL;
	ret->report.user[AUTH_USER_OCTETS - 1] = '\0';
	ret->report.file[sizeof(ret->report.file) - 1] = '\0';
	ret->report.refusal[AUTH_REASON_OCTETS - 1] = '\0';
	ret->report.has_wide_root = false;
	cannot_become = memchr(how, 'f', octets) != NULL;
	if (*how == 'o') {
		set_mailbox(octets > 1 ? how[1] : '0');
		(void)util_copy(account.user, octets % 2 ? "alice" : "alice@example.org");
		account.is_read_only = memchr(how, 'r', octets) != NULL;
	}
	ret->account = account;
}

/* Sends one packet. Returns whether the next one follows at once. */
static bool say_next(void)
{
	struct {
		struct channel_answer answer;
		char more;
	} packet = { 0 };
	struct channel_request end = { .type = CHANNEL_END };
	const char *how = next;
	size_t octets = strcspn(next, "\n");

	next += octets + (next[octets] == '\n');
	if (octets == 0 || *how == 'n')
		return octets > 0 && how[octets - 1] == ',';
	make_answer(how, octets, &packet.answer);
	is_good |= packet.answer.error == 0 && !strchr("zes", *how);
	if (*how == 'z')
		util_drop(&keeper_fd);
	else if (*how == 'e')
		(void)channel_send(keeper_fd, &end, sizeof(end), NULL);
	else
		(void)channel_send(keeper_fd, &packet,
				   *how == 'l' ? sizeof(packet) :
				   *how == 's' ? 1 + octets :
						 sizeof(packet.answer),
				   NULL);
	return how[octets - 1] == ',';
}

/* Replaces libc's: plays the keeper when the session begins to wait for it. An answer that is not
 * sent now never comes. */
int ppoll(struct pollfd *polled, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	bool is_ready = poll(polled, count, 0) > 0;
	bool is_for_keeper = count == 1 && polled->fd == channel_fd && keeper_fd >= 0;
	struct timespec left = is_for_keeper ? (struct timespec){ 0 } : *timeout;

	if (is_for_keeper && !is_ready) {
		read_questions();
		while (say_next())
			;
	}
	return (int)syscall(SYS_ppoll, polled, count, &left, mask, _NSIG / 8);
}

/* ---- The session ---- */

static void make_tmpdir(void)
{
	char config[128], argument[128], program[] = "pop3-handler";
	char *arguments[] = { program, argument, NULL };
	int length = snprintf(config, sizeof(config),
			      "mailbox = /nonexistent/%%u\nlogin-penalty = 0\nsandbox = off\n");

	tmpdir_make();
	tmpdir_fd = open(tmpdir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(argument, sizeof(argument), "--config=%s/config", tmpdir_path);
	tmpdir_write(tmpdir_fd, "users", "", 0);
	tmpdir_write(tmpdir_fd, "config", config, (size_t)length);
	FUZZ_CHECK(settings_load(2, arguments, &settings) == 0);
	settings->has_keeper = true;
	FUZZ_CHECK(mkdirat(tmpdir_fd, "alice", 0700) == 0);
	FUZZ_CHECK(mkdirat(tmpdir_fd, "alice/cur", 0700) == 0);
}

static void make_mailbox(void)
{
	if (faccessat(tmpdir_fd, "alice/cur/1.M1P1.h:2,S", F_OK, 0) < 0)
		tmpdir_write(tmpdir_fd, "alice/cur/1.M1P1.h:2,S", "Subject: one\n\nHello\n", 20);
}

/* Moves the lines of the client into a file, and leaves the rest of the input. */
static int split_input(char *input)
{
	int in = memfd_create("in", MFD_CLOEXEC);
	char *kept = input, *line;

	FUZZ_CHECK(in >= 0);
	while ((line = strsep(&input, "\n"))) {
		size_t octets = strlen(line);

		if (*line == 'c') {
			FUZZ_CHECK(dprintf(in, "%s\r\n", line + 1) == (int)octets + 1);
			continue;
		}
		memmove(kept, line, octets);
		kept[octets] = input ? '\n' : '\0'; /* else this was the last line */
		kept += octets + (input != NULL);
	}
	*kept = '\0';
	FUZZ_CHECK(lseek(in, 0, SEEK_SET) == 0);
	return in;
}

/* The output begins with +OK, ends with a complete line, and has no messages without an account. */
static void check_output(int out)
{
	off_t octets = lseek(out, 0, SEEK_END);
	char *text = calloc(1, (size_t)octets + 1);

	FUZZ_CHECK(octets > 4 && text && pread(out, text, (size_t)octets, 0) == octets);
	FUZZ_CHECK(memcmp(text, "+OK ", 4) == 0);
	FUZZ_CHECK(memcmp(text + octets - 2, "\r\n", 2) == 0);
	FUZZ_CHECK(has_become || !strstr(text, " messages"));
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	char *input = fuzz_string(data, octets);
	int in, out = memfd_create("out", MFD_CLOEXEC), pair[2];
	const struct peer peer = PEER_LOCAL;
	struct session session = { .peer = &peer };

	if (!settings)
		make_tmpdir();
	make_mailbox();
	in = split_input(input);
	next = input;
	FUZZ_CHECK(out >= 0 && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0);
	channel_fd = pair[0];
	keeper_fd = pair[1];
	account = (struct account){ .uid = 1001, .gid = 1002 };
	is_told_to_end = 0;
	is_good = cannot_become = has_become = false;

	session.settings = settings;
	session.channel_fd = channel_fd;
	FUZZ_CHECK(transport_new(in, out, channel_fd, &session.transport) == 0);
	(void)protocol_serve(&session, NULL);
	(void)transport_free(session.transport);
	if (keeper_fd >= 0)
		read_questions();
	check_output(out);
	util_drop(&keeper_fd);
	(void)close(channel_fd);
	(void)close(in);
	(void)close(out);
	free(input);
	return 0;
}
