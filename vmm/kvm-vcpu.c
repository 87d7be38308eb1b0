/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * vCPUs: their first state, and their threads.
 *
 * Stopping. A vCPU may be inside KVM_RUN, or outside with an exit half done: the access to a
 * device happened, and its result gets into the guest's registers at the next KVM_RUN. So a
 * thread parks only after a KVM_RUN that ended with EINTR: the kernel has then finished the exit
 * before. To bring that about, the one who stops sets run->immediate_exit and sends the kick
 * signal: the flag ends a KVM_RUN that begins, the signal one that is under way. The signal is
 * blocked everywhere else, so that no access to a device is interrupted by it.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "vmm/kvm.h"
#include "vmm/layout.h"

#define CR0_PE   0x00000001u
#define CR0_ET   0x00000010u
#define CR0_PG   0x80000000u
#define CR4_PAE  0x20u
#define EFER_LME 0x100u
#define EFER_LMA 0x400u
#define RFLAGS   0x2u
#define SIGSET_BYTES 8 /* the kernel's sigset_t */

/* ---- first state ---- */

static int set_cpuid(struct kvm_accel *kvm, struct kvm_vcpu *cpu)
{
	struct kvm_cpuid2 *cpuid;
	unsigned i;
	int ret;

	cpuid = calloc(1, sizeof(*cpuid) + KVM_CPUID_MAX * sizeof(struct kvm_cpuid_entry2));
	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = KVM_CPUID_MAX;
	ret = ioctl(kvm->dev, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ? -errno : 0;
	for (i = 0; !ret && i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == 1)
			e->ebx = (e->ebx & 0x00ffffffu) | cpu->index << 24;
		if (e->function == 0xb || e->function == 0x1f)
			e->edx = cpu->index;
	}
	if (!ret && ioctl(cpu->fd, KVM_SET_CPUID2, cpuid) < 0)
		ret = -errno;
	free(cpuid);
	return ret;
}

static struct kvm_segment flat(uint16_t selector, uint8_t type, uint8_t code)
{
	return (struct kvm_segment){.limit = 0xffffffffu,
				    .selector = selector,
				    .type = type,
				    .present = 1,
				    .db = !code,
				    .s = 1,
				    .l = code,
				    .g = 1};
}

static int set_long_mode(struct kvm_vcpu *cpu)
{
	struct kvm_sregs s;

	if (ioctl(cpu->fd, KVM_GET_SREGS, &s) < 0)
		return -errno;
	s.cs = flat(LAYOUT_CODE, 11, 1);
	s.ds = s.es = s.fs = s.gs = s.ss = flat(LAYOUT_DATA, 3, 0);
	s.gdt.base = LAYOUT_GDT;
	s.gdt.limit = LAYOUT_DATA + 7;
	s.cr3 = LAYOUT_PML4;
	s.cr4 = CR4_PAE;
	s.cr0 = CR0_PE | CR0_ET | CR0_PG;
	s.efer = EFER_LME | EFER_LMA;
	return ioctl(cpu->fd, KVM_SET_SREGS, &s) < 0 ? -errno : 0;
}

