/* SPDX-License-Identifier: ISC
 * Accounts from a passwd-file. The file is the administrator's, but may have mistakes; name and
 * password come from a stranger: this runs before login. */
#include "auth.h"

#include "auth/passwd-file.h"
#include "auth/password.h"
#include "lib/path-template.h"
#include "lib/util.h"

/* Every failure costs one crypt(3), if the file has any: for an unknown user, a {PLAIN} password
 * or none that could match, too. Returns 1, 0 or -ENOMEM. */
static int check_password(const struct passwd_search *search, const char *password)
{
	bool is_plain = false;
	const char *secret =
		search->line ? password_skip_scheme(search->entry.password, &is_plain) : NULL;
	int r = 0;

	if (secret && *secret && is_plain && password_is_equal(secret, password))
		return 1;
	if (secret && *secret && !is_plain && password_is_crypt_string(secret))
		return password_matches_hash(secret, password);
	if (search->decoy)
		r = password_matches_hash(search->decoy, password);
	return r < 0 ? r : 0;
}

/* The account's own template, of userdb_mail; NULL: none. It is `maildir:PATH[:OPTIONS]` or just a
 * path, in which "~/" is the home directory. -ENXIO: another kind of mailbox. */
static int find_own_template(const struct passwd_line *entry, char **ret)
{
	static const char prefix[] = "maildir:", letters[] = "abcdefghijklmnopqrstuvwxyz";
	const char *mail = passwd_line_find_extra(entry->extra, "userdb_mail");
	size_t octets;

	*ret = NULL;
	if (!mail)
		return 0;
	octets = strcspn(mail, PASSWD_BLANKS);
	if (strncmp(mail, prefix, sizeof(prefix) - 1) == 0) {
		mail += sizeof(prefix) - 1;
		octets = strcspn(mail, PASSWD_BLANKS ":");
	} else if (*mail != ':' && mail[strspn(mail, letters)] == ':') {
		return -ENXIO;
	}
	if (strncmp(mail, "~/", 2) == 0)
		return asprintf(ret, "%%h%.*s", (int)octets - 1, mail + 1) < 0 ? -ENOMEM : 0;
	*ret = strndup(mail, octets);
	return *ret ? 0 : -ENOMEM;
}

static int find_mailbox(const struct passwd_line *entry, const char *template, char **ret_path)
{
	auto_free char *own_template = NULL;
	int r = find_own_template(entry, &own_template);

	if (r == 0)
		r = path_template_expand(own_template ? own_template : template, entry->user,
					 entry->home, ret_path);
	return r == -EINVAL ? -ENXIO : r;
}

/* The reason is for the administrator; the client must not hear of it. */
static int refuse(struct auth_report *report, const char *reason)
{
	report->refusal = reason;
	return -EKEYREJECTED;
}

static void free_account(struct account **account)
{
	auth_free(*account);
}

#define auto_account __attribute__((cleanup(free_account)))

/* Makes the account that was found. -EKEYREJECTED: there is none, or it may not log in. */
static int make_account(const struct passwd_search *search, const char *users, const char *template,
			struct account **ret, struct auth_report *report)
{
	const struct passwd_line *entry = &search->entry;
	const char *read_only;
	auto_account struct account *account = NULL;
	int r;

	if (!users)
		return refuse(report, "users is not set");
	if (!search->line)
		return refuse(report, search->user ? "no such user" : "a bad user name");
	if (passwd_line_find_extra(entry->extra, "nologin"))
		return refuse(report, "the account has nologin");
	read_only = passwd_line_find_extra(entry->extra, "read-only");
	account = calloc(1, sizeof(*account));
	if (!account)
		return -ENOMEM;
	account->user = strdup(entry->user);
	account->password = strdup(entry->password);
	if (!account->user || !account->password)
		return -ENOMEM;
	/* Whatever is not a clear "no" protects the mailbox. */
	account->is_read_only = read_only && (strncmp(read_only, "no", 2) != 0 ||
					      strcspn(read_only, PASSWD_BLANKS) != 2);
	account->users = search->stamp;
	r = find_mailbox(entry, template, &account->mailbox);
	if (r == -EKEYREJECTED)
		return refuse(report, "a bad user name");
	if (r == 0)
		*ret = take_ptr(account);
	return r;
}

int auth_login(const char *users, const char *template, const char *user, const char *password,
	       struct account **ret, struct auth_report *ret_report)
{
	auto_search struct passwd_search search = { 0 };
	int r = passwd_file_search(&search, users, user, ret_report);

