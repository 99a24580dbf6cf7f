/* SPDX-License-Identifier: ISC
 * The passwd-file. A crypt(3) string can make its check slow, so no password is checked if the file
 * may have a costly one. */
#include "auth.h"

#include "fuzz.h"
#include "lib/peer.h"
#include "log.h"
#include "settings.h"

#include <errno.h>
#include <strings.h>

static const struct peer peer = { .text = "local", .is_local = true };

static void try_user(struct settings *settings, const char *user, const char *password)
{
	struct account account = { 0 };
	struct auth_report report;
	char by_name[] = "/mail/%d/%n", in_home[] = "%h/Maildir";
	int r;

	settings->mailbox = by_name;
	r = auth_login(settings, &peer, user, NULL, &account, &report);
	FUZZ_CHECK(r == 0 || r == -EKEYREJECTED || r == -ENXIO);
	if (r == 0) {
		size_t octets = strlen(user);

		FUZZ_CHECK(strncasecmp(account.user, user, octets) == 0);
		FUZZ_CHECK(!account.user[octets] || account.user[octets] == '@');
		FUZZ_CHECK(strcmp(account.user, report.user) == 0);
		FUZZ_CHECK(*account.mailbox);
		FUZZ_CHECK(auth_check_again(settings, &peer, &account, &report) == 0);
	}
	settings->mailbox = in_home;
	r = password ? auth_login(settings, &peer, user, password, &account, &report) : -ENXIO;
	FUZZ_CHECK(r == 0 || r == -EKEYREJECTED || r == -ENXIO);
}

static int check_root(void *context, const char *path)
{
	(void)context;
	FUZZ_CHECK(path[0] == '/' && path[1]);
	return 0;
}

static const char *test_mailbox(void *context, const struct account *account, bool is_read_only)
{
	(void)context;
	FUZZ_CHECK(*account->mailbox); /* without a keeper it may be relative */
	return is_read_only ? "read-only" : NULL;
}

/* Whether a check of a password in this file may take long. */
static bool is_costly(const char *text, size_t octets)
{
	return memchr(text, '$', octets) || memchr(text, '_', octets) ||
	       memchr(text, ',', octets) || memmem(text, octets, ".B", 2) ||
	       memmem(text, octets, ".b", 2) || memmem(text, octets, ".H", 2) ||
	       memmem(text, octets, ".h", 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	char users[FUZZ_PATH_OCTETS], *all_users[] = { users, NULL }, by_name[] = "/mail/%d/%n",
				      in_home[] = "%h/Maildir";
	char domain[] = "example.org";
	struct settings settings = { .users = all_users,
				     .mailbox = by_name,
				     .default_domain = domain };
	struct auth_report report;
	int fd = fuzz_file(data, octets, users);
	char *text = fuzz_string(data, octets);

	log_limit(NULL); /* limits the lines about findings */
	(void)auth_check_files(&settings, test_mailbox, NULL);
	FUZZ_CHECK(auth_find_roots(&settings, check_root, NULL, &report) == 0);
	FUZZ_CHECK(report.malformed_line > 0 || report.malformed_lines == 0);
	settings.mailbox = in_home;
	FUZZ_CHECK(auth_find_roots(&settings, check_root, NULL, &report) == 0);
	try_user(&settings, "alice", is_costly(text, octets) ? NULL : "apple");
	text[strcspn(text, ":")] = '\0'; /* the first user of the file */
	try_user(&settings, text, NULL);
	free(text);
	(void)close(fd);
	return 0;
}
