/* SPDX-License-Identifier: ISC
 * Fills in an account: its ids, its mailbox, and the digest that shows a change. Also `auth = pam`:
 * NSS finds the accounts of the system, PAM checks them. User names and passwords are untrusted:
 * this runs before login. */
#include "auth/backend.h"

#include "lib/module.h"
#include "lib/path-template.h"
#include "lib/peer.h"
#include "lib/util.h"
#include "log.h"
#include "settings.h"

#include <dlfcn.h>
#include <nettle/hmac.h>
#include <pwd.h>
#include <shadow.h>
#include <sys/random.h>

#define UID_NOBODY 65534
#define UID_DYNAMIC_MIN 61184 /* systemd's range for DynamicUser= */
#define UID_DYNAMIC_MAX 65519

bool backend_is_bad_name(const char *user)
{
	for (const char *c = user; *c; c++) {
		if (*c == '/' || (unsigned char)*c < ' ' || *c == 0x7f)
			return true;
	}
	return *user == '\0' || strlen(user) >= AUTH_USER_OCTETS;
}

/* Looks up a user in NSS. Returns 0, -ENOKEY if there is none, or -EIO. */
static int find_user(const char *name, const struct passwd **ret)
{
	errno = 0;
	*ret = getpwnam(name);
	return *ret ? 0 : errno == 0 || errno == ENOENT || errno == ESRCH ? -ENOKEY : -EIO;
}

int backend_set_ids(struct auth_attempt *attempt, uid_t uid, gid_t gid)
{
	const struct settings *settings = attempt->settings;
	const struct passwd *mail_user;
	bool is_bad = uid == 0 || uid == (uid_t)-1 || uid == UID_NOBODY || gid == 0 ||
		      gid == (gid_t)-1 || (uid >= UID_DYNAMIC_MIN && uid <= UID_DYNAMIC_MAX);

	attempt->account->uid = uid;
	attempt->account->gid = gid;
	if (!is_bad && uid < settings->first_valid_uid)
		is_bad = find_user(settings->mail_user, &mail_user) < 0 || mail_user->pw_uid != uid;
	return is_bad ? auth_fail(attempt->report, -EKEYREJECTED,
				  "uid %u with gid %u may not log in", uid, gid) :
			0;
}

int backend_use_mail_user(struct auth_attempt *attempt)
{
	const char *name = attempt->settings->mail_user;
	const struct passwd *user;
	int r = find_user(name, &user);

	if (r < 0)
		return auth_fail(attempt->report, r == -ENOKEY ? -ENXIO : r, "mail-user = %s %s",
				 log_quote(name),
				 r == -ENOKEY ? "does not exist" : "cannot be looked up");
	return backend_set_ids(attempt, user->pw_uid, user->pw_gid);
}

int backend_set_mailbox(struct auth_attempt *attempt, const char *template, const char *home)
{
	struct account *account = attempt->account;
	auto_free char *path = NULL;
	int r = path_template_expand(attempt->template ?:
					     template  ?:
							 attempt->settings->mailbox,
				     account->user, home, &path);

	if (r == -EKEYREJECTED)
		return auth_fail(attempt->report, r, "a bad user name");
	if (r < 0 || !util_copy(account->mailbox, path) ||
	    (attempt->settings->has_keeper && *path != '/'))
		return r == -ENOMEM ? r : -ENXIO;
	return 0;
}

/* Forked processes inherit the digest key. */
static uint8_t key[SHA256_DIGEST_SIZE];

int backend_make_key(void)
{
	static const uint8_t none[sizeof(key)];
	bool is_made = memcmp(key, none, sizeof(key)) != 0;

	return is_made || getentropy(key, sizeof(key)) == 0 ? 0 : -errno;
}

void backend_make_digest(struct account *account, const char *secret, const char *more)
{
	const char *const texts[] = { account->user, account->mailbox, secret, more };
	const uint32_t numbers[] = { account->uid, account->gid, account->is_read_only };
	struct hmac_sha256_ctx context;

	hmac_sha256_set_key(&context, sizeof(key), key);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		hmac_sha256_update(&context, strlen(texts[i]) + 1, (const uint8_t *)texts[i]);
	hmac_sha256_update(&context, sizeof(numbers), (const uint8_t *)numbers);
	hmac_sha256_digest(&context, sizeof(account->digest), account->digest);
	explicit_bzero(&context, sizeof(context));
}

/* ---- The accounts of the system ---- */

#define PAM_SERVICE(argument) (*(argument) ? (argument) : "pop3")

static pam_checker *check_user;

int nss_prepare(const char *argument)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "/etc/pam.d/%s", PAM_SERVICE(argument));
	if (access(path, F_OK) < 0)
		log_warning("auth: there is no %s: for PAM, what is in other counts", path);
	/* Loaded once, because an upgrade may have replaced the file before a reload. */
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
	int mailbox_error, r = find_user(attempt->user, &user);

	if (r < 0)
		return auth_fail(report, r, "%s",
				 r == -ENOKEY ? "no such user" : "NSS cannot look up users");
	if (!util_copy(account->user, user->pw_name) || !util_copy(report->user, user->pw_name))
		return auth_fail(report, -EKEYREJECTED, "a bad user name");
	mailbox_error = backend_set_mailbox(attempt, NULL, user->pw_dir);
	secret = strdupa(user->pw_passwd); /* the next getpwnam(3) overwrites it */
	r = backend_set_ids(attempt, user->pw_uid, user->pw_gid);
	/* Before the check, so that a password change during it is noticed later. Without the right
	 * to read shadow(5), there is no entry. */
	shadow = getspnam(account->user);
	backend_make_digest(account, secret, shadow ? shadow->sp_pwdp : "");
	if (r == 0 && attempt->purpose != AUTH_LOOK_UP)
		r = check_user(PAM_SERVICE(attempt->argument), account->user, attempt->password,
			       attempt->peer->text, report->refusal);
	return r ?: mailbox_error;
}
