/* SPDX-License-Identifier: ISC
 * log.c: limits on the lines that a client causes, and on the time that a log can take. */
#include "log.h"

#include "lib/util.h"
#include "tap.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static FILE *file; /* standard error */

/* Reads the lines since the last call into *ret_text. Returns their number. */
static int count_lines(char *ret_text, size_t size)
{
	int lines = 0;
	size_t octets;

	rewind(file);
	octets = fread(ret_text, 1, size - 1, file);
	ret_text[octets] = '\0';
	for (size_t i = 0; i < octets; i++)
		lines += ret_text[i] == '\n';
	rewind(file);
	return ftruncate(STDERR_FILENO, 0) == 0 ? lines : -1;
}

static void test_quota(void)
{
	static struct log_quota quota;
	char text[65536];
	int lines;

	for (int i = 0; i < 1000; i++)
		log_event_about(&quota, LOG_EVENT_CONNECTION_REFUSED, NULL, "no %d", i);
	lines = count_lines(text, sizeof(text));
	(void)tap(lines >= 1 && lines <= 3, "a quota allows one line a second");
	(void)tap(quota.omitted[LOG_EVENT_CONNECTION_REFUSED] == 1000 - (unsigned)lines,
		  "others count");
	quota.next_s = UINT32_MAX;
	log_event_about(&quota, LOG_EVENT_LOGIN_FAILED, NULL, "no");
	log_event_about(&quota, LOG_EVENT_LOGIN, NULL, "yes");
	log_event_about(&quota, LOG_EVENT_DELETED, NULL, "yes");
	log_event(LOG_EVENT_RELOADED, NULL, "yes");
	(void)tap(count_lines(text, sizeof(text)) == 3 && !strstr(text, "no"),
		  "accepted logins, deletions and the listener's own lines need no quota");
	(void)tap(log_report_omitted(&quota, "192.0.2.1"), "a report waits for the quota");
	quota.omitted[LOG_EVENT_CONNECTION_REFUSED] = 7;
	log_hasten_report(&quota);
	quota.next_s = (uint32_t)util_now_s(); /* a line has just been logged */
	log_event_about(&quota, LOG_EVENT_LOGIN_FAILED, NULL, "no");
	(void)tap(count_lines(text, sizeof(text)) == 0,
		  "a report that has waited long is the next line");
	(void)tap(!log_report_omitted(&quota, "192.0.2.1"), "and is logged then");
	(void)count_lines(text, sizeof(text));
	(void)tap(strcmp(text, "pop3-handler: 9 lines about 192.0.2.1 were omitted: "
			       "2 login failed, 7 connection refused\n") == 0,
		  "the report has the number of each kind");
	(void)tap(quota.next_s > 0 && !log_report_omitted(&quota, "192.0.2.1") &&
			  count_lines(text, sizeof(text)) == 0,
		  "once");
}

static void test_reasons(void)
{
	static struct log_quota quota = { .next_s = UINT32_MAX };
	char text[65536], reason[] = "a";

	log_warning("cannot read %s", log_quote("first"));
	log_warning("cannot read %s", log_quote("second"));
	(void)tap(count_lines(text, sizeof(text)) == 2, "without a limit each line is logged");
	log_limit(NULL);
	for (int i = 0; i < 100; i++) {
		char name[] = "name?";

		name[4] = (char)('0' + i);
		log_warning("cannot read %s: error %d", log_quote(name), i);
		log_error("cannot read %s: error %d", log_quote(name), i);
	}
	(void)tap(count_lines(text, sizeof(text)) == 1, "a reason is logged once");
	for (*reason = ' '; *reason < '~'; ++*reason)
		log_warning("%s", reason);
	(void)tap(count_lines(text, sizeof(text)) == 31, "a process logs 32 reasons");
	log_limit(&quota);
	log_event(LOG_EVENT_SESSION_ENDED, NULL, "ended");
	(void)tap(count_lines(text, sizeof(text)) == 0 &&
			  quota.omitted[LOG_EVENT_SESSION_ENDED] == 1,
		  "with a quota the lines count against it");
	log_limit(NULL);
	log_event(LOG_EVENT_LOGIN, NULL, "accepted");
	log_event(LOG_EVENT_SESSION_ENDED, NULL, "ended");
	log_event(LOG_EVENT_LOGIN_FAILED, NULL, "refused");
	log_event(LOG_EVENT_LOGIN_FAILED, NULL, "refused");
	log_event(LOG_EVENT_LOGIN_REFUSED, NULL, "refused");
	log_warning("cannot read %s: error %d", log_quote("a name"), 1);
	(void)tap(count_lines(text, sizeof(text)) == 4,
		  "the reasons are kept, and do not apply to lines without a quota");
	(void)tap(!log_report_omitted(NULL, "local"), "omitted lines are reported");
	(void)count_lines(text, sizeof(text));
	(void)tap(strcmp(text, "pop3-handler: 264 lines about local were omitted: "
			       "1 login refused, 263 other\n") == 0,
		  "together with lines that need no quota");
}

static int reader = -1; /* the other end of standard error */
static int waits;

/* Replaces libc's: while the log waits, 20 milliseconds pass, and the reader takes a line. */
int poll(struct pollfd *polled, nfds_t count, int ms)
{
	static const struct timespec at_once, pause = { 0, 20000000 };
	char line[1200];

	if (reader >= 0 && ms > 0) {
		waits++;
		(void)nanosleep(&pause, NULL);
		(void)recv(reader, line, sizeof(line), MSG_DONTWAIT);
	}
	return ppoll(polled, count, &at_once, NULL);
}

static void test_slow_reader(void)
{
	static _Atomic uint32_t losses;
	int pair[2] = { -1, -1 };
	const int few = 1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) < 0 ||
	    setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &few, sizeof(few)) < 0 ||
	    dup2(pair[0], STDERR_FILENO) < 0)
		exit(EXIT_FAILURE);
	(void)close(pair[0]);
	reader = pair[1];
	log_open(false);
	log_share_losses(&losses);
	for (int i = 0; i < 200; i++)
		log_event(LOG_EVENT_RELOADED, NULL, "%d", i);
	/* The 0.2 seconds may begin anew once, if the ten seconds that they are for end here. */
	(void)tap(waits > 0 && waits <= 20, "a slow reader delays the writer for 0.2 seconds");
	(void)tap(losses > 100, "lines that it does not take then are lost, and counted");
	(void)close(STDERR_FILENO);
}

int main(void)
{
	file = tmpfile();
	if (!file || dup2(fileno(file), STDERR_FILENO) < 0)
		return EXIT_FAILURE;
	test_quota();
	test_reasons();
	test_slow_reader();
	return tap_end();
}
