/* SPDX-License-Identifier: ISC
 * Runs a fuzz target on every file in the folders of the command line. Prints TAP. */
#include "fuzz.h"

#include "../tests/tap.h"

#include <dirent.h>

#define INPUT_OCTETS_MAX (1 << 20)

static uint8_t input[INPUT_OCTETS_MAX];

static void replay(const char *folder, const char *name)
{
	char path[4096];
	FILE *file;
	size_t octets;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "re");
	if (!tap(file, "%s can be read", path))
		return;
	octets = fread(input, 1, sizeof(input), file);
	(void)fclose(file);
	(void)fflush(stdout);
	(void)tap(LLVMFuzzerTestOneInput(input, octets) == 0, "%s", path);
}

int main(int argc, char *argv[])
{
	for (int i = 1; i < argc; i++) {
		struct dirent **entries;
		int count = scandir(argv[i], &entries, NULL, alphasort);

		(void)tap(count > 2, "%s has inputs", argv[i]);
		for (int j = 0; j < count; j++) {
			if (*entries[j]->d_name != '.')
				replay(argv[i], entries[j]->d_name);
			free(entries[j]);
		}
		if (count >= 0)
			free(entries);
	}
	return tap_end();
}
