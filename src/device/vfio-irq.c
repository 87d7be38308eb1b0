/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/checked.h"
#include "base/cleanup.h"
#include "device/vfio.h"

VFM_API int vfm_vfio_get_irq(struct vfm_vfio *vfio, uint32_t index, uint32_t *flags,
			     uint32_t *count)
{
	struct vfm_uapi_irq_info info = {.argsz = sizeof(info), .index = index};
	int ret = vfio->sys->ioctl(vfio->sys, vfio->fd, VFM_IOCTL_DEVICE_GET_IRQ_INFO, &info);

	if (ret < 0)
		return ret;
	if (info.count > VFM_VFIO_IRQ_COUNT_MAX)
		return -EPROTO;
	*flags = info.flags;
	*count = info.count;
	return 0;
}

static int set_irqs(struct vfm_vfio *vfio, const struct vfm_uapi_irq_set *head, const void *data,
		    size_t len)
{
	CLEANUP(cleanup_free) struct vfm_uapi_irq_set *set = malloc(sizeof(*set) + len);
	int ret;

	if (!set)
		return -ENOMEM;
	*set = *head;
	set->argsz = (uint32_t)(sizeof(*set) + len);
	if (len)
		memcpy(set + 1, data, len);
	ret = vfio->sys->ioctl(vfio->sys, vfio->fd, VFM_IOCTL_DEVICE_SET_IRQS, set);
	return ret < 0 ? ret : 0;
}

static bool is_action(uint32_t flags)
{
	return is_power_of_two(flags & VFM_IRQ_SET_ACTION_ALL);
}

static bool range_ok(uint32_t start, uint32_t count)
{
	return range_within(start, count, VFM_VFIO_IRQ_COUNT_MAX);
}

VFM_API int vfm_vfio_set_irqs(struct vfm_vfio *vfio, uint32_t index, uint32_t flags,
			      uint32_t start, uint32_t count, const uint8_t *bools)
{
	struct vfm_uapi_irq_set set = {
		.flags = flags, .index = index, .start = start, .count = count};
	uint32_t data = flags & ~VFM_IRQ_SET_ACTION_ALL;

	if (!is_action(flags) || !range_ok(start, count))
		return -EINVAL;
	if (data == VFM_IRQ_SET_DATA_NONE && !bools)
		return set_irqs(vfio, &set, NULL, 0);
	if (data == VFM_IRQ_SET_DATA_BOOL && bools && count)
		return set_irqs(vfio, &set, bools, count);
	return -EINVAL;
}

/* Without @fds each of them is -1. */
static int set_fds(struct vfm_vfio *vfio, const struct vfm_uapi_irq_set *set, const int *fds)
{
	CLEANUP(cleanup_free) int32_t *data = calloc(set->count, sizeof(*data));

	if (!data)
		return -ENOMEM;
	for (uint32_t i = 0; i < set->count; i++)
		data[i] = fds ? fds[i] : -1;
	return set_irqs(vfio, set, data, set->count * sizeof(*data));
}

VFM_API int vfm_vfio_set_irq_fds(struct vfm_vfio *vfio, uint32_t index, uint32_t action,
				 uint32_t start, uint32_t count, const int *fds)
{
	struct vfm_uapi_irq_set set = {.flags = VFM_IRQ_SET_DATA_EVENTFD | action,
				       .index = index, .start = start, .count = count};

	if (!is_action(action) || action & ~VFM_IRQ_SET_ACTION_ALL || !range_ok(start, count))
		return -EINVAL;
	return count ? set_fds(vfio, &set, fds) : 0;
}
