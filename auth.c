/* SPDX-License-Identifier: ISC
 * Which backend knows an account, and accounts from passwd-files. The files are the
 * administrator's, but may have mistakes; name and password come from a stranger: this runs before
 * login. */
#include "auth.h"

#include "auth/backend.h"
#include "auth/passwd-file.h"
#include "auth/password.h"
#include "lib/path-template.h"
#include "lib/peer.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "log.h"
#include "settings.h"

#include <pwd.h>
#include <search.h>

/* With these another server redirects or proxies a client, takes another password, user or place of
 * mail, or restricts a login: none of that is done here. */
#define REFUSING_FIELDS                                                                       \
	"allow_real_nets chroot delay_until destuser domain fail home host login_user "       \
	"mail_home mail_inbox_path master_user noauthenticate nopassword original_user pass " \
	"password password_noscheme proxy proxy_always proxy_maybe tempfail user username"

/* For the log: the hash may have been made of another encoding. */
static const char *describe_encoding(const char *text)
{
	bool is_ascii = true, is_utf8 = true;
	unsigned more = 0; /* octets of a character that are still to come */

	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		is_ascii &= *c < 0x80;
		is_utf8 &= (more > 0) == ((*c & 0xc0) == 0x80) && *c < 0xf8;
		more = more > 0 ? more - 1 : *c < 0xc0 ? 0 : *c < 0xe0 ? 1 : *c < 0xf0 ? 2 : 3;
	}
	return is_ascii		    ? "" :
	       is_utf8 && more == 0 ? " (it is not ASCII, but UTF-8)" :
				      " (it is not ASCII, and not UTF-8: Latin-1 perhaps)";
}

/* Costs one check of a costly password, if the file has any: also for an unknown user, one that
 * could never match, and a cheap one, right or wrong: the account may be refused for another
 * reason. Returns 1, -EKEYREJECTED or -ENOMEM. */
static int check_password(const struct passwd_search *search, const char *password,
			  struct auth_report *report)
{
	const char *field = search->entry.user ? search->entry.password : "";
	char unused[AUTH_REASON_OCTETS];
	int r = password_check(field, report->user, password, report->refusal), decoy = 0;

	if (!password)
		return r == -ENODATA ? -EKEYREJECTED : r == -ENOMEM ? r : 1;
	if (r == 0)
		(void)snprintf(report->refusal, sizeof(report->refusal), "wrong password%s",
			       describe_encoding(password));
	if (search->decoy && password_check(field, "", NULL, unused) != 1)
		decoy = password_check(search->decoy, "", password, unused);
	return r == 1 ? 1 : r == -ENOMEM || decoy == -ENOMEM ? -ENOMEM : -EKEYREJECTED;
}

/* The account's own template; NULL: none. It is `maildir:PATH[:OPTIONS]` or just a path, in which
 * "~" is the home directory. -ENXIO: another kind of mailbox, or a relative path. */
static int find_own_template(const struct passwd_line *entry, char **ret)
{
	static const char prefix[] = "maildir:", inbox[] = ":INBOX=";
	const char *extra = entry->extra, *mail;
	struct passwd_field field;
	size_t octets;

	*ret = NULL;
	do {
		if (!passwd_next_field(&extra, &field))
			return 0;
	} while (!passwd_field_is(&field, "mail mail_location mail_path"));
	mail = field.value;
	octets = field.value_octets;
	if (strncmp(mail, prefix, sizeof(prefix) - 1) == 0) {
		if (memmem(mail, octets, inbox, sizeof(inbox) - 1))
			return -ENXIO;
		mail += sizeof(prefix) - 1;
		octets = strcspn(mail, " \t:");
	}
	if (octets == 0 || !strchr("/~%", *mail))
		return -ENXIO;
	if (*mail == '~' && (octets == 1 || mail[1] == '/'))
		return asprintf(ret, "%%h%.*s", (int)octets - 1, mail + 1) < 0 ? -ENOMEM : 0;
	*ret = strndup(mail, octets);
	return *ret ? 0 : -ENOMEM;
}

/* Whether a peer is in a list of networks; `local` is one without an address, on this machine.
 * Returns 1, 0, or -EINVAL if something in the list is no network. */
static int is_in_networks(const struct passwd_field *field, const struct peer *peer)
{
	bool has_address = !IN6_IS_ADDR_UNSPECIFIED(&peer->address);
	char *rest = strndupa(field->value, field->value_octets), *network;
	int match = 0;

	while ((network = strsep(&rest, ","))) {
		bool is_local = strcmp(network, "local") == 0;
		int r = is_local ? peer->is_local : peer_is_in_network(&peer->address, network);

		if (r < 0)
			return r;
		match |= r && is_local != has_address;
	}
	return match;
}

