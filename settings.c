/* SPDX-License-Identifier: ISC
 *
 * The settings, all of them in one table. The command line and the file are the administrator's:
 * trusted, but not free of mistakes. */
#include "settings.h"

#include "template.h"
#include "util.h"
#include "wire.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#define LINE_OCTETS_MAX 4096 /* of the settings file: room for any path */
#define SECONDS_MAX 31536000 /* a year */

struct setting {
	const char *name;
	const char *initial; /* the default; NULL: none */
	/* Reads `value` into the field. Returns 0, -EINVAL or -ENOMEM. */
	int (*parse)(const struct setting *setting, const char *value, void *field);
	size_t field;
	unsigned min_s; /* of a number of seconds */
	const char *expects;
	const char *help;
};

static int replace_text(const char *value, char **text)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

static int parse_path(const struct setting *setting, const char *value, void *field)
{
	(void)setting;
	return *value ? replace_text(value, field) : -EINVAL;
}

static int parse_template(const struct setting *setting, const char *value, void *field)
{
	(void)setting;
	return template_check(value) == 0 ? replace_text(value, field) : -EINVAL;
}

static int parse_seconds(const struct setting *setting, const char *value, void *field)
{
	uint64_t seconds;

	if (wire_parse_number(value, SECONDS_MAX, &seconds) < 0 || seconds < setting->min_s)
		return -EINVAL;
	*(unsigned *)field = (unsigned)seconds;
	return 0;
}

/* The index of `value` in the list, or -EINVAL. */
static int find_word(const char *value, const char *const words[], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (strcmp(value, words[i]) == 0)
			return (int)i;
	}
	return -EINVAL;
}

static int parse_yes_no(const struct setting *setting, const char *value, void *field)
{
	static const char *const words[] = { "no", "yes" };
	int word = find_word(value, words, ARRAY_SIZE(words));

	(void)setting;
	if (word < 0)
		return word;
	*(bool *)field = word == 1;
	return 0;
}

static int parse_plaintext_auth(const struct setting *setting, const char *value, void *field)
{
	static const char *const words[] = {
		[PLAINTEXT_NEVER] = "never",
		[PLAINTEXT_LOCAL] = "local",
		[PLAINTEXT_ALWAYS] = "always",
	};
	int word = find_word(value, words, ARRAY_SIZE(words));

	(void)setting;
	if (word < 0)
		return word;
	*(enum settings_plaintext_auth *)field = (enum settings_plaintext_auth)word;
	return 0;
}

#define FIELD(member) offsetof(struct settings, member)
#define EXPECTS_SECONDS "a number of seconds from 1 to 31536000"

static const struct setting table[] = {
	{ "users", NULL, parse_path, FIELD(users), 0, "the path of a file",
	  "passwd-file with the accounts; without one nobody can log in" },
	{ "mailbox", "%h/Maildir", parse_template, FIELD(mailbox), 0,
	  "a path, in which '%' is followed by u, n, d, h or %",
	  "where a mailbox is: %u user name, %n its part before the @, %d the\n"
	  "\tdomain after it, %h home directory, %% a percent sign" },
	{ "plaintext-auth", "local", parse_plaintext_auth, FIELD(plaintext_auth), 0,
	  "never, local or always",
	  "where passwords may travel unencrypted: never, local (not over a\n"
	  "\tnetwork), always" },
	{ "read-only", "no", parse_yes_no, FIELD(read_only), 0, "yes or no",
	  "yes: nothing in a mailbox is created, changed or deleted" },
	{ "keep-new", "no", parse_yes_no, FIELD(keep_new), 0, "yes or no",
	  "yes: retrieved messages of a Maildir keep their place and flags" },
	{ "login-timeout", "60", parse_seconds, FIELD(login_timeout_s), 1, EXPECTS_SECONDS,
	  "seconds from the start of a connection to a login, in all" },
	{ "idle-timeout", "600", parse_seconds, FIELD(idle_timeout_s), 1, EXPECTS_SECONDS,
	  "seconds without a complete command after which a session ends" },
	{ "sleep-timeout", "86400", parse_seconds, FIELD(sleep_timeout_s), 1, EXPECTS_SECONDS,
	  "the same while the session is asleep" },
	{ "login-penalty", "2", parse_seconds, FIELD(login_penalty_s), 0,
	  "a number of seconds from 0 to 31536000",
	  "seconds that a failed login waits, doubling with each in a row" },
};

static const struct setting *find_setting(const char *name, size_t octets)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strlen(table[i].name) == octets && strncmp(table[i].name, name, octets) == 0)
			return &table[i];
	}
	return NULL;
}

/* Reports a problem: puts the text where the caller wants it, and returns `error`. */
__attribute__((format(printf, 3, 4))) static int problem(char **ret_problem, int error,
							 const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(ret_problem, format, arguments) < 0)
		*ret_problem = NULL;
	va_end(arguments);
	return error;
}

/* Sets one setting. `where` is what a problem's text begins with. */
static int set(struct settings *settings, const char *name, size_t name_octets, const char *value,
	       const char *where, int error, char **ret_problem)
{
	const struct setting *setting = find_setting(name, name_octets);
	int r;

	if (!setting)
		return problem(ret_problem, error, "%s: there is no setting '%.*s'", where,
			       (int)name_octets, name);
	r = setting->parse(setting, value, (char *)settings + setting->field);
	if (r == -EINVAL)
		return problem(ret_problem, error, "%s: %s: '%s' is not %s", where, setting->name,
			       value, setting->expects);
	return r;
}

/* Cuts blanks off both ends of a text, in place. */
static char *trim(char *text)
{
	size_t octets;

	while (isspace((unsigned char)*text))
		text++;
	octets = strlen(text);
	while (octets > 0 && isspace((unsigned char)text[octets - 1]))
		octets--;
	text[octets] = '\0';
	return text;
}

