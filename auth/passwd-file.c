/* SPDX-License-Identifier: ISC
 * The passwd-file: lines, the search for a user, accounts, roots of mailboxes, --check-config.
 * Files may contain mistakes; user names and passwords are untrusted: this runs before login. */
#include "auth/backend.h"
#include "auth/password.h"
#include "lib/path-template.h"
#include "lib/peer.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "log.h"
#include "settings.h"

#include <ctype.h>
#include <pwd.h>
#include <search.h>

#define LINE_OCTETS_MAX 4096		      /* without its LF */
#define TEMPLATE_OCTETS (LINE_OCTETS_MAX + 2) /* "~" may become "%h"; and a NUL */
#define READ_OCTETS 6144		      /* of the buffer; more than LINE_OCTETS_MAX + 1 */

#define BLANKS " \t" /* between the fields of `extra` */

/* Dovecot's fields that redirect or proxy a client, replace its password, user or mailbox, or
 * restrict a login. They are not supported, so an account that has one of them is refused. */
#define REFUSING_FIELDS                                                                       \
	"allow_real_nets chroot delay_until destuser domain fail home host login_user "       \
	"mail_home mail_inbox_path master_user noauthenticate nopassword original_user pass " \
	"password password_noscheme proxy proxy_always proxy_maybe tempfail user username"

/* ---- Lines ---- */

/* The fields of a line, as in passwd(5). They point into the line; "" if omitted. */
struct passwd_line {
	char *user, *password; /* `user` is the start of the line */
	const char *uid, *gid, *home, *extra;
};

/* A word NAME[=VALUE] of `extra`, into which it points. */
struct passwd_field {
	const char *name; /* without the prefix "userdb_" and a suffix after ":" */
	size_t name_octets;
	const char *value;
	size_t value_octets; /* 0: there is no value */
};

/* Whether the name of a field is in a list for util_is_listed(). */
#define passwd_field_is(field, names) util_is_listed((names), (field)->name, (field)->name_octets)

/* Splits a line in place, and writes a NUL after it. */
static struct passwd_line passwd_line_parse(char *line, size_t octets)
{
	enum { USER, PASSWORD, UID, GID, GECOS, HOME, SHELL, EXTRA };
	char *fields[EXTRA];

	line[octets] = '\0';
	/* Four times faster than strsep(3): auth_find_roots() splits every line. */
	for (size_t i = 0; i < EXTRA; i++) {
		fields[i] = line;
		line = strchrnul(line, ':');
		if (*line)
			*line++ = '\0';
	}
	return (struct passwd_line){ fields[USER], fields[PASSWORD], fields[UID],
				     fields[GID],  fields[HOME],     line };
}

/* Gets the next field of `extra`, and moves `extra` behind it. False: there is none. */
static bool passwd_next_field(const char **extra, struct passwd_field *ret)
{
	const char *name = *extra + strspn(*extra, BLANKS), *value;

	*extra = name + strcspn(name, BLANKS);
	if (strncmp(name, "userdb_", 7) == 0)
		name += 7;
	value = name + strcspn(name, BLANKS "=");
	value += *value == '=';
	*ret = (struct passwd_field){ name, strcspn(name, BLANKS "=:"), value,
				      (size_t)(*extra - value) };
	return *name != '\0';
}

/* Handles a line; NULL: it is too long or contains a NUL. May write a NUL after the line: writing
 * one after every line would make a login among 100,000 accounts a tenth slower. Returns 0, -EINVAL
 * if the line is malformed, or an error that ends the reading. */
typedef int passwd_line_handler(void *context, char *line, size_t octets);

/* Handles a line that is not a comment or empty, and counts malformed lines. */
static int handle_line(char *line, size_t octets, bool has_nul, passwd_line_handler *handle,
		       void *context, struct auth_report *report)
{
	bool is_bad = octets > LINE_OCTETS_MAX || (has_nul && memchr(line, '\0', octets));
	int r = 0;

	report->line_number++;
	if (!is_bad && octets > 0 && line[octets - 1] == '\r')
		octets--;
	if (is_bad || (octets > 0 && *line != '#'))
		r = handle(context, is_bad ? NULL : line, octets);
	if (r == -EINVAL && report->malformed_lines++ == 0)
		report->malformed_line = report->line_number;
	return r == -EINVAL ? 0 : r;
}

