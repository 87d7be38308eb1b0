/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate restore`: a device gets the state that is in a file. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/compiler.h"
#include "commands.h"
#include "complain.h"
#include "device.h"
#include "exit.h"
#include "options.h"
#include "spool.h"
#include "state-work.h"
#include "units.h"

#define COMMAND       "restore"
#define LIMIT_DEFAULT (UINT64_C(16) << 30)

struct restore_options {
	bool quiet;
	bool stopped;
	uint64_t limit;
	const char *arg[2];
};

#define ROW(name, key, kind, member, min, max, value, help)                                        \
	{name, key, kind, offsetof(struct restore_options, member), min, max, value, help, NULL}

static const struct option_row rows[] = {
	ROW("stopped", 0, OPTION_FLAG, stopped, 0, 0, NULL, "leave the device in STOP (RUNNING)"),
	ROW("limit", 0, OPTION_SIZE, limit, 1, VFM_STATE_FILE_MAX, "SIZE",
	    "most that is taken from a pipe before the device is touched (16G)"),
	ROW("quiet", 'q', OPTION_FLAG, quiet, 0, 0, NULL, "print nothing but errors"),
};

static const struct options options = {
	.args = "DEVICE FILE",
	.doc = "Give a device the state that `save` wrote into FILE (- is stdin). A file that was "
	       "cut, altered or saved from a device of another kind, as far as `compat` can tell, "
	       "is refused before the device is touched.\v" CLI_DEVICE_HELP
	       " A pipe is read to its end first, into a temporary file (in TMPDIR, or /var/tmp). "
	       "Exit status 1: it failed, and the message says what became of the device; 4: the "
	       "same after an interrupt.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = 2,
	.args_offset = offsetof(struct restore_options, arg),
};

static int restore(struct state_work *work, int fd, const struct restore_options *chosen)
{
	char bytes[UNITS_SIZE];
	int ret;

	work->options.stay_stopped = chosen->stopped;
	ret = vfm_state_restore(work->devices.device[0].device, &work->identity, fd,
				&work->options, &work->end, &work->error);
	if (ret)
		return state_work_failed(work, ret);
	if (!chosen->quiet)
		printf("restored %s into %s, which is %s\n", units_bytes(bytes, work->bytes),
		       work->devices.device[0].text, chosen->stopped ? "in STOP" : "RUNNING");
	return CLI_EXIT_OK;
}

int restore_main(int argc, char **argv)
{
	struct restore_options chosen = {.limit = LIMIT_DEFAULT};
	char why[SPOOL_WHY_MAX] = "";
	CLEANUP(cleanup_close) int fd = -1;
	struct state_work work;
	int status;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	if (!chosen.arg[0] || !chosen.arg[1])
		return complain_of(COMMAND, CLI_EXIT_USAGE, "%s is missing; see --help",
				   chosen.arg[0] ? "FILE" : "DEVICE");
	if (!cli_device_is_one(chosen.arg[0]))
		return cli_device_complain(COMMAND, chosen.arg[0]);
	fd = spool_open(chosen.arg[1], chosen.limit, why);
	if (fd < 0)
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s: %s; the device is as it was",
				   chosen.arg[1], why);
	status = state_work_begin(&work, COMMAND, chosen.arg[0], chosen.arg[1], chosen.quiet);
	if (status)
		return status;
	status = restore(&work, fd, &chosen);
	state_work_end(&work);
	return status;
}
