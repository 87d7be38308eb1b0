/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The conformance checker, on simulated devices: each rule is seen to find the device that breaks
 * it, and no other rule to complain of that one; a device that breaks none passes, as every
 * personality.
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

#include "base/clock.h"
#include "check/check.h"
#include "cli/field.h"
#include "cli/process.h"
#include "tests/program.h"

#define WAIT_MS 120000
#define OPTIONS 8

static struct program_run run;
static char dir[64];
static struct process sims[2];

static int make_dir(void **state)
{
	strcpy(dir, "/tmp/test-check-XXXXXX");
	memset(sims, 0, sizeof(sims));
	return mkdtemp(dir) ? 0 : -1;
}

static int stop_all(void **state)
{
	char command[128];

	for (int i = 0; i < 2; i++)
		process_stop(&sims[i], 5000);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* A device at DIR/simN; @options is taken apart at the spaces. */
static void start_sim(int i, const char *options)
{
	char socket[160], log[128], copy[256], seed[32], *save = NULL;
	char *argv[OPTIONS + 6] = {getenv("VFIO_MIGRATE"), (char[]){"sim"}, socket, seed,
				   (char[]){"--state-size=40K"}};
	uint64_t deadline = clock_after(WAIT_MS * NS_PER_MSEC);
	unsigned count = 5;

	snprintf(socket, sizeof(socket), "--socket=%s/sim%d", dir, i);
	snprintf(seed, sizeof(seed), "--seed=%d", i + 1);
	snprintf(log, sizeof(log), "%s/sim%d.log", dir, i);
	snprintf(copy, sizeof(copy), "%s", options);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(count < OPTIONS + 5);
		argv[count++] = word;
	}
	assert_int_equal(process_spawn(&sims[i], "sim", log, argv), 0);
	while (!process_said(&sims[i], "listening on ")) {
		assert_true(clock_ns() < deadline);
		assert_int_not_equal(process_wait(&sims[i], 5), 0);
	}
}

static void stop_sims(void)
{
	for (int i = 0; i < 2; i++)
		process_stop(&sims[i], 5000);
}

/* Check DIR/sim0, with sim1 as its peer; the report, which the caller puts back. */
static struct json_object *check(const char *options)
{
	struct json_object *report;
	char args[512], path[128];

	snprintf(path, sizeof(path), "%s/json", dir);
	unlink(path);
	snprintf(args, sizeof(args), "check --yes --seed=1 --json=%s %s %s/sim0 %s/sim1", path,
		 options, dir, dir);
	program_run(&run, args, WAIT_MS);
	report = json_object_from_file(path);
	if (!report)
		print_error("%s: status %d:\n%s", args, run.status, run.output);
	assert_non_null(report);
	return report;
}

static const char *verdict_of(struct json_object *report, const char *rule)
{
	struct json_object *rules = field_find(report, "rules"), *o;

	for (size_t i = 0; i < json_object_array_length(rules); i++) {
		o = json_object_array_get_idx(rules, i);
		if (!strcmp(field_text(o, "rule", ""), rule))
			return field_text(o, "verdict", "");
	}
	return "absent";
}

/* ---- every rule has a device that breaks it ---- */

/* What a device has to be so that it can break the rule. */
static const struct {
	const char *rule;
	const char *options;
} wants[] = {
	{"state-unsupported", "--migration=stop-copy"},
	{"reinit-refused", "--migration=stop-copy"},
	{"end-zero", "--personality=mlx5"},
};

static const char *options_for(const char *rule)
{
	for (size_t i = 0; i < ARRAY_SIZE(wants); i++)
		if (!strcmp(wants[i].rule, rule))
			return wants[i].options;
	return "";
}