/* Reads all lines, and wipes the buffer, because they contain passwords. */
static int read_each_line(int fd, passwd_line_handler *handle, void *context,
			  struct auth_report *report)
{
	char octets[READ_OCTETS + 1], *line, *lf;
	size_t kept = 0; /* octets in the buffer that no handler has seen */
	bool has_nul;
	ssize_t n;
	int r;

	report->line_number = 0;
	do {
		n = util_read(fd, octets + kept, READ_OCTETS - kept);
		r = (int)MIN(n, 0);
		if (n == 0 && kept > 0)
			octets[kept++] = '\n'; /* which the last line may lack */
		kept += (size_t)MAX(n, 0);
		has_nul = memchr(octets, '\0', kept) != NULL;
		for (line = octets; r == 0 && (lf = memchr(line, '\n', kept)); line = lf + 1) {
			kept -= (size_t)(lf + 1 - line);
			r = handle_line(line, (size_t)(lf - line), has_nul, handle, context,
					report);
		}
		kept = MIN(kept, LINE_OCTETS_MAX + 1); /* enough to see that a line is too long */
		memmove(octets, line, kept);
	} while (n > 0 && r == 0);
	explicit_bzero(octets, sizeof(octets));
	return r;
}

/* Reads a file, and updates its stamp. Returns 1 without reading if the stamp is still the same. */
static int read_file(const char *path, passwd_line_handler *handle, void *context,
		     struct auth_report *report, struct file_stamp *stamp)
{
	struct file_stamp now = { 0 };
	int64_t now_ns = file_stamp_now_ns();
	/* open(2) comes first: it makes NFS revalidate cached attributes (nfs(5)). */
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	int r = fd < 0 ? -errno : file_stamp_take(fd, &now);

	if (r < 0 || report->malformed_lines == 0)
		(void)util_copy(report->file, path);
	if (r < 0)
		return r;
	if (memcmp(&now, stamp, sizeof(now)) == 0)
		return 1;
	*stamp = file_stamp_is_stable(&now, now_ns) ? now : (struct file_stamp){ 0 };
	return read_each_line(fd, handle, context, report);
}

/* A reading of all passwd-files. */
struct passwd_files {
	passwd_line_handler *handle;
	void *context;
	struct auth_report *report;
	const char **domain; /* that the file is for, with the "@"; "": none */
	bool may_skip;	     /* a file that cannot be read; else it ends the reading */
};

/* For path_template_for_domains(). */
static int read_domain(void *context, const char *path, const char *domain)
{
	struct passwd_files *files = context;
	struct auth_report *report = files->report, former = *report;
	int r;

	*files->domain = domain;
	r = read_file(path, files->handle, files->context, report, &(struct file_stamp){ 0 });
	if (r >= 0 || r == -ENOMEM || !files->may_skip)
		return r;
	*report = former; /* which names the file of malformed lines */
	if (report->skip_error == 0)
		(void)util_copy(report->skipped, path);
	report->skip_error = report->skip_error ?: r;
	return 0;
}

/* Reads all passwd-files; those of domains only if `domain` is not NULL. Returns 0, or the error
 * that ended it. */
static int passwd_file_read_all(const struct settings *settings, passwd_line_handler *handle,
				void *context, struct auth_report *report, const char **domain,
				bool may_skip)
{
	struct passwd_files files = { .handle = handle,
				      .context = context,
				      .report = report,
				      .domain = domain ?: &(const char *){ "" },
				      .may_skip = may_skip };
	int r = 0;

	for (char *const *users = settings->users; users && *users && r == 0; users++) {
		if (!path_template_has_domain(*users))
			r = read_domain(&files, *users, "");
		else if (domain)
			r = path_template_for_domains(*users, read_domain, &files);
	}
	return r;
}

/* ---- The search for a user ---- */

/* A search of all passwd-files for one user, and its result. */
struct passwd_search {
	char *name; /* of the user, with the default domain; "": a bad name */
	/* Of `name` as given, with the default domain, and without one (in a domain's file). */
	size_t name_octets[3];
	char domain[AUTH_USER_OCTETS]; /* of the name, in lower case, with the "@"; "": none */
	unsigned rank;		       /* of `entry`, see rank_name(); 0: not found */
	struct passwd_line entry;      /* the user's line, owned; all NULL: not found */
	bool lacks_domain;	       /* the name in `entry` has none: its file implies it */
	struct file_stamp stamp;       /* see `users` of struct account */
	char cheap_scheme[32];	       /* "{SCHEME}" of the last cheap field */
	char *decoy;		       /* a costly password field; NULL: none yet */
};

