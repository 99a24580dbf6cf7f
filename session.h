/* SPDX-License-Identifier: ISC
 * What every command has to do with: the session, its states, and how failures are answered. */
#pragma once

#include "lib/peer.h"
#include "transport.h"

struct account;
struct channel_answer;
struct failures;
struct scoreboard_slot_ref;
struct tls;

/* That many in a row end the session. */
#define SESSION_FAILED_LOGINS_MAX 3
#define SESSION_BAD_COMMANDS_MAX 20

/* The states of RFC 1939 section 3, as bits: a command may be valid in several. UPDATE is what
 * cmd_quit() does on its way from TRANSACTION to the end. */
enum session_state { IN_AUTH = 1, IN_TRANSACTION = 2, IN_SLEEP = 4, IN_ANY = 7, IN_END = 8 };

struct session {
	/* What it begins with, all of it borrowed. */
	const struct settings *settings;
	struct transport *transport;
	const struct peer *peer;
	struct tls *tls;			    /* NULL: settings->tls is TLS_OFF */
	const struct scoreboard_slot_ref *slot_ref; /* NULL: there is no listener */
	struct failures *failures;		    /* NULL: it counts none */
	int channel_fd;				    /* to the keeper; -1: none */

	int64_t start_ms;				       /* monotonic */
	uint64_t retrieved, retrieved_octets, deleted, sleeps; /* for the log */
	enum session_state state;			     /* session_enter() alone assigns it */
	char *user;					     /* that USER named; NULL: none */
	unsigned failed_logins;				     /* in a row, or WAKEs */
	uint64_t failed_attempts[SESSION_FAILED_LOGINS_MAX]; /* digests of them */
	unsigned bad_commands;				     /* in a row; before login, in all */
	struct account *account;			     /* from login on */
	struct mailbox *mailbox;			     /* likewise */
	bool is_read_only;				     /* likewise */
	bool has_ids;		       /* of the account: it can be no other any more */
	bool has_logged_unreadable[2]; /* a message; and one that is no plain mail */
	bool is_shut_out; /* the sandbox keeps the mailbox out of reach, should it come to be */
	bool is_lean;	  /* SLEE has given back memory for hours; no message was sent since */
};

/* An argument that has been checked. */
struct argument {
	char *text; /* of ARG_NAME and ARG_SECRET, ARG_MECHANISM's first word */
	char *rest; /* of ARG_MECHANISM, what follows that */
	bool has_message, has_count;
	bool has_unique_id; /* names the message */
	size_t index;	    /* of a message that is not deleted */
	uint64_t count;
};

/* Carries out a command, with one reply. Returns 0; negative errno: the connection cannot go on. */
typedef int command_handler(struct session *session, const struct argument *argument);
#define NO_ARGUMENT const struct argument *argument __attribute__((unused)) /* of ARG_NONE */

/* After a failure, everything that is put fails likewise: only the last result counts. */
#define reply_ok(session, ...) transport_put_line((session)->transport, "+OK " __VA_ARGS__)
#define reply_err(session, ...) transport_put_line((session)->transport, "-ERR " __VA_ARGS__)
#define reply_paid_err(session, ...) (session_pay(session) ?: reply_err((session), __VA_ARGS__))

/* The response code of a failure (RFC 3206): whether trying again later may help. */
const char *session_response_code(int error);

/* Lets the client pay for a bad command, or one that the log hears of: after several in a row each
 * waits for longer, and the last ends the session without a commit. The caller replies. */
int session_pay(struct session *session);

/* Lets the client pay for a failed login, or WAKE: each in a row takes longer, and the last ends
 * the session. Returns as transport_pause(). The caller replies. */
int session_pay_refusal(struct session *session);

/* The milliseconds that the keeper may take for an answer: half of login-timeout. */
int64_t session_keeper_ms(const struct session *session);

/* Asks the keeper something about the account. Returns what it answers, -EIO if it does not, or
 * -ECANCELED. */
int session_ask_keeper(struct session *session, unsigned type, struct channel_answer *ret_answer);

/* Opens the mailbox, or wakes it up, and waits for its lock. Returns as mailbox_wake(). */
int session_open_mailbox(struct session *session, bool *ret_has_new);

/* These log a failure to open the mailbox, or to look up an account, in full, let the client pay,
 * and reply with what concerns the client. */
int reply_mailbox_failure(struct session *session, int error, const char *path);
struct auth_report;
int reply_account_failure(struct session *session, int error, const char *user,
			  const struct auth_report *report);

/* Enters a state, after what it promises has happened. */
void session_enter(struct session *session, enum session_state state);
