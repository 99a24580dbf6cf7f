/* SPDX-License-Identifier: ISC
 *
 * A POP3 server for one connection, on standard input and output. */
#include "auth.h"
#include "log.h"
#include "protocol.h"
#include "settings.h"
#include "tls.h"
#include "transport.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

/* The exit status for the end of a session, or why there was none. What a client does is no failure
 * of ours. */
static int exit_status(int error)
{
	switch (error) {
	case 0:
	case -EPIPE:
	case -ECONNRESET:
	case -EPROTO:
	case -ETIMEDOUT:
		return EX_OK;
	case -EBADMSG: /* of tls_load() */
		return EX_CONFIG;
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

/* What TLS is served with; NULL if it is off. Nothing is read yet. */
static int make_tls(const struct settings *settings, struct tls **ret)
{
	const struct tls_options options = {
		.certs = settings->tls_cert,
		.keys = settings->tls_key,
		.ocsp = settings->tls_ocsp,
		.client_ca = settings->tls_client_ca,
		.priority = settings->tls_priority,
		.complain = log_error,
	};

	*ret = NULL;
	return settings->tls == TLS_OFF ? 0 : tls_new(&options, ret);
}

static int serve_client(const struct settings *settings, struct tls *tls)
{
	struct transport *transport;
	int r;

	/* STLS can be refused, but here there is no other way to speak. */
	r = settings->tls == TLS_IMPLICIT ? tls_load(tls) : 0;
	if (r < 0)
		return exit_status(r);
	r = transport_new(STDIN_FILENO, STDOUT_FILENO, &transport);
	if (r < 0) {
		log_error("cannot use standard input and output: %s", strerror(-r));
		return exit_status(r);
	}
	r = protocol_serve(settings, tls, transport);
	if (exit_status(r) != EX_OK)
		log_error("the session with %s was broken off: %s", transport_peer(transport),
			  strerror(-r));
	(void)transport_free(transport);
	return exit_status(r);
}

static int serve(const struct settings *settings)
{
	struct tls *tls;
	int r;

	log_open(STDIN_FILENO, STDOUT_FILENO);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* what a file must not hold is an error like others */
	r = make_tls(settings, &tls);
	if (r < 0)
		return exit_status(r);
	r = serve_client(settings, tls);
	(void)tls_free(tls);
	return r;
}

/* RFC 1939 lets a server end an idle session only after ten minutes; administrators may know
 * better. */
static void check_timeout(const char *name, unsigned seconds)
{
	if (seconds < SETTINGS_RFC_TIMEOUT_S)
		log_warning("%s = %u is shorter than the %d seconds that RFC 1939 asks for", name,
			    seconds, SETTINGS_RFC_TIMEOUT_S);
}

static int check_users(const char *users)
{
	struct auth_report report = { 0 };
	int r;

	if (!users) {
		log_warning("users is not set: nobody can log in");
		return EX_OK;
	}
	r = auth_check_file(users, &report);
	if (r < 0) {
		log_error("cannot read users = '%s': %s", users, strerror(-r));
		return EX_CONFIG;
	}
	if (report.malformed_lines > 0)
		log_warning("%s:%u: malformed line (%u of them in all)", users,
			    report.malformed_line, report.malformed_lines);
	return EX_OK;
}

/* Here a mistake is one even if a session could do with it. */
static int check_tls(const struct settings *settings)
{
	struct tls *tls;
	int r = make_tls(settings, &tls);

	if (r == 0 && tls)
		r = tls_load(tls);
	(void)tls_free(tls);
	return r > 0 ? EX_CONFIG : exit_status(r);
}

static int check(const struct settings *settings)
{
	int users, tls;

	check_timeout("idle-timeout", settings->idle_timeout_s);
	check_timeout("sleep-timeout", settings->sleep_timeout_s);
	users = check_users(settings->users);
	tls = check_tls(settings);
	return users != EX_OK ? users : tls;
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
