/* SPDX-License-Identifier: ISC
 * The command loop and the commands after login; login.c has those before. Arguments of a client
 * are not trusted and never become a path: a unique-id is only looked up in the listing. */
#include "protocol.h"

#include "auth.h"
#include "channel.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "log.h"
#include "login.h"
#include "mailbox.h"
#include "sandbox.h"
#include "scoreboard.h"
#include "session-log.h"
#include "session.h"
#include "settings.h"

#include <malloc.h>

#define COMMAND_OCTETS_MAX 512 /* without the line end; RFC 2449 section 4 allows 255 with it */
#define BLANKS " \t"

/* The argument that a command takes, and the members of struct argument that its handler gets. Any
 * other argument is refused before the handler is called, and so is a message that does not exist
 * or is deleted. */
enum argument_shape {
	ARG_NONE,      /* no argument; the handler's parameter is NO_ARGUMENT */
	ARG_NAME,      /* text: the rest of the line, not empty, without blanks around it */
	ARG_SECRET,    /* text: the rest of the line unchanged, not empty; wiped afterwards */
	ARG_MECHANISM, /* text: the first word; rest: what follows it; both may be empty */
	ARG_MSG,       /* has_message, index: a message, given by its number or UID:unique-id */
	ARG_OPT_MSG,   /* as ARG_MSG; or no argument, and has_message is false */
	ARG_MSG_COUNT, /* as ARG_MSG, then has_count, count: a number of lines */
};

/* One row of `commands`. */
struct command {
	const char *name;	   /* upper case; clients may use any case */
	unsigned states;	   /* where it is valid: IN_... of session.h, joined by | */
	enum argument_shape shape; /* checked by the loop before the handler is called */
	command_handler *handler;  /* sends exactly one reply; see session.h */
	const char *capability;	   /* the line that CAPA lists for it; NULL: none */
	bool is_change;		   /* it changes the mailbox: refused if that is read-only */
};

static int cmd_noop(struct session *session, NO_ARGUMENT)
{
	return reply_ok(session, "nothing done");
}

/* A message's unique-id, quoted for the log. */
static const char *quote_id(struct session *session, size_t index)
{
	return log_quote(mailbox_unique_id(session->mailbox, index));
}

/* ---- TRANSACTION: STAT, LIST, UIDL ---- */

/* Logs why (negative errno) a message cannot be read: once per session for a message that is not
 * plain mail (-EMEDIUMTYPE), and once for any other reason. */
static void note_unreadable(struct session *session, size_t index, int error)
{
	bool *has_logged = &session->has_logged_unreadable[error == -EMEDIUMTYPE];

	if (*has_logged)
		return;
	*has_logged = true;
	log_error("cannot read the message %s of %s: %s", quote_id(session, index),
		  log_quote(session->account->mailbox),
		  error == -EMEDIUMTYPE ? mailbox_report(session->mailbox)->problem :
					  strerror(-error));
}

/* Replies that the message of `argument` cannot be read. */
static int reply_unreadable(struct session *session, int error, const struct argument *argument)
{
	bool is_foreign = error == -EMEDIUMTYPE;

	if (error == -ENOENT)
		return reply_err(session, "%smessage %zu is gone",
				 argument->has_unique_id ? "[UID] " : "", argument->index + 1);
	note_unreadable(session, argument->index, error);
	return reply_slow_err(session, "%s cannot read the message%s%s",
			      session_response_code(error), is_foreign ? ": " : "",
			      is_foreign ? mailbox_report(session->mailbox)->problem : "");
}

/* Gets a size. For an unreadable message it is the file's: LIST must still list the others. */
static int find_size(struct session *session, size_t index, uint64_t *ret_octets)
{
	int r = mailbox_size(session->mailbox, index, ret_octets);

	if (r > 0)
		note_unreadable(session, index, -r);
	return MIN(r, 0);
}

/* Gets all sizes before the reply begins, because an -ERR cannot follow +OK. Returns 1, or the
 * result of the reply (<= 0) that it sent after a failure. */
static int measure_all(struct session *session, size_t *ret_count, uint64_t *ret_octets)
{
	*ret_count = 0;
	*ret_octets = 0;
	for (size_t i = 0; i < mailbox_count(session->mailbox); i++) {
		uint64_t octets;
		int r = mailbox_has(session->mailbox, i) ? find_size(session, i, &octets) : -ENOENT;

		if (r == -ENOENT)
			continue;
		if (r < 0)
			return reply_unreadable(session, r, &(struct argument){ .index = i });
		(*ret_count)++;
		*ret_octets += octets;
	}
	return 1;
}

