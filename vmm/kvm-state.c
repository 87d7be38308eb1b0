/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What travels of a KVM machine, and how it comes back.
 *
 * The order of loading matters: the local APIC's mode depends on the base in sregs, the TSC
 * deadline is an MSR that wants the APIC there, and pending events come last. Guest time is set
 * when the vCPUs start, so that the time between does not count, and so is the address of the
 * paravirtual clock: from then on KVM writes to guest memory whenever it likes, which is
 * nobody's before.
 *
 * The bytes come from a peer. Sizes are those of the kernel's structures, checked one by one; MSRs
 * must be of our own list, so that a peer cannot reach others; values are checked by KVM, as they
 * would be if the guest had set them.
 *
 * What one KVM can read and another cannot write is refused, with one exception: an MSR that has
 * the wanted value already.
 */
#include <asm/kvm_para.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "vmm/kvm.h"

#define CHIPS 3 /* two PICs and the I/O APIC */
#define CLOCK_PAGE_BYTES 32 /* struct pvclock_vcpu_time_info */

/* ---- MSRs ---- */

struct one_msr {
	struct kvm_msrs head;
	struct kvm_msr_entry entry;
};

static int read_msr(struct kvm_vcpu *cpu, uint32_t index, uint64_t *value)
{
	struct one_msr m = {.head = {.nmsrs = 1}, .entry = {.index = index}};

	if (ioctl(cpu->fd, KVM_GET_MSRS, &m) != 1)
		return -EIO;
	*value = m.entry.data;
	return 0;
}

static int write_msr(struct kvm_vcpu *cpu, uint32_t index, uint64_t value)
{
	struct one_msr m = {.head = {.nmsrs = 1}, .entry = {.index = index, .data = value}};
	uint64_t now;

	if (ioctl(cpu->fd, KVM_SET_MSRS, &m) == 1)
		return 0;
	return read_msr(cpu, index, &now) == 0 && now == value ? 0 : -EINVAL;
}

/* The old names of the paravirtual clock write to the same state as the new ones, and Hyper-V's
 * MSRs belong to an interface that the guest has no use for. */
static bool is_left_out(uint32_t index)
{
	return index == MSR_KVM_WALL_CLOCK || index == MSR_KVM_SYSTEM_TIME ||
	       index == MSR_KVM_WALL_CLOCK_NEW || (index >= 0x40000000u && index < 0x40000200u);
}

static bool carries(const struct kvm_accel *kvm, uint32_t index)
{
	unsigned i;

	for (i = 0; i < kvm->msrs; i++)
		if (kvm->msr[i] == index)
			return true;
	return false;
}

/* Of those that KVM names, those that it can read here, and takes back as they are. */
static void choose_msrs(struct kvm_accel *kvm, const struct kvm_msr_list *list)
{
	struct kvm_vcpu *cpu = &kvm->cpu[0];
	uint64_t value;
	unsigned i;

	for (i = 0; i < list->nmsrs && kvm->msrs < KVM_MSRS_MAX; i++)
		if (!is_left_out(list->indices[i]) &&
		    read_msr(cpu, list->indices[i], &value) == 0 &&
		    write_msr(cpu, list->indices[i], value) == 0)
			kvm->msr[kvm->msrs++] = list->indices[i];
}

int kvm_find_msrs(struct kvm_accel *kvm)
{
	struct kvm_msr_list *list;
	int ret = 0;

	list = calloc(1, sizeof(*list) + KVM_MSRS_MAX * sizeof(uint32_t));
	if (!list)
		return -ENOMEM;
	list->nmsrs = KVM_MSRS_MAX;
	if (ioctl(kvm->dev, KVM_GET_MSR_INDEX_LIST, list) < 0)
		ret = -errno;
	else
		choose_msrs(kvm, list);
	free(list);
	return ret;
}

/* A VM that was loaded and never ran is saved as it came. */
static int save_msr(struct kvm_vcpu *cpu, uint32_t index, uint64_t *value)
{
	if (index != MSR_KVM_SYSTEM_TIME_NEW || !cpu->clock_pending)
		return read_msr(cpu, index, value);
	*value = cpu->system_time;
	return 0;
}

