/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel back end over the kernel double: a test for each rule of the uAPI's users, named by its
 * number in docs/kernel-vfio.md, over all drivers that it concerns.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/bitmap.h"
#include "device/device.h"
#include "sim/device.h"
#include "tests/kernel-double.h"

static const char *const drivers[] = {"mlx5", "virtio", "hisi_acc", "qat", "pds", "xe", "mtty"};

/* ---- tools ---- */

struct stream {
	uint8_t *data;
	size_t size, room;
};

static void add(struct stream *s, const void *data, size_t size)
{
	if (s->size + size > s->room) {
		s->room = 2 * (s->size + size);
		s->data = realloc(s->data, s->room);
		assert_non_null(s->data);
	}
	memcpy(s->data + s->size, data, size);
	s->size += size;
}

static void go(struct vfm_device *dev, enum vfm_state state)
{
	struct vfm_error error = {0};
	int ret = device_transition(dev, state, NULL, NULL, &error);

	if (ret)
		fail_msg("to %s: %d %s", vfm_state_name(state), ret, error.text);
}

/* What there is now; the result of the read that gave nothing. */
static ssize_t drain(struct vfm_device *dev, struct stream *s)
{
	uint8_t buf[10000];
	ssize_t got;

	while ((got = dev->ops->read(dev, buf, sizeof(buf))) > 0)
		add(s, buf, (size_t)got);
	return got;
}

static int load(struct vfm_device *dev, const struct stream *s, size_t size)
{
	int ret = 0;

	for (size_t at = 0; at < size && !ret; at += 10000)
		ret = dev->ops->write(dev, s->data + at, MIN(size - at, (size_t)10000));
	return ret;
}

static bool has_precopy(const struct vfm_device *dev)
{
	return dev->info.mig_flags & VFM_MIG_PRE_COPY;
}

/* Both ends of a move of one device. */
struct pair {
	struct kernel_double from, to;
	struct vfm_device *source, *destination;
	struct stream stream;
};

static void pair_up(struct pair *p, const char *driver, void (*tune)(struct sim_options *))
{
	memset(p, 0, sizeof(*p));
	kernel_double_init(&p->from, driver, tune);
	kernel_double_init(&p->to, driver, NULL);
	memset(p->to.sim->memory.data, 0, p->to.sim->memory.size);
	p->source = kernel_double_device(&p->from);
	p->destination = kernel_double_device(&p->to);
}

static void pair_down(struct pair *p)
{
	vfm_device_free(p->source);
	vfm_device_free(p->destination);
	kernel_double_destroy(&p->from);
	kernel_double_destroy(&p->to);
	free(p->stream.data);
}

static void assert_same(struct pair *p)
{
	assert_memory_equal(p->from.sim->memory.data, p->to.sim->memory.data,
			    p->from.sim->memory.size);
	assert_memory_equal(&p->from.sim->regs, &p->to.sim->regs, sizeof(p->from.sim->regs));
}

/* Through PRE_COPY where the device has it, with queries, to the end. */
static void save(struct pair *p)
{
	struct device_precopy info;

	if (has_precopy(p->source)) {
		go(p->source, VFM_STATE_PRE_COPY);
		for (unsigned i = 0; i < 5; i++) {
			assert_int_equal(p->source->ops->precopy_info(p->source, &info), 0);
			assert_int_equal(drain(p->source, &p->stream), 0);
			kernel_double_pass(&p->from, 400);
		}
	}
	go(p->source, VFM_STATE_STOP_COPY);
	assert_int_equal(drain(p->source, &p->stream), 0);
	go(p->source, VFM_STATE_STOP);
}

static void restore(struct pair *p)
{
	go(p->destination, VFM_STATE_RESUMING);
	assert_int_equal(load(p->destination, &p->stream, p->stream.size), 0);
	go(p->destination, VFM_STATE_STOP);
	assert_same(p);
	go(p->destination, VFM_STATE_RUNNING);
}

static void for_all(void (*test)(const char *driver))
{
	for (unsigned i = 0; i < ARRAY_SIZE(drivers); i++)
		test(drivers[i]);
}

static void changing(struct sim_options *o)
{
	o->dirty_rate = 100000;
}

/* ---- the rules ---- */

static void empty_reads(const char *driver)
{
	struct pair p;
	size_t early;

	pair_up(&p, driver, NULL);
	if (has_precopy(p.source)) {
		go(p.source, VFM_STATE_PRE_COPY);
		/* Three drivers say 0, the others ENOMSG; both mean: not now. */
		assert_int_equal(drain(p.source, &p.stream), 0);
		assert_int_equal(drain(p.source, &p.stream), 0);
		early = p.stream.size;
		go(p.source, VFM_STATE_STOP_COPY);
		assert_int_equal(drain(p.source, &p.stream), 0);
		assert_true(p.stream.size > early);
		go(p.source, VFM_STATE_STOP);
		restore(&p);
	}
	pair_down(&p);
}

static void rule_01_an_empty_read_is_not_the_end(void **state)
{
	for_all(empty_reads);
}

/* In STOP_COPY there is no later: who says so has lost something. */
static void rule_01_no_message_in_stop_copy_is_an_error(void **state)
{
	struct pair p;

	pair_up(&p, "mlx5", NULL);
	go(p.source, VFM_STATE_STOP_COPY);
	p.from.nomsg_stop = 1;
	assert_int_equal(drain(p.source, &p.stream), -ENOMSG);
	assert_int_equal(drain(p.source, &p.stream), -ENOMSG); /* it stays dead */
	pair_down(&p);
}

static void lying_poll(const char *driver)
{
	struct pair p;

	pair_up(&p, driver, NULL);
	if (has_precopy(p.source) && !p.from.has_poll) {
		go(p.source, VFM_STATE_PRE_COPY);
		assert_int_equal(drain(p.source, &p.stream), 0);
		assert_int_equal(p.source->ops->wait(p.source, 1000), 0);
		assert_int_equal(p.from.silent_polls, 0); /* believed once */
		assert_int_equal(drain(p.source, &p.stream), 0);
		assert_int_equal(p.source->ops->wait(p.source, 1), 0);
		assert_int_equal(p.from.silent_polls, 1); /* the timer now */
	}
	pair_down(&p);
}

