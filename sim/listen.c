/* SPDX-License-Identifier: BSD-3-Clause */
#include "sim/listen.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "sim/server.h"

#define TEMPORARY ".new" /* what the name ends with until we listen */

static int fail(char *why, int err, const char *path)
{
	snprintf(why, SIM_WHY_MAX, "cannot listen at %s: %s", path, strerror(err));
	return -err;
}

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* A socket file whose listener is gone answers ECONNREFUSED; everything else is left alone. */
static void remove_stale(const struct sockaddr_un *addr)
{
	CLEANUP(cleanup_close) int fd = new_socket();
	struct stat st;

	if (fd < 0 || lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return;
	if (connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) && errno == ECONNREFUSED)
		unlink(addr->sun_path);
}

/* The file appears under its name only when one can connect: whoever waits for it may do so. */
static int listen_and_name(int fd, struct sockaddr_un *addr, const char *path)
{
	int err = 0;

	if (bind(fd, (const struct sockaddr *)addr, sizeof(*addr)))
		return errno;
	/* A link, unlike a rename, replaces nothing. */
	if (listen(fd, 1) || link(addr->sun_path, path))
		err = errno == EEXIST ? EADDRINUSE : errno;
	unlink(addr->sun_path);
	return err;
}

int listen_unix(const char *path, char *why)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	CLEANUP(cleanup_close) int fd = -1;
	int err;

	if (!*path || strlen(path) + sizeof(TEMPORARY) > sizeof(addr.sun_path))
		return fail(why, ENAMETOOLONG, path);
	strcpy(addr.sun_path, path);
	remove_stale(&addr);
	strcat(addr.sun_path, TEMPORARY);
	remove_stale(&addr);
	fd = new_socket();
	/* bind() gives the file the mode of the socket: it is never open to others. */
	if (fd < 0 || fchmod(fd, 0600))
		return fail(why, errno, path);
	err = listen_and_name(fd, &addr, path);
	if (err)
		return fail(why, err, path);
	return take_fd(&fd);
}
