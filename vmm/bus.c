/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a vCPU's access goes when it is not memory: to the window of a device, to the serial port,
 * to PCI config space, or nowhere. Called on vCPU threads, several at a time. A device whose
 * server is lost reads as ones, as a PCI device that was pulled out does. So does what cannot be
 * read, and a write to what can only be read is lost: a guest's mistake is no fault of the device,
 * which is not asked.
 */
#include <string.h>
#include "vmm/attach.h"

#define PORT_SERIAL_END (GUEST_SERIAL_PORT + 8)

/* The guest has switched the window on: see pci.c. */
static bool is_open(const struct vmm_device *d, bool io)
{
	return __atomic_load_n(&d->pci.command, __ATOMIC_ACQUIRE) &
	       (io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
}

/* @access: VFM_REGION_INFO_READ or _WRITE. */
static bool allows(struct vmm *vm, const struct vmm_window *w, uint32_t access)
{
	return w->access & access && is_open(&vm->device[w->device], w->io);
}

static const struct vmm_window *find(struct vmm *vm, bool io, uint64_t at, unsigned len,
				     uint32_t access)
{
	unsigned i;

	for (i = 0; i < vm->windows; i++) {
		const struct vmm_window *w = &vm->window[i];

		if (w->io == io && at >= w->gpa && at - w->gpa < w->size &&
		    len <= w->size - (at - w->gpa))
			return allows(vm, w, access) ? w : NULL;
	}
	return NULL;
}

static void lost(struct vmm *vm, struct vmm_device *d, int error)
{
	if (!__atomic_exchange_n(&d->lost, true, __ATOMIC_RELAXED) && !vmm_is_ending(vm))
		vmm_log(vm, VFM_LOG_ERROR, "device %s: register access failed: %s", d->name,
			strerror(-error));
	vmm_notice(vm, VMM_NOTICE_LOST);
}

static void read_window(struct vmm *vm, bool io, uint64_t at, void *data, unsigned len)
{
	const struct vmm_window *w = find(vm, io, at, len, VFM_REGION_INFO_READ);
	int ret;

	memset(data, 0xff, len);
	if (!w)
		return;
	ret = attach_read(&vm->device[w->device], w->bar, at - w->gpa, data, len);
	if (ret < 0) {
		memset(data, 0xff, len);
		lost(vm, &vm->device[w->device], ret);
	}
}

static void write_window(struct vmm *vm, bool io, uint64_t at, const void *data, unsigned len)
{
	const struct vmm_window *w = find(vm, io, at, len, VFM_REGION_INFO_WRITE);
	int ret;

	if (!w)
		return;
	ret = attach_write(&vm->device[w->device], w->bar, at - w->gpa, data, len);
	if (ret < 0)
		lost(vm, &vm->device[w->device], ret);
}

void bus_read(struct vmm *vm, uint64_t gpa, void *data, unsigned len)
{
	read_window(vm, false, gpa, data, len);
}

void bus_write(struct vmm *vm, uint64_t gpa, const void *data, unsigned len)
{
	write_window(vm, false, gpa, data, len);
}

void bus_port_read(struct vmm *vm, uint16_t port, void *data, unsigned len)
{
	memset(data, 0xff, len);
	if (port >= GUEST_SERIAL_PORT && port < PORT_SERIAL_END) {
		if (len == 1)
			*(uint8_t *)data = serial_read(&vm->serial, port - GUEST_SERIAL_PORT);
	} else if (!pci_port_read(vm, port, data, len)) {
		read_window(vm, true, port, data, len);
	}
}

void bus_port_write(struct vmm *vm, uint16_t port, const void *data, unsigned len)
{
	if (port >= GUEST_SERIAL_PORT && port < PORT_SERIAL_END) {
		if (len == 1)
			serial_write(vm, port - GUEST_SERIAL_PORT, *(const uint8_t *)data);
	} else if (port == GUEST_PANIC_PORT && len == 1) {
		vmm_notice(vm, VMM_NOTICE_PANIC);
	} else if (!pci_port_write(vm, port, data, len)) {
		write_window(vm, true, port, data, len);
	}
}
