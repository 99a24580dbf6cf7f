/* SPDX-License-Identifier: ISC */
#include "mailbox/maildir-name.h"

#include "lib/util.h"
#include "tap.h"

#include <errno.h>
#include <inttypes.h>

static void test_arrival(void)
{
	static const struct {
		const char *name;
		uint64_t us;
	} cases[] = {
		{ "1700000000.M123456P789.host", 1700000000123456 },
		{ "1700000000.M5P789.host:2,S", 1700000000000005 },
		{ "1700000000.V801I1c8f3M654321.host", 1700000000654321 },
		{ "1700000000.P1Q2M3.host", 1700000000000003 },
		{ "1700000000.789_1.host", 1700000000000000 },
		{ "1700000000.host.M7", 1700000000000000 },
		{ "1700000000.Mx1M8.host", 1700000000000008 },
		{ "1700000000.M1000000P1.host", 1700000000000000 },
		{ "1700000000:2,S.M5", 1700000000000000 },
		{ "1700000000.P1;2,M5", 1700000000000000 },
		{ "1700000000", 1700000000000000 },
		{ "msg.eml", 0 },
		{ "", 0 },
		{ "99999999999999999999999.M1.host", UINT64_MAX },
		{ "18446744073709.M999999.host", UINT64_MAX },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		(void)tap(maildir_name_arrival_us(cases[i].name) == cases[i].us, "arrival of '%s'",
			  cases[i].name);
}

static void test_size(void)
{
	static const char *const without[] = {
		"1.M1.h",	  "1.M1.h,S=5",	    "1.M1.h,W=",    "1.M1.h,W=5x",
		"1.M1.h,W=-5",	  "1.M1.h:2,S,W=5", "1.M1.h,W=5.W", "1.M1.h,W=99999999999999999999",
		"1.M1.h:2,,W=10",
	};

	for (size_t i = 0; i < ARRAY_SIZE(without); i++)
		(void)tap(maildir_name_size_octets(without[i]) == UINT64_MAX, "'%s' gives no size",
			  without[i]);
	(void)tap(maildir_name_size_octets("1.M1.h,S=5,W=6") == 6, "W= at the end");
	(void)tap(maildir_name_size_octets("1.M1.h,W=7:2,S") == 7, "W= before info");
	(void)tap(maildir_name_size_octets("1.M1.h,W=8,S=5") == 8, "W= before S=");
	(void)tap(maildir_name_size_octets("1.M1.h,W=5000000000:2,") == 5000000000,
		  "W= over 4 GiB");
}

static void test_plausible_size(void)
{
	static const struct {
		const char *name;
		uint64_t octets;
		bool allowed;
	} cases[] = {
		{ "1.M1.h", 99, true },
		{ "1.M1.h,S=10", 10, true },
		{ "1.M1.h,S=10", 9, false },
		{ "1.M1.h,S=10", 21, true },
		{ "1.M1.h,S=10:2,S", 22, false },
		{ "1.M1.h,S=0", 0, true },
		{ "1.M1.h,S=2", 5, true },
		{ "1.M1.h:2,S,S=10", 9, true },
		{ "1.M1.h,S=18446744073709551614", UINT64_MAX, true },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		(void)tap(maildir_name_allows_octets(cases[i].name, cases[i].octets) ==
				  cases[i].allowed,
			  "'%s' and %" PRIu64 " octets", cases[i].name, cases[i].octets);
	(void)tap(maildir_name_size_octets("1.M1.h,S=10,W=9") == UINT64_MAX, "W= below S=");
	(void)tap(maildir_name_size_octets("1.M1.h,W=22,S=10") == UINT64_MAX, "W= far above S=");
}

static void test_seen(void)
{
	static const char *const cases[][2] = {
		{ "1.M1.h", "1.M1.h:2,S" },	    { "1.M1.h:2,", "1.M1.h:2,S" },
		{ "1.M1.h:2,S", "1.M1.h:2,S" },	    { "1.M1.h:2,FRT", "1.M1.h:2,FRST" },
		{ "1.M1.h:2,Ta", "1.M1.h:2,STa" },  { "1.M1.h:2,DFPR", "1.M1.h:2,DFPRS" },
		{ "1.M1.h:1,x", "1.M1.h:1,x" },	    { "1.M1.h:", "1.M1.h:" },
		{ "1.M1.h;2,F", "1.M1.h;2,FS" },    { "1.M1.h!2,", "1.M1.h!2,S" },
		{ "1.M1.h;x!2,S", "1.M1.h;x!2,S" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		auto_free char *name = NULL;

		(void)tap(maildir_name_add_seen(cases[i][0], ":2,", &name) == 0 &&
				  strcmp(name, cases[i][1]) == 0,
			  "'%s' seen is '%s'", cases[i][0], cases[i][1]);
	}
}

int main(void)
{
	(void)tap(maildir_name_unique_octets("1.M1.h:2,S") == 6, "the unique part ends at ':'");
	(void)tap(maildir_name_unique_octets("1.M1.h") == 6, "or at the end of the name");
	(void)tap(maildir_name_unique_octets("1.M1.h;2,:2,S") == 6, "or at ';2,'");
	(void)tap(maildir_name_unique_octets("1!M1!h!2,F") == 6, "or at '!2,'");
	(void)tap(maildir_name_unique_octets("1;M1!2;2:2,!2,") == 8, "but not at other ';' or '!'");
	(void)tap(maildir_name_arrival_us("1.M5;2,M6") == 1000005,
		  "flags are not part of the arrival time");
	test_arrival();
	test_size();
	test_plausible_size();
	test_seen();
	return tap_end();
}
