/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * DEVICE on a command line, for every command that takes one:
 *
 *	unix:PATH, or the path of a socket         a vfio-user server
 *	fd:N                                       an inherited fd: a socket to a vfio-user server, or
 *	                                           a device of the kernel
 *	0000:01:00.0, a UUID, /sys/..., /dev/vfio/devices/vfioN
 *	                                           a device of the kernel
 *
 * with ",name=NAME" behind it where it is to be called something else.
 */
#ifndef CLI_DEVICE_H
#define CLI_DEVICE_H

#include <stdbool.h>

#include <vfio-migrate/identity.h>
#include <vfio-migrate/vfio.h>
#include <vfio-migrate/vfio-user.h>
#include <vfio-migrate/vm.h>

#include "sysfs.h"

#define CLI_DEVICE_WHY_MAX 768
/* What help says of DEVICE. */
#define CLI_DEVICE_HELP                                                                            \
	"DEVICE is unix:PATH or a socket's path for a vfio-user server; a PCI address, a mediated " \
	"device's UUID, a path in /sys, /dev/vfio/devices/vfioN for a device of the kernel; or "    \
	"fd:N, one of either kind that was opened before. DEVICE,name=NAME gives it a name."

enum cli_device_kind { CLI_DEVICE_VFIO_USER, CLI_DEVICE_KERNEL };

struct cli_device {
	char *text;                  /* as it was given, without the name */
	char name[VFM_NAME_MAX];
	enum cli_device_kind kind;
	struct vfm_vfio_user *client; /* of a vfio-user server */
	struct vfm_vfio *vfio;       /* of a device of the kernel */
	struct vfm_device *device;   /* NULL: it could not be opened, see why, or it is raw */
	bool raw;                    /* set before opening: no vfm_device is made of it */
	bool in_sysfs;               /* sysfs is filled */
	struct sysfs_device sysfs;
	char why[CLI_DEVICE_WHY_MAX]; /* it could not be opened; "": it was */
	const char *hint;             /* what ends why after ": ", and may help; NULL: nothing */
};

/* All that a command opens: those of the kernel are in one space. */
struct cli_devices {
	struct vfm_vfio_space *space;
	unsigned count;
	struct cli_device device[VFM_DEVICES_MAX];
};

/* How a device is called that was given no name. */
enum cli_device_names {
	CLI_DEVICE_BY_TEXT,   /* as it was given */
	CLI_DEVICE_BY_NUMBER, /* dev0, dev1, ...: the same on both sides of a migration */
};

/*
 * Read @count (at least one) arguments; nothing is opened. 0, or an exit status after one line on
 * standard error, where one of them is no DEVICE, or a name comes twice.
 */
int cli_devices_read(struct cli_devices *devices, const char *command, const char *const *text,
		     unsigned count, enum cli_device_names names);

/* Open them all. Returns how many could not be opened; each of those has its line in why. */
unsigned cli_devices_open(struct cli_devices *devices);

/* The same, and a failure is complained about: 0 or an exit status. */
int cli_devices_open_or_complain(struct cli_devices *devices, const char *command);

void cli_devices_close(struct cli_devices *devices);

/* Close it: -ENOTSUP as below. */
int cli_device_shut(struct cli_device *device);

/* Open one of them again, as the next process would that uses it: closed first. -ENOTSUP: it was
 * handed over as a descriptor and is as it was. Another -errno: it is closed, see why. */
int cli_device_reopen(struct cli_devices *devices, struct cli_device *device);

/* One line that says what @text, which is none, should be. Returns the exit status. */
int cli_device_complain(const char *command, const char *text);

/* Could it be one of the forms that name a device? Else it may be a file. */
bool cli_device_is_one(const char *text);

/* All that is known of it. The device is open. */
void cli_device_identify(struct cli_device *device, struct vfm_identity *identity);

/* Why it cannot migrate, with what may help; "" if it can. @buffer has CLI_DEVICE_WHY_MAX bytes. */
char *cli_device_advise(const struct cli_device *device, char *buffer);

#endif
