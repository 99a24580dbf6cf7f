/* SPDX-License-Identifier: ISC
 * The cache: a file in the mailbox with an older listing. While the directories are unchanged, it
 * replaces reading them; else it gives the sizes and unique-ids of messages that still exist. A
 * cache that is damaged or another mailbox's is ignored, and a failure only costs time. */
#pragma once

#include "mailbox/listing.h"

/* Loads the cache: an older listing, which the caller clears. If its `has_stable_stamps` is set, it
 * has all messages as of its stamps, else some messages, or none without a usable cache. */
void cache_load(struct lock *lock, struct listing *ret);

/* Replaces the cache. Without `is_whole`, it gets only the messages whose size or unique-id the
 * name does not tell. The caller holds the lock. */
void cache_save(const struct listing *listing, bool is_whole);
