/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What a VMM gives of its VM: memory, and a handful of calls. The same table serves a source and
 * a destination.
 */
#ifndef VFIO_MIGRATE_VM_H
#define VFIO_MIGRATE_VM_H

#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFM_PAGE_SIZE       4096u         /**< the unit of dirty tracking and of transfer */
#define VFM_REGIONS_MAX     256u          /**< memory regions of a VM */
#define VFM_DEVICES_MAX     64u           /**< devices of a VM */
#define VFM_VM_STATE_MAX    (64u << 20)   /**< bytes of VMM state */

enum vfm_region_flags {
	/** Nobody wrote to this memory since it was made, so that it reads as zero. A destination
	 *  then need not touch pages that are zero on the source. */
	VFM_REGION_ZEROED = 1 << 0,
};

/** A piece of guest memory. Device addresses (IOVA) equal guest physical addresses. */
struct vfm_region {
	char name[VFM_NAME_MAX]; /**< the same on both sides */
	uint64_t gpa;            /**< guest physical address, page aligned */
	uint64_t size;           /**< bytes, a multiple of VFM_PAGE_SIZE, not 0 */
	void *host;              /**< where it is mapped, readable and writable, page aligned */
	uint32_t flags;          /**< enum vfm_region_flags */
};

/** A growing byte string that the library owns. */
struct vfm_buffer;

/** Append @size bytes. ENOMEM, or EFBIG past VFM_VM_STATE_MAX. */
int vfm_buffer_append(struct vfm_buffer *buffer, const void *data, size_t size);

/**
 * The VMM's part. Every call comes on the session's steering thread, one at a time, with the
 * @opaque that was registered. Each returns 0 or a negative errno; a failure ends the migration
 * and, on the source, the guest runs on. Calls marked optional may be NULL.
 */
struct vfm_vm_ops {
	size_t size; /**< sizeof(struct vfm_vm_ops) */

	/** Stop every vCPU. After return no vCPU stores to memory or touches a device. */
	int (*stop)(void *opaque);

	/** Start the vCPUs: on the source after a failure, on the destination at the end. */
	int (*run)(void *opaque);

	/** Start and stop tracking the stores of vCPUs (source). After dirty_start every store is
	 *  seen by a later dirty_sync. */
	int (*dirty_start)(void *opaque);
	int (*dirty_stop)(void *opaque);

	/**
	 * OR into @bitmap the pages of region number @region (its place in the array given to the
	 * session) that were stored to since the last call, and forget them. Bit i of the
	 * little-endian bit string is page i of the region. On an error all pages count as dirty and
	 * the migration goes on.
	 */
	int (*dirty_sync)(void *opaque, unsigned region, uint64_t *bitmap);

	/** Write the VMM's own state (vCPUs, clock, interrupt controllers, device front ends), with
	 *  the vCPUs stopped (source). */
	int (*save)(void *opaque, struct vfm_buffer *out);

	/** Read it back (destination). The bytes come from the peer: check them. */
	int (*load)(void *opaque, const void *data, size_t size);

	/**
	 * Optional. Look at the stopped and complete VM: on the source when the VM has been given
	 * away, on the destination before it says that it is prepared. Its time is measured and
	 * taken out of the downtime. For tests and for the careful.
	 */
	int (*inspect)(void *opaque);

	/**
	 * Optional. Called once on the destination, at the point from which on this side owns the
	 * VM, before run(). A VMM that keeps a record of who owns the VM writes it here.
	 */
	void (*owned)(void *opaque);
};

#ifdef __cplusplus
}
#endif
#endif
