/* SPDX-License-Identifier: ISC
 *
 * The listener accepts, limits, forks and reaps, and never reads an octet from a client. It lives
 * as long as the service, so no failure of one connection may end it. */
#include "listener.h"

#include "lib/libsystemd.h"
#include "lib/util.h"
#include "log.h"

#include <assert.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>

#define SOCKETS_MAX 16
/* Sources without a session that are remembered for their failures. */
#define REMEMBERED_MAX (SCOREBOARD_SOURCES - SCOREBOARD_SLOTS)
#define GROWTH 64	    /* of arrays, whose new elements are all 0 */
#define IDLE_MS 5000	    /* without a session; inetd starts us again with the next client */
#define HOLD_MS 500	    /* after fork or accept has failed for lack of resources */
#define TELL_MS 1000	    /* between two counts for systemd, if they differ, or while stopping */
#define TELL_AGAIN_MS 10000 /* if they do not */
#define NEVER INT64_MAX

static_assert(REMEMBERED_MAX % GROWTH == 0, "sources grow up to the last that is remembered");

struct child {
	pid_t pid;     /* 0: the slot is free */
	size_t source; /* its index */
	bool is_refused;
	char peer[sizeof((struct peer){ 0 }.text)];
};

struct listener_source {
	struct in6_addr address;
	unsigned sessions;
};

struct listener {
	int sockets[SOCKETS_MAX]; /* 0, or of LISTEN_FDS; closed when stopping */
	size_t socket_count;
	int signal_fd;
	sigset_t inherited_signals; /* those blocked */
	bool is_inetd, is_stopping;
	bool is_ready; /* and systemd knows */

	struct scoreboard *scoreboard;
	struct child *children; /* the index is the slot on the scoreboard */
	size_t slots;
	struct listener_source *sources; /* the index is that on the scoreboard */
	size_t source_count, next_victim;
	unsigned sessions, refusals;

	int64_t held_until_ms, idle_since_ms, told_ms; /* monotonic */
	int64_t next_watch_ms, watch_every_ms;	       /* NEVER: no watchdog */
	bool has_changed;			       /* since told_ms */
};

/* ---- What was inherited ---- */

/* Returns 1 for a stream socket that listens, 0 for a connected one, or a negative errno. */
static int is_listening(int fd)
{
	int listening = 0, type = 0;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) < 0)
		return -errno;
	return type == SOCK_STREAM ? listening : -EINVAL;
}

static int move_client(int fd)
{
	if (dup2(fd, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

/* Non-blocking, since another process may take the connection between poll and accept. */
static int add_socket(struct listener *listener, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (listener->socket_count == SOCKETS_MAX)
		return -EINVAL;
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	listener->sockets[listener->socket_count++] = fd;
	return 0;
}

/* Under inetd the listening socket is standard output and standard error as well. */
static int take_inetd_socket(struct listener *listener)
{
	auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    (is_listening(STDERR_FILENO) == 1 && dup2(null, STDERR_FILENO) < 0))
		return -errno;
	listener->is_inetd = true;
	return add_socket(listener, STDIN_FILENO);
}

static int take_sockets(struct listener *listener, int passed)
{
	int r = passed == 0 ? take_inetd_socket(listener) : 0;

	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + passed && r == 0; fd++)
		r = is_listening(fd) == 1 ? add_socket(listener, fd) : -EINVAL;
	return r;
}

/* Signals are read from a descriptor, one at a time, beside connections. */
static int catch_signals(struct listener *listener)
{
	sigset_t signals;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, &listener->inherited_signals) < 0)
		return -errno;
	listener->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return listener->signal_fd < 0 ? -errno : 0;
}

static int open_listener(struct listener *listener, int passed)
{
	uint64_t watchdog_us = libsystemd_watchdog_us();
	int r = take_sockets(listener, passed);

	if (r == 0)
		r = scoreboard_new(&listener->scoreboard);
	if (r == 0)
		r = catch_signals(listener);
	listener->watch_every_ms = (int64_t)(watchdog_us / 2000);
	listener->next_watch_ms = watchdog_us > 0 ? 0 : NEVER;
	listener->idle_since_ms = util_now_ms();
	return r;
}

int listener_inherit(struct listener **ret)
{
	struct listener *listener;
	int passed = libsystemd_listen_fds();
	int r;

	*ret = NULL;
	if (passed < 0)
		return passed;
	if (passed == 1 && is_listening(SD_LISTEN_FDS_START) == 0)
		return move_client(SD_LISTEN_FDS_START);
	if (passed == 0 && is_listening(STDIN_FILENO) != 1)
		return 0;
	listener = calloc(1, sizeof(*listener));
	if (!listener)
		return -ENOMEM;
	listener->signal_fd = -1;
	r = open_listener(listener, passed);
	if (r < 0)
		listener_free(listener);
	else
		*ret = listener;
	return r;
}

