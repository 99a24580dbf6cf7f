/* SPDX-License-Identifier: ISC
 * The client's two descriptors. No input is trusted. O_NONBLOCK is never set, because the open file
 * description is shared with the process that started this one. Instead, I/O waits for its
 * descriptor with ppoll(2), up to a deadline, and then reads or writes only what cannot block. */
#include "transport.h"

#include "channel.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "tls.h"

#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#define IN_OCTETS 16384 /* many pipelined commands, and more than the longest line (of AUTH) */
#define OUT_OCTETS 262144
#define LINE_OCTETS_MAX 510 /* of a response, without its CRLF (RFC 2449 section 4) */
#define SPARE_OCTETS 64	    /* kept free after a line, so that a final ".\r\n" fits behind it */
#define KEPT_OCTETS 2	    /* stay in a buffer that is sent: the CRLF before a final ".\r\n" */
#define FINISH_MS 2000	    /* for a client to close its end */
/* TCP probes a silent client from KEEPALIVE_IDLE_S on, and drops it after PEER_TIMEOUT_MS: RFC 1939
 * lets it be silent for ten minutes, and a short network failure must not end a session. */
#define KEEPALIVE_IDLE_S 300
#define KEEPALIVE_INTERVAL_S 60
#define PEER_TIMEOUT_MS 600000
#define KILL_GRACE_MS 15000 /* longer than that of a listener, which would log a crash */

struct plain_stream {
	struct stream stream;
	int in_fd, out_fd;
	mode_t in_mode, out_mode; /* st_mode of each, for the type of file */
};

/* Large enough for calloc(3) to map it: pages of the buffers cost memory only once used. */
struct transport {
	struct plain_stream plain;
	struct stream *tls;	 /* over `plain`; `plain` itself until transport_prepare_tls() */
	struct stream *current;	 /* the one that carries octets now: `plain` or `tls` */
	int64_t deadline_ms;	 /* monotonic; INT64_MAX: none */
	timer_t killer;		 /* sends SIGKILL some time after the deadline */
	int64_t timeout_ms;	 /* of one wait; the deadline is a limit, too */
	int error;		 /* the first failure, which every later call returns */
	size_t in_start, in_end; /* the unused input in `in` */
	size_t out_end;		 /* of the unsent octets in `out` */
	size_t out_limit;	 /* of `out`: how full it gets before it is sent */
	int channel_fd;		 /* to the keeper; -1: none */
	char in[IN_OCTETS];
	char out[OUT_OCTETS]; /* adjacent to `in`: transport_shrink() releases both */
};

/* ---- Plain streams ---- */

static bool is_ready(int fd, short events)
{
	struct pollfd poll_fd = { .fd = fd, .events = events };

	return poll(&poll_fd, 1, 0) > 0;
}

static ssize_t read_plain(struct stream *stream, void *space, size_t octets)
{
	const struct plain_stream *plain = (const struct plain_stream *)stream;
	ssize_t n;

	if (S_ISSOCK(plain->in_mode))
		n = recv(plain->in_fd, space, octets, MSG_DONTWAIT);
	else if (is_ready(plain->in_fd, POLLIN))
		n = read(plain->in_fd, space, octets);
	else
		return -EAGAIN;
	return n < 0 ? -errno : n;
}

static ssize_t write_plain(struct stream *stream, const void *octets, size_t count)
{
	const struct plain_stream *plain = (const struct plain_stream *)stream;
	int fd = plain->out_fd;
	ssize_t n;

	if (S_ISSOCK(plain->out_mode))
		n = send(fd, octets, count, MSG_DONTWAIT | MSG_NOSIGNAL);
	else if (is_ready(fd, POLLOUT)) /* a pipe then has space for PIPE_BUF octets */
		n = write(fd, octets, MIN(count, PIPE_BUF));
	else
		return -EAGAIN;
	return n < 0 ? -errno : n;
}

static const struct stream_functions plain_functions = { .read = read_plain, .write = write_plain };

/* ---- The transport ---- */

static volatile sig_atomic_t is_told_to_end; /* by SIGTERM or the keeper */

static int fail(struct transport *transport, int error)
{
	if (transport->error == 0)
		transport->error = error;
	return transport->error;
}

static void note_sigterm(int signal_number)
{
	is_told_to_end = signal_number;
}

