/* SPDX-License-Identifier: ISC
 * The keeper does not trust the process that asks for a signature. It signs only what is useless
 * outside the handshake of a TLS server. */
#include "tls/signing.h"

#include "lib/util.h"

#include <gnutls/crypto.h>

#define RANDOMS_OCTETS 64  /* of the client and the server */
#define HASH_OCTETS_MIN 32 /* of SHA-256 */
#define MEMORY_OCTETS_MAX 65536

/* The beginning, with its NUL, of what a TLS 1.3 server signs (RFC 8446 section 4.4.3). */
static const char context[] = "                                "
			      "                                "
			      "TLS 1.3, server CertificateVerify";

/* The beginning of ServerECDHParams (RFC 8422 section 5.4): named_curve (3), the curve (P-256,
 * P-384, P-521, X25519, X448), the octets of the point and, for P-*, 4: it is not compressed. */
static const unsigned char curves[][5] = { { 3, 0, 23, 65, 4 },
					   { 3, 0, 24, 97, 4 },
					   { 3, 0, 25, 133, 4 },
					   { 3, 0, 29, 32 },
					   { 3, 0, 30, 56 } };

/* Whether a TLS server signs this: in 1.3 the context and a hash, in 1.2 randoms and parameters. */
static bool is_of_handshake(const unsigned char *octets, size_t count)
{
	const unsigned char *params = octets + RANDOMS_OCTETS;

	if (count == sizeof(context) + 32 || count == sizeof(context) + 48)
		if (memcmp(octets, context, sizeof(context)) == 0)
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(curves); i++) {
		if (count == RANDOMS_OCTETS + 4U + curves[i][3] &&
		    memcmp(params, curves[i], curves[i][4] ? 5 : 4) == 0)
			return true;
	}
	return false;
}

/* Whether the algorithm suits this kind of key and has a strong hash (Ed448: none). */
static bool suits(gnutls_sign_algorithm_t algorithm, int kind)
{
	return gnutls_sign_supports_pk_algorithm(algorithm, (gnutls_pk_algorithm_t)kind) &&
	       (algorithm == GNUTLS_SIGN_EDDSA_ED448 ||
		gnutls_hash_get_len(gnutls_sign_get_hash_algorithm(algorithm)) >= HASH_OCTETS_MIN);
}

/* ---- The keeper ---- */

static int sign_octets(gnutls_x509_privkey_t key, const struct tls_signing *signing,
		       struct tls_signature *ret)
{
	unsigned char octets[TLS_SIGNED_OCTETS_MAX];
	const gnutls_datum_t data = { memcpy(octets, signing->octets, sizeof(octets)),
				      signing->count };
	gnutls_datum_t signature = { 0 };
	gnutls_privkey_t abstract;
	int r = gnutls_privkey_init(&abstract);

	if (r < 0)
		return -ENOMEM;
	r = gnutls_privkey_import_x509(abstract, key, 0) ?:
		    gnutls_privkey_sign_data2(abstract, signing->algorithm, 0, &data, &signature);
	gnutls_privkey_deinit(abstract);
	if (r == 0 && signature.size <= sizeof(ret->octets)) {
		ret->count = signature.size;
		memcpy(ret->octets, signature.data, signature.size);
	}
	gnutls_free(signature.data);
	return ret->count > 0 ? 0 : -EIO;
}

int signing_sign(struct tls *tls, const struct tls_signing *signing, struct tls_signature *ret)
{
	const struct tls_service *service = (struct tls_service *)tls;
	gnutls_x509_privkey_t key;

	*ret = (struct tls_signature){ .error = -EPERM };
	if (service->generation != signing->generation || signing->key >= service->count ||
	    signing->count > sizeof(signing->octets) ||
	    !is_of_handshake(signing->octets, signing->count))
		return ret->error;
	key = service->list[signing->key].key;
	if (suits(signing->algorithm, gnutls_x509_privkey_get_pk_algorithm(key)))
		ret->error = sign_octets(key, signing, ret);
	return ret->error;
}

