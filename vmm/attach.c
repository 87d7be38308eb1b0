/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connecting the devices: guest memory is mapped for them, BARs get their windows, one interrupt
 * its eventfd. All of it happens before the guest or a migration starts, since a server may refuse
 * set-up in later states.
 *
 * Windows lie between 3 GiB and the I/O APIC, those of I/O ports from 0xc000 on, in the order of
 * the devices and BARs, each at a multiple of its size: both sides of a migration come to the same
 * addresses, and compare them. What a device offers for it is mapped into the guest, but for the
 * pages of its MSI-X table; the rest is trapped. Parts that are mapped stay reachable when the
 * guest switches off memory decoding.
 *
 * Interrupts: the first vector of MSI-X, else of MSI, else INTx, as PCI config space has them. The
 * guest is told its vector by the VMM; it does not program message interrupts.
 *
 * A device that is found in a state in which another VMM left it, in RESUMING above all, is reset.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/checked.h"
#include "sim/regs.h"
#include "vmm/accel.h"
#include "vmm/attach.h"
#include "vmm/guest/edu.h"

#define WINDOWS_START 0xc0000000ull
#define WINDOWS_END   0xfe000000ull
#define PORTS_START   0xc000u
#define PORTS_END     0x10000u
#define PORTS_MIN     8u
#define ACCESS        (VFM_REGION_INFO_READ | VFM_REGION_INFO_WRITE)
#define CLASS_SERIAL  0x070002u /* 16550-compatible serial controller */
#define MSIX_TABLE    4u        /* offset in the capability */
#define MSIX_ENTRY    16u
#define MSIX_SIZE     0x7ffu    /* of its control word: entries - 1 */

int attach_blame(const struct vmm_device *d, char *why, int error, const char *what)
{
	snprintf(why, VMM_WHY_MAX, "device %s: %.100s: %s", d->name, what, strerror(-error));
	return error;
}

/* ---- windows ---- */

static uint64_t behind_last(const struct vmm *vm, bool io)
{
	uint64_t end = io ? PORTS_START : WINDOWS_START;
	unsigned i;

	for (i = 0; i < vm->windows; i++)
		if (vm->window[i].io == io)
			end = vm->window[i].gpa + vm->window[i].size;
	return end;
}

/* The next free window of w->size bytes, at a multiple of a power of two that holds it. */
static int place(struct vmm *vm, struct vmm_window *w)
{
	uint64_t align = w->io ? PORTS_MIN : GUEST_PAGE, end = w->io ? PORTS_END : WINDOWS_END;

	while (align < w->size && align < end)
		align *= 2;
	if (!checked_align_up(behind_last(vm, w->io), align, &w->gpa) ||
	    !range_within(w->gpa, w->size, end))
		return -ENOSPC;
	pci_place_bar(&vm->device[w->device], w->bar, w->gpa, align);
	return 0;
}

static void map_part(struct vmm *vm, const struct vmm_window *w, const struct attach_region *r,
		     uint64_t start, uint64_t end)
{
	struct vmm_mapping m = {.gpa = w->gpa + start, .size = end - start};

	if (start >= end || end > w->size || vm->mappings == VMM_MAPPINGS_MAX ||
	    (start | end | r->offset) % GUEST_PAGE)
		return;
	m.host = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd,
		      (off_t)(r->offset + start));
	if (m.host == MAP_FAILED)
		vmm_log(vm, VFM_LOG_WARN, "device %s: BAR %u cannot be mapped, and is trapped: %s",
			vm->device[w->device].name, w->bar, strerror(errno));
	else
		vm->mapping[vm->mappings++] = m;
}

/* Where the MSI-X table is in @bar; empty: not there. */
static void find_table(struct vmm_device *d, unsigned bar, uint64_t *start, uint64_t *end)
{
	unsigned cap = pci_find_cap(d, PCI_CAP_MSIX, PCI_CAP_MSIX_SIZE);
	const uint8_t *at = d->pci.shadow + cap;
	uint32_t table;

	*start = *end = 0;
	if (!cap)
		return;
	memcpy(&table, at + MSIX_TABLE, sizeof(table));
	if ((table & 7) != bar)
		return;
	*start = align_down(table & ~7u, GUEST_PAGE);
	*end = (table & ~7u) + (((at[2] | at[3] << 8) & MSIX_SIZE) + 1) * MSIX_ENTRY;
	*end = div_round_up(*end, GUEST_PAGE) * GUEST_PAGE;
}

