/* SPDX-License-Identifier: ISC
 *
 * The arguments of log lines may come from the client, before login too. */
#include "log.h"

#include "lib/libsystemd.h"
#include "lib/util.h"

#include <inttypes.h>
#include <stdarg.h>
#include <sys/uio.h>
#include <syslog.h>

#define IDENTIFIER "pop3-handler"
#define LINE_OCTETS_MAX 1000
#define ESCAPE_OCTETS 4 /* \xNN */
#define SUBJECT_OCTETS_MAX 500
#define QUOTED_OCTETS_MAX 255
#define QUOTES 4       /* in use at once */
#define FIELDS_MAX 16  /* of a journal entry */
#define QUIET_S 2      /* before the end of a session: lines that say more have precedence */
#define REPORT_S 5     /* after the first line that is omitted */
#define REASONS_MAX 32 /* so many lines a client causes at most, by which nobody is let in */

#define LOGIN_REFUSED_ID "5999c49e056d4a58a959b7ee302c2ab7"

static const char *const subject_names[] = {
	[LOG_SUBJECT_SESSION] = "POP3_SESSION",
	[LOG_SUBJECT_PEER] = "POP3_PEER",
	[LOG_SUBJECT_USER] = "POP3_USER",
	[LOG_SUBJECT_TLS] = "POP3_TLS",
};

/* How lines are limited that a client causes: each reason once, one line a second. */
enum { ONCE = 1, RATE = 2 };

/* pop3-handler.catalog explains the message ids. */
static const struct event {
	int priority;
	const char *message_id; /* NULL: none */
	enum log_kind kind;
	unsigned limits;
} events[] = {
	[LOG_EVENT_LOGIN] = { LOG_INFO, "3394ab96a3b9472f9d39ebdbe52831f2", LOG_KIND_LOGIN, 0 },
	[LOG_EVENT_LOGIN_REFUSED] = { LOG_WARNING, LOGIN_REFUSED_ID, LOG_KIND_LOGIN, ONCE | RATE },
	[LOG_EVENT_LOGIN_FAILED] = { LOG_WARNING, LOGIN_REFUSED_ID, LOG_KIND_LOGIN, RATE },
	[LOG_EVENT_SESSION_ENDED] = { LOG_INFO, "0ea468af3a424efaabecc5bb9fd0d27e", LOG_KIND_END,
				      RATE },
	[LOG_EVENT_DELETED] = { LOG_INFO, "2074c6677a2c45b680a8825a7bcc8dec", LOG_KIND_OTHER, 0 },
	[LOG_EVENT_TLS_FAILED] = { LOG_WARNING, "ec5875f97b344974a25fc754ed86e25b", LOG_KIND_TLS,
				   ONCE | RATE },
	[LOG_EVENT_CONNECTION_REFUSED] = { LOG_WARNING, "7bb126bfe2ee4d5097c2294ae375e37d",
					   LOG_KIND_CONNECTION, RATE },
	[LOG_EVENT_SESSION_CRASHED] = { LOG_ERR, "5ec53af90744467eba9a0d37ea42d28b", LOG_KIND_OTHER,
					RATE },
	[LOG_EVENT_CRASHES] = { LOG_CRIT, "bf5bd6274a3e4c1ea2105ce3ac2f8032", LOG_KIND_OTHER, 0 },
	[LOG_EVENT_SESSION_KILLED] = { LOG_WARNING, "e0c37beb4f8849ebb23a991ef3cb4185",
				       LOG_KIND_OTHER, RATE },
	[LOG_EVENT_RELOADED] = { LOG_INFO, "6afd5498471c45359a0b48753f766282", LOG_KIND_OTHER, 0 },
	[LOG_EVENT_RELOAD_FAILED] = { LOG_ERR, "0dd740d95ac1425abef6e2520884bd8a", LOG_KIND_OTHER,
				      0 },
	[LOG_EVENT_CALL_REFUSED] = { LOG_ERR, "4d318d5193a04a2bbd84aabb4b18734e", LOG_KIND_OTHER,
				     ONCE | RATE },
	[LOG_EVENT_OMITTED] = { LOG_WARNING, "253366c0f21744a59fb9db472e86e66f", LOG_KIND_OTHER,
				0 },
};
static const struct event error_line = { LOG_ERR, NULL, LOG_KIND_OTHER, ONCE | RATE };
static const struct event warning_line = { LOG_WARNING, NULL, LOG_KIND_OTHER, ONCE | RATE };

