/* SPDX-License-Identifier: ISC
 * The template and the home directory are the administrator's; the user name is the client's. */
#include "lib/path-template.h"

#include "lib/util.h"

/* A letter of the template, or what one after '%' stands for. */
struct part {
	const char *text;
	size_t octets;
	bool is_from_name; /* the client chose it */
};

static int part_for(char letter, const char *user, const char *home, struct part *ret_part)
{
	size_t local = strcspn(user, "@");
	const char *domain = user[local] ? user + local + 1 : "";

	*ret_part = letter == 'u' ? (struct part){ user, strlen(user), true } :
		    letter == 'n' ? (struct part){ user, local, true } :
		    letter == 'd' ? (struct part){ domain, strlen(domain), true } :
		    letter == 'h' ? (struct part){ home, home ? strlen(home) : 0, false } :
				    (struct part){ NULL };
	return letter == 'h' && ret_part->octets == 0 ? -ENXIO : ret_part->text ? 0 : -EINVAL;
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
	for (; r == 0 && *template; template ++) {
		struct part part = { .text = template, .octets = 1 };

		if (*template == '%' && *++template != '%')
			r = part_for(*template, user, home, &part);
		if (r == 0)
			r = add_part(&path, &part);
	}
	if (r == 0 && has_stray_component(&path))
		r = -EKEYREJECTED;
	*path.end = '\0';
	if (r == 0)
		*ret_path = take_ptr(text);
	return r;
}

int path_template_check(const char *template)
{
	auto_free char *path = NULL;

	return path_template_expand(template, "user@domain", "/home", &path);
}
