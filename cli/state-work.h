/* SPDX-License-Identifier: BSD-3-Clause */
/* What `save` and `restore` have in common: one device, a line of progress, an interrupt that ends
 * it, and a word on what became of the device. */
#ifndef CLI_STATE_WORK_H
#define CLI_STATE_WORK_H

#include <stdbool.h>

#include <vfio-migrate/state-file.h>

#include "device.h"

struct state_work {
	const char *command;
	const char *file;
	struct cli_devices devices;
	struct vfm_identity identity;
	struct vfm_state_options options;
	int interrupts;
	bool cancelled;     /* main thread's */
	void (*leave)(void *arg); /* before a second interrupt ends the process; NULL: nothing */
	void *leave_arg;
	bool shows;         /* progress is shown: standard error is a terminal */
	uint64_t shown_ns;
	uint64_t bytes;     /* so far */
	enum vfm_device_end end;
	struct vfm_error error;
};

/* Open the device. From here on interrupts are taken as they suit: what waits for input comes
 * before. @file: as messages call it. 0 or an exit status. */
int state_work_begin(struct state_work *work, const char *command, const char *device,
		     const char *file, bool quiet);
void state_work_end(struct state_work *work);

/* After a failure: is the file whole all the same, and perhaps the only copy? */
bool state_work_is_saved(const struct state_work *work);

/* Complain about what failed (@ret) and what became of the device. Returns an exit status. */
int state_work_failed(struct state_work *work, int ret);

#endif
