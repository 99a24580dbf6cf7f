/* SPDX-License-Identifier: ISC
 * The sandbox confines a process, for good: it gives up root, unbounded memory, and the files
 * (Landlock) and system calls (seccomp) that it does not need. Open descriptors remain usable. A
 * ruleset is Landlock's list of files. Runs before login and during it; trusts the settings, and
 * paths in the passwd-file.
 *
 * Functions that return an int return 0 or a negative errno. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct account;
struct settings;
struct tls;

/* Becomes this user for good; NULL: stays the user that it is, which must not be root. Returns 0 or
 * -EBADMSG after an error in the log. */
int sandbox_become_user(const char *user);

/* The sandbox of a session before login. */
struct sandbox {
	int ruleset_fd; /* -1: all files are in reach */
	bool has_seccomp;
	int notify_fd; /* set by sandbox_before_login(): seccomp's notifications, for a keeper */
};

#define SANDBOX_NONE ((struct sandbox){ .ruleset_fd = -1, .notify_fd = -1 })

/* The first call, in the process that becomes a session or forks sessions: makes the sandbox, whose
 * ruleset_fd the caller closes. `tls` may be NULL. Logs failures, features that this kernel lacks,
 * and mailboxes out of reach. -EOPNOTSUPP: a feature is missing, and sandbox = required. */
int sandbox_prepare(const struct settings *settings, const struct tls *tls, struct sandbox *ret);

/* The second call, before a session reads: enters the sandbox. Closes ruleset_fd. Logs failures. */
int sandbox_before_login(const struct settings *settings, struct sandbox *sandbox);

/* The third call, at a login without a keeper: confines the session to this account's mailbox, and
 * to passwd-files for WAKE. Returns 1 if that mailbox does not exist yet: then none is in reach. */
int sandbox_after_login(const struct settings *settings, const struct account *account,
			bool is_read_only);

/* For --take-over, in a child: becomes the account's user, if it has one, for good, and confines
 * the child to the mailbox and to reading `control` (NULL: nothing). -EPERM: the mailbox belongs to
 * another user; -EOPNOTSUPP: sandbox = required, and this kernel has no Landlock. */
int sandbox_enter_account(const struct settings *settings, const struct account *account,
			  const char *control, bool is_read_only);

/* ---- With a keeper (keeper.h): a session takes on the ids of its account ---- */

/* The numbers are fixed, because seccomp filters compare them. */
#define SANDBOX_CONTROL_FD 62 /* the control socket; a session closes it before login */
#define SANDBOX_RULESET_FD 63 /* where the keeper puts the ruleset of an account */

/* Whether the process may take on the ids of accounts: it has CAP_SETUID and CAP_SETGID. */
bool sandbox_has_privilege(void);

/* Tests seccomp's notifications, without which there can be no keeper. Returns 0 or -EOPNOTSUPP
 * after an error in the log. */
int sandbox_test_keeper(void);

/* Tries sandbox_become_login() in a child. Returns as that. */
int sandbox_test_login(void);

#define SANDBOX_KEEPER_USER "pop3-keeper"
#define SANDBOX_LOGIN_USER "pop3-login"

/* Becomes the keeper's user, with its groups and only CAP_DAC_READ_SEARCH: -EBADMSG after an error
 * in the log. stays_root: stays root, with its present capabilities, and logs no error. */
int sandbox_become_keeper(bool stays_root);

/* Confines the keeper to reading and executing files. -EOPNOTSUPP after an error in the log. */
int sandbox_confine_keeper(void);

/* Becomes the user of the listener and of talkers before login, with no groups and only CAP_SETUID
 * and CAP_SETGID. -EBADMSG after an error in the log. */
int sandbox_become_login(void);

/* Whether a process with this ruleset could open a mailbox, or there is none. Tries it in a child.
 */
bool sandbox_is_in_reach(int ruleset_fd, const char *mailbox);

/* The ruleset of a session before login, and that of an account; *ret_is_there: its mailbox exists.
 * Return a descriptor, which the caller closes. -EOPNOTSUPP: this kernel has no Landlock; -EPERM:
 * the account has a uid, and its mailbox belongs to another user. */
int sandbox_make_base(const struct settings *settings, const struct tls *tls);
int sandbox_make_ruleset(const struct account *account, bool is_read_only, bool *ret_is_there);

/* What the keeper consents to. */
struct sandbox_consent {
	bool is_confined; /* the talker has the ruleset */
	uid_t uid;
	gid_t gid;
	int ruleset_fd; /* -1: it consents to nothing */
};

/* Answers one system call that needs consent; a talker repeats one that a signal interrupts.
 * Returns whether this was the last one: the talker has the uid of its account. */
bool sandbox_answer(int notify_fd, struct sandbox_consent *consent);

/* Makes a talker its account, confined to the mailbox, for good. */
int sandbox_become_account(const struct account *account);

/* Logs the last system call that the filter has refused, if there is a new one. */
void sandbox_log_refusal(void);
