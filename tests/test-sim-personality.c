/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated devices' personalities: a test per rule, named by the number that docs/simulator.md
 * gives it, with a row per personality. Driven over the core with made-up time; what differs on a
 * socket, and devices that write to each other, over the server with our own client.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include <vfio-migrate/vfio-user.h>
#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
#include "sim/device.h"
#include "sim/main.h"

#define WAIT_NS   (20 * NS_PER_SEC) /* bound of every wait; reaching it is a failure */
#define PAGE      UINT64_C(4096)
#define RAM_IOVA  UINT64_C(0x100000)
#define RAM_SIZE  (UINT64_C(1) << 20)
#define INDEX_AT  0x8000u
#define RING_AT   0x10000u
#define SMALL     (256u << 10)
#define NAMES     8u

static const char *const names[NAMES] = {"generic", "mlx5", "virtio", "hisi_acc",
					 "qat",     "pds",  "xe",     "mtty"};

static const struct sim_personality *person(const char *name)
{
	const struct sim_personality *who = sim_personality_find(name);

	assert_non_null(who);
	return who;
}

/* Of a size that suits a test; initial bytes stay all or nothing. */
static struct sim_options options_of(const char *name)
{
	struct sim_options o;

	sim_options_init_as(&o, person(name));
	if (o.state_size > SMALL) {
		o.initial_size = o.initial_size == o.state_size ? SMALL : o.initial_size;
		o.state_size = SMALL;
	}
	return o;
}

/* ---- the host ---- */

struct host {
	struct sim *sim;
	uint8_t *ram;
	uint64_t delayed_ns;
	uint64_t now;
	unsigned stores;
};

static void *ram_at(struct host *h, uint64_t iova, size_t len)
{
	return range_within(iova - RAM_IOVA, len, RAM_SIZE) ? h->ram + (iova - RAM_IOVA) : NULL;
}

static int host_read(void *opaque, uint64_t iova, void *buf, size_t len)
{
	void *at = ram_at(opaque, iova, len);

	if (at)
		memcpy(buf, at, len);
	return at ? 0 : -EFAULT;
}

static int host_write(void *opaque, uint64_t iova, const void *buf, size_t len)
{
	void *at = ram_at(opaque, iova, len);

	if (at)
		memcpy(at, buf, len);
	return at ? 0 : -EFAULT;
}

static int host_load(void *opaque, uint64_t iova, uint64_t *value)
{
	return host_read(opaque, iova, value, sizeof(*value));
}

static int host_store(void *opaque, uint64_t iova, uint64_t value)
{
	struct host *h = opaque;

	h->stores++;
	return host_write(h, iova, &value, sizeof(value));
}

static void host_irq(void *opaque, unsigned vector)
{
}

static void host_delay(void *opaque, uint64_t ns)
{
	struct host *h = opaque;

	h->delayed_ns += ns;
}

static void host_die(void *opaque)
{
	fail_msg("the device died");
}

static const struct sim_host_ops ops = {
	.dma_read = host_read,
	.dma_write = host_write,
	.dma_load = host_load,
	.dma_store = host_store,
	.irq = host_irq,
	.delay = host_delay,
	.die = host_die,
};

static void start_with(struct host *h, const struct sim_options *o)
{
	memset(h, 0, sizeof(*h));
	h->ram = calloc(1, RAM_SIZE);
	assert_non_null(h->ram);
	assert_int_equal(sim_create(o, &ops, h, &h->sim), 0);
}

static void start(struct host *h, const char *name)
{
	struct sim_options o = options_of(name);

	start_with(h, &o);
}

static void end(struct host *h)
{
	sim_destroy(h->sim);
	free(h->ram);
}

static void go(struct host *h, enum vfm_state state)
{
	assert_int_equal(sim_set_state(h->sim, state), 0);
	assert_int_equal(sim_state(h->sim), state);
}

/* Milliseconds pass. */
static void pass(struct host *h, unsigned ms)
{
	for (; ms; ms--) {
		h->now += NS_PER_MSEC;
		sim_tick(h->sim, h->now);
	}
}

static uint64_t reg(struct host *h, uint64_t offset, size_t len)
{
	uint64_t value = 0;

	assert_int_equal(sim_region_read(h->sim, SIM_BAR_REGS, offset, &value, len), 0);
	return value;
}

static void set_reg(struct host *h, uint64_t offset, uint64_t value, size_t len)
{
	assert_int_equal(sim_region_write(h->sim, SIM_BAR_REGS, offset, &value, len), 0);
}

static void ring_bell(struct host *h)
{
	set_reg(h, SIM_REG_DOORBELL, 1, 4);
}

static struct vfm_precopy_info query(struct host *h)
{
	struct vfm_precopy_info info = {.flags = 0};

	assert_int_equal(sim_precopy_info(h->sim, &info), 0);
	return info;
}

static uint64_t told_size(struct host *h)
{
	uint64_t size;

	assert_int_equal(sim_data_size(h->sim, &size), 0);
	return size;
}

/* ---- streams ---- */

struct stream {
	uint8_t data[4 << 20];
	size_t size;
};

static int64_t read_once(struct host *h, struct stream *s, size_t max)
{
	struct iovec iov[SIM_READ_IOV];
	int count, i;
	int64_t got = sim_mig_read(h->sim, max, iov, &count);

	for (i = 0; i < count; i++) {
		assert_true(s->size + iov[i].iov_len <= sizeof(s->data));
		memcpy(s->data + s->size, iov[i].iov_base, iov[i].iov_len);
		s->size += iov[i].iov_len;
	}
	return got;
}

/* As far as there is something; returns how many bytes came, and what came after them. */
static size_t drain(struct host *h, struct stream *s, int64_t *last)
{
	size_t before = s->size;
	int64_t got;

	while ((got = read_once(h, s, 100000)) > 0)
		;
	if (last)
		*last = got;
	return s->size - before;
}

/* One write of the user. */
static int write_once(struct host *h, const uint8_t *data, size_t size)
{
	int ret = sim_mig_begin_write(h->sim);
	size_t room;
	void *where;

	for (; size && !ret; size -= room, data += room) {
		ret = sim_mig_space(h->sim, &where, &room);
		if (ret)
			return ret;
		room = MIN(room, size);
		memcpy(where, data, room);
		ret = sim_mig_wrote(h->sim, room);
	}
	return ret;
}

static struct stream *new_stream(void)
{
	struct stream *s = malloc(sizeof(*s));

	assert_non_null(s);
	s->size = 0;
	return s;
}

/* A whole stream of a stopped device. */
static struct stream *save_stopped(struct host *h)
{
	struct stream *s = new_stream();

	go(h, VFM_STATE_STOP_COPY);
	drain(h, s, NULL);
	return s;
}

static struct stream *stream_of(const char *name)
{
	struct stream *s;
	struct host h;

	start(&h, name);
	s = save_stopped(&h);
	end(&h);
	return s;
}

static void assert_same(struct host *a, struct host *b)
{
	assert_memory_equal(a->sim->memory.data, b->sim->memory.data, a->sim->memory.size);
	assert_memory_equal(&a->sim->regs, &b->sim->regs, sizeof(a->sim->regs));
}

/* ---- who supports what ---- */

static void test_support(void **state)
{
	static const struct {
		const char *name;
		uint32_t flags;
		bool logging;
	} rows[] = {
		{"generic", VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY, true},
		{"mlx5", VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY, true},
		{"virtio", VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY, false},
		{"hisi_acc", VFM_MIG_STOP_COPY | VFM_MIG_PRE_COPY, false},
		{"qat", VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY, false},
		{"pds", VFM_MIG_STOP_COPY | VFM_MIG_P2P, true},
		{"xe", VFM_MIG_STOP_COPY | VFM_MIG_P2P, false},
		{"mtty", VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY, true},
	};
	uint64_t page = PAGE, bits[1];
	struct host h;
	unsigned i;

	assert_int_equal(ARRAY_SIZE(rows), NAMES);
	assert_null(sim_personality_at(NAMES));
	for (i = 0; i < NAMES; i++) {
		assert_ptr_equal(sim_personality_at(i), person(rows[i].name));
		start(&h, rows[i].name);
		assert_int_equal(sim_mig_flags(h.sim), rows[i].flags);
		assert_int_equal(sim_has_logging(h.sim), rows[i].logging);
		assert_int_equal(sim_log_start(h.sim, &page, NULL, 0),
				 rows[i].logging ? 0 : -EOPNOTSUPP);
		assert_int_equal(sim_log_report(h.sim, 0, 1 << 18, PAGE, bits),
				 rows[i].logging ? 0 : -EOPNOTSUPP);
		end(&h);
	}
}

