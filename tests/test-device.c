/* SPDX-License-Identifier: BSD-3-Clause */
/* The common part of devices, over a device that does as it is told. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <vfio-migrate/device.h>
#include "base/compiler.h"
#include "device/device.h"

#define STOP        VFM_STATE_STOP
#define RUNNING     VFM_STATE_RUNNING
#define STOP_COPY   VFM_STATE_STOP_COPY
#define RESUMING    VFM_STATE_RESUMING
#define RUNNING_P2P VFM_STATE_RUNNING_P2P
#define PRE_COPY    VFM_STATE_PRE_COPY

enum { ARCS_MAX = 16 };

/* A device in a variable: its real state, and what is to go wrong. */
struct toy {
	struct vfm_device dev;
	enum vfm_state real;
	enum vfm_state fail_to;   /* the arc to this state fails */
	int fail_errno;           /* 0: nothing fails */
	enum vfm_state fail_into; /* where a failed arc leaves it */
	int get_errno;
	int reset_errno;
	enum vfm_state reset_into;
	unsigned resets;
	unsigned destroyed;
	struct device_arc arcs[ARCS_MAX];
	unsigned arc_count;
};

static struct toy *toy_of(struct vfm_device *dev)
{
	return container_of(dev, struct toy, dev);
}

static int toy_get_state(struct vfm_device *dev, enum vfm_state *state)
{
	*state = toy_of(dev)->real;
	return toy_of(dev)->get_errno;
}

static int toy_set_state(struct vfm_device *dev, enum vfm_state state)
{
	struct toy *toy = toy_of(dev);

	if (toy->fail_errno && state == toy->fail_to) {
		toy->real = toy->fail_into;
		return toy->fail_errno;
	}
	toy->real = state;
	return 0;
}

static int toy_reset(struct vfm_device *dev)
{
	struct toy *toy = toy_of(dev);

	toy->resets++;
	if (!toy->reset_errno)
		toy->real = toy->reset_into;
	return toy->reset_errno;
}

static void toy_destroy(struct vfm_device *dev)
{
	toy_of(dev)->destroyed++;
}

static const struct device_ops toy_ops = {
	.backend = "toy",
	.get_state = toy_get_state,
	.set_state = toy_set_state,
	.reset = toy_reset,
	.destroy = toy_destroy,
};

static void toy_init(struct toy *toy, uint32_t flags, enum vfm_state state)
{
	memset(toy, 0, sizeof(*toy));
	toy->real = state;
	toy->reset_into = RUNNING;
	toy->dev.info.mig_flags = flags;
	assert_int_equal(device_init(&toy->dev, &toy_ops, "toy0"), 0);
	assert_int_equal(toy->dev.state, state);
}

static void toy_arc(void *opaque, const struct device_arc *arc)
{
	struct toy *toy = opaque;

	assert_true(toy->arc_count < ARCS_MAX);
	assert_true(arc->end_ns >= arc->start_ns);
	toy->arcs[toy->arc_count++] = *arc;
}

static void assert_arcs(const struct toy *toy, const enum vfm_state *states, unsigned count)
{
	assert_int_equal(toy->arc_count, count - 1);
	for (unsigned i = 0; i + 1 < count; i++) {
		assert_int_equal(toy->arcs[i].from, states[i]);
		assert_int_equal(toy->arcs[i].to, states[i + 1]);
	}
}

#define ASSERT_ARCS(toy, ...)                                                                      \
	assert_arcs(toy, (const enum vfm_state[]){__VA_ARGS__},                                    \
		    ARRAY_SIZE(((const enum vfm_state[]){__VA_ARGS__})))

enum { NO_P2P = VFM_MIG_STOP_COPY | VFM_MIG_PRE_COPY, ALL = NO_P2P | VFM_MIG_P2P };

static void names_are_checked(void **state)
{
	struct toy toy = {.dev.info.mig_flags = ALL, .real = RUNNING};
	char name[VFM_NAME_MAX + 1];

	memset(name, 'n', sizeof(name));
	name[VFM_NAME_MAX] = 0;
	assert_int_equal(device_init(&toy.dev, &toy_ops, NULL), -EINVAL);
	assert_int_equal(device_init(&toy.dev, &toy_ops, ""), -EINVAL);
	assert_int_equal(device_init(&toy.dev, &toy_ops, name), -EINVAL);
	name[VFM_NAME_MAX - 1] = 0;
	assert_int_equal(device_init(&toy.dev, &toy_ops, name), 0);
	assert_string_equal(toy.dev.info.name, name);
}

