/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * Device migration states: the numbers and words of the kernel's VFIO migration protocol v2 with
 * its P2P and PRE_COPY extensions (linux/vfio.h, enum vfio_device_mig_state). vfio-user uses the
 * same numbers.
 */
#ifndef VFIO_MIGRATE_STATE_H
#define VFIO_MIGRATE_STATE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What each state means for the device, and what the holder of the device may do in it:
 *
 *                  runs  does P2P  new data   logs dirty   data session
 *   ERROR           ?       ?         ?           ?        none; only a reset leads out
 *   STOP            no      no        no          yes      none
 *   RUNNING         yes     yes       yes         yes      none
 *   STOP_COPY       no      no        no          yes      saving, to its end
 *   RESUMING        no      no        no          no       loading; left only after all was written
 *   RUNNING_P2P     yes     no        yes         yes      none
 *   PRE_COPY        yes     yes       yes         yes      saving, never to its end
 *   PRE_COPY_P2P    yes     no        yes         yes      saving, never to its end
 */
enum vfm_state {
	VFM_STATE_ERROR = 0,
	VFM_STATE_STOP = 1,
	VFM_STATE_RUNNING = 2,
	VFM_STATE_STOP_COPY = 3,
	VFM_STATE_RESUMING = 4,
	VFM_STATE_RUNNING_P2P = 5,
	VFM_STATE_PRE_COPY = 6,
	VFM_STATE_PRE_COPY_P2P = 7,
	VFM_STATE_COUNT = 8,
};

/** Capability bits of a device, as VFIO_DEVICE_FEATURE_MIGRATION reports them. */
enum vfm_mig_flags {
	VFM_MIG_STOP_COPY = 1 << 0, /**< STOP_COPY and RESUMING: the least a device must have */
	VFM_MIG_P2P = 1 << 1,       /**< RUNNING_P2P, and PRE_COPY_P2P where PRE_COPY is set too */
	VFM_MIG_PRE_COPY = 1 << 2,  /**< PRE_COPY */
};

/** The state's name as the uAPI spells it ("PRE_COPY_P2P"), "invalid" for other numbers. */
const char *vfm_state_name(enum vfm_state state);

#ifdef __cplusplus
}
#endif
#endif
