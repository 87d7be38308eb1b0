/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the device asks of its host, over vfio-user: memory that the client let us map is touched
 * directly, other memory is asked for on the socket; interrupts are eventfds; time is slept.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "sim/serve.h"

static int ask_read(struct server *s, uint64_t iova, void *buf, size_t len)
{
	struct vfm_vfio_user_dma_rw head = {.addr = iova, .count = len};
	uint8_t in[sizeof(head) + 4096];
	struct iovec out[2] = {{NULL, 0}, {&head, sizeof(head)}};
	int ret = conn_ask(&s->conn, VFM_VFIO_USER_DMA_READ, out, 2, in, sizeof(head) + len, 0);

	if (!ret)
		memcpy(buf, in + sizeof(head), len);
	return ret;
}

static int ask_write(struct server *s, uint64_t iova, const void *buf, size_t len)
{
	struct vfm_vfio_user_dma_rw head = {.addr = iova, .count = len}, in;
	struct iovec out[3] = {{NULL, 0}, {&head, sizeof(head)}, {(void *)buf, len}};

	/* The specification's reply ends 4 bytes early. */
	return conn_ask(&s->conn, VFM_VFIO_USER_DMA_WRITE, out, 3, &in, sizeof(in), 4);
}

/* The part of [iova, iova + len) that one range and one transfer hold; NULL: not allowed. */
static const struct dma_range *reach(const struct server *s, uint64_t iova, uint32_t flag,
				     size_t *len)
{
	const struct dma_range *range = dma_map_find(&s->dma, iova);

	if (!range || !(range->flags & flag))
		return NULL;
	*len = MIN(*len, range->size - (iova - range->iova));
	if (!range->host)
		*len = MIN(*len, 4096u);
	return range;
}

static int dma_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	const struct dma_range *range;
	struct server *s = opaque;
	size_t part;
	int ret = 0;

	for (; len && !ret; len -= part, iova += part, buf = (uint8_t *)buf + part) {
		part = len;
		range = reach(s, iova, VFM_VFIO_USER_DMA_READABLE, &part);
		if (!range)
			return -EFAULT;
		if (range->host)
			memcpy(buf, range->host + (iova - range->iova), part);
		else
			ret = ask_read(s, iova, buf, part);
	}
	return ret;
}

static int dma_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	const struct dma_range *range;
	struct server *s = opaque;
	size_t part;
	int ret = 0;

	for (; len && !ret; len -= part, iova += part, buf = (const uint8_t *)buf + part) {
		part = len;
		range = reach(s, iova, VFM_VFIO_USER_DMA_WRITEABLE, &part);
		if (!range)
			return -EFAULT;
		if (range->host)
			memcpy(range->host + (iova - range->iova), buf, part);
		else
			ret = ask_write(s, iova, buf, part);
	}
	return ret;
}

/* The mapped word at @iova, which is aligned; NULL: it has to be asked for, or is not there. */
static uint64_t *mapped_word(struct server *s, uint64_t iova, uint32_t flag)
{
	size_t len = sizeof(uint64_t);
	const struct dma_range *range = reach(s, iova, flag, &len);

	if (!range || !range->host)
		return NULL;
	return (uint64_t *)(range->host + (iova - range->iova));
}

static int dma_load(void *opaque, uint64_t iova, uint64_t *value)
{
	uint64_t *word = mapped_word(opaque, iova, VFM_VFIO_USER_DMA_READABLE);

	if (!word)
		return dma_read(opaque, iova, value, sizeof(*value));
	*value = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	return 0;
}

static int dma_store(void *opaque, uint64_t iova, uint64_t value)
{
	uint64_t *word = mapped_word(opaque, iova, VFM_VFIO_USER_DMA_WRITEABLE);

	if (!word)
		return dma_write(opaque, iova, &value, sizeof(value));
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
	return 0;
}

/* The fd is the client's choice: it must not be able to hold us up. A counter that is full has
 * told enough. */
static void irq(void *opaque, unsigned vector)
{
	struct server *s = opaque;
	struct pollfd p = {.fd = s->irq_fds[vector], .events = POLLOUT};
	uint64_t one = 1;

	if (p.fd >= 0 && poll(&p, 1, 0) == 1 && p.revents & POLLOUT)
		(void)!write(p.fd, &one, sizeof(one));
}

/* Sleep at most @ns; true: told to stop. */
static bool nap(const struct server *s, uint64_t ns)
{
	struct pollfd p = {.fd = s->opts->stop_fd, .events = POLLIN};
	struct timespec time = {.tv_sec = (time_t)(ns / NS_PER_SEC),
				.tv_nsec = (long)(ns % NS_PER_SEC)};

	return ppoll(&p, 1, &time, NULL) == 1;
}

/* The device goes on doing what its state says while an arc takes its time. */
static void delay(void *opaque, uint64_t ns)
{
	struct server *s = opaque;
	uint64_t tick_ns = s->opts->tick_us * NS_PER_USEC;
	uint64_t now = clock_ns(), end = now + ns, rest;

	sim_clock_start(s->sim, now);
	for (; now < end && !s->conn.dead; now = clock_ns()) {
		rest = end - now;
		if (sim_needs_ticks(s->sim))
			rest = MIN(rest, tick_ns);
		if (nap(s, rest))
			return;
		if (sim_needs_ticks(s->sim))
			sim_tick(s->sim, clock_ns());
	}
}

static void die(void *opaque)
{
	_exit(99);
}

const struct sim_host_ops host_ops = {
	.dma_read = dma_read,
	.dma_write = dma_write,
	.dma_load = dma_load,
	.dma_store = dma_store,
	.irq = irq,
	.delay = delay,
	.die = die,
};
