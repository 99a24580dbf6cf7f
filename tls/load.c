/* SPDX-License-Identifier: ISC
 *
 * Loads tls.c, a module of its own, and passes calls on to it. */
#include "tls.h"

#include "lib/util.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>

static const struct tls_functions *functions; /* set once, by the first tls_new(); NULL: no TLS */

/* The module's file: beside the program, where it is when it has just been built, or installed. The
 * linker could search for it, but then it searches there for everything, at each start. */
static int find_module(char **ret_path)
{
	char program[PATH_MAX] = "";
	ssize_t octets = readlink("/proc/self/exe", program, sizeof(program) - 1);
	auto_free char *beside = NULL;

	if (octets > 0) {
		util_cut_path(program);
		if (asprintf(&beside, "%s/%s", program, TLS_MODULE) < 0)
			return -ENOMEM;
	}
	if (beside && access(beside, F_OK) == 0)
		*ret_path = take_ptr(beside);
	else
		*ret_path = strdup(TLS_DIRECTORY "/" TLS_MODULE);
	return *ret_path ? 0 : -ENOMEM;
}

static int load_module(const struct tls_options *options)
{
	auto_free char *path = NULL;
	void *module;

	if (functions)
		return 0;
	if (find_module(&path) < 0)
		return -ENOMEM;
	module = dlopen(path, RTLD_NOW | RTLD_LOCAL); /* it stays */
	functions = module ? dlsym(module, TLS_FUNCTIONS) : NULL;
	if (functions)
		return 0;
	options->complain("cannot load TLS: %s", dlerror());
	return -ELIBACC;
}

int tls_new(const struct tls_options *options, struct tls **ret)
{
	int r = load_module(options);

	return r == 0 ? functions->new (options, ret) : r;
}

struct tls *tls_free(struct tls *tls)
{
	return tls ? functions->free(tls) : NULL;
}

int tls_load(struct tls *tls)
{
	return functions->load(tls);
}

const char *tls_system_file(void)
{
	return functions->system_file();
}

int tls_session_new(struct tls *tls, const struct tls_io *io, struct tls_session **ret)
{
	return functions->session_new(tls, io, ret);
}

struct tls_session *tls_session_free(struct tls_session *session)
{
	return session ? functions->session_free(session) : NULL;
}

int tls_session_handshake(struct tls_session *session)
{
	return functions->session_handshake(session);
}

const char *tls_session_problem(const struct tls_session *session)
{
	return functions->session_problem(session);
}

const char *const *tls_session_names(const struct tls_session *session)
{
	return functions->session_names(session);
}

const char *tls_session_version(const struct tls_session *session)
{
	return functions->session_version(session);
}

ssize_t tls_session_read(struct tls_session *session, void *space, size_t octets)
{
	return functions->session_read(session, space, octets);
}

bool tls_session_holds_octets(const struct tls_session *session)
{
	return functions->session_holds_octets(session);
}

ssize_t tls_session_write(struct tls_session *session, const void *octets, size_t count)
{
	return functions->session_write(session, octets, count);
}

size_t tls_session_record_octets(const struct tls_session *session)
{
	return functions->session_record_octets(session);
}

int tls_session_close(struct tls_session *session)
{
	return functions->session_close(session);
}

bool tls_session_wants_write(const struct tls_session *session)
{
	return functions->session_wants_write(session);
}
