/* SPDX-License-Identifier: ISC
 *
 * A POP3 server for one connection, on standard input and output. */
#include "auth.h"
#include "log.h"
#include "protocol.h"
#include "settings.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* The exit status for the end of a session. What a client does is no failure of ours. */
static int exit_status(int error)
{
	switch (error) {
	case 0:
	case -EPIPE:
	case -ECONNRESET:
	case -ETIMEDOUT:
		return EX_OK;
	case -ENOMEM:
		return EX_TEMPFAIL;
	default:
		return EX_IOERR;
	}
}

/* A file that is opened later must not end up on a descriptor that the client or the log is on. */
static int check_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (fd != STDERR_FILENO || open("/dev/null", O_WRONLY) != STDERR_FILENO)
			return -EBADF;
	}
	return 0;
}

static int serve(const struct settings *settings)
{
	struct transport *transport;
	int r;

	log_open(STDIN_FILENO, STDOUT_FILENO);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* what a file must not hold is an error like others */
	r = transport_new(STDIN_FILENO, STDOUT_FILENO, &transport);
	if (r < 0) {
		log_error("cannot use standard input and output: %s", strerror(-r));
		return exit_status(r);
	}
	r = protocol_serve(settings, transport);
	if (exit_status(r) != EX_OK)
		log_error("the session with %s was broken off: %s", transport_peer(transport),
			  strerror(-r));
	(void)transport_free(transport);
	return exit_status(r);
}

/* RFC 1939 lets a server end an idle session only after ten minutes; administrators may know
 * better. */
static void check_timeout(const char *name, unsigned seconds)
{
	if (seconds < SETTINGS_RFC_TIMEOUT_S)
		log_warning("%s = %u is shorter than the %d seconds that RFC 1939 asks for", name,
			    seconds, SETTINGS_RFC_TIMEOUT_S);
}

static int check(const struct settings *settings)
{
	struct auth_report report = { 0 };
	int r = 0;

	check_timeout("idle-timeout", settings->idle_timeout_s);
	check_timeout("sleep-timeout", settings->sleep_timeout_s);
	if (!settings->users)
		log_warning("users is not set: nobody can log in");
	else
		r = auth_check_file(settings->users, &report);
	if (r < 0) {
		log_error("cannot read users = '%s': %s", settings->users, strerror(-r));
		return EX_CONFIG;
	}
	if (report.malformed_lines > 0)
		log_warning("%s:%u: malformed line (%u of them in all)", settings->users,
			    report.malformed_line, report.malformed_lines);
	return EX_OK;
}

static int print_version(void)
{
	(void)puts("pop3-handler " VERSION);
	return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static int print_help(void)
{
	settings_print_help(stdout);
	return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

static int act(enum settings_action action, const struct settings *settings)
{
	switch (action) {
	case SETTINGS_HELP:
		return print_help();
	case SETTINGS_VERSION:
		return print_version();
	case SETTINGS_CHECK:
		return check(settings);
	case SETTINGS_SERVE:
		break;
	}
	return serve(settings);
}

int main(int argc, char *argv[])
{
	struct settings *settings;
	enum settings_action action;
	char *problem;
	int r;

	if (check_descriptors() < 0)
		return EX_IOERR;
	r = settings_load(argc, argv, &settings, &action, &problem);
	if (r < 0) {
		log_open(STDIN_FILENO, STDOUT_FILENO);
		log_error("%s", problem ? problem : strerror(-r));
		free(problem);
		return r == -EINVAL ? EX_USAGE : r == -EBADMSG ? EX_CONFIG : EX_TEMPFAIL;
	}
	r = act(action, settings);
	(void)settings_free(settings);
	return r;
}