static void rule_02_poll_is_paired_with_a_timer(void **state)
{
	struct pair p;

	for_all(lying_poll);
	pair_up(&p, "mlx5", NULL);
	go(p.source, VFM_STATE_PRE_COPY);
	p.from.again = 2;
	assert_int_equal(p.source->ops->wait(p.source, 1), 0);
	assert_int_equal(p.from.silent_polls, 1); /* it waited, and came back without data */
	p.from.again = 0;
	assert_int_equal(p.source->ops->wait(p.source, 1000), 0);
	assert_int_equal(p.from.silent_polls, 1);
	pair_down(&p);
}

/* A driver without poll that takes nothing now costs the timer, and not a processor. */
static void a_full_driver(const char *driver)
{
	struct pair p;

	pair_up(&p, driver, NULL);
	save(&p);
	go(p.destination, VFM_STATE_RESUMING);
	p.to.write_again = 4;
	assert_int_equal(load(p.destination, &p.stream, p.stream.size), 0);
	assert_int_equal(p.to.write_again, 0);
	assert_true(p.to.silent_polls >= 3); /* the first was believed */
	go(p.destination, VFM_STATE_STOP);
	assert_same(&p);
	pair_down(&p);
}

static void rule_02_a_write_waits_too(void **state)
{
	for_all(a_full_driver);
}

static void rule_03_a_query_makes_the_next_data(void **state)
{
	static const char *const asked[] = {"mlx5", "virtio"};
	struct device_precopy info;
	struct pair p;
	size_t before;

	for (unsigned i = 0; i < ARRAY_SIZE(asked); i++) {
		pair_up(&p, asked[i], changing);
		go(p.source, VFM_STATE_PRE_COPY);
		drain(p.source, &p.stream);
		before = p.stream.size;
		kernel_double_pass(&p.from, 1500);
		assert_int_equal(drain(p.source, &p.stream), 0);
		assert_int_equal(p.stream.size, before); /* reading alone gives nothing */
		assert_int_equal(p.source->ops->precopy_info(p.source, &info), 0);
		drain(p.source, &p.stream);
		assert_true(p.stream.size > before);
		go(p.source, VFM_STATE_STOP_COPY);
		drain(p.source, &p.stream);
		go(p.source, VFM_STATE_STOP);
		restore(&p);
		pair_down(&p);
	}
}

static void rule_04_whole_saves_and_setup_data(void **state)
{
	static const char *const setup_only[] = {"hisi_acc", "qat", "mtty"};
	struct device_precopy info;
	struct pair p;

	pair_up(&p, "virtio", changing);
	save(&p);
	assert_true(p.stream.size >= 2 * p.from.sim->memory.size); /* the whole, again and again */
	restore(&p);
	pair_down(&p);
	for (unsigned i = 0; i < ARRAY_SIZE(setup_only); i++) {
		pair_up(&p, setup_only[i], NULL);
		go(p.source, VFM_STATE_PRE_COPY);
		drain(p.source, &p.stream);
		assert_in_range(p.stream.size, 1, 100);
		kernel_double_pass(&p.from, 100);
		assert_int_equal(p.source->ops->precopy_info(p.source, &info), 0);
		assert_int_equal(info.dirty_bytes, 0);
		pair_down(&p);
	}
}

static void info_states(const char *driver)
{
	struct device_precopy info;
	struct pair p;

	pair_up(&p, driver, NULL);
	assert_int_equal(p.source->ops->precopy_info(p.source, &info), -EBADF);
	go(p.source, VFM_STATE_STOP_COPY);
	assert_int_equal(p.source->ops->precopy_info(p.source, &info), -EINVAL);
	assert_true(info.initial_bytes == VFM_SIZE_UNKNOWN && info.dirty_bytes == VFM_SIZE_UNKNOWN);
	go(p.source, VFM_STATE_STOP);
	go(p.source, VFM_STATE_RESUMING);
	assert_int_equal(p.source->ops->precopy_info(p.source, &info), -EBADF);
	pair_down(&p);
}

static void rule_05_precopy_info_in_precopy_alone(void **state)
{
	for_all(info_states);
}

static void rule_06_the_opt_in_is_for_each_open(void **state)
{
	struct device_precopy info;
	struct pair p;

	pair_up(&p, "mlx5", NULL);
	assert_int_equal(p.source->info.has_reinit, 1);
	assert_int_equal(p.from.optins, 1);
	vfm_device_free(p.source);
	kernel_double_user_died(&p.from);
	p.source = kernel_double_device(&p.from);
	assert_int_equal(p.from.optins, 2);
	assert_true(p.from.sim->infov2);
	vfm_device_free(p.source);

	/* An old kernel: the flags are what the caller left there, or worse. */
	p.from.no_infov2 = p.from.echo_flags = true;
	p.source = kernel_double_device(&p.from);
	assert_int_equal(p.source->info.has_reinit, 0);
	assert_int_equal(p.source->info.has_precopy_info, 1);
	go(p.source, VFM_STATE_PRE_COPY);
	assert_int_equal(p.source->ops->precopy_info(p.source, &info), 0);
	assert_false(info.reinit);
	pair_down(&p);

	/* Without PRE_COPY nobody asks. */
	pair_up(&p, "pds", NULL);
	assert_int_equal(p.from.optins, 0);
	assert_int_equal(p.source->info.has_reinit | p.source->info.has_precopy_info, 0);
	pair_down(&p);
}

static void reinit_soon(struct sim_options *o)
{
	o->reinit = (struct sim_trigger){SIM_WHEN_INFO, 3, 1};
}

