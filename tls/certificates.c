/* SPDX-License-Identifier: ISC
 * Priority string, certificates, private keys, CAs of clients, OCSP responses. The files are the
 * administrator's: trusted, but they may contain mistakes. */
#include "tls/certificates.h"

#include "lib/file-stamp.h"
#include "settings.h"
#include "tls/signing.h"

#include <gnutls/ocsp.h>
#include <sys/mman.h>
#include <sys/uio.h>

#define FILE_OCTETS_MAX (1 << 20) /* of a PEM file */
#define FACTOR 31		  /* makes the order of files significant */

/* Counts a mistake, and logs it unless the keeper has already logged it. */
#define report(service, ...)      \
	((service)->complaints++, \
	 asks_keeper(&(service)->tls) ? (void)0 : complain(&(service)->tls, __VA_ARGS__))

/* As report(), with the errno for `error` of GnuTLS as its value. */
#define reject(service, error, ...) (report(service, __VA_ARGS__), certificates_errno(error))

#define quote(service, text) (service)->tls.quote(text)

int certificates_errno(int error)
{
	return error == GNUTLS_E_MEMORY_ERROR ? -ENOMEM : -EBADMSG;
}

/* Wipes and frees octets, which may be a secret. */
static void wipe_datum(gnutls_datum_t *datum)
{
	if (datum->data)
		explicit_bzero(datum->data, datum->size);
	free(datum->data);
}

#define auto_datum __attribute__((cleanup(wipe_datum)))

/* Removes private keys from PEM, because a tls-cert file may contain its key. */
static void cut_to_public(gnutls_datum_t *pem)
{
	char *kept = (char *)pem->data, *at = kept;
	const char *end, *pem_end = kept + pem->size;

	while ((at = strstr(at, "-----BEGIN ")) && (end = strstr(at, "\n-----END "))) {
		size_t octets = (size_t)(strchrnul(end + 1, '\n') - at);

		octets += at[octets] == '\n'; /* which the last line may lack */
		if (!memmem(at, octets, "PRIVATE KEY", strlen("PRIVATE KEY"))) {
			memmove(kept, at, octets);
			kept += octets;
		}
		at += octets;
	}
	pem->size = (unsigned)(kept - (char *)pem->data);
	explicit_bzero(kept, (size_t)(pem_end - kept));
}

/* Appends a part to the public file: its length, then its octets; none for an unreadable file. */
static int publish(const struct tls *tls, const gnutls_datum_t *datum)
{
	uint64_t octets = datum->size;
	const struct iovec pieces[] = { { &octets, sizeof(octets) }, { datum->data, octets } };
	ssize_t n = writev(tls->public_fd, pieces, ARRAY_SIZE(pieces));

	return n == (ssize_t)(sizeof(octets) + octets) ? 0 : -ENOMEM;
}

/* Reads a file, or the next part of the public file. */
static int read_octets(struct tls_service *service, const char *path, gnutls_datum_t *datum)
{
	bool is_part = asks_keeper(&service->tls);
	auto_fd int own_fd =
		is_part ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int fd = is_part ? service->tls.public_fd : own_fd;
	uint64_t octets, offset = 0;
	struct stat status;
	ssize_t n;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	octets = (uint64_t)status.st_size;
	if (is_part) {
		n = util_pread(fd, &octets, sizeof(octets), service->public_octets);
		if (n != sizeof(octets))
			return -EBADMSG;
		offset = service->public_octets + sizeof(octets);
		service->public_octets = offset + octets;
	}
	if (octets > FILE_OCTETS_MAX)
		return -EFBIG;
	datum->data = calloc(1, octets + 1); /* a text ends in a NUL */
	n = datum->data ? util_pread(fd, datum->data, octets, offset) : -ENOMEM;
	datum->size = (unsigned)MAX(n, 0);
	return (int)MIN(n, 0);
}

