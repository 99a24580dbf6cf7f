/* SPDX-License-Identifier: ISC
 * Writes all log lines: to the journal if systemd has connected standard error with it; to syslog,
 * facility mail, if standard error is the client's or a device such as /dev/null; else to standard
 * error. Standard error is the client's if it is the socket on standard input (inetd), and in a
 * process that serves a client on standard input and output, if it is the same file as one of
 * these. The sessions of a listener inherit its log. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lines that other programs may match. Their ids (systemd/pop3-handler.catalog) and their texts
 * (pop3-handler(8), DIAGNOSTICS) are stable. */
enum log_event {
	/* Omitted lines of these events are counted separately; */
	LOG_EVENT_LOGIN_FAILED, /* a refused login that counts as a failure of its source */
	LOG_EVENT_LOGIN_REFUSED,
	LOG_EVENT_SESSION_ENDED,
	LOG_EVENT_TLS_FAILED,
	LOG_EVENT_CONNECTION_REFUSED,
	/* those of the following are counted together, as "other". */
	LOG_EVENT_LOGIN,
	LOG_EVENT_DELETED,
	LOG_EVENT_TAKEN_OVER,
	LOG_EVENT_SESSION_CRASHED,
	LOG_EVENT_CRASHES, /* more crashes than faults explain: perhaps an attack */
	LOG_EVENT_SESSION_KILLED,
	LOG_EVENT_RELOADED,
	LOG_EVENT_RELOAD_FAILED,
	LOG_EVENT_CALL_REFUSED,
	LOG_EVENT_LOST,
	LOG_EVENT_OMITTED,
	LOG_EVENT_WARNING, /* any other line; no id */
	LOG_EVENT_ERROR,
};

/* A field of one journal entry. */
struct log_field {
	const char *name;
	const char *value; /* NULL: it is left out */
};

/* Opens the log; call it before the sandbox denies that. Earlier lines go to standard error.
 * `has_client`: a client is on descriptors 0 and 1; false if that is not known. Lines then wait
 * for a busy log, but a process waits no longer than 0.2 seconds within ten. Lines that the log
 * does not accept are lost; their number is logged before the next. */
void log_open(bool has_client);

/* Counts lost lines in `count`, which is borrowed for good and may be in shared memory. */
void log_share_losses(_Atomic uint32_t *count);

/* Adds a field to the journal entry of every line from now on. */
void log_about(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Quotes a name or path for a line. Escapes quotes and whatever is not printable ASCII, so that the
 * text cannot forge the rest of the line; truncates it to 255 octets, the last of them "...", so
 * that it cannot push the rest out. The result is static, and valid for three more calls. NULL is
 * quoted as an empty text. */
const char *log_quote(const char *text);

#define LOG_KINDS (LOG_EVENT_LOGIN + 1)

/* Limits the lines about one source before login. Begins as 0; may be in shared memory. */
struct log_quota {
	_Atomic uint32_t next_s;   /* monotonic: when the next line is allowed */
	_Atomic uint32_t report_s; /* monotonic: when omitted lines are reported; 0: none were */
	_Atomic uint32_t omitted[LOG_KINDS];
};

/* Log one line. Octets that are not printable ASCII become \xNN, so that no client can forge a
 * line. A line over 1,000 octets is truncated, and ends in "...". `fields` ends with { 0 }. `quota`
 * is that of the source that the line is about; NULL: the quota of log_limit(). */
void log_event_about(struct log_quota *quota, enum log_event id, const struct log_field *fields,
		     const char *format, ...) __attribute__((format(printf, 4, 5)));
#define log_event(...) log_event_about(NULL, __VA_ARGS__)
#define log_warning(...) log_event(LOG_EVENT_WARNING, NULL, __VA_ARGS__)
#define log_error(...) log_event(LOG_EVENT_ERROR, NULL, __VA_ARGS__)

/* From now on a client causes this process's lines. They are limited: each reason (the text without
 * digits and quoted parts) is logged once, and 32 reasons at most; with a quota (not NULL), only
 * one line a second is logged. Other lines are omitted and counted. Accepted logins, deletions and
 * the listener's own lines are never omitted. The log is not reconnected any more. A second call
 * replaces the quota and keeps the reasons. */
void log_limit(struct log_quota *quota);

/* Logs how many lines about `peer` were omitted, if any were and the quota allows a line; quota
 * NULL: those that this process omitted without a quota. Returns whether some remain to report. */
bool log_report_omitted(struct log_quota *quota, const char *peer);

/* Makes the report about a quota due at once: call it before the counts are lost. */
void log_hasten_report(struct log_quota *quota);
