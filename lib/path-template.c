/* SPDX-License-Identifier: ISC
 * The template and the home directory are the administrator's; the user name is the client's. */
#include "lib/path-template.h"

#include "lib/util.h"

#include <assert.h>
#include <glob.h>

/* Whether text from the user name, which begins at `name`, made a component empty, "." or "..". */
static bool is_stray(const char *component, const char *end, const char *name)
{
	return name && name >= component &&
	       strncmp(component, "..", (size_t)(end - component)) == 0;
}

int path_template_expand(const char *template, const char *user, const char *home, char **ret_path)
{
	static const char letters[] = "hund";
	const char *domain = strchrnul(user, '@');
	const struct {
		const char *text;
		size_t octets;
	} parts[] = {
		{ home, home ? strlen(home) : 0 },
		{ user, strlen(user) },
		{ user, (size_t)(domain - user) },
		{ domain + (*domain == '@'), strlen(domain + (*domain == '@')) },
	};
	size_t longest_part = strlen(user) + parts[0].octets + 1;
	auto_free char *text = malloc(strlen(template) * longest_part + 1);
	char *end = text, *component = text, *name = NULL;

	if (!text)
		return -ENOMEM;
	if (!*template)
		return -EINVAL;
	for (; *template; template ++) {
		const char *part = template;
		bool is_from_name = false;
		size_t octets = 1;

		if (*template == '%' && *++template != '%') {
			const char *letter = memchr(letters, *template, strlen(letters));

			if (!letter)
				return -EINVAL;
			part = parts[letter - letters].text;
			octets = parts[letter - letters].octets;
			is_from_name = *letter != 'h';
			if (!is_from_name && octets == 0)
				return -ENXIO;
		}
		name = is_from_name ? end : name;
		for (; octets > 0; octets--) {
			if (*part == '/' && (is_from_name || is_stray(component, end, name)))
				return -EKEYREJECTED;
			*end++ = *part;
			component = *part++ == '/' ? end : component;
		}
	}
	*end = '\0';
	if (is_stray(component, end, name))
		return -EKEYREJECTED;
	*ret_path = take_ptr(text);
	return 0;
}

bool path_template_has_domain(const char *template)
{
	const char *percent = strchr(template, '%');

	while (percent && percent[1] && percent[1] != 'd')
		percent = strchr(percent + 2, '%');
	return percent && percent[1];
}

/* Escapes the characters that are special to glob(3). NULL: no memory. */
static char *escape_pattern(const char *text)
{
	char *escaped = calloc(2, strlen(text) + 1), *end = escaped;

	for (; escaped && *text; text++) {
		if (strchr("*?[\\", *text))
			*end++ = '\\';
		*end++ = *text;
	}
	return escaped;
}

int path_template_for_domains(const char *template, path_template_handler *handle, void *context)
{
	auto_free char *escaped = escape_pattern(template), *pattern = NULL, *one = NULL,
		       *two = NULL;
	size_t begin = 0, places;
	glob_t files = { 0 };
	int r = escaped ? path_template_expand(escaped, "@*", NULL, &pattern) : -ENOMEM;

	assert(path_template_has_domain(template));
	/* Two paths show where the domain begins, and how often it is there. */
	r = r ?: path_template_expand(template, "@a", NULL, &one);
	r = r ?: path_template_expand(template, "@bb", NULL, &two);
	if (r < 0)
		return r;
	while (one[begin] == two[begin])
		begin++;
	places = strlen(two) - strlen(one);
	if (glob(pattern, 0, NULL, &files) == GLOB_NOSPACE)
		r = -ENOMEM;
	for (size_t i = 0; i < files.gl_pathc && r == 0; i++) {
		const char *path = files.gl_pathv[i];
		size_t octets = (strlen(path) - (strlen(one) - places)) / places;
		auto_free char *domain = NULL, *expanded = NULL;
		struct stat status;

		if (stat(path, &status) == 0 && !S_ISREG(status.st_mode))
			continue; /* a FIFO would block */
		if (asprintf(&domain, "@%.*s", (int)octets, path + begin) < 0)
			r = -ENOMEM;
		else if (path_template_expand(template, domain, NULL, &expanded) == 0 &&
			 strcmp(expanded, path) == 0) /* else it is no domain's file */
			r = handle(context, path, domain);
	}
	globfree(&files);
	return r;
}

int path_template_check(const char *template)
{
	auto_free char *path = NULL;

	return path_template_expand(template, "user@domain", "/home", &path);
}
