/* SPDX-License-Identifier: ISC
 * The log lines of a session that pop3-handler(8) documents, of the passwd-file and the mailbox. */
#pragma once

#include "log.h"

struct auth_report;
struct session;

/* Begins to count what the session does, and gives it an id in the log. */
void session_log_begin(struct session *session);

/* A handshake. Returns `error`: what transport_start_tls() returned. */
int session_log_tls(const struct session *session, int error);

/* A login; one that was refused (LOG_EVENT_LOGIN_REFUSED or _FAILED), of `user` as given. */
void session_log_login(const struct session *session, const char *mechanism);
void session_log_refusal(const struct session *session, enum log_event event, const char *user,
			 const char *reason);

/* The messages that the last deletion removed, if log-deletions is set. Returns their number. */
size_t session_log_deletions(const struct session *session);

/* How the session ended: `error` is as protocol_serve() says. */
void session_log_end(const struct session *session, int error);

/* The lines of the passwd-file that were skipped. */
void session_log_users(const struct auth_report *report);

/* What became of commit records that were found or left in the mailbox. */
void session_log_records(const struct session *session);
