/* SPDX-License-Identifier: ISC
 * The keeper never waits for a talker, a checker or a user's file, so none of them can block it.
 * Packets on a channel may come from a compromised talker, before login and after it. */
#include "keeper.h"

#include "channel.h"
#include "failures.h"
#include "keeper/checker.h"
#include "lib/proctitle.h"
#include "lib/util.h"
#include "listener.h"
#include "log.h"
#include "sandbox.h"
#include "session.h"
#include "settings.h"
#include "tls.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define START_MS 10000 /* how long other processes wait for the keeper */
#define RELOAD_S 8     /* below START_MS: a later answer would count for the next reload */
#define RESERVED_FDS 128
#define EVENTS_MAX 256 /* handled between two signatures: a session may flood the keeper */
#define LOOK_MS 1000   /* between two checks for renewed certificates */

#define FAILURES_FOLDER "/run/pop3-keeper"

/* What the keeper does for a session. */
enum kept_state { IDLE, SIGNING, WAITING, CHECKING, ANSWERING };

/* The descriptors of a session that epoll(7) watches. */
enum { OF_CHANNEL, OF_NOTIFICATIONS, OF_CHECKER, WATCHED };

struct kept {
	LIST_ENTRY(kept) all;
	TAILQ_ENTRY(kept) busy;
	struct watch {
		struct kept *kept;
		int fd; /* -1: none */
	} watched[WATCHED];
	struct channel_request begin;
	enum kept_state state;	     /* unless IDLE, the session is in the queue `busy` */
	int64_t arrival_ms, due_ms;  /* monotonic: of the request, and of its next step */
	char *counted;		     /* the user with a domain: failures count for this name */
	struct channel_login *login; /* the one that is being checked; NULL: none */
	pid_t checker;
	struct channel_answer answer;
	struct tls_signing signing;
	bool has_signed; /* has asked for its one signature */
	unsigned failed_logins;
	struct account *account; /* NULL: before login */
	struct sandbox_consent consent;
	bool is_asleep;
};

LIST_HEAD(kept_list, kept);

struct keeper {
	struct settings *settings;
	int argc;
	char **argv;
	int epoll_fd, control_fd; /* control_fd is -1 once its other end is closed */
	struct failures *failures;
	struct log_quota lines;
	struct kept_list all;
	TAILQ_HEAD(kept_queue, kept) busy; /* the oldest request is the first */
	struct tls *tls;		   /* with the private keys; NULL: TLS was never on */
	struct tls *former; /* the previous keys, for connections that began with them */
	int public_fd;	    /* the public TLS file; -1: TLS cannot be served */
	int64_t look_ms;    /* of the next check for renewed certificates, for the listener */
};

/* For log lines that talkers can cause, and in the report of those that were omitted. */
#define OMITTED_ABOUT "what sessions asked"
#define log_at_rate(keeper, ...) \
	log_event_about(&(keeper)->lines, LOG_EVENT_WARNING, NULL, __VA_ARGS__)

bool keeper_is_wanted(const struct settings *settings)
{
	return settings->keeper && !settings->user && sandbox_has_privilege();
}

/* ---- One session ---- */

static int watch(struct keeper *keeper, struct watch *watch)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = watch };

	return epoll_ctl(keeper->epoll_fd, EPOLL_CTL_ADD, watch->fd, &event) < 0 ? -errno : 0;
}

/* A checker may still have a copy of the descriptor: after close(2) alone, epoll(7) would go on to
 * report events for it, with a pointer to freed memory. */
