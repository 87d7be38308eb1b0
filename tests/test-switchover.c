/* SPDX-License-Identifier: BSD-3-Clause */
/* The switchover with many devices: acks in both ways, REINIT, handlers, order, replay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfio-migrate/replay.h>
#include "tests/rig.h"

static void assert_report_has(struct rig *rig, const char *text)
{
	char *json = vfm_source_report_json(rig->source);

	if (!strstr(json, text))
		print_error("no %s in %s\n", text, json);
	assert_non_null(strstr(json, text));
	free(json);
}

/* ---- acks ---- */

struct pair {
	enum vfm_ack_mode mode[2];
	enum vfm_profile profile[2];
	const char *agreed; /* NULL: they refuse */
};

static void agrees_on_what_both_have(void **unused)
{
	static const struct pair pairs[] = {
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_PER_DEVICE }, { 0, 0 }, "per-device" },
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_LEGACY }, { 0, 0 }, "legacy" },
		{ { VFM_ACK_LEGACY, VFM_ACK_PER_DEVICE }, { 0, 0 }, "legacy" },
		{ { VFM_ACK_OFF, VFM_ACK_PER_DEVICE }, { 0, 0 }, "off" },
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_OFF }, { 0, 0 }, NULL },
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_PER_DEVICE },
		  { VFM_PROFILE_LEGACY, VFM_PROFILE_NEWEST }, "legacy" },
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_PER_DEVICE },
		  { VFM_PROFILE_NEWEST, VFM_PROFILE_LEGACY }, "legacy" },
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_PER_DEVICE },
		  { VFM_PROFILE_REINIT, VFM_PROFILE_REINIT }, "per-device" },
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_PER_DEVICE },
		  { VFM_PROFILE_REINIT, VFM_PROFILE_COSTS }, "per-device" },
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_PER_DEVICE },
		  { VFM_PROFILE_COSTS, VFM_PROFILE_LEGACY }, "legacy" },
		{ { VFM_ACK_PER_DEVICE, VFM_ACK_PER_DEVICE },
		  { VFM_PROFILE_ARCS, VFM_PROFILE_COSTS }, "per-device" },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		char wanted[64];
		struct rig rig;

		rig_init(&rig, 2);
		for (int side = 0; side < 2; side++) {
			rig.options[side].switchover_ack = pairs[i].mode[side];
			rig.options[side].profile = pairs[i].profile[side];
		}
		rig.devices[0][0]->initial_bytes = 5000;
		rig.devices[0][1]->initial_bytes = 0;
		rig_make(&rig);
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), pairs[i].agreed ? 0 : -EPROTONOSUPPORT);
		if (pairs[i].agreed) {
			assert_moved(&rig);
			snprintf(wanted, sizeof(wanted), "\"mode\": \"%s\"", pairs[i].agreed);
			assert_report_has(&rig, wanted);
		} else {
			assert_stayed(&rig);
		}
		rig_down(&rig);
	}
}

static void count_rounds(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;
	struct vfm_progress p = { .size = sizeof(p) };

	if (event->type != VFM_EVENT_ROUND)
		return;
	vfm_source_get_progress(rig->source, &p);
	/* The first rounds find the ack pending: then the device on the other side goes on. */
	if (p.round == 3) {
		assert_int_equal(p.pending_acks, 1);
		assert_non_null(strstr(p.waiting_for, "dev1"));
		assert_true(double_vm_running(vm));
		sem_post(rig->devices[1][1]->hold_writes);
	}
}

/* A destination's device that takes its time over the initial bytes costs no downtime. */
static void waits_for_what_is_not_loaded(void **unused)
{
	struct vfm_progress p = { .size = sizeof(p) };
	struct rig rig;
	sem_t hold;

	(void)unused;
	assert_int_equal(sem_init(&hold, 0, 0), 0);
	rig_init(&rig, 2);
	rig.options[0].downtime_limit_ns = VFM_UNLIMITED;
	rig.devices[0][1]->initial_bytes = 3000;
	rig.devices[1][1]->hold_writes = &hold;
	rig.vm[0].on_event = count_rounds;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	vfm_source_get_progress(rig.source, &p);
	assert_true(p.round > 3);
	rig_down(&rig);
	sem_destroy(&hold);
}

