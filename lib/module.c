/* SPDX-License-Identifier: ISC
 * Loads a module by its full path, so that no variable of the environment can lead to another file.
 * Trusts the folder of the program: whoever can write there can replace the program, too. */
#include "lib/module.h"

#include "lib/util.h"

#include <dlfcn.h>
#include <limits.h>

void *module_symbol(const char *file, const char *symbol)
{
	char program[PATH_MAX] = "", path[2 * PATH_MAX];
	bool is_beside = false;
	void *module;

	if (readlink("/proc/self/exe", program, sizeof(program) - 1) > 0) {
		(void)snprintf(path, sizeof(path), "%s/%s", dirname(program), file);
		is_beside = access(path, F_OK) == 0 || errno != ENOENT;
	}
	if (!is_beside)
		(void)snprintf(path, sizeof(path), "%s/%s", MODULE_DIRECTORY, file);
	module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	return module ? dlsym(module, symbol) : NULL;
}