static int save_msrs(struct kvm_vcpu *cpu, struct state_writer *out)
{
	struct kvm_msr_entry *entries = calloc(KVM_MSRS_MAX, sizeof(*entries));
	unsigned i, n = 0;
	uint64_t value;

	if (!entries)
		return -ENOMEM;
	for (i = 0; i < cpu->kvm->msrs; i++)
		if (save_msr(cpu, cpu->kvm->msr[i], &value) == 0)
			entries[n++] = (struct kvm_msr_entry){.index = cpu->kvm->msr[i],
							      .data = value};
	state_add(out, STATE_KVM_MSRS, cpu->index, entries, n * sizeof(*entries));
	free(entries);
	return 0;
}

static int check_msrs(struct kvm_vcpu *cpu, const struct state_section *s)
{
	struct kvm_msr_entry e;
	size_t at;

	if (!s || s->size % sizeof(e) || s->size / sizeof(e) > KVM_MSRS_MAX)
		return -EINVAL;
	for (at = 0; at < s->size; at += sizeof(e)) {
		memcpy(&e, s->payload + at, sizeof(e));
		if (!carries(cpu->kvm, e.index) || e.reserved) {
			vmm_log(cpu->vm, VFM_LOG_ERROR, "vCPU %u: MSR 0x%x is not known here",
				cpu->index, e.index);
			return -EINVAL;
		}
	}
	return 0;
}

static int load_msr(struct kvm_vcpu *cpu, const struct kvm_msr_entry *e)
{
	if (e->index != MSR_KVM_SYSTEM_TIME_NEW)
		return write_msr(cpu, e->index, e->data);
	if (e->data & 1 && !ram_at(&cpu->vm->memory, e->data - 1, CLOCK_PAGE_BYTES))
		return -EINVAL;
	cpu->system_time = e->data;
	cpu->clock_pending = true;
	return 0;
}

static int load_msrs(struct kvm_vcpu *cpu, const struct state_view *view)
{
	const struct state_section *s = state_find(view, STATE_KVM_MSRS, cpu->index);
	struct kvm_msr_entry e;
	size_t at;
	int ret;

	ret = check_msrs(cpu, s);
	for (at = 0; !ret && at < s->size; at += sizeof(e)) {
		memcpy(&e, s->payload + at, sizeof(e));
		ret = load_msr(cpu, &e);
		if (ret < 0)
			vmm_log(cpu->vm, VFM_LOG_ERROR,
				"vCPU %u: KVM refuses 0x%llx in MSR 0x%x", cpu->index,
				(unsigned long long)e.data, e.index);
	}
	return ret;
}

/* ---- one vCPU ---- */

/* What is one structure, read by one ioctl and written by another. In the order of loading. */
static const struct part {
	enum state_type type;
	unsigned long get, set;
	size_t size;
	const char *name;
} parts[] = {
	{STATE_KVM_MP, KVM_GET_MP_STATE, KVM_SET_MP_STATE, sizeof(struct kvm_mp_state),
	 "run state"},
	{STATE_KVM_SREGS, KVM_GET_SREGS, KVM_SET_SREGS, sizeof(struct kvm_sregs),
	 "system registers"},
	{STATE_KVM_REGS, KVM_GET_REGS, KVM_SET_REGS, sizeof(struct kvm_regs), "registers"},
	{STATE_KVM_DEBUG, KVM_GET_DEBUGREGS, KVM_SET_DEBUGREGS, sizeof(struct kvm_debugregs),
	 "debug registers"},
	{STATE_KVM_LAPIC, KVM_GET_LAPIC, KVM_SET_LAPIC, sizeof(struct kvm_lapic_state),
	 "local APIC"},
};

#define PART_MAX sizeof(struct kvm_lapic_state)

static int save_part(struct kvm_vcpu *cpu, const struct part *p, struct state_writer *out)
{
	uint8_t data[PART_MAX] __attribute__((aligned(16))) = {0};

	if (ioctl(cpu->fd, p->get, data) < 0)
		return -errno;
	state_add(out, p->type, cpu->index, data, p->size);
	return 0;
}

