/* SPDX-License-Identifier: ISC
 * The path template of a mailbox, or of passwd-files: %u the whole user name, %n its part before
 * the "@", %d the domain after it, %h the home directory, %% a percent sign. */
#pragma once

#include <stdbool.h>
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

/* Whether a template has %d. In "%%d" the "d" is an ordinary letter. */
bool path_template_has_domain(const char *template);

/* Handles a file with its domain, which begins with "@". Both texts are borrowed. */
typedef int path_template_handler(void *context, const char *path, const char *domain);

/* Finds the regular files (and broken links) to which a template with %d, and without %h, leads for
 * any domain. Calls `handle` for each until that returns an error. Returns this error, 0 or
 * -ENOMEM. */
int path_template_for_domains(const char *template, path_template_handler *handle, void *context);

/* Checks a template. Returns 0, -EINVAL or -ENOMEM. */
int path_template_check(const char *template);
