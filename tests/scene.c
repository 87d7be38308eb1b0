/* SPDX-License-Identifier: BSD-3-Clause */
#include "tests/scene.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cli/field.h"
#include "cli/interrupt.h"
#include "cli/verify.h"

#define POLL_MS   5
#define LOG_LINES 30
#define BEATS     3

struct lab scene;
struct follow scene_follow;

static int interrupts;
static struct verify verify;
static struct json_object *report;
static uint64_t last_beat;

static void show_logs(void)
{
	unsigned end;

	for (end = 0; end < LAB_ENDS; end++)
		process_show_log(&scene.side[end].vm, LOG_LINES, stderr);
	lab_show_casualties(&scene, stderr);
}

/* Unless @ok, say what was wanted and end the test. */
static void want(bool ok, const char *fmt, ...) PRINTF(2, 3);
static void want(bool ok, const char *fmt, ...)
{
	char text[512];
	va_list args;

	if (ok)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	show_logs();
	fail_msg("%s", text);
}

/* Sleep for one step of a wait; false: it has lasted too long. */
static bool patient(uint64_t deadline)
{
	interrupt_sleep(interrupts, POLL_MS);
	return clock_ns() < deadline;
}

static uint64_t wait_end(void)
{
	return clock_ns() + SCENE_WAIT_MS * NS_PER_MSEC;
}

/* ---- up and down ---- */

/* The lab wants to be told of interrupts; a test is to be ended by them. Without a program the lab
 * would run this one. */
int scene_open(void **state)
{
	sigset_t all;

	interrupts = interrupt_open();
	sigfillset(&all);
	return interrupts < 0 || sigprocmask(SIG_UNBLOCK, &all, NULL) || !getenv("VFIO_MIGRATE");
}

/* End a VM, and see whether a sanitizer found something in it. */
static bool ended_clean(struct lab_side *side)
{
	static const char *const findings[] = {"Sanitizer", "runtime error:"};
	bool clean = true;
	unsigned i;

	process_stop(&side->vm, LAB_STOP_MS);
	for (i = 0; i < ARRAY_SIZE(findings); i++)
		clean &= !process_said(&side->vm, findings[i]);
	if (!clean)
		process_show_log(&side->vm, 100, stderr);
	return clean;
}

int scene_stop(void **state)
{
	bool clean = ended_clean(&scene.side[LAB_SOURCE]) &&
		     ended_clean(&scene.side[LAB_DESTINATION]);

	lab_stop(&scene);
	json_object_put(report);
	report = NULL;
	last_beat = 0;
	verify.p2p = false;
	return clean ? 0 : -1;
}

struct lab_config scene_config(void)
{
	return (struct lab_config){
		.program = getenv("VFIO_MIGRATE"),
		.memory = 32 << 20,
		.dirty_rate = 4 << 20,
		.state_size = 4 << 20,
		.initial_size = 4 << 20,
		.state_dirty_rate = 1 << 20,
		.dma_rate = 200,
		.cpus = 1,
		.accel = "thread",
		.interrupts = interrupts,
	};
}

static void await_work(void)
{
	int rc = verify_wait_until_busy(&verify, scene.side[LAB_SOURCE].qmp, interrupts);

	want(!rc, "the guest does not get to work: %s", verify.why);
	last_beat = 0;
}

void scene_start(const struct lab_config *config)
{
	int rc = lab_start(&scene, config);

	want(!rc, "%s", scene.why);
	scene_follow = (struct follow){.vm = scene.side[LAB_SOURCE].qmp, .interrupts = interrupts};
	await_work();
}

void scene_renew(enum lab_end end)
{
	int rc;

	want(ended_clean(&scene.side[end]), "the %s is not clean", scene.side[end].vm.name);
	rc = end == LAB_SOURCE ? lab_renew_source(&scene) : lab_renew_destination(&scene);
	want(!rc, "%s", scene.why);
	if (end == LAB_DESTINATION)
		return;
	scene_follow.vm = scene.side[LAB_SOURCE].qmp;
	await_work();
}

/* ---- asking ---- */

/* The answer is the caller's. */
static struct json_object *ask(enum lab_end end, const char *command, struct json_object *arguments)
{
	struct qmp_client *qmp = scene.side[end].qmp;
	struct json_object *result = NULL;
	int rc = qmp_client_execute(qmp, command, arguments, SCENE_WAIT_MS, &result);