/* All vCPUs begin at once at the program's entry: no start-up IPIs. */
int kvm_vcpu_reset(struct vmm *vm, struct kvm_vcpu *cpu)
{
	struct kvm_mp_state running = {KVM_MP_STATE_RUNNABLE};
	struct kvm_regs regs = {
		.rip = GUEST_IMAGE_GPA,
		.rsp = vm->stacks + (cpu->index + 1) * GUEST_STACK_SIZE,
		.rdi = cpu->index,
		.rflags = RFLAGS,
	};
	int ret = set_long_mode(cpu);

	if (ret < 0)
		return ret;
	if (ioctl(cpu->fd, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return ioctl(cpu->fd, KVM_SET_MP_STATE, &running) < 0 ? -errno : 0;
}

/* ---- the thread ---- */

static void handle_port(struct kvm_vcpu *cpu)
{
	struct kvm_run *run = cpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	uint32_t i;

	for (i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_port_read(cpu->vm, run->io.port, data, run->io.size);
		else
			bus_port_write(cpu->vm, run->io.port, data, run->io.size);
	}
}

static void handle_mmio(struct kvm_vcpu *cpu)
{
	struct kvm_run *run = cpu->run;

	if (run->mmio.is_write)
		bus_write(cpu->vm, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
	else
		bus_read(cpu->vm, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
}

static void die(struct kvm_vcpu *cpu, const char *why, unsigned long long detail)
{
	struct kvm_regs regs = {0};

	ioctl(cpu->fd, KVM_GET_REGS, &regs);
	vmm_log(cpu->vm, VFM_LOG_ERROR, "vCPU %u cannot go on at 0x%llx: %s (0x%llx)", cpu->index,
		(unsigned long long)regs.rip, why, detail);
	cpu->dead = true;
	vmm_notice(cpu->vm, VMM_NOTICE_BROKEN);
}

static void handle_exit(struct kvm_vcpu *cpu)
{
	struct kvm_run *run = cpu->run;

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		handle_port(cpu);
		break;
	case KVM_EXIT_MMIO:
		handle_mmio(cpu);
		break;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		break;
	case KVM_EXIT_SHUTDOWN:
		die(cpu, "triple fault", 0);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		die(cpu, "KVM cannot enter the guest",
		    run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		die(cpu, "KVM internal error", run->internal.suberror);
		break;
	default:
		die(cpu, "unexpected exit", run->exit_reason);
	}
}

/* Run until a kick ended a KVM_RUN, or for ever. */
static void run_guest(struct kvm_vcpu *cpu)
{
	while (!cpu->dead) {
		if (ioctl(cpu->fd, KVM_RUN, 0) == 0) {
			handle_exit(cpu);
			continue;
		}
		if (errno == EINTR)
			return;
		if (errno != EAGAIN)
			die(cpu, strerror(errno), (unsigned long long)errno);
	}
}

static void drain_kicks(void)
{
	struct timespec now = {0, 0};
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, KVM_KICK_SIGNAL);
	while (sigtimedwait(&set, NULL, &now) > 0 || errno == EINTR)
		;
}

/* False: the thread shall end. */
static bool wait_for_run(struct kvm_vcpu *cpu)
{
	struct kvm_accel *kvm = cpu->kvm;
	bool quit;

	pthread_mutex_lock(&kvm->lock);
	while (!kvm->quit && (!kvm->want_run || cpu->dead)) {
		cpu->parked = true;
		pthread_cond_broadcast(&kvm->changed);
		pthread_cond_wait(&kvm->changed, &kvm->lock);
	}
	drain_kicks();
	cpu->run->immediate_exit = 0;
	cpu->parked = false;
	quit = kvm->quit;
	pthread_mutex_unlock(&kvm->lock);
	return !quit;
}

/* Let KVM_RUN, and nothing else, take the kick. */
static int open_to_kicks(struct kvm_vcpu *cpu)
{
	struct {
		struct kvm_signal_mask head;
		uint8_t set[SIGSET_BYTES];
	} PACKED mask = {.head = {.len = SIGSET_BYTES}};
	uint64_t blocked = ~(UINT64_C(1) << (KVM_KICK_SIGNAL - 1));

	memcpy(mask.set, &blocked, sizeof(blocked));
	return ioctl(cpu->fd, KVM_SET_SIGNAL_MASK, &mask) < 0 ? -errno : 0;
}

/* Ends when the accel is destroyed. A vCPU that cannot go on stays parked until then. */
static void vcpu_thread(void *arg)
{
	struct kvm_vcpu *cpu = arg;
	int ret = open_to_kicks(cpu);

	if (ret < 0)
		die(cpu, "KVM_SET_SIGNAL_MASK", (unsigned long long)-ret);
	pthread_mutex_lock(&cpu->kvm->lock);
	cpu->id = pthread_self();
	cpu->alive = true;
	pthread_mutex_unlock(&cpu->kvm->lock);
	while (wait_for_run(cpu))
		run_guest(cpu);
}

/* Under kvm->lock. */
void kvm_kick_all(struct kvm_accel *kvm)
{
	unsigned i;

	for (i = 0; i < kvm->cpus; i++) {
		struct kvm_vcpu *cpu = &kvm->cpu[i];

		if (!cpu->alive || cpu->parked)
			continue;
		__atomic_store_n(&cpu->run->immediate_exit, 1, __ATOMIC_RELEASE);
		pthread_kill(cpu->id, KVM_KICK_SIGNAL);
	}
}

static bool all_parked(const struct kvm_accel *kvm)
{
	unsigned i;

	for (i = 0; i < kvm->cpus; i++)
		if (!kvm->cpu[i].parked)
			return false;
	return true;
}

int kvm_stop_all(struct vmm *vm)
{
	struct kvm_accel *kvm = kvm_of(vm);

	pthread_mutex_lock(&kvm->lock);
	kvm->want_run = false;
	kvm_kick_all(kvm);
	while (!all_parked(kvm))
		pthread_cond_wait(&kvm->changed, &kvm->lock);
	pthread_mutex_unlock(&kvm->lock);
	return 0;
}

int kvm_run_all(struct vmm *vm)
{
	struct kvm_accel *kvm = kvm_of(vm);
	int ret;

	pthread_mutex_lock(&kvm->lock);
	ret = kvm_start_clock(kvm);
	if (!ret) {
		kvm->want_run = true;
		pthread_cond_broadcast(&kvm->changed);
	}
	pthread_mutex_unlock(&kvm->lock);
	return ret;
}

/* ---- making and freeing ---- */

static int open_vcpu(struct kvm_accel *kvm, struct kvm_vcpu *cpu)
{
	int size;

	cpu->fd = ioctl(kvm->fd, KVM_CREATE_VCPU, (unsigned long)cpu->index);
	if (cpu->fd < 0)
		return -errno;
	size = ioctl(kvm->dev, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < (int)sizeof(struct kvm_run))
		return size < 0 ? -errno : -EINVAL;
	kvm->run_size = (size_t)size;
	cpu->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu->fd, 0);
	if (cpu->run == MAP_FAILED) {
		cpu->run = NULL;
		return -errno;
	}
	return 0;
}

int kvm_vcpu_new(struct vmm *vm, unsigned index)
{
	struct kvm_accel *kvm = kvm_of(vm);
	struct kvm_vcpu *cpu = &kvm->cpu[index];
	char name[THREAD_NAME_MAX];
	int ret;

	snprintf(name, sizeof(name), "vcpu-%u", index % VMM_CPUS_MAX);
	cpu->vm = vm;
	cpu->kvm = kvm;
	cpu->index = index;
	cpu->parked = true;
	ret = open_vcpu(kvm, cpu);
	kvm->cpus = index + 1; /* from here on kvm_vcpu_free() cleans up */
	if (!ret)
		ret = set_cpuid(kvm, cpu);
	if (!ret)
		ret = thread_start(&cpu->thread, NULL, name, vcpu_thread, cpu);
	return ret;
}

void kvm_vcpu_free(struct kvm_vcpu *cpu)
{
	thread_join(&cpu->thread);
	if (cpu->run)
		munmap(cpu->run, cpu->kvm->run_size);
	if (cpu->fd >= 0)
		close(cpu->fd);
}
