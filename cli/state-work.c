/* SPDX-License-Identifier: BSD-3-Clause */
#include "state-work.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <vfio-migrate/migrate.h>

#include "base/clock.h"
#include "complain.h"
#include "exit.h"
#include "interrupt.h"
#include "units.h"

#define REDRAW_NS (100 * NS_PER_MSEC)

/* On the library's thread. */
static int on_progress(void *opaque, uint64_t bytes, uint64_t total)
{
	struct state_work *work = opaque;
	char done[UNITS_SIZE], all[UNITS_SIZE] = "";

	work->bytes = bytes;
	if (work->shows && clock_ns() - work->shown_ns >= REDRAW_NS) {
		work->shown_ns = clock_ns();
		if (total != VFM_SIZE_UNKNOWN)
			units_bytes(all, total);
		fprintf(stderr, "\r%s%s%s\033[K", units_bytes(done, bytes), *all ? " of " : "", all);
		fflush(stderr);
	}
	return 0;
}

/* On the main thread. What a second interrupt leaves behind, the next command resets or ends. */
static int on_question(void *opaque)
{
	struct state_work *work = opaque;

	if (!interrupt_take(work->interrupts))
		return work->cancelled;
	if (work->cancelled) {
		if (work->leave)
			work->leave(work->leave_arg);
		_exit(CLI_EXIT_LEFT);
	}
	return work->cancelled = true;
}

int state_work_begin(struct state_work *work, const char *command, const char *device,
		     const char *file, bool quiet)
{
	int ret;

	memset(work, 0, sizeof(*work));
	work->command = command;
	work->file = file;
	ret = cli_devices_read(&work->devices, command, &device, 1, CLI_DEVICE_BY_TEXT);
	if (ret)
		return ret;
	work->interrupts = interrupt_open(); /* before the library makes a thread */
	if (work->interrupts < 0)
		ret = complain_of(command, CLI_EXIT_FAILED, "signalfd: %s",
				  strerror(-work->interrupts));
	else
		ret = cli_devices_open_or_complain(&work->devices, command);
	if (ret) {
		state_work_end(work);
		return ret;
	}
	cli_device_identify(&work->devices.device[0], &work->identity);
	work->shows = !quiet && isatty(STDERR_FILENO);
	work->options = (struct vfm_state_options){
		.size = sizeof(work->options), .opaque = work, .progress = on_progress,
		.cancelled = on_question};
	return 0;
}

void state_work_end(struct state_work *work)
{
	cli_devices_close(&work->devices);
	if (work->interrupts >= 0)
		close(work->interrupts);
	if (work->shown_ns)
		fputs("\r\033[K", stderr);
}

static const char *fate(enum vfm_device_end end)
{
	switch (end) {
	case VFM_DEVICE_RESET:
		return "; the device was reset: it is RUNNING with initial contents";
	case VFM_DEVICE_LOST:
		return "; the device could not be reset either: its state is not known";
	case VFM_DEVICE_SAVED_RESET:
		return ", and the device was reset: it is RUNNING with initial contents";
	case VFM_DEVICE_SAVED_LOST:
		return ", and the device could not be reset either: its state is not known";
	default:
		return "; the device is as it was";
	}
}

bool state_work_is_saved(const struct state_work *work)
{
	return work->end == VFM_DEVICE_SAVED_RESET || work->end == VFM_DEVICE_SAVED_LOST;
}

/* What was wrong with the file is said in words; an errno tells more of what a device or the system did. */
static bool is_about_file(const struct vfm_error *error)
{
	return !*error->device && *error->text &&
	       (error->code == EINVAL || error->code == EBADMSG);
}

int state_work_failed(struct state_work *work, int ret)
{
	char text[2 * VFM_ERROR_TEXT_MAX] = "";

	if (work->shown_ns)
		fputs("\r\033[K", stderr);
	if (is_about_file(&work->error))
		snprintf(text, sizeof(text), "%s", work->error.text);
	else
		vfm_error_format(&work->error, text, sizeof(text));
	if (state_work_is_saved(work))
		return complain_of(work->command, CLI_EXIT_FAILED, "%s; its state is in %s%s",
				   *text ? text : strerror(-ret), work->file, fate(work->end));
	if (work->cancelled)
		return complain_of(work->command, CLI_EXIT_CANCELLED, "cancelled%s",
				   fate(work->end));
	return complain_of(work->command, CLI_EXIT_FAILED, "%s%s%s%s",
			   *work->error.device ? "" : work->file, *work->error.device ? "" : ": ",
			   *text ? text : strerror(-ret), fate(work->end));
}
