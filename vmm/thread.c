/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * --accel thread: the guest's work on host threads, for machines without KVM. The same source, the
 * same guest memory, the same devices; what a vCPU would hold in registers is in guest memory
 * anyway. Stores are marked in a dirty bitmap by the work itself (platform_stored), after the
 * store.
 *
 * A thread stops between two steps of the work only. It sleeps in poll() on its kick eventfd and,
 * for vCPU 0, on the devices' interrupts.
 *
 * There are no walls around this guest, and its memory may have come from a peer. So the work takes
 * its parameters from the VMM's own copy, and each address that it turns into a pointer meets
 * the bounds of memory here.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/bitmap.h"
#include "base/clock.h"
#include "base/thread.h"
#include "vmm/accel.h"
#include "vmm/guest/work.h"

#define TICK_MS ((int)(GUEST_TICK_NS / NS_PER_MSEC))

struct thread_accel;

struct platform {
	struct vmm *vm;
	struct thread_accel *accel;
	unsigned cpu;
	int kick;            /* eventfd */
	struct thread thread;
	bool parked;         /* under accel->lock */
	bool halted;         /* of the thread alone */
};

struct thread_accel {
	pthread_mutex_t lock; /* guards want_run, quit, parked; a leaf */
	pthread_cond_t changed;
	bool want_run;        /* also read atomically between steps */
	bool quit;

	uint64_t guest_ns;    /* guest time when it was last stopped */
	uint64_t started_ns;  /* host time when it was last started; 0: stopped */

	bool tracking;        /* atomic */
	uint64_t *dirty[VMM_RAM_MAX];
	int irq[VMM_DEVICES_MAX]; /* -1: none */

	uint8_t *nowhere;     /* a page that stands for addresses without memory */
	unsigned cpus;
	struct platform cpu[VMM_CPUS_MAX];
};

/* ---- the platform ---- */

/* Written only while all threads are parked, so that running ones need no lock. */
uint64_t platform_now(struct platform *p)
{
	return p->accel->guest_ns + clock_ns() - p->accel->started_ns;
}

uint32_t platform_read32(struct platform *p, uint64_t gpa)
{
	uint32_t value;

	bus_read(p->vm, gpa, &value, sizeof(value));
	return value;
}

uint64_t platform_read64(struct platform *p, uint64_t gpa)
{
	uint64_t value;

	bus_read(p->vm, gpa, &value, sizeof(value));
	return value;
}

void platform_write32(struct platform *p, uint64_t gpa, uint32_t value)
{
	bus_write(p->vm, gpa, &value, sizeof(value));
}

void platform_write64(struct platform *p, uint64_t gpa, uint64_t value)
{
	bus_write(p->vm, gpa, &value, sizeof(value));
}

uint8_t platform_in8(struct platform *p, uint16_t port)
{
	uint8_t value;

	bus_port_read(p->vm, port, &value, sizeof(value));
	return value;
}

uint32_t platform_in32(struct platform *p, uint16_t port)
{
	uint32_t value;

	bus_port_read(p->vm, port, &value, sizeof(value));
	return value;
}

void platform_out8(struct platform *p, uint16_t port, uint8_t value)
{
	bus_port_write(p->vm, port, &value, sizeof(value));
}

void platform_out32(struct platform *p, uint16_t port, uint32_t value)
{
	bus_port_write(p->vm, port, &value, sizeof(value));
}

/* There is no I/O APIC: the threads look at each device's eventfd. */
void platform_route(struct platform *p, uint32_t pin, uint32_t vector)
{
}

void platform_put(struct platform *p, char c)
{
	serial_write(p->vm, 0, (uint8_t)c);
}

void platform_panic(struct platform *p)
{
	vmm_notice(p->vm, VMM_NOTICE_PANIC);
}

const struct guest_params *platform_params(struct platform *p)
{
	return &p->vm->params;
}

/* No object of the work crosses a page. */
void *platform_ptr(struct platform *p, uint64_t gpa)
{
	uint64_t page = gpa & ~(uint64_t)(GUEST_PAGE - 1);

	return ram_at(&p->vm->memory, page, GUEST_PAGE) ? p->vm->memory.base + gpa
							: p->accel->nowhere + (gpa - page);
}

void platform_stored(struct platform *p, uint64_t gpa, uint64_t size)
{
	const struct vmm_memory *m = &p->vm->memory;
	unsigned i;

	if (!__atomic_load_n(&p->accel->tracking, __ATOMIC_ACQUIRE))
		return;
	for (i = 0; i < m->count; i++) {
		uint64_t at = gpa - m->region[i].gpa;

		if (gpa < m->region[i].gpa || at >= m->region[i].size)
			continue;
		bitmap_set_range_atomic(p->accel->dirty[i], at / GUEST_PAGE,
					(at + size - 1) / GUEST_PAGE - at / GUEST_PAGE + 1);
	}
}

