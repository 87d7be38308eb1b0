/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of `vfio-migrate vm`. */
#include <argp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vfio-migrate/connect.h>
#include "cli/commands.h"
#include "cli/exit.h"
#include "cli/parse.h"
#include "vmm/attach.h"
#include "vmm/main.h"
#include "vmm/parameters.h"

#define MEMORY_DEFAULT (256ull << 20)
#define RATE_DEFAULT   (16ull << 20)
#define LATE_REINITS_MAX 1000
#define RATE_MAX       (1ull << 40)

enum key {
	KEY_MEMORY = 'm',
	KEY_CPUS = 'c',
	KEY_DEVICE = 'd',
	KEY_QUIET = 'q',
	KEY_ACCEL = 0x100,
	KEY_CONTROL,
	KEY_DIE_AT,
	KEY_DIRTY_RATE,
	KEY_INCOMING,
	KEY_LATE_REINIT,
	KEY_P2P,
	KEY_PAUSED,
	KEY_SERIAL,
	KEY_SPOIL,
	KEY_VERIFY,
	KEY_VFIO,
	KEY_VFIO_WAY,
	KEY_WORKING_SET,
};

static const struct argp_option options[] = {
	{"memory", KEY_MEMORY, "SIZE", 0, "guest memory (256M)", 0},
	{"cpus", KEY_CPUS, "N", 0, "vCPUs, 1 to 16 (1)", 0},
	{"accel", KEY_ACCEL, "WORD", 0,
	 "kvm, thread (the guest's work on host threads, without a virtual machine), or auto: kvm "
	 "where there is one (auto)",
	 0},
	{"device", KEY_DEVICE, "SOCKET", 0,
	 "a device whose vfio-user server listens at SOCKET; SOCKET,name=NAME names it (dev0, dev1, "
	 "...). May be repeated. Both sides of a migration need the same names in the same order",
	 0},
	{"vfio", KEY_VFIO, "ADDRESS", 0,
	 "a device of the kernel: the UUID of a mediated device, a PCI address, or fd:N, an open "
	 "character device that is not bound; ADDRESS,name=NAME names it, ADDRESS,irq=WORD takes "
	 "auto (the best it has), intx, msi, msix or none for its interrupt. May be repeated, also beside --device",
	 0},
	{"vfio-way", KEY_VFIO_WAY, "WORD", 0,
	 "how to open them: cdev (/dev/vfio/devices and /dev/iommu), group (/dev/vfio/N and a "
	 "container), or auto: cdev where there is one (auto)",
	 0},
	{"working-set", KEY_WORKING_SET, "SIZE", 0,
	 "memory that the guest checks and rewrites (half of memory)", 0},
	{"dirty-rate", KEY_DIRTY_RATE, "BYTES/S", 0,
	 "how much of --working-set the guest rewrites per second (16M)", 0},
	{"control", KEY_CONTROL, "SOCKET", 0, "listen for QMP at this unix socket", 0},
	{"incoming", KEY_INCOMING, "ADDRESS", 0,
	 "wait for a migration: tcp:HOST:PORT, unix:PATH, fd:N, a listening socket, or defer: where "
	 "QMP's migrate-incoming says", 0},
	{"paused", KEY_PAUSED, NULL, 0, "do not start the guest before QMP's cont", 0},
	{"verify", KEY_VERIFY, NULL, 0,
	 "hash memory and devices at a switchover, for x-vfm-verify; not counted as downtime", 0},
	{"p2p", KEY_P2P, NULL, 0,
	 "let simulated devices write to each other, each to the next one's mailbox", 0},
	{"serial", KEY_SERIAL, "FILE", 0, "append what the guest says to FILE (- is stdout)", 0},
	{"quiet", KEY_QUIET, NULL, 0, "print nothing but warnings and errors", 0},
	{"die-at", KEY_DIE_AT, "STAGE", 0,
	 "for tests: be killed (SIGKILL) as a migration enters STAGE, hello to commit", 0},
	{"late-reinit", KEY_LATE_REINIT, "N", 0,
	 "for tests: simulated devices have new initial bytes when the vCPUs have stopped for the "
	 "first N switchovers (0)", 0},
	{"spoil", KEY_SPOIL, "WORD", OPTION_HIDDEN, NULL, 0},
	{0},
};

