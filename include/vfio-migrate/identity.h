/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * What a device is, as far as it decides whether its state fits another one. Sessions compare it
 * before anything moves, a saved state carries it (state-file.h), people can compare in advance.
 */
#ifndef VFIO_MIGRATE_IDENTITY_H
#define VFIO_MIGRATE_IDENTITY_H

#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFM_BACKEND_MAX 16 /**< longest back end's name, with its NUL */
#define VFM_BARS        6u /**< BARs of a PCI device */

/** Members that are not known do not count in a comparison. */
struct vfm_identity {
	size_t size;                   /**< sizeof(struct vfm_identity), set by the caller */
	char name[VFM_NAME_MAX];       /**< what it is called; never compared */
	char backend[VFM_BACKEND_MAX]; /**< "vfio-user", ... */
	char driver[VFM_NAME_MAX];     /**< the kernel's driver of it, "": not known */
	char type[VFM_NAME_MAX];       /**< a mediated device's type, "": none, or not known */
	uint32_t mig_flags;            /**< enum vfm_mig_flags */
	uint16_t pci_vendor;           /**< PCI identity; 0xffff where unknown, which differs from
					*   what is known */
	uint16_t pci_device;
	uint16_t pci_subsystem_vendor;
	uint16_t pci_subsystem;
	uint64_t page_size;            /**< of the smallest mapping that it takes, 0: not known */
	int has_bars;                  /**< 1: the sizes below are known */
	uint64_t bar[VFM_BARS];        /**< bytes, 0: there is none */
};

/** Fill @identity with what @device tells; driver, type, page_size and BARs are left unknown.
 *  EINVAL: identity->size is no version of the struct. */
int vfm_identity_init(struct vfm_identity *identity, struct vfm_device *device);

/**
 * What stands against @to taking the state of @from, as one line per reason, at most @max. Returns
 * how many there are, 0: nothing that can be told in advance. @at_from, @at_to: what the lines call
 * the two ("on the source", "here"). @lines may be NULL with @max 0.
 */
int vfm_identity_compare(const struct vfm_identity *from, const char *at_from,
			 const struct vfm_identity *to, const char *at_to,
			 char (*lines)[VFM_ERROR_TEXT_MAX], unsigned max);

#ifdef __cplusplus
}
#endif
#endif