static void map_areas(struct vmm *vm, const struct vmm_window *w, const struct attach_region *r)
{
	uint64_t table, table_end, start, end;
	unsigned i;

	find_table(&vm->device[w->device], w->bar, &table, &table_end);
	for (i = 0; i < r->areas; i++) {
		start = r->area[i].offset;
		if (!checked_add_u64(start, r->area[i].size, &end))
			continue;
		map_part(vm, w, r, start, table_end ? MIN(end, table) : end);
		if (table_end)
			map_part(vm, w, r, MAX(start, table_end), end);
	}
}

static int add_window(struct vmm *vm, unsigned device, unsigned bar, char *why)
{
	struct vmm_device *d = &vm->device[device];
	struct vmm_window w = {.device = device, .bar = bar, .io = pci_bar_is_io(d, bar)};
	struct attach_region r;
	int ret;

	ret = d->attach->get_region(d, bar, &r);
	if (ret < 0)
		return attach_blame(d, why, ret, "asking for its BARs");
	w.access = r.flags & ACCESS;
	w.size = w.access ? r.bytes : 0;
	if (w.size) {
		ret = place(vm, &w);
		if (ret < 0)
			attach_blame(d, why, ret, "placing its BARs");
		else
			vm->window[vm->windows++] = w;
		/* What the guest can only read, or write, is trapped: a mapping allows both. */
		if (!ret && r.fd >= 0 && !w.io && w.access == ACCESS)
			map_areas(vm, &w, &r);
		if (!ret && bar == 0)
			vm->params.device[device].bar0 = w.gpa;
	}
	if (r.fd >= 0)
		close(r.fd);
	return ret;
}

static int add_windows(struct vmm *vm, unsigned device, char *why)
{
	struct vmm_device *d = &vm->device[device];
	uint32_t regions, irqs, bar;
	int ret;

	ret = d->attach->get_info(d, &regions, &irqs);
	if (ret < 0)
		return attach_blame(d, why, ret, "asking what it is");
	if (regions > VFM_PCI_CONFIG_REGION)
		ret = pci_attach(d);
	if (ret < 0)
		return attach_blame(d, why, ret, "reading its PCI config space");
	for (bar = 0; bar < regions && bar < VMM_BARS_MAX; bar++) {
		ret = add_window(vm, device, bar, why);
		if (ret < 0)
			return ret;
	}
	return 0;
}

/* ---- devices ---- */

/* Which driver in the guest deals with it. */
static uint32_t choose_driver(const struct vmm_device *d)
{
	const uint8_t *config = d->pci.shadow;
	uint32_t id, class;

	if (!d->pci.present)
		return GUEST_DRIVER_SIM;
	memcpy(&id, config + PCI_VENDOR, sizeof(id));
	memcpy(&class, config + PCI_CLASS, sizeof(class));
	if (class >> 8 == CLASS_SERIAL)
		return GUEST_DRIVER_UART;
	if (id == EDU_PCI_ID)
		return GUEST_DRIVER_EDU;
	return (id & 0xffff) == SIM_PCI_VENDOR ? GUEST_DRIVER_SIM : GUEST_DRIVER_NONE;
}

/* What another VMM left behind is nobody's any more. */
static int make_usable(struct vmm *vm, struct vmm_device *d, char *why)
{
	enum vfm_state state;
	int ret;

	ret = vfm_device_get_state(d->device, &state);
	if (ret < 0 || state == VFM_STATE_RUNNING)
		return ret < 0 ? attach_blame(d, why, ret, "asking for its state") : 0;
	vmm_log(vm, VFM_LOG_WARN, "device %s: found in %s, where somebody left it: reset", d->name,
		vfm_state_name(state));
	ret = vfm_device_reset(d->device);
	return ret < 0 ? attach_blame(d, why, ret, "resetting it") : 0;
}

static bool can_migrate(struct vfm_device *device)
{
	struct vfm_device_info info = {.size = sizeof(info)};

	return vfm_device_get_info(device, &info) == 0 && info.mig_flags;
}

