/* SPDX-License-Identifier: ISC
 * What the process gives up, and when: root, how much it may use, the files (Landlock) and the
 * system calls (seccomp) that it does not need. Open descriptors remain usable.
 *
 * Functions that return an int return 0 or a negative errno. */
#pragma once

#include <stdbool.h>

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
};

#define SANDBOX_NONE ((struct sandbox){ .set_fd = -1 })

/* The first call, in the process that will be a session or fork sessions: makes what a session
 * enters; the caller closes set_fd. `tls` may be NULL. Logs failures, what this kernel lacks, and
 * where mailboxes are out of reach. -EOPNOTSUPP: the sandbox is required, and something lacks. */
int sandbox_prepare(const struct settings *settings, const struct tls *tls, struct sandbox *ret);

/* The second call, the stage before login: gives up what no session needs then. Logs failures. */
int sandbox_before_login(struct sandbox *sandbox);

/* The third call, the stage after login: gives up every mailbox but this account's. If that does
 * not exist yet, nothing of the mail is left in reach, and it returns 1. */
int sandbox_after_login(const struct settings *settings, const struct account *account,
			bool is_read_only);

/* Logs the last system call that was refused since this was called last, if there is one. */
void sandbox_log_refusal(void);
