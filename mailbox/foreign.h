/* SPDX-License-Identifier: ISC
 * What other programs leave where mail is, and what is no plain mail. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Whether a folder's file of this name, in any case, is litter or still being written. */
bool foreign_is_litter(const char *name);

/* Whose store a directory is that is no Maildir and has this entry: "it looks like ..."; or NULL.
 */
const char *foreign_find_store(const char *name);

/* What a file is that begins with these octets: "it is compressed ...". NULL: plain mail. */
const char *foreign_find_format(const char *octets, size_t count);