/* Blocks SIGTERM except in wait_ready(), so that it interrupts no other system call. */
static void catch_sigterm(void)
{
	const struct sigaction action = { .sa_handler = note_sigterm };
	sigset_t blocked;

	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

/* Sets options of TCP; other descriptors reject them. TCP_NODELAY: writes are as large as possible
 * anyway. Keepalive detects the loss of a client within ten minutes, even if the session sleeps. */
static void tune_tcp(int fd)
{
	static const int options[][3] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },
		{ SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S },
		{ IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S },
		{ IPPROTO_TCP, TCP_USER_TIMEOUT, PEER_TIMEOUT_MS },
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		(void)setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof(int));
}

/* Switches to a stream. The buffer holds a whole line, even if the stream's pieces are shorter. */
static void use_stream(struct transport *transport, struct stream *stream)
{
	size_t octets = MAX(stream->piece_octets, LINE_OCTETS_MAX + 2 + SPARE_OCTETS);

	transport->out_limit = MIN(octets, OUT_OCTETS);
	transport->current = stream;
}

int transport_new(int in_fd, int out_fd, int channel_fd, struct transport **ret)
{
	static const char *const no_names[] = { NULL };
	struct sigevent sigkill = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL };
	struct stat in, out;
	struct transport *transport;

	if (fstat(in_fd, &in) < 0 || fstat(out_fd, &out) < 0)
		return -errno;
	transport = calloc(1, sizeof(*transport));
	if (!transport)
		return -ENOMEM;
	transport->plain = (struct plain_stream){
		.stream.functions = &plain_functions,
		.stream.piece_octets = S_ISSOCK(out.st_mode) ? OUT_OCTETS : PIPE_BUF,
		.stream.client_names = no_names,
		.in_fd = in_fd,
		.out_fd = out_fd,
		.in_mode = in.st_mode,
		.out_mode = out.st_mode,
	};
	transport->channel_fd = channel_fd;
	(void)timer_create(CLOCK_MONOTONIC, &sigkill, &transport->killer);
	transport->tls = &transport->plain.stream;
	use_stream(transport, transport->tls);
	catch_sigterm();
	tune_tcp(out_fd);
	*ret = transport;
	return 0;
}

/* Moves unused input to the start of the buffer, and wipes the rest, which may have a password. */
static void compact_input(struct transport *transport)
{
	transport->in_end -= transport->in_start;
	memmove(transport->in, transport->in + transport->in_start, transport->in_end);
	explicit_bzero(transport->in + transport->in_end, transport->in_start);
	transport->in_start = 0;
}

static void discard_input(struct transport *transport)
{
	transport->in_start = transport->in_end;
	compact_input(transport);
}

void transport_free(struct transport *transport)
{
	if (!transport)
		return;
	discard_input(transport);
	(void)timer_delete(transport->killer);
	if (transport->tls->functions->free)
		transport->tls->functions->free(transport->tls);
	free(transport);
}

void transport_set_timeout(struct transport *transport, unsigned seconds)
{
	transport_set_deadline(transport, INT64_MAX);
	transport->timeout_ms = (int64_t)seconds * 1000;
}

/* The kernel ends a process that does not meet its deadline: it may be stopped, or hang. */
void transport_set_deadline(struct transport *transport, int64_t deadline_ms)
{
	int64_t kill_ms = deadline_ms == INT64_MAX ? 0 /* never */ : deadline_ms + KILL_GRACE_MS;
	struct itimerspec at = { .it_value = { kill_ms / 1000, kill_ms % 1000 * 1000000 } };

	if (deadline_ms != transport->deadline_ms)
		(void)timer_settime(transport->killer, TIMER_ABSTIME, &at, NULL);
	transport->deadline_ms = deadline_ms;
	transport->timeout_ms = INT32_MAX;
}

int64_t transport_left_ms(const struct transport *transport)
{
	return MAX(transport->deadline_ms - util_now_ms(), 0);
}

/* The time at which a wait that begins now must end. */
static int64_t wait_end_ms(const struct transport *transport)
{
	return MIN(transport->deadline_ms, util_now_ms() + transport->timeout_ms);
}

/* Reads a request of the keeper, which can only be CHANNEL_END. If the keeper is gone, the session
 * goes on: its next request to the keeper fails. */
