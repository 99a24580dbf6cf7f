/* SPDX-License-Identifier: ISC
 * The template and the home directory are the administrator's; the user name is the client's. */
#include "lib/path-template.h"

#include "lib/util.h"

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

int path_template_check(const char *template)
{
	auto_free char *path = NULL;

	return path_template_expand(template, "user@domain", "/home", &path);
}
