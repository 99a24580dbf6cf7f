/* SPDX-License-Identifier: ISC
 * Arguments of log lines may come from a client, even before login. */
#include "log.h"

#include "lib/util.h"

#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <syslog.h>

#define IDENTIFIER "pop3-handler"
#define LINE_OCTETS_MAX 1000
#define ESCAPE_OCTETS 4 /* \xNN */
#define QUOTED_OCTETS_MAX 255
#define QUOTES 4 /* results of log_quote() that are valid at once */
#define ENTRY_OCTETS_MAX 8192
#define PATIENCE_MS 200 /* how long a process waits for a busy log, within REFILL_MS */
#define REFILL_MS 10000
#define WRITE_US 10000 /* after which a write that blocks is interrupted */
#define QUIET_S 2      /* without a line, before a QUIET one: failed logins have precedence */
#define PRESSING_S 25  /* after which a report no longer waits, and other lines do */
#define REPORT_S 5     /* from the first omitted line to the report */
#define REASONS_MAX 32 /* per session */
#define LOGIN_REFUSED_ID "5999c49e056d4a58a959b7ee302c2ab7"

/* Limits of lines that a client causes. UNLIMITED: none. RATE: with a quota, one a second. QUIET:
 * as RATE, and none within QUIET_S after another line. ONCE: as RATE, and one for each reason. */
enum limits { UNLIMITED, RATE, QUIET, ONCE };

/* systemd/pop3-handler.catalog explains the message ids. */
static const struct event {
	const char *message_id; /* NULL: none */
	int priority;
	enum limits limits;
} events[] = {
	[LOG_EVENT_LOGIN_FAILED] = { LOGIN_REFUSED_ID, LOG_WARNING, RATE },
	[LOG_EVENT_LOGIN_REFUSED] = { LOGIN_REFUSED_ID, LOG_WARNING, ONCE },
	[LOG_EVENT_SESSION_ENDED] = { "0ea468af3a424efaabecc5bb9fd0d27e", LOG_INFO, QUIET },
	[LOG_EVENT_TLS_FAILED] = { "ec5875f97b344974a25fc754ed86e25b", LOG_WARNING, ONCE },
	[LOG_EVENT_CONNECTION_REFUSED] = { "7bb126bfe2ee4d5097c2294ae375e37d", LOG_WARNING, QUIET },
	[LOG_EVENT_LOGIN] = { "3394ab96a3b9472f9d39ebdbe52831f2", LOG_INFO, UNLIMITED },
	[LOG_EVENT_DELETED] = { "2074c6677a2c45b680a8825a7bcc8dec", LOG_INFO, UNLIMITED },
	[LOG_EVENT_TAKEN_OVER] = { "bc7c1ac0d4f341329262ab047157e72f", LOG_INFO, UNLIMITED },
	[LOG_EVENT_SESSION_CRASHED] = { "5ec53af90744467eba9a0d37ea42d28b", LOG_ERR, RATE },
	[LOG_EVENT_CRASHES] = { "bf5bd6274a3e4c1ea2105ce3ac2f8032", LOG_CRIT, UNLIMITED },
	[LOG_EVENT_SESSION_KILLED] = { "e0c37beb4f8849ebb23a991ef3cb4185", LOG_WARNING, RATE },
	[LOG_EVENT_RELOADED] = { "6afd5498471c45359a0b48753f766282", LOG_INFO, UNLIMITED },
	[LOG_EVENT_RELOAD_FAILED] = { "0dd740d95ac1425abef6e2520884bd8a", LOG_ERR, UNLIMITED },
	[LOG_EVENT_CALL_REFUSED] = { "4d318d5193a04a2bbd84aabb4b18734e", LOG_ERR, ONCE },
	[LOG_EVENT_LOST] = { "5a39904834884c909729dc80e52c663c", LOG_WARNING, UNLIMITED },
	[LOG_EVENT_OMITTED] = { "253366c0f21744a59fb9db472e86e66f", LOG_WARNING, UNLIMITED },
	[LOG_EVENT_WARNING] = { NULL, LOG_WARNING, ONCE },
	[LOG_EVENT_ERROR] = { NULL, LOG_ERR, ONCE },
};

