/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated device as software sees it: PCI identity, BARs, registers, DMA ring. Shared by the
 * device, the reference VMM and the guest program, so it needs nothing but <stdint.h>.
 *
 *	BAR0  4 KiB  registers, below
 *	BAR2  4 KiB  MSI-X table at 0, pending bits at 0x800 (stored, not interpreted: interrupts
 *	             go where SET_IRQS said)
 *	BAR4  4 KiB  mailbox: memory without meaning, which others may map and write to
 *
 * All registers are little endian. A 64-bit register may be accessed whole or by aligned 32-bit
 * halves; writing the low half alone changes the low half alone. Accesses are 4 or 8 bytes,
 * naturally aligned. Registers that are not listed read as 0 and ignore writes. Bus mastering
 * in the PCI command register is not consulted.
 *
 * The ring. The driver gives an array of SIM_REG_RING_ENTRIES records in guest memory and one
 * struct sim_ring_index, then sets SIM_CONTROL_DMA. The device writes record number n (n counts
 * from 0 and never wraps) to slot n % entries, then stores n + 1 to index->producer, with release
 * order, and raises MSI-X vector 0 once per batch. The driver checks records from its consumer
 * count up to producer, then stores how many it has checked to index->consumer:
 *
 *	entries = 8       slot   0   1   2   3   4   5   6   7
 *	                record   8   9  10   3   4   5   6   7
 *	consumer = 5 ────────────────────────────────┘
 *	producer = 11 ───────────────────┘ (next to be written; 5..10 wait to be checked)
 *
 * The device writes record n only when n - consumer < entries, so nothing that was not checked is
 * overwritten: a full ring makes the device wait and count a stall. A consumer past the producer,
 * or memory that cannot be reached, is a fault: SIM_STATUS_FAULT, and DMA stops.
 *
 * Peers. With SIM_REG_P2P_TARGET and _RATE set the device stores 1, 2, 3, ... to the aligned 64-bit
 * word at that guest physical address: a word in the mailbox of another device, at best one for
 * each writer. It does so in RUNNING and PRE_COPY. A target that cannot be reached is a fault for each
 * store, and the same count is tried again. What comes into the device's own mailbox is counted by
 * words that changed between two looks; SIM_REG_P2P_LATE must stay 0, and once all devices have
 * stopped the word holds what SIM_REG_P2P_SENT of its writer says.
 */
#ifndef SIM_REGS_H
#define SIM_REGS_H

#include <stdint.h>

/* PCI identity: "VF" and "M1" in ASCII. The vendor number is not known to be assigned to anybody;
 * it is for simulated devices alone. */
#define SIM_PCI_VENDOR    0x5646
#define SIM_PCI_DEVICE    0x4d31
#define SIM_PCI_SUBSYSTEM 0x0001 /* of the generic one; each personality has its own */
#define SIM_PCI_CLASS     0xff0000 /* fits no class */

#define SIM_BAR_REGS       0
#define SIM_BAR_MSIX       2
#define SIM_BAR_MAILBOX    4
#define SIM_BAR_SIZE       4096u
#define SIM_MSIX_CAP       0x40  /* offset of the MSI-X capability in config space */
#define SIM_MSIX_PBA       0x800 /* offset of the pending bits in BAR2 */
#define SIM_MSIX_ENTRY     16u   /* bytes per table entry */
#define SIM_MSIX_VECTORS   4u    /* table size by default */
#define SIM_MSIX_VECTORS_MAX 64u
#define SIM_MSIX_DMA       0     /* the vector raised after a batch of records */

/* BAR0. RO: writes are ignored. WO: reads as 0. */
#define SIM_REG_MAGIC        0x000 /* u32 RO  SIM_MAGIC */
#define SIM_REG_VERSION      0x004 /* u32 RO  SIM_VERSION */
#define SIM_REG_CONTROL      0x008 /* u32 RW  SIM_CONTROL_* */
#define SIM_REG_STATUS       0x00c /* u32 RO  SIM_STATUS_* */
#define SIM_REG_COMMAND      0x010 /* u32 WO  SIM_COMMAND_*, done when the write returns */
#define SIM_REG_HASH         0x018 /* u64 RO  XXH64 of the internal memory, by SIM_COMMAND_HASH */
#define SIM_REG_RING_BASE    0x020 /* u64 RW  guest physical address of record slot 0, 64-aligned */
#define SIM_REG_RING_INDEX   0x028 /* u64 RW  guest physical address of struct sim_ring_index, 64-aligned */
#define SIM_REG_RING_ENTRIES 0x030 /* u32 RW  slots, a power of two, 1 to SIM_RING_ENTRIES_MAX */
#define SIM_REG_DMA_RATE     0x034 /* u32 RW  records per second, 0: none; starts as --dma-rate; a
				    *         personality that does no DMA keeps it 0 */
