/* SPDX-License-Identifier: BSD-3-Clause */
/* The simulated device's core: driven by a host of arrays and made-up time, without sockets. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bitmap.h"
#include "base/clock.h"
#include "sim/device.h"

#define RAM_IOVA    UINT64_C(0x100000)
#define RAM_SIZE    (UINT64_C(1) << 20)
#define INDEX_IOVA  (RAM_IOVA + 0x8000)
#define RING_IOVA   (RAM_IOVA + 0x10000)
#define TICK_NS     NS_PER_MSEC

/* Guest memory, and what was done to it. */
struct host {
	uint8_t *ram;
	uint64_t written[RAM_SIZE / 4096 / 64]; /* pages written since the last look */
	unsigned writes;
	unsigned irqs;
	uint64_t delayed_ns;
	unsigned deaths;
	uint64_t now;
	struct sim *sim;
};

static uint8_t *ram_at(struct host *h, uint64_t iova, size_t len)
{
	if (iova < RAM_IOVA || iova - RAM_IOVA > RAM_SIZE - len)
		return NULL;
	return h->ram + (iova - RAM_IOVA);
}

static int host_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	uint8_t *at = ram_at(opaque, iova, len);

	if (!at)
		return -EFAULT;
	memcpy(buf, at, len);
	return 0;
}

static int host_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	struct host *h = opaque;
	uint8_t *at = ram_at(h, iova, len);
	uint64_t page, first = (iova - RAM_IOVA) / 4096, last = (iova - RAM_IOVA + len - 1) / 4096;

	if (!at)
		return -EFAULT;
	memcpy(at, buf, len);
	h->writes++;
	for (page = first; page <= last; page++)
		bitmap_set(h->written, page);
	return 0;
}

static int host_load(void *opaque, uint64_t iova, uint64_t *value)
{
	return host_read(opaque, iova, value, sizeof(*value));
}

static int host_store(void *opaque, uint64_t iova, uint64_t value)
{
	return host_write(opaque, iova, &value, sizeof(value));
}

static void host_irq(void *opaque, unsigned vector)
{
	struct host *h = opaque;

	assert_int_equal(vector, SIM_MSIX_DMA);
	h->irqs++;
}

static void host_delay(void *opaque, uint64_t ns)
{
	struct host *h = opaque;

	h->delayed_ns += ns;
}

static void host_die(void *opaque)
{
	struct host *h = opaque;

	h->deaths++;
}

static const struct sim_host_ops host_ops = {
	.dma_read = host_read,
	.dma_write = host_write,
	.dma_load = host_load,
	.dma_store = host_store,
	.irq = host_irq,
	.delay = host_delay,
	.die = host_die,
};

static void host_start(struct host *h, const struct sim_options *o)
{
	memset(h, 0, sizeof(*h));
	h->ram = calloc(1, RAM_SIZE);
	assert_non_null(h->ram);
	assert_int_equal(sim_create(o, &host_ops, h, &h->sim), 0);
}

static void host_end(struct host *h)
{
	sim_destroy(h->sim);
	free(h->ram);
}

static struct sim_options small_options(uint64_t seed)
{
	struct sim_options o;

	sim_options_init(&o);
	o.seed = seed;
	o.state_size = 256 * 1024;
	o.initial_size = 64 * 1024;
	return o;
}

static void tick(struct host *h, unsigned times)
{
	for (; times; times--) {
		h->now += TICK_NS;
		sim_tick(h->sim, h->now);
	}
}

static uint64_t reg(struct host *h, uint64_t offset)
{
	uint64_t value = 0;
	size_t len = offset == SIM_REG_CONTROL || offset == SIM_REG_STATUS ||
		     offset == SIM_REG_MAGIC || offset == SIM_REG_DMA_RATE ? 4 : 8;

	assert_int_equal(sim_region_read(h->sim, SIM_BAR_REGS, offset, &value, len), 0);
	return value;
}

static void set_reg(struct host *h, uint64_t offset, uint64_t value, size_t len)
{
	assert_int_equal(sim_region_write(h->sim, SIM_BAR_REGS, offset, &value, len), 0);
}

static void start_ring(struct host *h, unsigned entries)
{
	set_reg(h, SIM_REG_RING_BASE, RING_IOVA, 8);
	set_reg(h, SIM_REG_RING_INDEX, INDEX_IOVA, 8);
	set_reg(h, SIM_REG_RING_ENTRIES, entries, 4);
	set_reg(h, SIM_REG_CONTROL, SIM_CONTROL_DMA | SIM_CONTROL_IRQ, 4);
	assert_true(reg(h, SIM_REG_CONTROL) & SIM_CONTROL_DMA);
}

static struct sim_ring_index *ring_index(struct host *h)
{
	return (struct sim_ring_index *)(h->ram + (INDEX_IOVA - RAM_IOVA));
}

/* What the driver does: check all new records, then free them. Returns how many. */
static uint64_t consume(struct host *h, unsigned entries)
{
	struct sim_record *ring = (struct sim_record *)(h->ram + (RING_IOVA - RAM_IOVA));
	struct sim_ring_index *index = ring_index(h);
	uint64_t n, first = index->consumer;
	unsigned i;

	for (n = first; n < index->producer; n++) {
		const struct sim_record *r = &ring[n % entries];

		assert_int_equal(r->sequence, n);
		assert_int_equal(r->checksum, sim_record_checksum(r));
		for (i = 0; i < SIM_RECORD_WORDS; i++)
			assert_int_equal(r->payload[i], sim_record_payload(n, i));
	}
	index->consumer = index->producer;
	return n - first;
}