static int refuse(struct kvm_vcpu *cpu, int error, const char *name)
{
	vmm_log(cpu->vm, VFM_LOG_ERROR, "vCPU %u: %s: %s", cpu->index, name, strerror(-error));
	return error;
}

static int load_part(struct kvm_vcpu *cpu, const struct part *p, const struct state_view *view)
{
	uint8_t data[PART_MAX] __attribute__((aligned(16))) = {0};
	int ret;

	ret = state_get(view, p->type, cpu->index, data, p->size);
	if (!ret && ioctl(cpu->fd, p->set, data) < 0)
		ret = -errno;
	return ret < 0 ? refuse(cpu, ret, p->name) : 0;
}

static unsigned long xsave_get(const struct kvm_accel *kvm)
{
#ifdef KVM_GET_XSAVE2
	if (kvm->xsave_size > sizeof(struct kvm_xsave))
		return KVM_GET_XSAVE2;
#endif
	return KVM_GET_XSAVE;
}

static int save_xsave(struct kvm_vcpu *cpu, struct state_writer *out)
{
	void *area = calloc(1, cpu->kvm->xsave_size);
	struct kvm_xcrs xcrs;
	int ret = 0;

	if (!area)
		return -ENOMEM;
	memset(&xcrs, 0, sizeof(xcrs));
	if (ioctl(cpu->fd, xsave_get(cpu->kvm), area) < 0 ||
	    ioctl(cpu->fd, KVM_GET_XCRS, &xcrs) < 0)
		ret = -errno;
	state_add(out, STATE_KVM_XSAVE, cpu->index, area, cpu->kvm->xsave_size);
	state_add(out, STATE_KVM_XCRS, cpu->index, &xcrs, sizeof(xcrs));
	free(area);
	return ret;
}

static int load_xsave(struct kvm_vcpu *cpu, const struct state_view *view)
{
	void *area = calloc(1, cpu->kvm->xsave_size);
	struct kvm_xcrs xcrs;
	int ret;

	if (!area)
		return -ENOMEM;
	ret = state_get(view, STATE_KVM_XSAVE, cpu->index, area, cpu->kvm->xsave_size);
	if (!ret)
		ret = state_get(view, STATE_KVM_XCRS, cpu->index, &xcrs, sizeof(xcrs));
	if (!ret && (ioctl(cpu->fd, KVM_SET_XSAVE, area) < 0 ||
		     ioctl(cpu->fd, KVM_SET_XCRS, &xcrs) < 0))
		ret = -errno;
	free(area);
	return ret < 0 ? refuse(cpu, ret, "extended state") : 0;
}

static const struct part fpu = {STATE_KVM_FPU, KVM_GET_FPU, KVM_SET_FPU, sizeof(struct kvm_fpu),
				"floating point"};
static const struct part events = {STATE_KVM_EVENTS, KVM_GET_VCPU_EVENTS, KVM_SET_VCPU_EVENTS,
				   sizeof(struct kvm_vcpu_events), "pending events"};

static int save_cpu(struct kvm_vcpu *cpu, struct state_writer *out)
{
	int khz = ioctl(cpu->fd, KVM_GET_TSC_KHZ, 0), ret = 0;
	uint32_t known = khz > 0 ? (uint32_t)khz : 0;
	unsigned i;

	for (i = 0; !ret && i < ARRAY_SIZE(parts); i++)
		ret = save_part(cpu, &parts[i], out);
	if (!ret)
		ret = cpu->kvm->xsave ? save_xsave(cpu, out) : save_part(cpu, &fpu, out);
	if (!ret)
		ret = save_msrs(cpu, out);
	if (!ret)
		ret = save_part(cpu, &events, out);
	state_add(out, STATE_KVM_TSC_KHZ, cpu->index, &known, sizeof(known));
	return ret;
}