void listener_free(struct listener *listener)
{
	if (listener) {
		util_close(&listener->signal_fd);
		scoreboard_free(listener->scoreboard);
		free(listener->children);
		free(listener->sources);
		free(listener);
	}
}

/* ---- Sources ---- */

/* Finds an entry for a new source: one that can be forgotten, or a fresh one; else evicts
 * round-robin, so that nobody can choose the victim. */
static int find_source_entry(struct listener *listener, size_t *ret_source)
{
	size_t count = listener->source_count, source = 0;
	struct listener_source *longer;

	while (source < count && (listener->sources[source].sessions > 0 ||
				  scoreboard_has_failures(listener->scoreboard, source)))
		source++;
	if (source == count && count >= listener->slots + REMEMBERED_MAX) {
		assert(count > listener->sessions);
		do
			listener->next_victim = (listener->next_victim + 1) % count;
		while (listener->sources[listener->next_victim].sessions > 0);
		source = listener->next_victim;
	} else if (source == count) {
		longer = reallocarray(listener->sources, count + GROWTH, sizeof(*longer));
		if (!longer)
			return -ENOMEM;
		memset(longer + count, 0, GROWTH * sizeof(*longer));
		listener->sources = longer;
		listener->source_count += GROWTH;
	}
	*ret_source = source;
	return 0;
}

static int find_source(struct listener *listener, const struct in6_addr *address,
		       size_t *ret_source)
{
	int r;

	for (size_t i = 0; i < listener->source_count; i++) {
		if (IN6_ARE_ADDR_EQUAL(&listener->sources[i].address, address)) {
			*ret_source = i;
			return 0;
		}
	}
	r = find_source_entry(listener, ret_source);
	if (r < 0)
		return r;
	listener->sources[*ret_source] = (struct listener_source){ .address = *address };
	scoreboard_forget(listener->scoreboard, *ret_source);
	return 0;
}

/* ---- Children ---- */

static int find_slot(struct listener *listener, size_t *ret_slot)
{
	size_t slot = 0;
	struct child *longer;

	while (slot < listener->slots && listener->children[slot].pid != 0)
		slot++;
	if (slot == listener->slots) {
		if (slot + GROWTH > SCOREBOARD_SLOTS)
			return -EAGAIN;
		longer = reallocarray(listener->children, slot + GROWTH, sizeof(*longer));
		if (!longer)
			return -ENOMEM;
		memset(longer + slot, 0, GROWTH * sizeof(*longer));
		listener->children = longer;
		listener->slots += GROWTH;
	}
	*ret_slot = slot;
	return 0;
}

static void note_start(struct listener *listener, const struct child *child, size_t slot)
{
	listener->children[slot] = *child;
	if (child->is_refused) {
		listener->refusals++;
		return;
	}
	listener->sessions++;
	listener->sources[child->source].sessions++;
	listener->has_changed = true;
}

/* A crash counts as several failures: it tells about addresses, which all sessions share. */
static void note_crash(struct listener *listener, const struct child *child, int signal_number)
{
	char number[12];
	const struct log_field fields[] = { { "POP3_PEER", child->peer },
					    { "POP3_SIGNAL", number },
					    { 0 } };

	(void)snprintf(number, sizeof(number), "%d", signal_number);
	log_event(LOG_EVENT_SESSION_CRASHED, fields,
		  "session from %s (process %d) was killed by signal %d (%s)", child->peer,
		  (int)child->pid, signal_number, strsignal(signal_number));
	for (int i = 0; i < SCOREBOARD_FREE_FAILURES; i++)
		scoreboard_add_failure(listener->scoreboard, child->source);
}

static void note_child_end(struct listener *listener, size_t slot, int status)
{
	struct child *child = &listener->children[slot];

	if (WIFSIGNALED(status) && WTERMSIG(status) != SIGTERM)
		note_crash(listener, child, WTERMSIG(status));
	if (child->is_refused) {
		listener->refusals--;
	} else {
		listener->sessions--;
		listener->sources[child->source].sessions--;
		listener->has_changed = true;
	}
	scoreboard_end(listener->scoreboard, slot);
	child->pid = 0;
	listener->idle_since_ms = util_now_ms();
}

static void reap(struct listener *listener)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (size_t i = 0; i < listener->slots; i++) {
			if (listener->children[i].pid == pid)
				note_child_end(listener, i, status);
		}
	}
}

