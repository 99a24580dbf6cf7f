/* SPDX-License-Identifier: ISC
 *
 * The sandbox limits what an attacker can do with a compromised process. The settings and the
 * passwd-file are the administrator's. */
#include "sandbox.h"

#include "auth.h"
#include "lib/util.h"
#include "log.h"
#include "sandbox/landlock.h"
#include "sandbox/process.h"
#include "sandbox/seccomp.h"
#include "settings.h"
#include "tls.h"

/* ---- Files ---- */

struct roots {
	char **paths;
	size_t count, capacity;
};

static void free_roots(struct roots *roots)
{
	for (size_t i = 0; i < roots->count; i++)
		free(roots->paths[i]);
	free(roots->paths);
}

#define auto_roots __attribute__((cleanup(free_roots)))

/* Whether a path is that of a directory or of something below it. */
static bool is_below(const char *path, const char *directory)
{
	size_t octets = strlen(directory);

	return strncmp(path, directory, octets) == 0 &&
	       (path[octets] == '\0' || path[octets] == '/');
}

/* For auth_find_roots(). Most accounts have the root of the one before. */
static int add_root(void *context, const char *path)
{
	struct roots *roots = context;
	char **paths;

	if (roots->count > 0 && is_below(path, roots->paths[roots->count - 1]))
		return 0;
	paths = util_grow(roots->paths, roots->count, &roots->capacity, sizeof(*paths));
	if (!paths)
		return -ENOMEM;
	roots->paths = paths;
	paths[roots->count] = strdup(path);
	return paths[roots->count++] ? 0 : -ENOMEM;
}

/* What is below a directory follows it at once. */
static int compare_roots(const void *left, const void *right)
{
	const char *a = *(const char *const *)left, *b = *(const char *const *)right;

	for (; *a && *a == *b; a++)
		b++;
	return (*a == '/' ? 1 : (unsigned char)*a) - (*b == '/' ? 1 : (unsigned char)*b);
}

/* What is not there (NULL: nothing), or not ours to see, cannot be reached anyway. */
static int allow_if_there(int set_fd, const char *path, enum landlock_access access)
{
	int r = path ? landlock_allow(set_fd, path, access) : 0;

	return r == -ENOENT || r == -ENOTDIR || r == -EACCES ? 0 : r;
}

static int allow_directory_of(int set_fd, const char *path)
{
	auto_free char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	util_cut_path(copy);
	return allow_if_there(set_fd, copy, LANDLOCK_READ);
}

/* An administrator may replace the passwd-file by rename, so a rule needs its directory; for a
 * symbolic link also the directory that the link leads to. */
static int allow_users(int set_fd, const char *users)
{
	auto_free char *real = NULL;
	struct stat status;
	int r = users ? allow_directory_of(set_fd, users) : 0;

	if (r == 0 && users && lstat(users, &status) == 0 && S_ISLNK(status.st_mode))
		real = realpath(users, NULL);
	return real ? allow_directory_of(set_fd, real) : r;
}

/* STLS may read certificates, and the key of tickets, at any time before login. */
static int allow_tls(int set_fd, const struct settings *settings, const struct tls *tls)
{
	char *const *const lists[] = { settings->tls_cert, settings->tls_key, settings->tls_ocsp };
	auto_free char *directory = NULL;
	int r;

	if (!tls)
		return 0;
	r = tls->functions->find_ticket_directory(&directory);
	if (r == 0)
		r = allow_if_there(set_fd, directory, LANDLOCK_CHANGE);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (char *const *path = lists[i]; path && *path && r == 0; path++)
			r = allow_if_there(set_fd, *path, LANDLOCK_READ);
	}
	if (r == 0)
		r = allow_if_there(set_fd, settings->tls_client_ca, LANDLOCK_READ);
	if (r == 0)
		r = allow_if_there(set_fd, tls->functions->system_file(), LANDLOCK_READ);
	return r;
}

/* Where mailboxes are. A root that is `/` would let everything be reached. */
static int find_roots(const struct settings *settings, struct roots *roots)
{
	struct auth_report report;
	int r = 0;

	for (size_t i = 0; settings->mail_root && settings->mail_root[i] && r == 0; i++)
		r = add_root(roots, settings->mail_root[i]);
	if (settings->mail_root)
		return r;
	r = auth_find_roots(settings->users, settings->mailbox, add_root, roots, &report);
	if (r < 0 && r != -ENOMEM)
		log_warning("cannot look for mailboxes in users = '%s': %s", settings->users,
			    strerror(-r));
	if (report.has_wide_template)
		log_warning("mailbox = '%s' can be anywhere, so it is out of reach: set mail-root",
			    settings->mailbox);
	if (report.malformed_lines > 0)
		log_warning(
			"%s:%u: the home or mailbox is relative or not deep enough, or the line is "
			"malformed: it is out of reach (%u such lines in all)",
			settings->users, report.malformed_line, report.malformed_lines);
	return r == -ENOMEM ? r : 0;
}

