/* SPDX-License-Identifier: BSD-3-Clause */
/** Log lines. The library prints nothing: it hands lines to a function of the VMM. */
#ifndef VFIO_MIGRATE_LOG_H
#define VFIO_MIGRATE_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

/** How much a line matters. A smaller number matters more. */
enum vfm_log_level {
	VFM_LOG_ERROR, /**< something failed */
	VFM_LOG_WARN,  /**< it goes on, worse than it should */
	VFM_LOG_INFO,  /**< what a person wants to follow */
	VFM_LOG_DEBUG, /**< what a developer wants to follow */
};

/**
 * Take one line. @line has no newline and no control characters and is valid during the call only.
 * A session calls on its steering thread, any other object on the thread that called it.
 * The function must not call back into the object that speaks.
 */
typedef void vfm_log_fn(void *opaque, enum vfm_log_level level, const char *line);

#ifdef __cplusplus
}
#endif
#endif