/* Whether a field of `extra` lets a peer in. Returns 1, or with the reason:
 *   0        it does not
 *   -EINVAL  it lets nobody in here
 *   -ENOENT  it is not known, and ignored */
static int check_field(const struct passwd_field *field, const struct peer *peer, char *ret_reason)
{
	const char *before = "the field ", *after = "";
	int r = 1;

	if (passwd_field_is(field, "nologin")) {
		before = "the account has ";
		r = 0;
	} else if (passwd_field_is(field, "allow_nets")) {
		r = is_in_networks(field, peer);
		before = r < 0 ? "something that is no network is in " : "the client is not in ";
	} else if (passwd_field_is(field, REFUSING_FIELDS) ||
		   (passwd_field_is(field, "mail_driver") &&
		    !util_is_listed("maildir", field->value, field->value_octets))) {
		after = " is not supported";
		r = -EINVAL;
	} else if (!passwd_field_is(field, "mail mail_driver mail_location mail_path read-only")) {
		after = " is unknown";
		r = -ENOENT;
	}
	(void)snprintf(ret_reason, AUTH_REASON_OCTETS, "%s%.*s%s", before, (int)field->name_octets,
		       field->name, after);
	return r;
}

/* Finds whose the files of an account are: those of a line, or mail-user. */
static int find_ids(struct auth_attempt *attempt, const struct passwd_line *entry)
{
	uint64_t uid, gid;

	if (!*entry->uid && !*entry->gid)
		return backend_use_mail_user(attempt);
	if (wire_parse_number(entry->uid, UINT32_MAX, &uid) < 0 ||
	    wire_parse_number(entry->gid, UINT32_MAX, &gid) < 0)
		return auth_fail(attempt->report, -EKEYREJECTED,
				 "uid and gid are neither two numbers nor both empty");
	return backend_set_ids(attempt, (uid_t)uid, (gid_t)gid);
}

static int find_mailbox(struct auth_attempt *attempt, const struct passwd_line *entry)
{
	auto_free char *own_template = NULL;

	return find_own_template(entry, &own_template) ?:
		       backend_set_mailbox(attempt, own_template, entry->home);
}

/* Finds what an account may do, and where. */
static int find_account(struct auth_attempt *attempt, const struct passwd_search *search)
{
	const struct passwd_line *entry = &search->entry;
	struct account *account = attempt->account;
	struct auth_report *report = attempt->report;
	const char *extra = entry->extra;
	struct passwd_field field;
	int r;

	if (!entry->user)
		return auth_fail(report, -ENOKEY, "%s",
				 !attempt->settings->users ? "users is not set" :
				 *search->name		   ? "no such user" :
							     "a bad user name");
	account->users = search->stamp;
	(void)util_copy(account->user, report->user);
	while (passwd_next_field(&extra, &field)) {
		r = check_field(&field, attempt->peer, report->refusal);
		if (r != 1 && r != -ENOENT)
			return -EKEYREJECTED;
		/* Whatever is not a clear "no" protects the mailbox. */
		account->is_read_only |= passwd_field_is(&field, "read-only") &&
					 !util_is_listed("no", field.value, field.value_octets);
	}
	*report->refusal = '\0';
	r = attempt->settings->has_keeper ? find_ids(attempt, entry) : 0;
	r = r ?: find_mailbox(attempt, entry);
	if (r == 0)
		backend_make_digest(account, entry->password, "");
	return r;
}

static int passwd_file_check(struct auth_attempt *attempt)
{
	auto_search struct passwd_search search = { .stamp = attempt->account->users };
	int r = passwd_file_search(&search, attempt->settings, attempt->user, attempt->report);

	if (r == 0 && !attempt->is_again)
		r = check_password(&search, attempt->password, attempt->report);
	else if (r != 0)
		return r;
	return r < 0 && (search.entry.user || r != -EKEYREJECTED) ? r :
								    find_account(attempt, &search);
}

/* ---- Backends ---- */

static const struct backend {
	const char *name;
	auth_backend *check;
	int (*prepare)(const char *argument); /* NULL: it needs no keeper either */
} backends[] = {
	{ "passwd-file", passwd_file_check, NULL },
	{ "pam", nss_check, nss_prepare },
	{ "checkpassword", checkpassword_check, checkpassword_prepare },
};

/* One of `auth`, and what follows its name; NULL: it is not set. settings.c knows the names, too.
 */
