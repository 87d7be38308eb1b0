/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate compat`: would one device take the state of another, as far as can be told without
 * trying? */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>
#include <vfio-migrate/state-file.h>

#include "base/cleanup.h"
#include "base/compiler.h"
#include "commands.h"
#include "complain.h"
#include "device.h"
#include "exit.h"
#include "options.h"
#include "report.h"
#include "spool.h"

#define COMMAND     "compat"
#define LINES_MAX   32
#define SIDES       2

struct compat_options {
	bool quiet;
	const char *json;
	const char *arg[SIDES];
};

static const struct option_row rows[] = {
	{"json", 0, OPTION_TEXT, offsetof(struct compat_options, json), 0, 0, "FILE",
	 "write the answer as JSON to FILE (- is stdout)", NULL},
	{"quiet", 'q', OPTION_FLAG, offsetof(struct compat_options, quiet), 0, 0, NULL,
	 "print nothing but errors: the exit status tells", NULL},
};

static const struct options options = {
	.args = "A B",
	.doc = "Tell whether B would take the state of A, as far as can be known in advance: a line "
	       "for each reason why it would not. Each is a DEVICE, or a FILE that `save` wrote (- "
	       "is stdin).\v" CLI_DEVICE_HELP
	       " Exit status 0: nothing stands against it; 1: something does, or one of them "
	       "cannot be read.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = SIDES,
	.args_offset = offsetof(struct compat_options, arg),
};

static int identify_file(const char *path, struct vfm_identity *identity)
{
	struct vfm_state_file file = {.size = sizeof(file)};
	char why[VFM_ERROR_TEXT_MAX] = "";
	CLEANUP(cleanup_close) int fd = -1;
	int ret;

	fd = spool_open_once(path, why);
	ret = fd < 0 ? fd : vfm_state_file_check(fd, &file, why, sizeof(why));
	if (ret)
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s: %s", path, why);
	*identity = file.identity;
	return 0;
}

static int identify_device(const char *text, struct vfm_identity *identity)
{
	struct cli_devices devices;
	int ret = cli_devices_read(&devices, COMMAND, &text, 1, CLI_DEVICE_BY_TEXT);

	if (ret)
		return ret;
	ret = cli_devices_open_or_complain(&devices, COMMAND);
	if (!ret)
		cli_device_identify(&devices.device[0], identity);
	cli_devices_close(&devices);
	return ret;
}

/* A path that leads to a regular file, or nowhere, is a file's. */
static bool is_file(const char *text)
{
	return !strcmp(text, "-") || !access(text, R_OK) ? !cli_device_is_one(text) : false;
}

static int write_json(const struct compat_options *chosen, char (*line)[VFM_ERROR_TEXT_MAX],
		      int count)
{
	struct json_object *o = json_object_new_object(), *reasons = json_object_new_array();
	int ret;

	for (int i = 0; i < count; i++)
		json_object_array_add(reasons, json_object_new_string(line[i]));
	json_object_object_add(o, "a", json_object_new_string(chosen->arg[0]));
	json_object_object_add(o, "b", json_object_new_string(chosen->arg[1]));
	json_object_object_add(o, "compatible", json_object_new_boolean(!count));
	json_object_object_add(o, "reasons", reasons);
	ret = report_write(chosen->json, o);
	json_object_put(o);
	return ret ? complain_of(COMMAND, CLI_EXIT_FAILED, "writing %s: %s", chosen->json,
				 strerror(-ret))
		   : 0;
}

static int identify(const char *text, struct vfm_identity *identity)
{
	if (is_file(text))
		return identify_file(text, identity);
	if (!cli_device_is_one(text))
		return complain_of(COMMAND, CLI_EXIT_USAGE,
				   "\"%.100s\" is no device, nor a file that can be read; see "
				   "--help",
				   text);
	return identify_device(text, identity);
}

static int compare(const struct vfm_identity sides[SIDES], const struct compat_options *chosen)
{
	FILE *out = report_text_out(chosen->json, chosen->quiet);
	char lines[LINES_MAX][VFM_ERROR_TEXT_MAX];
	int count = vfm_identity_compare(&sides[0], "at A", &sides[1], "at B", lines, LINES_MAX);
	int shown = MIN(count, LINES_MAX), status = 0;

	for (int i = 0; out && i < shown; i++)
		fprintf(out, "%s\n", lines[i]);
	if (chosen->json)
		status = write_json(chosen, lines, shown);
	return count ? CLI_EXIT_FAILED : status;
}

int compat_main(int argc, char **argv)
{
	struct vfm_identity sides[SIDES] = {{.size = sizeof(sides[0])}, {.size = sizeof(sides[0])}};
	struct compat_options chosen = {0};
	int status = 0;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	if (!chosen.arg[1])
		return complain_of(COMMAND, CLI_EXIT_USAGE,
				   "two DEVICEs or FILEs are due; see --help");
	status = report_check(chosen.json);
	if (status)
		return complain_of(COMMAND, CLI_EXIT_USAGE, "--json: %s: %s", chosen.json,
				   strerror(-status));
	for (int i = 0; i < SIDES && !status; i++)
		status = identify(chosen.arg[i], &sides[i]);
	return status ? status : compare(sides, &chosen);
}
