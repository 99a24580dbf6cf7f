/* SPDX-License-Identifier: ISC
 * systemd. Without it, these functions do nothing. libsystemd is loaded only for sockets that are
 * passed, because loading takes half a millisecond. */
#pragma once

#include <stdint.h>

/* The number of sockets that systemd passed (sd_listen_fds(3)), or a negative errno. -ELIBACC: the
 * environment announces sockets, but libsystemd cannot be loaded. */
int libsystemd_listen_fds(void);

/* The watchdog's time limit in microseconds (sd_watchdog_enabled(3)); 0: no watchdog. */
uint64_t libsystemd_watchdog_us(void);

/* Sends a state of at most 255 octets to systemd, as sd_notify(3). Errors are ignored; a systemd
 * that does not read is given up after 0.1 seconds. */
void libsystemd_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));
