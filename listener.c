/* SPDX-License-Identifier: ISC
 * Opens the log and the sockets, accepts connections, forks and reaps sessions, and ends those that
 * are past a deadline. Never reads an octet from a client, before login or later. Sessions can
 * write to the scoreboard, so a state there only decides which limits and deadlines apply.
 * - The listener lives as long as the service, so no failure of one connection may end it. When
 *   resources are short, it stops accepting for a while.
 * - What it knows about clients is in memory that no session inherits (struct client_tables). */
#include "listener.h"

#include "channel.h"
#include "failures.h"
#include "lib/libsystemd.h"
#include "lib/util.h"
#include "log.h"
#include "sandbox.h"
#include "settings.h"
#include "tls.h"

#include <assert.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <systemd/sd-daemon.h>
#include <xxhash.h>

#define TICKET_KEY_LIFETIME_MS 86400000
#define IDLE_MS 5000	     /* without a session; inetd starts it again for the next client */
#define HOLD_MS 500	     /* pause after fork or accept has failed for lack of resources */
#define LOOK_MS 1000	     /* between two looks at the scoreboard, if a session has a deadline */
#define LOOK_AGAIN_MS 10000  /* else: the listener is not told that a session falls asleep */
#define FILES_MS 1000	     /* between two checks for renewed certificates */
#define LOGIN_GRACE_MS 10000 /* after login-timeout: a login may wait for a lock and a listing */
#define EVICT_GRACE_MS 1000
#define STOP_GRACE_MS 30000
#define KEEPER_GRACE_MS 2000 /* to refuse clients, before the listener ends without a keeper */
#define STACK_OCTETS 16384   /* more than a log line needs */
#define REFUSALS_MAX 64	     /* sessions reserved for telling clients why they are refused */
#define EVICTED_MAX 64	     /* evicted sessions that have not ended yet */
#define NETWORKS 65536
#define SOURCE_TRIES 64
#define STRANGER_NICE 10
#define NEVER INT64_MAX

/* Clients back off after a crash, twice as long after each, until crashes are forgotten: all
 * sessions have the same memory layout, so each crash can tell an attacker more about it. */
#define CRASH_WAIT_MS 1000
#define CRASH_WAIT_MAX_MS 60000
#define CRASH_FORGET_MS 600000
#define CRASHES_MAX 10 /* within a minute, from all sources: guessing a canary takes hundreds */

static_assert(SETTINGS_SESSIONS_MAX + REFUSALS_MAX + EVICTED_MAX <= SCOREBOARD_SLOTS,
	      "all sessions that may be allowed have a slot");

/* How far the listener has got in ending a child. SIGTERM and evictions do not count. */
enum child_end {
	CHILD_RUNS,
	CHILD_ASKED,  /* by the keeper, because the listener may not signal it */
	CHILD_KILLED, /* and can only be reaped */
	CHILD_LEFT,   /* has not done what the keeper asked; the listener does not wait for it */
};

struct child {
	pid_t pid;		   /* 0: the slot is free */
	size_t source;		   /* index into `sources` */
	uint16_t network;	   /* a digest: networks with the same digest count as one */
	int64_t start_ms, kill_ms; /* monotonic; kill_ms: the deadline until login */
	bool is_refused, is_trusted, has_logged_in, is_evicted;
	enum child_end end;
	struct peer peer;
};

/* A wait after crashes, of one source or of all: only trusted networks are served. */
struct crash_wait {
	int64_t last_ms, end_ms; /* monotonic: of the last crash; of the wait */
	int64_t wait_ms;	 /* its length; 0: none */
};

struct listener_source {
	struct in6_addr address;
	unsigned sessions;
	struct crash_wait crash_wait;
};

/* Facts about other clients. No session inherits them (MADV_DONTFORK). */
struct client_tables {
	struct child children[SCOREBOARD_SLOTS]; /* the index is the slot on the scoreboard */
	struct listener_source sources[SCOREBOARD_SOURCES]; /* the index is that of the quota */
	unsigned by_network[NETWORKS]; /* strangers; scratch space of find_victim() */
	/* Of digests of networks. Secret: else an attacker could compute which other network shares
	 * the count of a victim's, and connect from there to have the victim evicted. */
	uint64_t seed;
};

/* What poll(2) watches. */
enum { SIGNALS, KEEPER, FIRST_SOCKET };

struct listener {
	struct pollfd polled[FIRST_SOCKET + SETTINGS_SOCKETS_MAX];
	size_t polled_count;
	bool is_inetd; /* inetd's "wait": it starts the program again for the next client */
	bool is_stopping;

