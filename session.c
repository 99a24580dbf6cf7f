/* SPDX-License-Identifier: ISC
 * What every command has to do with. A client learns what concerns it, the log everything. */
#include "session.h"

#include "auth.h"
#include "lib/proctitle.h"
#include "lib/util.h"
#include "log.h"
#include "mailbox.h"
#include "settings.h"

const char *session_response_code(int error)
{
	static const int permanent[] = { EACCES, EPERM, EROFS,	      ENOTDIR, ELOOP,
					 EINVAL, ENXIO, ENAMETOOLONG, EBADMSG /* of tls.h */ };

	for (size_t i = 0; i < ARRAY_SIZE(permanent); i++) {
		if (error == -permanent[i])
			return "[SYS/PERM]";
	}
	return error == -EBUSY ? "[IN-USE]" : "[SYS/TEMP]";
}

#define BAD_COMMANDS_FREE 10 /* of waits: a client may try what we do not know */

int session_pay(struct session *session)
{
	unsigned paid = ++session->bad_commands;
	int64_t unit_ms = INT64_C(50) * session->settings->login_penalty_s;

	if (paid >= SESSION_BAD_COMMANDS_MAX)
		session_enter(session, IN_END);
	if (paid <= BAD_COMMANDS_FREE)
		return 0;
	/* A twentieth of what a failed login waits, twice, three times ... */
	return transport_pause(session->transport, unit_ms * (paid - BAD_COMMANDS_FREE));
}

int reply_failure(struct session *session, int error, const char *what, const char *which)
{
	const char *code = session_response_code(error);

	if (error == -EBUSY && session->state != IN_AUTH) /* the log does not hear of it */
		return reply_err(session, "%s cannot %s: another session has it", code, what);
	if (error == -EBUSY)
		return reply_paid_err(session, "%s cannot %s: another session has it", code, what);
	log_error("cannot %s %s: %s", what, log_quote(which), strerror(-error));
	return reply_paid_err(session, "%s cannot %s%s", code, what,
			      error == -ESTALE ? ": it has been replaced, log in again" : "");
}

int reply_message_failure(struct session *session, int error, const char *what, size_t index)
{
	if (error == -ENOENT)
		return reply_err(session, "message %zu is gone", index + 1);
	return reply_failure(session, error, what, mailbox_unique_id(session->mailbox, index));
}

int reply_account_failure(struct session *session, int error, const char *user)
{
	if (error == -ENXIO)
		log_error("the account %s has no usable mailbox path", log_quote(user));
	else
		log_error("cannot look up %s in the passwd-file %s: %s", log_quote(user),
			  log_quote(session->settings->users), strerror(-error));
	return reply_paid_err(session, "%s cannot look up the account",
			      session_response_code(error));
}

/* ---- States ---- */

void session_enter(struct session *session, enum session_state state)
{
	const struct settings *settings = session->settings;
	const char *peer = session->peer->text;
	bool is_asleep = state == IN_SLEEP;

	if (state == IN_AUTH)
		transport_set_deadline(session->transport, settings->login_timeout_s);
	else if (state != IN_END)
		transport_set_timeout(session->transport, is_asleep ? settings->sleep_timeout_s :
								      settings->idle_timeout_s);
	session->state = state;
	if (session->account) /* for ps(1) */
		proctitle_set("%s %s%s", session->account->user, peer, is_asleep ? " asleep" : "");
	else
		proctitle_set("%s before login", peer);
}
