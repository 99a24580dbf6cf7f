/* SPDX-License-Identifier: ISC
 * The client is not authenticated yet: nothing that it sends is trusted. */
#include "login.h"

#include "auth.h"
#include "channel.h"
#include "failures.h"
#include "lib/digest.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "log.h"
#include "mailbox.h"
#include "sandbox.h"
#include "scoreboard.h"
#include "session-log.h"
#include "settings.h"
#include "tls.h"

#include <poll.h>

#define AUTH_OCTETS_MAX 12288 /* of a response line, without its line end (RFC 5034 section 4) */
#define JOURNAL_MS 1000	      /* for journald to read a line after the client has gone */
#define WRONG_PASSWORD "[AUTH] wrong user name or password"

/* "Username:" and "Password:" in base64; clients of AUTH LOGIN compare with these texts. */
#define CHALLENGE_USER "VXNlcm5hbWU6"
#define CHALLENGE_PASSWORD "UGFzc3dvcmQ6"

/* Handles a decoded SASL response (a NUL follows its last octet) and sends one reply. Returns as a
 * command_handler, or ASK_PASSWORD without a reply. */
#define ASK_PASSWORD 1
typedef int response_handler(struct session *session, const char *response, size_t octets);

/* ---- What the session allows ---- */

static bool is_encrypted(const struct session *session)
{
	return transport_tls_stream(session->transport)->tls_version != NULL;
}

static bool is_tls_offered(const struct session *session)
{
	return session->settings->tls == TLS_STARTTLS && !is_encrypted(session) &&
	       tls_is_available(session->tls);
}

/* Return why the client may not log in by this method, for the -ERR; NULL: it may. */

static const char *refuse_plaintext(const struct session *session)
{
	enum settings_plaintext_auth allowed = session->settings->plaintext_auth;

	if (is_encrypted(session) || allowed == PLAINTEXT_ALWAYS ||
	    (allowed == PLAINTEXT_LOCAL && session->peer->is_local))
		return NULL;
	return is_tls_offered(session) ? "passwords are refused without TLS: use TLS (STLS)" :
					 "passwords are refused without TLS: use TLS";
}

static const char *refuse_external(const struct session *session)
{
	return *transport_tls_stream(session->transport)->client_names ?
		       NULL :
		       "AUTH EXTERNAL needs a client certificate that this server accepts";
}

/* ---- TLS ---- */

/* RFC 2595 section 4. Forgets the user name, because an attacker on the network could have sent it
 * in plain text. */
int login_stls(struct session *session, NO_ARGUMENT)
{
	int r;

	if (is_encrypted(session))
		return reply_err(session, "TLS is active already");
	if (session->settings->tls != TLS_STARTTLS)
		return reply_err(session, "TLS is not offered here");
	r = transport_prepare_tls(session->transport, session->tls);
	if (r < 0)
		return reply_slow_err(session, "%s TLS is not available", session_response_code(r));
	free(take_ptr(session->user));
	return reply_ok(session, "begin TLS") ?:
		       session_log_tls(session, transport_start_tls(session->transport));
}

/* ---- Passwords and certificates ---- */

int login_user(struct session *session, const struct argument *argument)
{
	const char *refusal = refuse_plaintext(session);

	if (refusal) {
		session_log_refusal(session, LOG_EVENT_LOGIN_REFUSED, argument->text,
				    "a password without TLS");
		return reply_slow_err(session, "%s", refusal);
	}
	free(session->user);
	session->user = strdup(argument->text);
	if (!session->user)
		return reply_account_failure(session, -ENOMEM, argument->text, NULL);
	return reply_ok(session, "send PASS"); /* does not tell whether the user exists */
}

/* One attempt to log in. All texts are borrowed. */
struct login {
	const char *mechanism, *user;
	const char *password; /* "" with has_certificate */
	bool has_certificate; /* that names the user: no password is checked */
	bool is_trusted;      /* the client is in trusted-networks */
	const char *counted;  /* the user with a domain: failures are counted by this name */
	const char *problem;  /* why it fails whatever the account is; NULL: it may succeed */
};

