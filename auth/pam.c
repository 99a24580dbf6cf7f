/* SPDX-License-Identifier: ISC
 * PAM, a module of its own. The password comes from a stranger: this runs before login. */
#include "auth/backend.h"

#include "lib/util.h"

#include <security/pam_appl.h>

/* Answers one question that nobody may read over a shoulder: the password. Whatever else is asked,
 * a second password or a code, nobody is there to tell. */
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

/* The keeper delays answers, and nothing else may: there are others to be checked. */
static void no_delay(int result, unsigned us, void *context)
{
	(void)result;
	(void)us;
	(void)context;
}

/* Returns what PAM says, or PAM_PERM_DENIED if it would let in somebody else. */
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

/* Results that are about the user; others are about PAM. */
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
	const char *unused = password; /* so far */
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