/* @rule was found broken, and no other. */
static void expect_broken_alone(struct json_object *report, const struct check_rule *rule)
{
	const struct check_family *family;
	const struct check_rule *other;
	int status = rule->severity == CHECK_MUST ? 1 : 0;
	bool right = !strcmp(verdict_of(report, rule->id), "fail") && run.status == status;

	for (unsigned i = 0; (other = check_rule_at(i, &family)); i++)
		if (other != rule && !strcmp(verdict_of(report, other->id), "fail"))
			right = false;
	if (!right)
		fprintf(stderr, "the mutant %s: status %d:\n%s", rule->id, run.status, run.output);
	assert_true(right);
}

/* What vfio-user cannot express is tried on a double of the kernel (test-check-kernel.c), as what
 * a simulated device does not know of. */
static bool is_tried_elsewhere(const struct check_rule *rule)
{
	static const char *const elsewhere[] = {"log-mappings", "peer-parallel", "peer-interleaved"};

	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
		if (!strcmp(rule->id, elsewhere[i]))
			return true;
	return rule->needs & NEEDS_FD;
}

/* Processes take their time: what dies is tried on devices that break a rule about that. */
static const char *choice_for(const struct check_family *family)
{
	bool dies = !strcmp(family->name, "killed") || !strcmp(family->name, "reset");

	return dies ? "" : "--skip=killed";
}

static void try_mutant(const struct check_rule *rule, const struct check_family *family)
{
	struct json_object *report;
	char options[256];

	snprintf(options, sizeof(options), "--mutant=%s %s", rule->id, options_for(rule->id));
	start_sim(0, options);
	start_sim(1, options_for(rule->id));
	report = check(choice_for(family));
	expect_broken_alone(report, rule);
	json_object_put(report);
	stop_sims();
}

static void every_rule_finds_its_mutant(void **state)
{
	const struct check_family *family;
	const struct check_rule *rule;

	for (unsigned i = 0; (rule = check_rule_at(i, &family)); i++)
		if (!is_tried_elsewhere(rule))
			try_mutant(rule, family);
}

/* Why a rule matters is in the page for authors of devices, in a table. */
static bool is_explained(FILE *page, const char *rule)
{
	char line[2048], *at;
	size_t len = strlen(rule);

	rewind(page);
	while (fgets(line, sizeof(line), page)) {
		at = *line == '|' ? strstr(line, rule) : NULL;
		if (at && (at[len] == ',' || at[len] == ' '))
			return true;
	}
	return false;
}

static void every_rule_is_explained(void **state)
{
	const struct check_family *family;
	const struct check_rule *rule;
	FILE *page = fopen(getenv("CHECKER_PAGE"), "re");

	assert_non_null(page);
	for (unsigned i = 0; (rule = check_rule_at(i, &family)); i++) {
		if (!is_explained(page, rule->id))
			print_error("docs/checker.md has no row for %s\n", rule->id);
		assert_true(is_explained(page, rule->id));
	}
	fclose(page);
}

/* ---- what breaks no rule ---- */

static void every_personality_keeps_the_musts(void **state)
{
	static const char *const options[] = {
		"", "--personality=mlx5", "--personality=virtio", "--personality=hisi_acc",
		"--personality=qat", "--personality=pds", "--personality=xe", "--personality=mtty",
		"--no-extension", "--migration=stop-copy", "--no-dma-logging",
		"--reset-on-disconnect", "--dirty-rate=8M",
	};

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		struct json_object *report;

		start_sim(0, options[i]);
		start_sim(1, options[i]);
		report = check("");
		if (run.status || field_u64(report, "musts_failed", 99) ||
		    field_u64(report, "not-judged", 99))
			print_error("%s: status %d:\n%s", options[i], run.status, run.output);
		assert_int_equal(run.status, 0);
		assert_int_equal(field_u64(report, "musts_failed", 99), 0);
		assert_int_equal(field_u64(report, "not-judged", 99), 0);
		json_object_put(report);
		stop_sims();
	}
}

/* As large as drivers' are, and larger than rules hold: none takes as long as it has bytes, or is unclear
 * for it. */
