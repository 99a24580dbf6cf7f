/* SPDX-License-Identifier: ISC
 *
 * The template and the home directory are the administrator's; the user name is the client's. */
#include "lib/path-template.h"

#include "lib/util.h"

/* What one letter after '%' stands for. */
struct part {
	const char *text;
	size_t octets;
	bool is_from_name; /* the client chose it */
};

static int part_for(char letter, const char *user, const char *home, struct part *ret_part)
{
	size_t local = strcspn(user, "@");
	const char *domain = user[local] ? user + local + 1 : "";
	const struct {
		char letter;
		struct part part;
	} parts[] = {
		{ 'u', { user, strlen(user), true } },
		{ 'n', { user, local, true } },
		{ 'd', { domain, strlen(domain), true } },
		{ 'h', { home, home ? strlen(home) : 0, false } },
		{ '%', { "%", 1, false } },
	};

	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		if (parts[i].letter != letter)
			continue;
		*ret_part = parts[i].part;
		return letter == 'h' && ret_part->octets == 0 ? -ENXIO : 0;
	}
	return -EINVAL;
}

int path_template_check(const char *template)
{
	struct part part;

	if (!*template)
		return -EINVAL;
	while ((template = strchr(template, '%'))) {
		if (part_for(template[1], "user", "/home", &part) < 0)
			return -EINVAL;
		template += 2;
	}
	return 0;
}

/* A path while it is written. */
struct path {
	char *text;
	size_t octets;
	size_t component;  /* where the last component begins */
	bool is_from_name; /* that has octets of the user name */
};

/* Whether a user name has made the last component empty, "." or "..". */
static bool has_stray_component(const struct path *path)
{
	const char *component = path->text + path->component;
	size_t octets = path->octets - path->component;

	return path->is_from_name && (octets == 0 || strncmp(component, "..", octets) == 0);
}

static int add_part(struct path *path, const struct part *part)
{
	for (size_t i = 0; i < part->octets; i++) {
		if (part->text[i] == '/') {
			if (part->is_from_name || has_stray_component(path))
				return -EKEYREJECTED;
			path->component = path->octets + 1;
			path->is_from_name = false;
		}
		path->text[path->octets++] = part->text[i];
	}
	path->is_from_name |= part->is_from_name;
	return 0;
}

int path_template_expand(const char *template, const char *user, const char *home, char **ret_path)
{
	size_t longest_part = strlen(user) + (home ? strlen(home) : 0) + 1;
	auto_free char *text = malloc(strlen(template) * longest_part + 1);
	struct path path = { .text = text };
	int r = path_template_check(template);

	if (r < 0)
		return r;
	if (!text)
		return -ENOMEM;
	for (; *template; template ++) {
		struct part part = { template, 1, false };

		if (*template == '%')
			r = part_for(*++template, user, home, &part);
		if (r == 0)
			r = add_part(&path, &part);
		if (r < 0)
			return r;
	}
	if (has_stray_component(&path))
		return -EKEYREJECTED;
	text[path.octets] = '\0';
	*ret_path = take_ptr(text);
	return 0;
}

int path_template_root(const char *template, char **ret_path)
{
	size_t octets = strcspn(template, "%");

	if (template[octets] == '%') {
		while (octets > 0 && template[octets - 1] != '/')
			octets--;
		while (octets > 0 && template[octets - 1] == '/')
			octets--;
	}
	*ret_path = octets > 0 ? strndup(template, octets) : strdup(*template == '/' ? "/" : ".");
	return *ret_path ? 0 : -ENOMEM;
}
