/* SPDX-License-Identifier: ISC
 * The key of TLS session tickets. Whoever has it can read the resumed TLS 1.2 sessions of a day,
 * and can pretend to have shown a client certificate: so nobody else may read or replace the file.
 * All of this runs before login. */
#include "tls/ticket-key.h"

#include "lib/digest.h"
#include "lib/util.h"

#include <sys/file.h>
#include <sys/random.h>

#define KEY_FILE "ticket-key"
#define KEY_LIFETIME_S 86400

/* The seal tells a key that is just being written from a whole one. */
struct key_file {
	int64_t made_s; /* since the epoch */
	unsigned char key[TLS_TICKET_KEY_OCTETS];
	unsigned char seal[DIGEST_OCTETS];
};

/* Whether what has just been opened is ours, and no bit of `forbidden` lets others at it. */
static int check_owner(int fd, mode_t type, mode_t forbidden)
{
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if ((status.st_mode & S_IFMT) != type || status.st_uid != geteuid() ||
	    (status.st_mode & forbidden) || (type == S_IFREG && status.st_nlink != 1))
		return -EPERM;
	return 0;
}

/* Returns 0, -EBADMSG if the file has no key that may still be used, or another failure. */
static int read_key(int fd, struct key_file *ret_file)
{
	ssize_t n = util_pread(fd, ret_file, sizeof(*ret_file), 0);
	int64_t age_s;

	if (n < 0)
		return (int)n;
	if (n != sizeof(*ret_file) ||
	    digest_check_seal(ret_file, sizeof(*ret_file), ret_file->seal) < 0)
		return -EBADMSG;
	age_s = (int64_t)time(NULL) - ret_file->made_s;
	return age_s < 0 || age_s >= KEY_LIFETIME_S ? -EBADMSG : 0;
}

/* Makes a new key, unless another process has just done it, and writes the file at once. */
static int replace_key(int fd, struct key_file *ret_file)
{
	int r;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0) /* free again when `fd` is closed */
		return -errno;
	r = read_key(fd, ret_file);
	if (r != -EBADMSG)
		return r;
	*ret_file = (struct key_file){ .made_s = (int64_t)time(NULL) };
	if (getrandom(ret_file->key, sizeof(ret_file->key), 0) != sizeof(ret_file->key))
		return -EIO;
	digest_seal(ret_file, sizeof(*ret_file), ret_file->seal);
	return util_pwrite(fd, ret_file, sizeof(*ret_file), 0);
}

int ticket_key_find(const char *directory, unsigned char ret_key[TLS_TICKET_KEY_OCTETS])
{
	auto_fd int directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_fd int fd = -1;
	struct key_file file;
	int r = check_owner(directory_fd, S_IFDIR, S_IWGRP | S_IWOTH);

	if (r < 0)
		return r;
	fd = openat(directory_fd, KEY_FILE, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY,
		    0600);
	r = check_owner(fd, S_IFREG, S_IRWXG | S_IRWXO);
	if (r == 0)
		r = read_key(fd, &file);
	if (r == -EBADMSG)
		r = replace_key(fd, &file);
	if (r == 0)
		memcpy(ret_key, file.key, sizeof(file.key));
	explicit_bzero(&file, sizeof(file));
	return r;
}
