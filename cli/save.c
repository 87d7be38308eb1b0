/* SPDX-License-Identifier: BSD-3-Clause */
/* `vfio-migrate save`: one device's state into a file. A file is whole or is not there: it is
 * written beside its place and renamed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "commands.h"
#include "complain.h"
#include "device.h"
#include "exit.h"
#include "options.h"
#include "state-work.h"
#include "units.h"

#define COMMAND "save"

struct save_options {
	bool quiet;
	const char *arg[2];
};

static const struct option_row rows[] = {
	{"quiet", 'q', OPTION_FLAG, offsetof(struct save_options, quiet), 0, 0, NULL,
	 "print nothing but errors", NULL},
};

static const struct options options = {
	.args = "DEVICE FILE",
	.doc = "Save the state of a device into FILE (- is stdout): stop it, copy it, and put it "
	       "back to what it was.\v" CLI_DEVICE_HELP
	       " Exit status 1: it failed, and FILE is as it was unless the message says that it "
	       "holds the state; 4: an interrupt ended it, and FILE is as it was; 130: left by a "
	       "second one.",
	.rows = rows,
	.row_count = ARRAY_SIZE(rows),
	.arg_count = 2,
	.args_offset = offsetof(struct save_options, arg),
};

/* Where the bytes go, and where they are to be in the end. */
struct target {
	char path[PATH_MAX];   /* behind any symbolic links */
	char beside[PATH_MAX]; /* "": path is written to itself */
	int fd;                /* -1: not open yet */
};

/* What cannot be replaced by a file: a pipe, /dev/null. */
static bool is_written_in_place(mode_t mode)
{
	return S_ISFIFO(mode) || S_ISCHR(mode) || S_ISSOCK(mode);
}

static int resolve(struct target *target, const char *path)
{
	struct stat st;

	if (!lstat(path, &st))
		return realpath(path, target->path) ? 0 : -errno;
	if (errno != ENOENT)
		return -errno;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(target->path, path);
	return 0;
}

/* Find it, and open what is written to itself: that may wait for a reader, and is done while the
 * device is not touched and a signal still ends the process. */
static int target_find(struct target *target, const char *path)
{
	struct stat st;
	int ret;

	*target = (struct target){.fd = -1};
	if (!strcmp(path, "-")) {
		target->fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
		return target->fd < 0 ? -errno : 0;
	}
	ret = resolve(target, path);
	if (ret || stat(target->path, &st))
		return ret;
	if (S_ISREG(st.st_mode))
		return 0;
	if (!is_written_in_place(st.st_mode))
		return S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	target->fd = open(target->path, O_WRONLY | O_NOCTTY | O_CLOEXEC);
	return target->fd < 0 ? -errno : 0;
}

/* A name that nobody has, so that neither another save nor a file of the user's is in the way. */
static int target_open(struct target *target)
{
	if (target->fd >= 0)
		return 0;
	if (snprintf(target->beside, PATH_MAX, "%s.XXXXXX", target->path) >= PATH_MAX) {
		target->beside[0] = '\0';
		return -ENAMETOOLONG;
	}
	target->fd = mkostemp(target->beside, O_CLOEXEC);
	if (target->fd >= 0)
		return 0;
	target->beside[0] = '\0';
	return -errno;
}

/* @ret: how the saving went. The file is on disk before it gets its name. */
static int target_close(struct target *target, int ret)
{
	if (!ret && *target->beside && fsync(target->fd))
		ret = -errno;
	if (close(target->fd) && !ret)
		ret = -errno;
	if (!*target->beside)
		return ret;
	if (!ret && rename(target->beside, target->path))
		ret = -errno;
	if (ret)
		unlink(target->beside);
	return ret;
}

static void target_leave(void *arg)
{
	struct target *target = arg;

	if (*target->beside)
		unlink(target->beside);
}

static void report(const struct state_work *work, const char *path)
{
	char bytes[UNITS_SIZE];

	fprintf(!strcmp(path, "-") ? stderr : stdout, "saved %s of %s into %s\n",
		units_bytes(bytes, work->bytes), work->devices.device[0].text,
		!strcmp(path, "-") ? "standard output" : path);
}

static int save(struct state_work *work, struct target *target, const char *path, bool quiet)
{
	int ret = target_open(target), closed;

	if (ret)
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s: %s", path, strerror(-ret));
	work->leave = target_leave;
	work->leave_arg = target;
	ret = vfm_state_save(work->devices.device[0].device, &work->identity, target->fd,
			     &work->options, &work->end, &work->error);
	closed = target_close(target, state_work_is_saved(work) ? 0 : ret);
	if (closed && (!ret || state_work_is_saved(work)))
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s: %s", path, strerror(-closed));
	if (ret)
		return state_work_failed(work, ret);
	if (!quiet)
		report(work, path);
	return CLI_EXIT_OK;
}

int save_main(int argc, char **argv)
{
	struct save_options chosen = {0};
	struct target target;
	struct state_work work;
	int status, ret;

	if (options_parse(&options, argc, argv, &chosen))
		return CLI_EXIT_USAGE;
	if (!chosen.arg[0] || !chosen.arg[1])
		return complain_of(COMMAND, CLI_EXIT_USAGE, "%s is missing; see --help",
				   chosen.arg[0] ? "FILE" : "DEVICE");
	if (!strcmp(chosen.arg[1], "-") && isatty(STDOUT_FILENO))
		return complain_of(COMMAND, CLI_EXIT_USAGE, "standard output is a terminal: give a "
							    "file, or a pipe that takes the state");
	if (!cli_device_is_one(chosen.arg[0]))
		return cli_device_complain(COMMAND, chosen.arg[0]);
	ret = target_find(&target, chosen.arg[1]);
	if (ret)
		return complain_of(COMMAND, CLI_EXIT_FAILED, "%s: %s", chosen.arg[1],
				   strerror(-ret));
	status = state_work_begin(&work, COMMAND, chosen.arg[0], chosen.arg[1], chosen.quiet);
	if (status) {
		if (target.fd >= 0)
			close(target.fd);
		return status;
	}
	status = save(&work, &target, chosen.arg[1], chosen.quiet);
	state_work_end(&work);
	return status;
}