static uint64_t hash_of(struct host *h)
{
	set_reg(h, SIM_REG_COMMAND, SIM_COMMAND_HASH, 4);
	return reg(h, SIM_REG_HASH);
}

static void go(struct host *h, enum vfm_state state)
{
	assert_int_equal(sim_set_state(h->sim, state), 0);
	assert_int_equal(sim_state(h->sim), state);
}

/* ---- streams ---- */

struct stream {
	uint8_t *data;
	size_t size;
	size_t room;
};

static void append(struct stream *s, const void *data, size_t len)
{
	if (s->size + len > s->room) {
		s->room = (s->size + len) * 2;
		s->data = realloc(s->data, s->room);
		assert_non_null(s->data);
	}
	memcpy(s->data + s->size, data, len);
	s->size += len;
}

/* Read once; returns what sim_mig_read said. */
static int64_t read_some(struct host *h, struct stream *s, size_t max)
{
	struct iovec iov[SIM_READ_IOV];
	int64_t got, sum = 0;
	int count, i;

	got = sim_mig_read(h->sim, max, iov, &count);
	for (i = 0; i < count; i++) {
		append(s, iov[i].iov_base, iov[i].iov_len);
		sum += (int64_t)iov[i].iov_len;
	}
	assert_int_equal(sum, got > 0 ? got : 0);
	assert_true(got <= (int64_t)max);
	return got;
}

static size_t random_size(size_t max)
{
	return 1 + (size_t)rand() % max;
}

/* To the end, or as far as there is something now. */
static void read_all(struct host *h, struct stream *s, size_t max)
{
	int64_t got;

	do
		got = read_some(h, s, random_size(max));
	while (got > 0);
	assert_int_equal(got, sim_state(h->sim) == VFM_STATE_STOP_COPY ? 0 : -ENOMSG);
}

static void write_all(struct host *h, const uint8_t *data, size_t size, size_t max)
{
	size_t room, len;
	void *where;

	for (; size; size -= len, data += len) {
		assert_int_equal(sim_mig_space(h->sim, &where, &room), 0);
		assert_true(room > 0);
		len = random_size(max);
		len = MIN(len, room);
		len = MIN(len, size);
		memcpy(where, data, len);
		sim_mig_wrote(h->sim, len);
	}
}

static void assert_same_device(struct host *a, struct host *b)
{
	assert_int_equal(hash_of(a), hash_of(b));
	assert_memory_equal(a->sim->memory.data, b->sim->memory.data, a->sim->memory.size);
	assert_memory_equal(&a->sim->regs, &b->sim->regs, sizeof(a->sim->regs));
}

/* A device that has done something, stopped and saved. */
static struct stream save_worked(struct host *h, size_t max)
{
	struct stream s = {0};
	uint32_t bar = 0xfebf0000;

	h->sim->opts.dirty_rate = 64 << 20;
	h->sim->regs.dma_rate = 10000;
	start_ring(h, 64);
	set_reg(h, SIM_REG_SCRATCH + 8, 0x1122334455667788, 8);
	assert_int_equal(sim_region_write(h->sim, VFM_PCI_CONFIG_REGION, 0x10, &bar, 4), 0);
	assert_int_equal(sim_region_write(h->sim, SIM_BAR_MSIX, 0x20, &bar, 4), 0);
	tick(h, 3);
	go(h, VFM_STATE_STOP_COPY);
	read_all(h, &s, max);
	return s;
}

/* ---- tests ---- */

static void test_round_trip(void **state)
{
	static const size_t sizes[] = {1, 7, 64, 5000, 1 << 20};
	struct sim_options o = small_options(1), p = small_options(2);
	struct host a, b;
	struct stream s;
	unsigned i;

	p.dirty_rate = 64 << 20;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		host_start(&a, &o);
		host_start(&b, &p);
		assert_int_not_equal(hash_of(&a), hash_of(&b));
		s = save_worked(&a, sizes[i]);
		assert_true(a.sim->regs.producer > 0);
		go(&b, VFM_STATE_RESUMING);
		write_all(&b, s.data, s.size, sizes[ARRAY_SIZE(sizes) - 1 - i]);
		go(&b, VFM_STATE_STOP);
		assert_same_device(&a, &b);
		go(&b, VFM_STATE_RUNNING);
		free(s.data);
		host_end(&a);
		host_end(&b);
	}
}

/* The destination goes on where the source stopped: no record is lost, none repeated. */
static void test_ring_goes_on(void **state)
{
	struct sim_options o = small_options(1);
	struct host a, b;
	struct stream s;
	uint64_t sum;

	host_start(&a, &o);
	host_start(&b, &o);
	s = save_worked(&a, 1 << 20);
	sum = consume(&a, 64);
	assert_int_equal(sum, reg(&a, SIM_REG_PRODUCER));
	memcpy(b.ram, a.ram, RAM_SIZE);
	go(&b, VFM_STATE_RESUMING);
	write_all(&b, s.data, s.size, 1 << 20);
	go(&b, VFM_STATE_RUNNING);
	tick(&b, 3);
	sum += consume(&b, 64);
	assert_true(reg(&b, SIM_REG_PRODUCER) > reg(&a, SIM_REG_PRODUCER));
	assert_int_equal(sum, reg(&b, SIM_REG_PRODUCER));
	free(s.data);
	host_end(&a);
	host_end(&b);
}

