// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/*
 * The log of the device's writes. VFIO's core has checked ranges and page sizes; a report goes
 * through its iova_bitmap, piece by piece through a small bitmap of the device's.
 */
#include <linux/bitmap.h>
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>
#include <linux/rbtree.h>
#include <linux/slab.h>

#include "sim/kernel/ksim.h"

/* Bytes of addresses in one piece. */
#define PIECE_BYTES (sizeof_field(struct ksim, log_bits) * BITS_PER_BYTE * SIM_PAGE_SIZE)

static void list_ranges(struct rb_root_cached *root, struct vfm_feature_logging_range *out, u32 max)
{
	struct interval_tree_node *range;
	struct rb_node *node;
	u32 i = 0;

	for (node = rb_first_cached(root); node && i < max; node = rb_next(node), i++) {
		range = rb_entry(node, struct interval_tree_node, rb);
		out[i].iova = range->start;
		out[i].length = range->last - range->start + 1;
	}
}

static int start(struct vfio_device *vdev, struct rb_root_cached *ranges, u32 count, u64 *page_size)
{
	struct vfm_feature_logging_range *list;
	struct ksim *k = to_ksim(vdev);
	int ret;

	list = kcalloc(count, sizeof(*list), GFP_KERNEL);
	if (!list)
		return -ENOMEM;
	list_ranges(ranges, list, count);
	ksim_lock_core(k);
	ret = sim_log_start(k->sim, page_size, list, count);
	ksim_unlock_core(k);
	kfree(list);
	return ret;
}

static int stop(struct vfio_device *vdev)
{
	struct ksim *k = to_ksim(vdev);
	int ret;

	ksim_lock_core(k);
	ret = sim_log_stop(k->sim);
	ksim_unlock_core(k);
	return ret;
}

static void pass_on(struct ksim *k, u64 iova, u64 pages, struct iova_bitmap *dirty)
{
	unsigned long *bits = (unsigned long *)k->log_bits;
	unsigned int from, to;

	for_each_set_bitrange(from, to, bits, pages)
		iova_bitmap_set(dirty, iova + (u64)from * SIM_PAGE_SIZE,
				(size_t)(to - from) * SIM_PAGE_SIZE);
}

/* It has pages of SIM_PAGE_SIZE bytes; the user's may be larger. */
static int report_piece(struct ksim *k, u64 iova, u64 length, struct iova_bitmap *dirty)
{
	int ret;

	ksim_lock_core(k);
	memset(k->log_bits, 0, sizeof(k->log_bits));
	ret = sim_log_report(k->sim, iova, length, SIM_PAGE_SIZE, k->log_bits);
	if (!ret)
		pass_on(k, iova, length / SIM_PAGE_SIZE, dirty);
	ksim_unlock_core(k);
	return ret;
}

static int report(struct vfio_device *vdev, unsigned long iova, unsigned long length,
		  struct iova_bitmap *dirty)
{
	unsigned long done, part;
	int ret = 0;

	for (done = 0; done < length && !ret; done += part) {
		part = min_t(unsigned long, length - done, PIECE_BYTES);
		ret = report_piece(to_ksim(vdev), iova + done, part, dirty);
		cond_resched();
	}
	return ret;
}

const struct vfio_log_ops ksim_log_ops = {
	.log_start = start,
	.log_stop = stop,
	.log_read_and_clear = report,
};
