/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `vfio-migrate demo`: a live guest with busy devices, migrated between two processes, and looked
 * at closely (verify.h). Everything it starts ends with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "commands.h"
#include "exit.h"
#include "field.h"
#include "follow.h"
#include "interrupt.h"
#include "lab.h"
#include "options.h"
#include "report.h"
#include "sim/main.h"
#include "sim/personality.h"
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
#define PEER_RATE     1000 /* --p2p: writes per second of each device */
#define WORDS_MAX     4096 /* options for the devices, or for the VMs, in one line */
#define ESTIMATE_MAX  60000 /* ms */

enum accel { ACCEL_AUTO, ACCEL_KVM, ACCEL_THREAD };

static const char *const accels[] = {
	[ACCEL_AUTO] = "auto", [ACCEL_KVM] = "kvm", [ACCEL_THREAD] = "thread", NULL};

enum { ACK_PER_DEVICE, ACK_LEGACY, ACK_OFF };

static const char *const ack_modes[] = {
	[ACK_PER_DEVICE] = "per-device", [ACK_LEGACY] = "legacy", [ACK_OFF] = "off", NULL};

static const char *const switches[] = {"off", "on", NULL};

static const char *const spoils[] = {"memory", "device",    "ring",  "guest",
				     "heartbeat", "stall", NULL};
#define SPOIL_NONE  UINT32_MAX
#define SPOIL_STALL 5

#define INITIAL_ALL UINT64_MAX /* as the personality has it */

struct demo_options {
	uint64_t memory;
	uint64_t state_size;
	uint64_t initial_size;
	uint64_t dirty_rate;
	uint64_t state_dirty_rate;
	uint32_t dma_rate;
	uint32_t cpus;
	uint32_t devices;
	struct option_list personality;
	struct option_list reinit;
	struct option_list arc_latency;
	struct option_list sim;
	unsigned switchover_ack;
	uint64_t transition_estimate; /* ms */
	unsigned parallel;
	bool p2p;
	uint64_t downtime_limit; /* ms */
	uint64_t timeout;        /* ms */
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
	ROW("devices", 0, OPTION_U32, devices, 1, LAB_DEVICES_MAX, "N", "simulated devices (1)",
	    NULL),
	ROW("personality", 0, OPTION_LIST, personality, 0, 0, "NAME",
	    "whose device they imitate, see sim --help; repeated, they take turns (generic)",
	    NULL),
	ROW("p2p", 0, OPTION_FLAG, p2p, 0, 0, NULL,
	    "let the devices write to each other, and check that nothing came late", NULL),
	ROW("reinit", 0, OPTION_LIST, reinit, 0, 0, "WHEN",
	    "when the source's devices have new initial bytes: after=MS, bytes=SIZE, info=N as "
	    "--reinit of sim has it, or late[,times=N]: as the vCPUs have stopped", NULL),
	ROW("arc-latency", 0, OPTION_LIST, arc_latency, 0, 0, "FROM:TO=MS",
	    "time that an arc of a device takes; may be repeated", NULL),
	ROW("sim", 0, OPTION_LIST, sim, 0, 0, "OPTION=VALUE",
	    "any other option of sim, for all devices of both sides; may be repeated", NULL),
	ROW("switchover-ack", 0, OPTION_WORD, switchover_ack, 0, 0, "WORD",
	    "wait until initial bytes are loaded: per-device, legacy (once, for all), or off "
	    "(per-device)", ack_modes),
	ROW("transition-estimate", 0, OPTION_DURATION, transition_estimate, 0, ESTIMATE_MAX, "MS",
	    "what a transition counts for that was not measured yet (1)", NULL),
	ROW("parallel-transitions", 0, OPTION_WORD, parallel, 0, 0, "on|off",
	    "off: devices change their state one by one (on)", switches),
	ROW("state-size", 0, OPTION_SIZE, state_size, STATE_MIN, STATE_MAX, "SIZE",
	    "each device's internal memory (64M, or as its personality has it)", NULL),
	ROW("initial-size", 0, OPTION_SIZE, initial_size, 0, STATE_MAX, "SIZE",
	    "how much of --state-size is initial bytes of the pre-copy (all, or as the personality "
	    "has it)",
	    NULL),
	ROW("state-dirty-rate", 0, OPTION_RATE, state_dirty_rate, 0, RATE_MAX, "BYTES/S",
	    "how much of --state-size the device changes per second (1M)", NULL),
	ROW("dma-rate", 0, OPTION_U32, dma_rate, 1, DMA_RATE_MAX, "N",
	    "records that the device writes to guest memory per second (1000)", NULL),
	ROW("downtime-limit", 0, OPTION_DURATION, downtime_limit, 1, VFM_UNLIMITED, "MS",
	    "longest downtime to accept, or unlimited (300)", NULL),
	ROW("timeout", 0, OPTION_DURATION, timeout, 1, VFM_UNLIMITED, "MS",
	    "longest time that the migration may take, or unlimited (5m)", NULL),
	ROW("bandwidth", 0, OPTION_RATE, bandwidth, BANDWIDTH_MIN, VFM_UNLIMITED, "BYTES/S",
	    "most that is sent per second, or unlimited (unlimited)", NULL),
	ROW("json", 0, OPTION_TEXT, json, 0, 0, "FILE", "write the report to FILE (- is stdout)",
	    NULL),
	ROW("quiet", 'q', OPTION_FLAG, quiet, 0, 0, NULL, "print nothing but errors", NULL),
	ROW("spoil", 0, OPTION_WORD, spoil, 0, 0, "WORD", NULL, spoils),
};

