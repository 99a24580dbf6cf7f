/* SPDX-License-Identifier: ISC
 * auth.c on passwd-files that the test makes. */
#include "auth.h"

#include "lib/file-stamp.h"
#include "lib/peer.h"
#include "lib/util.h"
#include "settings.h"
#include "tap.h"

#include <arpa/inet.h>
#include <crypt.h>
#include <errno.h>

static char users[] = "/tmp/test-auth-XXXXXX", *all_users[] = { users, NULL }, everywhere[] = "/m",
	    by_name[] = "/mail/%u";
static const struct settings settings = { .users = all_users, .mailbox = everywhere };
static const struct settings named = { .users = all_users, .mailbox = by_name };
static const struct peer local = { .text = "local", .is_local = true };

static bool write_users(const char *text)
{
	FILE *file = fopen(users, "we");

	if (!file)
		return false;
	(void)fputs(text, file);
	return fclose(file) == 0;
}

/* Checks one login with this passwd-file; `mailbox` is expected after a successful one. */
static void test_login(const char *text, const char *user, const char *password, int expected,
		       const char *mailbox, const char *title)
{
	struct account account = { 0 };
	struct auth_report report;
	int r = write_users(text) ? auth_login(&named, &local, user, password, &account, &report) :
				    -EIO;
	bool good = r == expected;

	if (r == 0 && mailbox)
		good &= strcmp(account.mailbox, mailbox) == 0;
	if (!tap(good, "%s", title))
		(void)printf("# got %d, mailbox %s\n", r, account.mailbox);
}

static void test_passwords(void)
{
	test_login("a:{PLAIN}x y :1:1::/h:/s:\n", "a", "x y ", 0, "/mail/a", "{PLAIN}");
	test_login("a:{plain}x\n", "a", "x", 0, NULL, "schemes in any letter case");
	test_login("a:{PLAIN}x\n", "a", "xx", -EKEYREJECTED, NULL, "a longer password");
	test_login("a:{PLAIN}xx\n", "a", "x", -EKEYREJECTED, NULL, "a shorter password");
	test_login("a:{PLAIN}x\n", "a", "", -EKEYREJECTED, NULL, "an empty password");
	test_login("a:\n", "a", "", -EKEYREJECTED, NULL, "an empty password field lets no one in");
	test_login("a:{PLAIN}\n", "a", "", -EKEYREJECTED, NULL,
		   "nor does a scheme without a password");
	test_login("a:{CRYPT}\n", "a", "", -EKEYREJECTED, NULL, "nor with {CRYPT}");
	test_login("a:{PLAIN-TRUNC}3-abc\n", "a", "abcdef", 0, NULL, "a truncated password");
	test_login("a:{PLAIN-TRUNC}3-ab\n", "a", "abc", -EKEYREJECTED, NULL,
		   "a password that is not truncated");
	test_login("a:{PLAIN-TRUNC}0-\n", "a", "x", -EKEYREJECTED, NULL,
		   "a password truncated to nothing");
	test_login("a:{PLAIN.HEX}6100\n", "a", "a", -EKEYREJECTED, NULL, "a NUL in a password");
	test_login("a:{PLAIN.HEX}61\n", "a", "a", 0, NULL, "a password in hex");
	test_login("a:{PLAIN.B64}YQ==\n", "a", "a", 0, NULL, "and in base64");
	test_login("a:{PLAIN.B65}YQ==\n", "a", "a", -EKEYREJECTED, NULL, "in something else");
	test_login("a:{MD4}x\n", "a", "x", -EKEYREJECTED, NULL, "an unknown scheme");
	test_login("a:{PLAIN\n", "a", "{PLAIN", -EKEYREJECTED, NULL, "half a scheme");
	test_login("a:x\n", "a", "x", -EKEYREJECTED, NULL, "a plain password without a scheme");
	test_login("a:!\n", "a", "!", -EKEYREJECTED, NULL, "a locked password");
	test_login("a:{PLAIN}x\n", "b", "x", -EKEYREJECTED, NULL, "no such user");
	test_login("ab:{PLAIN}x\n", "a", "x", -EKEYREJECTED, NULL, "the beginning of a name");
	test_login("#a:{PLAIN}x\n", "#a", "x", -EKEYREJECTED, NULL, "a comment");
	test_login("a:{PLAIN}x\na:{PLAIN}y\n", "a", "y", -EKEYREJECTED, NULL,
		   "the first line counts");
	test_login("a:{PLAIN}x", "a", "x", 0, NULL, "no line end at the end");
	test_login("a:{PLAIN}x\r\n", "a", "x", 0, NULL, "CRLF line ends");
}