/* The new process keeps nothing of the listener but the scoreboard. */
static int become_session(struct listener *listener, int fd)
{
	for (size_t i = 0; i < listener->socket_count; i++)
		(void)close(listener->sockets[i]);
	util_drop(&listener->signal_fd);
	(void)signal(SIGHUP, SIG_IGN); /* one that is sent to all processes is for the listener */
	(void)sigprocmask(SIG_SETMASK, &listener->inherited_signals, NULL);
	return move_client(fd);
}

/* ---- Connections ---- */

/* Logs and returns why a client cannot be served; NULL: it can. */
static const char *find_refusal(const struct listener *listener,
				const struct listener_limits *limits, const struct peer *peer,
				size_t source)
{
	const struct log_field fields[] = { { "POP3_PEER", peer->text }, { 0 } };

	if (listener->sessions >= limits->sessions) {
		log_event(LOG_EVENT_CONNECTION_REFUSED, fields,
			  "connection from %s refused: max-sessions = %u", peer->text,
			  limits->sessions);
		return "too many sessions, try again later";
	}
	if (listener->sources[source].sessions >= limits->sessions_per_source) {
		log_event(LOG_EVENT_CONNECTION_REFUSED, fields,
			  "connection from %s refused: max-sessions-per-source = %u", peer->text,
			  limits->sessions_per_source);
		return "too many sessions from your address, try again later";
	}
	return NULL;
}

/* Pauses for lack of resources: retries at once would cost CPU, too. */
static void hold(struct listener *listener, const char *what, int error)
{
	log_error("cannot %s: %s", what, strerror(-error));
	listener->held_until_ms = util_now_ms() + HOLD_MS;
}

/* Serves one connection in a new process. Returns 1 there, and here 0, or a failure. */
static int serve_connection(struct listener *listener, const struct listener_limits *limits, int fd,
			    struct listener_session *ret_session)
{
	struct child child = { 0 };
	struct peer peer;
	const char *refusal;
	size_t slot;
	int r;

	peer_of_socket(fd, &peer);
	memcpy(child.peer, peer.text, sizeof(child.peer));
	r = find_slot(listener, &slot);
	if (r == 0)
		r = find_source(listener, &peer.source, &child.source);
	if (r < 0)
		return r;
	refusal = find_refusal(listener, limits, &peer, child.source);
	child.is_refused = refusal != NULL;
	if (child.is_refused && listener->refusals == LISTENER_REFUSALS_MAX)
		return 0;
	scoreboard_begin(listener->scoreboard, slot);
	child.pid = fork();
	if (child.pid < 0) {
		r = -errno;
		scoreboard_end(listener->scoreboard, slot);
		return r;
	}
	if (child.pid > 0) {
		note_start(listener, &child, slot);
		return 0;
	}
	*ret_session = (struct listener_session){
		.peer = peer,
		.slot_ref = { listener->scoreboard, slot, child.source },
		.refusal = refusal,
	};
	return 1;
}

/* Whether a failure of accept4(2) concerns one connection only (EPERM: a firewall's rule). */
static bool is_of_connection(int error)
{
	static const int errors[] = { EAGAIN,	    EINTR,	ECONNABORTED, EHOSTDOWN,
				      EHOSTUNREACH, ENETDOWN,	ENETUNREACH,  ENONET,
				      ENOPROTOOPT,  EOPNOTSUPP, EPERM,	      EPROTO };

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		if (error == -errors[i])
			return true;
	}
	return false;
}

/* Accepts one connection. Returns 1 in the process that serves it, 0 here, or there a failure. */
static int accept_one(struct listener *listener, const struct listener_limits *limits, int socket,
		      struct listener_session *ret_session)
{
	auto_fd int fd = accept4(socket, NULL, NULL, SOCK_CLOEXEC);
	int r;

	if (fd < 0) {
		r = -errno;
		if (!is_of_connection(r))
			hold(listener, "accept connections", r);
		return 0;
	}
	r = serve_connection(listener, limits, fd, ret_session);
	if (r < 0)
		hold(listener, "start a session", r);
	if (r <= 0)
		return 0;
	r = become_session(listener, take_fd(&fd));
	return r < 0 ? r : 1;
}

/* ---- systemd ---- */

static void tell_sessions(struct listener *listener)
{
	unsigned asleep = 0;

	for (size_t i = 0; i < listener->slots; i++)
		asleep += scoreboard_state(listener->scoreboard, i) == SCOREBOARD_ASLEEP;
	libsystemd_notify("STATUS=%s%u sessions, %u asleep",
			  listener->is_stopping ? "Stopping: " : "", listener->sessions, asleep);
	listener->told_ms = util_now_ms();
	listener->has_changed = false;
}

/* ---- Waiting ---- */

static bool is_held(const struct listener *listener)
{
	return listener->held_until_ms > util_now_ms();
}

