/* SPDX-License-Identifier: BSD-3-Clause */
/* The switchover policy: numbers in, verdict out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "engine/bandwidth.h"
#include "engine/growth.h"
#include "engine/policy.h"
#include "engine/recent.h"

#define MS UINT64_C(1000000)
#define MIB (UINT64_C(1) << 20)

/* 100 MiB/s: 10 ms a MiB. */
static const struct policy_input base = {
	.limit_ns = 100 * MS,
	.bandwidth = 100 * MIB,
	.unknown_bytes = 1024 * MIB,
	.round_trip_ns = 1 * MS,
};

static void adds_up_the_terms(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.memory_bytes = 2 * MIB;
	in.device_count = 2;
	in.devices[0] = (struct policy_device){ .stop_ns = 5 * MS, .state_bytes = MIB,
						.check_ns = 3 * MS, .run_ns = 7 * MS };
	in.devices[1] = (struct policy_device){ .stop_ns = 4 * MS, .state_bytes = MIB,
						.check_ns = 4 * MS, .run_ns = 6 * MS };
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.stop_ns, 5 * MS);
	assert_int_equal(out.predicted.memory_ns, 20 * MS);
	assert_int_equal(out.predicted.state_ns, 20 * MS);
	assert_int_equal(out.predicted.load_ns, 4 * MS);
	assert_int_equal(out.predicted.handover_ns, 9 * MS);
	assert_int_equal(out.predicted.total_ns, 58 * MS);
	assert_int_equal(out.verdict, POLICY_GO);
}

/* ---- the bandwidth that it is given ---- */

static void counts_on_the_last_large_round(void **unused)
{
	struct bandwidth b = { 0 };

	(void)unused;
	bandwidth_add(&b, 10 * MIB, 1000 * MS, 10 * MS, 1);
	assert_int_equal(b.now, 0);
	assert_int_equal(b.first, bandwidth_of(10 * MIB, 990 * MS));
	bandwidth_add(&b, 2 * MIB, 10 * MS, 1 * MS, 1);
	assert_int_equal(b.now, bandwidth_of(2 * MIB, 9 * MS));
	bandwidth_add(&b, 900 * 1024, 1 * MS, 0, 1);
	bandwidth_add(&b, 900 * 1024, 1 * MS, 0, 1);
	assert_int_equal(b.now, bandwidth_of(2 * MIB, 9 * MS));
	bandwidth_add(&b, 3 * MIB, 10 * MS, 9 * MS, 1); /* a trip with a queue before it */
	assert_int_equal(b.now, bandwidth_of(3 * MIB, 5 * MS));
}

/* A guest of zeroes that writes little: its first round is all looking and no sending. */
static void learns_from_small_rounds_together(void **unused)
{
	struct bandwidth b = { 0 };

	(void)unused;
	bandwidth_add(&b, 2 * MIB, 100 * MS, 0, 1);
	for (int i = 0; i < 3; i++) {
		bandwidth_add(&b, 256 * 1024, 1 * MS, MS / 2, 1);
		assert_int_equal(b.now, b.first);
	}
	bandwidth_add(&b, 256 * 1024, 1 * MS, MS / 2, 1);
	assert_int_equal(b.now, 250 * MIB); /* trips and all: no more than is sure */
	b.small_ns = 10000 * MS;
	bandwidth_add(&b, 0, 1 * MS, 1 * MS, 1);
	assert_int_equal(b.now, b.first);
}

static void guesses_where_nothing_was_sent(void **unused)
{
	struct bandwidth b = { 0 };

	(void)unused;
	bandwidth_add(&b, 0, 1 * MS, 1 * MS, 77);
	assert_int_equal(b.first, 77);
	bandwidth_add(&b, 0, 0, 0, 99);
	assert_int_equal(b.now, 77);
}

/* A device of 60 bytes: its round is a trip, and no measure of the wire. */
static void guesses_where_next_to_nothing_was_sent(void **unused)
{
	struct bandwidth b = { 0 };

	(void)unused;
	bandwidth_add(&b, 60, 80 * MS, 1 * MS, 77);
	assert_int_equal(b.first, 77);
	b = (struct bandwidth){ 0 };
	bandwidth_add(&b, BANDWIDTH_TINY, 80 * MS, 0, 77);
	assert_int_equal(b.first, bandwidth_of(BANDWIDTH_TINY, 80 * MS));
}

/* ---- steps ---- */

/* Whoever is slow in one step waits for whoever is slow in the other. */
static void waits_at_each_barrier(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.device_count = 2;
	in.devices[0] = (struct policy_device){ .stop_p2p_ns = 9 * MS, .stop_ns = 1 * MS,
						.run_p2p_ns = 8 * MS, .run_ns = 1 * MS };
	in.devices[1] = (struct policy_device){ .stop_p2p_ns = 1 * MS, .stop_ns = 7 * MS,
						.run_p2p_ns = 2 * MS, .run_ns = 6 * MS };
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.stop_ns, 16 * MS);
	assert_int_equal(out.predicted.handover_ns, 16 * MS);
	assert_string_equal(out.term, "stop");
	assert_int_equal(out.device, 0);
	in.serial = true;
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.stop_ns, 18 * MS);
	assert_int_equal(out.predicted.handover_ns, 19 * MS);
}

