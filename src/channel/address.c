/* SPDX-License-Identifier: BSD-3-Clause */
#include "channel/address.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <vfio-migrate/connect.h>
#include "base/compiler.h"
#include "base/text.h"

int address_fail(int err, char *why, size_t size, const char *fmt, ...)
{
	va_list ap;

	if (!why || !size)
		return -err;
	va_start(ap, fmt);
	vsnprintf(why, size, fmt, ap);
	va_end(ap);
	text_make_printable(why);
	return -err;
}

/* Digits alone, no sign, no space, at most @max. */
static bool parse_number(const char *text, unsigned max, unsigned *value)
{
	unsigned long number = 0;

	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		number = number * 10 + (unsigned long)(*text - '0');
		if (number > max)
			return false;
	}
	*value = (unsigned)number;
	return true;
}

/* HOST:PORT or [HOST]:PORT. Where the host ends, or NULL. */
static const char *find_host(const char *rest, const char **host, size_t *length)
{
	const char *end;

	if (*rest == '[') {
		end = strchr(rest, ']');
		*host = rest + 1;
		if (!end || end[1] != ':')
			return NULL;
		*length = (size_t)(end - *host);
		return end + 1;
	}
	end = strchr(rest, ':');
	*host = rest;
	*length = end ? (size_t)(end - rest) : 0;
	return end;
}

static int parse_tcp(const char *text, const char *rest, struct address *address, char *why,
		     size_t size)
{
	size_t length = 0;
	const char *host;
	const char *colon = find_host(rest, &host, &length);
	unsigned port;

	if (!colon || !length || length >= sizeof(address->host))
		return address_fail(EINVAL, why, size, "%.80s: expected tcp:HOST:PORT", text);
	if (*rest != '[' && strchr(colon + 1, ':'))
		return address_fail(EINVAL, why, size,
				    "%.80s: an IPv6 address goes into brackets, tcp:[ADDRESS]:PORT",
				    text);
	if (!parse_number(colon + 1, UINT16_MAX, &port))
		return address_fail(EINVAL, why, size,
				    "%.80s: the port is a number from 0 to 65535", text);
	memcpy(address->host, host, length);
	address->host[length] = '\0';
	address->port = (uint16_t)port;
	return 0;
}

static int parse_unix(const char *text, const char *rest, struct address *address, char *why,
		      size_t size)
{
	size_t length = strlen(rest);

	if (!length)
		return address_fail(EINVAL, why, size, "%.80s: expected unix:PATH", text);
	if (length >= sizeof(address->path.sun_path))
		return address_fail(EINVAL, why, size,
				    "%.80s: the path has %zu bytes, the longest possible is %zu",
				    text, length, sizeof(address->path.sun_path) - 1);
	memset(&address->path, 0, sizeof(address->path));
	address->path.sun_family = AF_UNIX;
	memcpy(address->path.sun_path, rest, length);
	return 0;
}

static int parse_fd(const char *text, const char *rest, struct address *address, char *why,
		    size_t size)
{
	unsigned fd;

	if (!parse_number(rest, INT_MAX, &fd))
		return address_fail(EINVAL, why, size, "%.80s: expected fd:NUMBER", text);
	address->fd = (int)fd;
	return 0;
}

typedef int parse_fn(const char *text, const char *rest, struct address *address, char *why,
		     size_t size);

static const struct form {
	const char *prefix;
	enum address_kind kind;
	parse_fn *parse;
} forms[] = {
	{"tcp:", ADDRESS_TCP, parse_tcp},
	{"unix:", ADDRESS_UNIX, parse_unix},
	{"fd:", ADDRESS_FD, parse_fd},
};

int address_parse(const char *text, struct address *address, char *why, size_t size)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		size_t length = strlen(forms[i].prefix);

		if (strncmp(text, forms[i].prefix, length))
			continue;
		address->kind = forms[i].kind;
		return forms[i].parse(text, text + length, address, why, size);
	}
	return address_fail(EINVAL, why, size,
			    "%.80s: expected tcp:HOST:PORT, unix:PATH or fd:NUMBER", text);
}

VFM_API int vfm_address_check(const char *address, char *why, size_t size)
{
	struct address parsed;

	return address_parse(address, &parsed, why, size);
}

static int resolve_errno(int gai)
{
	switch (gai) {
	case EAI_SYSTEM:
		return errno ? errno : EIO;
	case EAI_MEMORY:
		return ENOMEM;
	case EAI_AGAIN:
		return EAGAIN;
	default:
		return EADDRNOTAVAIL;
	}
}

int address_resolve(const struct address *address, int flags, struct addrinfo **list, char *why,
		    size_t size)
{
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICSERV | flags,
		.ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
	};
	char port[8];
	int gai, err;

	snprintf(port, sizeof(port), "%u", address->port);
	gai = getaddrinfo(address->host, port, &hints, list);
	if (!gai)
		return 0;
	err = resolve_errno(gai);
	return address_fail(err, why, size, "%s: %s", address->host,
			    gai == EAI_SYSTEM ? strerror(err) : gai_strerror(gai));
}