static void rule_07_reinit_begins_anew(void **state)
{
	struct device_precopy info;
	struct pair p;
	unsigned told = 0;

	pair_up(&p, "mlx5", reinit_soon);
	go(p.source, VFM_STATE_PRE_COPY);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(p.source->ops->precopy_info(p.source, &info), 0);
		if (info.reinit) {
			told++;
			assert_true(info.initial_bytes > 0);
		} else if (i) {
			assert_int_equal(info.initial_bytes, 0);
		}
		drain(p.source, &p.stream);
	}
	assert_int_equal(told, 1);
	go(p.source, VFM_STATE_STOP_COPY);
	drain(p.source, &p.stream);
	go(p.source, VFM_STATE_STOP);
	restore(&p);
	pair_down(&p);
}

static void failed_save(struct sim_options *o)
{
	o->dirty_rate = 100000;
	o->fail_call[SIM_CALL_SAVE] = (struct sim_fail){EIO, 1};
}

static void rule_08_after_a_failed_save_the_rest_comes_at_the_end(void **state)
{
	struct device_precopy info;
	struct pair p;
	size_t before;

	pair_up(&p, "mlx5", failed_save);
	go(p.source, VFM_STATE_PRE_COPY);
	assert_int_equal(drain(p.source, &p.stream), 0);
	for (unsigned i = 0; i < 4; i++) {
		kernel_double_pass(&p.from, 100);
		p.source->ops->precopy_info(p.source, &info);
		assert_int_equal(drain(p.source, &p.stream), 0);
	}
	before = p.stream.size;
	go(p.source, VFM_STATE_STOP_COPY);
	assert_int_equal(drain(p.source, &p.stream), 0);
	assert_true(p.stream.size > before);
	go(p.source, VFM_STATE_STOP);
	restore(&p);
	pair_down(&p);
}

static void pieces(const char *driver)
{
	struct pair p;

	pair_up(&p, driver, NULL);
	p.from.read_max = 1009;
	p.to.write_max = 733;
	save(&p);
	restore(&p);
	pair_down(&p);
}

static void rule_09_reads_and_writes_are_partial(void **state)
{
	for_all(pieces);
}

static void rule_09_a_save_in_progress_blocks_nobody(void **state)
{
	struct pair p;

	pair_up(&p, "mlx5", NULL);
	go(p.source, VFM_STATE_PRE_COPY);
	p.from.again = 1;
	assert_int_equal(drain(p.source, &p.stream), -EAGAIN);
	assert_int_equal(drain(p.source, &p.stream), 0);
	go(p.source, VFM_STATE_STOP_COPY);
	p.from.again = 3; /* in the downtime the read itself waits */
	assert_int_equal(drain(p.source, &p.stream), 0);
	assert_true(p.from.silent_polls > 0);
	go(p.source, VFM_STATE_STOP);
	restore(&p);
	pair_down(&p); /* and checks that no read slept in the kernel */
}

static void *cancel_soon(void *arg)
{
	struct pair *p = arg;

	while (!__atomic_load_n(&p->from.polls, __ATOMIC_RELAXED))
		sched_yield();
	p->source->ops->cancel(p->source);
	return NULL;
}

static void rule_09_cancel_wakes_a_read(void **state)
{
	pthread_t thread;
	struct pair p;
	uint8_t byte;

	pair_up(&p, "mlx5", NULL);
	go(p.source, VFM_STATE_STOP_COPY);
	p.from.again = UINT32_MAX;
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, &p), 0);
	assert_int_equal(p.source->ops->read(p.source, &byte, 1), -ECANCELED);
	pthread_join(thread, NULL);
	assert_int_equal(p.source->ops->read(p.source, &byte, 1), -ECANCELED);
	assert_int_equal(p.source->ops->wait(p.source, 100000), -ECANCELED);
	p.from.again = 0;
	go(p.source, VFM_STATE_STOP); /* as if nothing had been */
	go(p.source, VFM_STATE_STOP_COPY);
	assert_int_equal(p.source->ops->read(p.source, &byte, 1), 1);
	pair_down(&p);
}

/* A write that was cut short has lost bytes: RESUMING is left by reset alone. */
static void rule_09_a_cancelled_write_is_fatal(void **state)
{
	enum vfm_state now;
	struct pair p;

	pair_up(&p, "mlx5", NULL);
	save(&p);
	go(p.destination, VFM_STATE_RESUMING);
	p.destination->ops->cancel(p.destination);
	assert_int_equal(load(p.destination, &p.stream, 10), -ECANCELED);
	assert_int_equal(device_transition(p.destination, VFM_STATE_STOP, NULL, NULL, NULL),
			 -ECANCELED);
	assert_int_equal(vfm_device_get_state(p.destination, &now), 0);
	assert_int_equal(now, VFM_STATE_RESUMING);
	assert_int_equal(device_recover(p.destination, VFM_STATE_RUNNING, NULL, NULL), 1);
	pair_down(&p);
}

static void gone_session(const char *driver)
{
	enum vfm_state now;
	struct pair p;

	pair_up(&p, driver, NULL);
	go(p.source, VFM_STATE_STOP_COPY);
	sim_reset(p.from.sim); /* behind our back */
	assert_int_equal(drain(p.source, &p.stream), -ENODEV);
	assert_int_equal(drain(p.source, &p.stream), -ENODEV);
	assert_int_equal(vfm_device_get_state(p.source, &now), 0);
	assert_int_equal(now, VFM_STATE_RUNNING);
	save(&p);
	restore(&p);
	pair_down(&p);
}

static void rule_10_a_reset_ends_the_session(void **state)
{
	for_all(gone_session);
}

/* Reset behind our back between a read and the next arc: what was read is of another life. */
static void unseen_reset(const char *driver)
{
	static const enum vfm_state next[] = {VFM_STATE_STOP_COPY, VFM_STATE_PRE_COPY_P2P};
	struct pair p;

	for (unsigned i = 0; i < ARRAY_SIZE(next); i++) {
		pair_up(&p, driver, NULL);
		if (has_precopy(p.source) &&
		    (i == 0 || (p.source->info.mig_flags & VFM_MIG_P2P))) {
			go(p.source, VFM_STATE_PRE_COPY);
			drain(p.source, &p.stream);
			sim_reset(p.from.sim);
			assert_int_equal(device_transition(p.source, next[i], NULL, NULL, NULL),
					 -ENODEV);
			assert_int_equal(p.source->state, sim_state(p.from.sim));
			assert_int_equal(drain(p.source, &p.stream), -EBADF);
			go(p.source, VFM_STATE_RUNNING);
			p.stream.size = 0;
			save(&p);
			restore(&p);
		}
		pair_down(&p);
	}
}

