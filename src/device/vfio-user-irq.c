/* SPDX-License-Identifier: BSD-3-Clause */
/* Interrupts. A server takes max_msg_fds eventfds in one message, so connecting goes in runs. */
#include <errno.h>
#include "base/checked.h"
#include "device/vfio-user-client.h"

VFM_API int vfm_vfio_user_get_irq(struct vfm_vfio_user *client, uint32_t index, uint32_t *flags,
				  uint32_t *count)
{
	struct vfm_vfio_user_irq_info ask = {.argsz = sizeof(ask), .index = index};
	struct vfm_vfio_user_irq_info info;
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DEVICE_GET_IRQ_INFO,
		.out = {{&ask, sizeof(ask)}},
		.reply = &info, .reply_min = sizeof(info), .reply_max = sizeof(info),
		.slack = VFM_VFIO_USER_FIXED_MAX,
	};
	int ret = vfio_user_call(client, &call);

	if (ret < 0)
		return ret;
	if (info.index != index || info.count > VFM_VFIO_USER_IRQ_COUNT_MAX)
		return vfio_user_lose(client, "%u interrupts of type %u, asked for type %u",
				      info.count, info.index, index);
	*flags = info.flags;
	*count = info.count;
	return 0;
}

static int set_irqs(struct vfm_vfio_user *client, struct vfm_vfio_user_irq_set *set,
		    const void *data, size_t len, const int *fds, unsigned fd_count)
{
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DEVICE_SET_IRQS,
		.out = {{set, sizeof(*set)}, {(void *)data, len}},
		.fds = fds, .fd_count = fd_count,
		.slack = sizeof(*set),
	};

	set->argsz = (uint32_t)(sizeof(*set) + len);
	return vfio_user_call(client, &call);
}

static bool is_action(uint32_t flags)
{
	uint32_t action = flags & VFM_IRQ_SET_ACTION_ALL;

	return is_power_of_two(action);
}

static bool range_ok(uint32_t start, uint32_t count)
{
	return range_within(start, count, VFM_VFIO_USER_IRQ_COUNT_MAX);
}

VFM_API int vfm_vfio_user_set_irqs(struct vfm_vfio_user *client, uint32_t index, uint32_t flags,
				   uint32_t start, uint32_t count, const uint8_t *bools)
{
	struct vfm_vfio_user_irq_set set = {
		.flags = flags, .index = index, .start = start, .count = count};
	uint32_t data = flags & ~VFM_IRQ_SET_ACTION_ALL;

	if (!is_action(flags) || !range_ok(start, count))
		return -EINVAL;
	if (data == VFM_IRQ_SET_DATA_NONE && !bools)
		return set_irqs(client, &set, NULL, 0, NULL, 0);
	if (data == VFM_IRQ_SET_DATA_BOOL && bools && count)
		return set_irqs(client, &set, bools, count, NULL, 0);
	return -EINVAL;
}

/* How many from @fds on go into one message: a run of fds, or one of gaps. */
static uint32_t run_length(const struct vfm_vfio_user *client, const int *fds, uint32_t count)
{
	uint32_t len = 1;

	if (!fds)
		return count;
	if (fds[0] >= 0)
		count = MIN(count, client->agreed.max_msg_fds);
	while (len < count && (fds[len] >= 0) == (fds[0] >= 0))
		len++;
	return len;
}

VFM_API int vfm_vfio_user_set_irq_fds(struct vfm_vfio_user *client, uint32_t index,
				      uint32_t action, uint32_t start, uint32_t count,
				      const int *fds)
{
	struct vfm_vfio_user_irq_set set = {.flags = VFM_IRQ_SET_DATA_EVENTFD | action,
					    .index = index};
	uint32_t run;
	int ret = 0;

	if (!is_action(action) || action & ~VFM_IRQ_SET_ACTION_ALL || !range_ok(start, count))
		return -EINVAL;
	for (uint32_t i = 0; i < count && !ret; i += run) {
		const int *at = fds ? fds + i : NULL;

		run = run_length(client, at, count - i);
		set.start = start + i;
		set.count = run;
		ret = set_irqs(client, &set, NULL, 0, at, at && at[0] >= 0 ? run : 0);
	}
	return ret;
}
