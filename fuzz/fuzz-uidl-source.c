/* SPDX-License-Identifier: ISC
 * The value of `unique-ids-from` in the first line; the rest is the name of a message. */
#include "lib/uidl-source.h"

#include "fuzz.h"

#include <errno.h>

/* More than any accepted format can expand to. */
#define CAPACITY 65536

static bool is_printable(const char *text, size_t octets)
{
	for (size_t i = 0; i < octets; i++) {
		if (text[i] < '!' || text[i] > '~')
			return false;
	}
	return true;
}

/* Checks that the unique-id fits exactly into its own length, and into nothing shorter. */
static void check_capacity(const char *format, const struct uidl_values *values)
{
	static char id[CAPACITY];
	ssize_t n = uidl_source_expand(format, values, id, sizeof(id));
	size_t octets = (size_t)n;
	char *exact;

	FUZZ_CHECK(n >= 0 || n == -ENAMETOOLONG);
	if (n <= 0)
		return;
	if (is_printable(values->name, values->name_octets))
		FUZZ_CHECK(is_printable(id, octets));
	exact = malloc(octets);
	FUZZ_CHECK(exact && uidl_source_expand(format, values, exact, octets) == n);
	FUZZ_CHECK(memcmp(exact, id, octets) == 0);
	free(exact);
	for (size_t less = octets - 1; less > 0; less /= 2) {
		char *small = malloc(less);

		FUZZ_CHECK(uidl_source_expand(format, values, small, less) == -ENAMETOOLONG);
		free(small);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	char *text = fuzz_string(data, octets), *name = text + strcspn(text, "\n");
	struct uidl_source source = { .server = UIDL_HEADERS };
	int r;

	if (*name)
		*name++ = '\0';
	r = uidl_source_parse(text, &source);
	FUZZ_CHECK(r == 0 || (r == -EINVAL && source.server == UIDL_HEADERS));
	FUZZ_CHECK((source.format != NULL) == (r == 0 && source.server == UIDL_DOVECOT));
	if (source.format) {
		size_t name_octets = octets - (size_t)(name - text);
		struct uidl_values values = {
			(uint32_t)octets * 0x9e3779b1,
			UINT32_MAX,
			name,
			name,
			name_octets,
			name_octets,
		};

		check_capacity(source.format, &values);
	}
	free(text);
	return 0;
}
