/* SPDX-License-Identifier: ISC
 * TLS by GnuTLS: a module that tls/load.c loads. Clients are untrusted: most runs before login. */
#include "tls.h"

#include "lib/util.h"
#include "settings.h"
#include "tls/certificates.h"
#include "tls/signing.h"
#include "tls/ticket-key.h"

#include <endian.h>
#include <gnutls/crypto.h>
#include <malloc.h>

#define NAME_OCTETS_MAX 320 /* of a client's name: an e-mail address (RFC 3696 section 3) */
#define NAMES_MAX 8	    /* of a client */
#define PROBLEM_OCTETS 200
#define FLIGHT_OCTETS 8192	/* fits a chain of certificates; less than a record */
#define ALERT_OCTETS 7		/* a record with an unencrypted alert */
#define TICKET_LIFETIME_S 43200 /* a client that polls at least this often resumes */
#define TICKET_PERIOD_S 129600	/* three times as long: GnuTLS then derives a new key */

struct tls_stream {
	struct stream stream;
	struct stream *below;
	struct tls_service *service; /* and `ticket`: until the handshake ends */
	struct {
		uint64_t period; /* number of a period, see wipe_ticket_keys() */
		unsigned char key[TLS_TICKET_KEY_OCTETS];
	} ticket;
	gnutls_session_t gnutls;
	int io_error;			  /* last error of `below` */
	unsigned char last[ALERT_OCTETS]; /* the last octets received */
	bool has_read, is_tls;		  /* is_tls: the first octet began a record */
	bool is_agreed;			  /* gnutls_handshake(3) has succeeded */
	char problem[PROBLEM_OCTETS];	  /* text of stream.tls_problem */
	char names[NAMES_MAX][NAME_OCTETS_MAX + 1];
	const char *client_names[NAMES_MAX + 1]; /* the valid ones of `names` */
};

/* ---- One connection ---- */

enum { CONTENT_ALERT = 21, CONTENT_HANDSHAKE = 22 }; /* RFC 8446 section 5.1 */

/* Keeps what the log will need of received octets if the handshake fails. */
static void note_octets(struct tls_stream *stream, const unsigned char *octets, size_t count)
{
	size_t kept = MIN(count, ALERT_OCTETS);

	if (count > 0 && !stream->has_read) {
		stream->has_read = true;
		stream->is_tls = *octets == CONTENT_HANDSHAKE || *octets == CONTENT_ALERT;
	}
	memmove(stream->last, stream->last + kept, ALERT_OCTETS - kept);
	memcpy(stream->last + ALERT_OCTETS - kept, octets + count - kept, kept);
}

/* Passes a result of `below` to GnuTLS, and keeps an error for convert_error(). */
static ssize_t note_io(struct tls_stream *stream, ssize_t n)
{
	if (n >= 0)
		return n;
	stream->io_error = (int)n;
	gnutls_transport_set_errno(stream->gnutls, (int)-n);
	return -1;
}

static ssize_t pull(gnutls_transport_ptr_t context, void *space, size_t octets)
{
	struct tls_stream *stream = context;
	ssize_t n = stream->below->functions->read(stream->below, space, octets);

	if (n >= 0)
		note_octets(stream, space, (size_t)n);
	return note_io(stream, n);
}

/* Joins a flight of handshake messages into one write, as far as it fits: this takes fewer packets,
 * and no client can hang up in the middle. */
static ssize_t push(gnutls_transport_ptr_t context, const giovec_t *pieces, int count)
{
	struct tls_stream *stream = context;
	char flight[FLIGHT_OCTETS];
	giovec_t all = { .iov_base = flight };

	for (int i = 0; i < count && pieces[i].iov_len <= sizeof(flight) - all.iov_len; i++) {
		memcpy(flight + all.iov_len, pieces[i].iov_base, pieces[i].iov_len);
		all.iov_len += pieces[i].iov_len;
	}
	if (all.iov_len == 0)
		all = pieces[0];
	return note_io(stream,
		       stream->below->functions->write(stream->below, all.iov_base, all.iov_len));
}