static void rule_10_an_unseen_reset_is_no_other_session(void **state)
{
	for_all(unseen_reset);
}

static void stop_fails(struct sim_options *o)
{
	o->fail[VFM_STATE_STOP][VFM_STATE_STOP_COPY] = (struct sim_fail){EIO, 1};
}

static void failed_set(const char *driver)
{
	struct vfm_error error = {0};
	struct pair p;

	pair_up(&p, driver, stop_fails);
	assert_int_equal(device_transition(p.source, VFM_STATE_STOP_COPY, NULL, NULL, &error), -EIO);
	assert_int_equal(error.from, VFM_STATE_STOP);
	assert_int_equal(p.source->state, sim_state(p.from.sim)); /* asked, not assumed */
	assert_true(device_recover(p.source, VFM_STATE_RUNNING, NULL, NULL) >= 0);
	assert_int_equal(sim_state(p.from.sim), VFM_STATE_RUNNING);
	save(&p);
	restore(&p);
	pair_down(&p);
}

static void upset(struct sim_options *o)
{
	o->upset = (struct sim_trigger){SIM_WHEN_BYTES, 100, 1};
}

static void rule_11_after_a_failure_ask_then_recover(void **state)
{
	enum vfm_state now;
	struct pair p;

	for_all(failed_set);
	/* pds enters ERROR by itself and says EIO to everything. */
	pair_up(&p, "pds", upset);
	go(p.source, VFM_STATE_STOP_COPY);
	assert_true(drain(p.source, &p.stream) < 0);
	assert_int_equal(vfm_device_get_state(p.source, &now), 0);
	assert_int_equal(now, VFM_STATE_ERROR);
	assert_int_equal(device_transition(p.source, VFM_STATE_RUNNING, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(device_recover(p.source, VFM_STATE_RUNNING, NULL, NULL), 1);
	assert_int_equal(p.from.resets, 1);
	pair_down(&p);
	/* A new user of it can do the same. */
	pair_up(&p, "pds", upset);
	go(p.source, VFM_STATE_STOP_COPY);
	drain(p.source, &p.stream);
	vfm_device_free(p.source);
	p.source = kernel_double_device(&p.from);
	assert_int_equal(p.source->state, VFM_STATE_ERROR);
	assert_int_equal(vfm_device_reset(p.source), 0);
	pair_down(&p);
}

static void fds(const char *driver)
{
	uint8_t byte;
	struct pair p;

	pair_up(&p, driver, NULL);
	if (has_precopy(p.source)) {
		go(p.source, VFM_STATE_PRE_COPY);
		assert_int_equal(p.from.session_count, 1);
		go(p.source, VFM_STATE_STOP_COPY);
		assert_int_equal(p.from.session_count, 1); /* the same one goes on */
		assert_true(p.from.sessions[0].open);
		assert_true(p.source->ops->read(p.source, &byte, 1) > 0);
	} else {
		go(p.source, VFM_STATE_STOP_COPY);
		assert_int_equal(p.from.session_count, 1);
	}
	go(p.source, VFM_STATE_STOP);
	assert_false(p.from.sessions[0].open); /* not leaked */
	assert_int_equal(p.source->ops->read(p.source, &byte, 1), -EBADF);
	assert_int_equal(p.source->ops->write(p.source, &byte, 1), -EBADF);
	pair_down(&p);
}

static void rule_12_an_arc_gives_an_fd_or_none(void **state)
{
	for_all(fds);
}

/* Whoever had that session is dead, and its fd with it. */
static void left_behind(const char *driver)
{
	struct pair p;

	pair_up(&p, driver, NULL);
	go(p.destination, VFM_STATE_RESUMING);
	vfm_device_free(p.destination);
	kernel_double_user_died(&p.to);
	p.destination = kernel_double_device(&p.to);
	assert_int_equal(p.destination->state, VFM_STATE_RESUMING); /* read, not changed */
	assert_int_equal(p.destination->ops->set_state(p.destination, VFM_STATE_RESUMING), -EBADF);
	assert_int_equal(device_recover(p.destination, VFM_STATE_RUNNING, NULL, NULL), 1);
	save(&p);
	restore(&p);
	pair_down(&p);
}

static void rule_12_somebody_elses_session_is_none(void **state)
{
	for_all(left_behind);
}

static void final_check(const char *driver)
{
	struct pair p;

	pair_up(&p, driver, NULL);
	save(&p);
	go(p.destination, VFM_STATE_RESUMING);
	assert_int_equal(load(p.destination, &p.stream, p.stream.size - 1), 0); /* one byte missing */
	assert_true(device_transition(p.destination, VFM_STATE_STOP, NULL, NULL, NULL) < 0);
	assert_int_equal(device_recover(p.destination, VFM_STATE_RUNNING, NULL, NULL), 1);
	assert_int_equal(p.to.resets, 1);
	restore(&p); /* and the next try succeeds */
	pair_down(&p);
}

static void rule_13_leaving_resuming_is_the_final_check(void **state)
{
	for_all(final_check);
}

static void foreign_data(const char *driver)
{
	struct pair p;
	int ret;

	pair_up(&p, driver, NULL);
	save(&p);
	/* Too much. */
	add(&p.stream, "x", 1);
	go(p.destination, VFM_STATE_RESUMING);
	ret = load(p.destination, &p.stream, p.stream.size);
	assert_true(ret == -ENOMEM || (ret == -EINVAL && !strcmp(driver, "pds")));
	assert_int_equal(device_transition(p.destination, VFM_STATE_STOP, NULL, NULL, NULL), ret);
	assert_int_equal(device_recover(p.destination, VFM_STATE_RUNNING, NULL, NULL), 1);
	/* Another device's. */
	p.stream.data[0] ^= 1;
	p.stream.size--;
	go(p.destination, VFM_STATE_RESUMING);
	ret = load(p.destination, &p.stream, p.stream.size);
	if (!ret)
		ret = device_transition(p.destination, VFM_STATE_STOP, NULL, NULL, NULL);
	assert_int_equal(-ret, sim_who(p.to.sim)->mismatch_errno);
	assert_int_equal(device_recover(p.destination, VFM_STATE_RUNNING, NULL, NULL), 1);
	p.stream.data[0] ^= 1;
	restore(&p);
	pair_down(&p);
}

static void rule_14_foreign_and_excess_data_are_refused(void **state)
{
	for_all(foreign_data);
}

/* The driver forgets that it refused a write, and would let the device run. */
static void rule_14_a_failed_write_is_fatal(void **state)
{
	struct pair p;

	pair_up(&p, "hisi_acc", NULL);
	save(&p);
	p.stream.data[0] ^= 1;
	p.to.accepts_after_error = true;
	go(p.destination, VFM_STATE_RESUMING);
	assert_int_equal(load(p.destination, &p.stream, p.stream.size), -EFAULT);
	assert_int_equal(p.destination->ops->write(p.destination, p.stream.data, 1), -EFAULT);
	assert_int_equal(device_transition(p.destination, VFM_STATE_RUNNING, NULL, NULL, NULL),
			 -EFAULT);
	assert_int_equal(sim_state(p.to.sim), VFM_STATE_RESUMING);
	assert_int_equal(device_recover(p.destination, VFM_STATE_RUNNING, NULL, NULL), 1);
	assert_int_equal(p.to.resets, 1);
	pair_down(&p);
}

static void sizes(const char *driver)
{
	struct pair p;
	uint64_t size;
	int ret, lies = 0;

	pair_up(&p, driver, NULL);
	assert_int_equal(p.source->info.has_data_size, 1);
	for (unsigned i = 0; i < 8; i++) {
		ret = p.source->ops->stop_copy_size(p.source, &size);
		lies += ret == -EIO && size == VFM_SIZE_UNKNOWN;
		assert_true(ret == -EIO || (ret == 0 && size <= INT64_MAX && size > 0));
	}
	assert_int_equal(lies, strcmp(driver, "xe") ? 0 : 2);
	vfm_device_free(p.source);
	p.from.no_data_size = true; /* an older kernel */
	p.source = kernel_double_device(&p.from);
	assert_int_equal(p.source->ops->stop_copy_size(p.source, &size), 0);
	assert_true(size == VFM_SIZE_UNKNOWN);
	pair_down(&p);
}

static void rule_15_an_absurd_size_is_an_error(void **state)
{
	for_all(sizes);
}

struct arcs {
	enum vfm_state to[8];
	unsigned count;
};

static void note_arc(void *opaque, const struct device_arc *arc)
{
	struct arcs *arcs = opaque;

	arcs->to[arcs->count++] = arc->to;
}

/* The P2P state is an arc of its own, so that its time is measured. */
static void rule_16_the_p2p_arc_is_seen(void **state)
{
	static const enum vfm_state way[] = {VFM_STATE_PRE_COPY_P2P, VFM_STATE_STOP_COPY};
	struct arcs arcs = {.count = 0};
	struct pair p;

	pair_up(&p, "qat", NULL);
	go(p.source, VFM_STATE_PRE_COPY);
	assert_int_equal(device_transition(p.source, VFM_STATE_STOP_COPY, note_arc, &arcs, NULL), 0);
	assert_int_equal(arcs.count, ARRAY_SIZE(way));
	assert_memory_equal(arcs.to, way, sizeof(way));
	pair_down(&p);
	pair_up(&p, "hisi_acc", NULL); /* it has none */
	arcs.count = 0;
	go(p.source, VFM_STATE_PRE_COPY);
	assert_int_equal(device_transition(p.source, VFM_STATE_STOP_COPY, note_arc, &arcs, NULL), 0);
	assert_int_equal(arcs.count, 1);
	pair_down(&p);
}

static int start_log(struct vfm_device *dev, const struct device_range *ranges, unsigned count,
		     uint64_t *page)
{
	*page = 4096;
	return dev->ops->log_start(dev, ranges, count, page);
}

static void rule_17_ranges_are_merged(void **state)
{
	struct device_range ranges[256];
	struct pair p;
	uint64_t page;

	for (unsigned i = 0; i < 256; i++)
		ranges[255 - i] = (struct device_range){i * 0x100000 + (i >= 200) * 0x10000000,
							0x8000};
	pair_up(&p, "mlx5", NULL);
	assert_int_equal(start_log(p.source, ranges, 256, &page), 0);
	assert_int_equal(p.from.range_count, 256);
	assert_int_equal(p.source->ops->log_stop(p.source), 0);
	/* A device that takes few; what is between is tracked as well, and the widest gap stays. */
	p.from.ranges_max = 5;
	assert_int_equal(start_log(p.source, ranges, 256, &page), 0);
	assert_in_range(p.from.range_count, 2, 5);
	assert_int_equal(p.from.ranges[0].iova, 0);
	for (unsigned i = 0; i < p.from.range_count; i++)
		assert_false(p.from.ranges[i].iova < 200 * 0x100000 &&
			     p.from.ranges[i].iova + p.from.ranges[i].length > 0x14c80000);
	assert_int_equal(p.source->ops->log_stop(p.source), 0);
	/* Nonsense is not handed to the kernel. */
	ranges[1] = ranges[0];
	assert_int_equal(start_log(p.source, ranges, 2, &page), -EINVAL);
	assert_int_equal(start_log(p.source, ranges, 0, &page), -EINVAL);
	pair_down(&p);
}

static void rule_17_one_start_needs_one_stop(void **state)
{
	const struct device_range range = {0, 1 << 20};
	struct pair p;
	uint64_t page = 4096;

	pair_up(&p, "mlx5", NULL);
	assert_int_equal(start_log(p.source, &range, 1, &page), 0);
	assert_int_equal(start_log(p.source, &range, 1, &page), 0); /* ends the first */
	assert_int_equal(p.source->ops->log_stop(p.source), 0);
	/* On, though we did not start it. */
	assert_int_equal(sim_log_start(p.from.sim, &page, NULL, 0), 0);
	assert_int_equal(start_log(p.source, &range, 1, &page), 0);
	vfm_device_free(p.source); /* stops it */
	assert_false(p.from.sim->log.on);
	p.source = kernel_double_device(&p.from);
	pair_down(&p);
}

static void rule_17_the_driver_chooses_the_page_size(void **state)
{
	/* 0x9000: no whole number of its pages. */
	const struct device_range ranges[] = {{0, 0x9000}, {0x100000, 0x29000}, {0x12f000, 0x1000}};
	struct pair p;
	uint64_t page;

	pair_up(&p, "pds", NULL);
	assert_int_equal(start_log(p.source, ranges, 3, &page), 0);
	assert_int_equal(page, 0x10000);
	assert_int_equal(p.from.range_count, 2); /* widened, and two of them met */
	assert_int_equal(p.from.ranges[0].length, 0x10000);
	assert_int_equal(p.from.ranges[1].length, 0x30000);
	pair_down(&p);
}

/* The device wrote a byte there. */
static void device_writes(struct kernel_double *kd, uint64_t iova)
{
	log_mark(&kd->sim->log, iova, 1);
}

static bool is_dirty(struct vfm_device *dev, uint64_t iova, uint64_t size, uint64_t page,
		     uint64_t at)
{
	uint64_t bits[64] = {0};

	assert_true(size / page <= 64 * 64);
	assert_int_equal(dev->ops->log_report(dev, iova, size, page, bits), 0);
	return bitmap_test(bits, (at - iova) / page);
}

static void rule_18_a_report_takes_and_clears(void **state)
{
	const struct device_range range = {0x100000, 0x100000};
	uint64_t page, bits[4] = {0, 8, 0, 0}; /* bit 67 was set before */
	struct pair p;

	pair_up(&p, "mlx5", NULL);
	assert_int_equal(start_log(p.source, &range, 1, &page), 0);
	device_writes(&p.from, 0x101000);
	device_writes(&p.from, 0x1fffff);
	assert_int_equal(p.source->ops->log_report(p.source, 0x100000, 0x100000, page, bits), 0);
	assert_true(bits[0] == 2 && bits[1] == 8 && bits[3] == UINT64_C(1) << 63);
	assert_false(is_dirty(p.source, 0x100000, 0x100000, page, 0x101000));
	/* On any error everything counts as dirty: nothing is said. */
	p.from.report_errno = EIO;
	assert_int_equal(p.source->ops->log_report(p.source, 0x100000, 0x100000, page, bits), -EIO);
	p.from.report_errno = 0;
	assert_int_equal(p.source->ops->log_report(p.source, 0x1ff000, 0x2000, page, bits), -ERANGE);
	assert_int_equal(p.source->ops->log_report(p.source, 0x100000, 0x1000, 8192, bits), -EINVAL);
	assert_int_equal(p.source->ops->log_report(p.source, 0x100000, 0, page, bits), -EINVAL);
	assert_int_equal(p.source->ops->log_stop(p.source), 0);
	assert_int_equal(p.source->ops->log_report(p.source, 0x100000, 0x1000, page, bits), -EINVAL);
	pair_down(&p);
}

/* Asked in any shape; the driver sees ranges, units and whole pages alone. */
static void rule_18_reports_of_any_shape(void **state)
{
	const struct device_range range = {0x1000000, 0x1000000};
	uint64_t page, bits = 0;
	struct pair p;

	pair_up(&p, "pds", NULL);
	assert_int_equal(start_log(p.source, &range, 1, &page), 0);
	device_writes(&p.from, 0x1234567);
	device_writes(&p.from, 0x1fffff0);
	/* Beside the page: it is fetched, and kept. */
	assert_false(is_dirty(p.source, 0x1010000, 0x10000, page, 0x1010000));
	assert_false(is_dirty(p.source, 0x1240000, 0x130000, page, 0x1240000));
	/* A part of it, from an odd place: it is told, and stays for who asks for the rest. */
	assert_true(is_dirty(p.source, 0x1238000, 0x10000, page, 0x1238000));
	assert_true(is_dirty(p.source, 0x1230000, 0x10000, page, 0x1230000));
	assert_false(is_dirty(p.source, 0x1230000, 0x10000, page, 0x1230000));
	assert_true(is_dirty(p.source, 0x1000000, 0x1000000, page, 0x1ff0000));
	/* One page, and two bits of an answer that begins between pages. */
	device_writes(&p.from, 0x1234567);
	assert_int_equal(p.source->ops->log_report(p.source, 0x1223000, 0x20000, page, &bits), 0);
	assert_int_equal(bits, 3);
	pair_down(&p);
}

static void interrupted(const char *driver)
{
	uint8_t buf[16];
	struct pair p;

	pair_up(&p, driver, NULL);
	go(p.source, VFM_STATE_STOP_COPY);
	assert_int_equal(p.source->ops->read(p.source, buf, 16), 16);
	p.from.eintr_at = p.from.reads + 1;
	assert_int_equal(p.source->ops->read(p.source, buf, 16), -EINTR);
	assert_int_equal(p.source->ops->read(p.source, buf, 16), -EINTR); /* for good */
	go(p.source, VFM_STATE_STOP);
	save(&p); /* another session */
	go(p.destination, VFM_STATE_RESUMING);
	p.to.eintr_at = p.to.writes + 1;
	assert_int_equal(p.destination->ops->write(p.destination, p.stream.data, 20), 0); /* first */
	p.to.eintr_at = p.to.writes + 1;
	assert_int_equal(p.destination->ops->write(p.destination, p.stream.data + 20, 20), -EINTR);
	assert_int_equal(device_transition(p.destination, VFM_STATE_STOP, NULL, NULL, NULL), -EINTR);
	assert_int_equal(device_recover(p.destination, VFM_STATE_RUNNING, NULL, NULL), 1);
	restore(&p);
	pair_down(&p);
}

static void rule_19_an_interrupted_call_ends_the_session(void **state)
{
	for_all(interrupted);
}

static void probing(const char *driver)
{
	struct kernel_double kd;
	struct vfm_device *dev;

	kernel_double_init(&kd, driver, NULL);
	dev = kernel_double_device(&kd);
	/* The double checks argsz and flags of every call as the kernel does. */
	assert_int_equal(dev->info.mig_flags, sim_mig_flags(kd.sim));
	assert_int_equal(dev->info.has_dma_logging, sim_has_logging(kd.sim));
	assert_int_equal(dev->info.pci_vendor, kd.sim->regs.config[0] | kd.sim->regs.config[1] << 8);
	assert_string_equal(dev->info.backend, "vfio");
	assert_int_equal(sim_state(kd.sim), VFM_STATE_RUNNING);
	assert_int_equal(kd.log_starts + kd.log_stops + kd.reports + kd.resets + kd.session_count, 0);
	vfm_device_free(dev);
	kernel_double_destroy(&kd);
}

static void rule_20_probing_changes_nothing(void **state)
{
	for_all(probing);
}

/* ---- what is missing on some kernel ---- */

static void nothing_is_needed(void **state)
{
	struct kernel_double kd;
	struct vfm_device *dev;

	kernel_double_init(&kd, "mlx5", NULL);
	kd.no_migration = kd.no_logging = kd.no_data_size = kd.no_infov2 = true;
	dev = kernel_double_device(&kd);
	assert_int_equal(dev->info.mig_flags, 0);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_NONE);
	assert_int_equal(dev->info.has_data_size | dev->info.has_reinit, 0);
	vfm_device_free(dev);
	kernel_double_destroy(&kd);
}

/* Only a PCI device has a config space where PCI devices have it. */
static void other_devices_have_no_pci_identity(void **state)
{
	struct pair p;
	struct vfm_device *dev;

	pair_up(&p, "mlx5", NULL);
	assert_int_not_equal(p.source->info.pci_vendor, 0xffff);
	p.from.no_pci = true;
	dev = kernel_double_device(&p.from);
	assert_int_equal(dev->info.pci_vendor, 0xffff);
	assert_int_equal(dev->info.pci_subsystem, 0xffff);
	vfm_device_free(dev);
	pair_down(&p);
}

/* An answer of any size is read whole, or refused: it says what may be mapped. */
static void region_info_is_whole(void **state)
{
	struct vfm_vfio_region region = {.size = sizeof(region)};
	struct kernel_double kd;

	kernel_double_init(&kd, "mlx5", NULL);
	kd.region_argsz = 65536;
	assert_int_equal(vfio_get_region(&kd.sys, kd.device, 0, &region), 0);
	assert_true(region.bytes > 0);
	kd.region_argsz = 65537;
	assert_int_equal(vfio_get_region(&kd.sys, kd.device, 0, &region), -EPROTO);
	kernel_double_destroy(&kd);
}

static void a_missing_reset_is_told(void **state)
{
	struct pair p;

	pair_up(&p, "mlx5", NULL);
	p.to.no_reset = true;
	go(p.destination, VFM_STATE_RESUMING);
	assert_int_equal(device_recover(p.destination, VFM_STATE_RUNNING, NULL, NULL), -ENOTTY);
	pair_down(&p);
}

/* ---- who tracks ---- */

/* A double with both IOMMUs, of which a test takes some away. */
static void with_iommus(struct kernel_double *kd, const char *driver)
{
	kernel_double_init(kd, driver, NULL);
	kd->container = dup(kd->device);
	kd->iommufd = dup(kd->device);
	kd->type1 = true;
}

static void without_iommus(struct kernel_double *kd)
{
	if (kd->container >= 0)
		close(kd->container);
	if (kd->iommufd >= 0)
		close(kd->iommufd);
	kernel_double_destroy(kd);
}

static void the_best_tracker_that_works(void **state)
{
	const struct device_range range = {0, 1 << 20};
	struct kernel_double kd;
	struct vfm_device *dev;
	uint64_t page;

	/* As probed, in the order of preference. */
	with_iommus(&kd, "mlx5");
	dev = kernel_double_device(&kd);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_DEVICE);
	assert_int_equal(start_log(dev, &range, 1, &page), 0);
	assert_int_equal(dev->log_refusal, 0);
	assert_int_equal(kd.by_iommufd.starts + kd.by_container.starts, 0);
	assert_int_equal(dev->ops->log_stop(dev), 0);

	/* Promised by the probe and by START, refused by REPORT: as kernels without iommufd do. */
	kd.report_errno = EOPNOTSUPP;
	assert_int_equal(start_log(dev, &range, 1, &page), 0);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_IOMMUFD);
	assert_int_equal(dev->log_refusal, -EOPNOTSUPP);
	assert_false(kd.sim->log.on); /* stopped again */
	kernel_double_dirty(&kd.by_iommufd, 0x5000);
	assert_true(is_dirty(dev, 0, 1 << 20, page, 0x5000));
	assert_false(is_dirty(dev, 0, 1 << 20, page, 0x5000));
	assert_int_equal(dev->ops->log_stop(dev), 0);
	assert_false(kd.by_iommufd.on);

	kd.no_hwpt = true;
	assert_int_equal(start_log(dev, &range, 1, &page), 0);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_CONTAINER);
	kernel_double_dirty(&kd.by_container, 0x7000);
	assert_true(is_dirty(dev, 0, 1 << 20, page, 0x7000));
	assert_int_equal(dev->ops->log_stop(dev), 0);
	assert_false(kd.by_container.on);

	kd.no_container_cap = true;
	assert_int_equal(start_log(dev, &range, 1, &page), -ENOENT);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_NONE);
	assert_true(device_has_log(dev)); /* worth another try, next time */
	kd.report_errno = 0;
	assert_int_equal(start_log(dev, &range, 1, &page), 0);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_DEVICE);
	vfm_device_free(dev);
	without_iommus(&kd);
}

