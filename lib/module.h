/* SPDX-License-Identifier: ISC
 * Shared objects that belong to the program, loaded only when they are needed. */
#pragma once

/* Loads a module from the program's directory (in a build tree), else from where it is installed.
 * There is no RPATH, because the linker would search it for every library at each start. The module
 * stays loaded. Returns the address of a symbol in it, or NULL: dlerror(3) has the reason. */
void *module_symbol(const char *file, const char *symbol);
