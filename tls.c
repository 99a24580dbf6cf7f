/* SPDX-License-Identifier: ISC
 *
 * TLS by GnuTLS: a module that tls/load.c loads. The files are the administrator's: trusted, but
 * not free of mistakes. All that comes from the client is a stranger's, and most of this runs
 * before login. */
#include "tls.h"

#include "lib/util.h"
#include "tls/certificates.h"
#include "tls/ticket-key.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>

#define NAME_OCTETS_MAX 320 /* of a client's name: an e-mail address (RFC 3696 errata) */
#define NAMES_MAX 8	    /* of a client */
#define PROBLEM_OCTETS 200
#define FLIGHT_OCTETS 8192 /* space for a chain of certificates */
#define ALERT_OCTETS 7	   /* a whole record with an alert that is not encrypted */
/* A client that polls once in this time resumes, unless the key has changed meanwhile. */
#define TICKET_LIFETIME_S 43200

struct tls {
	struct tls_options options;
	struct certificates certificates;
};

struct tls_session {
	struct tls *tls; /* only until the handshake is over */
	struct tls_io io;
	gnutls_session_t session;
	int io_error; /* what read_some or write_some said last, if it was a failure */
	unsigned char last[ALERT_OCTETS]; /* received */
	bool has_read, is_tls;		  /* whether the first octet was one that TLS begins with */
	bool is_agreed;			  /* the handshake itself is done */
	char problem[PROBLEM_OCTETS];
	char *names[NAMES_MAX + 1];
};

/* ---- What a service serves TLS with ---- */

const char *tls_system_file(void)
{
	const char *given = secure_getenv("GNUTLS_SYSTEM_PRIORITY_FILE");

	/* The library looks at the environment, too, but not before it is initialised. */
	return given ? given : gnutls_get_system_config_file();
}

int tls_load(struct tls *tls)
{
	return certificates_load(&tls->certificates);
}

int tls_new(const struct tls_options *options, struct tls **ret)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return -ENOMEM;
	tls->options = *options;
	tls->certificates.options = &tls->options;
	*ret = tls;
	return 0;
}

struct tls *tls_free(struct tls *tls)
{
	if (tls)
		certificates_unload(&tls->certificates);
	free(tls);
	return NULL;
}

/* ---- One connection ---- */

enum { CONTENT_ALERT = 21, CONTENT_HANDSHAKE = 22 }; /* RFC 8446 section 5.1 */

/* Keeps what may tell later why a handshake failed. */
static void note_octets(struct tls_session *session, const unsigned char *octets, size_t count)
{
	if (count > 0 && !session->has_read) {
		session->has_read = true;
		session->is_tls = *octets == CONTENT_HANDSHAKE || *octets == CONTENT_ALERT;
	}
	if (count > ALERT_OCTETS) {
		octets += count - ALERT_OCTETS;
		count = ALERT_OCTETS;
	}
	memmove(session->last, session->last + count, ALERT_OCTETS - count);
	memcpy(session->last + ALERT_OCTETS - count, octets, count);
}

/* Tells GnuTLS what the transport has said, and keeps it for turn_error(). */
static ssize_t note_io(struct tls_session *session, ssize_t n)
{
	if (n >= 0)
		return n;
	session->io_error = (int)n;
	gnutls_transport_set_errno(session->session, (int)-n);
	return -1;
}

static ssize_t pull(gnutls_transport_ptr_t context, void *space, size_t octets)
{
	struct tls_session *session = context;
	ssize_t n = session->io.read_some(session->io.context, space, octets);

	if (n >= 0)
		note_octets(session, space, (size_t)n);
	return note_io(session, n);
}

/* Writes a flight of handshake messages in one piece, as far as there is space: so that it goes out
 * in few packets, and no client has hung up before it has seen all of it. */
static ssize_t push(gnutls_transport_ptr_t context, const giovec_t *pieces, int count)
{
	struct tls_session *session = context;
	const void *octets = pieces[0].iov_base;
	size_t size = pieces[0].iov_len;
	char gathered[FLIGHT_OCTETS];

	if (count > 1 && size < sizeof(gathered)) {
		size = 0;
		for (int i = 0; i < count && pieces[i].iov_len <= sizeof(gathered) - size; i++) {
			memcpy(gathered + size, pieces[i].iov_base, pieces[i].iov_len);
			size += pieces[i].iov_len;
		}
		octets = gathered;
	}
	return note_io(session, session->io.write_some(session->io.context, octets, size));
}

