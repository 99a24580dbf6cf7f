/* SPDX-License-Identifier: ISC
 * One table has all settings. The administrator who writes them is trusted, but makes mistakes:
 * each is reported with the file, the line and the setting. */
#include "settings.h"

#include "lib/path-template.h"
#include "lib/uidl-source.h"
#include "lib/util.h"
#include "lib/wire.h"
#include "log.h"

#include <arpa/inet.h>
#include <stddef.h>

#define LINE_OCTETS_MAX 4096 /* of the settings file: space for any path */
#define SECONDS_MAX 31536000 /* a year */
#define WORDS_MAX 4
#define TRUSTED_PART 8

/* One row of `table`. Macros above the table fill in columns for the common kinds of settings. */
struct setting {
	const char *name;		 /* in the file, and after -- on the command line */
	const char *initial;		 /* the default, as text for `parse`; NULL: none */
	const char *shown;		 /* what --help says for a default that is NULL */
	int (*check)(const char *value); /* called first: 0 or -EINVAL; NULL: no check */
	/* Parses `value`, never "", and stores it in the field. Returns 0, -EINVAL or -ENOMEM. */
	int (*parse)(const struct setting *setting, const char *value, void *field);
	void (*release)(void *field); /* frees the field; NULL: it owns no memory */
	size_t field;		      /* the offset of the member of struct settings */
	unsigned min, max; /* for parse_number(); for parse_item(): at most `max` items; 0: any */
	const char *words[WORDS_MAX]; /* of parse_word(), which stores the index of the word */
	const char *expects;	      /* the end of the error "NAME: 'VALUE' is not ..." */
	const char *help;	      /* for --help; "\n\t" begins a further line */
};

