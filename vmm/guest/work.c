/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The guest's work. It exists to notice whatever a migration might lose: each part rewrites
 * what it can predict, and checks the prediction before it overwrites.
 *
 *	working set   a vCPU sweeps over its slice, page after page. Before it writes generation g
 *	              it checks that the page still is of generation g - 1, and the words that
 *	              it will overwrite. A page that a migration lost is zero, or of an older
 *	              generation: the tag says so at the next visit.
 *	heartbeat     +1 per beat, kept twice in different pages, which must agree.
 *	clock         never goes back.
 *	ring          every record's sequence, payload, checksum and time, in order.
 *	registers     doorbells that the device counted, a scratch register, read back later.
 *	UARTs         bytes in flight, each counted that is lost or doubled: see uart.c.
 *
 * The same source is compiled for the virtual machine and for a host thread. All that it
 * remembers between steps is in guest memory (struct guest_cpu), so that a migration carries it in
 * both cases. A step is bounded: the VMM may stop a host thread between steps only.
 *
 * The budget: a KVM that interprets runs 3.5 million instructions a second. A page costs about
 * 80, a record about 150.
 */
#include "sim/regs.h"
#include "vmm/guest/edu.h"
#include "vmm/guest/uart.h"
#include "vmm/guest/work.h"

#define STEP_PAGES   128u        /* most pages and records in one step */
#define STEP_RECORDS 128u
#define CREDIT_MAX   100000000u  /* ns of missed time that are made up for */
#define RING_NS      100000000u  /* between doorbells */
#define TALK_NS      20000000u   /* between a UART's bursts, and turns of other devices */
#define NS_PER_S     1000000000u

static const struct guest_params *params(struct platform *p)
{
	return platform_params(p);
}

static struct guest_shared *shared(struct platform *p)
{
	return platform_ptr(p, GUEST_SHARED_GPA);
}

static uint64_t cpu_gpa(struct platform *p, unsigned cpu)
{
	return params(p)->cpu_area + (uint64_t)cpu * GUEST_PAGE;
}

static void shared_stored(struct platform *p)
{
	platform_stored(p, GUEST_SHARED_GPA, sizeof(struct guest_shared));
}

static void put_text(struct platform *p, const char *text)
{
	while (*text)
		platform_put(p, *text++);
}

static void put_hex(struct platform *p, const char *before, uint64_t value)
{
	int shift = 60;

	put_text(p, before);
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		platform_put(p, "0123456789abcdef"[value >> shift & 15]);
}

static const char *failure_name(enum guest_failure_kind kind)
{
	static const char names[GUEST_FAIL_COUNT][24] = {
		[GUEST_OK] = "nothing",
		[GUEST_FAIL_TAG] = "page generation",
		[GUEST_FAIL_WORD] = "page content",
		[GUEST_FAIL_BEAT] = "heartbeat",
		[GUEST_FAIL_CLOCK] = "clock",
		[GUEST_FAIL_SEQUENCE] = "record sequence",
		[GUEST_FAIL_PAYLOAD] = "record payload",
		[GUEST_FAIL_CHECKSUM] = "record checksum",
		[GUEST_FAIL_PRODUCER] = "ring index",
		[GUEST_FAIL_DEVICE] = "device",
		[GUEST_FAIL_DOORBELL] = "doorbell count",
		[GUEST_FAIL_SCRATCH] = "scratch register",
		[GUEST_FAIL_TRAP] = "trap",
		[GUEST_FAIL_CONFIG] = "PCI config space",
		[GUEST_FAIL_UART] = "UART register",
	};

	return names[kind];
}