#define SIM_REG_DOORBELL     0x038 /* u32 WO  any value: counted */
#define SIM_REG_PRODUCER     0x040 /* u64 RO  records written; the next record's sequence number */
#define SIM_REG_BYTES        0x048 /* u64 RO  bytes of records written */
#define SIM_REG_DOORBELLS    0x050 /* u64 RO  doorbell writes */
#define SIM_REG_STALLS       0x058 /* u64 RO  times that a full ring made the device wait */
#define SIM_REG_IRQS         0x060 /* u64 RO  interrupts raised */
#define SIM_REG_FAULTS       0x068 /* u64 RO  faults, see above */
#define SIM_REG_STATE_SIZE   0x070 /* u64 RO  bytes of internal memory */
#define SIM_REG_DIRTY_RATE   0x078 /* u64 RO  bytes of it changed per second */
#define SIM_REG_MUTATED      0x080 /* u64 RO  bytes of it changed so far */
#define SIM_REG_P2P_TARGET   0x088 /* u64 RW  where to write to, 8-aligned; 0: nowhere */
#define SIM_REG_P2P_RATE     0x090 /* u32 RW  writes per second; starts as --p2p-rate */
#define SIM_REG_P2P_SENT     0x098 /* u64 RO  writes to the target, the last value written */
#define SIM_REG_P2P_SEEN     0x0a0 /* u64 RO  changes of the mailbox in states that allow them */
#define SIM_REG_P2P_LATE     0x0a8 /* u64 RO  and in STOP, STOP_COPY and RESUMING, which do not */
#define SIM_REG_SCRATCH      0x100 /* u64 RW  SIM_SCRATCH_COUNT registers without meaning */
#define SIM_SCRATCH_COUNT    16

#define SIM_MAGIC   0x53464d56u /* "VMFS" in memory */
#define SIM_VERSION 2u

/* SIM_REG_CONTROL. Setting SIM_CONTROL_DMA checks the ring's registers: if they are wrong the
 * device faults and the bit stays clear. The ring's registers are read-only while it is set. */
#define SIM_CONTROL_DMA 0x1u /* write records */
#define SIM_CONTROL_IRQ 0x2u /* raise SIM_MSIX_DMA after each batch */

/* SIM_REG_STATUS */
#define SIM_STATUS_ACTIVE  0x1u /* the device runs and does DMA when told (no P2P or STOP state) */
#define SIM_STATUS_FULL    0x2u /* waits for the consumer */
#define SIM_STATUS_FAULT   0x4u /* DMA stopped by a fault; cleared by setting SIM_CONTROL_DMA */
#define SIM_STATUS_MUTATES 0x8u /* the internal memory may be changing */

/* SIM_REG_COMMAND; both work in every migration state in which regions can be accessed. */
#define SIM_COMMAND_HASH       1u /* hash the internal memory into SIM_REG_HASH */
#define SIM_COMMAND_RING_RESET 2u /* with SIM_CONTROL_DMA clear: producer back to 0 */
#define SIM_COMMAND_SPOIL      3u /* flip a bit of the internal memory unnoticed, as a bad memory
				   * cell would: for tests of those who compare hashes */
#define SIM_COMMAND_REINIT     4u /* the next precopy info query finds that the initial bytes have
				   * begun anew; written when the vCPUs have stopped, it is a late
				   * one. Forgotten when the data session ends */

#define SIM_RING_ENTRIES_MAX (1u << 20)
#define SIM_RECORD_SIZE      64u
#define SIM_RECORD_WORDS     5

/* One record. Every word can be checked from the sequence number, but for the time. */
struct sim_record {
	uint64_t sequence;                  /* n, from 0 without a gap */
	uint64_t time_ns;                   /* the device's clock, never goes back, any origin */
	uint64_t payload[SIM_RECORD_WORDS]; /* sim_record_payload(n, i) */
	uint64_t checksum;                  /* sim_record_checksum() */
};

/* The two counters, a cache line each. */
struct sim_ring_index {
	uint64_t producer; /* written by the device */
	uint64_t pad0[7];
	uint64_t consumer; /* written by the driver */
	uint64_t pad1[7];
};

#ifndef __cplusplus
_Static_assert(sizeof(struct sim_record) == SIM_RECORD_SIZE, "record layout");
_Static_assert(sizeof(struct sim_ring_index) == 128, "index layout");
#endif

/* A bijective mix of 64 bits: cheap, without tables, no two inputs alike. */
static inline uint64_t sim_mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

static inline uint64_t sim_record_payload(uint64_t sequence, unsigned i)
{
	return sim_mix(sequence * SIM_RECORD_WORDS + i);
}

/* Over all words but the checksum itself. The multiplier makes the order of words matter. */
static inline uint64_t sim_record_checksum(const struct sim_record *r)
{
	uint64_t sum = sim_mix(r->sequence) * 31 + r->time_ns;
	unsigned i;

	for (i = 0; i < SIM_RECORD_WORDS; i++)
		sum = sum * 31 + r->payload[i];
	return sum ^ (sum >> 29);
}

#endif
