/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the guest program and its VMM share: the pages through which one tells the other. Needs
 * nothing but <stdint.h>, because the guest has no C library.
 *
 * The VMM lays guest memory out like this (guest physical addresses; vmm/layout.c has the sums):
 *
 *	0x001000  struct guest_params    written once by the VMM, then only read
 *	0x002000  struct guest_shared    written by the guest, read by the VMM at any time
 *	0x010000  GDT, page tables
 *	0x100000  the guest program
 *	    ...   stacks, struct guest_cpu, rings
 *	    ...   the working set
 *
 * Everything that the work remembers lies in these pages, so that a migration carries it, with
 * KVM and without.
 */
#ifndef VMM_GUEST_ABI_H
#define VMM_GUEST_ABI_H

#include <stdint.h>

#define GUEST_PARAMS_GPA 0x1000u
#define GUEST_SHARED_GPA 0x2000u
#define GUEST_TABLES_GPA 0x10000u
#define GUEST_IMAGE_GPA  0x100000u
#define GUEST_IMAGE_MAX  0x80000u /* image and its zeroed data */

#define GUEST_PARAMS_MAGIC  0x31534d5241505656ull
#define GUEST_PARAMS_VERSION 2u

#define GUEST_CPUS_MAX    16u
#define GUEST_DEVICES_MAX 64u
#define GUEST_UARTS_MAX   2u  /* of a device */
#define GUEST_STACK_SIZE  0x4000u
#define GUEST_PAGE        4096u
#define GUEST_TICK_NS     4000000u /* the guest works and beats about this often */

#define GUEST_SERIAL_PORT 0x3f8
#define GUEST_PANIC_PORT  0x505 /* any byte: look at guest_shared.failure */

/* Vectors. Each device has one; the VMM routes its message interrupt there. INTx pins have one
 * each, which the guest routes. */
#define GUEST_VECTOR_TIMER  0x20
#define GUEST_VECTOR_DEVICE 0x40
#define GUEST_VECTOR_PIN    0x80 /* pin 0 of the I/O APIC */
#define GUEST_PINS_MAX      24u

enum guest_clock {
	GUEST_CLOCK_TSC = 0,    /* tsc_khz tells the rate */
	GUEST_CLOCK_KVM = 1,    /* the paravirtual clock that KVM keeps in a page */
	GUEST_CLOCK_CALLED = 2, /* no machine: the platform tells (--accel thread) */
};

/* What the guest does with a device. */
enum guest_driver {
	GUEST_DRIVER_NONE = 0, /* nothing */
	GUEST_DRIVER_SIM = 1,  /* sim/regs.h */
	GUEST_DRIVER_UART = 2, /* 16550s that give back what they are given: see guest/uart.c */
	GUEST_DRIVER_EDU = 3,  /* QEMU's educational device: see guest/edu.c */
};

struct guest_params_device {
	uint64_t bar0;    /* 0: there is no such device */
	uint64_t ring;    /* of struct sim_record */
	uint64_t index;   /* struct sim_ring_index */
	uint32_t entries;
	uint32_t vector;
	uint32_t driver;  /* enum guest_driver */
	uint32_t devfn;   /* on PCI bus 0: slot << 3 | function */
	uint32_t pin;     /* of the I/O APIC, where it interrupts by INTx; else 0 */
	uint32_t zero;
};

struct guest_params {
	uint64_t magic;
	uint32_t version;
	uint32_t cpus;
	uint32_t devices;
	uint32_t clock;          /* enum guest_clock */
	uint64_t tsc_khz;
	uint64_t cpu_area;       /* GUEST_CPUS_MAX times struct guest_cpu, a page each */
	uint64_t working_set;    /* page aligned */
	uint64_t working_pages;  /* the vCPUs share them out evenly */
	uint64_t pages_per_sec;  /* over all vCPUs */
	struct guest_params_device device[GUEST_DEVICES_MAX];
};

/* Why a guest stopped. Numbers are in the failure record and in messages. */
enum guest_failure_kind {
	GUEST_OK = 0,
	GUEST_FAIL_TAG = 1,       /* a page of the working set is of another generation */
	GUEST_FAIL_WORD = 2,      /* a word of it is wrong */
	GUEST_FAIL_BEAT = 3,      /* the heartbeat is not what was last written */
	GUEST_FAIL_CLOCK = 4,     /* time went back */
	GUEST_FAIL_SEQUENCE = 5,  /* a ring record is not the next one */
	GUEST_FAIL_PAYLOAD = 6,   /* a word of a ring record is wrong */
	GUEST_FAIL_CHECKSUM = 7,
	GUEST_FAIL_PRODUCER = 8,  /* the device's index went back or too far ahead */
	GUEST_FAIL_DEVICE = 9,    /* not the device that was promised, or it reports a fault */
	GUEST_FAIL_DOORBELL = 10, /* the device counted other doorbells than were rung */
	GUEST_FAIL_SCRATCH = 11,  /* a register lost its value */
	GUEST_FAIL_TRAP = 12,     /* the processor raised an exception */
	GUEST_FAIL_CONFIG = 13,   /* a register of PCI config space lost its value */
	GUEST_FAIL_UART = 14,     /* a UART's register lost its value */
	GUEST_FAIL_COUNT,
};

