/* SPDX-License-Identifier: BSD-3-Clause */
/* What stands against a migration of a VM that has these devices, all of them. */
#ifndef CLI_AGAINST_H
#define CLI_AGAINST_H

#include <stdio.h>

#include "device.h"

struct against {
	const struct cli_device *device;
	char reason[CLI_DEVICE_WHY_MAX];
	char advice[CLI_DEVICE_WHY_MAX]; /* what is behind it, or would help; "": not known */
};

/* At most one of each device: @out has room for VFM_DEVICES_MAX. Returns how many, or -errno. A
 * device that is not open is one, with its why. */
int against_find(struct cli_devices *devices, struct against *out);

/* "device NAME: reason: advice", of at most @size bytes. */
char *against_line(const struct against *against, char *buffer, size_t size);

#endif