static void read_channel(struct transport *transport)
{
	struct channel_request request = { 0 };

	if (util_read(transport->channel_fd, &request, sizeof(request)) <= 0)
		transport->channel_fd = -1;
	else if (request.type == CHANNEL_END)
		is_told_to_end = 1;
}

/* Waits until the client's descriptor is readable (POLLIN), writable (POLLOUT) or (0) hung up. From
 * `end_ms` on returns -ETIMEDOUT even if it is ready, so that a busy client meets its deadline. */
static int wait_ready(struct transport *transport, short events, int64_t end_ms)
{
	static const sigset_t none; /* blocks no signal */
	int fd = events == POLLIN ? transport->plain.in_fd : transport->plain.out_fd;

	for (;;) {
		struct pollfd polled[] = { { .fd = fd, .events = events },
					   { .fd = transport->channel_fd, .events = POLLIN } };
		int64_t left_ms = end_ms - util_now_ms();
		struct timespec left = { left_ms / 1000, left_ms % 1000 * 1000000 };
		int r;

		if (left_ms <= 0)
			return -ETIMEDOUT;
		r = ppoll(polled, transport->channel_fd < 0 ? 1 : 2, &left, &none);
		if (r > 0 && polled[1].revents)
			read_channel(transport);
		if (r > 0 && polled[0].revents)
			return 0;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (is_told_to_end)
			return -ECANCELED;
	}
}

/* Sends the buffer except its last `kept` octets. */
static int send_buffer(struct transport *transport, size_t kept)
{
	while (transport->error == 0 && transport->out_end > kept) {
		size_t octets = transport->out_end - kept;
		ssize_t n = transport->current->functions->write(transport->current, transport->out,
								 octets);

		if (n == -EAGAIN)
			n = wait_ready(transport, POLLOUT, wait_end_ms(transport));
		if (n < 0 && n != -EINTR)
			return fail(transport, (int)n);
		if (n > 0) {
			transport->out_end -= (size_t)n;
			memmove(transport->out, transport->out + n, transport->out_end);
		}
	}
	return transport->error;
}

int transport_flush(struct transport *transport)
{
	return send_buffer(transport, 0);
}

/* Reads what has arrived; if nothing has, waits until `end_ms` for input. */
static int read_some(struct transport *transport, int64_t end_ms)
{
	struct stream *stream = transport->current;
	ssize_t n;

	compact_input(transport);
	do {
		n = stream->has_pending ? 0 : wait_ready(transport, POLLIN, end_ms);
		if (n == 0)
			n = stream->functions->read(stream, transport->in + transport->in_end,
						    IN_OCTETS - transport->in_end);
	} while (n == -EINTR || n == -EAGAIN);
	if (n <= 0)
		return fail(transport, n == 0 ? -EPIPE : (int)n);
	transport->in_end += (size_t)n;
	return 0;
}

void transport_shrink(struct transport *transport)
{
	char *start = (char *)transport + offsetof(struct transport, in);
	size_t page = (size_t)sysconf(_SC_PAGESIZE), before = -(uintptr_t)start % page;
	size_t octets = IN_OCTETS + OUT_OCTETS - before;

	if (transport->in_start == transport->in_end && transport->out_end == 0)
		(void)madvise(start + before, octets / page * page, MADV_DONTNEED);
}

int transport_read_line(struct transport *transport, size_t max_octets, char **ret_line)
{
	bool is_skipped = false;
	int64_t end_ms = 0; /* set at the first wait, after the flush */
	char *line, *lf;
	size_t octets;

	for (;;) {
		line = transport->in + transport->in_start;
		octets = transport->in_end - transport->in_start;
		lf = memchr(line, '\n', octets);
		if (lf)
			break;
		if (octets > max_octets + 1) { /* one of them may be a CR */
			is_skipped = true;
			discard_input(transport);
		}
		if (transport_flush(transport) < 0)
			return transport->error;
		end_ms = end_ms ?: wait_end_ms(transport);
		if (read_some(transport, end_ms) < 0)
			return transport->error;
	}
	octets = (size_t)(lf - line);
	transport->in_start += octets + 1;
	if (octets > 0 && line[octets - 1] == '\r')
		octets--;
	if (is_skipped || octets > max_octets)
		return -EMSGSIZE;
	if (memchr(line, '\0', octets))
		return -EBADMSG;
	line[octets] = '\0';
	*ret_line = line;
	return 0;
}

