/* SPDX-License-Identifier: ISC
 * What other programs leave where mail is. Names and octets are whatever they chose. */
#include "mailbox/foreign.h"

#include "lib/util.h"

#include <fnmatch.h>

bool foreign_is_litter(const char *name)
{
	static const char pattern[] = "@(*.@(tmp|part|partial|filepart|crdownload|swp)|*~|#*#|"
				      "Thumbs.db|desktop.ini)";

	return fnmatch(pattern, name, FNM_CASEFOLD | FNM_EXTMATCH) == 0;
}

const char *foreign_find_store(const char *name)
{
	static const char *const stores[][2] = {
		{ "dovecot.?(list.|map.)index*", "it looks like a mail store of Dovecot" },
		{ "dovecot-uidlist", "it looks like a Maildir of Dovecot without new and cur" },
		{ "courier@(pop3dsizelist|imapsubscribed|imapuiddb)",
		  "it looks like a Maildir of Courier without new and cur" },
		{ "maildirsize", "it looks like a Maildir++ without new and cur" },
		{ "maildirfolder", "it looks like a Maildir++ folder without new and cur" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(stores); i++) {
		if (fnmatch(stores[i][0], name, FNM_EXTMATCH) == 0)
			return stores[i][1];
	}
	return NULL;
}

/* Of six octets or more where the format has them: no mail begins so. */
const char *foreign_find_format(const char *octets, size_t count)
{
	static const struct {
		size_t octets;
		const char *magic; /* in which '?' is any octet */
		const char *text;
	} formats[] = {
		{ 3, "\x1f\x8b\x08", "it is compressed (gzip)" },
		{ 10, "BZh?1AY&SY", "it is compressed (bzip2)" },
		{ 6, "\3757zXZ\0", "it is compressed (xz)" },
		{ 4, "\x28\xb5\x2f\xfd", "it is compressed (zstd)" },
		{ 4, "\x04\x22\x4d\x18", "it is compressed (lz4)" },
		{ 15, "Dovecot-LZ4\x0d\x2a\x9b\xc5", "it is compressed (lz4 of Dovecot)" },
		{ 9, "CRYPTED\x03\x07", "it is encrypted (mail_crypt of Dovecot)" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		const char *magic = formats[i].magic;
		size_t same = 0;

		while (same < MIN(count, formats[i].octets) &&
		       (magic[same] == octets[same] || magic[same] == '?'))
			same++;
		if (same == formats[i].octets)
			return formats[i].text;
	}
	return NULL;
}
