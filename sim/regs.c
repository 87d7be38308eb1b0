/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BAR0: one table says where each register lives and what may be done with it. Registers that do
 * something when written have a function in the table.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/byteorder.h"
#include "base/checked.h"
#include "sim/device.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "registers are little endian");

enum access {
	RO,
	RW,
	RW_IDLE, /* writes are ignored while SIM_CONTROL_DMA is set */
};

struct reg {
	uint16_t offset;
	uint8_t bytes;
	enum access access;
	size_t field;                                     /* in struct sim, 0: none */
	uint64_t (*read)(struct sim *sim);                /* instead of the field */
	void (*write)(struct sim *sim, uint32_t value);   /* instead of a store */
};

#define FIELD(name) offsetof(struct sim, name)

static uint64_t read_magic(struct sim *sim)
{
	return SIM_MAGIC;
}

static uint64_t read_version(struct sim *sim)
{
	return SIM_VERSION;
}

uint32_t regs_status(const struct sim *sim)
{
	return sim->regs.status | (sim_does_dma(sim) ? SIM_STATUS_ACTIVE : 0) |
	       (sim_runs(sim) && sim->opts.dirty_rate ? SIM_STATUS_MUTATES : 0);
}

static uint64_t read_status(struct sim *sim)
{
	return regs_status(sim);
}

static void write_control(struct sim *sim, uint32_t value)
{
	struct regs *regs = &sim->regs;

	value &= SIM_CONTROL_DMA | SIM_CONTROL_IRQ;
	if (value & ~regs->control & SIM_CONTROL_DMA) {
		regs->status &= ~(SIM_STATUS_FAULT | SIM_STATUS_FULL);
		if (!ring_valid(regs)) {
			regs->status |= SIM_STATUS_FAULT;
			regs->faults++;
			value &= ~SIM_CONTROL_DMA;
		}
	}
	regs->control = value;
}

static void write_command(struct sim *sim, uint32_t value)
{
	if (value == SIM_COMMAND_HASH)
		sim->hash_value = memory_hash(&sim->memory);
	else if (value == SIM_COMMAND_RING_RESET && !(sim->regs.control & SIM_CONTROL_DMA))
		sim->regs.producer = 0;
	else if (value == SIM_COMMAND_SPOIL)
		sim->memory.data[0] ^= 1;
	else if (value == SIM_COMMAND_REINIT)
		sim->session.told_to_renew = true;
}

static void write_doorbell(struct sim *sim, uint32_t value)
{
	sim->regs.doorbells++;
}

static uint32_t limit_rate(const struct sim *sim, uint32_t value)
{
	return sim->who->no_dma ? 0 : MIN(value, SIM_DMA_RATE_MAX);
}

static void write_rate(struct sim *sim, uint32_t value)
{
	sim->regs.dma_rate = limit_rate(sim, value);
}

static void write_p2p_rate(struct sim *sim, uint32_t value)
{
	sim->regs.p2p_rate = limit_rate(sim, value);
}