static void stop_watching(const struct keeper *keeper, int *fd)
{
	if (*fd >= 0)
		(void)epoll_ctl(keeper->epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
	util_drop(fd);
}

static void forget_login(struct kept *kept)
{
	if (kept->login)
		explicit_bzero(kept->login, sizeof(*kept->login));
	free(take_ptr(kept->login));
	free(take_ptr(kept->counted));
}

static void set_state(struct keeper *keeper, struct kept *kept, enum kept_state state)
{
	if (kept->state == IDLE && state != IDLE)
		TAILQ_INSERT_TAIL(&keeper->busy, kept, busy);
	if (kept->state != IDLE && state == IDLE)
		TAILQ_REMOVE(&keeper->busy, kept, busy);
	kept->state = state;
}

static void set_failure(struct kept *kept, int error, const char *refusal)
{
	kept->answer = (struct channel_answer){ .error = error };
	(void)util_copy(kept->answer.report.refusal, refusal);
}

/* Kills the checker, and stores its answer. Returns the account's ruleset (-1: none) to close. */
static int end_checker(struct keeper *keeper, struct kept *kept)
{
	int *fd = &kept->watched[OF_CHECKER].fd, ruleset_fd;
	int r = checker_end(kept->checker, *fd, &kept->answer, &ruleset_fd);

	stop_watching(keeper, fd);
	if (r == -ETIMEDOUT)
		set_failure(kept, r, "the check takes too long");
	else if (r < 0)
		set_failure(kept, r, "the checker ended without an answer");
	return ruleset_fd;
}

static void end_consent(const struct keeper *keeper, struct kept *kept)
{
	stop_watching(keeper, &kept->watched[OF_NOTIFICATIONS].fd);
	util_drop(&kept->consent.ruleset_fd);
}

static void drop_kept(struct keeper *keeper, struct kept *kept)
{
	auto_fd int unused_fd = kept->state == CHECKING ? end_checker(keeper, kept) : -1;

	set_state(keeper, kept, IDLE);
	LIST_REMOVE(kept, all);
	stop_watching(keeper, &kept->watched[OF_CHANNEL].fd);
	end_consent(keeper, kept);
	forget_login(kept);
	free(kept->account);
	explicit_bzero(kept, sizeof(*kept));
	free(kept);
}

/* Takes the descriptors, except after a failure. */
static void begin(struct keeper *keeper, struct channel_request *request, int fds[2])
{
	struct kept *kept = fds[0] >= 0 && fds[1] >= 0 ? calloc(1, sizeof(*kept)) : NULL;

	request->peer.text[sizeof(request->peer.text) - 1] = '\0';
	if (!kept) {
		log_at_rate(keeper, "cannot keep the session from %s: %s", request->peer.text,
			    strerror(ENOMEM));
		return;
	}
	kept->begin = *request;
	kept->consent.ruleset_fd = -1;
	kept->watched[OF_CHANNEL] = (struct watch){ kept, take_fd(&fds[0]) };
	kept->watched[OF_NOTIFICATIONS] = (struct watch){ kept, take_fd(&fds[1]) };
	kept->watched[OF_CHECKER] = (struct watch){ kept, -1 };
	LIST_INSERT_HEAD(&keeper->all, kept, all);
	if (watch(keeper, &kept->watched[OF_CHANNEL]) < 0 ||
	    watch(keeper, &kept->watched[OF_NOTIFICATIONS]) < 0)
		drop_kept(keeper, kept);
}

/* Ends a session that has sent a packet which only a compromised talker sends. */
static void hang_up(struct keeper *keeper, struct kept *kept, const char *reason)
{
	log_at_rate(keeper, "the session from %s is ended: %s", kept->begin.peer.text, reason);
	drop_kept(keeper, kept);
}

/* ---- Answers ---- */

static void send_answer(struct kept *kept)
{
	explicit_bzero(kept->answer.account.digest, sizeof(kept->answer.account.digest));
	(void)channel_send(kept->watched[OF_CHANNEL].fd, &kept->answer, sizeof(kept->answer), NULL);
	explicit_bzero(&kept->answer, sizeof(kept->answer));
	forget_login(kept);
}

/* A session may log in again after its mailbox was locked, but only to the same account. */
static int note_account(struct kept *kept, int *ruleset_fd)
{
	const struct account *account = &kept->answer.account;

	if (account->uid == 0 || account->gid == 0) /* the checker is compromised */
		return -EPERM;
	if (kept->account)
		return kept->account->uid == account->uid && kept->account->gid == account->gid &&
				       strcmp(kept->account->mailbox, account->mailbox) == 0 ?
			       0 :
			       -EPERM;
	kept->account = malloc(sizeof(*kept->account));
	if (!kept->account)
		return -ENOMEM;
	*kept->account = *account;
	kept->consent = (struct sandbox_consent){ .uid = account->uid,
						  .gid = account->gid,
						  .ruleset_fd = take_fd(ruleset_fd) };
	return 0;
}

/* Counts the result of a password check; system errors do not count. A failure is answered one
 * penalty after its request came, which hides how long the check took. */
static void note_login(struct keeper *keeper, struct kept *kept, int *ruleset_fd)
{
	const struct channel_request *from = &kept->begin;
	int64_t wait_ms = (int64_t)keeper->settings->login_penalty_s * 1000;

	if (kept->answer.error == 0)
		kept->answer.error = note_account(kept, ruleset_fd);
	if (kept->answer.error == 0)
		failures_forgive(keeper->failures, &from->peer.address, from->is_trusted,
				 kept->counted);
	if (kept->answer.error == -EFAULT)
		kept->failed_logins = SESSION_FAILED_LOGINS_MAX; /* so it gets no other check */
	if (kept->answer.error != -EKEYREJECTED)
		return;
	failures_note(keeper->failures, &from->peer.address, from->is_trusted, kept->counted,
		      kept->login->password);
	kept->due_ms = kept->arrival_ms + (wait_ms << kept->failed_logins++);
}

static void handle_checker(struct keeper *keeper, struct kept *kept)
{
	auto_fd int ruleset_fd = end_checker(keeper, kept);

	kept->due_ms = 0;
	if (kept->login)
		note_login(keeper, kept, &ruleset_fd);
	else if (kept->answer.error == 0)
		kept->account->users = kept->answer.account.users; /* only this may change */
	set_state(keeper, kept, ANSWERING);
}

/* ---- Requests ---- */

/* Begins a check. The check of a password first waits for as long as its source must back off. */
static void begin_check(struct keeper *keeper, struct kept *kept)
{
	const struct settings *settings = keeper->settings;
	const struct channel_request *from = &kept->begin;
	unsigned wait_s = 0;

	kept->arrival_ms = kept->due_ms = util_now_ms();
	if (kept->login)
		wait_s = failures_wait_s(keeper->failures, &from->peer.address, from->is_trusted,
					 kept->counted, settings->login_penalty_s,
					 MIN(settings->login_timeout_s / 4, FAILURES_WAIT_MAX_S));
	if (wait_s > 0) {
		struct channel_answer answer = { .error = -EAGAIN, .wait_s = wait_s };

		(void)channel_send(kept->watched[OF_CHANNEL].fd, &answer, sizeof(answer), NULL);
		kept->arrival_ms = kept->due_ms += INT64_C(1000) * wait_s;
	}
	set_state(keeper, kept, WAITING);
}

static void handle_login(struct keeper *keeper, struct kept *kept, struct channel_login *login)
{
	if (kept->failed_logins >= SESSION_FAILED_LOGINS_MAX) {
		hang_up(keeper, kept, "it goes on to try passwords");
		return;
	}
	login->user[sizeof(login->user) - 1] = '\0';
	login->password[sizeof(login->password) - 1] = '\0';
	kept->counted = settings_add_domain(keeper->settings, login->user);
	kept->login = malloc(sizeof(*login));
	if (!kept->login || !kept->counted) {
		set_failure(kept, -ENOMEM, "");
		send_answer(kept);
		return;
	}
	*kept->login = *login;
	begin_check(keeper, kept);
}

static void handle_sleep(const struct keeper *keeper, struct kept *kept)
{
	const struct kept *other;
	unsigned asleep = 1; /* the session itself */

	LIST_FOREACH (other, &keeper->all, all)
		asleep += other != kept && other->is_asleep &&
			  strcmp(other->account->user, kept->account->user) == 0;
	kept->is_asleep = asleep <= keeper->settings->max_sleeping_per_user;
	kept->answer = (struct channel_answer){ .error = kept->is_asleep ? 0 : -EDQUOT };
	send_answer(kept);
}

/* ---- TLS ---- */

/* A handshake needs one signature. After login there is no handshake. */
static void handle_signing(struct keeper *keeper, struct kept *kept,
			   const struct tls_signing *signing)
{
	if (kept->account || kept->has_signed || !keeper->tls) {
		hang_up(keeper, kept, "it asks for a signature that it does not need");
		return;
	}
	kept->has_signed = true;
	kept->signing = *signing;
	set_state(keeper, kept, SIGNING);
}

/* Signs for the oldest request, first of all one from a trusted network. A signature may take
 * milliseconds, so other events come first, and wait for one signature at most. */
static void sign_next(struct keeper *keeper)
{
	struct tls_signature signature;
	struct kept *next = NULL;

	for (struct kept *kept = TAILQ_FIRST(&keeper->busy); kept; kept = TAILQ_NEXT(kept, busy)) {
		if (kept->state == SIGNING &&
		    (!next || (kept->begin.is_trusted && !next->begin.is_trusted)))
			next = kept;
	}
	if (!next)
		return;
	if (keeper->tls->functions->sign(keeper->tls, &next->signing, &signature) == -EPERM &&
	    keeper->former)
		(void)keeper->tls->functions->sign(keeper->former, &next->signing, &signature);
	(void)channel_send(next->watched[OF_CHANNEL].fd, &signature, sizeof(signature), NULL);
	set_state(keeper, next, IDLE);
}

/* Returns 0, or -EBADMSG after an error in the log. */
static int load_tls_module(const struct settings *settings, struct tls **ret)
{
	static unsigned char no_key[TLS_TICKET_KEY_OCTETS]; /* the listener has the ticket key */

	return tls_new(settings, no_key, ret) < 0 ? -EBADMSG : 0;
}

/* Reads certificates and keys. After a failure, or without a change, the present ones stay. */
static int read_certificates(struct keeper *keeper, const struct settings *settings)
{
	struct tls *fresh;
	bool is_same;
	int r = load_tls_module(settings, &fresh);

	if (!fresh)
		return r;
	fresh->is_keeper = true;
	r = fresh->functions->load(fresh);
	is_same = keeper->tls && keeper->tls->stamps == fresh->stamps;
	if (keeper->tls)
		keeper->tls->tried_stamps = fresh->stamps;
	if (is_same && r >= 0)
		keeper->tls->settings = settings;
	if (is_same || r < 0) {
		fresh->functions->free(fresh);
		return MIN(r, 0);
	}
	if (keeper->former)
		keeper->former->functions->free(keeper->former);
	keeper->former = keeper->tls;
	keeper->tls = fresh;
	keeper->public_fd = fresh->public_fd;
	return 0;
}

/* Passes renewed certificates to the listener, which serves them from the next connection on. */
static void look_at_certificates(struct keeper *keeper)
{
	struct channel_request renewed = { .type = CHANNEL_RENEWED };

	keeper->look_ms = util_now_ms() + LOOK_MS;
	if (keeper->settings->tls == TLS_OFF)
		return;
	if (keeper->tls->functions->has_changed(keeper->tls) &&
	    read_certificates(keeper, keeper->settings) == 0 &&
	    channel_send(keeper->control_fd, &renewed, sizeof(renewed),
			 (int[2]){ keeper->public_fd, -1 }) < 0)
		keeper->tls->tried_stamps = 0; /* so that this is tried again */
}

/* ---- Packets ---- */

static void handle_request(struct keeper *keeper, struct kept *kept, uint32_t type)
{
	if (!kept->account) {
		hang_up(keeper, kept, "it sends a request that needs a login");
		return;
	}
	switch (type) {
	case CHANNEL_RECHECK:
		begin_check(keeper, kept);
		break;
	case CHANNEL_SLEEP:
		handle_sleep(keeper, kept);
		break;
	case CHANNEL_WAKE:
		kept->is_asleep = false;
		break;
	default:
		hang_up(keeper, kept, "it sends an unknown request");
	}
}

static void handle_channel(struct keeper *keeper, struct kept *kept)
{
	union {
		struct channel_request request;
		struct channel_login login;
		struct channel_signing signing;
	} packet;
	ssize_t n = recv(kept->watched[OF_CHANNEL].fd, &packet, sizeof(packet),
			 MSG_DONTWAIT | MSG_TRUNC);

	if (n <= 0)
		drop_kept(keeper, kept);
	else if (kept->state != IDLE)
		hang_up(keeper, kept, "it does not wait for an answer");
	else if (n == sizeof(packet.login) && packet.request.type == CHANNEL_LOGIN)
		handle_login(keeper, kept, &packet.login);
	else if (n == sizeof(packet.signing) && packet.request.type == CHANNEL_SIGN)
		handle_signing(keeper, kept, &packet.signing.signing);
	else if (n == sizeof(packet.request))
		handle_request(keeper, kept, packet.request.type);
	else
		hang_up(keeper, kept, "it breaks the protocol");
	explicit_bzero(&packet, sizeof(packet));
}

/* ---- The control socket ---- */

/* Raises the limit to three descriptors for each session, or to the hard limit. */
static void raise_descriptors(const struct settings *settings)
{
	struct rlimit limit;
	rlim_t wanted = (rlim_t)3 * settings->max_sessions + RESERVED_FDS;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = MIN(wanted, limit.rlim_max);
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int answer_settings(const struct keeper *keeper, int error)
{
	int ruleset_fd = error < 0 ? -1 : sandbox_make_base(keeper->settings, NULL);
	const int fds[2] = { ruleset_fd, ruleset_fd < 0 ? -1 : keeper->public_fd };
	struct channel_answer answer = { .error = MIN(error ?: ruleset_fd, 0) };

	if (error == 0)
		(void)auth_check_writers(keeper->settings, keeper->argc, keeper->argv);
	error = channel_send(keeper->control_fd, &answer, sizeof(answer), fds);
	util_drop(&ruleset_fd);
	return error;
}

static int find_conflict(const struct settings *settings)
{
	const char *conflict = settings->sandbox == SANDBOX_OFF ? "sandbox = off" :
			       settings->tls_client_ca		? "tls-client-ca" :
								  NULL;

	if (conflict)
		log_error("%s cannot be served with a keeper: set keeper = no and a user",
			  conflict);
	return conflict ? -EBADMSG : 0;
}

/* The listener logs a failure. */
static void read_settings_again(struct keeper *keeper)
{
	struct settings *fresh;
	pid_t pid;
	int r = settings_load(keeper->argc, keeper->argv, &fresh);

	if (r == 0) {
		fresh->has_keeper = true;
		r = find_conflict(fresh) ?: auth_prepare(fresh) ?: read_certificates(keeper, fresh);
	}
	if (r < 0) {
		settings_free(fresh);
	} else {
		settings_free(keeper->settings);
		keeper->settings = fresh;
		raise_descriptors(fresh);
	}
	/* A child answers, because NSS may hang while it lists homes. A renewal waits until then:
	 * await_files() would discard it. */
	keeper->look_ms = MAX(keeper->look_ms, util_now_ms() + INT64_C(1000) * RELOAD_S);
	pid = checker_fork(keeper->control_fd, keeper->public_fd);
	if (pid == 0)
		(void)alarm(RELOAD_S);
	if (pid <= 0)
		(void)answer_settings(keeper, pid < 0 ? -EAGAIN : r);
	if (pid == 0)
		_exit(0);
}

static void end_slot(struct keeper *keeper, uint64_t slot)
{
	struct channel_request end = { .type = CHANNEL_END };
	struct kept *kept;

	LIST_FOREACH (kept, &keeper->all, all) {
		/* cppcheck-suppress uninitvar */
		if (kept->begin.slot == slot)
			(void)channel_send(kept->watched[OF_CHANNEL].fd, &end, sizeof(end), NULL);
	}
}

static void handle_control(struct keeper *keeper)
{
	struct channel_request request = { 0 };
	int fds[2];
	ssize_t n = channel_receive(keeper->control_fd, &request, sizeof(request), fds, 0);

	if (n == sizeof(request) && request.type == CHANNEL_BEGIN)
		begin(keeper, &request, fds);
	util_drop(&fds[0]);
	util_drop(&fds[1]);
	if (n == sizeof(request) && request.type == CHANNEL_RELOAD)
		read_settings_again(keeper);
	else if (n == sizeof(request) && request.type == CHANNEL_HANG_UP)
		end_slot(keeper, request.slot);
	if (n == 0 || n == -ECONNRESET) { /* others, such as -ENOMEM, are temporary */
		stop_watching(keeper, &keeper->control_fd);
		keeper->look_ms = INT64_MAX;
	}
}

/* ---- The loop ---- */

/* Does the due steps of all requests. Returns the milliseconds until the next one. */
static int carry_on(struct keeper *keeper)
{
	int64_t now = util_now_ms(), next = INT32_MAX;
	int64_t limit_ms = INT64_C(200) * keeper->settings->login_timeout_s; /* a fifth */
	struct kept *kept, *after;

	for (kept = TAILQ_FIRST(&keeper->busy); kept; kept = after) {
		int64_t due_ms = kept->due_ms;
		/* In a flood of passwords, trusted networks do not wait behind strangers. */
		unsigned most = CHECKERS_MAX + (kept->begin.is_trusted ? CHECKERS_TRUSTED : 0);

		after = TAILQ_NEXT(kept, busy);
		if (kept->state == SIGNING) {
			next = 0;
			continue;
		}
		if (kept->state == WAITING && now >= due_ms && checker_count() < most) {
			int r = checker_start(keeper->settings, &kept->begin, kept->login,
					      kept->account, &kept->checker,
					      &kept->watched[OF_CHECKER].fd);

			r = r ?: watch(keeper, &kept->watched[OF_CHECKER]);
			if (r < 0)
				log_at_rate(keeper, "cannot start a checker: %s", strerror(-r));
			kept->due_ms = due_ms = now + (r < 0 ? 0 : limit_ms);
			set_state(keeper, kept, CHECKING);
		} else if (kept->state == WAITING && now >= due_ms + limit_ms) {
			set_failure(kept, -ETIMEDOUT, "too many accounts are being checked");
			set_state(keeper, kept, ANSWERING);
		}
		if (kept->state == CHECKING && now >= due_ms)
			handle_checker(keeper, kept);
		if (kept->state == ANSWERING && now >= kept->due_ms) {
			send_answer(kept);
			set_state(keeper, kept, IDLE);
		} else {
			next = MIN(next, MAX(kept->due_ms - now, kept->state == WAITING ? 20 : 0));
		}
	}
	/* Reaps killed checkers within a second, because no event reports their end. */
	if (log_report_omitted(&keeper->lines, OMITTED_ABOUT) || checker_count() > 0)
		next = MIN(next, 1000);
	return (int)next;
}

/* The handlers also notice that the peer has closed its end. */
static void handle_event(struct keeper *keeper, struct watch *watched, uint32_t events)
{
	struct kept *kept = watched ? watched->kept : NULL;

	if (!kept)
		handle_control(keeper);
	else if (watched == &kept->watched[OF_CHANNEL])
		handle_channel(keeper, kept);
	else if (watched == &kept->watched[OF_CHECKER])
		handle_checker(keeper, kept);
	else if (!(events & EPOLLIN) || sandbox_answer(watched->fd, &kept->consent))
		end_consent(keeper, kept); /* the talker has ended, or become its account */
}

static int serve_sessions(struct keeper *keeper)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = NULL };
	unsigned events = 0;
	int r = epoll_ctl(keeper->epoll_fd, EPOLL_CTL_ADD, keeper->control_fd, &event);

	if (r < 0)
		return -errno;
	while (keeper->control_fd >= 0 || !LIST_EMPTY(&keeper->all)) {
		if (util_now_ms() >= keeper->look_ms)
			look_at_certificates(keeper);
		r = carry_on(keeper);
		if (keeper->tls && keeper->look_ms != INT64_MAX)
			r = MIN(r, LOOK_MS);
		/* One event at a time: handling it may free what the next one points to. */
		r = epoll_wait(keeper->epoll_fd, &event, 1, r);
		if (r < 0 && errno != EINTR)
			return -errno;
		if (r > 0)
			handle_event(keeper, event.data.ptr, event.events);
		if (r <= 0 || ++events % EVENTS_MAX == 0)
			sign_next(keeper);
	}
	log_hasten_report(&keeper->lines);
	(void)log_report_omitted(&keeper->lines, OMITTED_ABOUT);
	return 0;
}

