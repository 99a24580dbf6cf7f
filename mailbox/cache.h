/* SPDX-License-Identifier: ISC
 * The cache: a file in the mailbox with an older listing. While the directories have not changed
 * since, it is the listing; else it tells what is known of the messages that are still there. A
 * cache that is damaged, or another mailbox's, is as none, and a failure costs only time. */
#pragma once

#include "mailbox/listing.h"

/* Reads the cache: an older listing, which the caller clears. It has all messages if it is stable,
 * else some, and none if there is no cache. */
void cache_load(struct lock *lock, struct listing *ret);

/* Replaces the cache: by the whole listing, or by what would be lost. The caller has the lock. */
void cache_save(const struct listing *listing, bool is_whole);
