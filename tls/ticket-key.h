/* SPDX-License-Identifier: ISC
 * The file with the key of TLS session tickets, which the processes of a service share, so that a
 * client may resume with one what it began with another (RFC 5077, RFC 8446 section 2.2). */
#pragma once

#include "tls.h"

/* Finds the key that is in use, in the file `ticket-key` of this directory. Makes a new one if
 * there is none or it is a day old, which voids tickets. Returns 0, what the system says, or
 *   -ENOENT  there is no such directory
 *   -EAGAIN  another process is just making the key
 *   -EPERM   the directory or the file is not ours alone */
int ticket_key_find(const char *directory, unsigned char ret_key[TLS_TICKET_KEY_OCTETS]);