static int set_accel(struct app_options *o, const char *text, char *why)
{
	static const char *const words[] = {"auto", "kvm", "thread"};
	unsigned i;
	int ret = parse_word("--accel", text, words, ARRAY_SIZE(words), &i, why);

	if (!ret)
		o->vm.accel = words[i];
	return ret;
}

static int set_spoil(struct app_options *o, const char *text, char *why)
{
	static const char *const words[] = {"memory", "device", "ring", "guest", "heartbeat",
					    "byte"};
	unsigned i;
	int ret = parse_word("--spoil", text, words, ARRAY_SIZE(words), &i, why);

	if (!ret)
		o->spoil = words[i];
	return ret;
}

static int set_die_at(struct app_options *o, const char *text, char *why)
{
	const char *words[VFM_STAGE_COMMIT];
	unsigned i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = vfm_stage_name((enum vfm_stage)(VFM_STAGE_HELLO + i));
	ret = parse_word("--die-at", text, words, ARRAY_SIZE(words), &i, why);
	if (!ret)
		o->die_at = (enum vfm_stage)(VFM_STAGE_HELLO + i);
	return ret;
}

static bool name_is_taken(const struct app_options *o, const char *name)
{
	unsigned i;

	for (i = 0; i < o->vm.devices; i++)
		if (strcmp(o->vm.device[i].name, name) == 0)
			return true;
	return false;
}

/* Cut @key's value off the end of @text, NULL: it has none. A path may hold commas, so the last one
 * counts. */
static char *cut_value(char *text, const char *key)
{
	char *value = NULL, *next = text;

	while ((next = strstr(next, key)))
		value = next++;
	if (!value)
		return NULL;
	*value = '\0';
	return value + strlen(key);
}

/* The rest of a device's option, its interrupt apart. */
static int add_device(struct app_options *o, const char *option, char *address, const char *name,
		      char *why)
{
	struct vmm_device_config *d = &o->vm.device[o->vm.devices];
	const char *word = strcmp(option, "--vfio") ? "SOCKET" : "ADDRESS";

	if (!*address || (name && (!*name || strlen(name) >= VFM_NAME_MAX))) {
		snprintf(why, PARSE_WHY_MAX,
			 "%s: want %s or %s,name=NAME, the name with 1 to %u bytes", option, word,
			 word, VFM_NAME_MAX - 1);
		return -EINVAL;
	}
	d->address = address;
	if (name)
		snprintf(d->name, sizeof(d->name), "%s", name);
	else
		snprintf(d->name, sizeof(d->name), "dev%u", o->vm.devices);
	if (name_is_taken(o, d->name)) {
		snprintf(why, PARSE_WHY_MAX,
			 "%s: the name \"%s\" is taken: give each device another", option, d->name);
		return -EEXIST;
	}
	o->vm.devices++;
	return 0;
}

static int check_room(const struct app_options *o, const char *option, char *why)
{
	if (o->vm.devices < VMM_DEVICES_MAX)
		return 0;
	snprintf(why, PARSE_WHY_MAX, "%s: too many: at most %u", option, VMM_DEVICES_MAX);
	return -ERANGE;
}

/* SOCKET[,name=NAME] */
static int set_device(struct app_options *o, char *text, char *why)
{
	int ret = check_room(o, "--device", why);
	const char *name;

	if (ret)
		return ret;
	name = cut_value(text, ",name=");
	o->vm.device[o->vm.devices].attach = &attach_vfio_user;
	return add_device(o, "--device", text, name, why);
}

