/* SPDX-License-Identifier: ISC
 *
 * The AUTHORIZATION state. Everything that the client says here is a stranger's. */
#include "login.h"

#include "auth.h"
#include "log.h"
#include "mailbox.h"
#include "settings.h"
#include "util.h"

#include <errno.h>

/* Whether this client may log in with a password. */
static bool plaintext_allowed(const struct session *session)
{
	switch (session->settings->plaintext_auth) {
	case PLAINTEXT_ALWAYS:
		return true;
	case PLAINTEXT_LOCAL:
		return transport_is_local(session->transport);
	default:
		return false;
	}
}

int login_put_capabilities(struct session *session)
{
	return plaintext_allowed(session) ? transport_put_line(session->transport, "USER") : 0;
}

static int refuse_plaintext(struct session *session)
{
	return reply_err(session, "a password must not travel unencrypted here: use TLS");
}

int login_cmd_user(struct session *session, const struct argument *argument)
{
	char *user;

	if (!plaintext_allowed(session))
		return refuse_plaintext(session);
	user = strdup(argument->text);
	if (!user)
		return session_reply_account_failure(session, -ENOMEM, argument->text);
	free(session->user);
	session->user = user;
	/* The same for a name that does not exist. */
	return reply_ok(session, "send PASS");
}

/* A refusal takes longer with every one in a row. */
static int refuse_login(struct session *session, const char *user)
{
	unsigned penalty_s = session->settings->login_penalty_s;
	int r;

	for (unsigned i = 0; i < session->failed_logins; i++)
		penalty_s = penalty_s > UINT32_MAX / 2 ? UINT32_MAX : 2 * penalty_s;
	session->failed_logins++;
	log_warning("login of '%s' from %s refused", user, transport_peer(session->transport));
	r = transport_pause(session->transport, penalty_s);
	return r == 0 ? reply_err(session, "[AUTH] wrong user name or password") : r;
}

/* Opens the account's mailbox; the session owns both from then on. */
static int open_maildrop(struct session *session, struct account *account)
{
	int r = mailbox_open(account->mailbox,
			     session_is_read_only(session, account) ? MAILBOX_READ_ONLY :
								      MAILBOX_READ_WRITE,
			     &session->mailbox);

	if (r < 0) {
		r = session_reply_failure(session, r, "open the mailbox", account->mailbox);
		(void)auth_free(account);
		return r;
	}
	session_log_deletions(account->mailbox, mailbox_report(session->mailbox));
	session->account = account;
	session->failed_logins = 0;
	session_enter(session, IN_TRANSACTION);
	return reply_ok(session, "%zu messages", mailbox_count(session->mailbox));
}

int login_cmd_pass(struct session *session, const struct argument *argument)
{
	const struct settings *settings = session->settings;
	auto_free char *user = take_ptr(session->user); /* for this PASS only */
	struct account *account;
	struct auth_report report;
	int r;

	if (!plaintext_allowed(session))
		return refuse_plaintext(session);
	if (!user)
		return reply_err(session, "send USER first");
	r = auth_login(settings->users, settings->mailbox, user, argument->text, &account, &report);
	session_log_users(session, &report);
	if (r == -EKEYREJECTED)
		return refuse_login(session, user);
	if (r < 0)
		return session_reply_account_failure(session, r, user);
	return open_maildrop(session, account);
}
