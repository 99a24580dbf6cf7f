/* SPDX-License-Identifier: ISC
 * The template and the home directory are the administrator's; the user name is the client's. */
#include "lib/path-template.h"

#include "lib/util.h"

/* What one letter after '%' stands for. */
struct part {
	const char *text;
	size_t octets;
	char letter;
	bool is_from_name; /* the client chose it */
};

static int part_for(char letter, const char *user, const char *home, struct part *ret_part)
{
	size_t local = strcspn(user, "@");
	const char *domain = user[local] ? user + local + 1 : "";
	const struct part parts[] = {
		{ user, strlen(user), 'u', true },
		{ user, local, 'n', true },
		{ domain, strlen(domain), 'd', true },
		{ home, home ? strlen(home) : 0, 'h', false },
		{ "%", 1, '%', false },
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (parts[i].letter != letter)
			continue;
		*ret_part = parts[i];
		return letter == 'h' && ret_part->octets == 0 ? -ENXIO : 0;
	}
	return -EINVAL;
}

/* A path while it is written. */
struct path {
	char *end;
	char *component;   /* the last one */
	bool is_from_name; /* that has octets of the user name */
};

/* Whether a user name has made the last component empty, "." or "..". */
static bool has_stray_component(const struct path *path)
{
	size_t octets = (size_t)(path->end - path->component);

	return path->is_from_name && strncmp(path->component, "..", octets) == 0;
}

static int add_part(struct path *path, const struct part *part)
{
	for (size_t i = 0; i < part->octets; i++) {
		if (part->text[i] == '/') {
			if (part->is_from_name || has_stray_component(path))
				return -EKEYREJECTED;
			path->component = path->end + 1;
			path->is_from_name = false;
		}
		*path->end++ = part->text[i];
	}
	path->is_from_name |= part->is_from_name;
	return 0;
}

int path_template_expand(const char *template, const char *user, const char *home, char **ret_path)
{
	size_t longest_part = strlen(user) + (home ? strlen(home) : 0) + 1;
	auto_free char *text = malloc(strlen(template) * longest_part + 1);
	struct path path = { .end = text, .component = text };
	int r = *template ? 0 : -EINVAL;

	if (!text)
		return -ENOMEM;
	for (; *template; template ++) {
		struct part part = { .text = template, .octets = 1 };

		if (*template == '%')
			r = part_for(*++template, user, home, &part);
		if (r == 0)
			r = add_part(&path, &part);
		if (r < 0)
			return r;
	}
	if (r < 0 || has_stray_component(&path))
		return r < 0 ? r : -EKEYREJECTED;
	*path.end = '\0';
	*ret_path = take_ptr(text);
	return 0;
}

int path_template_check(const char *template)
{
	auto_free char *path = NULL;

	return path_template_expand(template, "user@domain", "/home", &path);
}
