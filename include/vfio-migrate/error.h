/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Errors. Every function of the library returns 0 (or a count) or a negative errno. The first
 * failure of a migration is also recorded once, with the place and the cause, for people.
 */
#ifndef VFIO_MIGRATE_ERROR_H
#define VFIO_MIGRATE_ERROR_H

#include <vfio-migrate/state.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFM_NAME_MAX 64        /**< longest device or region name, with its NUL */
#define VFM_ERROR_TEXT_MAX 512 /**< longest text, with its NUL */

/** The stages of a migration, in their order. See docs/protocol.md. */
enum vfm_stage {
	VFM_STAGE_NONE,     /**< not started */
	VFM_STAGE_HELLO,    /**< versions and features are agreed */
	VFM_STAGE_DESCRIBE, /**< memory and devices are compared */
	VFM_STAGE_SETUP,    /**< tracking on, devices to PRE_COPY and RESUMING */
	VFM_STAGE_PRECOPY,  /**< rounds of memory and device data while the guest runs */
	VFM_STAGE_STOP,     /**< vCPUs stop, devices go to STOP_COPY */
	VFM_STAGE_STOPCOPY, /**< the rest of memory, device state and VMM state */
	VFM_STAGE_PREPARE,  /**< the destination's devices leave RESUMING */
	VFM_STAGE_COMMIT,   /**< the VM is given away and starts on the destination */
	VFM_STAGE_RELEASE,  /**< the source's devices go to STOP */
	VFM_STAGE_DONE,     /**< ended */
	VFM_STAGE_COUNT,
};

/** The stage's name ("pre-copy"). */
const char *vfm_stage_name(enum vfm_stage stage);

/** What went wrong first. Plain data: copy it as you like. */
struct vfm_error {
	int code;                        /**< positive errno; 0: nothing went wrong */
	enum vfm_stage stage;            /**< where the session was */
	int remote;                      /**< 1: the other side found it and told us */
	int has_arc;                     /**< 1: from and to are set */
	enum vfm_state from;             /**< the transition that failed */
	enum vfm_state to;
	char device[VFM_NAME_MAX];       /**< the device's name, "" if no device is to blame */
	char text[VFM_ERROR_TEXT_MAX];   /**< one line for people, without the parts above */
};

#ifdef __cplusplus
}
#endif
#endif