/* Converts an error of GnuTLS to a negative errno. */
static int convert_error(struct tls_stream *stream, int error)
{
	stream->stream.wants_write = gnutls_record_get_direction(stream->gnutls) == 1;
	switch (error) {
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
		return stream->io_error;
	case GNUTLS_E_PREMATURE_TERMINATION:
		return -ECONNRESET;
	case GNUTLS_E_MEMORY_ERROR:
		return -ENOMEM;
	default:
		/* After an error that is not fatal, such as a warning alert, the caller retries. */
		return gnutls_error_is_fatal(error) ? -EPROTO : -EAGAIN;
	}
}

/* Chooses the certificate for the server name (SNI) of the ClientHello. */
static int choose_certificate(gnutls_session_t gnutls)
{
	const struct tls_stream *stream = gnutls_session_get_ptr(gnutls);
	const struct tls_service *service = stream->service;
	char name[CERTIFICATES_NAME_OCTETS_MAX + 1];
	size_t size = sizeof(name);
	unsigned type;

	if (gnutls_server_name_get(gnutls, name, &size, &type, 0) < 0 || type != GNUTLS_NAME_DNS)
		return 0;
	for (size_t i = 0; i < service->count; i++) {
		if (gnutls_x509_crt_check_hostname(service->list[i].chain[0], name))
			return gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE,
						      service->list[i].credentials);
	}
	return 0;
}

static int set_up_gnutls(struct tls_stream *stream)
{
	static unsigned char protocol[] = "pop3";
	const gnutls_datum_t alpn = { .data = protocol, .size = sizeof(protocol) - 1 };
	const struct tls_service *service = stream->service;
	gnutls_session_t gnutls = stream->gnutls;
	int r = gnutls_priority_set(gnutls, service->priority);

	r = r ?: gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE, service->list->credentials);
	/* A client that offers only other protocols may be the victim of an attack (ALPACA). */
	r = r ?: gnutls_alpn_set_protocols(gnutls, &alpn, 1, GNUTLS_ALPN_MANDATORY);
	if (service->tls.settings->tls_client_ca)
		gnutls_certificate_server_set_request(gnutls, GNUTLS_CERT_REQUEST);
	gnutls_db_set_cache_expiration(gnutls, TICKET_LIFETIME_S);
	gnutls_session_set_ptr(gnutls, stream);
	gnutls_handshake_set_post_client_hello_function(gnutls, choose_certificate);
	gnutls_handshake_set_timeout(gnutls, GNUTLS_INDEFINITE_TIMEOUT); /* the caller has one */
	gnutls_transport_set_ptr(gnutls, stream);
	gnutls_transport_set_pull_function(gnutls, pull);
	gnutls_transport_set_vec_push_function(gnutls, push);
	return r;
}

static void find_ticket_key(struct tls *tls)
{
	if (tls->ticket_key || tls->ticket_error < 0)
		return;
	tls->ticket_error = ticket_key_find(tls->ticket_directory, tls->own_ticket_key);
	if (tls->ticket_error == 0)
		tls->ticket_key = tls->own_ticket_key;
	else if (tls->ticket_error != -EAGAIN)
		complain(tls, "no TLS session tickets, their key cannot be shared in %s: %s",
			 tls->quote(tls->ticket_directory), strerror(-tls->ticket_error));
}

/* Offers tickets only if other processes have the key, too: else they cannot resume. */
static int make_session(struct tls_stream *stream)
{
	struct tls *tls = &stream->service->tls;
	const gnutls_datum_t key = { stream->ticket.key, sizeof(stream->ticket.key) };
	unsigned tickets = GNUTLS_NO_AUTO_SEND_TICKET;
	int r;

	find_ticket_key(tls);
	if (tls->ticket_key)
		memcpy(key.data, tls->ticket_key, key.size);
	else
		tickets = GNUTLS_NO_TICKETS;
	r = gnutls_init(&stream->gnutls, GNUTLS_SERVER | GNUTLS_NONBLOCK | tickets);
	if (r == 0 && tls->ticket_key)
		r = gnutls_session_ticket_enable_server(stream->gnutls, &key);
	r = r ?: set_up_gnutls(stream);
	return r < 0 ? certificates_errno(r) : 0;
}

