/* SPDX-License-Identifier: ISC
 *
 * TLS by GnuTLS: a module that tls/load.c loads. The files are the administrator's: trusted, but
 * not free of mistakes. All that comes from the client is a stranger's, and most of this runs
 * before login. */
#include "tls.h"

#include "lib/util.h"
#include "tls/ticket-key.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <gnutls/ocsp.h>
#include <gnutls/x509.h>
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

/* The administrator's or the distribution's choice, where the platform has one; never less than
 * TLS 1.2. */
#define SYSTEM_PRIORITY "@SYSTEM:-VERS-TLS1.1:-VERS-TLS1.0:-VERS-SSL3.0"
/* Else forward secrecy and authenticated encryption only, which every client of the last ten years
 * can do. */
#define DEFAULT_PRIORITY                                                               \
	"NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-KX-ALL:+ECDHE-ECDSA:+ECDHE-RSA"   \
	":-CIPHER-ALL:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-GCM:-MAC-ALL:+AEAD"     \
	":-GROUP-ALL:+GROUP-X25519:+GROUP-SECP256R1:+GROUP-SECP384R1:+GROUP-SECP521R1" \
	":-SIGN-RSA-SHA1:-SIGN-ECDSA-SHA1:%SERVER_PRECEDENCE"

#define FILE_OCTETS_MAX (1 << 20)  /* of a PEM file */
#define NAME_OCTETS_MAX 320	   /* of a client's name: an e-mail address (RFC 3696 errata) */
#define NAMES_MAX 8		   /* of a client */
#define SERVER_NAME_OCTETS_MAX 255 /* RFC 1035 section 2.3.4 */
#define PROBLEM_OCTETS 200
#define FLIGHT_OCTETS 8192 /* space for a chain of certificates */
#define ALERT_OCTETS 7	   /* a whole record with an alert that is not encrypted */
/* A client that polls once in this time resumes, unless the key has changed meanwhile. */
#define TICKET_LIFETIME_S 43200

struct certificate {
	const char *cert_path, *key_path;
	gnutls_x509_crt_t *chain; /* its own certificate first */
	unsigned length;
	gnutls_x509_privkey_t key;
	/* It, and those that can stand in for it: RSA and ECDSA side by side. */
	gnutls_certificate_credentials_t credentials;
	unsigned in_credentials; /* so many */
};

