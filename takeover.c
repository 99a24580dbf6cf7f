/* SPDX-License-Identifier: ISC
 * A child that has become the mailbox's user opens each mailbox. The owner of the mailbox could
 * compromise the child, so the child only answers with a result and a text. */
#include "takeover.h"

#include "auth.h"
#include "lib/util.h"
#include "log.h"
#include "mailbox.h"
#include "sandbox.h"
#include "session-log.h"
#include "settings.h"

#include <ctype.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <sysexits.h>

#define CHILD_MS 600000	  /* for each mailbox: its file server may not answer */
#define LOCK_PAUSE_MS 100 /* between attempts to lock a mailbox */
#define LOCK_PAUSES 50	  /* 5 s, as in a session */

enum takeover_result { TAKEN_OVER, OVER_BEFORE, NOT_THERE, FAILED, TAKEOVER_RESULTS };

/* The result for one account, which the child sends. */
struct takeover_answer {
	enum takeover_result result;
	char text[1024];
};

struct bulk {
	const struct settings *settings;
	bool is_dry_run, has_bar;
	char **names;
	size_t count, done, results[TAKEOVER_RESULTS];
};

static void bulk_clear(struct bulk *bulk)
{
	for (size_t i = 0; i < bulk->count; i++)
		free(bulk->names[i]);
	free(bulk->names);
}

#define auto_bulk __attribute__((cleanup(bulk_clear)))

#define answer(ret, value, ...)                                         \
	((void)snprintf((ret)->text, sizeof((ret)->text), __VA_ARGS__), \
	 (void)((ret)->result = (value)))

/* ---- In the child ---- */

/* Leaves root's terminal: a compromised child could read it, or type into it. */
static int leave_terminal(void)
{
	auto_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || setsid() < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || (!UTIL_HAS_ASAN && dup2(null, STDERR_FILENO) < 0))
		return -errno;
	return 0;
}

static void take_over_mailbox(const struct bulk *bulk, const struct account *account,
			      const char *control, struct takeover_answer *ret)
{
	const struct settings *settings = bulk->settings;
	const struct mailbox_origin origin = { settings->unique_ids_from, control,
					       settings->may_lack_list };
	const struct mailbox_report *report;
	struct mailbox *mailbox = NULL;
	size_t octets;
	bool unused;
	int r = settings->has_keeper && account->uid == 0 ? -EACCES : 0;

	r = r			     ?:
		    leave_terminal() ?:
		    sandbox_enter_account(settings, account, control, bulk->is_dry_run);
	r = r ?: mailbox_new(account->mailbox, bulk->is_dry_run, &origin, &mailbox);
	if (r < 0) {
		answer(ret, FAILED, "%s",
		       r == -EPERM ? "the mailbox belongs to another user" : strerror(-r));
		return;
	}
	for (int i = 0; (r = mailbox_wake(mailbox, &unused)) == -EBUSY && i < LOCK_PAUSES; i++)
		(void)poll(NULL, 0, LOCK_PAUSE_MS);
	report = mailbox_report(mailbox);
	if (r < 0)
		answer(ret, FAILED, "%s",
		       r == -EBUSY     ? "a session has it locked" :
		       report->problem ? report->problem :
					 strerror(-r));
	else if (report->ids_error < 0)
		answer(ret, FAILED, "cannot write .pop3-handler.ids: %s",
		       strerror(-report->ids_error));
	else if (report->is_takeover)
		answer(ret, TAKEN_OVER, "%zu messages, %zu unique-ids %simported, %zu hidden",
		       mailbox_count(mailbox), report->imported,
		       bulk->is_dry_run ? "would be " : "", report->excluded);
	else if (report->has_ids)
		answer(ret, OVER_BEFORE, "was taken over before");
	else
		answer(ret, NOT_THERE, "there is no Maildir");
	octets = strlen(ret->text);
	if (report->unusable + report->clashes > 0)
		(void)snprintf(ret->text + octets, sizeof(ret->text) - octets,
			       "; warning: %zu messages cannot have their old unique-id, and %zu "
			       "not that of their name, which is an old one: the first is %s",
			       report->unusable, report->clashes, report->import_text);
	(void)mailbox_free(mailbox);
}

/* ---- In the parent ---- */

/* Reads a child's answer, then kills the child. */
static void await_answer(pid_t pid, int fd, struct takeover_answer *ret)
{
	struct pollfd answered = { .fd = fd, .events = POLLIN };
	bool is_late = TEMP_FAILURE_RETRY(poll(&answered, 1, CHILD_MS)) <= 0;
	ssize_t n = is_late ? 0 : util_read(fd, ret, sizeof(*ret));
	int status = 0;

	(void)kill(pid, SIGKILL);
	/* While a child waits for a file server, SIGKILL may not end it. */
	(void)waitpid(pid, &status, is_late ? WNOHANG : 0);
	ret->text[sizeof(ret->text) - 1] = '\0';
	if (n != sizeof(*ret) || (unsigned)ret->result >= TAKEOVER_RESULTS)
		answer(ret, FAILED, "no answer from its process: %s",
		       is_late		   ? "it takes too long" :
		       WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) :
					     "it has ended");
}