static const char *const kind_names[LOG_KINDS] = { "login failed",	 "login refused",
						   "session ended",	 "TLS handshake failed",
						   "connection refused", "other" };

static enum { TO_STDERR, TO_SYSLOG, TO_JOURNAL } target; /* set once, by log_open() */
static int log_fd = STDERR_FILENO;			 /* -1: there is no daemon */
static bool is_stream;					 /* each entry needs a NUL at its end */
static bool is_socket;					 /* log_fd */
static bool may_block;					 /* a write to log_fd */
static char entry[ENTRY_OCTETS_MAX];			 /* the next entry */
static size_t subject_octets; /* at its start: the fields of log_about(), the same in each entry */

static _Atomic uint32_t own_losses, *losses = &own_losses;

/* Set by log_limit(). */
static struct {
	bool is_on;
	struct log_quota *quota;       /* NULL: none */
	struct log_quota own;	       /* counts omitted lines if there is no quota */
	uint32_t reasons[REASONS_MAX]; /* hashes of the reasons that were logged */
	size_t reason_count;
} limit;

static bool is_same(const struct stat *ours, int fd)
{
	struct stat theirs;

	return fstat(fd, &theirs) == 0 && ours->st_dev == theirs.st_dev &&
	       ours->st_ino == theirs.st_ino;
}

/* Whether standard error is the journal: systemd.exec(5), $JOURNAL_STREAM. */
static bool is_journal(const struct stat *ours)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char wanted[48];

	(void)snprintf(wanted, sizeof(wanted), "%ju:%ju", (uintmax_t)ours->st_dev,
		       (uintmax_t)ours->st_ino);
	return stream && strcmp(stream, wanted) == 0;
}

/* Reopens a pipe or terminal without blocking: O_NONBLOCK on the inherited open file description
 * would affect the processes that share it. */
static void prepare_stderr(mode_t mode)
{
	auto_fd int fd = -1;

	is_socket = S_ISSOCK(mode);
	if (!S_ISFIFO(mode) && !S_ISCHR(mode))
		return;
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	may_block = fd < 0 || dup2(fd, STDERR_FILENO) < 0;
}