static int cmd_stat(struct session *session, NO_ARGUMENT)
{
	size_t count;
	uint64_t octets;
	int r = measure_all(session, &count, &octets);

	return r > 0 ? reply_ok(session, "%zu %" PRIu64, count, octets) : r;
}

/* Writes a line of LIST or UIDL; without printf(3), which is slow for many messages. Returns the
 * number of octets, or a negative errno as mailbox_size(). */
static int put_listed(struct session *session, size_t index, bool has_size, char *ret_line)
{
	char *end = ret_line + wire_put_number(index + 1, ret_line);
	uint64_t octets;
	int r = has_size ? find_size(session, index, &octets) : 0;

	if (r < 0)
		return r;
	*end++ = ' ';
	if (has_size)
		end += wire_put_number(octets, end);
	else
		end = stpcpy(end, mailbox_unique_id(session->mailbox, index));
	return (int)(end - ret_line);
}

/* LIST (has_sizes) and UIDL. */
static int list(struct session *session, const struct argument *argument, bool has_sizes)
{
	char line[WIRE_NUMBER_OCTETS_MAX + 1 + WIRE_IMPORTED_ID_MAX + 1];
	size_t count;
	uint64_t octets;
	int r;

	if (argument->has_message) {
		r = mailbox_check(session->mailbox, argument->index) ?:
			    put_listed(session, argument->index, has_sizes, line);
		return r < 0 ? reply_unreadable(session, r, argument) :
			       reply_ok(session, "%.*s", r, line);
	}
	r = has_sizes ? measure_all(session, &count, &octets) : 1;
	if (r <= 0)
		return r;
	(void)(has_sizes ? reply_ok(session, "%zu messages (%" PRIu64 " octets)", count, octets) :
			   reply_ok(session, "unique-ids follow"));
	for (size_t i = 0; i < mailbox_count(session->mailbox); i++) {
		r = mailbox_has(session->mailbox, i) ? put_listed(session, i, has_sizes, line) : 0;
		if (r > 0)
			(void)transport_put_text(session->transport, line, (size_t)r);
	}
	return transport_put_end(session->transport, "");
}

static int cmd_list(struct session *session, const struct argument *argument)
{
	return list(session, argument, true);
}

static int cmd_uidl(struct session *session, const struct argument *argument)
{
	return list(session, argument, false);
}

/* ---- TRANSACTION: RETR, TOP, DELE, DELI, RSET ---- */

/* RETR, and TOP, which has a count of lines. */
static int cmd_retr(struct session *session, const struct argument *argument)
{
	auto_message struct mailbox_message message = { .fd = -1 };
	struct wire_converter converter = WIRE_CONVERTER_INIT;
	size_t index = argument->index;
	uint64_t octets;
	int r = mailbox_message_open(session->mailbox, index, &message), read_error = 0;

	session->is_shrunk = false;
	if (r == 0 && !argument->has_count)
		r = mailbox_message_size(session->mailbox, index, &message, &octets);
	if (r != 0)
		return reply_unreadable(session, r, argument);
	if (argument->has_count)
		converter.lines_left = argument->count;
	r = argument->has_count ? reply_ok(session, "message follows") :
				  reply_ok(session, "%" PRIu64 " octets", octets);
	while (message.count > 0 && r == 0 && read_error == 0 && !converter.is_done) {
		r = transport_put_message(session->transport, &converter, message.octets,
					  message.count);
		if (!converter.is_done)
			read_error = mailbox_message_read(&message);
	}
	if (r == 0 && read_error < 0) {
		/* After +OK, only closing the connection tells the client of the failure. */
		log_error("cannot read the message %s to its end: %s", quote_id(session, index),
			  strerror(-read_error));
		(void)transport_flush(session->transport); /* sends earlier replies */
		return -EIO; /* read_error could be taken for an error of the connection */
	}
	r = r ?: transport_put_end(session->transport, wire_convert_end(&converter));
	if (r < 0 || argument->has_count)
		return r;
	session->retrieved++;
	session->retrieved_octets += converter.octets;
	if (mailbox_note_retrieved(session->mailbox, index, &message, converter.octets))
		log_warning("the message %s has %" PRIu64 " octets, not as many as was believed",
			    quote_id(session, index), converter.octets);
	return r;
}

static int cmd_dele(struct session *session, const struct argument *argument)
{
	mailbox_mark(session->mailbox, argument->index);
	return reply_ok(session, "message %zu is marked as deleted", argument->index + 1);
}

