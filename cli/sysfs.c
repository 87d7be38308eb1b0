/* SPDX-License-Identifier: BSD-3-Clause */
#include "sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/compiler.h"

#define ANY 0xffffu

/* The drivers of Linux that have migration, with what they bind to. xe takes the display devices
 * of one vendor, whose numbers are too many and too young to list. */
static const struct {
	const char *driver;
	uint16_t vendor;
	uint16_t device; /* ANY: by class */
	uint8_t class;   /* base class, where device is ANY */
} drivers[] = {
	{"mlx5_vfio_pci", 0x15b3, 0x101e, 0},
	{"virtio_vfio_pci", 0x1af4, 0x1041, 0},
	{"virtio_vfio_pci", 0x1af4, 0x1042, 0},
	{"hisi_acc_vfio_pci", 0x19e5, 0xa251, 0},
	{"hisi_acc_vfio_pci", 0x19e5, 0xa256, 0},
	{"hisi_acc_vfio_pci", 0x19e5, 0xa259, 0},
	{"qat_vfio_pci", 0x8086, 0x4941, 0},
	{"qat_vfio_pci", 0x8086, 0x4943, 0},
	{"qat_vfio_pci", 0x8086, 0x4945, 0},
	{"qat_vfio_pci", 0x8086, 0x4949, 0},
	{"pds_vfio_pci", 0x1dd8, 0x1003, 0},
	{"xe_vfio_pci", 0x8086, ANY, 0x03},
	{"mtty", ANY, ANY, 0xff}, /* the kernel's sample, a mediated device */
};

int sysfs_path_of_fd(const char *root, int fd, char *path, size_t size)
{
	struct stat st;
	int len;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -EINVAL;
	len = snprintf(path, size, "%s/dev/char/%u:%u/device", root, major(st.st_rdev),
		       minor(st.st_rdev));
	return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

/* The last part of where the link @name leads, "" where there is none. */
static void read_link(const char *path, const char *name, char out[SYSFS_NAME_MAX])
{
	char file[PATH_MAX + 32], target[PATH_MAX];
	const char *last;
	ssize_t len;

	snprintf(file, sizeof(file), "%s/%s", path, name);
	len = readlink(file, target, sizeof(target) - 1);
	target[len > 0 ? len : 0] = '\0';
	last = strrchr(target, '/');
	snprintf(out, SYSFS_NAME_MAX, "%.63s", last ? last + 1 : target);
}

/* "0x15b3"; @fallback where there is none. */
static uint32_t read_number(const char *path, const char *name, uint32_t fallback)
{
	CLEANUP(cleanup_close) int fd = -1;
	char file[PATH_MAX + 32], text[32];
	ssize_t len;

	snprintf(file, sizeof(file), "%s/%s", path, name);
	fd = open(file, O_RDONLY | O_CLOEXEC);
	len = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (len <= 0)
		return fallback;
	text[len] = '\0';
	return (uint32_t)strtoul(text, NULL, 16);
}

int sysfs_read(const char *path, struct sysfs_device *out)
{
	memset(out, 0, sizeof(*out));
	if (access(path, F_OK))
		return -errno;
	read_link(path, "driver", out->driver);
	read_link(path, "mdev_type", out->type);
	out->vendor = (uint16_t)read_number(path, "vendor", ANY);
	out->device = (uint16_t)read_number(path, "device", ANY);
	out->class = read_number(path, "class", 0);
	return 0;
}

/* ---- drivers ---- */

/* Modules and drivers of one name differ in this. */
static bool same_name(const char *a, const char *b)
{
	for (; *a && *b; a++, b++)
		if (*a != *b && !((*a == '-' || *a == '_') && (*b == '-' || *b == '_')))
			return false;
	return !*a && !*b;
}

bool sysfs_driver_migrates(const char *driver)
{
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++)
		if (same_name(driver, drivers[i].driver))
			return true;
	return false;
}

const char *sysfs_better_driver(const struct sysfs_device *device)
{
	if (sysfs_driver_migrates(device->driver))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
		if (drivers[i].vendor != device->vendor || device->vendor == ANY)
			continue;
		if (drivers[i].device == ANY ? device->class >> 16 == drivers[i].class
					     : drivers[i].device == device->device)
			return drivers[i].driver;
	}
	return NULL;
}

static void tell_binding(const struct sysfs_device *device, char *buffer, size_t size)
{
	if (*device->driver)
		snprintf(buffer, size, "bound to %s", device->driver);
	else
		snprintf(buffer, size, "bound to no driver");
}

char *sysfs_advise(const struct sysfs_device *device, char *buffer, size_t size)
{
	const char *better = sysfs_better_driver(device);
	char bound[SYSFS_NAME_MAX + 16];

	tell_binding(device, bound, sizeof(bound));
	if (*device->type)
		snprintf(buffer, size, "%s, of type %s: its migration is its own driver's matter",
			 bound, device->type);
	else if (sysfs_driver_migrates(device->driver))
		snprintf(buffer, size, "%s, which has migration, but not on this host: the device's "
				       "firmware, the driver of its physical function or an IOMMU "
				       "may lack what it needs", bound);
	else if (better)
		snprintf(buffer, size, "%s; %s has migration", bound, better);
	else if (device->vendor != ANY)
		snprintf(buffer, size, "%s; no driver with migration is known for %04x:%04x", bound,
			 device->vendor, device->device);
	else
		snprintf(buffer, size, "%s; no driver with migration is known for it", bound);
	return buffer;
}
