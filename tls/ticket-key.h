/* SPDX-License-Identifier: ISC
 * The key of TLS session tickets, which all sessions of a service share, so that a client may
 * resume with one process what it began with another (RFC 5077, RFC 8446 section 2.2). */
#pragma once

#define TICKET_KEY_OCTETS 64

/* Finds the key that is in use, in the file `ticket-key` of this directory. Makes a new one if
 * there is none or it is a day old, which voids tickets. Returns 0, what the system says, or
 *   -ENOENT  there is no such directory
 *   -EAGAIN  another process is just making the key
 *   -EPERM   the directory or the file is not ours alone */
int ticket_key_find(const char *directory, unsigned char ret_key[TICKET_KEY_OCTETS]);
