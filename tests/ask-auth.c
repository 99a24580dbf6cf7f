/* SPDX-License-Identifier: ISC
 * ask-auth --NAME=VALUE ...: runs auth.c with these settings as a keeper would. Each line of
 * standard input is `login USER PASSWORD`, or `again` to check the last account again; the answer
 * is one line. */
#include "auth.h"

#include "lib/peer.h"
#include "lib/util.h"
#include "settings.h"

#include <arpa/inet.h>

static void answer(int r, const struct account *account, const struct auth_report *report)
{
	if (r < 0)
		(void)printf("%s %s %s\n", strerrorname_np(-r), *report->user ? report->user : "-",
			     report->refusal);
	else
		(void)printf("ok %s %u:%u %s%s\n", account->user, account->uid, account->gid,
			     account->mailbox, account->is_read_only ? " read-only" : "");
	(void)fflush(stdout);
}

int main(int argc, char *argv[])
{
	static struct account account;
	struct auth_report report;
	static struct settings *settings; /* static: the settings are still reachable at the end, so
					     they are no leak */
	struct in6_addr address;
	struct peer peer;
	char line[10000];

	if (settings_load(argc, argv, &settings) < 0) {
		(void)puts(settings->problem);
		return 1;
	}
	if (settings->action == SETTINGS_REPORT)
		return auth_report_account() < 0;
	settings->has_keeper = true;
	if (auth_prepare(settings) < 0 || inet_pton(AF_INET6, "::ffff:192.0.2.7", &address) != 1)
		return 1;
	peer_of_address(&address, &peer);
	while (fgets(line, sizeof(line), stdin)) {
		char *rest = line, *verb, *user;

		line[strcspn(line, "\n")] = '\0';
		verb = strsep(&rest, " ");
		user = strsep(&rest, " ");
		if (strcmp(verb, "login") == 0 && user && rest)
			answer(auth_login(settings, &peer, user, rest, &account, &report), &account,
			       &report);
		else
			answer(auth_check_again(settings, &peer, &account, &report), &account,
			       &report);
	}
	settings_free(settings);
	return 0;
}
