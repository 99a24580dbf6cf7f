/* SPDX-License-Identifier: ISC
 * The settings file. The same octets are also parsed as an argument of the command line. */
#include "settings.h"

#include "fuzz.h"
#include "lib/path-template.h"

#include <errno.h>

static void load(char *argument)
{
	char program[] = "pop3-handler";
	char *arguments[] = { program, argument, NULL };
	struct settings *settings = NULL;
	int r = settings_load(2, arguments, &settings);

	FUZZ_CHECK(r == 0 || ((r == -EINVAL || r == -EBADMSG) && *settings->problem));
	if (r == 0) {
		FUZZ_CHECK(settings->tls != TLS_UNSET && settings->login_timeout_s > 0);
		FUZZ_CHECK(path_template_check(settings->mailbox) == 0);
	}
	settings_free(settings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	char path[FUZZ_PATH_OCTETS], argument[sizeof("--config=") + FUZZ_PATH_OCTETS];
	int fd = fuzz_file(data, octets, path);
	char *text = fuzz_string(data, octets);

	(void)snprintf(argument, sizeof(argument), "--config=%s", path);
	load(argument);
	if (strncmp(text, "--config", strlen("--config")) !=
	    0) /* reads no other file of the machine */
		load(text);
	free(text);
	(void)close(fd);
	return 0;
}
