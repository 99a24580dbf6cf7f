/* SPDX-License-Identifier: ISC
 * Reads and makes the file names of messages in a Maildir. Pure functions.
 *
 * A name is `UNIQUE[:2,FLAGS]`. UNIQUE, the unique part, never changes: it begins with the time of
 * delivery, `SECONDS.DETAILS.HOST`, and may end in fields such as `,S=OCTETS,W=OCTETS`. Names on
 * FAT, NTFS and SMB cannot contain ':', so ';' or '!' replaces it there. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the unique part in octets. It ends before the first ':', `;2,` or `!2,`. */
size_t maildir_name_unique_octets(const char *name);

/* The time of arrival in microseconds since the epoch: SECONDS, plus the microseconds after an 'M'
 * in DETAILS. A missing number counts as 0. A sum that is too large gives UINT64_MAX. */
uint64_t maildir_name_arrival_us(const char *name);

/* The number in the first `field` (`,S=`, `,W=`) of the unique part, or UINT64_MAX if it has no
 * such field. `,S=` is the size of the file in octets. */
uint64_t maildir_name_find_octets(const char *name, const char *field);

/* The size with CRLF line ends, which the MDA wrote into the name as `,W=`. UINT64_MAX if the name
 * has no such field, or if maildir_name_allows_octets() rejects its value. */
uint64_t maildir_name_size_octets(const char *name);

/* Whether a file of `stored` octets can have `octets` octets with CRLF line ends. */
bool maildir_name_can_grow(uint64_t stored, uint64_t octets);

/* As maildir_name_can_grow(), with the file size in `,S=`. True if the name has none. */
bool maildir_name_allows_octets(const char *name, uint64_t octets);

/* Copies the name, with the flag S (seen) added. A name without flags gets `info_start` (":2," or
 * ";2,") first; flags of another form stay. The caller frees the copy. Returns 0 or -ENOMEM. */
int maildir_name_add_seen(const char *name, const char *info_start, char **ret_name);

bool maildir_name_has_flag(const char *name, char flag);

/* Makes a name with the same time of arrival and flags, and with a new unique part that contains
 * `random`. The caller frees the name. Returns 0 or -ENOMEM. */
int maildir_name_make_unique(const char *name, uint64_t random, char **ret_name);
