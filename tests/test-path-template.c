/* SPDX-License-Identifier: ISC */
#include "lib/path-template.h"

#include "lib/util.h"
#include "tap.h"

#include <errno.h>

static void test_paths(void)
{
	static const struct {
		const char *template, *user, *home, *path;
	} cases[] = {
		{ "%h/Maildir", "bob", "/home/bob", "/home/bob/Maildir" },
		{ "/mail/%u", "bob@example.org", NULL, "/mail/bob@example.org" },
		{ "/mail/%d/%n", "bob@example.org", "", "/mail/example.org/bob" },
		{ "/mail/%d/%n", "a@b@c", NULL, "/mail/b@c/a" },
		{ "/mail/100%%/%n", "bob", NULL, "/mail/100%/bob" },
		{ "/mail/x%nx", "..", NULL, "/mail/x..x" },
		{ "/mail/%u", "...", NULL, "/mail/..." },
		{ "/mail/%u", "%h", "/root", "/mail/%h" },
		{ "/mail/%u", "%", NULL, "/mail/%" },
		{ "/mail/../%u/.", "bob", NULL, "/mail/../bob/." },
		{ "%h", "bob", "/home/..", "/home/.." },
		{ "mail", "..", NULL, "mail" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free char *path = NULL;
		int r = path_template_expand(cases[i].template, cases[i].user, cases[i].home,
					     &path);

		(void)tap(r == 0 && strcmp(path, cases[i].path) == 0, "'%s' for '%s' is '%s'",
			  cases[i].template, cases[i].user, cases[i].path);
	}
}

static void test_escapes(void)
{
	static const char *const cases[][2] = {
		{ "/mail/%u", ".." },
		{ "/mail/%u", "." },
		{ "/mail/%u", "" },
		{ "/mail/%u/new", ".." },
		{ "/mail/%u", "../x" },
		{ "/mail/%u", "a/b" },
		{ "/mail/%u", "/" },
		{ "/mail/%d/%n", "..@example.org" },
		{ "/mail/%d/%n", "bob@.." },
		{ "/mail/%d/%n", "bob@." },
		{ "/mail/%d/%n", "bob" },
		{ "/mail/%d/%n", "@example.org" },
		{ "/mail/%n%d", ".@." },
		{ "/mail/.%n", "." },
		{ "%h%u", ".." },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free char *path = NULL;

		(void)tap(path_template_expand(cases[i][0], cases[i][1], "/home/", &path) ==
					  -EKEYREJECTED &&
				  !path,
			  "'%s' refuses '%s'", cases[i][0], cases[i][1]);
	}
}

static void test_domains(void)
{
	static const struct {
		const char *template;
		bool has_domain;
	} cases[] = {
		{ "/mail/%d/users", true }, { "%d", true },	    { "/mail/100%%%d", true },
		{ "/mail/%u%d", true },	    { "/mail/%%d", false }, { "/mail/%u/d", false },
		{ "/mail/%", false },	    { "/mail/%%", false },  { "", false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		(void)tap(path_template_has_domain(cases[i].template) == cases[i].has_domain,
			  "'%s' has %s", cases[i].template,
			  cases[i].has_domain ? "a domain" : "no domain");
}

static int note_file(void *context, const char *path, const char *domain)
{
	char *found = context;

	(void)snprintf(strchr(found, '\0'), 64, "%s=%s ", domain, path);
	return strcmp(domain, "@last") == 0 ? -ECANCELED : 0;
}

/* Each template has domains' files (of a, and of b.c), and some have a file of the wrong form. */
static void test_files(void)
{
	static const struct {
		const char *template, *paths[4], *found;
		int result;
	} cases[] = {
		{ "plain-%d",
		  { "plain-a", "plain-b.c", "other" },
		  "@a=plain-a @b.c=plain-b.c ",
		  0 },
		{ "%%%d%%", { "%a%", "%b.c%", "%%a%%x" }, "@a=%a% @b.c=%b.c% ", 0 },
		{ "[1]?*\\%d", { "[1]?*\\a", "1xy\\a" }, "@a=[1]?*\\a ", 0 },
		{ "%d+%d", { "a+a", "b.c+b.c", "a+b" }, "@a=a+a @b.c=b.c+b.c ", 0 },
		{ "stop.%d", { "stop.last", "stop.more" }, "@last=stop.last ", -ECANCELED },
		{ "none.%d", { NULL }, "", 0 },
	};
	char folder[] = "/tmp/test-path-template-XXXXXX", found[256];

	if (!mkdtemp(folder) || chdir(folder) < 0) {
		(void)tap(false, "there is a folder for the files");
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r;

		for (char const *const *path = cases[i].paths; *path; path++)
			(void)close(open(*path, O_CREAT | O_WRONLY | O_CLOEXEC, S_IRUSR));
		*found = '\0';
		r = path_template_for_domains(cases[i].template, note_file, found);
		(void)tap(r == cases[i].result && strcmp(found, cases[i].found) == 0,
			  "'%s' leads to '%s' and %d", cases[i].template, found, r);
		for (char const *const *path = cases[i].paths; *path; path++)
			(void)unlink(*path);
	}
	(void)rmdir(folder);
}

int main(void)
{
	static const char *const bad[] = { "", "%", "/mail/%", "/mail/%x", "/mail/%%%" };
	auto_free char *path = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		(void)tap(path_template_check(bad[i]) == -EINVAL, "'%s' is no template", bad[i]);
	(void)tap(path_template_check("/mail/%d/%n%u%h%%") == 0, "all letters");
	(void)tap(path_template_expand("%h/Maildir", "bob", NULL, &path) == -ENXIO, "no home");
	(void)tap(path_template_expand("%h/Maildir", "bob", "", &path) == -ENXIO, "an empty home");
	test_paths();
	test_escapes();
	test_domains();
	test_files();
	return tap_end();
}
