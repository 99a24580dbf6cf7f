/* SPDX-License-Identifier: ISC
 *
 * The only printer of log lines. They go to standard error, or to syslog's mail facility when
 * standard error is the client's (inetd, a socket as standard input). */
#pragma once

/* Opens the log for the two descriptors that the client is on. Before it, and if it is not
 * called, lines go to standard error. */
void log_open(int in_fd, int out_fd);

/* These log one line. What is not printable ASCII appears as \xNN, so that nobody's name can forge
 * a line; what is longer than 1,000 octets is cut. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