static const struct options options = {
	.args = "",
	.doc = "Migrate a live guest with busy devices between two processes on this machine, and "
	       "check that nothing was lost.\v"
	       "Exit status 0 says that every check held.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
};

static const struct demo_options defaults = {
	.memory = UINT64_C(256) << 20,
	.initial_size = INITIAL_ALL,
	.dirty_rate = UINT64_C(16) << 20,
	.state_dirty_rate = UINT64_C(1) << 20,
	.dma_rate = 1000,
	.cpus = 1,
	.devices = 1,
	.switchover_ack = ACK_PER_DEVICE,
	.transition_estimate = 1,
	.parallel = 1,
	.downtime_limit = 300,
	.timeout = 5 * 60 * 1000,
	.bandwidth = VFM_UNLIMITED,
	.accel = ACCEL_AUTO,
	.spoil = SPOIL_NONE,
};

struct demo {
	const struct demo_options *options;
	FILE *out; /* text for people; NULL: quiet */
	char sim_words[LAB_ENDS][WORDS_MAX];
	char vm_words[LAB_ENDS][WORDS_MAX];
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

/* ---- what the devices and VMs are told ---- */

PRINTF(2, 3) static bool add_word(char *words, const char *format, ...)
{
	size_t used = strlen(words);
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(words + used, WORDS_MAX - used, format, args);
	va_end(args);
	return length >= 0 && (size_t)length < WORDS_MAX - used;
}

/* Blanks part words. */
static bool add_list(char *words, const char *option, const struct option_list *list)
{
	unsigned i;

	for (i = 0; i < list->count; i++)
		if (strpbrk(list->text[i], " \t\n") ||
		    !add_word(words, " --%s%s", option, list->text[i]))
			return false;
	return true;
}

/* "late" and "late,times=N": no device can know that the vCPUs have stopped, but their VM does.
 * 0: not that; else how often. */
static unsigned late_times(const char *text)
{
	unsigned times = 1;
	char rest = 0;

	if (strcmp(text, "late") && sscanf(text, "late,times=%3u%c", &times, &rest) != 1)
		return 0;
	return times;
}

static bool tell_reinits(struct demo *demo)
{
	const struct option_list *list = &demo->options->reinit;
	struct option_list others = {.count = 0};
	unsigned i, times;

	for (i = 0; i < list->count; i++) {
		times = late_times(list->text[i]);
		if (!times)
			others.text[others.count++] = list->text[i];
		else if (!add_word(demo->vm_words[LAB_SOURCE], " --late-reinit=%u", times))
			return false;
	}
	return add_list(demo->sim_words[LAB_SOURCE], "reinit=", &others);
}

static int tell_devices(struct demo *demo)
{
	const struct demo_options *chosen = demo->options;
	bool fits = true;
	unsigned end;

	for (end = 0; end < LAB_ENDS && fits; end++) {
		char *words = demo->sim_words[end];

		fits = add_list(words, "arc-latency=", &chosen->arc_latency) &&
		       add_list(words, "", &chosen->sim);
		if (fits && end == LAB_SOURCE)
			fits = tell_reinits(demo);
		if (fits && chosen->p2p)
			fits = add_word(words, " --p2p-rate=%d", PEER_RATE);
	}
	return fits ? 0 : complain(CLI_EXIT_USAGE, "--arc-latency, --reinit, --sim: a value has a "
						   "blank, or they are too long together");
}

static void tell_vms(struct demo *demo)
{
	const struct demo_options *chosen = demo->options;
	unsigned end;

	for (end = 0; end < LAB_ENDS; end++)
		add_word(demo->vm_words[end], " --switchover-ack=%s --transition-estimate=%llu "
					      "--parallel-transitions=%s%s",
			 ack_modes[chosen->switchover_ack],
			 (unsigned long long)chosen->transition_estimate,
			 switches[chosen->parallel], chosen->p2p ? " --p2p" : "");
}

static void describe(const struct demo *demo, struct lab_config *config)
{
	const struct demo_options *chosen = demo->options;

	*config = (struct lab_config){
		.memory = chosen->memory,
		.dirty_rate = chosen->dirty_rate,
		.devices = chosen->devices,
		.personality = chosen->personality.text,
		.personalities = chosen->personality.count,
		.silent = demo->verify.silent,
		.state_size = chosen->state_size,
		.initial_size = chosen->initial_size,
		.state_dirty_rate = chosen->state_dirty_rate,
		.dma_rate = chosen->dma_rate,
		.cpus = chosen->cpus,
		.accel = accels[chosen->accel],
		.interrupts = demo->follow.interrupts,
		.sim_option = {demo->sim_words[LAB_SOURCE], demo->sim_words[LAB_DESTINATION]},
		.vm_option = {demo->vm_words[LAB_SOURCE], demo->vm_words[LAB_DESTINATION]},
	};
	if (chosen->spoil < SPOIL_STALL)
		config->spoil = spoils[chosen->spoil];
}

static int sim_check(int argc, char **argv)
{
	struct sim_config config;

	return sim_config_parse(&config, argc, argv);
}

/* The devices' own command line is read here as well, so that a wrong value is told before
 * anything starts. */
static int check_devices(const struct demo *demo)
{
	struct lab_config config;
	unsigned i, end, kinds = demo->options->personality.count;

	describe(demo, &config);
	for (i = 0; i < MIN(MAX(kinds, 1u), demo->options->devices); i++)
		for (end = 0; end < LAB_ENDS; end++)
			if (lab_check_sim(&config, (enum lab_end)end, i, "vfio-migrate demo",
					  sim_check))
				return CLI_EXIT_USAGE;
	return 0;
}

static int find_silent_devices(struct demo *demo)
{
	const struct demo_options *chosen = demo->options;
	unsigned i, count = chosen->personality.count;

	for (i = 0; i < chosen->devices && count; i++) {
		const char *name = chosen->personality.text[i % count];
		const struct sim_personality *who = sim_personality_find(name);

		if (who && who->no_dma)
			demo->verify.silent |= UINT64_C(1) << i;
	}
	demo->verify.p2p = chosen->p2p;
	if (chosen->p2p && (chosen->devices < 2 || demo->verify.silent))
		return complain(CLI_EXIT_USAGE, "--p2p: wants two devices or more, all of which do "
						"DMA: see --devices and --personality");
	return 0;
}

static int check_report(const char *path)
{
	int rc = report_check(path);

	return rc ? complain(CLI_EXIT_USAGE, "--json: %s: %s", path, strerror(-rc)) : 0;
}

static int check_options(struct demo *demo)
{
	int status = find_silent_devices(demo);

	if (!status)
		status = tell_devices(demo);
	tell_vms(demo);
	if (!status)
		status = check_devices(demo);
	return status ? status : check_report(demo->options->json);
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
	struct lab_config config;
	int rc;

	describe(demo, &config);
	rc = lab_start(&demo->lab, &config);
	return rc ? broken(demo, rc, "setting up", demo->lab.why) : 0;
}

/* The VMs, which try it themselves, are processes whose words are not shown. */
static void say_why_no_machine(const struct demo *demo)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), error = errno;

	say(demo, "(no virtual machine: the guest's work runs on a host thread)\n");
	if (fd >= 0)
		close(fd);
	else if (demo->options->accel == ACCEL_AUTO)
		say(demo, "(/dev/kvm: %s%s)\n", strerror(error),
		    error == EACCES ? ": join group kvm" : "");
}

