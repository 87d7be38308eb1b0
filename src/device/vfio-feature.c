/* SPDX-License-Identifier: BSD-3-Clause */
/* Device features: argsz covers head and payload, and unknown flags are refused (rule 20). */
#include <errno.h>
#include <string.h>
#include "device/vfio.h"

int vfio_feature(const struct vfio_sys *sys, int fd, uint32_t flags, void *payload, size_t len)
{
	struct {
		struct vfm_feature head;
		uint8_t payload[VFIO_FEATURE_MAX] __attribute__((aligned(8)));
	} arg = {.head = {.argsz = (uint32_t)(sizeof(arg.head) + len), .flags = flags}};
	int ret;

	if (len > sizeof(arg.payload))
		return -EINVAL;
	if (len)
		memcpy(arg.payload, payload, len);
	ret = sys->ioctl(sys, fd, VFM_IOCTL_DEVICE_FEATURE, &arg);
	if (ret < 0)
		return ret;
	if (len)
		memcpy(payload, arg.payload, len);
	return 0;
}

bool vfio_feature_probe(const struct vfio_sys *sys, int fd, uint32_t flags)
{
	return vfio_feature(sys, fd, flags | VFM_FEATURE_PROBE, NULL, 0) == 0;
}