/* PRE_COPY without STOP_COPY is nothing that could migrate. */
static void senseless_flags_are_none(void **state)
{
	struct toy toy = {.dev.info.mig_flags = VFM_MIG_PRE_COPY, .real = RUNNING, .get_errno = -EIO};

	assert_int_equal(device_init(&toy.dev, &toy_ops, "toy0"), 0);
	assert_int_equal(toy.dev.info.mig_flags, 0);
	toy.dev.info.mig_flags = ALL;
	assert_int_equal(device_init(&toy.dev, &toy_ops, "toy0"), -EIO);
}

static void walks_arc_by_arc(void **state)
{
	struct toy toy;

	toy_init(&toy, ALL, RUNNING);
	assert_int_equal(device_transition(&toy.dev, STOP_COPY, toy_arc, &toy, NULL), 0);
	ASSERT_ARCS(&toy, RUNNING, RUNNING_P2P, STOP, STOP_COPY);
	assert_int_equal(toy.dev.state, STOP_COPY);

	toy_init(&toy, NO_P2P, RUNNING);
	assert_int_equal(device_transition(&toy.dev, STOP_COPY, toy_arc, &toy, NULL), 0);
	ASSERT_ARCS(&toy, RUNNING, STOP, STOP_COPY);

	toy.arc_count = 0;
	assert_int_equal(device_transition(&toy.dev, STOP_COPY, toy_arc, &toy, NULL), 0);
	assert_int_equal(toy.arc_count, 0);
}

static void no_way_is_told(void **state)
{
	struct vfm_error error = {0};
	struct toy toy;

	toy_init(&toy, VFM_MIG_STOP_COPY, RUNNING);
	assert_int_equal(device_transition(&toy.dev, PRE_COPY, toy_arc, &toy, &error), -EINVAL);
	assert_int_equal(error.code, EINVAL);
	assert_int_equal(error.to, PRE_COPY);
	assert_string_equal(error.device, "toy0");
	assert_int_equal(toy.arc_count, 0);
	assert_int_equal(device_transition(&toy.dev, VFM_STATE_ERROR, NULL, NULL, NULL), -EINVAL);
	assert_int_equal(toy.resets, 0);
}

static void stops_at_the_failed_arc(void **state)
{
	struct vfm_error error = {0};
	struct toy toy;

	toy_init(&toy, ALL, RUNNING);
	toy.fail_to = STOP;
	toy.fail_errno = -EIO;
	toy.fail_into = RUNNING; /* not where the arc began */
	assert_int_equal(device_transition(&toy.dev, STOP_COPY, toy_arc, &toy, &error), -EIO);
	ASSERT_ARCS(&toy, RUNNING, RUNNING_P2P, STOP);
	assert_int_equal(toy.arcs[0].result, 0);
	assert_int_equal(toy.arcs[1].result, -EIO);
	assert_int_equal(error.code, EIO);
	assert_int_equal(error.has_arc, 1);
	assert_int_equal(error.from, RUNNING_P2P);
	assert_int_equal(error.to, STOP);
	assert_non_null(strstr(error.text, "RUNNING"));
	/* Read back, and nothing recovered. */
	assert_int_equal(toy.dev.state, RUNNING);
	assert_int_equal(toy.resets, 0);
}

static void recovers_without_reset(void **state)
{
	struct toy toy;

	toy_init(&toy, ALL, RUNNING);
	toy.real = STOP_COPY; /* it moved behind our back */
	assert_int_equal(device_recover(&toy.dev, RUNNING, toy_arc, &toy), 0);
	ASSERT_ARCS(&toy, STOP_COPY, STOP, RUNNING_P2P, RUNNING);
	assert_int_equal(toy.resets, 0);
	toy.arc_count = 0;
	assert_int_equal(device_recover(&toy.dev, RUNNING, toy_arc, &toy), 0);
	assert_int_equal(toy.arc_count, 0);
}

