/* SPDX-License-Identifier: ISC
 * The session that every command works on, its states, and the replies to failures. */
#pragma once

#include "lib/peer.h"
#include "transport.h"

struct account;
struct channel_answer;
struct failures;
struct scoreboard_slot_ref;
struct tls;

/* This many in a row end the session. */
#define SESSION_FAILED_LOGINS_MAX 3
#define SESSION_BAD_COMMANDS_MAX 20

/* The states of RFC 1939 section 3, and SLEEP, as bits: a command may be valid in several. UPDATE
 * has no bit: cmd_quit() does its work between TRANSACTION and IN_END. */
enum session_state { IN_AUTH = 1, IN_TRANSACTION = 2, IN_SLEEP = 4, IN_ANY = 7, IN_END = 8 };

struct session {
	/* Set by the caller of protocol_serve(), and borrowed. The other members begin as 0. */
	const struct settings *settings;
	struct transport *transport;
	const struct peer *peer;
	struct tls *tls;			    /* NULL: settings->tls is TLS_OFF */
	const struct scoreboard_slot_ref *slot_ref; /* NULL: there is no listener */
	struct failures *failures; /* NULL: this process does not count failed logins */
	int channel_fd;		   /* to the keeper; -1: none */

	int64_t start_ms;				       /* monotonic */
	uint64_t retrieved, retrieved_octets, deleted, sleeps; /* for the log */
	enum session_state state;			     /* session_enter() alone assigns it */
	char *user;					     /* from USER; NULL: none */
	unsigned failed_logins;				     /* in a row; failed WAKEs count, too */
	uint64_t failed_attempts[SESSION_FAILED_LOGINS_MAX]; /* their digests */
	unsigned bad_commands;				     /* in a row; before login, in total */
	struct account *account;			     /* NULL: before login */
	struct mailbox *mailbox;			     /* NULL: before login */
	bool is_read_only;				     /* the mailbox; set at login */
	bool has_ids;		  /* has taken on the account's ids, and cannot take on others */
	bool has_crashed_checker; /* which the exit status tells the listener */
	bool has_logged_unreadable[2]; /* a message; [1]: one that is not plain mail */
	bool is_shut_out; /* the mailbox was missing at login: the sandbox denies it from then on */
	bool is_shrunk;	  /* SLEE has released memory, and no mail was sent or found since */
};

/* An argument that has been checked. The shape of the command (protocol.c) says what is set. */
struct argument {
	char *text;		     /* borrowed, and wiped if it is a secret */
	char *rest;		     /* borrowed */
	bool has_message, has_count; /* whether `index`, `count` are set */
	bool has_unique_id;	     /* the client named the message by UID:unique-id */
	size_t index;		     /* from 0; of a message that the session has not deleted */
	uint64_t count;		     /* of lines */
};

/* Carries out a command and sends exactly one reply. Returns 0, also after an -ERR; a negative
 * errno of transport.h, or -EIO, ends the connection. */
typedef int command_handler(struct session *session, const struct argument *argument);
#define NO_ARGUMENT const struct argument *argument __attribute__((unused)) /* for ARG_NONE */

/* Put the line +OK or -ERR; return as transport_put_line(). A text that begins with `[` is a
 * response code (RFC 2449 section 8). reply_slow_err() first calls session_throttle(): use it for a
 * bad command, and for a failure that is logged. Once a put has failed, every later one fails, so
 * only the result of the last need be checked. */
#define reply_ok(session, ...) transport_put_line((session)->transport, "+OK " __VA_ARGS__)
#define reply_err(session, ...) transport_put_line((session)->transport, "-ERR " __VA_ARGS__)
#define reply_slow_err(session, ...) \
	(session_throttle(session) ?: reply_err((session), __VA_ARGS__))

/* The response code for a negative errno (RFC 3206): [SYS/TEMP] if a retry may help, [SYS/PERM] if
 * not, [IN-USE] for -EBUSY. */
const char *session_response_code(int error);

/* Rate-limits commands that are bad or cause a log line: after several in a row each waits longer,
 * and the last allowed one ends the session without a commit. Returns as transport_pause(); the
 * caller replies. */
int session_throttle(struct session *session);

/* Rate-limits failed logins and WAKEs: each in a row waits longer, and the last allowed one ends
 * the session. Returns as transport_pause(); the caller replies. */
int session_throttle_login(struct session *session);

/* How long a session waits for an answer of the keeper, in milliseconds: half of login-timeout and
 * the penalty, but not beyond the deadline. */
int64_t session_keeper_ms(const struct session *session, int64_t penalty_ms);

/* Sends the keeper a request about the account (enum channel_type). Returns the error in its
 * answer, -EIO if no answer comes, or -ECANCELED if the session must end. */
int session_ask_keeper(struct session *session, unsigned type, struct channel_answer *ret_answer);

/* Calls mailbox_wake(), and retries for some seconds while another session has the lock. */
int session_open_mailbox(struct session *session, bool *ret_has_new);

/* Why the mailbox cannot be opened, for the log. */
const char *session_mailbox_problem(const struct session *session, int error);

/* Log why the mailbox or the account cannot be used, rate-limit as session_throttle(), and reply
 * with the kind of failure only. reply_account_failure() returns -ECANCELED at once. */
int reply_mailbox_failure(struct session *session, int error, const char *path);
struct auth_report;
int reply_account_failure(struct session *session, int error, const char *user,
			  const struct auth_report *report);

/* Sets the deadline for logging in, which runs from the start of the session. */
void session_set_login_deadline(struct session *session);

/* Enters a state and sets its deadline or timeout. Call it after the work that the state promises
 * is done, such as the commit or taking the lock. Nothing else assigns session->state. */
void session_enter(struct session *session, enum session_state state);
