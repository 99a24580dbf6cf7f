/* SPDX-License-Identifier: ISC
 * What ps(1) shows of the process. */
#pragma once

/* Takes the space that there is: proctitle_set() overwrites what `argv` points to. */
void proctitle_open(int argc, char *argv[]);

/* Shows a text after the program's name, cut to the space; without proctitle_open() nothing. */
void proctitle_set(const char *format, ...) __attribute__((format(printf, 1, 2)));
