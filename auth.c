/* SPDX-License-Identifier: ISC
 * Accounts from a passwd-file. The file is the administrator's, but may have mistakes; name and
 * password come from a stranger: this runs before login. */
#include "auth.h"

#include "lib/path-template.h"
#include "lib/util.h"

#include <crypt.h>
#include <strings.h>

#define LINE_OCTETS_MAX 4096 /* of the passwd-file */
#define READ_OCTETS 6144     /* at once; more than a line */

#define BLANKS " \t" /* between the words of `extra` */

/* The fields of a line of the passwd-file, which they point into; "": left out. */
struct passwd_line {
	const char *user, *password, *home, *extra;
};

/* Reading the whole passwd-file for one user, and what has been found. */
struct search {
	const char *user;   /* NULL: nobody; */
	size_t user_octets; /* of it: comparing lengths first is a sixth of a login less */
	char *line;	    /* the user's line; NULL: not found */
	size_t line_octets;
	struct passwd_line entry; /* the user's; it points into `line` */
	struct file_stamp stamp;  /* see read_passwd_file() */
	char *decoy;		  /* a crypt(3) string that costs what a check of a password does */
};

/* Takes a line apart, in place. */
static struct passwd_line parse_line(char *line)
{
	enum { USER, PASSWORD, UID, GID, GECOS, HOME, SHELL, EXTRA };
	const char *fields[EXTRA];

	/* strsep(3) would be four times slower, and a large file is read at each login. */
	for (size_t i = 0; i < EXTRA; i++) {
		fields[i] = line;
		line = strchrnul(line, ':');
		if (*line)
			*line++ = '\0';
	}
	return (struct passwd_line){ fields[USER], fields[PASSWORD], fields[HOME], line };
}

/* Finds what follows the scheme: a hash, or the password itself. NULL: an unknown scheme. */
static const char *skip_scheme(const char *field, bool *ret_is_plain)
{
	static const char *const schemes[] = {
		"{PLAIN}",     "{CRYPT}",   "{SHA512-CRYPT}", "{SHA256-CRYPT}",
		"{BLF-CRYPT}", "{ARGON2I}", "{ARGON2ID}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(schemes) && *field == '{'; i++) {
		size_t octets = strlen(schemes[i]);

		*ret_is_plain = i == 0;
		if (strncasecmp(field, schemes[i], octets) == 0)
			return field + octets;
	}
	*ret_is_plain = false;
	return *field == '{' ? NULL : field;
}

static bool is_crypt_string(const char *text)
{
	int kind = crypt_checksalt(text);

	return kind != CRYPT_SALT_INVALID && kind != CRYPT_SALT_METHOD_DISABLED;
}

/* Remembers the file's first hash as a decoy, so that an unknown user costs one crypt(3), too. */
static int note_decoy(struct search *search, char *password, char *line_end)
{
	bool is_plain;
	const char *secret = skip_scheme(password, &is_plain);

	if (!secret || is_plain)
		return 0;
	*line_end = '\0';
	*strchrnul(password, ':') = '\0';
	if (!*secret || !is_crypt_string(secret))
		return 0;
	search->decoy = strdup(secret);
	return search->decoy ? 0 : -ENOMEM;
}

/* Keeps a copy of the user's first line. Others are not taken apart: only the name counts. */
static int search_line(void *context, char *line, size_t octets)
{
	struct search *search = context;
	char *name_end = memchr(line, ':', octets);

	if (!name_end || name_end == line)
		return -EINVAL;
	if (search->user && !search->line && (size_t)(name_end - line) == search->user_octets &&
	    memcmp(line, search->user, search->user_octets) == 0) {
		search->line = strndup(line, octets);
		if (!search->line)
			return -ENOMEM;
		search->line_octets = octets;
		search->entry = parse_line(search->line);
	}
	return search->decoy ? 0 : note_decoy(search, name_end + 1, line + octets);
}

/* Handles a line, and may write a NUL behind it (behind each, it is a tenth of a login among
 * 100,000 accounts). Returns 0, -EINVAL if it is no account, or what ends the reading. */
typedef int line_handler(void *context, char *line, size_t octets);

/* The passwd-file that is being read. */
struct reader {
	line_handler *handle;
	void *context;
	struct auth_report *report;
	unsigned line_number;
	bool is_long; /* the beginning of the next line did not fit */
};

