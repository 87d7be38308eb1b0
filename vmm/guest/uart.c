/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The driver for PCI serial cards that loop back, as the kernel's sample device mtty does: what is
 * written to a port can be read from it, in order, up to 15 bytes at a time.
 *
 * Byte number n of a port is pattern(n), by which its place in the last 256 is known. Each turn
 * reads the burst of the turn before, then writes the next one, which lies in the device until the
 * next turn: whenever the VM stops, there are bytes in flight.
 *
 *	turn       1            2            3
 *	writes     0..7         8..15        16..23
 *	reads                   0..7         8..15
 *
 * Instead of the byte that is due another one may come:
 *
 *	a later one     those between are lost
 *	an earlier one  it is doubled
 *	none            what was written and is not there is lost
 *
 * That is counted, and no failure: the counts tell how much. What is a failure: a register of the
 * port or of PCI config space that is not what it was last set to. All of it would be if a
 * migration left it behind.
 *
 * The ports interrupt when a burst begins. Nothing waits for that; it is counted.
 */
#include "sim/regs.h"
#include "vmm/guest/uart.h"
#include "vmm/pci.h"

#define BURST       8u
#define READS_MAX   64u /* in one turn: a device that always has data is no reason to hang */

#define REG_DATA    0u
#define REG_IER     1u
#define REG_FCR     2u
#define REG_LCR     3u
#define REG_MCR     4u
#define REG_LSR     5u
#define REG_SCRATCH 7u

#define IER_DATA    0x01u
#define FCR_ON      0x07u /* enabled, both ways emptied */
#define LCR_8N1     0x03u
#define MCR_READY   0x0bu /* DTR, RTS, interrupts */
#define LSR_DATA    0x01u
#define LSR_ABSENT  0xffu

/* ---- PCI config space ---- */

static uint16_t select_register(struct platform *p, unsigned device, unsigned offset)
{
	uint32_t devfn = platform_params(p)->device[device].devfn;

	platform_out32(p, PCI_ADDRESS_PORT, 0x80000000u | devfn << 8 | (offset & 0xfcu));
	return (uint16_t)(PCI_DATA_PORT + (offset & 3));
}

static uint32_t config_read32(struct platform *p, unsigned device, unsigned offset)
{
	return platform_in32(p, select_register(p, device, offset));
}

static void config_write32(struct platform *p, unsigned device, unsigned offset, uint32_t value)
{
	platform_out32(p, select_register(p, device, offset), value);
}

static uint8_t config_read8(struct platform *p, unsigned device, unsigned offset)
{
	return platform_in8(p, select_register(p, device, offset));
}

static void config_write8(struct platform *p, unsigned device, unsigned offset, uint8_t value)
{
	platform_out8(p, select_register(p, device, offset), value);
}

static int config_fail(struct platform *p, unsigned device, unsigned offset, uint32_t expected,
		       uint32_t found)
{
	uint64_t devfn = platform_params(p)->device[device].devfn;

	work_fail(p, 0, GUEST_FAIL_CONFIG, devfn << 8 | offset, expected, found);
	return -1;
}

/* The first port of UART @i; 0: there is none. */
static uint16_t port_of(struct platform *p, unsigned device, unsigned i)
{
	uint32_t bar = config_read32(p, device, PCI_BAR0 + 4 * i);

	return bar & PCI_BAR_IO ? (uint16_t)(bar & ~PCI_BAR_TYPE_IO) : 0;
}

/* ---- registers that remember ---- */

static uint8_t pattern(uint64_t n)
{
	return (uint8_t)(n * 167 + 13); /* 167 is odd: the last 256 are all different */
}

/* What the registers without a meaning hold when @sent bytes were written. */
static uint8_t mark(uint64_t sent)
{
	return (uint8_t)sim_mix(sent);
}

static int check_register(struct platform *p, uint16_t port, unsigned reg, uint8_t expected)
{
	uint8_t found = platform_in8(p, (uint16_t)(port + reg));

	if (found == expected)
		return 0;
	work_fail(p, 0, GUEST_FAIL_UART, port + reg, expected, found);
	return -1;
}

static int check_registers(struct platform *p, uint16_t port, uint64_t sent)
{
	if (check_register(p, port, REG_IER, IER_DATA) < 0 ||
	    check_register(p, port, REG_LCR, LCR_8N1) < 0 ||
	    check_register(p, port, REG_MCR, MCR_READY) < 0)
		return -1;
	return check_register(p, port, REG_SCRATCH, mark(sent));
}

static int check_config(struct platform *p, unsigned device, uint64_t sent)
{
	uint32_t command = config_read32(p, device, PCI_COMMAND) & 0xffff;
	uint8_t line = config_read8(p, device, PCI_CACHE_LINE);

	if (command != PCI_COMMAND_IO)
		return config_fail(p, device, PCI_COMMAND, PCI_COMMAND_IO, command);
	if (line != mark(sent))
		return config_fail(p, device, PCI_CACHE_LINE, mark(sent), line);
	return 0;
}

/* ---- bytes ---- */

static void count(struct platform *p, unsigned device, uint64_t lost, uint64_t doubled)
{
	struct guest_shared_device *shown = (struct guest_shared_device *)
		&((struct guest_shared *)platform_ptr(p, GUEST_SHARED_GPA))->device[device];

	shown->lost += lost;
	shown->doubled += doubled;
}

