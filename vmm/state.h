/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The VMM's own state as bytes: a header and sections, little endian.
 *
 *	header    magic[8]  version u32  sections u32  size u64 (all, header included)
 *	section   type u32  index u32  size u32  zero u32   payload, padded with zeros to 8 bytes
 *	...
 *
 * The bytes come from a peer. state_parse() checks the shape: magic, version, sums, known types,
 * index, no section twice. What a payload means is checked by whoever reads it; state_get() sees
 * to its size.
 */
#ifndef VMM_STATE_H
#define VMM_STATE_H

#include <stddef.h>
#include <stdint.h>

#define STATE_VERSION      2u
#define STATE_SIZE_MAX     (4u << 20)
#define STATE_SECTIONS_MAX 512u
#define STATE_INDEX_MAX    16u /* vCPUs */

/* Numbers are never used again for something else. */
enum state_type {
	STATE_VM = 1,         /* struct state_vm */
	STATE_WINDOWS = 2,    /* array of struct state_window */
	STATE_SERIAL = 3,     /* registers */
	STATE_THREAD = 4,     /* struct state_thread */
	STATE_KVM_CLOCK = 5,  /* u64 ns */
	STATE_KVM_IRQCHIP = 6, /* struct kvm_irqchip; index is the chip */
	STATE_KVM_MP = 7,     /* index is the vCPU from here on */
	STATE_KVM_REGS = 8,
	STATE_KVM_SREGS = 9,
	STATE_KVM_FPU = 10,   /* struct kvm_fpu, where there is no XSAVE */
	STATE_KVM_XSAVE = 11,
	STATE_KVM_XCRS = 12,
	STATE_KVM_DEBUG = 13,
	STATE_KVM_LAPIC = 14,
	STATE_KVM_MSRS = 15,  /* array of struct kvm_msr_entry */
	STATE_KVM_EVENTS = 16,
	STATE_KVM_TSC_KHZ = 17, /* u32 */
	STATE_PCI = 18,         /* struct state_pci */
	STATE_TYPE_COUNT,
};

/* What must be the same on both sides, then how the VM stood. */
struct state_vm {
	char accel[16];
	uint64_t memory;
	uint32_t cpus;
	uint32_t devices;
	uint32_t paused;        /* 1: its user had stopped it */
	uint32_t zero;
	uint64_t working_set;   /* guest physical */
	uint64_t working_pages;
	uint64_t pages_per_sec;
};

struct state_window {
	char name[64];
	uint64_t gpa;
	uint64_t size;
	uint16_t bar;
	uint16_t io;            /* 1: a port */
	uint32_t vector;
};

#define STATE_PCI_DEVICES 64u

/* Config space as the guest sees it; zeroes where there is no PCI device. */
struct state_pci {
	uint32_t address; /* the register at port 0xcf8 */
	uint32_t zero;
	uint8_t config[STATE_PCI_DEVICES][256];
};

struct state_thread {
	uint64_t guest_ns;
};

struct state_writer {
	uint8_t *data;
	size_t size, capacity;
	uint32_t sections;
	int error; /* the first one; later calls do nothing */
};

void state_begin(struct state_writer *w);
void state_add(struct state_writer *w, enum state_type type, unsigned index, const void *payload,
	       size_t size);
/* Complete the header. 0 or what went wrong before. */
int state_end(struct state_writer *w);
void state_writer_free(struct state_writer *w);

struct state_section {
	enum state_type type;
	unsigned index;
	size_t size;
	const uint8_t *payload; /* aligned to 8 bytes where the data is */
};

struct state_view {
	unsigned count;
	struct state_section section[STATE_SECTIONS_MAX];
};

/* @data must outlive the view. -EINVAL: not well formed; -EPROTONOSUPPORT: another version. */
int state_parse(const void *data, size_t size, struct state_view *view);

/* NULL: there is none. */
const struct state_section *state_find(const struct state_view *view, enum state_type type,
				       unsigned index);

/* Copy a payload of exactly @size bytes. -ENOENT: there is none, -EINVAL: of another size. */
int state_get(const struct state_view *view, enum state_type type, unsigned index, void *out,
	      size_t size);

#endif