/* Another rate needs hardware that scales. With the paravirtual clock a guest does without. */
static int load_tsc_khz(struct kvm_vcpu *cpu, const struct state_view *view)
{
	int mine = ioctl(cpu->fd, KVM_GET_TSC_KHZ, 0);
	uint32_t khz;
	int ret;

	ret = state_get(view, STATE_KVM_TSC_KHZ, cpu->index, &khz, sizeof(khz));
	if (ret < 0)
		return refuse(cpu, ret, "TSC rate");
	if (!khz || mine == (int)khz || ioctl(cpu->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) == 0 ||
	    cpu->vm->params.clock == GUEST_CLOCK_KVM)
		return 0;
	return refuse(cpu, -EOPNOTSUPP, "TSC rate");
}

static int load_cpu(struct kvm_vcpu *cpu, const struct state_view *view)
{
	unsigned i;
	int ret;

	ret = load_tsc_khz(cpu, view);
	for (i = 0; !ret && i < ARRAY_SIZE(parts); i++)
		ret = load_part(cpu, &parts[i], view);
	if (!ret)
		ret = cpu->kvm->xsave ? load_xsave(cpu, view) : load_part(cpu, &fpu, view);
	if (!ret)
		ret = load_msrs(cpu, view);
	if (!ret)
		ret = load_part(cpu, &events, view);
	return ret;
}

/* ---- the machine ---- */

static int save_chips(struct kvm_accel *kvm, struct state_writer *out)
{
	struct kvm_irqchip chip;
	unsigned i;

	for (i = 0; i < CHIPS; i++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = i;
		if (ioctl(kvm->fd, KVM_GET_IRQCHIP, &chip) < 0)
			return -errno;
		state_add(out, STATE_KVM_IRQCHIP, i, &chip, sizeof(chip));
	}
	return 0;
}

static int load_chips(struct kvm_accel *kvm, const struct state_view *view)
{
	struct kvm_irqchip chip;
	unsigned i;
	int ret;

	for (i = 0; i < CHIPS; i++) {
		ret = state_get(view, STATE_KVM_IRQCHIP, i, &chip, sizeof(chip));
		if (!ret && chip.chip_id != i)
			ret = -EINVAL;
		if (!ret && ioctl(kvm->fd, KVM_SET_IRQCHIP, &chip) < 0)
			ret = -errno;
		if (ret < 0)
			return ret;
	}
	return 0;
}

int kvm_save(struct vmm *vm, struct state_writer *out)
{
	struct kvm_accel *kvm = kvm_of(vm);
	struct kvm_clock_data clock = {0};
	unsigned i;
	int ret;

	if (ioctl(kvm->fd, KVM_GET_CLOCK, &clock) < 0)
		return -errno;
	if (kvm->clock_pending)
		clock.clock = kvm->clock_ns;
	state_add(out, STATE_KVM_CLOCK, 0, &clock.clock, sizeof(clock.clock));
	ret = save_chips(kvm, out);
	for (i = 0; !ret && i < kvm->cpus; i++)
		ret = save_cpu(&kvm->cpu[i], out);
	return ret;
}

int kvm_load(struct vmm *vm, const struct state_view *view)
{
	struct kvm_accel *kvm = kvm_of(vm);
	uint64_t clock;
	unsigned i;
	int ret;

	ret = state_get(view, STATE_KVM_CLOCK, 0, &clock, sizeof(clock));
	if (!ret)
		ret = load_chips(kvm, view);
	for (i = 0; !ret && i < kvm->cpus; i++)
		ret = load_cpu(&kvm->cpu[i], view);
	if (!ret) {
		kvm->clock_ns = clock;
		kvm->clock_pending = true;
	}
	return ret;
}

int kvm_start_clock(struct kvm_accel *kvm)
{
	struct kvm_clock_data clock = {.clock = kvm->clock_ns};
	unsigned i;

	if (kvm->clock_pending && ioctl(kvm->fd, KVM_SET_CLOCK, &clock) < 0)
		return -errno;
	kvm->clock_pending = false;
	for (i = 0; i < kvm->cpus; i++) {
		struct kvm_vcpu *cpu = &kvm->cpu[i];

		if (cpu->clock_pending &&
		    write_msr(cpu, MSR_KVM_SYSTEM_TIME_NEW, cpu->system_time) < 0)
			return -EIO;
		cpu->clock_pending = false;
	}
	return 0;
}
