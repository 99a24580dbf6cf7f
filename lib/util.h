/* SPDX-License-Identifier: ISC
 * Ownership by cleanup attributes, complete reads and writes, the clock, sanitizers. Files that
 * include it need not include its headers again. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/param.h> /* MIN, MAX */
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

#define UTIL_NS_PER_S INT64_C(1000000000)

/* Sanitizers and coverage, in some builds, run code at exit. Tested at run time, so that all builds
 * exit by the same code. A library could define these names: no restriction may depend on them. */
extern void __lsan_do_leak_check(void) __attribute__((weak)); /* NOLINT */
extern void __gcov_exit(void) __attribute__((weak));	      /* NOLINT */
#define UTIL_REPORTS_AT_EXIT (__lsan_do_leak_check || __gcov_exit)

/* AddressSanitizer needs a large address space and more system calls. */
#ifdef __SANITIZE_ADDRESS__
#define UTIL_HAS_ASAN true
#else
#define UTIL_HAS_ASAN false
#endif

/* Monotonic clock. */
static inline int64_t util_now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static inline uint32_t util_now_s(void)
{
	return (uint32_t)(util_now_ms() / 1000);
}

static inline void util_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void util_drop(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* Whether a name, in any case, is in a list of names with blanks between them. */
static inline bool util_is_listed(const char *names, const char *name, size_t octets)
{
	for (; *names; names += strspn(names, " ")) {
		size_t length = strcspn(names, " ");

		if (length == octets && strncasecmp(names, name, octets) == 0)
			return true;
		names += length;
	}
	return false;
}

/* Trims `blanks` off both ends of a text, in place. */
static inline char *util_trim(char *text, const char *blanks)
{
	size_t octets = strlen(text);

	while (octets > 0 && strchr(blanks, text[octets - 1]))
		text[--octets] = '\0';
	return text + strspn(text, blanks);
}

/* Copies a text into an array, truncated to its size. Returns whether the text fits. */
#define util_copy(array, text) \
	((size_t)snprintf((array), sizeof(array), "%s", (text)) < sizeof(array))

/* Overwrites and frees a secret string, which may be NULL. */
static inline void util_wipe(char *const *secret)
{
	if (*secret)
		explicit_bzero(*secret, strlen(*secret));
	free(*secret);
}

/* A variable with one of these attributes owns its value. */
#define auto_free __attribute__((cleanup(util_free)))
#define auto_fd __attribute__((cleanup(util_drop)))
#define auto_wipe __attribute__((cleanup(util_wipe)))

/* Move a value (a pointer or a struct of pointers) out of its variable: the caller now owns it. */
#define take_ptr(pointer)                               \
	({                                              \
		__typeof__(pointer) taken_ = (pointer); \
		(pointer) = (__typeof__(pointer)){ 0 }; \
		taken_;                                 \
	})

static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

/* Cuts the last component off a path that is not empty, so that its directory remains. */
static inline void util_cut_path(char *path)
{
	const char *directory = dirname(path);

	memmove(path, directory, strlen(directory) + 1);
}

/* Whether a path leads to `/`: also "..", a symbolic link or the working directory may. */
static inline bool util_is_root_directory(const char *path)
{
	struct stat root, status;

	return stat("/", &root) == 0 && stat(path, &status) == 0 && root.st_dev == status.st_dev &&
	       root.st_ino == status.st_ino;
}

/* Makes a directory that only `user` can open, unless the path exists. Works only for root. Until
 * the owner is right it has another name, because another process may be about to use it. */
static inline void util_make_folder(const char *path, const char *user)
{
	const struct passwd *entry = access(path, F_OK) < 0 && user ? getpwnam(user) : NULL;
	char fresh[PATH_MAX];

	(void)snprintf(fresh, sizeof(fresh), "%s.XXXXXX", path);
	if (entry && mkdtemp(fresh) &&
	    (lchown(fresh, entry->pw_uid, entry->pw_gid) < 0 ||
	     renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE) < 0))
		(void)rmdir(fresh);
}

/* Writes all octets at an offset of a file. Returns 0 or a negative errno. */
static inline int util_pwrite(int fd, const void *octets, size_t count, uint64_t offset)
{
	for (size_t done = 0; done < count;) {
		ssize_t n = TEMP_FAILURE_RETRY(pwrite(fd, (const char *)octets + done, count - done,
						      (off_t)(offset + done)));

		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	return 0;
}

/* As read(2), but retries after a signal, and returns a negative errno on failure. */
static inline ssize_t util_read(int fd, void *ret_octets, size_t count)
{
	ssize_t n = TEMP_FAILURE_RETRY(read(fd, ret_octets, count));

	return n < 0 ? -errno : n;
}

/* Reads octets at an offset of a file, fewer only at its end. Returns a count or negative errno. */
static inline ssize_t util_pread(int fd, void *ret_octets, size_t count, uint64_t offset)
{
	size_t done = 0;
	ssize_t n = 1;

	while (done < count && n > 0) {
		n = TEMP_FAILURE_RETRY(
			pread(fd, (char *)ret_octets + done, count - done, (off_t)(offset + done)));
		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/* Opens a regular file in a directory; never blocks. Returns a descriptor, or a negative errno of
 * openat(2): -ELOOP for a symbolic link; -ENXIO for any other kind of file, but -EISDIR for a
 * directory that is opened for writing. */
static inline int util_open_regular_file(int directory_fd, const char *name, int flags,
					 struct stat *ret_status)
{
	auto_fd int fd =
		openat(directory_fd, name, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		       S_IRUSR | S_IWUSR);

	*ret_status = (struct stat){ 0 };
	if (fd < 0 || fstat(fd, ret_status) < 0)
		return -errno;
	return S_ISREG(ret_status->st_mode) ? take_fd(&fd) : -ENXIO;
}

/* Creates a file in place of one that a killed process may have left. Returns a descriptor or a
 * negative errno. */
static inline int util_create(int directory_fd, const char *name)
{
	int fd;

	(void)unlinkat(directory_fd, name, 0);
	fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
	return fd < 0 ? -errno : fd;
}

/* Renames `fresh` to `name` if `r` is 0, else removes `fresh`. Readers, which hold no lock, see the
 * old file or the new one. Returns `r`, or a negative errno of renameat(2). */
static inline int util_replace(int directory_fd, const char *name, const char *fresh, int r)
{
	if (r == 0 && renameat(directory_fd, fresh, directory_fd, name) < 0)
		r = -errno;
	if (r < 0)
		(void)unlinkat(directory_fd, fresh, 0);
	return r;
}
