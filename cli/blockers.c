/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate blockers`: what stands against a migration of a VM with these devices. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <json-c/json.h>

#include "against.h"
#include "base/compiler.h"
#include "commands.h"
#include "complain.h"
#include "device.h"
#include "exit.h"
#include "options.h"
#include "report.h"

#define COMMAND "blockers"

struct blockers_options {
	bool quiet;
	const char *json;
	const char *device[VFM_DEVICES_MAX];
};

static const struct option_row rows[] = {
	{"json", 0, OPTION_TEXT, offsetof(struct blockers_options, json), 0, 0, "FILE",
	 "write them as JSON to FILE (- is stdout)", NULL},
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

static struct json_object *blocker_json(const struct against *against)
{
	struct json_object *o = json_object_new_object();

	json_object_object_add(o, "device", json_object_new_string(against->device->text));
	json_object_object_add(o, "name", json_object_new_string(against->device->name));
	json_object_object_add(o, "reason", json_object_new_string(against->reason));
	json_object_object_add(o, "advice", *against->advice
						    ? json_object_new_string(against->advice)
						    : NULL);
	return o;
}

static int write_json(const char *path, const struct against *against, int count)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	int ret;

	for (int i = 0; i < count; i++)
		json_object_array_add(list, blocker_json(&against[i]));
	json_object_object_add(o, "can_migrate", json_object_new_boolean(!count));
	json_object_object_add(o, "blockers", list);
	ret = report_write(path, o);
	json_object_put(o);
	return ret ? complain_of(COMMAND, CLI_EXIT_FAILED, "writing %s: %s", path, strerror(-ret))
		   : 0;
}

static int list(struct cli_devices *devices, const struct blockers_options *chosen)
{
	struct against against[VFM_DEVICES_MAX];
	FILE *out = report_text_out(chosen->json, chosen->quiet);
	int count = against_find(devices, against), status = 0;
	char line[2 * CLI_DEVICE_WHY_MAX];

	if (count < 0)
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s", strerror(-count));
	for (int i = 0; out && i < count; i++)
		fprintf(out, "%s\n", against_line(&against[i], line, sizeof(line)));
	if (chosen->json)
		status = write_json(chosen->json, against, count);
	return count ? CLI_EXIT_FAILED : status;
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
	ret = report_check(chosen.json);
	if (ret)
		return complain_of(COMMAND, CLI_EXIT_USAGE, "--json: %s: %s", chosen.json,
				   strerror(-ret));
	ret = cli_devices_read(&devices, COMMAND, chosen.device, count, CLI_DEVICE_BY_TEXT);
	if (ret)
		return ret;
	cli_devices_open(&devices);
	ret = list(&devices, &chosen);
	cli_devices_close(&devices);
	return ret;
}