static bool is_empty(const struct listener *listener)
{
	return listener->sessions == 0 && listener->refusals == 0;
}

/* Sessions fall asleep without the listener: so it tells their number again. */
static int64_t next_tell_ms(const struct listener *listener)
{
	if (listener->has_changed || listener->is_stopping)
		return listener->told_ms + TELL_MS;
	return listener->sessions > 0 ? listener->told_ms + TELL_AGAIN_MS : NEVER;
}

static int64_t next_end_ms(const struct listener *listener)
{
	return listener->is_inetd && is_empty(listener) ? listener->idle_since_ms + IDLE_MS : NEVER;
}

/* Sessions that sleep or have not logged in have nothing to lose. The others may end their work. */
static void end_idle_sessions(const struct listener *listener)
{
	for (size_t i = 0; i < listener->slots; i++) {
		if (listener->children[i].pid != 0 &&
		    scoreboard_state(listener->scoreboard, i) != SCOREBOARD_AWAKE)
			(void)kill(listener->children[i].pid, SIGTERM);
	}
}

static void do_what_is_due(struct listener *listener)
{
	int64_t now = util_now_ms();

	if (now >= listener->next_watch_ms) {
		libsystemd_notify("WATCHDOG=1");
		listener->next_watch_ms = now + listener->watch_every_ms;
	}
	if (now >= next_tell_ms(listener)) {
		if (listener->is_stopping)
			end_idle_sessions(listener);
		tell_sessions(listener);
	}
}

/* The timeout for poll(2). */
static int wait_ms(const struct listener *listener)
{
	const int64_t times[] = {
		listener->next_watch_ms,
		next_tell_ms(listener),
		next_end_ms(listener),
		is_held(listener) ? listener->held_until_ms : NEVER,
	};
	int64_t first = NEVER, wait;

	for (size_t i = 0; i < ARRAY_SIZE(times); i++)
		first = times[i] < first ? times[i] : first;
	wait = first - util_now_ms();
	return wait < 0 ? 0 : wait > INT32_MAX ? INT32_MAX : (int)wait;
}

/* Connections to sockets that systemd holds wait for the next process. */
static void stop(struct listener *listener)
{
	for (size_t i = 0; i < listener->socket_count; i++)
		(void)close(listener->sockets[i]);
	listener->socket_count = 0;
	listener->is_stopping = true;
	libsystemd_notify("STOPPING=1");
	end_idle_sessions(listener);
	tell_sessions(listener);
}

/* Returns whether the settings are to be read again. */
static bool handle_signal(struct listener *listener)
{
	struct signalfd_siginfo info;

	if (read(listener->signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	if (info.ssi_signo == SIGHUP) {
		libsystemd_notify("RELOADING=1\nMONOTONIC_USEC=%" PRId64, util_now_ms() * 1000);
		listener->is_ready = false;
		return true;
	}
	if (info.ssi_signo == SIGCHLD)
		reap(listener);
	else
		stop(listener);
	return false;
}

/* Waits once and acts. Returns 1 if *ret_event is set, 0 if not, or a failure. */
static int go_round(struct listener *listener, const struct listener_limits *limits,
		    enum listener_event *ret_event, struct listener_session *ret_session)
{
	struct pollfd polled[1 + SOCKETS_MAX] = { { .fd = listener->signal_fd, .events = POLLIN } };
	size_t count = is_held(listener) ? 0 : listener->socket_count;

	for (size_t i = 0; i < count; i++)
		polled[1 + i] = (struct pollfd){ .fd = listener->sockets[i], .events = POLLIN };
	if (poll(polled, 1 + count, wait_ms(listener)) < 0)
		return errno == EINTR ? 0 : -errno;
	do_what_is_due(listener);
	if (polled[0].revents && handle_signal(listener)) {
		*ret_event = LISTENER_RELOAD;
		return 1;
	}
	*ret_event = LISTENER_SESSION;
	for (size_t i = 0; i < count && i < listener->socket_count; i++) {
		int r = polled[1 + i].revents ?
				accept_one(listener, limits, listener->sockets[i], ret_session) :
				0;

		if (r != 0)
			return r;
	}
	*ret_event = LISTENER_END;
	if (listener->is_stopping)
		return is_empty(listener);
	return util_now_ms() >= next_end_ms(listener);
}

int listener_next(struct listener *listener, const struct listener_limits *limits,
		  enum listener_event *ret_event, struct listener_session *ret_session)
{
	int r = 0;

	if (!listener->is_ready) {
		libsystemd_notify("READY=1");
		listener->is_ready = true;
		tell_sessions(listener);
	}
	while (r == 0)
		r = go_round(listener, limits, ret_event, ret_session);
	return r < 0 ? r : 0;
}
