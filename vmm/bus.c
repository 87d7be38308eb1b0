/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a vCPU's access goes when it is not memory: to the window of a device, to the serial port,
 * or nowhere. Called on vCPU threads, several at a time. A device whose server is lost reads as
 * ones, as a PCI device that was pulled out does.
 */
#include <string.h>
#include "vmm/vm.h"

#define PORT_SERIAL_END (GUEST_SERIAL_PORT + 8)

static const struct vmm_window *find(struct vmm *vm, uint64_t gpa, unsigned len)
{
	unsigned i;

	for (i = 0; i < vm->windows; i++) {
		const struct vmm_window *w = &vm->window[i];

		if (gpa >= w->gpa && gpa - w->gpa < w->size && len <= w->size - (gpa - w->gpa))
			return w;
	}
	return NULL;
}

static void lost(struct vmm *vm, struct vmm_device *d, int error)
{
	if (!__atomic_exchange_n(&d->lost, true, __ATOMIC_RELAXED))
		vmm_log(vm, VFM_LOG_ERROR, "device %s: register access failed: %s", d->name,
			strerror(-error));
	vmm_notice(vm, VMM_NOTICE_LOST);
}

void bus_read(struct vmm *vm, uint64_t gpa, void *data, unsigned len)
{
	const struct vmm_window *w = find(vm, gpa, len);
	int ret;

	memset(data, 0xff, len);
	if (!w)
		return;
	ret = vfm_vfio_user_region_read(vm->device[w->device].client, w->bar, gpa - w->gpa, data,
					len);
	if (ret < 0) {
		memset(data, 0xff, len);
		lost(vm, &vm->device[w->device], ret);
	}
}

void bus_write(struct vmm *vm, uint64_t gpa, const void *data, unsigned len)
{
	const struct vmm_window *w = find(vm, gpa, len);
	int ret;

	if (!w)
		return;
	ret = vfm_vfio_user_region_write(vm->device[w->device].client, w->bar, gpa - w->gpa, data,
					 len);
	if (ret < 0)
		lost(vm, &vm->device[w->device], ret);
}

void bus_port_read(struct vmm *vm, uint16_t port, void *data, unsigned len)
{
	memset(data, 0xff, len);
	if (len == 1 && port >= GUEST_SERIAL_PORT && port < PORT_SERIAL_END)
		*(uint8_t *)data = serial_read(&vm->serial, port - GUEST_SERIAL_PORT);
}

void bus_port_write(struct vmm *vm, uint16_t port, const void *data, unsigned len)
{
	if (len != 1)
		return;
	if (port >= GUEST_SERIAL_PORT && port < PORT_SERIAL_END)
		serial_write(vm, port - GUEST_SERIAL_PORT, *(const uint8_t *)data);
	else if (port == GUEST_PANIC_PORT)
		vmm_notice(vm, VMM_NOTICE_PANIC);
}