/* The first failure is the one that is kept, whichever vCPU found it. */
void work_fail(struct platform *p, unsigned cpu, enum guest_failure_kind kind, uint64_t address,
	       uint64_t expected, uint64_t found)
{
	struct guest_shared *s = shared(p);
	uint32_t none = GUEST_OK;

	if (!__atomic_compare_exchange_n(&s->failure.kind, &none, kind, 0, __ATOMIC_ACQ_REL,
					 __ATOMIC_ACQUIRE))
		return;
	s->failure.cpu = cpu;
	s->failure.address = address;
	s->failure.expected = expected;
	s->failure.found = found;
	__atomic_store_n(&s->failures, 1, __ATOMIC_RELEASE);
	shared_stored(p);
	put_text(p, "guest: FAILED: ");
	put_text(p, failure_name(kind));
	put_hex(p, " at 0x", address);
	put_hex(p, ": expected 0x", expected);
	put_hex(p, ", found 0x", found);
	put_text(p, "\n");
	platform_panic(p);
}

/* ---- heartbeat ---- */

static int beat(struct platform *p, struct guest_cpu *c, unsigned cpu, uint64_t now)
{
	struct guest_shared_cpu *mine = &shared(p)->cpu[cpu];
	uint64_t shown = __atomic_load_n(&mine->heartbeat, __ATOMIC_RELAXED);

	if (shown != c->beats) {
		work_fail(p, cpu, GUEST_FAIL_BEAT, GUEST_SHARED_GPA, c->beats, shown);
		return -1;
	}
	c->beats++;
	c->beat_ns = now;
	mine->heartbeat_ns = now;
	__atomic_store_n(&mine->heartbeat, c->beats, __ATOMIC_RELEASE);
	shared_stored(p);
	return 0;
}

/* ---- working set ---- */

struct slice {
	uint64_t gpa;
	uint64_t pages;
};

/* Slices differ by at most one page. */
static struct slice slice_of(const struct guest_params *g, unsigned cpu)
{
	uint64_t share = g->working_pages / g->cpus, rest = g->working_pages % g->cpus;
	uint64_t first = share * cpu + (cpu < rest ? cpu : rest);
	struct slice s = {g->working_set + first * GUEST_PAGE, share + (cpu < rest)};

	return s;
}

/* The generation that last wrote the column that @g is about to write. */
static uint64_t last_written(uint64_t g)
{
	return g > GUEST_ROTATION ? g - GUEST_ROTATION : 0;
}

/* Check the page at @gpa against generation @next - 1, and write @next. */
static int rewrite_page(struct platform *p, unsigned cpu, uint64_t gpa, uint64_t next)
{
	volatile uint64_t *page = platform_ptr(p, gpa);
	uint64_t tag = page[0], old = last_written(next), expected, found;
	unsigned row, word = guest_column(next);

	if (tag != next - 1) {
		work_fail(p, cpu, GUEST_FAIL_TAG, gpa, next - 1, tag);
		return -1;
	}
	for (row = 0; row < GUEST_ROWS; row++, word += GUEST_COLUMNS) {
		expected = guest_pattern(gpa, word, old);
		found = page[word];
		if (found != expected) {
			work_fail(p, cpu, GUEST_FAIL_WORD, gpa + 8 * word, expected, found);
			return -1;
		}
		page[word] = guest_pattern(gpa, word, next);
	}
	page[0] = next;
	platform_stored(p, gpa, GUEST_PAGE);
	return 0;
}

/* The cursor was in memory that may have come from a peer, and the thread platform runs this code
 * without a VM's walls: it is checked at each use. */
static int next_page(struct platform *p, struct guest_cpu *c, unsigned cpu, const struct slice *s)
{
	struct guest_shared_cpu *mine = &shared(p)->cpu[cpu];
	uint64_t cursor = c->cursor;

	if (cursor >= s->pages) {
		work_fail(p, cpu, GUEST_FAIL_TAG, cpu_gpa(p, cpu), s->pages, cursor);
		return -1;
	}
	if (rewrite_page(p, cpu, s->gpa + cursor * GUEST_PAGE, c->sweep + 1) < 0)
		return -1;
	mine->pages++;
	c->cursor = cursor + 1;
	if (c->cursor == s->pages) {
		c->cursor = 0;
		c->sweep++;
		mine->sweeps++;
	}
	return 0;
}

