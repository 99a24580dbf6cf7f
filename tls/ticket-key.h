/* SPDX-License-Identifier: ISC
 * The file with the session ticket key. All processes of a service share it, so that a client can
 * resume a session in any of them (RFC 5077, RFC 8446 section 2.2). */
#pragma once

#include "tls.h"

/* Reads the key from the file `ticket-key` of a directory. Makes a new key if there is none, or if
 * it is a day old, which voids its tickets. Returns 0, a negative errno of a system call, or
 *   -ENOENT  there is no such directory
 *   -EAGAIN  another process is making the key
 *   -EPERM   another user owns, or may access, the directory or the file */
int ticket_key_find(const char *directory, unsigned char ret_key[TLS_TICKET_KEY_OCTETS]);
