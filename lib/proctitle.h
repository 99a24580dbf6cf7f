/* SPDX-License-Identifier: ISC
 *
 * What ps(1) shows of the process. */
#pragma once

/* Finds out how much room there is, and takes it: what `argv` points to is of no use once
 * title_set() has been called. */
void title_open(int argc, char *argv[]);

/* Shows a text after the program's name, as far as there is room; without title_open() nothing. */
void title_set(const char *format, ...) __attribute__((format(printf, 1, 2)));
