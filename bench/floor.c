/* SPDX-License-Identifier: ISC
 * The floor of bench/run: a POP3 server that does only what every server does that forks for each
 * connection. It accepts, forks, and sends the replies of pop3-handler. It has no files, passwords,
 * settings, log or sandbox. What pop3-handler costs more than the floor is the price of its own
 * work. Never serve real mail with it.
 *
 * floor [tls-cert=FILE tls-key=FILE tls-tickets=FILE] USER[+]:COUNT:OCTETS...: a mailbox of the
 * user "userUSER", and with `+` of each user with a higher number. It has COUNT messages of OCTETS
 * octets on the wire. A user gets the first mailbox that matches, with any password. floor-tls,
 * which is this file with WITH_TLS, takes a certificate and begins TLS with the first octet. It is
 * a program of its own because a TLS library makes each fork slower even if it is not used.
 *
 * If descriptor 3 (with LISTEN_FDS in the environment) or 0 is a listening socket, each connection
 * is served by a new process. Otherwise one session is served on descriptors 0 and 1.
 *
 * All answers are made before the fork, in shared memory, because a fork copies the page tables of
 * private memory. A session reads a block of commands, collects pointers to their answers, and
 * sends these in one write before it waits for more. */
#include "lib/util.h"
#include "tls/certificates.h"

#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#ifdef WITH_TLS
#include <gnutls/gnutls.h>
#endif

#define USAGE "usage: floor [tls-cert=FILE tls-key=FILE tls-tickets=FILE] USER[+]:COUNT:OCTETS..."
#define MAILBOXES_MAX 16
#define IN_OCTETS 4096
#define LINE_OCTETS_MAX 512
#define PIECES_MAX 128 /* answers to a RETR and a DELE of each of 64 messages */
#define MARKED_OCTETS sizeof("+OK message 18446744073709551615 is marked as deleted\r\n")
#define RECORD_OCTETS 16384 /* the most that a TLS record holds */
#define TEXT_LINE_OCTETS 74 /* with CRLF */

/* Commands and their answers, then other answers. PASS to NO_MESSAGE need a login. */
enum { USER, QUIT, PASS, STAT, LIST, UIDL, RETR, DELE, NOOP, SLEE, WAKE, COMMANDS };
enum { NO_MESSAGE = COMMANDS, UNKNOWN, GREETING, ANSWERS };

/* A name that ends in a blank takes an argument. */
static const char *const commands[COMMANDS] = { "USER ", "QUIT",  "PASS ", "STAT", "LIST", "UIDL",
						"RETR ", "DELE ", "NOOP",  "SLEE", "WAKE" };

struct mailbox {
	size_t user, user_max;
	size_t count, octets; /* of messages, of each message */
	struct iovec answers[ANSWERS];
};

/* The first one is for clients that have not logged in. */
static struct mailbox mailboxes[1 + MAILBOXES_MAX];
static size_t mailbox_count = 1;

static int in_fd = STDIN_FILENO, out_fd = STDOUT_FILENO;
static const struct mailbox *mailbox = mailboxes, *candidate = mailboxes; /* of the last USER */
static char in[IN_OCTETS];
static size_t in_start, in_end;		/* octets that were read and not used */
static struct iovec pieces[PIECES_MAX]; /* answers that were not sent yet */
static size_t piece_count;
static char marked[PIECES_MAX][MARKED_OCTETS]; /* the texts of pieces that answer DELE */

/* ---- TLS ---- */

#ifdef WITH_TLS
static gnutls_certificate_credentials_t credentials; /* NULL: no TLS */
static gnutls_priority_t priority;
static gnutls_datum_t ticket_key;
static gnutls_session_t tls; /* NULL: none */

/* Returns what GnuTLS returned, unless it is a fatal error. */
static ssize_t check(ssize_t n, const char *what)
{
	if (n < 0 && gnutls_error_is_fatal((int)n))
		errx(EXIT_FAILURE, "cannot %s: %s", what, gnutls_strerror((int)n));
	return n;
}

/* The ticket key is in a file of 64 octets, so that processes without a common parent share it. */
static void load_tls(const char *cert, const char *key, const char *tickets)
{
	check(gnutls_certificate_allocate_credentials(&credentials), "allocate credentials");
	check(gnutls_certificate_set_x509_key_file(credentials, cert, key, GNUTLS_X509_FMT_PEM),
	      "load the certificate");
	if (gnutls_priority_init(&priority, TLS_SYSTEM_PRIORITY, NULL) < 0)
		check(gnutls_priority_init(&priority, TLS_DEFAULT_PRIORITY, NULL),
		      "set priorities");
	check(gnutls_load_file(tickets, &ticket_key), "load the ticket key");
}

