/* SPDX-License-Identifier: ISC
 * The main program. Serves one connection on standard input and output, or listens on sockets that
 * it inherits or opens; or runs --check-config or --take-over. Trusts the command line, the
 * settings and the files that they name, but warns of a file that others can write.
 * - The sockets, the keeper and the TLS module come first, because they may need privileges. These
 *   are dropped before a client is served, and a session reads nothing before its sandbox.
 * - The listener reads all files again at SIGHUP (reload), and certificates when they have changed
 *   (renewal). Both make new objects beside the old ones, which serve on after a failure. */
#include "auth.h"
#include "channel.h"
#include "failures.h"
#include "keeper.h"
#include "lib/libsystemd.h"
#include "lib/path-template.h"
#include "lib/proctitle.h"
#include "lib/util.h"
#include "listener.h"
#include "log.h"
#include "mailbox.h"
#include "protocol.h"
#include "sandbox.h"
#include "session.h"
#include "settings.h"
#include "takeover.h"
#include "tls.h"

#include <malloc.h>
#include <signal.h>
#include <sys/socket.h>
#include <sysexits.h>

/* More than a session needs, because untouched pages take no memory. */
#define HEAP_OCTETS (512 << 10)

/* Everything that a process serves clients with. */
struct service {
	int argc;
	char **argv;
	struct settings *settings;
	struct listener *listener; /* NULL: serves one client on 0 and 1 */
	struct tls *tls;	   /* NULL: TLS is off */
	struct sandbox sandbox;
};

/* An error that a client causes is not a failure of this program. */
static int exit_status(int error)
{
	switch (error) {
	case 0:
	case -EPIPE:
	case -ECONNRESET:
	case -EPROTO:
	case -ETIMEDOUT:
	case -ECANCELED:
		return EX_OK;
	case -EBADMSG:	  /* from `load` of tls.h, sandbox_become_user() */
	case -EOPNOTSUPP: /* from sandbox_prepare() */
		return EX_CONFIG;
	case -ENOMEM:
		return EX_TEMPFAIL;
	case -EFAULT: /* from protocol_serve() */
		return EX_SOFTWARE;
	default:
		return EX_IOERR;
	}
}

/* `sign` of struct tls: asks the keeper. */
static int sign_by_keeper(void *context, const struct tls_signing *signing,
			  struct tls_signature *ret)
{
	const struct session *session = context;
	const struct channel_signing packet = { { .type = CHANNEL_SIGN }, *signing };

	return channel_tell(session->channel_fd, &packet, sizeof(packet)) ?:
		       channel_await(session->channel_fd, ret, sizeof(*ret),
				     session_keeper_ms(session, 0));
}

/* Enters the sandbox. If there is a keeper, announces the client to it. */
static int enter_sandbox(struct service *service, const struct session *session,
			 const struct listener_session *client, int keeper_fd)
{
	const struct peer *peer = session->peer;
	struct channel_request begin = { .slot = client->slot_ref.slot,
					 .is_trusted = settings_is_trusted(service->settings,
									   &peer->address),
					 .peer = *peer };
	int r = sandbox_before_login(service->settings, &service->sandbox);

	if (r < 0 || keeper_fd < 0)
		return r;
	r = keeper_begin(&begin, (int[2]){ keeper_fd, service->sandbox.notify_fd });
	if (r < 0)
		log_error("cannot reach the keeper: %s", strerror(-r));
	return client->refusal ? 0 : r;
}

