/* SPDX-License-Identifier: ISC
 *
 * What the name of a message's file says. Pure functions.
 *
 * A Maildir name is `UNIQUE[:2,FLAGS]`; UNIQUE begins with the time of delivery,
 * `SECONDS.DETAILS.HOST`, and may end in fields such as `,S=OCTETS,W=OCTETS`. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The octets of the part of a Maildir name that never changes: all that stands before the first
 * ':'. */
size_t maildir_name_unique_octets(const char *name);

/* When the message arrived, in microseconds since the epoch, as the unique part of a Maildir
 * name tells it: the seconds that it begins with and the microseconds after an 'M' in its second
 * dot-separated part. What is missing counts as 0; what is too large saturates. */
uint64_t maildir_name_arrival_us(const char *name);

/* The size that the agent which delivered the message wrote into its Maildir name: `,W=` and the
 * octets with CRLF line ends. Returns 0, or -ENOENT if the name has no such field, or one that
 * maildir_name_allows_octets() does not allow. */
int maildir_name_size_octets(const char *name, uint64_t *ret_octets);

/* Whether a message can have this size with CRLF line ends, as far as its Maildir name tells by
 * `,S=`, the octets of its file: they are not fewer, and not more than line ends can add. */
bool maildir_name_allows_octets(const char *name, uint64_t octets);

/* A Maildir name with the flag S (seen) added, the others kept. The caller frees it. If there is
 * an info part that is not of the `2,FLAGS` form, the name stays as it is. Returns 0 or -ENOMEM. */
int maildir_name_add_seen(const char *name, char **ret_name);

/* A Maildir name with the same time of arrival and flags, and with a unique part that no other name
 * has: `random` makes it so. The caller frees it. Returns 0 or -ENOMEM. */
int maildir_name_make_unique(const char *name, uint64_t random, char **ret_name);
