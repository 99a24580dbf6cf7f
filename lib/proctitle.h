/* SPDX-License-Identifier: ISC
 * What ps(1) shows of the process. */
#pragma once

/* Takes the space of the arguments, and copies them: they may be read again. */
void proctitle_open(char *argv[]);

/* Shows a text after the program's name, cut to the space; without proctitle_open() nothing. */
void proctitle_set(const char *format, ...) __attribute__((format(printf, 1, 2)));