/* ---- The start ---- */

/* Closes the client's connection, which would otherwise last as long as the keeper. */
static int let_go_of_client(struct listener *listener)
{
	auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct stat in, err;

	if (null < 0 || fstat(STDIN_FILENO, &in) < 0 || fstat(STDERR_FILENO, &err) < 0)
		return -errno;
	if (in.st_dev == err.st_dev && in.st_ino == err.st_ino && dup2(null, STDERR_FILENO) < 0)
		return -errno;
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	listener_close(listener);
	return 0;
}

/* Keepers of single connections share their counts in a file. */
static int open_failures(struct keeper *keeper, bool is_shared)
{
	const struct passwd *user = geteuid() == 0 ? getpwnam(SANDBOX_KEEPER_USER) : NULL;
	auto_fd int fd = -1;
	int r;

	if (is_shared) {
		/* Opened as the file's owner: in the units, root has no CAP_DAC_OVERRIDE. */
		if (user && seteuid(user->pw_uid) < 0)
			return -errno;
		fd = open(FAILURES_FOLDER "/failures", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW,
			  S_IRUSR | S_IWUSR);
		if (user && seteuid(0) < 0)
			return -errno;
	}
	r = is_shared && fd < 0 ? -errno : failures_new(fd, &keeper->failures);
	if (r < 0)
		log_error("cannot count failed logins in %s: %s",
			  is_shared ? FAILURES_FOLDER : "memory", strerror(-r));
	return r < 0 ? -EBADMSG : 0;
}