/* Without a listener, `client` is all 0. */
static int serve_client(struct service *service, const struct listener_session *client)
{
	struct peer peer =
		service->listener ? client->peer : peer_of_client(STDIN_FILENO, STDOUT_FILENO);
	struct session session = {
		.settings = service->settings,
		.peer = &peer,
		.tls = service->tls,
		.slot_ref = service->listener ? &client->slot_ref : NULL,
		.failures = client->failures,
	};
	int pair[2] = { -1, -1 };
	int r = 0;

	log_limit(scoreboard_enter(session.slot_ref));
	/* The sandbox forbids new sockets. */
	if (service->settings->has_keeper &&
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		r = -errno;
	if (service->settings->has_keeper && service->tls && service->tls->load_error == 0) {
		service->tls->functions->find_ticket_key(service->tls);
		service->tls->sign = sign_by_keeper;
		service->tls->sign_context = &session;
	}
	session.channel_fd = pair[0];
	/* This reads nothing before the sandbox. */
	r = r ?: transport_new(STDIN_FILENO, STDOUT_FILENO, pair[0], &session.transport);
	if (r < 0)
		log_error("cannot use standard input and output: %s", strerror(-r));
	else
		r = enter_sandbox(service, &session, client, pair[1]);
	failures_confine(client->failures, client->slot_ref.is_trusted);
	/* Implicit TLS must work now; STLS can be refused later. */
	if (r == 0 && service->settings->tls == TLS_IMPLICIT)
		r = service->tls->functions->load(service->tls);
	if (r >= 0)
		r = protocol_serve(&session, client->refusal);
	transport_free(session.transport);
	return r;
}

static int make_sandbox(struct service *service)
{
	if (!service->settings->has_keeper) /* else the keeper does so */
		(void)auth_check_writers(service->settings, service->argc, service->argv);
	return sandbox_prepare(service->settings, service->tls, &service->sandbox);
}

static void service_done(struct service *service)
{
	if (service->tls)
		service->tls->functions->free(service->tls);
	util_drop(&service->sandbox.ruleset_fd);
	settings_free(service->settings);
}

/* Loads certificates: with a keeper, from its public file, which this function closes. A keeper
 * that made no file has logged the reason. */
static int load_tls(const struct service *service, int public_fd)
{
	auto_fd int fd = public_fd;
	struct tls *tls = service->tls;

	if (!tls)
		return 0;
	if (service->settings->has_keeper && tls->public_fd < 0) {
		tls->public_fd = fd;
		tls->load_error = fd < 0 ? -EBADMSG : 0;
	}
	return tls->functions->load(tls);
}

/* Reads the settings, and the files that they name, again. After a failure the old ones stay. */
static void reload(struct service *service)
{
	struct service fresh = { .argc = service->argc,
				 .argv = service->argv,
				 .listener = service->listener,
				 .sandbox = SANDBOX_NONE };
	int fds[2] = { -1, -1 };
	int r = settings_load(fresh.argc, fresh.argv, &fresh.settings);
	const char *problem = fresh.settings ? fresh.settings->problem : "";

	if (r == 0)
		fresh.settings->has_keeper = service->settings->has_keeper;
	r = r ?: tls_new(fresh.settings, listener_ticket_key(fresh.listener), &fresh.tls);
	if (r == 0 && !fresh.settings->has_keeper) {
		r = auth_prepare(fresh.settings);
		problem = r < 0 ? "auth cannot be served" : problem;
	}
	r = r ?: make_sandbox(&fresh);
	if (r == 0 && fresh.settings->has_keeper) {
		r = keeper_reload(fds);
		problem = r < 0 ? "the keeper cannot use them" : problem;
		fresh.sandbox.ruleset_fd = fds[0];
	}
	r = r ?: load_tls(&fresh, fds[1]);
	if (r < 0) { /* also if only STLS failed: the old settings may still offer it */
		log_event(LOG_EVENT_RELOAD_FAILED, NULL,
			  "reload failed, the settings are as before: %s",
			  *problem	? problem :
			  r == -EBADMSG ? "TLS cannot be served" :
					  strerror(-r));
		service_done(&fresh);
	} else {
		log_event(LOG_EVENT_RELOADED, NULL, "settings and certificates are read again");
		service_done(service);
		*service = fresh;
	}
}

/* Serves renewed certificates to new connections. After a failure the old ones stay. */
static void renew(struct service *service)
{
	struct service fresh = { .settings = service->settings };
	int public_fd = -1;
	int r = tls_new(fresh.settings, listener_ticket_key(service->listener), &fresh.tls);

	if (fresh.settings->has_keeper)
		public_fd = keeper_take_renewed();
	r = r ?: load_tls(&fresh, public_fd);
	if (r >= 0) {
		struct tls *former = service->tls;

		service->tls = fresh.tls;
		fresh.tls = former;
		log_event(LOG_EVENT_RELOADED, NULL, "renewed certificates are served from now on");
	}
	if (fresh.tls)
		fresh.tls->functions->free(fresh.tls);
}

/* Listens, with one process for each connection. Returns in the listener and in each session. */
static int listen_for_clients(struct service *service)
{
	struct listener_session session = { 0 };
	int r;

	r = load_tls(service, -1);
	if (r < 0 && service->settings->tls != TLS_STARTTLS) /* STLS is then not offered */
		return r;
	while ((r = listener_next(service->listener, service->settings, service->tls, &session)) ==
		       LISTENER_RELOAD ||
	       r == LISTENER_RENEWAL)
		(r == LISTENER_RELOAD ? reload : renew)(service);
	if (r < 0)
		log_error("cannot listen: %s", strerror(-r));
	return r == LISTENER_SESSION ? serve_client(service, &session) : MIN(r, 0);
}

/* Resets inherited signals and umask, and closes descriptors after 2 and the `passed` sockets. */
static void start_clean(int passed)
{
	static const sigset_t none;

	closefrom(STDERR_FILENO + 1 + (passed > 0 ? passed : 0));
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)signal(SIGALRM, SIG_DFL); /* a keeper bounds a reload with it */
	(void)signal(SIGCHLD, SIG_DFL); /* if ignored, wait(2) would fail */
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a file that is too large is an error */
	(void)umask(S_IRWXG | S_IRWXO);
}