	struct scoreboard *scoreboard;
	struct failures *failures; /* NULL: the keeper counts them */
	struct client_tables *tables;
	size_t slots, source_count; /* used so far */
	size_t next_source;	    /* the last candidate for reuse */
	unsigned sessions, refusals, evicted, asleep, left;
	pid_t keeper;	       /* 0: none */
	int64_t keeper_end_ms; /* when the listener may end because the keeper has; or NEVER */
	unsigned strangers;    /* some may have logged in since the last look */

	struct crash_wait crash_wait;
	int64_t crash_minute_ms;
	unsigned crashes; /* in this minute */

	int64_t held_until_ms, idle_since_ms, stop_end_ms; /* monotonic, or NEVER */
	int64_t next_watch_ms, watch_every_ms;		   /* NEVER: no watchdog */
	int64_t next_look_ms;				   /* NEVER: nothing to look at */
	int64_t next_files_ms;				   /* NEVER: the keeper checks them */
	int64_t next_ticket_key_ms;
	unsigned char ticket_key[TLS_TICKET_KEY_OCTETS];
	uint64_t told; /* what tell_sessions() has told systemd */
};

/* ---- The sockets ---- */

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

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	listener->polled[listener->polled_count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
	return 0;
}

static int take_passed(struct listener *listener, int passed)
{
	int r = passed < 0 ? passed : passed > SETTINGS_SOCKETS_MAX ? -E2BIG : 0;

	if (passed == 1 && is_listening(SD_LISTEN_FDS_START) == 0)
		return move_client(SD_LISTEN_FDS_START);
	for (int fd = SD_LISTEN_FDS_START; fd < SD_LISTEN_FDS_START + passed && r == 0; fd++)
		r = is_listening(fd) == 1 ? add_socket(listener, fd) : -EINVAL;
	if (passed == 0 && is_listening(STDIN_FILENO) == 1) {
		/* inetd has put the socket on descriptors 1 and 2, too. */
		auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

		if (null < 0 || dup2(null, STDOUT_FILENO) < 0 ||
		    (is_listening(STDERR_FILENO) == 1 && dup2(null, STDERR_FILENO) < 0))
			return -errno;
		listener->is_inetd = true;
		r = add_socket(listener, STDIN_FILENO);
	}
	return r;
}

static int open_socket(struct listener *listener, const char *text)
{
	static const int on = 1, off = 0;
	union peer_endpoint endpoint;
	auto_fd int fd = -1;

	(void)settings_parse_endpoint(text, &endpoint); /* valid: the settings have checked it */
	fd = socket(endpoint.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)); /* fails for IPv4 */
	if (bind(fd, &endpoint.any, sizeof(endpoint)) < 0 || listen(fd, SOMAXCONN) < 0)
		return -errno;
	return add_socket(listener, take_fd(&fd));
}

static int open_sockets(struct listener *listener, char *const *endpoints, int passed)
{
	int r = 0, domain = AF_UNIX; /* a Unix socket on 0 is ignored, as it may be sshd's */
	socklen_t size = sizeof(domain);

	log_open(!endpoints && passed == 0 && is_listening(STDIN_FILENO) != 1);
	(void)getsockopt(STDIN_FILENO, SOL_SOCKET, SO_DOMAIN, &domain, &size);
	if (endpoints && (passed != 0 || domain != AF_UNIX)) {
		log_error("listen = %s, but a socket was passed, too", *endpoints);
		return -EBADMSG;
	}
	for (size_t i = 0; endpoints && endpoints[i] && r == 0; i++) {
		r = open_socket(listener, endpoints[i]);
		if (r < 0)
			log_error("cannot listen on %s: %s", endpoints[i], strerror(-r));
	}
	if (endpoints)
		return r;
	r = take_passed(listener, passed);
	if (r < 0)
		log_error("cannot use the sockets that were passed: %s",
			  r == -E2BIG ? "there are more than 16" : strerror(-r));
	return r;
}

/* If a reader of standard output stalls, it misses lines. */
static void announce_sockets(const struct listener *listener, char *const *endpoints)
{
	struct pollfd output = { .fd = STDOUT_FILENO, .events = POLLOUT };

	for (size_t i = 0; endpoints && FIRST_SOCKET + i < listener->polled_count; i++) {
		union peer_endpoint endpoint = { 0 };
		socklen_t size = sizeof(endpoint);
		int octets = (int)(strrchr(endpoints[i], ':') - endpoints[i]);

		(void)getsockname(listener->polled[FIRST_SOCKET + i].fd, &endpoint.any, &size);
		if (poll(&output, 1, 0) > 0)
			(void)dprintf(STDOUT_FILENO, "listening on %.*s:%u\n", octets, endpoints[i],
				      ntohs(endpoint.in.sin_port));
	}
}