static int set_irq(struct vmm_device_config *d, const char *text, char *why)
{
	static const char *const words[] = {[VMM_IRQ_BEST] = "auto", [VMM_IRQ_NONE] = "none",
					    [VMM_IRQ_INTX] = "intx", [VMM_IRQ_MSI] = "msi",
					    [VMM_IRQ_MSIX] = "msix"};
	unsigned i;
	int ret = parse_word("--vfio: irq", text, words, ARRAY_SIZE(words), &i, why);

	if (!ret)
		d->irq = i;
	return ret;
}

/* What could be an address, whether or not there is a device. */
static int check_address(const char *address, char *why)
{
	struct vfm_vfio_place place = {.size = sizeof(place)};
	char reason[VFM_VFIO_WHY_MAX] = "";

	if (!strncmp(address, "fd:", 3) ||
	    vfm_vfio_find(address, &place, reason, sizeof(reason)) != -EINVAL)
		return 0;
	snprintf(why, PARSE_WHY_MAX, "--vfio: %.180s", reason);
	return -EINVAL;
}

/* ADDRESS and then, in any order, ,name=NAME and ,irq=WORD */
static int set_vfio(struct app_options *o, char *text, char *why)
{
	struct vmm_device_config *d = &o->vm.device[o->vm.devices];
	int ret = check_room(o, "--vfio", why);
	char *rest = text, *address, *word, *name = NULL;

	if (ret)
		return ret;
	*d = (struct vmm_device_config){.attach = &attach_vfio};
	address = strsep(&rest, ",");
	while (!ret && (word = strsep(&rest, ","))) {
		if (strncmp(word, "name=", 5) == 0) {
			name = word + 5;
		} else if (strncmp(word, "irq=", 4) == 0) {
			ret = set_irq(d, word + 4, why);
		} else {
			snprintf(why, PARSE_WHY_MAX,
				 "--vfio: \"%.64s\" is unknown: want "
				 "ADDRESS[,name=NAME][,irq=WORD]", word);
			ret = -EINVAL;
		}
	}
	if (!ret)
		ret = add_device(o, "--vfio", address, name, why);
	return ret ? ret : check_address(address, why);
}

static int set_vfio_way(struct app_options *o, const char *text, char *why)
{
	static const char *const words[] = {[VFM_VFIO_ANY] = "auto", [VFM_VFIO_CDEV] = "cdev",
					    [VFM_VFIO_GROUP] = "group"};
	unsigned i;
	int ret = parse_word("--vfio-way", text, words, ARRAY_SIZE(words), &i, why);

	if (!ret)
		o->vm.vfio_way = i;
	return ret;
}

static int set_text(const char *option, const char *text, const char **out, char *why)
{
	if (!*text) {
		snprintf(why, PARSE_WHY_MAX, "%s: the value is empty", option);
		return -EINVAL;
	}
	*out = text;
	return 0;
}

static int set_memory(struct app_options *o, const char *text, char *why)
{
	int ret = parse_size("--memory", text, VMM_MEMORY_MIN, VMM_MEMORY_MAX, &o->vm.memory, why);

	if (!ret && o->vm.memory % GUEST_PAGE) {
		snprintf(why, PARSE_WHY_MAX, "--memory: \"%.64s\" is no multiple of 4K", text);
		return -EINVAL;
	}
	return ret;
}

static int set_incoming(struct app_options *o, const char *text, char *why)
{
	char reason[PARSE_WHY_MAX / 2];

	if (strcmp(text, "defer") && vfm_address_check(text, reason, sizeof(reason))) {
		snprintf(why, PARSE_WHY_MAX, "--incoming: %s, or defer", reason);
		return -EINVAL;
	}
	o->incoming = text;
	o->vm.incoming = true;
	return 0;
}

