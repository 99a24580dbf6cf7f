/* SPDX-License-Identifier: ISC
 * Passwords as the passwd-file has them. */
#include "auth/password.h"

#include "lib/util.h"

#include <crypt.h>
#include <strings.h>

/* Finds what follows the scheme: a hash, or the password itself. NULL: an unknown scheme. */
const char *password_skip_scheme(const char *field, bool *ret_is_plain)
{
	static const char *const schemes[] = {
		"{PLAIN}",     "{CRYPT}",   "{SHA512-CRYPT}", "{SHA256-CRYPT}",
		"{BLF-CRYPT}", "{ARGON2I}", "{ARGON2ID}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(schemes) && *field == '{'; i++) {
		size_t octets = strlen(schemes[i]);

		*ret_is_plain = i == 0;
		if (strncasecmp(field, schemes[i], octets) == 0)
			return field + octets;
	}
	*ret_is_plain = false;
	return *field == '{' ? NULL : field;
}

bool password_is_crypt_string(const char *text)
{
	int kind = crypt_checksalt(text);

	return kind != CRYPT_SALT_INVALID && kind != CRYPT_SALT_METHOD_DISABLED;
}

/* Compares all of `typed`, wherever the first difference is. */
bool password_is_equal(const char *secret, const char *typed)
{
	size_t secret_octets = strlen(secret), typed_octets = strlen(typed);
	volatile unsigned char difference = secret_octets != typed_octets;

	for (size_t i = 0; i < typed_octets; i++)
		difference |= (unsigned char)(typed[i] ^ secret[i < secret_octets ? i : 0]);
	return difference == 0;
}

/* Whether crypt(3) makes `hash` of the password. Returns 1, 0 or -ENOMEM. */
int password_matches_hash(const char *hash, const char *password)
{
	auto_free struct crypt_data *data = calloc(1, sizeof(*data));
	const char *result;
	int match;

	if (!data)
		return -ENOMEM;
	result = crypt_rn(password, hash, data, sizeof(*data));
	match = result && password_is_equal(hash, result);
	explicit_bzero(data, sizeof(*data));
	return match;
}