/* Sends one ticket, as pop3-handler does. */
static void start_tls(void)
{
	check(gnutls_init(&tls, GNUTLS_SERVER | GNUTLS_NO_AUTO_SEND_TICKET), "begin TLS");
	check(gnutls_priority_set(tls, priority), "set priorities");
	check(gnutls_credentials_set(tls, GNUTLS_CRD_CERTIFICATE, credentials), "set credentials");
	check(gnutls_session_ticket_enable_server(tls, &ticket_key), "enable tickets");
	gnutls_handshake_set_timeout(tls, GNUTLS_INDEFINITE_TIMEOUT); /* else it polls */
	gnutls_transport_set_int2(tls, in_fd, out_fd);
	while (check(gnutls_handshake(tls), "shake hands") < 0)
		;
	if (gnutls_protocol_get_version(tls) >= GNUTLS_TLS1_3)
		check(gnutls_session_ticket_send(tls, 1, 0), "send a ticket");
}

/* Loops, because a client may have asked for shorter records. */
static void send_record(const char *octets, size_t count)
{
	while (count > 0) {
		ssize_t n = check(gnutls_record_send(tls, octets, count), "send");

		octets += n < 0 ? 0 : n;
		count -= n < 0 ? 0 : (size_t)n;
	}
}

/* Sends the pieces in full records. A record of one piece is not copied. */
static void send_records(void)
{
	static char record[RECORD_OCTETS];
	size_t filled = 0, octets;

	for (size_t i = 0; i < piece_count; i++) {
		const char *from = pieces[i].iov_base, *end = from + pieces[i].iov_len;

		for (; from < end; from += octets) {
			octets = RECORD_OCTETS - filled;
			if (octets > (size_t)(end - from))
				octets = (size_t)(end - from);
			if (octets == RECORD_OCTETS || (filled == 0 && i + 1 == piece_count)) {
				send_record(from, octets);
				continue;
			}
			memcpy(record + filled, from, octets);
			filled += octets;
			if (filled == RECORD_OCTETS)
				send_record(record, filled);
			filled %= RECORD_OCTETS;
		}
	}
	send_record(record, filled);
}
#endif

/* ---- Octets in and out ---- */

static void send_pieces(void)
{
	struct iovec *piece = pieces, *end = pieces + piece_count;

	while (piece < end) {
		ssize_t n = writev(out_fd, piece, (int)(end - piece));

		if (n < 0)
			err(EXIT_FAILURE, "cannot send");
		for (; piece < end && (size_t)n >= piece->iov_len; piece++)
			n -= (ssize_t)piece->iov_len;
		if (piece < end) {
			piece->iov_base = (char *)piece->iov_base + n;
			piece->iov_len -= (size_t)n;
		}
	}
}

static void flush(void)
{
#ifdef WITH_TLS
	if (tls)
		send_records();
	else
#endif
		send_pieces();
	piece_count = 0;
}

/* The text is borrowed until flush(). */
static void put(struct iovec piece)
{
	pieces[piece_count++] = piece;
	if (piece_count == PIECES_MAX)
		flush();
}

static ssize_t receive(char *octets, size_t count)
{
#ifdef WITH_TLS
	ssize_t n = GNUTLS_E_AGAIN;

	while (tls && n < 0)
		n = check(gnutls_record_recv(tls, octets, count), "receive");
	if (tls)
		return n;
#endif
	return read(in_fd, octets, count);
}

/* Reads more octets. Returns false at the end of the connection. */
static bool fill(void)
{
	ssize_t n;

	in_end -= in_start;
	memmove(in, in + in_start, in_end);
	in_start = 0;
	n = receive(in + in_end, IN_OCTETS - in_end);
	if (n < 0)
		err(EXIT_FAILURE, "cannot receive");
	in_end += (size_t)n;
	return n > 0;
}

/* Returns a line without its CRLF, or NULL if no whole line has been read. */
static char *take_line(void)
{
	char *line = in + in_start;
	size_t octets = in_end - in_start;
	char *lf = memchr(line, '\n', octets);

	if (lf)
		octets = (size_t)(lf - line);
	if (octets > LINE_OCTETS_MAX)
		errx(EXIT_FAILURE, "cannot take a line of more than %d octets", LINE_OCTETS_MAX);
	if (!lf)
		return NULL;
	in_start += octets + 1;
	if (lf > line && lf[-1] == '\r')
		lf--;
	*lf = '\0';
	return line;
}

/* ---- A session ---- */