static void test_crypt(void)
{
	static const char *const cases[][2] = {
		{ "", "$6$" },
		{ "{CRYPT}", "$6$" },
		{ "{SHA512-CRYPT}", "$6$" },
		{ "{sha256-crypt}", "$5$" },
		{ "{CRYPT}", "$y$" },
		{ "{BLF-CRYPT}", "$2b$" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char line[512], title[64];
		struct crypt_data data = { 0 };
		const char *salt = crypt_gensalt(cases[i][1], 0, "0123456789abcdef", 16);
		const char *hash = salt ? crypt_rn("secret", salt, &data, sizeof(data)) : NULL;

		(void)snprintf(title, sizeof(title), "%s with %s", cases[i][0], cases[i][1]);
		if (!tap(hash != NULL, "libxcrypt makes %s", cases[i][1]))
			continue;
		(void)snprintf(line, sizeof(line), "a:%s%s\n", cases[i][0], hash);
		test_login(line, "a", "secret", 0, NULL, title);
		test_login(line, "a", "Secret", -EKEYREJECTED, NULL, title);
		test_login(line, "a", hash, -EKEYREJECTED, NULL, title);
	}
}

static void test_names(void)
{
	test_login("a/b:{PLAIN}x\n", "a/b", "x", -EKEYREJECTED, NULL, "a name with '/'");
	test_login("..:{PLAIN}x\n", "..", "x", -EKEYREJECTED, NULL, "the name '..'");
	test_login(".:{PLAIN}x\n", ".", "x", -EKEYREJECTED, NULL, "the name '.'");
	test_login(":{PLAIN}x\n", "", "x", -EKEYREJECTED, NULL, "the empty name");
	test_login("a\033b:{PLAIN}x\n", "a\033b", "x", -EKEYREJECTED, NULL, "a control character");
	test_login("%h:{PLAIN}x::::/h\n", "%h", "x", 0, "/mail/%h", "the name '%h'");
	test_login("a:{PLAIN}x:1\n", "a:{PLAIN}x", "x", -EKEYREJECTED, NULL, "a name with ':'");
	test_login("a@b:{PLAIN}x\n", "a@b", "x", 0, "/mail/a@b", "a name with '@'");
}

/* Which of several lines is found, recognised by its password, and the account's name. */
static void test_order(void)
{
	static const struct {
		const char *text, *typed, *password, *user; /* NULL: the login is refused */
	} cases[] = {
		{ "A:{PLAIN}1\na:{PLAIN}2\n", "a", "2", "a" },
		{ "A:{PLAIN}1\na:{PLAIN}2\n", "A", "1", "A" },
		{ "A@D.EXAMPLE:{PLAIN}1\nA:{PLAIN}2\na@d.example:{PLAIN}3\na:{PLAIN}4\n", "a", "4",
		  "a" },
		{ "A@D.EXAMPLE:{PLAIN}1\nA:{PLAIN}2\na@d.example:{PLAIN}3\n", "a", "3",
		  "a@d.example" },
		{ "A@D.EXAMPLE:{PLAIN}1\nA:{PLAIN}2\n", "a", "2", "A" },
		{ "A@D.EXAMPLE:{PLAIN}1\n", "a", "1", "A@D.EXAMPLE" },
		{ "Ab:{PLAIN}1\naB:{PLAIN}2\n", "ab", "1", "Ab" },
		{ "Ab:{PLAIN}1\naB:{PLAIN}2\n", "ab", "2", NULL },
		{ "a:{PLAIN}1\n", "a@d.example", "1", NULL },
		{ "a@d.example@d.example:{PLAIN}1\n", "a@d.example", "1", NULL },
		{ "a@e.example:{PLAIN}1\n", "a", "1", NULL },
		{ "\303\204:{PLAIN}1\n", "\303\244", "1", NULL }, /* not ASCII */
		{ "@d.example:{PLAIN}1\n", "", "1", NULL },
		{ "[:{PLAIN}1\n", "{", "1", NULL }, /* differ in the same bit as a and A */
	};
	static char domain[] = "d.example";
	static const struct settings with_domain = { .users = all_users,
						     .mailbox = everywhere,
						     .default_domain = domain };

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct account account = { 0 };
		struct auth_report report;
		int r = !write_users(cases[i].text) ?
				-EIO :
				auth_login(&with_domain, &local, cases[i].typed, cases[i].password,
					   &account, &report);
		bool good = cases[i].user ? r == 0 && strcmp(account.user, cases[i].user) == 0 &&
						    strcmp(report.user, cases[i].user) == 0 :
					    r == -EKEYREJECTED;

		if (!tap(good, "the best match is found: case %zu", i))
			(void)printf("# got %d, %s\n", r, account.user);
	}
}

