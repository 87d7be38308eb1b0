/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A migratable device, whatever is behind it. A back end makes one (vfio.h, vfio-user.h); a source
 * or a destination session uses it.
 *
 * Ownership: a session borrows its devices; free them after the session. Threads: a device that
 * is part of a running session belongs to it; between sessions one thread at a time may call.
 */
#ifndef VFIO_MIGRATE_DEVICE_H
#define VFIO_MIGRATE_DEVICE_H

#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/error.h>
#include <vfio-migrate/state.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vfm_device;
struct vfm_vfio_user;

/** What an unknown size looks like. It is never zero. */
#define VFM_SIZE_UNKNOWN UINT64_MAX

/** Who tells which memory a device wrote to. */
enum vfm_tracker {
	VFM_TRACKER_NONE,      /**< nobody: all memory counts as dirty */
	VFM_TRACKER_DEVICE,    /**< the device itself */
	VFM_TRACKER_IOMMUFD,   /**< the IOMMU, through its page table */
	VFM_TRACKER_CONTAINER, /**< the IOMMU, through a type 1 container */
	VFM_TRACKER_COUNT,
};

/** The tracker's name: "none", "device", "iommufd", "container"; "invalid" for other numbers. */
const char *vfm_tracker_name(enum vfm_tracker tracker);

/** What a device is and can do, as read when it was made. */
struct vfm_device_info {
	size_t size;                /**< sizeof(struct vfm_device_info), set by the caller */
	char name[VFM_NAME_MAX];    /**< the VMM's name for it, the same on both sides */
	const char *backend;        /**< "vfio", "vfio-user"; static */
	uint32_t mig_flags;         /**< enum vfm_mig_flags; 0: cannot migrate */
	uint16_t pci_vendor;        /**< PCI identity; 0xffff where unknown */
	uint16_t pci_device;
	uint16_t pci_subsystem_vendor;
	uint16_t pci_subsystem;
	int has_dma_logging;        /**< 1: tracks its own writes to memory */
	int has_data_size;          /**< 1: can tell its stop-copy size */
	int has_precopy_info;       /**< 1: can tell initial and dirty bytes in PRE_COPY */
	int has_reinit;             /**< 1: opted in to PRECOPY_INFOv2, so REINIT can be told */
	enum vfm_tracker tracker;   /**< the best that there seems to be. What seemed to be there may
					 be refused at the start of a migration: from then on the
					 one that is in use */
};

/**
 * Make a device of a connected vfio-user client. Reads features and state from the server.
 * @client is borrowed and must outlive the device. @name: 1 to VFM_NAME_MAX-1 bytes, copied.
 * Errors: EINVAL (name), ENOTCONN (server lost), ETIMEDOUT, ENOMEM. A server without migration
 * support still gives a device, with mig_flags 0: the session names it as a blocker.
 */
int vfm_device_new_vfio_user(struct vfm_vfio_user *client, const char *name,
			     struct vfm_device **device);

/** Fill @info as far as info->size reaches. EINVAL: info->size is no version of the struct. */
int vfm_device_get_info(struct vfm_device *device, struct vfm_device_info *info);

/** Ask the device for its present state. */
int vfm_device_get_state(struct vfm_device *device, enum vfm_state *state);

/** The bytes that a saving session begun now would give, VFM_SIZE_UNKNOWN where it cannot tell: an
 *  estimate that can grow, never a limit. For some drivers it is a round trip to the hardware. */
int vfm_device_get_stop_copy_size(struct vfm_device *device, uint64_t *bytes);

/**
 * Bring the device to @target on the shortest allowed path. On failure: the device's own recover
 * state is tried, then a reset, and @error (may be NULL) tells which arc failed with what errno.
 */
int vfm_device_set_state(struct vfm_device *device, enum vfm_state target,
			 struct vfm_error *error);

/** Reset the device: it is RUNNING after that, with its initial contents. */
int vfm_device_reset(struct vfm_device *device);

/** Free the device; its state stays what it is. NULL is fine. */
void vfm_device_free(struct vfm_device *device);

#ifdef __cplusplus
}
#endif
#endif