static void recovers_by_reset(void **state)
{
	struct toy toy;

	/* From ERROR, and then on to where it should be. */
	toy_init(&toy, ALL, VFM_STATE_ERROR);
	assert_int_equal(device_recover(&toy.dev, STOP, toy_arc, &toy), 1);
	assert_int_equal(toy.resets, 1);
	ASSERT_ARCS(&toy, RUNNING, RUNNING_P2P, STOP);

	/* An arc on the way back fails as well. */
	toy_init(&toy, ALL, STOP_COPY);
	toy.fail_to = STOP;
	toy.fail_errno = -EIO;
	toy.fail_into = VFM_STATE_ERROR;
	assert_int_equal(device_recover(&toy.dev, RUNNING, NULL, NULL), 1);
	assert_int_equal(toy.dev.state, RUNNING);

	/* RESUMING is aborted by nothing else: its final check would see half of the data. */
	toy_init(&toy, ALL, RESUMING);
	assert_int_equal(device_recover(&toy.dev, RUNNING, toy_arc, &toy), 1);
	assert_int_equal(toy.arc_count, 0);
	assert_int_equal(toy.resets, 1);

	toy_init(&toy, ALL, STOP);
	assert_int_equal(device_recover(&toy.dev, VFM_STATE_ERROR, NULL, NULL), 1);
	assert_int_equal(toy.dev.state, RUNNING);
}

static void failed_recovery_is_told(void **state)
{
	struct toy toy;

	toy_init(&toy, ALL, VFM_STATE_ERROR);
	toy.reset_errno = -EIO;
	assert_int_equal(device_recover(&toy.dev, RUNNING, NULL, NULL), -EIO);

	/* A reset that says yes and does nothing. */
	toy_init(&toy, ALL, VFM_STATE_ERROR);
	toy.reset_into = VFM_STATE_ERROR;
	assert_int_equal(device_recover(&toy.dev, RUNNING, NULL, NULL), -EIO);

	toy_init(&toy, ALL, RUNNING);
	toy.get_errno = -ENOTCONN;
	assert_int_equal(device_recover(&toy.dev, RUNNING, NULL, NULL), -ENOTCONN);
}

static void set_state_puts_it_right(void **state)
{
	struct vfm_error error = {0};
	struct toy toy;

	/* To a state as lively as the one before the arc, without a reset. */
	toy_init(&toy, ALL, RUNNING);
	toy.fail_to = STOP_COPY;
	toy.fail_errno = -EBUSY;
	toy.fail_into = STOP;
	assert_int_equal(vfm_device_set_state(&toy.dev, STOP_COPY, &error), -EBUSY);
	assert_int_equal(error.code, EBUSY);
	assert_int_equal(error.from, STOP);
	assert_int_equal(toy.dev.state, STOP);
	assert_int_equal(toy.resets, 0);

	/* By reset, where the device is in ERROR; and the error is the first one. */
	toy_init(&toy, ALL, RESUMING);
	toy.fail_to = STOP;
	toy.fail_errno = -EBADMSG;
	toy.fail_into = VFM_STATE_ERROR;
	memset(&error, 0, sizeof(error));
	assert_int_equal(vfm_device_set_state(&toy.dev, RUNNING, &error), -EBADMSG);
	assert_int_equal(error.code, EBADMSG);
	assert_int_equal(toy.resets, 1);
	assert_int_equal(toy.dev.state, RUNNING);

	/* Nothing was tried: nothing is reset. */
	toy_init(&toy, VFM_MIG_STOP_COPY, STOP);
	assert_int_equal(vfm_device_set_state(&toy.dev, PRE_COPY, NULL), -EINVAL);
	assert_int_equal(toy.resets, 0);
	assert_int_equal(toy.dev.state, STOP);
}

static void public_calls_reach_the_device(void **state)
{
	enum vfm_state seen;
	struct toy toy;

	toy_init(&toy, ALL, RUNNING);
	toy.real = PRE_COPY;
	assert_int_equal(vfm_device_get_state(&toy.dev, &seen), 0);
	assert_int_equal(seen, PRE_COPY);
	assert_int_equal(vfm_device_reset(&toy.dev), 0);
	assert_int_equal(toy.dev.state, RUNNING);
	assert_false(device_has_log(&toy.dev));
	assert_true(device_can(&toy.dev, VFM_MIG_P2P | VFM_MIG_PRE_COPY));
	vfm_device_free(&toy.dev);
	vfm_device_free(NULL);
	assert_int_equal(toy.destroyed, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_checked),
		cmocka_unit_test(senseless_flags_are_none),
		cmocka_unit_test(walks_arc_by_arc),
		cmocka_unit_test(no_way_is_told),
		cmocka_unit_test(stops_at_the_failed_arc),
		cmocka_unit_test(recovers_without_reset),
		cmocka_unit_test(recovers_by_reset),
		cmocka_unit_test(failed_recovery_is_told),
		cmocka_unit_test(set_state_puts_it_right),
		cmocka_unit_test(public_calls_reach_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