/* Handles the whole lines among these octets, and counts those that are too long, have a NUL or are
 * no account. Returns how many octets that were, or what ended the reading. */
static ssize_t handle_lines(struct reader *reader, char *octets, size_t count)
{
	bool has_nul = memchr(octets, '\0', count) != NULL;
	char *line = octets, *lf;

	for (; (lf = memchr(line, '\n', count - (size_t)(line - octets))); line = lf + 1) {
		size_t length = (size_t)(lf - line);
		int r = 0;

		if (reader->is_long || length > LINE_OCTETS_MAX ||
		    (has_nul && memchr(line, '\0', length)))
			r = -EINVAL;
		else if (length > 0 && lf[-1] == '\r')
			length--;
		if (r == 0 && length > 0 && *line != '#')
			r = reader->handle(reader->context, line, length);
		if (r < 0 && r != -EINVAL)
			return r;
		reader->is_long = false;
		reader->line_number++;
		if (r < 0 && reader->report->malformed_lines++ == 0)
			reader->report->malformed_line = reader->line_number;
	}
	return line - octets;
}

/* Leaves no password in memory. */
static int read_each_line(int fd, struct reader *reader)
{
	char octets[READ_OCTETS + 1];
	size_t kept = 0; /* the beginning of a line */
	ssize_t n, used = 0;

	while ((n = util_read(fd, octets + kept, READ_OCTETS - kept)) >= 0) {
		bool is_end = n == 0;

		if (is_end && (kept > 0 || reader->is_long))
			octets[kept + (size_t)n++] = '\n'; /* which the last line may lack */
		kept += (size_t)n;
		used = handle_lines(reader, octets, kept);
		if (used < 0 || is_end)
			break;
		kept -= (size_t)used;
		memmove(octets, octets + used, kept);
		if (kept == READ_OCTETS) {
			reader->is_long = true;
			kept = 0;
		}
	}
	explicit_bzero(octets, sizeof(octets));
	if (n < 0)
		return (int)n;
	return used < 0 ? (int)used : 0;
}

/* `stamp`: of the file, all 0 if a later change might not show. Returns 1 if it was that before,
 * and then reads nothing. */
static int read_passwd_file(const char *users, line_handler *handle, void *context,
			    struct auth_report *report, struct file_stamp *stamp)
{
	struct reader reader = { handle, context, report, 0, false };
	struct file_stamp now;
	int64_t now_ns = file_stamp_now_ns();
	/* Opened first: only then NFS tells the present times. */
	auto_fd int fd = open(users, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || file_stamp_take(fd, &now) < 0)
		return -errno;
	if (memcmp(&now, stamp, sizeof(now)) == 0)
		return 1;
	*stamp = file_stamp_is_stable(&now, now_ns) ? now : (struct file_stamp){ 0 };
	return read_each_line(fd, &reader);
}

static void search_end(struct search *search)
{
	if (search->line)
		explicit_bzero(search->line, search->line_octets);
	free(search->line);
	util_wipe(&search->decoy);
}

#define auto_search __attribute__((cleanup(search_end)))

/* Compares all of `typed`, wherever the first difference is. */
static bool is_equal_in_constant_time(const char *secret, const char *typed)
{
	size_t secret_octets = strlen(secret), typed_octets = strlen(typed);
	volatile unsigned char difference = secret_octets != typed_octets;

	for (size_t i = 0; i < typed_octets; i++)
		difference |= (unsigned char)(typed[i] ^ secret[i < secret_octets ? i : 0]);
	return difference == 0;
}

/* Whether crypt(3) makes `hash` of the password. Returns 1, 0 or -ENOMEM. */
static int matches_hash(const char *hash, const char *password)
{
	auto_free struct crypt_data *data = calloc(1, sizeof(*data));
	const char *result;
	int match;

	if (!data)
		return -ENOMEM;
	result = crypt_rn(password, hash, data, sizeof(*data));
	match = result && is_equal_in_constant_time(hash, result);
	explicit_bzero(data, sizeof(*data));
	return match;
}

/* Every failure costs one crypt(3), if the file has any: for an unknown user, a {PLAIN} password
 * or none that could match, too. Returns 1, 0 or -ENOMEM. */
