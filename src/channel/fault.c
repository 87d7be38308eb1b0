/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fault injection: a channel that wraps another and does harm at chosen bytes.
 *
 *	position    0 ........ corrupt ........ cut ...
 *	            passes     bit flipped      nothing passes; both directions end
 *
 * A call is carried out in pieces that end at the next special position, so that exactly the bytes
 * before a cut reach the other side, and the cut happens when its position is reached, not when a
 * next call comes: a side that sends COMMIT and then only waits is cut off all the same. A call
 * that ends exactly at the cut has succeeded.
 *
 * The byte to corrupt is sent from a copy: the caller's may be guest memory.
 *
 * Threads: positions belong to the one sender and the one receiver; `cut` and `down` are shared.
 */
#include "channel/channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "channel/iov.h"

#define FLIPPED_BIT 0x10

typedef int call_fn(struct channel *ch, struct iovec *iov, int count);

/* One direction. */
struct side {
	uint64_t position;
	uint64_t cut_after;
	uint64_t corrupt_at;
	uint32_t delay_us;
	bool sends;
};

struct fault_channel {
	struct channel ch;
	struct channel *inner;
	struct side out, in;
	atomic_bool cut;       /* a cut was reached */
	pthread_mutex_t lock;  /* covers down; nothing else is locked under it */
	pthread_cond_t woken;  /* down became true */
	bool down;             /* channel_shutdown was called */
};

static bool is_down(struct fault_channel *fch)
{
	bool down;

	pthread_mutex_lock(&fch->lock);
	down = fch->down;
	pthread_mutex_unlock(&fch->lock);
	return down;
}

/* The shutdown of the inner channel by a cut is our own doing, but must look like the peer's. */
static int result(struct fault_channel *fch, int ret)
{
	return ret && atomic_load(&fch->cut) && !is_down(fch) ? -ECONNRESET : ret;
}

static void delay(struct fault_channel *fch, uint32_t us)
{
	uint64_t end = clock_ns() + us * NS_PER_USEC;
	struct timespec ts = {
		.tv_sec = (time_t)(end / NS_PER_SEC),
		.tv_nsec = (long)(end % NS_PER_SEC),
	};

	pthread_mutex_lock(&fch->lock);
	while (!fch->down && clock_ns() < end)
		pthread_cond_timedwait(&fch->woken, &fch->lock, &ts);
	pthread_mutex_unlock(&fch->lock);
}

static void cut(struct fault_channel *fch)
{
	atomic_store(&fch->cut, true);
	channel_shutdown(fch->inner);
}

/* Bytes until something happens: to the next special position, or @left. */
static uint64_t piece_size(const struct side *side, uint64_t left)
{
	uint64_t size = MIN(left, side->cut_after - side->position);

	if (side->position < side->corrupt_at)
		size = MIN(size, side->corrupt_at - side->position);
	else if (side->position == side->corrupt_at)
		size = MIN(size, 1u);
	return size;
}

/* Hand the first @size bytes of @rest on. */
static int pass(struct fault_channel *fch, call_fn *fn, struct iov_rest *rest, uint64_t size)
{
	struct iov_rest all = *rest;
	struct iovec *last = rest->iov;
	struct iovec saved;
	uint64_t before = 0;
	int ret;

	while (before + last->iov_len < size)
		before += last++->iov_len;
	saved = *last;
	last->iov_len = size - before;
	ret = fn(fch->inner, all.iov, (int)(last - all.iov) + 1);
	*last = saved;
	rest->iov = last;
	rest->count = all.count - (int)(last - all.iov);
	iov_advance(rest, size - before);
	return ret;
}

/* The first byte of @rest, with a bit flipped on the way. */
static int pass_corrupt(struct fault_channel *fch, call_fn *fn, struct side *side,
			struct iov_rest *rest)
{
	uint8_t *theirs = rest->iov->iov_base;
	uint8_t copy = side->sends ? *theirs ^ FLIPPED_BIT : 0;
	struct iovec one = {.iov_base = &copy, .iov_len = 1};
	int ret = fn(fch->inner, &one, 1);