/* Drops privileges; with a keeper, after starting it. Returns 0, 1 in the keeper when that ends, or
 * a negative errno. */
static int become_service_user(struct service *service)
{
	struct settings *settings = service->settings;
	pid_t keeper = 0;
	int fds[2] = { -1, -1 };
	int r = 0;

	if (settings->has_keeper)
		r = keeper_start(settings, service->argc, service->argv, service->listener, &keeper,
				 fds);
	else
		r = auth_prepare(settings);
	r = r ?: tls_new(settings, listener_ticket_key(service->listener), &service->tls);
	if (r == 0 && settings->has_keeper) {
		(void)load_tls(service, fds[1]); /* tls->load_error keeps a failure */
		r = sandbox_become_login() ?: make_sandbox(service);
		service->sandbox.ruleset_fd = fds[0];
		if (service->listener)
			listener_watch_keeper(service->listener, keeper);
		return r;
	}
	return r ?: sandbox_become_user(settings->user) ?: make_sandbox(service);
}

static int serve(struct service *service)
{
	int passed = libsystemd_listen_fds();
	int r;

	start_clean(passed);
	(void)mallopt(M_TOP_PAD, HEAP_OCTETS);		  /* in a listener once for all sessions */
	(void)mallopt(M_TRIM_THRESHOLD, 2 * HEAP_OCTETS); /* else freeing a listing is slow */
	proctitle_open(service->argv); /* after the last change of the environment */
	service->settings->has_keeper = keeper_is_wanted(service->settings);
	/* Before the drop of privileges: the user may not bind port 110 or read the TLS module. */
	r = listener_open(service->settings, passed, &service->listener);
	r = r ?: become_service_user(service);
	if (r != 0)
		return MIN(r, 0); /* 1: this was the keeper */
	return service->listener ? listen_for_clients(service) :
				   serve_client(service, &(struct listener_session){ 0 });
}

static void check_timeout(const char *name, unsigned seconds)
{
	if (seconds < 600) /* RFC 1939 section 3 */
		log_warning("%s = %u is shorter than the 600 seconds that RFC 1939 asks for", name,
			    seconds);
}

/* The keeper cannot write to mailboxes, so it checks that a mailbox belongs to its user. It is not
 * in the sandbox of sessions, whose ruleset is the context. */
static const char *test_mailbox(void *context, const struct account *account, bool is_read_only)
{
	const int *base_fd = context;
	bool has_keeper = account->uid != 0, is_there;
	auto_fd int ruleset_fd =
		has_keeper ? sandbox_make_ruleset(account, true, &is_there) : -EBADF;

	if (has_keeper && !sandbox_is_in_reach(*base_fd, account->mailbox))
		return "the sandbox denies access to the mailbox (see mail-root)";
	return ruleset_fd == -EPERM ? "the mailbox belongs to another user" :
				      mailbox_test(account->mailbox, is_read_only || has_keeper);
}

/* For auth_find_roots(). The context is the mode for faccessat(2). */
static int check_root(void *context, const char *path)
{
	if (faccessat(AT_FDCWD, path, *(int *)context, AT_EACCESS) < 0)
		log_warning("no mailbox can be in %s: %s", log_quote(path), strerror(errno));
	return 0;
}

/* The service user also delivers mail: it makes mailboxes in the roots, but no homes. */
static void check_roots(const struct settings *settings)
{
	bool is_in_homes = !settings->mail_root && path_template_is_in_home(settings->mailbox);
	int mode = settings->read_only || settings->has_keeper || is_in_homes ? X_OK : W_OK | X_OK;
	struct auth_report report;

	(void)auth_find_roots(settings, check_root, &mode, &report);
}