static void log_wait(const struct session *session, const struct login *login, unsigned wait_s)
{
	log_warning("login of %s from %s waits for %u seconds: several have failed from there",
		    log_quote(login->user), session->peer->text, wait_s);
}

/* Delays a login after several failures from its source. The delay comes before the password check,
 * because a client that guesses passwords would not wait for a late answer. */
static int wait_for_source(struct session *session, const struct login *login)
{
	const struct settings *settings = session->settings;
	unsigned wait_s = failures_wait_s(
		session->failures, &session->peer->address, login->is_trusted, login->counted,
		settings->login_penalty_s, MIN(settings->login_timeout_s / 2, FAILURES_WAIT_MAX_S));

	if (wait_s == 0)
		return 0;
	log_wait(session, login, wait_s);
	return transport_pause(session->transport, (int64_t)wait_s * 1000);
}

/* Returns whether the session has failed with the same attempt before: some clients try a wrong
 * password again with each mechanism. Records the attempt's digest, in case it fails. */
static bool is_repeated(struct session *session, const struct login *login)
{
	unsigned char digest[DIGEST_OCTETS] = { 0 };
	uint64_t *attempts = session->failed_attempts, *last = attempts + session->failed_logins;
	auto_wipe char *text = NULL;

	if (asprintf(&text, "%d\n%s\n%s\n%s", login->has_certificate,
		     login->problem ? login->problem : "", login->user, login->password) > 0)
		digest_make(text, strlen(text), digest);
	memcpy(last, digest, sizeof(*last));
	while (*attempts != *last)
		attempts++;
	return attempts < last;
}

/* Counts, logs and answers a failed login; each in a row waits longer, and the last ends the
 * session. */
static int refuse_login(struct session *session, const struct login *login, const char *user,
			const char *reason)
{
	int r;

	failures_note(session->failures, &session->peer->address, login->is_trusted, login->counted,
		      login->password);
	session_log_refusal(session, LOG_EVENT_LOGIN_FAILED, user, reason);
	r = session_throttle_login(session);
	if (r < 0 && session->settings->login_penalty_s > 0)
		(void)poll(NULL, 0, JOURNAL_MS); /* journald finds the unit by the live process */
	return r ?: reply_err(session, WRONG_PASSWORD);
}

/* Has the keeper check the login. The result of auth_login() is ret_answer->error. Returns 0, or a
 * negative errno if the session must end. */
static int ask_keeper(struct session *session, const struct login *login,
		      struct channel_answer *ret_answer)
{
	const struct settings *settings = session->settings;
	int64_t penalty_ms = INT64_C(1000) * settings->login_penalty_s << session->failed_logins;
	struct channel_login request = { .request.type = CHANNEL_LOGIN };
	int r;

	/* A text that does not fit belongs to no account: it becomes "", which is refused. */
	if (!util_copy(request.user, login->user))
		*request.user = '\0';
	if (login->problem || !util_copy(request.password, login->password))
		explicit_bzero(request.password, sizeof(request.password));
	r = transport_flush(session->transport) ?: /* the keeper may take its time */
		    channel_tell(session->channel_fd, &request, sizeof(request)) ?:
		    channel_await(session->channel_fd, ret_answer, sizeof(*ret_answer),
				  session_keeper_ms(session, penalty_ms));
	explicit_bzero(&request, sizeof(request));
	if (r == 0 && ret_answer->error == -EAGAIN) {
		log_wait(session, login, ret_answer->wait_s);
		r = channel_await(session->channel_fd, ret_answer, sizeof(*ret_answer),
				  session_keeper_ms(session, penalty_ms));
	}
	if (r == 0 || r == -ECANCELED)
		return r;
	ret_answer->error = r;
	ret_answer->report = (struct auth_report){ .refusal = "the keeper does not answer" };
	r = transport_pause(session->transport, 0); /* fails if the deadline has passed */
	if (r == 0)
		session_enter(session, IN_END); /* a late answer is not for the next login */
	return r;
}

