/* SPDX-License-Identifier: ISC
 * The POP3 client of bench/run. It sends commands as fast as it gets answers, counts the octets of
 * each message, and exits at the first mistake of the server.
 *
 * load MODE NAME=NUMBER...: port=; tls=1; clients= at once; sessions= in all; messages= and octets=
 * that the mailbox must have; window= of RETRs without an answer yet. The modes:
 *
 *   login  USER, PASS, STAT, QUIT
 *   list   USER, PASS, UIDL, LIST, QUIT
 *   fetch  USER, PASS, LIST, RETR of each message, QUIT
 *   take   the same, with a DELE after each RETR
 *   hold   `clients` connections log in, with asleep=1 also SLEE, and it prints "ready". For each
 *          number N on standard input, each connection polls (WAKE, SLEE) N times, and then it
 *          prints "polled". With interval= (seconds), N is a time in seconds: meanwhile each
 *          connection polls once in every interval, evenly spread. Then it prints a line of JSON
 *          with the time that each poll took, in microseconds from when it was due
 *
 * Client I is the user "userN", N = user= + I modulo users=; the password is "password". The other
 * modes print a line of JSON with what was done, and the processor time of this client. */
#include "lib/util.h"

#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/socket.h>

#define IN_OCTETS 262144
#define CLIENTS_MAX 8192
#define WINDOW_MAX 1024
#define COMMAND_OCTETS_MAX 64

static struct {
	uint64_t port, tls, clients, sessions, user, users, messages, octets, window, asleep,
		interval;
} options = { .port = 110, .clients = 1, .sessions = 1, .window = 1, .users = 1 };

static const struct {
	const char *name;
	uint64_t *value;
} option_names[] = {
	{ "port", &options.port },	   { "tls", &options.tls },
	{ "clients", &options.clients },   { "sessions", &options.sessions },
	{ "messages", &options.messages }, { "octets", &options.octets },
	{ "window", &options.window },	   { "asleep", &options.asleep },
	{ "user", &options.user },	   { "users", &options.users },
	{ "interval", &options.interval },
};

static gnutls_certificate_credentials_t credentials;
static gnutls_priority_t priority;

/* Totals of all clients. */
static atomic_uint_least64_t begun, offered, resumed, retrieved, retrieved_octets, busy_ns,
	retrieve_ns;

/* A client: its connection, and the last ticket that it got. */
struct client {
	int fd;
	gnutls_session_t tls; /* NULL: none */
	gnutls_datum_t ticket;
	char *in;
	size_t start, end; /* octets that were read and not used */
	uint64_t *sizes;   /* those of LIST */
};

__attribute__((format(printf, 1, 2), noreturn)) static void die(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)fprintf(stderr, "load: ");
	(void)vfprintf(stderr, format, arguments);
	(void)fprintf(stderr, "\n");
	va_end(arguments);
	exit(EXIT_FAILURE);
}

static int64_t now_ns(clockid_t clock)
{
	struct timespec now;

	(void)clock_gettime(clock, &now);
	return now.tv_sec * UTIL_NS_PER_S + now.tv_nsec;
}

/* ---- Octets in and out ---- */

static void put(struct client *client, const char *octets, size_t count)
{
	ssize_t n = client->tls ? gnutls_record_send(client->tls, octets, count) :
				  send(client->fd, octets, count, MSG_NOSIGNAL);

	if (n != (ssize_t)count)
		die("cannot send: %s", client->tls ? gnutls_strerror((int)n) : strerror(errno));
}

__attribute__((format(printf, 2, 3))) static void command(struct client *client, const char *format,
							  ...)
{
	char line[COMMAND_OCTETS_MAX];
	va_list arguments;
	int octets;

	va_start(arguments, format);
	octets = vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	if (octets < 0 || (size_t)octets >= sizeof(line))
		die("the command is too long");
	put(client, line, (size_t)octets);
}

/* Moves the unused octets to the beginning, and reads more. Returns whether there were more. */
static bool fill(struct client *client)
{
	ssize_t n;

	client->end -= client->start;
	memmove(client->in, client->in + client->start, client->end);
	client->start = 0;
	if (client->end == IN_OCTETS)
		die("a line is too long");
	do {
		char *space = client->in + client->end;
		size_t octets = IN_OCTETS - client->end;

		n = client->tls ? gnutls_record_recv(client->tls, space, octets) :
				  recv(client->fd, space, octets, 0);
	} while (client->tls && n == GNUTLS_E_AGAIN);
	if (n < 0)
		die("cannot receive: %s", client->tls ? gnutls_strerror((int)n) : strerror(errno));
	client->end += (size_t)n;
	return n > 0;
}