/* What a VMM compares before it moves anything; rows are never numbered anew. */
static void test_identities_differ(void **state)
{
	const uint16_t numbers[] = {1, 2, 3, 4, 5, 6, 7, 8};
	uint16_t id[2];
	struct host h;
	unsigned i;

	assert_int_equal(ARRAY_SIZE(numbers), NAMES);
	for (i = 0; i < NAMES; i++) {
		start(&h, sim_personality_at(i)->name);
		assert_int_equal(sim_region_read(h.sim, VFM_PCI_CONFIG_REGION, 0x2c, id, 4), 0);
		assert_int_equal(id[0], SIM_PCI_VENDOR);
		assert_int_equal(id[1], numbers[i]);
		end(&h);
	}
}

static void test_state_sizes(void **state)
{
	struct stream *s = stream_of("pds");
	struct sim_options o;

	assert_int_equal(s->size, 64 << 10);
	free(s);
	s = stream_of("hisi_acc");
	assert_int_equal(get_le32(((struct stream_header *)s->data)->size), 40);
	assert_int_equal(get_le32(((struct stream_record *)(s->data + 40))->type), STREAM_MEMORY);
	assert_int_equal(40 + get_le32(((struct stream_record *)(s->data + 40))->length), 176);
	free(s);
	sim_options_init_as(&o, person("mtty"));
	assert_true(o.state_size < 200);
	sim_options_init_as(&o, person("mlx5"));
	assert_true(o.state_size >= 100 << 20);
	sim_options_init_as(&o, person("virtio"));
	assert_int_equal(o.state_size, 1 << 20);
}

/* Its log says that nothing is dirty, and it is right. */
static void test_mtty_does_no_dma(void **state)
{
	struct sim_options o = options_of("mtty");
	uint64_t page = PAGE, bits[4] = {0};
	struct host h;

	o.dma_rate = 1;
	assert_int_equal(sim_create(&o, &ops, &h, &h.sim), -EINVAL);
	start(&h, "mtty");
	assert_int_equal(sim_log_start(h.sim, &page, NULL, 0), 0);
	set_reg(&h, SIM_REG_RING_BASE, RAM_IOVA + RING_AT, 8);
	set_reg(&h, SIM_REG_RING_INDEX, RAM_IOVA + INDEX_AT, 8);
	set_reg(&h, SIM_REG_RING_ENTRIES, 64, 4);
	set_reg(&h, SIM_REG_DMA_RATE, 100000, 4);
	set_reg(&h, SIM_REG_P2P_RATE, 100000, 4);
	set_reg(&h, SIM_REG_P2P_TARGET, RAM_IOVA, 8);
	set_reg(&h, SIM_REG_CONTROL, SIM_CONTROL_DMA, 4);
	pass(&h, 10);
	assert_int_equal(reg(&h, SIM_REG_PRODUCER, 8), 0);
	assert_int_equal(h.stores, 0);
	assert_int_equal(sim_log_report(h.sim, RAM_IOVA, RAM_SIZE, PAGE, bits), 0);
	assert_int_equal(bitmap_count(bits, 256), 0);
	end(&h);
}

/* ---- saving ---- */

static void rule_1_empty_reads(void **state)
{
	static const struct {
		const char *name;
		int empty;
	} rows[] = {{"generic", -ENOMSG}, {"mlx5", -ENOMSG}, {"virtio", -ENOMSG},
		    {"hisi_acc", 0},      {"qat", 0},        {"mtty", 0}};
	struct stream *s = new_stream();
	struct host h;
	int64_t last;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		start(&h, rows[i].name);
		go(&h, VFM_STATE_PRE_COPY);
		s->size = 0;
		assert_true(drain(&h, s, &last) > 0);
		assert_int_equal(last, rows[i].empty);
		assert_int_equal(read_once(&h, s, 100), rows[i].empty);
		go(&h, VFM_STATE_STOP_COPY);
		assert_true(drain(&h, s, &last) > 0); /* it was not the end */
		assert_int_equal(last, 0);
		end(&h);
	}
	free(s);
}

static void rule_3_the_query_saves(void **state)
{
	static const struct {
		const char *name;
		bool saves;
	} rows[] = {{"generic", false}, {"mlx5", true}, {"virtio", true}};
	struct stream *s = new_stream();
	struct host h;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		start(&h, rows[i].name);
		go(&h, VFM_STATE_PRE_COPY);
		s->size = 0;
		drain(&h, s, NULL);
		memory_change(h.sim, 5);
		pass(&h, 1500);
		assert_int_equal(drain(&h, s, NULL) == 0, rows[i].saves);
		memory_change(h.sim, 5);
		assert_true(query(&h).dirty_bytes > 0);
		assert_true(drain(&h, s, NULL) > 0);
		assert_int_equal(drain(&h, s, NULL), 0);
		end(&h);
	}
	free(s);
}

static void rule_4_virtio_saves_all_once_a_second(void **state)
{
	struct sim_options o = options_of("virtio");
	struct stream *s = new_stream();
	struct host h;
	unsigned i;

	start_with(&h, &o);
	go(&h, VFM_STATE_PRE_COPY);
	assert_true(sim_needs_ticks(h.sim)); /* its second has to pass */
	drain(&h, s, NULL);
	for (i = 0; i < 3; i++) {
		memory_change(h.sim, 1);
		pass(&h, 998);
		assert_int_equal(query(&h).dirty_bytes, 0);
		assert_int_equal(drain(&h, s, NULL), 0);
		pass(&h, 2);
		assert_true(query(&h).dirty_bytes > o.state_size);
		memory_change(h.sim, 1);
		assert_true(drain(&h, s, NULL) > o.state_size); /* all, for a page */
		assert_int_equal(query(&h).dirty_bytes, 0);
	}
	go(&h, VFM_STATE_STOP_COPY);
	assert_true(drain(&h, s, NULL) > o.state_size);
	end(&h);
	free(s);
}

static void rule_4_set_up_data_alone(void **state)
{
	static const struct {
		const char *name;
		uint64_t initial;
	} rows[] = {{"hisi_acc", 40}, {"qat", 64}, {"mtty", 64}};
	struct stream *s = new_stream();
	struct host h;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		start(&h, rows[i].name);
		go(&h, VFM_STATE_PRE_COPY);
		assert_int_equal(query(&h).initial_bytes, rows[i].initial);
		memory_change(h.sim, 10);
		assert_int_equal(query(&h).dirty_bytes, 0);
		s->size = 0;
		assert_int_equal(drain(&h, s, NULL), rows[i].initial);
		memory_change(h.sim, 10);
		assert_int_equal(query(&h).initial_bytes, 0);
		assert_int_equal(query(&h).dirty_bytes, 0);
		assert_int_equal(drain(&h, s, NULL), 0);
		go(&h, VFM_STATE_STOP_COPY);
		assert_true(drain(&h, s, NULL) > h.sim->memory.size);
		end(&h);
	}
	free(s);
}

/* ---- precopy info ---- */

static void rule_5_info_in_pre_copy_alone(void **state)
{
	struct vfm_precopy_info info = {.flags = 0};
	struct sim_options o;
	struct host h;
	unsigned i;

	for (i = 0; i < NAMES; i++) {
		o = options_of(names[i]);
		o.mig_flags = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY;
		start_with(&h, &o);
		assert_int_equal(sim_precopy_info(h.sim, &info), -EINVAL);
		go(&h, VFM_STATE_PRE_COPY);
		assert_int_equal(sim_precopy_info(h.sim, &info), 0);
		go(&h, VFM_STATE_PRE_COPY_P2P);
		assert_int_equal(sim_precopy_info(h.sim, &info),
				 strcmp(names[i], "hisi_acc") ? 0 : -EINVAL);
		go(&h, VFM_STATE_STOP_COPY);
		assert_int_equal(sim_precopy_info(h.sim, &info), -EINVAL);
		end(&h);
	}
}