/* Cuts off a comment: a '#' at the start of the line or after a blank, so that a path may have
 * one. */
static void cut_comment(char *line)
{
	for (size_t i = 0; line[i]; i++) {
		if (line[i] == '#' && (i == 0 || isspace((unsigned char)line[i - 1]))) {
			line[i] = '\0';
			return;
		}
	}
}

static int read_line(struct settings *settings, char *line, const char *where, char **ret_problem)
{
	char *equals, *name;

	cut_comment(line);
	line = trim(line);
	if (*line == '\0')
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return problem(ret_problem, -EBADMSG, "%s: '%s' is not of the form name = value",
			       where, line);
	*equals = '\0';
	name = trim(line);
	return set(settings, name, strlen(name), trim(equals + 1), where, -EBADMSG, ret_problem);
}

static int read_lines(struct settings *settings, FILE *file, const char *path, char **ret_problem)
{
	char line[LINE_OCTETS_MAX + 2]; /* with line end and NUL */
	int r = 0;

	for (unsigned number = 1; r == 0 && fgets(line, sizeof(line), file); number++) {
		auto_free char *where = NULL;
		size_t octets = strlen(line);

		if (asprintf(&where, "%s:%u", path, number) < 0)
			return -ENOMEM;
		if (octets == 0 || (line[octets - 1] != '\n' && !feof(file)))
			return problem(ret_problem, -EBADMSG,
				       "%s: the line has a NUL or is longer than %d octets", where,
				       LINE_OCTETS_MAX);
		r = read_line(settings, line, where, ret_problem);
	}
	if (r == 0 && ferror(file))
		return problem(ret_problem, -EBADMSG, "cannot read the settings file '%s': %s",
			       path, strerror(errno));
	return r;
}

static int read_file(struct settings *settings, const char *path, char **ret_problem)
{
	FILE *file = fopen(path, "re");
	int r;

	if (!file)
		return problem(ret_problem, -EBADMSG, "cannot read the settings file '%s': %s",
			       path, strerror(errno));
	r = read_lines(settings, file, path, ret_problem);
	(void)fclose(file);
	return r;
}

static int set_defaults(struct settings *settings)
{
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		int r = 0;

		if (table[i].initial)
			r = table[i].parse(&table[i], table[i].initial,
					   (char *)settings + table[i].field);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The value of `--NAME=VALUE` for this name; NULL if the argument is something else. */
static const char *option_value(const char *argument, const char *name)
{
	size_t octets = strlen(name);

	if (strncmp(argument, name, octets) != 0 || argument[octets] != '=')
		return NULL;
	return argument + octets + 1;
}

/* An argument without a value: one of the actions. */
static int read_action(const char *argument, enum settings_action *ret_action, char **ret_problem)
{
	if (strcmp(argument, "--help") == 0)
		*ret_action = SETTINGS_HELP;
	else if (strcmp(argument, "--version") == 0)
		*ret_action = SETTINGS_VERSION;
	else if (strcmp(argument, "--check-config") == 0)
		*ret_action = SETTINGS_CHECK;
	else
		return problem(ret_problem, -EINVAL,
			       "'%s' is not of the form --NAME=VALUE (try --help)", argument);
	return 0;
}

static int read_option(struct settings *settings, const char *argument,
		       enum settings_action *ret_action, char **ret_problem)
{
	const char *equals = strchr(argument, '=');

	if (strncmp(argument, "--", 2) != 0 || !equals)
		return read_action(argument, ret_action, ret_problem);
	return set(settings, argument + 2, (size_t)(equals - argument) - 2, equals + 1,
		   "command line", -EINVAL, ret_problem);
}

/* The file comes first, whatever the order: the command line wins. */
static int read_all(struct settings *settings, int argc, char *argv[],
		    enum settings_action *ret_action, char **ret_problem)
{
	int r = set_defaults(settings);

	for (int i = 1; i < argc && r == 0; i++) {
		const char *path = option_value(argv[i], "--config");

		if (path)
			r = read_file(settings, path, ret_problem);
	}
	for (int i = 1; i < argc && r == 0; i++) {
		if (!option_value(argv[i], "--config"))
			r = read_option(settings, argv[i], ret_action, ret_problem);
	}
	return r;
}

int settings_load(int argc, char *argv[], struct settings **ret, enum settings_action *ret_action,
		  char **ret_problem)
{
	struct settings *settings = calloc(1, sizeof(*settings));
	int r;

	*ret_problem = NULL;
	*ret_action = SETTINGS_SERVE;
	if (!settings)
		return -ENOMEM;
	r = read_all(settings, argc, argv, ret_action, ret_problem);
	if (r < 0)
		settings = settings_free(settings);
	*ret = settings;
	return r;
}

struct settings *settings_free(struct settings *settings)
{
	if (settings) {
		free(settings->users);
		free(settings->mailbox);
		free(settings);
	}
	return NULL;
}

void settings_print_help(FILE *stream)
{
	(void)fputs(
		"Usage: pop3-handler [--config=FILE] [--NAME=VALUE ...]\n"
		"Serves one POP3 session on standard input and output.\n\n"
		"  --config=FILE\n\tread settings from FILE first, one 'name = value' a line\n"
		"  --check-config\n\tcheck the settings and the files that they name, and exit\n"
		"  --help, --version\n\tprint this, or the version, and exit\n\n"
		"Settings, here and in FILE:\n",
		stream);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		(void)fprintf(stream, "  --%s=...  (default: %s)\n\t%s\n", table[i].name,
			      table[i].initial ? table[i].initial : "none", table[i].help);
}
