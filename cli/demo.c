/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `vfio-migrate demo`: a live guest with a busy device, migrated between two processes, and looked
 * at closely (verify.h). Everything it starts ends with it.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "commands.h"
#include "exit.h"
#include "field.h"
#include "follow.h"
#include "interrupt.h"
#include "lab.h"
#include "options.h"
#include "report.h"
#include "table.h"
#include "units.h"
#include "verify.h"

#define BANDWIDTH_MIN 4096 /* a page a second: below it nothing would ever end */
#define MEMORY_MIN    (UINT64_C(16) << 20)
#define MEMORY_MAX    (UINT64_C(64) << 30)
#define STATE_MIN     (UINT64_C(64) << 10)
#define STATE_MAX     (UINT64_C(16) << 30)
#define DIRTY_MIN     4096 /* a guest that does nothing has nothing to check */
#define RATE_MAX      (UINT64_C(8) << 30)
#define DMA_RATE_MAX  1000000
#define CPUS_MAX      16

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_THREAD };

static const char *const accels[] = {
	[ACCEL_AUTO] = "auto", [ACCEL_KVM] = "kvm", [ACCEL_THREAD] = "thread", NULL};

static const char *const spoils[] = {"memory", "device",    "ring",  "guest",
				     "heartbeat", "stall", NULL};
#define SPOIL_NONE  UINT32_MAX
#define SPOIL_STALL 5

#define INITIAL_ALL UINT64_MAX

struct demo_options {
	uint64_t memory;
	uint64_t state_size;
	uint64_t initial_size;
	uint64_t dirty_rate;
	uint64_t state_dirty_rate;
	uint32_t dma_rate;
	uint32_t cpus;
	uint64_t downtime_limit; /* ms */
	uint64_t bandwidth;
	unsigned accel;
	unsigned spoil;
	const char *json;
	bool quiet;
};

#define ROW(name, key, kind, member, min, max, value, help, words)                                 \
	{name, key, kind, offsetof(struct demo_options, member), min, max, value, help, words}

static const struct option_row rows[] = {
	ROW("memory", 0, OPTION_SIZE, memory, MEMORY_MIN, MEMORY_MAX, "SIZE",
	    "guest memory (256M)", NULL),
	ROW("cpus", 0, OPTION_U32, cpus, 1, CPUS_MAX, "N", "vCPUs (1)", NULL),
	ROW("accel", 0, OPTION_WORD, accel, 0, 0, "WORD",
	    "auto, kvm, or thread: the same work without a virtual machine (auto)", accels),
	ROW("dirty-rate", 0, OPTION_RATE, dirty_rate, DIRTY_MIN, RATE_MAX, "BYTES/S",
	    "guest memory that the guest changes per second (16M)", NULL),
	ROW("state-size", 0, OPTION_SIZE, state_size, STATE_MIN, STATE_MAX, "SIZE",
	    "the device's internal memory (64M)", NULL),
	ROW("initial-size", 0, OPTION_SIZE, initial_size, 0, STATE_MAX, "SIZE",
	    "how much of it is initial bytes of the pre-copy (all)", NULL),
	ROW("state-dirty-rate", 0, OPTION_RATE, state_dirty_rate, 0, RATE_MAX, "BYTES/S",
	    "how much of it the device changes per second (1M)", NULL),
	ROW("dma-rate", 0, OPTION_U32, dma_rate, 1, DMA_RATE_MAX, "N",
	    "records that the device writes to guest memory per second (1000)", NULL),
	ROW("downtime-limit", 0, OPTION_DURATION, downtime_limit, 1, VFM_UNLIMITED, "MS",
	    "longest downtime to accept, or unlimited (300)", NULL),
	ROW("bandwidth", 0, OPTION_RATE, bandwidth, BANDWIDTH_MIN, VFM_UNLIMITED, "BYTES/S",
	    "most that is sent per second, or unlimited (unlimited)", NULL),
	ROW("json", 0, OPTION_TEXT, json, 0, 0, "FILE", "write the report to FILE (- is stdout)",
	    NULL),
	ROW("quiet", 'q', OPTION_FLAG, quiet, 0, 0, NULL, "print nothing but errors", NULL),
	ROW("spoil", 0, OPTION_WORD, spoil, 0, 0, "WORD", NULL, spoils),
};