/* Pre-copy in small and odd reads while pages change under it; sizes hold at every point. */
static void test_pre_copy(void **state)
{
	struct sim_options o = small_options(1), p = small_options(2);
	struct vfm_precopy_info info;
	struct stream s = {0};
	struct host a, b;
	unsigned round;
	size_t before;

	o.dirty_rate = 20 << 20;
	host_start(&a, &o);
	host_start(&b, &p);
	go(&a, VFM_STATE_PRE_COPY);
	for (round = 0; round < 200; round++) {
		read_some(&a, &s, random_size(6000));
		tick(&a, 1);
	}
	for (round = 0; round < 3; round++) {
		tick(&a, 1);
		assert_int_equal(sim_precopy_info(a.sim, &info), 0);
		before = s.size;
		read_all(&a, &s, 9000);
		assert_int_equal(s.size - before, info.initial_bytes + info.dirty_bytes);
	}
	tick(&a, 2);
	read_some(&a, &s, 100);
	go(&a, VFM_STATE_PRE_COPY_P2P);
	tick(&a, 2);
	go(&a, VFM_STATE_STOP_COPY);
	assert_int_equal(sim_precopy_info(a.sim, &info), -EINVAL);
	before = s.size;
	assert_true(sim_stop_copy_size(a.sim) < a.sim->memory.size);
	{
		uint64_t told = sim_stop_copy_size(a.sim);

		read_all(&a, &s, 100000);
		assert_int_equal(s.size - before, told);
		assert_int_equal(sim_stop_copy_size(a.sim), 0);
	}
	go(&b, VFM_STATE_RESUMING);
	write_all(&b, s.data, s.size, 12345);
	go(&b, VFM_STATE_STOP);
	assert_same_device(&a, &b);
	free(s.data);
	host_end(&a);
	host_end(&b);
}

static void test_initial_comes_first(void **state)
{
	struct sim_options o = small_options(1);
	struct vfm_precopy_info info;
	struct stream s = {0};
	struct host h;
	uint64_t initial;

	host_start(&h, &o);
	go(&h, VFM_STATE_PRE_COPY);
	assert_int_equal(sim_precopy_info(h.sim, &info), 0);
	initial = info.initial_bytes;
	assert_int_equal(initial, sizeof(struct stream_header) + sizeof(struct stream_record) +
					  o.initial_size);
	assert_int_equal(info.dirty_bytes, 0);
	memory_change(h.sim, 100);
	assert_int_equal(sim_precopy_info(h.sim, &info), 0);
	assert_int_equal(info.initial_bytes, initial);
	assert_true(info.dirty_bytes > 0);
	while (s.size < initial) {
		read_some(&h, &s, MIN(initial - s.size, 777u));
		assert_int_equal(sim_precopy_info(h.sim, &info), 0);
		assert_int_equal(info.initial_bytes, initial - s.size);
	}
	assert_true(info.dirty_bytes > 0);
	/* Leaving early is fine, and the next save starts from the beginning. */
	go(&h, VFM_STATE_RUNNING);
	assert_int_equal(sim_precopy_info(h.sim, &info), -EINVAL);
	go(&h, VFM_STATE_PRE_COPY);
	assert_int_equal(sim_precopy_info(h.sim, &info), 0);
	assert_int_equal(info.initial_bytes, initial);
	free(s.data);
	host_end(&h);
}

static void test_size_before_a_session(void **state)
{
	struct sim_options o = small_options(1);
	struct stream s = {0};
	struct host h;
	uint64_t told;

	o.state_size = 5 << 20;
	o.initial_size = (1 << 20) + 4096;
	host_start(&h, &o);
	told = sim_stop_copy_size(h.sim);
	go(&h, VFM_STATE_STOP_COPY);
	assert_int_equal(sim_stop_copy_size(h.sim), told);
	read_all(&h, &s, 1 << 20);
	assert_int_equal(s.size, told);
	free(s.data);
	host_end(&h);
}

/* Load @size bytes of @data and see them refused; then a reset brings the device back. */
static void assert_refused(const uint8_t *data, size_t size)
{
	struct sim_options o = small_options(2);
	struct host b, fresh;

	host_start(&b, &o);
	host_start(&fresh, &o);
	go(&b, VFM_STATE_RESUMING);
	write_all(&b, data, size, 1 << 20);
	assert_int_equal(sim_set_state(b.sim, VFM_STATE_STOP), -EFAULT);
	assert_int_equal(sim_state(b.sim), VFM_STATE_ERROR);
	assert_int_equal(sim_set_state(b.sim, VFM_STATE_RUNNING), -EINVAL);
	sim_reset(b.sim);
	assert_int_equal(sim_state(b.sim), VFM_STATE_RUNNING);
	assert_same_device(&b, &fresh);
	host_end(&b);
	host_end(&fresh);
}