	want(!rc, "%s: %s", command, qmp_client_why(qmp));
	return result;
}

void scene_execute(enum lab_end end, const char *command, struct json_object *arguments)
{
	json_object_put(ask(end, command, arguments));
}

void scene_set(const char *parameter, uint64_t value)
{
	struct json_object *arguments = json_object_new_object();

	json_object_object_add(arguments, parameter, json_object_new_uint64(value));
	scene_execute(LAB_SOURCE, "migrate-set-parameters", arguments);
}

static void start(const char *uri, uint64_t downtime_ms, uint64_t bandwidth)
{
	struct follow_limits limits = {downtime_ms, bandwidth};
	int rc = follow_set_limits(&scene_follow, &limits);

	if (!rc)
		rc = follow_start(&scene_follow, uri);
	want(!rc, "starting the migration: %s", qmp_client_why(scene_follow.vm));
}

void scene_migrate(const char *uri, uint64_t bandwidth)
{
	start(uri, VFM_UNLIMITED, bandwidth ? bandwidth : VFM_UNLIMITED);
}

void scene_migrate_endlessly(void)
{
	start(scene.address, 1, 16 << 20);
}

void scene_await_stage(enum lab_end end, enum vfm_stage stage)
{
	uint64_t deadline = wait_end();
	struct json_object *now;
	bool there;

	do {
		now = ask(end, "x-vfm-progress", NULL);
		there = !strcmp(field_text(now, "stage", ""), vfm_stage_name(stage));
		want(there || strcmp(field_text(now, "stage", ""), "done"),
		     "stage %s never came", vfm_stage_name(stage));
		json_object_put(now);
	} while (!there && patient(deadline));
	want(there, "stage %s does not come", vfm_stage_name(stage));
}

/* query-migrate says it in QEMU's way. */
static void expect_query(const char *status)
{
	struct json_object *now = ask(LAB_SOURCE, "query-migrate", NULL);

	want(!strcmp(field_text(now, "status", ""), status) &&
	     (strcmp(status, "failed") || *field_text(now, "error-desc", "")),
	     "not %s with a reason: %s", status, json_object_to_json_string(now));
	json_object_put(now);
}

struct json_object *scene_expect_end(const char *status)
{
	int rc = follow_to_end(&scene_follow);

	json_object_put(report);
	report = NULL;
	if (!rc)
		rc = follow_get_report(&scene_follow, &report);
	want(!rc, "following the migration: %s", qmp_client_why(scene_follow.vm));
	want(!strcmp(field_text(report, "status", ""), status), "not %s: %s", status,
	     json_object_to_json_string(report));
	expect_query(status);
	return report;
}

/* ---- the guest ---- */

/* @member of the first of the list @path. What the guest found wrong ends the test. */
static uint64_t look(enum lab_end end, const char *path, const char *member)
{
	struct json_object *seen = ask(end, "x-vfm-verify", NULL), *list;
	uint64_t value;

	want(!field_u64(seen, "live.failures", 1), "the guest: %s",
	     field_text(seen, "live.failure", "?"));
	list = field_find(seen, path);
	want(json_object_is_type(list, json_type_array), "%s is not told", path);
	value = field_u64(json_object_array_get_idx(list, 0), member, 0);
	json_object_put(seen);
	return value;
}

void scene_expect_guest(enum lab_end end)
{
	uint64_t deadline = wait_end(), beat, first = 0;

	do {
		beat = look(end, "live.heartbeat", "");
		want(beat >= last_beat, "the heart went back from %llu to %llu",
		     (unsigned long long)last_beat, (unsigned long long)beat);
		last_beat = beat;
		first = first ? first : beat;
	} while (beat < first + BEATS && patient(deadline));
	want(beat >= first + BEATS, "the heart stands still");
}

uint64_t scene_look(enum lab_end end, const char *member)
{
	return look(end, "live.devices", member);
}

void scene_expect_more(enum lab_end end, const char *member)
{
	uint64_t deadline = wait_end(), first = scene_look(end, member), now;

	do
		now = scene_look(end, member);
	while (now == first && patient(deadline));
	want(now > first, "the device's %s stay as they are", member);
}