	if (!ret && !side->sends)
		*theirs = copy ^ FLIPPED_BIT;
	iov_advance(rest, 1);
	return ret;
}

static int transfer(struct fault_channel *fch, call_fn *fn, struct side *side, struct iov_rest rest)
{
	uint64_t left = iov_bytes(rest.iov, rest.count);
	uint64_t size;
	int ret;

	iov_skip_empty(&rest);
	while (left) {
		if (is_down(fch)) /* the inner channel may not know yet */
			return -ECANCELED;
		if (atomic_load(&fch->cut))
			return result(fch, -ECANCELED);
		size = piece_size(side, left);
		ret = side->position == side->corrupt_at ? pass_corrupt(fch, fn, side, &rest)
							 : pass(fch, fn, &rest, size);
		if (ret)
			return result(fch, ret);
		side->position += size;
		left -= size;
		if (side->position == side->cut_after)
			cut(fch);
	}
	return 0;
}

static int fault_send(struct channel *ch, struct iovec *iov, int count)
{
	struct fault_channel *fch = container_of(ch, struct fault_channel, ch);

	delay(fch, fch->out.delay_us);
	return transfer(fch, channel_send, &fch->out, (struct iov_rest){iov, count});
}

static int fault_recv(struct channel *ch, struct iovec *iov, int count)
{
	struct fault_channel *fch = container_of(ch, struct fault_channel, ch);

	delay(fch, fch->in.delay_us);
	return transfer(fch, channel_recv, &fch->in, (struct iov_rest){iov, count});
}

static void fault_shutdown(struct channel *ch)
{
	struct fault_channel *fch = container_of(ch, struct fault_channel, ch);

	/* First: whoever wakes from a delay would still find the way open. */
	channel_shutdown(fch->inner);
	pthread_mutex_lock(&fch->lock);
	fch->down = true;
	pthread_cond_broadcast(&fch->woken);
	pthread_mutex_unlock(&fch->lock);
}

static void fault_drain(struct channel *ch)
{
	channel_drain(container_of(ch, struct fault_channel, ch)->inner);
}

static void fault_close(struct channel *ch)
{
	struct fault_channel *fch = container_of(ch, struct fault_channel, ch);

	channel_close(fch->inner);
	pthread_cond_destroy(&fch->woken);
	pthread_mutex_destroy(&fch->lock);
	free(fch);
}

static const struct channel_ops fault_ops = {
	.send = fault_send,
	.recv = fault_recv,
	.drain = fault_drain,
	.shutdown = fault_shutdown,
	.close = fault_close,
};

static int init_locks(struct fault_channel *fch)
{
	pthread_condattr_t attr;
	int ret;

	ret = pthread_condattr_init(&attr);
	if (ret)
		return -ret;
	ret = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	if (!ret)
		ret = pthread_cond_init(&fch->woken, &attr);
	pthread_condattr_destroy(&attr);
	if (ret)
		return -ret;
	ret = pthread_mutex_init(&fch->lock, NULL);
	if (ret)
		pthread_cond_destroy(&fch->woken);
	return -ret;
}

static void init_sides(struct fault_channel *fch, const struct channel_faults *faults)
{
	fch->out = (struct side){
		.cut_after = faults->cut_send_after,
		.corrupt_at = faults->corrupt_send_at,
		.delay_us = faults->delay_send_us,
		.sends = true,
	};
	fch->in = (struct side){
		.cut_after = faults->cut_recv_after,
		.corrupt_at = faults->corrupt_recv_at,
		.delay_us = faults->delay_recv_us,
	};
}

int channel_new_fault(struct channel *inner, const struct channel_faults *faults,
		      struct channel **ch)
{
	struct fault_channel *fch = calloc(1, sizeof(*fch));
	int ret;

	if (!fch)
		return -ENOMEM;
	ret = init_locks(fch);
	if (ret) {
		free(fch);
		return ret;
	}
	fch->ch.ops = &fault_ops;
	fch->inner = inner;
	atomic_init(&fch->cut, false);
	init_sides(fch, faults);
	if (!faults->cut_send_after || !faults->cut_recv_after)
		cut(fch);
	*ch = &fch->ch;
	return 0;
}
