/* SPDX-License-Identifier: BSD-3-Clause */
#include "sim/stream.h"

#include <errno.h>
#include <string.h>

#include "sim/device.h"

void stream_make_header(const struct sim *sim, struct stream_header *header)
{
	*header = (struct stream_header){
		.magic = put_le64(STREAM_MAGIC),
		.version = put_le32(STREAM_VERSION),
		.size = put_le32(sim->who->header_size),
		.vendor = put_le16(SIM_PCI_VENDOR),
		.device = put_le16(SIM_PCI_DEVICE),
		.subsystem = put_le16(sim->who->subsystem),
		.vectors = put_le16((uint16_t)sim->opts.vectors),
		.state_size = put_le64(sim->opts.state_size),
		.page_size = put_le32(SIM_PAGE_SIZE),
		.registers = put_le32(sizeof(struct stream_regs)),
	};
	memcpy(header->personality, sim->who->name,
	       MIN(strlen(sim->who->name), sizeof(header->personality) - 1));
}

void stream_pack_regs(const struct regs *regs, struct stream_regs *out)
{
	unsigned i;

	*out = (struct stream_regs){
		.control = put_le32(regs->control),
		.status = put_le32(regs->status),
		.ring_base = put_le64(regs->ring_base),
		.ring_index = put_le64(regs->ring_index),
		.ring_entries = put_le32(regs->ring_entries),
		.dma_rate = put_le32(regs->dma_rate),
		.producer = put_le64(regs->producer),
		.bytes = put_le64(regs->bytes),
		.doorbells = put_le64(regs->doorbells),
		.stalls = put_le64(regs->stalls),
		.irqs = put_le64(regs->irqs),
		.faults = put_le64(regs->faults),
		.mutated = put_le64(regs->mutated),
		.uptime_ns = put_le64(regs->uptime_ns),
		.random = put_le64(regs->random),
		.p2p_target = put_le64(regs->p2p_target),
		.p2p_rate = put_le32(regs->p2p_rate),
		.p2p_sent = put_le64(regs->p2p_sent),
		.p2p_seen = put_le64(regs->p2p_seen),
		.p2p_late = put_le64(regs->p2p_late),
	};
	for (i = 0; i < SIM_SCRATCH_COUNT; i++)
		out->scratch[i] = put_le64(regs->scratch[i]);
	memcpy(out->config, regs->config, sizeof(out->config));
	memcpy(out->msix, regs->msix, sizeof(out->msix));
}

static void unpack(const struct stream_regs *in, struct regs *regs)
{
	unsigned i;

	*regs = (struct regs){
		.control = get_le32(in->control),
		.status = get_le32(in->status),
		.ring_base = get_le64(in->ring_base),
		.ring_index = get_le64(in->ring_index),
		.ring_entries = get_le32(in->ring_entries),
		.dma_rate = get_le32(in->dma_rate),
		.producer = get_le64(in->producer),
		.bytes = get_le64(in->bytes),
		.doorbells = get_le64(in->doorbells),
		.stalls = get_le64(in->stalls),
		.irqs = get_le64(in->irqs),
		.faults = get_le64(in->faults),
		.mutated = get_le64(in->mutated),
		.uptime_ns = get_le64(in->uptime_ns),
		.random = get_le64(in->random),
		.p2p_target = get_le64(in->p2p_target),
		.p2p_rate = get_le32(in->p2p_rate),
		.p2p_sent = get_le64(in->p2p_sent),
		.p2p_seen = get_le64(in->p2p_seen),
		.p2p_late = get_le64(in->p2p_late),
	};
	for (i = 0; i < SIM_SCRATCH_COUNT; i++)
		regs->scratch[i] = get_le64(in->scratch[i]);
	memcpy(regs->config, in->config, sizeof(regs->config));
	memcpy(regs->msix, in->msix, sizeof(regs->msix));
}

int stream_unpack_regs(const struct stream_regs *in, const uint8_t *config, struct regs *regs)
{
	unpack(in, regs);
	if (regs->control & ~(SIM_CONTROL_DMA | SIM_CONTROL_IRQ) ||
	    regs->status & ~(SIM_STATUS_FULL | SIM_STATUS_FAULT) ||
	    regs->dma_rate > SIM_DMA_RATE_MAX || regs->p2p_rate > SIM_DMA_RATE_MAX ||
	    get_le32(in->reserved))
		return -EBADMSG;
	if (regs->control & SIM_CONTROL_DMA && !ring_valid(regs))
		return -EBADMSG;
	return config_same_identity(regs->config, config) ? 0 : -EBADMSG;
}
