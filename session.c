/* SPDX-License-Identifier: ISC
 * What the commands share: they rate-limit clients, ask the keeper, open the mailbox, reply to
 * failures, and change the state. Runs before login and after it. The client is not trusted.
 * - Bad commands, failed logins and failures that are logged wait longer each time, and the last
 *   allowed one ends the session.
 * - Every wait has a limit: half of login-timeout for the keeper, 5 s for a locked mailbox.
 * - The log gets the full reason of a failure, a client only its kind.
 * - Only session_enter() assigns the state. */
#include "session.h"

#include "auth.h"
#include "channel.h"
#include "lib/proctitle.h"
#include "lib/util.h"
#include "log.h"
#include "mailbox.h"
#include "settings.h"

const char *session_response_code(int error)
{
	static const int permanent[] = {
		EACCES, EPERM, EROFS,	     ENOTDIR,	  ELOOP,
		EINVAL, ENXIO, ENAMETOOLONG, EMEDIUMTYPE, EBADMSG /* of tls.h */
	};

	for (size_t i = 0; i < ARRAY_SIZE(permanent); i++) {
		if (error == -permanent[i])
			return "[SYS/PERM]";
	}
	return error == -EBUSY ? "[IN-USE]" : "[SYS/TEMP]";
}

#define BAD_COMMANDS_FREE 10 /* these do not wait: clients probe for unknown commands */

int session_throttle(struct session *session)
{
	unsigned count = ++session->bad_commands;
	int64_t unit_ms = INT64_C(50) * session->settings->login_penalty_s;

	if (count >= SESSION_BAD_COMMANDS_MAX)
		session_enter(session, IN_END);
	if (count <= BAD_COMMANDS_FREE)
		return 0;
	/* Multiples of a twentieth of the first wait after a failed login. */
	return transport_pause(session->transport, unit_ms * (count - BAD_COMMANDS_FREE));
}

int session_throttle_login(struct session *session)
{
	/* The keeper has delayed its answer by the penalty already. */
	bool has_waited = session->channel_fd >= 0 && session->state == IN_AUTH;
	int64_t ms = has_waited ? 0 :
				  INT64_C(1000) * session->settings->login_penalty_s
					  << session->failed_logins;

	if (++session->failed_logins == SESSION_FAILED_LOGINS_MAX)
		session_enter(session, IN_END);
	return transport_pause(session->transport, ms);
}

int64_t session_keeper_ms(const struct session *session, int64_t penalty_ms)
{
	return MIN(INT64_C(500) * session->settings->login_timeout_s + penalty_ms,
		   transport_left_ms(session->transport));
}

int session_ask_keeper(struct session *session, unsigned type, struct channel_answer *ret_answer)
{
	const struct channel_request request = { .type = type };
	int r = channel_tell(session->channel_fd, &request, sizeof(request)) ?:
			channel_await(session->channel_fd, ret_answer, sizeof(*ret_answer),
				      session_keeper_ms(session, 0));

	if (r == 0)
		return ret_answer->error;
	ret_answer->report = (struct auth_report){ .refusal = "the keeper does not answer" };
	return r;
}

/* Wait, because some clients show [IN-USE] as a wrong password, and most downloads are shorter. */
#define LOCK_WAIT_MS 5000
#define LOCK_PAUSE_MS_MIN 5
#define LOCK_PAUSE_MS_MAX 160

int session_open_mailbox(struct session *session, bool *ret_has_new)
{
	int64_t pause_ms = LOCK_PAUSE_MS_MIN, end_ms = util_now_ms() + LOCK_WAIT_MS;
	int r;

	while ((r = mailbox_wake(session->mailbox, ret_has_new)) == -EBUSY &&
	       util_now_ms() < end_ms && transport_pause(session->transport, pause_ms) == 0)
		pause_ms = MIN(2 * pause_ms, LOCK_PAUSE_MS_MAX);
	return r;
}

const char *session_mailbox_problem(const struct session *session, int error)
{
	const char *problem = session->mailbox ? mailbox_report(session->mailbox)->problem : NULL;

	return problem ?: strerror(-error);
}

int reply_mailbox_failure(struct session *session, int error, const char *path)
{
	if (error == -EBUSY) { /* Claws and fetchmail look for "lock" */
		int r = session->state == IN_AUTH ? session_throttle(session) : 0;

		return r ?: reply_err(session, "[IN-USE] the mailbox is locked by another session");
	}
	log_error("cannot open the mailbox %s: %s", log_quote(path),
		  session_mailbox_problem(session, error));
	return reply_slow_err(session, "%s cannot open the mailbox%s", session_response_code(error),
			      error == -ESTALE ? ": it has been replaced, log in again" : "");
}

int reply_account_failure(struct session *session, int error, const char *user,
			  const struct auth_report *report)
{
	const char *reason = report ? report->refusal : "";
	const char *file = report && !*reason ? report->file : "";

	if (error == -ECANCELED)
		return error;
	if (error == -EFAULT) {
		session->has_crashed_checker = true;
		session_enter(session, IN_END);
	}
	if (error == -ENXIO && !*reason)
		log_error("the account %s has no usable mailbox path", log_quote(user));
	else
		log_error("cannot look up %s%s%s: %s", log_quote(user),
			  *file ? " in the passwd-file " : "", *file ? log_quote(file) : "",
			  *reason ? reason : strerror(-error));
	return reply_slow_err(session, "%s cannot look up the account",
			      session_response_code(error));
}

/* ---- States ---- */

void session_set_login_deadline(struct session *session)
{
	int64_t timeout_ms = INT64_C(1000) * session->settings->login_timeout_s;

	/* After a slow login that has failed, one in the past would kill the process at once. */
	transport_set_deadline(session->transport,
			       MAX(session->start_ms + timeout_ms, util_now_ms()));
}

void session_enter(struct session *session, enum session_state state)
{
	const struct settings *settings = session->settings;
	const char *peer = session->peer->text;
	bool is_asleep = state == IN_SLEEP;

	if (state == IN_AUTH)
		session_set_login_deadline(session);
	else if (state != IN_END)
		transport_set_timeout(session->transport, is_asleep ? settings->sleep_timeout_s :
								      settings->idle_timeout_s);
	session->state = state;
	if (session->account) /* for ps(1) */
		proctitle_set("%s %s%s", session->account->user, peer, is_asleep ? " asleep" : "");
	else
		proctitle_set("%s before login", peer);
}
