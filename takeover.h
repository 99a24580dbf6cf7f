/* SPDX-License-Identifier: ISC
 * --take-over: the mailboxes of many accounts are taken over from another server, once. */
#pragma once

struct settings;

/* Takes over the mailboxes of the accounts that the settings name, with a line for each on standard
 * output. The process is a user that mailboxes belong to, or with has_keeper, one that can become
 * each of them. Returns an exit status; a signal that it was sent ends the process first. */
int takeover_run(const struct settings *settings);
