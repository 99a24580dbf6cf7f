/* SPDX-License-Identifier: ISC
 * Warns of files that decide who can log in, if another user can write them: that user could log in
 * as any account. */
#include "auth.h"
#include "lib/path-template.h"
#include "lib/util.h"
#include "log.h"
#include "settings.h"

struct writers_check {
	bool is_check; /* also of who can read */
	bool has_mistake;
};

static void check_writers(struct writers_check *check, const char *what, const char *path)
{
	struct stat status;
	mode_t others = S_IWOTH;

	if (stat(path, &status) < 0 || !S_ISREG(status.st_mode))
		return;
	if (status.st_gid != 0 && status.st_gid != getegid())
		others |= S_IWGRP;
	if (status.st_mode & others)
		log_warning("the %s %s can be written by others (mode %04o)", what, log_quote(path),
			    status.st_mode & 07777);
	else if (status.st_uid != 0 && status.st_uid != geteuid())
		log_warning("the %s %s can be written by its owner, user %u", what, log_quote(path),
			    status.st_uid);
	else
		return;
	check->has_mistake = true;
}

/* For path_template_for_domains(). Notes what is wrong, and goes on. */
static int check_domain_file(void *context, const char *path, const char *domain)
{
	struct writers_check *check = context;

	(void)domain;
	check_writers(check, "passwd-file", path);
	if (check->is_check && faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) < 0) {
		log_error("cannot read users = %s: %s", log_quote(path), strerror(errno));
		check->has_mistake = true;
	}
	return 0;
}

bool auth_check_writers(const struct settings *settings, int argc, char *const argv[])
{
	struct writers_check check = { settings->action == SETTINGS_CHECK, false };

	for (char *const *users = settings->users; users && *users; users++) {
		if (path_template_has_domain(*users))
			(void)path_template_for_domains(*users, check_domain_file, &check);
		else
			check_writers(&check, "passwd-file", *users);
	}
	for (int i = 1; i < argc; i++) {
		const char *path = settings_config_path(argv[i]);

		if (path)
			check_writers(&check, "settings file", path);
	}
	return !check.has_mistake;
}
