/* SPDX-License-Identifier: ISC
 *
 * What systemd wants to be told, by libsystemd. It is loaded only if the environment says that
 * systemd is there: it and what it needs are half a millisecond of each process. Without it these
 * functions do nothing. */
#pragma once

#include <stdint.h>
#include <sys/uio.h>

/* How many sockets have been passed (sd_listen_fds(3), which see); 0 also if the environment says
 * nothing of any. -ELIBACC: it does, but libsystemd cannot be loaded. */
int libsystemd_listen_fds(void);

/* The time within which systemd wants to hear of us, in microseconds (sd_watchdog_enabled(3)); 0:
 * it does not. */
uint64_t libsystemd_watchdog_us(void);

/* Tells the state (sd_notify(3)). */
void libsystemd_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Sends an entry to the journal (sd_journal_sendv(3)). Call it once before the sandbox. */
void libsystemd_journal_send(const struct iovec *fields, int count);
