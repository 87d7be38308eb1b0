/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate check`: try the rules of the migration protocol on a device. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/clock.h"
#include "check/check.h"
#include "commands.h"
#include "complain.h"
#include "device.h"
#include "exit.h"
#include "interrupt.h"
#include "options.h"
#include "report.h"
#include "victim.h"

#define COMMAND   "check"
#define TIMEOUT_S 300u
#define SEED_BITS 53u /* of one that is drawn: a number in JSON, to most who read it */

struct chosen {
	bool list, yes, quiet, latency;
	struct option_list only, skip;
	uint32_t stress_s;
	uint32_t timeout_s;
	const char *seed;
	const char *json, *junit;
	const char *hold;
	const char *device[2];
};

#define AT(member) offsetof(struct chosen, member)

static const struct option_row rows[] = {
	{"list", 'l', OPTION_FLAG, AT(list), 0, 0, NULL, "list the rules, with --json as JSON, and do nothing", NULL},
	{"only", 'o', OPTION_LIST, AT(only), 0, 0, "RULE",
	 "a rule, or a family of them, and no others; may be repeated", NULL},
	{"skip", 's', OPTION_LIST, AT(skip), 0, 0, "RULE", "all but that; may be repeated", NULL},
	{"stress", 0, OPTION_U32, AT(stress_s), 1, 86400, "SECONDS",
	 "try them again and again for so long", NULL},
	{"timeout", 0, OPTION_U32, AT(timeout_s), 1, 86400, "SECONDS",
	 "a rule that takes longer hangs, and ends the check (300)", NULL},
	{"seed", 0, OPTION_TEXT, AT(seed), 0, 0, "N", "of what is random (random; it is told)",
	 NULL},
	{"yes", 'y', OPTION_FLAG, AT(yes), 0, 0, NULL,
	 "do not ask: the device's state may be lost", NULL},
	{"latency", 0, OPTION_FLAG, AT(latency), 0, 0, NULL,
	 "at the end, a table of what each arc took", NULL},
	{"json", 0, OPTION_TEXT, AT(json), 0, 0, "FILE", "write a report, - for standard output",
	 NULL},
	{"junit", 0, OPTION_TEXT, AT(junit), 0, 0, "FILE", "the same in JUnit's XML", NULL},
	{"hold", 0, OPTION_TEXT, AT(hold), 0, 0, "WHAT",
	 "check nothing: bring DEVICE to a state, or be reading, writing or moving, until killed",
	 NULL},
	{"quiet", 'q', OPTION_FLAG, AT(quiet), 0, 0, NULL, "print nothing but errors", NULL},
};

static const struct options options = {
	.args = "DEVICE [PEER]",
	.doc = "Check whether a device keeps the rules of the migration protocol. It loses its "
	       "state: nobody may use it meanwhile. With PEER, a second one, rules for two "
	       "of them as well.\v" CLI_DEVICE_HELP
	       " Exit status 0: every rule that is a must was kept; 1: one was not; 2: wrong "
	       "usage, or the device could not be checked; 130: an interrupt ended it.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = 2,
	.args_offset = AT(device),
};

/* All that is open. */
struct work {
	struct chosen chosen;
	struct cli_devices devices;
	struct port *ports[2];
	struct victim victim;
	struct check_run run;
	FILE *out;
};

/* ---- the options together ---- */

static int check_names(const struct option_list *list, const char *option)
{
	for (unsigned i = 0; i < list->count; i++)
		if (!check_rule_find(list->text[i]) && !check_family_exists(list->text[i]))
			return complain_of(COMMAND, CLI_EXIT_USAGE,
					   "%s: no rule and no family \"%.64s\": --list lists them",
					   option, list->text[i]);
	return 0;
}

static int check_file(const char *option, const char *path)
{
	const char *device = path ? report_is_device(path) : NULL;
	int ret;

	if (device)
		return complain_of(COMMAND, CLI_EXIT_USAGE, "%s: %s %s: give a file", option, path,
				   device);
	ret = report_check(path);
	return ret ? complain_of(COMMAND, CLI_EXIT_USAGE, "%s: %s: %s", option, path,
				 strerror(-ret))
		   : 0;
}

static int read_seed(struct work *work)
{
	uint64_t *seed = &work->run.check.seed;
	const char *text = work->chosen.seed;
	char *end;

	if (!text) {
		if (getrandom(seed, sizeof(*seed), 0) != sizeof(*seed))
			*seed = clock_ns();
		*seed &= (UINT64_C(1) << SEED_BITS) - 1;
		return 0;
	}
	errno = 0;
	*seed = strtoull(text, &end, 0);
	if (*end || errno || *text < '0' || *text > '9')
		return complain_of(COMMAND, CLI_EXIT_USAGE,
				   "--seed: \"%.32s\" is not a number up to 2^64 - 1", text);
	return 0;
}

static int check_choice(const struct chosen *c)
{
	struct check_choice choice = {
		.only = c->only.text, .only_count = c->only.count,
		.skip = c->skip.text, .skip_count = c->skip.count,
	};

	return c->list || check_any_rule(&choice)
		       ? 0
		       : complain_of(COMMAND, CLI_EXIT_USAGE,
				     "no rule is left of --only and --skip");
}

static int check_options(struct work *work)
{
	const struct chosen *c = &work->chosen;
	int status = check_names(&c->only, "--only");

	if (!status && c->hold && !check_can_hold(c->hold))
		status = complain_of(COMMAND, CLI_EXIT_USAGE,
				     "--hold: \"%.32s\" is no state, and not reading, writing or "
				     "moving",
				     c->hold);

	if (!status)
		status = check_names(&c->skip, "--skip");
	if (!status)
		status = check_choice(c);
	if (!status)
		status = check_file("--json", c->json);
	if (!status)
		status = check_file("--junit", c->junit);
	if (!status && c->json && c->junit && !strcmp(c->json, "-") && !strcmp(c->junit, "-"))
		status = complain_of(COMMAND, CLI_EXIT_USAGE,
				     "--junit: standard output takes one report: give a file");
	return status ? status : read_seed(work);
}

/* ---- may we? ---- */

static int confirm(const struct work *work)
{
	char answer[16];

	if (work->chosen.yes)
		return 0;
	if (!isatty(STDIN_FILENO))
		return complain_of(COMMAND, CLI_EXIT_USAGE,
				   "the device's state will be lost: say --yes to that");
	fprintf(stderr, "The state of %s%s%s will be lost. Go on? [y/N] ", work->chosen.device[0],
		work->chosen.device[1] ? " and of " : "",
		work->chosen.device[1] ? work->chosen.device[1] : "");
	if (fgets(answer, sizeof(answer), stdin) && (*answer == 'y' || *answer == 'Y'))
		return 0;
	return complain_of(COMMAND, CLI_EXIT_USAGE, "nothing was done");
}

/* ---- devices ---- */

static void hand_over(struct cli_device *d, struct port *port)
{
	if (d->client)
		port_take_client(port, d->client);
	else
		port_take_fd(port, d->vfio ? vfm_vfio_fd(d->vfio) : -1);
}

static int reopen(void *opaque, struct port *port)
{
	struct work *work = opaque;
	struct cli_device *d = &work->devices.device[port == work->ports[1]];
	int ret;

	if (!d->client) /* its data fd keeps the device open */
		port_take_fd(port, -1);
	ret = cli_device_reopen(&work->devices, d);
	if (ret != -ENOTSUP)
		hand_over(d, port);
	return ret;
}

static int spawn(void *opaque, struct port *port, const char *what)
{
	struct work *work = opaque;
	struct cli_device *d = &work->devices.device[port == work->ports[1]];
	int ret;

	if (!d->client)
		port_take_fd(port, -1);
	ret = cli_device_shut(d);
	if (!ret)
		hand_over(d, port);
	return ret ? ret : victim_start(&work->victim, d->text, what);
}

static void kill_victim(void *opaque)
{
	victim_kill(&((struct work *)opaque)->victim);
}

static int map(void *opaque, uint64_t iova, uint64_t size, void *host)
{
	return vfm_vfio_space_map(opaque, iova, size, host);
}

static int unmap(void *opaque, uint64_t iova, uint64_t size)
{
	return vfm_vfio_space_unmap(opaque, iova, size);
}

static struct port *make_kernel_port(struct work *work, struct cli_device *d,
				     const struct port_opener *opener)
{
	struct port_space space = {map, unmap, work->devices.space};
	struct port *port = port_kernel(&vfio_sys_kernel, vfm_vfio_fd(d->vfio), opener);

	if (port && vfm_vfio_in_space(d->vfio))
		port_set_space(port, &space);
	return port;
}

static struct port *make_port(struct work *work, struct cli_device *d)
{
	bool again = strncmp(d->text, "fd:", 3) != 0;
	struct port_opener opener = {again ? reopen : NULL, again ? spawn : NULL, kill_victim,
				     work};

	return d->client ? port_vfio_user(d->client, &opener)
			 : make_kernel_port(work, d, &opener);
}

static bool is_interrupted(void *opaque UNUSED)
{
	return interrupt_noted();
}

static int open_all(struct work *work)
{
	unsigned count = work->chosen.device[1] ? 2 : 1;
	int status = cli_devices_read(&work->devices, COMMAND, work->chosen.device,
				      work->chosen.device[0] ? count : 0, CLI_DEVICE_BY_TEXT);

	if (!status)
		status = confirm(work);
	if (!status && !work->chosen.hold && interrupt_note())
		status = complain_of(COMMAND, CLI_EXIT_USAGE, "interrupts cannot be caught");
	for (unsigned i = 0; i < work->devices.count; i++)
		work->devices.device[i].raw = true;
	if (!status && cli_devices_open_or_complain(&work->devices, COMMAND))
		status = CLI_EXIT_USAGE;
	for (unsigned i = 0; i < count && !status; i++) {
		work->ports[i] = make_port(work, &work->devices.device[i]);
		if (!work->ports[i])
			status = complain_of(COMMAND, CLI_EXIT_USAGE, "no memory");
	}
	return status;
}

static void close_all(struct work *work)
{
	for (unsigned i = 0; i < 2; i++)
		port_free(work->ports[i]);
	cli_devices_close(&work->devices);
}

/* ---- the work ---- */

static void tell(void *opaque, const struct check_result *result)
{
	if (opaque)
		check_print_result(opaque, result);
}

/* @o is put back. */
static int write_json(const char *path, struct json_object *o)
{
	int ret = o ? report_write(path, o) : -ENOMEM;

	json_object_put(o);
	return ret ? complain_of(COMMAND, CLI_EXIT_USAGE, "writing %s: %s", path, strerror(-ret))
		   : 0;
}

static int write_junit(const struct work *work)
{
	bool own = strcmp(work->chosen.junit, "-") != 0;
	FILE *out = own ? fopen(work->chosen.junit, "we") : stdout;
	int ret = out ? check_write_junit(out, &work->run, work->chosen.device[0]) : -errno;

	if (out && own && fclose(out) && !ret)
		ret = -errno;
	return ret ? complain_of(COMMAND, CLI_EXIT_USAGE, "writing %s: %s", work->chosen.junit,
				 strerror(-ret))
		   : 0;
}

static FILE *text_out(const struct chosen *c)
{
	bool taken = (c->json && !strcmp(c->json, "-")) || (c->junit && !strcmp(c->junit, "-"));

	return c->quiet ? NULL : taken ? stderr : stdout;
}

/* All that is told at the end: an exit status. */
static int tell_all(const struct work *work)
{
	int status = 0;

	if (work->out)
		check_print_summary(work->out, &work->run);
	if (work->out && work->chosen.latency)
		check_print_latency(work->out, &work->run.check);
	if (work->chosen.json)
		status = write_json(work->chosen.json,
				    check_to_json(&work->run, work->chosen.device[0]));
	if (!status && work->chosen.junit)
		status = write_junit(work);
	if (status)
		return status;
	if (work->run.stopped)
		return CLI_EXIT_LEFT;
	return work->run.musts_failed || work->run.musts_unjudged ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}

/* The device has a thread of ours, which cannot be had back: nothing is closed. */
static void stuck(void *opaque)
{
	struct work *work = opaque;
	const struct check_run *run = &work->run;
	int status;

	if (run->at >= run->count) {
		status = complain_of(COMMAND, CLI_EXIT_USAGE, "%s: it hangs",
				     work->chosen.device[0]);
	} else {
		tell(work->out, &run->results[run->at]);
		status = tell_all(work);
		complain_of(COMMAND, status, "%s: the device hangs, in the rule %s",
			    work->chosen.device[0], run->results[run->at].rule->id);
	}
	fflush(NULL);
	_exit(status == CLI_EXIT_OK ? CLI_EXIT_FAILED : status);
}

static int hold(struct work *work)
{
	int ret = check_hold(work->ports[0], work->chosen.hold, stdout);

	return complain_of(COMMAND, CLI_EXIT_USAGE, "%s: %s", work->chosen.device[0],
			   strerror(-ret));
}

static int work_on(struct work *work)
{
	struct check_choice choice = {
		.only = work->chosen.only.text, .only_count = work->chosen.only.count,
		.skip = work->chosen.skip.text, .skip_count = work->chosen.skip.count,
		.stress_ns = work->chosen.stress_s * NS_PER_SEC,
		.rule_ns = (work->chosen.timeout_s ? work->chosen.timeout_s : TIMEOUT_S) * NS_PER_SEC,
		.stuck = stuck, .stuck_opaque = work,
		.stop = is_interrupted,
	};
	char why[CHECK_WHY_MAX];

	work->out = text_out(&work->chosen);
	work->run.check.port = work->ports[0];
	work->run.check.peer = work->ports[1];
	if (work->out)
		fprintf(work->out, "%s, seed %llu\n", work->chosen.device[0],
			(unsigned long long)work->run.check.seed);
	if (check_run(&work->run, &choice, tell, work->out, why))
		return complain_of(COMMAND, CLI_EXIT_USAGE, "%s: %s", work->chosen.device[0], why);
	return tell_all(work);
}

static int list(const struct chosen *c)
{
	FILE *out = text_out(c);

	if (out && out != stderr)
		check_print_list(out);
	return c->json ? write_json(c->json, check_list_json()) : CLI_EXIT_OK;
}

int check_main(int argc, char **argv)
{
	struct work *work = calloc(1, sizeof(*work));
	int status = CLI_EXIT_USAGE;

	if (!work)
		return complain_of(COMMAND, CLI_EXIT_USAGE, "no memory");
	if (options_parse(&options, argc, argv, &work->chosen)) {
		free(work);
		return status;
	}
	status = check_options(work);
	if (!status && work->chosen.list) {
		status = list(&work->chosen);
		free(work);
		return status;
	}
	if (!status)
		status = open_all(work);
	if (!status)
		status = work->chosen.hold ? hold(work) : work_on(work);
	close_all(work);
	free(work);
	return status;
}