/* A device in PRE_COPY whose initial bytes were read, and which will renew them. */
static void start_renewing(struct host *h, struct sim_options *o, enum sim_when when,
			   uint64_t value, struct stream *s)
{
	o->reinit = (struct sim_trigger){.when = when, .value = value, .times = 1};
	start_with(h, o);
	assert_int_equal(sim_precopy_infov2(h->sim), 0);
	go(h, VFM_STATE_PRE_COPY);
	s->size = 0;
	drain(h, s, NULL);
}

static void rule_5_mlx5_finds_no_reinit_in_p2p(void **state)
{
	static const char *const rows[] = {"generic", "mlx5"};
	struct stream *s = new_stream();
	struct sim_options o;
	struct host h;
	unsigned i;

	for (i = 0; i < 2; i++) {
		o = options_of(rows[i]);
		start_renewing(&h, &o, SIM_WHEN_INFO, 1, s);
		go(&h, VFM_STATE_PRE_COPY_P2P);
		assert_int_equal(query(&h).flags, i ? 0 : VFM_PRECOPY_INFO_REINIT);
		go(&h, VFM_STATE_PRE_COPY);
		assert_int_equal(query(&h).flags, i ? VFM_PRECOPY_INFO_REINIT : 0);
		end(&h);
	}
	free(s);
}

static void rule_6_opt_in(void **state)
{
	struct sim_options o = options_of("generic");
	struct vfm_precopy_info info = {.flags = 0x55};
	struct stream *s = new_stream();
	struct host h;
	unsigned i;

	o.reinit = (struct sim_trigger){.when = SIM_WHEN_INFO, .value = 2, .times = 2};
	o.reinit_size = 8 * PAGE;
	start_with(&h, &o);
	go(&h, VFM_STATE_PRE_COPY);
	drain(&h, s, NULL);
	for (i = 0; i < 2; i++) { /* without it the flags are the caller's */
		assert_int_equal(sim_precopy_info(h.sim, &info), 0);
		assert_int_equal(info.flags, 0x55);
		assert_int_equal(info.initial_bytes, 0);
	}
	assert_true(info.dirty_bytes >= 8 * PAGE);
	drain(&h, s, NULL);
	assert_int_equal(sim_precopy_infov2(h.sim), 0);
	assert_int_equal(query(&h).flags, 0);
	info = query(&h);
	assert_int_equal(info.flags, VFM_PRECOPY_INFO_REINIT);
	assert_true(info.initial_bytes >= 8 * PAGE);
	sim_limit_flags(h.sim, UINT32_MAX); /* the next user */
	info.flags = 0x55;
	assert_int_equal(sim_precopy_info(h.sim, &info), 0);
	assert_int_equal(info.flags, 0x55);
	end(&h);
	start(&h, "pds");
	assert_int_equal(sim_precopy_infov2(h.sim), -EINVAL);
	end(&h);
	free(s);
}

static void rule_7_reinit(void **state)
{
	struct vfm_precopy_info info;
	struct stream *s = new_stream();
	struct sim_options o;
	struct host a, b;
	unsigned i;

	for (i = 0; i < NAMES; i++) {
		o = options_of(names[i]);
		if (!(o.mig_flags & VFM_MIG_PRE_COPY))
			continue;
		o.reinit_size = MIN(o.state_size, 4 * PAGE);
		start_renewing(&a, &o, SIM_WHEN_INFO, 1, s);
		memory_change(a.sim, 30);
		info = query(&a);
		assert_int_equal(info.flags, VFM_PRECOPY_INFO_REINIT);
		assert_true(info.initial_bytes >= o.reinit_size * 9 / 10);
		assert_int_equal(info.dirty_bytes, 0);
		assert_int_equal(query(&a).flags, 0); /* told once */
		drain(&a, s, NULL);
		info = query(&a);
		assert_int_equal(info.initial_bytes, 0);
		assert_int_equal(info.flags, 0);
		memory_change(a.sim, 30);
		go(&a, VFM_STATE_STOP_COPY);
		drain(&a, s, NULL);
		o.seed++;
		start_with(&b, &o);
		go(&b, VFM_STATE_RESUMING);
		assert_int_equal(write_once(&b, s->data, s->size), 0);
		go(&b, VFM_STATE_STOP);
		assert_same(&a, &b);
		end(&a);
		end(&b);
	}
	free(s);
}

/* What was dirty when initial bytes began anew still goes before the device is stopped. */
static void rule_7_dirty_waits_behind_initial(void **state)
{
	struct sim_options o = options_of("generic");
	struct stream *s = new_stream();
	struct host h;
	size_t first;

	o.reinit_size = PAGE;
	start_renewing(&h, &o, SIM_WHEN_INFO, 1, s);
	memory_change(h.sim, 1000); /* most pages */
	first = query(&h).initial_bytes;
	assert_in_range(first, PAGE, 2 * PAGE);
	assert_int_equal(read_once(&h, s, first), first);
	assert_true(query(&h).dirty_bytes > SMALL / 2);
	assert_true(drain(&h, s, NULL) > SMALL / 2);
	go(&h, VFM_STATE_STOP_COPY);
	assert_int_equal(drain(&h, s, NULL), STREAM_TAIL_SIZE);
	end(&h);
	free(s);
}

/* ---- mlx5 ---- */

static void rule_8_a_failed_save(void **state)
{
	struct sim_options o = options_of("mlx5");
	struct stream *s = new_stream();
	struct vfm_precopy_info info;
	struct host a, b;
	int64_t last;

	o.fail_call[SIM_CALL_SAVE] = (struct sim_fail){EIO, 1};
	start_with(&a, &o);
	go(&a, VFM_STATE_PRE_COPY);
	drain(&a, s, NULL);
	memory_change(a.sim, 20);
	assert_true(query(&a).dirty_bytes > 0);
	assert_int_equal(drain(&a, s, &last), 0);
	assert_int_equal(last, -ENOMSG);
	info = query(&a);
	assert_int_equal(info.dirty_bytes + info.initial_bytes, 0);
	go(&a, VFM_STATE_STOP_COPY);
	assert_true(drain(&a, s, NULL) > o.state_size);
	start(&b, "mlx5");
	go(&b, VFM_STATE_RESUMING);
	assert_int_equal(write_once(&b, s->data, s->size), 0);
	go(&b, VFM_STATE_STOP);
	assert_same(&a, &b);
	end(&a);
	end(&b);
	o = options_of("generic");
	o.fail_call[SIM_CALL_SAVE] = (struct sim_fail){EIO, 1};
	assert_int_equal(sim_create(&o, &ops, &a, &a.sim), -EINVAL);
	free(s);
}

static void rule_8_sizes_grow(void **state)
{
	struct stream *s = new_stream();
	struct host h;
	uint64_t told;

	start(&h, "mlx5");
	assert_true(told_size(&h) < sim_stop_copy_size(h.sim));
	go(&h, VFM_STATE_PRE_COPY);
	told = query(&h).initial_bytes;
	assert_true(drain(&h, s, NULL) > told);
	memory_change(h.sim, 3);
	told = query(&h).dirty_bytes;
	memory_change(h.sim, 20);
	assert_true(drain(&h, s, NULL) > 3 * told); /* the save began after the query */
	go(&h, VFM_STATE_STOP_COPY);
	told = told_size(&h);
	assert_true(drain(&h, s, NULL) > told);
	assert_int_equal(told_size(&h), 0);
	end(&h);
	free(s);
}

static void rule_9_partial_reads(void **state)
{
	struct sim_options o = options_of("mlx5");
	struct stream *s = new_stream();
	struct host h;

	o.state_size = o.initial_size = 2 << 20;
	start_with(&h, &o);
	go(&h, VFM_STATE_STOP_COPY);
	assert_int_equal(read_once(&h, s, 1 << 20), 512 << 10);
	assert_int_equal(read_once(&h, s, 1000), 1000);
	drain(&h, s, NULL);
	assert_true(s->size > 2 << 20);
	end(&h);
	free(s);
}

/* ---- sessions that are gone, devices that break ---- */

