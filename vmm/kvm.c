/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A virtual machine on KVM: memory slots, in-kernel interrupt controllers, device interrupts as
 * irqfds, dirty log.
 *
 * Interrupts. Each device's eventfd is an irqfd. A message interrupt has a GSI of its own, above
 * the 24 pins of the I/O APIC, which routes to an MSI for vCPU 0. So an interrupt needs no thread
 * of ours, and one that arrives while the vCPUs stand still waits in the local APIC and travels
 * with it. INTx goes to a pin of the I/O APIC, which devices may share, and KVM tells its end.
 *
 * Dirty log. Where the kernel can clear by hand (KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2), reading
 * the log and protecting the pages again are two calls, the second without the pages' lock being
 * held for the whole slot. Both happen in one dirty_sync(): a page that is stored to between the
 * two has its bit in what was read, and is read for sending only after that.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/bitmap.h"
#include "vmm/kvm.h"

#define KVM_PATH    "/dev/kvm"
#define FIRST_GSI   24u
#define MSI_ADDRESS 0xfee00000u /* to the local APIC of vCPU 0 */

static int fail(char *why, int error, const char *what)
{
	snprintf(why, VMM_WHY_MAX, "%s: %s", what, strerror(-error));
	return error;
}

static bool has(const struct kvm_accel *kvm, int cap)
{
	return ioctl(kvm->fd >= 0 ? kvm->fd : kvm->dev, KVM_CHECK_EXTENSION, cap) > 0;
}

static int open_kvm(struct kvm_accel *kvm, char *why)
{
	int version;

	kvm->dev = open(KVM_PATH, O_RDWR | O_CLOEXEC);
	if (kvm->dev < 0) {
		int error = -errno;

		snprintf(why, VMM_WHY_MAX, "no KVM here: %s: %s%s (--accel thread needs none)",
			 KVM_PATH, strerror(-error), error == -EACCES ? ", join group kvm" : "");
		return error == -EACCES ? error : -ENODEV;
	}
	version = ioctl(kvm->dev, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		snprintf(why, VMM_WHY_MAX, "KVM of an unknown version: %d, not %d", version,
			 KVM_API_VERSION);
		return -ENODEV;
	}
	kvm->fd = ioctl(kvm->dev, KVM_CREATE_VM, 0);
	return kvm->fd < 0 ? fail(why, -errno, "KVM does not make a VM") : 0;
}

static int need(const struct kvm_accel *kvm, char *why)
{
	static const struct {
		int cap;
		const char *name;
	} caps[] = {
		{KVM_CAP_USER_MEMORY, "user memory"},
		{KVM_CAP_IRQCHIP, "interrupt controllers"},
		{KVM_CAP_IRQFD, "irqfd"},
		{KVM_CAP_IRQ_ROUTING, "interrupt routing"},
		{KVM_CAP_IMMEDIATE_EXIT, "immediate exit"},
		{KVM_CAP_ADJUST_CLOCK, "clock adjustment"},
	};
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(caps); i++)
		if (!has(kvm, caps[i].cap)) {
			snprintf(why, VMM_WHY_MAX, "this KVM lacks %s", caps[i].name);
			return -ENODEV;
		}
	return 0;
}

