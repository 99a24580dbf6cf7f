/* SPDX-License-Identifier: ISC
 * Some arguments come from a client, even before login: log.c escapes them. */
#include "session-log.h"

#include "auth.h"
#include "lib/util.h"
#include "mailbox.h"
#include "scoreboard.h"
#include "session.h"
#include "settings.h"

#include <sys/random.h>

void session_log_begin(struct session *session)
{
	uint64_t id = 0;

	if (getrandom(&id, sizeof(id), GRND_NONBLOCK) < 0)
		id = (uint64_t)session->start_ms; /* only the log uses it: it need not be random */
	log_about("POP3_SESSION", "%016" PRIx64, id);
	log_about("POP3_PEER", "%s", session->peer->text);
}

int session_log_tls(const struct session *session, int error)
{
	const struct stream *tls = transport_tls_stream(session->transport);

	if (error == -ECANCELED) /* not a failure of TLS: the end of the session has the reason */
		return error;
	if (error < 0) {
		const char *reason = tls->tls_problem ?: strerror(-error);
		const struct log_field fields[] = { { "POP3_REASON", reason }, { 0 } };

		log_event(LOG_EVENT_TLS_FAILED, fields, "TLS handshake with %s failed: %s",
			  session->peer->text, reason);
		return error;
	}
	log_about("POP3_TLS", "%s", tls->tls_version);
	if (tls->tls_problem)
		log_warning("the client certificate of %s is not accepted: %s", session->peer->text,
			    tls->tls_problem);
	return error;
}

static const char *describe_tls(const struct session *session)
{
	return transport_tls_stream(session->transport)->tls_version ?: "no TLS";
}

void session_log_login(const struct session *session, const char *mechanism)
{
	const struct log_field fields[] = { { "POP3_MECHANISM", mechanism }, { 0 } };
	const char *user = session->account->user;

	log_about("POP3_USER", "%s", user);
	log_event(LOG_EVENT_LOGIN, fields, "login of %s from %s accepted: %s, %s, %zu messages",
		  log_quote(user), session->peer->text, mechanism, describe_tls(session),
		  mailbox_count(session->mailbox));
	if (mailbox_report(session->mailbox)->is_missing)
		log_warning("the mailbox %s does not exist: it is served as empty",
			    log_quote(session->account->mailbox));
}

void session_log_refusal(const struct session *session, enum log_event event, const char *user,
			 const char *reason)
{
	const struct log_field fields[] = { { "POP3_USER", user },
					    { "POP3_REASON", reason },
					    { 0 } };

	log_event(event, fields, "login of %s from %s refused: %s", log_quote(user),
		  session->peer->text, reason);
}

size_t session_log_deletions(const struct session *session)
{
	const struct mailbox_report *report = mailbox_report(session->mailbox);

	for (size_t i = 0; i < report->removed_count && session->settings->log_deletions; i++) {
		const char *unique_id = mailbox_unique_id(session->mailbox, report->removed[i]);
		const struct log_field fields[] = { { "POP3_UNIQUE_ID", unique_id }, { 0 } };

		log_event(LOG_EVENT_DELETED, fields, "message %s deleted by %s from %s",
			  log_quote(unique_id), log_quote(session->account->user),
			  session->peer->text);
	}
	return report->removed_count;
}

static const char *describe_end(const struct session *session, int error)
{
	static const char *const texts[] = {
		[0] = "QUIT",
		[EPIPE] = "the client closed the connection",
		[ECONNRESET] = "the connection was reset",
		[ETIMEDOUT] = "timed out",
		[EPROTO] = "broken TLS",
		[ECANCELED] = "the service stops",
	};

	if (session->failed_logins == SESSION_FAILED_LOGINS_MAX ||
	    session->bad_commands >= SESSION_BAD_COMMANDS_MAX)
		return "too many mistakes";
	if (scoreboard_is_evicted(session->slot_ref))
		return "max-logins or max-sessions is reached";
	return (size_t)-error < ARRAY_SIZE(texts) && texts[-error] ? texts[-error] :
								     strerror(-error);
}

