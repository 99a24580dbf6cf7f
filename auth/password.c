/* SPDX-License-Identifier: ISC
 * Fields may be malformed, and passwords are untrusted. Copies of both are wiped from memory. */
#include "auth/password.h"

#include "auth.h"
#include "lib/util.h"
#include "lib/wire.h"

#include <crypt.h>
#include <endian.h>
#include <nettle/base16.h>
#include <nettle/base64.h>
#include <nettle/hmac.h>
#include <nettle/md4.h>
#include <nettle/memops.h>
#include <nettle/pbkdf2.h>

/* Limits on the cost of a hash: some seconds of CPU time, and half of sandbox.c's memory limit. */
#define NUMBER_MAX 10000000
#define BCRYPT_COST_MIN 4
#define BCRYPT_COST_MAX 16UL /* as a power of two */
#define ARGON2_KIB_MAX (1 << 20)
#define ARGON2_PASSES_MAX 100

struct octets {
	uint8_t *first;
	size_t count;
};

/* A parsed password field, and the value that is compared with its hash. */
struct secret {
	const struct scheme *scheme;
	const char *user, *typed;
	size_t typed_octets;
	struct octets kind, salt, hash; /* `kind` is used by ARGON2 only */
	unsigned numbers[4];
	const void *made; /* from the typed password, to compare with `hash`; often in `buffer` */
	size_t made_octets;
	uint8_t buffer[CRYPT_OUTPUT_SIZE];
	union {
		struct sha512_ctx any; /* the largest of the digests */
		struct hmac_md5_ctx md5;
		struct hmac_sha256_ctx hmac; /* also holds SHA-1's, which is smaller */
	} context;
};

struct scheme {
	const char *names;
	const char *format;		    /* see parse() */
	size_t octets;			    /* of the hash; 0: any */
	int (*make)(struct secret *secret); /* returns 0 or an error */
	const struct nettle_hash *algorithm;
	bool is_costly;
};

/* Decodes a text in place, as a letter of a format says. Returns its octets; 0: malformed. */
static size_t decode(char *text, char letter)
{
	struct base16_decode_ctx hex;
	struct base64_decode_ctx base64;
	size_t decoded = 0, octets = strlen(text);
	uint8_t *first = (uint8_t *)text;
	bool is_hex = letter == 'H' || (letter == 'G' && !strchr(text, '='));

	if (strchr("KST", letter))
		return octets;
	base16_decode_init(&hex);
	base64_decode_init(&base64);
	if (!(is_hex ? base16_decode_update(&hex, &decoded, first, octets, text) :
		       base64_decode_update(&base64, &decoded, first, octets, text)))
		return 0;
	text[decoded] = '\0';
	return decoded;
}

/* Parses a text in place. In a format, `N` is a number, `K` the kind, `S` the salt, `s` the salt in
 * base64; the hash is `T` (text), `H` (hex), `B` (base64) or `G`: base64 with "=", else hex. */
static int parse(struct secret *secret, const char *format, char *text)
{
	for (unsigned numbers = 0; *format;) {
		char letter = *format++, *part = text;
		struct octets *octets = letter == 'K'	     ? &secret->kind :
					strchr("Ss", letter) ? &secret->salt :
							       &secret->hash;
		uint64_t number;

		if (!strchr("NKSsTHBG", letter)) {
			if (*text++ != letter)
				return -EINVAL;
			continue;
		}
		text = strchr(part, *format);
		if (!text || text == part)
			return -EINVAL;
		if (*format) {
			*text++ = '\0';
			format++;
		}
		if (letter != 'N')
			*octets = (struct octets){ (uint8_t *)part, decode(part, letter) };
		else if (wire_parse_number(part, NUMBER_MAX, &number) < 0 || number == 0)
			return -EINVAL;
		else
			secret->numbers[numbers++] = (unsigned)number;
	}
	return 0;
}

/* ---- The `make` functions of the schemes ---- */

