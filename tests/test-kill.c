/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One side is killed (SIGKILL) in each stage before COMMIT. The other one is a real process, too:
 *
 *	destination killed  the source's guest runs on, its heart never skips, and it moves to a new
 *	                    destination
 *	source killed       the destination never runs the guest, says why, and exits non-zero; once
 *	                    it is complete it does so when an operator gives up on the source
 *
 * A stage is held open by a device that takes its time for an arc of it.
 */
#include <errno.h>
#include <json-c/json.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "cli/field.h"
#include "cli/follow.h"
#include "cli/interrupt.h"
#include "cli/lab.h"
#include "cli/verify.h"

#define WAIT_MS 60000
#define POLL_MS 5
#define HOLD    "=1500" /* ms: longer than it takes to see the stage and to kill, by far */

static struct lab lab;
static int interrupts;

static const struct held_stage {
	enum vfm_stage stage;
	enum lab_end slow;  /* whose device holds it */
	const char *option;
	uint64_t bandwidth; /* 0: unlimited */
} stages[] = {
	{VFM_STAGE_HELLO, LAB_SOURCE, NULL, 0}, /* killed before it starts */
	{VFM_STAGE_SETUP, LAB_SOURCE, "--arc-latency=RUNNING:PRE_COPY" HOLD, 0},
	{VFM_STAGE_SETUP, LAB_DESTINATION, "--arc-latency=STOP:RESUMING" HOLD, 0},
	{VFM_STAGE_PRECOPY, LAB_SOURCE, NULL, 1 << 20},
	{VFM_STAGE_STOP, LAB_SOURCE, "--arc-latency=PRE_COPY:PRE_COPY_P2P" HOLD, 0},
	{VFM_STAGE_STOP, LAB_SOURCE, "--arc-latency=PRE_COPY_P2P:STOP_COPY" HOLD, 0},
	{VFM_STAGE_STOPCOPY, LAB_SOURCE, "--migration=stop-copy,p2p", 16 << 20},
	/* The destination prepares; the source, ready to commit, waits for its word. */
	{VFM_STAGE_PREPARE, LAB_DESTINATION, "--arc-latency=RESUMING:STOP" HOLD, 0},
};

static void set_up(const struct held_stage *held)
{
	struct lab_config config = {
		.program = getenv("VFIO_MIGRATE"),
		.memory = 32 << 20,
		.dirty_rate = 4 << 20,
		.state_size = 4 << 20,
		.dma_rate = 200,
		.cpus = 1,
		.accel = "thread",
		.interrupts = interrupts,
	};
	static struct verify verify;
	int rc;

	config.sim_option[held->slow] = held->option;
	/* More data than the bandwidth takes in a second, all of it behind the stop. */
	if (held->stage == VFM_STAGE_STOPCOPY)
		config.state_size = 64 << 20;
	assert_non_null(config.program);
	rc = lab_start(&lab, &config);
	if (rc) {
		print_error("%s\n", lab.why);
		lab_show_casualties(&lab, stderr);
	}
	assert_int_equal(rc, 0);
	assert_int_equal(verify_wait_until_busy(&verify, lab.side[LAB_SOURCE].qmp, interrupts), 0);
}

static int tear_down(void **state)
{
	lab_stop(&lab);
	return 0;
}

static void start(struct follow *follow, uint64_t bandwidth)
{
	struct follow_limits limits = {VFM_UNLIMITED, bandwidth ? bandwidth : VFM_UNLIMITED};

	follow->vm = lab.side[LAB_SOURCE].qmp;
	follow->interrupts = interrupts;
	assert_int_equal(follow_set_limits(follow, &limits), 0);
	assert_int_equal(follow_start(follow, lab.address), 0);
}

static void wait_for_stage(struct follow *follow, enum vfm_stage stage)
{
	struct vfm_progress numbers = {.stage = VFM_STAGE_NONE};
	int tries;

	for (tries = 0; numbers.stage != stage && tries < WAIT_MS / POLL_MS; tries++) {
		assert_int_equal(follow_get_progress(follow, &numbers), 0);
		if (numbers.stage > stage)
			fail_msg("stage %s is over", vfm_stage_name(stage));
		usleep(POLL_MS * 1000);
	}
	assert_int_equal(numbers.stage, stage);
}

static void kill_vm(enum lab_end end)
{
	assert_int_equal(kill(lab.side[end].vm.pid, SIGKILL), 0);
	assert_int_equal(process_wait(&lab.side[end].vm, WAIT_MS), 0);
}

/* Beats, and no failure seen: the guest itself stops if a beat is missing. */
static void expect_guest(enum lab_end end)
{
	static struct verify verify;
	uint64_t first;
	int tries;

	assert_int_equal(verify_wait_until_busy(&verify, lab.side[end].qmp, interrupts), 0);
	first = verify.source.live.heartbeat[0];
	for (tries = 0; tries < WAIT_MS / POLL_MS; tries++) {
		assert_int_equal(verify_wait_until_busy(&verify, lab.side[end].qmp, interrupts), 0);
		if (verify.source.live.heartbeat[0] > first + 3)
			break;
		usleep(POLL_MS * 1000);
	}
	assert_true(verify.source.live.heartbeat[0] > first + 3);
	assert_true(verify.source.live.running);
}

static void expect_outcome(struct follow *follow, const char *status)
{
	struct json_object *report;

	assert_int_equal(follow_to_end(follow), 0);
	assert_int_equal(follow_get_report(follow, &report), 0);
	if (strcmp(field_text(report, "status", ""), status))
		print_error("%s\n", json_object_to_json_string(report));
	assert_string_equal(field_text(report, "status", ""), status);
	json_object_put(report);
}

static void kill_destination(const struct held_stage *held)
{
	struct follow follow = {.interrupts = interrupts};

	set_up(held);
	if (held->stage == VFM_STAGE_HELLO)
		kill_vm(LAB_DESTINATION);
	start(&follow, held->bandwidth);
	if (held->stage != VFM_STAGE_HELLO) {
		wait_for_stage(&follow, held->stage);
		kill_vm(LAB_DESTINATION);
	}
	expect_outcome(&follow, "failed");
	expect_guest(LAB_SOURCE);

	lab.config.sim_option[LAB_DESTINATION] = NULL;
	assert_int_equal(lab_renew_destination(&lab), 0);
	start(&follow, 0);
	expect_outcome(&follow, "completed");
	expect_guest(LAB_DESTINATION);
	tear_down(NULL);
}

static void destination_killed_in_each_stage(void **state)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(stages); i++)
		kill_destination(&stages[i]);
}

static void kill_source(const struct held_stage *held)
{
	struct process *vm = &lab.side[LAB_DESTINATION].vm;
	struct follow follow = {.interrupts = interrupts};

	set_up(held);
	start(&follow, held->bandwidth);
	wait_for_stage(&follow, held->stage);
	kill_vm(LAB_SOURCE);
	assert_int_equal(process_wait(vm, WAIT_MS), 0);
	assert_true(WIFEXITED(vm->status));
	assert_int_not_equal(WEXITSTATUS(vm->status), 0);
	if (!process_said(vm, "the guest never ran here"))
		process_show_log(vm, 20, stderr);
	assert_true(process_said(vm, "the guest never ran here"));
	tear_down(NULL);
}

static void source_killed_in_each_stage(void **state)
{
	size_t i;

	for (i = 1; i < ARRAY_SIZE(stages); i++)
		kill_source(&stages[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(destination_killed_in_each_stage, tear_down),
		cmocka_unit_test_teardown(source_killed_in_each_stage, tear_down),
	};

	interrupts = interrupt_open();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
