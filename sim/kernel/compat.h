/* SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only) */
/* What differs between kernels 6.12 and 7.2. */
#ifndef KSIM_COMPAT_H
#define KSIM_COMPAT_H

#include <linux/debugfs.h>
#include <linux/hrtimer.h>
#include <linux/uaccess.h>
#include <linux/version.h>
#include <linux/vfio.h>

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0)
#error "vfm_sim needs Linux 6.12 or newer"
#endif

/* VFIO's own debugfs follows mig_ops, and takes it for granted: without migration that file has to
 * go. This waits for who reads it, who waits for core at most. */
static inline void ksim_hide_state(struct vfio_device *vdev)
{
#ifdef CONFIG_VFIO_DEBUGFS
	if (vdev->debug_root)
		debugfs_lookup_and_remove("migration", vdev->debug_root);
#endif
}

/* 6.13 sets a timer up in one call, 6.15 in no other way. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
static inline void hrtimer_setup(struct hrtimer *timer,
				 enum hrtimer_restart (*function)(struct hrtimer *),
				 clockid_t clock, enum hrtimer_mode mode)
{
	hrtimer_init(timer, clock, mode);
	timer->function = function;
}
#endif

/* 6.13 wants a string. */
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 13, 0)
#define KSIM_IMPORT_NS(name) MODULE_IMPORT_NS(name)
#else
#define KSIM_IMPORT_NS(name) MODULE_IMPORT_NS(#name)
#endif

/* 6.19 reads the request and writes the answer of GET_REGION_INFO itself. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 19, 0)
#define KSIM_CORE_REGION_INFO 1
#endif

#ifdef VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2

static inline bool ksim_wants_infov2(const struct vfio_device *vdev)
{
	return vdev->precopy_info_v2;
}

#else

static inline bool ksim_wants_infov2(const struct vfio_device *vdev)
{
	return false;
}

/* As the later kernels' check, without the opt-in. */
static inline int vfio_check_precopy_ioctl(struct vfio_device *vdev, unsigned int cmd,
					   unsigned long arg, struct vfio_precopy_info *info)
{
	size_t size = offsetofend(struct vfio_precopy_info, dirty_bytes);

	if (cmd != VFIO_MIG_GET_PRECOPY_INFO)
		return -ENOTTY;
	if (copy_from_user(info, (void __user *)arg, size))
		return -EFAULT;
	return info->argsz < size ? -EINVAL : 0;
}

#endif
#endif
