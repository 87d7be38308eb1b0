/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The KVM accelerator's insides: kvm.c has the VM, kvm-vcpu.c the threads, kvm-state.c what
 * travels.
 */
#ifndef VMM_KVM_H
#define VMM_KVM_H

#include <linux/kvm.h>
#include <signal.h>
#include "base/thread.h"
#include "vmm/accel.h"

#define KVM_MSRS_MAX     512u
#define KVM_CPUID_MAX    256u
#define KVM_XSAVE_MAX    (64u << 10) /* more than any processor's */
#define KVM_KICK_SIGNAL  SIGUSR1     /* blocked everywhere but inside KVM_RUN */

struct kvm_vcpu {
	struct vmm *vm;
	struct kvm_accel *kvm;
	unsigned index;
	int fd;
	struct kvm_run *run;
	struct thread thread;
	pthread_t id;        /* under kvm->lock, once alive is set */
	bool alive;          /* the thread runs */
	bool parked;         /* not inside KVM_RUN, no exit half done; under kvm->lock */
	bool dead;           /* cannot go on; of the thread alone */
	bool clock_pending;  /* system_time was loaded, and is set when the vCPUs start */
	uint64_t system_time; /* MSR_KVM_SYSTEM_TIME_NEW */
};

struct kvm_accel {
	int dev, fd;
	size_t run_size;

	pthread_mutex_t lock; /* guards want_run, quit and parked of all vCPUs; a leaf */
	pthread_cond_t changed;
	bool want_run;
	bool quit;

	bool manual;          /* the dirty log is cleared by KVM_CLEAR_DIRTY_LOG */
	bool xsave;
	size_t xsave_size;
	bool clock_pending;   /* guest time was loaded and is set when the vCPUs start */
	uint64_t clock_ns;

	uint64_t *log[VMM_RAM_MAX]; /* where the kernel writes a slot's dirty log */

	unsigned routes;
	struct kvm_irq_routing *routing; /* room for VMM_DEVICES_MAX */

	unsigned msrs;
	uint32_t msr[KVM_MSRS_MAX];      /* what this KVM can read and write, and we carry */

	unsigned cpus;
	struct kvm_vcpu cpu[VMM_CPUS_MAX];
};

static inline struct kvm_accel *kvm_of(struct vmm *vm)
{
	return vm->accel_state;
}

/* ---- kvm-vcpu.c ---- */
int kvm_vcpu_new(struct vmm *vm, unsigned index);
void kvm_vcpu_free(struct kvm_vcpu *cpu);
/* Registers as at the first instruction of the guest. */
int kvm_vcpu_reset(struct vmm *vm, struct kvm_vcpu *cpu);
void kvm_kick_all(struct kvm_accel *kvm);
int kvm_run_all(struct vmm *vm);
int kvm_stop_all(struct vmm *vm);

/* ---- kvm-state.c ---- */
/* Find out which MSRs to carry. Needs one vCPU. */
int kvm_find_msrs(struct kvm_accel *kvm);
int kvm_save(struct vmm *vm, struct state_writer *out);
int kvm_load(struct vmm *vm, const struct state_view *view);
/* Let guest time that was loaded run on. The vCPUs are about to start. */
int kvm_start_clock(struct kvm_accel *kvm);

#endif