static const struct backend *find_backend(const struct settings *settings, unsigned i,
					  const char **ret_argument)
{
	static const char *const by_default[] = { "passwd-file", NULL };
	const char *const *items = (const char *const *)settings->auth ?: by_default;
	const struct backend *backend = backends;
	size_t octets;

	for (; *items && i > 0; i--) /* the list may have been longer at login */
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
		if (strstr(*users, "%d"))
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
	if (!backend || (backend->prepare && passwd_is_bad_name(attempt->user)))
		return auth_fail(attempt->report, -ENOKEY, "a bad user name");
	if (backend->prepare && !attempt->is_again && !(attempt->password && *attempt->password))
		return auth_fail(attempt->report, -ENOKEY, "an empty password, or none");
	return backend->check(attempt);
}

int auth_login(const struct settings *settings, const struct peer *peer, const char *user,
	       const char *password, struct account *ret, struct auth_report *ret_report)
{
	struct auth_attempt attempt = {
		settings, peer, "", user, password, false, ret, ret_report
	};
	unsigned i = 0;
	int r;

	*ret_report = (struct auth_report){ 0 };
	do {
		*ret = (struct account){ .backend = i };
		r = ask_backend(&attempt);
	} while (r == -ENOKEY && settings->auth && settings->auth[++i]);
	return r == -ENOKEY ? -EKEYREJECTED : r;
}

int auth_check_again(const struct settings *settings, const struct peer *peer,
		     struct account *account, struct auth_report *ret_report)
{
	struct account now = { .backend = account->backend, .users = account->users };
	struct auth_attempt attempt = { settings, peer, "", account->user, NULL, true, &now, NULL };
	int r;

	*ret_report = (struct auth_report){ 0 };
	attempt.report = ret_report;
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

/* ---- Where mailboxes are ---- */

struct root_search {
	const char *template;
	auth_root_handler *handle;
	void *context;
	void *roots; /* so far: a tree of tsearch(3) */
};

static int compare_texts(const void *left, const void *right)
{
	return strcmp(left, right);
}

/* Adds a text to a tree of tsearch(3). Returns 0, 1 if it was there, or -ENOMEM. */
static int note_text(void **tree, const char *text)
{
	const char **known = tsearch(text, tree, compare_texts);

	if (known && *known != text)
		return 1;
	return known && (*known = strdup(text)) ? 0 : -ENOMEM;
}

/* `/` would hold everything; "..", a symbolic link or the working directory may be that, too. */
static bool is_file_system_root(const char *path)
{
	struct stat root, status;

	return stat("/", &root) == 0 && stat(path, &status) == 0 && root.st_dev == status.st_dev &&
	       root.st_ino == status.st_ino;
}

/* Many accounts have the same root. -EINVAL: it is `/`. */
static int note_root(struct root_search *search, const char *root)
{
	int r;

	if (tfind(root, &search->roots, compare_texts))
		return 0;
	if (is_file_system_root(root))
		return -EINVAL;
	r = note_text(&search->roots, root);
	return r < 0 ? r : search->handle(search->context, root);
}

/* Only its home or own path takes an account away from the others. The directory that holds it is
 * the root: so there may be others like it. -EINVAL: relative, or in `/`. */
static int note_root_of_line(void *context, char *line, size_t octets)
{
	struct root_search *search = context;
	auto_free char *own_template = NULL, *root = NULL;
	const char *template;
	struct passwd_line entry;
	int r;

	if (!line || *line == ':') /* nobody can log in to that */
		return 0;
	entry = passwd_line_parse(line, octets);
	r = find_own_template(&entry, &own_template);
	if (r < 0)
		return r == -ENXIO ? 0 : r; /* nor to that */
	if (!own_template && !path_template_is_in_home(search->template))
		return 0;
	template = own_template ?: search->template;
	root = path_template_is_in_home(template) ? strdup(entry.home) :
						    strndup(template, strcspn(template, "%") + 1);
	if (!root)
		return -ENOMEM;
	if (*root == '\0')
		return 0;
	util_cut_path(root);
	return *root == '/' ? note_root(search, root) : -EINVAL;
}

/* The directories that homes of the system are in, as far as NSS lists its users. */
static int note_homes(struct root_search *search, const struct settings *settings)
{
	struct passwd *user;
	int r = 0;

	setpwent();
	while (r == 0 && (user = getpwent())) {
		if (user->pw_uid < settings->first_valid_uid || *user->pw_dir != '/')
			continue;
		util_cut_path(user->pw_dir);
		r = note_root(search, user->pw_dir);
		r = r == -EINVAL ? 0 : r; /* in `/`, as that of nobody */
	}
	endpwent();
	return r;
}

int auth_find_roots(const struct settings *settings, auth_root_handler *handle, void *context,
		    struct auth_report *ret_report)
{
	const char *template = settings->mailbox;
	size_t octets = strcspn(template, "%"); /* up to there it is the same for everybody */
	struct root_search search = { template, handle, context, NULL };
	auto_free char *root = strndup(template, octets + 1);
	int r = root ? 0 : -ENOMEM;

