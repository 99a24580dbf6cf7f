/* SPDX-License-Identifier: ISC
 * The process title, as ps(1) shows it. */
#pragma once

/* Takes the space of the arguments and the environment: copies replace both. */
void proctitle_open(char *argv[]);

/* Shows the program's name and a text, truncated to the space; no-op before proctitle_open(). */
void proctitle_set(const char *format, ...) __attribute__((format(printf, 1, 2)));
