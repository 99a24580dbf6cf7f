/* SPDX-License-Identifier: ISC
 *
 * Which files a session must be able to reach, as the settings and the account say.
 *
 * Functions return 0, or what sandbox_allow() and auth_find_roots() say. */
#pragma once

#include <stdbool.h>

struct account;
struct settings;
struct tls;

/* Before login: where mailboxes are, the passwd-file, and what TLS needs. */
int reach_before_login(const struct settings *settings, const struct tls *tls, int set_fd);

/* After login: one mailbox, and the passwd-file for WAKE. A mailbox that does not exist yet cannot
 * be told from its neighbours: then the directory that it would be in, and *ret_is_there is false.
 */
int reach_after_login(const struct settings *settings, const struct account *account,
		      bool is_read_only, int set_fd, bool *ret_is_there);
