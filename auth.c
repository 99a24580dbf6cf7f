/* SPDX-License-Identifier: ISC
 * Accounts from a passwd-file. The file is the administrator's, but may have mistakes; name and
 * password come from a stranger: this runs before login. */
#include "auth.h"

#include "auth/passwd-file.h"
#include "auth/password.h"
#include "lib/path-template.h"
#include "lib/peer.h"
#include "lib/util.h"
#include "settings.h"

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
	(void)snprintf(report->refusal, sizeof(report->refusal), "%s", reason);
	return -EKEYREJECTED;
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

/* Finds what an account may do, and where. -EKEYREJECTED: there is none, or it may not log in. */
static int find_account(const struct passwd_search *search, const struct settings *settings,
			const struct peer *peer, struct account *ret, struct auth_report *report)
{
	const struct passwd_line *entry = &search->entry;
	const char *extra = entry->extra;
	struct passwd_field field;
	int r;

	if (!settings->users)
		return refuse(report, "users is not set");
	if (!entry->user)
		return refuse(report, search->name ? "no such user" : "a bad user name");
	*ret = (struct account){ entry->user, entry->password, .users = search->stamp };
	while (passwd_next_field(&extra, &field)) {
		r = check_field(&field, peer, report->refusal);
		if (r != 1 && r != -ENOENT)
			return -EKEYREJECTED;
		/* Whatever is not a clear "no" protects the mailbox. */
		ret->is_read_only |= passwd_field_is(&field, "read-only") &&
				     !util_is_listed("no", field.value, field.value_octets);
	}
	r = find_mailbox(entry, settings->mailbox, &ret->mailbox);
	return r == -EKEYREJECTED ? refuse(report, "a bad user name") : r;
}

int auth_login(const struct settings *settings, const struct peer *peer, const char *user,
	       const char *password, struct account **ret, struct auth_report *ret_report)
{
	auto_search struct passwd_search search = { 0 };
	auto_free struct account *account = malloc(sizeof(*account));
	int r = passwd_file_search(&search, settings, user, ret_report);

	if (!account)
		return -ENOMEM;
	if (r == 0)
		r = check_password(&search, password, ret_report);
	if (r < 0 && (search.entry.user || r != -EKEYREJECTED))
		return r;
	r = find_account(&search, settings, peer, account, ret_report);
	if (r < 0)
		return r;
	search.entry.user = NULL; /* the line is the account's now */
	*ret = take_ptr(account);
	return 0;
}

int auth_check_again(const struct settings *settings, const struct peer *peer,
		     struct account *account, struct auth_report *ret_report)
{
	auto_search struct passwd_search search = { .stamp = account->users };
	struct account now;
	int r = passwd_file_search(&search, settings, account->user, ret_report);
	bool is_same;

	if (r == 0)
		r = find_account(&search, settings, peer, &now, ret_report);
	if (r != 0)
		return MIN(r, 0); /* it need not be found, or cannot */
	is_same = strcmp(now.user, account->user) == 0 &&
		  strcmp(now.password, account->password) == 0 &&
		  strcmp(now.mailbox, account->mailbox) == 0 &&
		  now.is_read_only == account->is_read_only;
	free(now.mailbox);
	if (!is_same)
		return refuse(ret_report, "password, mailbox or rights are not as they were");
	account->users = now.users;
	return 0;
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

int auth_find_roots(const struct settings *settings, auth_root_handler *handle, void *context,
		    struct auth_report *ret_report)
{
	const char *template = settings->mailbox;
	size_t octets = strcspn(template, "%"); /* up to there it is the same for everybody */
	struct root_search search = { template, handle, context, NULL };
	auto_free char *root = strndup(template, octets + 1);
	struct file_stamp stamp = { 0 };
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
	if (r == 0 || r == -EINVAL)
		r = passwd_file_read(settings, note_root_of_line, &search, ret_report, &stamp);
	tdestroy(search.roots, free);
	return r == -EINVAL ? 0 : r;
}

/* ---- Mistakes ---- */

struct file_check {
	const struct settings *settings;
	auth_mailbox_test *test_mailbox;
	auth_finding_handler *handle;
	void *context;
	struct auth_report report;
	void *names; /* so far: a tree of tsearch(3) */
};

static void note_finding(const struct file_check *check, bool is_mistake, const char *text)
{
	check->handle(check->context, check->report.line_number, is_mistake, text);
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
	auto_free char *mailbox = NULL;
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
	if (find_mailbox(&entry, check->settings->mailbox, &mailbox) < 0)
		note_finding(check, true, "the account has no usable mailbox path");
	while (passwd_next_field(&entry.extra, &field)) {
		r = check_field(&field, &nobody, reason);
		if (r < 0)
			note_finding(check, r != -ENOENT, reason);
		is_read_only |= passwd_field_is(&field, "read-only");
	}
	problem = mailbox ? check->test_mailbox(mailbox, is_read_only) : NULL;
	if (problem)
		note_finding(check, false, problem);
	return check_name(check, entry.user);
}

int auth_check_file(const struct settings *settings, auth_mailbox_test *test_mailbox,
		    auth_finding_handler *handle, void *context)
{
	struct file_check check = { .settings = settings,
				    .test_mailbox = test_mailbox,
				    .handle = handle,
				    .context = context };
	struct file_stamp stamp = { 0 };
	int r = passwd_file_read(settings, check_line, &check, &check.report, &stamp);

	tdestroy(check.names, free);
	return r;
}

void auth_free(struct account *account)
{
	if (account) {
		explicit_bzero(account->password, strlen(account->password));
		free(account->user); /* the beginning of the line */
		free(account->mailbox);
		free(account);
	}
}