/* As many pages as the time since the last step is worth. */
static enum work_result sweep(struct platform *p, struct guest_cpu *c, unsigned cpu,
			      uint64_t elapsed)
{
	const struct guest_params *g = params(p);
	struct slice s = slice_of(g, cpu);
	uint64_t cost, n;

	if (!s.pages || !g->pages_per_sec)
		return WORK_IDLE;
	cost = (uint64_t)NS_PER_S * g->cpus / g->pages_per_sec;
	cost = cost ? cost : 1;
	c->credit_ns += elapsed;
	if (c->credit_ns > CREDIT_MAX + cost)
		c->credit_ns = CREDIT_MAX + cost;
	for (n = 0; n < STEP_PAGES && c->credit_ns >= cost; n++) {
		if (next_page(p, c, cpu, &s) < 0)
			return WORK_HALTED;
		c->credit_ns -= cost;
	}
	if (n)
		shared_stored(p);
	return c->credit_ns >= cost ? WORK_BUSY : WORK_IDLE;
}

/* ---- devices, by vCPU 0 ---- */

static int device_fail(struct platform *p, enum guest_failure_kind kind, uint64_t address,
		       uint64_t expected, uint64_t found)
{
	work_fail(p, 0, kind, address, expected, found);
	return -1;
}

/* What reads of a device that is no longer there give. */
static int is_gone(struct platform *p, unsigned i)
{
	if (platform_read32(p, params(p)->device[i].bar0 + SIM_REG_MAGIC) != UINT32_MAX)
		return 0;
	shared(p)->device[i].gone = 1;
	shared_stored(p);
	put_hex(p, "guest: device 0x", i);
	put_text(p, " is gone\n");
	return 1;
}

static int start_sim(struct platform *p, struct guest_cpu *c, unsigned i)
{
	const struct guest_params_device *d = &params(p)->device[i];
	uint32_t magic = platform_read32(p, d->bar0 + SIM_REG_MAGIC);
	uint32_t version = platform_read32(p, d->bar0 + SIM_REG_VERSION), control;

	if (magic != SIM_MAGIC)
		return device_fail(p, GUEST_FAIL_DEVICE, d->bar0, SIM_MAGIC, magic);
	if (version != SIM_VERSION)
		return device_fail(p, GUEST_FAIL_DEVICE, d->bar0 + 4, SIM_VERSION, version);
	platform_write32(p, d->bar0 + SIM_REG_CONTROL, 0);
	platform_write32(p, d->bar0 + SIM_REG_COMMAND, SIM_COMMAND_RING_RESET);
	platform_write64(p, d->bar0 + SIM_REG_RING_BASE, d->ring);
	platform_write64(p, d->bar0 + SIM_REG_RING_INDEX, d->index);
	platform_write32(p, d->bar0 + SIM_REG_RING_ENTRIES, d->entries);
	platform_write64(p, d->bar0 + SIM_REG_SCRATCH, sim_mix(0));
	c->device[i].base = platform_read64(p, d->bar0 + SIM_REG_DOORBELLS);
	platform_write32(p, d->bar0 + SIM_REG_CONTROL, SIM_CONTROL_DMA | SIM_CONTROL_IRQ);
	control = platform_read32(p, d->bar0 + SIM_REG_CONTROL);
	if (control != (SIM_CONTROL_DMA | SIM_CONTROL_IRQ))
		return device_fail(p, GUEST_FAIL_DEVICE, d->bar0 + SIM_REG_CONTROL,
				   SIM_CONTROL_DMA | SIM_CONTROL_IRQ, control);
	return 0;
}

