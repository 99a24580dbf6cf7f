/* SPDX-License-Identifier: ISC
 * Parts of the program that are files of their own, loaded only where they are needed. */
#pragma once

/* Loads a module that is beside the program (in a build folder), else where it is installed. A
 * search path of the linker would be searched for every library at each start. The module stays.
 * Returns the address of a symbol in it; NULL: dlerror(3) has the reason. */
void *module_symbol(const char *file, const char *symbol);