/* Returns where the buffer has space for `octets`. Sends a full buffer first, except its last
 * `kept` octets. NULL: a failure, see transport->error. */
static char *make_space(struct transport *transport, size_t octets, size_t kept)
{
	if (transport->out_limit - transport->out_end < octets)
		(void)send_buffer(transport, kept);
	return transport->error == 0 ? transport->out + transport->out_end : NULL;
}

static int put_with_end(struct transport *transport, const char *text, size_t octets,
			const char *end, size_t spare, size_t kept)
{
	size_t end_octets = strlen(end);
	char *space = make_space(transport, octets + end_octets + spare, kept);

	if (!space)
		return transport->error;
	memcpy(mempcpy(space, text, octets), end, end_octets);
	transport->out_end += octets + end_octets;
	return 0;
}

int transport_put_text(struct transport *transport, const char *text, size_t octets)
{
	return put_with_end(transport, text, octets, "\r\n", SPARE_OCTETS, 0);
}

int transport_put_end(struct transport *transport, const char *before)
{
	return put_with_end(transport, before, strlen(before), ".\r\n", 0, KEPT_OCTETS);
}

int transport_put_line(struct transport *transport, const char *format, ...)
{
	char line[LINE_OCTETS_MAX + 1];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	return transport_put_text(transport, line, strlen(line));
}

int transport_put_message(struct transport *transport, struct wire_converter *converter,
			  const char *octets, size_t count)
{
	char *space;

	while (count > 0 && !converter->is_done &&
	       (space = make_space(transport, WIRE_STEP_OCTETS, KEPT_OCTETS))) {
		size_t free_octets = transport->out_limit - transport->out_end, put;
		size_t used = wire_convert(converter, octets, count, space, free_octets, &put);

		transport->out_end += put;
		octets += used;
		count -= used;
	}
	return transport->error;
}

void transport_put_last(struct transport *transport, const char *line)
{
	if (transport->out_end == 0 && transport->current == transport->tls)
		(void)transport->current->functions->write(transport->current, line, strlen(line));
}

int transport_pause(struct transport *transport, int64_t ms)
{
	int64_t end_ms = util_now_ms() + ms;
	int r = transport_flush(transport);

	if (r < 0)
		return r;
	r = wait_ready(transport, 0, MIN(end_ms, transport->deadline_ms));
	if (r == -ETIMEDOUT && end_ms < transport->deadline_ms)
		return 0;
	return fail(transport, r == 0 ? -EPIPE : r);
}

/* Repeats a step of a stream, its handshake or close, until it does not return -EAGAIN. */
static int complete(struct transport *transport, struct stream *stream,
		    int (*step)(struct stream *stream))
{
	int64_t end_ms = wait_end_ms(transport);
	int r = step ? step(stream) : 0;

	while (r == -EAGAIN) {
		r = wait_ready(transport, stream->wants_write ? POLLOUT : POLLIN, end_ms);
		if (r == 0)
			r = step(stream);
	}
	return r < 0 ? fail(transport, r) : 0;
}

int transport_finish(struct transport *transport)
{
	struct stream *stream = transport->current;
	int64_t end_ms;
	char unread;
	int r = transport_flush(transport) ?: complete(transport, stream, stream->functions->close);

	transport->current = &transport->plain.stream; /* further input is only discarded */
	if (r < 0 || !S_ISSOCK(transport->plain.in_mode))
		return r;
	if ((transport->in_start == transport->in_end &&
	     recv(transport->plain.in_fd, &unread, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) ||
	    shutdown(transport->plain.out_fd, SHUT_WR) < 0)
		return 0;
	end_ms = util_now_ms() + FINISH_MS;
	do {
		discard_input(transport);
	} while (read_some(transport, end_ms) == 0);
	return 0;
}

/* ---- TLS ---- */

int transport_prepare_tls(struct transport *transport, struct tls *tls)
{
	return tls->functions->new_stream(tls, &transport->plain.stream, &transport->tls);
}

int transport_start_tls(struct transport *transport)
{
	int r = transport_flush(transport);

	if (r < 0)
		return r;
	discard_input(transport);
	r = complete(transport, transport->tls, transport->tls->functions->handshake);
	if (r == 0)
		use_stream(transport, transport->tls);
	return r;
}

const struct stream *transport_tls_stream(const struct transport *transport)
{
	return transport->tls;
}
