/* SPDX-License-Identifier: ISC
 *
 * Loads tls.c, a module of its own. */
#include "tls.h"

#include "lib/util.h"
#include "log.h"
#include "settings.h"

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

int tls_new(const struct settings *settings, struct tls **ret)
{
	/* Loaded once: at a reload there may be a module of another version. */
	static const struct tls_functions *functions;
	void *module;

	*ret = NULL;
	if (settings->tls == TLS_OFF)
		return 0;
	module = functions ? NULL : load_module();
	if (module)
		functions = dlsym(module, "tls_functions");
	if (!functions) {
		log_error("cannot load TLS: %s", dlerror());
		return -ELIBACC;
	}
	*ret = calloc(1, functions->size);
	if (*ret)
		**ret = (struct tls){ functions, settings, log_error };
	return *ret ? 0 : -ENOMEM;
}
