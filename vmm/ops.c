/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VM as the migration library sees it. Called on the session's steering thread.
 *
 * The state holds what both sides must have in common, so that a destination refuses what does not
 * fit before it touches a vCPU: accelerator, sizes, every window with its device's name, and what
 * PCI config space says of the devices.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "sim/regs.h"
#include "vmm/accel.h"
#include "vmm/attach.h"

/* For tests: with the vCPUs stopped nobody but we can make a device's initial bytes begin anew. */
static void renew_initial_bytes(struct vmm *vm)
{
	uint32_t command = SIM_COMMAND_REINIT;
	unsigned i;

	vm->reinits++;
	for (i = 0; i < vm->devices; i++)
		if (vm->params.device[i].driver == GUEST_DRIVER_SIM &&
		    attach_write(&vm->device[i], SIM_BAR_REGS, SIM_REG_COMMAND, &command,
				 sizeof(command)) < 0)
			vmm_log(vm, VFM_LOG_WARN, "device %s: it takes no command",
				vm->device[i].name);
}

static int op_stop(void *opaque)
{
	struct vmm *vm = opaque;
	int ret = vmm_hold(vm, VMM_HOLD_MIGRATION);

	if (!ret && vm->reinits < vm->config.late_reinits)
		renew_initial_bytes(vm);
	return ret;
}

static int op_run(void *opaque)
{
	intx_kick(opaque);
	return vmm_release(opaque, VMM_HOLD_MIGRATION);
}

static int op_dirty_start(void *opaque)
{
	struct vmm *vm = opaque;

	return vm->accel->dirty_start(vm);
}

static int op_dirty_stop(void *opaque)
{
	struct vmm *vm = opaque;

	return vm->accel->dirty_stop(vm);
}

static int op_dirty_sync(void *opaque, unsigned region, uint64_t *bitmap)
{
	struct vmm *vm = opaque;

	return region < vm->memory.count ? vm->accel->dirty_sync(vm, region, bitmap) : -EINVAL;
}

static void describe_vm(struct vmm *vm, struct state_vm *out)
{
	memset(out, 0, sizeof(*out));
	strncpy(out->accel, vm->accel->name, sizeof(out->accel) - 1);
	out->memory = vm->config.memory;
	out->cpus = vm->config.cpus;
	out->devices = vm->devices;
	out->paused = vmm_holds(vm) & VMM_HOLD_USER ? 1 : 0;
	out->working_set = vm->params.working_set;
	out->working_pages = vm->params.working_pages;
	out->pages_per_sec = vm->params.pages_per_sec;
}

/* @out has room for vm->windows. */
static void describe_windows(const struct vmm *vm, struct state_window *out)
{
	unsigned i;

	memset(out, 0, vm->windows * sizeof(*out));
	for (i = 0; i < vm->windows; i++) {
		const struct vmm_window *w = &vm->window[i];

		memcpy(out[i].name, vm->device[w->device].name, sizeof(out[i].name));
		out[i].gpa = w->gpa;
		out[i].size = w->size;
		out[i].bar = (uint16_t)w->bar;
		out[i].io = w->io;
		out[i].vector = vm->params.device[w->device].vector;
	}
}

static int write_pci(struct vmm *vm, struct state_writer *w)
{
	struct state_pci *pci = malloc(sizeof(*pci));

	if (!pci)
		return -ENOMEM;
	pci_save(vm, pci);
	state_add(w, STATE_PCI, 0, pci, sizeof(*pci));
	free(pci);
	return 0;
}

static int read_pci(struct vmm *vm, const struct state_view *view)
{
	struct state_pci *pci = malloc(sizeof(*pci));
	int ret = pci ? state_get(view, STATE_PCI, 0, pci, sizeof(*pci)) : -ENOMEM;

	if (!ret)
		ret = pci_load(vm, pci);
	free(pci);
	return ret;
}

static int write_state(struct vmm *vm, struct state_writer *w)
{
	struct state_window *windows = calloc(vm->windows + 1, sizeof(*windows));
	struct state_vm head;
	int ret;

	if (!windows)
		return -ENOMEM;
	describe_vm(vm, &head);
	describe_windows(vm, windows);
	state_add(w, STATE_VM, 0, &head, sizeof(head));
	state_add(w, STATE_WINDOWS, 0, windows, vm->windows * sizeof(*windows));
	state_add(w, STATE_SERIAL, 0, vm->serial.reg, sizeof(vm->serial.reg));
	free(windows);
	ret = write_pci(vm, w);
	if (!ret)
		ret = vm->accel->save(vm, w);
	return ret < 0 ? ret : state_end(w);
}

