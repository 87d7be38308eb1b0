/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Breaking on purpose what a destination received, so that tests can see each check of `demo` fail.
 * What is compared by hash or counter is broken before inspect(), what the running guest finds by
 * itself after it.
 */
#include <errno.h>
#include <string.h>
#include "sim/regs.h"
#include "vmm/app.h"

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

static int spoil_device(void *opaque)
{
	struct vmm *vm = opaque;
	int ret = inspect(vm);

	vm->inspection.device[0].hash ^= 1;
	return ret;
}

/* The last record is taken back, behind the back of the hash of memory. */
static int spoil_ring(void *opaque)
{
	struct vmm *vm = opaque;
	int ret = inspect(vm);

	vm->inspection.device[0].ring--;
	return ret;
}

static int spoil_heartbeat(void *opaque)
{
	struct vmm *vm = opaque;
	int ret = inspect(vm);

	vm->inspection.heartbeat[0]--;
	return ret;
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
	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(what, kinds[i].what) == 0) {
			ops->inspect = kinds[i].inspect;
			return 0;
		}
	return -EINVAL;
}
