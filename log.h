/* SPDX-License-Identifier: ISC
 * The only printer of log lines. They go to the journal if systemd has connected it with standard
 * error; to syslog's mail facility if that is the client's or /dev/null; else to standard error.
 * It is the client's if it is the same socket as standard input (inetd), and in a process that
 * serves a client there, also if it is the same file as standard input or output. A listener's
 * sessions keep its log. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lines that programs may look for: ids (pop3-handler.catalog) and texts (the manual) stay. */
enum log_event {
	/* Each of these is a kind of omitted lines; */
	LOG_EVENT_LOGIN_FAILED, /* as the next, for a failure that costs the client a wait */
	LOG_EVENT_LOGIN_REFUSED,
	LOG_EVENT_SESSION_ENDED,
	LOG_EVENT_TLS_FAILED,
	LOG_EVENT_CONNECTION_REFUSED,
	/* these are the last one. */
	LOG_EVENT_LOGIN,
	LOG_EVENT_DELETED,
	LOG_EVENT_TAKEN_OVER,
	LOG_EVENT_SESSION_CRASHED,
	LOG_EVENT_CRASHES, /* more than any fault explains */
	LOG_EVENT_SESSION_KILLED,
	LOG_EVENT_RELOADED,
	LOG_EVENT_RELOAD_FAILED,
	LOG_EVENT_CALL_REFUSED,
	LOG_EVENT_LOST,
	LOG_EVENT_OMITTED,
	LOG_EVENT_WARNING, /* all others: without an id */
	LOG_EVENT_ERROR,
};

/* A field of one journal entry. */
struct log_field {
	const char *name;
	const char *value; /* NULL: it is left out */
};

/* Opens the log before the sandbox closes. Until then lines go to standard error. `has_client`:
 * there is a client on descriptors 0 and 1; false also if it is not known whether there is one.
 * From then on no line waits for more than 0.2 seconds, and only once for a log that stalls: lines
 * that it does not take are lost, and a line with their number comes before the next one. */
void log_open(bool has_client);

/* Counts lost lines there, in memory that processes may share. It stays borrowed. */
void log_share_losses(_Atomic uint32_t *count);

/* Adds a field to the journal entry of every line from now on. */
void log_about(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A name or path for a line: in quotes, as printable ASCII without a quote, so that it cannot forge
 * the rest of the line; over 255 octets it is cut and ends in "...", so that it cannot hide the
 * rest. Four can be in use at once. NULL is none. */
const char *log_quote(const char *text);

#define LOG_KINDS (LOG_EVENT_LOGIN + 1)

/* What bounds the lines of one source before login. All 0 at first; processes may share it. */
struct log_quota {
	_Atomic uint32_t next_s;   /* monotonic: when a line may be logged */
	_Atomic uint32_t report_s; /* likewise, what was omitted; 0: nothing was */
	_Atomic uint32_t omitted[LOG_KINDS];
};

/* Each logs one line, with \xNN for what is not printable ASCII, so that no client can forge a
 * line; a line over 1,000 octets is cut and ends in "...". An event's fields end with { 0 }. The
 * line is about a source that has this quota; NULL: that of log_limit(). */
void log_event_about(struct log_quota *quota, enum log_event id, const struct log_field *fields,
		     const char *format, ...) __attribute__((format(printf, 4, 5)));
#define log_event(...) log_event_about(NULL, __VA_ARGS__)
#define log_warning(...) log_event(LOG_EVENT_WARNING, NULL, __VA_ARGS__)
#define log_error(...) log_event(LOG_EVENT_ERROR, NULL, __VA_ARGS__)

/* From now on, a client causes this process's lines: each reason (the text without digits and what
 * is between quotes) is logged once, 32 at most, and with a quota (NULL: none) only one line a
 * second. Others are omitted and counted, but never accepted logins, deletions and the listener's
 * own. The log's daemon is not connected again. A further call keeps the reasons. */
void log_limit(struct log_quota *quota);

/* Logs what lines about `peer` were omitted, if there are some and the quota allows a line; NULL:
 * what this process has omitted without a quota. Returns whether some are left to report. */
bool log_report_omitted(struct log_quota *quota, const char *peer);