/* Takes on the account's uid and gid with the keeper's consent; does nothing without a keeper. */
static int become_account(struct session *session, const struct account *account)
{
	int r;

	if (session->channel_fd < 0 || session->has_ids)
		return 0;
	r = sandbox_become_account(account);
	session->has_ids = r == 0;
	if (r == 0)
		return 0;
	log_error("cannot become the user %u of %s: %s", account->uid, log_quote(account->user),
		  strerror(-r));
	session_enter(session, IN_END);
	return r;
}

/* Logs a login that fails for `refusal`, or if that is "", because of an error. The cause is in
 * this line, too, because a source at a listener has no quota for a second line. */
static void log_failure(const struct session *session, const char *user, const char *refusal,
			const char *failure, const char *cause)
{
	char reason[512];

	(void)snprintf(reason, sizeof(reason), "%s: %s", failure, cause);
	session_log_refusal(session, LOG_EVENT_LOGIN_REFUSED, user, *refusal ? refusal : reason);
}

/* Opens the mailbox, gives up access to all others, and enters TRANSACTION. `refusal` is why the
 * keeper denies access to the mailbox; "": it does not. */
static int begin_transaction(struct session *session, const struct account *checked,
			     const struct login *login, const char *refusal)
{
	const struct mailbox_origin origin = { .from = session->settings->unique_ids_from };
	auto_free struct account *account = malloc(sizeof(*account));
	bool has_new, is_denied;
	int r = scoreboard_note_password(session->slot_ref);

	if (r < 0)
		return r;
	if (!account)
		return reply_account_failure(session, -ENOMEM, checked->user, NULL);
	*account = *checked;
	/* Waiting for the mailbox must not run into the deadline without a reply. */
	transport_set_timeout(session->transport, session->settings->login_timeout_s);
	session->is_read_only = session->settings->read_only || account->is_read_only;
	r = become_account(session, account);
	r = r ?: mailbox_new(account->mailbox, session->is_read_only, &origin, &session->mailbox);
	r = r ?: session_open_mailbox(session, &has_new);
	if (r == 0 && session->channel_fd < 0)
		r = sandbox_after_login(session->settings, account, session->is_read_only);
	session->is_shut_out |= r > 0;
	if (r < 0) {
		scoreboard_note(session->slot_ref, SCOREBOARD_BEFORE_LOGIN);
		if (r == -EBUSY)
			refusal = "the mailbox is in use";
		/* faccessat(2) ignores Landlock: if it allows access, Landlock has denied it. */
		is_denied = r == -EACCES && !*refusal &&
			    faccessat(AT_FDCWD, account->mailbox, R_OK | X_OK, AT_EACCESS) == 0;
		log_failure(session, account->user, refusal, "the mailbox cannot be opened",
			    is_denied ? "the sandbox denies it" :
					session_mailbox_problem(session, r));
		if (is_denied)
			log_error("the mailbox %s is out of the sandbox's reach, perhaps behind a "
				  "symbolic link: set mail-root to where it really is",
				  log_quote(account->mailbox));
		session_set_login_deadline(session);
		r = reply_mailbox_failure(session, r, account->mailbox);
		session->mailbox = mailbox_free(session->mailbox);
		return r;
	}
	session->account = account;
	session->failed_logins = 0;
	if (session->tls)
		session->tls->functions->forget(session->tls);
	scoreboard_note_login(session->slot_ref,
			      failures_leave(session->failures, &session->peer->address,
					     login->is_trusted, login->counted));
	session_log_records(session);
	explicit_bzero(session->failed_attempts, sizeof(session->failed_attempts));
	session_log_login(session, login->mechanism);
	session_enter(session, IN_TRANSACTION);
	account = NULL; /* owned by the session now */
	return reply_ok(session, "%zu messages", mailbox_count(session->mailbox));
}

