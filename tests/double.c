/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include "base/bitmap.h"
#include "base/compiler.h"
#include "tests/double.h"

/* ---- the device ---- */

static struct double_device *of(struct vfm_device *dev)
{
	return (struct double_device *)dev;
}

static int get_state(struct vfm_device *dev, enum vfm_state *state)
{
	struct timespec time = { 0, of(dev)->answer_ns };

	if (of(dev)->answer_ns)
		nanosleep(&time, NULL);
	*state = dev->state;
	return 0;
}

static int set_state(struct vfm_device *dev, enum vfm_state state)
{
	struct double_device *d = of(dev);
	struct timespec time = { 0, d->arc_ns };

	if (d->arc_ns)
		nanosleep(&time, NULL);
	if (++d->transitions == d->fail_transition)
		return -d->fail_errno;
	if (d->stay_in != VFM_STATE_ERROR && dev->state == d->stay_in)
		return -EIO;
	if (dev->state == VFM_STATE_RESUMING && state == VFM_STATE_STOP) {
		if (d->refuse_state || d->loaded_size < d->size)
			return -EINVAL;
		memcpy(d->state, d->loaded + d->loaded_size - d->size, d->size);
	}
	if (state == VFM_STATE_RESUMING)
		d->loaded_size = 0;
	if (state == VFM_STATE_PRE_COPY || state == VFM_STATE_STOP_COPY)
		d->read_at = 0;
	return 0;
}

static int reset(struct vfm_device *dev)
{
	of(dev)->resets++;
	dev->state = VFM_STATE_RUNNING;
	return 0;
}

static ssize_t await_cancel(struct double_device *d)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	sem_post(&d->reading);
	while (sem_timedwait(&d->cancelled, &until))
		if (errno != EINTR) {
			d->gave_up = true;
			break;
		}
	return -ECANCELED;
}

/* On the thread that halts the workers. */
static void cancel(struct vfm_device *dev)
{
	struct double_device *d = of(dev);

	if (d->deaf)
		d->deaf--;
	else
		sem_post(&d->cancelled);
}

static ssize_t read_state(struct vfm_device *dev, void *buf, size_t len)
{
	struct double_device *d = of(dev);
	size_t n = MIN(len, d->size - d->read_at);

	if (d->hold_reads)
		return await_cancel(d);
	if (d->read_errno)
		return -d->read_errno;
	n = MIN(n, (size_t)1000); /* short reads are normal */
	memcpy(buf, d->state + d->read_at, n);
	d->initial_bytes -= d->initial_bytes == UINT64_MAX ? 0 : MIN(d->initial_bytes, n);
	d->read_at += n;
	return (ssize_t)n;
}

static int write_state(struct vfm_device *dev, const void *buf, size_t len)
{
	struct double_device *d = of(dev);

	d->writes++;
	d->loaded_total += len;
	if (d->hold_writes) {
		sem_wait(d->hold_writes);
		sem_post(d->hold_writes);
	}
	/* Only the last `size` bytes count. */
	if (d->loaded_size + len > 2 * d->size) {
		memmove(d->loaded, d->loaded + d->loaded_size - d->size, d->size);
		d->loaded_size = d->size;
	}
	memcpy(d->loaded + d->loaded_size, buf, len);
	d->loaded_size += len;
	return 0;
}

static int precopy_info(struct vfm_device *dev, struct device_precopy *info)
{
	struct double_device *d = of(dev);
	unsigned n = ++d->infos;

	info->reinit = d->reinit_at && n >= d->reinit_at && n <= d->reinit_at + d->reinit_times;
	if (info->reinit) {
		d->initial_bytes = d->initial_again;
		d->read_at = 0;
	}
	info->initial_bytes = d->initial_bytes;
	info->dirty_bytes = 0;
	return 0;
}

static int stop_copy_size(struct vfm_device *dev, uint64_t *size)
{
	*size = of(dev)->size;
	return 0;
}

static int log_start(struct vfm_device *dev, const struct device_range *ranges UNUSED,
		     unsigned count UNUSED, uint64_t *page_size)
{
	if (of(dev)->log_page_size)
		*page_size = of(dev)->log_page_size;
	return of(dev)->no_log ? -EOPNOTSUPP : 0;
}

static int log_stop(struct vfm_device *dev UNUSED)
{
	return 0;
}

static int log_report(struct vfm_device *dev UNUSED, uint64_t iova UNUSED, uint64_t size UNUSED,
		      uint64_t page_size UNUSED, uint64_t *bitmap UNUSED)
{
	return 0;
}

static const struct device_ops device_ops = {
	.backend = "double",
	.get_state = get_state,
	.set_state = set_state,
	.reset = reset,
	.read = read_state,
	.write = write_state,
	.precopy_info = precopy_info,
	.stop_copy_size = stop_copy_size,
	.log_start = log_start,
	.log_stop = log_stop,
	.log_report = log_report,
	.cancel = cancel,
};