static void assert_flip_refused(const struct stream *s, size_t at, uint8_t bits)
{
	s->data[at] ^= bits;
	assert_refused(s->data, s->size);
	s->data[at] ^= bits;
}

static void test_altered_streams(void **state)
{
	struct sim_options o = small_options(1);
	size_t tail = STREAM_TAIL_SIZE, at;
	struct stream s;
	struct host a;
	unsigned i;

	host_start(&a, &o);
	s = save_worked(&a, 1 << 20);
	for (at = 0; at < sizeof(struct stream_header) + sizeof(struct stream_record); at++)
		assert_flip_refused(&s, at, 1);
	for (i = 0; i < 50; i++)
		assert_flip_refused(&s, (size_t)rand() % s.size, (uint8_t)(1u << rand() % 8));
	for (at = s.size - 48; at < s.size; at++)
		assert_flip_refused(&s, at, 0x80);
	assert_flip_refused(&s, s.size - tail, 1);
	assert_flip_refused(&s, s.size - tail + sizeof(struct stream_record), 4);
	host_end(&a);
	free(s.data);
}

static void test_cut_extended_foreign_streams(void **state)
{
	struct sim_options o = small_options(1);
	struct stream s, other;
	struct host a;

	host_start(&a, &o);
	s = save_worked(&a, 1 << 20);
	host_end(&a);
	assert_refused(s.data, 0);
	assert_refused(s.data, 1);
	assert_refused(s.data, 64);
	assert_refused(s.data, s.size / 2);
	assert_refused(s.data, s.size - STREAM_TAIL_SIZE);
	assert_refused(s.data, s.size - 1);
	append(&s, "", 1);
	assert_refused(s.data, s.size);
	memset(s.data, 'x', s.size);
	assert_refused(s.data, s.size);
	free(s.data);
	o.state_size *= 2;
	host_start(&a, &o);
	other = save_worked(&a, 1 << 20);
	assert_refused(other.data, other.size);
	free(other.data);
	host_end(&a);
	o = small_options(1);
	o.vectors = 8;
	host_start(&a, &o);
	other = save_worked(&a, 1 << 20);
	assert_refused(other.data, other.size);
	free(other.data);
	host_end(&a);
}

/* Put the right hash under a forged stream: the content itself has to be refused. */
static void rehash(struct stream *s)
{
	le64 hash = put_le64(XXH64(s->data, s->size - 8, 0));

	memcpy(s->data + s->size - 8, &hash, 8);
}

static void test_forged_registers(void **state)
{
	struct sim_options o = small_options(1);
	size_t regs;
	struct stream s;
	struct host a;
	le32 entries = put_le32(0xffffffff);

	host_start(&a, &o);
	s = save_worked(&a, 1 << 20);
	regs = s.size - STREAM_TAIL_SIZE + sizeof(struct stream_record);
	memcpy(s.data + regs + offsetof(struct stream_regs, ring_entries), &entries, 4);
	rehash(&s);
	assert_refused(s.data, s.size);
	entries = put_le32(64);
	memcpy(s.data + regs + offsetof(struct stream_regs, ring_entries), &entries, 4);
	s.data[regs + offsetof(struct stream_regs, config)] ^= 1;
	rehash(&s);
	assert_refused(s.data, s.size);
	free(s.data);
	host_end(&a);
}

/* A stream whose hash is right but which lacks a page. */
static void test_missing_page(void **state)
{
	struct sim_options o = small_options(1);
	struct stream_record record;
	struct stream s;
	struct host a;
	le64 length;
	size_t at = sizeof(struct stream_header);

	host_start(&a, &o);
	s = save_worked(&a, 1 << 20);
	memcpy(&record, s.data + at, sizeof(record));
	record.length = put_le32(get_le32(record.length) - 4096);
	memcpy(s.data + at, &record, sizeof(record));
	at += sizeof(record) + get_le32(record.length);
	memmove(s.data + at, s.data + at + 4096, s.size - at - 4096);
	s.size -= 4096;
	length = put_le64(s.size);
	memcpy(s.data + s.size - 16, &length, 8);
	rehash(&s);
	assert_refused(s.data, s.size);
	free(s.data);
	host_end(&a);
}

static void test_corrupt_option(void **state)
{
	struct sim_options o = small_options(1);
	static const uint64_t places[] = {0, 70, 5000, 200000};
	uint64_t before;
	struct stream s;
	struct host a;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(places); i++) {
		o.corrupt_at = places[i];
		host_start(&a, &o);
		s = save_worked(&a, 30000);
		before = hash_of(&a);
		assert_refused(s.data, s.size);
		s.data[places[i]] ^= 0x40;
		assert_int_equal(XXH64(s.data, s.size - 8, 0),
				 get_le64(*(le64 *)(s.data + s.size - 8)));
		assert_int_equal(hash_of(&a), before);
		free(s.data);
		host_end(&a);
	}
}

