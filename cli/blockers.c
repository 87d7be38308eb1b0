/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate blockers`: what stands against a migration of a VM with these devices. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <vfio-migrate/migrate.h>

#include "alone.h"
#include "base/compiler.h"
#include "commands.h"
#include "complain.h"
#include "device.h"
#include "exit.h"
#include "options.h"

#define COMMAND "blockers"

struct blockers_options {
	bool quiet;
	const char *device[VFM_DEVICES_MAX];
};

static const struct option_row rows[] = {
	{"quiet", 'q', OPTION_FLAG, offsetof(struct blockers_options, quiet), 0, 0, NULL,
	 "print nothing but errors: the exit status tells", NULL},
};

static const struct options options = {
	.args = "DEVICE...",
	.doc = "Print what stands against migrating a VM that has these devices, all of them: a "
	       "line for each reason.\v" CLI_DEVICE_HELP
	       " Exit status 0: nothing stands against it; 1: something does.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = VFM_DEVICES_MAX,
	.args_offset = offsetof(struct blockers_options, device),
};

static int add_devices(struct vfm_source *source, struct cli_devices *devices)
{
	int ret = 0;

	for (unsigned i = 0; i < devices->count && !ret; i++)
		if (devices->device[i].device)
			ret = vfm_source_add_device(source, devices->device[i].device);
	return ret;
}

/* Those that cannot be opened; returns how many. */
static int list_shut(const struct cli_devices *devices, FILE *out)
{
	int count = 0;

	for (unsigned i = 0; i < devices->count; i++) {
		const struct cli_device *d = &devices->device[i];

		if (d->device)
			continue;
		count++;
		if (out)
			fprintf(out, "device %s: %s\n", d->name, d->why);
	}
	return count;
}

/* Is it a line of a session on this device? */
static bool is_about(const char *line, const struct cli_device *d)
{
	char start[VFM_NAME_MAX + 16];
	int len = snprintf(start, sizeof(start), "device %s: ", d->name);

	return d->device && !strncmp(line, start, (size_t)len);
}

/* With what would help, where that is known. */
static void print_line(const struct cli_devices *devices, const char *line, FILE *out)
{
	char why[CLI_DEVICE_WHY_MAX] = "";

	for (unsigned i = 0; i < devices->count; i++)
		if (is_about(line, &devices->device[i]))
			cli_device_advise(&devices->device[i], why);
	fprintf(out, "%s%s%s\n", line, *why ? ": " : "", why);
}

/* Returns how many lines there are, or -errno. */
static int list(struct cli_devices *devices, FILE *out)
{
	char lines[VFM_DEVICES_MAX][VFM_ERROR_TEXT_MAX];
	struct vfm_source *source;
	int ret = vfm_source_new(NULL, 0, &alone_ops, NULL, NULL, &source);

	if (ret)
		return ret;
	ret = add_devices(source, devices);
	if (!ret)
		ret = vfm_source_blockers(source, lines, VFM_DEVICES_MAX);
	for (int i = 0; out && i < ret; i++)
		print_line(devices, lines[i], out);
	vfm_source_free(source);
	return ret < 0 ? ret : ret + list_shut(devices, out);
}

int blockers_main(int argc, char **argv)
{
	struct blockers_options chosen = {0};
	struct cli_devices devices;
	unsigned count = 0;
	int ret;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	while (count < VFM_DEVICES_MAX && chosen.device[count])
		count++;
	ret = cli_devices_read(&devices, COMMAND, chosen.device, count, CLI_DEVICE_BY_TEXT);
	if (ret)
		return ret;
	cli_devices_open(&devices);
	ret = list(&devices, chosen.quiet ? NULL : stdout);
	cli_devices_close(&devices);
	if (ret < 0)
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s", strerror(-ret));
	return ret ? CLI_EXIT_FAILED : CLI_EXIT_OK;
}
