/* SPDX-License-Identifier: ISC
 * Loads the TLS module, whose main file is tls.c. */
#include "tls.h"

#include "lib/module.h"
#include "lib/util.h"
#include "settings.h"

#include <dlfcn.h>

int tls_new(const struct settings *settings, unsigned char *ticket_key, struct tls **ret)
{
	/* Loaded once, because an upgrade may have replaced the file before a reload. */
	static const struct tls_functions *functions;
	const char *path = getenv("RUNTIME_DIRECTORY"); /* systemd.exec(5): a list with ":" */
	auto_free struct tls *tls = NULL;

	*ret = NULL;
	if (settings->tls == TLS_OFF)
		return 0;
	if (!functions)
		functions = module_symbol("pop3-handler-tls.so", "tls_functions");
	if (!functions) {
		log_error("cannot load TLS: %s", dlerror());
		return -ELIBACC;
	}
	tls = calloc(1, functions->size);
	if (!tls)
		return -ENOMEM;
	*tls = (struct tls){ functions, settings, .public_fd = -1, .log = log_event_about,
			     .quote = log_quote };
	tls->ticket_key = ticket_key;
	if (!ticket_key) {
		tls->ticket_directory =
			path ? strndup(path, strcspn(path, ":")) : strdup("/run/pop3-handler");
		if (!tls->ticket_directory)
			return -ENOMEM;
		if (!path)
			util_make_folder(tls->ticket_directory,
					 settings->has_keeper ? "pop3-login" : settings->user);
	}
	*ret = take_ptr(tls);
	return 0;
}

bool tls_is_available(struct tls *tls)
{
	char *const *const lists[] = { tls->settings->tls_cert, tls->settings->tls_key };

	for (size_t i = 0; i < ARRAY_SIZE(lists) && tls->public_fd < 0; i++) {
		for (char *const *path = lists[i]; path && *path; path++) {
			if (faccessat(AT_FDCWD, *path, R_OK, 0) < 0)
				return tls->functions->load(tls) >= 0;
		}
	}
	return tls->load_error == 0;
}