/* The number is of PLAIN-TRUNC: a stored password of that length may have been truncated. */
static int make_text(struct secret *secret)
{
	secret->made = secret->typed;
	secret->made_octets = secret->typed_octets;
	if (secret->numbers[0] == secret->hash.count && secret->made_octets > secret->hash.count)
		secret->made_octets = secret->hash.count;
	return 0;
}

/* Checks cost and hash length, because crypt(3) validates only what precedes the hash. */
static bool is_crypt_string(const char *text)
{
	static const char kinds[] = "1256y7g", hash_octets[] = { 22, 53, 43, 86, 43, 43, 43 };
	const char *kind = strchr(kinds, text[1]), *hash = strrchr(text, '$');
	const char *rounds = strstr(text, "rounds=");
	size_t octets = strlen(text);
	unsigned long cost = rounds			     ? strtoul(rounds + 7, NULL, 10) :
			     strncmp(text, "$sha1$", 6) == 0 ? strtoul(text + 6, NULL, 10) :
			     strncmp(text, "$2", 2) == 0     ? strtoul(text + 4, NULL, 10) :
							       BCRYPT_COST_MIN;

	if (crypt_checksalt(text) == CRYPT_SALT_INVALID)
		return false;
	if (*text != '$') /* crypt(5): bsdicrypt; descrypt or bigcrypt */
		return *text == '_' ? octets == 20 : octets % 11 == 2 && octets > 2;
	if (cost < BCRYPT_COST_MIN || cost > (text[1] == '2' ? BCRYPT_COST_MAX : NUMBER_MAX))
		return false;
	return !kind || strlen(hash) == 1 + (size_t)hash_octets[kind - kinds];
}

static int make_crypt(struct secret *secret)
{
	const char *hash = (const char *)secret->hash.first;
	char *made;

	if (*hash == '!' || *hash == '*')
		return -EACCES;
	if (!is_crypt_string(hash))
		return -EINVAL;
	if (!secret->typed)
		return 0;
	errno = 0;
	made = crypt(secret->typed, hash);
	if (!made || (*made == '*' && errno != ERANGE)) /* ERANGE: the password is too long */
		return -EINVAL;
	secret->made_octets = strlen(made);
	memcpy(secret->buffer, made, secret->made_octets);
	explicit_bzero(made, secret->made_octets); /* crypt(3) leaves no other copy */
	return 0;
}

static int make_digest(struct secret *secret)
{
	const struct nettle_hash *algorithm = secret->scheme->algorithm;

	algorithm->init(&secret->context);
	algorithm->update(&secret->context, secret->typed_octets, (const uint8_t *)secret->typed);
	algorithm->update(&secret->context, secret->salt.count, secret->salt.first);
	algorithm->digest(&secret->context, secret->scheme->octets, secret->buffer);
	return 0;
}

/* Hashes USER:REALM:PASSWORD (RFC 2831 section 2.1.2.1). The realm follows the last "@". */
static int make_digest_md5(struct secret *secret)
{
	const char *at = strrchr(secret->user, '@');
	auto_wipe char *text = NULL;
	int octets = asprintf(&text, "%s%s:%s", secret->user, at ? "" : ":", secret->typed);

	if (octets < 0)
		return -ENOMEM;
	if (at)
		text[at - secret->user] = ':';
	secret->typed = text;
	secret->typed_octets = (size_t)octets;
	return make_digest(secret);
}

/* The states of both hashes of HMAC-MD5 after their padded keys (RFC 2104 section 4). */
static int make_cram_md5(struct secret *secret)
{
	struct hmac_md5_ctx *context = &secret->context.md5;

	hmac_md5_set_key(context, secret->typed_octets, (const uint8_t *)secret->typed);
	for (size_t i = 0; i < 8; i++) {
		uint32_t word = htole32((i < 4 ? &context->outer : &context->inner)->state[i % 4]);

		memcpy(secret->buffer + i * sizeof(word), &word, sizeof(word));
	}
	return 0;
}