static int prepare(struct keeper *keeper, struct listener *listener)
{
	/* The keeper stays root so that a checkpassword program can become the user. */
	bool is_root = auth_has_backend(keeper->settings, "checkpassword");
	static const sigset_t none;
	int r = let_go_of_client(listener);

	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGHUP, SIG_IGN); /* the keeper ends after its sessions */
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGTERM, SIG_IGN);
	keeper->look_ms = listener ? 0 : INT64_MAX;
	proctitle_set("keeper");
	raise_descriptors(keeper->settings);
	TAILQ_INIT(&keeper->busy);
	keeper->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (r == 0 && keeper->epoll_fd < 0)
		r = -errno;
	if (r < 0)
		log_error("cannot start the keeper: %s", strerror(-r));
	return r						       ?:
		       auth_prepare(keeper->settings)		       ?:
		       load_tls_module(keeper->settings, &keeper->tls) ?:
		       sandbox_become_keeper(is_root)		       ?:
		       open_failures(keeper, !listener)		       ?:
		       is_root					       ? 0 :
									 sandbox_confine_keeper();
}

int keeper_become(const struct settings *settings)
{
	bool is_root = auth_has_backend(settings, "checkpassword");
	int r = find_conflict(settings) ?: sandbox_test_keeper() ?: sandbox_test_login();
	int keeper_error = sandbox_become_keeper(is_root); /* after an error, too, to log its own */

	if (r < 0 || keeper_error < 0)
		return -EBADMSG;
	return is_root ? 0 : sandbox_confine_keeper();
}