static int cmd_deli(struct session *session, const struct argument *argument)
{
	int r = mailbox_delete(session->mailbox, argument->index);

	if (r < 0) {
		log_error("cannot delete the message %s: %s", quote_id(session, argument->index),
			  strerror(-r));
		return reply_slow_err(session, "%s cannot delete the message",
				      session_response_code(r));
	}
	session->deleted += session_log_deletions(session);
	session_log_records(session);
	return reply_ok(session, "message %zu is deleted", argument->index + 1);
}

static int cmd_rset(struct session *session, NO_ARGUMENT)
{
	mailbox_unmark_all(session->mailbox);
	return reply_ok(session, "no message is marked as deleted");
}

/* ---- QUIT, SLEE, WAKE ---- */

/* Deletes the marked messages, then flags the retrieved ones as seen; a failure to flag them is
 * only logged. Returns 1, or the result of the reply (<= 0) that it sent if the deletion failed. */
static int commit(struct session *session)
{
	const char *mailbox = session->account->mailbox;
	int r = mailbox_commit(session->mailbox);
	size_t deleted = session_log_deletions(session);

	session->deleted += deleted;
	if (r < 0) {
		log_error("cannot delete the marked messages of %s, %zu are gone: %s",
			  log_quote(mailbox), deleted, strerror(-r));
		if (deleted > 0)
			return reply_slow_err(session,
					      "%s cannot delete all marked messages: %zu deleted",
					      session_response_code(r), deleted);
		return reply_slow_err(session,
				      "%s cannot delete the marked messages: none was deleted",
				      session_response_code(r));
	}
	session_log_records(session);
	r = session->settings->keep_new ? 0 : mailbox_mark_seen(session->mailbox);
	if (r < 0)
		log_warning("cannot mark messages of %s as seen: %s", log_quote(mailbox),
			    strerror(-r));
	return 1;
}

/* From TRANSACTION, this is the UPDATE state. The lock is released before the reply, so that the
 * client may log in again at once. */
static int cmd_quit(struct session *session, NO_ARGUMENT)
{
	int r = session->state == IN_TRANSACTION ? commit(session) : 1;

	if (session->mailbox)
		mailbox_close(session->mailbox);
	session_enter(session, IN_END);
	return r > 0 ? reply_ok(session, "goodbye") : r;
}

static void note_wake(struct session *session)
{
	static const struct channel_request wake = { .type = CHANNEL_WAKE };

	scoreboard_note(session->slot_ref, SCOREBOARD_AWAKE);
	if (session->channel_fd >= 0) /* if the keeper is gone, the next WAKE reports it */
		(void)channel_tell(session->channel_fd, &wake, sizeof(wake));
}

static int cmd_slee(struct session *session, NO_ARGUMENT)
{
	unsigned max = session->settings->max_sleeping_per_user;
	uint64_t deleted = session->deleted;
	struct channel_answer answer;
	int r = session->channel_fd < 0 ? 0 : session_ask_keeper(session, CHANNEL_SLEEP, &answer);

	r = r ?: scoreboard_note_sleep(session->slot_ref, max); /* -EDQUOT: over the limit */
	if (r < 0 && r != -EDQUOT)
		return reply_account_failure(session, r, session->account->user, NULL);
	if (r < 0) {
		log_warning("%s from %s may not sleep: max-sleeping-per-user = %u",
			    log_quote(session->account->user), session->peer->text, max);
		return reply_slow_err(session, "[SYS/TEMP] too many of your sessions are asleep");
	}
	r = commit(session);
	if (r <= 0) {
		note_wake(session);
		return r;
	}
	mailbox_close(session->mailbox);
	if (!session->is_shrunk) {
		transport_shrink(session->transport);
		(void)malloc_trim(0);
		session->is_shrunk = true;
	}
	session->sleeps++;
	session_enter(session, IN_SLEEP);
	return reply_ok(session, "asleep, %" PRIu64 " messages deleted",
			session->deleted - deleted);
}

