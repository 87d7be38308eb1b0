/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `vfio-migrate demo`, whole: it passes, each check of it fails on the damage that it is for, and
 * nothing is left behind. KVM where the machine has it, the thread accelerator in any case.
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
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "cli/field.h"
#include "cli/process.h"
#include "tests/program.h"

#define WAIT_MS 120000
#define SMALL   "demo --memory=32M --state-size=4M "

static struct program_run run;
static char dir[] = "/tmp/test-demo-XXXXXX";

/* All that demo makes goes to a directory that has to be empty at the end. */
static int make_dir(void **state)
{
	if (!mkdtemp(dir))
		return -1;
	return setenv("TMPDIR", dir, 1);
}

static int remove_dir(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/report", dir);
	unlink(path);
	return rmdir(dir);
}

static void expect_status(const char *args, int status)
{
	program_run(&run, args, WAIT_MS);
	if (run.status != status)
		print_error("%s: status %d:\n%s", args, run.status, run.output);
	assert_int_equal(run.status, status);
}

static const char *const checks[] = {"memory", "device", "ring", "guest", "heartbeat"};

/* What demo printed for a check: 1 ok, 0 failed. */
static int printed(const char *check)
{
	char line[64];

	snprintf(line, sizeof(line), "\n  %-10s ok ", check);
	if (strstr(run.output, line))
		return 1;
	snprintf(line, sizeof(line), "\n  %-10s FAILED ", check);
	assert_non_null(strstr(run.output, line));
	return 0;
}

static const char *const text_fields[] = {"status"};
static const char *const number_fields[] = {
	"total_ms", "downtime_ms", "predicted_downtime_ms",
	"downtime_terms.stop_ms", "downtime_terms.state_ms", "downtime_terms.memory_ms",
	"downtime_terms.load_ms", "downtime_terms.handover_ms",
	"predicted_terms.stop_ms", "predicted_terms.state_ms", "predicted_terms.memory_ms",
	"predicted_terms.load_ms", "predicted_terms.handover_ms",
	"rounds", "memory.total_bytes", "memory.sent_bytes", "memory.zero_pages", "memory.pages",
};

static void expect_arcs(struct json_object *device)
{
	struct json_object *arcs = field_find(device, "arcs"), *arc;
	unsigned sides = 0;
	size_t i;

	assert_true(json_object_is_type(arcs, json_type_array));
	for (i = 0; i < json_object_array_length(arcs); i++) {
		arc = json_object_array_get_idx(arcs, i);
		sides |= strcmp(field_text(arc, "side", ""), "source") ? 2 : 1;
		assert_string_not_equal(field_text(arc, "from", ""), "");
		assert_string_not_equal(field_text(arc, "to", ""), "");
		assert_true(field_number(arc, "ms", -1) >= 0);
	}
	assert_int_equal(sides, 3);
}

static void expect_device(struct json_object *report)
{
	struct json_object *devices = field_find(report, "devices"), *device;

	assert_true(json_object_is_type(devices, json_type_array));
	assert_int_equal(json_object_array_length(devices), 1);
	device = json_object_array_get_idx(devices, 0);
	assert_string_equal(field_text(device, "name", ""), "dev0");
	/* All of the device's 4 MiB came over, before the stop or after. */
	assert_true(field_number(device, "precopy_bytes", -1) +
			    field_number(device, "stopcopy_bytes", -1) >= 4 << 20);
	assert_true(field_number(device, "load_ms", -1) >= 0);
	expect_arcs(device);
}

/* "12.345": as docs/report.md promises. */
static void expect_three_decimals(struct json_object *report, const char *path)
{
	const char *text = json_object_to_json_string(field_find(report, path));
	const char *point = strchr(text, '.');

	assert_non_null(point);
	assert_int_equal(strlen(point), 4);
}

static void expect_report(struct json_object *report)
{
	char path[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(text_fields); i++)
		assert_string_not_equal(field_text(report, text_fields[i], ""), "");
	for (i = 0; i < ARRAY_SIZE(number_fields); i++) {
		if (field_number(report, number_fields[i], -1) < 0)
			print_error("%s is missing\n", number_fields[i]);
		assert_true(field_number(report, number_fields[i], -1) >= 0);
		if (strstr(number_fields[i], "_ms"))
			expect_three_decimals(report, number_fields[i]);
	}
	for (i = 0; i < ARRAY_SIZE(checks); i++) {
		snprintf(path, sizeof(path), "verified.%s", checks[i]);
		assert_true(field_true(report, path));
	}
	assert_string_equal(field_text(report, "status", ""), "completed");
	assert_true(json_object_object_get_ex(report, "error", NULL));
	assert_null(field_find(report, "error"));
	assert_true(field_u64(report, "memory.total_bytes", 0) == 32 << 20);
	expect_device(report);
}

