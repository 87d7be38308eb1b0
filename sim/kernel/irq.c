// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Interrupts: MSI-X vectors, each an eventfd of the user. */
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "sim/kernel/ksim.h"

static u32 vector_count(struct ksim *k, u32 index)
{
	return index == VFIO_PCI_MSIX_IRQ_INDEX ? sim_vectors(k->sim) : 0;
}

long ksim_irq_info(struct ksim *k, void __user *arg)
{
	size_t size = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, arg, size))
		return -EFAULT;
	if (info.argsz < size || info.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info.count = vector_count(k, info.index);
	info.flags = VFIO_IRQ_INFO_NORESIZE | (info.count ? VFIO_IRQ_INFO_EVENTFD : 0);
	return copy_to_user(arg, &info, size) ? -EFAULT : 0;
}

static void connect(struct ksim *k, u32 vector, struct eventfd_ctx *to)
{
	if (k->irq[vector])
		eventfd_ctx_put(k->irq[vector]);
	k->irq[vector] = to;
}

void ksim_clear_irqs(struct ksim *k)
{
	u32 i;

	lockdep_assert_held(&k->core);
	for (i = 0; i < SIM_MSIX_VECTORS_MAX; i++)
		connect(k, i, NULL);
}

/* All of them or none: the eventfds of @fds, NULL for -1. */
static int get_eventfds(const s32 *fds, u32 count, struct eventfd_ctx **out)
{
	int ret = 0;
	u32 i;

	for (i = 0; i < count && !ret; i++) {
		out[i] = fds[i] == -1 ? NULL : eventfd_ctx_fdget(fds[i]);
		if (!IS_ERR(out[i]))
			continue;
		ret = PTR_ERR(out[i]);
		while (i--)
			if (out[i])
				eventfd_ctx_put(out[i]);
		return ret;
	}
	return 0;
}

static int connect_all(struct ksim *k, const struct vfio_irq_set *set, const s32 *fds)
{
	struct eventfd_ctx **to;
	int ret;
	u32 i;

	to = kcalloc(set->count, sizeof(struct eventfd_ctx *), GFP_KERNEL);
	if (!to)
		return -ENOMEM;
	ret = get_eventfds(fds, set->count, to);
	if (!ret) {
		ksim_lock_core(k);
		for (i = 0; i < set->count; i++)
			connect(k, set->start + i, to[i]);
		ksim_unlock_core(k);
	}
	kfree(to);
	return ret;
}

static void trigger(struct ksim *k, const struct vfio_irq_set *set, const u8 *bools)
{
	u32 i;

	ksim_lock_core(k);
	for (i = 0; i < set->count; i++)
		if (!bools || bools[i])
			ksim_host_ops.irq(k, set->start + i);
	if (!set->count)
		ksim_clear_irqs(k);
	ksim_unlock_core(k);
}

static int check_set(const struct vfio_irq_set *set)
{
	u32 action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	u32 data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;

	if (action != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -EINVAL;
	return set->count || (data == VFIO_IRQ_SET_DATA_NONE && !set->start) ? 0 : -EINVAL;
}

long ksim_set_irqs(struct ksim *k, void __user *arg)
{
	size_t head = offsetofend(struct vfio_irq_set, count), size;
	struct vfio_irq_set set;
	void *data = NULL;
	long ret;

	if (copy_from_user(&set, arg, head))
		return -EFAULT;
	ret = vfio_set_irqs_validate_and_prepare(
		&set, set.index < VFIO_PCI_NUM_IRQS ? vector_count(k, set.index) : 0,
		VFIO_PCI_NUM_IRQS, &size);
	if (!ret)
		ret = check_set(&set);
	if (ret)
		return ret;
	if (size)
		data = memdup_user(arg + head, size);
	if (IS_ERR(data))
		return PTR_ERR(data);
	if (set.flags & VFIO_IRQ_SET_DATA_EVENTFD)
		ret = connect_all(k, &set, data);
	else
		trigger(k, &set, data);
	kfree(data);
	return ret;
}