static int op_save(void *opaque, struct vfm_buffer *out)
{
	struct vmm *vm = opaque;
	struct state_writer w;
	int ret;

	state_begin(&w);
	ret = write_state(vm, &w);
	if (!ret)
		ret = vfm_buffer_append(out, w.data, w.size);
	state_writer_free(&w);
	return ret;
}

/* The guest's work goes on as it was begun, whatever this side's options say. The working set must
 * be memory: the thread accelerator believes what is in params. */
static int take_work(struct vmm *vm, const struct state_vm *theirs)
{
	if (theirs->paused > 1 || theirs->working_set % GUEST_PAGE ||
	    theirs->working_pages > vm->config.memory / GUEST_PAGE ||
	    !ram_at(&vm->memory, theirs->working_set, theirs->working_pages * GUEST_PAGE))
		return -EINVAL;
	vm->params.working_set = theirs->working_set;
	vm->params.working_pages = theirs->working_pages;
	vm->params.pages_per_sec = theirs->pages_per_sec;
	return 0;
}

static int check_vm(struct vmm *vm, const struct state_view *view, bool *paused)
{
	struct state_vm mine, theirs;
	int ret;

	ret = state_get(view, STATE_VM, 0, &theirs, sizeof(theirs));
	if (ret < 0)
		return ret;
	describe_vm(vm, &mine);
	*paused = theirs.paused == 1;
	if (memcmp(&mine, &theirs, offsetof(struct state_vm, paused)) == 0)
		return take_work(vm, &theirs);
	theirs.accel[sizeof(theirs.accel) - 1] = 0;
	vmm_log(vm, VFM_LOG_ERROR,
		"the state does not fit: accelerator %s, memory %llu, %u vCPUs, %u devices here; "
		"memory %llu, %u vCPUs, %u devices there%s",
		mine.accel, (unsigned long long)mine.memory, mine.cpus, mine.devices,
		(unsigned long long)theirs.memory, theirs.cpus, theirs.devices,
		strcmp(mine.accel, theirs.accel) ? ", another accelerator" : "");
	return -EINVAL;
}

static int check_windows(struct vmm *vm, const struct state_view *view)
{
	const struct state_section *s = state_find(view, STATE_WINDOWS, 0);
	struct state_window *mine = calloc(vm->windows + 1, sizeof(*mine));
	int ret = -EINVAL;

	if (!mine)
		return -ENOMEM;
	describe_windows(vm, mine);
	if (s && s->size == vm->windows * sizeof(*mine) && memcmp(mine, s->payload, s->size) == 0)
		ret = 0;
	else
		vmm_log(vm, VFM_LOG_ERROR,
			"the state does not fit: devices have other names or BARs");
	free(mine);
	return ret;
}

static int load_view(struct vmm *vm, const struct state_view *view)
{
	bool paused;
	int ret;

	ret = check_vm(vm, view, &paused);
	if (!ret)
		ret = check_windows(vm, view);
	if (!ret)
		ret = state_get(view, STATE_SERIAL, 0, vm->serial.reg, sizeof(vm->serial.reg));
	if (!ret)
		ret = read_pci(vm, view);
	if (!ret)
		ret = vm->accel->load(vm, view);
	if (!ret && paused)
		ret = vmm_hold(vm, VMM_HOLD_USER);
	return ret;
}

static int op_load(void *opaque, const void *data, size_t size)
{
	struct state_view *view = calloc(1, sizeof(*view));
	struct vmm *vm = opaque;
	int ret;

	if (!view)
		return -ENOMEM;
	ret = state_parse(data, size, view);
	if (ret < 0)
		vmm_log(vm, VFM_LOG_ERROR, "the VM's state is not well formed: %s", strerror(-ret));
	else
		ret = load_view(vm, view);
	free(view);
	return ret;
}

static int op_inspect(void *opaque)
{
	return inspect_vm(opaque);
}

static void op_owned(void *opaque)
{
	vmm_release(opaque, VMM_HOLD_INCOMING);
}

#define COMMON                                                                                     \
	.size = sizeof(struct vfm_vm_ops), .stop = op_stop, .run = op_run,                         \
	.dirty_start = op_dirty_start, .dirty_stop = op_dirty_stop, .dirty_sync = op_dirty_sync,   \
	.save = op_save, .load = op_load, .owned = op_owned

const struct vfm_vm_ops vmm_ops = {COMMON};
const struct vfm_vm_ops vmm_ops_verify = {COMMON, .inspect = op_inspect};