/* Waits for the keeper's answer after its start or a reload. */
static int await_files(int ret_fds[2])
{
	struct channel_answer answer = { .error = -EIO };
	ssize_t n;

	do {
		n = channel_receive(SANDBOX_CONTROL_FD, &answer, sizeof(answer), ret_fds, START_MS);
		if (n == sizeof(answer) && answer.error == 0 && ret_fds[0] >= 0)
			return 0;
		util_drop(&ret_fds[0]);
		util_drop(&ret_fds[1]);
	} while (n == sizeof(struct channel_request)); /* skips CHANNEL_RENEWED */
	if (n == -ETIMEDOUT)
		log_error("the keeper does not answer");
	else if (n > 0 && answer.error != -EBADMSG) /* else the keeper has logged why */
		log_error("the keeper cannot use its settings: %s", strerror(-answer.error));
	return -EBADMSG; /* if n is 0, the keeper has ended after an error in the log */
}

int keeper_start(struct settings *settings, int argc, char *argv[], struct listener *listener,
		 pid_t *ret_pid, int ret_fds[2])
{
	struct keeper keeper = {
		.settings = settings, .argc = argc, .argv = argv, .public_fd = -1
	};
	int pair[2];
	int r = find_conflict(settings) ?: sandbox_test_keeper();

	if (r < 0)
		return -EBADMSG;
	util_make_folder(FAILURES_FOLDER, SANDBOX_KEEPER_USER); /* no talker can open it */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ||
	    dup3(pair[0], SANDBOX_CONTROL_FD, O_CLOEXEC) < 0 || (*ret_pid = fork()) < 0) {
		log_error("cannot start the keeper: %s", strerror(errno));
		return -EBADMSG;
	}
	(void)close(pair[0]);
	if (*ret_pid > 0) {
		(void)close(pair[1]);
		r = await_files(ret_fds);
		if (r < 0)
			(void)kill(*ret_pid, SIGKILL); /* it may hang */
		return r;
	}
	(void)close(SANDBOX_CONTROL_FD);
	keeper.control_fd = pair[1];
	r = prepare(&keeper, listener);
	/* With the same privileges as later renewals. After a failure, STLS is not offered. */
	if (r == 0)
		(void)read_certificates(&keeper, settings);
	r = r ?: answer_settings(&keeper, 0) ?: serve_sessions(&keeper);
	if (r < 0 && r != -EBADMSG && r != -EOPNOTSUPP && r != -EPIPE)
		log_error("the keeper cannot go on: %s", strerror(-r));
	return 1;
}

