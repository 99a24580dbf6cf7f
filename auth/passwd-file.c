/* SPDX-License-Identifier: ISC
 * The passwd-file: its lines, and the search for a user. The file is the administrator's, but may
 * have mistakes; the name comes from a stranger: this runs before login. */
#include "auth/passwd-file.h"

#include "auth/password.h"
#include "lib/path-template.h"
#include "lib/util.h"
#include "settings.h"

#include <ctype.h>

#define LINE_OCTETS_MAX 4096 /* of the passwd-file */
#define READ_OCTETS 6144     /* at once; more than a line that is too long */

#define BLANKS " \t" /* between the fields of `extra` */

struct passwd_line passwd_line_parse(char *line, size_t octets)
{
	enum { USER, PASSWORD, UID, GID, GECOS, HOME, SHELL, EXTRA };
	char *fields[EXTRA];

	line[octets] = '\0';
	/* strsep(3) would be four times slower, and a large file is read at each login. */
	for (size_t i = 0; i < EXTRA; i++) {
		fields[i] = line;
		line = strchrnul(line, ':');
		if (*line)
			*line++ = '\0';
	}
	return (struct passwd_line){ fields[USER], fields[PASSWORD], fields[UID],
				     fields[GID],  fields[HOME],     line };
}

static void wipe_line(struct passwd_search *search)
{
	struct passwd_line line = take_ptr(search->entry);

	if (line.user)
		explicit_bzero(line.user, (size_t)(strchr(line.extra, '\0') - line.user));
	free(line.user);
}

void passwd_search_end(struct passwd_search *search)
{
	wipe_line(search);
	util_wipe(&search->decoy);
	free(search->name);
}

/* Remembers the file's first costly password as a decoy: an unknown user costs as much. */
static int note_decoy(struct passwd_search *search, char *password, char *line_end)
{
	size_t scheme_octets = strlen(search->cheap_scheme);
	char unused[AUTH_REASON_OCTETS];
	int r;

	/* Most lines have the scheme of the line before. "{MD5}$1$" is not as cheap as "{MD5}". */
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
	if (r < 1) /* cheap, or this one hash is of no use */
		return r == -ENOMEM ? r : 0;
	search->decoy = strdup(password);
	return search->decoy ? 0 : -ENOMEM;
}

/* How well a name fits: exactly (6), with the default domain, without a domain; then all but for
 * ASCII case. */
static unsigned rank_name(const struct passwd_search *search, const char *name, size_t octets)
{
	for (unsigned i = 0; i < ARRAY_SIZE(search->name_octets); i++) {
		/* Comparing lengths first is a sixth of a login less. */
		if (octets == search->name_octets[i] &&
		    strncasecmp(name, search->name, octets) == 0)
			return memcmp(name, search->name, octets) == 0 ? 6 - i : 3 - i;
	}
	return 0;
}

/* Keeps a copy of the user's best line. Others are not taken apart: only the name counts. */
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

/* Handles a line, and counts those that are too long, have a NUL or are no account. */
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

/* Leaves no password in memory. */
static int read_each_line(int fd, passwd_line_handler *handle, void *context,
			  struct auth_report *report)
{
	char octets[READ_OCTETS + 1], *line, *lf;
	size_t kept = 0; /* the beginning of a line */
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
		kept = MIN(kept, LINE_OCTETS_MAX + 1); /* a line too long stays so */
		memmove(octets, line, kept);
	} while (n > 0 && r == 0);
	explicit_bzero(octets, sizeof(octets));
	return r;
}

/* Returns 1, and reads nothing, if the file has not changed since the stamp was taken. */
static int read_file(const char *path, passwd_line_handler *handle, void *context,
		     struct auth_report *report, struct file_stamp *stamp)
{
	struct file_stamp now = { 0 };
	int64_t now_ns = file_stamp_now_ns();
	/* Opened first: only then NFS tells the present times. */
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

#define IS_OF_DOMAIN(users) strstr((users), "%d")

int passwd_file_read_all(const struct settings *settings, passwd_line_handler *handle,
			 void *context, struct auth_report *report)
{
	int r = 0;

	for (char *const *users = settings->users; users && *users && r == 0; users++) {
		if (!IS_OF_DOMAIN(*users))
			r = read_file(*users, handle, context, report, &(struct file_stamp){ 0 });
	}
	return r;
}

bool passwd_next_field(const char **extra, struct passwd_field *ret)
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

bool passwd_is_bad_name(const char *user)
{
	for (const char *c = user; *c; c++) {
		if (*c == '/' || (unsigned char)*c < ' ' || *c == 0x7f)
			return true;
	}
	return *user == '\0' || strlen(user) >= AUTH_USER_OCTETS;
}

/* Searches one of `users`. That of a domain need not be there. */
static int search_file(struct passwd_search *search, const char *users, struct auth_report *report,
		       struct file_stamp *stamp)
{
	auto_free char *path = NULL;
	int r;

	search->name_octets[2] = 0;
	if (!IS_OF_DOMAIN(users))
		return read_file(users, search_line, search, report, stamp);
	r = *search->domain ? path_template_expand(users, search->domain, NULL, &path) : -ENOENT;
	if (r == 0) {
		search->name_octets[2] = strcspn(search->name, "@");
		r = read_file(path, search_line, search, report, stamp);
	}
	return r == -EKEYREJECTED || r == -ENOENT || r == -ENOTDIR || r == -ENAMETOOLONG ? 0 : r;
}

/* Goes on after the user is found: so it takes the same time for everybody. */
int passwd_file_search(struct passwd_search *search, const struct settings *settings,
		       const char *user, struct auth_report *report)
{
	char *const *users = settings->users;
	bool is_alone = users && *users && !users[1], is_bad = passwd_is_bad_name(user);
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