static void rule_10_no_session(void **state)
{
	struct iovec iov[SIM_READ_IOV];
	struct host h;
	unsigned i;
	int count, want;

	for (i = 0; i < NAMES; i++) {
		want = i ? -ENODEV : -EINVAL;
		start(&h, names[i]);
		go(&h, VFM_STATE_STOP_COPY);
		sim_reset(h.sim);
		assert_int_equal(sim_state(h.sim), VFM_STATE_RUNNING);
		assert_int_equal(sim_mig_read(h.sim, 100, iov, &count), want);
		go(&h, VFM_STATE_RESUMING);
		sim_reset(h.sim);
		assert_int_equal(write_once(&h, (const uint8_t *)"x", 1), want);
		end(&h);
	}
}

static void rule_10_reset_behind_the_caller(void **state)
{
	struct sim_options o = options_of("qat");
	struct stream *s = new_stream();
	struct host h;

	o.upset = (struct sim_trigger){.when = SIM_WHEN_AFTER, .value = 5, .times = 1};
	o.upset_resets = true;
	start_with(&h, &o);
	pass(&h, 20);
	assert_int_equal(sim_state(h.sim), VFM_STATE_RUNNING);
	go(&h, VFM_STATE_STOP_COPY);
	assert_true(sim_needs_ticks(h.sim));
	pass(&h, 4);
	assert_int_equal(read_once(&h, s, 10), 10);
	pass(&h, 1);
	assert_int_equal(sim_state(h.sim), VFM_STATE_RUNNING);
	assert_int_equal(read_once(&h, s, 10), -ENODEV);
	go(&h, VFM_STATE_STOP_COPY); /* once was all */
	pass(&h, 50);
	assert_int_equal(sim_state(h.sim), VFM_STATE_STOP_COPY);
	end(&h);
	free(s);
}

static void rule_11_spontaneous_error(void **state)
{
	static const struct {
		const char *name;
		int error;
	} rows[] = {{"pds", -EIO}, {"generic", -EINVAL}, {"xe", -EINVAL}};
	struct stream *s = new_stream();
	struct sim_options o;
	struct host h;
	unsigned i;
	uint64_t size;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		o = options_of(rows[i].name);
		o.upset = (struct sim_trigger){.when = SIM_WHEN_BYTES, .value = 1000, .times = 1};
		start_with(&h, &o);
		go(&h, VFM_STATE_STOP_COPY);
		s->size = 0;
		assert_int_equal(read_once(&h, s, 999), 999);
		assert_int_equal(read_once(&h, s, 1), 1);
		assert_int_equal(read_once(&h, s, 1), rows[i].error);
		assert_int_equal(sim_state(h.sim), VFM_STATE_ERROR);
		assert_int_equal(sim_set_state(h.sim, VFM_STATE_RUNNING), rows[i].error);
		assert_int_equal(sim_set_state(h.sim, VFM_STATE_STOP), rows[i].error);
		assert_int_equal(sim_data_size(h.sim, &size), rows[i].error);
		sim_reset(h.sim);
		go(&h, VFM_STATE_STOP_COPY);
		assert_true(drain(&h, s, NULL) > 1000);
		end(&h);
	}
	free(s);
}

/* While loading, and while an arc takes its time. */
static void rule_11_error_in_the_middle(void **state)
{
	struct stream *s = stream_of("pds");
	struct sim_options o = options_of("pds");
	struct host h;

	o.upset = (struct sim_trigger){.when = SIM_WHEN_BYTES, .value = s->size, .times = 1};
	start_with(&h, &o);
	go(&h, VFM_STATE_RESUMING);
	assert_int_equal(write_once(&h, s->data, s->size), 0);
	assert_int_equal(sim_set_state(h.sim, VFM_STATE_STOP), -EIO);
	assert_int_equal(sim_state(h.sim), VFM_STATE_ERROR);
	sim_reset(h.sim);
	assert_int_equal(sim_state(h.sim), VFM_STATE_RUNNING);
	end(&h);
	free(s);
}

/* ---- loading ---- */

static void rule_13_where_the_load_happens(void **state)
{
	static const struct {
		const char *name;
		unsigned in_write; /* percent */
	} rows[] = {{"generic", 100}, {"mlx5", 100}, {"virtio", 100}, {"hisi_acc", 0},
		    {"qat", 0},       {"pds", 0},    {"xe", 50},      {"mtty", 0}};
	uint64_t at_write, all;
	struct sim_options o;
	struct stream *s;
	struct host h;
	unsigned i;

	for (i = 0; i < NAMES; i++) {
		s = stream_of(rows[i].name);
		o = options_of(rows[i].name);
		o.load_cost_us_per_mib = 10 * 1000000;
		start_with(&h, &o);
		go(&h, VFM_STATE_RESUMING);
		assert_int_equal(write_once(&h, s->data, s->size), 0);
		at_write = h.delayed_ns;
		go(&h, VFM_STATE_STOP);
		all = (uint64_t)s->size * NS_PER_SEC * 10 >> 20;
		assert_in_range(h.delayed_ns, all - NS_PER_MSEC, all + NS_PER_MSEC);
		assert_in_range(at_write, all * rows[i].in_write / 100 * 9 / 10,
				all * rows[i].in_write / 100 + NS_PER_MSEC);
		free(s);
		end(&h);
	}
}

/* More than the stream has. */
static void rule_14_too_much(void **state)
{
	struct stream *s;
	struct host h;
	unsigned i;

	for (i = 1; i < NAMES; i++) {
		s = stream_of(names[i]);
		start(&h, names[i]);
		go(&h, VFM_STATE_RESUMING);
		assert_int_equal(write_once(&h, s->data, s->size), 0);
		assert_int_equal(write_once(&h, s->data, 1),
				 strcmp(names[i], "pds") ? -ENOMEM : -EINVAL);
		assert_int_not_equal(sim_set_state(h.sim, VFM_STATE_STOP), 0);
		assert_int_equal(sim_state(h.sim), VFM_STATE_ERROR);
		free(s);
		end(&h);
	}
}

static void rule_14_a_header_of_another(void **state)
{
	static const struct {
		const char *name;
		int error;
		bool in_write;
	} rows[] = {
		{"generic", -EFAULT, false}, {"mlx5", -EOPNOTSUPP, true}, {"virtio", -EINVAL, true},
		{"hisi_acc", -EFAULT, true}, {"qat", -EINVAL, true},      {"pds", -EIO, false},
		{"xe", -EINVAL, false},      {"mtty", -EFAULT, false},
	};
	struct stream *s;
	struct host h;
	unsigned i;

	for (i = 0; i < NAMES; i++) {
		s = stream_of(names[(i + 1) % NAMES]);
		start(&h, rows[i].name);
		go(&h, VFM_STATE_RESUMING);
		assert_int_equal(write_once(&h, s->data, s->size),
				 rows[i].in_write ? rows[i].error : 0);
		assert_int_equal(sim_set_state(h.sim, VFM_STATE_STOP), rows[i].error);
		assert_int_equal(sim_state(h.sim), VFM_STATE_ERROR);
		sim_reset(h.sim);
		free(s);
		end(&h);
	}
}

/* ---- the stop-copy size ---- */

static void rule_15_constant_sizes(void **state)
{
	static const struct {
		const char *name;
		bool constant;
	} rows[] = {{"hisi_acc", true}, {"qat", true}, {"pds", true}, {"generic", false},
		    {"mtty", false}};
	struct stream *s = new_stream();
	uint64_t whole, before;
	struct host h;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		start(&h, rows[i].name);
		whole = told_size(&h);
		go(&h, VFM_STATE_STOP_COPY);
		assert_int_equal(told_size(&h), whole);
		s->size = 0;
		read_once(&h, s, 100);
		before = told_size(&h);
		drain(&h, s, NULL);
		assert_int_equal(s->size, whole);
		assert_int_equal(before == whole, rows[i].constant);
		assert_int_equal(told_size(&h), rows[i].constant ? whole : 0);
		end(&h);
	}
	free(s);
}

static void rule_15_an_errno_as_size(void **state)
{
	struct sim_options o = options_of("xe");
	struct host h;
	unsigned i, absurd = 0;

	start_with(&h, &o);
	for (i = 0; i < 8; i++)
		absurd += told_size(&h) > INT64_MAX;
	assert_int_equal(absurd, 2);
	end(&h);
	o.fail_call[SIM_CALL_SIZE] = (struct sim_fail){EIO, 1};
	start_with(&h, &o);
	assert_int_equal((int64_t)told_size(&h), -EIO); /* stored, not returned */
	assert_true(told_size(&h) < INT64_MAX);
	end(&h);
}

