/* SPDX-License-Identifier: ISC
 * `auth = pam`: the accounts of the system. NSS knows them, PAM checks them. This runs before
 * login, in a process of the keeper's. */
#include "auth/backend.h"

#include "lib/module.h"
#include "lib/peer.h"
#include "lib/util.h"
#include "log.h"
#include "settings.h"

#include <dlfcn.h>
#include <pwd.h>
#include <shadow.h>

static pam_checker *check_user;

int nss_prepare(const char *argument)
{
	const char *service = *argument ? argument : "pop3";
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "/etc/pam.d/%s", service);
	if (access(path, F_OK) < 0)
		log_warning("auth: there is no %s: for PAM, what is in other counts", path);
	/* Loaded once: at a reload there may be a module of another version. */
	if (!check_user)
		check_user = (pam_checker *)module_symbol("pop3-handler-pam.so", PAM_CHECKER);
	if (!check_user)
		log_error("cannot load what auth = pam needs: %s", dlerror());
	return check_user ? 0 : -EBADMSG;
}

int nss_check(struct auth_attempt *attempt)
{
	struct account *account = attempt->account;
	struct auth_report *report = attempt->report;
	const struct passwd *user;
	const struct spwd *shadow;
	const char *secret;
	int mailbox_error, r = backend_find_user(attempt->user, &user);

	if (r < 0)
		return auth_fail(report, r, "%s",
				 r == -ENOKEY ? "no such user" : "NSS cannot look up users");
	if (!util_copy(account->user, user->pw_name) || !util_copy(report->user, user->pw_name))
		return auth_fail(report, -EKEYREJECTED, "a bad user name");
	mailbox_error = backend_set_mailbox(attempt, NULL, user->pw_dir);
	secret = strdupa(user->pw_passwd); /* a look at mail-user overwrites it */
	r = backend_set_ids(attempt, user->pw_uid, user->pw_gid);
	/* Before the password is checked: one that changes meanwhile shows. It may be unreadable.
	 */
	shadow = getspnam(account->user);
	backend_make_digest(account, secret, shadow ? shadow->sp_pwdp : "");
	if (r == 0)
		r = check_user(*attempt->argument ? attempt->argument : "pop3", account->user,
			       attempt->password, attempt->peer->text, report->refusal);
	return r ?: mailbox_error;
}
