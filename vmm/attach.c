/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connecting the devices: guest memory is mapped for their servers, BARs get their windows, the
 * first MSI-X vector its eventfd. All of it happens before the guest or a migration starts, since
 * a server may refuse set-up in later states.
 *
 * Windows lie between 3 GiB and the local APIC, in the order of the devices and BARs, each at a
 * multiple of its size: both sides of a migration come to the same addresses, and compare them.
 * The guest is told its interrupts by the VMM; it does not program the MSI-X table.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>
#include "base/checked.h"
#include "base/clock.h"
#include "vmm/accel.h"
#include "vmm/vm.h"

#define WINDOWS_START 0xc0000000ull
#define WINDOWS_END   0xfe000000ull
#define DMA_ACCESS    (VFM_VFIO_USER_DMA_READABLE | VFM_VFIO_USER_DMA_WRITEABLE)
#define ACCESS        (VFM_REGION_INFO_READ | VFM_REGION_INFO_WRITE)
#define SERVER_NS     (5 * NS_PER_SEC) /* for a server that was started together with us */
#define RETRY_NS      (20 * NS_PER_MSEC)

static int blame(const struct vmm_device *d, char *why, int error, const char *what)
{
	snprintf(why, VMM_WHY_MAX, "device %s: %.100s: %s", d->name, what, strerror(-error));
	return error;
}

static void on_log(void *opaque, enum vfm_log_level level, const char *line)
{
	struct vmm_device *d = opaque;

	vmm_log(d->vm, level, "device %s: %s", d->name, line);
}

static void on_lost(void *opaque, const char *why)
{
	struct vmm_device *d = opaque;

	__atomic_store_n(&d->lost, true, __ATOMIC_RELAXED);
	vmm_log(d->vm, VFM_LOG_ERROR, "device %s: lost: %s", d->name, why);
	vmm_notice(d->vm, VMM_NOTICE_LOST);
}

static bool absent(int ret)
{
	return ret == -ENOENT || ret == -ECONNREFUSED;
}

/* The signals that end us are blocked until the main loop takes them. */
static bool told_to_end(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
		sigismember(&pending, SIGHUP) == 1);
}

static int connect_server(struct vmm_device *d, const char *path, char *why)
{
	struct vfm_vfio_user_options options = {
		.size = sizeof(options), .opaque = d, .log = on_log, .lost = on_lost};
	const struct timespec pause = {.tv_nsec = RETRY_NS};
	char reason[VFM_VFIO_USER_WHY_MAX] = "";
	uint64_t deadline = clock_after(SERVER_NS);
	int ret;

	for (;;) {
		ret = vfm_vfio_user_connect_path(path, &options, &d->client, reason,
						 sizeof(reason));
		if (!absent(ret) || clock_ns() > deadline || told_to_end())
			break;
		nanosleep(&pause, NULL);
	}
	if (ret < 0)
		snprintf(why, VMM_WHY_MAX, "device %s: %.150s%s", d->name,
			 reason[0] ? reason : strerror(-ret),
			 absent(ret) ? ": is its server running?" : "");
	return ret;
}

static int map_memory(struct vmm *vm, struct vmm_device *d, char *why)
{
	unsigned i;
	int ret;

	for (i = 0; i < vm->memory.count; i++) {
		const struct vfm_region *r = &vm->memory.region[i];

		ret = vfm_vfio_user_dma_map(d->client, r->gpa, r->size,
					    DMA_ACCESS, vm->memory.fd, vm->memory.offset[i]);
		if (ret < 0)
			return blame(d, why, ret, "mapping guest memory");
	}
	return 0;
}

/* The next free window of @size bytes, a power of two or made one. */
static int place(struct vmm *vm, uint64_t size, uint64_t *gpa)
{
	uint64_t start = WINDOWS_START, align = GUEST_PAGE;

	if (vm->windows)
		start = vm->window[vm->windows - 1].gpa + vm->window[vm->windows - 1].size;
	while (align < size && align < WINDOWS_END)
		align *= 2;
	if (!checked_align_up(start, align, gpa) || !range_within(*gpa, size, WINDOWS_END))
		return -ENOSPC;
	return 0;
}