struct guest_failure {
	uint32_t kind;
	uint32_t cpu;
	uint64_t address;  /* where: guest physical, or the vector of a trap */
	uint64_t expected;
	uint64_t found;    /* of a trap: the instruction's address */
};

/* What each vCPU shows. One cache line each, written by that vCPU alone. */
struct guest_shared_cpu {
	uint64_t heartbeat;    /* goes up by exactly one */
	uint64_t heartbeat_ns; /* when, guest time */
	uint64_t pages;        /* pages checked and rewritten */
	uint64_t sweeps;       /* whole passes over its slice */
	uint64_t pad[4];
};

/* What the driver in the guest shows of each device. Written by vCPU 0. */
struct guest_shared_device {
	uint64_t records;   /* records checked: the next sequence number wanted */
	uint64_t irqs;      /* interrupts that arrived */
	uint64_t doorbells;
	uint64_t gone;      /* 1: reads as all ones, the driver gave it up */
	uint64_t sent;      /* bytes of all UARTs of the device: written, */
	uint64_t received;  /* read back or given up as lost, */
	uint64_t lost;      /* never came back, */
	uint64_t doubled;   /* came back and were not due */
};

struct guest_shared {
	uint64_t up;       /* vCPUs that came up, each adds one */
	uint64_t failures; /* 0, or 1 once failure is complete */
	struct guest_failure failure;
	uint64_t pad[2];
	struct guest_shared_cpu cpu[GUEST_CPUS_MAX];
	struct guest_shared_device device[GUEST_DEVICES_MAX];
};

/* What a vCPU keeps to itself, a page each. Kept apart from guest_shared, so that one stale page
 * contradicts the other. */
struct guest_cpu {
	uint64_t started;
	uint64_t beats;
	uint64_t last_ns;      /* when step() was last called */
	uint64_t beat_ns;
	uint64_t credit_ns;    /* time for which no pages were written yet */
	uint64_t sweep;        /* generation of the pages from cursor on; those before it have +1 */
	uint64_t cursor;       /* page number within the slice */
	uint64_t ring_ns;      /* when doorbells were last rung */
	uint64_t talk_ns;      /* when UARTs were last talked to */
	uint64_t irqs[GUEST_DEVICES_MAX]; /* counted by the interrupt handler; vCPU 0 only */
	union {
		struct {
			uint64_t consumer;
			uint64_t time_ns;
			uint64_t doorbells;
			uint64_t base; /* the device's doorbell count before the first of ours */
		};
		struct {
			uint64_t sent;
			uint64_t received;
		} uart[GUEST_UARTS_MAX];
		struct {
			uint64_t turns;
			uint64_t phase;
			uint64_t blocks;
		} edu;
	} device[GUEST_DEVICES_MAX];
};

_Static_assert(sizeof(struct guest_params) <= GUEST_PAGE, "params fit a page");
_Static_assert(sizeof(struct guest_cpu) <= GUEST_PAGE, "cpu state fits a page");
_Static_assert(sizeof(struct guest_shared) <= 0x8000, "the shared area fits before the tables");

/*
 * The working set. Word i of the page at address a, last written in generation g, is
 *
 *	pattern(a, i, g) = (a + 8 i) * K + g * L,    but word 0 is g itself, the tag
 *
 * The VMM fills every page at generation 0. Generation g >= 1 rewrites the tag and the four
 * words of one column, so the columns take turns and the content of a whole page follows from
 * its tag:
 *
 *	words 0..511, as 4 rows of 128 columns; column 0 stays at generation 0 but for the tag
 *	generation g writes column 1 + (g - 1) % 127
 */
#define GUEST_PAGE_WORDS 512u
#define GUEST_COLUMNS    128u
#define GUEST_ROWS       4u
#define GUEST_ROTATION   (GUEST_COLUMNS - 1)

static inline uint64_t guest_pattern(uint64_t address, unsigned word, uint64_t generation)
{
	return (address + 8 * (uint64_t)word) * 0x9e3779b97f4a7c15ull +
	       generation * 0xbf58476d1ce4e5b9ull;
}

/* The column that generation @g >= 1 writes. */
static inline unsigned guest_column(uint64_t g)
{
	return 1 + (unsigned)((g - 1) % GUEST_ROTATION);
}

#endif