/* What a failure of GnuTLS means to our callers. */
static int turn_error(const struct tls_session *session, int error)
{
	switch (error) {
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
		return session->io_error;
	case GNUTLS_E_PREMATURE_TERMINATION:
		return -ECONNRESET;
	case GNUTLS_E_MEMORY_ERROR:
		return -ENOMEM;
	default:
		/* Others that are not fatal, a warning for instance, are over with the next octets.
		 */
		return gnutls_error_is_fatal(error) ? -EPROTO : -EAGAIN;
	}
}

/* Chooses the certificate for the name that the client has asked for, once that is known. */
static int choose_certificate(gnutls_session_t gnutls)
{
	const struct tls_session *session = gnutls_session_get_ptr(gnutls);
	const struct certificate *certificate;
	char name[SERVER_NAME_OCTETS_MAX + 1];
	size_t size = sizeof(name);
	unsigned type;

	if (gnutls_server_name_get(gnutls, name, &size, &type, 0) < 0 || type != GNUTLS_NAME_DNS)
		return 0;
	certificate = certificates_find(&session->tls->certificates, name);
	if (!certificate)
		return 0;
	return gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE, certificate->credentials);
}

static int set_up_gnutls(struct tls_session *session)
{
	static unsigned char protocol[] = "pop3";
	const gnutls_datum_t alpn = { .data = protocol, .size = sizeof(protocol) - 1 };
	const struct tls *tls = session->tls;
	gnutls_session_t gnutls = session->session;
	int r = gnutls_priority_set(gnutls, tls->certificates.priority);

	if (r >= 0)
		r = gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE,
					   tls->certificates.list[0].credentials);
	/* A client that asks for another protocol has been led here by somebody. */
	if (r >= 0)
		r = gnutls_alpn_set_protocols(gnutls, &alpn, 1, GNUTLS_ALPN_MANDATORY);
	if (tls->options.client_ca)
		gnutls_certificate_server_set_request(gnutls, GNUTLS_CERT_REQUEST);
	gnutls_db_set_cache_expiration(gnutls, TICKET_LIFETIME_S);
	gnutls_session_set_ptr(gnutls, session);
	gnutls_handshake_set_post_client_hello_function(gnutls, choose_certificate);
	gnutls_handshake_set_timeout(gnutls, GNUTLS_INDEFINITE_TIMEOUT); /* our caller has one */
	gnutls_transport_set_ptr(gnutls, session);
	gnutls_transport_set_pull_function(gnutls, pull);
	gnutls_transport_set_vec_push_function(gnutls, push);
	return r;
}

/* Without a key that other processes have too, a ticket would be of no use. */
static int make_session(struct tls_session *session)
{
	unsigned char key[TICKET_KEY_OCTETS];
	const gnutls_datum_t datum = { .data = key, .size = sizeof(key) };
	int key_error = ticket_key_find(key);
	unsigned tickets = key_error < 0 ? GNUTLS_NO_TICKETS : GNUTLS_NO_AUTO_SEND_TICKET;
	int r = gnutls_init(&session->session, GNUTLS_SERVER | GNUTLS_NONBLOCK | tickets);

	if (key_error < 0 && key_error != -ENOENT && key_error != -EAGAIN)
		session->tls->options.complain(
			"no TLS session tickets, their key cannot be shared: %s",
			strerror(-key_error));
	if (r >= 0 && key_error == 0)
		r = gnutls_session_ticket_enable_server(session->session, &datum);
	if (r >= 0)
		r = set_up_gnutls(session);
	explicit_bzero(key, sizeof(key));
	return r < 0 ? certificates_turn_error(r) : 0;
}

int tls_session_new(struct tls *tls, const struct tls_io *io, struct tls_session **ret)
{
	struct tls_session *session;
	int r = tls_load(tls);

	if (r < 0)
		return r;
	session = calloc(1, sizeof(*session));
	if (!session)
		return -ENOMEM;
	session->tls = tls;
	session->io = *io;
	r = make_session(session);
	if (r < 0)
		(void)tls_session_free(session);
	else
		*ret = session;
	return r;
}

struct tls_session *tls_session_free(struct tls_session *session)
{
	if (session) {
		for (size_t i = 0; session->names[i]; i++)
			free(session->names[i]);
		gnutls_deinit(session->session);
	}
	free(session);
	return NULL;
}

/* ---- The handshake ---- */

/* Takes a name of the client's if it is one: a NUL in it is an attempt to be somebody else. */
static int add_name(struct tls_session *session, const char *name, size_t octets)
{
	size_t count = 0;

	while (session->names[count])
		count++;
	if (count == NAMES_MAX || octets == 0 || memchr(name, '\0', octets))
		return 0;
	session->names[count] = strndup(name, octets);
	return session->names[count] ? 0 : -ENOMEM;
}