static int cmd_wake(struct session *session, NO_ARGUMENT)
{
	struct channel_answer answer = { 0 };
	bool has_new;
	int r;

	if (session->channel_fd >= 0)
		r = session_ask_keeper(session, CHANNEL_RECHECK, &answer);
	else
		r = auth_check_again(session->settings, session->peer, session->account,
				     &answer.report);
	session_log_users(&answer.report);
	if (r == -EKEYREJECTED) {
		session_log_refusal(session, LOG_EVENT_LOGIN_REFUSED, session->account->user,
				    answer.report.refusal);
		return session_throttle_login(session) ?:
			       reply_err(session, "[AUTH] the account has changed since login");
	}
	if (r < 0)
		return reply_account_failure(session, r, session->account->user, &answer.report);
	r = session_open_mailbox(session, &has_new);
	if (r == -EACCES && session->is_shut_out)
		return reply_slow_err(session, "[SYS/TEMP] the mailbox is new: log in again");
	if (r < 0)
		return reply_mailbox_failure(session, r, session->account->mailbox);
	session->failed_logins = 0;
	session->is_shrunk &= !has_new; /* the mailbox has been listed again */
	session_log_records(session);
	note_wake(session);
	session_enter(session, IN_TRANSACTION);
	return reply_ok(session, "[ACTIVITY/%s] %zu messages", has_new ? "NEW" : "NONE",
			mailbox_count(session->mailbox));
}

/* ---- Commands ---- */

static command_handler cmd_capa;

/* Struct command explains the columns. To add a command, add a row here and its handler above, or
 * in login.c if the command is valid only before login. Each name has one row. */
/* clang-format off */
static const struct command commands[] = {
	/* name   valid in                   argument       handler     capability  is_change */
	{ "CAPA", IN_AUTH | IN_TRANSACTION,  ARG_NONE,      cmd_capa,   NULL,       false },
	{ "AUTH", IN_AUTH,                   ARG_MECHANISM, login_auth, NULL,       false },
	{ "USER", IN_AUTH,                   ARG_NAME,      login_user, NULL,       false },
	{ "PASS", IN_AUTH,                   ARG_SECRET,    login_pass, NULL,       false },
	{ "STLS", IN_AUTH,                   ARG_NONE,      login_stls, NULL,       false },
	{ "STAT", IN_TRANSACTION,            ARG_NONE,      cmd_stat,   NULL,       false },
	{ "LIST", IN_TRANSACTION,            ARG_OPT_MSG,   cmd_list,   NULL,       false },
	{ "RETR", IN_TRANSACTION,            ARG_MSG,       cmd_retr,   NULL,       false },
	{ "TOP",  IN_TRANSACTION,            ARG_MSG_COUNT, cmd_retr,   "TOP",      false },
	{ "UIDL", IN_TRANSACTION,            ARG_OPT_MSG,   cmd_uidl,   "UIDL",     false },
	{ "DELE", IN_TRANSACTION,            ARG_MSG,       cmd_dele,   NULL,       true },
	{ "DELI", IN_TRANSACTION,            ARG_MSG,       cmd_deli,   "DELI",     true },
	{ "RSET", IN_TRANSACTION,            ARG_NONE,      cmd_rset,   NULL,       false },
	{ "NOOP", IN_TRANSACTION | IN_SLEEP, ARG_NONE,      cmd_noop,   NULL,       false },
	{ "SLEE", IN_TRANSACTION,            ARG_NONE,      cmd_slee,   NULL,       false },
	{ "WAKE", IN_SLEEP,                  ARG_NONE,      cmd_wake,   NULL,       false },
	{ "QUIT", IN_ANY,                    ARG_NONE,      cmd_quit,   NULL,       false },
};
/* clang-format on */

/* CAPA (RFC 2449 section 5): the same list in every state. */
static int cmd_capa(struct session *session, NO_ARGUMENT)
{
	(void)reply_ok(session, "capabilities follow");
	login_put_capabilities(session);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i].capability)
			(void)transport_put_line(session->transport, "%s", commands[i].capability);
	}
	(void)transport_put_line(session->transport,
				 "SLEE-WAKE %u\r\nSLEEPING\r\nUID-PARAM\r\nRESP-CODES\r\n"
				 "AUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\n"
				 "IMPLEMENTATION pop3-handler",
				 session->settings->sleep_timeout_s);
	return transport_put_end(session->transport, "");
}

/* Ends `text` after its first word. Returns the text after the blank that followed the word. */
static char *cut_word(char *text)
{
	char *rest = text + strcspn(text, BLANKS);

	if (*rest)
		*rest++ = '\0';
	return rest;
}

/* Finds the message that an argument names. Only this function turns numbers (from 1) into indices
 * (from 0). Returns NULL, or the text of an -ERR. */
