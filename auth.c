/* SPDX-License-Identifier: ISC
 * Selects the backend that knows a user. Names and passwords are untrusted: this runs before login.
 */
#include "auth.h"

#include "auth/backend.h"
#include "lib/path-template.h"
#include "lib/util.h"
#include "log.h"
#include "settings.h"

static const struct backend {
	const char *name;
	auth_backend *check;
	int (*prepare)(const char *argument); /* NULL: the backend works without a keeper */
} backends[] = {
	{ "passwd-file", passwd_file_check, NULL },
	{ "pam", nss_check, nss_prepare },
	{ "checkpassword", checkpassword_check, checkpassword_prepare },
};

/* Finds entry `i` of `auth` and its argument; NULL: no such entry. settings.c checks the names. */
static const struct backend *find_backend(const struct settings *settings, unsigned i,
					  const char **ret_argument)
{
	static const char *const by_default[] = { "passwd-file", NULL };
	const char *const *items = (const char *const *)settings->auth ?: by_default;
	const struct backend *backend = backends;
	size_t octets;

	for (; *items && i > 0; i--) /* a reload may have shortened the list since login */
		items++;
	if (!*items)
		return NULL;
	octets = strcspn(*items, " \t");
	*ret_argument = *items + octets + strspn(*items + octets, " \t");
	while (!util_is_listed(backend->name, *items, octets))
		backend++;
	return backend;
}

bool auth_has_backend(const struct settings *settings, const char *name)
{
	const struct backend *backend;
	const char *unused;

	for (unsigned i = 0; (backend = find_backend(settings, i, &unused)); i++) {
		if (strcmp(backend->name, name) == 0)
			return true;
	}
	return false;
}

int auth_prepare(const struct settings *settings)
{
	const struct backend *backend;
	const char *argument, *problem = NULL;
	int r = backend_make_key() < 0 ? -EBADMSG : 0;

	for (char *const *users = settings->users; users && *users; users++) {
		if (path_template_has_domain(*users))
			problem = "users with %d";
	}
	for (unsigned i = 0; r == 0 && (backend = find_backend(settings, i, &argument)); i++) {
		if (backend->prepare)
			problem = backend->name;
		if (backend->prepare && settings->has_keeper)
			r = backend->prepare(argument);
	}
	if (settings->has_keeper || !problem)
		return r;
	log_error("refusing to serve: %s needs a keeper", problem);
	return -EBADMSG;
}

static int ask_backend(struct auth_attempt *attempt)
{
	const struct backend *backend =
		find_backend(attempt->settings, attempt->account->backend, &attempt->argument);

	*attempt->report->refusal = '\0';
	if (!backend || (backend->prepare && backend_is_bad_name(attempt->user)))
		return auth_fail(attempt->report, -ENOKEY, "a bad user name");
	/* A session also sends an empty password if another reason refuses the login. */
	if (attempt->purpose == AUTH_LOGIN &&
	    (attempt->password ? !*attempt->password : backend->prepare != NULL))
		return auth_fail(attempt->report, -ENOKEY, "an empty password, or none");
	return backend->check(attempt);
}

/* Asks backends until one knows the user. Returns as auth_login(). */
static int ask_backends(struct auth_attempt *attempt)
{
	char *const *items = attempt->settings->auth;
	unsigned i = 0;
	int r;

	*attempt->report = (struct auth_report){ 0 };
	do {
		*attempt->account = (struct account){ .backend = i };
		r = ask_backend(attempt);
	} while (r == -ENOKEY && items && items[++i]);
	return r == -ENOKEY ? -EKEYREJECTED : r;
}

int auth_login(const struct settings *settings, const struct peer *peer, const char *user,
	       const char *password, struct account *ret, struct auth_report *ret_report)
{
	struct auth_attempt attempt = { settings,   peer, "",	      user, password,
					AUTH_LOGIN, ret,  ret_report, NULL };

	return ask_backends(&attempt);
}

int auth_look_up(const struct settings *settings, const char *user, const char *template,
		 struct account *ret, struct auth_report *ret_report)
{
	struct auth_attempt attempt = { settings,     NULL, "",		user,	 NULL,
					AUTH_LOOK_UP, ret,  ret_report, template };

	return ask_backends(&attempt);
}

int auth_check_again(const struct settings *settings, const struct peer *peer,
		     struct account *account, struct auth_report *ret_report)
{
	struct account now = { .backend = account->backend, .users = account->users };
	struct auth_attempt attempt = { settings,   peer, "",	      account->user, NULL,
					AUTH_AGAIN, &now, ret_report, NULL };
	int r;

	*ret_report = (struct auth_report){ 0 };
	r = ask_backend(&attempt);
	if (r == 1)
		return 0;
	if (r == -ENOKEY || (r == 0 && memcmp(now.digest, account->digest, DIGEST_OCTETS) != 0))
		return auth_fail(ret_report, -EKEYREJECTED,
				 "password, mailbox or rights are not as they were");
	if (r == 0)
		account->users = now.users;
	return r;
}