static void counts_what_steps_cost_beside_their_arcs(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.step_ns = 2 * MS;
	in.peer_step_ns = 3 * MS;
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.total_ns, 2 * MS); /* no devices, no steps */
	in.device_count = 1;
	in.devices[0] = (struct policy_device){ .stop_p2p_ns = 10 * MS, .stop_ns = 10 * MS,
						.check_ns = 10 * MS, .run_p2p_ns = 10 * MS,
						.run_ns = 10 * MS };
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.stop_ns, 24 * MS);
	assert_int_equal(out.predicted.load_ns, 13 * MS);
	assert_int_equal(out.predicted.handover_ns, 28 * MS);
	in.serial = true;
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.stop_ns, 24 * MS);
}

static void counts_the_last_questions(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.memory_bytes = MIB;
	in.query_ns = 4 * MS;
	in.sync_ns = 5 * MS;
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.stop_ns, 4 * MS);
	assert_int_equal(out.predicted.memory_ns, 15 * MS);
	assert_int_equal(out.predicted.total_ns, 21 * MS);
}

/* ---- what devices change while they are being stopped ---- */

static void counts_what_a_device_changes_until_it_has_stopped(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.device_count = 2;
	in.devices[0] = (struct policy_device){ .stop_p2p_ns = 20 * MS, .state_bytes = MIB,
						.growth_rate = 50 * MIB, .growth_max = 8 * MIB,
						.load_ns_mib = 20 * MS };
	in.devices[1] = (struct policy_device){ .stop_ns = 20 * MS };
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.stop_ns, 40 * MS);
	assert_int_equal(out.predicted.state_ns, 30 * MS); /* of 1 MiB and 2 more */
	assert_int_equal(out.predicted.load_ns, 30 * MS);
	in.devices[0].growth_max = MIB;
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.state_ns, 20 * MS);
	in.limit_ns = out.predicted.total_ns;
	in.devices[0].growth_max++;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_WAIT_LIMIT);
	in.devices[0].state_bytes = VFM_SIZE_UNKNOWN;
	in.unknown_bytes = MIB;
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.state_ns, 10 * MS);
}

/* 100 MiB at first, 10 of them are read in 10 ms, and it changes 1 MiB meanwhile. */
static void measures_what_a_device_changes_beside_what_is_read(void **unused)
{
	struct growth g = { 0 };

	(void)unused;
	growth_note(&g, 1 * MS, 100 * MIB, 0);
	assert_int_equal(growth_rate(&g), 0);
	growth_note(&g, 2 * MS, 100 * MIB, 0); /* too soon */
	for (uint64_t i = 1; i <= 9; i++)
		growth_note(&g, (1 + 10 * i) * MS, (100 - 9 * i) * MIB, 10 * i * MIB);
	assert_int_equal(growth_rate(&g), 100 * MIB);
	assert_int_equal(growth_room(&g, 19 * MIB), 81 * MIB);
	assert_int_equal(growth_room(&g, 200 * MIB), 0);
}

/* All of it with every save: whatever was read, as much is left. */
static void gives_no_room_to_a_device_that_saves_all_again(void **unused)
{
	struct growth g = { 0 };

	(void)unused;
	for (uint64_t i = 0; i < 9; i++)
		growth_note(&g, (1 + 10 * i) * MS, 100 * MIB, 10 * i * MIB);
	assert_int_equal(growth_room(&g, 100 * MIB), 0);
}

static void is_not_misled_by_a_jump_or_an_unknown_size(void **unused)
{
	struct growth g = { 0 };

	(void)unused;
	for (uint64_t i = 0; i < 4; i++)
		growth_note(&g, (1 + 10 * i) * MS, MIB, 0);
	growth_note(&g, 41 * MS, 64 * MIB, 0); /* new initial bytes */
	assert_int_equal(growth_rate(&g), 0);
	growth_note(&g, 51 * MS, VFM_SIZE_UNKNOWN, 0);
	growth_note(&g, 61 * MS, 0, 1000 * MIB); /* begins again */
	growth_note(&g, 71 * MS, 0, 0);
	growth_note(&g, 81 * MS, UINT64_MAX - 1, 1);
	assert_int_equal(growth_rate(&g), 0);
	for (uint64_t i = 0; i < 9; i++)
		growth_note(&g, (91 + 10 * i) * MS, i % 2 ? UINT64_MAX - 1 : 0, 0);
	assert_true(growth_rate(&g) <= UINT64_C(1000000000000000000));
}