static bool first_is_uart(enum lab_end end)
{
	struct json_object *seen = ask(end, "x-vfm-verify", NULL);
	struct json_object *list = field_find(seen, "live.devices");
	bool is = field_find(json_object_array_get_idx(list, 0), "uart");

	json_object_put(seen);
	return is;
}

void scene_expect_device(enum lab_end end)
{
	scene_expect_more(end, first_is_uart(end) ? "uart.received" : "records");
}

void scene_watch_peers(void)
{
	verify.p2p = true;
}

void scene_expect_waiting(void)
{
	struct json_object *now = ask(LAB_DESTINATION, "query-status", NULL);

	want(!strcmp(field_text(now, "status", ""), "inmigrate") && !field_true(now, "running"),
	     "the destination does not wait: %s", json_object_to_json_string(now));
	json_object_put(now);
}

/* Events that the control socket still holds: none says that vCPUs were started. */
static void expect_no_resume(struct qmp_client *qmp)
{
	struct json_object *event;

	while (!qmp_client_event(qmp, 0, &event)) {
		want(strcmp(field_text(event, "event", ""), "RESUME"), "the destination ran");
		json_object_put(event);
	}
}

void scene_expect_never_ran(void)
{
	struct lab_side *side = &scene.side[LAB_DESTINATION];
	char how[64];

	want(!process_wait(&side->vm, SCENE_WAIT_MS), "the destination does not end");
	want(WIFEXITED(side->vm.status) && WEXITSTATUS(side->vm.status),
	     "the destination did not fail: %s",
	     process_describe(&side->vm, how, sizeof(how)));
	scene_expect_said(LAB_DESTINATION, "the guest never ran here");
	expect_no_resume(side->qmp);
}

/* ---- the rest ---- */

void scene_expect_said(enum lab_end end, const char *text)
{
	uint64_t deadline = wait_end();

	while (!process_said(&scene.side[end].vm, text))
		want(patient(deadline), "not said by the %s: %s", scene.side[end].vm.name, text);
}

unsigned scene_count_said(enum lab_end end, const char *text)
{
	FILE *in = fopen(scene.side[end].vm.log, "re");
	unsigned count = 0;
	char line[1024];

	want(in, "no log");
	while (fgets(line, sizeof(line), in))
		count += strstr(line, text) != NULL;
	fclose(in);
	return count;
}

struct json_object *scene_expect_arrival(void)
{
	scene_migrate(scene.address, 0);
	scene_expect_end("completed");
	scene_expect_guest(LAB_DESTINATION);
	scene_expect_device(LAB_DESTINATION);
	verify_look(&verify, true, scene.side[LAB_SOURCE].qmp, scene.side[LAB_DESTINATION].qmp);
	if (!verify_held(&verify))
		verify_print(&verify, stderr);
	want(verify_held(&verify), "the guest did not arrive as it left");
	return report;
}

static void await_back(const char *address)
{
	struct follow back = {.vm = scene.side[LAB_DESTINATION].qmp, .interrupts = interrupts};
	struct follow_limits limits = {VFM_UNLIMITED, VFM_UNLIMITED};
	struct json_object *told = NULL;
	int rc = follow_set_limits(&back, &limits);

	if (!rc)
		rc = follow_start(&back, address);
	if (!rc)
		rc = follow_to_end(&back);
	if (!rc)
		rc = follow_get_report(&back, &told);
	want(!rc, "migrating back: %s", qmp_client_why(back.vm));
	want(!strcmp(field_text(told, "status", ""), "completed"), "not completed: %s",
	     json_object_to_json_string(told));
	json_object_put(told);
}

void scene_come_back(void)
{
	struct json_object *arguments = json_object_new_object(), *waits;

	json_object_object_add(arguments, "uri", json_object_new_string("tcp:127.0.0.1:0"));
	scene_execute(LAB_SOURCE, "migrate-incoming", arguments);
	waits = ask(LAB_SOURCE, "x-vfm-incoming", NULL);
	await_back(field_text(waits, "address", ""));
	json_object_put(waits);
}

void scene_kill(struct process *process, int signal)
{
	want(!kill(process->pid, signal), "kill: %s", strerror(errno));
	if (signal == SIGKILL)
		want(!process_wait(process, SCENE_WAIT_MS), "it survives");
}
