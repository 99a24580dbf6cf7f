/* SPDX-License-Identifier: ISC
 *
 * Loads tls.c, a module of its own. */
#include "tls.h"

#include "lib/util.h"

#include <dlfcn.h>
#include <limits.h>

#define MODULE "/pop3-handler-tls.so"

/* Loads the module that is beside the program (in a build folder), else where it is installed. A
 * search path of the linker would be searched for every library at each start. It stays. */
static void *load_module(void)
{
	char path[PATH_MAX + sizeof(MODULE)] = "";

	if (readlink("/proc/self/exe", path, PATH_MAX - 1) > 0) {
		util_cut_path(path);
		memcpy(path + strlen(path), MODULE, sizeof(MODULE));
	}
	return dlopen(access(path, F_OK) == 0 ? path : TLS_DIRECTORY MODULE, RTLD_NOW | RTLD_LOCAL);
}

int tls_new(const struct tls_options *options, struct tls **ret)
{
	/* Loaded once: at a reload there may be a module of another version. */
	static const struct tls_functions *functions;

	if (!functions) {
		void *module = load_module();

		functions = module ? dlsym(module, "tls_functions") : NULL;
	}
	if (functions)
		return functions->new (options, ret);
	options->complain("cannot load TLS: %s", dlerror());
	return -ELIBACC;
}
