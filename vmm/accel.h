/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What runs the guest: a seam with one file per implementation. Calls come one at a time, under
 * vm->lock or while the vCPUs are known to be stopped, except dirty_*, which meet running vCPUs.
 */
#ifndef VMM_ACCEL_H
#define VMM_ACCEL_H

#include "vmm/state.h"
#include "vmm/vm.h"

struct accel_ops {
	const char *name;

	/* vCPUs exist afterwards, stopped. One line in @why. -ENODEV: this machine has no such
	 * accelerator. */
	int (*create)(struct vmm *vm, char *why);
	void (*destroy)(struct vmm *vm);

	/* Deliver irq.fd of @device as its interrupt. Of INTx: as a level, and signal irq.done when
	 * the guest has dealt with it. */
	int (*connect_irq)(struct vmm *vm, unsigned device);

	int (*run)(struct vmm *vm);
	/* After return no vCPU stores to memory, and no access to a device is half done. */
	int (*stop)(struct vmm *vm);

	int (*dirty_start)(struct vmm *vm);
	int (*dirty_stop)(struct vmm *vm);
	int (*dirty_sync)(struct vmm *vm, unsigned region, uint64_t *bitmap);

	/* The accel's sections of the VM's state. load() gets a view that is well formed, of the
	 * same accel, and checks the rest. */
	int (*save)(struct vmm *vm, struct state_writer *out);
	int (*load)(struct vmm *vm, const struct state_view *view);
};

extern const struct accel_ops accel_kvm;    /* only where HAVE_KVM is set */
extern const struct accel_ops accel_thread;

#endif
