/* SPDX-License-Identifier: ISC
 * The path template of a mailbox: %u the whole user name, %n its part before the "@", %d the
 * domain after it, %h the home directory, %% a percent sign. */
#pragma once

#include <string.h>

/* Makes the path for one user; the caller frees it. `home` may be NULL. A user name cannot leave
 * its component of the template. Returns 0, or
 *   -EKEYREJECTED  the user name would put "/" or an empty, "." or ".." component into the path
 *   -ENXIO         the template needs a home directory, and there is none
 *   -EINVAL        the template is empty or has an unknown '%'
 *   -ENOMEM */
int path_template_expand(const char *template, const char *user, const char *home, char **ret_path);

/* Whether paths begin with the home directory, which differs for each user. */
#define path_template_is_in_home(template) (strncmp((template), "%h", 2) == 0)

/* The first %d of a path, or NULL: then the path is the same for all domains. */
#define path_template_find_domain(path) strstr((path), "%d")

/* Checks a template. Returns 0, -EINVAL or -ENOMEM. */
int path_template_check(const char *template);
