/* SPDX-License-Identifier: ISC
 * Whole sessions. The first octet selects the kind of mailbox and the commands with which the
 * session begins. The rest of the input is what the client sends then. */
#include "log.h"
#include "protocol.h"
#include "session.h"
#include "settings.h"
#include "tmpdir.h"

#include <dirent.h>
#include <stdbool.h>
#include <strings.h>

enum {
	IS_FOLDER = 1,
	IS_READ_ONLY = 2,
	KEEPS_NEW = 4,
	PRELUDE_SHIFT = 3,
	PRELUDES = 4,
};

static const char *const preludes[PRELUDES] = {
	"",
	"USER alice\r\n",
	"USER alice\r\nPASS apple\r\n",
	"USER alice\r\nPASS apple\r\nRETR 1\r\nSLEE\r\n",
};

static const struct {
	const char *in_maildir, *in_folder, *text;
} letters[] = {
	{ "new/1.M1P1.h", "a.eml", "Subject: one\n\nHello\n.dot\n..dots\n" },
	{ "cur/2.M2P2.h,S=25,W=29:2,F", "b.eml", "Subject: two\r\n\r\nno end" },
	{ "new/3.M3P3.h,W=5", "c d.eml", "\n" },
	{ "cur/4.M4P4.h:2,", "_", "" },
};

#define LETTERS (sizeof(letters) / sizeof(*letters))

static struct settings *settings;
static int tmpdir_fd = -1;

static void make_tmpdir(void)
{
	char users[128], mailbox[128], config[256], argument[300];
	char program[] = "pop3-handler";
	char *arguments[] = { program, argument, NULL };
	int length;

	tmpdir_make();
	tmpdir_fd = open(tmpdir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(users, sizeof(users), "%s/users", tmpdir_path);
	(void)snprintf(mailbox, sizeof(mailbox), "%s/%%u", tmpdir_path);
	(void)snprintf(argument, sizeof(argument), "--config=%s/config", tmpdir_path);
	length = snprintf(config, sizeof(config),
			  "users = %s\nmailbox = %s\nlogin-penalty = 0\nsandbox = off\n", users,
			  mailbox);
	tmpdir_write(tmpdir_fd, "users", "alice:{PLAIN}apple\n", 19);
	tmpdir_write(tmpdir_fd, "config", config, (size_t)length);
	FUZZ_CHECK(settings_load(2, arguments, &settings) == 0);
}

/* Counts the messages in the mailbox. */
static size_t count_letters(void)
{
	static const char *const folders[] = { "alice", "alice/new", "alice/cur" };
	size_t count = 0;

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++) {
		int fd = openat(tmpdir_fd, folders[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
		struct dirent *entry;

		while (directory && (entry = readdir(directory)))
			count += *entry->d_name != '.' && entry->d_type == DT_REG;
		if (directory)
			(void)closedir(directory);
	}
	return count;
}

/* Makes a fresh mailbox, unless the present one is complete: a session waits for the next tick of
 * the clock if its mailbox has just changed. */
static void make_mailbox(bool is_folder)
{
	char path[128];
	bool was_folder = faccessat(tmpdir_fd, "alice/new", F_OK, 0) < 0;

	if (was_folder == is_folder && count_letters() == LETTERS)
		return;
	(void)snprintf(path, sizeof(path), "%s/alice", tmpdir_path);
	(void)nftw(path, tmpdir_remove, 8, FTW_DEPTH | FTW_PHYS);
	FUZZ_CHECK(mkdirat(tmpdir_fd, "alice", 0700) == 0);
	FUZZ_CHECK(is_folder || mkdirat(tmpdir_fd, "alice/new", 0700) == 0);
	FUZZ_CHECK(is_folder || mkdirat(tmpdir_fd, "alice/cur", 0700) == 0);
	for (size_t i = 0; i < LETTERS; i++) {
		(void)snprintf(path, sizeof(path), "alice/%s",
			       is_folder ? letters[i].in_folder : letters[i].in_maildir);
		tmpdir_write(tmpdir_fd, path, letters[i].text, strlen(letters[i].text));
	}
}

/* Whether the text may contain DELE or DELI. */
static bool has_deletion(const char *text, size_t octets)
{
	for (size_t i = 0; i + 4 <= octets; i++) {
		if (strncasecmp(text + i, "DEL", 3) == 0)
			return true;
	}
	return false;
}

static int serve(const char *prelude, const char *text, size_t octets)
{
	int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
	const struct peer peer = PEER_LOCAL;
	struct session session = { .settings = settings, .peer = &peer, .channel_fd = -1 };

	FUZZ_CHECK(write(in, prelude, strlen(prelude)) == (ssize_t)strlen(prelude));
	FUZZ_CHECK(write(in, text, octets) == (ssize_t)octets && lseek(in, 0, SEEK_SET) == 0);
	FUZZ_CHECK(transport_new(in, out, -1, &session.transport) == 0);
	(void)protocol_serve(&session, NULL);
	transport_free(session.transport);
	(void)close(in);
	return out;
}

/* The output begins with +OK, and its last line is complete. */
static void check_output(int out)
{
	char begin[4], end[2];
	off_t octets = lseek(out, 0, SEEK_END);

	FUZZ_CHECK(octets > 4 && pread(out, begin, 4, 0) == 4 && memcmp(begin, "+OK ", 4) == 0);
	FUZZ_CHECK(pread(out, end, 2, octets - 2) == 2 && memcmp(end, "\r\n", 2) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets)
{
	const char *prelude;
	char *text;
	int out;

	if (octets == 0)
		return 0;
	if (!settings)
		make_tmpdir();
	make_mailbox(data[0] & IS_FOLDER);
	settings->read_only = data[0] & IS_READ_ONLY;
	settings->keep_new = data[0] & KEEPS_NEW;
	prelude = preludes[(data[0] >> PRELUDE_SHIFT) % PRELUDES];
	text = fuzz_string(data + 1, octets - 1);
	out = serve(prelude, text, octets - 1);
	check_output(out);
	(void)close(out);
	if (settings->read_only || !has_deletion(text, octets - 1))
		FUZZ_CHECK(count_letters() == LETTERS);
	free(text);
	return 0;
}
