/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The kernel's VFIO devices.
 *
 * Two ways in. A VMM that opened its devices itself hands over descriptors:
 * vfm_device_new_vfio_fds. Otherwise the helpers open things: a space (guest memory as the devices
 * see it), then devices in it by address, then vfm_device_new_vfio to migrate them.
 *
 * Errors: 0 or a count, or a negative errno; what the kernel answers is handed on.
 * Threads: a space and the devices in it: opening, closing, mapping one thread at a time. Regions,
 * interrupts and reset of an open device: any number of threads.
 */
#ifndef VFIO_MIGRATE_VFIO_H
#define VFIO_MIGRATE_VFIO_H

#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/device.h>
#include <vfio-migrate/uapi.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- an address space: guest memory as the devices see it ---- */

/** How a device is attached. */
enum vfm_vfio_way {
	VFM_VFIO_ANY,   /**< a new space: what its first device offers, cdev before group */
	VFM_VFIO_CDEV,  /**< /dev/vfio/devices/vfioN and /dev/iommu */
	VFM_VFIO_GROUP, /**< /dev/vfio/N and a type 1 container */
};

struct vfm_vfio_space;

/** Nothing is opened yet. EINVAL: @way; ENOMEM. */
int vfm_vfio_space_new(enum vfm_vfio_way way, struct vfm_vfio_space **space);

/** After its devices are closed. What is mapped is unmapped. NULL is fine. */
void vfm_vfio_space_free(struct vfm_vfio_space *space);

/** VFM_VFIO_ANY as long as it is open what it will be. */
enum vfm_vfio_way vfm_vfio_space_way(const struct vfm_vfio_space *space);

/**
 * Let devices read and write [iova, iova + size), which is @host. Remembered when no device is
 * attached yet. The memory stays the caller's and mapped until unmap. EINVAL: not of whole pages, or
 * wraps; EEXIST: overlaps a mapping; ENOMEM: too much locked memory, too.
 */
int vfm_vfio_space_map(struct vfm_vfio_space *space, uint64_t iova, uint64_t size, void *host);

/** Take back exactly one mapping. ENOENT: there is none. */
int vfm_vfio_space_unmap(struct vfm_vfio_space *space, uint64_t iova, uint64_t size);

/* ---- an opened device ---- */

#define VFM_VFIO_WHY_MAX     256   /**< bytes of a reason with its NUL */
#define VFM_VFIO_PATH_MAX    256   /**< bytes of a path with its NUL */
#define VFM_VFIO_REGIONS_MAX 64u   /**< more regions than that is EPROTO */
#define VFM_VFIO_IRQS_MAX    64u   /**< interrupt indexes, likewise */
#define VFM_VFIO_IRQ_COUNT_MAX 4096u /**< interrupts of one index, likewise */

struct vfm_vfio;

/** Where a device is. What could not be found out is "" or -1. */
struct vfm_vfio_place {
	size_t size;                   /**< sizeof(struct vfm_vfio_place), set by the caller */
	char address[VFM_NAME_MAX];    /**< PCI address, mdev UUID, or "fd:N" */
	char sysfs[VFM_VFIO_PATH_MAX]; /**< its directory */
	char driver[VFM_NAME_MAX];     /**< the driver it is bound to */
	char node[VFM_VFIO_PATH_MAX];  /**< its character device, where there is one */
	int group;                     /**< number of its IOMMU group */
};

/**
 * Find a device without opening it. @address: PCI address (0000:01:00.0 or 01:00.0), mdev UUID, sysfs
 * path, or /dev/vfio/devices/vfioN. @why (may be NULL): one line, with what would help, when it
 * cannot be opened as a VFIO device: ENODEV there is none of that address, ENXIO it is bound to no
 * driver or to one that is not VFIO's; @place is filled as far as is known. EINVAL: no address.
 */
int vfm_vfio_find(const char *address, struct vfm_vfio_place *place, char *why, size_t why_size);

/**
 * Open a device and attach it to @space, which it borrows. @address: as for vfm_vfio_find, or fd:N, an
 * open device fd that is taken over on success: of a group way it has to be attached already,
 * a cdev fd is bound to the space unless it is bound. After a failure it is the caller's, detached
 * from the space; one that was bound stays bound, which @why tells: it can only be closed. @why (may be NULL) tells the reason of a
 * failure in one line, with what would help. Also EBUSY: in use; EPERM: its group is not viable;
 * EACCES.
 */
int vfm_vfio_open(struct vfm_vfio_space *space, const char *address, struct vfm_vfio **vfio,
		  char *why, size_t why_size);

/** Close it; its migration state stays what the driver makes of that. After the vfm_device that was
 *  made of it is freed. NULL is fine. */
void vfm_vfio_close(struct vfm_vfio *vfio);

/** 1: it reaches what is mapped into the space. 0: whoever attached it before it came as fd:N has
 *  mapped what it reaches. */