/* Reads a file into `datum`, which the caller wipes. Returns 0, or -EBADMSG after report(). */
static int read_pem_file(struct tls_service *service, const char *setting, const char *path,
			 gnutls_datum_t *datum)
{
	int r = read_octets(service, path, datum), published = 0;

	if (service->tls.is_keeper && strcmp(setting, "tls-key") != 0) {
		if (r == 0 && (*datum->data == '-' || strcmp(setting, "tls-ocsp") != 0))
			cut_to_public(datum); /* else it is DER */
		published = publish(&service->tls, datum);
	}
	r = r ?: published;
	if (r < 0) {
		report(service, "cannot read %s = %s: %s", setting, quote(service, path),
		       strerror(-r));
		return -EBADMSG;
	}
	return 0;
}

static int load_priority(struct tls_service *service)
{
	const char *own = service->tls.settings->tls_priority;
	auto_free char *text = NULL;
	const char *bad = "";
	int r;

	if (asprintf(&text, "%s%s", own ? own : TLS_SYSTEM_PRIORITY,
		     service->tls.public_fd >= 0 ? TLS_KEEPER_PRIORITY : "") < 0)
		return -ENOMEM;
	r = gnutls_priority_init(&service->priority, text, &bad);
	if (r < 0 && !own)
		r = gnutls_priority_init(&service->priority, TLS_DEFAULT_PRIORITY, &bad);
	if (r >= 0)
		return 0;
	return reject(service, r, "tls-priority = %s is not a GnuTLS priority string, from %s on",
		      quote(service, own ? own : TLS_DEFAULT_PRIORITY), quote(service, bad));
}

/* Reports a certificate that has expired or is not yet valid. It is served nevertheless. */
static void check_time(struct tls_service *service, const char *path, gnutls_x509_crt_t crt)
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
	report(service, "a certificate in tls-cert = %s %s %s", quote(service, path),
	       now < from ? "is not valid before" : "has expired on", text);
}

static int load_chain(struct tls_service *service, struct certificate *certificate)
{
	const char *path = certificate->cert_path;
	auto_datum gnutls_datum_t pem = { 0 };
	int r = read_pem_file(service, "tls-cert", path, &pem);

	if (r < 0)
		return r;
	r = gnutls_x509_crt_list_import2(&certificate->chain, &certificate->length, &pem,
					 GNUTLS_X509_FMT_PEM, GNUTLS_X509_CRT_LIST_SORT);
	if (r < 0)
		return reject(service, r, "cannot use the certificate in tls-cert = %s: %s",
			      quote(service, path), gnutls_strerror(r));
	for (unsigned i = 0; i < certificate->length; i++)
		check_time(service, path, certificate->chain[i]);
	return 0;
}

/* Imports a private key. Decodes PEM here, because GnuTLS 3.7 does not wipe its decoded copy. */
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

static int load_key(struct tls_service *service, struct certificate *certificate)
{
	const char *path = certificate->key_path;
	auto_datum gnutls_datum_t pem = { 0 };
	struct stat status;
	int r = read_pem_file(service, "tls-key", path, &pem);

	if (r < 0)
		return r;
	r = gnutls_x509_privkey_init(&certificate->key);
	if (r >= 0)
		r = import_key(certificate->key, &pem);
	if (r == GNUTLS_E_BASE64_UNEXPECTED_HEADER_ERROR && path == certificate->cert_path)
		return reject(service, r,
			      "there is no private key in tls-cert = %s, and tls-key is not set",
			      quote(service, path));
	if (r < 0)
		return reject(service, r, "cannot use the private key in tls-key = %s: %s",
			      quote(service, path),
			      r == GNUTLS_E_DECRYPTION_FAILED ? "it is encrypted" :
								gnutls_strerror(r));
	if (stat(path, &status) == 0 && (status.st_mode & S_IRWXO))
		report(service, "the private key in tls-key = %s is open to others (mode %04o)",
		       quote(service, path), status.st_mode & 07777);
	return 0;
}

