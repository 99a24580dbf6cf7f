/* SPDX-License-Identifier: ISC
 * What the name of a message's file says. Pure functions.
 *
 * A Maildir name is `UNIQUE[:2,FLAGS]`; UNIQUE begins with the time of delivery,
 * `SECONDS.DETAILS.HOST`, and may end in fields such as `,S=OCTETS,W=OCTETS`. On FAT, NTFS and SMB,
 * whose names have no ':', ';' or '!' stands for it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The octets of UNIQUE, which never changes: all before the first ':', `;2,` or `!2,`. */
size_t maildir_name_unique_octets(const char *name);

/* The time of arrival, in microseconds since the epoch: SECONDS, and the microseconds after an 'M'
 * in DETAILS. What is missing counts as 0; what is too large saturates. */
uint64_t maildir_name_arrival_us(const char *name);

/* The number in the first such field, such as `,S=`, which is the octets of the file. UINT64_MAX:
 * there is none. */
uint64_t maildir_name_find_octets(const char *name, const char *field);

/* The size with CRLF line ends, which the delivering agent wrote into the name as `,W=`.
 * UINT64_MAX: there is no such field, or maildir_name_allows_octets() does not allow it. */
uint64_t maildir_name_size_octets(const char *name);

/* Whether a file of `stored` octets can have this size with CRLF line ends. */
bool maildir_name_can_grow(uint64_t stored, uint64_t octets);

/* Whether `,S=`, the octets of the file, allows this size: what CRLF line ends can add, no more. */
bool maildir_name_allows_octets(const char *name, uint64_t octets);

/* The name with the flag S (seen) added, after `info_start` (":2,", ";2,") if it has no flags. It
 * stays as it is if they are of another form. The caller frees it. Returns 0 or -ENOMEM. */
int maildir_name_add_seen(const char *name, const char *info_start, char **ret_name);

/* Whether a name has this flag. */
bool maildir_name_has_flag(const char *name, char flag);

/* A name with the same time of arrival and flags, and a unique part that `random` makes differ from
 * all others. The caller frees it. Returns 0 or -ENOMEM. */
int maildir_name_make_unique(const char *name, uint64_t random, char **ret_name);