/* What takes a value. 0, -errno with @why, or ARGP_ERR_UNKNOWN. */
static int set_value(struct app_options *o, int key, char *text, char *why)
{
	switch (key) {
	case KEY_MEMORY:
		return set_memory(o, text, why);
	case KEY_CPUS:
		return parse_u32("--cpus", text, 1, VMM_CPUS_MAX, &o->vm.cpus, why);
	case KEY_ACCEL:
		return set_accel(o, text, why);
	case KEY_DEVICE:
		return set_device(o, text, why);
	case KEY_VFIO:
		return set_vfio(o, text, why);
	case KEY_VFIO_WAY:
		return set_vfio_way(o, text, why);
	case KEY_WORKING_SET:
		return parse_size("--working-set", text, 0, VMM_MEMORY_MAX, &o->vm.working_set,
				  why);
	case KEY_DIRTY_RATE:
		return parse_rate("--dirty-rate", text, 0, RATE_MAX, &o->vm.dirty_rate, why);
	case KEY_CONTROL:
		return set_text("--control", text, &o->control, why);
	case KEY_SERIAL:
		return set_text("--serial", text, &o->vm.serial, why);
	case KEY_INCOMING:
		return set_incoming(o, text, why);
	case KEY_SPOIL:
		return set_spoil(o, text, why);
	case KEY_LATE_REINIT:
		return parse_u32("--late-reinit", text, 0, LATE_REINITS_MAX, &o->vm.late_reinits,
				 why);
	case KEY_DIE_AT:
		return set_die_at(o, text, why);
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t parse_option(int key, char *text, struct argp_state *state)
{
	struct app_options *o = state->input;
	char why[PARSE_WHY_MAX] = "";
	int ret;

	switch (key) {
	case ARGP_KEY_INIT:
		state->err_stream = NULL; /* it would add a second line to a complaint */
		state->child_inputs[0] = &o->migration;
		return 0;
	case KEY_PAUSED:
		o->vm.paused = true;
		return 0;
	case KEY_P2P:
		o->vm.p2p = true;
		return 0;
	case KEY_VERIFY:
		o->vm.verify = true;
		return 0;
	case KEY_QUIET:
		o->quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		fprintf(stderr, "%s: \"%.64s\": no arguments are wanted, only options\n",
			state->name, text);
		return EINVAL;
	default:
		ret = set_value(o, key, text, why);
	}
	if (ret < 0)
		fprintf(stderr, "%s: %s\n", state->name, why);
	return ret < 0 ? EINVAL : ret;
}

static int check_together(const struct app_options *o, const char *name)
{
	const char *why = NULL;

	if (o->incoming && o->vm.paused)
		why = "--paused does not go with --incoming: the VM arrives as it left";
	else if (o->spoil && !o->incoming)
		why = "--spoil goes with --incoming";
	else if (o->vm.p2p && o->vm.devices < 2)
		why = "--p2p wants two devices or more";
	if (why)
		fprintf(stderr, "%s: %s\n", name, why);
	return why ? -EINVAL : 0;
}

int vm_main(int argc, char **argv)
{
	struct argp_option migration[PARAMETERS_COUNT + 1];
	const struct argp parameters = {.options = migration, .parser = parameters_parse};
	const struct argp_child children[] = {
		{&parameters, 0,
		 "Migration, on both sides (QMP's migrate-set-parameters changes it later):", 1},
		{0},
	};
	const struct argp argp = {
		.options = options,
		.parser = parse_option,
		.children = children,
		.doc = "Run a guest that checks itself, with devices; or wait for one to come in.\v"
		       "The control socket speaks QMP with QEMU's commands (query-status, stop, "
		       "cont, quit, migrate, migrate_cancel, query-migrate, "
		       "migrate-set-parameters) and "
		       "some of our own (query-commands lists them).",
	};
	struct app_options chosen = {
		.vm = {.memory = MEMORY_DEFAULT, .working_set = UINT64_MAX,
		       .dirty_rate = RATE_DEFAULT, .cpus = 1, .accel = "auto"},
	};

	parameters_fill(migration);
	vfm_options_init(&chosen.migration);
	argp_err_exit_status = CLI_EXIT_USAGE;
	if (argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, &chosen))
		return CLI_EXIT_USAGE;
	if (check_together(&chosen, argv[0]) < 0)
		return CLI_EXIT_USAGE;
	return app_run(&chosen);
}