static void test_ring_full_waits(void **state)
{
	struct sim_options o = small_options(1);
	struct host h;

	o.dma_rate = 100000;
	host_start(&h, &o);
	start_ring(&h, 16);
	tick(&h, 10);
	assert_int_equal(reg(&h, SIM_REG_PRODUCER), 16);
	assert_int_equal(reg(&h, SIM_REG_STALLS), 1);
	assert_true(reg(&h, SIM_REG_STATUS) & SIM_STATUS_FULL);
	assert_int_equal(h.irqs, 1);
	assert_int_equal(consume(&h, 16), 16);
	tick(&h, 1);
	assert_int_equal(consume(&h, 16), 16);
	assert_int_equal(reg(&h, SIM_REG_BYTES), 32 * SIM_RECORD_SIZE);
	ring_index(&h)->consumer = 1000;
	tick(&h, 1);
	assert_true(reg(&h, SIM_REG_STATUS) & SIM_STATUS_FAULT);
	assert_false(reg(&h, SIM_REG_CONTROL) & SIM_CONTROL_DMA);
	assert_int_equal(reg(&h, SIM_REG_FAULTS), 1);
	host_end(&h);
}

static void test_dma_rate(void **state)
{
	struct sim_options o = small_options(1);
	struct host h;
	unsigned i;

	o.dma_rate = 2500;
	host_start(&h, &o);
	start_ring(&h, 64);
	for (i = 0; i < 1000; i++) {
		tick(&h, 1);
		consume(&h, 64);
	}
	assert_int_equal(reg(&h, SIM_REG_PRODUCER), 2500);
	host_end(&h);
}

static void test_bad_rings(void **state)
{
	struct sim_options o = small_options(1);
	struct host h;

	o.dma_rate = 1000;
	host_start(&h, &o);
	set_reg(&h, SIM_REG_RING_BASE, RING_IOVA, 8);
	set_reg(&h, SIM_REG_RING_INDEX, INDEX_IOVA, 8);
	set_reg(&h, SIM_REG_RING_ENTRIES, 3, 4);
	set_reg(&h, SIM_REG_CONTROL, SIM_CONTROL_DMA, 4);
	assert_int_equal(reg(&h, SIM_REG_CONTROL), 0);
	set_reg(&h, SIM_REG_RING_ENTRIES, 4, 4);
	set_reg(&h, SIM_REG_RING_BASE, UINT64_MAX - 63, 8);
	set_reg(&h, SIM_REG_CONTROL, SIM_CONTROL_DMA, 4);
	assert_int_equal(reg(&h, SIM_REG_CONTROL), 0);
	set_reg(&h, SIM_REG_RING_BASE, 0x40, 8); /* valid, and not mapped */
	set_reg(&h, SIM_REG_CONTROL, SIM_CONTROL_DMA, 4);
	assert_int_equal(reg(&h, SIM_REG_CONTROL), SIM_CONTROL_DMA);
	set_reg(&h, SIM_REG_RING_BASE, RING_IOVA, 8); /* read-only now */
	assert_int_equal(reg(&h, SIM_REG_RING_BASE), 0x40);
	tick(&h, 5);
	assert_int_equal(reg(&h, SIM_REG_FAULTS), 3);
	assert_int_equal(reg(&h, SIM_REG_PRODUCER), 0);
	host_end(&h);
}

/* In which states memory outside may be written, and memory inside may change. */
static void test_quiescence(void **state)
{
	static const struct {
		enum vfm_state state;
		bool dma;
		bool changes;
	} rows[] = {
		{VFM_STATE_RUNNING, true, true},       {VFM_STATE_RUNNING_P2P, false, true},
		{VFM_STATE_STOP, false, false},        {VFM_STATE_STOP_COPY, false, false},
		{VFM_STATE_RUNNING, true, true},       {VFM_STATE_PRE_COPY, true, true},
		{VFM_STATE_PRE_COPY_P2P, false, true}, {VFM_STATE_STOP_COPY, false, false},
		{VFM_STATE_RUNNING, true, true},
	};
	struct sim_options o = small_options(1);
	struct host h;
	unsigned i, writes, irqs;
	uint64_t hash;

	o.dma_rate = 5000;
	o.dirty_rate = 64 << 20;
	host_start(&h, &o);
	start_ring(&h, 64);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		go(&h, rows[i].state);
		writes = h.writes;
		irqs = h.irqs;
		hash = hash_of(&h);
		tick(&h, 5);
		consume(&h, 64);
		assert_int_equal(h.writes > writes, rows[i].dma);
		assert_int_equal(h.irqs > irqs, rows[i].dma);
		assert_int_equal(hash_of(&h) != hash, rows[i].changes);
		assert_int_equal(!!(reg(&h, SIM_REG_STATUS) & SIM_STATUS_ACTIVE), rows[i].dma);
		assert_int_equal(sim_needs_ticks(h.sim), rows[i].dma || rows[i].changes);
	}
	host_end(&h);
}