/* Runs the checks as the service user, or as the keeper. Checks accounts inside the sandbox. */
static int check(struct service *service)
{
	/* In place of a listener's key: without a key, tls_new() would make a directory. */
	static unsigned char unused[TLS_TICKET_KEY_OCTETS];
	struct settings *settings = service->settings;
	int files, tls, users, r;

	start_clean(0);
	r = tls_new(settings, unused, &service->tls);
	if (r < 0)
		return exit_status(r);
	settings->has_keeper = keeper_is_wanted(settings);
	if (auth_prepare(settings) < 0)
		return EX_CONFIG;
	if (settings->has_keeper)
		r = keeper_become(settings);
	else if (settings->user)
		r = sandbox_become_user(settings->user);
	if (r < 0)
		return EX_CONFIG;
	if (*settings->unseen)
		log_warning("CREDENTIALS_DIRECTORY is not set: the credentials %s were not seen",
			    settings->unseen);
	check_timeout("idle-timeout", settings->idle_timeout_s);
	check_timeout("sleep-timeout", settings->sleep_timeout_s);
	if (settings->max_logins >= settings_max_sessions(settings, false))
		log_warning("max-logins = %u is not below max-sessions = %u%s: clients that do not "
			    "log in can keep others out",
			    settings->max_logins, settings->max_sessions,
			    settings->trusted_networks ? " less an eighth" : "");
	if (!settings->users && !settings->auth)
		log_warning("users is not set: nobody can log in");
	files = auth_check_writers(settings, service->argc, service->argv) ? EX_OK : EX_CONFIG;
	/* Any mistake counts here, even one that does not keep TLS from working. */
	if (service->tls)
		service->tls->is_check = true;
	r = service->tls ? service->tls->functions->load(service->tls) : 0;
	tls = r > 0 ? EX_CONFIG : exit_status(r);
	check_roots(settings);
	if (settings->has_keeper)
		r = service->sandbox.ruleset_fd = sandbox_make_base(settings, NULL);
	else
		r = sandbox_prepare(settings, NULL, &service->sandbox) ?:
			    sandbox_before_login(settings, &service->sandbox);
	users = r < 0 ? exit_status(r) :
		auth_check_files(settings, test_mailbox, &service->sandbox.ruleset_fd) ? EX_OK :
											 EX_CONFIG;
	return files ?: tls ?: users;
}

/* As in a service: with privileges, each mailbox has its own user, else all have the same. */
static int take_over_all(struct settings *settings)
{
	start_clean(0);
	settings->has_keeper = keeper_is_wanted(settings);
	if (!settings->unique_ids_from) {
		log_error("--take-over: unique-ids-from is not set");
		return EX_CONFIG;
	}
	if (settings->may_lack_list && !settings->names) {
		log_error("--no-list is for accounts that are named");
		return EX_USAGE;
	}
	if (settings->control && !strstr(settings->unique_ids_from, "dovecot")) {
		log_error("--control is for unique-ids-from = dovecot");
		return EX_USAGE;
	}
	if (auth_prepare(settings) < 0 ||
	    (!settings->has_keeper && sandbox_become_user(settings->user) < 0))
		return EX_CONFIG;
	return takeover_run(settings);
}

static int run_action(struct service *service)
{
	enum settings_action action = service->settings->action;

	if (action == SETTINGS_SERVE)
		return exit_status(serve(service));
	if (action == SETTINGS_CHECK)
		return check(service);
	if (action == SETTINGS_TAKE_OVER)
		return take_over_all(service->settings);
	if (action == SETTINGS_REPORT)
		return exit_status(auth_report_account());
	if (action == SETTINGS_HELP)
		settings_print_help(stdout);
	else
		(void)puts("pop3-handler " VERSION);
	return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

int main(int argc, char *argv[])
{
	static struct service service; /* static, so that LeakSanitizer sees no leak at exit */
	int r, status;

	service = (struct service){ .argc = argc, .argv = argv, .sandbox = SANDBOX_NONE };
	/* No file that is opened later may get the descriptor of the client or of the log. */
	if (fcntl(STDIN_FILENO, F_GETFD) < 0 || fcntl(STDOUT_FILENO, F_GETFD) < 0 ||
	    (fcntl(STDERR_FILENO, F_GETFD) < 0 && open("/dev/null", O_WRONLY) < 0)) {
		log_error("standard input or output is closed");
		return EX_IOERR;
	}
	r = settings_load(argc, argv, &service.settings);
	if (r < 0) {
		if (!service.settings || service.settings->action == SETTINGS_SERVE)
			log_open(false);
		log_error("%s", r == -ENOMEM ? strerror(-r) : service.settings->problem);
		status = r == -EINVAL ? EX_USAGE : exit_status(r);
	} else {
		status = run_action(&service);
	}
	/* Skips frees and atexit handlers: they would copy pages that are shared with the listener
	 * (5 % of a login). Sanitizer and coverage builds exit normally. */
	if (!UTIL_REPORTS_AT_EXIT)
		_exit(status);
	return status;
}