static const struct options options = {
	.args = "",
	.doc = "Migrate a live guest with a busy device between two processes on this machine, and "
	       "check that nothing was lost.\v"
	       "Exit status 0 says that every check held.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
};

static const struct demo_options defaults = {
	.memory = UINT64_C(256) << 20,
	.state_size = UINT64_C(64) << 20,
	.initial_size = INITIAL_ALL,
	.dirty_rate = UINT64_C(16) << 20,
	.state_dirty_rate = UINT64_C(1) << 20,
	.dma_rate = 1000,
	.cpus = 1,
	.downtime_limit = 300,
	.bandwidth = VFM_UNLIMITED,
	.accel = ACCEL_AUTO,
	.spoil = SPOIL_NONE,
};

struct demo {
	const struct demo_options *options;
	FILE *out; /* text for people; NULL: quiet */
	struct lab lab;
	struct follow follow;
	struct verify verify;
};

PRINTF(2, 3) static int complain(int status, const char *format, ...)
{
	va_list args;

	fputs("vfio-migrate demo: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	return status;
}

PRINTF(2, 3) static void say(const struct demo *demo, const char *format, ...)
{
	va_list args;

	if (!demo->out)
		return;
	va_start(args, format);
	vfprintf(demo->out, format, args);
	va_end(args);
	fflush(demo->out);
}

static int check_options(struct demo_options *chosen)
{
	char size[UNITS_SIZE];

	if (chosen->initial_size == INITIAL_ALL)
		chosen->initial_size = chosen->state_size;
	if (chosen->initial_size <= chosen->state_size)
		return 0;
	return complain(CLI_EXIT_USAGE, "--initial-size: more than --state-size, which is %s",
			units_bytes(size, chosen->state_size));
}

/* Something broke that is not a failed migration: show who died. @rc is what a function said. */
static int broken(struct demo *demo, int rc, const char *what, const char *why)
{
	if (rc == -EINTR)
		return complain(CLI_EXIT_CANCELLED, "interrupted");
	complain(CLI_EXIT_FAILED, "%s: %s", what, why);
	lab_show_casualties(&demo->lab, stderr);
	return CLI_EXIT_FAILED;
}

static int start_lab(struct demo *demo)
{
	const struct demo_options *chosen = demo->options;
	struct lab_config config = {
		.memory = chosen->memory,
		.dirty_rate = chosen->dirty_rate,
		.state_size = chosen->state_size,
		.initial_size = chosen->initial_size,
		.state_dirty_rate = chosen->state_dirty_rate,
		.dma_rate = chosen->dma_rate,
		.cpus = chosen->cpus,
		.accel = accels[chosen->accel],
		.interrupts = demo->follow.interrupts,
	};
	int rc;

	if (chosen->spoil < SPOIL_STALL)
		config.spoil = spoils[chosen->spoil];
	rc = lab_start(&demo->lab, &config);
	return rc ? broken(demo, rc, "setting up", demo->lab.why) : 0;
}

static int wait_until_busy(struct demo *demo)
{
	char memory[UNITS_SIZE], state[UNITS_SIZE];
	const char *accel;
	int rc = verify_wait_until_busy(&demo->verify, demo->lab.side[LAB_SOURCE].qmp,
					demo->follow.interrupts);

	if (rc)
		return broken(demo, rc, "the guest on the source", demo->verify.why);
	accel = demo->verify.source.live.accel;
	say(demo, "source: %s guest at work on %s, device with %s of state\n",
	    units_bytes(memory, demo->options->memory), accel,
	    units_bytes(state, demo->options->state_size));
	if (!strcmp(accel, "thread"))
		say(demo, "(no virtual machine: the guest's work runs on a host thread)\n");
	say(demo, "destination: waits at %s\n\n", demo->lab.address);
	return 0;
}

static int migrate(struct demo *demo)
{
	struct follow_limits limits = {demo->options->downtime_limit, demo->options->bandwidth};
	struct follow *follow = &demo->follow;
	int rc;

	/* So that the guest arrives and stands still. */
	if (demo->options->spoil == SPOIL_STALL)
		qmp_client_execute(demo->lab.side[LAB_DESTINATION].qmp, "stop", NULL,
				   FOLLOW_REPLY_MS, NULL);
	follow->vm = demo->lab.side[LAB_SOURCE].qmp;
	progress_init(&follow->progress, demo->out);
	rc = follow_set_limits(follow, &limits);
	if (!rc)
		rc = follow_start(follow, demo->lab.address);
	if (!rc)
		rc = follow_to_end(follow);
	if (rc == -EINTR)
		return complain(CLI_EXIT_LEFT, "left");
	return rc ? broken(demo, rc, "the migration", qmp_client_why(follow->vm)) : 0;
}

/* What was seen, a line per check, and how it ends. */
static int judge(struct demo *demo, struct json_object *report)
{
	int status = follow_exit_status(report);
	bool completed = status == CLI_EXIT_OK;

	verify_look(&demo->verify, completed, demo->lab.side[LAB_SOURCE].qmp,
		    demo->lab.side[LAB_DESTINATION].qmp);
	verify_add_to(&demo->verify, report);
	if (demo->out)
		verify_print(&demo->verify, demo->out);
	if (completed && !verify_held(&demo->verify)) {
		if (!demo->out)
			verify_print(&demo->verify, stderr);
		status = complain(CLI_EXIT_CHECK, "a check failed");
	}
	return status;
}

static int conclude(struct demo *demo)
{
	uint64_t limit = demo->options->downtime_limit;
	struct json_object *report;
	int status, rc = follow_get_report(&demo->follow, &report);

	if (rc)
		return broken(demo, rc, "the report", qmp_client_why(demo->follow.vm));
	if (demo->out)
		table_print(demo->out, report, limit == VFM_UNLIMITED ? -1 : (double)limit);
	status = judge(demo, report);
	if (status == CLI_EXIT_FAILED)
		broken(demo, 0, "the migration failed", field_text(report, "error.text", "?"));
	rc = demo->options->json ? report_write(demo->options->json, report) : 0;
	json_object_put(report);
	if (rc)
		return complain(CLI_EXIT_FAILED, "writing %s: %s", demo->options->json,
				strerror(-rc));
	return status;
}

static int run(struct demo *demo)
{
	int status = start_lab(demo);

	if (!status)
		status = wait_until_busy(demo);
	if (!status)
		status = migrate(demo);
	return status ? status : conclude(demo);
}

int demo_main(int argc, char **argv)
{
	struct demo_options chosen = defaults;
	struct demo *demo;
	int status;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	status = check_options(&chosen);
	if (status)
		return status;
	demo = calloc(1, sizeof(*demo));
	if (!demo)
		return complain(CLI_EXIT_FAILED, "no memory");
	demo->options = &chosen;
	demo->out = report_text_out(chosen.json, chosen.quiet);
	demo->follow.interrupts = interrupt_open();
	if (demo->follow.interrupts < 0)
		status = complain(CLI_EXIT_FAILED, "signalfd: %s",
				  strerror(-demo->follow.interrupts));
	else
		status = run(demo);
	lab_stop(&demo->lab);
	if (demo->follow.interrupts >= 0)
		close(demo->follow.interrupts);
	free(demo);
	return status;
}