static void a_large_state_is_no_hindrance(void **state)
{
	struct json_object *report;

	for (int i = 0; i < 2; i++)
		start_sim(i, "--personality=mlx5 --state-size=300M");
	report = check("--only=killed-writing --only=peer-interleaved");
	assert_string_equal(verdict_of(report, "killed-writing"), "pass");
	assert_string_equal(verdict_of(report, "peer-interleaved"), "not-applicable");
	json_object_put(report);
}

/* The simulator's own size of a state is read to the temporary end. */
static void a_long_pre_copy_is_read_to_its_end(void **state)
{
	struct json_object *report;

	start_sim(0, "--state-size=64M --mutant=info-left");
	start_sim(1, "");
	report = check("--only=info-left --only=info-initial --only=info-sum");
	assert_string_equal(verdict_of(report, "info-left"), "fail");
	assert_string_equal(verdict_of(report, "info-sum"), "pass");
	json_object_put(report);
}

/* Of the device that keeps every rule not even a should is said to be broken. */
static void the_generic_device_keeps_all(void **state)
{
	struct json_object *report;

	start_sim(0, "");
	start_sim(1, "");
	report = check("");
	if (field_u64(report, "fail", 99))
		print_error("%s", run.output);
	assert_int_equal(field_u64(report, "fail", 99), 0);
	json_object_put(report);
}

/* It may well refuse the state of a PEER of another kind. */
static void a_peer_of_another_kind_is_known(void **state)
{
	struct json_object *report;

	start_sim(0, "");
	start_sim(1, "--personality=qat");
	report = check("--only=peer-load --only=hostile-peer");
	assert_string_equal(verdict_of(report, "peer-load"), "not-applicable");
	assert_string_equal(verdict_of(report, "hostile-peer"), "pass");
	json_object_put(report);
}

/* ---- the command ---- */

static void expect(int status, const char *format)
{
	char args[512];

	snprintf(args, sizeof(args), format, dir);
	program_run(&run, args, WAIT_MS);
	if (run.status != status)
		print_error("%s: status %d:\n%s", args, run.status, run.output);
	assert_int_equal(run.status, status);
}

static void it_asks_first(void **state)
{
	start_sim(0, "");
	expect(2, "check %s/sim0");
	assert_non_null(strstr(run.output, "--yes"));
	expect(2, "check --yes %s/none");
	assert_non_null(strstr(run.output, "is its server running?"));
	expect(0, "check --only=state-range --yes %s/sim0");
}

static void what_does_not_migrate_cannot_be_checked(void **state)
{
	start_sim(0, "--migration=none");
	expect(2, "check --yes %s/sim0");
	assert_non_null(strstr(run.output, "does not migrate"));
}

static void rules_can_be_chosen(void **state)
{
	struct json_object *report;

	start_sim(0, "");
	start_sim(1, "");
	report = check("--only=states --skip=state-same --only=feature-both");
	assert_string_equal(verdict_of(report, "state-range"), "pass");
	assert_string_equal(verdict_of(report, "feature-both"), "pass");
	assert_string_equal(verdict_of(report, "state-same"), "absent");
	assert_string_equal(verdict_of(report, "feature-none"), "absent");
	json_object_put(report);
}

static void stress_goes_round(void **state)
{
	struct json_object *report;

	start_sim(0, "");
	start_sim(1, "");
	report = check("--only=feature-both --stress=1");
	assert_true(field_u64(report, "rounds", 0) > 1);
	assert_int_equal(field_u64(report, "seed", 0), 1);
	json_object_put(report);
}