static void need(struct client *client, size_t octets)
{
	while (client->end - client->start < octets) {
		if (!fill(client))
			die("the connection was closed");
	}
}

/* Returns a line without its CRLF, valid until more is read. */
static char *get_line(struct client *client)
{
	for (;;) {
		char *line = client->in + client->start;
		char *lf = memchr(line, '\n', client->end - client->start);

		if (!lf) {
			need(client, client->end - client->start + 1);
			continue;
		}
		if (lf == line || lf[-1] != '\r')
			die("a line has no CR");
		lf[-1] = '\0';
		client->start += (size_t)(lf + 1 - line);
		return line;
	}
}

static char *get_ok(struct client *client)
{
	char *line = get_line(client);

	if (strncmp(line, "+OK", 3) != 0)
		die("refused: %s", line);
	return line;
}

/* Counts the octets of a multi-line answer up to its final dot, without stuffed dots. */
static uint64_t count_octets(struct client *client)
{
	uint64_t octets = 0;
	bool at_start = true; /* of a line */

	for (;;) {
		const char *from, *dot;
		size_t text;

		need(client, 1);
		from = client->in + client->start;
		dot = memchr(from, '.', client->end - client->start);
		text = dot ? (size_t)(dot - from) : client->end - client->start;
		if (text > 0)
			at_start = from[text - 1] == '\n';
		octets += text;
		client->start += text;
		if (!dot)
			continue;
		need(client, 3);
		if (at_start && memcmp(client->in + client->start, ".\r\n", 3) == 0) {
			client->start += 3;
			return octets;
		}
		octets += at_start ? 0 : 1;
		client->start++;
		at_start = false;
	}
}

/* ---- Connections ---- */

static void start_tls(struct client *client)
{
	int r = gnutls_init(&client->tls, GNUTLS_CLIENT);

	if (r >= 0)
		r = gnutls_priority_set(client->tls, priority);
	if (r >= 0)
		r = gnutls_credentials_set(client->tls, GNUTLS_CRD_CERTIFICATE, credentials);
	if (r >= 0 && client->ticket.data)
		r = gnutls_session_set_data(client->tls, client->ticket.data, client->ticket.size);
	if (r < 0)
		die("no TLS: %s", gnutls_strerror(r));
	gnutls_transport_set_int(client->tls, client->fd);
	do {
		r = gnutls_handshake(client->tls);
	} while (r < 0 && !gnutls_error_is_fatal(r));
	if (r < 0)
		die("no handshake: %s", gnutls_strerror(r));
	offered += client->ticket.data != NULL;
	resumed += gnutls_session_is_resumed(client->tls) != 0;
}

static void open_client(struct client *client, uint64_t user)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)options.port),
		.sin_addr = { htonl(INADDR_LOOPBACK) },
	};
	int yes = 1;

	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0 || connect(client->fd, (const void *)&address, sizeof(address)) < 0)
		die("cannot connect: %s", strerror(errno));
	(void)setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	client->start = client->end = 0;
	if (options.tls)
		start_tls(client);
	(void)get_ok(client);
	command(client, "USER user%" PRIu64 "\r\n", user);
	(void)get_ok(client);
	command(client, "PASS password\r\n");
	(void)get_ok(client);
}

/* Keeps the ticket for the next session; with TLS 1.3 it has come after the handshake. */
static void keep_ticket(struct client *client)
{
	gnutls_free(client->ticket.data);
	if (gnutls_session_get_data2(client->tls, &client->ticket) < 0)
		client->ticket = (gnutls_datum_t){ 0 };
}

/* Ends a session; the server closes the connection. */
static void leave(struct client *client)
{
	command(client, "QUIT\r\n");
	(void)get_ok(client);
	if (client->tls)
		keep_ticket(client);
	if (client->start < client->end || fill(client))
		die("something comes after QUIT");
	if (client->tls)
		gnutls_deinit(client->tls);
	client->tls = NULL;
	(void)close(client->fd);
}

static void allocate(struct client *client)
{
	client->in = malloc(IN_OCTETS);
	client->sizes = calloc(options.messages + 1, sizeof(*client->sizes));
	if (!client->in || !client->sizes)
		die("no memory");
}

static void release(struct client *client)
{
	gnutls_free(client->ticket.data);
	free(client->in);
	free(client->sizes);
}

/* ---- The modes ---- */

static void expect(const char *what, uint64_t is, uint64_t should_be)
{
	if (is != should_be)
		die("%s: %" PRIu64 " instead of %" PRIu64, what, is, should_be);
}