static void rule_15_asking_takes_time(void **state)
{
	struct host h;

	start(&h, "mlx5");
	told_size(&h);
	assert_int_equal(h.delayed_ns, 500 * NS_PER_USEC);
	go(&h, VFM_STATE_PRE_COPY);
	query(&h);
	assert_int_equal(h.delayed_ns, 1000 * NS_PER_USEC);
	end(&h);
}

static void rule_16_what_stops_in_p2p(void **state)
{
	static const struct {
		const char *name;
		bool runs;
	} rows[] = {{"generic", true}, {"mlx5", true}, {"virtio", false}, {"qat", false},
		    {"pds", true},     {"xe", false},  {"mtty", true}};
	struct sim_options o;
	struct host h;
	unsigned i;
	uint64_t before;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		o = options_of(rows[i].name);
		o.dirty_rate = 64 << 20;
		start_with(&h, &o);
		pass(&h, 10);
		go(&h, VFM_STATE_RUNNING_P2P);
		before = reg(&h, SIM_REG_MUTATED, 8);
		assert_true(before > 0);
		pass(&h, 10);
		assert_int_equal(reg(&h, SIM_REG_MUTATED, 8) > before, rows[i].runs);
		assert_false(reg(&h, SIM_REG_STATUS, 4) & SIM_STATUS_ACTIVE);
		go(&h, VFM_STATE_STOP);
		before = reg(&h, SIM_REG_MUTATED, 8);
		pass(&h, 10);
		assert_int_equal(reg(&h, SIM_REG_MUTATED, 8), before);
		end(&h);
	}
}

/* ---- DMA logging ---- */

static void rule_17_ranges_and_pages(void **state)
{
	static const struct {
		const char *name;
		uint64_t page;
	} rows[] = {{"mlx5", 4096}, {"pds", 65536}, {"mtty", 4096}};
	struct vfm_feature_logging_range ranges[257];
	struct host h;
	uint64_t page;
	unsigned i;

	for (i = 0; i < 257; i++)
		ranges[i] = (struct vfm_feature_logging_range){(uint64_t)i << 20, 1 << 20};
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		start(&h, rows[i].name);
		page = PAGE;
		assert_int_equal(sim_log_start(h.sim, &page, ranges, 257), -E2BIG);
		ranges[1].iova = 0x80000; /* overlaps the first */
		assert_int_equal(sim_log_start(h.sim, &page, ranges, 2), -EINVAL);
		ranges[1].iova = 1 << 20;
		assert_int_equal(page, PAGE);
		assert_int_equal(sim_log_start(h.sim, &page, ranges, 256), 0);
		assert_int_equal(page, rows[i].page);
		assert_int_equal(sim_log_start(h.sim, &page, ranges, 1), -EINVAL);
		assert_int_equal(sim_log_stop(h.sim), 0);
		assert_int_equal(sim_log_start(h.sim, &page, ranges, 1), 0);
		end(&h);
	}
}

static void rule_18_reports_of_pds(void **state)
{
	struct vfm_feature_logging_range r[2] = {{0x10000, 128 << 16}, {0x2000000, 32 << 16}};
	uint64_t page = PAGE, bits[4] = {0}, base = 0x10000;
	struct host h;

	start(&h, "pds");
	assert_int_equal(sim_log_start(h.sim, &page, r, 2), 0);
	log_mark(&h.sim->log, base + (70 << 16) + 5000, 1);
	/* whole: */
	assert_int_equal(sim_log_report(h.sim, base, 128 << 16, page, bits), 0);
	assert_true(bitmap_test(bits, 70));
	assert_int_equal(bitmap_count(bits, 128), 1);
	assert_int_equal(sim_log_report(h.sim, base, 128 << 16, page, bits), 0);
	assert_int_equal(bitmap_count(bits, 128), 1); /* bits are only set */
	/* from the 64th page on, any number of pages: */
	assert_int_equal(sim_log_report(h.sim, base + (64 << 16), 3 << 16, page, bits), 0);
	/* not from the 32nd, not part of a page, not beyond a range, not outside: */
	assert_int_equal(sim_log_report(h.sim, base + (32 << 16), 64 << 16, page, bits), -EINVAL);
	assert_int_equal(sim_log_report(h.sim, base, PAGE, PAGE, bits), -EINVAL);
	assert_int_equal(sim_log_report(h.sim, base, 129 << 16, page, bits), -EINVAL);
	assert_int_equal(sim_log_report(h.sim, 0x1000000, 1 << 16, page, bits), -EINVAL);
	assert_int_equal(sim_log_report(h.sim, 0x2000000, 32 << 16, page, bits), 0);
	end(&h);
}

/* ---- options that any personality takes ---- */

static void test_calls_that_fail(void **state)
{
	struct vfm_precopy_info info = {.flags = 0};
	struct sim_options o = options_of("generic");
	uint64_t size, page = PAGE, bits[1];
	struct stream *s = new_stream();
	struct host h;
	unsigned i;

	for (i = 0; i < SIM_CALL_SAVE; i++)
		o.fail_call[i] = (struct sim_fail){EBUSY, 2};
	o.fail_call[SIM_CALL_LOG_START] = (struct sim_fail){EBUSY, 1};
	o.fail_call[SIM_CALL_LOG_REPORT] = (struct sim_fail){EBUSY, 0};
	start_with(&h, &o);
	assert_int_equal(sim_log_start(h.sim, &page, NULL, 0), -EBUSY);
	assert_int_equal(sim_log_start(h.sim, &page, NULL, 0), 0);
	for (i = 0; i < 3; i++)
		assert_int_equal(sim_log_report(h.sim, 0, PAGE, PAGE, bits), -EBUSY);
	go(&h, VFM_STATE_PRE_COPY);
	for (i = 0; i < 4; i++) {
		assert_int_equal(sim_precopy_info(h.sim, &info), i == 1 ? -EBUSY : 0);
		assert_int_equal(sim_data_size(h.sim, &size), i == 1 ? -EBUSY : 0);
		assert_int_equal(read_once(&h, s, 10), i == 1 ? -EBUSY : 10);
	}
	go(&h, VFM_STATE_RESUMING);
	for (i = 0; i < 3; i++)
		assert_int_equal(write_once(&h, s->data + (i ? 10 * i - 10 : 0), i == 1 ? 1 : 10),
				 i == 1 ? -EBUSY : 0);
	end(&h);
	free(s);
}

/* Room is made when initial bytes begin to arrive, and again when they begin anew. */
static void test_alloc_cost(void **state)
{
	struct stream *s = new_stream();
	struct sim_options o = options_of("mlx5");
	struct host a, b;

	start_renewing(&a, &o, SIM_WHEN_INFO, 1, s);
	assert_int_equal(query(&a).flags, VFM_PRECOPY_INFO_REINIT);
	o.alloc_cost_ms = 1500;
	start_with(&b, &o);
	go(&b, VFM_STATE_RESUMING);
	assert_int_equal(write_once(&b, s->data, 63), 0);
	assert_int_equal(b.delayed_ns, 0);
	assert_int_equal(write_once(&b, s->data + 63, s->size - 63), 0);
	assert_int_equal(b.delayed_ns, 1500 * NS_PER_MSEC);
	s->size = 0;
	drain(&a, s, NULL);
	assert_int_equal(write_once(&b, s->data, s->size), 0);
	assert_int_equal(b.delayed_ns, 3000 * NS_PER_MSEC);
	end(&a);
	end(&b);
	free(s);
}

static void test_size_error(void **state)
{
	struct sim_options o = options_of("generic");
	struct stream *s = new_stream();
	struct host h;
	uint64_t whole;

	o.size_permille = 3500;
	start_with(&h, &o);
	whole = sim_stop_copy_size(h.sim);
	assert_int_equal(told_size(&h), (whole * 35 + 9) / 10);
	end(&h);
	o.size_permille = 1;
	start_with(&h, &o);
	go(&h, VFM_STATE_PRE_COPY);
	read_once(&h, s, query(&h).initial_bytes);
	assert_true(query(&h).initial_bytes > 0);
	drain(&h, s, NULL);
	assert_int_equal(query(&h).initial_bytes, 0); /* nothing does not become something */
	memory_change(h.sim, 1);
	assert_true(query(&h).dirty_bytes > 0); /* nor something nothing */
	end(&h);
	free(s);
}