static void a_driver_without_a_log_takes_the_iommus(void **state)
{
	struct kernel_double kd;
	struct vfm_device *dev;

	with_iommus(&kd, "virtio");
	dev = kernel_double_device(&kd);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_IOMMUFD);
	assert_int_equal(dev->info.has_dma_logging, 0);
	vfm_device_free(dev);
	close(kd.iommufd);
	kd.iommufd = -1;
	dev = kernel_double_device(&kd);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_CONTAINER);
	vfm_device_free(dev);
	kd.no_container_cap = true;
	dev = kernel_double_device(&kd);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_NONE);
	assert_false(device_has_log(dev));
	vfm_device_free(dev);
	without_iommus(&kd);
}

/* A mapping's bits come as a whole: a walk in steps asks once, and loses nothing. */
static void a_container_is_asked_for_whole_mappings(void **state)
{
	const struct device_range ranges[] = {{0, 1 << 20}, {0x40000000, 1 << 20}};
	struct kernel_double kd;
	struct vfm_device *dev;
	uint64_t page;
	unsigned gets;

	with_iommus(&kd, "virtio");
	kd.no_hwpt = true;
	kd.map_count = 2;
	kd.maps[0] = (struct vfm_dma_map){.iova = 0, .size = 1 << 20};
	kd.maps[1] = (struct vfm_dma_map){.iova = 0x40000000, .size = 1 << 20};
	dev = kernel_double_device(&kd);
	assert_int_equal(start_log(dev, ranges, 2, &page), 0);
	assert_int_equal(dev->info.tracker, VFM_TRACKER_CONTAINER);
	gets = kd.by_container.gets;
	kernel_double_dirty(&kd.by_container, 0xf0000);
	for (unsigned step = 0; step < 16; step++)
		assert_int_equal(is_dirty(dev, step * 0x10000, 0x10000, page, step * 0x10000),
				 step == 15);
	assert_int_equal(kd.by_container.gets, gets + 1);
	kernel_double_dirty(&kd.by_container, 0x10000);
	kernel_double_dirty(&kd.by_container, 0x400ff000);
	assert_false(is_dirty(dev, 0, 0x10000, page, 0));
	assert_true(is_dirty(dev, 0x10000, 0x10000, page, 0x10000));
	/* Backwards: what was written since is not missed. */
	kernel_double_dirty(&kd.by_container, 0x3000);
	assert_true(is_dirty(dev, 0, 0x10000, page, 0x3000));
	assert_true(is_dirty(dev, 0x40000000, 1 << 20, page, 0x400ff000));
	assert_int_equal(kd.by_container.gets, gets + 4);
	vfm_device_free(dev);
	without_iommus(&kd);
}

