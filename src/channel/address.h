/* SPDX-License-Identifier: BSD-3-Clause */
/* An address, taken apart. */
#ifndef CHANNEL_ADDRESS_H
#define CHANNEL_ADDRESS_H

#include <netdb.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/un.h>
#include "base/compiler.h"

enum address_kind {
	ADDRESS_TCP,
	ADDRESS_UNIX,
	ADDRESS_FD,
};

struct address {
	enum address_kind kind;
	char host[NI_MAXHOST];   /* TCP; not resolved, without brackets */
	uint16_t port;           /* TCP */
	struct sockaddr_un path; /* UNIX; ready for use */
	int fd;                  /* FD */
};

/* -EINVAL, with one line in @why (@size bytes, may be NULL) that says what is wrong. */
int address_parse(const char *text, struct address *address, char *why, size_t size);

/* The socket addresses of a TCP address, to be freed with freeaddrinfo. May ask a name server.
 * -errno, with one line in @why. */
int address_resolve(const struct address *address, int flags, struct addrinfo **list, char *why,
		    size_t size);

/* Write one line into @why and return -@err. */
int address_fail(int err, char *why, size_t size, const char *fmt, ...)
	PRINTF(4, 5);

#endif
