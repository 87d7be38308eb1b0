/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a VMM needs of a device, whatever is behind it: a seam with one file per implementation.
 *
 *	attach.c, bus.c, pci.c, intx.c ──> struct attach_ops ──> attach-vfio-user.c  a server process
 *	                                                     ──> attach-vfio.c       the kernel
 *
 * Everything but open, close, map_memory and new_device may be called on any thread.
 */
#ifndef VMM_ATTACH_H
#define VMM_ATTACH_H

#include "vmm/vm.h"

#define ATTACH_AREAS_MAX 16u /* of one region that can be mapped; more are left to trapping */

/* A region as the device tells it. */
struct attach_region {
	uint64_t bytes;  /* 0: not there */
	uint32_t flags;  /* enum vfm_region_info_flags */
	int fd;          /* what mmap() takes; -1: cannot be mapped. The caller closes it */
	uint64_t offset; /* of the region's first byte, in fd */
	unsigned areas;  /* that may be mapped; offsets are from the start of the region */
	struct vfm_region_sparse_area area[ATTACH_AREAS_MAX];
};

/* All return 0 or -errno. */
struct attach_ops {
	const char *kind; /* "vfio-user", "vfio" */

	/* Make device->handle of what the command line named. One line in @why. */
	int (*open)(struct vmm_device *d, const char *address, char *why);
	/* After device->device was freed. Fine after an open that failed. */
	void (*close)(struct vmm_device *d);

	int (*get_info)(struct vmm_device *d, uint32_t *regions, uint32_t *irqs);
	int (*get_region)(struct vmm_device *d, unsigned index, struct attach_region *out);
	int (*read)(struct vmm_device *d, unsigned region, uint64_t offset, void *data, size_t len);
	int (*write)(struct vmm_device *d, unsigned region, uint64_t offset, const void *data,
		     size_t len);

	/* @count 0: no such interrupts. */
	int (*get_irq)(struct vmm_device *d, unsigned index, uint32_t *flags, uint32_t *count);
	/* Signal the first interrupt of @index through @eventfd. */
	int (*set_irq)(struct vmm_device *d, unsigned index, int eventfd);
	/* Let a level interrupt that masked itself fire again. */
	int (*unmask)(struct vmm_device *d, unsigned index);

	/* Let the device reach all of guest memory. */
	int (*map_memory)(struct vmm_device *d);
	/* Let it reach @size bytes of another device at @gpa, too, from @offset of @fd on. NULL: it
	 * cannot. */
	int (*map_peer)(struct vmm_device *d, uint64_t gpa, uint64_t size, int fd, uint64_t offset);

	int (*new_device)(struct vmm_device *d, struct vfm_device **device);
};

extern const struct attach_ops attach_vfio_user;
extern const struct attach_ops attach_vfio;

static inline int attach_read(struct vmm_device *d, unsigned region, uint64_t offset, void *data,
			      size_t len)
{
	return d->attach->read(d, region, offset, data, len);
}

static inline int attach_write(struct vmm_device *d, unsigned region, uint64_t offset,
			       const void *data, size_t len)
{
	return d->attach->write(d, region, offset, data, len);
}

/* "device NAME: @what: text of @error", as @why; returns @error. */
int attach_blame(const struct vmm_device *d, char *why, int error, const char *what);

#endif
