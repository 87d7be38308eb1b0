/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One side is killed in the middle of a stage before COMMIT, while a device is inside an arc of it
 * or gives its state; test-failures.c has those that die as they enter one.
 *
 *	destination killed  the source's guest runs on and moves to a new destination
 *	source killed       the destination never runs the guest, says so, and ends as failed
 *
 * A stage is held open by a device that takes its time for an arc.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/scene.h"

#define HOLD "=1500" /* ms: longer than it takes to see the stage and to kill, by far */

/* More data than this takes in a second, all of it behind the stop. */
#define STOPPED_STATE     (UINT64_C(64) << 20)
#define STOPPED_BANDWIDTH (UINT64_C(16) << 20)

static const struct held_stage {
	enum vfm_stage stage;
	const char *option[LAB_ENDS]; /* of the devices */
	uint64_t bandwidth;           /* 0: any */
} set_up_here = {VFM_STAGE_SETUP, {"--arc-latency=RUNNING:PRE_COPY" HOLD, NULL}, 0},
  set_up_there = {VFM_STAGE_SETUP, {NULL, "--arc-latency=STOP:RESUMING" HOLD}, 0},
  pre_copy = {VFM_STAGE_PRECOPY, {NULL, NULL}, 1 << 20},
  stop_p2p = {VFM_STAGE_STOP, {"--arc-latency=PRE_COPY:PRE_COPY_P2P" HOLD, NULL}, 0},
  stop = {VFM_STAGE_STOP, {"--arc-latency=PRE_COPY_P2P:STOP_COPY" HOLD, NULL}, 0},
  stop_copy = {VFM_STAGE_STOPCOPY, {"--migration=stop-copy,p2p", NULL}, STOPPED_BANDWIDTH},
  /* The destination prepares; the source, ready to commit, waits for its word. */
  prepare = {VFM_STAGE_PREPARE, {NULL, "--arc-latency=RESUMING:STOP" HOLD}, 0};

/* A migration that has come to the stage. */
static void enter(const struct held_stage *held)
{
	struct lab_config config = scene_config();

	memcpy(config.sim_option, held->option, sizeof(config.sim_option));
	if (held == &stop_copy)
		config.state_size = STOPPED_STATE;
	scene_start(&config);
	scene_migrate(scene.address, held->bandwidth);
	scene_await_stage(LAB_SOURCE, held->stage);
}

static void expect_source_goes_on(void)
{
	scene_expect_end("failed");
	scene_expect_guest(LAB_SOURCE);
	scene_expect_device(LAB_SOURCE);
	scene.config.sim_option[LAB_DESTINATION] = NULL;
	scene_renew(LAB_DESTINATION);
	scene_set("max-bandwidth", 0);
	scene_expect_arrival();
}

static void destination_is_killed(void **state)
{
	enter(*state);
	scene_kill(&scene.side[LAB_DESTINATION].vm, SIGKILL);
	expect_source_goes_on();
}

static void destination_is_gone(void **state)
{
	struct lab_config config = scene_config();

	scene_start(&config);
	scene_kill(&scene.side[LAB_DESTINATION].vm, SIGKILL);
	assert_int_equal(process_wait(&scene.side[LAB_DESTINATION].vm, SCENE_WAIT_MS), 0);
	scene_migrate(scene.address, 0);
	expect_source_goes_on();
}

static void source_is_killed(void **state)
{
	enter(*state);
	scene_kill(&scene.side[LAB_SOURCE].vm, SIGKILL);
	scene_expect_never_ran();
}

#define WITH(test, stage) {#test "_in_" #stage, test, NULL, scene_stop, (void *)&(stage)}
#define BOTH(stage)       WITH(destination_is_killed, stage), WITH(source_is_killed, stage)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(destination_is_gone, scene_stop),
		BOTH(set_up_here),
		BOTH(set_up_there),
		BOTH(pre_copy),
		BOTH(stop_p2p),
		BOTH(stop),
		BOTH(stop_copy),
		BOTH(prepare),
	};

	return cmocka_run_group_tests(tests, scene_open, NULL);
}