static int find_command(const char *line)
{
	for (int i = 0; i < COMMANDS; i++) {
		size_t octets = strlen(commands[i]);

		if (strncasecmp(line, commands[i], octets) == 0 &&
		    (commands[i][octets - 1] == ' ' || line[octets] == '\0'))
			return i;
	}
	return UNKNOWN;
}

static const struct mailbox *find_mailbox(const char *name)
{
	size_t user = 0;
	char *rest = NULL;

	if (strncmp(name, "user", strlen("user")) == 0)
		user = strtoul(name + strlen("user"), &rest, 10);
	for (size_t i = 1; rest && *rest == '\0' && i < mailbox_count; i++) {
		if (mailboxes[i].user <= user && user <= mailboxes[i].user_max)
			return &mailboxes[i];
	}
	return mailboxes;
}

/* Answers RETR and DELE. A message that is marked as deleted can still be read. */
static void answer_message(int command, const char *argument)
{
	size_t number = strtoul(argument, NULL, 10);
	struct iovec piece = mailbox->answers[RETR];

	if (number < 1 || number > mailbox->count) {
		piece = mailbox->answers[NO_MESSAGE];
	} else if (command == DELE) {
		piece.iov_base = marked[piece_count];
		piece.iov_len = (size_t)sprintf(marked[piece_count],
						"+OK message %zu is marked as deleted\r\n", number);
	}
	put(piece);
}

/* Returns false after QUIT. */
static bool answer_line(const char *line)
{
	int command = find_command(line);

	if (command == USER)
		candidate = find_mailbox(line + strlen(commands[USER]));
	if (command == PASS)
		mailbox = candidate;
	if (command == RETR || command == DELE)
		answer_message(command, line + strlen(commands[command]));
	else
		put(mailbox->answers[command]);
	return command != QUIT;
}

/* Answers the lines that were read. Returns false after QUIT. */
static bool answer_lines(void)
{
	const char *line;
	bool goes_on = true;

	while (goes_on && (line = take_line()))
		goes_on = answer_line(line);
	flush();
	return goes_on;
}

static void serve(void)
{
#ifdef WITH_TLS
	if (credentials)
		start_tls();
#endif
	put(mailbox->answers[GREETING]);
	while (answer_lines() && fill())
		;
#ifdef WITH_TLS
	if (tls)
		(void)gnutls_bye(tls, GNUTLS_SHUT_WR);
#endif
}

/* ---- The answers ---- */

static void write_message(FILE *file, size_t octets)
{
	static const char words[] =
		"It is a truth universally acknowledged, that a letter has lines like it.";

	(void)fprintf(file, "+OK message follows\r\n");
	while (octets > 0) {
		size_t line = octets < TEXT_LINE_OCTETS ? octets : TEXT_LINE_OCTETS;

		if (octets - line == 1) /* too short for a line */
			line--;
		(void)fprintf(file, "%.*s\r\n", (int)line - 2, words);
		octets -= line;
	}
	(void)fprintf(file, ".\r\n");
}

static void write_sizes(FILE *file, const struct mailbox *box)
{
	(void)fprintf(file, "+OK %zu messages (%zu octets)\r\n", box->count,
		      box->count * box->octets);
	for (size_t i = 0; i < box->count; i++)
		(void)fprintf(file, "%zu %zu\r\n", i + 1, box->octets);
	(void)fprintf(file, ".\r\n");
}

/* The file names that bench/run gives to messages, with sizes. */
static void write_unique_ids(FILE *file, const struct mailbox *box)
{
	size_t size = box->octets - box->octets / TEXT_LINE_OCTETS; /* with LF line ends */

	(void)fprintf(file, "+OK unique-ids follow\r\n");
	for (size_t i = 0; i < box->count; i++)
		(void)fprintf(file, "%zu %zu.M%06zuP%zu.mx.example.org,S=%zu,W=%zu\r\n", i + 1,
			      1700000000 + i, i % 1000000, i % 30000, size, box->octets);
	(void)fprintf(file, ".\r\n");
}

static void write_answer(FILE *file, const struct mailbox *box, int answer)
{
	static const char *const others[ANSWERS] = {
		[USER] = "+OK send PASS",
		[QUIT] = "+OK goodbye",
		[NOOP] = "+OK nothing done",
		[SLEE] = "+OK asleep",
		[NO_MESSAGE] = "-ERR there is no such message",
		[UNKNOWN] = "-ERR unknown command",
		[GREETING] = "+OK the floor is ready",
	};

	if (box == mailboxes && PASS <= answer && answer <= NO_MESSAGE)
		(void)fprintf(file, "-ERR [AUTH] there is no such user\r\n");
	else if (answer == PASS)
		(void)fprintf(file, "+OK %zu messages\r\n", box->count);
	else if (answer == STAT)
		(void)fprintf(file, "+OK %zu %zu\r\n", box->count, box->count * box->octets);
	else if (answer == LIST)
		write_sizes(file, box);
	else if (answer == UIDL)
		write_unique_ids(file, box);
	else if (answer == RETR)
		write_message(file, box->octets);
	else if (answer == WAKE)
		(void)fprintf(file, "+OK [ACTIVITY/NONE] %zu messages\r\n", box->count);
	else if (others[answer])
		(void)fprintf(file, "%s\r\n", others[answer]);
}