static int attach(struct vmm *vm, unsigned i, char *why)
{
	const struct vmm_device_config *config = &vm->config.device[i];
	struct vmm_device *d = &vm->device[i];
	int ret;

	d->vm = vm;
	d->attach = config->attach;
	d->irq.fd = d->irq.done = -1;
	memcpy(d->name, config->name, sizeof(d->name));
	vm->devices = i + 1;
	ret = d->attach->open(d, config->address, why);
	if (ret < 0)
		return ret;
	ret = d->attach->new_device(d, &d->device);
	if (ret < 0)
		return attach_blame(d, why, ret, "reading its migration features");
	if (can_migrate(d->device))
		ret = make_usable(vm, d, why);
	if (!ret)
		ret = add_windows(vm, i, why);
	if (ret < 0)
		return ret;
	vm->params.device[i].driver = choose_driver(d);
	vm->params.device[i].devfn = pci_devfn(i);
	ret = d->attach->map_memory(d);
	return ret < 0 ? attach_blame(d, why, ret, "mapping guest memory") : 0;
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

/* ---- interrupts ---- */

static bool has_irq(struct vmm_device *d, unsigned index)
{
	uint32_t flags, count;

	return d->attach->get_irq(d, index, &flags, &count) == 0 && count;
}

static bool is_in_config(const struct vmm_device *d, unsigned index)
{
	switch (index) {
	case VFM_PCI_MSIX_IRQ:
		return !d->pci.present || pci_find_cap(d, PCI_CAP_MSIX, PCI_CAP_MSIX_SIZE);
	case VFM_PCI_MSI_IRQ:
		return pci_find_cap(d, PCI_CAP_MSI, PCI_CAP_MSI_SIZE);
	default:
		return d->pci.present && d->pci.shadow[PCI_IRQ_PIN];
	}
}

/* -ENODEV: it has none, or not the one that was asked for. */
static int choose_irq(struct vmm_device *d, enum vmm_irq_choice choice)
{
	static const unsigned order[] = {VFM_PCI_MSIX_IRQ, VFM_PCI_MSI_IRQ, VFM_PCI_INTX_IRQ};
	static const unsigned forced[] = {[VMM_IRQ_INTX] = VFM_PCI_INTX_IRQ,
					  [VMM_IRQ_MSI] = VFM_PCI_MSI_IRQ,
					  [VMM_IRQ_MSIX] = VFM_PCI_MSIX_IRQ};
	unsigned i;

	if (choice != VMM_IRQ_BEST) {
		d->irq.index = forced[choice];
		return has_irq(d, d->irq.index) ? 0 : -ENODEV;
	}
	for (i = 0; i < ARRAY_SIZE(order); i++)
		if (is_in_config(d, order[i]) && has_irq(d, order[i])) {
			d->irq.index = order[i];
			return 0;
		}
	return -ENODEV;
}

static int make_eventfds(struct vmm_irq *irq)
{
	irq->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (irq->fd >= 0 && irq->index == VFM_PCI_INTX_IRQ)
		irq->done = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return irq->fd < 0 || (irq->index == VFM_PCI_INTX_IRQ && irq->done < 0) ? -errno : 0;
}

static int attach_irq(struct vmm *vm, unsigned i, char *why)
{
	enum vmm_irq_choice choice = vm->config.device[i].irq;
	struct vmm_device *d = &vm->device[i];
	int ret = choice == VMM_IRQ_NONE ? -ENODEV : choose_irq(d, choice);

	d->irq.index = ret ? VFM_PCI_NUM_IRQS : d->irq.index;
	if (ret && (choice == VMM_IRQ_BEST || choice == VMM_IRQ_NONE))
		return 0; /* the guest polls */
	if (ret)
		return attach_blame(d, why, ret, "the interrupt that irq= asks for");
	ret = make_eventfds(&d->irq);
	if (ret < 0)
		return attach_blame(d, why, ret, "making an eventfd");
	if (d->irq.index == VFM_PCI_INTX_IRQ)
		vm->params.device[i].pin = pci_pin(i);
	ret = vm->accel->connect_irq(vm, i);
	if (ret < 0)
		return attach_blame(d, why, ret, "connecting its interrupt to the guest");
	ret = d->attach->set_irq(d, d->irq.index, d->irq.fd);
	return ret < 0 ? attach_blame(d, why, ret, "connecting its interrupt") : 0;
}

int attach_irqs(struct vmm *vm, char *why)
{
	unsigned i;
	int ret = 0;

	for (i = 0; i < vm->devices && !ret; i++) {
		ret = attach_irq(vm, i, why);
		if (!ret && (ret = pci_power_on(vm, i)) < 0)
			attach_blame(&vm->device[i], why, ret, "switching it on");
	}
	return ret < 0 ? ret : intx_start(vm, why);
}

/* ---- the end ---- */

static void detach(struct vmm_device *d)
{
	vfm_device_free(d->device);
	if (d->attach)
		d->attach->close(d);
	if (d->irq.fd >= 0)
		close(d->irq.fd);
	if (d->irq.done >= 0)
		close(d->irq.done);
}

void attach_free(struct vmm *vm)
{
	unsigned i;

	intx_stop(vm);
	for (i = 0; i < vm->mappings; i++)
		munmap(vm->mapping[i].host, vm->mapping[i].size);
	for (i = 0; i < vm->devices; i++)
		detach(&vm->device[i]);
	vm->mappings = vm->devices = 0;
	vfm_vfio_space_free(vm->space);
	vm->space = NULL;
}
