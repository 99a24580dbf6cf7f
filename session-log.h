/* SPDX-License-Identifier: ISC
 * The log lines of a session, its passwd-file and its mailbox; pop3-handler(8) documents them. */
#pragma once

#include "log.h"

struct auth_report;
struct session;

/* Starts the session's clock, and adds its id and address to the journal's fields. */
void session_log_begin(struct session *session);

/* Logs a failed handshake, or a client certificate that is not accepted. `error` is the result of
 * transport_start_tls(), and is returned. */
int session_log_tls(const struct session *session, int error);

/* Log an accepted login, and a refused one (LOG_EVENT_LOGIN_REFUSED or _FAILED) of `user`. */
void session_log_login(const struct session *session, const char *mechanism);
void session_log_refusal(const struct session *session, enum log_event event, const char *user,
			 const char *reason);

/* Logs the messages that the last commit or DELI removed, if log-deletions is set. Returns their
 * number in any case. */
size_t session_log_deletions(const struct session *session);

/* Logs the end of a session; `error` is the result of protocol_serve(). */
void session_log_end(const struct session *session, int error);

/* Logs that malformed lines of the passwd-file were skipped, if any were. */
void session_log_users(const struct auth_report *report);

/* Logs the problems in the mailbox's report: commit records, unique-ids, names and maildirsize. */
void session_log_records(const struct session *session);