static const char *const kind_names[LOG_KINDS] = {
	[LOG_KIND_LOGIN] = "login refused",
	[LOG_KIND_END] = "session ended",
	[LOG_KIND_TLS] = "TLS handshake failed",
	[LOG_KIND_CONNECTION] = "connection refused",
	[LOG_KIND_OTHER] = "other",
};

static enum { TO_STDERR, TO_SYSLOG, TO_JOURNAL } target; /* set once, by log_open() */

/* Set by log_limit(). */
static struct {
	bool is_on;
	struct log_quota *quota;       /* NULL: none */
	struct log_quota own;	       /* counts if there is none */
	uint32_t reasons[REASONS_MAX]; /* of lines that were logged, as hashes */
	size_t reason_count;
} limit;

static char subjects[ARRAY_SIZE(subject_names)][SUBJECT_OCTETS_MAX + 1]; /* empty: none */

static bool is_same(const struct stat *ours, int fd)
{
	struct stat theirs;

	return fstat(fd, &theirs) == 0 && ours->st_dev == theirs.st_dev &&
	       ours->st_ino == theirs.st_ino;
}

/* Whether systemd has connected standard error with the journal (systemd.exec(5)). */
static bool is_journal(const struct stat *ours)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char wanted[48];

	(void)snprintf(wanted, sizeof(wanted), "%ju:%ju", (uintmax_t)ours->st_dev,
		       (uintmax_t)ours->st_ino);
	return stream && strcmp(stream, wanted) == 0;
}

void log_open(void)
{
	char nothing[] = "_=";
	const struct iovec field = { .iov_base = nothing, .iov_len = sizeof(nothing) - 1 };
	struct stat ours;

	if (isatty(STDERR_FILENO) || fstat(STDERR_FILENO, &ours) < 0)
		return; /* at a terminal the client may be the administrator */
	/* Makes libraries open now what they would open with the first line, inside the sandbox. */
	if (is_journal(&ours)) {
		target = TO_JOURNAL;
		libsystemd_journal_send(&field, 1); /* a field of this name alone is ignored */
	} else if (S_ISCHR(ours.st_mode) || is_same(&ours, STDIN_FILENO) ||
		   is_same(&ours, STDOUT_FILENO)) {
		target = TO_SYSLOG; /* standard error is /dev/null, or the client's */
		openlog(IDENTIFIER, LOG_PID | LOG_NDELAY, LOG_MAIL);
		tzset(); /* the time zone */
	}
}

void log_about(enum log_subject subject, const char *text)
{
	(void)snprintf(subjects[subject], sizeof(subjects[subject]), "%s", text ? text : "");
}

/* Copies a text as printable ASCII, without `bad`. A cut shows. Returns where the copy ends. */
static char *escape(const char *text, char bad, char *ret, size_t octets_max)
{
	static const char cut[] = "...";
	size_t octets = 0, kept = 0; /* what of it stays if it is cut */

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
	(void)strcpy(escape(text ? text : "", '\'', quote + 1, QUOTED_OCTETS_MAX), "'");
	return quote;
}

/* A journal entry; it owns its texts. */
struct journal_entry {
	struct iovec fields[FIELDS_MAX];
	int count;
};

/* Adds a field, unless there is no value, or no memory for it. */
static void add_field(struct journal_entry *entry, const char *name, const char *value)
{
	char *text;

	if (!value || !*value || entry->count == FIELDS_MAX ||
	    asprintf(&text, "%s=%s", name, value) < 0)
		return;
	entry->fields[entry->count++] = (struct iovec){ .iov_base = text, .iov_len = strlen(text) };
}

static void send_to_journal(int priority, const char *message_id, const struct log_field *fields,
			    const char *line)
{
	const char priority_digit[] = { (char)('0' + priority), '\0' };
	struct journal_entry entry = { 0 };

	add_field(&entry, "MESSAGE", line);
	add_field(&entry, "PRIORITY", priority_digit);
	add_field(&entry, "SYSLOG_IDENTIFIER", IDENTIFIER);
	add_field(&entry, "SYSLOG_FACILITY", "2"); /* mail */
	add_field(&entry, "MESSAGE_ID", message_id);
	for (size_t i = 0; i < ARRAY_SIZE(subject_names); i++)
		add_field(&entry, subject_names[i], subjects[i]);
	for (; fields && fields->name; fields++)
		add_field(&entry, fields->name, fields->value);
	libsystemd_journal_send(entry.fields, entry.count);
	for (int i = 0; i < entry.count; i++)
		free(entry.fields[i].iov_base);
}

