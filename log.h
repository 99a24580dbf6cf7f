/* SPDX-License-Identifier: ISC
 *
 * The only printer of log lines. They go to the journal when systemd has connected it with standard
 * error; to syslog's mail facility when standard error is the client's, or /dev/null; else to
 * standard error. */
#pragma once

#include <stddef.h>

/* Lines that a program may wait for: the journal has an id for each kind, and an explanation
 * (pop3-handler.catalog). Their text is documented in pop3-handler(8), and does not change. */
enum log_event {
	LOG_EVENT_LOGIN,
	LOG_EVENT_LOGIN_REFUSED,
	LOG_EVENT_SESSION_ENDED,
	LOG_EVENT_DELETED,
	LOG_EVENT_TLS_FAILED,
	LOG_EVENT_CONNECTION_REFUSED,
	LOG_EVENT_SESSION_CRASHED,
	LOG_EVENT_RELOADED,
	LOG_EVENT_RELOAD_FAILED,
	LOG_EVENT_CALL_REFUSED,
};

/* What every line from now on is about: fields of its journal entry. */
enum log_subject {
	LOG_SUBJECT_SESSION,
	LOG_SUBJECT_PEER,
	LOG_SUBJECT_USER,
	LOG_SUBJECT_TLS,
};

/* A field of one journal entry. */
struct log_field {
	const char *name;
	const char *value; /* NULL: it is left out */
};

/* Opens the log for the two descriptors that the client is on, -1 for none. Before it, and if it
 * is not called, lines go to standard error. */
void log_open(int in_fd, int out_fd);

/* Sets one of the subjects; NULL: there is none. The text is copied, and cut at 500 octets. */
void log_about(enum log_subject subject, const char *text);

/* These log one line. What is not printable ASCII appears as \xNN, so that nobody's name can forge
 * a line; what is longer than 1,000 octets then is cut, and ends in "...". The fields of an event
 * end with one that has no name. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_event(enum log_event event, const struct log_field *fields, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
