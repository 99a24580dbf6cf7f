/* SPDX-License-Identifier: ISC
 * The cache: a file in the mailbox with an older listing. While the directories have not changed
 * since, it is the listing; else it tells what is known of the messages that are still there. A
 * cache that is damaged, or another mailbox's, is as none, and a failure costs only time. */
#pragma once

#include "mailbox/listing.h"

/* Reads the cache. Returns whether there is one; then *ret is the older listing, which the caller
 * clears: of all messages if it is stable, else of some. If there is none, it is empty. */
bool cache_load(struct lock *lock, struct listing *ret);

/* Replaces the cache: by the whole listing, or by what would be lost. The caller has the lock. */
void cache_save(const struct listing *listing, bool is_whole);
