/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One side of a migration goes: killed as it enters a stage, frozen, or told to cancel. Wherever
 * that happens before COMMIT, the source's guest goes on without a missing beat and can move to
 * another destination, and the destination never runs it.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/field.h"
#include "tests/scene.h"

#define ARC_MS "1500" /* an arc that holds a stage open: until it has been seen, by far */

/* ---- the destination is killed ---- */

static void start_dying(enum lab_end end, const char *options)
{
	struct lab_config config = scene_config();

	config.vm_option[end] = options;
	scene_start(&config);
}

static void destination_dies(void **state)
{
	struct json_object *report;

	start_dying(LAB_DESTINATION, *state);
	scene_migrate(scene.address, 0);
	report = scene_expect_end("failed");
	assert_int_not_equal(field_u64(report, "error.errno", 0), 0);
	assert_string_not_equal(field_text(report, "error.text", ""), "");
	assert_string_equal(field_text(report, "owner", ""), "source");
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	scene.config.vm_option[LAB_DESTINATION] = NULL;
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

/* PREPARED may have left it or not. If it has, the source gives the VM away and gets no answer; the
 * operator knows that the destination is dead. */
static void destination_dies_at_commit(void **state)
{
	struct json_object *report, *arguments = json_object_new_object();
	struct lab_config config = scene_config();

	config.vm_option[LAB_SOURCE] = "--doubt-timeout=300ms";
	config.vm_option[LAB_DESTINATION] = "--die-at=commit";
	scene_start(&config);
	scene_migrate(scene.address, 0);
	assert_int_equal(follow_to_end(&scene_follow), 0);
	assert_int_equal(follow_get_report(&scene_follow, &report), 0);
	json_object_object_add(arguments, "destination-runs", json_object_new_boolean(0));
	if (!strcmp(field_text(report, "status", ""), "in-doubt"))
		scene_execute(LAB_SOURCE, "x-vfm-resolve", arguments);
	else
		json_object_put(arguments);
	json_object_put(report);
	scene_expect_end("failed");
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	scene.config.vm_option[LAB_DESTINATION] = NULL;
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

/* ---- the source is killed ---- */

/* Nothing is at stake yet: the reason is told, and another source is welcome. */
static void source_dies_as_a_stranger(void **state)
{
	bool hello = !strcmp(*state, "--die-at=hello");

	start_dying(LAB_SOURCE, *state);
	scene_migrate(scene.address, 0);
	assert_int_equal(process_wait(&scene.side[LAB_SOURCE].vm, SCENE_WAIT_MS), 0);
	scene_expect_said(LAB_DESTINATION, hello ? "a connection was closed: " :
						   "a peer was sent away: ");
	scene_expect_waiting();
	scene.config.vm_option[LAB_SOURCE] = NULL;
	scene_renew(LAB_SOURCE);
	scene_expect_arrival();
}

static void source_dies(void **state)
{
	start_dying(LAB_SOURCE, *state);
	scene_migrate(scene.address, 0);
	assert_int_equal(process_wait(&scene.side[LAB_SOURCE].vm, SCENE_WAIT_MS), 0);
	scene_expect_never_ran();
	scene_expect_said(LAB_DESTINATION, "the connection to the peer is lost");
}

/* Killed between PREPARED and COMMIT: the destination has a whole VM and cannot know whether it was
 * given it. */
static void leave_it_prepared(void)
{
	start_dying(LAB_SOURCE, "--die-at=commit");
	scene_migrate(scene.address, 0);
	assert_int_equal(process_wait(&scene.side[LAB_SOURCE].vm, SCENE_WAIT_MS), 0);
	scene_expect_said(LAB_DESTINATION, "waiting for it, or for an operator's cancel");
	scene_expect_waiting();
}

static void prepared_waits_for_an_operator(void **state)
{
	leave_it_prepared();
	scene_execute(LAB_DESTINATION, "migrate_cancel", NULL);
	scene_expect_said(LAB_DESTINATION, "given up");
	scene_execute(LAB_DESTINATION, "migrate_cancel", NULL); /* no source will ask any more */
	scene_expect_never_ran();
}

static void prepared_is_told_to_quit(void **state)
{
	leave_it_prepared();
	scene_execute(LAB_DESTINATION, "quit", NULL);
	scene_expect_never_ran();
}

/* ---- the destination is frozen ---- */

static void expect_thaw(void)
{
	scene_kill(&scene.side[LAB_DESTINATION].vm, SIGCONT);
	scene_expect_never_ran();
	scene_renew(LAB_DESTINATION);
	scene_expect_arrival();
}

static void destination_stops_reading(void **state)
{
	struct lab_config config = scene_config();
	struct json_object *report;

	config.vm_option[LAB_SOURCE] = "--peer-timeout=2s";
	scene_start(&config);
	scene_migrate_endlessly();
	scene_await_stage(LAB_SOURCE, VFM_STAGE_PRECOPY);
	scene_kill(&scene.side[LAB_DESTINATION].vm, SIGSTOP);
	report = scene_expect_end("failed");
	assert_int_equal(field_u64(report, "error.errno", 0), ETIMEDOUT);
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	expect_thaw();
}

/* All of the device's state is behind the stop, and more than a socket holds: the guest stands
 * still, and the peer takes nothing. */
static void destination_stops_reading_while_the_guest_stands(void **state)
{
	struct lab_config config = scene_config();
	struct json_object *report;

	config.state_size = 64 << 20;
	config.initial_size = 0;
	config.vm_option[LAB_SOURCE] = "--peer-timeout=2s --standstill-timeout=60s";
	config.sim_option[LAB_SOURCE] = "--migration=stop-copy,p2p "
					"--arc-latency=RUNNING_P2P:STOP=" ARC_MS;
	scene_start(&config);
	scene_migrate(scene.address, 0);
	scene_await_stage(LAB_SOURCE, VFM_STAGE_STOP);
	scene_kill(&scene.side[LAB_DESTINATION].vm, SIGSTOP);
	report = scene_expect_end("failed");
	assert_int_equal(field_u64(report, "error.errno", 0), ETIMEDOUT);
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	expect_thaw();
}

/* It is the source's own limit that keeps it from sending, and for longer than it would bear with a
 * peer. */
static void a_bandwidth_limit_is_no_silence(void **state)
{
	struct lab_config config = scene_config();
	struct vfm_progress now = {.elapsed_ns = 0};

	config.vm_option[LAB_SOURCE] = "--peer-timeout=2s";
	scene_start(&config);
	scene_migrate(scene.address, 16 << 10);
	while (now.elapsed_ns < UINT64_C(5000000000)) {
		assert_int_equal(follow_get_progress(&scene_follow, &now), 0);
		assert_int_equal(now.status, VFM_STATUS_ACTIVE);
		usleep(10000);
	}
	scene_set("max-bandwidth", 0);
	scene_expect_end("completed");
	scene_expect_guest(LAB_DESTINATION);
}

/* ---- cancel ---- */

/* A stage that is held open, and in it the word. */
static const struct cancel {
	enum vfm_stage stage;
	const char *option[LAB_ENDS]; /* of the devices */
} cancels[] = {
	{VFM_STAGE_SETUP, {"--arc-latency=RUNNING:PRE_COPY=" ARC_MS, NULL}},
	{VFM_STAGE_SETUP, {NULL, "--arc-latency=STOP:RESUMING=" ARC_MS}},
	{VFM_STAGE_STOP, {"--arc-latency=PRE_COPY_P2P:STOP_COPY=" ARC_MS, NULL}},
	{VFM_STAGE_PREPARE, {NULL, "--arc-latency=RESUMING:STOP=" ARC_MS}},
};

static void expect_cancelled(void)
{
	scene_execute(LAB_SOURCE, "migrate_cancel", NULL);
	scene_expect_end("cancelled");
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	scene_expect_never_ran();
	scene.config.sim_option[LAB_DESTINATION] = NULL;
	scene_renew(LAB_DESTINATION);
	scene_set("max-bandwidth", 0);
	scene_expect_arrival();
}

static void cancelled(void **state)
{
	const struct cancel *c = *state;
	struct lab_config config = scene_config();

	memcpy(config.sim_option, c->option, sizeof(config.sim_option));
	scene_start(&config);
	scene_migrate(scene.address, 0);
	scene_await_stage(LAB_SOURCE, c->stage);
	expect_cancelled();
}

static void cancelled_in_precopy(void **state)
{
	struct lab_config config = scene_config();

	scene_start(&config);
	scene_migrate_endlessly();
	scene_await_stage(LAB_SOURCE, VFM_STAGE_PRECOPY);
	expect_cancelled();
}

/* A link so slow that the last data would take many seconds. */
static void cancelled_on_a_slow_link_while_the_guest_stands(void **state)
{
	struct lab_config config = scene_config();

	config.state_size = 64 << 20;
	config.initial_size = 0;
	config.sim_option[LAB_SOURCE] = "--migration=stop-copy,p2p "
					"--arc-latency=RUNNING_P2P:STOP=" ARC_MS;
	scene_start(&config);
	scene_migrate(scene.address, 0);
	scene_await_stage(LAB_SOURCE, VFM_STAGE_STOP);
	scene_set("max-bandwidth", 1 << 20);
	scene_await_stage(LAB_SOURCE, VFM_STAGE_STOPCOPY);
	expect_cancelled();
}

#define WITH(test, name, with) {name, test, NULL, scene_stop, (void *)(with)}
#define DESTINATION_AT(stage)                                                                      \
	WITH(destination_dies, "destination_dies_at_" stage, "--die-at=" stage)
#define SOURCE_AT(stage) WITH(source_dies, "source_dies_at_" stage, "--die-at=" stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DESTINATION_AT("describe"),
		DESTINATION_AT("set-up"),
		DESTINATION_AT("pre-copy"),
		DESTINATION_AT("stop"),
		DESTINATION_AT("prepare"),
		cmocka_unit_test_teardown(destination_dies_at_commit, scene_stop),
		WITH(source_dies_as_a_stranger, "source_dies_at_hello", "--die-at=hello"),
		WITH(source_dies_as_a_stranger, "source_dies_at_describe", "--die-at=describe"),
		SOURCE_AT("set-up"),
		SOURCE_AT("pre-copy"),
		SOURCE_AT("stop"),
		SOURCE_AT("stop-copy"),
		SOURCE_AT("prepare"),
		cmocka_unit_test_teardown(prepared_waits_for_an_operator, scene_stop),
		cmocka_unit_test_teardown(prepared_is_told_to_quit, scene_stop),
		cmocka_unit_test_teardown(destination_stops_reading, scene_stop),
		cmocka_unit_test_teardown(destination_stops_reading_while_the_guest_stands, scene_stop),
		cmocka_unit_test_teardown(a_bandwidth_limit_is_no_silence, scene_stop),
		WITH(cancelled, "cancelled_while_its_device_sets_up", &cancels[0]),
		WITH(cancelled, "cancelled_while_the_other_device_sets_up", &cancels[1]),
		WITH(cancelled, "cancelled_while_its_device_stops", &cancels[2]),
		WITH(cancelled, "cancelled_while_the_other_device_checks", &cancels[3]),
		cmocka_unit_test_teardown(cancelled_in_precopy, scene_stop),
		cmocka_unit_test_teardown(cancelled_on_a_slow_link_while_the_guest_stands, scene_stop),
	};

	return cmocka_run_group_tests(tests, scene_open, NULL);
}
