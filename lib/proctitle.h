/* SPDX-License-Identifier: ISC
 *
 * What ps(1) shows of the process. */
#pragma once

/* Finds out how much space there is, and takes it: what `argv` points to is of no use once
 * proctitle_set() has been called. */
void proctitle_open(int argc, char *argv[]);

/* Shows a text after the program's name, as far as there is space; without proctitle_open()
 * nothing. */
void proctitle_set(const char *format, ...) __attribute__((format(printf, 1, 2)));