/* Where mailboxes are, the passwd-file, and what TLS needs. */
static int allow_before_login(int set_fd, const struct settings *settings, const struct tls *tls)
{
	enum landlock_access access = settings->read_only ? LANDLOCK_READ : LANDLOCK_CHANGE;
	auto_roots struct roots roots = { 0 };
	const char *last = NULL;
	int r = find_roots(settings, &roots);

	if (roots.count > 0)
		qsort(roots.paths, roots.count, sizeof(*roots.paths), compare_roots);
	for (size_t i = 0; i < roots.count && r == 0; i++) {
		if (last && is_below(roots.paths[i], last))
			continue;
		last = roots.paths[i];
		r = allow_if_there(set_fd, last, access);
	}
	if (r == 0)
		r = allow_users(set_fd, settings->users);
	return r == 0 ? allow_tls(set_fd, settings, tls) : r;
}

/* ---- The stages ---- */

int sandbox_become_user(const char *user)
{
	int r = process_become_user(user);

	if (r == -EACCES)
		log_error("refusing to serve as root: set 'user' to whom to become");
	else if (r == -ENOENT)
		log_error("there is no user = %s", log_quote(user));
	else if (r < 0)
		log_error("cannot become user = %s: %s", log_quote(user), strerror(-r));
	return r < 0 ? -EBADMSG : 0;
}

/* The sandbox is less than it should be. */
static int note_lack(const struct settings *settings, const char *what, const char *reason)
{
	if (settings->sandbox != SANDBOX_REQUIRED) {
		log_warning("%s: %s", what, reason);
		return 0;
	}
	log_error("refusing to serve with sandbox = required: %s: %s", what, reason);
	return -EOPNOTSUPP;
}

/* Makes the set of files that each session begins with, if this kernel can keep it from others. */
static int make_file_set(const struct settings *settings, const struct tls *tls, int *ret_set_fd)
{
	*ret_set_fd = landlock_new();
	if (*ret_set_fd == -EOPNOTSUPP)
		return note_lack(settings, "the sandbox is without Landlock",
				 "this kernel does not have it, or not as version 2 or later");
	return *ret_set_fd < 0 ? *ret_set_fd : allow_before_login(*ret_set_fd, settings, tls);
}

int sandbox_prepare(const struct settings *settings, const struct tls *tls, struct sandbox *ret)
{
	int r = process_limit();

	*ret = SANDBOX_NONE;
	if (r < 0)
		r = note_lack(settings, "cannot bound what a session may use", strerror(-r));
	if (r < 0 || settings->sandbox == SANDBOX_OFF)
		return r;
	ret->has_seccomp = seccomp_is_available();
	if (!ret->has_seccomp)
		r = note_lack(settings, "the sandbox is without seccomp",
			      "this kernel does not have it");
	if (r == 0)
		r = process_harden();
	if (r == 0)
		r = make_file_set(settings, tls, &ret->set_fd);
	if (r < 0 && r != -EOPNOTSUPP)
		log_error("cannot make the sandbox: %s", strerror(-r));
	return r;
}

void sandbox_close(struct sandbox *sandbox)
{
	util_drop(&sandbox->set_fd);
}

int sandbox_before_login(struct sandbox *sandbox)
{
	int r = sandbox->set_fd < 0 ? 0 : landlock_enter(sandbox->set_fd);

	if (r == 0 && sandbox->has_seccomp)
		r = seccomp_enter();
	sandbox_close(sandbox);
	if (r < 0)
		log_error("cannot enter the sandbox: %s", strerror(-r));
	return r;
}

int sandbox_after_login(const struct settings *settings, const struct account *account,
			bool is_read_only)
{
	auto_fd int set_fd = -1;
	bool is_there;
	int r;

	if (settings->sandbox == SANDBOX_OFF)
		return 0;
	set_fd = landlock_new();
	if (set_fd < 0)
		return set_fd == -EOPNOTSUPP ? 0 : set_fd; /* which has been logged */
	r = landlock_allow(set_fd, account->mailbox,
			   is_read_only ? LANDLOCK_READ : LANDLOCK_CHANGE);
	is_there = r != -ENOENT && r != -ENOTDIR;
	if (r == 0 || !is_there)
		r = allow_users(set_fd, settings->users); /* for WAKE */
	if (r == 0)
		r = landlock_enter(set_fd);
	return r == 0 ? !is_there : r;
}

void sandbox_log_refusal(void)
{
	int number = seccomp_take_refusal();

	if (number < 0)
		return;
	log_event(LOG_EVENT_CALL_REFUSED, NULL, "the sandbox has refused the system call %d",
		  number);
	/* The log line itself may be refused: without a syslog daemon it needs a new socket. */
	(void)seccomp_take_refusal();
}