static void wipe_line(struct passwd_search *search)
{
	struct passwd_line line = take_ptr(search->entry);

	if (line.user)
		explicit_bzero(line.user, (size_t)(strchr(line.extra, '\0') - line.user));
	free(line.user);
}

static void passwd_search_end(struct passwd_search *search)
{
	wipe_line(search);
	util_wipe(&search->decoy);
	free(search->name);
}

/* Frees the result when the variable goes out of scope. */
#define auto_search __attribute__((cleanup(passwd_search_end)))

/* Remembers the first costly hash as a decoy, which check_password() needs. */
static int note_decoy(struct passwd_search *search, char *password, char *line_end)
{
	size_t scheme_octets = strlen(search->cheap_scheme);
	char unused[AUTH_REASON_OCTETS];
	int r;

	/* Skips the scheme that was cheap before, but not "{MD5}$1$", which is a crypt(3) hash. */
	if (scheme_octets > 0 && (size_t)(line_end - password) >= scheme_octets &&
	    memcmp(password, search->cheap_scheme, scheme_octets) == 0 &&
	    password[scheme_octets] != '$')
		return 0;
	*line_end = '\0';
	*strchrnul(password, ':') = '\0';
	r = password_check(password, "", NULL, unused);
	if (r == 0 && *password == '{')
		(void)snprintf(search->cheap_scheme, sizeof(search->cheap_scheme), "%.*s",
			       (int)strcspn(password, "}") + 1, password);
	if (r < 1) /* cheap, or no password can match */
		return r == -ENOMEM ? r : 0;
	search->decoy = strdup(password);
	return search->decoy ? 0 : -ENOMEM;
}

/* Ranks a match: 6 exact, 5 with the default domain, 4 without a domain; 3, 2 and 1 for the same
 * matches if only ASCII case differs; 0 no match. */
static unsigned rank_name(const struct passwd_search *search, const char *name, size_t octets)
{
	for (unsigned i = 0; i < ARRAY_SIZE(search->name_octets); i++) {
		/* Comparing lengths first saves a sixth of a login. */
		if (octets == search->name_octets[i] &&
		    strncasecmp(name, search->name, octets) == 0)
			return memcmp(name, search->name, octets) == 0 ? 6 - i : 3 - i;
	}
	return 0;
}

/* Keeps a copy of the best match. Other lines are not split: only their names are compared. */
static int search_line(void *context, char *line, size_t octets)
{
	struct passwd_search *search = context;
	char *name_end = line ? memchr(line, ':', octets) : NULL, *copy;
	unsigned rank;

	if (!name_end || name_end == line)
		return -EINVAL;
	rank = rank_name(search, line, (size_t)(name_end - line));
	if (rank > search->rank) {
		search->rank = rank;
		wipe_line(search);
		copy = strndup(line, octets);
		if (!copy)
			return -ENOMEM;
		search->entry = passwd_line_parse(copy, octets);
		search->lacks_domain = search->name_octets[2] > 0 && !strchr(copy, '@');
	}
	return search->decoy ? 0 : note_decoy(search, name_end + 1, line + octets);
}

/* Searches one file of `users`. The file of a domain may be missing. */
static int search_file(struct passwd_search *search, const char *users, struct auth_report *report,
		       struct file_stamp *stamp)
{
	auto_free char *path = NULL;
	int r;

	search->name_octets[2] = 0;
	if (!path_template_has_domain(users))
		return read_file(users, search_line, search, report, stamp);
	r = *search->domain ? path_template_expand(users, search->domain, NULL, &path) : -ENOENT;
	if (r == 0) {
		search->name_octets[2] = strcspn(search->name, "@");
		r = read_file(path, search_line, search, report, stamp);
	}
	return r == -EKEYREJECTED || r == -ENOENT || r == -ENOTDIR || r == -ENAMETOOLONG ? 0 : r;
}

/* Searches the passwd-files for a user, as if they were one file. Goes on after a match, so that
 * the time does not depend on the user. Returns 0, 1 if the only file has not changed since `stamp`
 * (so it was not read), or a negative errno. */