static int try_login(struct session *session, struct login *login)
{
	auto_free char *counted = settings_add_domain(session->settings, login->user);
	const char *user;
	struct channel_answer answer = { 0 };
	const struct auth_report *report = &answer.report;
	int r;

	if (is_repeated(session, login))
		return reply_slow_err(session, WRONG_PASSWORD);
	if (!counted)
		return reply_account_failure(session, -ENOMEM, login->user, NULL);
	login->counted = counted;
	login->is_trusted = session->slot_ref && session->slot_ref->is_trusted;
	r = wait_for_source(session, login);
	if (r == 0 && session->channel_fd >= 0)
		r = ask_keeper(session, login, &answer);
	else if (r == 0 && login->problem)
		answer.error = -EKEYREJECTED;
	else if (r == 0)
		answer.error = auth_login(session->settings, session->peer, login->user,
					  login->has_certificate ? NULL : login->password,
					  &answer.account, &answer.report);
	if (r < 0)
		return r;
	r = answer.error;
	user = *report->user ? report->user : login->user; /* the account's spelling, if known */
	if (r == -EKEYREJECTED) {
		r = refuse_login(session, login, user, login->problem ?: report->refusal);
	} else if (r < 0) {
		log_failure(session, user, report->refusal, "the account cannot be looked up",
			    r == -ENXIO ? "it has no usable mailbox path" : strerror(-r));
		r = reply_account_failure(session, r, user, report);
	} else {
		session->is_shut_out = answer.is_shut_out;
		r = begin_transaction(session, &answer.account, login, report->refusal);
	}
	session_log_users(report); /* not before a refusal: it would use the quota of the source */
	return r;
}

int login_pass(struct session *session, const struct argument *argument)
{
	auto_free char *user = take_ptr(session->user); /* a USER is good for one PASS */
	struct login login = { .mechanism = "PASS", .user = user, .password = argument->text };
	const char *refusal = refuse_plaintext(session);

	if (refusal)
		return reply_err(session, "%s", refusal);
	if (!user)
		return reply_err(session, "send USER first");
	return try_login(session, &login);
}

/* ---- SASL (RFC 5034) ---- */

/* Decodes a base64 response, calls `handle`, and wipes the response. If `text` is NULL, first sends
 * the challenge and reads the response. */
static int exchange(struct session *session, const char *challenge, char *text,
		    response_handler *handle)
{
	size_t text_octets;
	ssize_t octets;
	int r = 0;

	if (!text) {
		r = transport_put_line(session->transport, "+ %s", challenge) ?:
			    transport_read_line(session->transport, AUTH_OCTETS_MAX, &text);
		if (r == -EMSGSIZE)
			return reply_err(session, "the response is too long");
		if (r == -EBADMSG)
			return reply_err(session, "the response is not base64");
		if (r != 0)
			return r;
		if (strcmp(text, "*") == 0)
			return reply_err(session, "the login is cancelled");
	}
	text_octets = strlen(text);
	octets = wire_decode_base64(text);
	r = octets < 0 ? reply_err(session, "the response is not base64") :
			 handle(session, text, (size_t)octets);
	explicit_bzero(text, text_octets);
	return r;
}

static int login_plain(struct session *session, const char *response, size_t octets)
{
	struct login login = { .mechanism = "PLAIN" };
	struct wire_plain plain;

	if (wire_parse_plain(response, octets, &plain) < 0)
		return reply_err(session, "the response is not a valid PLAIN message");
	if (*plain.authorization && strcasecmp(plain.authorization, plain.user) != 0)
		login.problem = "the mailbox of somebody else";
	login.user = plain.user;
	login.password = plain.password;
	return try_login(session, &login);
}

/* Logs in the name of the client's certificate that equals the response, or for an empty response
 * the certificate's first name. */