static int parse_text(const struct setting *setting, const char *value, void *field)
{
	char **text = field, *copy = strdup(value);

	(void)setting;
	if (!copy)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

/* A domain may become part of a path. */
static int check_domain(const char *value)
{
	static const char good[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";

	return *value == '.' || value[strspn(value, good)] ? -EINVAL : 0;
}

static size_t list_length(char *const *list)
{
	size_t count = 0;

	while (list && list[count])
		count++;
	return count;
}

static void free_list(void *field)
{
	char ***list = field;

	for (size_t i = 0; *list && (*list)[i]; i++)
		free((*list)[i]);
	free(take_ptr(*list));
}

/* Appends an item to a setting that may be given several times. */
static int parse_item(const struct setting *setting, const char *value, void *field)
{
	char ***list = field;
	size_t count = list_length(*list);
	char **longer;

	if (setting->max > 0 && count >= setting->max)
		return -EINVAL;
	longer = reallocarray(*list, count + 2, sizeof(*longer));
	if (!longer)
		return -ENOMEM;
	*list = longer;
	longer[count] = strdup(value);
	longer[count + 1] = NULL;
	return longer[count] ? 0 : -ENOMEM;
}

/* Checks the name of a backend of auth.c and its arguments; a program needs an absolute path. */
static int check_auth(const char *value)
{
	static const char blanks[] = " \t";
	size_t octets = strcspn(value, blanks);
	const char *rest = value + octets + strspn(value + octets, blanks);

	if (util_is_listed("checkpassword", value, octets))
		return *rest == '/' ? 0 : -EINVAL;
	if (util_is_listed("pam", value, octets))
		return rest[strcspn(rest, blanks)] ? -EINVAL : 0;
	return util_is_listed("passwd-file", value, octets) && !*rest ? 0 : -EINVAL;
}

/* The path is a template only if it contains %d. */
static int check_path_of_users(const char *value)
{
	auto_free char *path = NULL;

	if (!path_template_has_domain(value))
		return 0;
	return path_template_expand(value, "@domain", NULL, &path) < 0 ? -EINVAL : 0;
}

/* Appends the networks of a list, which blanks or commas separate. */
static int parse_networks(const struct setting *setting, const char *value, void *field)
{
	static const char separators[] = ", \t";
	auto_free char *copy = strdup(value);
	char *rest, *word = copy ? strtok_r(copy, separators, &rest) : NULL;
	int r = !copy ? -ENOMEM : !word ? -EINVAL : 0;

	for (; word && r == 0; word = strtok_r(NULL, separators, &rest)) {
		r = peer_is_in_network(&in6addr_any, word);
		if (r >= 0)
			r = parse_item(setting, word, field);
	}
	return r;
}

int settings_parse_endpoint(const char *text, union peer_endpoint *ret)
{
	const char *colon = strrchr(text, ':');
	size_t is_6 = colon && text[0] == '[' && colon[-1] == ']'; /* a bracket at each end */
	auto_free char *address =
		colon ? strndup(text + is_6, (size_t)(colon - text) - (is_6 ? 2 : 0)) : NULL;
	void *octets = is_6 ? (void *)&ret->in6.sin6_addr : &ret->in.sin_addr;
	uint64_t port;

	*ret = (union peer_endpoint){ .any.sa_family = is_6 ? AF_INET6 : AF_INET };
	if (!address || wire_parse_number(colon + 1, UINT16_MAX, &port) < 0 ||
	    inet_pton(ret->any.sa_family, address, octets) != 1)
		return -EINVAL;
	ret->in.sin_port = htons((uint16_t)port);
	return 0;
}

static int check_endpoint(const char *value)
{
	union peer_endpoint endpoint;

	return settings_parse_endpoint(value, &endpoint);
}

static int check_uidl_source(const char *value)
{
	struct uidl_source source;

	return uidl_source_parse(value, &source);
}

static int parse_number(const struct setting *setting, const char *value, void *field)
{
	uint64_t number;

	if (wire_parse_number(value, setting->max, &number) < 0 || number < setting->min)
		return -EINVAL;
	*(unsigned *)field = (unsigned)number;
	return 0;
}

static int parse_word(const struct setting *setting, const char *value, void *field)
{
	for (unsigned i = 0; i < WORDS_MAX; i++) {
		if (setting->words[i] && strcmp(setting->words[i], value) == 0) {
			*(unsigned *)field = i;
			return 0;
		}
	}
	return -EINVAL;
}

/* The kinds of settings. `title` is the name, `member` the member of struct settings, `what` is
 * `expects`, `value` the default, and `least` the minimum. A row adds .help, and if it needs them
 * .initial, .shown, .check and .words. */
#define FIELD(title, member) .name = (title), .field = offsetof(struct settings, member)
#define PATH_OF_FILE "the path of a file"
/* clang-format off */
#define TEXT(title, member, what) \
	FIELD(title, member), .parse = parse_text, .release = util_free, .expects = (what)
#define LIST(title, member, what) \
	FIELD(title, member), .parse = parse_item, .release = free_list, .expects = (what)
#define WORD(title, member, what) \
	FIELD(title, member), .parse = parse_word, .expects = (what)
#define YES_NO(title, member, value) \
	FIELD(title, member), .initial = (value), .parse = parse_word, \
	.words = { "no", "yes" }, .expects = "yes or no"
#define SECONDS(title, member, value, least) \
	FIELD(title, member), .initial = (value), .parse = parse_number, .min = (least), \
	.max = SECONDS_MAX, .expects = "a number of seconds from " #least " to 31536000"
#define SESSIONS(title, member, value) \
	FIELD(title, member), .initial = (value), .parse = parse_number, .min = 1, \
	.max = SETTINGS_SESSIONS_MAX, .expects = "a number of sessions from 1 to 65536"
/* clang-format on */

/* Struct setting explains the columns. To add a setting, add a member to struct settings and a row
 * here: parsing, --help and settings_free() follow from it. */
static const struct setting table[] = {
	{ LIST("auth", auth, "passwd-file, pam [SERVICE] or checkpassword /PROGRAM [ARGUMENT ...]"),
	  .shown = "passwd-file", .check = check_auth,
	  .help = "how passwords are checked; may be given several times: the first that\n"
		  "\tknows the user decides" },
	{ LIST("users", users, PATH_OF_FILE), .shown = "the systemd credential users, else none",
	  .check = check_path_of_users,
	  .help = "passwd-file with accounts; may be given several times; with a keeper, %d\n"
		  "\tin the path stands for the domain of the user name" },
	{ TEXT("default-domain", default_domain,
	       "a domain of ASCII letters, digits, '-', '_' and '.'"),
	  .check = check_domain,
	  .help = "domain that is added to a user name without @ if that user is not found" },
	{ TEXT("mailbox", mailbox, "a path, in which '%' is followed by u, n, d, h or %"),
	  .initial = "%h/Maildir", .check = path_template_check,
	  .help = "path of a user's mailbox: %u is the user name, %n its part before the @,\n"
		  "\t%d the domain after it, %h the home directory, %% a percent sign" },
	{ LIST("mail-root", mail_root, "the path of a directory"),
	  .shown = "derived from mailbox and the accounts",
	  .help = "directory with mailboxes, to which the sandbox confines sessions; may be\n"
		  "\tgiven several times" },
	{ LIST("listen", listen,
	       "an IP address with a port, like 127.0.0.1:110 or [::]:110 (16 at most)"),
	  .shown = "inherited sockets", .check = check_endpoint, .max = SETTINGS_SOCKETS_MAX,
	  .help = "address to listen on, ADDRESS:PORT or [ADDRESS]:PORT; may be given\n"
		  "\tseveral times" },
	{ TEXT("user", user, "the name of a user"),
	  .help = "user that owns all mailboxes: if started as root, the program becomes\n"
		  "\tthis user, and uses no keeper" },
	{ WORD("keeper", keeper, "auto or no"), .initial = "auto", .words = { "no", "auto" },
	  .help = "auto: if started with the privilege to become other users, a separate\n"
		  "\tprocess checks passwords, and each session runs as its user" },
	{ TEXT("mail-user", mail_user, "the name of a user"), .initial = "vmail",
	  .help = "with a keeper, the system user for accounts without a uid" },
	{ FIELD("first-valid-uid", first_valid_uid), .initial = "1000", .parse = parse_number,
	  .min = 1, .max = INT32_MAX, .expects = "a number from 1 to 2147483647",
	  .help = "with a keeper, the lowest uid that may log in; mail-user's may be lower" },
	{ WORD("sandbox", sandbox, "on, off or required"), .initial = "on",
	  .words = { "off", "on", "required" },
	  .help = "on: deny sessions the files and system calls that they do not need;\n"
		  "\trequired: the same, or serve nobody; off: for debugging" },
	{ WORD("tls", tls, "off, starttls or implicit"),
	  .words = { [TLS_OFF] = "off", "starttls", "implicit" },
	  .shown = "starttls with a certificate, else off",
	  .help = "off, starttls (after the STLS command) or implicit (from the first octet)" },
	{ LIST("tls-cert", tls_cert, PATH_OF_FILE),
	  .shown = "the systemd credential tls-cert, else none",
	  .help = "PEM file with a certificate and its chain; may be given several times" },
	{ LIST("tls-key", tls_key, PATH_OF_FILE),
	  .shown = "the credential tls-key with the credential tls-cert, else tls-cert",
	  .help = "PEM file with the private key of a certificate; one for each tls-cert" },
	{ LIST("tls-ocsp", tls_ocsp, PATH_OF_FILE),
	  .help = "file with an OCSP response to staple; may be given several times" },
	{ TEXT("tls-client-ca", tls_client_ca, PATH_OF_FILE),
	  .help = "PEM file with the authorities (CAs) of client certificates, for AUTH\n"
		  "\tEXTERNAL" },
	{ TEXT("tls-priority", tls_priority, "a GnuTLS priority string"),
	  .shown = "@SYSTEM, else TLS 1.2 and 1.3 with AEAD ciphers",
	  .help = "TLS versions and ciphers, as a GnuTLS priority string" },
	{ WORD("plaintext-auth", plaintext_auth, "never, local or always"), .initial = "local",
	  .words = { "never", "local", "always" },
	  .help = "who may send a password without TLS: nobody (never), clients on this\n"
		  "\tmachine (local) or everybody (always)" },
	{ YES_NO("read-only", read_only, "no"),
	  .help = "yes: nothing in a mailbox is created, changed or deleted" },
	{ YES_NO("keep-new", keep_new, "no"),
	  .help = "yes: retrieved messages of a Maildir are not moved to cur or marked seen" },
	{ TEXT("unique-ids-from", unique_ids_from,
	       "dovecot FORMAT, courier, qmail, x-uidl or x-uidl dovecot FORMAT, where FORMAT is "
	       "what 'doveconf -h -f protocol=pop3 pop3_uidl_format' prints, like %08Xu%08Xv, and "
	       "has only variables that pop3-handler.conf(5) lists"),
	  .check = check_uidl_source,
	  .help = "server that served these Maildirs before, whose unique-ids are kept:\n"
		  "\tdovecot FORMAT, courier, qmail or x-uidl [dovecot FORMAT]; each mailbox\n"
		  "\tis taken over once" },
	{ YES_NO("log-deletions", log_deletions, "no"),
	  .help = "yes: log the unique-id of each deleted message" },
	{ SECONDS("login-timeout", login_timeout_s, "180", 1),
	  .help = "seconds that a client has from the start of the connection to log in" },
	{ SECONDS("idle-timeout", idle_timeout_s, "600", 1),
	  .help = "seconds without a complete command after which a session ends" },
	{ SECONDS("sleep-timeout", sleep_timeout_s, "86400", 1),
	  .help = "seconds without a complete command after which a sleeping session ends" },
	{ SECONDS("login-penalty", login_penalty_s, "2", 0),
	  .help = "seconds of delay for a failed login, doubled by each in a row; 0: none" },
	{ SESSIONS("max-sessions", max_sessions, "1000"),
	  .help = "most sessions that a listener serves at once" },
	{ SESSIONS("max-logins", max_logins, "200"),
	  .help = "most sessions of a listener that have not logged in; at the limit, a new\n"
		  "\tclient evicts one of them" },
	{ SESSIONS("max-sessions-per-source", max_sessions_per_source, "50"),
	  .help = "most sessions that a listener serves for one IPv4 address, or one IPv6\n"
		  "\t/64 network" },
	{ FIELD("trusted-networks", trusted_networks), .parse = parse_networks,
	  .release = free_list, .expects = "a list of networks like 192.0.2.0/24 and 2001:db8::/32",
	  .help = "networks that are exempt from limits and delays by source; may be given\n"
		  "\tseveral times" },
	{ SESSIONS("max-sleeping-per-user", max_sleeping_per_user, "10"),
	  .help = "most sessions of one user that may be asleep at once at a listener" },
};

/* `name` ends at a NUL or "=". Returns NULL if there is no such setting. */
static const struct setting *find_setting(const char *name)
{
	size_t octets = strcspn(name, "=");

	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (strlen(table[i].name) == octets && strncmp(table[i].name, name, octets) == 0)
			return &table[i];
	}
	return NULL;
}

/* Records a mistake. Evaluates to -EINVAL. */
#define problem(settings, ...) \
	((void)snprintf((settings)->problem, sizeof((settings)->problem), __VA_ARGS__), -EINVAL)

/* Sets one setting. `where` is the source of the value, with which the text of a mistake begins. */
static int set(struct settings *settings, const char *name, const char *value, const char *where)
{
	const struct setting *setting = find_setting(name);
	int r;

	if (!setting)
		return problem(settings, "%s: there is no setting '%.*s'", where,
			       (int)strcspn(name, "="), name);
	r = !*value ? -EINVAL : setting->check ? setting->check(value) : 0;
	if (r == 0)
		r = setting->parse(setting, value, (char *)settings + setting->field);
	if (r == -EINVAL)
		return problem(settings, "%s: %s: %s is not %s", where, setting->name,
			       log_quote(value), setting->expects);
	return r;
}

static int parse_line_of_file(struct settings *settings, char *line, const char *where)
{
	static const char blanks[] = " \t\r\n\v\f";
	char *equals, *hash = line;

	/* A '#' inside a word does not begin a comment, because a path may contain one. */
	while ((hash = strchr(hash, '#')) && hash > line && !strchr(blanks, hash[-1]))
		hash++;
	if (hash)
		*hash = '\0';
	line = util_trim(line, blanks);
	if (*line == '\0')
		return 0;
	equals = strchr(line, '=');
	if (!equals)
		return problem(settings, "%s: %s is not of the form name = value", where,
			       log_quote(line));
	*equals = '\0';
	return set(settings, util_trim(line, blanks), util_trim(equals + 1, blanks), where);
}

static int read_settings_file(struct settings *settings, const char *path)
{
	char line[LINE_OCTETS_MAX + 2]; /* with line end and NUL */
	char where[sizeof(settings->problem) / 2];
	FILE *file = fopen(path, "re");
	int r = 0;

	for (unsigned number = 1; r == 0 && file && fgets(line, sizeof(line), file); number++) {
		size_t octets = strlen(line);

		(void)snprintf(where, sizeof(where), "%s:%u", path, number);
		if (octets == 0 || (line[octets - 1] != '\n' && !feof(file)))
			r = problem(settings, "%s: the line has a NUL or is longer than %d octets",
				    where, LINE_OCTETS_MAX);
		else
			r = parse_line_of_file(settings, line, where);
	}
	if (r == 0 && (!file || ferror(file)))
		r = problem(settings, "cannot read the settings file %s: %s", log_quote(path),
			    strerror(errno));
	if (file)
		(void)fclose(file);
	return r == -EINVAL ? -EBADMSG : r;
}

const char *settings_config_path(const char *argument)
{
	static const char option[] = "--config=";
	size_t octets = sizeof(option) - 1;

	return strncmp(argument, option, octets) == 0 ? argument + octets : NULL;
}

static int set_control(struct settings *settings, const char *template)
{
	if ((*template != '/' && !path_template_is_in_home(template)) ||
	    path_template_check(template) < 0)
		return problem(settings,
			       "command line: control: %s is not a path that begins with / or %%h",
			       log_quote(template));
	settings->control = template;
	return 0;
}

static int read_option(struct settings *settings, const char *argument)
{
	static const struct setting name = { .max = 0 }; /* names of accounts: any number */
	const char *equals = strchr(argument, '=');
	bool is_takeover = settings->action == SETTINGS_TAKE_OVER;

	if (is_takeover && (strcmp(argument, "-") == 0 || (*argument && *argument != '-')))
		return parse_item(&name, argument, &settings->names);
	if (is_takeover && strncmp(argument, "--control=", 10) == 0)
		return set_control(settings, equals + 1);
	if (is_takeover && strcmp(argument, "--dry-run") == 0)
		settings->is_dry_run = true;
	else if (is_takeover && strcmp(argument, "--no-list") == 0)
		settings->may_lack_list = true;
	else if (is_takeover && strcmp(argument, "--take-over") == 0)
		; /* settings_load() has set the action */
	else if (strcmp(argument, "--help") == 0)
		settings->action = SETTINGS_HELP;
	else if (strcmp(argument, "--version") == 0)
		settings->action = SETTINGS_VERSION;
	else if (strcmp(argument, "--report-account") == 0) /* started by a checkpassword program */
		settings->action = SETTINGS_REPORT;
	else if (strncmp(argument, "--", 2) == 0 && equals)
		return set(settings, argument + 2, equals + 1, "command line");
	else
		return problem(settings, "%s is not of the form --NAME=VALUE (try --help)",
			       log_quote(argument));
	return 0;
}

/* Sets a setting that has no value to the path of a systemd credential of its name. A credential of
 * one octet counts as none: the units set "\n" by default. Returns whether there is one, or a
 * negative errno. */
static int default_to_credential(struct settings *settings, const char *name)
{
	const char *directory = getenv("CREDENTIALS_DIRECTORY");
	size_t octets = strlen(settings->unseen);
	auto_free char *path = NULL;
	struct stat status;

	if (!directory) {
		(void)snprintf(settings->unseen + octets, sizeof(settings->unseen) - octets, "%s%s",
			       octets > 0 ? ", " : "", name);
		return 0;
	}
	if (asprintf(&path, "%s/%s", directory, name) < 0)
		return -ENOMEM;
	if (stat(path, &status) < 0 || status.st_size <= 1)
		return 0;
	return set(settings, name, path, "credentials") ?: 1;
}

/* Checks the settings of TLS together, and replaces TLS_UNSET by its default. */
static int resolve_tls(struct settings *settings)
{
	size_t certs = list_length(settings->tls_cert), keys = list_length(settings->tls_key);

	if (keys > 0 && certs == 0)
		return problem(settings, "settings: tls-key = %s, but there is no tls-cert",
			       log_quote(settings->tls_key[0]));
	if (keys > 0 && certs != keys)
		return problem(settings,
			       "settings: tls-cert is given %zu times, but tls-key %zu times",
			       certs, keys);
	if (settings->tls == TLS_UNSET)
		settings->tls = certs > 0 ? TLS_STARTTLS : TLS_OFF;
	if (settings->tls != TLS_OFF && certs == 0)
		return problem(settings, "settings: tls is on, but tls-cert is not set%s",
			       *settings->unseen ? ", and there are no credentials" : "");
	return 0;
}

/* Applies the defaults, then the file, then the command line, whatever the order of arguments. */
int settings_load(int argc, char *argv[], struct settings **ret)
{
	struct settings *settings = *ret = calloc(1, sizeof(*settings));
	bool has_file = false;
	int r = settings ? 0 : -ENOMEM;

	for (size_t i = 0; i < ARRAY_SIZE(table) && r == 0; i++) {
		if (table[i].initial)
			r = table[i].parse(&table[i], table[i].initial,
					   (char *)settings + table[i].field);
	}
	for (int i = 1; i < argc && r == 0; i++) { /* the action decides where a mistake is shown */
		if (strcmp(argv[i], "--check-config") == 0)
			settings->action = SETTINGS_CHECK;
		else if (strcmp(argv[i], "--take-over") == 0 && settings->action == SETTINGS_SERVE)
			settings->action = SETTINGS_TAKE_OVER;
	}
	for (int i = 1; i < argc && r == 0; i++) {
		const char *path = settings_config_path(argv[i]);

		if (path)
			r = read_settings_file(settings, path);
		has_file |= path != NULL;
	}
	for (int i = 1; i < argc && r == 0; i++) {
		const struct setting *setting = find_setting(argv[i] + strspn(argv[i], "-"));

		if (setting && setting->release == free_list) /* replaces the list of the file */
			free_list((char *)settings + setting->field);
	}
	for (int i = 1; i < argc && r == 0; i++) {
		if (!settings_config_path(argv[i]) && strcmp(argv[i], "--check-config") != 0)
			r = read_option(settings, argv[i]);
	}
	if (r == 0 && !settings->users)
		r = default_to_credential(settings, "users");
	/* The credential tls-key is used only with the credential tls-cert. */
	if (r >= 0 && settings->tls != TLS_OFF && !settings->tls_cert) {
		r = default_to_credential(settings, "tls-cert");
		if (r >= 0 && !settings->tls_key)
			r = default_to_credential(settings, "tls-key");
		has_file |= r > 0;
	}
	if (r < 0)
		return r;
	/* With a settings file or a credential, a mistake counts as one in a file. */
	r = resolve_tls(settings);
	return r < 0 && has_file ? -EBADMSG : r;
}

bool settings_is_trusted(const struct settings *settings, const struct in6_addr *address)
{
	for (char *const *network = settings->trusted_networks; network && *network; network++) {
		if (peer_is_in_network(address, *network) == 1)
			return true;
	}
	return false;
}

unsigned settings_max_sessions(const struct settings *settings, bool is_trusted)
{
	bool is_less = settings->trusted_networks && !is_trusted;

	return settings->max_sessions - (is_less ? settings->max_sessions / TRUSTED_PART : 0);
}

char *settings_add_domain(const struct settings *settings, const char *user)
{
	const char *domain = strchr(user, '@') ? NULL : settings->default_domain;
	char *name;

	return asprintf(&name, domain ? "%s@%s" : "%s", user, domain) < 0 ? NULL : name;
}

void settings_free(struct settings *settings)
{
	for (size_t i = 0; settings && i < ARRAY_SIZE(table); i++) {
		if (table[i].release)
			table[i].release((char *)settings + table[i].field);
	}
	if (settings)
		free_list(&settings->names);
	free(settings);
}

void settings_print_help(FILE *stream)
{
	(void)fputs(
		"Usage: pop3-handler [--config=FILE] [--NAME=VALUE ...]\n"
		"       pop3-handler [--config=FILE] [--NAME=VALUE ...] --take-over [--dry-run]\n"
		"                    [--control=TEMPLATE] [--no-list] [NAME ...]\n"
		"Serves one POP3 session on standard input and output. With --listen, or if\n"
		"started with a listening socket, serves each connection in its own process.\n\n"
		"  --config=FILE\n\tread settings from FILE, one 'name = value' per line; options win\n"
		"  --check-config\n\tcheck the settings and the files that they name, and exit\n"
		"  --take-over\n\ttake over the mailboxes of the accounts NAME from the server that\n"
		"\tunique-ids-from names, and exit; without NAME, all accounts of the\n"
		"\tpasswd-files; with -, or without passwd-files, the accounts that\n"
		"\tstandard input names, one per line\n"
		"  --dry-run\n\twrite nothing, and report what --take-over would do\n"
		"  --control=TEMPLATE\n\tthe directory of Dovecot's list (its CONTROL=), with the letters\n"
		"\tof the setting mailbox\n"
		"  --no-list\n\ttake over mail without a list, too: no POP3 client has seen it\n"
		"  --help, --version\n\tprint this text, or the version, and exit\n\n"
		"Settings, as options and in FILE:\n",
		stream);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		const char *initial = table[i].initial ? table[i].initial : table[i].shown;

		(void)fprintf(stream, "  --%s=...  (default: %s)\n\t%s\n", table[i].name,
			      initial ? initial : "none", table[i].help);
	}
}