static int wait_until_busy(struct demo *demo)
{
	unsigned devices = demo->options->devices;
	char memory[UNITS_SIZE];
	const char *accel;
	int rc = verify_wait_until_busy(&demo->verify, demo->lab.side[LAB_SOURCE].qmp,
					demo->follow.interrupts);

	if (rc)
		return broken(demo, rc, "the guest on the source", demo->verify.why);
	accel = demo->verify.source.live.accel;
	say(demo, "source: %s guest at work on %s, with %u device%s\n",
	    units_bytes(memory, demo->options->memory), accel, devices, devices == 1 ? "" : "s");
	if (!strcmp(accel, "thread"))
		say_why_no_machine(demo);
	say(demo, "destination: waits at %s\n\n", demo->lab.address);
	return 0;
}

static uint64_t deadline(uint64_t timeout_ms)
{
	return timeout_ms > UINT64_MAX / NS_PER_MSEC ? 0 : clock_after(timeout_ms * NS_PER_MSEC);
}

static int out_of_time(const struct demo *demo)
{
	char limit[UNITS_SIZE];

	return complain(CLI_EXIT_FAILED,
			"the migration had not ended after %s and was cancelled: allow it more "
			"with --timeout, or see that --downtime-limit and --bandwidth can be met",
			units_ms(limit, (double)demo->options->timeout));
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
	follow->deadline_ns = deadline(demo->options->timeout);
	if (!rc)
		rc = follow_start(follow, demo->lab.address);
	if (!rc)
		rc = follow_to_end(follow);
	if (rc == -EINTR)
		return complain(CLI_EXIT_LEFT, "left");
	if (rc == -ETIME)
		return out_of_time(demo);
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

/* What the VMs cannot know of their devices. */
static void name_personalities(const struct demo *demo, struct json_object *report)
{
	struct json_object *devices = field_find(report, "devices");
	const char *personality;
	size_t i;

	if (!json_object_is_type(devices, json_type_array))
		return;
	for (i = 0; i < json_object_array_length(devices); i++) {
		personality = lab_personality(&demo->lab.config, (unsigned)i);
		json_object_object_add(json_object_array_get_idx(devices, i), "personality",
				       json_object_new_string(personality ? personality
									  : "generic"));
	}
}

static int conclude(struct demo *demo)
{
	uint64_t limit = demo->options->downtime_limit;
	struct json_object *report;
	int status, rc = follow_get_report(&demo->follow, &report);

	if (rc)
		return broken(demo, rc, "the report", qmp_client_why(demo->follow.vm));
	name_personalities(demo, report);
	if (demo->out)
		table_print(demo->out, report, limit == VFM_UNLIMITED ? -1 : (double)limit);
	status = judge(demo, report);
	if (status == CLI_EXIT_CANCELLED && demo->follow.late && !demo->follow.interrupted)
		status = out_of_time(demo);
	else if (status == CLI_EXIT_FAILED)
		broken(demo, 0, "the migration failed", field_text(report, "error.text", "?"));
	rc = demo->options->json ? report_write(demo->options->json, report) : 0;
	json_object_put(report);
	if (rc)
		complain(status, "writing %s: %s", demo->options->json, strerror(-rc));
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
	demo = calloc(1, sizeof(*demo));
	if (!demo)
		return complain(CLI_EXIT_FAILED, "no memory");
	demo->options = &chosen;
	status = check_options(demo);
	if (status) {
		free(demo);
		return status;
	}
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