int double_device_new(const char *name, size_t size, uint32_t mig_flags, unsigned seed,
		      struct double_device **dev)
{
	struct double_device *d = calloc(1, sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->state = malloc(size);
	d->loaded = malloc(2 * size);
	d->size = size;
	for (size_t i = 0; i < size; i++)
		d->state[i] = (uint8_t)((i * 31 + seed) >> 3);
	d->dev.info.mig_flags = mig_flags;
	d->initial_bytes = UINT64_MAX;
	sem_init(&d->reading, 0, 0);
	sem_init(&d->cancelled, 0, 0);
	d->dev.info.has_dma_logging = 1;
	d->dev.info.pci_vendor = 0x1234;
	*dev = d;
	return device_init(&d->dev, &device_ops, name);
}

void double_device_free(struct double_device *d)
{
	sem_destroy(&d->reading);
	sem_destroy(&d->cancelled);
	free(d->state);
	free(d->loaded);
	free(d);
}

/* ---- the VM ---- */

static int vm_stop(void *opaque)
{
	struct double_vm *vm = opaque;

	if (vm->fail_stop)
		return -vm->fail_stop;
	pthread_mutex_lock(&vm->lock);
	vm->running = false;
	vm->stops++;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

static int vm_run(void *opaque)
{
	struct double_vm *vm = opaque;

	if (vm->fail_run)
		return -vm->fail_run;
	pthread_mutex_lock(&vm->lock);
	vm->running = true;
	vm->runs++;
	pthread_mutex_unlock(&vm->lock);
	return 0;
}

static int vm_dirty_start(void *opaque UNUSED)
{
	return 0;
}

/* The guest writes now what it reports now: nothing of it may be lost. */
static int vm_dirty_sync(void *opaque, unsigned region, uint64_t *bitmap)
{
	struct double_vm *vm = opaque;
	size_t pages = vm->regions[region].size / VFM_PAGE_SIZE;
	uint8_t *host = vm->regions[region].host;

	vm->syncs++;
	if (!vm->running)
		return vm->fail_sync ? -vm->fail_sync : 0;
	for (size_t i = 0; i < vm->dirty_each_sync; i++) {
		size_t page = (vm->syncs * 7 + i * 13) % pages;

		host[page * VFM_PAGE_SIZE + vm->syncs % VFM_PAGE_SIZE] ^= 0x5a;
		bitmap[page / 64] |= UINT64_C(1) << page % 64;
	}
	return vm->fail_sync ? -vm->fail_sync : 0;
}

static int vm_save(void *opaque, struct vfm_buffer *out)
{
	struct double_vm *vm = opaque;

	return vm->fail_save ? -vm->fail_save :
			       vfm_buffer_append(out, vm->state, sizeof(vm->state));
}

static int vm_load(void *opaque, const void *data, size_t size)
{
	struct double_vm *vm = opaque;

	if (vm->fail_load || size != sizeof(vm->state))
		return -EINVAL;
	memcpy(vm->state, data, size);
	return 0;
}

static void vm_owned(void *opaque)
{
	struct double_vm *vm = opaque;

	vm->owned = true;
	if (vm->on_owned)
		vm->on_owned(vm);
}

const struct vfm_vm_ops double_vm_ops = {
	.size = sizeof(double_vm_ops),
	.stop = vm_stop,
	.run = vm_run,
	.dirty_start = vm_dirty_start,
	.dirty_stop = vm_dirty_start,
	.dirty_sync = vm_dirty_sync,
	.save = vm_save,
	.load = vm_load,
	.owned = vm_owned,
};

int double_vm_init(struct double_vm *vm, size_t size, bool running)
{
	memset(vm, 0, sizeof(*vm));
	vm->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (vm->memory == MAP_FAILED)
		return -ENOMEM;
	vm->size = size;
	vm->running = running;
	pthread_mutex_init(&vm->lock, NULL);
	vm->regions[0] = (struct vfm_region){ "low", 0, size / 2, vm->memory, VFM_REGION_ZEROED };
	vm->regions[1] = (struct vfm_region){ "high", 1 << 30, size / 2, vm->memory + size / 2,
					      VFM_REGION_ZEROED };
	for (size_t i = 0; running && i < size; i += 64)
		if (i / VFM_PAGE_SIZE % 5)
			vm->memory[i] = (uint8_t)(i * 7 / 64 + 1);
	if (running)
		strcpy(vm->state, "the state of the VMM");
	return 0;
}

void double_vm_destroy(struct double_vm *vm)
{
	munmap(vm->memory, vm->size);
	pthread_mutex_destroy(&vm->lock);
}

bool double_vm_running(struct double_vm *vm)
{
	bool running;

	pthread_mutex_lock(&vm->lock);
	running = vm->running;
	pthread_mutex_unlock(&vm->lock);
	return running;
}

static void take_event(void *opaque, const struct vfm_event *event)
{
	struct double_vm *vm = opaque;

	if (vm->on_event)
		vm->on_event(vm, event);
}

static void take_line(void *opaque, enum vfm_log_level level UNUSED, const char *line)
{
	struct double_vm *vm = opaque;

	strncpy(vm->log[vm->log_count++ % 16], line, 255);
}

void double_vm_options(struct double_vm *vm, struct vfm_options *options)
{
	vfm_options_init(options);
	options->opaque = vm;
	options->event = take_event;
	options->log = take_line;
	options->peer_timeout_ns = UINT64_C(5) * 1000000000;
	options->doubt_timeout_ns = UINT64_C(300) * 1000000;
	options->device_chunk = 4096;
}
