/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A minimal PCI bus: ports 0xcf8 and 0xcfc, a host bridge at 00:00.0, and the devices from slot 1
 * on, one per slot as far as there are slots, then as further functions. There is no firmware in
 * the guest, so the VMM has done its work: BARs are placed, decoding and bus mastering are on,
 * interrupts routed.
 *
 * Config space is the device's, but for what is ours:
 *
 *	command           kept here and written to the device; switches the windows
 *	BARs, ROM         where the VMM put them. A guest can ask for their size and not move them;
 *	                  ROMs are hidden
 *	cache line size,  remembered. The line holds the pin of the I/O APIC
 *	interrupt line
 *	header type       the bit for several functions
 *
 * No lock is held while a device is asked: a server may take its time, and the other vCPUs have
 * other devices. What it answers is overlaid with what is ours at that moment. Two vCPUs that write
 * one command register at once race for it, as they do for the address register.
 *
 * Other writes are dropped, those to MSI and MSI-X among them: the VMM has set up what there is.
 *
 * A device's migration data need not have its config space (mtty's has not), so that what a guest
 * can write travels with the VMM's state and is written to the device of the destination before
 * that one runs. What it cannot write must be the same on both sides.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/checked.h"
#include "vmm/attach.h"
#include "vmm/state.h"

#define SLOTS          31u
#define BRIDGE_VENDOR  0x5646u /* as sim/regs.h has it */
#define BRIDGE_DEVICE  0x4842u
#define BRIDGE_CLASS   0x060000u
#define ENABLE         0x80000000u
#define MULTIFUNCTION  0x80u
#define HEADER_LAYOUT  0x7fu
#define CAPS_MAX       48u /* as many as fit */

_Static_assert(STATE_PCI_DEVICES == VMM_DEVICES_MAX, "every device has its place");

static uint32_t get32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	       (uint32_t)at[3] << 24;
}