	*ret_report = (struct auth_report){ 0 };
	for (char *const *given = settings->mail_root; given && *given && r == 0; given++)
		r = handle(context, *given);
	if (settings->mail_root)
		return r;
	if (r == 0 && !path_template_is_in_home(template)) {
		if (template[octets])
			util_cut_path(root);
		r = note_root(&search, root);
		ret_report->has_wide_template = r == -EINVAL;
	}
	if (r == 0 && path_template_is_in_home(template) &&
	    (auth_has_backend(settings, "pam") || auth_has_backend(settings, "checkpassword")))
		r = note_homes(&search, settings);
	if (r == 0 || r == -EINVAL)
		r = passwd_file_read_all(settings, note_root_of_line, &search, ret_report);
	tdestroy(search.roots, free);
	return r == -EINVAL ? 0 : r;
}

/* ---- Mistakes ---- */

#define FINDINGS_MAX 20 /* that are logged */

struct file_check {
	const struct settings *settings;
	auth_mailbox_test *test_mailbox;
	struct auth_report report;
	void *names; /* so far: a tree of tsearch(3) */
	unsigned findings;
	bool has_mistake;
};

static void note_finding(struct file_check *check, bool is_mistake, const char *text)
{
	check->has_mistake |= is_mistake;
	if (check->findings++ < FINDINGS_MAX)
		log_warning("%s:%u: %s", check->report.file, check->report.line_number, text);
}

static bool has_outer_blanks(const char *text)
{
	return *text && (strchr(" \t", *text) || strchr(" \t", text[strlen(text) - 1]));
}

static int check_name(struct file_check *check, const char *user)
{
	int r = note_text(&check->names, user);

	if (check->report.line_number == 1 && strncmp(user, "\xef\xbb\xbf", 3) == 0)
		note_finding(check, true, "a byte order mark is part of the first user name");
	if (passwd_is_bad_name(user))
		note_finding(check, true, "this user name can never log in");
	if (r == 1)
		note_finding(check, false, "this user has a line above, which counts");
	return MIN(r, 0);
}

static int check_line(void *context, char *line, size_t octets)
{
	static const struct peer nobody;
	struct file_check *check = context;
	struct account account = { 0 };
	struct auth_report report = { 0 };
	struct auth_attempt attempt = { .settings = check->settings,
					.account = &account,
					.report = &report };
	char reason[AUTH_REASON_OCTETS];
	const char *problem;
	struct passwd_line entry;
	struct passwd_field field;
	bool is_read_only = check->settings->read_only;
	int r;

	if (!line || *line == ':' || !memchr(line, ':', octets)) {
		note_finding(check, true,
			     line ? "malformed line: it does not begin with a user name and ':'" :
				    "malformed line: longer than 4096 octets, or with a NUL");
		return 0;
	}
	entry = passwd_line_parse(line, octets);
	r = password_check(entry.password, entry.user, NULL, reason);
	if (r < 0 && r != -EACCES)
		note_finding(check, true, reason);
	if (has_outer_blanks(entry.user) || has_outer_blanks(entry.home) ||
	    (r < 0 && has_outer_blanks(entry.password)))
		note_finding(check, true, "there are blanks round a field");
	(void)util_copy(account.user, entry.user);
	if (find_mailbox(&attempt, &entry) < 0)
		note_finding(check, true, "the account has no usable mailbox path");
	if (check->settings->has_keeper && find_ids(&attempt, &entry) < 0)
		note_finding(check, true, report.refusal);
	while (passwd_next_field(&entry.extra, &field)) {
		r = check_field(&field, &nobody, reason);
		if (r < 0)
			note_finding(check, r != -ENOENT, reason);
		is_read_only |= passwd_field_is(&field, "read-only");
	}
	problem = *account.mailbox ? check->test_mailbox(&account, is_read_only) : NULL;
	if (problem)
		note_finding(check, false, problem);
	return check_name(check, entry.user);
}

bool auth_check_files(const struct settings *settings, auth_mailbox_test *test_mailbox)
{
	struct file_check check = { .settings = settings, .test_mailbox = test_mailbox };
	int r = passwd_file_read_all(settings, check_line, &check, &check.report);

	tdestroy(check.names, free);
	if (check.findings > FINDINGS_MAX)
		log_warning("%s: and %u more", check.report.file, check.findings - FINDINGS_MAX);
	if (r < 0)
		log_error("cannot read users = %s: %s", log_quote(check.report.file), strerror(-r));
	return r == 0 && !check.has_mistake;
}