static void close_sockets(struct listener *listener)
{
	while (listener->polled_count > FIRST_SOCKET)
		(void)close(listener->polled[--listener->polled_count].fd);
}

/* ---- The start ---- */

/* Makes poll(2) wait for signals, too. */
static int catch_signals(struct listener *listener)
{
	sigset_t signals;

	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGCHLD);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGTERM);
	if (sigprocmask(SIG_BLOCK, &signals, NULL) < 0)
		return -errno;
	listener->polled[SIGNALS].fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	return listener->polled[SIGNALS].fd < 0 ? -errno : 0;
}

/* After an error the old key stays. */
static int change_ticket_key(struct listener *listener)
{
	listener->next_ticket_key_ms = util_now_ms() + TICKET_KEY_LIFETIME_MS;
	return getrandom(listener->ticket_key, TLS_TICKET_KEY_OCTETS, 0) < 0 ? -errno : 0;
}

void listener_close(struct listener *listener)
{
	if (!listener)
		return;
	close_sockets(listener);
	util_drop(&listener->polled[SIGNALS].fd);
}

void listener_watch_keeper(struct listener *listener, pid_t keeper)
{
	listener->keeper = keeper;
	listener->polled[KEEPER].fd = SANDBOX_CONTROL_FD;
}

unsigned char *listener_ticket_key(struct listener *listener)
{
	return listener ? listener->ticket_key : NULL;
}