	if (r == 0)
		r = check_password(&search, password);
	if (r < 0)
		return r;
	if (search.line && r == 0)
		return refuse(ret_report, "wrong password");
	return make_account(&search, users, template, ret, ret_report);
}

int auth_find(const char *users, const char *template, const char *user, struct account **ret,
	      struct auth_report *ret_report)
{
	auto_search struct passwd_search search = { 0 };
	const char *secret;
	bool is_plain;
	int r = passwd_file_search(&search, users, user, ret_report);

	if (r < 0)
		return r;
	secret = search.line ? password_skip_scheme(search.entry.password, &is_plain) : NULL;
	if (secret && !*secret)
		return refuse(ret_report, "the account has no password");
	return make_account(&search, users, template, ret, ret_report);
}

int auth_check_again(const char *users, const char *template, struct account *account,
		     struct auth_report *ret_report)
{
	auto_search struct passwd_search search = { .stamp = account->users };
	auto_account struct account *now = NULL;
	int r = passwd_file_search(&search, users, account->user, ret_report);

	if (r == 0)
		r = make_account(&search, users, template, &now, ret_report);
	if (!now) /* it cannot be made, or need not */
		return r < 0 ? r : 0;
	if (strcmp(now->password, account->password) != 0 ||
	    strcmp(now->mailbox, account->mailbox) != 0 ||
	    now->is_read_only != account->is_read_only)
		return refuse(ret_report, "password, mailbox or rights are not as they were");
	account->users = now->users;
	return 0;
}

int auth_check_file(const char *users, struct auth_report *ret_report)
{
	auto_search struct passwd_search search = { 0 };

	return passwd_file_search(&search, users, "", ret_report);
}

/* ---- Where mailboxes are ---- */

struct root_search {
	const char *template;
	auth_root_handler *handle;
	void *context;
};

static bool is_in_home(const char *template)
{
	return strncmp(template, "%h", 2) == 0;
}

/* The directory that holds this mailbox and others like it: the parent of the home directory, the
 * constant part of a template, or the parent of the account's own path. */
static int find_root(const struct passwd_line *entry, const char *template, char **ret_path)
{
	auto_free char *own_template = NULL;
	int r = find_own_template(entry, &own_template);

	if (r < 0)
		return r;
	if (own_template)
		template = own_template;
	*ret_path = is_in_home(template) ? strdup(entry->home) : path_template_root(template);
	if (!*ret_path)
		return -ENOMEM;
	if (**ret_path && (is_in_home(template) || (own_template && !strchr(template, '%'))))
		util_cut_path(*ret_path);
	return 0;
}

/* Whether a root can be told from `/`, which would hold everything. */
static bool is_narrow_root(const char *root)
{
	return *root == '/' && root[strspn(root, "/.")] && !strstr(root, "/..");
}

/* Only its home or own path takes an account away from the others. -EINVAL: relative, or in `/`. */
static int note_root(void *context, char *line, size_t octets)
{
	const struct root_search *search = context;
	auto_free char *root = NULL;
	struct passwd_line entry;
	int r;

	line[octets] = '\0';
	entry = passwd_line_parse(line);
	if (*entry.user == '\0' || (!is_in_home(search->template) && *entry.extra == '\0'))
		return 0;
	r = find_root(&entry, search->template, &root);
	if (r < 0)
		return r == -ENXIO ? 0 : r; /* nobody can log in to that */
	if (*root == '\0')
		return 0;
	return is_narrow_root(root) ? search->handle(search->context, root) : -EINVAL;
}

int auth_find_roots(const char *users, const char *template, auth_root_handler *handle,
		    void *context, struct auth_report *ret_report)
{
	struct root_search search = { template, handle, context };
	auto_free char *root = NULL;
	struct file_stamp stamp = { 0 };
	int r = 0;

	*ret_report = (struct auth_report){ 0 };
	if (!is_in_home(template)) {
		root = path_template_root(template);
		if (!root)
			return -ENOMEM;
		ret_report->has_wide_template = *root == '/' && !is_narrow_root(root);
		if (!ret_report->has_wide_template)
			r = handle(context, root);
	}
	return r == 0 && users ? passwd_file_read(users, note_root, &search, ret_report, &stamp) :
				 r;
}

void auth_free(struct account *account)
{
	if (account) {
		free(account->user);
		free(account->mailbox);
		util_wipe(&account->password);
		free(account);
	}
}