static void demo_passes(const char *accel)
{
	char args[256], path[64];
	struct json_object *report;
	size_t i;

	snprintf(path, sizeof(path), "%s/report", dir);
	snprintf(args, sizeof(args), SMALL "--accel=%s --json=%s", accel, path);
	expect_status(args, 0);
	for (i = 0; i < ARRAY_SIZE(checks); i++)
		assert_int_equal(printed(checks[i]), 1);
	report = json_object_from_file(path);
	assert_non_null(report);
	expect_report(report);
	json_object_put(report);
}

static void demo_passes_on_a_thread(void **state)
{
	demo_passes("thread");
	assert_non_null(strstr(run.output, "no virtual machine"));
}

static void demo_passes_on_kvm(void **state)
{
	if (access("/dev/kvm", R_OK | W_OK))
		skip();
	demo_passes("kvm");
	assert_non_null(strstr(run.output, "guest at work on kvm"));
}

static void demo_passes_with_two_vcpus(void **state)
{
	expect_status(SMALL "--cpus=2 --quiet", 0);
	assert_string_equal(run.output, "");
}

/* The row of device @i: with its personality, all of its initial bytes acked by itself. */
static void expect_row(struct json_object *report, size_t i, const char *personality)
{
	struct json_object *devices = field_find(report, "devices"), *device;
	char name[16];

	assert_true(json_object_is_type(devices, json_type_array));
	device = json_object_array_get_idx(devices, i);
	snprintf(name, sizeof(name), "dev%u", (unsigned)i);
	assert_string_equal(field_text(device, "name", ""), name);
	assert_string_equal(field_text(device, "personality", ""), personality);
	assert_true(field_number(device, "load_ms", -1) >= 0);
	assert_true(field_u64(device, "stopcopy_bytes", 0) > 0);
	expect_arcs(device);
}

static struct json_object *demo_report(const char *args, int status)
{
	struct json_object *report;
	char line[512];

	snprintf(line, sizeof(line), SMALL "--accel=thread --quiet --json=- %s", args);
	expect_status(line, status);
	report = json_tokener_parse(run.output);
	assert_non_null(report);
	return report;
}

static uint64_t device_number(struct json_object *report, size_t i, const char *field)
{
	return field_u64(json_object_array_get_idx(field_find(report, "devices"), i), field, 99);
}

static void four_devices_of_two_kinds(void **state)
{
	struct json_object *report = demo_report("--devices=4 --personality=generic "
						 "--personality=mlx5", 0);
	size_t i;

	assert_int_equal(json_object_array_length(field_find(report, "devices")), 4);
	for (i = 0; i < 4; i++) {
		expect_row(report, i, i % 2 ? "mlx5" : "generic");
		assert_int_equal(device_number(report, i, "acks"), 1);
	}
	assert_string_equal(field_text(report, "acks.mode", ""), "per-device");
	json_object_put(report);
}

static void a_device_of_every_kind_alone(void **state)
{
	static const char *const kinds[] = {"mlx5", "virtio", "hisi_acc", "qat", "pds", "xe", "mtty"};
	struct json_object *report;
	char args[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		snprintf(args, sizeof(args), "--personality=%s", kinds[i]);
		report = demo_report(args, 0);
		expect_row(report, 0, kinds[i]);
		json_object_put(report);
	}
}

/* The third one of the first four does no DMA: it has no ring, and is checked all the same. */
static void devices_of_every_kind_beside_each_other(void **state)
{
	json_object_put(demo_report("--devices=4 --personality=virtio --personality=qat "
				    "--personality=mtty --personality=xe", 0));
	json_object_put(demo_report("--devices=4 --personality=pds --personality=mlx5 "
				    "--personality=xe --personality=generic", 0));
}

/* hisi_acc has no P2P states: beside another device that is a blocker, told by name. */
static void a_device_without_p2p_goes_alone(void **state)
{
	expect_status(SMALL "--accel=thread --devices=2 --personality=mlx5 "
		      "--personality=hisi_acc", 1);
	assert_non_null(strstr(run.output, "device dev1: it has no P2P states"));
}

