/* SPDX-License-Identifier: ISC
 * What the fuzz targets share. Each is one function that is given octets, which libFuzzer makes up
 * or replay.c reads from a file. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t octets);

/* What must be so, whatever the input. */
#define FUZZ_CHECK(what)                                              \
	do {                                                          \
		if (!(what)) {                                        \
			(void)fprintf(stderr, "not so: %s\n", #what); \
			abort();                                      \
		}                                                     \
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

/* A file in memory with these octets, and a path to it. The caller closes it. */
static inline int fuzz_file(const uint8_t *data, size_t octets, char ret_path[FUZZ_PATH_OCTETS])
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	FUZZ_CHECK(fd >= 0 && write(fd, data, octets) == (ssize_t)octets);
	FUZZ_CHECK(lseek(fd, 0, SEEK_SET) == 0);
	(void)snprintf(ret_path, FUZZ_PATH_OCTETS, "/proc/self/fd/%d", fd);
	return fd;
}