static int passwd_file_search(struct passwd_search *search, const struct settings *settings,
			      const char *user, struct auth_report *report)
{
	char *const *users = settings->users;
	bool is_alone = users && *users && !users[1], is_bad = backend_is_bad_name(user);
	size_t octets;
	int r;

	search->name = is_bad ? strdup("") : settings_add_domain(settings, user);
	if (!search->name)
		return -ENOMEM;
	octets = strlen(search->name);
	search->name_octets[0] = is_bad ? 0 : strlen(user);
	if (octets > 0 && octets < AUTH_USER_OCTETS) {
		search->name_octets[1] = octets;
		(void)util_copy(search->domain, strchrnul(search->name, '@'));
		for (char *c = search->domain; *c; c++)
			*c = (char)tolower((unsigned char)*c);
	}
	for (r = 0; r == 0 && users && *users; users++)
		r = search_file(search, *users, report,
				is_alone ? &search->stamp : &(struct file_stamp){ 0 });
	if (search->entry.user)
		(void)snprintf(report->user, sizeof(report->user), "%s%s", search->entry.user,
			       search->lacks_domain ? search->domain : "");
	return r;
}

/* ---- Accounts ---- */

/* For the log: the hash may have been made from another encoding of the password. */
static const char *describe_encoding(const char *text)
{
	bool is_ascii = true, is_utf8 = true;
	unsigned more = 0; /* continuation octets that are expected */

	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		is_ascii &= *c < 0x80;
		is_utf8 &= (more > 0) == ((*c & 0xc0) == 0x80) && *c < 0xf8;
		more = more > 0 ? more - 1 : *c < 0xc0 ? 0 : *c < 0xe0 ? 1 : *c < 0xf0 ? 2 : 3;
	}
	return is_ascii		    ? "" :
	       is_utf8 && more == 0 ? " (it is not ASCII, but UTF-8)" :
				      " (it is not ASCII, and not UTF-8: Latin-1 perhaps)";
}

/* Checks a password. If the file has a costly hash, takes as long as that for every user: unknown
 * ones, and those with an unusable field or a cheap hash, even if the password is right, because
 * the account may be refused for another reason. Returns 1, -EKEYREJECTED or -ENOMEM. */
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

/* Copies the path template of an account's own mailbox into TEMPLATE_OCTETS. The field is
 * `maildir:PATH[:OPTIONS]` or a path; "~" is the home directory. Returns 1, 0 if there is no such
 * field, or -ENXIO if it has a relative path or another kind of mailbox. */
static int find_own_template(const struct passwd_line *entry, char *ret)
{
	static const char prefix[] = "maildir:", inbox[] = ":INBOX=";
	const char *extra = entry->extra, *mail;
	struct passwd_field field;
	bool is_in_home;
	size_t octets;

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
		octets = strcspn(mail, BLANKS ":");
	}
	if (octets == 0 || !strchr("/~%", *mail))
		return -ENXIO;
	is_in_home = *mail == '~' && (octets == 1 || mail[1] == '/');
	(void)snprintf(ret, TEMPLATE_OCTETS, "%s%.*s", is_in_home ? "%h" : "",
		       (int)octets - is_in_home, mail + is_in_home);
	return 1;
}

/* Whether a peer is in a list of networks; `local` is a peer on this machine without an address.
 * Returns 1, 0, or -EINVAL if an item is not a network. */
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

/* Whether a field of `extra` lets a peer log in. Returns 1, or with the reason:
 *   0        it refuses this peer
 *   -EINVAL  it is malformed or not supported, so it refuses every peer
 *   -ENOENT  it is unknown and ignored */
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

/* Sets the ids of an account: those of its line, else those of mail-user. */
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
	char own_template[TEMPLATE_OCTETS];
	int r = find_own_template(entry, own_template);

	return r < 0 ? r : backend_set_mailbox(attempt, r == 1 ? own_template : NULL, entry->home);
}

static const struct peer nobody;

/* Any value but "no" protects the mailbox. */
static bool is_protection(const struct passwd_field *field)
{
	return passwd_field_is(field, "read-only") &&
	       !util_is_listed("no", field->value, field->value_octets);
}

