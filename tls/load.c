/* SPDX-License-Identifier: ISC
 *
 * Loads tls.c, a module of its own. */
#include "tls.h"

#include "lib/util.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

#define MODULE "pop3-handler-tls.so"

/* The module's file: beside the program (in a build folder), else where it is installed. A search
 * path of the linker would be searched for every library at each start. NULL: no memory. */
static char *find_module(void)
{
	char program[PATH_MAX] = "";
	ssize_t octets = readlink("/proc/self/exe", program, sizeof(program) - 1);
	auto_free char *beside = NULL;

	if (octets > 0) {
		util_cut_path(program);
		if (asprintf(&beside, "%s/%s", program, MODULE) < 0)
			return NULL;
	}
	if (beside && access(beside, F_OK) == 0)
		return take_ptr(beside);
	return strdup(TLS_DIRECTORY "/" MODULE);
}

int tls_new(const struct tls_options *options, struct tls **ret)
{
	/* Loaded once: at a reload there may be a module of another version. */
	static const struct tls_functions *functions;
	auto_free char *path = NULL;
	void *module;

	if (!functions) {
		path = find_module();
		if (!path)
			return -ENOMEM;
		module = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* it stays */
		functions = module ? dlsym(module, "tls_functions") : NULL;
	}
	if (functions)
		return functions->new (options, ret);
	options->complain("cannot load TLS: %s", dlerror());
	return -ELIBACC;
}
