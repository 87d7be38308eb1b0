/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/relay.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "bench/bench.h"
#include "bench/child.h"
#include "bench/pair.h"

#define PATIENCE_MS 60000

/* All of @size bytes, in calls of a block each. 0 or -errno. */
static int send_all(int fd, const uint8_t *from, uint64_t size)
{
	while (size) {
		ssize_t n = send(fd, from, MIN(size, (uint64_t)RELAY_BLOCK_BYTES), MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -errno;
		from += n;
		size -= (uint64_t)n;
	}
	return 0;
}

/* Bytes received, up to @size; fewer at the end of the stream only. Or -errno. */
static ssize_t receive_all(int fd, uint8_t *to, uint64_t size)
{
	uint64_t got = 0;

	while (got < size) {
		ssize_t n = recv(fd, to + got, MIN(size - got, (uint64_t)RELAY_BLOCK_BYTES),
				 MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		got += (uint64_t)n;
	}
	return (ssize_t)got;
}

/* ---- the ends ---- */

struct end {
	int fd;
	uint64_t size;
	bool gives;
	int other[3]; /* the parent's, not ours */
};

static uint64_t word_at(uint64_t i)
{
	return (i + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t *make_stream(uint64_t size)
{
	void *words = mmap(NULL, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return words == MAP_FAILED ? NULL : words;
}

static int give(const struct end *end, uint64_t *words)
{
	char go;

	for (uint64_t i = 0; i < end->size / sizeof(*words); i++)
		words[i] = word_at(i);
	if (recv(end->fd, &go, 1, 0) != 1)
		return -ECONNRESET;
	return send_all(end->fd, (uint8_t *)words, end->size);
}

/* The first byte says that it is ready, the second that all came; whether it was right, which takes
 * time, the exit status tells. */
static int take(const struct end *end, uint64_t *words)
{
	if (send(end->fd, "r", 1, MSG_NOSIGNAL) != 1)
		return -ECONNRESET;
	if (receive_all(end->fd, (uint8_t *)words, end->size) != (ssize_t)end->size)
		return -ECONNRESET;
	if (send(end->fd, "d", 1, MSG_NOSIGNAL) != 1)
		return -ECONNRESET;
	for (uint64_t i = 0; i < end->size / sizeof(*words); i++)
		if (words[i] != word_at(i))
			return -EBADMSG;
	return 0;
}

static int run_end(void *arg)
{
	struct end *end = arg;
	uint64_t *words = make_stream(end->size);

	for (unsigned i = 0; i < ARRAY_SIZE(end->other); i++)
		close(end->other[i]);
	if (!words)
		return -ENOMEM;
	return end->gives ? give(end, words) : take(end, words);
}

/* ---- a side: two threads and the blocks between them ---- */

struct side {
	int in, out;
	pthread_mutex_t lock;
	pthread_cond_t moved;
	uint64_t filled, emptied; /* blocks so far */
	bool over;                /* nothing comes after `filled` */
	size_t bytes[RELAY_BLOCKS];
	uint8_t *blocks;
	void *threads[2];
};

static void wake(struct side *side, uint64_t *count, bool over)
{
	pthread_mutex_lock(&side->lock);
	*count += !over;
	side->over |= over;
	pthread_cond_broadcast(&side->moved);
	pthread_mutex_unlock(&side->lock);
}

/* Ends at the end of the stream, or when nobody takes it any more. */
static void fill_blocks(void *arg)
{
	struct side *side = arg;
	ssize_t got = 1;
	bool over = false;

	while (!over) {
		unsigned i = (unsigned)(side->filled % RELAY_BLOCKS);

		pthread_mutex_lock(&side->lock);
		while (!side->over && side->filled - side->emptied == RELAY_BLOCKS)
			pthread_cond_wait(&side->moved, &side->lock);
		over = side->over;
		pthread_mutex_unlock(&side->lock);
		if (!over)
			got = receive_all(side->in, side->blocks + i * RELAY_BLOCK_BYTES,
					  RELAY_BLOCK_BYTES);
		over |= got <= 0;
		side->bytes[i] = got > 0 ? (size_t)got : 0;
		wake(side, &side->filled, over);
	}
}

/* Ends when all that came has gone, or cannot go. */
static void empty_blocks(void *arg)
{
	struct side *side = arg;
	bool more = true;

	while (more) {
		unsigned i = (unsigned)(side->emptied % RELAY_BLOCKS);

		pthread_mutex_lock(&side->lock);
		while (!side->over && side->filled == side->emptied)
			pthread_cond_wait(&side->moved, &side->lock);
		more = side->filled != side->emptied;
		pthread_mutex_unlock(&side->lock);
		if (more && send_all(side->out, side->blocks + i * RELAY_BLOCK_BYTES, side->bytes[i]))
			more = false;
		wake(side, &side->emptied, !more);
	}
	shutdown(side->out, SHUT_WR);
}

static void join_side(struct side *side, struct meter *meter)
{
	for (unsigned i = 0; i < 2; i++)
		if (side->threads[i])
			meter_join(meter, side->threads[i]);
	free(side->blocks);
	pthread_cond_destroy(&side->moved);
	pthread_mutex_destroy(&side->lock);
}

static int start_side(struct side *side, struct meter *meter)
{
	int r;

	pthread_mutex_init(&side->lock, NULL);
	pthread_cond_init(&side->moved, NULL);
	side->blocks = calloc(RELAY_BLOCKS, RELAY_BLOCK_BYTES);
	if (!side->blocks)
		return -ENOMEM;
	r = meter_start(meter, fill_blocks, side, &side->threads[0]);
	return r ? r : meter_start(meter, empty_blocks, side, &side->threads[1]);
}

/* ---- all of it ---- */

/* As the vfio-user client and the simulated device do, so that a block goes in few portions. */
static void grow_send_buffer(int fd)
{
	int bytes = (int)(2 * RELAY_BLOCK_BYTES);

	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/* What the taker says, in time. */
static int expect(int fd, char what)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	char said;

	if (poll(&pfd, 1, PATIENCE_MS) != 1)
		return -ETIMEDOUT;
	return recv(fd, &said, 1, 0) == 1 && said == what ? 0 : -ECONNRESET;
}

/* From the word to the giver to the word of the taker. */
static int time_stream(struct relay *relay, int giver, int taker)
{
	uint64_t start = clock_ns();
	int r = send(giver, "g", 1, MSG_NOSIGNAL) == 1 ? 0 : -ECONNRESET;

	if (!r)
		r = expect(taker, 'd');
	relay->seconds = (double)(clock_ns() - start) / 1e9;
	return r;
}

static int run_sides(struct relay *relay, int giver, int taker, const int tcp[2])
{
	struct side from = {.in = giver, .out = tcp[0]}, to = {.in = tcp[1], .out = taker};
	int r = start_side(&from, relay->meters[0]), s;

	s = start_side(&to, relay->meters[1]);
	r = r ? r : s;
	if (!r)
		r = time_stream(relay, giver, taker);
	if (r) {
		shutdown(giver, SHUT_RDWR);
		shutdown(tcp[0], SHUT_RDWR);
		shutdown(taker, SHUT_RDWR);
	}
	join_side(&from, relay->meters[0]);
	join_side(&to, relay->meters[1]);
	return r;
}

static int run_chain(struct relay *relay, int giver, int taker)
{
	int tcp[2];
	int r = expect(taker, 'r');

	if (!r)
		r = pair_tcp(tcp);
	if (r)
		return r;
	r = run_sides(relay, giver, taker, tcp);
	close(tcp[0]);
	close(tcp[1]);
	return r;
}

int relay_run(struct relay *relay)
{
	struct child children[2] = {{0}};
	int fds[4], r, s;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return bench_fail(-errno, "a socket pair");
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds + 2)) {
		r = -errno;
		close(fds[0]);
		close(fds[1]);
		return bench_fail(r, "a socket pair");
	}
	grow_send_buffer(fds[1]);
	grow_send_buffer(fds[2]);
	struct end giver = {fds[1], relay->size, true, {fds[0], fds[2], fds[3]}};
	struct end taker = {fds[3], relay->size, false, {fds[0], fds[1], fds[2]}};

	r = child_start(&children[0], "bench-giver", run_end, &giver);
	if (!r)
		r = child_start(&children[1], "bench-taker", run_end, &taker);
	close(fds[1]);
	close(fds[3]);
	if (!r)
		r = run_chain(relay, fds[0], fds[2]);
	close(fds[0]);
	close(fds[2]);
	for (unsigned i = 0; i < 2; i++) {
		s = child_finish(&children[i], PATIENCE_MS, NULL);
		r = r ? r : s;
	}
	return r ? bench_fail(r, "the plain relay") : 0;
}