/* ---- The process that asks ---- */

/* The block that GnuTLS has allocated last. Static: gnutls_malloc() has no context, and a process
 * does one handshake. Smaller blocks cannot contain what is signed, and free(3) may unmap larger
 * ones before they are read. */
static struct memory {
	unsigned char *octets;
	size_t count;
} last;

static void *note_memory(void *octets, size_t count)
{
	if (octets && count >= sizeof(context) && count <= MEMORY_OCTETS_MAX)
		last = (struct memory){ octets, count };
	return octets;
}

static void *note_malloc(size_t octets)
{
	return note_memory(malloc(octets), octets);
}

static void *note_realloc(void *old, size_t octets)
{
	return note_memory(realloc(old, octets), octets);
}

/* Except with EdDSA, GnuTLS passes only the hash of the content, but the keeper needs the content.
 * It is in the block allocated last (3.7 and 3.8, lib/tls-sig.c and lib/tls13-sig.c). If it is not,
 * the keeper refuses to sign, and the handshake fails. */
static int ask_to_sign(gnutls_privkey_t key, gnutls_sign_algorithm_t algorithm, void *userdata,
		       unsigned flags, const gnutls_datum_t *data, gnutls_datum_t *ret)
{
	const struct certificate *certificate = userdata;
	const struct tls_service *service = certificate->service;
	gnutls_session_t gnutls = service->gnutls;
	struct tls_signing signing = {
		.key = (uint32_t)(certificate - service->list),
		.generation = service->generation,
		.algorithm = (uint32_t)gnutls_sign_algorithm_get(gnutls),
	};
	struct tls_signature signature = { 0 };

	(void)key;
	(void)algorithm; /* for RSA keys, not the one of the handshake */
	(void)flags;
	if (is_of_handshake(data->data, data->size))
		last = (struct memory){ data->data, data->size };
	if (gnutls_protocol_get_version(gnutls) == GNUTLS_TLS1_3)
		signing.count = (uint32_t)sizeof(context) +
				gnutls_hash_get_len(gnutls_prf_hash_get(gnutls));
	else if (last.octets)
		signing.count = RANDOMS_OCTETS + 4U + last.octets[RANDOMS_OCTETS + 3];
	if (signing.count > MIN(last.count, sizeof(signing.octets)))
		return GNUTLS_E_PK_SIGN_FAILED;
	memcpy(signing.octets, last.octets, signing.count);
	if (service->tls.sign(service->tls.sign_context, &signing, &signature) < 0 ||
	    signature.error < 0 || signature.count > sizeof(signature.octets))
		return GNUTLS_E_PK_SIGN_FAILED;
	ret->data = gnutls_malloc(signature.count);
	if (!ret->data)
		return GNUTLS_E_MEMORY_ERROR;
	ret->size = signature.count;
	memcpy(ret->data, signature.octets, signature.count);
	return 0;
}

static int get_key_info(gnutls_privkey_t key, unsigned what, void *userdata)
{
	const struct certificate *certificate = userdata;
	unsigned bits;
	int kind = gnutls_x509_crt_get_pk_algorithm(certificate->chain[0], &bits);

	(void)key;
	if (what & GNUTLS_PRIVKEY_INFO_PK_ALGO)
		return kind;
	if (what & GNUTLS_PRIVKEY_INFO_PK_ALGO_BITS)
		return (int)bits;
	if (what & GNUTLS_PRIVKEY_INFO_HAVE_SIGN_ALGO)
		return suits(GNUTLS_FLAGS_TO_SIGN_ALGO(what), kind);
	return -1;
}

int signing_import_key(gnutls_privkey_t key, const struct tls_service *service,
		       struct certificate *certificate)
{
	certificate->service = service;
	gnutls_malloc = note_malloc;
	gnutls_realloc = note_realloc;
	return gnutls_privkey_import_ext4(key, certificate, ask_to_sign, ask_to_sign, NULL, NULL,
					  get_key_info, 0);
}