static void handle_account(const struct bulk *bulk, const char *name, struct takeover_answer *ret)
{
	const char *control = bulk->settings->control;
	struct account account = { 0 }, other = { 0 }; /* `other` has the directory of the list */
	struct auth_report report = { 0 };
	int r = auth_look_up(bulk->settings, name, NULL, &account, &report);
	int fds[2] = { -1, -1 };
	pid_t pid;

	if (r == 0 && control)
		r = auth_look_up(bulk->settings, name, control, &other, &report);
	if (r < 0) {
		answer(ret, FAILED, "%s",
		       *report.refusal ? report.refusal :
		       r == -ENXIO     ? "it has no usable mailbox path" :
					 strerror(-r));
		return;
	}
	pid = pipe2(fds, O_CLOEXEC) < 0 ? -1 : fork();
	if (pid < 0)
		answer(ret, FAILED, "%s", strerror(errno));
	if (pid == 0) {
		take_over_mailbox(bulk, &account, control ? other.mailbox : NULL, ret);
		_exit(write(fds[1], ret, sizeof(*ret)) < 0);
	}
	util_drop(&fds[1]);
	if (pid > 0)
		await_answer(pid, fds[0], ret);
	util_drop(&fds[0]);
}

/* ---- Output ---- */

static void draw_bar(const struct bulk *bulk)
{
	static const char full[] = "########################################";
	int columns = (int)(bulk->done * (sizeof(full) - 1) / bulk->count);

	if (bulk->has_bar)
		(void)dprintf(STDERR_FILENO, "\r[%-*.*s] %zu/%zu", (int)sizeof(full) - 1, columns,
			      full, bulk->done, bulk->count);
}

/* Replaces control characters, because a text from a mailbox must not control the terminal. Some
 * terminals obey characters beyond ASCII, too. */
static void print_answer(const struct bulk *bulk, const char *name,
			 const struct takeover_answer *answer)
{
	auto_free char *line = NULL;

	if (bulk->has_bar) /* erase the bar */
		(void)dprintf(STDERR_FILENO, "\r\33[K");
	if (asprintf(&line, "%s: %s%s", name, answer->result == FAILED ? "failed: " : "",
		     answer->text) < 0)
		return;
	for (char *c = line, *text = line + strlen(name); *c; c++)
		*c = iscntrl((unsigned char)*c) || (c > text && !isascii(*c)) ? '?' : *c;
	(void)puts(line);
	(void)fflush(stdout);
}

static void print_summary(const struct bulk *bulk)
{
	const size_t *results = bulk->results;

	if (bulk->done < bulk->count)
		(void)printf("interrupted: %zu of ", bulk->done);
	(void)printf("%zu accounts: %zu %staken over, %zu before, ", bulk->count,
		     results[TAKEN_OVER], bulk->is_dry_run ? "would be " : "",
		     results[OVER_BEFORE]);
	if (results[NOT_THERE] > 0)
		(void)printf("%zu without a Maildir, ", results[NOT_THERE]);
	(void)printf("%zu failed\n", results[FAILED]);
}

/* ---- The accounts ---- */

static int add_name(void *context, const char *name)
{
	struct bulk *bulk = context;
	char **longer;

	if (!*name)
		return 0;
	longer = reallocarray(bulk->names, bulk->count + 1, sizeof(*longer));
	if (!longer)
		return -ENOMEM;
	bulk->names = longer;
	longer[bulk->count] = strdup(name);
	return longer[bulk->count++] ? 0 : -ENOMEM;
}

/* Returns 0, or an exit status after logging an error. */
static int collect_names(struct bulk *bulk)
{
	char *const *given = bulk->settings->names;
	bool has_files = auth_has_backend(bulk->settings, "passwd-file");
	struct auth_report report = { 0 };
	auto_free char *line = NULL;
	size_t capacity = 0;
	int r = 0;

	if (given ? strcmp(*given, "-") == 0 && !given[1] : !has_files) {
		while (r == 0 && getline(&line, &capacity, stdin) > 0)
			r = add_name(bulk, util_trim(line, "\r\n"));
		r = r ?: ferror(stdin) ? -EIO : 0;
	} else if (given) {
		for (; *given && r == 0; given++)
			r = add_name(bulk, *given);
	} else {
		r = auth_for_each_name(bulk->settings, add_name, bulk, &report);
	}
	session_log_users(&report);
	if (r < 0)
		log_error("cannot read the names of accounts%s%s: %s", *report.file ? " in " : "",
			  *report.file ? log_quote(report.file) : "", strerror(-r));
	return r == 0 ? 0 : *report.file ? EX_CONFIG : EX_IOERR;
}

/* Whether one of the blocked signals is pending. */
static bool is_stopped(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1);
}

int takeover_run(const struct settings *settings)
{
	auto_bulk struct bulk bulk = { .settings = settings,
				       .is_dry_run = settings->is_dry_run || settings->read_only };
	int status = collect_names(&bulk);
	sigset_t stops;

	if (status != 0)
		return status;
	bulk.has_bar = isatty(STDERR_FILENO);
	(void)sigemptyset(&stops);
	(void)sigaddset(&stops, SIGINT);
	(void)sigaddset(&stops, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &stops, NULL); /* finish an account before ending */
	while (bulk.done < bulk.count && !is_stopped() && !ferror(stdout)) {
		const char *name = bulk.names[bulk.done];
		struct takeover_answer answer = { FAILED, "" };

		draw_bar(&bulk);
		handle_account(&bulk, name, &answer);
		print_answer(&bulk, name, &answer);
		bulk.results[answer.result]++;
		bulk.done++;
	}
	print_summary(&bulk);
	if (fflush(stdout) != 0 || ferror(stdout))
		status = EX_IOERR;
	else if (bulk.results[FAILED] > 0 || bulk.done < bulk.count)
		status = EX_TEMPFAIL;
	(void)sigprocmask(SIG_UNBLOCK, &stops, NULL); /* a pending signal ends the process */
	return status;
}
