/* SPDX-License-Identifier: BSD-3-Clause */
/* Config space: a type 0 header with three memory BARs and one MSI-X capability. */
#include <string.h>

#include "sim/device.h"

enum {
	CFG_VENDOR = 0x00,
	CFG_DEVICE = 0x02,
	CFG_COMMAND = 0x04,
	CFG_STATUS = 0x06,
	CFG_CLASS = 0x08, /* revision in the lowest byte */
	CFG_CACHE_LINE = 0x0c,
	CFG_BAR0 = 0x10,
	CFG_SUBSYSTEM_VENDOR = 0x2c,
	CFG_SUBSYSTEM = 0x2e,
	CFG_CAPABILITIES = 0x34,
	CFG_IRQ_LINE = 0x3c,
	CFG_MSIX_CONTROL = SIM_MSIX_CAP + 2,
	CFG_MSIX_TABLE = SIM_MSIX_CAP + 4,
	CFG_MSIX_PBA = SIM_MSIX_CAP + 8,
};

#define STATUS_CAPABILITIES 0x0010
#define CAP_ID_MSIX         0x11
#define BAR_MASK            (~(SIM_BAR_SIZE - 1))

/* What software may change; everything else is read-only. */
static const struct {
	uint8_t offset;
	uint32_t mask; /* of the aligned dword */
} writable[] = {
	{CFG_COMMAND, 0x00000507},                        /* I/O, memory, bus master, parity, INTx */
	{CFG_CACHE_LINE, 0x000000ff},
	{CFG_BAR0 + 4 * SIM_BAR_REGS, BAR_MASK},          /* so that sizing works */
	{CFG_BAR0 + 4 * SIM_BAR_MSIX, BAR_MASK},
	{CFG_BAR0 + 4 * SIM_BAR_MAILBOX, BAR_MASK},
	{CFG_IRQ_LINE, 0x000000ff},
	{SIM_MSIX_CAP, 0xc0000000},                       /* enable, function mask */
};

static void put(uint8_t *config, unsigned offset, unsigned bytes, uint32_t value)
{
	for (; bytes; bytes--, value >>= 8)
		config[offset++] = (uint8_t)value;
}

void config_reset(struct sim *sim)
{
	uint8_t *config = sim->regs.config;

	memset(config, 0, SIM_CONFIG_SIZE);
	memset(sim->regs.msix, 0, SIM_BAR_SIZE);
	put(config, CFG_VENDOR, 2, SIM_PCI_VENDOR);
	put(config, CFG_DEVICE, 2, SIM_PCI_DEVICE);
	put(config, CFG_STATUS, 2, STATUS_CAPABILITIES);
	put(config, CFG_CLASS, 4, (uint32_t)SIM_PCI_CLASS << 8 | SIM_VERSION);
	put(config, CFG_SUBSYSTEM_VENDOR, 2, SIM_PCI_VENDOR);
	put(config, CFG_SUBSYSTEM, 2, sim->who->subsystem);
	put(config, CFG_CAPABILITIES, 1, SIM_MSIX_CAP);
	put(config, SIM_MSIX_CAP, 1, CAP_ID_MSIX);
	put(config, CFG_MSIX_CONTROL, 2, sim->opts.vectors - 1);
	put(config, CFG_MSIX_TABLE, 4, SIM_BAR_MSIX);
	put(config, CFG_MSIX_PBA, 4, SIM_MSIX_PBA | SIM_BAR_MSIX);
}

/* The writable bits of the byte at @offset. */
static uint8_t write_mask(uint64_t offset)
{
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(writable); i++)
		if (writable[i].offset == (offset & ~UINT64_C(3)))
			return (uint8_t)(writable[i].mask >> (offset & 3) * 8);
	return 0;
}

int config_read(const struct sim *sim, uint64_t offset, void *buf, size_t len)
{
	memcpy(buf, sim->regs.config + offset, len);
	return 0;
}

int config_write(struct sim *sim, uint64_t offset, const void *buf, size_t len)
{
	const uint8_t *in = buf;
	uint8_t mask;

	for (; len; len--, offset++, in++) {
		mask = write_mask(offset);
		sim->regs.config[offset] =
			(uint8_t)((sim->regs.config[offset] & ~mask) | (*in & mask));
	}
	return 0;
}

/* Read-only bits are the device's own, whatever a stream says. */
bool config_same_identity(const uint8_t *a, const uint8_t *b)
{
	unsigned i;

	for (i = 0; i < SIM_CONFIG_SIZE; i++)
		if ((a[i] ^ b[i]) & (uint8_t)~write_mask(i))
			return false;
	return true;
}
