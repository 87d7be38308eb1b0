/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From the address that a person gives to a device's place in sysfs, and what is wrong with it if
 * it cannot be opened.
 *
 *	0000:01:00.0, 01:00.0           /sys/bus/pci/devices/0000:01:00.0
 *	UUID                            /sys/bus/mdev/devices/UUID
 *	/dev/vfio/devices/vfioN         /sys/class/vfio-dev/vfioN/device
 *	/sys/...                        itself
 */
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "device/vfio.h"

#define NODES "/dev/vfio/devices/"

int vfio_why(char *why, size_t why_size, int ret, const char *fmt, ...)
{
	va_list args;

	if (!why || !why_size)
		return ret;
	va_start(args, fmt);
	vsnprintf(why, why_size, fmt, args);
	va_end(args);
	return ret;
}

/* Does @text look like @shape? x: a hexadecimal digit; others stand for themselves. */
static bool has_shape(const char *text, const char *shape)
{
	for (; *shape; shape++, text++)
		if (*shape == 'x' ? !isxdigit((unsigned char)*text) : *text != *shape)
			return false;
	return !*text;
}

static int guess_sysfs(const char *address, char *path, size_t size)
{
	int len = -1;

	if (has_shape(address, "xxxx:xx:xx.x"))
		len = snprintf(path, size, "/sys/bus/pci/devices/%s", address);
	else if (has_shape(address, "xx:xx.x"))
		len = snprintf(path, size, "/sys/bus/pci/devices/0000:%s", address);
	else if (has_shape(address, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"))
		len = snprintf(path, size, "/sys/bus/mdev/devices/%s", address);
	else if (!strncmp(address, NODES, strlen(NODES)))
		len = snprintf(path, size, "/sys/class/vfio-dev/%s/device",
			       address + strlen(NODES));
	else if (!strncmp(address, "/sys/", 5))
		len = snprintf(path, size, "%s", address);
	return len < 0 || (size_t)len >= size ? -EINVAL : 0;
}

/* The last part of the link @name in the device's directory; "" if there is none. */
static void get_link(const struct vfio_sys *sys, const struct vfm_vfio_place *place,
		     const char *name, char *buf, size_t size)
{
	char path[VFM_VFIO_PATH_MAX + 32], target[VFM_VFIO_PATH_MAX];
	const char *last;

	snprintf(path, sizeof(path), "%s/%s", place->sysfs, name);
	if (sys->readlink(sys, path, target, sizeof(target)) < 0)
		target[0] = 0;
	last = strrchr(target, '/');
	last = last ? last + 1 : target;
	snprintf(buf, size, "%.*s", (int)size - 1, last);
}

static void get_group(const struct vfio_sys *sys, struct vfm_vfio_place *place)
{
	char text[32], *end;
	long number;

	place->group = -1;
	get_link(sys, place, "iommu_group", text, sizeof(text));
	number = strtol(text, &end, 10);
	if (end != text && !*end && number >= 0 && number <= INT32_MAX)
		place->group = (int)number;
}

/* Each device of a VFIO driver has a directory vfio-dev/vfioN; one with a character device has a
 * file dev in it. False: it has no such directory. */
static bool get_node(const struct vfio_sys *sys, struct vfm_vfio_place *place)
{
	char path[VFM_VFIO_PATH_MAX + 128], name[64], real[VFM_VFIO_PATH_MAX + 128];

	snprintf(path, sizeof(path), "%s/vfio-dev", place->sysfs);
	if (sys->first_entry(sys, path, name, sizeof(name)) < 0)
		return false;
	snprintf(path, sizeof(path), "%s/vfio-dev/%s/dev", place->sysfs, name);
	if (sys->realpath(sys, path, real, sizeof(real)) == 0)
		snprintf(place->node, sizeof(place->node), NODES "%s", name);
	return true;
}

/* Kernels before 6.1 have no such directories, and nothing can be told. */
static bool has_directories(const struct vfio_sys *sys)
{
	char real[VFM_VFIO_PATH_MAX];

	return sys->realpath(sys, "/sys/class/vfio-dev", real, sizeof(real)) == 0;
}

/* An existing device; can it be opened? */
static int judge(const struct vfio_sys *sys, const struct vfm_vfio_place *place, bool known,
		 char *why, size_t why_size)
{
	if (!place->driver[0])
		return vfio_why(why, why_size, -ENXIO,
				"%s has no driver: bind it to vfio-pci, or to the VFIO driver of its "
				"vendor", place->address);
	if (!known && has_directories(sys))
		return vfio_why(why, why_size, -ENXIO,
				"%s is bound to %s, which is no VFIO driver: bind it to vfio-pci, or to "
				"the VFIO driver of its vendor", place->address, place->driver);
	if (!place->node[0] && place->group < 0)
		return vfio_why(why, why_size, -ENXIO,
				"%s is in no IOMMU group: turn the IOMMU on", place->address);
	return 0;
}

int vfio_find(const struct vfio_sys *sys, const char *address, struct vfm_vfio_place *place,
	      char *why, size_t why_size)
{
	char path[VFM_VFIO_PATH_MAX];
	bool known;
	int ret;

	memset((char *)place + sizeof(place->size), 0, sizeof(*place) - sizeof(place->size));
	place->group = -1;
	snprintf(place->address, sizeof(place->address), "%s", address);
	if (guess_sysfs(address, path, sizeof(path)) < 0)
		return vfio_why(why, why_size, -EINVAL,
				"%.64s is no PCI address, mdev UUID or path of a device", address);
	ret = sys->realpath(sys, path, place->sysfs, sizeof(place->sysfs));
	if (ret < 0)
		return vfio_why(why, why_size, ret == -ENOENT ? -ENODEV : ret,
				"there is no device %.64s: %.64s: %s", address, path,
				strerror(-ret));
	snprintf(place->address, sizeof(place->address), "%s", strrchr(place->sysfs, '/') + 1);
	get_link(sys, place, "driver", place->driver, sizeof(place->driver));
	get_group(sys, place);
	known = get_node(sys, place);
	return judge(sys, place, known, why, why_size);
}

VFM_API int vfm_vfio_find(const char *address, struct vfm_vfio_place *place, char *why,
			  size_t why_size)
{
	if (place->size < sizeof(*place))
		return -EINVAL;
	return vfio_find(&vfio_sys_kernel, address, place, why, why_size);
}