/* ---- REINIT ---- */

static void asks_again_after_a_reinit(void **unused)
{
	(void)unused;
	for (int legacy = 0; legacy < 2; legacy++) {
		struct rig rig;

		rig_init(&rig, 2);
		rig.options[0].switchover_ack = legacy ? VFM_ACK_LEGACY : VFM_ACK_PER_DEVICE;
		rig.devices[0][0]->initial_bytes = 2000;
		rig.devices[0][0]->reinit_at = 3;
		rig.devices[0][0]->initial_again = 4000;
		rig.vm[0].dirty_each_sync = 3;
		/* Not before the third query: rounds go on until then. */
		rig.options[0].downtime_limit_ns = 0;
		rig.options[0].max_rounds = 12;
		rig_make(&rig);
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), -ETIME);
		assert_stayed(&rig);
		assert_report_has(&rig, "\"reinits\": 1");
		assert_report_has(&rig, legacy ? "\"reinits_without_ack\": 1" :
						 "\"reinits_without_ack\": 0");
		assert_report_has(&rig, legacy ? "\"acks\": 1" : "\"acks\": 2");
		rig_down(&rig);
	}
}

/* The query number of each device at which the vCPUs have just stopped is not known beforehand:
 * the double tells new bytes at the first query that finds the VM stopped. */
static void reinit_when_stopped(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;
	struct double_device *d = rig->devices[0][1];

	if (event->type == VFM_EVENT_STOPPED) {
		d->reinit_at = d->infos + 1;
		d->initial_again = 2500;
	} else if (event->type == VFM_EVENT_RUNNING && !rig->faults.delay_send_us) {
		vm->on_event = NULL;
	}
}

static void takes_a_late_reinit_back(void **unused)
{
	struct vfm_progress p = { .size = sizeof(p) };
	struct rig rig;

	(void)unused;
	rig_init(&rig, 3);
	rig.devices[0][1]->initial_bytes = 1000;
	rig.vm[0].on_event = reinit_when_stopped;
	rig.vm[0].dirty_each_sync = 2;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	vfm_source_get_progress(rig.source, &p);
	assert_int_equal(p.switchover_attempts, 2);
	assert_int_equal(rig.vm[0].stops, 2);
	assert_int_equal(rig.vm[0].runs, 1);
	assert_report_has(&rig, "\"cost_ms\"");
	rig_down(&rig);
}

static void always_reinit(struct double_vm *vm, const struct vfm_event *event)
{
	struct rig *rig = vm->on_event_arg;
	struct double_device *d = rig->devices[0][1];

	if (event->type == VFM_EVENT_STOPPED) {
		d->reinit_at = d->infos + 1;
		d->initial_again = 2500;
	}
}

static void bounds_the_attempts(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_init(&rig, 3);
	rig.options[0].max_switchover_attempts = 3;
	rig.devices[0][1]->initial_bytes = 1000;
	rig.vm[0].on_event = always_reinit;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), -ETIME);
	assert_stayed(&rig);
	assert_int_equal(rig.vm[0].stops, 3);
	assert_int_equal(rig.vm[0].runs, 3);
	rig_down(&rig);
}

/* ---- handlers ---- */

static char called[256];

struct part {
	const char *name;
	int fail_stop;
};

static int stop_part(void *opaque)
{
	struct part *part = opaque;

	strcat(called, "-");
	strcat(called, part->name);
	return part->fail_stop ? -EIO : 0;
}

static int start_part(void *opaque)
{
	struct part *part = opaque;

	strcat(called, "+");
	strcat(called, part->name);
	return 0;
}

static struct part parts[] = { { "late", 0 }, { "first", 0 }, { "early", 0 } };

static void add_handlers(struct rig *rig, int side)
{
	static const int priorities[] = { 7, -9, -1 };

	for (int i = 0; i < 3; i++) {
		struct vfm_handler h = { .size = sizeof(h), .priority = priorities[i],
					 .opaque = &parts[i], .stop = stop_part,
					 .start = start_part };

		strcpy(h.name, parts[i].name);
		if (side == 0)
			assert_int_equal(vfm_source_add_handler(rig->source, &h), 0);
		else
			assert_int_equal(vfm_destination_add_handler(rig->destination, &h), 0);
	}
}