static int make_pbkdf2(struct secret *secret)
{
	(secret->scheme->algorithm == &nettle_sha1 ? pbkdf2_hmac_sha1 : pbkdf2_hmac_sha256)(
		secret->typed_octets, (const uint8_t *)secret->typed, secret->numbers[0],
		secret->salt.count, secret->salt.first, secret->scheme->octets, secret->buffer);
	return 0;
}

/* Computes the ServerKey (RFC 5802 section 3), the second of the two keys in the field. */
static int make_scram(struct secret *secret)
{
	const struct nettle_hash *algorithm = secret->scheme->algorithm;
	struct hmac_sha256_ctx *context = &secret->context.hmac;
	size_t octets = secret->scheme->octets;

	(void)make_pbkdf2(secret);
	HMAC_SET_KEY(context, algorithm, octets, secret->buffer);
	algorithm->update(&context->state, strlen("Server Key"), (const uint8_t *)"Server Key");
	HMAC_DIGEST(context, algorithm, octets, secret->buffer);
	return 0;
}

#if HAVE_ARGON2
#include <argon2.h>

/* Computes all lanes in one thread, because a session cannot create threads. */
static int make_argon2(struct secret *secret)
{
	const unsigned *numbers = secret->numbers;
	argon2_context context = { .out = secret->buffer,
				   .outlen = (uint32_t)secret->hash.count,
				   .pwd = (uint8_t *)(uintptr_t)secret->typed, /* NOLINT */
				   .pwdlen = (uint32_t)secret->typed_octets,
				   .salt = secret->salt.first,
				   .saltlen = (uint32_t)secret->salt.count,
				   .version = numbers[0],
				   .m_cost = numbers[1],
				   .t_cost = numbers[2],
				   .lanes = numbers[3],
				   .threads = 1 };
	argon2_type type = secret->kind.count == 1 ? Argon2_i : Argon2_id;

	if (strncmp("id", (const char *)secret->kind.first, secret->kind.count) != 0 ||
	    numbers[1] > ARGON2_KIB_MAX || numbers[2] > ARGON2_PASSES_MAX ||
	    numbers[1] / ARGON2_MIN_MEMORY < numbers[3] || context.outlen < ARGON2_MIN_OUTLEN ||
	    context.outlen > sizeof(secret->buffer) || context.saltlen < ARGON2_MIN_SALT_LENGTH)
		return -EINVAL;
	secret->made_octets = context.outlen;
	return !secret->typed || argon2_ctx(&context, type) == ARGON2_OK ? 0 : -ENOMEM;
}
#else
#define make_argon2 NULL
#endif

#define CRYPT_NAMES "CRYPT DES-CRYPT MD5-CRYPT BLF-CRYPT SHA256-CRYPT SHA512-CRYPT"

static const struct scheme schemes[] = {
	{ CRYPT_NAMES, "T", 0, make_crypt, NULL, true }, /* first: the default */
	{ "PLAIN CLEAR CLEARTEXT", "T", 0, make_text, NULL, false },
	{ "PLAIN-TRUNC", "N-T", 0, make_text, NULL, false },
	{ "PLAIN-MD4", "G", 16, make_digest, &nettle_md4, false },
	{ "MD5 PLAIN-MD5 LDAP-MD5", "G", 16, make_digest, &nettle_md5, false },
	{ "SHA SHA1", "G", 20, make_digest, &nettle_sha1, false },
	{ "SHA256", "G", 32, make_digest, &nettle_sha256, false },
	{ "SHA512", "G", 64, make_digest, &nettle_sha512, false },
	{ "SMD5", "B", 16, make_digest, &nettle_md5, false },
	{ "SSHA", "B", 20, make_digest, &nettle_sha1, false },
	{ "SSHA256", "B", 32, make_digest, &nettle_sha256, false },
	{ "SSHA512", "B", 64, make_digest, &nettle_sha512, false },
	{ "DIGEST-MD5", "G", 16, make_digest_md5, &nettle_md5, false },
	{ "CRAM-MD5 HMAC-MD5", "G", 32, make_cram_md5, NULL, false },
	{ "PBKDF2", "$1$S$N$H", 20, make_pbkdf2, &nettle_sha1, true },
	{ "SCRAM-SHA-1", "N,s,B,B", 20, make_scram, &nettle_sha1, true },
	{ "SCRAM-SHA-256", "N,s,B,B", 32, make_scram, &nettle_sha256, true },
	{ "ARGON2I ARGON2ID", "$argon2K$v=N$m=N,t=N,p=N$s$B", 0, make_argon2, NULL, true },
};