int listener_open(const struct settings *settings, int passed, struct listener **ret)
{
	static struct listener listener = {
		.polled = { [SIGNALS] = { -1, POLLIN, 0 }, [KEEPER] = { -1, POLLIN, 0 } },
		.polled_count = FIRST_SOCKET,
		.keeper_end_ms = NEVER,
		.held_until_ms = NEVER,
		.stop_end_ms = NEVER,
		.next_watch_ms = NEVER,
		.next_look_ms = NEVER,
		.told = UINT64_MAX
	};
	int r = open_sockets(&listener, settings->listen, passed);

	if (r < 0 || listener.polled_count == FIRST_SOCKET)
		return r;
	*ret = &listener;
	listener.idle_since_ms = util_now_ms();
	listener.watch_every_ms = (int64_t)(libsystemd_watchdog_us() / 2000);
	if (listener.watch_every_ms > 0)
		listener.next_watch_ms = 0;
	listener.tables = mmap(NULL, sizeof(*listener.tables), PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (listener.tables == MAP_FAILED ||
	    madvise(listener.tables, sizeof(*listener.tables), MADV_DONTFORK) < 0 ||
	    getrandom(&listener.tables->seed, sizeof(listener.tables->seed), 0) < 0)
		r = -errno;
	r = r								       ?:
		    scoreboard_new(settings->has_keeper, &listener.scoreboard) ?:
		    change_ticket_key(&listener)			       ?:
		    catch_signals(&listener);
	if (r == 0 && !settings->has_keeper)
		r = failures_new(-1, &listener.failures);
	if (r < 0)
		log_error("cannot listen: %s", strerror(-r));
	return r;
}

/* ---- Crashes ---- */

/* The quota of log lines that a client causes; NULL: they are not limited. */
static struct log_quota *source_quota(struct listener *listener, const struct child *child)
{
	return child->is_trusted ? NULL : scoreboard_quota(listener->scoreboard, child->source);
}

/* Notes a crash. Returns whether a new wait begins. */
static bool lengthen_wait(struct crash_wait *wait, int64_t now)
{
	if (now - wait->last_ms >= CRASH_FORGET_MS)
		wait->wait_ms = 0;
	wait->last_ms = now;
	if (now < wait->end_ms)
		return false;
	wait->wait_ms = MIN(MAX(2 * wait->wait_ms, CRASH_WAIT_MS), CRASH_WAIT_MAX_MS);
	wait->end_ms = now + wait->wait_ms;
	return true;
}

/* Makes the source wait; after too many crashes, all sources but those of trusted networks. */
static void note_crash(struct listener *listener, const struct child *child, const siginfo_t *end)
{
	int64_t now = util_now_ms();
	char number[12];
	const struct log_field fields[] = { { "POP3_PEER", child->peer.text },
					    { "POP3_SIGNAL", number },
					    { 0 } };

	(void)snprintf(number, sizeof(number), "%d", end->si_status);
	if (end->si_code != CLD_EXITED) /* else the session has logged what happened */
		log_event_about(source_quota(listener, child), LOG_EVENT_SESSION_CRASHED, fields,
				"session from %s (process %d) was killed by signal %d (%s)",
				child->peer.text, (int)child->pid, end->si_status,
				strsignal(end->si_status));
	(void)lengthen_wait(&listener->tables->sources[child->source].crash_wait, now);
	/* The user that the process ran as may have ended it, to make others wait. */
	if (end->si_uid != getuid())
		return;
	if (now - listener->crash_minute_ms >= 60000) {
		listener->crash_minute_ms = now;
		listener->crashes = 0;
	}
	if (++listener->crashes <= CRASHES_MAX)
		return;
	listener->crashes = 0;
	if (lengthen_wait(&listener->crash_wait, now))
		log_event(LOG_EVENT_CRASHES, NULL,
			  "more than %d sessions crashed within a minute, which may be an attack: "
			  "for %d seconds only clients of trusted-networks are served",
			  CRASHES_MAX, (int)(listener->crash_wait.wait_ms / 1000));
}

/* ---- Sources ---- */

/* Logs how many lines about a source were omitted. Returns whether some are left to report. */
static bool report_omitted(struct listener *listener, size_t source)
{
	struct log_quota *quota = scoreboard_quota(listener->scoreboard, source);
	char text[INET6_ADDRSTRLEN + sizeof("/64")];
	struct peer peer;

	if (quota->report_s == 0)
		return false;
	peer_of_address(&listener->tables->sources[source].address, &peer);
	if (IN6_IS_ADDR_UNSPECIFIED(&peer.address)) /* a Unix socket, or ::1 */
		return log_report_omitted(quota, "local");
	(void)snprintf(text, sizeof(text), "%s%s", peer.text,
		       IN6_IS_ADDR_V4MAPPED(&peer.address) ? "" : "/64"); /* PEER_SOURCE_BITS */
	return log_report_omitted(quota, text);
}

/* Reports all omitted lines before the listener ends. */
static void report_all(struct listener *listener)
{
	for (size_t i = 0; i < listener->source_count; i++) {
		log_hasten_report(scoreboard_quota(listener->scoreboard, i));
		(void)report_omitted(listener, i);
	}
}

static bool is_source_needed(struct listener *listener, size_t source)
{
	const struct listener_source *entry = &listener->tables->sources[source];
	const struct crash_wait *wait = &entry->crash_wait;

	return entry->sessions > 0 ||
	       (wait->wait_ms > 0 && util_now_ms() - wait->last_ms < CRASH_FORGET_MS) ||
	       scoreboard_quota(listener->scoreboard, source)->next_s > util_now_s() ||
	       report_omitted(listener, source);
}

/* Finds an entry for a new source: one of the next few that can be forgotten, else a fresh one;
 * else reuses one, round-robin, so that no client can choose which. */
static size_t find_source_entry(struct listener *listener)
{
	size_t *next = &listener->next_source;

	for (int tries = 0; tries < SOURCE_TRIES && listener->source_count > 0; tries++) {
		*next = (*next + 1) % listener->source_count;
		if (!is_source_needed(listener, *next))
			return *next;
	}
	if (listener->source_count < SCOREBOARD_SOURCES)
		return listener->source_count++;
	while (listener->tables->sources[*next].sessions > 0)
		*next = (*next + 1) % SCOREBOARD_SOURCES;
	return *next;
}

static size_t find_source(struct listener *listener, struct in6_addr address)
{
	struct listener_source *sources = listener->tables->sources;
	size_t source;

	peer_cut_address(&address, PEER_SOURCE_BITS);
	for (size_t i = 0; i < listener->source_count; i++) {
		if (IN6_ARE_ADDR_EQUAL(&sources[i].address, &address))
			return i;
	}
	source = find_source_entry(listener);
	sources[source] = (struct listener_source){ .address = address };
	*scoreboard_quota(listener->scoreboard, source) = (struct log_quota){ 0 };
	return source;
}

/* ---- Children ---- */

static size_t find_slot(struct listener *listener)
{
	size_t slot = 0;

	while (slot < listener->slots && listener->tables->children[slot].pid != 0)
		slot++;
	assert(slot < SCOREBOARD_SLOTS); /* the limits are lower */
	listener->slots += slot == listener->slots;
	return slot;
}

/* Refused and evicted sessions have limits of their own. One that is left cannot be evicted. */
static bool is_stranger(const struct child *child)
{
	return child->pid != 0 && !child->is_refused && !child->is_trusted &&
	       !child->has_logged_in && !child->is_evicted && child->end != CHILD_LEFT;
}

/* Counts a child that begins (1) or has ended (-1). */
static void count_child(struct listener *listener, const struct child *child, int step)
{
	listener->next_look_ms = MIN(listener->next_look_ms, util_now_ms() + LOOK_MS);
	if (child->is_refused) {
		listener->refusals += (unsigned)step;
		return;
	}
	listener->sessions += (unsigned)step;
	listener->strangers += is_stranger(child) ? (unsigned)step : 0;
	listener->tables->sources[child->source].sessions += (unsigned)step;
}

/* Whether a session was killed, or its exit status says that its checker has crashed. */
static bool is_crash(const siginfo_t *end)
{
	if (end->si_code == CLD_EXITED)
		return end->si_status == EX_SOFTWARE;
	return end->si_status != SIGTERM && end->si_status != SIGINT;
}

static void note_child_end(struct listener *listener, size_t slot, const siginfo_t *end)
{
	struct child *child = &listener->tables->children[slot];

	if (is_crash(end) && child->end < CHILD_KILLED)
		note_crash(listener, child, end);
	count_child(listener, child, -1);
	listener->evicted -= child->is_evicted;
	listener->left -= child->end == CHILD_LEFT;
	scoreboard_set(listener->scoreboard, slot, SCOREBOARD_FREE);
	child->pid = 0;
	listener->idle_since_ms = util_now_ms();
}

static void reap(struct listener *listener)
{
	siginfo_t end = { 0 };

	while (waitid(P_ALL, 0, &end, WEXITED | WNOHANG) == 0 && end.si_pid > 0) {
		/* Only a restart of the service makes a new keeper: see end_ms(). */
		if (end.si_pid == listener->keeper) {
			log_error(
				"the keeper has ended (%s): nobody can log in, so the service ends",
				end.si_code == CLD_EXITED ? "by itself" : strsignal(end.si_status));
			listener->keeper = 0;
			listener->keeper_end_ms = util_now_ms() + KEEPER_GRACE_MS;
		}
		for (size_t i = 0; i < listener->slots; i++) {
			if (listener->tables->children[i].pid == end.si_pid)
				note_child_end(listener, i, &end);
		}
	}
}

/* ---- Sessions that must end ---- */

/* Sends a signal. If that is denied, because the session runs as its user, has the keeper ask the
 * session to end. Returns whether the signal was sent. */
static bool end_child(struct listener *listener, struct child *child, int signal_number)
{
	struct channel_request request = { .type = CHANNEL_HANG_UP,
					   .slot = (uint64_t)(child - listener->tables->children) };

	if (kill(child->pid, signal_number) == 0)
		return true;
	/* A failure means that the keeper is busy: the next look at the children tries again. */
	if (listener->keeper != 0 &&
	    channel_send(SANDBOX_CONTROL_FD, &request, sizeof(request), NULL) == 0 &&
	    child->end == CHILD_RUNS)
		child->end = CHILD_ASKED;
	return false;
}

/* Kills a session that does not end by itself: it may be stopped, or compromised. If that is
 * denied, the keeper asks it to end; if it was asked before, or there is no keeper any more, leaves
 * it. */
static void kill_child(struct listener *listener, struct child *child)
{
	const struct log_field fields[] = { { "POP3_PEER", child->peer.text }, { 0 } };
	bool is_last_try = child->end == CHILD_ASKED || listener->keeper == 0;

	if (end_child(listener, child, SIGKILL))
		child->end = CHILD_KILLED;
	else if (is_last_try)
		child->end = CHILD_LEFT;
	else
		return;
	if (child->end == CHILD_LEFT) {
		listener->left++;
		listener->evicted -= child->is_evicted; /* there may be more than EVICTED_MAX */
		child->is_evicted = false;
	}
	log_event_about(source_quota(listener, child), LOG_EVENT_SESSION_KILLED, fields,
			"session from %s (process %d) %s", child->peer.text, (int)child->pid,
			child->end == CHILD_LEFT ? "does not end, and is left" :
						   "is killed: it does not end");
}

/* With a keeper, a session that has logged in runs as its user, so the listener may not signal it.
 * One that only claims to have logged in is compromised. */
static bool is_logged_in(const struct listener *listener, const struct child *child)
{
	return child->has_logged_in && (listener->keeper == 0 || kill(child->pid, 0) < 0);
}

/* Reads the states of sessions, and kills each that is past its deadline. When the service stops,
 * ends sessions that sleep or have not logged in. Returns whether a session has a deadline. */
static bool look_at_children(struct listener *listener)
{
	int64_t now = util_now_ms();
	bool has_deadline = false;

	listener->strangers = listener->asleep = 0;
	for (size_t i = 0; i < listener->slots; i++) {
		struct child *child = &listener->tables->children[i];
		enum scoreboard_state state;
		int64_t end_ms = listener->stop_end_ms;

		if (child->pid == 0)
			continue;
		state = scoreboard_state(listener->scoreboard, i);
		child->has_logged_in = state >= SCOREBOARD_AWAKE && !child->is_evicted;
		if (child->kill_ms < end_ms && !is_logged_in(listener, child))
			end_ms = child->kill_ms;
		listener->strangers += is_stranger(child);
		listener->asleep += state == SCOREBOARD_ASLEEP;
		if (listener->is_stopping && state != SCOREBOARD_AWAKE)
			(void)end_child(listener, child, SIGTERM);
		if (now >= end_ms && child->end < CHILD_KILLED)
			kill_child(listener, child);
		has_deadline |= end_ms != NEVER;
	}
	return has_deadline;
}

/* Finds the oldest stranger of the network with the most strangers: an attacker with few networks
 * evicts only its own sessions. NULL: there are none. */
static struct child *find_victim(struct client_tables *tables, size_t slots)
{
	struct child *victim = NULL;

	memset(tables->by_network, 0, sizeof(tables->by_network));
	for (size_t i = 0; i < slots; i++)
		tables->by_network[tables->children[i].network] +=
			is_stranger(&tables->children[i]);
	for (size_t i = 0; i < slots; i++) {
		struct child *child = &tables->children[i];
		unsigned count = tables->by_network[child->network];
		unsigned most = victim ? tables->by_network[victim->network] : 0;

		if (is_stranger(child) && (!victim || count > most ||
					   (count == most && child->start_ms < victim->start_ms)))
			victim = child;
	}
	return victim;
}

/* Evicts a stranger. Returns whether that was possible. */
static bool evict(struct listener *listener)
{
	struct child *child = find_victim(listener->tables, listener->slots);

	if (!child || listener->evicted == EVICTED_MAX ||
	    !scoreboard_evict(listener->scoreboard, (size_t)(child - listener->tables->children)))
		return false;
	listener->strangers--;
	listener->evicted++;
	child->is_evicted = true;
	child->kill_ms = util_now_ms() + EVICT_GRACE_MS;
	(void)end_child(listener, child, SIGTERM);
	return true;
}

/* Evicts a stranger if a limit is reached. Returns whether the client can be served. If strangers
 * alone fill max-sessions (it may be below max-logins), none is evicted for another stranger. */
static bool make_room(struct listener *listener, const struct settings *settings,
		      const struct child *child)
{
	unsigned sessions = listener->sessions - listener->evicted;
	bool is_full = sessions >= settings_max_sessions(settings, child->is_trusted);

	if (!is_full && (child->is_trusted || listener->strangers < settings->max_logins))
		return true;
	(void)look_at_children(listener); /* some strangers may have logged in */
	if (is_full)
		return (child->is_trusted || listener->strangers < sessions) && evict(listener);
	return listener->strangers < settings->max_logins || evict(listener);
}

/* ---- Connections ---- */

/* Wipes log lines about other clients from the stack, which a session inherits. */
__attribute__((noinline)) static void wipe_stack(void)
{
	char below[STACK_OCTETS];

	explicit_bzero(below, sizeof(below));
}

/* The new process keeps only the scoreboard. Returns LISTENER_SESSION or a negative errno. */
static int become_session(struct listener *listener, int fd)
{
	static const sigset_t none;

	listener_close(listener);
	listener->tables = NULL;
	(void)signal(SIGHUP, SIG_IGN); /* sent to all processes, it is meant for the listener */
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	return move_client(fd) ?: LISTENER_SESSION;
}

/* Returns why a client cannot be served, and logs the limit; NULL: it can. */
static const char *find_refusal(struct listener *listener, const struct settings *settings,
				const struct child *child)
{
	const struct log_field fields[] = { { "POP3_PEER", child->peer.text }, { 0 } };
	unsigned sessions = listener->tables->sources[child->source].sessions;
	const char *limit = "max-logins", *refusal = "too many sessions, try again later";
	unsigned most = settings->max_logins;

	if (listener->keeper_end_ms != NEVER)
		return "accounts cannot be checked, try again later";
	if (!child->is_trusted && sessions >= settings->max_sessions_per_source) {
		limit = "max-sessions-per-source";
		most = settings->max_sessions_per_source;
		refusal = "too many sessions from your address, try again later";
	} else if (make_room(listener, settings, child)) {
		return NULL;
	} else if (listener->sessions - listener->evicted >=
		   settings_max_sessions(settings, child->is_trusted)) {
		limit = "max-sessions";
		most = settings->max_sessions;
	}
	log_event_about(source_quota(listener, child), LOG_EVENT_CONNECTION_REFUSED, fields,
			"connection from %s refused: %s = %u", child->peer.text, limit, most);
	return refusal;
}

/* Stops accepting for a while, because resources are short: retries would waste CPU, too. */
static void hold(struct listener *listener, const char *what, int error)
{
	log_error("cannot %s: %s", what, strerror(error));
	listener->held_until_ms = util_now_ms() + HOLD_MS;
}

/* Forks a session. Returns LISTENER_NOTHING, or in the new process as become_session(). */
static int serve_connection(struct listener *listener, const struct settings *settings, int client,
			    struct listener_session *ret_session)
{
	auto_fd int fd = client;
	struct child child = { .start_ms = util_now_ms() };
	struct in6_addr network;
	size_t slot = find_slot(listener);
	const char *refusal;

	wipe_stack();
	/* In a flood of connections that are reset, a process for each would delay all others. */
	if (!peer_of_socket(fd, &child.peer))
		return LISTENER_NOTHING;
	network = child.peer.address;
	peer_cut_address(&network, PEER_NETWORK_BITS);
	child.network = (uint16_t)XXH64(&network, sizeof(network), listener->tables->seed);
	child.source = find_source(listener, child.peer.address);
	child.is_trusted = settings_is_trusted(settings, &child.peer.address);
	/* After crashes the client must wait. Telling it would take another session. */
	if (!child.is_trusted &&
	    (child.start_ms < listener->crash_wait.end_ms ||
	     child.start_ms < listener->tables->sources[child.source].crash_wait.end_ms))
		return LISTENER_NOTHING;
	refusal = find_refusal(listener, settings, &child);
	child.is_refused = refusal != NULL;
	if (child.is_refused && listener->refusals == REFUSALS_MAX)
		return LISTENER_NOTHING;
	child.kill_ms = child.start_ms + settings->login_timeout_s * INT64_C(1000) + LOGIN_GRACE_MS;
	scoreboard_set(listener->scoreboard, slot, SCOREBOARD_BEFORE_LOGIN);
	child.pid = fork();
	if (child.pid < 0) {
		hold(listener, "start a session", errno);
		return LISTENER_NOTHING;
	}
	if (child.pid > 0) {
		listener->tables->children[slot] = child;
		count_child(listener, &child, 1);
		return LISTENER_NOTHING;
	}
	*ret_session = (struct listener_session){
		.peer = child.peer,
		.slot_ref = { listener->scoreboard, slot, child.source, child.is_trusted },
		.failures = listener->failures,
		.refusal = refusal,
	};
	/* In a flood of passwords, trusted networks come first. */
	if (settings->trusted_networks && !child.is_trusted)
		(void)setpriority(PRIO_PROCESS, 0, STRANGER_NICE);
	return become_session(listener, take_fd(&fd));
}

/* Accepts a connection and serves it. EAGAIN: another process has taken it. */
static int accept_one(struct listener *listener, const struct settings *settings, int socket,
		      struct listener_session *ret_session)
{
	int fd = accept4(socket, NULL, NULL, SOCK_CLOEXEC);

	if (fd >= 0)
		return serve_connection(listener, settings, fd, ret_session);
	/* No client can cause another error: ECONNABORTED needs a request for its address. */
	if (errno != EAGAIN)
		hold(listener, "accept connections", errno);
	return LISTENER_NOTHING;
}

/* ---- Waiting ---- */

static void tell_sessions(struct listener *listener)
{
	uint64_t told = (uint64_t)listener->is_stopping << 63 | (uint64_t)listener->sessions << 32 |
			listener->asleep;

	if (told != listener->told)
		libsystemd_notify("STATUS=%s%u sessions, %u asleep",
				  listener->is_stopping ? "Stopping: " : "", listener->sessions,
				  listener->asleep);
	listener->told = told;
}

/* When the listener ends. If the keeper has died, the listener waits for sessions that are awake,
 * but not long: only a restart of the service makes a new keeper. */
static int64_t end_ms(const struct listener *listener)
{
	bool is_serving = listener->sessions > listener->left || listener->refusals > 0;

	if (listener->is_stopping && !is_serving)
		return 0;
	if (listener->keeper_end_ms != NEVER)
		return listener->keeper_end_ms +
		       (is_serving && listener->sessions > listener->asleep ? STOP_GRACE_MS : 0);
	if (listener->is_inetd && !is_serving)
		return listener->idle_since_ms + IDLE_MS;
	return NEVER;
}

static void look(struct listener *listener)
{
	bool is_soon = look_at_children(listener);

	for (size_t i = 0; i < listener->source_count; i++)
		is_soon |= report_omitted(listener, i);
	tell_sessions(listener);
	listener->next_look_ms = NEVER;
	if (is_soon || listener->sessions > 0)
		listener->next_look_ms = util_now_ms() + (is_soon ? LOOK_MS : LOOK_AGAIN_MS);
}

static void do_what_is_due(struct listener *listener)
{
	int64_t now = util_now_ms();

	if (now >= listener->next_watch_ms) {
		libsystemd_notify("WATCHDOG=1");
		listener->next_watch_ms = now + listener->watch_every_ms;
	}
	if (now >= listener->next_look_ms)
		look(listener);
	if (now >= listener->next_ticket_key_ms)
		(void)change_ticket_key(listener);
	if (now >= listener->held_until_ms)
		listener->held_until_ms = NEVER;
}

/* The timeout for poll(2). */
static int wait_ms(const struct listener *listener)
{
	int64_t first = MIN(listener->next_watch_ms, listener->next_look_ms);

	first = MIN(first, listener->next_ticket_key_ms);
	first = MIN(first, listener->held_until_ms);
	first = MIN(first, end_ms(listener));
	first = MIN(first, listener->next_files_ms);
	return (int)MAX(MIN(first - util_now_ms(), INT32_MAX), 0);
}

static enum listener_event handle_signal(struct listener *listener)
{
	struct signalfd_siginfo info;

	if (read(listener->polled[SIGNALS].fd, &info, sizeof(info)) != sizeof(info))
		return LISTENER_NOTHING;
	if (info.ssi_signo == SIGHUP) {
		libsystemd_notify("RELOADING=1\nMONOTONIC_USEC=%" PRId64, util_now_ms() * 1000);
		return LISTENER_RELOAD;
	}
	if (info.ssi_signo == SIGCHLD) {
		reap(listener);
		return LISTENER_NOTHING;
	}
	close_sockets(listener); /* systemd keeps its own open for the next process */
	listener->is_stopping = true;
	libsystemd_notify("STOPPING=1");
	listener->stop_end_ms = MIN(listener->stop_end_ms, util_now_ms() + STOP_GRACE_MS);
	look(listener);
	return LISTENER_NOTHING;
}

/* Whether certificates have been renewed. Files are due for a check only if `tls` has read some. */
static bool is_renewal(struct listener *listener, struct tls *tls)
{
	int64_t now = util_now_ms();
	short events = listener->polled[KEEPER].revents;

	if (events & POLLHUP) /* the keeper ends */
		listener->polled[KEEPER].fd = -1;
	if (now < listener->next_files_ms)
		return events == POLLIN;
	assert(tls);
	listener->next_files_ms = now + FILES_MS;
	return tls->functions->has_changed(tls);
}

int listener_next(struct listener *listener, const struct settings *settings, struct tls *tls,
		  struct listener_session *ret_session)
{
	int r = LISTENER_NOTHING;

	listener->next_files_ms = tls && !settings->has_keeper ? util_now_ms() + FILES_MS : NEVER;
	libsystemd_notify("READY=1");
	if (listener->told == UINT64_MAX) /* not after a reload */
		announce_sockets(listener, settings->listen);
	tell_sessions(listener);
	while (r == LISTENER_NOTHING) {
		size_t count =
			listener->held_until_ms == NEVER ? listener->polled_count : FIRST_SOCKET;

		if (TEMP_FAILURE_RETRY(poll(listener->polled, count, wait_ms(listener))) < 0)
			return -errno;
		do_what_is_due(listener);
		if (listener->polled[SIGNALS].revents)
			r = handle_signal(listener);
		if (r == LISTENER_NOTHING && is_renewal(listener, tls))
			r = LISTENER_RENEWAL;
		for (size_t i = FIRST_SOCKET;
		     i < MIN(count, listener->polled_count) && r == LISTENER_NOTHING; i++) {
			if (listener->polled[i].revents)
				r = accept_one(listener, settings, listener->polled[i].fd,
					       ret_session);
		}
		if (r == LISTENER_NOTHING && util_now_ms() >= end_ms(listener))
			r = listener->keeper_end_ms == NEVER ? LISTENER_END : -ECHILD;
	}
	if (r == LISTENER_END || r == -ECHILD)
		report_all(listener);
	return r;
}
