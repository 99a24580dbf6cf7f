/* SPDX-License-Identifier: ISC
 *
 * The snapshot: a file in a large Maildir with its whole listing, and when the directories had last
 * changed when it was made. While they have not changed since, nobody needs to read them. A
 * snapshot that is damaged, or another mailbox's, is ignored. */
#pragma once

#include "mailbox/listing.h"

/* Fills an empty listing from the snapshot, sizes and all, if that is what the directories hold
 * now. Returns whether it is. */
bool snapshot_load(int mailbox_fd, const struct subdirs *subdirs, struct listing *ret);

/* Whether a listing is worth a snapshot, and fit for one. */
bool snapshot_is_worthwhile(const struct listing *listing, const struct subdirs *subdirs);

/* Replaces the snapshot by one of the listing, or if that fails leaves none. The caller has the
 * lock. */
void snapshot_save(int mailbox_fd, const struct listing *listing);