void session_log_end(const struct session *session, int error)
{
	const char *reason = describe_end(session, error), *peer = session->peer->text;
	const struct log_field fields[] = { { "POP3_REASON", reason }, { 0 } };
	double seconds = (double)(util_now_ms() - session->start_ms) / 1000;

	(void)log_report_omitted(NULL, peer);
	log_about("POP3_RETRIEVED", "%" PRIu64, session->retrieved);
	log_about("POP3_RETRIEVED_OCTETS", "%" PRIu64, session->retrieved_octets);
	log_about("POP3_DELETED", "%" PRIu64, session->deleted);
	log_about("POP3_SLEEPS", "%" PRIu64, session->sleeps);
	log_about("POP3_DURATION", "%.3f", seconds);
	if (session->account)
		log_event(LOG_EVENT_SESSION_ENDED, fields,
			  "session of %s from %s ended: %s; %s, retrieved %" PRIu64 " (%" PRIu64
			  " octets), deleted %" PRIu64 ", slept %" PRIu64 " times, %.3f seconds",
			  log_quote(session->account->user), peer, reason, describe_tls(session),
			  session->retrieved, session->retrieved_octets, session->deleted,
			  session->sleeps, seconds);
	else
		log_event(LOG_EVENT_SESSION_ENDED, fields,
			  "session from %s ended before login: %s; %s, %.3f seconds", peer, reason,
			  describe_tls(session), seconds);
}

void session_log_users(const struct auth_report *report)
{
	if (report->malformed_lines > 0)
		log_warning("malformed lines in %s are skipped: %u, the first is line %u",
			    log_quote(report->file), report->malformed_lines,
			    report->malformed_line);
}

void session_log_records(const struct session *session)
{
	const struct mailbox_report *report = mailbox_report(session->mailbox);
	const char *path = session->account->mailbox;
	auto_free char *state = NULL;

	if (report->has_bad_record)
		log_warning("the commit record of %s is damaged or foreign: ignored",
			    log_quote(path));
	if (report->has_bad_state && asprintf(&state, "%s/.pop3-handler.state", path) >= 0)
		log_warning("the state file %s cannot be used: no more than one message can be "
			    "deleted at once",
			    log_quote(state));
	if (report->completed > 0)
		log_warning("an interrupted deletion in %s is finished: %zu messages",
			    log_quote(path), report->completed);
	if (report->hidden > 0)
		log_warning("%zu deleted messages of %s are hidden, but not yet removed: %s",
			    report->hidden, log_quote(path), strerror(-report->error));
	else if (report->error < 0)
		log_warning("cannot end the commit record of %s: %s", log_quote(path),
			    strerror(-report->error));
	if (report->is_takeover && report->ids_error == 0 && !session->is_read_only)
		log_event(LOG_EVENT_TAKEN_OVER, NULL,
			  "unique-ids of %s are taken over: %zu messages, and %zu that were hidden",
			  log_quote(path), report->imported, report->excluded);
	if (report->ids_error < 0)
		log_error("cannot keep the unique-ids of %s, and lists no messages without an "
			  "old one: %s",
			  log_quote(path), strerror(-report->ids_error));
	if (report->unusable + report->clashes > 0)
		log_warning("%zu messages of %s cannot have their old unique-id, and %zu not that "
			    "of their name, which is an old one: the first is %s",
			    report->unusable, log_quote(path), report->clashes,
			    log_quote(report->import_text));
	if (report->renamed > 0)
		log_warning("%zu messages of %s that had the unique part of another are renamed, "
			    "the first from %s to %s",
			    report->renamed, log_quote(path), log_quote(report->renamed_from),
			    log_quote(report->renamed_to));
	if (report->rename_error < 0)
		log_warning("cannot rename messages of %s that have the unique part of another: %s",
			    log_quote(path), strerror(-report->rename_error));
	if (report->quota_error < 0)
		log_warning("cannot take deleted messages of %s off maildirsize: %s",
			    log_quote(path), strerror(-report->quota_error));
}
