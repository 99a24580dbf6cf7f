/* SPDX-License-Identifier: ISC
 * Names of message files, and the numbers and unique-ids that a client sends. */
#include "mailbox/maildir-name.h"

#include "fuzz.h"
#include "lib/wire.h"

/* Adding the flag S keeps the unique part, and happens only once. */
static void check_seen(const char *name)
{
	char *seen, *again;
	size_t unique_octets = maildir_name_unique_octets(name);

	FUZZ_CHECK(maildir_name_add_seen(name, ":2,", &seen) == 0);
	FUZZ_CHECK(maildir_name_add_seen(seen, ":2,", &again) == 0);
	FUZZ_CHECK(strcmp(seen, again) == 0);
	FUZZ_CHECK(maildir_name_unique_octets(seen) == unique_octets);
	FUZZ_CHECK(memcmp(seen, name, unique_octets) == 0);
	FUZZ_CHECK(maildir_name_arrival_us(seen) == maildir_name_arrival_us(name));
	free(seen);
	free(again);
}

static void check_size(const char *name)
{
	uint64_t octets = maildir_name_size_octets(name);

	if (octets != UINT64_MAX)
		FUZZ_CHECK(maildir_name_allows_octets(name, octets));
}

/* A number that is parsed is written the same way, without leading zeros. */
static void check_number(const char *text)
{
	char written[24];
	uint64_t number;

	if (wire_parse_number(text, UINT64_MAX, &number) < 0)
		return;
	(void)snprintf(written, sizeof(written), "%ju", (uintmax_t)number);
	text += strspn(text, "0");
	FUZZ_CHECK(strcmp(text, number == 0 ? "" : written) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	char *text = fuzz_string(data, octets);

	check_seen(text);
	check_size(text);
	check_number(text);
	if (wire_is_printable(text, octets, WIRE_UNIQUE_ID_MAX))
		FUZZ_CHECK(octets > 0 && octets <= WIRE_UNIQUE_ID_MAX && strlen(text) == octets);
	free(text);
	return 0;
}
