/* SPDX-License-Identifier: ISC
 * The settings: their names, defaults and meaning, from the command line and from a file. */
#pragma once

#include "lib/peer.h"

#include <stdio.h>

/* Of a listener. */
#define SETTINGS_SESSIONS_MAX 65536
#define SETTINGS_SOCKETS_MAX 16

/* LOCAL: not over a network. */
enum settings_plaintext_auth { PLAINTEXT_NEVER, PLAINTEXT_LOCAL, PLAINTEXT_ALWAYS };

enum settings_tls {
	TLS_UNSET, /* only inside settings_load() */
	TLS_OFF,
	TLS_STARTTLS, /* offered with STLS */
	TLS_IMPLICIT, /* from the first octet */
};

enum settings_sandbox { SANDBOX_OFF, SANDBOX_ON, SANDBOX_REQUIRED };

enum settings_action {
	SETTINGS_SERVE,
	SETTINGS_CHECK,
	SETTINGS_HELP,
	SETTINGS_VERSION,
	SETTINGS_TAKE_OVER,
	SETTINGS_REPORT, /* see auth_report_account() */
};

struct settings {
	enum settings_action action;
	char problem[2048]; /* a mistake, as a line for the log; empty: there is none */
	char *user;	    /* to become if started as root; NULL: that is refused */
	unsigned keeper;    /* 0: use none, 1: use one if that is possible */
	bool has_keeper;    /* a keeper looks up accounts; set by main, not from here */
	char **auth;	    /* list that ends in NULL, see auth.c; NULL: passwd-file */
	char **users;	    /* passwd-files, a list that ends in NULL; NULL: there is none */
	char *mail_user;    /* whom accounts without a user of their own belong to */
	unsigned first_valid_uid;
	char *default_domain; /* NULL: none */
	char *mailbox;	      /* template, see lib/path-template.h */
	char **mail_root;     /* list of paths that ends in NULL; NULL: see auth_find_roots() */
	enum settings_sandbox sandbox;
	enum settings_tls tls;
	/* Credentials that would count, but systemd has given none. */
	char unseen[sizeof("users, tls-cert, tls-key")];
	/* Lists that NULL ends. The nth key is the nth certificate's; no keys: those have them. */
	char **tls_cert, **tls_key, **tls_ocsp;
	char *tls_client_ca; /* NULL: none */
	char *tls_priority;  /* NULL: see tls/certificates.h */
	enum settings_plaintext_auth plaintext_auth;
	unsigned read_only, keep_new, log_deletions; /* 0: no, 1: yes */
	char *unique_ids_from;			     /* see lib/uidl-source.h; NULL: none */
	unsigned login_timeout_s, idle_timeout_s, sleep_timeout_s, login_penalty_s;
	char **listen; /* list that ends in NULL; NULL: inherited sockets */
	/* Limits of the listener. */
	char **trusted_networks; /* list that ends in NULL, see lib/peer.h; NULL: none */
	unsigned max_sessions, max_logins, max_sessions_per_source, max_sleeping_per_user;
	/* Of SETTINGS_TAKE_OVER. */
	bool is_dry_run, may_lack_list;
	char **names;	     /* list that ends in NULL; NULL: see takeover.c */
	const char *control; /* template of a path, borrowed; NULL: none */
};

/* Reads the command line and the file that it names; users, certificates and keys that neither
 * names may be systemd's credentials. The caller frees *ret in any case. Returns 0, or:
 *   -EINVAL   a mistake on the command line, see `problem`
 *   -EBADMSG  likewise in the file, or it cannot be read
 *   -ENOMEM   *ret may be NULL */
int settings_load(int argc, char *argv[], struct settings **ret);

/* Reads one of `listen`: "127.0.0.1:110" or "[::1]:110". Returns 0 or -EINVAL. */
int settings_parse_endpoint(const char *text, union peer_endpoint *ret);

/* The path in an argument `--config=PATH`; NULL if it is something else. */
const char *settings_config_path(const char *argument);

/* A user name with the default domain, if it has none. The caller frees it. NULL: no memory. */
char *settings_add_domain(const struct settings *settings, const char *user);

/* Takes NULL. */
void settings_free(struct settings *settings);

/* Prints how the program is called, with every setting and its default. */
void settings_print_help(FILE *stream);