/* The log against what the host saw, with several page sizes and ranges. */
static void check_log(uint64_t page_size, uint64_t report_size, bool everything)
{
	struct vfm_feature_logging_range range = {RAM_IOVA, RAM_SIZE / 2};
	struct sim_options o = small_options(1);
	uint64_t told[RAM_SIZE / 4096 / 64], want[RAM_SIZE / 4096 / 64], page, taken = page_size;
	unsigned round;
	struct host h;

	o.dma_rate = 3000;
	host_start(&h, &o);
	start_ring(&h, 8192);
	assert_int_equal(sim_log_start(h.sim, &taken, &range, !everything), 0);
	for (round = 0; round < 5; round++) {
		memset(told, 0, sizeof(told));
		memset(want, 0, sizeof(want));
		memset(h.written, 0, sizeof(h.written));
		tick(&h, 30);
		for (page = 0; page < RAM_SIZE / 4096; page++) {
			uint64_t at = page * 4096, first = at & ~(taken - 1);

			if (!bitmap_test(h.written, page) || (!everything && at >= RAM_SIZE / 2))
				continue;
			for (at = first; at < first + taken; at += 4096)
				bitmap_set(want, at / report_size);
		}
		assert_int_equal(
			sim_log_report(h.sim, RAM_IOVA, RAM_SIZE, report_size, told), 0);
		assert_memory_equal(told, want, sizeof(told));
	}
	memset(told, 0, sizeof(told));
	memset(want, 0, sizeof(want));
	assert_int_equal(sim_log_report(h.sim, RAM_IOVA, RAM_SIZE, report_size, told), 0);
	assert_memory_equal(told, want, sizeof(told)); /* it was cleared */
	assert_int_equal(sim_log_stop(h.sim), 0);
	host_end(&h);
}

static void test_log_is_exact(void **state)
{
	check_log(4096, 4096, true);
	check_log(4096, 4096, false);
	check_log(4096, 65536, true);
	check_log(65536, 4096, true);
	check_log(65536, 65536, false);
}

static void test_log_arguments(void **state)
{
	struct vfm_feature_logging_range r[3] = {
		{0x10000, 0x2000}, {0x20000, 0x1000}, {0x11000, 0x1000}};
	struct vfm_feature_logging_range many[SIM_LOG_RANGES_MAX + 1] = {{0, 0}};
	struct sim_options o = small_options(1);
	uint64_t bits[16] = {0}, size = 4096;
	struct host h;

	host_start(&h, &o);
	assert_int_equal(sim_log_report(h.sim, 0, 4096, 4096, bits), -EINVAL);
	assert_int_equal(sim_log_start(h.sim, &size, r, 3), -EINVAL); /* overlap */
	assert_int_equal(sim_log_start(h.sim, &size, many, SIM_LOG_RANGES_MAX + 1), -E2BIG);
	assert_int_equal(sim_log_start(h.sim, &size, many, 1), -EINVAL); /* empty */
	r[2] = (struct vfm_feature_logging_range){0x30800, 0x1000};
	assert_int_equal(sim_log_start(h.sim, &size, r, 3), -EINVAL); /* unaligned */
	r[2] = (struct vfm_feature_logging_range){UINT64_MAX - 0xfff, 0x2000};
	assert_int_equal(sim_log_start(h.sim, &size, r, 3), -EINVAL); /* wraps */
	size = 5000;
	assert_int_equal(sim_log_start(h.sim, &size, r, 2), -EINVAL);
	size = 0;
	assert_int_equal(sim_log_start(h.sim, &size, r, 2), -EINVAL);
	size = 512;
	assert_int_equal(sim_log_start(h.sim, &size, r, 2), 0);
	assert_int_equal(size, 4096);
	assert_int_equal(sim_log_start(h.sim, &size, r, 2), -EINVAL); /* on already */
	assert_int_equal(sim_log_report(h.sim, 0, 0, 4096, bits), -EINVAL);
	assert_int_equal(sim_log_report(h.sim, 1, 4096, 4096, bits), -EINVAL);
	assert_int_equal(sim_log_report(h.sim, 0, 4096, 4095, bits), -EINVAL);
	assert_int_equal(sim_log_report(h.sim, UINT64_MAX - 4095, 8192, 4096, bits), -EINVAL);
	assert_int_equal(sim_log_report(h.sim, UINT64_MAX - 4095, 4096, 4096, bits), 0);
	assert_int_equal(sim_log_stop(h.sim), 0);
	assert_int_equal(sim_log_stop(h.sim), 0);
	host_end(&h);
}

/* Pages at the far ends of the address space, and more chunks than the first allocation holds. */
static void test_log_wide(void **state)
{
	struct log log = {.on = true, .page_size = 4096};
	uint64_t i, bits[1];
	struct sim sim = {.opts = {.dma_logging = true}, .who = sim_personality_at(0)};

	for (i = 0; i < 100; i++)
		log_mark(&log, (i * 37 % 100) << 32, 1);
	log_mark(&log, UINT64_MAX - 10, 11);
	sim.log = log;
	for (i = 0; i < 100; i++) {
		bits[0] = 0;
		assert_int_equal(sim_log_report(&sim, i << 32, 4096 * 64, 4096, bits), 0);
		assert_int_equal(bits[0], 1);
	}
	bits[0] = 0;
	assert_int_equal(sim_log_report(&sim, UINT64_MAX - 8191, 8192, 4096, bits), 0);
	assert_int_equal(bits[0], 2);
	log_free(&sim.log);
}