static void put32(uint8_t *at, uint32_t value)
{
	unsigned i;

	for (i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

static void put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

static unsigned bar_offset(unsigned bar)
{
	return PCI_BAR0 + 4 * bar;
}

/* ---- setting up ---- */

unsigned pci_devfn(unsigned device)
{
	return (1 + device % SLOTS) << 3 | device / SLOTS;
}

uint32_t pci_pin(unsigned device)
{
	return PCI_IOAPIC_FIRST + device % PCI_IOAPIC_PINS;
}

static int read_config(struct vmm_device *d, unsigned offset, void *data, unsigned len)
{
	memset(data, 0, len);
	if (offset >= d->pci.limit)
		return 0;
	return attach_read(d, VFM_PCI_CONFIG_REGION, offset, data, MIN(len, d->pci.limit - offset));
}

int pci_attach(struct vmm_device *d)
{
	struct pci_function *f = &d->pci;
	struct attach_region r;
	int ret;

	ret = d->attach->get_region(d, VFM_PCI_CONFIG_REGION, &r);
	if (ret < 0)
		return ret;
	if (r.fd >= 0)
		close(r.fd);
	f->limit = (uint32_t)MIN(r.bytes, PCI_CONFIG_SIZE);
	f->command = PCI_COMMAND_IO | PCI_COMMAND_MEMORY;
	if (f->limit < PCI_IRQ_PIN)
		return 0; /* no PCI device: its windows are open for good */
	ret = read_config(d, 0, f->shadow, PCI_CONFIG_SIZE);
	f->present = !ret && !(f->shadow[PCI_HEADER] & HEADER_LAYOUT);
	return ret;
}

bool pci_bar_is_io(const struct vmm_device *d, unsigned bar)
{
	return d->pci.present && (d->pci.shadow[bar_offset(bar)] & PCI_BAR_IO);
}

/* Both halves of a 64-bit BAR are written, since the guest sees both. */
void pci_place_bar(struct vmm_device *d, unsigned bar, uint64_t address, uint64_t size)
{
	struct pci_function *f = &d->pci;
	uint8_t *at = f->shadow + bar_offset(bar);
	bool io = pci_bar_is_io(d, bar), wide = !io && (*at & PCI_BAR_64);
	uint32_t type = *at & (io ? PCI_BAR_TYPE_IO : PCI_BAR_TYPE_MEM);
	uint64_t mask = ~(size - 1);

	if (!f->present)
		return;
	put32(at, (uint32_t)address | type);
	f->size_mask[bar] = (uint32_t)mask | type;
	if (wide && bar + 1 < PCI_BARS) {
		put32(at + 4, (uint32_t)(address >> 32));
		f->size_mask[bar + 1] = (uint32_t)(mask >> 32);
	}
}

static int set_command(struct vmm_device *d, uint16_t command)
{
	uint8_t data[2];
	int ret = 0;

	put16(data, command);
	if (d->pci.present && __atomic_load_n(&d->pci.command, __ATOMIC_RELAXED) != command)
		ret = attach_write(d, VFM_PCI_CONFIG_REGION, PCI_COMMAND, data, sizeof(data));
	__atomic_store_n(&d->pci.command, command, __ATOMIC_RELEASE);
	return ret;
}

/* What firmware does, once the BARs are placed. */
int pci_power_on(struct vmm *vm, unsigned device)
{
	struct vmm_device *d = &vm->device[device];
	struct pci_function *f = &d->pci;
	unsigned bar;

	if (!f->present)
		return 0;
	for (bar = 0; bar < PCI_BARS; bar++)
		if (!f->size_mask[bar])
			put32(f->shadow + bar_offset(bar), 0);
	put32(f->shadow + PCI_ROM, 0);
	f->shadow[PCI_CACHE_LINE] = 0;
	f->shadow[PCI_IRQ_LINE] = d->irq.index == VFM_PCI_INTX_IRQ ? (uint8_t)pci_pin(device) : 0;
	if (device + SLOTS < vm->config.devices)
		f->shadow[PCI_HEADER] |= MULTIFUNCTION;
	f->command = 0; /* whatever it was, it is written now */
	return set_command(d, PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

unsigned pci_find_cap(const struct vmm_device *d, uint8_t id, unsigned size)
{
	const struct pci_function *f = &d->pci;
	unsigned at = f->shadow[PCI_CAPABILITIES] & ~3u, n;

	if (!f->present || !(f->shadow[PCI_STATUS] & PCI_STATUS_CAPS))
		return 0;
	for (n = 0; at && n < CAPS_MAX; n++, at = f->shadow[at + 1] & ~3u)
		if (f->shadow[at] == id)
			return range_within(at, size, PCI_CONFIG_SIZE) ? at : 0;
	return 0;
}

/* ---- the guest's accesses ---- */

static bool is_ours(unsigned offset)
{
	return (offset & ~1u) == PCI_COMMAND || offset == PCI_CACHE_LINE || offset == PCI_HEADER ||
	       (offset >= PCI_BAR0 && offset < PCI_BAR0 + 4 * PCI_BARS) ||
	       (offset & ~3u) == PCI_ROM || offset == PCI_IRQ_LINE;
}

static void overlay(struct vmm_device *d, unsigned offset, uint8_t *data, unsigned len)
{
	struct pci_function *f = &d->pci;
	unsigned i;

	pthread_mutex_lock(&d->vm->pci_lock);
	put16(f->shadow + PCI_COMMAND, __atomic_load_n(&f->command, __ATOMIC_ACQUIRE));
	for (i = 0; i < len; i++)
		if (is_ours(offset + i))
			data[i] = f->shadow[offset + i];
	pthread_mutex_unlock(&d->vm->pci_lock);
}

/* Also of a stopped VM, to compare it. */
int pci_read_function(struct vmm_device *d, unsigned offset, void *data, unsigned len)
{
	int ret = read_config(d, offset, data, len);

	if (!ret)
		overlay(d, offset, data, len);
	return ret;
}

/* A BAR stands at its place or, once written with ones, at its size. */
static void write_bar(struct vmm *vm, struct vmm_device *d, unsigned bar, uint32_t value)
{
	struct pci_function *f = &d->pci;
	unsigned i;

	if (value == ~0u || value == (~0u & ~PCI_BAR_IO)) {
		put32(f->shadow + bar_offset(bar), f->size_mask[bar]);
		return;
	}
	for (i = 0; i < vm->windows; i++) {
		const struct vmm_window *w = &vm->window[i];
		uint32_t type = f->size_mask[w->bar] & (w->io ? PCI_BAR_TYPE_IO : PCI_BAR_TYPE_MEM);

		if (&vm->device[w->device] != d)
			continue;
		if (w->bar == bar)
			put32(f->shadow + bar_offset(bar), (uint32_t)w->gpa | type);
		else if (w->bar + 1 == bar && !w->io && (type & PCI_BAR_64))
			put32(f->shadow + bar_offset(bar), (uint32_t)(w->gpa >> 32));
	}
}

/* What of a function is the VMM's alone. */
static void write_shadow(struct vmm *vm, struct vmm_device *d, unsigned offset,
			 const uint8_t *data, unsigned len)
{
	uint8_t now[4];
	unsigned i;

	if (offset >= PCI_BAR0 && offset < PCI_BAR0 + 4 * PCI_BARS) {
		memcpy(now, d->pci.shadow + (offset & ~3u), 4);
		memcpy(now + (offset & 3), data, MIN(len, 4 - (offset & 3)));
		write_bar(vm, d, (offset - PCI_BAR0) / 4, get32(now));
		return;
	}
	for (i = 0; i < len; i++)
		if (offset + i == PCI_CACHE_LINE || offset + i == PCI_IRQ_LINE)
			d->pci.shadow[offset + i] = data[i];
}

static void write_function(struct vmm *vm, struct vmm_device *d, unsigned offset,
			   const uint8_t *data, unsigned len)
{
	if (offset == PCI_COMMAND && len >= 2) {
		set_command(d, (uint16_t)(get32((const uint8_t[4]){data[0], data[1]}) &
					  PCI_COMMAND_KEPT));
		return;
	}
	pthread_mutex_lock(&vm->pci_lock);
	write_shadow(vm, d, offset, data, len);
	pthread_mutex_unlock(&vm->pci_lock);
}

static void read_bridge(unsigned offset, uint8_t *data, unsigned len)
{
	uint8_t config[PCI_CONFIG_SIZE] = {0};

	put32(config + PCI_VENDOR, BRIDGE_VENDOR | BRIDGE_DEVICE << 16);
	put32(config + PCI_CLASS, BRIDGE_CLASS << 8);
	memcpy(data, config + offset, len);
}

static struct vmm_device *find_device(struct vmm *vm, unsigned bdf)
{
	unsigned i;

	for (i = 0; i < vm->devices; i++)
		if (vm->device[i].pci.present && pci_devfn(i) == bdf)
			return &vm->device[i];
	return NULL;
}

/* The access at port @port that @vm's address register names. False: none is named. */
static bool address_of(struct vmm *vm, uint16_t port, unsigned len, unsigned *bdf,
		       unsigned *offset)
{
	uint32_t address;

	pthread_mutex_lock(&vm->pci_lock);
	address = vm->pci_address;
	pthread_mutex_unlock(&vm->pci_lock);
	*bdf = address >> 8 & 0xffff;
	*offset = (address & 0xfc) | (port & 3u);
	return (address & ENABLE) && (port & 3u) + len <= 4;
}

static void read_data(struct vmm *vm, uint16_t port, uint8_t *data, unsigned len)
{
	struct vmm_device *d;
	unsigned bdf, offset;

	if (!address_of(vm, port, len, &bdf, &offset))
		return;
	d = find_device(vm, bdf);
	if (!bdf)
		read_bridge(offset, data, len);
	else if (d && pci_read_function(d, offset, data, len) < 0)
		memset(data, 0xff, len);
}

static void write_data(struct vmm *vm, uint16_t port, const uint8_t *data, unsigned len)
{
	struct vmm_device *d;
	unsigned bdf, offset;

	if (!address_of(vm, port, len, &bdf, &offset))
		return;
	d = find_device(vm, bdf);
	if (d)
		write_function(vm, d, offset, data, len);
}

bool pci_port_read(struct vmm *vm, uint16_t port, void *data, unsigned len)
{
	if (port < PCI_ADDRESS_PORT || port >= PCI_DATA_PORT + 4)
		return false;
	if (port >= PCI_DATA_PORT) {
		read_data(vm, port, data, len);
	} else if (port == PCI_ADDRESS_PORT && len == 4) {
		pthread_mutex_lock(&vm->pci_lock);
		memcpy(data, &vm->pci_address, 4);
		pthread_mutex_unlock(&vm->pci_lock);
	}
	return true;
}

bool pci_port_write(struct vmm *vm, uint16_t port, const void *data, unsigned len)
{
	if (port < PCI_ADDRESS_PORT || port >= PCI_DATA_PORT + 4)
		return false;
	if (port >= PCI_DATA_PORT) {
		write_data(vm, port, data, len);
	} else if (port == PCI_ADDRESS_PORT && len == 4) {
		pthread_mutex_lock(&vm->pci_lock);
		memcpy(&vm->pci_address, data, 4);
		pthread_mutex_unlock(&vm->pci_lock);
	}
	return true;
}

/* ---- state ---- */

/* As it was read when the device was attached, and with what has become of ours: devices are not
 * asked while the VM stands still. */
void pci_save(struct vmm *vm, struct state_pci *out)
{
	unsigned i;

	memset(out, 0, sizeof(*out));
	out->address = vm->pci_address;
	for (i = 0; i < vm->devices; i++) {
		struct pci_function *f = &vm->device[i].pci;

		put16(f->shadow + PCI_COMMAND, f->command);
		if (f->present)
			memcpy(out->config[i], f->shadow, sizeof(f->shadow));
	}
}

/* What tells one kind of device from another, which no guest can write. */
static bool same_identity(const uint8_t *a, const uint8_t *b)
{
	return get32(a + PCI_VENDOR) == get32(b + PCI_VENDOR) &&
	       get32(a + PCI_CLASS) == get32(b + PCI_CLASS) &&
	       get32(a + PCI_SUBSYSTEM) == get32(b + PCI_SUBSYSTEM) &&
	       a[PCI_HEADER] == b[PCI_HEADER] && a[PCI_CAPABILITIES] == b[PCI_CAPABILITIES] &&
	       a[PCI_IRQ_PIN] == b[PCI_IRQ_PIN];
}

static bool bar_is_right(const struct pci_function *f, unsigned bar, const uint8_t *theirs)
{
	uint32_t value = get32(theirs + bar_offset(bar));

	return value == get32(f->shadow + bar_offset(bar)) ||
	       (f->size_mask[bar] && value == f->size_mask[bar]);
}

static int load_function(struct vmm_device *d, const uint8_t *theirs)
{
	struct pci_function *f = &d->pci;
	unsigned bar;

	if (!same_identity(f->shadow, theirs))
		return -EINVAL;
	for (bar = 0; bar < PCI_BARS; bar++)
		if (!bar_is_right(f, bar, theirs))
			return -EINVAL;
	memcpy(f->shadow + PCI_BAR0, theirs + PCI_BAR0, 4 * PCI_BARS);
	f->shadow[PCI_CACHE_LINE] = theirs[PCI_CACHE_LINE];
	f->shadow[PCI_IRQ_LINE] = theirs[PCI_IRQ_LINE];
	return set_command(d, (uint16_t)(get32(theirs + PCI_COMMAND) & PCI_COMMAND_KEPT));
}

int pci_load(struct vmm *vm, const struct state_pci *state)
{
	unsigned i;
	int ret;

	for (i = 0; i < vm->devices; i++) {
		if (!vm->device[i].pci.present)
			continue;
		ret = load_function(&vm->device[i], state->config[i]);
		if (ret < 0) {
			vmm_log(vm, VFM_LOG_ERROR,
				"device %s: its PCI config space does not fit%s%s",
				vm->device[i].name, ret == -EINVAL ? "" : ": ",
				ret == -EINVAL ? "" : strerror(-ret));
			return ret;
		}
	}
	vm->pci_address = state->address;
	return 0;
}
