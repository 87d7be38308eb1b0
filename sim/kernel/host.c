// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/*
 * What the device asks of its host, and the time by which it moves.
 *
 * Time. While the device is open and has something to do a timer queues the work item, which ticks
 * the device and sets the timer again: ticks never pile up. What may have given the device something
 * to do was done with `core` held, so the one who gives that up starts the timer. When the device
 * rests so does the timer; its clock starts anew with it.
 *
 * DMA. vfio_dma_rw() copies to and from what the user mapped, through the user's page tables. A
 * word of 64 bits is copied in one piece where the processor's copying does so for aligned words.
 */
#include <linux/poll.h>
#include <linux/sched/signal.h>

#include "sim/kernel/compat.h"
#include "sim/kernel/ksim.h"

static struct workqueue_struct *queue;

int ksim_host_init(void)
{
	queue = alloc_workqueue("vfm_sim", WQ_UNBOUND, 0);
	return queue ? 0 : -ENOMEM;
}

void ksim_host_exit(void)
{
	destroy_workqueue(queue);
}

/* ---- time ---- */

static void set_timer(struct ksim *k)
{
	u64 ns = (u64)k->config.tick_us * NSEC_PER_USEC;

	k->ticking = true;
	hrtimer_start(&k->timer, ns_to_ktime(ns), HRTIMER_MODE_REL);
}

void ksim_lock_core(struct ksim *k)
{
	mutex_lock(&k->core);
}

/* Whoever waits for data to read looks again. */
static void wake_readers(struct ksim *k)
{
	if (wq_has_sleeper(&k->readers) && (!k->open || sim_mig_readable(k->sim)))
		wake_up_poll(&k->readers, EPOLLIN | EPOLLRDNORM);
}

void ksim_unlock_core(struct ksim *k)
{
	wake_readers(k);
	if (k->moves && !k->ticking && sim_needs_ticks(k->sim)) {
		sim_clock_start(k->sim, ktime_get_ns());
		set_timer(k);
	}
	mutex_unlock(&k->core);
}

static void tick(struct work_struct *work)
{
	struct ksim *k = container_of(work, struct ksim, work);

	mutex_lock(&k->core);
	if (k->moves) {
		sim_tick(k->sim, ktime_get_ns());
		k->count.ticks++;
	}
	if (k->moves && sim_needs_ticks(k->sim))
		set_timer(k);
	else
		k->ticking = false;
	wake_readers(k);
	mutex_unlock(&k->core);
}

static enum hrtimer_restart timer_fired(struct hrtimer *timer)
{
	struct ksim *k = container_of(timer, struct ksim, timer);

	queue_work(queue, &k->work);
	return HRTIMER_NORESTART;
}

void ksim_init_time(struct ksim *k)
{
	INIT_WORK(&k->work, tick);
	hrtimer_setup(&k->timer, timer_fired, CLOCK_MONOTONIC, HRTIMER_MODE_REL);
}

/* The work item sets no timer once the device does not move. */
void ksim_stop_time(struct ksim *k)
{
	mutex_lock(&k->core);
	k->moves = false;
	mutex_unlock(&k->core);
	hrtimer_cancel(&k->timer);
	cancel_work_sync(&k->work);
	k->ticking = false;
}

/* ---- what the device asks for ---- */

static int dma(struct ksim *k, u64 iova, void *buf, size_t len, bool write)
{
	int ret = vfio_dma_rw(&k->vdev, iova, buf, len, write);

	lockdep_assert_held(&k->core);
	if (write)
		k->count.dma_writes++;
	else
		k->count.dma_reads++;
	if (ret)
		k->count.dma_faults++;
	return ret ? -EFAULT : 0;
}

static int dma_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	return dma(opaque, iova, buf, len, false);
}

static int dma_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	return dma(opaque, iova, (void *)buf, len, true);
}

static int dma_load(void *opaque, uint64_t iova, uint64_t *value)
{
	int ret = dma(opaque, iova, value, sizeof(*value), false);

	smp_mb();
	return ret;
}

static int dma_store(void *opaque, uint64_t iova, uint64_t value)
{
	smp_mb();
	return dma(opaque, iova, &value, sizeof(value), true);
}

static void irq(void *opaque, unsigned int vector)
{
	struct ksim *k = opaque;

	lockdep_assert_held(&k->core);
	if (k->irq[vector])
		eventfd_signal(k->irq[vector]);
}

/* Ends early when the user is killed, or the device is closed. */
static void sleep_until(struct ksim *k, ktime_t end)
{
	DEFINE_WAIT(wait);

	do {
		prepare_to_wait(&k->wake, &wait, TASK_KILLABLE);
		if (READ_ONCE(k->closing) || fatal_signal_pending(current))
			break;
	} while (schedule_hrtimeout(&end, HRTIMER_MODE_ABS));
	finish_wait(&k->wake, &wait);
}

static void delay(void *opaque, uint64_t ns)
{
	struct ksim *k = opaque;
	ktime_t end = ktime_add_ns(ktime_get(), ns);

	lockdep_assert_held(&k->calls);
	ksim_unlock_core(k);
	sleep_until(k, end);
	ksim_lock_core(k);
}

/* Options that would let it die are not to be had here. */
static void die(void *opaque)
{
	WARN_ON_ONCE(1);
}

const struct sim_host_ops ksim_host_ops = {
	.dma_read = dma_read,
	.dma_write = dma_write,
	.dma_load = dma_load,
	.dma_store = dma_store,
	.irq = irq,
	.delay = delay,
	.die = die,
};