static void devices_write_to_each_other(void **state)
{
	struct json_object *report = demo_report("--devices=3 --p2p", 0);

	assert_true(field_true(report, "verified.p2p"));
	json_object_put(report);
}

static void legacy_and_no_acks(void **state)
{
	struct json_object *report = demo_report("--devices=2 --switchover-ack=legacy", 0);

	assert_string_equal(field_text(report, "acks.mode", ""), "legacy");
	json_object_put(report);
	report = demo_report("--devices=2 --switchover-ack=off", 0);
	assert_string_equal(field_text(report, "acks.mode", ""), "off");
	json_object_put(report);
}

/* New initial bytes when the vCPUs had stopped: taken back, acked once more, then it goes. */
static void a_late_reinit_is_taken_back(void **state)
{
	struct json_object *report = demo_report("--reinit=late", 0);
	struct json_object *attempts = field_find(report, "switchover_attempts");

	assert_int_equal(json_object_array_length(attempts), 1);
	assert_string_equal(field_text(json_object_array_get_idx(attempts, 0), "device", ""),
			    "dev0");
	assert_int_equal(device_number(report, 0, "acks"), 2);
	assert_int_equal(device_number(report, 0, "reinits"), 1);
	json_object_put(report);
	expect_status(SMALL "--accel=thread --reinit=late", 0);
	assert_non_null(strstr(run.output, "taken back at "));
}

/* Its slow arcs are in the downtime, once for all devices or one after the other. */
static void transitions_in_parallel_or_not(void **state)
{
	struct json_object *report;

	report = demo_report("--devices=3 --arc-latency=PRE_COPY_P2P:STOP_COPY=100 "
			     "--parallel-transitions=off --downtime-limit=unlimited", 0);
	assert_true(field_number(report, "downtime_terms.stop_ms", 0) >= 300);
	json_object_put(report);
	report = demo_report("--devices=3 --arc-latency=PRE_COPY_P2P:STOP_COPY=100 "
			     "--downtime-limit=unlimited", 0);
	assert_true(field_number(report, "downtime_terms.stop_ms", 0) >= 100);
	json_object_put(report);
}

/* Two transitions lead to STOP_COPY. */
static void an_estimate_is_what_is_not_measured(void **state)
{
	struct json_object *report;

	report = demo_report("--transition-estimate=70 --downtime-limit=unlimited", 0);
	assert_true(field_number(report, "predicted_terms.stop_ms", 0) >= 140);
	json_object_put(report);
}

static void expect_replay(const char *args, int status, const char *said)
{
	char line[160];

	snprintf(line, sizeof(line), "replay %s/report %s", dir, args);
	expect_status(line, status);
	if (!strstr(run.output, said))
		print_error("\"%s\" is not in:\n%s", said, run.output);
	assert_non_null(strstr(run.output, said));
}

/* Five transitions were guessed at 20 ms each. */
static void a_report_can_be_replayed(void **state)
{
	char args[160];

	snprintf(args, sizeof(args), SMALL "--accel=thread --quiet --transition-estimate=20 "
		 "--json=%s/report", dir);
	expect_status(args, 0);
	expect_replay("", 0, "it would switch over after round ");
	expect_replay("--downtime-limit=99", 1, "it would never switch over");
	expect_replay("--downtime-limit=99 -q --json=-", 1, "\"first_round\": null");
	expect_replay("--downtime-limit=unlimited", 0, " of dev0");
}

/* Text and report do not mix. */
static void report_on_standard_output(void **state)
{
	struct json_object *report;

	expect_status(SMALL "--accel=thread --quiet --json=-", 0);
	report = json_tokener_parse(run.output);
	assert_non_null(report);
	expect_report(report);
	json_object_put(report);
}

/* Which checks fail for each kind of damage: bits in the order of `checks`. */
static const struct {
	const char *spoil;
	unsigned must;  /* these fail */
	unsigned may;   /* so may these, which the same damage touches */
} damages[] = {
	{"memory", 1 << 0, 0},
	{"device", 1 << 1, 0},
	{"ring", 1 << 2, 1 << 3 | 1 << 4}, /* the guest may find a device that counts anew */
	{"guest", 1 << 3, 1 << 2 | 1 << 4}, /* and then stops */
	{"heartbeat", 1 << 4, 1 << 0},
	{"stall", 1 << 3 | 1 << 4, 1 << 2},
};