/* ---- the threads ---- */

/* A store of the guest's interrupt handler, as it were, beside whoever reads its memory. */
static NO_TSAN void count_interrupts(struct guest_cpu *c, unsigned i, uint64_t n)
{
	c->irqs[i] += n;
}

/* A level is at its end as soon as it was counted. */
static void end_interrupt(const struct vmm_device *d)
{
	uint64_t one = 1;

	if (d->irq.done >= 0 && write(d->irq.done, &one, sizeof(one)) < 0)
		return; /* full: it is told all the same */
}

static void take_interrupt(struct platform *p, unsigned i)
{
	uint64_t n;

	if (read(p->accel->irq[i], &n, sizeof(n)) != sizeof(n))
		return;
	count_interrupts(platform_ptr(p, p->vm->params.cpu_area), i, n);
	platform_stored(p, p->vm->params.cpu_area, GUEST_PAGE);
	work_interrupt(p, i);
	end_interrupt(&p->vm->device[i]);
}

static void sleep_until_work(struct platform *p)
{
	struct pollfd fds[1 + VMM_DEVICES_MAX] = {{.fd = p->kick, .events = POLLIN}};
	unsigned i, n = p->cpu ? 0 : p->vm->devices;
	uint64_t drained;

	for (i = 0; i < n; i++)
		fds[1 + i] = (struct pollfd){.fd = p->accel->irq[i], .events = POLLIN};
	if (poll(fds, 1 + n, TICK_MS) <= 0)
		return;
	if (fds[0].revents && read(p->kick, &drained, sizeof(drained)) < 0)
		return;
	for (i = 0; i < n; i++)
		if (fds[1 + i].revents & POLLIN)
			take_interrupt(p, i);
}

/* False: the thread shall end. */
static bool wait_for_run(struct platform *p)
{
	struct thread_accel *t = p->accel;
	bool quit;

	pthread_mutex_lock(&t->lock);
	while (!t->quit && (!t->want_run || p->halted)) {
		p->parked = true;
		pthread_cond_broadcast(&t->changed);
		pthread_cond_wait(&t->changed, &t->lock);
	}
	p->parked = false;
	quit = t->quit;
	pthread_mutex_unlock(&t->lock);
	return !quit;
}

/* Ends when the accel is destroyed. A guest that halted stays parked until then. */
static void cpu_thread(void *arg)
{
	struct platform *p = arg;
	enum work_result result;

	while (wait_for_run(p)) {
		while (__atomic_load_n(&p->accel->want_run, __ATOMIC_ACQUIRE)) {
			result = work_step(p, p->cpu);
			if (result == WORK_HALTED) {
				p->halted = true;
				break;
			}
			if (result == WORK_IDLE)
				sleep_until_work(p);
		}
	}
}

static bool all_parked(const struct thread_accel *t)
{
	unsigned i;

	for (i = 0; i < t->cpus; i++)
		if (!t->cpu[i].parked)
			return false;
	return true;
}

static void kick_all(struct thread_accel *t)
{
	uint64_t one = 1;
	unsigned i;

	for (i = 0; i < t->cpus; i++)
		if (write(t->cpu[i].kick, &one, sizeof(one)) < 0)
			continue; /* full: the thread will see it all the same */
}