static void make_answers(void)
{
	int fd = memfd_create("answers", MFD_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	size_t count = mailbox_count * ANSWERS, end = 0;
	char *text;

	if (!file)
		err(EXIT_FAILURE, "cannot make a memory file");
	for (size_t i = 0; i < count; i++) {
		struct mailbox *box = &mailboxes[i / ANSWERS];

		write_answer(file, box, (int)(i % ANSWERS));
		box->answers[i % ANSWERS].iov_len = (size_t)ftell(file) - end;
		end = (size_t)ftell(file);
	}
	if (fflush(file) != 0 || ferror(file))
		err(EXIT_FAILURE, "cannot write the answers");
	text = mmap(NULL, end, PROT_READ, MAP_SHARED, fd, 0);
	if (text == MAP_FAILED)
		err(EXIT_FAILURE, "cannot map the answers");
	for (size_t i = 0; i < count; i++) {
		struct iovec *answer = &mailboxes[i / ANSWERS].answers[i % ANSWERS];

		answer->iov_base = text;
		text += answer->iov_len;
	}
	(void)fclose(file);
}

/* ---- The start ---- */

/* Reads a number and the character after it. */
static size_t read_number(const char **text, char end)
{
	char *rest;
	size_t number = strtoul(*text, &rest, 10);

	if (rest == *text || *rest != end)
		errx(EXIT_FAILURE, USAGE);
	*text = rest + 1;
	return number;
}

static void add_mailbox(const char *text)
{
	struct mailbox *box = &mailboxes[mailbox_count];
	bool has_plus = strchr(text, '+') != NULL;

	if (mailbox_count == ARRAY_SIZE(mailboxes))
		errx(EXIT_FAILURE, "cannot have more than %d mailboxes", MAILBOXES_MAX);
	box->user = read_number(&text, has_plus ? '+' : ':');
	if (has_plus && *text++ != ':')
		errx(EXIT_FAILURE, USAGE);
	box->user_max = has_plus ? SIZE_MAX : box->user;
	box->count = read_number(&text, ':');
	box->octets = read_number(&text, '\0');
	if (box->octets == 1)
		errx(EXIT_FAILURE, "cannot make a message of one octet: a line ends with CRLF");
	mailbox_count++;
}

#ifdef WITH_TLS
/* Returns the number of arguments that are about TLS. */
static size_t read_tls_arguments(char *const *arguments)
{
	static const char *const names[] = { "tls-cert=", "tls-key=", "tls-tickets=" };
	const char *files[ARRAY_SIZE(names)];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!arguments[i] || strncmp(arguments[i], names[i], strlen(names[i])) != 0)
			return 0;
		files[i] = arguments[i] + strlen(names[i]);
	}
	load_tls(files[0], files[1], files[2]);
	return ARRAY_SIZE(names);
}
#endif

static void read_arguments(char *const *argument)
{
#ifdef WITH_TLS
	argument += read_tls_arguments(argument);
#endif
	for (; *argument; argument++)
		add_mailbox(*argument);
	if (mailbox_count == 1)
		errx(EXIT_FAILURE, USAGE);
}

static bool is_listening(int fd)
{
	int listening = 0;
	socklen_t size = sizeof(listening);

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0 && listening;
}

/* Returns only in the process of a connection. */
static void accept_clients(int listen_fd)
{
	for (;;) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
		pid_t pid = fd < 0 ? -1 : fork();

		if (pid < 0)
			err(EXIT_FAILURE, "cannot accept or fork");
		if (pid == 0) {
			(void)close(listen_fd);
			in_fd = out_fd = fd;
			return;
		}
		(void)close(fd);
	}
}

int main(int argc, char *argv[])
{
	int fd = getenv("LISTEN_FDS") && is_listening(3) ? 3 : STDIN_FILENO;
	int yes = 1;

	(void)argc;
	read_arguments(argv + 1);
	make_answers();
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
	/* Connections inherit it from the listening socket. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes));
	if (is_listening(fd))
		accept_clients(fd);
	serve();
	_exit(EXIT_SUCCESS); /* exit handlers would copy pages that are shared with the listener */
}
