/* SPDX-License-Identifier: ISC
 * --take-over: imports the unique-ids of many accounts from another server, once. */
#pragma once

struct settings;

/* Takes over the mailboxes of the accounts that the settings name, and prints a line for each. The
 * process runs as the owner of the mailboxes, or with has_keeper, as a user that can become each
 * owner. Returns an exit status. SIGINT and SIGTERM take effect after the current account. */
int takeover_run(const struct settings *settings);