/* Adds a certificate and its key to credentials. */
static int add_certificate(struct tls_service *service,
			   gnutls_certificate_credentials_t credentials,
			   struct certificate *certificate)
{
	auto_free gnutls_pcert_st *chain = calloc(certificate->length, sizeof(*chain));
	unsigned count = certificate->length;
	gnutls_privkey_t key = NULL;
	int r = chain ? gnutls_privkey_init(&key) : GNUTLS_E_MEMORY_ERROR;

	if (r == 0 && asks_keeper(&service->tls))
		r = signing_import_key(key, service, certificate);
	else if (r == 0)
		r = gnutls_privkey_import_x509(key, certificate->key, 0);
	r = r	  ?:
		    gnutls_pcert_import_x509_list(chain, certificate->chain, &count,
						  GNUTLS_X509_CRT_LIST_SORT);
	if (r == 0) {
		r = gnutls_certificate_set_key(credentials, NULL, 0, chain, (int)count, key);
		for (unsigned i = 0; i < count && r < 0; i++)
			gnutls_pcert_deinit(&chain[i]);
	}
	if (r >= 0)
		return 0;
	gnutls_privkey_deinit(key);
	if (r == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
		return reject(service, r, "tls-key = %s is not the key of tls-cert = %s",
			      quote(service, certificate->key_path),
			      quote(service, certificate->cert_path));
	return reject(service, r, "cannot use tls-cert = %s with tls-key = %s: %s",
		      quote(service, certificate->cert_path), quote(service, certificate->key_path),
		      gnutls_strerror(r));
}

/* Whether `other` is valid for every DNS name of `certificate`. */
static bool is_stand_in_for(const struct certificate *other, const struct certificate *certificate)
{
	char name[CERTIFICATES_NAME_OCTETS_MAX + 1];
	bool has_name = false;

	if (other == certificate)
		return true;
	for (unsigned i = 0;; i++) {
		size_t size = sizeof(name);
		int type = gnutls_x509_crt_get_subject_alt_name(certificate->chain[0], i, name,
								&size, NULL);
		bool is_name = type == GNUTLS_SAN_DNSNAME;

		if (type == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			return has_name;
		if (type < 0 || (is_name && !gnutls_x509_crt_check_hostname(other->chain[0], name)))
			return false;
		has_name |= is_name;
	}
}

/* Adds RSA last: GnuTLS takes the first that the client supports, and RSA signatures cost most. */
static int add_certificates(struct tls_service *service, struct certificate *certificate)
{
	int r = 0;

	for (int rsa = 0; rsa <= 1; rsa++) {
		for (size_t i = 0; i < service->count && r == 0; i++) {
			struct certificate *other = &service->list[i];
			int kind = gnutls_x509_crt_get_pk_algorithm(other->chain[0], NULL);

			if ((kind == GNUTLS_PK_RSA) != rsa || !is_stand_in_for(other, certificate))
				continue;
			r = add_certificate(service, certificate->credentials, other);
			certificate->in_credentials += r == 0;
		}
	}
	return r;
}

static int make_credentials(struct tls_service *service, struct certificate *certificate,
			    const gnutls_datum_t *client_ca)
{
	int r = gnutls_certificate_allocate_credentials(&certificate->credentials);

	if (r < 0)
		return -ENOMEM;
	/* The keeper has checked that keys and certificates match. */
	gnutls_certificate_set_flags(
		certificate->credentials,
		GNUTLS_CERTIFICATE_API_V2 |
			(asks_keeper(&service->tls) ? GNUTLS_CERTIFICATE_SKIP_KEY_CERT_MATCH : 0));
	r = add_certificates(service, certificate);
	if (r < 0 || !client_ca->data)
		return r;
	/* GnuTLS sends the names of these CAs to clients. */
	r = gnutls_certificate_set_x509_trust_mem(certificate->credentials, client_ca,
						  GNUTLS_X509_FMT_PEM);
	if (r > 0)
		return 0;
	return reject(service, r, "cannot use the certificates in tls-client-ca = %s: %s",
		      quote(service, service->tls.settings->tls_client_ca),
		      r < 0 ? gnutls_strerror(r) : "there are none");
}

/* Adds an OCSP response to each certificate that GnuTLS says it is for. On failure only reports it,
 * because the service works without stapling. */
static void load_ocsp(struct tls_service *service, const char *path)
{
	auto_datum gnutls_datum_t response = { 0 };
	int r = GNUTLS_E_OCSP_MISMATCH_WITH_CERTS;

	if (read_pem_file(service, "tls-ocsp", path, &response) < 0)
		return;
	for (size_t i = 0; i < service->count; i++) {
		const struct certificate *certificate = &service->list[i];

		for (unsigned index = 0; index < certificate->in_credentials; index++) {
			int added = gnutls_certificate_set_ocsp_status_request_mem(
				certificate->credentials, &response, index,
				*response.data == '-' ? GNUTLS_X509_FMT_PEM : GNUTLS_X509_FMT_DER);

			if (r < 0 && added != GNUTLS_E_OCSP_MISMATCH_WITH_CERTS)
				r = added;
		}
	}
	if (r < 0)
		report(service, "cannot use the OCSP response in tls-ocsp = %s: %s",
		       quote(service, path), gnutls_strerror(r));
}

static int load_certificates(struct tls_service *service)
{
	char *const *certs = service->tls.settings->tls_cert;
	char *const *keys = service->tls.settings->tls_key;
	size_t count = 1; /* at least */
	int r = 0;

	while (certs[count])
		count++;
	service->list = calloc(count, sizeof(*service->list));
	if (!service->list)
		return -ENOMEM;
	for (size_t i = 0; i < count && r == 0; i++) {
		struct certificate *certificate = &service->list[service->count++];

		certificate->cert_path = certs[i];
		certificate->key_path = keys ? keys[i] : certs[i];
		r = load_chain(service, certificate);
		if (r == 0 && !asks_keeper(&service->tls))
			r = load_key(service, certificate);
	}
	return r;
}

/* Logs a chain that lacks an issuer, because mail clients do not fetch one. */
static void check_chain(const struct tls_service *service, const struct certificate *certificate,
			gnutls_x509_trust_list_t roots)
{
	gnutls_x509_crt_t crt = NULL, root;
	char name[256] = "";
	size_t size = sizeof(name);

	for (unsigned i = 0; i < certificate->length; i++) {
		crt = certificate->chain[i];
		if (gnutls_x509_crt_check_issuer(crt, crt) ||
		    gnutls_x509_trust_list_get_issuer(roots, crt, &root, 0) >= 0)
			return;
	}
	(void)gnutls_x509_crt_get_issuer_dn(crt, name, &size);
	complain(&service->tls, "tls-cert = %s lacks the certificate of the issuer %s",
		 quote(service, certificate->cert_path), quote(service, name));
}

/* Checks nothing if the system has no root certificates. */
static void check_chains(const struct tls_service *service)
{
	gnutls_x509_trust_list_t roots;

	if (gnutls_x509_trust_list_init(&roots, 0) < 0)
		return;
	if (gnutls_x509_trust_list_add_system_trust(roots, 0, 0) > 0) {
		for (size_t i = 0; i < service->count; i++)
			check_chain(service, &service->list[i], roots);
	}
	gnutls_x509_trust_list_deinit(roots, 1);
}

/* Combines the stamps of all files. Follows each path again: a symbolic link may have changed. */
static uint64_t sum_up_stamps(const struct settings *settings)
{
	char *const ca[] = { settings->tls_client_ca, NULL };
	char *const *const lists[] = { settings->tls_cert, settings->tls_key, settings->tls_ocsp,
				       ca };
	uint64_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (char *const *path = lists[i]; path && *path; path++) {
			struct stat status = { 0 };

			if (stat(*path, &status) == 0)
				sum += status.st_ino + (uint64_t)file_stamp_of(&status).changed_ns;
			sum *= FACTOR;
		}
		sum++;
	}
	return sum;
}

static int load_all(struct tls_service *service)
{
	auto_datum gnutls_datum_t client_ca = { 0 };
	struct stat status;
	const char *ca_path = service->tls.settings->tls_client_ca;
	int r = gnutls_global_init() < 0 ? -ENOMEM : load_priority(service);

	if (!asks_keeper(&service->tls)) /* else only the keeper looks for changes */
		service->tls.stamps = service->tls.tried_stamps =
			sum_up_stamps(service->tls.settings);
	if (fstat(service->tls.public_fd, &status) == 0)
		service->generation = (uint32_t)status.st_ino;
	if (r == 0 && ca_path)
		r = read_pem_file(service, "tls-client-ca", ca_path, &client_ca);
	r = r ?: load_certificates(service);
	for (size_t i = 0; i < service->count && r == 0; i++)
		r = make_credentials(service, &service->list[i], &client_ca);
	for (char *const *path = service->tls.settings->tls_ocsp; path && *path && r == 0; path++)
		load_ocsp(service, *path);
	if (r == 0 && service->tls.is_check)
		check_chains(service);
	return r;
}

void certificates_unload(struct tls_service *service)
{
	for (size_t i = 0; i < service->count; i++) {
		struct certificate *certificate = &service->list[i];

		if (certificate->credentials)
			gnutls_certificate_free_credentials(certificate->credentials);
		gnutls_x509_privkey_deinit(certificate->key);
		for (unsigned j = 0; j < certificate->length; j++)
			gnutls_x509_crt_deinit(certificate->chain[j]);
		gnutls_free(certificate->chain);
	}
	free(service->list);
	gnutls_priority_deinit(service->priority);
	if (service->tls.is_keeper)
		util_drop(&service->tls.public_fd);
	*service = (struct tls_service){ .tls = service->tls };
}

/* Loads all files and copies all but the keys to a new public file, which it seals. */
static int load_for_others(struct tls_service *service)
{
	static const int seals = F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL;
	int fd = service->tls.public_fd =
		memfd_create("certificates", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r = fd < 0 ? -ENOMEM : load_all(service);

	return r == 0 && fcntl(fd, F_ADD_SEALS, seals) < 0 ? -ENOMEM : r;
}

int certificates_load(struct tls *tls)
{
	struct tls_service *service = (struct tls_service *)tls;

	if (tls->load_error == 0 && !service->list) {
		tls->load_error = tls->is_keeper ? load_for_others(service) : load_all(service);
		if (tls->load_error < 0 && asks_keeper(tls))
			complain(tls, "cannot use the certificates that the keeper has read");
	}
	if (tls->load_error == 0)
		return service->complaints;
	certificates_unload(service);
	return tls->load_error;
}

bool certificates_have_changed(struct tls *tls)
{
	struct tls_service *service = (struct tls_service *)tls;
	uint64_t stamps = sum_up_stamps(tls->settings);
	bool has_changed = stamps == service->seen_stamps && stamps != tls->tried_stamps;

	service->seen_stamps = stamps;
	if (has_changed)
		tls->tried_stamps = stamps;
	return has_changed;
}

void certificates_forget_keys(struct tls *tls)
{
	struct tls_service *service = (struct tls_service *)tls;

	for (size_t i = 0; i < service->count; i++) {
		gnutls_certificate_free_keys(service->list[i].credentials);
		gnutls_x509_privkey_deinit(take_ptr(service->list[i].key));
	}
	if (tls->ticket_key)
		explicit_bzero(tls->ticket_key, TLS_TICKET_KEY_OCTETS);
}
