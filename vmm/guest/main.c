/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine under the work: a virtual one with nothing but vCPUs, their local APICs, a serial
 * port and devices behind MMIO. No firmware, no C library, general registers only.
 *
 * Each vCPU has the local APIC's periodic timer as its tick and sleeps in hlt between ticks and
 * device interrupts. Interrupts are off while the work runs and on while the vCPU sleeps, so
 * that handlers meet no half-done step. Interrupt handlers count, and do what a device needs that
 * goes on interrupting until it is told.
 */
#include "vmm/guest/work.h"

#define APIC_BASE      0xfee00000u
#define APIC_ID        0x020
#define APIC_EOI       0x0b0
#define APIC_SPURIOUS  0x0f0
#define APIC_LVT_TIMER 0x320
#define APIC_TIMER_SET 0x380
#define APIC_TIMER_DIV 0x3e0
#define APIC_ENABLE    0x100u
#define APIC_PERIODIC  0x20000u
#define APIC_DIV_1     0x0bu
#define SPURIOUS       0xff

#define IOAPIC_SELECT  0xfec00000u
#define IOAPIC_WINDOW  0xfec00010u
#define IOAPIC_ROUTES  0x10u   /* two registers per pin */
#define IOAPIC_LEVEL   0xa000u /* level, active low, to the vCPU whose number follows: 0 */

#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u

#define CODE_SELECTOR 0x08
#define IDT_GATE      0x8e00u /* present, interrupt gate */

extern char guest_stubs[];
void guest_main(uint64_t cpu);
void guest_interrupt(uint64_t vector, uint64_t code, uint64_t rip);

/* What KVM writes: time = base + ((tsc - stamp) << shift) * mul >> 32. Odd version: being written.
 * The layout is KVM's. */
struct pvclock {
	uint32_t version;
	uint32_t pad0;
	uint64_t stamp;
	uint64_t base;
	uint32_t mul;
	int8_t shift;
	uint8_t flags;
	uint8_t pad[2];
} __attribute__((packed, aligned(32)));

struct gate {
	uint16_t low;
	uint16_t selector;
	uint16_t type;
	uint16_t middle;
	uint32_t high;
	uint32_t zero;
};

static struct gate idt[256] __attribute__((aligned(16)));
static struct pvclock clocks[GUEST_CPUS_MAX];

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
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

static inline void write_msr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)));
}

static inline uint64_t read_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static void apic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uint64_t)(APIC_BASE + reg) = value;
}

static uint32_t apic_read(uint32_t reg)
{
	return *(volatile uint32_t *)(uint64_t)(APIC_BASE + reg);
}

static unsigned this_cpu(void)
{
	return apic_read(APIC_ID) >> 24;
}

static const struct guest_params *params(void)
{
	return (const struct guest_params *)(uint64_t)GUEST_PARAMS_GPA;
}

/* ---- the platform. Its pointer carries the vCPU's number. ---- */

static uint64_t scale(uint64_t delta, uint32_t mul, int shift)
{
	delta = shift < 0 ? delta >> -shift : delta << shift;
	return (uint64_t)((unsigned __int128)delta * mul >> 32);
}

static uint64_t read_pvclock(const struct pvclock *shown)
{
	const volatile struct pvclock *c = shown;
	uint32_t version;
	uint64_t now;

	do {
		version = c->version;
		__asm__ volatile("" : : : "memory");
		now = c->base + scale(read_tsc() - c->stamp, c->mul, c->shift);
		__asm__ volatile("" : : : "memory");
	} while (version & 1 || version != c->version);
	return now;
}

uint64_t platform_now(struct platform *p)
{
	uint64_t khz = params()->tsc_khz, tsc;

	if (params()->clock == GUEST_CLOCK_KVM)
		return read_pvclock(&clocks[(uint64_t)p]);
	tsc = read_tsc();
	return tsc / khz * 1000000 + tsc % khz * 1000000 / khz;
}

uint32_t platform_read32(struct platform *p, uint64_t gpa)
{
	return *(volatile uint32_t *)gpa;
}

uint64_t platform_read64(struct platform *p, uint64_t gpa)
{
	return *(volatile uint64_t *)gpa;
}

void platform_write32(struct platform *p, uint64_t gpa, uint32_t value)
{
	*(volatile uint32_t *)gpa = value;
}

