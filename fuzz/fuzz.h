/* SPDX-License-Identifier: ISC
 * Shared by the fuzz targets. Each target is one function; its input comes from libFuzzer, or from
 * a file that replay.c reads. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets);

/* An assertion that holds for every input. */
#define FUZZ_CHECK(what)                                                    \
	do {                                                                \
		if (!(what)) {                                              \
			(void)fprintf(stderr, "check failed: %s\n", #what); \
			abort();                                            \
		}                                                           \
	} while (0)

/* The input as a string, which the caller frees. */
static inline char *fuzz_string(const uint8_t *data, size_t octets)
{
	char *text = malloc(octets + 1);

	FUZZ_CHECK(text);
	if (octets > 0)
		memcpy(text, data, octets);
	text[octets] = '\0';
	return text;
}

#define FUZZ_PATH_OCTETS 32

/* Returns a memory file with these octets, which the caller closes, and a path to it. */
static inline int fuzz_file(const uint8_t *data, size_t octets, char ret_path[FUZZ_PATH_OCTETS])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0 && write(fd, data, octets) == (ssize_t)octets);
	FUZZ_CHECK(lseek(fd, 0, SEEK_SET) == 0);
	(void)snprintf(ret_path, FUZZ_PATH_OCTETS, "/proc/self/fd/%d", fd);
	return fd;
}