/* Fills in the account that has been found: its rights, ids, mailbox and digest. */
static int find_account(struct auth_attempt *attempt, const struct passwd_search *search)
{
	const struct passwd_line *entry = &search->entry;
	struct account *account = attempt->account;
	struct auth_report *report = attempt->report;
	const char *extra = entry->extra;
	struct passwd_field field;
	bool is_lookup = attempt->purpose == AUTH_LOOK_UP;
	int r;

	if (!entry->user)
		return auth_fail(report, -ENOKEY, "%s",
				 !attempt->settings->users ? "users is not set" :
				 *search->name		   ? "no such user" :
							     "a bad user name");
	account->users = search->stamp;
	(void)util_copy(account->user, report->user);
	while (passwd_next_field(&extra, &field)) {
		r = check_field(&field, is_lookup ? &nobody : attempt->peer, report->refusal);
		if (r != 1 && r != -ENOENT && !(r == 0 && is_lookup))
			return -EKEYREJECTED;
		account->is_read_only |= is_protection(&field);
	}
	*report->refusal = '\0';
	r = attempt->settings->has_keeper ? find_ids(attempt, entry) : 0;
	r = r ?: find_mailbox(attempt, entry);
	if (r == 0)
		backend_make_digest(account, entry->password, "");
	return r;
}

int passwd_file_check(struct auth_attempt *attempt)
{
	auto_search struct passwd_search search = { .stamp = attempt->account->users };
	int r = passwd_file_search(&search, attempt->settings, attempt->user, attempt->report);

	if (r == 0 && attempt->purpose == AUTH_LOGIN)
		r = check_password(&search, attempt->password, attempt->report);
	else if (r != 0)
		return r;
	return r < 0 && (search.entry.user || r != -EKEYREJECTED) ? r :
								    find_account(attempt, &search);
}

/* ---- The names of all accounts ---- */

struct name_search {
	auth_name_handler *handle;
	void *context;
	const char *domain; /* of the file, with the "@"; "": none */
};

static int handle_name(void *context, char *line, size_t octets)
{
	const struct name_search *search = context;
	char *name_end = line ? memchr(line, ':', octets) : NULL;
	auto_free char *name = NULL;

	if (!name_end || name_end == line)
		return -EINVAL;
	*name_end = '\0';
	if (asprintf(&name, "%s%s", line, strchr(line, '@') ? "" : search->domain) < 0)
		return -ENOMEM;
	return search->handle(search->context, name);
}

int auth_for_each_name(const struct settings *settings, auth_name_handler *handle, void *context,
		       struct auth_report *ret_report)
{
	struct name_search search = { handle, context, "" };

	*ret_report = (struct auth_report){ 0 };
	return passwd_file_read_all(settings, handle_name, &search, ret_report, &search.domain,
				    false);
}

/* ---- The roots of mailboxes ---- */

struct root_search {
	const char *template;
	auth_root_handler *handle;
	void *context;
	void *roots; /* found so far, a tree of tsearch(3) */
};

static int compare_texts(const void *left, const void *right)
{
	return strcmp(left, right);
}

/* Adds a text to a tree of tsearch(3). Returns 0, 1 if the tree has it already, or -ENOMEM. */
static int note_text(void **tree, const char *text)
{
	const char **known = tsearch(text, tree, compare_texts);

	if (known && *known != text)
		return 1;
	return known && (*known = strdup(text)) ? 0 : -ENOMEM;
}

/* Handles a root once: many accounts share it. -EINVAL: it is `/`, which contains every file. */
static int note_root(struct root_search *search, const char *root)
{
	int r;

	if (tfind(root, &search->roots, compare_texts))
		return 0;
	if (util_is_root_directory(root))
		return -EINVAL;
	r = note_text(&search->roots, root);
	return r < 0 ? r : search->handle(search->context, root);
}

/* Handles the parent directory of a path, which it changes. -EINVAL: the path is relative, or it is
 * in `/`. */
static int note_parent(struct root_search *search, char *path)
{
	size_t octets = strlen(path);

	/* dirname(3) would not ascend from "." or "..". */
	while (octets > 1 && (path[octets - 1] == '/' || strcmp(path + octets - 2, "/.") == 0))
		path[--octets] = '\0';
	if (*path != '/' || (octets > 2 && strcmp(path + octets - 3, "/..") == 0))
		return -EINVAL;
	util_cut_path(path);
	return note_root(search, path);
}

/* Finds the root of an account whose mailbox is in its home or at a path of its own: the parent
 * directory, which covers similar accounts, too. -EINVAL: a relative path, or in `/`. */