/* The networks from which allow_nets accepts clients. */
static void test_networks(void)
{
	static const struct {
		const char *networks, *address; /* NULL: no address, a local client */
		bool is_in;
	} cases[] = {
		{ "192.0.2.0/24", "192.0.2.77", true },
		{ "192.0.2.0/24", "198.51.100.1", false },
		{ "192.0.2.0/24", NULL, false },
		{ "198.51.100.1,192.0.2.0/24", "192.0.2.77", true },
		{ "2001:db8::/32", "2001:db8::1", true },
		{ "2001:db8::/32", "192.0.2.77", false },
		{ "local", NULL, true },
		{ "local", "127.0.0.1", false },
		{ "127.0.0.1,local", "127.0.0.1", true },
		{ "0.0.0.0/0", "192.0.2.77", true },
		{ "0.0.0.0/0", NULL, false },
		{ "::/0", NULL, false },
		{ "::", NULL, false },
		{ "", NULL, false },
		{ "", "192.0.2.77", false },
		{ "192.0.2.77/33", "192.0.2.77", false },
		{ "192.0.2.77,mail.example.org", "192.0.2.77", false },
		{ "192.0.2.77,", "192.0.2.77", false },
		{ "192.0.2.77, 192.0.2.78", "192.0.2.78", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct account account = { 0 };
		struct auth_report report;
		struct peer peer = local;
		char text[200], mapped[64];
		struct in6_addr address;
		bool good;

		if (cases[i].address) {
			(void)snprintf(
				mapped, sizeof(mapped), "%s%s",
				strchr(cases[i].address, ':') ? "" : "::ffff:", cases[i].address);
			if (inet_pton(AF_INET6, mapped, &address) == 1)
				peer_of_address(&address, &peer);
		}
		(void)snprintf(text, sizeof(text),
			       "a:{PLAIN}x::::::userdb_quota_rule=y allow_nets=%s\n",
			       cases[i].networks);
		good = write_users(text) && (auth_login(&settings, &peer, "a", "x", &account,
							&report) == 0) == cases[i].is_in;
		good &= (auth_login(&settings, &peer, "a", NULL, &account, &report) == 0) ==
			cases[i].is_in;
		(void)tap(good, "%s is %sin '%s'", peer.text, cases[i].is_in ? "" : "not ",
			  cases[i].networks);
	}
}

static void test_extra(void)
{
	test_login("a:{PLAIN}x::::/h::userdb_mail=maildir:/m\n", "a", "x", 0, "/m", "maildir:PATH");
	test_login("a:{PLAIN}x::::/h::userdb_mail=/m:n\n", "a", "x", 0, "/m:n", "just PATH");
	test_login("a:{PLAIN}x::::/h::userdb_mail=maildir:~/M:LAYOUT=fs\n", "a", "x", 0, "/h/M",
		   "~/ is the home, and Dovecot's options are removed");
	test_login("a:{PLAIN}x::::/h::userdb_mail_driver=maildir userdb_mail_path=~/M\n", "a", "x",
		   0, "/h/M", "what Dovecot 2.4 calls it");
	test_login("a:{PLAIN}x::::/h::mail_path=/m\n", "a", "x", 0, "/m", "without the prefix");
	test_login("a:{PLAIN}x::::/h::mail_driver=mbox\n", "a", "x", -EKEYREJECTED, NULL, "mbox");
	test_login("a:{PLAIN}x::::/h::proxy:x\n", "a", "x", -EKEYREJECTED, NULL, "proxy:x");
	test_login("a:{PLAIN}x::::/h::proxyx=proxy x\n", "a", "x", 0, NULL, "proxyx");
	test_login("a:{PLAIN}x::::/h::userdb_mail=/m/%u b=c\n", "a", "x", 0, "/m/a",
		   "it is a template");
	test_login("a:{PLAIN}x::::/h::x=userdb_mail=/m  userdb_mail=/n\n", "a", "x", 0, "/n",
		   "a part of the name does not count");
	test_login("a:{PLAIN}x::::/h::userdb_mail=mbox:/m\n", "a", "x", -ENXIO, NULL, "mbox:PATH");
	test_login("a:{PLAIN}x::::/h::userdb_mail=\n", "a", "x", -ENXIO, NULL, "no path");
	test_login("a:{PLAIN}x::::::userdb_mail=~/M\n", "a", "x", -ENXIO, NULL,
		   "~/ without a home");
	test_login("a:{PLAIN}x:::::::nologin\n", "a", "x", 0, NULL, ":nologin is something else");
	test_login("a:{PLAIN}x::::::nologin\n", "a", "x", -EKEYREJECTED, NULL, "nologin");
	test_login("a:{PLAIN}x::::::nologin=y\n", "a", "x", -EKEYREJECTED, NULL, "nologin=y");
	test_login("a:{PLAIN}x::::::nologins\n", "a", "x", 0, NULL, "nologins is something else");
}

static void test_malformed(void)
{
	static const char long_name[5000] = { [0 ... 4998] = 'x' };
	auto_free char *text = NULL;
	struct account account = { 0 };
	struct auth_report report;

	if (asprintf(&text, "# c\n\nnocolon\n:x\n%s:y\na:{PLAIN}x\n", long_name) < 0 ||
	    !write_users(text))
		return;
	(void)tap(auth_login(&settings, &local, "a", "x", &account, &report) == 0,
		  "malformed lines are skipped");
	(void)tap(report.malformed_lines == 3 && report.malformed_line == 3,
		  "and reported: %u, the first is line %u", report.malformed_lines,
		  report.malformed_line);
}

/* A first line of each length, so that it and the user's line after it end at each offset of the
 * buffer. */
static void test_line_lengths(void)
{
	static char text[20000];
	bool good = true;

	for (size_t octets = 2; octets < 13000 && good; octets++) {
		static const char last[] = "a:{PLAIN}x";
		struct account account = { 0 };
		struct auth_report report;

		memset(text, 'x', octets);
		text[octets - 1] = ':';
		text[octets] = '\n';
		memcpy(text + octets + 1, last, sizeof(last));
		good = write_users(text) &&
		       auth_login(&settings, &local, "a", "x", &account, &report) == 0 &&
		       report.malformed_lines == (octets > 4096);
		if (!good)
			(void)printf("# a line of %zu octets\n", octets);
	}
	(void)tap(good, "a line of any length is one line, and up to 4096 octets an account");
}

/* The buffer ends where the file ends. */
static void test_long_last_line(void)
{
	struct account account = { 0 };
	struct auth_report report;
	FILE *file = write_users("a:{PLAIN}x\n") ? fopen(users, "ae") : NULL;

	for (size_t octets = 0; file && octets < 6144; octets++)
		(void)putc('#', file);
	(void)tap(file && fclose(file) == 0 &&
			  auth_login(&settings, &local, "a", "x", &account, &report) == 0 &&
			  report.malformed_lines == 1,
		  "a last line that is too long is reported, whatever its length");
}

/* Wherever in the buffer its line begins. */
static void test_nul(void)
{
	bool good = true;

	for (int octets = 3050; octets < 3100 && good; octets++) {
		struct account account = { 0 };
		struct auth_report report;
		FILE *file = fopen(users, "we");

		good = file && fprintf(file, "#%*s\n#%*s\na%cb:{PLAIN}x\na:{PLAIN}x\n", octets, "",
				       octets, "", 0) > 0;
		good = good && fclose(file) == 0 &&
		       auth_login(&settings, &local, "a", "x", &account, &report) == 0 &&
		       report.malformed_lines == 1;
	}
	(void)tap(good, "a line with a NUL is ignored");
}

static void test_again(void)
{
	static const char before[] = "a:{PLAIN}x::::::read-only=yes\n";
	static const struct {
		const char *text;
		int expected;
	} cases[] = {
		{ before, 0 },
		{ "b:{PLAIN}y\na:{PLAIN}x:1:2:New Name::/bin/sh:read-only=yes\n", 0 },
		{ "a:{PLAIN}y::::::read-only=yes\n", -EKEYREJECTED },
		{ "a:{PLAIN}x\n", -EKEYREJECTED },
		{ "a:{PLAIN}x::::::read-only=yes nologin\n", -EKEYREJECTED },
		{ "a:{PLAIN}x::::::read-only=yes userdb_mail=/n\n", -EKEYREJECTED },
		{ "", -EKEYREJECTED },
	};
	struct account account = { 0 };
	struct auth_report report;

	if (!write_users(before) || auth_login(&settings, &local, "a", "x", &account, &report) < 0)
		return (void)tap(false, "login");
	(void)tap(account.is_read_only, "read-only=yes");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		(void)tap(write_users(cases[i].text) &&
				  auth_check_again(&settings, &local, &account, &report) ==
					  cases[i].expected,
			  "checked again: case %zu", i);
	(void)unlink(users);
	(void)tap(auth_check_again(&settings, &local, &account, &report) == -ENOENT,
		  "the file is gone");
}

/* Writes the file, and returns once a further change will have another time. */
static bool write_stable_users(const char *text)
{
	struct file_stamp stamp;
	struct stat status;

	if (!write_users(text) || stat(users, &status) < 0)
		return false;
	stamp = file_stamp_of(&status);
	while (!file_stamp_is_stable(&stamp, file_stamp_now_ns()))
		;
	return true;
}

/* Checks the account with another template than at login: only a check that reads the file
 * notices the template. */
static bool is_read_again(struct account *account)
{
	static char template[] = "/other";
	static const struct settings other = { .users = all_users, .mailbox = template };
	struct auth_report report;

	return auth_check_again(&other, &local, account, &report) == -EKEYREJECTED;
}

static void test_unchanged(void)
{
	struct account account = { 0 };
	struct auth_report report;

	if (!write_stable_users("a:{PLAIN}x\n") ||
	    auth_login(&settings, &local, "a", "x", &account, &report) < 0)
		return (void)tap(false, "login");
	(void)tap(!is_read_again(&account), "a file that has not changed is not read again");
	(void)tap(write_stable_users("a:{PLAIN}y\n") && is_read_again(&account) &&
			  is_read_again(&account),
		  "a file that was overwritten is read at each check");
	(void)tap(write_stable_users("a:{PLAIN}x\n") &&
			  auth_check_again(&settings, &local, &account, &report) == 0 &&
			  !is_read_again(&account),
		  "until it has its content from the login again");

	if (auth_login(&settings, &local, "a", "x", &account, &report) < 0 ||
	    chmod(users, 0640) < 0)
		return (void)tap(false, "login");
	(void)tap(is_read_again(&account), "a file whose mode has changed is read");
}

/* A login in the same tick of the clock as a change of the file. */
static void test_changed_just_now(void)
{
	struct account account = { 0 };
	struct auth_report report;
	struct file_stamp stamp;
	struct stat status;

	do {
		if (!write_users("a:{PLAIN}x\n") || stat(users, &status) < 0 ||
		    auth_login(&settings, &local, "a", "x", &account, &report) < 0)
			return (void)tap(false, "login");
		stamp = file_stamp_of(&status);
	} while (file_stamp_is_stable(&stamp, file_stamp_now_ns()));
	(void)tap(is_read_again(&account), "a file that changed just before the login is read");
}

/* Accounts found by a certificate. */
static void test_find(void)
{
	static const struct {
		const char *text, *user;
		int expected;
	} cases[] = {
		{ "a:{PLAIN}x\n", "a", 0 },
		{ "a:!\n", "a", 0 },
		{ "a:{NONE}\n", "a", 0 },
		{ "a:\n", "a", -EKEYREJECTED },
		{ "a:{PLAIN}\n", "a", -EKEYREJECTED },
		{ "a:!::::::nologin\n", "a", -EKEYREJECTED },
		{ "a:!\n", "b", -EKEYREJECTED },
		{ "a/b:!\n", "a/b", -EKEYREJECTED },
		{ "a:!:1\n", "a:!", -EKEYREJECTED },
		{ "..:!\n", "..", -EKEYREJECTED },
		{ ":!\n", "", -EKEYREJECTED },
		{ "a:!::::::userdb_mail=mbox:/m\n", "a", -ENXIO },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct account account = { 0 };
		struct auth_report report;
		int r = write_users(cases[i].text) ?
				auth_login(&named, &local, cases[i].user, NULL, &account, &report) :
				-EIO;

		(void)tap(r == cases[i].expected &&
				  (r < 0 || strcmp(account.mailbox, "/mail/a") == 0),
			  "found without a password: case %zu", i);
	}
}

/* The list ends at the NULL; at login it was longer. */
static void test_shorter_auth(void)
{
	static char name[] = "passwd-file", *auth[] = { name, NULL, name, NULL };
	static const struct settings shorter = { .auth = auth,
						 .users = all_users,
						 .mailbox = everywhere };
	struct account account;
	struct auth_report report;

	if (!write_users("a:{PLAIN}x\n") ||
	    auth_login(&settings, &local, "a", "x", &account, &report) < 0)
		return (void)tap(false, "login");
	account.backend = 2;
	(void)tap(auth_check_again(&shorter, &local, &account, &report) == -EKEYREJECTED,
		  "checked again after its backend was removed from the settings");
}

static int append_name(void *context, const char *name)
{
	(void)strcat(strcat(context, name), " ");
	return 0;
}

static void test_look_up(void)
{
	static const struct {
		const char *user, *control; /* NULL: the lookup fails */
		const char *title;
	} cases[] = {
		{ "a", "/home/a/b", "without a password" },
		{ "locked", "/h/b", "a locked password" },
		{ "empty", "/h/b", "an empty one" },
		{ "nologin", "/h/b", "nologin" },
		{ "nets", "/h/b", "allow_nets" },
		{ "proxy", NULL, "mail that is elsewhere" },
		{ "homeless", NULL, "no home directory for the template" },
		{ "nobody", NULL, "no such user" },
		{ "A/b", NULL, "a bad name" },
	};
	char names[200] = "";
	struct account account;
	struct auth_report report;
	int r;

	(void)write_users("a:{PLAIN}x::::/home/a\nlocked:!::::/h\nempty:::::/h\n"
			  "nologin:{PLAIN}x::::/h::nologin\nmalformed\n"
			  "nets:{PLAIN}x::::/h::allow_nets=192.0.2.0/24\n"
			  "proxy:{PLAIN}x::::/h::proxy=y\nhomeless:{PLAIN}x\n");
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		r = auth_look_up(&named, cases[i].user, "%h/b", &account, &report);
		tap(cases[i].control ? r == 0 && strcmp(account.user, cases[i].user) == 0 &&
					       strcmp(account.mailbox, cases[i].control) == 0 :
				       r < 0,
		    "an administrator looks up: %s", cases[i].title);
	}
	r = auth_for_each_name(&named, append_name, names, &report);
	tap(r == 0 && report.malformed_lines == 1 &&
		    strcmp(names, "a locked empty nologin nets proxy homeless ") == 0,
	    "the names of all accounts");
}

int main(void)
{
	static const struct settings without = { .mailbox = everywhere };
	struct account account;
	struct auth_report report;
	auto_fd int fd = mkstemp(users);

	if (fd < 0 || auth_prepare(&settings) < 0)
		return 1;
	test_passwords();
	test_crypt();
	test_names();
	test_order();
	test_networks();
	test_extra();
	test_malformed();
	test_line_lengths();
	test_long_last_line();
	test_find();
	(void)tap(auth_login(&without, &local, "a", NULL, &account, &report) == -EKEYREJECTED,
		  "no file");
	(void)tap(auth_login(&without, &local, "a", "x", &account, &report) == -EKEYREJECTED,
		  "no file");
	test_unchanged();
	test_changed_just_now();
	test_nul();
	test_shorter_auth();
	test_look_up();
	test_again(); /* removes the file */
	(void)tap(auth_login(&settings, &local, "a", "x", &account, &report) == -ENOENT,
		  "no such file");
	return tap_end();
}