int vfm_vfio_in_space(const struct vfm_vfio *vfio);

/** The device fd, borrowed: to mmap a region with its offset. */
int vfm_vfio_fd(const struct vfm_vfio *vfio);

/** EINVAL: place->size is no version of the struct. */
int vfm_vfio_get_place(const struct vfm_vfio *vfio, struct vfm_vfio_place *place);

struct vfm_vfio_device {
	size_t size;          /**< sizeof(struct vfm_vfio_device), set by the caller */
	uint32_t flags;       /**< enum vfm_device_flags */
	uint32_t num_regions; /**< highest index + 1, at most VFM_VFIO_REGIONS_MAX */
	uint32_t num_irqs;    /**< highest index + 1, at most VFM_VFIO_IRQS_MAX */
};

int vfm_vfio_get_device(struct vfm_vfio *vfio, struct vfm_vfio_device *device);

struct vfm_vfio_region {
	size_t size;         /**< sizeof(struct vfm_vfio_region), set by the caller */
	uint32_t index;
	uint32_t flags;      /**< enum vfm_region_info_flags */
	uint64_t bytes;      /**< size of the region; 0: not there */
	uint64_t offset;     /**< in the device fd: what to add in mmap() */
	uint32_t type;       /**< of a device-specific region; 0: not told */
	uint32_t subtype;
	int msix_mappable;   /**< 1: the pages of the MSI-X table may be mapped too */
	int has_sparse;      /**< 1: only the areas below may be mapped */
	uint32_t area_count;
	struct vfm_region_sparse_area *areas; /**< offsets from the region's start */
};

/** Ask for a region; give what it returned back with vfm_vfio_region_clear. EINVAL: index, or
 *  region->size is no version of the struct. EPROTO: the answer makes no sense. */
int vfm_vfio_get_region(struct vfm_vfio *vfio, uint32_t index, struct vfm_vfio_region *region);
void vfm_vfio_region_clear(struct vfm_vfio_region *region);

/** @flags: enum vfm_irq_info_flags; @count: interrupts of that index. */
int vfm_vfio_get_irq(struct vfm_vfio *vfio, uint32_t index, uint32_t *flags, uint32_t *count);

/**
 * Mask, unmask or trigger. @flags: one ACTION and DATA_NONE or DATA_BOOL; @bools: @count bytes with
 * DATA_BOOL, else NULL. DATA_NONE, ACTION_TRIGGER, 0, 0: disable the index. EINVAL: arguments.
 */
int vfm_vfio_set_irqs(struct vfm_vfio *vfio, uint32_t index, uint32_t flags, uint32_t start,
		      uint32_t count, const uint8_t *bools);

/**
 * Connect @count eventfds from interrupt @start on; -1 disconnects one, @fds NULL all of them. They
 * stay the caller's. @action: VFM_IRQ_SET_ACTION_TRIGGER, or MASK, UNMASK to let an eventfd do
 * that.
 */
int vfm_vfio_set_irq_fds(struct vfm_vfio *vfio, uint32_t index, uint32_t action, uint32_t start,
			 uint32_t count, const int *fds);

/** Read or write inside a region. Accesses of 1, 2, 4 and 8 bytes are one access each. EINVAL: not
 *  inside; EIO: the driver took less. A failure in the middle leaves the earlier part done. */
int vfm_vfio_region_read(struct vfm_vfio *vfio, uint32_t region, uint64_t offset, void *buf,
			 size_t len);
int vfm_vfio_region_write(struct vfm_vfio *vfio, uint32_t region, uint64_t offset,
			  const void *buf, size_t len);

/** Reset the device: RUNNING with initial contents. Not while a session uses it. */
int vfm_vfio_reset(struct vfm_vfio *vfio);

/* ---- to migrate it ---- */

/**
 * Make a device of an opened one. @vfio is borrowed and must outlive the device. @name: 1 to
 * VFM_NAME_MAX-1 bytes, copied. The state is read, not changed. A device without migration support
 * is one too, with mig_flags 0: the session names it as a blocker. EINVAL: name; ENOMEM; EMFILE.
 */
int vfm_device_new_vfio(struct vfm_vfio *vfio, const char *name, struct vfm_device **device);

/** What a VMM opened itself. All are borrowed and must outlive the device. */
struct vfm_vfio_fds {
	size_t size;   /**< sizeof(struct vfm_vfio_fds) */
	int device;    /**< attached to its IOMMU already */
	int iommufd;   /**< -1: none */
	uint32_t hwpt; /**< its page table, made for dirty tracking, that stands in for a device
			    without tracking of its own; 0: none */
	int container; /**< type 1 container with the same use, -1: none */
};

/** The same; no path is opened. EINVAL: name, or fds->size is no version of the struct. */
int vfm_device_new_vfio_fds(const struct vfm_vfio_fds *fds, const char *name,
			    struct vfm_device **device);

#ifdef __cplusplus
}
#endif
#endif