/* Connects to the log daemon without syslog(3) and libsystemd, which block when it stalls. */
static void connect_daemon(void)
{
	static const int types[] = { SOCK_DGRAM, SOCK_STREAM };
	static const struct sockaddr_un addresses[] = {
		[TO_SYSLOG] = { AF_UNIX, "/dev/log" },
		[TO_JOURNAL] = { AF_UNIX, "/run/systemd/journal/socket" },
	};
	const struct sockaddr *address = (const struct sockaddr *)&addresses[target];

	util_drop(&log_fd);
	for (size_t i = 0; i < ARRAY_SIZE(types) && log_fd < 0; i++) {
		auto_fd int fd = socket(AF_UNIX, types[i] | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		if (connect(fd, address, sizeof(*addresses)) == 0)
			log_fd = take_fd(&fd);
		is_stream = types[i] == SOCK_STREAM;
	}
}

void log_open(bool has_client)
{
	struct stat ours;
	bool is_clients;

	if (fstat(STDERR_FILENO, &ours) < 0)
		return;
	is_clients = (has_client && is_same(&ours, STDOUT_FILENO)) ||
		     ((has_client || S_ISSOCK(ours.st_mode)) && is_same(&ours, STDIN_FILENO));
	if (is_journal(&ours))
		target = TO_JOURNAL;
	else if (!isatty(STDERR_FILENO) && /* on a terminal, an administrator is the client */
		 (S_ISCHR(ours.st_mode) || is_clients))
		target = TO_SYSLOG; /* the character device is /dev/null */
	if (target == TO_STDERR) {
		prepare_stderr(ours.st_mode);
		return;
	}
	tzset(); /* reads the time zone now: the sandbox denies it later */
	is_socket = true;
	log_fd = -1;
	connect_daemon();
}

/* Copies a text with \xNN for `bad` and for all but printable ASCII. A truncated copy ends in
 * "...". Returns the end of the copy. */
static char *escape(const char *text, char bad, char *ret, size_t octets_max)
{
	static const char cut[] = "...";
	size_t octets = 0, kept = 0; /* how much stays before `cut` */

	for (; *text; text++) {
		bool is_good = *text >= ' ' && *text <= '~' && *text != bad;

		if (octets + (is_good ? 1 : ESCAPE_OCTETS) > octets_max)
			return stpcpy(ret + kept, cut);
		if (is_good)
			ret[octets++] = *text;
		else
			octets += (size_t)sprintf(ret + octets, "\\x%02x", (unsigned char)*text);
		if (octets + sizeof(cut) <= octets_max + 1)
			kept = octets;
	}
	ret[octets] = '\0';
	return ret + octets;
}

const char *log_quote(const char *text)
{
	static char quotes[QUOTES][QUOTED_OCTETS_MAX + sizeof("''")];
	static unsigned next;
	char *quote = quotes[next++ % QUOTES];

	*quote = '\'';
	memcpy(escape(text ? text : "", '\'', quote + 1, QUOTED_OCTETS_MAX), "'", sizeof("'"));
	return quote;
}

/* ---- Entries ---- */

/* Adds a field if it has a value and there is space. A line end in the value becomes a blank,
 * because it would end the field. Returns the octets of the entry. */
static size_t add_field(size_t octets, const char *name, const char *value)
{
	char *field = entry + octets, *end = field;
	int added;

	if (!value || !*value)
		return octets;
	added = snprintf(field, sizeof(entry) - octets, "%s=%.*s\n", name, LINE_OCTETS_MAX, value);
	if ((size_t)added >= sizeof(entry) - octets)
		return octets;
	while ((end = strchr(end, '\n')) && end < field + added - 1)
		*end = ' ';
	return octets + (size_t)added;
}

void log_about(const char *name, const char *format, ...)
{
	char value[LINE_OCTETS_MAX + 1];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(value, sizeof(value), format, arguments);
	va_end(arguments);
	subject_octets = add_field(subject_octets, name, value);
}

/* The native journal protocol of systemd. */
static size_t make_journal_entry(const struct event *event, const struct log_field *fields,
				 const char *line)
{
	const char priority[] = { (char)('0' + event->priority), '\0' };
	size_t octets = add_field(subject_octets, "MESSAGE", line);

	octets = add_field(octets, "PRIORITY", priority);
	octets = add_field(octets, "SYSLOG_IDENTIFIER", IDENTIFIER);
	octets = add_field(octets, "SYSLOG_FACILITY", "2"); /* mail */
	octets = add_field(octets, "MESSAGE_ID", event->message_id);
	for (; fields && fields->name; fields++)
		octets = add_field(octets, fields->name, fields->value);
	return octets;
}

/* The format of syslog(3) (RFC 3164). */
static size_t make_syslog_entry(const struct event *event, const char *line)
{
	char date[sizeof("Mmm dd hh:mm:ss")] = "";
	time_t now = time(NULL);
	struct tm tm;

	if (localtime_r(&now, &tm))
		(void)strftime(date, sizeof(date), "%b %e %T", &tm);
	return (size_t)snprintf(entry, sizeof(entry), "<%d>%s " IDENTIFIER "[%d]: %s",
				LOG_MAIL | event->priority, date, (int)getpid(), line);
}

static void interrupt(int signal_number)
{
	(void)signal_number;
}

/* Writes to a pipe or terminal that could not be reopened, because there is no /proc or it belongs
 * to another user. Although there is space, the write may block: the space may be less than the
 * line, or another process may take it. Then a timer interrupts the write. */
static ssize_t write_soon(size_t octets)
{
	static const struct itimerval soon = { { 0, WRITE_US }, { 0, WRITE_US } };
	static const struct sigaction action = { .sa_handler = interrupt };
	struct pollfd polled = { .fd = log_fd, .events = POLLOUT };
	struct sigaction former_action;
	struct itimerval former;
	ssize_t n;

	errno = EAGAIN;
	if (poll(&polled, 1, 0) <= 0 || sigaction(SIGALRM, &action, &former_action) < 0)
		return -1;
	(void)setitimer(ITIMER_REAL, &soon, &former);
	n = write(log_fd, entry, octets);
	(void)setitimer(ITIMER_REAL, &former, NULL);
	(void)sigaction(SIGALRM, &former_action, NULL);
	return n;
}

/* Does not block. Returns as write(2). */
static ssize_t write_entry(size_t octets)
{
	if (is_socket)
		return send(log_fd, entry, octets, MSG_DONTWAIT | MSG_NOSIGNAL);
	return may_block ? write_soon(octets) : write(log_fd, entry, octets);
}

/* Writes the entry in one piece. Waits for a busy log, but not long in all, because a listener may
 * have many lines for a slow one. Returns whether the log has accepted the entry. */
static bool hand_over(size_t octets)
{
	static int64_t patience_ms, refill_ms;
	struct pollfd polled = { .fd = log_fd, .events = POLLOUT };
	int64_t now = util_now_ms(), end_ms, left_ms;
	ssize_t n;

	if (now >= refill_ms) {
		patience_ms = PATIENCE_MS;
		refill_ms = now + REFILL_MS;
	}
	end_ms = now + patience_ms;
	octets += is_stream;
	while ((n = write_entry(octets)) < 0 && errno == EAGAIN &&
	       (left_ms = end_ms - util_now_ms()) > 0)
		(void)poll(&polled, 1, (int)left_ms);
	patience_ms = end_ms - util_now_ms();
	return n == (ssize_t)octets;
}

static bool put_line(const struct event *event, const struct log_field *fields, const char *line)
{
	size_t octets = target == TO_JOURNAL ? make_journal_entry(event, fields, line) :
			target == TO_SYSLOG  ? make_syslog_entry(event, line) :
					       (size_t)sprintf(entry, IDENTIFIER ": %s\n", line);

	if (hand_over(octets))
		return true;
	if (target == TO_STDERR || limit.is_on || errno == EAGAIN)
		return false; /* the sandbox denies a session connect(2) */
	connect_daemon();
	return hand_over(octets);
}

void log_share_losses(_Atomic uint32_t *count)
{
	losses = count;
}

/* ---- Limits ---- */

void log_limit(struct log_quota *quota)
{
	limit.is_on = true;
	limit.quota = quota;
}

/* Hashes a line without its quoted parts and digits (FNV-1a). */
static uint32_t hash_reason(const char *line)
{
	uint32_t hash = 2166136261;
	bool is_quoted = false;

	for (; *line; line++) {
		is_quoted ^= *line == '\'';
		if (!is_quoted && !(*line >= '0' && *line <= '9'))
			hash = (hash ^ (unsigned char)*line) * 16777619;
	}
	return hash;
}

/* Uses the quota of this second. Returns false if a line has used it, or one in the `quiet_s`
 * seconds before. */
static bool use_quota(struct log_quota *quota, uint32_t quiet_s)
{
	uint32_t next_s = quota->next_s;

	return util_now_s() >= (uint64_t)next_s + quiet_s &&
	       atomic_compare_exchange_strong(&quota->next_s, &next_s, util_now_s() + 1);
}

/* Whether a report has waited for so long that the next second is for it: a source that goes on
 * causing lines would delay it forever. */
static bool is_pressing(const struct log_quota *quota)
{
	uint32_t report_s = quota->report_s;

	return report_s > 0 && util_now_s() >= (uint64_t)report_s + PRESSING_S;
}

/* Whether to log a line; an omitted line is counted. */
static bool is_due(enum log_event id, struct log_quota *quota, const char *line)
{
	enum limits limits = events[id].limits;
	struct log_quota *counts = quota ? quota : &limit.own;
	bool is_once = limit.is_on && limits == ONCE;
	uint32_t reason = hash_reason(line), none = 0;
	size_t i = 0;

	while (i < limit.reason_count && limit.reasons[i] != reason)
		i++;
	if ((is_once && (i < limit.reason_count || i == REASONS_MAX)) ||
	    (limits != UNLIMITED && quota &&
	     (is_pressing(quota) || !use_quota(quota, limits == QUIET ? QUIET_S : 0)))) {
		counts->omitted[MIN(id, LOG_KINDS - 1)]++;
		atomic_compare_exchange_strong(&counts->report_s, &none, util_now_s() + REPORT_S);
		return false;
	}
	if (is_once)
		limit.reasons[limit.reason_count++] = reason;
	return true;
}

bool log_report_omitted(struct log_quota *quota, const char *peer)
{
	struct log_quota *counts = quota ? quota : &limit.own;
	const struct log_field fields[] = { { "POP3_PEER", peer }, { 0 } };
	char kinds[256] = "";
	size_t octets = 0;
	uint64_t lines = 0;
	uint32_t now_s = util_now_s();

	if (counts->report_s == 0)
		return false;
	if (quota &&
	    (now_s < quota->report_s || !use_quota(quota, is_pressing(quota) ? 0 : QUIET_S)))
		return true;
	counts->report_s = 0; /* before the counts: a line omitted meanwhile sets it again */
	for (size_t i = 0; i < LOG_KINDS; i++) {
		uint32_t count = atomic_exchange(&counts->omitted[i], 0);

		if (count > 0)
			octets += (size_t)snprintf(kinds + octets, sizeof(kinds) - octets,
						   "%s%" PRIu32 " %s", lines > 0 ? ", " : "", count,
						   kind_names[i]);
		lines += count;
	}
	if (lines > 0)
		log_event(LOG_EVENT_OMITTED, quota ? fields : NULL,
			  "%" PRIu64 " lines about %s were omitted: %s", lines, peer, kinds);
	return false;
}

void log_hasten_report(struct log_quota *quota)
{
	quota->next_s = 0;
	if (quota->report_s > 0)
		quota->report_s = 1;
}

/* ---- Lines ---- */

void log_event_about(struct log_quota *quota, enum log_event id, const struct log_field *fields,
		     const char *format, ...)
{
	const struct event *event = &events[id];
	char text[LINE_OCTETS_MAX + 2]; /* an octet more than fits: escape() marks the cut */
	char line[LINE_OCTETS_MAX + 1] = "";
	int saved_errno = errno;
	va_list arguments;

	va_start(arguments, format);
	if (vsnprintf(text, sizeof(text), format, arguments) >= 0)
		(void)escape(text, '\0', line, LINE_OCTETS_MAX);
	va_end(arguments);
	if (is_due(id, quota ? quota : limit.quota, line)) {
		uint32_t lost = *losses > 0 ? atomic_exchange(losses, 0) : 0;

		(void)snprintf(text, sizeof(text),
			       "%" PRIu32 " log lines were lost: the log did not take them", lost);
		if (lost > 0 && put_line(&events[LOG_EVENT_LOST], NULL, text))
			lost = 0;
		if (lost > 0 || !put_line(event, fields, line))
			(void)atomic_fetch_add(losses, lost + 1);
		/* A session must not inherit the listener's last line. */
		explicit_bzero(entry + subject_octets, strlen(entry + subject_octets));
	}
	errno = saved_errno;
}