static unsigned renewals(struct host *h, unsigned queries, unsigned ms, struct stream *s)
{
	unsigned count = 0;

	for (; queries; queries--) {
		pass(h, ms);
		count += query(h).flags == VFM_PRECOPY_INFO_REINIT;
		drain(h, s, NULL);
	}
	return count;
}

static void test_reinit_triggers(void **state)
{
	struct sim_options o = options_of("generic");
	struct stream *s = new_stream();
	struct host h;
	unsigned i;

	o.reinit_size = PAGE;
	start_renewing(&h, &o, SIM_WHEN_AFTER, 10, s);
	assert_int_equal(renewals(&h, 9, 1, s), 0);
	assert_int_equal(renewals(&h, 1, 1, s), 1);
	assert_int_equal(renewals(&h, 20, 10, s), 0);
	h.sim->opts.reinit.times = 3;
	assert_int_equal(renewals(&h, 20, 10, s), 2);
	go(&h, VFM_STATE_RUNNING);
	go(&h, VFM_STATE_PRE_COPY); /* the next migration has its own */
	drain(&h, s, NULL);
	assert_int_equal(renewals(&h, 100, 1, s), 3);
	end(&h);
	start_renewing(&h, &o, SIM_WHEN_BYTES, s->size + 1, s);
	end(&h);
	start_renewing(&h, &o, SIM_WHEN_BYTES, SMALL, s);
	assert_int_equal(query(&h).flags, VFM_PRECOPY_INFO_REINIT);
	end(&h);
	start_renewing(&h, &o, SIM_WHEN_BYTES, 2 * SMALL, s);
	assert_int_equal(query(&h).flags, 0);
	for (i = 0; i < 20; i++) {
		memory_change(h.sim, 20);
		drain(&h, s, NULL);
	}
	assert_int_equal(query(&h).flags, VFM_PRECOPY_INFO_REINIT);
	end(&h);
	start_renewing(&h, &o, SIM_WHEN_INFO, 7, s);
	assert_int_equal(renewals(&h, 6, 0, s), 0);
	assert_int_equal(renewals(&h, 1, 0, s), 1);
	end(&h);
	free(s);
}

/* Silence after sound: as when the vCPUs have stopped. */
static void test_late_reinit(void **state)
{
	struct sim_options o = options_of("generic");
	struct stream *s = new_stream();
	struct host h;
	unsigned i;

	start_renewing(&h, &o, SIM_WHEN_LATE, 0, s);
	for (i = 0; i < 3; i++)
		assert_int_equal(query(&h).flags, 0); /* it has not rung yet */
	for (i = 0; i < 10; i++) {
		ring_bell(&h);
		assert_int_equal(query(&h).flags, 0);
	}
	assert_int_equal(query(&h).flags, VFM_PRECOPY_INFO_REINIT);
	drain(&h, s, NULL);
	ring_bell(&h);
	assert_int_equal(query(&h).flags, 0);
	assert_int_equal(query(&h).flags, 0); /* once was all */
	end(&h);
	free(s);
}

/* The VMM knows when its vCPUs have stopped. */
static void test_reinit_by_command(void **state)
{
	struct stream *s = new_stream();
	struct host h;

	start(&h, "generic");
	set_reg(&h, SIM_REG_COMMAND, SIM_COMMAND_REINIT, 4); /* not in a session: forgotten */
	assert_int_equal(sim_precopy_infov2(h.sim), 0);
	go(&h, VFM_STATE_PRE_COPY);
	drain(&h, s, NULL);
	assert_int_equal(query(&h).flags, 0);
	set_reg(&h, SIM_REG_COMMAND, SIM_COMMAND_REINIT, 4);
	assert_int_equal(query(&h).flags, VFM_PRECOPY_INFO_REINIT);
	assert_true(query(&h).initial_bytes > SMALL); /* as at first */
	drain(&h, s, NULL);
	assert_int_equal(query(&h).flags, 0);
	end(&h);
	free(s);
}

/* ---- whole migrations ---- */

static void precopy(struct host *a, struct stream *s)
{
	unsigned i;

	go(a, VFM_STATE_PRE_COPY);
	for (i = 0; i < 6; i++) {
		query(a);
		read_once(a, s, 1 + (size_t)rand() % 200000);
		pass(a, 3);
		drain(a, s, NULL);
	}
}

static void test_every_personality_migrates(void **state)
{
	struct stream *s = new_stream();
	struct sim_options o;
	struct host a, b;
	unsigned i;

	for (i = 0; i < NAMES; i++) {
		o = options_of(names[i]);
		o.dirty_rate = 5 << 20;
		start_with(&a, &o);
		o.seed++;
		start_with(&b, &o);
		s->size = 0;
		pass(&a, 5);
		ring_bell(&a);
		if (o.mig_flags & VFM_MIG_PRE_COPY)
			precopy(&a, s);
		go(&a, VFM_STATE_STOP_COPY);
		drain(&a, s, NULL);
		go(&b, VFM_STATE_RESUMING);
		assert_int_equal(write_once(&b, s->data, s->size), 0);
		go(&b, VFM_STATE_STOP);
		assert_same(&a, &b);
		go(&b, VFM_STATE_RUNNING);
		end(&a);
		end(&b);
	}
	free(s);
}

static int parse(struct sim_config *c, const char *const *words)
{
	const char *argv[20] = {"sim", "--socket=x"};
	int argc;

	for (argc = 2; *words; words++)
		argv[argc++] = *words;
	return sim_config_parse(c, argc, (char **)argv);
}

static void test_option_words(void **state)
{
	static const char *const wrong[][3] = {
		{"--reinit=after=0"},         {"--reinit=soon"},
		{"--reinit=info=1,size=65M"}, {"--reinit=info=1,what=2"},
		{"--reinit=latest"},          {"--reinit=info=1", "--personality=pds"},
		{"--size-error=0"},           {"--size-error=1.2345"},
		{"--size-error=-1"},          {"--size-error=1001"},
		{"--fail-call=open=EIO"},     {"--fail-call=read"},
		{"--fail-call=read=EWHAT"},   {"--fail-call=read=EIO@0"},
		{"--fail-call=save=EIO"},     {"--alloc-cost=x"},
		{"--spontaneous=error"},      {"--spontaneous=error,late"},
		{"--spontaneous=late,after=1"}, {"--p2p-target=4"},
		{"--p2p-rate=x"},             {"--dma-rate=1", "--personality=mtty"},
		{"--personality=e1000"},      {"--load-at=never"},
	};
	static const char *const many[] = {
		"--reinit=bytes=1M,times=3,size=8K", "--personality=mlx5",
		"--size-error=.25",                  "--alloc-cost=1.5s",
		"--fail-call=save=EIO@2",            "--spontaneous=reset,info=4",
		"--p2p-target=0xd0000008",           "--p2p-rate=7",
		"--load-at=both",                    NULL};
	static const char *const few[] = {"--state-size=2M", "--personality=qat", NULL};
	struct sim_config c;
	unsigned i;

	for (i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(parse(&c, wrong[i]), -EINVAL);
	assert_int_equal(parse(&c, many), 0);
	assert_int_equal(c.device.reinit.when, SIM_WHEN_BYTES);
	assert_int_equal(c.device.reinit.value, 1 << 20);
	assert_int_equal(c.device.reinit.times, 3);
	assert_int_equal(c.device.reinit_size, 8192);
	assert_int_equal(c.device.state_size, 256 << 20);
	assert_int_equal(c.device.initial_size, 256 << 20);
	assert_int_equal(c.device.size_permille, 250);
	assert_int_equal(c.device.alloc_cost_ms, 1500);
	assert_int_equal(c.device.fail_call[SIM_CALL_SAVE].error, EIO);
	assert_int_equal(c.device.fail_call[SIM_CALL_SAVE].nth, 2);
	assert_int_equal(c.device.upset.when, SIM_WHEN_INFO);
	assert_true(c.device.upset_resets);
	assert_int_equal(c.device.p2p_target, 0xd0000008);
	assert_int_equal(c.device.p2p_rate, 7);
	assert_int_equal(c.device.load_at, SIM_LOAD_AT_BOTH);
	assert_int_equal(parse(&c, few), 0);
	assert_int_equal(c.device.state_size, 2 << 20);
	assert_int_equal(c.device.initial_size, 0);
	assert_int_equal(c.device.load_at, SIM_LOAD_AT_END);
	assert_false(c.device.dma_logging);
}

/* ---- peers ---- */

/* A write as it comes from a peer: to the memory, past the device. */
static void peer_write(struct host *h, unsigned word, uint64_t value)
{
	__atomic_store_n(&h->sim->mailbox.words[word], value, __ATOMIC_RELEASE);
}

static void test_late_writes_are_counted(void **state)
{
	static const struct {
		enum vfm_state state;
		bool late;
	} rows[] = {
		{VFM_STATE_RUNNING, false},      {VFM_STATE_RUNNING_P2P, false},
		{VFM_STATE_STOP, true},          {VFM_STATE_STOP_COPY, true},
		{VFM_STATE_STOP, true},          {VFM_STATE_RUNNING_P2P, false},
		{VFM_STATE_PRE_COPY, false},     {VFM_STATE_PRE_COPY_P2P, false},
		{VFM_STATE_STOP_COPY, true},     {VFM_STATE_RESUMING, true},
	};
	uint64_t seen = 0, late = 0, value;
	struct host h;
	unsigned i;

	start(&h, "generic");
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		go(&h, rows[i].state);
		peer_write(&h, 3, i + 1);
		peer_write(&h, 511, i + 1);
		seen += rows[i].late ? 0 : 2;
		late += rows[i].late ? 2 : 0;
		if (i % 2) /* whoever looks first: a reader, or the next change of state */
			assert_int_equal(reg(&h, SIM_REG_P2P_LATE, 8), late);
	}
	assert_int_equal(reg(&h, SIM_REG_P2P_LATE, 8), late);
	assert_int_equal(reg(&h, SIM_REG_P2P_SEEN, 8), seen);
	/* The software's own writes are not a peer's. */
	value = 77;
	assert_int_equal(sim_region_write(h.sim, SIM_BAR_MAILBOX, 64, &value, 8), 0);
	assert_int_equal(sim_region_read(h.sim, SIM_BAR_MAILBOX, 24, &value, 8), 0);
	assert_int_equal(value, ARRAY_SIZE(rows));
	assert_int_equal(reg(&h, SIM_REG_P2P_LATE, 8), late);
	sim_reset(h.sim);
	assert_int_equal(reg(&h, SIM_REG_P2P_LATE, 8), 0);
	end(&h);
}

