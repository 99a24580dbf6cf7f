/* SPDX-License-Identifier: ISC
 * Maildir names. They are untrusted: any program that can write to the mailbox chooses them. */
#include "mailbox/maildir-name.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define US_PER_S UINT64_C(1000000)

size_t maildir_name_unique_octets(const char *name)
{
	const char *end = name + strcspn(name, ":;!");

	while (*end && *end != ':' && strncmp(end + 1, "2,", 2) != 0)
		end += 1 + strcspn(end + 1, ":;!");
	return (size_t)(end - name);
}

/* Parses digits at the start of `text`, up to *ret_end. No digits: 0; overflow: UINT64_MAX. */
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
	const char *unique_end = name + maildir_name_unique_octets(name), *rest, *end;
	uint64_t us = leading_number(name, &rest), fraction_us = 0;

	if (__builtin_mul_overflow(us, US_PER_S, &us))
		return UINT64_MAX;
	if (*rest != '.')
		return us;
	for (rest++; rest < unique_end && *rest != '.'; rest++) {
		if (*rest != 'M')
			continue;
		fraction_us = leading_number(rest + 1, &end);
		if (end > rest + 1)
			break;
	}
	if (fraction_us >= US_PER_S) /* some other number, not microseconds */
		fraction_us = 0;
	return __builtin_add_overflow(us, fraction_us, &us) ? UINT64_MAX : us;
}

uint64_t maildir_name_find_octets(const char *name, const char *field)
{
	const char *unique_end = name + maildir_name_unique_octets(name), *end;
	const char *found = strstr(name, field);
	uint64_t number = found ? leading_number(found + 3, &end) : 0;

	return found && found < unique_end && end > found + 3 &&
			       (*end == ',' || end == unique_end) ?
		       number :
		       UINT64_MAX;
}

bool maildir_name_can_grow(uint64_t stored, uint64_t octets)
{
	/* At most, each octet is an LF that gets a CR, and the last is another that gets CRLF. */
	return octets >= stored && octets - stored <= stored + 1;
}

bool maildir_name_allows_octets(const char *name, uint64_t octets)
{
	uint64_t stored = maildir_name_find_octets(name, ",S=");

	return stored == UINT64_MAX || maildir_name_can_grow(stored, octets);
}

uint64_t maildir_name_size_octets(const char *name)
{
	uint64_t octets = maildir_name_find_octets(name, ",W=");

	return octets == UINT64_MAX || maildir_name_allows_octets(name, octets) ? octets :
										  UINT64_MAX;
}

int maildir_name_add_seen(const char *name, const char *info_start, char **ret_name)
{
	const char *info = name + maildir_name_unique_octets(name);
	const char *rest = info, *start = "", *added = "S";

	if (*info == '\0') {
		start = info_start;
	} else if (strncmp(info + 1, "2,", 2) != 0 || strchr(info + 3, 'S')) {
		added = "";
	} else {
		rest += 3;
		while (*rest && *rest < 'S') /* flags are in ASCII order */
			rest++;
	}
	if (asprintf(ret_name, "%.*s%s%s%s", (int)(rest - name), name, start, added, rest) < 0)
		return -ENOMEM;
	return 0;
}

bool maildir_name_has_flag(const char *name, char flag)
{
	const char *info = name + maildir_name_unique_octets(name);

	return *info && strncmp(info + 1, "2,", 2) == 0 &&
	       memchr(info + 3, flag, strcspn(info + 3, ","));
}

int maildir_name_make_unique(const char *name, uint64_t random, char **ret_name)
{
	uint64_t us = maildir_name_arrival_us(name);

	if (asprintf(ret_name, "%ju.M%juR%016jx.pop3-handler%s", (uintmax_t)(us / US_PER_S),
		     (uintmax_t)(us % US_PER_S), (uintmax_t)random,
		     name + maildir_name_unique_octets(name)) < 0)
		return -ENOMEM;
	return 0;
}
