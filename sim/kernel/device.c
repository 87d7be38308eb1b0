// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What a PCI device is to its user: it is opened, has regions and interrupts, can be reset. */
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "sim/kernel/compat.h"
#include "sim/kernel/ksim.h"

#define OFFSET_SHIFT 40 /* of a region's index in the device fd's offsets */
#define PIECE_MAX    128 /* bytes of one access to what is not made of registers */

/* ---- open, close ---- */

static int open_device(struct vfio_device *vdev)
{
	struct ksim *k = to_ksim(vdev);

	mutex_lock(&k->calls);
	WRITE_ONCE(k->closing, false);
	ksim_lock_core(k);
	k->open = true;
	k->user++;
	k->count.opens++;
	sim_limit_flags(k->sim, U32_MAX);
	k->moves = true;
	ksim_unlock_core(k);
	mutex_unlock(&k->calls);
	return 0;
}

/* A call that takes its time, of somebody who holds a data fd alone, is cut short. The device stays
 * as it is, but for what belongs to the user: data fds are dead from now on. */
static void close_device(struct vfio_device *vdev)
{
	struct ksim *k = to_ksim(vdev);

	WRITE_ONCE(k->closing, true);
	wake_up_all(&k->wake);
	mutex_lock(&k->calls);
	ksim_stop_time(k);
	ksim_lock_core(k);
	k->open = false;
	ksim_clear_irqs(k);
	sim_log_stop(k->sim);
	if (k->config.reset_on_disconnect)
		sim_reset(k->sim);
	ksim_unlock_core(k);
	mutex_unlock(&k->calls);
}

static long reset(struct ksim *k)
{
	int ret = ksim_lock_calls(k);

	if (ret)
		return ret;
	ksim_lock_core(k);
	sim_reset(k->sim);
	k->count.resets++;
	ksim_unlock_core(k);
	mutex_unlock(&k->calls);
	return 0;
}

/* ---- what there is ---- */

static long device_info(void __user *arg)
{
	size_t size = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info;

	if (copy_from_user(&info, arg, size))
		return -EFAULT;
	if (info.argsz < size)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user(arg, &info, size) ? -EFAULT : 0;
}

static bool is_mailbox(u32 index)
{
	return index == VFIO_PCI_BAR0_REGION_INDEX + SIM_BAR_MAILBOX;
}

static int fill_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
			    struct vfio_info_cap *caps)
{
	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	info->offset = (u64)info->index << OFFSET_SHIFT;
	info->size = sim_region_size(to_ksim(vdev)->sim, info->index);
	info->flags = info->size ? VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE : 0;
	if (is_mailbox(info->index))
		info->flags |= VFIO_REGION_INFO_FLAG_MMAP;
	return 0;
}

#ifndef KSIM_CORE_REGION_INFO
static long region_info(struct vfio_device *vdev, void __user *arg)
{
	size_t size = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;
	int ret;

	if (copy_from_user(&info, arg, size))
		return -EFAULT;
	if (info.argsz < size)
		return -EINVAL;
	ret = fill_region_info(vdev, &info, NULL);
	if (ret)
		return ret;
	info.cap_offset = 0;
	return copy_to_user(arg, &info, size) ? -EFAULT : 0;
}
#endif

static long device_ioctl(struct vfio_device *vdev, unsigned int cmd, unsigned long arg)
{
	struct ksim *k = to_ksim(vdev);
	void __user *to = (void __user *)arg;

	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return device_info(to);
#ifndef KSIM_CORE_REGION_INFO
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(vdev, to);
#endif
	case VFIO_DEVICE_GET_IRQ_INFO:
		return ksim_irq_info(k, to);
	case VFIO_DEVICE_SET_IRQS:
		return ksim_set_irqs(k, to);
	case VFIO_DEVICE_RESET:
		return reset(k);
	default:
		return -ENOTTY;
	}
}

/* ---- regions ---- */

/* Registers are accessed as such, everything else in pieces. */
static size_t next_piece(u32 index, u64 offset, size_t left)
{
	bool registers = index == VFIO_PCI_BAR0_REGION_INDEX + SIM_BAR_REGS;

	if (!registers)
		return min_t(size_t, left, PIECE_MAX);
	if (left >= 8 && IS_ALIGNED(offset, 8))
		return 8;
	return min_t(size_t, left, 4);
}

static int access(struct ksim *k, u32 index, u64 offset, void *piece, size_t len, bool write)
{
	int ret;

	ksim_lock_core(k);
	if (write)
		ret = sim_region_write(k->sim, index, offset, piece, len);
	else
		ret = sim_region_read(k->sim, index, offset, piece, len);
	ksim_unlock_core(k);
	return ret;
}

static int read_piece(struct ksim *k, u32 index, u64 offset, char __user *buf, size_t len)
{
	u8 piece[PIECE_MAX] __aligned(8);
	int ret = access(k, index, offset, piece, len, false);

	if (ret)
		return ret;
	return copy_to_user(buf, piece, len) ? -EFAULT : 0;
}

static int write_piece(struct ksim *k, u32 index, u64 offset, const char __user *buf, size_t len)
{
	u8 piece[PIECE_MAX] __aligned(8);

	if (copy_from_user(piece, buf, len))
		return -EFAULT;
	return access(k, index, offset, piece, len, true);
}

static ssize_t device_read(struct vfio_device *vdev, char __user *buf, size_t count, loff_t *pos)
{
	u64 at = *pos, offset = at & (BIT_ULL(OFFSET_SHIFT) - 1);
	u32 index = at >> OFFSET_SHIFT;
	size_t done, len;
	int ret = 0;

	for (done = 0; done < count; done += len) {
		len = next_piece(index, offset + done, count - done);
		ret = read_piece(to_ksim(vdev), index, offset + done, buf + done, len);
		if (ret)
			break;
	}
	*pos += done;
	return done ? done : ret;
}

static ssize_t device_write(struct vfio_device *vdev, const char __user *buf, size_t count,
			    loff_t *pos)
{
	u64 at = *pos, offset = at & (BIT_ULL(OFFSET_SHIFT) - 1);
	u32 index = at >> OFFSET_SHIFT;
	size_t done, len;
	int ret = 0;

	for (done = 0; done < count; done += len) {
		len = next_piece(index, offset + done, count - done);
		ret = write_piece(to_ksim(vdev), index, offset + done, buf + done, len);
		if (ret)
			break;
	}
	*pos += done;
	return done ? done : ret;
}

/* The mailbox. A mapping holds the device fd, so the device is open and its memory stays. */
static int device_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	u32 index = vma->vm_pgoff >> (OFFSET_SHIFT - PAGE_SHIFT);
	u64 page = vma->vm_pgoff & (BIT_ULL(OFFSET_SHIFT - PAGE_SHIFT) - 1);

	if (!is_mailbox(index) || !(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	return remap_vmalloc_range(vma, sim_mailbox(to_ksim(vdev)->sim), page);
}

const struct vfio_device_ops ksim_device_ops = {
	.name = "vfm_sim",
	.init = ksim_init_device,
	.release = ksim_release_device,
	.open_device = open_device,
	.close_device = close_device,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
	.read = device_read,
	.write = device_write,
	.ioctl = device_ioctl,
#ifdef KSIM_CORE_REGION_INFO
	.get_region_info_caps = fill_region_info,
#endif
	.mmap = device_mmap,
};
