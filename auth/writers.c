/* SPDX-License-Identifier: ISC
 * Warns of files that decide who can log in, if another user can write or replace them: that user
 * could log in as any account. */
#include "auth.h"
#include "lib/path-template.h"
#include "lib/util.h"
#include "log.h"
#include "settings.h"

#include <sys/xattr.h>

struct writers_check {
	bool is_check; /* also of who can read */
	bool has_mistake;
	char directory[PATH_MAX]; /* the last one, because domains may share one */
};

/* Looks at a file of this type (S_IFREG, S_IFDIR). `inside` is what a directory is for, or "". */
static void check_inode(struct writers_check *check, const char *what, const char *inside,
			const char *path, mode_t type)
{
	struct stat status;
	mode_t others = S_IWOTH;

	if (stat(path, &status) < 0 || (status.st_mode & S_IFMT) != type)
		return;
	/* With an ACL, the bits of the group are those of any other user and group in it. */
	if ((status.st_gid != 0 && status.st_gid != getegid()) ||
	    getxattr(path, "system.posix_acl_access", NULL, 0) > 0)
		others |= S_IWGRP;
	/* In a sticky directory, only its owner can replace the files of others. */
	if (type == S_IFDIR && (status.st_mode & S_ISVTX))
		others = 0;
	if (status.st_mode & others)
		log_warning("the %s%s %s can be written by others (mode %04o)", inside, what,
			    log_quote(path), status.st_mode & 07777);
	else if (status.st_uid != 0 && status.st_uid != geteuid())
		log_warning("the %s%s %s can be written by its owner, user %u", inside, what,
			    log_quote(path), status.st_uid);
	else
		return;
	check->has_mistake = true;
}

/* Whoever can write a directory can replace the files in it. */
static void check_directory(struct writers_check *check, const char *what, const char *path)
{
	char directory[PATH_MAX];

	if (!util_copy(directory, path))
		return;
	util_cut_path(directory);
	if (strcmp(directory, check->directory) != 0)
		check_inode(check, what, "directory of the ", directory, S_IFDIR);
	(void)util_copy(check->directory, directory);
}

static void check_writers(struct writers_check *check, const char *what, const char *path)
{
	char real[PATH_MAX];
	struct stat status;

	check_inode(check, what, "", path, S_IFREG);
	check_directory(check, what, path);
	if (lstat(path, &status) == 0 && S_ISLNK(status.st_mode) && realpath(path, real))
		check_directory(check, what, real);
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
	struct writers_check check = { .is_check = settings->action == SETTINGS_CHECK };

	for (char *const *users = settings->users; users && *users; users++) {
		if (path_template_has_domain(*users))
			(void)path_template_for_domains(*users, check_domain_file, &check);
		else
			check_writers(&check, "passwd-file", *users);
	}
	for (char *const *auth = settings->auth; auth && *auth; auth++) {
		const char *program = strchr(*auth, '/'); /* of checkpassword */

		if (program)
			check_writers(&check, "checkpassword program",
				      strndupa(program, strcspn(program, " \t")));
	}
	for (int i = 1; i < argc; i++) {
		const char *path = settings_config_path(argv[i]);

		if (path)
			check_writers(&check, "settings file", path);
	}
	return !check.has_mistake;
}