static const char *read_message(struct session *session, struct argument *argument)
{
	size_t count = mailbox_count(session->mailbox);
	uint64_t number = 0;
	int r = 0;

	if (argument->has_unique_id)
		r = mailbox_find(session->mailbox, argument->text + 4, &argument->index);
	else if (wire_parse_number(argument->text, count, &number) < 0 || number == 0)
		return "there is no such message";
	else
		argument->index = (size_t)number - 1;
	if (r == -ENOENT)
		return "[UID] there is no such message";
	if (r < 0)
		return "[SYS/TEMP] cannot look up the message";
	if (mailbox_is_deleted(session->mailbox, argument->index))
		return argument->has_unique_id ? "[UID] the message is deleted" :
						 "the message is deleted";
	return NULL;
}

/* Parses the argument of a command, without looking at the mailbox: an error here counts as a bad
 * command. Returns NULL, or the text of an -ERR. */
static const char *read_argument(enum argument_shape shape, char *text, struct argument *ret)
{
	if (shape != ARG_SECRET)
		text = util_trim(text, BLANKS);
	*ret = (struct argument){ .text = text };
	if (shape == ARG_NONE)
		return *text ? "this command takes no argument" : NULL;
	if (!*text && shape != ARG_OPT_MSG && shape != ARG_MECHANISM)
		return "this command needs an argument";
	if (!*text || shape == ARG_SECRET || shape == ARG_NAME)
		return NULL;
	ret->rest = util_trim(cut_word(text), BLANKS);
	if (shape == ARG_MECHANISM)
		return NULL;
	ret->has_message = true;
	ret->has_unique_id = strncasecmp(text, "UID:", 4) == 0;
	ret->has_count = shape == ARG_MSG_COUNT;
	if (!ret->has_count)
		return *ret->rest ? "too many arguments" : NULL;
	return wire_parse_number(ret->rest, UINT64_MAX, &ret->count) < 0 ?
		       "this command needs a message and a number of lines" :
		       NULL;
}

static int serve_line(struct session *session, char *line)
{
	size_t octets = strlen(line);
	char *text = cut_word(line);
	struct argument argument;
	const struct command *command = commands, *end = commands + ARRAY_SIZE(commands);
	unsigned bad_commands = session->bad_commands;
	const char *problem;
	int r;

	while (command < end && strcasecmp(command->name, line) != 0)
		command++;
	if (command == end || !(command->states & session->state)) {
		problem = command < end ? "this command is not valid in this state" :
					  "unknown command";
		explicit_bzero(line, octets); /* it may have a password: PASS in the wrong state */
		return reply_slow_err(session, "%s", problem);
	}
	if (command->is_change && session->is_read_only)
		return reply_err(session, "[READ-ONLY] the mailbox is read-only");
	problem = read_argument(command->shape, text, &argument);
	if (problem)
		return reply_slow_err(session, "%s", problem);
	if (argument.has_message)
		problem = read_message(session, &argument);
	r = problem ? reply_err(session, "%s", problem) : command->handler(session, &argument);
	if (session->bad_commands == bad_commands && session->state != IN_AUTH)
		session->bad_commands = 0;
	if (command->shape == ARG_SECRET)
		explicit_bzero(line, octets);
	return r;
}

static int serve_command(struct session *session)
{
	char *line;
	int r = transport_read_line(session->transport, COMMAND_OCTETS_MAX, &line);

	if (r == -EMSGSIZE)
		return reply_slow_err(session, "the line is too long");
	if (r == -EBADMSG)
		return reply_slow_err(session, "the line has a NUL in it");
	return r < 0 ? r : serve_line(session, line);
}

int protocol_serve(struct session *session, const char *refusal)
{
	int r = 0;

	session->start_ms = util_now_ms();
	if (!refusal)
		session_log_begin(session);
	session_enter(session, IN_AUTH);
	if (session->settings->tls == TLS_IMPLICIT) /* RFC 8314 */
		r = transport_prepare_tls(session->transport, session->tls) ?:
			    session_log_tls(session, transport_start_tls(session->transport));
	if (r == 0)
		r = refusal ? reply_err(session, "[SYS/TEMP] %s", refusal) :
			      reply_ok(session, "pop3-handler ready");
	while (r == 0 && !refusal && session->state != IN_END) {
		r = serve_command(session);
		sandbox_log_refusal();
	}
	session->mailbox = mailbox_free(session->mailbox);
	if (scoreboard_is_evicted(session->slot_ref))
		transport_put_last(
			session->transport,
			"-ERR [SYS/TEMP] too many clients are logging in, try again later\r\n");
	if (r == 0)
		r = transport_finish(session->transport);
	if (!refusal)
		session_log_end(session, session->state == IN_END ? 0 : r);
	free(session->account);
	free(session->user);
	return session->has_crashed_checker ? -EFAULT : r;
}
