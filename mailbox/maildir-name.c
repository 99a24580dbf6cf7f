/* SPDX-License-Identifier: ISC
 *
 * What the name of a message's file says. Names are not trusted: whoever may write to the mailbox
 * chooses them. */
#include "mailbox/maildir-name.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define US_PER_S UINT64_C(1000000)

size_t maildir_name_unique_octets(const char *name)
{
	return (size_t)(strchrnul(name, ':') - name);
}

/* The number that `text` begins with; 0 if there is none, UINT64_MAX if it does not fit.
 * Leaves *ret_end behind its last digit. */
static uint64_t leading_number(const char *text, const char **ret_end)
{
	uint64_t number = 0;

	for (; *text >= '0' && *text <= '9'; text++) {
		if (number == UINT64_MAX || __builtin_mul_overflow(number, 10, &number) ||
		    __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
			number = UINT64_MAX;
	}
	*ret_end = text;
	return number;
}

uint64_t maildir_name_arrival_us(const char *name)
{
	const char *rest, *end;
	uint64_t us = leading_number(name, &rest);
	uint64_t fraction_us = 0;

	if (__builtin_mul_overflow(us, US_PER_S, &us))
		return UINT64_MAX;
	if (*rest != '.')
		return us;
	for (rest++; *rest && *rest != '.' && *rest != ':'; rest++) {
		if (*rest != 'M')
			continue;
		fraction_us = leading_number(rest + 1, &end);
		if (end > rest + 1)
			break;
	}
	if (fraction_us >= US_PER_S) /* not microseconds, whatever it is */
		fraction_us = 0;
	return __builtin_add_overflow(us, fraction_us, &us) ? UINT64_MAX : us;
}

/* The number in the first field `,LETTER=` of the unique part. Returns 0 or -ENOENT. */
static int find_field(const char *name, char letter, uint64_t *ret_number)
{
	const char *unique_end = name + maildir_name_unique_octets(name);
	const char *digits, *end;
	uint64_t number;

	do {
		name = memchr(name, ',', (size_t)(unique_end - name));
		if (!name)
			return -ENOENT;
		name++;
	} while (name[0] != letter || name[1] != '=');
	digits = name + 2;
	number = leading_number(digits, &end);
	if (end == digits || (*end != ',' && end != unique_end) || number == UINT64_MAX)
		return -ENOENT;
	*ret_number = number;
	return 0;
}

bool maildir_name_allows_octets(const char *name, uint64_t octets)
{
	uint64_t stored;

	if (find_field(name, 'S', &stored) < 0)
		return true;
	/* At most each is an LF that gets a CR; or all but the last, which lacks its line end. */
	return octets >= stored && octets - stored <= stored + 1;
}

int maildir_name_size_octets(const char *name, uint64_t *ret_octets)
{
	uint64_t octets;
	int r = find_field(name, 'W', &octets);

	if (r < 0)
		return r;
	if (!maildir_name_allows_octets(name, octets))
		return -ENOENT;
	*ret_octets = octets;
	return 0;
}

int maildir_name_add_seen(const char *name, char **ret_name)
{
	size_t unique = maildir_name_unique_octets(name);
	size_t octets = strlen(name);
	const char *info = name + unique;
	char *seen = malloc(octets + sizeof(":2,S"));

	if (!seen)
		return -ENOMEM;
	if (*info == '\0') {
		memcpy(seen, name, octets);
		memcpy(seen + octets, ":2,S", sizeof(":2,S"));
	} else if (strncmp(info, ":2,", 3) != 0 || strchr(info + 3, 'S')) {
		memcpy(seen, name, octets + 1);
	} else {
		size_t before = unique + 3; /* flags stand in ASCII order */

		while (name[before] && name[before] < 'S')
			before++;
		memcpy(seen, name, before);
		seen[before] = 'S';
		memcpy(seen + before + 1, name + before, octets - before + 1);
	}
	*ret_name = seen;
	return 0;
}

int maildir_name_make_unique(const char *name, uint64_t random, char **ret_name)
{
	uint64_t us = maildir_name_arrival_us(name);
	const char *info = name + maildir_name_unique_octets(name);

	if (asprintf(ret_name, "%ju.M%juR%016jx.pop3-handler%s", (uintmax_t)(us / US_PER_S),
		     (uintmax_t)(us % US_PER_S), (uintmax_t)random, info) < 0)
		return -ENOMEM;
	return 0;
}