static void calls_handlers_in_order(void **unused)
{
	(void)unused;
	for (int side = 0; side < 2; side++) {
		struct rig rig;

		called[0] = 0;
		rig_up(&rig, 2);
		add_handlers(&rig, side);
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), 0);
		assert_moved(&rig);
		assert_string_equal(called, side ? "+late+early+first" : "-first-early-late");
		rig_down(&rig);
	}
}

static void goes_on_when_a_handler_fails(void **unused)
{
	static const char *const trace[] = {
		"-first-early-late+early+first", "-first", "-first-early+first"
	};

	(void)unused;
	for (int which = 0; which < 3; which++) {
		struct rig rig;

		called[0] = 0;
		parts[which].fail_stop = 1;
		rig_up(&rig, 2);
		add_handlers(&rig, 0);
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), -EIO);
		assert_stayed(&rig);
		assert_string_equal(called, trace[which]);
		assert_report_has(&rig, parts[which].name);
		parts[which].fail_stop = 0;
		rig_down(&rig);
	}
}

/* ---- one by one ---- */

static void can_go_one_by_one(void **unused)
{
	struct rig rig;

	(void)unused;
	rig_init(&rig, DEVICES);
	rig.options[0].serial_transitions = rig.options[1].serial_transitions = 1;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	rig_down(&rig);
}

/* ---- without a tracker ---- */

static void does_not_converge_without_a_tracker(void **unused)
{
	struct vfm_progress p = { .size = sizeof(p) };
	struct rig rig;

	(void)unused;
	rig_init(&rig, 1);
	rig.devices[0][0]->no_log = true;
	rig.options[0].downtime_limit_ns = 1000;
	rig.options[0].max_rounds = 4;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), -ETIME);
	assert_stayed(&rig);
	vfm_source_get_progress(rig.source, &p);
	assert_int_equal(p.memory_left, MEMORY);
	rig_down(&rig);

	rig_init(&rig, 1);
	rig.devices[0][0]->no_log = true;
	rig.options[0].downtime_limit_ns = VFM_UNLIMITED;
	rig_make(&rig);
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	assert_moved(&rig);
	rig_down(&rig);
}

/* ---- replay ---- */

/* ---- what steps cost ---- */

#define ANSWER_NS (5 * 1000 * 1000)

struct costs {
	int64_t here, there;
	bool load_known;
};

/* Of the last round. */
static void read_costs(struct rig *rig, struct costs *costs)
{
	char *text = vfm_source_report_json(rig->source);
	json_object *report = json_tokener_parse(text), *samples, *last, *value, *device;

	assert_true(json_object_object_get_ex(report, "samples", &samples));
	last = json_object_array_get_idx(samples, json_object_array_length(samples) - 1);
	assert_true(json_object_object_get_ex(last, "step_ns", &value));
	costs->here = json_object_get_int64(value);
	assert_true(json_object_object_get_ex(last, "peer_step_ns", &value));
	costs->there = json_object_get_int64(value);
	assert_true(json_object_object_get_ex(last, "devices", &device));
	device = json_object_array_get_idx(device, 0);
	assert_true(json_object_object_get_ex(device, "load_ns_mib", &value));
	costs->load_known = value;
	json_object_put(report);
	free(text);
}

/* A destination of a profile that does not tell is taken for one like the source. */
static void measures_a_step_on_both_sides(void **unused)
{
	static const enum vfm_profile profiles[] = { VFM_PROFILE_COSTS, VFM_PROFILE_REINIT };

	(void)unused;
	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
		struct costs costs;
		struct rig rig;

		rig_init(&rig, 2);
		rig.options[1].profile = profiles[i];
		rig.devices[0][1]->answer_ns = ANSWER_NS;
		rig.devices[1][0]->answer_ns = 2 * ANSWER_NS;
		rig_make(&rig);
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), 0);
		assert_moved(&rig);
		read_costs(&rig, &costs);
		assert_true(costs.here >= ANSWER_NS);
		if (profiles[i] == VFM_PROFILE_COSTS)
			assert_true(costs.there >= 2 * ANSWER_NS);
		else
			assert_int_equal(costs.there, costs.here);
		assert_false(costs.load_known); /* a few KiB say nothing about loading */
		rig_down(&rig);
	}
}

