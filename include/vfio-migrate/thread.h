/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The library's threads. It makes them itself, with every signal blocked, unless the VMM gives
 * hooks to make them: to name or pin them, or to count them among its own.
 */
#ifndef VFIO_MIGRATE_THREAD_H
#define VFIO_MIGRATE_THREAD_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * How the VMM makes threads. The library copies the table; @opaque must live until the last
 * join has returned. Both calls come on a thread of the session or of the VMM's call into it,
 * several of them possibly at the same time.
 */
struct vfm_thread_hooks {
	size_t size;  /**< sizeof(struct vfm_thread_hooks) */
	void *opaque; /**< first argument of the calls below */

	/**
	 * Start a thread that calls @run(@arg) once and then ends, and store a handle for it in
	 * @thread, NULL being allowed. @name is short (at most 15 bytes), says what the thread
	 * does, and is valid during the call only. Signals: @run blocks every signal before it
	 * does anything else; block them before creation to leave no gap. Returns 0 or a negative
	 * errno; after a failure @run is never called.
	 */
	int (*create)(void *opaque, const char *name, void (*run)(void *arg), void *arg,
		      void **thread);

	/**
	 * Wait until the thread's @run has returned and free the handle; called once for each
	 * successful create, and again only after a failure. Returns 0 or a negative errno, which
	 * means that the thread may still run.
	 */
	int (*join)(void *opaque, void *thread);
};

#ifdef __cplusplus
}
#endif
#endif