/* ---- The handshake ---- */

/* Gets the names in a client certificate: its e-mail addresses, or its common name if there are no
 * addresses at all. Ignores a name that contains a NUL: it is an attempt at impersonation. */
static int find_names(struct tls_stream *stream, const gnutls_datum_t *der)
{
	bool has_address = false;
	char *name = stream->names[0];
	size_t count = 0, octets;
	gnutls_x509_crt_t crt;
	int type, r = gnutls_x509_crt_init(&crt);

	if (r < 0)
		return -ENOMEM;
	r = gnutls_x509_crt_import(crt, der, GNUTLS_X509_FMT_DER);
	for (unsigned i = 0; r >= 0 && count < NAMES_MAX; i++) {
		name = stream->names[count];
		octets = sizeof(stream->names[0]);
		type = gnutls_x509_crt_get_subject_alt_name(crt, i, name, &octets, NULL);
		if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		/* Negative: an address that is too long. */
		has_address |= type == GNUTLS_SAN_RFC822NAME || type < 0;
		if (type == GNUTLS_SAN_RFC822NAME && octets > 0 && strlen(name) == octets)
			stream->client_names[count++] = name;
	}
	octets = sizeof(stream->names[0]);
	if (r >= 0 && !has_address &&
	    gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &octets) ==
		    0 &&
	    octets > 0 && strlen(name) == octets)
		stream->client_names[0] = name;
	gnutls_x509_crt_deinit(crt);
	return r < 0 ? -EPROTO : 0;
}

/* Verifies the client certificate, in a resumed session, too: tls-client-ca may have changed. */
static int identify_client(struct tls_stream *stream)
{
	char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
	gnutls_typed_vdata_st data = { .type = GNUTLS_DT_KEY_PURPOSE_OID,
				       /* cppcheck-suppress legacyUninitvar */
				       .data = (unsigned char *)purpose };
	unsigned count = 0, status = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(stream->gnutls, &count);
	gnutls_datum_t text = { 0 };
	int r;

	if (!stream->service->tls.settings->tls_client_ca || !chain || count == 0)
		return 0;
	r = gnutls_certificate_verify_peers(stream->gnutls, &data, 1, &status);
	if (r >= 0 && status == 0)
		return find_names(stream, &chain[0]);
	if (r >= 0)
		r = gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &text, 0);
	(void)snprintf(stream->problem, sizeof(stream->problem), "%s",
		       r < 0 ? gnutls_strerror(r) : (const char *)text.data);
	gnutls_free(text.data);
	stream->stream.tls_problem = stream->problem;
	return 0;
}

/* Returns the fatal alert that the client sent, or -1. OpenSSL sends alerts about the server's
 * certificate unencrypted where TLS 1.3 demands encryption, so GnuTLS does not recognise them. */