/* The transitions that the first device was predicted to take, of the last round. */
static void read_arcs(struct rig *rig, int64_t arcs[5])
{
	static const char *const members[5] = { "stop_p2p_ns", "stop_ns", "check_ns",
						"run_p2p_ns", "run_ns" };
	char *text = vfm_source_report_json(rig->source);
	json_object *report = json_tokener_parse(text), *samples, *last, *value, *device;

	assert_true(json_object_object_get_ex(report, "samples", &samples));
	last = json_object_array_get_idx(samples, json_object_array_length(samples) - 1);
	assert_true(json_object_object_get_ex(last, "devices", &device));
	device = json_object_array_get_idx(device, 0);
	for (size_t i = 0; i < 5; i++) {
		assert_true(json_object_object_get_ex(device, members[i], &value));
		arcs[i] = json_object_get_int64(value);
	}
	json_object_put(report);
	free(text);
}

/* Before a device has ever stopped: by its like on the destination, which has, else by the option. */
static void predicts_transitions_by_the_destinations(void **unused)
{
	static const enum vfm_profile profiles[] = { VFM_PROFILE_ARCS, VFM_PROFILE_COSTS };

	(void)unused;
	for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++) {
		struct rig rig;
		int64_t arcs[5];

		rig_init(&rig, 2);
		rig.options[0].transition_estimate_ns = 1;
		rig.options[1].profile = profiles[i];
		rig.devices[1][0]->arc_ns = ANSWER_NS;
		rig_make(&rig);
		assert_int_equal(rig_start(&rig), 0);
		assert_int_equal(rig_finish(&rig), 0);
		assert_moved(&rig);
		read_arcs(&rig, arcs);
		for (size_t j = 0; j < 5; j++)
			if (profiles[i] == VFM_PROFILE_ARCS)
				assert_true(arcs[j] >= ANSWER_NS);
			else
				assert_int_equal(arcs[j], 1);
		rig_down(&rig);
	}
}

static void count(void *opaque, const struct vfm_replay_round *round)
{
	assert_non_null(round->verdict);
	++*(unsigned *)opaque;
}

static void replays_its_own_report(void **unused)
{
	uint64_t tight = 1, wide = VFM_UNLIMITED;
	unsigned rounds = 0;
	struct rig rig;
	char *json;

	(void)unused;
	rig_up(&rig, 2);
	rig.vm[0].dirty_each_sync = 4;
	assert_int_equal(rig_start(&rig), 0);
	assert_int_equal(rig_finish(&rig), 0);
	json = vfm_source_report_json(rig.source);
	assert_true(vfm_replay(json, NULL, count, &rounds) > 0);
	assert_true(rounds > 0);
	assert_int_equal(vfm_replay(json, &tight, NULL, NULL), 0);
	assert_true(vfm_replay(json, &wide, NULL, NULL) > 0);
	assert_int_equal(vfm_replay("{\"samples\": [{}]}", NULL, NULL, NULL), -EINVAL);
	assert_int_equal(vfm_replay("no json", NULL, NULL, NULL), -EINVAL);
	free(json);
	rig_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agrees_on_what_both_have),
		cmocka_unit_test(waits_for_what_is_not_loaded),
		cmocka_unit_test(asks_again_after_a_reinit),
		cmocka_unit_test(takes_a_late_reinit_back),
		cmocka_unit_test(bounds_the_attempts),
		cmocka_unit_test(calls_handlers_in_order),
		cmocka_unit_test(goes_on_when_a_handler_fails),
		cmocka_unit_test(can_go_one_by_one),
		cmocka_unit_test(does_not_converge_without_a_tracker),
		cmocka_unit_test(measures_a_step_on_both_sides),
		cmocka_unit_test(predicts_transitions_by_the_destinations),
		cmocka_unit_test(replays_its_own_report),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