static int login_external(struct session *session, const char *response, size_t octets)
{
	const char *const *name = transport_tls_stream(session->transport)->client_names;
	struct login login = { .mechanism = "EXTERNAL", .password = "", .has_certificate = true };

	if (memchr(response, '\0', octets))
		return reply_err(session, "the response is not a valid user name");
	while (octets > 0 && *name && strcmp(*name, response) != 0)
		name++;
	login.user = *name ? *name : response;
	login.problem = *name ? NULL : "the certificate is somebody else's";
	return try_login(session, &login);
}

/* The second response of LOGIN. */
static int login_with_password(struct session *session, const char *response, size_t octets)
{
	auto_free char *user = take_ptr(session->user);
	struct login login = { .mechanism = "LOGIN", .user = user, .password = response };

	if (memchr(response, '\0', octets))
		return reply_err(session, "the response is not a valid password");
	return try_login(session, &login);
}

/* draft-murchison-sasl-login: obsolete, but some clients support no other mechanism. */
static int login_login(struct session *session, const char *response, size_t octets)
{
	if (octets == 0 || memchr(response, '\0', octets))
		return reply_err(session, "the response is not a valid user name");
	free(session->user);
	session->user = strdup(response);
	return session->user ? ASK_PASSWORD :
			       reply_account_failure(session, -ENOMEM, response, NULL);
}

static const struct mechanism {
	const char *name;
	const char *challenge; /* in base64, for a client that sends no initial response */
	const char *(*refuse)(const struct session *session);
	response_handler *handle;
} mechanisms[] = {
	{ "PLAIN", "", refuse_plaintext, login_plain }, /* RFC 4616 */
	{ "LOGIN", CHALLENGE_USER, refuse_plaintext, login_login },
	{ "EXTERNAL", "", refuse_external, login_external }, /* RFC 4422 appendix A */
};

void login_put_capabilities(struct session *session)
{
	char line[sizeof("SASL PLAIN LOGIN EXTERNAL")] = "SASL", *end = line + 4;

	for (size_t i = 0; i < ARRAY_SIZE(mechanisms); i++) {
		if (!mechanisms[i].refuse(session))
			end = stpcpy(stpcpy(end, " "), mechanisms[i].name);
	}
	if (end > line + 4)
		(void)transport_put_line(session->transport, "%s", line);
	if (!refuse_plaintext(session))
		(void)transport_put_line(session->transport, "USER");
	if (is_tls_offered(session))
		(void)transport_put_line(session->transport, "STLS");
}

static int list_mechanisms(struct session *session)
{
	(void)reply_ok(session, "mechanisms follow");
	for (size_t i = 0; i < ARRAY_SIZE(mechanisms); i++) {
		if (!mechanisms[i].refuse(session))
			(void)transport_put_line(session->transport, "%s", mechanisms[i].name);
	}
	return transport_put_end(session->transport, "");
}

int login_auth(struct session *session, const struct argument *argument)
{
	const struct mechanism *mechanism = mechanisms, *end = mechanisms + ARRAY_SIZE(mechanisms);
	const char *refusal;
	int r;

	if (*argument->text == '\0') /* Outlook sends AUTH to get the list */
		return list_mechanisms(session);
	while (mechanism < end && strcasecmp(mechanism->name, argument->text) != 0)
		mechanism++;
	if (mechanism == end)
		return reply_err(session, "unknown authentication mechanism");
	refusal = mechanism->refuse(session);
	if (refusal)
		return reply_err(session, "%s", refusal);
	if (strcmp(argument->rest, "=") == 0) /* an empty initial response (RFC 5034 section 4) */
		r = mechanism->handle(session, "", 0);
	else
		r = exchange(session, mechanism->challenge, *argument->rest ? argument->rest : NULL,
			     mechanism->handle);
	if (r == ASK_PASSWORD) {
		r = exchange(session, CHALLENGE_PASSWORD, NULL, login_with_password);
		free(take_ptr(session->user)); /* a later PASS must not use it */
	}
	return r;
}