static void test_writes_to_a_peer(void **state)
{
	uint64_t sent, value;
	struct stream *s;
	struct host a, b;

	start(&a, "generic");
	set_reg(&a, SIM_REG_P2P_TARGET, RAM_IOVA + 0x103, 8);
	set_reg(&a, SIM_REG_P2P_RATE, 2000, 4);
	assert_true(sim_needs_ticks(a.sim));
	pass(&a, 10);
	assert_int_equal(reg(&a, SIM_REG_P2P_SENT, 8), 20);
	assert_int_equal(*(uint64_t *)(a.ram + 0x100), 20);
	set_reg(&a, SIM_REG_P2P_TARGET, 0x8, 8); /* nothing is there */
	pass(&a, 2);
	assert_int_equal(reg(&a, SIM_REG_P2P_SENT, 8), 20);
	assert_int_equal(reg(&a, SIM_REG_FAULTS, 8), 2);
	set_reg(&a, SIM_REG_P2P_TARGET, RAM_IOVA + 0x100, 8);
	go(&a, VFM_STATE_RUNNING_P2P);
	pass(&a, 10);
	sent = reg(&a, SIM_REG_P2P_SENT, 8);
	assert_int_equal(sent, 20);
	peer_write(&a, 9, 4711);
	s = save_stopped(&a);
	start(&b, "generic");
	go(&b, VFM_STATE_RESUMING);
	assert_int_equal(write_once(&b, s->data, s->size), 0);
	go(&b, VFM_STATE_STOP);
	assert_same(&a, &b);
	assert_int_equal(sim_region_read(b.sim, SIM_BAR_MAILBOX, 72, &value, 8), 0);
	assert_int_equal(value, 4711); /* the mailbox travels */
	assert_int_equal(reg(&b, SIM_REG_P2P_LATE, 8), 0);
	go(&b, VFM_STATE_RUNNING);
	pass(&b, 10);
	assert_int_equal(reg(&b, SIM_REG_P2P_SENT, 8), sent + 20);
	end(&a);
	end(&b);
	free(s);
}

/* ---- over the socket ---- */

struct remote {
	struct sim_options device;
	struct sim_server_options options;
	pthread_t thread;
	int result;
	struct vfm_vfio_user *client;
};

static void *serve(void *arg)
{
	struct remote *r = arg;
	char why[SIM_WHY_MAX];

	r->result = sim_server_run(&r->device, &r->options, why);
	return NULL;
}

static void connect_to(struct remote *r, const struct sim_options *device)
{
	int fds[2];

	r->device = *device;
	sim_server_options_init(&r->options);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	r->options.fd = fds[1];
	assert_int_equal(pthread_create(&r->thread, NULL, serve, r), 0);
	assert_int_equal(vfm_vfio_user_new(fds[0], NULL, &r->client, NULL, 0), 0);
}

static void connect_as(struct remote *r, const char *name)
{
	struct sim_options device = options_of(name);

	connect_to(r, &device);
}

static void hang_up(struct remote *r)
{
	vfm_vfio_user_free(r->client);
	pthread_join(r->thread, NULL);
	assert_int_equal(r->result, 0);
}

static void move(struct remote *r, enum vfm_state state)
{
	assert_int_equal(vfm_vfio_user_set_mig_state(r->client, state), 0);
}

static void socket_rule_1_empty_reads(void **state)
{
	static const struct {
		const char *name;
		int empty;
	} rows[] = {{"generic", 0}, {"mlx5", -ENOMSG}, {"virtio", -ENOMSG}, {"qat", 0}};
	uint8_t *buf = malloc(1 << 20);
	struct remote r;
	unsigned i;
	ssize_t got;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		connect_as(&r, rows[i].name);
		move(&r, VFM_STATE_PRE_COPY);
		while ((got = vfm_vfio_user_mig_data_read(r.client, buf, 1 << 20)) > 0)
			;
		assert_int_equal(got, rows[i].empty);
		move(&r, VFM_STATE_STOP_COPY);
		assert_true(vfm_vfio_user_mig_data_read(r.client, buf, 1 << 20) > 0);
		while ((got = vfm_vfio_user_mig_data_read(r.client, buf, 1 << 20)) > 0)
			;
		assert_int_equal(got, 0);
		hang_up(&r);
	}
	free(buf);
}

static void socket_rule_14_writes_that_fail(void **state)
{
	struct stream *s = stream_of("qat");
	enum vfm_state where;
	struct remote r;

	connect_as(&r, "mlx5");
	move(&r, VFM_STATE_RESUMING);
	assert_int_equal(vfm_vfio_user_mig_data_write(r.client, s->data, 1000), -EOPNOTSUPP);
	assert_int_equal(vfm_vfio_user_set_mig_state(r.client, VFM_STATE_STOP), -EOPNOTSUPP);
	assert_int_equal(vfm_vfio_user_get_mig_state(r.client, &where), 0);
	assert_int_equal(where, VFM_STATE_ERROR);
	assert_int_equal(vfm_vfio_user_reset(r.client), 0);
	hang_up(&r);
	connect_as(&r, "qat");
	move(&r, VFM_STATE_RESUMING);
	assert_int_equal(vfm_vfio_user_mig_data_write(r.client, s->data, s->size), 0);
	assert_int_equal(vfm_vfio_user_mig_data_write(r.client, s->data, 10), -ENOMEM);
	hang_up(&r);
	free(s);
}