static void each_check_can_fail(const char *accel)
{
	char args[128];
	size_t i, check;

	for (i = 0; i < ARRAY_SIZE(damages); i++) {
		snprintf(args, sizeof(args), SMALL "--accel=%s --spoil=%s", accel,
			 damages[i].spoil);
		expect_status(args, 5);
		for (check = 0; check < ARRAY_SIZE(checks); check++) {
			if (damages[i].may & 1u << check)
				continue;
			if (printed(checks[check]) != !(damages[i].must & 1u << check))
				print_error("%s:\n%s", args, run.output);
			assert_int_equal(printed(checks[check]),
					 !(damages[i].must & 1u << check));
		}
	}
}

static void each_check_can_fail_on_a_thread(void **state)
{
	each_check_can_fail("thread");
}

static void each_check_can_fail_on_kvm(void **state)
{
	if (access("/dev/kvm", R_OK | W_OK))
		skip();
	each_check_can_fail("kvm");
}

/* A limit that nothing fits under: the demo does not end by itself, and an interrupt cancels. */
static const char *const endless[] = {
	"--memory=64M", "--state-size=4M", "--accel=thread", "--bandwidth=2M", "--downtime-limit=1"};

static void start_endless(struct process *process, char *log)
{
	char *argv[ARRAY_SIZE(endless) + 3] = {getenv("VFIO_MIGRATE"), (char *)"demo"};
	int tries;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(endless); i++)
		argv[i + 2] = (char *)endless[i];
	snprintf(log, 64, "%s/report", dir);
	assert_int_equal(process_spawn(process, "demo", log, argv), 0);
	for (tries = 0; !process_said(process, "pre-copy  round 1"); tries++) {
		assert_true(tries < WAIT_MS / 10);
		assert_int_equal(process_wait(process, 10), -ETIMEDOUT);
	}
}

static void an_interrupt_cancels(void **state)
{
	struct process process = {.pid = 0};
	char log[64], how[64];

	start_endless(&process, log);
	assert_int_equal(kill(process.pid, SIGINT), 0);
	assert_int_equal(process_wait(&process, WAIT_MS), 0);
	assert_string_equal(process_describe(&process, how, sizeof(how)), "exit status 4");
	assert_true(process_said(&process, "migration cancelled"));
}

/* Processes whose parent was the one that was killed have a socket in dir: when they have ended,
 * nobody listens there any more. The directory of a killed demo is ours to remove. */
static void no_process_outlives_a_killed_demo(void **state)
{
	struct process process = {.pid = 0};
	char log[64], command[160];
	int tries;

	start_endless(&process, log);
	assert_int_equal(kill(process.pid, SIGKILL), 0);
	assert_int_equal(process_wait(&process, WAIT_MS), 0);
	snprintf(command, sizeof(command), "! grep -q %s /proc/net/unix", dir);
	for (tries = 0; system(command) && tries < 500; tries++)
		usleep(10000);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "rm -r %s/vfio-migrate.*", dir);
	assert_int_equal(system(command), 0);
}

/* Over a wire that takes hours. */
static void it_does_not_go_on_for_ever(void **state)
{
	expect_status(SMALL "--accel=thread --bandwidth=4096 --timeout=500ms", 1);
	assert_non_null(strstr(run.output, "out of time: cancelling\n"));
	assert_non_null(strstr(run.output, "had not ended after 500 ms and was cancelled"));
	assert_non_null(strstr(run.output, "the guest runs on at the source"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(demo_passes_on_a_thread),
		cmocka_unit_test(demo_passes_on_kvm),
		cmocka_unit_test(demo_passes_with_two_vcpus),
		cmocka_unit_test(four_devices_of_two_kinds),
		cmocka_unit_test(a_device_of_every_kind_alone),
		cmocka_unit_test(devices_of_every_kind_beside_each_other),
		cmocka_unit_test(a_device_without_p2p_goes_alone),
		cmocka_unit_test(devices_write_to_each_other),
		cmocka_unit_test(legacy_and_no_acks),
		cmocka_unit_test(a_late_reinit_is_taken_back),
		cmocka_unit_test(transitions_in_parallel_or_not),
		cmocka_unit_test(an_estimate_is_what_is_not_measured),
		cmocka_unit_test(a_report_can_be_replayed),
		cmocka_unit_test(report_on_standard_output),
		cmocka_unit_test(each_check_can_fail_on_a_thread),
		cmocka_unit_test(each_check_can_fail_on_kvm),
		cmocka_unit_test(an_interrupt_cancels),
		cmocka_unit_test(it_does_not_go_on_for_ever),
		cmocka_unit_test(no_process_outlives_a_killed_demo),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