void platform_write64(struct platform *p, uint64_t gpa, uint64_t value)
{
	*(volatile uint64_t *)gpa = value;
}

uint8_t platform_in8(struct platform *p, uint16_t port)
{
	return in8(port);
}

uint32_t platform_in32(struct platform *p, uint16_t port)
{
	return in32(port);
}

void platform_out8(struct platform *p, uint16_t port, uint8_t value)
{
	out8(port, value);
}

void platform_out32(struct platform *p, uint16_t port, uint32_t value)
{
	out32(port, value);
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(uint64_t)IOAPIC_SELECT = reg;
	*(volatile uint32_t *)(uint64_t)IOAPIC_WINDOW = value;
}

void platform_route(struct platform *p, uint32_t pin, uint32_t vector)
{
	ioapic_write(IOAPIC_ROUTES + 2 * pin + 1, 0);
	ioapic_write(IOAPIC_ROUTES + 2 * pin, IOAPIC_LEVEL | vector);
}

void platform_put(struct platform *p, char c)
{
	out8(GUEST_SERIAL_PORT, (uint8_t)c);
}

void platform_panic(struct platform *p)
{
	out8(GUEST_PANIC_PORT, 1);
}

/* ---- interrupts ---- */

static void count_device(unsigned i)
{
	struct guest_cpu *c = (struct guest_cpu *)params()->cpu_area;

	work_interrupt(0, i);
	__atomic_store_n(&c->irqs[i], c->irqs[i] + 1, __ATOMIC_RELAXED);
}

/* A pin that devices share interrupts for all of them. */
static void count_pin(unsigned pin)
{
	unsigned i;

	for (i = 0; i < params()->devices; i++)
		if (params()->device[i].pin == pin)
			count_device(i);
}

void guest_interrupt(uint64_t vector, uint64_t code, uint64_t rip)
{
	if (vector < GUEST_VECTOR_TIMER) {
		work_fail(0, this_cpu(), GUEST_FAIL_TRAP, vector, code, rip);
		for (;;)
			__asm__ volatile("cli; hlt");
	}
	if (vector == SPURIOUS)
		return;
	if (vector >= GUEST_VECTOR_DEVICE && vector < GUEST_VECTOR_DEVICE + GUEST_DEVICES_MAX)
		count_device((unsigned)vector - GUEST_VECTOR_DEVICE);
	if (vector >= GUEST_VECTOR_PIN && vector < GUEST_VECTOR_PIN + GUEST_PINS_MAX)
		count_pin((unsigned)vector - GUEST_VECTOR_PIN);
	apic_write(APIC_EOI, 0);
}

/* Every vCPU writes the same gates, and loads them itself. */
static void load_idt(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};
	unsigned i;

	for (i = 0; i < 256; i++) {
		uint64_t stub = (uint64_t)guest_stubs + 16 * i;

		idt[i] = (struct gate){(uint16_t)stub, CODE_SELECTOR, IDT_GATE,
				       (uint16_t)(stub >> 16), (uint32_t)(stub >> 32), 0};
	}
	__asm__ volatile("lidt %0" : : "m"(pointer) : "memory");
}

/* KVM's local APIC counts nanoseconds. */
static void start_timer(void)
{
	apic_write(APIC_SPURIOUS, APIC_ENABLE | SPURIOUS);
	apic_write(APIC_TIMER_DIV, APIC_DIV_1);
	apic_write(APIC_LVT_TIMER, APIC_PERIODIC | GUEST_VECTOR_TIMER);
	apic_write(APIC_TIMER_SET, GUEST_TICK_NS);
}

void guest_main(uint64_t cpu)
{
	enum work_result result;

	load_idt();
	if (params()->clock == GUEST_CLOCK_KVM)
		write_msr(MSR_KVM_SYSTEM_TIME_NEW, (uint64_t)&clocks[cpu] | 1);
	start_timer();
	while ((result = work_step((struct platform *)cpu, (unsigned)cpu)) != WORK_HALTED) {
		/* sti takes effect behind the next instruction: no interrupt gets lost between
		 * the two. Busy: let interrupts in and go on. */
		if (result == WORK_IDLE)
			__asm__ volatile("sti; hlt; cli" : : : "memory");
		else
			__asm__ volatile("sti; nop; cli" : : : "memory");
	}
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