static void look(struct client *client)
{
	uint64_t messages, octets;

	command(client, "STAT\r\n");
	if (sscanf(get_ok(client), "+OK %" SCNu64 " %" SCNu64, &messages, &octets) != 2)
		die("STAT says nothing");
	expect("messages", messages, options.messages);
	expect("octets", octets, options.octets);
}

/* Lists unique-ids; or sizes, which it keeps, and whose sum it checks. */
static void list(struct client *client, const char *what, bool has_sizes)
{
	uint64_t count = 0, octets = 0;
	char *line;

	command(client, "%s\r\n", what);
	(void)get_ok(client);
	while (strcmp(line = get_line(client), ".") != 0) {
		char *rest;

		count++;
		expect("message number", strtoull(line, &rest, 10), count);
		if (*rest != ' ' || count > options.messages)
			die("a bad line: %s", line);
		if (has_sizes)
			octets += client->sizes[count - 1] = strtoull(rest + 1, &rest, 10);
	}
	expect("messages", count, options.messages);
	if (has_sizes)
		expect("octets", octets, options.octets);
}

/* Sends RETRs in one write until the window is full. Returns how many were sent in all. */
static uint64_t ask(struct client *client, uint64_t asked, uint64_t answered, bool deletes)
{
	char commands[WINDOW_MAX * COMMAND_OCTETS_MAX];
	size_t octets = 0;

	while (asked < options.messages && asked < answered + options.window) {
		char *end = commands + octets;

		asked++;
		octets += (size_t)snprintf(end, COMMAND_OCTETS_MAX, "RETR %" PRIu64 "\r\n", asked);
		end = commands + octets;
		if (deletes)
			octets += (size_t)snprintf(end, COMMAND_OCTETS_MAX, "DELE %" PRIu64 "\r\n",
						   asked);
	}
	if (octets > 0)
		put(client, commands, octets);
	return asked;
}

/* Sends more commands whenever it would wait for an answer. */
static void fetch(struct client *client, bool deletes)
{
	int64_t start_ns = now_ns(CLOCK_MONOTONIC);
	uint64_t asked = 0, octets = 0;

	for (uint64_t answered = 0; answered < options.messages; answered++) {
		if (client->start == client->end)
			asked = ask(client, asked, answered, deletes);
		(void)get_ok(client);
		octets = count_octets(client);
		expect("octets of a message", octets, client->sizes[answered]);
		if (deletes)
			(void)get_ok(client);
		retrieved++;
		retrieved_octets += octets;
	}
	retrieve_ns += (uint64_t)(now_ns(CLOCK_MONOTONIC) - start_ns);
}

static void mode_login(struct client *client)
{
	look(client);
}

static void mode_list(struct client *client)
{
	list(client, "UIDL", false);
	list(client, "LIST", true);
}

static void mode_fetch(struct client *client)
{
	list(client, "LIST", true);
	fetch(client, false);
}

static void mode_take(struct client *client)
{
	list(client, "LIST", true);
	fetch(client, true);
}

/* The work of a thread. */
struct thread {
	pthread_t thread;
	void (*work)(struct client *client);
	uint64_t user;
};