int keeper_reload(int ret_fds[2])
{
	struct channel_request request = { .type = CHANNEL_RELOAD };
	struct channel_answer late = { 0 };
	int fds[2], r;

	/* Drops answers that came too late for an earlier reload. */
	while (channel_receive(SANDBOX_CONTROL_FD, &late, sizeof(late), fds, 0) > 0) {
		util_drop(&fds[0]);
		util_drop(&fds[1]);
	}
	r = channel_send(SANDBOX_CONTROL_FD, &request, sizeof(request), NULL);
	return r < 0 ? -EBADMSG : await_files(ret_fds);
}

int keeper_take_renewed(void)
{
	struct channel_request request = { 0 };
	int fds[2];
	ssize_t n = channel_receive(SANDBOX_CONTROL_FD, &request, sizeof(request), fds, 0);

	if (n == sizeof(request) && request.type == CHANNEL_RENEWED && fds[0] >= 0)
		return fds[0];
	util_drop(&fds[0]);
	util_drop(&fds[1]);
	return n < 0 ? (int)n : -EIO;
}

int keeper_begin(struct channel_request *begin_request, const int fds[2])
{
	struct pollfd space = { .fd = SANDBOX_CONTROL_FD, .events = POLLOUT };
	int r;

	begin_request->type = CHANNEL_BEGIN;
	do
		r = channel_send(SANDBOX_CONTROL_FD, begin_request, sizeof(*begin_request), fds);
	while (r == -EAGAIN && poll(&space, 1, START_MS) > 0);
	(void)close(fds[0]);
	(void)close(fds[1]);
	(void)close(SANDBOX_CONTROL_FD);
	return r;
}