static void goes_at_the_limit_and_not_above(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.memory_bytes = 9 * MIB;
	in.limit_ns = 92 * MS;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_GO);
	in.limit_ns--;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_WAIT_LIMIT);
	assert_string_equal(out.term, "memory");
}

static void treats_unknown_as_configured(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.device_count = 1;
	in.devices[0].state_bytes = VFM_SIZE_UNKNOWN;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_WAIT_LIMIT);
	assert_int_equal(out.predicted.state_ns, 10240 * MS);
	assert_string_equal(out.term, "state");
	assert_int_equal(out.device, 0);
	in.unknown_bytes = MIB;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_GO);
}

static void overlaps_loading_with_the_wire(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.device_count = 1;
	in.devices[0] = (struct policy_device){ .state_bytes = 4 * MIB, .load_ns_mib = 10 * MS };
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.load_ns, 0);
	in.devices[0].load_ns_mib = 15 * MS;
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.load_ns, 20 * MS);
}

static void does_not_take_an_unknown_load_rate_for_none(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.device_count = 2;
	in.devices[0] = (struct policy_device){ .state_bytes = 4 * MIB, .check_ns = 1 * MS,
						.load_ns_mib = VFM_SIZE_UNKNOWN };
	in.devices[1] = (struct policy_device){ .check_ns = 2 * MS };
	policy_decide(&in, &out);
	assert_int_equal(out.predicted.state_ns, 40 * MS);
	assert_int_equal(out.predicted.load_ns, 42 * MS);
	assert_string_equal(out.term, "load");
	assert_int_equal(out.device, 0);
}

static void takes_the_median_of_what_was_measured_last(void **unused)
{
	struct recent r = { 0 };

	(void)unused;
	assert_int_equal(recent_median(&r), 0);
	recent_add(&r, 700);
	assert_int_equal(recent_median(&r), 700);
	recent_add(&r, 3);
	assert_int_equal(recent_median(&r), 3);
	recent_add(&r, 5);
	assert_int_equal(recent_median(&r), 5);
	recent_add(&r, 4);
	recent_add(&r, 900);
	assert_int_equal(recent_median(&r), 5);
	recent_add(&r, 4); /* 700 is forgotten */
	assert_int_equal(recent_median(&r), 4);
}

static void waits_for_acks_and_for_numbers(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.pending_acks = 1;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_WAIT_ACKS);
	in.limit_ns = VFM_UNLIMITED;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_WAIT_ACKS);
	in.pending_acks = 0;
	in.bandwidth = 0;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_GO);
	in.limit_ns = 0;
	policy_decide(&in, &out);
	assert_int_equal(out.verdict, POLICY_WAIT_BANDWIDTH);
}

static void saturates(void **unused)
{
	struct policy_input in = base;
	struct policy_output out;

	(void)unused;
	in.memory_bytes = UINT64_MAX / 2;
	in.bandwidth = 1;
	in.vm_state_bytes = UINT64_MAX / 2;
	in.vcpus_stop_ns = UINT64_MAX;
	in.step_ns = UINT64_MAX;
	in.round_trip_ns = UINT64_MAX;
	in.device_count = 2;
	in.devices[0].stop_ns = in.devices[1].stop_ns = UINT64_MAX;
	in.devices[0].load_ns_mib = VFM_SIZE_UNKNOWN;
	in.devices[0].growth_rate = in.devices[0].growth_max = UINT64_MAX;
	in.serial = true;
	policy_decide(&in, &out);
	assert_true(out.predicted.total_ns == UINT64_MAX);
	assert_int_equal(out.verdict, POLICY_WAIT_LIMIT);
	assert_int_equal(policy_wire_ns(0, 0), 0);
	assert_true(policy_wire_ns(1, 0) == VFM_UNLIMITED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adds_up_the_terms),
		cmocka_unit_test(counts_on_the_last_large_round),
		cmocka_unit_test(learns_from_small_rounds_together),
		cmocka_unit_test(guesses_where_nothing_was_sent),
		cmocka_unit_test(guesses_where_next_to_nothing_was_sent),
		cmocka_unit_test(waits_at_each_barrier),
		cmocka_unit_test(counts_what_steps_cost_beside_their_arcs),
		cmocka_unit_test(counts_the_last_questions),
		cmocka_unit_test(counts_what_a_device_changes_until_it_has_stopped),
		cmocka_unit_test(measures_what_a_device_changes_beside_what_is_read),
		cmocka_unit_test(gives_no_room_to_a_device_that_saves_all_again),
		cmocka_unit_test(is_not_misled_by_a_jump_or_an_unknown_size),
		cmocka_unit_test(goes_at_the_limit_and_not_above),
		cmocka_unit_test(treats_unknown_as_configured),
		cmocka_unit_test(overlaps_loading_with_the_wire),
		cmocka_unit_test(does_not_take_an_unknown_load_rate_for_none),
		cmocka_unit_test(takes_the_median_of_what_was_measured_last),
		cmocka_unit_test(waits_for_acks_and_for_numbers),
		cmocka_unit_test(saturates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