/* Of one large page only what is tracked, in pieces that do not fill chunks, nor pages of 4 KiB. */
static void test_log_large_page(void **state)
{
	struct vfm_feature_logging_range ranges[] = {
		{0x1200, 0xe00}, {0x4000, 0x2000}, {0x7fff000, 0x3000},
	};
	struct sim sim = {.opts = {.dma_logging = true}, .who = sim_personality_at(0)};
	uint64_t page_size = 512, page, bits[0x8004000 / 4096 / 64 + 1] = {0};

	assert_int_equal(sim_log_start(&sim, &page_size, ranges, ARRAY_SIZE(ranges)), 0);
	sim.log.page_size = UINT64_C(1) << 30;
	log_mark(&sim.log, 0x20000000, 1);
	assert_false(sim.log.lost);
	assert_int_equal(sim_log_report(&sim, 0, 0x8004000, 4096, bits), 0);
	for (page = 0; page < 0x8004; page++) {
		bool tracked = page == 1 || page == 4 || page == 5 ||
			       (page >= 0x7fff && page <= 0x8001);

		assert_int_equal(bitmap_test(bits, page), tracked);
	}
	log_mark(&sim.log, UINT64_C(1) << 30, 4096);
	memset(bits, 0, sizeof(bits));
	assert_int_equal(sim_log_report(&sim, 0, 0x8004000, 4096, bits), 0);
	assert_int_equal(bitmap_count(bits, 0x8004), 0);
	log_free(&sim.log);
}

static void test_arc_options(void **state)
{
	struct sim_options o = small_options(1);
	struct host h;

	o.latency_ms[VFM_STATE_RUNNING][VFM_STATE_RUNNING_P2P] = 20;
	o.latency_ms[VFM_STATE_RUNNING_P2P][VFM_STATE_STOP] = 3;
	o.fail[VFM_STATE_STOP][VFM_STATE_STOP_COPY] = (struct sim_fail){EIO, 2};
	o.die_in = VFM_STATE_RESUMING;
	host_start(&h, &o);
	go(&h, VFM_STATE_STOP_COPY);
	assert_int_equal(h.delayed_ns, 23 * NS_PER_MSEC);
	go(&h, VFM_STATE_STOP);
	assert_int_equal(sim_set_state(h.sim, VFM_STATE_STOP_COPY), -EIO);
	assert_int_equal(sim_state(h.sim), VFM_STATE_STOP);
	go(&h, VFM_STATE_STOP_COPY);
	assert_int_equal(h.deaths, 0);
	go(&h, VFM_STATE_RESUMING);
	assert_int_equal(h.deaths, 1);
	host_end(&h);
}

static void test_load_cost(void **state)
{
	struct sim_options o = small_options(1);
	struct stream s;
	struct host a, b;
	int at_end;

	for (at_end = 0; at_end < 2; at_end++) {
		host_start(&a, &o);
		s = save_worked(&a, 1 << 20);
		o.load_cost_us_per_mib = 100000;
		o.load_at = at_end ? SIM_LOAD_AT_END : SIM_LOAD_AT_WRITE;
		host_start(&b, &o);
		go(&b, VFM_STATE_RESUMING);
		write_all(&b, s.data, s.size, 4096);
		assert_int_equal(b.delayed_ns == 0, at_end);
		go(&b, VFM_STATE_STOP);
		assert_in_range(b.delayed_ns, 25 * NS_PER_MSEC, 27 * NS_PER_MSEC);
		o.load_cost_us_per_mib = 0;
		free(s.data);
		host_end(&a);
		host_end(&b);
	}
}

static void test_die_after_bytes(void **state)
{
	struct sim_options o = small_options(1);
	struct stream s = {0};
	struct host h;

	o.die_after_bytes = 10000;
	host_start(&h, &o);
	go(&h, VFM_STATE_STOP_COPY);
	read_some(&h, &s, 9999);
	assert_int_equal(h.deaths, 0);
	read_some(&h, &s, 1);
	assert_int_equal(h.deaths, 1);
	free(s.data);
	host_end(&h);
}

static void test_limited_flags(void **state)
{
	struct sim_options o = small_options(1);
	struct host h;

	host_start(&h, &o);
	sim_limit_flags(h.sim, VFM_MIG_STOP_COPY);
	assert_int_equal(sim_mig_flags(h.sim), VFM_MIG_STOP_COPY);
	assert_int_equal(sim_set_state(h.sim, VFM_STATE_RUNNING_P2P), -EINVAL);
	assert_int_equal(sim_set_state(h.sim, VFM_STATE_PRE_COPY), -EINVAL);
	assert_int_equal(sim_precopy_infov2(h.sim), -EINVAL);
	assert_int_equal(sim_set_state(h.sim, VFM_STATE_ERROR), -EINVAL);
	assert_int_equal(sim_set_state(h.sim, 77), -EINVAL);
	go(&h, VFM_STATE_STOP_COPY);
	host_end(&h);
	o.mig_flags = 0;
	host_start(&h, &o);
	assert_int_equal(sim_set_state(h.sim, VFM_STATE_STOP), -EINVAL);
	host_end(&h);
}

static void test_sessions_only_in_their_states(void **state)
{
	struct sim_options o = small_options(1);
	struct iovec iov[SIM_READ_IOV];
	struct host h;
	size_t room;
	void *where;
	int count;

	host_start(&h, &o);
	assert_int_equal(sim_mig_read(h.sim, 100, iov, &count), -EINVAL);
	assert_int_equal(sim_mig_space(h.sim, &where, &room), -EINVAL);
	go(&h, VFM_STATE_RESUMING);
	assert_int_equal(sim_mig_read(h.sim, 100, iov, &count), -EINVAL);
	sim_reset(h.sim);
	assert_int_equal(sim_mig_space(h.sim, &where, &room), -EINVAL);
	go(&h, VFM_STATE_STOP_COPY);
	assert_int_equal(sim_mig_space(h.sim, &where, &room), -EINVAL);
	go(&h, VFM_STATE_STOP);
	assert_int_equal(sim_mig_read(h.sim, 100, iov, &count), -EINVAL);
	host_end(&h);
}

