/* SPDX-License-Identifier: ISC
 * PAM, built as a module. The password is untrusted: this runs before login. */
#include "auth/backend.h"

#include "lib/util.h"

#include <security/pam_appl.h>

/* Answers the first prompt without echo: with the password. Fails at any other prompt, such as for
 * a second password or a code, because POP3 cannot show it to the user. */
static int answer(int count, const struct pam_message **messages, struct pam_response **ret,
		  void *context)
{
	const char **password = context;
	struct pam_response *responses = calloc((size_t)count, sizeof(*responses));
	bool is_good = responses != NULL;

	for (int i = 0; i < count && is_good; i++) {
		int style = messages[i]->msg_style;

		if (style == PAM_ERROR_MSG || style == PAM_TEXT_INFO)
			continue;
		if (style == PAM_PROMPT_ECHO_OFF && *password)
			responses[i].resp = strdup(take_ptr(*password));
		is_good = responses[i].resp != NULL;
	}
	for (int i = 0; i < count && responses && !is_good; i++)
		util_wipe(&responses[i].resp);
	if (is_good)
		*ret = responses;
	else
		free(responses);
	return is_good ? PAM_SUCCESS : PAM_CONV_ERR;
}

/* Replaces the sleep of pam_fail_delay(3): only the keeper delays answers, and checkers are few. */
static void no_delay(int result, unsigned us, void *context)
{
	(void)result;
	(void)us;
	(void)context;
}

/* Returns the result of PAM, or PAM_PERM_DENIED if a module has changed the user name. */
static int run_pam(pam_handle_t *pam, const char *user, const char *password, const char *address)
{
	const int flags = PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK;
	const void *name = NULL;
	int r = pam_set_item(pam, PAM_RHOST, address)				  ?:
			pam_set_item(pam, PAM_TTY, "pop3")			  ?:
			pam_set_item(pam, PAM_FAIL_DELAY, (const void *)no_delay) ?:
			(password ? pam_authenticate(pam, flags) : PAM_SUCCESS)	  ?:
			pam_acct_mgmt(pam, flags)				  ?:
			pam_get_item(pam, PAM_USER, &name);

	return r == PAM_SUCCESS && (!name || strcmp(name, user) != 0) ? PAM_PERM_DENIED : r;
}

/* Results that refuse the user. Any other is a failure of PAM. */
#define BIT(result) (UINT64_C(1) << (result))
#define REFUSALS                                                                        \
	(BIT(PAM_ACCT_EXPIRED) | BIT(PAM_AUTH_ERR) | BIT(PAM_AUTHTOK_ERR) |             \
	 BIT(PAM_AUTHTOK_EXPIRED) | BIT(PAM_AUTHTOK_RECOVERY_ERR) | BIT(PAM_CONV_ERR) | \
	 BIT(PAM_CRED_EXPIRED) | BIT(PAM_MAXTRIES) | BIT(PAM_NEW_AUTHTOK_REQD) |        \
	 BIT(PAM_PERM_DENIED) | BIT(PAM_USER_UNKNOWN))

__attribute__((visibility("default"))) pam_checker pam_check_user;

int pam_check_user(const char *service, const char *user, const char *password, const char *address,
		   char *ret_reason)
{
	const char *unused = password; /* NULL after answer() has used it */
	const struct pam_conv conversation = { answer, &unused };
	pam_handle_t *pam = NULL;
	int r = pam_start(service, user, &conversation, &pam) ?:
								run_pam(pam, user, password, address);

	if (r != PAM_SUCCESS)
		(void)snprintf(ret_reason, AUTH_REASON_OCTETS, "PAM: %s", pam_strerror(pam, r));
	if (pam)
		(void)pam_end(pam, r);
	return r == PAM_SUCCESS ? 0 : REFUSALS & BIT(r) ? -EKEYREJECTED : -EIO;
}
