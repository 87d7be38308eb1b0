/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Breaking on purpose what a destination received, so that tests can see each check of `demo` fail.
 * Memory and the guest's pages are really broken, the first before inspect() and the second after
 * it. What the others compare cannot be broken without breaking memory as well, so there it is
 * the number that was found which is changed.
 */
#include <errno.h>
#include <string.h>
#include "sim/regs.h"
#include "vmm/app.h"
#include "vmm/attach.h"

static int inspect(struct vmm *vm)
{
	return vmm_ops_verify.inspect(vm);
}

/* Memory that nobody uses: in front of the parameters. */
static int spoil_memory(void *opaque)
{
	struct vmm *vm = opaque;

	vm->memory.base[0] ^= 1;
	return inspect(vm);
}

static int write_device(struct vmm *vm, uint64_t reg, uint32_t value)
{
	if (!vm->devices || vm->params.device[0].driver != GUEST_DRIVER_SIM)
		return -ENODEV;
	return attach_write(&vm->device[0], SIM_BAR_REGS, reg, &value, sizeof(value));
}

static int spoil_device(void *opaque)
{
	struct vmm *vm = opaque;
	int ret = write_device(vm, SIM_REG_COMMAND, SIM_COMMAND_SPOIL);

	return ret ? ret : inspect(vm);
}

static int spoil_ring(void *opaque)
{
	struct vmm *vm = opaque;
	int ret = write_device(vm, SIM_REG_CONTROL, 0);

	if (!ret)
		ret = write_device(vm, SIM_REG_COMMAND, SIM_COMMAND_RING_RESET);
	return ret ? ret : inspect(vm);
}

static int spoil_heartbeat(void *opaque)
{
	struct vmm *vm = opaque;
	struct guest_shared *shared = (struct guest_shared *)(vm->memory.base + GUEST_SHARED_GPA);
	struct guest_cpu *cpu = (struct guest_cpu *)(vm->memory.base + vm->params.cpu_area);

	shared->cpu[0].heartbeat++;
	cpu->beats++;
	return inspect(vm);
}

/* A wrong byte ahead of vCPU 0, which must find it. */
static void spoil_guest(void *opaque)
{
	struct vmm *vm = opaque;
	struct guest_cpu *c = (struct guest_cpu *)(vm->memory.base + vm->params.cpu_area);
	uint64_t page = (c->cursor + 16) % (vm->params.working_pages / vm->params.cpus);

	vm->memory.base[vm->params.working_set + page * GUEST_PAGE] ^= 1;
	vmm_ops.owned(vm);
}

/* One of those that are in flight in a serial card. */
static void spoil_byte(void *opaque)
{
	struct vmm *vm = opaque;
	uint8_t byte;

	if (!vm->devices || attach_read(&vm->device[0], 0, 0, &byte, 1) < 0)
		vmm_log(vm, VFM_LOG_ERROR, "there is no byte to spoil");
	vmm_ops.owned(vm);
}

int spoil_ops(struct vmm *vm, const char *what, struct vfm_vm_ops *ops)
{
	static const struct {
		const char *what;
		int (*inspect)(void *opaque);
	} kinds[] = {
		{"memory", spoil_memory},
		{"device", spoil_device},
		{"ring", spoil_ring},
		{"heartbeat", spoil_heartbeat},
	};
	unsigned i;

	if (strcmp(what, "guest") == 0 && vm->params.working_pages > vm->params.cpus) {
		ops->owned = spoil_guest;
		return 0;
	}
	if (strcmp(what, "byte") == 0) {
		ops->owned = spoil_byte;
		return 0;
	}
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(what, kinds[i].what) == 0) {
			ops->inspect = kinds[i].inspect;
			return 0;
		}
	return -EINVAL;
}
