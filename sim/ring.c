/* SPDX-License-Identifier: BSD-3-Clause */
/* The DMA engine: see regs.h for the ring and its rules. */
#include <stddef.h>

#include "base/checked.h"
#include "sim/device.h"

bool ring_valid(const struct regs *regs)
{
	uint64_t bytes = (uint64_t)regs->ring_entries * SIM_RECORD_SIZE, end;

	return is_power_of_two(regs->ring_entries) && regs->ring_entries <= SIM_RING_ENTRIES_MAX &&
	       is_aligned(regs->ring_base, SIM_RECORD_SIZE) &&
	       is_aligned(regs->ring_index, SIM_RECORD_SIZE) &&
	       checked_add_u64(regs->ring_base, bytes, &end) &&
	       checked_add_u64(regs->ring_index, sizeof(struct sim_ring_index), &end);
}

/* Counted once, however much of a batch failed. */
static void fault(struct regs *regs)
{
	if (!(regs->control & SIM_CONTROL_DMA))
		return;
	regs->control &= ~SIM_CONTROL_DMA;
	regs->status |= SIM_STATUS_FAULT;
	regs->faults++;
}

/* How many records fit now; false: the driver or its memory is at fault. */
static bool find_space(struct sim *sim, uint64_t *space)
{
	const struct regs *regs = &sim->regs;
	uint64_t consumer, waiting;

	if (sim->ops->dma_load(sim->opaque,
			       regs->ring_index + offsetof(struct sim_ring_index, consumer),
			       &consumer))
		return false;
	waiting = regs->producer - consumer;
	if (consumer > regs->producer || waiting > regs->ring_entries)
		return false;
	*space = regs->ring_entries - waiting;
	return true;
}

static void make_record(const struct regs *regs, uint64_t sequence, struct sim_record *record)
{
	unsigned i;

	record->sequence = sequence;
	record->time_ns = regs->uptime_ns;
	for (i = 0; i < SIM_RECORD_WORDS; i++)
		record->payload[i] = sim_record_payload(sequence, i);
	record->checksum = sim_record_checksum(record);
}

/* Write up to @records into slots that lie side by side. 0: the memory is at fault. */
static uint64_t write_batch(struct sim *sim, uint64_t records)
{
	struct regs *regs = &sim->regs;
	uint64_t slot = regs->producer & (regs->ring_entries - 1);
	uint64_t iova = regs->ring_base + slot * SIM_RECORD_SIZE, i;
	uint64_t count = MIN(records, regs->ring_entries - slot);

	count = MIN(count, ARRAY_SIZE(sim->batch));
	for (i = 0; i < count; i++)
		make_record(regs, regs->producer + i, &sim->batch[i]);
	/* Marked also if it fails: a part may have been written. */
	log_mark(&sim->log, iova, count * SIM_RECORD_SIZE);
	if (sim->ops->dma_write(sim->opaque, iova, sim->batch, count * SIM_RECORD_SIZE))
		return 0;
	regs->producer += count;
	regs->bytes += count * SIM_RECORD_SIZE;
	return count;
}

static bool publish(struct sim *sim)
{
	uint64_t iova = sim->regs.ring_index + offsetof(struct sim_ring_index, producer);

	log_mark(&sim->log, iova, sizeof(uint64_t));
	return !sim->ops->dma_store(sim->opaque, iova, sim->regs.producer);
}

static void raise_irq(struct sim *sim)
{
	if (!(sim->regs.control & SIM_CONTROL_IRQ))
		return;
	sim->regs.irqs++;
	sim->ops->irq(sim->opaque, SIM_MSIX_DMA);
}

static void note_full(struct regs *regs, bool full)
{
	if (full && !(regs->status & SIM_STATUS_FULL))
		regs->stalls++;
	regs->status = full ? regs->status | SIM_STATUS_FULL : regs->status & ~SIM_STATUS_FULL;
}

void ring_run(struct sim *sim, uint64_t records)
{
	struct regs *regs = &sim->regs;
	uint64_t first = regs->producer, space, count = 1, left;

	if (!find_space(sim, &space)) {
		fault(regs);
		return;
	}
	note_full(regs, space < records);
	for (left = MIN(records, space); left && count; left -= count)
		count = write_batch(sim, left);
	if (!count)
		fault(regs);
	if (regs->producer == first)
		return;
	if (publish(sim))
		raise_irq(sim);
	else
		fault(regs);
}