/* Prints a line in one piece. stdio's stack for that would be a tenth of a session's memory. */
static void print_line(char *line)
{
	char before[] = IDENTIFIER ": ", after[] = "\n";
	const struct iovec pieces[] = {
		{ .iov_base = before, .iov_len = sizeof(before) - 1 },
		{ .iov_base = line, .iov_len = strlen(line) },
		{ .iov_base = after, .iov_len = sizeof(after) - 1 },
	};
	ssize_t n = writev(STDERR_FILENO, pieces, ARRAY_SIZE(pieces));

	(void)n; /* there is nobody to tell */
}

/* ---- Limits ---- */

void log_limit(struct log_quota *quota)
{
	limit.is_on = true;
	limit.quota = quota;
}

/* Hashes a line without what is between quotes and without digits (FNV-1a). */
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

static bool has_logged(uint32_t reason)
{
	size_t i = 0;

	while (i < limit.reason_count && limit.reasons[i] != reason)
		i++;
	return i < limit.reason_count || i == REASONS_MAX;
}

/* Whether a line may be logged now, after `quiet_s` more seconds without one. If so, no process may
 * log another one in this second. */
static bool use_quota(struct log_quota *quota, uint32_t quiet_s)
{
	uint32_t next_s = quota->next_s;

	return util_now_s() >= (uint64_t)next_s + quiet_s &&
	       atomic_compare_exchange_strong(&quota->next_s, &next_s, util_now_s() + 1);
}

/* Whether a line is to be logged. One that is not is counted. */
static bool is_due(const struct event *event, struct log_quota *quota, const char *line)
{
	bool is_once = limit.is_on && (event->limits & ONCE);
	uint32_t quiet_s = event->kind == LOG_KIND_END ? QUIET_S : 0;
	uint32_t reason = hash_reason(line), none = 0;

	if ((is_once && has_logged(reason)) ||
	    ((event->limits & RATE) && quota && !use_quota(quota, quiet_s))) {
		(quota ? quota : &limit.own)->omitted[event->kind]++;
		if (quota)
			atomic_compare_exchange_strong(&quota->report_s, &none,
						       util_now_s() + REPORT_S);
		return false;
	}
	if (is_once)
		limit.reasons[limit.reason_count++] = reason;
	return true;
}

bool log_report_omitted(struct log_quota *quota, const char *peer)
{
	_Atomic uint32_t *omitted = (quota ? quota : &limit.own)->omitted;
	const struct log_field fields[] = { { "POP3_PEER", peer }, { 0 } };
	char kinds[256] = "";
	size_t octets = 0, first = 0;
	uint64_t lines = 0;

	while (first < LOG_KINDS && omitted[first] == 0)
		first++;
	if (first == LOG_KINDS ||
	    (quota && (util_now_s() < quota->report_s || !use_quota(quota, 0))))
		return first < LOG_KINDS;
	if (quota)
		quota->report_s = 0;
	for (size_t i = first; i < LOG_KINDS; i++) {
		uint32_t count = atomic_exchange(&omitted[i], 0);

		if (count > 0)
			octets += (size_t)snprintf(kinds + octets, sizeof(kinds) - octets,
						   "%s%" PRIu32 " %s", lines > 0 ? ", " : "", count,
						   kind_names[i]);
		lines += count;
	}
	log_event(LOG_EVENT_OMITTED, fields, "%" PRIu64 " lines about %s were omitted: %s", lines,
		  peer, kinds);
	return false;
}

/* ---- Lines ---- */

__attribute__((format(printf, 4, 0))) static void log_line(const struct event *event,
							   struct log_quota *quota,
							   const struct log_field *fields,
							   const char *format, va_list arguments)
{
	char text[LINE_OCTETS_MAX + 2]; /* with an octet too many, which makes the cut show */
	char line[LINE_OCTETS_MAX + 1] = "";
	int saved_errno = errno;

	if (vsnprintf(text, sizeof(text), format, arguments) >= 0)
		(void)escape(text, '\0', line, LINE_OCTETS_MAX);
	if (is_due(event, quota, line)) {
		if (target == TO_JOURNAL)
			send_to_journal(event->priority, event->message_id, fields, line);
		else if (target == TO_SYSLOG)
			syslog(event->priority, "%s", line);
		else
			print_line(line);
	}
	errno = saved_errno;
}

void log_error(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(&error_line, limit.quota, NULL, format, arguments);
	va_end(arguments);
}

void log_warning(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(&warning_line, limit.quota, NULL, format, arguments);
	va_end(arguments);
}

void log_event(enum log_event event, const struct log_field *fields, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(&events[event], limit.quota, fields, format, arguments);
	va_end(arguments);
}

void log_event_about(struct log_quota *quota, enum log_event event, const struct log_field *fields,
		     const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(&events[event], quota, fields, format, arguments);
	va_end(arguments);
}