static int check_record(struct platform *p, const struct sim_record *r, uint64_t gpa, uint64_t n,
			uint64_t *time_ns)
{
	unsigned i;

	if (r->sequence != n)
		return device_fail(p, GUEST_FAIL_SEQUENCE, gpa, n, r->sequence);
	for (i = 0; i < SIM_RECORD_WORDS; i++)
		if (r->payload[i] != sim_record_payload(n, i))
			return device_fail(p, GUEST_FAIL_PAYLOAD, gpa + 16 + 8 * i,
					   sim_record_payload(n, i), r->payload[i]);
	if (r->checksum != sim_record_checksum(r))
		return device_fail(p, GUEST_FAIL_CHECKSUM, gpa + 56, sim_record_checksum(r),
				   r->checksum);
	if (r->time_ns < *time_ns)
		return device_fail(p, GUEST_FAIL_CLOCK, gpa + 8, *time_ns, r->time_ns);
	*time_ns = r->time_ns;
	return 0;
}

/* Check what the device wrote, a bounded number of records, then give the slots back. */
static enum work_result consume(struct platform *p, struct guest_cpu *c, unsigned i)
{
	const struct guest_params_device *d = &params(p)->device[i];
	struct sim_ring_index *index = platform_ptr(p, d->index);
	uint64_t from = c->device[i].consumer, n = from;
	uint64_t producer = __atomic_load_n(&index->producer, __ATOMIC_ACQUIRE);

	if (producer - from > d->entries) {
		device_fail(p, GUEST_FAIL_PRODUCER, d->index, from, producer);
		return WORK_HALTED;
	}
	for (; n < producer && n - from < STEP_RECORDS; n++) {
		uint64_t gpa = d->ring + (n & (d->entries - 1)) * SIM_RECORD_SIZE;

		if (check_record(p, platform_ptr(p, gpa), gpa, n, &c->device[i].time_ns) < 0)
			return WORK_HALTED;
	}
	if (n == from)
		return WORK_IDLE;
	c->device[i].consumer = n;
	shared(p)->device[i].records = n;
	__atomic_store_n(&index->consumer, n, __ATOMIC_RELEASE);
	platform_stored(p, d->index, sizeof(*index));
	shared_stored(p);
	return n < producer ? WORK_BUSY : WORK_IDLE;
}

/* Ring once more, and read back what the device remembers of the times before. */
static int ring_device(struct platform *p, struct guest_cpu *c, unsigned i)
{
	const struct guest_params_device *d = &params(p)->device[i];
	uint64_t rung = c->device[i].doorbells, counted, scratch;

	counted = platform_read64(p, d->bar0 + SIM_REG_DOORBELLS);
	scratch = platform_read64(p, d->bar0 + SIM_REG_SCRATCH);
	if (counted == UINT64_MAX && is_gone(p, i))
		return 0;
	if (counted - c->device[i].base != rung)
		return device_fail(p, GUEST_FAIL_DOORBELL, d->bar0 + SIM_REG_DOORBELLS,
				   c->device[i].base + rung, counted);
	if (scratch != sim_mix(rung))
		return device_fail(p, GUEST_FAIL_SCRATCH, d->bar0 + SIM_REG_SCRATCH, sim_mix(rung),
				   scratch);
	c->device[i].doorbells = ++rung;
	platform_write32(p, d->bar0 + SIM_REG_DOORBELL, (uint32_t)rung);
	platform_write64(p, d->bar0 + SIM_REG_SCRATCH, sim_mix(rung));
	shared(p)->device[i].doorbells = rung;
	return 0;
}

static enum work_result serve_sim(struct platform *p, struct guest_cpu *c, unsigned i, int ring)
{
	if (!params(p)->device[i].bar0 || shared(p)->device[i].gone)
		return WORK_IDLE;
	if (ring && ring_device(p, c, i) < 0)
		return WORK_HALTED;
	return consume(p, c, i);
}

/* What it is time for in this step. */
struct due {
	int ring;
	int talk;
};