struct tls {
	struct tls_options options;
	bool is_loaded;
	int complaints;
	gnutls_priority_t priority;
	struct certificate *certificates;
	size_t count;
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

/* ---- The files ---- */

#define complain(tls, ...)                            \
	do {                                          \
		(tls)->complaints++;                  \
		(tls)->options.complain(__VA_ARGS__); \
	} while (0)

/* Octets that may be a secret. */
static void wipe_datum(gnutls_datum_t *datum)
{
	if (datum->data)
		explicit_bzero(datum->data, datum->size);
	free(datum->data);
}

#define auto_datum __attribute__((cleanup(wipe_datum)))

static int read_open_file(int fd, gnutls_datum_t *ret_datum)
{
	auto_datum gnutls_datum_t datum = { 0 };
	struct stat status;
	ssize_t n;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (S_ISDIR(status.st_mode))
		return -EISDIR;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	if (status.st_size > FILE_OCTETS_MAX)
		return -EFBIG;
	datum.data = calloc(1, (size_t)status.st_size + 1);
	if (!datum.data)
		return -ENOMEM;
	datum.size = (unsigned)status.st_size;
	n = util_pread(fd, datum.data, datum.size, 0);
	if (n < 0)
		return (int)n;
	ret_datum->data = take_ptr(datum.data);
	ret_datum->size = (unsigned)n;
	return 0;
}

/* Reads a file that a setting names. Returns 0, or -EBADMSG after a complaint. */
static int read_pem_file(struct tls *tls, const char *setting, const char *path,
			 gnutls_datum_t *ret_datum)
{
	auto_fd int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int r = fd < 0 ? -errno : read_open_file(fd, ret_datum);

	if (r < 0) {
		complain(tls, "cannot read %s = '%s': %s", setting, path, strerror(-r));
		return -EBADMSG;
	}
	return 0;
}

static int turn_load_error(int error)
{
	return error == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : -EBADMSG;
}

static int load_priority(struct tls *tls)
{
	const char *own = tls->options.priority;
	const char *bad = "";
	int r = gnutls_priority_init(&tls->priority, own ? own : SYSTEM_PRIORITY, &bad);

	if (r < 0 && !own)
		r = gnutls_priority_init(&tls->priority, DEFAULT_PRIORITY, &bad);
	if (r >= 0)
		return 0;
	tls->priority = NULL;
	complain(tls, "tls-priority = '%s' is not a GnuTLS priority string, from '%s' on",
		 own ? own : DEFAULT_PRIORITY, bad);
	return turn_load_error(r);
}

/* A certificate whose time is over, or has not come, is served all the same: it is for the client
 * to refuse it. */
static void check_time(struct tls *tls, const char *path, gnutls_x509_crt_t crt)
{
	time_t now = time(NULL);
	time_t from = gnutls_x509_crt_get_activation_time(crt);
	time_t until = gnutls_x509_crt_get_expiration_time(crt);
	time_t date = now < from ? from : until;
	char text[sizeof("YYYY-MM-DD HH:MM UTC")] = "";
	struct tm tm;

	if (from <= now && now < until)
		return;
	if (gmtime_r(&date, &tm))
		(void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M UTC", &tm);
	complain(tls, "a certificate in tls-cert = '%s' %s %s", path,
		 now < from ? "is not valid before" : "has expired on", text);
}

static int load_chain(struct tls *tls, struct certificate *certificate)
{
	const char *path = certificate->cert_path;
	auto_datum gnutls_datum_t pem = { 0 };
	int r = read_pem_file(tls, "tls-cert", path, &pem);

	if (r < 0)
		return r;
	r = gnutls_x509_crt_list_import2(&certificate->chain, &certificate->length, &pem,
					 GNUTLS_X509_FMT_PEM, 0);
	if (r < 0) {
		certificate->chain = NULL;
		complain(tls, "cannot use the certificate in tls-cert = '%s': %s", path,
			 gnutls_strerror(r));
		return turn_load_error(r);
	}
	for (unsigned i = 0; i < certificate->length; i++)
		check_time(tls, path, certificate->chain[i]);
	return 0;
}

/* Imports a private key. The PEM armour is taken off here, because GnuTLS 3.7 does not wipe what it
 * decodes itself. */
static int import_key(gnutls_x509_privkey_t key, const gnutls_datum_t *pem)
{
	static const char *const kinds[] = { "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY" };
	int r = GNUTLS_E_BASE64_UNEXPECTED_HEADER_ERROR;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		gnutls_datum_t der = { 0 };

		if (gnutls_pem_base64_decode2(kinds[i], pem, &der) < 0)
			continue;
		r = gnutls_x509_privkey_import2(key, &der, GNUTLS_X509_FMT_DER, NULL, 0);
		explicit_bzero(der.data, der.size);
		gnutls_free(der.data);
		break;
	}
	if (r < 0 && memmem(pem->data, pem->size, "ENCRYPTED", strlen("ENCRYPTED")))
		return GNUTLS_E_DECRYPTION_FAILED;
	return r;
}

/* Complains of a private key that more than its owner and group can use. */
static void check_mode(struct tls *tls, const char *path)
{
	struct stat status;

	if (stat(path, &status) == 0 && (status.st_mode & S_IRWXO))
		complain(tls, "the private key in tls-key = '%s' is open to others (mode %04o)",
			 path, status.st_mode & 07777);
}

static int load_key(struct tls *tls, struct certificate *certificate)
{
	const char *path = certificate->key_path;
	auto_datum gnutls_datum_t pem = { 0 };
	int r = read_pem_file(tls, "tls-key", path, &pem);

	if (r < 0)
		return r;
	check_mode(tls, path);
	r = gnutls_x509_privkey_init(&certificate->key);
	if (r >= 0)
		r = import_key(certificate->key, &pem);
	if (r < 0) {
		complain(tls, "cannot use the private key in tls-key = '%s': %s", path,
			 r == GNUTLS_E_DECRYPTION_FAILED ? "it is encrypted" : gnutls_strerror(r));
		return turn_load_error(r);
	}
	return 0;
}

static int load_certificate(struct tls *tls, struct certificate *certificate)
{
	int r = load_chain(tls, certificate);

	return r == 0 ? load_key(tls, certificate) : r;
}

/* Puts a certificate and its key into credentials. */
static int add_certificate(struct tls *tls, gnutls_certificate_credentials_t credentials,
			   const struct certificate *certificate)
{
	int r = gnutls_certificate_set_x509_key(credentials, certificate->chain,
						(int)certificate->length, certificate->key);

	if (r >= 0)
		return 0;
	if (r == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		complain(tls, "tls-key = '%s' is not the key of tls-cert = '%s'",
			 certificate->key_path, certificate->cert_path);
	else
		complain(tls, "cannot use tls-cert = '%s' with tls-key = '%s': %s",
			 certificate->cert_path, certificate->key_path, gnutls_strerror(r));
	return turn_load_error(r);
}

static bool is_rsa(const struct certificate *certificate)
{
	return gnutls_x509_crt_get_pk_algorithm(certificate->chain[0], NULL) == GNUTLS_PK_RSA;
}

/* Whether `other` is good for every name that the certificate is good for. */
static bool is_stand_in_for(const struct certificate *other, const struct certificate *certificate)
{
	char name[SERVER_NAME_OCTETS_MAX + 1];
	bool has_name = false;

	if (other == certificate)
		return true;
	for (unsigned i = 0;; i++) {
		size_t size = sizeof(name);
		int r = gnutls_x509_crt_get_subject_alt_name(certificate->chain[0], i, name, &size,
							     NULL);

		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return has_name;
		if (r < 0)
			return false;
		if (r != GNUTLS_SAN_DNSNAME)
			continue;
		if (!gnutls_x509_crt_check_hostname(other->chain[0], name))
			return false;
		has_name = true;
	}
}

/* GnuTLS takes the first that the client can use; RSA keys come last, since they cost most. */
static int add_certificates(struct tls *tls, struct certificate *certificate)
{
	int r = 0;

	for (int rsa = 0; rsa <= 1; rsa++) {
		for (size_t i = 0; i < tls->count && r == 0; i++) {
			struct certificate *other = &tls->certificates[i];

			if (is_rsa(other) != rsa || !is_stand_in_for(other, certificate))
				continue;
			r = add_certificate(tls, certificate->credentials, other);
			certificate->in_credentials += r == 0;
		}
	}
	return r;
}

/* Who vouches for clients. They see the names of these. */
static int add_client_ca(struct tls *tls, gnutls_certificate_credentials_t credentials,
			 const gnutls_datum_t *pem)
{
	int r;

	if (!pem->data)
		return 0;
	r = gnutls_certificate_set_x509_trust_mem(credentials, pem, GNUTLS_X509_FMT_PEM);
	if (r > 0)
		return 0;
	complain(tls, "cannot use the certificates in tls-client-ca = '%s': %s",
		 tls->options.client_ca, r < 0 ? gnutls_strerror(r) : "there are none");
	return turn_load_error(r);
}

static int make_credentials(struct tls *tls, struct certificate *certificate,
			    const gnutls_datum_t *client_ca)
{
	int r = gnutls_certificate_allocate_credentials(&certificate->credentials);

	if (r < 0)
		return -ENOMEM;
	gnutls_certificate_set_flags(certificate->credentials, GNUTLS_CERTIFICATE_API_V2);
	r = add_certificates(tls, certificate);
	return r == 0 ? add_client_ca(tls, certificate->credentials, client_ca) : r;
}

/* Offers a response to each certificate of each credentials; GnuTLS knows which it is about. */
static int add_ocsp(struct tls *tls, const gnutls_datum_t *response)
{
	bool is_pem = response->size > 0 && response->data[0] == '-';
	int added = GNUTLS_E_OCSP_MISMATCH_WITH_CERTS;

	for (size_t i = 0; i < tls->count; i++) {
		const struct certificate *certificate = &tls->certificates[i];

		for (unsigned index = 0; index < certificate->in_credentials; index++) {
			int r = gnutls_certificate_set_ocsp_status_request_mem(
				certificate->credentials, response, index,
				is_pem ? GNUTLS_X509_FMT_PEM : GNUTLS_X509_FMT_DER);

			if (added < 0 && r != GNUTLS_E_OCSP_MISMATCH_WITH_CERTS)
				added = r;
		}
	}
	return added;
}

/* A service without a stapled response is as good as one that never had any. */
static void load_ocsp(struct tls *tls, const char *path)
{
	auto_datum gnutls_datum_t response = { 0 };
	int r;

	if (read_pem_file(tls, "tls-ocsp", path, &response) < 0)
		return;
	r = add_ocsp(tls, &response);
	if (r < 0)
		complain(tls, "cannot use the OCSP response in tls-ocsp = '%s': %s", path,
			 gnutls_strerror(r));
}

static int load_certificates(struct tls *tls)
{
	char *const *certs = tls->options.certs;
	int r = 0;

	while (certs[tls->count])
		tls->count++;
	tls->certificates = calloc(tls->count, sizeof(*tls->certificates));
	if (!tls->certificates) {
		tls->count = 0;
		return -ENOMEM;
	}
	for (size_t i = 0; i < tls->count && r == 0; i++) {
		tls->certificates[i].cert_path = certs[i];
		tls->certificates[i].key_path = tls->options.keys[i];
		r = load_certificate(tls, &tls->certificates[i]);
	}
	return r;
}

/* The credentials have copies. */
static void forget_own_keys(struct tls *tls)
{
	for (size_t i = 0; i < tls->count; i++) {
		gnutls_x509_privkey_deinit(tls->certificates[i].key);
		tls->certificates[i].key = NULL;
	}
}

static int load(struct tls *tls)
{
	auto_datum gnutls_datum_t client_ca = { 0 };
	const char *ca_path = tls->options.client_ca;
	int r = gnutls_global_init() < 0 ? -ENOMEM : load_priority(tls);

	if (r == 0 && ca_path)
		r = read_pem_file(tls, "tls-client-ca", ca_path, &client_ca);
	if (r == 0)
		r = load_certificates(tls);
	for (size_t i = 0; i < tls->count && r == 0; i++)
		r = make_credentials(tls, &tls->certificates[i], &client_ca);
	forget_own_keys(tls);
	for (char *const *path = tls->options.ocsp; path && *path && r == 0; path++)
		load_ocsp(tls, *path);
	return r;
}

const char *tls_system_file(void)
{
	const char *given = secure_getenv("GNUTLS_SYSTEM_PRIORITY_FILE");

	/* The library looks at the environment, too, but not before it is initialised. */
	return given ? given : gnutls_get_system_config_file();
}

static void unload(struct tls *tls)
{
	for (size_t i = 0; i < tls->count; i++) {
		struct certificate *certificate = &tls->certificates[i];

		if (certificate->credentials)
			gnutls_certificate_free_credentials(certificate->credentials);
		gnutls_x509_privkey_deinit(certificate->key);
		for (unsigned j = 0; j < certificate->length; j++)
			gnutls_x509_crt_deinit(certificate->chain[j]);
		gnutls_free(certificate->chain);
	}
	free(tls->certificates);
	gnutls_priority_deinit(tls->priority);
	*tls = (struct tls){ .options = tls->options };
}

int tls_load(struct tls *tls)
{
	int r;

	if (tls->is_loaded)
		return tls->complaints;
	r = load(tls);
	if (r < 0) {
		unload(tls);
		return r;
	}
	tls->is_loaded = true;
	return tls->complaints;
}

int tls_new(const struct tls_options *options, struct tls **ret)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (!tls)
		return -ENOMEM;
	tls->options = *options;
	*ret = tls;
	return 0;
}

struct tls *tls_free(struct tls *tls)
{
	if (tls)
		unload(tls);
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
	const struct tls *tls = session->tls;
	char name[SERVER_NAME_OCTETS_MAX + 1];
	size_t size = sizeof(name);
	unsigned type;