static void test_region_bounds(void **state)
{
	struct sim_options o = small_options(1);
	uint8_t buf[16] = {0};
	struct host h;

	host_start(&h, &o);
	assert_int_equal(reg(&h, SIM_REG_MAGIC), SIM_MAGIC);
	assert_int_equal(sim_region_read(h.sim, 0, 4096, buf, 4), -EINVAL);
	assert_int_equal(sim_region_read(h.sim, 0, 4094, buf, 4), -EINVAL);
	assert_int_equal(sim_region_read(h.sim, 0, UINT64_MAX, buf, 4), -EINVAL);
	assert_int_equal(sim_region_read(h.sim, 0, 2, buf, 4), -EINVAL);
	assert_int_equal(sim_region_read(h.sim, 0, 0, buf, 1), -EINVAL);
	assert_int_equal(sim_region_read(h.sim, 0, 0, buf, 0), -EINVAL);
	assert_int_equal(sim_region_read(h.sim, 1, 0, buf, 4), -EINVAL);
	assert_int_equal(sim_region_read(h.sim, 99, 0, buf, 4), -EINVAL);
	assert_int_equal(sim_region_write(h.sim, 7, 255, buf, 2), -EINVAL);
	assert_int_equal(sim_region_read(h.sim, 2, 4080, buf, 16), 0);
	host_end(&h);
}

static void test_config_space(void **state)
{
	struct sim_options o = small_options(1);
	uint32_t value = 0xffffffff;
	struct host h;

	host_start(&h, &o);
	assert_int_equal(sim_region_write(h.sim, 7, 0x00, &value, 4), 0);
	assert_int_equal(sim_region_read(h.sim, 7, 0x00, &value, 4), 0);
	assert_int_equal(value, SIM_PCI_DEVICE << 16 | SIM_PCI_VENDOR);
	value = 0xffffffff;
	assert_int_equal(sim_region_write(h.sim, 7, 0x10, &value, 4), 0);
	assert_int_equal(sim_region_read(h.sim, 7, 0x10, &value, 4), 0);
	assert_int_equal(value, 0xfffff000);
	value = 0xffffffff;
	assert_int_equal(sim_region_write(h.sim, 7, 0x14, &value, 4), 0);
	assert_int_equal(sim_region_read(h.sim, 7, 0x14, &value, 4), 0);
	assert_int_equal(value, 0);
	host_end(&h);
}

static void test_registers(void **state)
{
	struct sim_options o = small_options(1);
	struct host h;

	host_start(&h, &o);
	set_reg(&h, SIM_REG_SCRATCH, 0x1111111122222222, 8);
	set_reg(&h, SIM_REG_SCRATCH + 4, 0x33333333, 4);
	assert_int_equal(reg(&h, SIM_REG_SCRATCH), 0x3333333322222222);
	set_reg(&h, SIM_REG_SCRATCH + SIM_SCRATCH_COUNT * 8, 5, 8);
	assert_int_equal(reg(&h, SIM_REG_SCRATCH + SIM_SCRATCH_COUNT * 8), 0);
	set_reg(&h, SIM_REG_DOORBELL, 0, 4);
	set_reg(&h, SIM_REG_DOORBELL, 7, 4);
	assert_int_equal(reg(&h, SIM_REG_DOORBELLS), 2);
	set_reg(&h, SIM_REG_PRODUCER, 99, 8);
	assert_int_equal(reg(&h, SIM_REG_PRODUCER), 0);
	host_end(&h);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_ring_goes_on),
		cmocka_unit_test(test_pre_copy),
		cmocka_unit_test(test_initial_comes_first),
		cmocka_unit_test(test_size_before_a_session),
		cmocka_unit_test(test_altered_streams),
		cmocka_unit_test(test_cut_extended_foreign_streams),
		cmocka_unit_test(test_forged_registers),
		cmocka_unit_test(test_missing_page),
		cmocka_unit_test(test_corrupt_option),
		cmocka_unit_test(test_ring_full_waits),
		cmocka_unit_test(test_dma_rate),
		cmocka_unit_test(test_bad_rings),
		cmocka_unit_test(test_quiescence),
		cmocka_unit_test(test_log_is_exact),
		cmocka_unit_test(test_log_arguments),
		cmocka_unit_test(test_log_wide),
		cmocka_unit_test(test_log_large_page),
		cmocka_unit_test(test_arc_options),
		cmocka_unit_test(test_load_cost),
		cmocka_unit_test(test_die_after_bytes),
		cmocka_unit_test(test_limited_flags),
		cmocka_unit_test(test_sessions_only_in_their_states),
		cmocka_unit_test(test_region_bounds),
		cmocka_unit_test(test_config_space),
		cmocka_unit_test(test_registers),
	};

	srand(1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
