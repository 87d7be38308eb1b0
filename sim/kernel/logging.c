// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/*
 * The log of the device's writes. VFIO's core has checked ranges and page sizes; a report goes
 * through its iova_bitmap, piece by piece through a small bitmap. That iova_bitmap pins the user's
 * memory when a bit is set, which may take as long as the user likes: it is not done with `core`
 * held.
 */
#include <linux/bitmap.h>
#include <linux/interval_tree.h>
#include <linux/iova_bitmap.h>
#include <linux/rbtree.h>
#include <linux/slab.h>

#include "sim/kernel/ksim.h"

#define PIECE_PAGES 32768u
#define PIECE_BYTES (PIECE_PAGES / BITS_PER_BYTE)

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
	if (!ret)
		k->log_page = *page_size;
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

static void pass_on(u64 *bits, u64 iova, u64 page, u64 pages, struct iova_bitmap *dirty)
{
	unsigned int from, to;

	for_each_set_bitrange(from, to, (unsigned long *)bits, pages)
		iova_bitmap_set(dirty, iova + from * page, (to - from) * page);
}

static int report_piece(struct ksim *k, u64 *bits, u64 iova, u64 length, u64 page,
			struct iova_bitmap *dirty)
{
	int ret;

	memset(bits, 0, PIECE_BYTES);
	ksim_lock_core(k);
	ret = sim_log_report(k->sim, iova, length, page, bits);
	ksim_unlock_core(k);
	if (!ret)
		pass_on(bits, iova, page, length / page, dirty);
	return ret;
}

/* The device's pages, or smaller ones where the report does not consist of these; the user's may be
 * of any size. Of a range that does not consist of pages at all the device says so itself. */
static u64 choose_page(struct ksim *k, u64 iova, u64 length)
{
	u64 fits = iova | length;

	return clamp(fits & -fits, (u64)SIM_PAGE_SIZE, max(READ_ONCE(k->log_page),
							   (u64)SIM_PAGE_SIZE));
}

static int report(struct vfio_device *vdev, unsigned long iova, unsigned long length,
		  struct iova_bitmap *dirty)
{
	struct ksim *k = to_ksim(vdev);
	u64 page = choose_page(k, iova, length), done, part;
	u64 *bits = kmalloc(PIECE_BYTES, GFP_KERNEL_ACCOUNT);
	int ret = bits ? 0 : -ENOMEM;

	for (done = 0; done < length && !ret; done += part) {
		part = min(length - done, PIECE_PAGES * page);
		ret = report_piece(k, bits, iova + done, part, page, dirty);
		cond_resched();
	}
	kfree(bits);
	return ret;
}

const struct vfio_log_ops ksim_log_ops = {
	.log_start = start,
	.log_stop = stop,
	.log_read_and_clear = report,
};
