/* SPDX-License-Identifier: ISC
 * The passwd-file. crypt(3) is not ours, and as slow as its string says: where one may be costly,
 * no password is checked. */
#include "auth.h"

#include "fuzz.h"

#include <errno.h>

static void check_account(const struct account *account, const char *user)
{
	FUZZ_CHECK(strcmp(account->user, user) == 0);
	FUZZ_CHECK(account->mailbox && *account->mailbox);
}

static void try_user(const char *users, const char *user, const char *password)
{
	struct account *account = NULL;
	struct auth_report report;
	int r;

	r = auth_find(users, "/mail/%d/%n", user, &account, &report);
	FUZZ_CHECK(r == 0 || r == -EKEYREJECTED || r == -ENXIO);
	if (r == 0) {
		check_account(account, user);
		FUZZ_CHECK(auth_check_again(users, "/mail/%d/%n", account, &report) == 0);
		auth_free(account);
	}
	account = NULL;
	r = password ? auth_login(users, "%h/Maildir", user, password, &account, &report) : -ENXIO;
	FUZZ_CHECK(r == 0 || r == -EKEYREJECTED || r == -ENXIO);
	auth_free(account);
}

static int check_root(void *context, const char *path)
{
	(void)context;
	FUZZ_CHECK(path[0] == '/' && path[1]);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	char users[FUZZ_PATH_OCTETS];
	struct auth_report report;
	int fd = fuzz_file(data, octets, users);
	bool costs = memchr(data, '$', octets) || memchr(data, '_', octets);
	char *text = fuzz_string(data, octets);

	FUZZ_CHECK(auth_check_file(users, &report) == 0);
	FUZZ_CHECK(report.malformed_line > 0 || report.malformed_lines == 0);
	FUZZ_CHECK(auth_find_roots(users, "%h/Maildir", check_root, NULL, &report) == 0);
	FUZZ_CHECK(auth_find_roots(users, "/mail/%d/%n", check_root, NULL, &report) == 0);
	try_user(users, "alice", costs ? NULL : "apple");
	text[strcspn(text, ":")] = '\0'; /* the first user of the file */
	try_user(users, text, NULL);
	free(text);
	(void)close(fd);
	return 0;
}
