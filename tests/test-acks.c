/* SPDX-License-Identifier: BSD-3-Clause */
/* The acks' counters alone, and an ack too many over a real connection. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include "engine/acks.h"
#include "engine/destination.h"
#include "tests/rig.h"

/* ---- counters ---- */

struct counters {
	struct session *s;
	struct worker *w[2];
};

static void counters_init(struct counters *c, uint64_t features)
{
	c->s = calloc(1, sizeof(*c->s));
	assert_non_null(c->s);
	c->s->features = features;
	c->s->device_count = 2;
	for (unsigned i = 0; i < 2; i++) {
		c->w[i] = c->s->workers[i] = calloc(1, sizeof(*c->w[i]));
		assert_non_null(c->w[i]);
		c->w[i]->s = c->s;
		c->w[i]->wire_index = i;
	}
}

static void counters_free(struct counters *c)
{
	for (unsigned i = 0; i < 2; i++)
		free(c->w[i]);
	free(c->s);
}

/* Device @i asks with @bytes of initial data, and all of them are read. */
static void ask_and_read(struct counters *c, unsigned i, uint64_t bytes)
{
	const struct device_precopy info = { .initial_bytes = bytes };

	acks_ask(c->w[i], &info);
	assert_false(acks_read(c->w[i], bytes - 1));
	assert_true(acks_read(c->w[i], 1));
}

static int take(struct counters *c, uint32_t device)
{
	const struct wire_ack ack = { .device = device };

	return acks_take(c->s, &ack);
}

static void counts_each_device(void **unused)
{
	struct counters c;

	(void)unused;
	counters_init(&c, WIRE_FEATURE_ACK_PER_DEVICE);
	ask_and_read(&c, 0, 100);
	ask_and_read(&c, 1, 100);
	assert_int_equal(acks_pending(c.s), 2);
	assert_int_equal(take(&c, 1), 0);
	assert_int_equal(acks_pending(c.s), 1);
	assert_int_equal(take(&c, 0), 0);
	assert_int_equal(acks_pending(c.s), 0);
	counters_free(&c);
}

/* Too many, too early, of nobody, or in the other way: none is counted. */
static void refuses_an_ack_too_many(void **unused)
{
	const struct device_precopy info = { .initial_bytes = 100 };
	struct counters c;

	(void)unused;
	counters_init(&c, WIRE_FEATURE_ACK_PER_DEVICE);
	acks_ask(c.w[0], &info);
	assert_int_equal(take(&c, 0), -EPROTO); /* its initial bytes were not sent yet */
	assert_true(acks_read(c.w[0], 100));
	assert_int_equal(take(&c, 1), -EPROTO);
	assert_int_equal(take(&c, 2), -EPROTO);
	assert_int_equal(take(&c, WIRE_ACK_ALL), -EPROTO);
	assert_int_equal(acks_pending(c.s), 1);
	assert_int_equal(take(&c, 0), 0);
	assert_int_equal(take(&c, 0), -EPROTO);
	assert_int_equal(acks_pending(c.s), 0);
	counters_free(&c);
}

static void takes_one_legacy_ack(void **unused)
{
	struct counters c;

	(void)unused;
	counters_init(&c, WIRE_FEATURE_ACK_LEGACY);
	ask_and_read(&c, 0, 100);
	assert_int_equal(take(&c, 0), -EPROTO);
	assert_int_equal(take(&c, WIRE_ACK_ALL), 0);
	assert_int_equal(acks_pending(c.s), 0);
	assert_int_equal(take(&c, WIRE_ACK_ALL), -EPROTO);
	counters_free(&c);
}

static void takes_none_when_they_are_off(void **unused)
{
	struct counters c;

	(void)unused;
	counters_init(&c, 0);
	assert_int_equal(take(&c, 0), -EPROTO);
	assert_int_equal(take(&c, WIRE_ACK_ALL), -EPROTO);
	counters_free(&c);
}

/* New initial bytes are asked for again per device; in the legacy way they are only counted. */
static void asks_again(void **unused)
{
	const struct device_precopy again = { .initial_bytes = 50, .reinit = true };

	(void)unused;
	for (int legacy = 0; legacy < 2; legacy++) {
		struct counters c;

		counters_init(&c, legacy ? WIRE_FEATURE_ACK_LEGACY : WIRE_FEATURE_ACK_PER_DEVICE);
		ask_and_read(&c, 0, 100);
		assert_int_equal(take(&c, legacy ? WIRE_ACK_ALL : 0), 0);
		acks_note(c.w[0], &again);
		assert_int_equal(c.w[0]->reinits, 1);
		assert_int_equal(acks_pending(c.s), legacy ? 0 : 1);
		counters_free(&c);
	}
}

/* ---- over a connection ---- */

/* The destination says an ack that nobody asked for, as soon as data moves. */
static void ack_too_many(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;
	struct session *s = &rig->destination->session;

	if (event->type != VFM_EVENT_STAGE || event->stage != VFM_STAGE_PRECOPY)
		return;
	pthread_mutex_lock(&s->lock);
	s->workers[0]->acks_due += 2;
	pthread_cond_broadcast(&s->send_cond);
	pthread_mutex_unlock(&s->lock);
}

static void ends_with_the_guest_running(void **unused)
{
	struct vfm_error error;
	struct rig rig;

	(void)unused;
	rig_init(&rig, 2);
	rig.options[0].downtime_limit_ns = 1; /* so that it goes on until the ack comes */
	rig.vm[0].dirty_each_sync = 1;
	rig.vm[1].on_event = ack_too_many;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(vfm_source_wait(rig.source), -EPROTO);
	vfm_source_get_error(rig.source, &error);
	assert_int_equal(error.code, EPROTO);
	assert_true(error.stage <= VFM_STAGE_PRECOPY);
	vfm_destination_wait(rig.destination);
	assert_stayed(&rig);
	assert_int_equal(rig.vm[0].stops, 0);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_each_device),
		cmocka_unit_test(refuses_an_ack_too_many),
		cmocka_unit_test(takes_one_legacy_ack),
		cmocka_unit_test(takes_none_when_they_are_off),
		cmocka_unit_test(asks_again),
		cmocka_unit_test(ends_with_the_guest_running),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