/* ---- moves ---- */

static void move(const char *driver)
{
	struct pair p;

	pair_up(&p, driver, changing);
	save(&p);
	restore(&p);
	pair_down(&p);
}

static void every_driver_moves(void **state)
{
	for_all(move);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rule_01_an_empty_read_is_not_the_end),
		cmocka_unit_test(rule_01_no_message_in_stop_copy_is_an_error),
		cmocka_unit_test(rule_02_poll_is_paired_with_a_timer),
		cmocka_unit_test(rule_02_a_write_waits_too),
		cmocka_unit_test(rule_03_a_query_makes_the_next_data),
		cmocka_unit_test(rule_04_whole_saves_and_setup_data),
		cmocka_unit_test(rule_05_precopy_info_in_precopy_alone),
		cmocka_unit_test(rule_06_the_opt_in_is_for_each_open),
		cmocka_unit_test(rule_07_reinit_begins_anew),
		cmocka_unit_test(rule_08_after_a_failed_save_the_rest_comes_at_the_end),
		cmocka_unit_test(rule_09_reads_and_writes_are_partial),
		cmocka_unit_test(rule_09_a_save_in_progress_blocks_nobody),
		cmocka_unit_test(rule_09_cancel_wakes_a_read),
		cmocka_unit_test(rule_09_a_cancelled_write_is_fatal),
		cmocka_unit_test(rule_10_a_reset_ends_the_session),
		cmocka_unit_test(rule_10_an_unseen_reset_is_no_other_session),
		cmocka_unit_test(rule_11_after_a_failure_ask_then_recover),
		cmocka_unit_test(rule_12_an_arc_gives_an_fd_or_none),
		cmocka_unit_test(rule_12_somebody_elses_session_is_none),
		cmocka_unit_test(rule_13_leaving_resuming_is_the_final_check),
		cmocka_unit_test(rule_14_foreign_and_excess_data_are_refused),
		cmocka_unit_test(rule_14_a_failed_write_is_fatal),
		cmocka_unit_test(rule_15_an_absurd_size_is_an_error),
		cmocka_unit_test(rule_16_the_p2p_arc_is_seen),
		cmocka_unit_test(rule_17_ranges_are_merged),
		cmocka_unit_test(rule_17_one_start_needs_one_stop),
		cmocka_unit_test(rule_17_the_driver_chooses_the_page_size),
		cmocka_unit_test(rule_18_a_report_takes_and_clears),
		cmocka_unit_test(rule_18_reports_of_any_shape),
		cmocka_unit_test(rule_19_an_interrupted_call_ends_the_session),
		cmocka_unit_test(rule_20_probing_changes_nothing),
		cmocka_unit_test(nothing_is_needed),
		cmocka_unit_test(other_devices_have_no_pci_identity),
		cmocka_unit_test(region_info_is_whole),
		cmocka_unit_test(a_missing_reset_is_told),
		cmocka_unit_test(the_best_tracker_that_works),
		cmocka_unit_test(a_driver_without_a_log_takes_the_iommus),
		cmocka_unit_test(a_container_is_asked_for_whole_mappings),
		cmocka_unit_test(every_driver_moves),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
