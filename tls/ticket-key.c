/* SPDX-License-Identifier: ISC
 * The session ticket key. An attacker who has it can decrypt the resumed TLS 1.2 sessions of a day,
 * and impersonate a client with a certificate. So no other user may read or replace the file. */
#include "tls/ticket-key.h"

#include "lib/util.h"

#include <sys/file.h>
#include <sys/random.h>

#define KEY_FILE "ticket-key"
#define KEY_NEW_FILE "ticket-key.new" /* renamed when it is complete */
#define KEY_LIFETIME_S 86400

struct key_file {
	int64_t made_s; /* since the epoch */
	unsigned char key[TLS_TICKET_KEY_OCTETS];
};

/* Checks, after open(2), type and owner of a file, and that it has no mode bit of `forbidden`. */
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

/* Returns 0, -ENOENT if there is no key or it has expired, or another negative errno. */
static int read_key(int directory_fd, struct key_file *ret_file)
{
	auto_fd int fd = openat(directory_fd, KEY_FILE,
				O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t n = check_owner(fd, S_IFREG, S_IRWXG | S_IRWXO);
	int64_t age_s;

	if (n == 0)
		n = util_pread(fd, ret_file, sizeof(*ret_file), 0);
	age_s = (int64_t)time(NULL) - ret_file->made_s;
	if (n < 0)
		return (int)n;
	return n == sizeof(*ret_file) && age_s >= 0 && age_s < KEY_LIFETIME_S ? 0 : -ENOENT;
}

/* Makes a new key, unless another process has just made one. */
static int replace_key(int directory_fd, struct key_file *ret_file)
{
	auto_fd int fd = -1;
	int r;

	if (flock(directory_fd, LOCK_EX | LOCK_NB) < 0) /* unlocked by close(2) */
		return -errno;
	r = read_key(directory_fd, ret_file);
	if (r != -ENOENT)
		return r;
	*ret_file = (struct key_file){ .made_s = (int64_t)time(NULL) };
	if (getrandom(ret_file->key, sizeof(ret_file->key), 0) != sizeof(ret_file->key))
		return -EIO;
	fd = util_create(directory_fd, KEY_NEW_FILE);
	r = fd < 0 ? fd : util_pwrite(fd, ret_file, sizeof(*ret_file), 0);
	return util_replace(directory_fd, KEY_FILE, KEY_NEW_FILE, r);
}

int ticket_key_find(const char *directory, unsigned char ret_key[TLS_TICKET_KEY_OCTETS])
{
	auto_fd int directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct key_file file = { 0 };
	int r = check_owner(directory_fd, S_IFDIR, S_IWGRP | S_IWOTH);

	if (r < 0)
		return r;
	r = read_key(directory_fd, &file);
	if (r == -ENOENT)
		r = replace_key(directory_fd, &file);
	if (r == 0)
		memcpy(ret_key, file.key, sizeof(file.key));
	explicit_bzero(&file, sizeof(file));
	return r;
}
