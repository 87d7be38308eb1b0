/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What all devices have in common: walking along the state machine, and finding back after a
 * failure.
 *
 * dev->state is the state as last seen. It is set in one place, state_seen(), after an arc that
 * succeeded, after a read-back, and after a reset. A failed arc may leave the device anywhere on
 * its way, so that the state is read back before anybody decides what to do about it.
 *
 * Recovery: the state that the failed arc's beginning stands for, else a reset, else an error; a
 * device in RESUMING is always reset, since leaving it would check data that is not complete.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/error.h"
#include "base/trace.h"
#include "device/device.h"
#include "fsm/fsm.h"

static void state_seen(struct vfm_device *dev, enum vfm_state state)
{
	if (dev->state == state)
		return;
	VFM_TRACE(device_state, dev->info.name, (int)dev->state, (int)state);
	dev->state = state;
}

static int read_back(struct vfm_device *dev)
{
	enum vfm_state state;
	int ret = dev->ops->get_state(dev, &state);

	if (!ret)
		state_seen(dev, state);
	return ret;
}

int device_init(struct vfm_device *dev, const struct device_ops *ops, const char *name)
{
	size_t len = name ? strnlen(name, VFM_NAME_MAX) : 0;

	if (!len || len == VFM_NAME_MAX)
		return -EINVAL;
	dev->ops = ops;
	dev->info.size = sizeof(dev->info);
	dev->info.backend = ops->backend;
	memcpy(dev->info.name, name, len + 1);
	dev->state = VFM_STATE_RUNNING;
	if (dev->info.has_dma_logging)
		dev->info.tracker = VFM_TRACKER_DEVICE;
	if (!fsm_caps_valid(dev->info.mig_flags))
		dev->info.mig_flags = 0;
	return dev->info.mig_flags ? read_back(dev) : 0;
}

/* One arc, timed and told. */
static int walk_arc(struct vfm_device *dev, enum vfm_state to, device_arc_fn *done, void *opaque)
{
	struct device_arc arc = {.from = dev->state, .to = to, .start_ns = clock_ns()};

	arc.result = dev->ops->set_state(dev, to);
	arc.end_ns = clock_ns();
	if (!arc.result)
		state_seen(dev, to);
	if (done)
		done(opaque, &arc);
	return arc.result;
}

static int arc_failed(struct vfm_device *dev, enum vfm_state from, enum vfm_state to, int cause,
		      struct vfm_error *error)
{
	int ret = read_back(dev);

	if (ret < 0)
		return error_set_arc(error, cause, dev->info.name, from, to,
				     "the device refused, and does not tell its state");
	return error_set_arc(error, cause, dev->info.name, from, to,
			     "the device refused, and is in %s", vfm_state_name(dev->state));
}

int device_transition(struct vfm_device *dev, enum vfm_state target, device_arc_fn *done,
		      void *opaque, struct vfm_error *error)
{
	enum vfm_state path[FSM_PATH_MAX];
	enum vfm_state from;
	unsigned len;
	int ret = fsm_path(dev->state, target, dev->info.mig_flags, path, &len);

	if (ret < 0)
		return error_set_arc(error, ret, dev->info.name, dev->state, target,
				     "there is no way for this device");
	for (unsigned i = 0; i < len; i++) {
		from = dev->state;
		ret = walk_arc(dev, path[i], done, opaque);
		if (ret < 0)
			return arc_failed(dev, from, path[i], ret, error);
	}
	return 0;
}

static int reset(struct vfm_device *dev)
{
	int ret = dev->ops->reset(dev);

	if (!ret && dev->info.mig_flags)
		ret = read_back(dev);
	if (!ret && dev->state != VFM_STATE_RUNNING)
		ret = -EIO;
	return ret;
}

/* 0: the device is in @target without having been reset. */
static int recover_gently(struct vfm_device *dev, enum vfm_state target, device_arc_fn *done,
			  void *opaque)
{
	int ret = read_back(dev);

	if (ret < 0)
		return ret;
	if (dev->state == target)
		return 0;
	if (dev->state == VFM_STATE_RESUMING)
		return -EBUSY;
	return device_transition(dev, target, done, opaque, NULL);
}

int device_recover(struct vfm_device *dev, enum vfm_state target, device_arc_fn *done, void *opaque)
{
	int ret;

	/* ERROR as a target: nothing but a reset will do. */
	if (target != VFM_STATE_ERROR && recover_gently(dev, target, done, opaque) == 0)
		return 0;
	ret = reset(dev);
	if (!ret && target != VFM_STATE_ERROR)
		ret = device_transition(dev, target, done, opaque, NULL);
	return ret < 0 ? ret : 1;
}

VFM_API const char *vfm_tracker_name(enum vfm_tracker tracker)
{
	static const char *const names[] = {
		[VFM_TRACKER_NONE] = "none",
		[VFM_TRACKER_DEVICE] = "device",
		[VFM_TRACKER_IOMMUFD] = "iommufd",
		[VFM_TRACKER_CONTAINER] = "container",
	};

	return (unsigned)tracker < ARRAY_SIZE(names) ? names[tracker] : "invalid";
}

VFM_API int vfm_device_get_info(struct vfm_device *device, struct vfm_device_info *info)
{
	size_t size = info->size;

	if (size < sizeof(device->info))
		return -EINVAL;
	memcpy(info, &device->info, sizeof(device->info));
	info->size = size;
	return 0;
}

VFM_API int vfm_device_get_state(struct vfm_device *device, enum vfm_state *state)
{
	int ret = read_back(device);

	if (!ret)
		*state = device->state;
	return ret;
}

VFM_API int vfm_device_get_stop_copy_size(struct vfm_device *device, uint64_t *bytes)
{
	*bytes = VFM_SIZE_UNKNOWN;
	if (!device->info.mig_flags || !device->ops->stop_copy_size)
		return 0;
	return device->ops->stop_copy_size(device, bytes);
}

VFM_API int vfm_device_set_state(struct vfm_device *device, enum vfm_state target,
				 struct vfm_error *error)
{
	struct vfm_error own = {.code = 0};
	int ret = read_back(device);

	if (ret < 0)
		return error_set_device(error, ret, device->info.name,
					"the device does not tell its state");
	ret = device_transition(device, target, NULL, NULL, &own);
	error_merge(error, &own);
	/* Where there was no way, nothing was tried, and nothing is to be put right. */
	if (ret < 0 && fsm_path(own.from, own.to, device->info.mig_flags,
				(enum vfm_state[FSM_PATH_MAX]){0}, &(unsigned){0}) == 0)
		device_recover(device,
			       fsm_recover_state(own.from, own.to, device->info.mig_flags), NULL,
			       NULL);
	return ret;
}

VFM_API int vfm_device_reset(struct vfm_device *device)
{
	return reset(device);
}

VFM_API void vfm_device_free(struct vfm_device *device)
{
	if (device)
		device->ops->destroy(device);
}