static int check_password(const struct search *search, const char *password)
{
	bool is_plain = false;
	const char *secret = search->line ? skip_scheme(search->entry.password, &is_plain) : NULL;
	int r = 0;

	if (secret && *secret && is_plain && is_equal_in_constant_time(secret, password))
		return 1;
	if (secret && *secret && !is_plain && is_crypt_string(secret))
		return matches_hash(secret, password);
	if (search->decoy)
		r = matches_hash(search->decoy, password);
	return r < 0 ? r : 0;
}

/* The value of `name` or `name=value` in `extra`, up to the next blank; NULL: it is not there. */
static const char *find_extra(const char *extra, const char *name)
{
	size_t name_octets = strlen(name);

	for (extra += strspn(extra, BLANKS); *extra; extra += strspn(extra, BLANKS)) {
		size_t octets = strcspn(extra, BLANKS "=");

		if (octets == name_octets && strncmp(extra, name, octets) == 0)
			return extra + octets + (extra[octets] == '=');
		extra += strcspn(extra, BLANKS);
	}
	return NULL;
}

/* The account's own template, of userdb_mail; NULL: none. It is `maildir:PATH[:OPTIONS]` or just a
 * path, in which "~/" is the home directory. -ENXIO: another kind of mailbox. */
static int find_own_template(const struct passwd_line *entry, char **ret)
{
	static const char prefix[] = "maildir:", letters[] = "abcdefghijklmnopqrstuvwxyz";
	const char *mail = find_extra(entry->extra, "userdb_mail");
	size_t octets;

	*ret = NULL;
	if (!mail)
		return 0;
	octets = strcspn(mail, BLANKS);
	if (strncmp(mail, prefix, sizeof(prefix) - 1) == 0) {
		mail += sizeof(prefix) - 1;
		octets = strcspn(mail, BLANKS ":");
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
static int make_account(const struct search *search, const char *users, const char *template,
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
	if (find_extra(entry->extra, "nologin"))
		return refuse(report, "the account has nologin");
	read_only = find_extra(entry->extra, "read-only");
	account = calloc(1, sizeof(*account));
	if (!account)
		return -ENOMEM;
	account->user = strdup(entry->user);
	account->password = strdup(entry->password);
	if (!account->user || !account->password)
		return -ENOMEM;
	/* Whatever is not a clear "no" protects the mailbox. */
	account->is_read_only =
		read_only && (strncmp(read_only, "no", 2) != 0 || strcspn(read_only, BLANKS) != 2);
	account->users = search->stamp;
	r = find_mailbox(entry, template, &account->mailbox);
	if (r == -EKEYREJECTED)
		return refuse(report, "a bad user name");
	if (r == 0)
		*ret = take_ptr(account);
	return r;
}

/* A name that could leave its component of a path, or forge a line of a log. */
static bool is_bad_name(const char *user)
{
	for (const char *c = user; *c; c++) {
		if (*c == '/' || (unsigned char)*c < ' ' || *c == 0x7f)
			return true;
	}
	return *user == '\0';
}

/* Goes on after the user is found: so it takes the same time for everybody. */
static int search_user(struct search *search, const char *users, const char *user,
		       struct auth_report *ret_report)
{
	*ret_report = (struct auth_report){ 0 };
	search->user = is_bad_name(user) ? NULL : user;
	search->user_octets = search->user ? strlen(user) : 0;
	return users ? read_passwd_file(users, search_line, search, ret_report, &search->stamp) : 0;
}

int auth_login(const char *users, const char *template, const char *user, const char *password,
	       struct account **ret, struct auth_report *ret_report)
{
	auto_search struct search search = { 0 };
	int r = search_user(&search, users, user, ret_report);

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
	auto_search struct search search = { 0 };
	const char *secret;
	bool is_plain;
	int r = search_user(&search, users, user, ret_report);

	if (r < 0)
		return r;
	secret = search.line ? skip_scheme(search.entry.password, &is_plain) : NULL;
	if (secret && !*secret)
		return refuse(ret_report, "the account has no password");
	return make_account(&search, users, template, ret, ret_report);
}

int auth_check_again(const char *users, const char *template, struct account *account,
		     struct auth_report *ret_report)
{
	auto_search struct search search = { .stamp = account->users };
	auto_account struct account *now = NULL;
	int r = search_user(&search, users, account->user, ret_report);

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
	auto_search struct search search = { 0 };

	return search_user(&search, users, "", ret_report);
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
	entry = parse_line(line);
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
	return r == 0 && users ? read_passwd_file(users, note_root, &search, ret_report, &stamp) :
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