/* Byte @found came, number @due was due. Returns which one is due next. */
static uint64_t judge(struct platform *p, unsigned device, uint64_t due, uint64_t sent,
		      uint8_t found)
{
	uint64_t ahead;

	for (ahead = 0; ahead < sent - due; ahead++)
		if (pattern(due + ahead) == found) {
			count(p, device, ahead, 0);
			return due + ahead + 1;
		}
	count(p, device, 0, 1);
	return due;
}

static uint64_t drain(struct platform *p, unsigned device, uint16_t port, uint64_t due,
		      uint64_t sent)
{
	unsigned n;

	for (n = 0; n < READS_MAX; n++) {
		if (!(platform_in8(p, (uint16_t)(port + REG_LSR)) & LSR_DATA))
			break;
		due = judge(p, device, due, sent, platform_in8(p, (uint16_t)(port + REG_DATA)));
	}
	count(p, device, sent - due, 0);
	return sent;
}

static uint64_t send(struct platform *p, uint16_t port, uint64_t sent)
{
	unsigned i;

	for (i = 0; i < BURST; i++, sent++)
		platform_out8(p, (uint16_t)(port + REG_DATA), pattern(sent));
	platform_out8(p, (uint16_t)(port + REG_SCRATCH), mark(sent));
	return sent;
}

/* ---- the driver ---- */

static void start_port(struct platform *p, uint16_t port)
{
	platform_out8(p, (uint16_t)(port + REG_LCR), LCR_8N1);
	platform_out8(p, (uint16_t)(port + REG_IER), 0);
	platform_out8(p, (uint16_t)(port + REG_FCR), FCR_ON);
	platform_out8(p, (uint16_t)(port + REG_MCR), MCR_READY);
	platform_out8(p, (uint16_t)(port + REG_IER), IER_DATA);
	platform_out8(p, (uint16_t)(port + REG_SCRATCH), mark(0));
}

/* As drivers do: ask for the BAR's size with decoding off, and put it back. */
static int check_bar(struct platform *p, unsigned device)
{
	uint32_t bar = config_read32(p, device, PCI_BAR0), size;

	config_write32(p, device, PCI_BAR0, ~0u);
	size = ~(config_read32(p, device, PCI_BAR0) & ~PCI_BAR_TYPE_IO) + 1;
	config_write32(p, device, PCI_BAR0, bar);
	if (size != 8)
		return config_fail(p, device, PCI_BAR0, 8, size);
	if (config_read32(p, device, PCI_BAR0) != bar)
		return config_fail(p, device, PCI_BAR0, bar, config_read32(p, device, PCI_BAR0));
	return 0;
}

int uart_start(struct platform *p, struct guest_cpu *c, unsigned device)
{
	const struct guest_params_device *d = &platform_params(p)->device[device];
	uint16_t port = port_of(p, device, 0);
	unsigned i;

	config_write32(p, device, PCI_COMMAND, 0);
	if (check_bar(p, device) < 0 || check_register(p, port, REG_LSR, LSR_ABSENT) < 0)
		return -1;
	config_write32(p, device, PCI_COMMAND, PCI_COMMAND_IO);
	config_write8(p, device, PCI_CACHE_LINE, mark(0));
	if (d->pin && d->pin < GUEST_PINS_MAX)
		platform_route(p, d->pin, GUEST_VECTOR_PIN + d->pin);
	for (i = 0; i < GUEST_UARTS_MAX; i++) {
		port = port_of(p, device, i);
		if (port)
			start_port(p, port);
	}
	return 0;
}

static void show(struct platform *p, const struct guest_cpu *c, unsigned device)
{
	struct guest_shared *s = platform_ptr(p, GUEST_SHARED_GPA);
	uint64_t sent = 0, received = 0;
	unsigned i;

	for (i = 0; i < GUEST_UARTS_MAX; i++) {
		sent += c->device[device].uart[i].sent;
		received += c->device[device].uart[i].received;
	}
	s->device[device].sent = sent;
	__atomic_store_n(&s->device[device].received, received, __ATOMIC_RELEASE);
	platform_stored(p, GUEST_SHARED_GPA, sizeof(*s));
}

static int serve_port(struct platform *p, struct guest_cpu *c, unsigned device, unsigned i)
{
	uint64_t sent = c->device[device].uart[i].sent, due = c->device[device].uart[i].received;
	uint16_t port = port_of(p, device, i);

	if (!port)
		return 0;
	if (check_registers(p, port, sent) < 0)
		return -1;
	c->device[device].uart[i].received = drain(p, device, port, due, sent);
	c->device[device].uart[i].sent = send(p, port, sent);
	return 0;
}

int uart_serve(struct platform *p, struct guest_cpu *c, unsigned device)
{
	unsigned i;

	if (check_config(p, device, c->device[device].uart[0].sent) < 0)
		return -1;
	for (i = 0; i < GUEST_UARTS_MAX; i++)
		if (serve_port(p, c, device, i) < 0)
			return -1;
	config_write8(p, device, PCI_CACHE_LINE, mark(c->device[device].uart[0].sent));
	show(p, c, device);
	return 0;
}
