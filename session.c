/* SPDX-License-Identifier: ISC
 *
 * What every command has to do with. A client is told what concerns him, the log all we know. */
#include "session.h"

#include "auth.h"
#include "log.h"
#include "mailbox.h"
#include "settings.h"

#include <errno.h>
#include <string.h>

const char *session_response_code(int error)
{
	switch (error) {
	case -EBUSY:
		return "[IN-USE]";
	case -EACCES:
	case -EPERM:
	case -EROFS:
	case -ENOTDIR:
	case -ELOOP:
	case -EINVAL:
	case -ENXIO:
	case -ENAMETOOLONG:
	case -EBADMSG: /* of tls_load() */
		return "[SYS/PERM]";
	default:
		return "[SYS/TEMP]";
	}
}

int session_reply_failure(struct session *session, int error, const char *what, const char *which)
{
	if (error != -EBUSY)
		log_error("cannot %s '%s': %s", what, which, strerror(-error));
	return reply_err(session, "%s cannot %s%s", session_response_code(error), what,
			 error == -EBUSY ? ": another session has it" : "");
}

int session_reply_message_failure(struct session *session, int error, const char *what,
				  size_t index)
{
	char unique_id[MAILBOX_UNIQUE_ID_MAX + 1];

	if (error == -ENOENT)
		return reply_err(session, "message %zu is gone", index + 1);
	mailbox_unique_id(session->mailbox, index, unique_id);
	return session_reply_failure(session, error, what, unique_id);
}

int session_reply_account_failure(struct session *session, int error, const char *user)
{
	if (error == -ENXIO)
		log_error("the account '%s' has no usable mailbox path", user);
	else
		log_error("cannot look up '%s' in the passwd-file '%s': %s", user,
			  session->settings->users, strerror(-error));
	return reply_err(session, "%s cannot look up the account", session_response_code(error));
}

void session_log_users(const struct session *session, const struct auth_report *report)
{
	if (report->malformed_lines > 0)
		log_warning("malformed lines in '%s' are skipped: %u, the first is line %u",
			    session->settings->users, report->malformed_lines,
			    report->malformed_line);
}

void session_log_deletions(const char *path, const struct mailbox_report *report)
{
	if (report->bad_record)
		log_warning("the commit record of '%s' is damaged or foreign: ignored", path);
	if (report->finished > 0)
		log_warning("an interrupted deletion in '%s' is finished: %zu messages", path,
			    report->finished);
	if (report->unfinished > 0)
		log_warning("%zu deleted messages of '%s' are hidden, but not yet removed: %s",
			    report->unfinished, path, strerror(-report->error));
	else if (report->error < 0)
		log_warning("cannot end the commit record of '%s': %s", path,
			    strerror(-report->error));
}

bool session_is_read_only(const struct session *session, const struct account *account)
{
	return session->settings->read_only || account->read_only;
}

void session_enter(struct session *session, enum session_state state)
{
	const struct settings *settings = session->settings;

	switch (state) {
	case IN_AUTH:
		transport_set_deadline(session->transport, settings->login_timeout_s);
		break;
	case IN_TRANSACTION:
		transport_set_timeout(session->transport, settings->idle_timeout_s);
		break;
	case IN_SLEEP:
		transport_set_timeout(session->transport, settings->sleep_timeout_s);
		break;
	case IN_END:
		break;
	}
	session->state = state;
}
