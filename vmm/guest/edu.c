/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver for QEMU's educational device, a PCI device with registers in memory, interrupts and
 * DMA, which cannot migrate: so what the VMM does for a device of vfio-pci can be seen to work.
 *
 * A turn checks the register that holds the complement of what was written, and rings once. DMA
 * takes the device its time, so that one phase of it is looked at per turn:
 *
 *	fill ── memory to device ──> wait ── device to memory, at another place ──> check ──> fill
 *
 * Each block that came back is counted as a record.
 */
#include "sim/regs.h"
#include "vmm/guest/edu.h"

#define REG_ID       0x00u
#define REG_LIVENESS 0x04u
#define REG_STATUS   0x24u /* of its interrupts */
#define REG_RAISE    0x60u
#define REG_CLEAR    0x64u
#define REG_FROM     0x80u
#define REG_TO       0x88u
#define REG_COUNT    0x90u
#define REG_COMMAND  0x98u

#define ID           0x010000edu
#define BUFFER       0x40000u /* in the device's own addresses */
#define BLOCK        64u      /* bytes */
#define GO           1u
#define TO_MEMORY    2u

enum phase { FILL, SEND, RECEIVE };

static uint64_t reg(struct platform *p, unsigned device, unsigned offset)
{
	return platform_params(p)->device[device].bar0 + offset;
}

/* Where a block is written, and a page behind it where it comes back. */
static uint64_t block(struct platform *p, unsigned device, unsigned back)
{
	return platform_params(p)->device[device].ring + back * GUEST_PAGE;
}

static struct guest_shared_device *shown(struct platform *p, unsigned device)
{
	return &((struct guest_shared *)platform_ptr(p, GUEST_SHARED_GPA))->device[device];
}

static int fail(struct platform *p, enum guest_failure_kind kind, uint64_t address,
		uint64_t expected, uint64_t found)
{
	work_fail(p, 0, kind, address, expected, found);
	return -1;
}

int edu_start(struct platform *p, struct guest_cpu *c, unsigned device)
{
	const struct guest_params_device *d = &platform_params(p)->device[device];
	uint32_t id = platform_read32(p, reg(p, device, REG_ID));

	if (id != ID)
		return fail(p, GUEST_FAIL_DEVICE, reg(p, device, REG_ID), ID, id);
	edu_acknowledge(p, device);
	if (d->pin && d->pin < GUEST_PINS_MAX)
		platform_route(p, d->pin, GUEST_VECTOR_PIN + d->pin);
	platform_write32(p, reg(p, device, REG_LIVENESS), (uint32_t)sim_mix(0));
	return 0;
}

void edu_acknowledge(struct platform *p, unsigned device)
{
	uint32_t pending = platform_read32(p, reg(p, device, REG_STATUS));

	platform_write32(p, reg(p, device, REG_CLEAR), pending);
}

static void transfer(struct platform *p, unsigned device, uint64_t from, uint64_t to,
		     uint32_t command)
{
	platform_write64(p, reg(p, device, REG_FROM), from);
	platform_write64(p, reg(p, device, REG_TO), to);
	platform_write64(p, reg(p, device, REG_COUNT), BLOCK);
	platform_write64(p, reg(p, device, REG_COMMAND), command | GO);
}

static void fill(struct platform *p, unsigned device, uint64_t round)
{
	uint64_t *words = platform_ptr(p, block(p, device, 0));
	unsigned i;

	for (i = 0; i < BLOCK / sizeof(*words); i++)
		words[i] = sim_mix(round * BLOCK + i);
	platform_stored(p, block(p, device, 0), BLOCK);
}

static int check(struct platform *p, unsigned device, uint64_t round)
{
	const volatile uint64_t *words = platform_ptr(p, block(p, device, 1));
	unsigned i;

	for (i = 0; i < BLOCK / sizeof(*words); i++)
		if (words[i] != sim_mix(round * BLOCK + i))
			return fail(p, GUEST_FAIL_PAYLOAD, block(p, device, 1) + 8 * i,
				    sim_mix(round * BLOCK + i), words[i]);
	return 0;
}

static int move_on(struct platform *p, struct guest_cpu *c, unsigned device)
{
	uint64_t *phase = &c->device[device].edu.phase, round = c->device[device].edu.blocks;

	if (platform_read64(p, reg(p, device, REG_COMMAND)) & GO)
		return 0;
	switch (*phase) {
	case FILL:
		fill(p, device, round);
		transfer(p, device, block(p, device, 0), BUFFER, 0);
		*phase = SEND;
		return 0;
	case SEND:
		transfer(p, device, BUFFER, block(p, device, 1), TO_MEMORY);
		*phase = RECEIVE;
		return 0;
	default:
		*phase = FILL;
		shown(p, device)->records = ++c->device[device].edu.blocks;
		return check(p, device, round);
	}
}

int edu_serve(struct platform *p, struct guest_cpu *c, unsigned device)
{
	uint64_t *turns = &c->device[device].edu.turns;
	uint32_t expected = ~(uint32_t)sim_mix(*turns);
	uint32_t found = platform_read32(p, reg(p, device, REG_LIVENESS));

	if (found != expected)
		return fail(p, GUEST_FAIL_SCRATCH, reg(p, device, REG_LIVENESS), expected, found);
	platform_write32(p, reg(p, device, REG_LIVENESS), (uint32_t)sim_mix(++*turns));
	platform_write32(p, reg(p, device, REG_RAISE), 1);
	shown(p, device)->doorbells = *turns;
	platform_stored(p, GUEST_SHARED_GPA, sizeof(struct guest_shared));
	return move_on(p, c, device);
}
