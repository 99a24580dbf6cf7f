/* SPDX-License-Identifier: ISC
 *
 * The size cache: a file in the mailbox with the sizes that had to be found out by reading
 * messages. A cache that is damaged, or another mailbox's, is ignored; so are failures. */
#pragma once

#include "mailbox/listing.h"

/* Puts the sizes that are in the cache into the listing; of a folder's files with the version that
 * each is the size of. */
void sizes_load(int mailbox_fd, struct listing *listing);

/* Replaces the cache by the sizes that names do not tell. The caller has the lock. */
void sizes_save(int mailbox_fd, const struct listing *listing, bool is_maildir);