/* A device that fails the second time. */
static void what_breaks_late_is_told_with_its_seed(void **state)
{
	struct json_object *report, *rule;

	start_sim(0, "--fail-arc=STOP:RESUMING=EIO@2");
	start_sim(1, "");
	report = check("--only=session-read-loading --stress=1");
	rule = json_object_array_get_idx(field_find(report, "rules"), 0);
	assert_string_equal(field_text(rule, "verdict", ""), "not-judged");
	assert_int_equal(field_u64(rule, "round", 0), 2);
	assert_int_equal(field_u64(rule, "seed", 0), 2);
	assert_non_null(strstr(run.output, "in round 2: --seed=2"));
	json_object_put(report);
}

static void rules_are_listed(void **state)
{
	struct json_object *list;
	const struct check_family *family;
	char path[128];
	size_t count = 0;

	expect(0, "check --list --json=%s/list");
	assert_non_null(strstr(run.output, "state-allowed"));
	snprintf(path, sizeof(path), "%s/list", dir);
	list = json_object_from_file(path);
	while (check_rule_at((unsigned)count, &family))
		count++;
	assert_int_equal(json_object_array_length(field_find(list, "rules")), count);
	json_object_put(list);
	start_sim(0, "");
	expect(2, "check --yes --only=hostile --skip=hostile %s/sim0");
	assert_string_equal(run.output, "vfio-migrate check: no rule is left of --only and --skip\n");
}

static void arcs_are_timed(void **state)
{
	struct json_object *report, *arcs, *o;
	bool slow = false, loaded = false;

	start_sim(0, "--arc-latency=RUNNING_P2P:STOP=20");
	start_sim(1, "");
	report = check("--only=state-allowed --only=state-downtime --latency");
	arcs = field_find(report, "arcs");
	assert_true(json_object_array_length(arcs) >= 12);
	for (size_t i = 0; i < json_object_array_length(arcs); i++) {
		o = json_object_array_get_idx(arcs, i);
		assert_true(field_u64(o, "count", 0) > 0);
		assert_true(field_u64(o, "p50_ns", 0) <= field_u64(o, "max_ns", 0));
		if (!strcmp(field_text(o, "from", ""), "RUNNING_P2P") &&
		    !strcmp(field_text(o, "to", ""), "STOP"))
			slow = field_u64(o, "p50_ns", 0) >= 20 * NS_PER_MSEC;
		loaded |= !strcmp(field_text(o, "from", ""), "RESUMING") &&
			  !strcmp(field_text(o, "to", ""), "STOP");
	}
	assert_true(slow);
	assert_true(loaded);
	assert_non_null(strstr(run.output, "p95 ms"));
	json_object_put(report);
}

/* What takes ten minutes hangs for who waits three seconds. */
static void what_hangs_is_named(void **state)
{
	struct json_object *report;

	start_sim(0, "--arc-latency=RUNNING_P2P:STOP=600000");
	start_sim(1, "");
	report = check("--only=save-again --only=reset --timeout=3");
	assert_int_equal(run.status, 1);
	assert_string_equal(verdict_of(report, "save-again"), "fail");
	assert_string_equal(verdict_of(report, "reset-state"), "not-judged");
	assert_non_null(strstr(run.output, "it hangs: not done in 3 s"));
	assert_non_null(strstr(run.output, "the device hangs, in the rule save-again"));
	json_object_put(report);
}

static void junit_is_written(void **state)
{
	char path[128], text[4096];
	size_t len;
	FILE *in;

	start_sim(0, "--mutant=state-range");
	expect(1, "check --yes -q --only=states --junit=%1$s/xml %1$s/sim0");
	assert_string_equal(run.output, "");
	snprintf(path, sizeof(path), "%s/xml", dir);
	in = fopen(path, "r");
	assert_non_null(in);
	len = fread(text, 1, sizeof(text) - 1, in);
	text[len] = '\0';
	fclose(in);
	assert_non_null(strstr(text, "tests=\"8\" failures=\"1\" errors=\"0\" skipped=\""));
	assert_non_null(strstr(text, "<property name=\"seed\""));
	assert_non_null(strstr(text, "RUNNING-RUNNING_P2P-p50-ns"));
	assert_non_null(strstr(text, "classname=\"states\" name=\"state-range\""));
	assert_non_null(strstr(text, "RUNNING -&gt; state 9 was taken"));
	assert_non_null(strstr(text, "</testsuites>"));
}

