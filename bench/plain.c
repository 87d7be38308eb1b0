/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/plain.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "bench/bench.h"
#include "bench/pair.h"

/* One end of the copy, a thread. */
struct end {
	int fd;
	uint8_t *memory;
	uint64_t size;
	int result;
};

/* Both threads end when all bytes have gone through, or at the first error; that shuts the socket
 * down, so that the other one ends, too. */
static void send_all(void *arg)
{
	struct end *end = arg;

	for (uint64_t at = 0; at < end->size && !end->result;) {
		ssize_t n = send(end->fd, end->memory + at,
				 MIN(end->size - at, (uint64_t)PLAIN_CALL_BYTES), MSG_NOSIGNAL);

		if (n > 0)
			at += (uint64_t)n;
		else if (errno != EINTR)
			end->result = -errno;
	}
	shutdown(end->fd, SHUT_WR);
}

static void receive_all(void *arg)
{
	struct end *end = arg;

	for (uint64_t at = 0; at < end->size && !end->result;) {
		ssize_t n = recv(end->fd, end->memory + at,
				 MIN(end->size - at, (uint64_t)PLAIN_CALL_BYTES), MSG_WAITALL);

		if (n > 0)
			at += (uint64_t)n;
		else if (n == 0 || errno != EINTR)
			end->result = n ? -errno : -ECONNRESET;
	}
	shutdown(end->fd, SHUT_RD);
}

static int copy(struct plain *plain, const int fds[2])
{
	struct end ends[2] = {
		{fds[0], plain->from->memory, plain->from->size, 0},
		{fds[1], plain->to->memory, plain->to->size, 0},
	};
	void *sender, *receiver;
	int r = meter_start(plain->meters[1], receive_all, &ends[1], &receiver);

	if (r)
		return r;
	r = meter_start(plain->meters[0], send_all, &ends[0], &sender);
	if (r)
		shutdown(fds[0], SHUT_RDWR);
	else
		meter_join(plain->meters[0], sender);
	meter_join(plain->meters[1], receiver);
	if (!r)
		r = ends[0].result;
	return r ? r : ends[1].result;
}

int plain_run(struct plain *plain)
{
	uint64_t start;
	int fds[2];
	int r = pair_tcp(fds);

	if (r)
		return bench_fail(r, "connecting over loopback");
	start = clock_ns();
	r = copy(plain, fds);
	plain->seconds = (double)(clock_ns() - start) / 1e9;
	close(fds[0]);
	close(fds[1]);
	return r ? bench_fail(r, "the plain copy") : 0;
}