static int set_slot(struct vmm *vm, unsigned i, uint32_t flags)
{
	const struct vfm_region *r = &vm->memory.region[i];
	struct kvm_userspace_memory_region slot = {
		.slot = i,
		.flags = flags,
		.guest_phys_addr = r->gpa,
		.memory_size = r->size,
		.userspace_addr = (uint64_t)(uintptr_t)r->host,
	};

	return ioctl(kvm_of(vm)->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ? -errno : 0;
}

/* What of the devices' BARs the guest reaches by itself. Nobody logs it: it is no memory. */
static int add_mappings(struct vmm *vm, char *why)
{
	unsigned i;

	for (i = 0; i < vm->mappings; i++) {
		const struct vmm_mapping *m = &vm->mapping[i];
		struct kvm_userspace_memory_region slot = {
			.slot = VMM_RAM_MAX + i,
			.guest_phys_addr = m->gpa,
			.memory_size = m->size,
			.userspace_addr = (uint64_t)(uintptr_t)m->host,
		};

		if (ioctl(kvm_of(vm)->fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			return fail(why, -errno, "KVM does not take a device's BAR");
	}
	return 0;
}

static int add_memory(struct vmm *vm, char *why)
{
	struct kvm_accel *kvm = kvm_of(vm);
	unsigned i;
	int ret;

	for (i = 0; i < vm->memory.count; i++) {
		kvm->log[i] = calloc(bitmap_words(vm->memory.region[i].size / GUEST_PAGE),
				     sizeof(uint64_t));
		ret = kvm->log[i] ? set_slot(vm, i, 0) : -ENOMEM;
		if (ret < 0)
			return fail(why, ret, "KVM does not take guest memory");
	}
	return 0;
}

/* Ask for the manual clear; a kernel that refuses it clears as it reads. */
static void choose_dirty_log(struct kvm_accel *kvm)
{
	struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2,
				     .args = {KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE}};

	kvm->manual = has(kvm, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) &&
		      ioctl(kvm->fd, KVM_ENABLE_CAP, &cap) == 0;
}

static void choose_xsave(struct kvm_accel *kvm)
{
	int size = 0;

	kvm->xsave = has(kvm, KVM_CAP_XSAVE) && has(kvm, KVM_CAP_XCRS);
#ifdef KVM_CAP_XSAVE2
	size = ioctl(kvm->fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
#endif
	kvm->xsave_size = size > (int)sizeof(struct kvm_xsave) && size <= (int)KVM_XSAVE_MAX
				  ? (size_t)size
				  : sizeof(struct kvm_xsave);
}

static int add_cpus(struct vmm *vm, char *why)
{
	unsigned i;
	int ret;

	for (i = 0; i < vm->config.cpus; i++) {
		ret = kvm_vcpu_new(vm, i);
		if (ret < 0)
			return fail(why, ret, "KVM does not make a vCPU");
	}
	ret = kvm_find_msrs(kvm_of(vm));
	for (i = 0; !ret && i < vm->config.cpus; i++)
		ret = kvm_vcpu_reset(vm, &kvm_of(vm)->cpu[i]);
	return ret < 0 ? fail(why, ret, "KVM does not take the vCPUs' first state") : 0;
}

/* What the guest reads the time from. */
static void choose_clock(struct vmm *vm)
{
	struct kvm_accel *kvm = kvm_of(vm);
	int khz = ioctl(kvm->cpu[0].fd, KVM_GET_TSC_KHZ, 0);

	vm->params.tsc_khz = khz > 0 ? (uint64_t)khz : 1000000;
	vm->params.clock = has(kvm, KVM_CAP_CLOCKSOURCE) ? GUEST_CLOCK_KVM : GUEST_CLOCK_TSC;
}

static void kvm_destroy(struct vmm *vm)
{
	struct kvm_accel *kvm = kvm_of(vm);
	unsigned i;

	pthread_mutex_lock(&kvm->lock);
	kvm->quit = true;
	kvm->want_run = false;
	kvm_kick_all(kvm);
	pthread_cond_broadcast(&kvm->changed);
	pthread_mutex_unlock(&kvm->lock);
	for (i = 0; i < kvm->cpus; i++)
		kvm_vcpu_free(&kvm->cpu[i]);
	if (kvm->fd >= 0)
		close(kvm->fd);
	if (kvm->dev >= 0)
		close(kvm->dev);
	for (i = 0; i < VMM_RAM_MAX; i++)
		free(kvm->log[i]);
	free(kvm->routing);
	pthread_cond_destroy(&kvm->changed);
	pthread_mutex_destroy(&kvm->lock);
	free(kvm);
	vm->accel_state = NULL;
}

static int build(struct vmm *vm, char *why)
{
	struct kvm_accel *kvm = kvm_of(vm);
	int ret;

	ret = open_kvm(kvm, why);
	if (!ret)
		ret = need(kvm, why);
	if (ret < 0)
		return ret;
	choose_dirty_log(kvm);
	choose_xsave(kvm);
	ret = add_memory(vm, why);
	if (!ret)
		ret = add_mappings(vm, why);
	if (!ret && ioctl(kvm->fd, KVM_CREATE_IRQCHIP, 0) < 0)
		ret = fail(why, -errno, "KVM does not make interrupt controllers");
	if (!ret)
		ret = add_cpus(vm, why);
	if (!ret)
		choose_clock(vm);
	return ret;
}

static int kvm_create(struct vmm *vm, char *why)
{
	struct kvm_accel *kvm = calloc(1, sizeof(*kvm));
	int ret;

	if (!kvm)
		return fail(why, -ENOMEM, "KVM");
	kvm->dev = kvm->fd = -1;
	pthread_mutex_init(&kvm->lock, NULL);
	pthread_cond_init(&kvm->changed, NULL);
	vm->accel_state = kvm;
	kvm->routing = calloc(1, sizeof(*kvm->routing) +
				 VMM_DEVICES_MAX * sizeof(struct kvm_irq_routing_entry));
	ret = kvm->routing ? build(vm, why) : fail(why, -ENOMEM, "KVM");
	if (ret < 0)
		kvm_destroy(vm);
	return ret;
}

static struct kvm_irq_routing_entry *find_route(struct kvm_accel *kvm, uint32_t gsi)
{
	unsigned i;

	for (i = 0; i < kvm->routes; i++)
		if (kvm->routing->entries[i].gsi == gsi)
			return &kvm->routing->entries[i];
	return NULL;
}

/* The kernel takes the table as a whole. A pin that devices share is in it once. */
static int add_route(struct kvm_accel *kvm, const struct kvm_irq_routing_entry *e)
{
	if (find_route(kvm, e->gsi))
		return 0;
	if (kvm->routes == VMM_DEVICES_MAX)
		return -ENOSPC;
	kvm->routing->entries[kvm->routes] = *e;
	kvm->routing->nr = ++kvm->routes;
	return ioctl(kvm->fd, KVM_SET_GSI_ROUTING, kvm->routing) < 0 ? -errno : 0;
}

static int connect_message(struct vmm *vm, unsigned device)
{
	struct kvm_accel *kvm = kvm_of(vm);
	struct kvm_irqfd irqfd = {.fd = (uint32_t)vm->device[device].irq.fd,
				  .gsi = FIRST_GSI + device};
	struct kvm_irq_routing_entry e = {.gsi = irqfd.gsi, .type = KVM_IRQ_ROUTING_MSI};
	int ret;

	e.u.msi.address_lo = MSI_ADDRESS;
	e.u.msi.data = vm->params.device[device].vector;
	ret = add_route(kvm, &e);
	if (!ret && ioctl(kvm->fd, KVM_IRQFD, &irqfd) < 0)
		ret = -errno;
	return ret;
}

static int connect_line(struct vmm *vm, unsigned device)
{
	struct kvm_accel *kvm = kvm_of(vm);
	const struct vmm_irq *irq = &vm->device[device].irq;
	struct kvm_irqfd irqfd = {.fd = (uint32_t)irq->fd,
				  .gsi = pci_pin(device),
				  .flags = KVM_IRQFD_FLAG_RESAMPLE,
				  .resamplefd = (uint32_t)irq->done};
	struct kvm_irq_routing_entry e = {.gsi = irqfd.gsi, .type = KVM_IRQ_ROUTING_IRQCHIP};
	int ret;

	e.u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
	e.u.irqchip.pin = irqfd.gsi;
	if (!has(kvm, KVM_CAP_IRQFD_RESAMPLE))
		return -EOPNOTSUPP;
	ret = add_route(kvm, &e);
	if (!ret && ioctl(kvm->fd, KVM_IRQFD, &irqfd) < 0)
		ret = -errno;
	return ret;
}

static int kvm_connect_irq(struct vmm *vm, unsigned device)
{
	return vm->device[device].irq.done >= 0 ? connect_line(vm, device)
						: connect_message(vm, device);
}

/* ---- dirty log ---- */

static int set_logging(struct vmm *vm, uint32_t flags)
{
	unsigned i;
	int ret;

	for (i = 0; i < vm->memory.count; i++) {
		ret = set_slot(vm, i, flags);
		if (ret < 0)
			return ret;
	}
	return 0;
}

static int kvm_dirty_start(struct vmm *vm)
{
	return set_logging(vm, KVM_MEM_LOG_DIRTY_PAGES);
}

static int kvm_dirty_stop(struct vmm *vm)
{
	return set_logging(vm, 0);
}

static int clear_log(struct kvm_accel *kvm, unsigned slot, uint64_t pages)
{
	struct kvm_clear_dirty_log clear = {.slot = slot,
					    .num_pages = (uint32_t)pages,
					    .first_page = 0,
					    .dirty_bitmap = kvm->log[slot]};

	return ioctl(kvm->fd, KVM_CLEAR_DIRTY_LOG, &clear) < 0 ? -errno : 0;
}

static int kvm_dirty_sync(struct vmm *vm, unsigned slot, uint64_t *bitmap)
{
	struct kvm_accel *kvm = kvm_of(vm);
	struct kvm_dirty_log log = {.slot = slot, .dirty_bitmap = kvm->log[slot]};
	uint64_t pages = vm->memory.region[slot].size / GUEST_PAGE, i, words = bitmap_words(pages);
	int ret = 0;

	if (ioctl(kvm->fd, KVM_GET_DIRTY_LOG, &log) < 0)
		return -errno;
	if (kvm->manual)
		ret = clear_log(kvm, slot, pages);
	for (i = 0; i < words; i++)
		bitmap[i] |= kvm->log[slot][i];
	return ret;
}

const struct accel_ops accel_kvm = {
	.name = "kvm",
	.create = kvm_create,
	.destroy = kvm_destroy,
	.connect_irq = kvm_connect_irq,
	.run = kvm_run_all,
	.stop = kvm_stop_all,
	.dirty_start = kvm_dirty_start,
	.dirty_stop = kvm_dirty_stop,
	.dirty_sync = kvm_dirty_sync,
	.save = kvm_save,
	.load = kvm_load,
};
