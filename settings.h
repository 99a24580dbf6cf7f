/* SPDX-License-Identifier: ISC
 * The settings, read from the command line, a settings file and systemd's credentials. */
#pragma once

#include "lib/peer.h"

#include <stdio.h>

/* Limits of one listener. */
#define SETTINGS_SESSIONS_MAX 65536
#define SETTINGS_SOCKETS_MAX 16

/* LOCAL: from a client on this machine (struct peer). */
enum settings_plaintext_auth { PLAINTEXT_NEVER, PLAINTEXT_LOCAL, PLAINTEXT_ALWAYS };

enum settings_tls {
	TLS_UNSET, /* only while settings_load() runs */
	TLS_OFF,
	TLS_STARTTLS, /* from STLS on */
	TLS_IMPLICIT, /* from the first octet */
};

enum settings_sandbox { SANDBOX_OFF, SANDBOX_ON, SANDBOX_REQUIRED };

enum settings_action {
	SETTINGS_SERVE,
	SETTINGS_CHECK,
	SETTINGS_HELP,
	SETTINGS_VERSION,
	SETTINGS_TAKE_OVER,
	SETTINGS_REPORT, /* auth_report_account(), run by a checkpassword program */
};

struct settings {
	/* A member that is a list (char **) ends in NULL. */
	enum settings_action action;
	char problem[2048]; /* the first mistake, as a line for the log; "": none */
	char *user;	    /* the user that root becomes; NULL: root needs a keeper */
	unsigned keeper;    /* 0: no, 1: auto */
	bool has_keeper;    /* a keeper checks accounts; set by main, not by settings_load() */
	char **auth;	    /* backends, see auth.c; NULL: passwd-file */
	char **users;	    /* paths of passwd-files; NULL: none */
	char *mail_user;    /* the system user of accounts without a uid */
	unsigned first_valid_uid;
	char *default_domain; /* NULL: none */
	char *mailbox;	      /* a template, see lib/path-template.h */
	char **mail_root;     /* paths; NULL: see auth_find_roots() */
	enum settings_sandbox sandbox;
	enum settings_tls tls;
	/* Names of credentials that would be used if CREDENTIALS_DIRECTORY were set. */
	char unseen[sizeof("users, tls-cert, tls-key")];
	/* Key n belongs to certificate n. No keys: the files of the certificates have them. */
	char **tls_cert, **tls_key, **tls_ocsp;
	char *tls_client_ca; /* NULL: none */
	char *tls_priority;  /* NULL: see tls/certificates.h */
	enum settings_plaintext_auth plaintext_auth;
	unsigned read_only, keep_new, log_deletions; /* 0: no, 1: yes */
	char *unique_ids_from;			     /* see lib/uidl-source.h; NULL: none */
	unsigned login_timeout_s, idle_timeout_s, sleep_timeout_s, login_penalty_s;
	char **listen;		 /* see settings_parse_endpoint(); NULL: inherited sockets */
	char **trusted_networks; /* see lib/peer.h; NULL: none */
	/* Limits of the listener. */
	unsigned max_sessions, max_logins, max_sessions_per_source, max_sleeping_per_user;
	/* Options of SETTINGS_TAKE_OVER. */
	bool is_dry_run, may_lack_list;
	char **names;	     /* of accounts; NULL: see takeover.c */
	const char *control; /* a path template, borrowed; NULL: none */
};

/* Reads the command line, and the settings file that it names. `users`, `tls-cert` and `tls-key`
 * default to systemd's credentials. The caller frees *ret in any case. Returns 0, or:
 *   -EINVAL   a mistake on the command line, see `problem`
 *   -EBADMSG  a mistake in the file or among credentials, or a file that cannot be read
 *   -ENOMEM   *ret may be NULL */
int settings_load(int argc, char *argv[], struct settings **ret);

/* Parses one item of `listen`, "127.0.0.1:110" or "[::1]:110". Returns 0 or -EINVAL. */
int settings_parse_endpoint(const char *text, union peer_endpoint *ret);

/* Returns the path in an argument `--config=PATH`, or NULL for any other argument. */
const char *settings_config_path(const char *argument);

/* Returns a copy of the user name, with the default domain added if it has no "@". The caller frees
 * it. NULL: out of memory. */
char *settings_add_domain(const struct settings *settings, const char *user);

/* Whether an address is in trusted_networks. A client without an internet address has "::". */
bool settings_is_trusted(const struct settings *settings, const struct in6_addr *address);

/* The limit of sessions for clients of trusted_networks, or for others. An eighth of max_sessions
 * is for the former only: sessions that claim to have logged in must not keep them out. */
unsigned settings_max_sessions(const struct settings *settings, bool is_trusted);

/* Frees the settings. Accepts NULL. */
void settings_free(struct settings *settings);

/* Prints the options and every setting with its default. */
void settings_print_help(FILE *stream);