/* Takes the e-mail addresses. In ret_has_any: whether there are any, be they of use or not. */
static int find_mail_addresses(struct tls_session *session, gnutls_x509_crt_t crt,
			       bool *ret_has_any)
{
	int r = 0;

	*ret_has_any = false;
	for (unsigned i = 0; r == 0; i++) {
		char name[NAME_OCTETS_MAX + 1];
		size_t octets = sizeof(name);
		int type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &octets, NULL);

		if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		if (type == GNUTLS_SAN_RFC822NAME)
			r = add_name(session, name, octets);
		if (type == GNUTLS_SAN_RFC822NAME || type < 0) /* or one that is too long */
			*ret_has_any = true;
	}
	return r;
}

static int find_names(struct tls_session *session, gnutls_x509_crt_t crt)
{
	char name[NAME_OCTETS_MAX + 1];
	size_t octets = sizeof(name);
	bool has_any;
	int r = find_mail_addresses(session, crt, &has_any);

	if (r == 0 && !has_any &&
	    gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &octets) ==
		    0)
		r = add_name(session, name, octets);
	return r;
}

static int find_peer_names(struct tls_session *session, const gnutls_datum_t *der)
{
	gnutls_x509_crt_t crt;
	int r = gnutls_x509_crt_init(&crt);

	if (r < 0)
		return -ENOMEM;
	r = gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER);
	r = r < 0 ? -EPROTO : find_names(session, crt);
	gnutls_x509_crt_deinit(crt);
	return r;
}

/* Finds out who the client is. In a resumed session, too: the authorities that vouched for it then
 * need not be today's. */
static int identify_client(struct tls_session *session)
{
	char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
	gnutls_typed_vdata_st data = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
				       /* cppcheck-suppress legacyUninitvar */
				       .data = (unsigned char *)purpose };
	unsigned count = 0, status = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session->session, &count);
	gnutls_datum_t text = { 0 };
	int r;

	if (!session->tls->options.client_ca || !chain || count == 0)
		return 0;
	r = gnutls_certificate_verify_peers(session->session, &data, 1, &status);
	if (r >= 0 && status == 0)
		return find_peer_names(session, &chain[0]);
	if (r >= 0)
		r = gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
	(void)snprintf(session->problem, sizeof(session->problem), "%s",
		       r < 0 ? gnutls_strerror(r) : (const char *)text.data);
	gnutls_free(text.data);
	return 0;
}

/* The alert that the client gave up with, or -1. OpenSSL does not encrypt what it has to say of our
 * certificate when we expect it to, so that GnuTLS takes it for noise. */