	if (gnutls_server_name_get(gnutls, name, &size, &type, 0) < 0 || type != GNUTLS_NAME_DNS)
		return 0;
	for (size_t i = 0; i < tls->count; i++) {
		if (gnutls_x509_crt_check_hostname(tls->certificates[i].chain[0], name))
			return gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE,
						      tls->certificates[i].credentials);
	}
	return 0;
}

static int set_up_gnutls(struct tls_session *session)
{
	static unsigned char protocol[] = "pop3";
	const gnutls_datum_t alpn = { .data = protocol, .size = sizeof(protocol) - 1 };
	const struct tls *tls = session->tls;
	gnutls_session_t gnutls = session->session;
	int r = gnutls_priority_set(gnutls, tls->priority);

	if (r >= 0)
		r = gnutls_credentials_set(gnutls, GNUTLS_CRD_CERTIFICATE,
					   tls->certificates[0].credentials);
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
		complain(session->tls, "no TLS session tickets, their key cannot be shared: %s",
			 strerror(-key_error));
	if (r >= 0 && key_error == 0)
		r = gnutls_session_ticket_enable_server(session->session, &datum);
	if (r >= 0)
		r = set_up_gnutls(session);
	explicit_bzero(key, sizeof(key));
	return r < 0 ? turn_load_error(r) : 0;
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
	struct tls *tls = session->tls;

	gnutls_credentials_clear(session->session);
	for (size_t i = 0; i < tls->count; i++)
		gnutls_certificate_free_keys(tls->certificates[i].credentials);
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
