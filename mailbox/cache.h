/* SPDX-License-Identifier: ISC
 *
 * The cache: a file in the mailbox with an older listing. While the directories have not changed
 * since, it is the listing; else it tells what is known of the messages that are still there. A
 * cache that is damaged, or another mailbox's, is as none, and a failure costs only time. */
#pragma once

#include "mailbox/listing.h"

/* Fills an empty listing from the cache, if that is what the directories hold now. Returns whether
 * it is. */
bool cache_load_current(int mailbox_fd, const struct subdirs *subdirs, struct listing *ret);

/* Fills an empty listing with what is known of messages. Returns whether there is anything. */
bool cache_load_older(int mailbox_fd, bool is_maildir, struct listing *ret);

/* Replaces the cache: by the whole listing if `is_whole`, else by what would be lost. The caller
 * has the lock. */
void cache_save(int mailbox_fd, const struct subdirs *subdirs, const struct listing *listing,
		bool is_whole);

/* Removes what 0.1.0 kept, in two files. */
void cache_remove_old(int mailbox_fd);