static int thread_stop(struct vmm *vm)
{
	struct thread_accel *t = vm->accel_state;

	pthread_mutex_lock(&t->lock);
	__atomic_store_n(&t->want_run, false, __ATOMIC_RELEASE);
	kick_all(t);
	while (!all_parked(t))
		pthread_cond_wait(&t->changed, &t->lock);
	if (t->started_ns)
		t->guest_ns += clock_ns() - t->started_ns;
	t->started_ns = 0;
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static int thread_run(struct vmm *vm)
{
	struct thread_accel *t = vm->accel_state;

	pthread_mutex_lock(&t->lock);
	t->started_ns = clock_ns();
	__atomic_store_n(&t->want_run, true, __ATOMIC_RELEASE);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

/* ---- creation ---- */

static void thread_destroy(struct vmm *vm)
{
	struct thread_accel *t = vm->accel_state;
	unsigned i;

	pthread_mutex_lock(&t->lock);
	t->quit = true;
	__atomic_store_n(&t->want_run, false, __ATOMIC_RELEASE);
	kick_all(t);
	pthread_cond_broadcast(&t->changed);
	pthread_mutex_unlock(&t->lock);
	for (i = 0; i < t->cpus; i++) {
		thread_join(&t->cpu[i].thread);
		close(t->cpu[i].kick);
	}
	for (i = 0; i < VMM_RAM_MAX; i++)
		free(t->dirty[i]);
	free(t->nowhere);
	pthread_cond_destroy(&t->changed);
	pthread_mutex_destroy(&t->lock);
	free(t);
	vm->accel_state = NULL;
}

static int allocate(struct vmm *vm, struct thread_accel *t)
{
	unsigned i;

	t->nowhere = calloc(1, GUEST_PAGE);
	if (!t->nowhere)
		return -ENOMEM;
	for (i = 0; i < vm->memory.count; i++) {
		t->dirty[i] = calloc(bitmap_words(vm->memory.region[i].size / GUEST_PAGE),
				     sizeof(uint64_t));
		if (!t->dirty[i])
			return -ENOMEM;
	}
	return 0;
}

static int start_cpu(struct vmm *vm, struct thread_accel *t, unsigned i)
{
	struct platform *p = &t->cpu[i];
	char name[THREAD_NAME_MAX];
	int ret;

	p->vm = vm;
	p->accel = t;
	p->cpu = i;
	p->parked = true;
	p->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (p->kick < 0)
		return -errno;
	snprintf(name, sizeof(name), "vcpu-%u", i % VMM_CPUS_MAX);
	ret = thread_start(&p->thread, NULL, name, cpu_thread, p);
	if (ret < 0) {
		close(p->kick);
		return ret;
	}
	t->cpus = i + 1;
	return 0;
}

static int thread_create(struct vmm *vm, char *why)
{
	struct thread_accel *t = calloc(1, sizeof(*t));
	unsigned i;
	int ret;

	if (!t) {
		snprintf(why, VMM_WHY_MAX, "no memory");
		return -ENOMEM;
	}
	vm->accel_state = t;
	pthread_mutex_init(&t->lock, NULL);
	pthread_cond_init(&t->changed, NULL);
	for (i = 0; i < VMM_DEVICES_MAX; i++)
		t->irq[i] = -1;
	vm->params.clock = GUEST_CLOCK_CALLED;
	ret = allocate(vm, t);
	for (i = 0; !ret && i < vm->config.cpus; i++)
		ret = start_cpu(vm, t, i);
	if (ret < 0) {
		snprintf(why, VMM_WHY_MAX, "vCPU threads: %s", strerror(-ret));
		thread_destroy(vm);
	}
	return ret;
}

/* The VM is held: its threads look at this the next time they run. */
static int thread_connect_irq(struct vmm *vm, unsigned device)
{
	struct thread_accel *t = vm->accel_state;

	t->irq[device] = vm->device[device].irq.fd;
	return 0;
}

/* ---- dirty log, state ---- */

static int thread_dirty_start(struct vmm *vm)
{
	struct thread_accel *t = vm->accel_state;
	unsigned i;

	for (i = 0; i < vm->memory.count; i++)
		bitmap_set_range_atomic(t->dirty[i], 0, vm->memory.region[i].size / GUEST_PAGE);
	__atomic_store_n(&t->tracking, true, __ATOMIC_RELEASE);
	return 0;
}

static int thread_dirty_stop(struct vmm *vm)
{
	struct thread_accel *t = vm->accel_state;

	__atomic_store_n(&t->tracking, false, __ATOMIC_RELEASE);
	return 0;
}

static int thread_dirty_sync(struct vmm *vm, unsigned region, uint64_t *bitmap)
{
	struct thread_accel *t = vm->accel_state;

	bitmap_take(t->dirty[region], bitmap, 0, vm->memory.region[region].size / GUEST_PAGE);
	return 0;
}

/* An interrupt that waits in its eventfd is not part of the state: the guest also looks at its
 * rings at each tick. */
static int thread_save(struct vmm *vm, struct state_writer *out)
{
	struct thread_accel *t = vm->accel_state;
	struct state_thread state = {t->guest_ns};

	state_add(out, STATE_THREAD, 0, &state, sizeof(state));
	return 0;
}

static int thread_load(struct vmm *vm, const struct state_view *view)
{
	struct thread_accel *t = vm->accel_state;
	struct state_thread state;
	int ret;

	ret = state_get(view, STATE_THREAD, 0, &state, sizeof(state));
	if (!ret)
		t->guest_ns = state.guest_ns;
	return ret;
}

const struct accel_ops accel_thread = {
	.name = "thread",
	.create = thread_create,
	.destroy = thread_destroy,
	.connect_irq = thread_connect_irq,
	.run = thread_run,
	.stop = thread_stop,
	.dirty_start = thread_dirty_start,
	.dirty_stop = thread_dirty_stop,
	.dirty_sync = thread_dirty_sync,
	.save = thread_save,
	.load = thread_load,
};
