/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lets QEMU run the guest program of the reference VMM. What that VMM does for it before the first
 * instruction is done here: find the simulated devices, where the firmware has put them, route
 * their interrupts, share out memory, fill the working set and write the page of parameters. From
 * then on both VMMs run the same program.
 *
 *	0x001000  parameters, and behind them what the guest shows
 *	0x100000  the guest program
 *	0x180000  this one, with the page tables and the first stack, which stay in use
 *	0x200000  struct guest_cpu
 *	0x210000  per device 64 KiB: the ring, and in the last page its index
 *	0x400000  the working set
 *
 * The command line has two numbers: bytes of the working set, and bytes of it rewritten per second.
 * What goes wrong is said on the serial port, and the guest does not start.
 */
#include "sim/regs.h"
#include "vmm/guest/abi.h"
#include "vmm/pci.h"

#define START_MAGIC   0x336ec578u
#define CPU_AREA      0x200000u
#define DEVICE_AREA   0x210000u
#define DEVICE_SIZE   0x10000u
#define WORKING_SET   0x400000u
#define RING_ENTRIES  512u
#define DEVICES_MAX   ((WORKING_SET - DEVICE_AREA) / DEVICE_SIZE)
#define FUNCTIONS     256u /* of bus 0 */
#define MSIX_ON       0x80000000u /* in the capability's first word */
#define MSIX_MASKED   0x40000000u
#define MESSAGE_TO_0  0xfee00000u /* the address that interrupts vCPU 0 */
#define PIC_MASK      0x21
#define PIC_MASK_2    0xa1

/* What QEMU gives: the beginning of Xen's hvm_start_info. */
struct start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t modules;
	uint64_t module_list;
	uint64_t command_line;
};

void boot_main(const struct start_info *info);

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static void give_up(const char *why)
{
	while (*why)
		out8(GUEST_SERIAL_PORT, (uint8_t)*why++);
	out8(GUEST_SERIAL_PORT, '\n');
	for (;;)
		__asm__ volatile("cli; hlt");
}

/* The compiler must not see the number: it takes those below its first page for mistakes. */
static void *at(uint64_t gpa)
{
	void *p = (void *)gpa;

	__asm__("" : "+r"(p));
	return p;
}

static void clear(uint64_t from, uint64_t to)
{
	void *p = at(from);
	uint64_t size = to - from;

	__asm__ volatile("rep stosb" : "+D"(p), "+c"(size) : "a"(0) : "memory");
}

/* ---- PCI ---- */

static uint32_t config_read(unsigned function, unsigned offset)
{
	out32(PCI_ADDRESS_PORT, 0x80000000u | function << 8 | offset);
	return in32(PCI_DATA_PORT);
}

static void config_write(unsigned function, unsigned offset, uint32_t value)
{
	out32(PCI_ADDRESS_PORT, 0x80000000u | function << 8 | offset);
	out32(PCI_DATA_PORT, value);
}

static uint64_t bar(unsigned function, unsigned number)
{
	unsigned offset = PCI_BAR0 + 4 * number;
	uint32_t low = config_read(function, offset);

	if ((low & PCI_BAR_64) && config_read(function, offset + 4))
		give_up("boot: a BAR is above 4 GiB");
	return low & ~PCI_BAR_TYPE_MEM;
}

/* The first vector of the table is the one that the device raises. */
static void route(unsigned function, uint32_t vector)
{
	volatile uint32_t *entry = at(bar(function, SIM_BAR_MSIX));
	uint32_t control = config_read(function, SIM_MSIX_CAP);

	if ((control & 0xff) != PCI_CAP_MSIX)
		give_up("boot: a device without MSI-X");
	config_write(function, SIM_MSIX_CAP, control | MSIX_ON | MSIX_MASKED);
	entry[0] = MESSAGE_TO_0;
	entry[1] = 0;
	entry[2] = vector;
	entry[3] = 0;
	config_write(function, SIM_MSIX_CAP, (control | MSIX_ON) & ~MSIX_MASKED);
}

static void add_device(struct guest_params *params, unsigned function)
{
	struct guest_params_device *d = &params->device[params->devices];
	uint64_t area = DEVICE_AREA + (uint64_t)params->devices * DEVICE_SIZE;

	if (params->devices == DEVICES_MAX)
		give_up("boot: too many devices");
	config_write(function, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	d->bar0 = bar(function, SIM_BAR_REGS);
	d->ring = area;
	d->index = area + DEVICE_SIZE - GUEST_PAGE;
	d->entries = RING_ENTRIES;
	d->vector = GUEST_VECTOR_DEVICE + params->devices;
	d->driver = GUEST_DRIVER_SIM;
	d->devfn = function;
	route(function, d->vector);
	params->devices++;
}

static void find_devices(struct guest_params *params)
{
	unsigned function;

	for (function = 0; function < FUNCTIONS; function++)
		if (config_read(function, PCI_VENDOR) == (SIM_PCI_DEVICE << 16 | SIM_PCI_VENDOR))
			add_device(params, function);
}

/* ---- the rest ---- */

static uint64_t number(const char **text)
{
	uint64_t value = 0;

	while (**text == ' ')
		(*text)++;
	if (**text < '0' || **text > '9')
		give_up("boot: the command line is not two numbers");
	while (**text >= '0' && **text <= '9')
		value = value * 10 + (uint64_t)(*(*text)++ - '0');
	return value;
}

static void fill_working_set(uint64_t pages)
{
	uint64_t gpa = WORKING_SET, *words, i;

	for (; pages; pages--, gpa += GUEST_PAGE) {
		words = at(gpa);
		words[0] = 0;
		for (i = 1; i < GUEST_PAGE_WORDS; i++)
			words[i] = guest_pattern(gpa, (unsigned)i, 0);
	}
}

/* Of the firmware, which leaves the timer on. */
static void mask_legacy_interrupts(void)
{
	out8(PIC_MASK, 0xff);
	out8(PIC_MASK_2, 0xff);
}

/* KVM's clock needs no rate. */
static void share_out(struct guest_params *params, const char *command_line)
{
	params->magic = GUEST_PARAMS_MAGIC;
	params->version = GUEST_PARAMS_VERSION;
	params->cpus = 1;
	params->clock = GUEST_CLOCK_KVM;
	params->cpu_area = CPU_AREA;
	params->working_set = WORKING_SET;
	params->working_pages = number(&command_line) / GUEST_PAGE;
	params->pages_per_sec = number(&command_line) / GUEST_PAGE;
}

void boot_main(const struct start_info *info)
{
	struct guest_params *params = at(GUEST_PARAMS_GPA), chosen = {0};

	if (info->magic != START_MAGIC)
		give_up("boot: not started by PVH");
	mask_legacy_interrupts();
	share_out(&chosen, at(info->command_line));
	find_devices(&chosen);
	/* From here on nothing is read that QEMU has put into the first pages. */
	clear(GUEST_SHARED_GPA, GUEST_SHARED_GPA + sizeof(struct guest_shared));
	clear(CPU_AREA, WORKING_SET);
	fill_working_set(chosen.working_pages);
	*params = chosen;
}

/* The compiler may call these for assignments of structures. */
void *memset(void *to, int value, unsigned long size);
void *memcpy(void *to, const void *from, unsigned long size);

void *memset(void *to, int value, unsigned long size)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(size) : "a"(value) : "memory");
	return start;
}

void *memcpy(void *to, const void *from, unsigned long size)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(size) : : "memory");
	return start;
}