static const struct reg table[] = {
	{SIM_REG_MAGIC, 4, RO, 0, read_magic, NULL},
	{SIM_REG_VERSION, 4, RO, 0, read_version, NULL},
	{SIM_REG_CONTROL, 4, RW, FIELD(regs.control), NULL, write_control},
	{SIM_REG_STATUS, 4, RO, 0, read_status, NULL},
	{SIM_REG_COMMAND, 4, RW, 0, NULL, write_command},
	{SIM_REG_HASH, 8, RO, FIELD(hash_value), NULL, NULL},
	{SIM_REG_RING_BASE, 8, RW_IDLE, FIELD(regs.ring_base), NULL, NULL},
	{SIM_REG_RING_INDEX, 8, RW_IDLE, FIELD(regs.ring_index), NULL, NULL},
	{SIM_REG_RING_ENTRIES, 4, RW_IDLE, FIELD(regs.ring_entries), NULL, NULL},
	{SIM_REG_DMA_RATE, 4, RW, FIELD(regs.dma_rate), NULL, write_rate},
	{SIM_REG_DOORBELL, 4, RW, 0, NULL, write_doorbell},
	{SIM_REG_PRODUCER, 8, RO, FIELD(regs.producer), NULL, NULL},
	{SIM_REG_BYTES, 8, RO, FIELD(regs.bytes), NULL, NULL},
	{SIM_REG_DOORBELLS, 8, RO, FIELD(regs.doorbells), NULL, NULL},
	{SIM_REG_STALLS, 8, RO, FIELD(regs.stalls), NULL, NULL},
	{SIM_REG_IRQS, 8, RO, FIELD(regs.irqs), NULL, NULL},
	{SIM_REG_FAULTS, 8, RO, FIELD(regs.faults), NULL, NULL},
	{SIM_REG_STATE_SIZE, 8, RO, FIELD(opts.state_size), NULL, NULL},
	{SIM_REG_DIRTY_RATE, 8, RO, FIELD(opts.dirty_rate), NULL, NULL},
	{SIM_REG_MUTATED, 8, RO, FIELD(regs.mutated), NULL, NULL},
	{SIM_REG_P2P_TARGET, 8, RW, FIELD(regs.p2p_target), NULL, NULL},
	{SIM_REG_P2P_RATE, 4, RW, FIELD(regs.p2p_rate), NULL, write_p2p_rate},
	{SIM_REG_P2P_SENT, 8, RO, FIELD(regs.p2p_sent), NULL, NULL},
	{SIM_REG_P2P_SEEN, 8, RO, FIELD(regs.p2p_seen), NULL, NULL},
	{SIM_REG_P2P_LATE, 8, RO, FIELD(regs.p2p_late), NULL, NULL},
};

static const struct reg *find_reg(uint64_t offset)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(table); i++)
		if (offset - table[i].offset < table[i].bytes)
			return &table[i];
	return NULL;
}

/* Where the aligned dword at @offset is stored, NULL if nowhere. */
static uint32_t *find_dword(struct sim *sim, const struct reg *reg, uint64_t offset)
{
	uint64_t scratch = offset - SIM_REG_SCRATCH;

	if (offset >= SIM_REG_SCRATCH && scratch < sizeof(sim->regs.scratch))
		return (uint32_t *)((char *)sim->regs.scratch + scratch);
	if (!reg || !reg->field)
		return NULL;
	return (uint32_t *)((char *)sim + reg->field + (offset - reg->offset));
}

static uint32_t read_dword(struct sim *sim, uint64_t offset)
{
	const struct reg *reg = find_reg(offset);
	const uint32_t *dword = find_dword(sim, reg, offset);

	if (reg && reg->read)
		return (uint32_t)reg->read(sim);
	return dword ? *dword : 0;
}

static bool ignored(const struct sim *sim, const struct reg *reg)
{
	return reg->access == RO ||
	       (reg->access == RW_IDLE && sim->regs.control & SIM_CONTROL_DMA);
}

static void write_dword(struct sim *sim, uint64_t offset, uint32_t value)
{
	const struct reg *reg = find_reg(offset);
	uint32_t *dword = find_dword(sim, reg, offset);

	if (reg && ignored(sim, reg))
		return;
	if (reg && reg->write)
		reg->write(sim, value);
	else if (dword)
		*dword = value;
}

static int check_access(uint64_t offset, size_t len)
{
	return (len == 4 || len == 8) && is_aligned(offset, len) ? 0 : -EINVAL;
}

int regs_read(struct sim *sim, uint64_t offset, void *buf, size_t len)
{
	uint32_t dwords[2];
	unsigned i;

	if (check_access(offset, len))
		return -EINVAL;
	p2p_look(sim);
	for (i = 0; i < len / 4; i++)
		dwords[i] = read_dword(sim, offset + i * 4);
	memcpy(buf, dwords, len);
	return 0;
}

int regs_write(struct sim *sim, uint64_t offset, const void *buf, size_t len)
{
	uint32_t dwords[2];
	unsigned i;

	if (check_access(offset, len))
		return -EINVAL;
	memcpy(dwords, buf, len);
	for (i = 0; i < len / 4; i++)
		write_dword(sim, offset + i * 4, dwords[i]);
	return 0;
}

void regs_reset(struct sim *sim)
{
	sim->regs = (struct regs){
		.dma_rate = limit_rate(sim, sim->opts.dma_rate),
		.p2p_target = sim->opts.p2p_target,
		.p2p_rate = limit_rate(sim, sim->opts.p2p_rate),
	};
}