static void socket_rules_6_and_15(void **state)
{
	struct sim_options device = options_of("qat");
	struct vfm_precopy_info info = {.flags = 0};
	uint64_t size;
	struct remote r;
	unsigned i, absurd = 0;
	uint8_t buf[100];

	device.reinit = (struct sim_trigger){.when = SIM_WHEN_INFO, .value = 1, .times = 1};
	connect_to(&r, &device);
	assert_int_equal(vfm_vfio_user_optin_precopy_info(r.client), 0);
	move(&r, VFM_STATE_PRE_COPY);
	assert_int_equal(vfm_vfio_user_mig_data_read(r.client, buf, 100), 64);
	assert_int_equal(vfm_vfio_user_get_precopy_info(r.client, &info), 0);
	assert_int_equal(info.flags, VFM_PRECOPY_INFO_REINIT);
	assert_int_equal(info.initial_bytes, sizeof(struct stream_record));
	hang_up(&r);
	connect_as(&r, "xe");
	for (i = 0; i < 4; i++)
		absurd += vfm_vfio_user_get_data_size(r.client, &size) == -EIO;
	assert_int_equal(absurd, 1);
	hang_up(&r);
}

/* The second of virtio passes though nothing else moves. */
static void socket_rule_4_the_second_passes(void **state)
{
	struct vfm_precopy_info info = {.flags = 0};
	uint64_t end_ns = clock_ns() + WAIT_NS;
	uint8_t *buf = malloc(1 << 20);
	struct remote r;

	connect_as(&r, "virtio");
	move(&r, VFM_STATE_PRE_COPY);
	while (vfm_vfio_user_mig_data_read(r.client, buf, 1 << 20) > 0)
		;
	do
		assert_int_equal(vfm_vfio_user_get_precopy_info(r.client, &info), 0);
	while (!info.dirty_bytes && clock_ns() < end_ns);
	assert_true(info.dirty_bytes > SMALL);
	hang_up(&r);
	free(buf);
}

static uint64_t remote_reg(struct remote *r, uint64_t offset)
{
	uint64_t value;

	assert_int_equal(vfm_vfio_user_region_read(r->client, SIM_BAR_REGS, offset, &value, 8), 0);
	return value;
}

static void set_remote(struct remote *r, uint64_t offset, uint64_t value, size_t len)
{
	assert_int_equal(
		vfm_vfio_user_region_write(r->client, SIM_BAR_REGS, offset, &value, len), 0);
}

static void wait_for_count(struct remote *r, uint64_t offset, uint64_t beyond)
{
	uint64_t end_ns = clock_ns() + WAIT_NS;

	while (remote_reg(r, offset) <= beyond)
		assert_true(clock_ns() < end_ns);
}

/* @writer gets @owner's mailbox at @iova, as a VMM would map it. */
static void map_mailbox(struct remote *owner, struct remote *writer, uint64_t iova)
{
	struct vfm_vfio_user_region region = {.size = sizeof(region)};

	assert_int_equal(vfm_vfio_user_get_region(owner->client, SIM_BAR_MAILBOX, &region), 0);
	assert_int_equal(region.bytes, SIM_BAR_SIZE);
	assert_true(region.flags & VFM_REGION_INFO_MMAP);
	assert_int_equal(region.fd_count, 1);
	assert_int_equal(ftruncate(region.fds[0], 0), -1); /* it is no client's to take away */
	assert_int_equal(vfm_vfio_user_dma_map(writer->client, iova, SIM_BAR_SIZE,
					       VFM_VFIO_USER_DMA_READABLE |
						       VFM_VFIO_USER_DMA_WRITEABLE,
					       region.fds[0], region.offset),
			 0);
	vfm_vfio_user_region_clear(&region);
}

static uint64_t mailbox_word(struct remote *r, uint64_t offset)
{
	uint64_t value;

	assert_int_equal(
		vfm_vfio_user_region_read(r->client, SIM_BAR_MAILBOX, offset, &value, 8), 0);
	return value;
}

static void stop_in_order(struct remote r[2])
{
	move(&r[0], VFM_STATE_RUNNING_P2P);
	move(&r[1], VFM_STATE_RUNNING_P2P);
	move(&r[0], VFM_STATE_STOP);
	move(&r[1], VFM_STATE_STOP);
}

static void start_in_order(struct remote r[2])
{
	move(&r[0], VFM_STATE_RUNNING_P2P);
	move(&r[1], VFM_STATE_RUNNING_P2P);
	move(&r[0], VFM_STATE_RUNNING);
	move(&r[1], VFM_STATE_RUNNING);
}

static void socket_devices_that_write_to_each_other(void **state)
{
	struct remote r[2];
	unsigned i, round;

	connect_as(&r[0], "mlx5");
	connect_as(&r[1], "xe");
	map_mailbox(&r[0], &r[1], 0xd0000000);
	map_mailbox(&r[1], &r[0], 0xd0001000);
	set_remote(&r[0], SIM_REG_P2P_TARGET, 0xd0001040, 8);
	set_remote(&r[1], SIM_REG_P2P_TARGET, 0xd0000080, 8);
	for (i = 0; i < 2; i++)
		set_remote(&r[i], SIM_REG_P2P_RATE, 20000, 4);
	for (round = 0; round < 5; round++) {
		for (i = 0; i < 2; i++)
			wait_for_count(&r[i], SIM_REG_P2P_SEEN, remote_reg(&r[i], SIM_REG_P2P_SEEN));
		stop_in_order(r);
		assert_int_equal(mailbox_word(&r[1], 0x40), remote_reg(&r[0], SIM_REG_P2P_SENT));
		assert_int_equal(mailbox_word(&r[0], 0x80), remote_reg(&r[1], SIM_REG_P2P_SENT));
		start_in_order(r);
	}
	for (i = 0; i < 2; i++)
		assert_int_equal(remote_reg(&r[i], SIM_REG_P2P_LATE), 0);
	/* Whoever stops one while the other still runs is found out. */
	move(&r[0], VFM_STATE_STOP);
	wait_for_count(&r[0], SIM_REG_P2P_LATE, 0);
	assert_int_equal(remote_reg(&r[1], SIM_REG_P2P_LATE), 0);
	for (i = 0; i < 2; i++)
		hang_up(&r[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_support),
		cmocka_unit_test(test_identities_differ),
		cmocka_unit_test(test_state_sizes),
		cmocka_unit_test(test_mtty_does_no_dma),
		cmocka_unit_test(rule_1_empty_reads),
		cmocka_unit_test(rule_3_the_query_saves),
		cmocka_unit_test(rule_4_virtio_saves_all_once_a_second),
		cmocka_unit_test(rule_4_set_up_data_alone),
		cmocka_unit_test(rule_5_info_in_pre_copy_alone),
		cmocka_unit_test(rule_5_mlx5_finds_no_reinit_in_p2p),
		cmocka_unit_test(rule_6_opt_in),
		cmocka_unit_test(rule_7_reinit),
		cmocka_unit_test(rule_7_dirty_waits_behind_initial),
		cmocka_unit_test(rule_8_a_failed_save),
		cmocka_unit_test(rule_8_sizes_grow),
		cmocka_unit_test(rule_9_partial_reads),
		cmocka_unit_test(rule_10_no_session),
		cmocka_unit_test(rule_10_reset_behind_the_caller),
		cmocka_unit_test(rule_11_spontaneous_error),
		cmocka_unit_test(rule_11_error_in_the_middle),
		cmocka_unit_test(rule_13_where_the_load_happens),
		cmocka_unit_test(rule_14_too_much),
		cmocka_unit_test(rule_14_a_header_of_another),
		cmocka_unit_test(rule_15_constant_sizes),
		cmocka_unit_test(rule_15_an_errno_as_size),
		cmocka_unit_test(rule_15_asking_takes_time),
		cmocka_unit_test(rule_16_what_stops_in_p2p),
		cmocka_unit_test(rule_17_ranges_and_pages),
		cmocka_unit_test(rule_18_reports_of_pds),
		cmocka_unit_test(test_calls_that_fail),
		cmocka_unit_test(test_alloc_cost),
		cmocka_unit_test(test_size_error),
		cmocka_unit_test(test_reinit_triggers),
		cmocka_unit_test(test_late_reinit),
		cmocka_unit_test(test_reinit_by_command),
		cmocka_unit_test(test_every_personality_migrates),
		cmocka_unit_test(test_option_words),
		cmocka_unit_test(test_late_writes_are_counted),
		cmocka_unit_test(test_writes_to_a_peer),
		cmocka_unit_test(socket_rule_1_empty_reads),
		cmocka_unit_test(socket_rule_14_writes_that_fail),
		cmocka_unit_test(socket_rules_6_and_15),
		cmocka_unit_test(socket_rule_4_the_second_passes),
		cmocka_unit_test(socket_devices_that_write_to_each_other),
	};

	srand(1);
	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
