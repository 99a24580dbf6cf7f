/* SPDX-License-Identifier: ISC
 * What the process gives up, and when: root, how much it may use, the files (Landlock) and the
 * system calls (seccomp) that it does not need. Open descriptors remain usable.
 *
 * Functions that return an int return 0 or a negative errno. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct account;
struct settings;
struct tls;

/* Becomes the user of this name for good; NULL: stays what it is, unless that is root. Returns 0,
 * or -EBADMSG after an error in the log. */
int sandbox_become_user(const char *user);

/* What a session enters before it reads an octet. */
struct sandbox {
	int set_fd; /* of files that can be reached before login; -1: all */
	bool has_seccomp;
	int notify_fd; /* with a keeper, from sandbox_before_login() on: what it answers */
};

#define SANDBOX_NONE ((struct sandbox){ .set_fd = -1, .notify_fd = -1 })

/* The first call, in the process that will be a session or fork sessions: makes what a session
 * enters; the caller closes set_fd. `tls` may be NULL. Logs failures, what this kernel lacks, and
 * where mailboxes are out of reach. -EOPNOTSUPP: the sandbox is required, and something lacks. */
int sandbox_prepare(const struct settings *settings, const struct tls *tls, struct sandbox *ret);

/* The second call, the stage before login: gives up what no session needs then. Logs failures. */
int sandbox_before_login(const struct settings *settings, struct sandbox *sandbox);

/* The third call, the stage after login: gives up every mailbox but this account's. If that does
 * not exist yet, nothing of the mail is left in reach, and it returns 1. */
int sandbox_after_login(const struct settings *settings, const struct account *account,
			bool is_read_only);

/* For --take-over, in a child for one account: becomes its user, if it has one, for good, and gives
 * up everything but its mailbox, and reading `control` (NULL: nothing). -EPERM: the mailbox belongs
 * to another user; -EOPNOTSUPP: the sandbox is required, and this kernel has no Landlock. */
int sandbox_enter_account(const struct settings *settings, const struct account *account,
			  const char *control, bool is_read_only);

/* ---- With a keeper (keeper.h): a session takes on the ids of its account ---- */

/* These descriptors have fixed numbers, which the filter of system calls knows. */
#define SANDBOX_CONTROL_FD 62 /* the way to the keeper; a session closes it before it begins */
#define SANDBOX_RULESET_FD 63 /* where the keeper puts the Landlock ruleset of an account */

/* Whether the process may take on the ids of others, as a keeper needs it. */
bool sandbox_has_privilege(void);

/* Whether the kernel has what a keeper needs. Returns 0, or -EOPNOTSUPP after an error in the log:
 * nothing may be tried with less. */
int sandbox_test_keeper(void);

/* Whether a child can do sandbox_become_login(). Returns as that. */
int sandbox_test_login(void);

#define SANDBOX_KEEPER_USER "pop3-keeper"
#define SANDBOX_LOGIN_USER "pop3-login"

/* Becomes the keeper: a user of its own, with its groups and without any capability but to find
 * files; or root, with what capabilities it has. Logs failures. */
int sandbox_become_keeper(bool stays_root);

/* From now on the keeper can only read files, and change none. Logs failures. */
int sandbox_confine_keeper(void);

/* Becomes the listener or a talker before login: a user of its own that has nothing, but may take
 * on the ids of accounts. Logs failures. */
int sandbox_become_login(void);

/* The ruleset of a session before login, and that of an account (see sandbox_after_login()). Return
 * a descriptor, which the caller closes. -EOPNOTSUPP: this kernel has none; -EPERM: the mailbox
 * belongs to another user than the account, if that has one. */
int sandbox_make_base(const struct settings *settings, const struct tls *tls);
int sandbox_make_ruleset(const struct account *account, bool is_read_only, bool *ret_is_there);

/* What the keeper consents to. */
struct sandbox_consent {
	bool is_given, is_confined; /* the ruleset has been put into the talker */
	uid_t uid;
	gid_t gid;
	int ruleset_fd;
};

/* Answers one call of a talker that asks for consent. Whatever interrupts a call, it may ask again.
 * Returns whether that was the last one: the talker becomes its account. */
bool sandbox_answer(int notify_fd, struct sandbox_consent *consent);

/* A talker becomes its account, confined to the mailbox, for good. */
int sandbox_become_account(const struct account *account);

/* Logs the last system call that was refused since this was called last, if there is one. */
void sandbox_log_refusal(void);
