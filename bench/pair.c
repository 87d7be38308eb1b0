/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/pair.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>
#include <vfio-migrate/connect.h>

#define PATIENCE_MS 10000

static int connect_to(int listener, int fds[2])
{
	struct pollfd pfd = {.fd = listener, .events = POLLIN};
	char address[128];
	int r = vfm_listen_address(listener, address, sizeof(address));

	if (r)
		return r;
	fds[0] = vfm_connect(address, PATIENCE_MS, NULL, 0);
	if (fds[0] < 0)
		return fds[0];
	fds[1] = poll(&pfd, 1, PATIENCE_MS) == 1 ? vfm_accept(listener) : -ETIMEDOUT;
	if (fds[1] >= 0)
		return 0;
	close(fds[0]);
	return fds[1];
}

int pair_tcp(int fds[2])
{
	int listener = vfm_listen("tcp:127.0.0.1:0", NULL, 0);
	int r;

	if (listener < 0)
		return listener;
	r = connect_to(listener, fds);
	close(listener);
	return r;
}
