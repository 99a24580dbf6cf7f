/* SPDX-License-Identifier: ISC
 * The passwd-file: its lines, and the search for a user. The file is the administrator's, but may
 * have mistakes; the name comes from a stranger: this runs before login. */
#include "auth/passwd-file.h"

#include "auth.h"
#include "auth/password.h"
#include "lib/util.h"

#define LINE_OCTETS_MAX 4096 /* of the passwd-file */
#define READ_OCTETS 6144     /* at once; more than a line */

/* Takes a line apart, in place. */
struct passwd_line passwd_line_parse(char *line)
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

/* Remembers the file's first hash as a decoy, so that an unknown user costs one crypt(3), too. */
static int note_decoy(struct passwd_search *search, char *password, char *line_end)
{
	bool is_plain;
	const char *secret = password_skip_scheme(password, &is_plain);

	if (!secret || is_plain)
		return 0;
	*line_end = '\0';
	*strchrnul(password, ':') = '\0';
	if (!*secret || !password_is_crypt_string(secret))
		return 0;
	search->decoy = strdup(secret);
	return search->decoy ? 0 : -ENOMEM;
}

/* Keeps a copy of the user's first line. Others are not taken apart: only the name counts. */
static int search_line(void *context, char *line, size_t octets)
{
	struct passwd_search *search = context;
	char *name_end = memchr(line, ':', octets);

	if (!name_end || name_end == line)
		return -EINVAL;
	if (search->user && !search->line && (size_t)(name_end - line) == search->user_octets &&
	    memcmp(line, search->user, search->user_octets) == 0) {
		search->line = strndup(line, octets);
		if (!search->line)
			return -ENOMEM;
		search->line_octets = octets;
		search->entry = passwd_line_parse(search->line);
	}
	return search->decoy ? 0 : note_decoy(search, name_end + 1, line + octets);
}

/* The passwd-file that is being read. */
struct reader {
	passwd_line_handler *handle;
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

int passwd_file_read(const char *users, passwd_line_handler *handle, void *context,
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

void passwd_search_end(struct passwd_search *search)
{
	if (search->line)
		explicit_bzero(search->line, search->line_octets);
	free(search->line);
	util_wipe(&search->decoy);
}

/* The value of `name` or `name=value` in `extra`, up to the next blank; NULL: it is not there. */
const char *passwd_line_find_extra(const char *extra, const char *name)
{
	size_t name_octets = strlen(name);

	for (extra += strspn(extra, PASSWD_BLANKS); *extra; extra += strspn(extra, PASSWD_BLANKS)) {
		size_t octets = strcspn(extra, PASSWD_BLANKS "=");

		if (octets == name_octets && strncmp(extra, name, octets) == 0)
			return extra + octets + (extra[octets] == '=');
		extra += strcspn(extra, PASSWD_BLANKS);
	}
	return NULL;
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
int passwd_file_search(struct passwd_search *search, const char *users, const char *user,
		       struct auth_report *ret_report)
{
	*ret_report = (struct auth_report){ 0 };
	search->user = is_bad_name(user) ? NULL : user;
	search->user_octets = search->user ? strlen(user) : 0;
	return users ? passwd_file_read(users, search_line, search, ret_report, &search->stamp) : 0;
}