static int add_window(struct vmm *vm, unsigned device, unsigned bar, char *why)
{
	struct vfm_vfio_user_region r = {.size = sizeof(r)};
	struct vmm_device *d = &vm->device[device];
	struct vmm_window w = {.device = device, .bar = bar};
	int ret;

	ret = vfm_vfio_user_get_region(d->client, bar, &r);
	if (ret < 0)
		return blame(d, why, ret, "asking for its BARs");
	w.size = r.bytes;
	if (!(r.flags & ACCESS))
		w.size = 0;
	vfm_vfio_user_region_clear(&r);
	if (!w.size)
		return 0;
	ret = place(vm, w.size, &w.gpa);
	if (ret < 0)
		return blame(d, why, ret, "placing its BARs");
	vm->window[vm->windows++] = w;
	if (bar == 0)
		vm->params.device[device].bar0 = w.gpa;
	return 0;
}

static int add_windows(struct vmm *vm, unsigned device, char *why)
{
	struct vfm_vfio_user_device info = {.size = sizeof(info)};
	struct vmm_device *d = &vm->device[device];
	unsigned bar, bars;
	int ret;

	ret = vfm_vfio_user_get_device(d->client, &info);
	if (ret < 0)
		return blame(d, why, ret, "asking what it is");
	bars = MIN(info.num_regions, VMM_BARS_MAX);
	for (bar = 0; bar < bars; bar++) {
		ret = add_window(vm, device, bar, why);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int attach(struct vmm *vm, unsigned i, char *why)
{
	const struct vmm_device_config *config = &vm->config.device[i];
	struct vmm_device *d = &vm->device[i];
	int ret;

	d->vm = vm;
	d->irq = -1;
	memcpy(d->name, config->name, sizeof(d->name));
	vm->devices = i + 1;
	ret = connect_server(d, config->socket, why);
	if (!ret)
		ret = add_windows(vm, i, why);
	if (!ret)
		ret = map_memory(vm, d, why);
	if (ret < 0)
		return ret;
	ret = vfm_device_new_vfio_user(d->client, d->name, &d->device);
	return ret < 0 ? blame(d, why, ret, "reading its migration features") : 0;
}

int attach_devices(struct vmm *vm, char *why)
{
	unsigned i;
	int ret;

	for (i = 0; i < vm->config.devices; i++) {
		ret = attach(vm, i, why);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int attach_irq(struct vmm *vm, unsigned i, char *why)
{
	struct vmm_device *d = &vm->device[i];
	uint32_t flags, count;
	int ret;

	ret = vfm_vfio_user_get_irq(d->client, VFM_PCI_MSIX_IRQ, &flags, &count);
	if (ret < 0 || !count)
		return 0; /* a device without MSI-X: the guest polls */
	d->irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->irq < 0)
		return blame(d, why, -errno, "making an eventfd");
	ret = vm->accel->connect_irq(vm, i, d->irq);
	if (ret < 0)
		return blame(d, why, ret, "connecting its interrupt to the guest");
	ret = vfm_vfio_user_set_irq_fds(d->client, VFM_PCI_MSIX_IRQ,
					VFM_IRQ_SET_ACTION_TRIGGER, 0, 1, &d->irq);
	return ret < 0 ? blame(d, why, ret, "connecting its interrupt") : 0;
}

int attach_irqs(struct vmm *vm, char *why)
{
	unsigned i;
	int ret;

	for (i = 0; i < vm->devices; i++) {
		ret = attach_irq(vm, i, why);
		if (ret < 0)
			return ret;
	}
	return 0;
}

void attach_free(struct vmm *vm)
{
	unsigned i;

	for (i = 0; i < vm->devices; i++) {
		struct vmm_device *d = &vm->device[i];

		vfm_device_free(d->device);
		vfm_vfio_user_free(d->client);
		if (d->irq >= 0)
			close(d->irq);
	}
	vm->devices = 0;
}