/* Runs one session after the other until options.sessions have begun. */
static void *run_sessions(void *argument)
{
	const struct thread *thread = argument;
	struct client client = { .fd = -1 };

	allocate(&client);
	while (begun++ < options.sessions) {
		open_client(&client, thread->user);
		thread->work(&client);
		leave(&client);
	}
	release(&client);
	busy_ns += (uint64_t)now_ns(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static void run_threads(void (*work)(struct client *client))
{
	static struct thread threads[CLIENTS_MAX];
	int64_t start_ns = now_ns(CLOCK_MONOTONIC), ns;

	for (size_t i = 0; i < options.clients; i++) {
		threads[i].work = work;
		threads[i].user = options.user + i % options.users;
		if (pthread_create(&threads[i].thread, NULL, run_sessions, &threads[i]) != 0)
			die("no threads");
	}
	for (size_t i = 0; i < options.clients; i++)
		(void)pthread_join(threads[i].thread, NULL);
	ns = now_ns(CLOCK_MONOTONIC) - start_ns;
	printf("{\"sessions\": %" PRIu64 ", \"seconds\": %.6f, \"cpu\": %.6f, \"offered\": %" PRIu64
	       ", \"resumed\": %" PRIu64 ", \"messages\": %" PRIu64 ", \"octets\": %" PRIu64
	       ", \"retrieve_seconds\": %.6f}\n",
	       options.sessions, (double)ns / 1e9, (double)busy_ns / 1e9, (uint64_t)offered,
	       (uint64_t)resumed, (uint64_t)retrieved, (uint64_t)retrieved_octets,
	       (double)retrieve_ns / 1e9);
}

static void say(const char *word)
{
	if (puts(word) < 0 || fflush(stdout) != 0)
		die("cannot write to standard output: %s", strerror(errno));
}

static void poll_once(struct client *client)
{
	const char *line;

	command(client, "WAKE\r\n");
	line = get_ok(client);
	if (!strstr(line, "[ACTIVITY/NONE]"))
		die("something happened: %s", line);
	command(client, "SLEE\r\n");
	(void)get_ok(client);
}

static void poll_each(struct client clients[], uint64_t times)
{
	for (uint64_t n = 0; n < times; n++) {
		for (size_t i = 0; i < options.clients; i++)
			poll_once(&clients[i]);
	}
	say("polled");
}

/* The time of a poll counts from when it was due, even if it had to wait for the one before it: a
 * server that stalls must not look better because the client polls less. */
static void poll_on_time(struct client clients[], uint64_t seconds)
{
	int64_t start_ns = now_ns(CLOCK_MONOTONIC);
	uint64_t polls = options.clients * seconds / options.interval;
	int64_t *took_us = calloc(polls + 1, sizeof(*took_us));

	if (!took_us)
		die("no memory");
	for (uint64_t n = 0; n < polls; n++) {
		uint64_t after_ns = n * options.interval * UTIL_NS_PER_S / options.clients;
		int64_t due_ns = start_ns + (int64_t)after_ns;
		const struct timespec due = { .tv_sec = due_ns / UTIL_NS_PER_S,
					      .tv_nsec = due_ns % UTIL_NS_PER_S };

		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR)
			;
		poll_once(&clients[n % options.clients]);
		took_us[n] = (now_ns(CLOCK_MONOTONIC) - due_ns) / 1000;
	}
	for (uint64_t n = 0; n < polls; n++)
		printf("%s%" PRId64, n == 0 ? "[" : ",", took_us[n]);
	say("]");
	free(took_us);
}

static void hold(void)
{
	static struct client clients[CLIENTS_MAX];
	char line[COMMAND_OCTETS_MAX];

	for (size_t i = 0; i < options.clients; i++) {
		allocate(&clients[i]);
		open_client(&clients[i], options.user + i % options.users);
		look(&clients[i]);
		if (!options.asleep)
			continue;
		command(&clients[i], "SLEE\r\n");
		(void)get_ok(&clients[i]);
	}
	say("ready");
	while (fgets(line, sizeof(line), stdin))
		(options.interval ? poll_on_time : poll_each)(clients, strtoull(line, NULL, 10));
	for (size_t i = 0; i < options.clients; i++) {
		leave(&clients[i]);
		release(&clients[i]);
	}
}

static const struct {
	const char *name;
	void (*work)(struct client *client); /* NULL: hold */
} modes[] = {
	{ "login", mode_login }, { "list", mode_list }, { "fetch", mode_fetch },
	{ "take", mode_take },	 { "hold", NULL },
};

static void read_option(const char *argument)
{
	const char *equals = strchr(argument, '=');
	char *rest = NULL;

	for (size_t i = 0; equals && i < ARRAY_SIZE(option_names); i++) {
		const char *name = option_names[i].name;

		if (strncmp(argument, name, (size_t)(equals - argument)) == 0 &&
		    name[equals - argument] == '\0')
			*option_names[i].value = strtoull(equals + 1, &rest, 10);
	}
	if (!rest || *rest || rest == equals + 1)
		die("'%s' is no option", argument);
}

static void set_up_tls(void)
{
	if (gnutls_certificate_allocate_credentials(&credentials) < 0 ||
	    gnutls_priority_init(&priority, "NORMAL:-VERS-ALL:+VERS-TLS1.3", NULL) < 0)
		die("no TLS");
}

int main(int argc, char *argv[])
{
	for (int i = 2; i < argc; i++)
		read_option(argv[i]);
	if (options.clients > CLIENTS_MAX || options.window < 1 || options.window > WINDOW_MAX ||
	    options.users < 1)
		die("an option is out of its range");
	set_up_tls();
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(modes); i++) {
		if (strcmp(modes[i].name, argv[1]) != 0)
			continue;
		if (modes[i].work)
			run_threads(modes[i].work);
		else
			hold();
		gnutls_priority_deinit(priority);
		gnutls_certificate_free_credentials(credentials);
		return EXIT_SUCCESS;
	}
	die("usage: load login|list|fetch|take|hold NAME=NUMBER...");
}