static int client_alert(const struct tls_stream *stream, int error)
{
	const unsigned char *last = stream->last;

	if (error == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return (int)gnutls_alert_get(stream->gnutls);
	if (last[0] == CONTENT_ALERT && last[3] == 0 && last[4] == 2 && last[5] == GNUTLS_AL_FATAL)
		return last[6];
	return -1;
}

/* `error` is an error of GnuTLS, and `converted` its errno from convert_error(). */
static const char *describe_error(const struct tls_stream *stream, int error, int converted)
{
	if (stream->has_read && !stream->is_tls)
		return "what the client sent is not TLS";
	if (converted == -ECONNRESET || converted == -EPIPE || error == GNUTLS_E_SESSION_EOF)
		return "the client closed the connection";
	if (converted != -EPROTO)
		return strerror(-converted);
	switch (error) {
	case GNUTLS_E_UNSUPPORTED_VERSION_PACKET:
		return "no TLS version in common";
	case GNUTLS_E_NO_CIPHER_SUITES:
	case GNUTLS_E_INSUFFICIENT_CREDENTIALS:
		return "no cipher suite in common";
	case GNUTLS_E_NO_COMMON_KEY_SHARE:
		return "no group in common for the key exchange";
	case GNUTLS_E_PK_SIGN_FAILED:
		return "the keeper does not sign";
	case GNUTLS_E_NO_APPLICATION_PROTOCOL:
		return "the client asks for another protocol than POP3 (ALPN)";
	default:
		return gnutls_strerror(error);
	}
}

/* Stores why a handshake failed, for the log. */
static void note_problem(struct tls_stream *stream, int error, int converted)
{
	int alert = client_alert(stream, error);
	const char *name = alert < 0 ? NULL : gnutls_alert_get_name((unsigned)alert);
	bool is_about_certificate =
		(alert >= GNUTLS_A_BAD_CERTIFICATE && alert <= GNUTLS_A_CERTIFICATE_UNKNOWN) ||
		alert == GNUTLS_A_UNKNOWN_CA;

	if (stream->is_tls && alert >= 0)
		(void)snprintf(stream->problem, sizeof(stream->problem),
			       "the client %s: %s (alert %d)",
			       is_about_certificate ? "rejected the certificate" : "gave up",
			       name ? name : "unknown alert", alert);
	else
		(void)snprintf(stream->problem, sizeof(stream->problem), "%s",
			       describe_error(stream, error, converted));
	stream->stream.tls_problem = stream->problem;
}

/* Wipes the ticket key, and the keys that GnuTLS derives from it: for the current period and up to
 * two earlier ones. GnuTLS has no function for this and its structures are private, so this
 * searches the session's memory. The derivation is the same in GnuTLS 3.7 and 3.8 (lib/stek.c). */
static void wipe_ticket_keys(struct tls_stream *stream)
{
	unsigned char *begin = (unsigned char *)stream->gnutls, *at, key[TLS_TICKET_KEY_OCTETS];
	const unsigned char *end = begin + malloc_usable_size(begin);
	uint64_t period = (uint64_t)(time(NULL) / TICKET_PERIOD_S);

	memcpy(key, stream->ticket.key, sizeof(key));
	for (uint64_t back = 0; back <= 3; back++) {
		for (at = begin; (at = memmem(at, (size_t)(end - at), key, sizeof(key)));
		     at += sizeof(key))
			explicit_bzero(at, sizeof(key));
		stream->ticket.period = htobe64(period - back);
		(void)gnutls_hash_fast(GNUTLS_DIG_SHA3_512, &stream->ticket, sizeof(stream->ticket),
				       key);
	}
	explicit_bzero(key, sizeof(key));
	explicit_bzero(stream->ticket.key, sizeof(stream->ticket.key));
}

/* Stores the results of the handshake, and wipes the keys from this process. Frees nothing else of
 * the service: that would copy pages which are shared with the listener. */
static int end_handshake(struct tls_stream *stream)
{
	const char *version = gnutls_protocol_get_name(gnutls_protocol_get_version(stream->gnutls));
	int r = identify_client(stream);

	if (r == 0)
		stream->stream.tls_version = version ? version : "unknown";
	stream->stream.piece_octets = gnutls_record_get_max_size(stream->gnutls);
	stream->stream.has_pending = gnutls_record_check_pending(stream->gnutls) > 0;
	gnutls_credentials_clear(stream->gnutls);
	wipe_ticket_keys(stream);
	certificates_forget_keys(&stream->service->tls);
	stream->service = NULL;
	return r;
}

/* In TLS 1.3, sends one ticket afterwards: POP3 clients open one connection at a time. */
static int do_handshake(struct stream *base)
{
	struct tls_stream *stream = (struct tls_stream *)base;
	int r = stream->is_agreed ? 0 : gnutls_handshake(stream->gnutls);
	int converted;

	stream->is_agreed = r >= 0;
	if (r >= 0 && gnutls_protocol_get_version(stream->gnutls) >= GNUTLS_TLS1_3)
		r = gnutls_session_ticket_send(stream->gnutls, 1, 0);
	if (r >= 0)
		return end_handshake(stream);
	converted = convert_error(stream, r);
	if (converted == -EAGAIN)
		return converted;
	note_problem(stream, r, converted);
	if (converted == -EPROTO && client_alert(stream, r) < 0 && stream->is_tls)
		(void)gnutls_alert_send_appropriate(stream->gnutls, r);
	return converted;
}

/* ---- After the handshake ---- */

static ssize_t read_tls_record(struct stream *base, void *space, size_t octets)
{
	struct tls_stream *stream = (struct tls_stream *)base;
	ssize_t n = gnutls_record_recv(stream->gnutls, space, octets);
	int error;

	stream->stream.has_pending = gnutls_record_check_pending(stream->gnutls) > 0;
	if (n >= 0)
		return n;
	error = n == GNUTLS_E_REHANDSHAKE ? -EPROTO : convert_error(stream, (int)n);
	if (error == -EPROTO && n != GNUTLS_E_FATAL_ALERT_RECEIVED)
		(void)gnutls_alert_send_appropriate(stream->gnutls, (int)n);
	return error;
}

static ssize_t write_tls_record(struct stream *base, const void *octets, size_t count)
{
	struct tls_stream *stream = (struct tls_stream *)base;
	ssize_t n = gnutls_record_send(stream->gnutls, octets, count);

	return n < 0 ? convert_error(stream, (int)n) : n;
}

static int send_close_notify(struct stream *base)
{
	struct tls_stream *stream = (struct tls_stream *)base;
	int r = gnutls_bye(stream->gnutls, GNUTLS_SHUT_WR);

	return r < 0 ? convert_error(stream, r) : 0;
}

/* ---- Beginning and end ---- */

static void free_stream(struct stream *base)
{
	struct tls_stream *stream = (struct tls_stream *)base;

	gnutls_deinit(stream->gnutls);
	free(stream);
}

static const struct stream_functions stream_functions = {
	.read = read_tls_record,
	.write = write_tls_record,
	.handshake = do_handshake,
	.close = send_close_notify,
	.free = free_stream,
};

static int new_stream(struct tls *tls, struct stream *below, struct stream **ret)
{
	struct tls_stream *stream;
	int r = certificates_load(tls);

	if (r < 0)
		return r;
	stream = calloc(1, sizeof(*stream));
	if (!stream)
		return -ENOMEM;
	stream->stream.functions = &stream_functions;
	stream->stream.client_names = stream->client_names;
	stream->below = below;
	stream->service = (struct tls_service *)tls;
	r = make_session(stream);
	stream->service->gnutls = stream->gnutls;
	if (r < 0)
		free_stream(&stream->stream);
	else
		*ret = &stream->stream;
	return r;
}

static void free_service(struct tls *tls)
{
	certificates_unload((struct tls_service *)tls);
	free(tls->ticket_directory);
	free(tls);
}

static const char *find_system_file(void)
{
	const char *given = secure_getenv("GNUTLS_SYSTEM_PRIORITY_FILE");

	/* GnuTLS reads this variable, too, but not before it is initialised. */
	return given ? given : gnutls_get_system_config_file();
}

/* The interface of the module: module_symbol() finds it by this name. */
__attribute__((visibility("default"))) const struct tls_functions tls_functions = {
	.size = sizeof(struct tls_service),
	.free = free_service,
	.load = certificates_load,
	.forget = certificates_forget_keys,
	.has_changed = certificates_have_changed,
	.sign = signing_sign,
	.find_ticket_key = find_ticket_key,
	.system_file = find_system_file,
	.new_stream = new_stream,
};

/* Keeps GnuTLS from initialising itself when it is loaded, because few sessions need that. */
__attribute__((visibility("default"))) int _gnutls_global_init_skip(void); /* NOLINT */

int _gnutls_global_init_skip(void) /* NOLINT */
{
	return 1;
}