static enum work_result serve_device(struct platform *p, struct guest_cpu *c, unsigned i,
				     const struct due *due)
{
	shared(p)->device[i].irqs = __atomic_load_n(&c->irqs[i], __ATOMIC_RELAXED);
	switch (params(p)->device[i].driver) {
	case GUEST_DRIVER_SIM:
		return serve_sim(p, c, i, due->ring);
	case GUEST_DRIVER_UART:
		return due->talk && uart_serve(p, c, i) < 0 ? WORK_HALTED : WORK_IDLE;
	case GUEST_DRIVER_EDU:
		return due->talk && edu_serve(p, c, i) < 0 ? WORK_HALTED : WORK_IDLE;
	default:
		return WORK_IDLE;
	}
}

static enum work_result serve_devices(struct platform *p, struct guest_cpu *c, uint64_t now)
{
	struct due due = {now - c->ring_ns >= RING_NS, now - c->talk_ns >= TALK_NS};
	enum work_result worst = WORK_IDLE;
	unsigned i;

	if (due.ring)
		c->ring_ns = now;
	if (due.talk)
		c->talk_ns = now;
	for (i = 0; i < params(p)->devices; i++) {
		enum work_result r = serve_device(p, c, i, &due);

		worst = r > worst ? r : worst;
	}
	return worst;
}

void work_interrupt(struct platform *p, unsigned device)
{
	if (params(p)->device[device].driver == GUEST_DRIVER_EDU)
		edu_acknowledge(p, device);
}

/* ---- one step ---- */

static int start_device(struct platform *p, struct guest_cpu *c, unsigned i)
{
	switch (params(p)->device[i].driver) {
	case GUEST_DRIVER_SIM:
		return params(p)->device[i].bar0 ? start_sim(p, c, i) : 0;
	case GUEST_DRIVER_UART:
		return uart_start(p, c, i);
	case GUEST_DRIVER_EDU:
		return edu_start(p, c, i);
	default:
		return 0;
	}
}

static int start(struct platform *p, struct guest_cpu *c, unsigned cpu, uint64_t now)
{
	unsigned i;

	c->last_ns = now;
	c->beat_ns = now;
	c->ring_ns = now;
	c->talk_ns = now;
	for (i = 0; !cpu && i < params(p)->devices; i++)
		if (start_device(p, c, i) < 0)
			return -1;
	c->started = 1;
	__atomic_fetch_add(&shared(p)->up, 1, __ATOMIC_RELAXED);
	shared_stored(p);
	if (!cpu)
		put_text(p, "guest: up\n");
	return 0;
}

static enum work_result step_cpu(struct platform *p, struct guest_cpu *c, unsigned cpu)
{
	uint64_t now = platform_now(p), elapsed;
	enum work_result result, devices = WORK_IDLE;

	if (!c->started && start(p, c, cpu, now) < 0)
		return WORK_HALTED;
	if (now < c->last_ns) {
		work_fail(p, cpu, GUEST_FAIL_CLOCK, GUEST_SHARED_GPA, c->last_ns, now);
		return WORK_HALTED;
	}
	elapsed = now - c->last_ns;
	c->last_ns = now;
	if (now - c->beat_ns >= GUEST_TICK_NS && beat(p, c, cpu, now) < 0)
		return WORK_HALTED;
	result = sweep(p, c, cpu, elapsed);
	if (!cpu && result != WORK_HALTED)
		devices = serve_devices(p, c, now);
	return devices > result ? devices : result;
}

enum work_result work_step(struct platform *p, unsigned cpu)
{
	enum work_result result;

	if (__atomic_load_n(&shared(p)->failure.kind, __ATOMIC_RELAXED) != GUEST_OK)
		return WORK_HALTED;
	result = step_cpu(p, platform_ptr(p, cpu_gpa(p, cpu)), cpu);
	platform_stored(p, cpu_gpa(p, cpu), GUEST_PAGE);
	return result;
}