/* Whatever it could be taken for, it is not touched. */
static void a_report_goes_to_no_device(void **state)
{
	start_sim(0, "");
	expect(2, "check --yes --json %1$s/sim0 %1$s/sim0");
	assert_non_null(strstr(run.output, "is a socket"));
	expect(2, "check --yes --junit 0000:01:00.0 %s/sim0");
	assert_non_null(strstr(run.output, "looks like a PCI address"));
	expect(2, "check --yes --json 83b8f4f2-509f-382f-3c1e-e6bfe0fa1001 %s/sim0");
	assert_non_null(strstr(run.output, "looks like a device's UUID"));
	expect(2, "check --yes --only=state-range --junit=/dev/full %s/sim0");
	assert_non_null(strstr(run.output, "No space left on device"));
}

/* What was tried until then is told, and the device runs. */
static void an_interrupt_ends_it_in_order(void **state)
{
	uint64_t deadline = clock_after(WAIT_MS * NS_PER_MSEC);
	char json[160], device[160], log[128];
	char *argv[] = {getenv("VFIO_MIGRATE"), (char[]){"check"}, (char[]){"--yes"},
			(char[]){"--stress=600"}, (char[]){"--only=states"}, json, device, NULL};
	struct json_object *report;

	start_sim(0, "");
	snprintf(json, sizeof(json), "--json=%s/json", dir);
	snprintf(device, sizeof(device), "%s/sim0", dir);
	snprintf(log, sizeof(log), "%s/check.log", dir);
	assert_int_equal(process_spawn(&sims[1], "check", log, argv), 0);
	while (!process_said(&sims[1], "state-range")) {
		assert_true(clock_ns() < deadline);
		assert_int_equal(process_wait(&sims[1], 5), -ETIMEDOUT);
	}
	assert_int_equal(kill(sims[1].pid, SIGTERM), 0);
	assert_int_equal(process_wait(&sims[1], WAIT_MS), 0);
	assert_true(WIFEXITED(sims[1].status));
	assert_int_equal(WEXITSTATUS(sims[1].status), 130);
	report = json_object_from_file(strchr(json, '=') + 1);
	assert_non_null(report);
	assert_true(json_object_get_boolean(field_find(report, "interrupted")));
	assert_string_equal(verdict_of(report, "state-range"), "pass");
	assert_int_equal(field_u64(report, "fail", 99), 0);
	json_object_put(report);
	expect(0, "check --yes --only=state-range %s/sim0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(every_rule_finds_its_mutant, make_dir, stop_all),
		cmocka_unit_test(every_rule_is_explained),
		cmocka_unit_test_setup_teardown(every_personality_keeps_the_musts, make_dir,
						stop_all),
		cmocka_unit_test_setup_teardown(a_large_state_is_no_hindrance, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(a_long_pre_copy_is_read_to_its_end, make_dir,
						stop_all),
		cmocka_unit_test_setup_teardown(the_generic_device_keeps_all, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(a_peer_of_another_kind_is_known, make_dir,
						stop_all),
		cmocka_unit_test_setup_teardown(it_asks_first, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(what_does_not_migrate_cannot_be_checked, make_dir,
						stop_all),
		cmocka_unit_test_setup_teardown(rules_can_be_chosen, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(stress_goes_round, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(what_breaks_late_is_told_with_its_seed, make_dir,
						stop_all),
		cmocka_unit_test_setup_teardown(rules_are_listed, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(arcs_are_timed, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(what_hangs_is_named, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(junit_is_written, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(a_report_goes_to_no_device, make_dir, stop_all),
		cmocka_unit_test_setup_teardown(an_interrupt_ends_it_in_order, make_dir, stop_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