static int note_root_of_line(void *context, char *line, size_t octets)
{
	struct root_search *search = context;
	char own_template[TEMPLATE_OCTETS], *root;
	const char *template = search->template;
	struct passwd_line entry;
	int r;

	if (!line || *line == ':') /* no account */
		return 0;
	entry = passwd_line_parse(line, octets);
	r = find_own_template(&entry, own_template);
	if (r < 0 || (r == 0 && !path_template_is_in_home(template))) /* none, or a shared root */
		return 0;
	if (r == 1)
		template = own_template;
	root = path_template_is_in_home(template) ? strdupa(entry.home) :
						    strndupa(template, strcspn(template, "%") + 1);
	return *root == '\0' ? 0 : note_parent(search, root);
}

/* Finds the parent directories of the homes of all users that NSS enumerates. */
static int note_homes(struct root_search *search, const struct settings *settings)
{
	struct passwd *user;
	int r = 0;

	setpwent();
	while (r == 0 && (user = getpwent())) {
		if (user->pw_uid < settings->first_valid_uid)
			continue;
		r = note_parent(search, user->pw_dir);
		r = r == -EINVAL ? 0 : r; /* the parent is `/`, as for the home of `nobody` */
	}
	endpwent();
	return r;
}

/* Handles the root of `mailbox`, or those of the homes in it, and those of the passwd-files. */
static int find_default_roots(struct root_search *search, const struct settings *settings,
			      struct auth_report *report)
{
	size_t octets = strcspn(search->template, "%"); /* of the part that all users share */
	char *root = strndupa(search->template, octets + 1);
	const char *unused;
	int r = 0;

	if (!path_template_is_in_home(search->template)) {
		if (search->template[octets])
			util_cut_path(root);
		r = note_root(search, root);
		report->has_wide_root = r == -EINVAL;
	} else if (auth_has_backend(settings, "pam") ||
		   auth_has_backend(settings, "checkpassword")) {
		r = note_homes(search, settings);
	}
	return r < 0 && r != -EINVAL ? r :
				       passwd_file_read_all(settings, note_root_of_line, search,
							    report, &unused, true);
}

int auth_find_roots(const struct settings *settings, auth_root_handler *handle, void *context,
		    struct auth_report *ret_report)
{
	struct root_search search = { settings->mailbox, handle, context, NULL };
	int r = 0;

	*ret_report = (struct auth_report){ 0 };
	for (char *const *root = settings->mail_root; root && *root && r == 0; root++) {
		r = note_root(&search, *root);
		ret_report->has_wide_root |= r == -EINVAL;
		r = r == -EINVAL ? 0 : r;
	}
	if (!settings->mail_root)
		r = find_default_roots(&search, settings, ret_report);
	tdestroy(search.roots, free);
	return r;
}

/* ---- --check-config ---- */

#define FINDINGS_MAX 20 /* logged; the others are counted */

struct file_check {
	const struct settings *settings;
	auth_mailbox_test *test_mailbox;
	void *context; /* of test_mailbox */
	struct auth_report report;
	void *names; /* found so far, a tree of tsearch(3) */
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
	return *text && (strchr(BLANKS, *text) || strchr(BLANKS, text[strlen(text) - 1]));
}

static int check_name(struct file_check *check, const char *user)
{
	int r = note_text(&check->names, user);

	if (check->report.line_number == 1 && strncmp(user, "\xef\xbb\xbf", 3) == 0)
		note_finding(check, true, "a byte order mark is part of the first user name");
	if (backend_is_bad_name(user))
		note_finding(check, true, "this user name can never log in");
	if (r == 1)
		note_finding(check, false, "this user has a line above, which counts");
	return MIN(r, 0);
}

static int check_line(void *context, char *line, size_t octets)
{
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
		is_read_only |= is_protection(&field);
	}
	problem = *account.mailbox ? check->test_mailbox(check->context, &account, is_read_only) :
				     NULL;
	if (problem)
		note_finding(check, false, problem);
	return check_name(check, entry.user);
}

bool auth_check_files(const struct settings *settings, auth_mailbox_test *test_mailbox,
		      void *context)
{
	struct file_check check = { .settings = settings,
				    .test_mailbox = test_mailbox,
				    .context = context };
	int r = passwd_file_read_all(settings, check_line, &check, &check.report, NULL, false);

	tdestroy(check.names, free);
	if (check.findings > FINDINGS_MAX)
		log_warning("%s: and %u more", check.report.file, check.findings - FINDINGS_MAX);
	if (r < 0)
		log_error("cannot read users = %s: %s", log_quote(check.report.file), strerror(-r));
	return r == 0 && !check.has_mistake;
}
