/* SPDX-License-Identifier: ISC
 * pam-odd.so WHAT: a PAM module with unusual prompts or results, for tests/auth.bats and
 * tests/keeper-failures.bats. */
#include "channel.h"

#include <errno.h>
#include <security/pam_modules.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ask(pam_handle_t *pam, int style, const char *text)
{
	const struct pam_message message = { style, text };
	const struct pam_message *messages[] = { &message };
	struct pam_response *response = NULL;
	const void *item = NULL;
	const struct pam_conv *conversation;

	if (pam_get_item(pam, PAM_CONV, &item) != PAM_SUCCESS)
		return PAM_SYSTEM_ERR;
	conversation = item;
	return conversation->conv(1, messages, &response, conversation->appdata_ptr);
}

/* Answers for the checker that this process is, with texts that have no end. */
static int answer(void)
{
	struct channel_answer packet;

	memset(&packet, 'x', sizeof(packet));
	packet.error = -EKEYREJECTED;
	for (int fd = STDERR_FILENO + 1; fd < 64; fd++)
		(void)send(fd, &packet, sizeof(packet), MSG_DONTWAIT | MSG_NOSIGNAL);
	return PAM_AUTH_ERR;
}

int pam_sm_authenticate(pam_handle_t *pam, int flags, int argc, const char **argv)
{
	const char *what = argc > 0 ? argv[0] : "";
	const void *item = NULL;

	(void)flags;
	if (strcmp(what, "talks") == 0)
		return ask(pam, PAM_TEXT_INFO, "Welcome") + ask(pam, PAM_ERROR_MSG, "Careful");
	if (strcmp(what, "code") == 0)
		return ask(pam, PAM_PROMPT_ECHO_OFF, "Code: ");
	if (strcmp(what, "echo") == 0)
		return ask(pam, PAM_PROMPT_ECHO_ON, "Birthday: ");
	if (strcmp(what, "root") == 0)
		return pam_set_item(pam, PAM_USER, "root");
	if (strcmp(what, "unavailable") == 0)
		return PAM_AUTHINFO_UNAVAIL;
	if (strcmp(what, "crashes") == 0)
		abort();
	if (strcmp(what, "answers") == 0)
		return answer();
	if (strcmp(what, "peer") == 0 && pam_get_item(pam, PAM_RHOST, &item) == PAM_SUCCESS &&
	    strcmp(item, "192.0.2.7") == 0 && pam_get_item(pam, PAM_TTY, &item) == PAM_SUCCESS &&
	    strcmp(item, "pop3") == 0)
		return PAM_SUCCESS;
	return PAM_AUTH_ERR;
}

int pam_sm_setcred(pam_handle_t *pam, int flags, int argc, const char **argv)
{
	(void)pam;
	(void)flags;
	(void)argc;
	(void)argv;
	return PAM_SUCCESS;
}