/* ---- Fields ---- */

/* Finds the scheme of a field; NULL: unknown. Sets ret_text to the text after the scheme's name,
 * and ret_letter to the encoding that the name has as a suffix (NUL: none). */
static const struct scheme *find_scheme(const char *field, const char **ret_text, char *ret_letter)
{
	const char *end = *field == '{' ? strchr(field, '}') : NULL;
	size_t octets = strcspn(field, ".}"), suffix = end ? (size_t)(end - field) - octets : 0;

	*ret_text = end ? end + 1 : field;
	*ret_letter = '\0';
	if (!end)
		return *field == '{' ? NULL : schemes;
	if (suffix > 0)
		*ret_letter = util_is_listed(".HEX", field + octets, suffix) ? 'H' : 'B';
	if (*ret_letter == 'B' && !util_is_listed(".B64 .BASE64", field + octets, suffix))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		bool is_crypt = **ret_text == '$' && schemes[i].make == make_digest;

		if (util_is_listed(schemes[i].names, field + 1, octets - 1))
			return is_crypt ? schemes : &schemes[i]; /* {MD5}$1$... */
	}
	return NULL;
}

/* Parses the text in place and checks it. Returns as password_check(). */
static int check_text(struct secret *secret, char *text, char letter)
{
	const struct scheme *scheme = secret->scheme;
	bool is_whole = scheme->format[1] == '\0', is_typed = secret->typed != NULL;
	int r;

	if (letter && !is_whole)
		(void)decode(text, letter);
	r = parse(secret, letter && is_whole ? (char[]){ letter, '\0' } : scheme->format, text);
	if (*scheme->format == 'B' && secret->hash.count > scheme->octets) { /* the salt follows */
		secret->salt.first = secret->hash.first + scheme->octets;
		secret->salt.count = secret->hash.count - scheme->octets;
		secret->hash.count = scheme->octets;
	}
	if (r == 0 && (secret->hash.count == 0 ||
		       (scheme->octets > 0 && secret->hash.count != scheme->octets)))
		r = -EINVAL;
	secret->made = secret->buffer;
	secret->made_octets = scheme->octets;
	if (r == 0 && (is_typed || scheme->octets == 0))
		r = scheme->make(secret);
	if (r < 0 || !is_typed)
		return r < 0 ? r : scheme->is_costly;
	return secret->made_octets == secret->hash.count &&
	       memeql_sec(secret->made, secret->hash.first, secret->hash.count);
}

int password_check(const char *field, const char *user, const char *typed, char *ret_reason)
{
	char letter;
	const char *text;
	struct secret secret = { .scheme = find_scheme(field, &text, &letter),
				 .user = user,
				 .typed = typed,
				 .typed_octets = typed ? strlen(typed) : 0 };
	auto_free char *copy = strdup(text);
	int r;

	if (!copy)
		return -ENOMEM;
	if (!secret.scheme || !secret.scheme->make) {
		(void)snprintf(ret_reason, AUTH_REASON_OCTETS, "the password scheme %.*s is %s",
			       (int)(text - field), field,
			       secret.scheme ? "not built in" : "unknown");
		return -EINVAL;
	}
	r = *text ? check_text(&secret, copy, letter) : -ENODATA;
	explicit_bzero(copy, strlen(text));
	explicit_bzero(&secret, sizeof(secret));
	(void)snprintf(ret_reason, AUTH_REASON_OCTETS, "%s",
		       r == -EINVAL ? "the password hash is malformed, or costs too much" :
		       r < 0	    ? "the account has no password" :
				      "wrong password");
	return r;
}
