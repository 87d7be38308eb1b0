/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate migrate` against running VMs: done, refused, cancelled, failed, and once more. */
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
#include "cli/interrupt.h"
#include "cli/lab.h"
#include "tests/program.h"

#define WAIT_MS 60000

static struct program_run run;
static struct lab lab;
static int interrupts;

/* More options of the two VMs; NULL: none. */
static const char *vm_options[LAB_ENDS];

static int start_with(uint64_t other_memory, const char *other_device)
{
	struct lab_config config = {
		.program = getenv("VFIO_MIGRATE"),
		.memory = 32 << 20,
		.dirty_rate = 4 << 20,
		.state_size = 4 << 20,
		.initial_size = 4 << 20,
		.dma_rate = 200,
		.cpus = 1,
		.accel = "thread",
		.interrupts = interrupts,
		.other_memory = other_memory,
		.other_device = other_device,
		.vm_option = {vm_options[LAB_SOURCE], vm_options[LAB_DESTINATION]},
	};

	if (!config.program)
		return -1;
	if (!lab_start(&lab, &config))
		return 0;
	print_error("%s\n", lab.why);
	lab_show_casualties(&lab, stderr);
	lab_stop(&lab);
	return -1;
}

static int start(void **state)
{
	return start_with(0, NULL);
}

static int start_unlike(void **state)
{
	return start_with(64 << 20, "another");
}

static int start_old_source(void **state)
{
	vm_options[LAB_SOURCE] = "--profile=legacy";
	return start(state);
}

static int start_old_destination(void **state)
{
	vm_options[LAB_DESTINATION] = "--profile=1";
	return start(state);
}

static int start_hasty(void **state)
{
	vm_options[LAB_SOURCE] = "--downtime-limit=1 --max-rounds=3";
	return start(state);
}

static int stop(void **state)
{
	vm_options[LAB_SOURCE] = vm_options[LAB_DESTINATION] = NULL;
	lab_stop(&lab);
	return 0;
}

static void expect(int status, const char *format, ...) PRINTF(2, 3);

/* Run migrate on the source with more options, and want an exit status. */
static void expect(int status, const char *format, ...)
{
	char args[512], more[256];
	va_list list;

	va_start(list, format);
	vsnprintf(more, sizeof(more), format, list);
	va_end(list);
	snprintf(args, sizeof(args), "migrate --vm=%s/source.qmp %s", lab.dir, more);
	program_run(&run, args, WAIT_MS);
	if (run.status != status)
		print_error("%s: status %d:\n%s", args, run.status, run.output);
	assert_int_equal(run.status, status);
}

static void expect_said(const char *text)
{
	if (!strstr(run.output, text))
		print_error("\"%s\" is not in:\n%s", text, run.output);
	assert_non_null(strstr(run.output, text));
}

static uint64_t heartbeat(enum lab_end end)
{
	struct json_object *seen, *hearts;
	uint64_t beat;

	assert_int_equal(qmp_client_execute(lab.side[end].qmp, "x-vfm-verify", NULL, WAIT_MS, &seen),
			 0);
	hearts = field_find(seen, "live.heartbeat");
	assert_true(json_object_is_type(hearts, json_type_array));
	beat = field_u64(json_object_array_get_idx(hearts, 0), "", 0);
	json_object_put(seen);
	return beat;
}

/* The guest runs on that side: it beats some more. */
static void expect_beats(enum lab_end end)
{
	uint64_t first = heartbeat(end);
	int tries;

	for (tries = 0; heartbeat(end) < first + 3 && tries < WAIT_MS / 10; tries++)
		usleep(10000);
	assert_true(heartbeat(end) >= first + 3);
}

static void completes(void **state)
{
	uint64_t last;

	expect(0, "--status");
	assert_string_equal(run.output, "none\n");
	expect(0, "%s", lab.address);
	expect_said("migration completed");
	expect_said("where the downtime went");
	last = heartbeat(LAB_SOURCE);
	expect_beats(LAB_DESTINATION);
	assert_true(heartbeat(LAB_SOURCE) == last);
	expect(0, "--status");
	assert_string_equal(run.output, "completed\n");
	expect(0, "--json=/dev/null"); /* without URI: the outcome again */
	expect_said("migration completed");
	expect(1, "%s", lab.address); /* it is not ours any more */
	expect_said("given to a destination");
}

static void tells_in_json(void **state)
{
	struct json_object *report;

	expect(0, "--quiet --json=- %s", lab.address);
	report = json_tokener_parse(run.output);
	assert_non_null(report);
	assert_string_equal(field_text(report, "status", ""), "completed");
	assert_true(field_number(report, "downtime_ms", -1) > 0);
	json_object_put(report);
}

/* The newer end does as the older one can. */
static void an_old_end_and_a_new_one_agree(void **state)
{
	struct json_object *report;

	expect(0, "--quiet --json=- %s", lab.address);
	report = json_tokener_parse(run.output);
	assert_non_null(report);
	assert_string_equal(field_text(report, "acks.mode", ""), "legacy");
	json_object_put(report);
	expect_beats(LAB_DESTINATION);
}

/* Five transitions count for 1 ms each, so it never goes, and says why; then it may. */
static void ends_after_its_rounds(void **state)
{
	expect(1, "%s", lab.address);
	expect_said("not met within 3 rounds");
	expect_said("  mostly ");
	expect_beats(LAB_SOURCE);
}

/* Nobody is there: it fails, says why, and the guest runs on. */
static void fails_without_a_destination(void **state)
{
	expect(1, "unix:%s/nobody", lab.dir);
	expect_said("migration failed");
	expect_said("the guest runs on at the source");
	expect_beats(LAB_SOURCE);
	expect(1, "--status");
	assert_string_equal(run.output, "failed\n");
	expect(0, "%s", lab.address); /* and it can migrate after all */
	expect_beats(LAB_DESTINATION);
}

/* Refused before anything moved, with every reason. */
static void is_refused_by_another_kind_of_vm(void **state)
{
	struct json_object *report;

	expect(1, "%s", lab.address);
	expect_said("migration failed");
	expect_said("memory");
	expect_said(LAB_DEVICE);
	expect_said("another");
	expect(1, "--quiet --json=-"); /* the outcome again */
	report = json_tokener_parse(strchr(run.output, '{'));
	assert_non_null(report);
	assert_true(json_object_array_length(field_find(report, "reasons")) >= 2);
	assert_int_equal(field_u64(report, "memory.pages", 1), 0);
	json_object_put(report);
	expect_beats(LAB_SOURCE);
}

static void start_slow(struct process *process)
{
	static char vm[160], log[160];
	char *argv[] = {getenv("VFIO_MIGRATE"), (char *)"migrate", vm, (char *)"--bandwidth=2M",
			(char *)"--downtime-limit=1", lab.address, NULL};
	int tries;

	snprintf(vm, sizeof(vm), "--vm=%s/source.qmp", lab.dir);
	snprintf(log, sizeof(log), "%s/migrate.log", lab.dir);
	assert_int_equal(process_spawn(process, "migrate", log, argv), 0);
	for (tries = 0; !process_said(process, "pre-copy  round 1"); tries++) {
		assert_true(tries < WAIT_MS / 10);
		assert_int_equal(process_wait(process, 10), -ETIMEDOUT);
	}
}

static void expect_end(struct process *process, const char *how)
{
	char text[64];

	assert_int_equal(process_wait(process, WAIT_MS), 0);
	if (strcmp(process_describe(process, text, sizeof(text)), how))
		process_show_log(process, 20, stderr);
	assert_string_equal(process_describe(process, text, sizeof(text)), how);
}

static void is_cancelled_by_another(void **state)
{
	struct process process = {.pid = 0};

	start_slow(&process);
	expect(0, "--status");
	expect_said("active");
	expect(0, "--cancel");
	expect_end(&process, "exit status 4");
	assert_true(process_said(&process, "migration cancelled"));
	expect_beats(LAB_SOURCE);
	expect(4, "--status");
	expect(0, "--cancel");
	expect_said("nothing to cancel");
}

static void is_cancelled_by_an_interrupt(void **state)
{
	struct process process = {.pid = 0};

	start_slow(&process);
	assert_int_equal(kill(process.pid, SIGINT), 0);
	expect_end(&process, "exit status 4");
	expect_beats(LAB_SOURCE);
}

/* The one who follows goes, the migration stays; another one follows it. */
static void goes_on_without_a_follower(void **state)
{
	struct process process = {.pid = 0};

	start_slow(&process);
	assert_int_equal(kill(process.pid, SIGKILL), 0); /* SIGTERM would cancel */
	expect_end(&process, "killed by signal 9");
	expect(0, "--status");
	expect_said("active");
	expect(0, "--bandwidth=1G --downtime-limit=unlimited");
	expect_said("migration completed");
	expect_beats(LAB_DESTINATION);
}

static void destination_killed_while_copying(void **state)
{
	struct process process = {.pid = 0};

	start_slow(&process);
	assert_int_equal(kill(lab.side[LAB_DESTINATION].vm.pid, SIGKILL), 0);
	expect_end(&process, "exit status 1");
	expect_beats(LAB_SOURCE);
}

static void device_killed_while_copying(void **state)
{
	struct process process = {.pid = 0};

	start_slow(&process);
	assert_int_equal(kill(lab.side[LAB_DESTINATION].sim[0].pid, SIGKILL), 0);
	expect_end(&process, "exit status 1");
	assert_true(process_said(&process, LAB_DEVICE)); /* it is named */
	expect_beats(LAB_SOURCE);
	assert_int_equal(process_wait(&lab.side[LAB_DESTINATION].vm, WAIT_MS), 0);
	assert_true(WIFEXITED(lab.side[LAB_DESTINATION].vm.status));
	assert_int_not_equal(WEXITSTATUS(lab.side[LAB_DESTINATION].vm.status), 0);
}

static void control_socket_lost(void **state)
{
	struct process process = {.pid = 0};

	start_slow(&process);
	assert_int_equal(kill(lab.side[LAB_SOURCE].vm.pid, SIGKILL), 0);
	expect_end(&process, "exit status 6");
	/* The destination never runs the guest, and says so. */
	assert_int_equal(process_wait(&lab.side[LAB_DESTINATION].vm, WAIT_MS), 0);
	assert_true(WIFEXITED(lab.side[LAB_DESTINATION].vm.status));
	assert_int_not_equal(WEXITSTATUS(lab.side[LAB_DESTINATION].vm.status), 0);
	assert_true(process_said(&lab.side[LAB_DESTINATION].vm, "the guest never ran here"));
}

static void no_vm_behind_the_socket(void **state)
{
	program_run(&run, "migrate --vm=/nowhere/at/all tcp:127.0.0.1:1", WAIT_MS);
	assert_int_equal(run.status, 1);
	expect_said("/nowhere/at/all");
}

#define WITH_LAB(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_LAB(completes),
		WITH_LAB(tells_in_json),
		cmocka_unit_test_setup_teardown(an_old_end_and_a_new_one_agree, start_old_source,
						stop),
		cmocka_unit_test_setup_teardown(an_old_end_and_a_new_one_agree,
						start_old_destination, stop),
		cmocka_unit_test_setup_teardown(ends_after_its_rounds, start_hasty, stop),
		WITH_LAB(fails_without_a_destination),
		cmocka_unit_test_setup_teardown(is_refused_by_another_kind_of_vm, start_unlike, stop),
		WITH_LAB(is_cancelled_by_another),
		WITH_LAB(is_cancelled_by_an_interrupt),
		WITH_LAB(goes_on_without_a_follower),
		WITH_LAB(destination_killed_while_copying),
		WITH_LAB(device_killed_while_copying),
		WITH_LAB(control_socket_lost),
		cmocka_unit_test(no_vm_behind_the_socket),
	};

	interrupts = interrupt_open();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