static int client_alert(const struct tls_session *session, int error)
{
	const unsigned char *last = session->last;

	if (error == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return (int)gnutls_alert_get(session->session);
	if (last[0] == CONTENT_ALERT && last[3] == 0 && last[4] == 2 && last[5] == GNUTLS_AL_FATAL)
		return last[6];
	return -1;
}

static const char *describe_alert(int alert)
{
	bool is_about_certificate =
		(alert >= GNUTLS_A_BAD_CERTIFICATE && alert <= GNUTLS_A_CERTIFICATE_UNKNOWN) ||
		alert == GNUTLS_A_UNKNOWN_CA;

	return is_about_certificate ? "the client rejected the certificate" : "the client gave up";
}

static const char *describe_error(const struct tls_session *session, int error)
{
	switch (error) {
	case GNUTLS_E_PREMATURE_TERMINATION:
	case GNUTLS_E_SESSION_EOF:
		return "the client closed the connection";
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
		if (session->io_error == -ECONNRESET || session->io_error == -EPIPE)
			return "the client closed the connection";
		return strerror(-session->io_error);
	case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
		return "no TLS version in common";
	case GNUTLS_E_NO_CIPHER_SUITES:
	case GNUTLS_E_INSUFFICIENT_CREDENTIALS:
		return "no cipher suite in common";
	case GNUTLS_E_NO_COMMON_KEY_SHARE:
		return "no group in common for the key exchange";
	case GNUTLS_E_NO_APPLICATION_PROTOCOL:
		return "the client asks for another protocol than POP3 (ALPN)";
	default:
		return gnutls_strerror(error);
	}
}

/* Why a handshake failed, for an administrator. */
static void note_problem(struct tls_session *session, int error)
{
	int alert = client_alert(session, error);
	const char *name = alert < 0 ? NULL : gnutls_alert_get_name((unsigned)alert);

	if (session->has_read && !session->is_tls)
		(void)snprintf(session->problem, sizeof(session->problem),
			       "what the client sent is not TLS");
	else if (alert >= 0)
		(void)snprintf(session->problem, sizeof(session->problem), "%s: %s (alert %d)",
			       describe_alert(alert), name ? name : "unknown alert", alert);
	else
		(void)snprintf(session->problem, sizeof(session->problem), "%s",
			       describe_error(session, error));
}

/* After the handshake nobody shall find the keys in this process. What else it needed stays: a
 * listener's session has it in common with others, and to free it would first copy it. */
static void forget_keys(struct tls_session *session)
{
	gnutls_credentials_clear(session->session);
	certificates_forget_keys(&session->tls->certificates);
	session->tls = NULL;
}

/* Goes on with the handshake, and with the ticket that comes after it in TLS 1.3: one, for POP3
 * clients open one connection at a time. */
static int go_on(struct tls_session *session)
{
	gnutls_session_t gnutls = session->session;
	int r = session->is_agreed ? 0 : gnutls_handshake(gnutls);

	if (r < 0)
		return r;
	session->is_agreed = true;
	if (gnutls_protocol_get_version(gnutls) < GNUTLS_TLS1_3)
		return 0;
	return gnutls_session_ticket_send(gnutls, 1, 0);
}

int tls_session_handshake(struct tls_session *session)
{
	int r = go_on(session);
	int error;

	if (r >= 0) {
		r = identify_client(session);
		forget_keys(session);
		return r;
	}
	error = turn_error(session, r);
	if (error == -EAGAIN)
		return error;
	note_problem(session, r);
	if (error == -EPROTO && client_alert(session, r) < 0 && session->is_tls)
		(void)gnutls_alert_send_appropriate(session->session, r);
	return error;
}

const char *tls_session_problem(const struct tls_session *session)
{
	return *session->problem ? session->problem : NULL;
}

const char *const *tls_session_names(const struct tls_session *session)
{
	return (const char *const *)session->names;
}

/* ---- After the handshake ---- */

const char *tls_session_version(const struct tls_session *session)
{
	const char *name = gnutls_protocol_get_name(gnutls_protocol_get_version(session->session));

	return name ? name : "unknown";
}

ssize_t tls_session_read(struct tls_session *session, void *space, size_t octets)
{
	ssize_t n = gnutls_record_recv(session->session, space, octets);
	int error;

	if (n >= 0)
		return n;
	error = n == GNUTLS_E_REHANDSHAKE ? -EPROTO : turn_error(session, (int)n);
	if (error == -EPROTO && n != GNUTLS_E_FATAL_ALERT_RECEIVED)
		(void)gnutls_alert_send_appropriate(session->session, (int)n);
	return error;
}

bool tls_session_holds_octets(const struct tls_session *session)
{
	return gnutls_record_check_pending(session->session) > 0;
}

ssize_t tls_session_write(struct tls_session *session, const void *octets, size_t count)
{
	ssize_t n = gnutls_record_send(session->session, octets, count);

	return n < 0 ? turn_error(session, (int)n) : n;
}

size_t tls_session_record_octets(const struct tls_session *session)
{
	return gnutls_record_get_max_size(session->session);
}

int tls_session_close(struct tls_session *session)
{
	int r = gnutls_bye(session->session, GNUTLS_SHUT_WR);

	return r < 0 ? turn_error(session, r) : 0;
}

bool tls_session_wants_write(const struct tls_session *session)
{
	return gnutls_record_get_direction(session->session) == 1;
}

/* ---- The module ---- */

/* All that others see of it. */
__attribute__((visibility("default"))) extern const struct tls_functions tls_functions;

const struct tls_functions tls_functions = {
	.new = tls_new,
	.free = tls_free,
	.load = tls_load,
	.system_file = tls_system_file,
	.session_new = tls_session_new,
	.session_free = tls_session_free,
	.session_handshake = tls_session_handshake,
	.session_problem = tls_session_problem,
	.session_names = tls_session_names,
	.session_version = tls_session_version,
	.session_read = tls_session_read,
	.session_holds_octets = tls_session_holds_octets,
	.session_write = tls_session_write,
	.session_record_octets = tls_session_record_octets,
	.session_close = tls_session_close,
	.session_wants_write = tls_session_wants_write,
};

/* The library would initialise itself when it is loaded; with STLS, few sessions need that. It
 * looks for this. */
__attribute__((visibility("default"))) int _gnutls_global_init_skip(void); /* NOLINT */

int _gnutls_global_init_skip(void) /* NOLINT */
{
	return 1;
}
