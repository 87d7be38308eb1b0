/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What sysfs knows of a device of the kernel: the driver that it is bound to, its numbers, and so
 * whether another driver would make it migrate.
 */
#ifndef CLI_SYSFS_H
#define CLI_SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYSFS_ROOT     "/sys"
#define SYSFS_NAME_MAX 64

struct sysfs_device {
	char driver[SYSFS_NAME_MAX]; /* "": it is bound to none */
	char type[SYSFS_NAME_MAX];   /* of a mediated device ("mtty-1"), else "" */
	uint16_t vendor, device;     /* of a PCI device, else 0xffff */
	uint32_t class;              /* likewise, the three bytes of it; else 0 */
};

/* What stands in the device's directory @path. 0, or -errno: there is no such directory. */
int sysfs_read(const char *path, struct sysfs_device *out);

/* The directory of the device whose own character device is open as @fd. @root: SYSFS_ROOT. 0 or
 * -errno, -EINVAL: an fd out of a group, say, of which sysfs knows nothing. */
int sysfs_path_of_fd(const char *root, int fd, char *path, size_t size);

/* Has the driver of that name migration, as far as is known? */
bool sysfs_driver_migrates(const char *driver);

/* The driver with migration for this device, NULL: it has it, or none is known. */
const char *sysfs_better_driver(const struct sysfs_device *device);

/* Why the device cannot migrate, with what would help: "bound to vfio-pci; mlx5_vfio_pci has
 * migration". Returns @buffer of @size bytes. */
char *sysfs_advise(const struct sysfs_device *device, char *buffer, size_t size);

#endif
