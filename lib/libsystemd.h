/* SPDX-License-Identifier: ISC
 * libsystemd, loaded only if the environment shows systemd: it costs each process half a
 * millisecond. Without it these functions do nothing. */
#pragma once

#include <stdint.h>

/* The number of sockets that were passed, as sd_listen_fds(3). -ELIBACC: the environment says that
 * there are some, but libsystemd cannot be loaded. */
int libsystemd_listen_fds(void);

/* The watchdog's time limit in microseconds (sd_watchdog_enabled(3)); 0: there is none. */
uint64_t libsystemd_watchdog_us(void);

/* Tells the state (sd_notify(3)). */
void libsystemd_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));
