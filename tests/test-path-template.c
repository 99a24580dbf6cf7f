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
	return tap_end();
}
