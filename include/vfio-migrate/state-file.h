/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * One device's state in a file: saved by stop-copy, without a VM or a peer, and restored into a
 * device that fits. docs/state-file.md has the bytes.
 *
 * A file carries the identity of the device that it was saved from, and digests of all that is in
 * it. Restoring reads all of it before the device is touched, so that a file that was cut, altered
 * or saved from another kind of device changes nothing.
 *
 * Threads: one thread at a time per device. The work is done on a thread of the library, with every
 * signal blocked, while the caller waits for it.
 */
#ifndef VFIO_MIGRATE_STATE_FILE_H
#define VFIO_MIGRATE_STATE_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <vfio-migrate/identity.h>
#include <vfio-migrate/thread.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFM_STATE_FILE_MAX (UINT64_C(1) << 40) /**< bytes of device data in a file */

/** What a file has. */
struct vfm_state_file {
	size_t size;                  /**< sizeof(struct vfm_state_file), set by the caller */
	struct vfm_identity identity; /**< of the device that it was saved from */
	uint64_t bytes;               /**< of device data */
	uint64_t file_bytes;          /**< of the file, from where it began */
};

/**
 * Read @fd from where it stands to its end, and check all of it. It may be a pipe, which is then
 * empty. @why (may be NULL): the reason of a failure as one line. EINVAL: no file of this kind;
 * EPROTONOSUPPORT: of a version that is not known; EBADMSG: cut or altered; errnos of read(2).
 */
int vfm_state_file_check(int fd, struct vfm_state_file *file, char *why, size_t why_size);

struct vfm_state_options {
	size_t size;   /**< sizeof(struct vfm_state_options) */
	void *opaque;  /**< first argument of the callback */
	/** How far it is: bytes of device data, @total VFM_SIZE_UNKNOWN where that is not known; a
	 *  restore is at 0 bytes of VFM_SIZE_UNKNOWN while the file is checked. On the library's
	 *  thread. Anything but 0 ends it with ECANCELED. May be NULL. */
	int (*progress)(void *opaque, uint64_t bytes, uint64_t total);
	/** Asked about every 100 ms on the caller's thread, which waits: it comes also while the
	 *  library's thread sleeps, for the device or for a pipe that nobody reads. Anything but 0
	 *  ends it with ECANCELED; it is asked on. May be NULL. */
	int (*cancelled)(void *opaque);
	int stay_stopped; /**< 1: a restored device stays in STOP. Default: RUNNING */
	/** How the thread is made; copied. NULL: by the library. */
	const struct vfm_thread_hooks *threads;
};

/** What became of the device. */
enum vfm_device_end {
	VFM_DEVICE_UNTOUCHED, /**< it was not touched, or is as it was before */
	VFM_DEVICE_RESTORED,  /**< it has the state of the file */
	VFM_DEVICE_RESET,     /**< it had to be reset: RUNNING with initial contents */
	VFM_DEVICE_LOST,      /**< that failed, too: its state is not known */
	/* The file is whole and may be the only copy: keep it. The way back failed. */
	VFM_DEVICE_SAVED_RESET, /**< saved, but it had to be reset then */
	VFM_DEVICE_SAVED_LOST,  /**< saved, but the reset failed, too */
};

/**
 * Save @device's state to @fd, a file or a pipe, from where it stands. The device goes to STOP_COPY
 * and then back to what it was; a saving session that somebody left in it is ended. @identity: of
 * the device, NULL: what vfm_identity_init says. @options and @error may be NULL. After a failure
 * @fd holds no whole file, unless @end is one of VFM_DEVICE_SAVED_*. Also EBUSY: it is in RESUMING
 * or ERROR, which a reset ends; EOPNOTSUPP: it cannot migrate; EFBIG: past VFM_STATE_FILE_MAX;
 * errnos of write(2).
 */
int vfm_state_save(struct vfm_device *device, const struct vfm_identity *identity, int fd,
		   const struct vfm_state_options *options, enum vfm_device_end *end,
		   struct vfm_error *error);

/**
 * Restore @device from @fd, from where it stands: a regular file or the like, read twice, first to
 * check it, and its identity against @identity (NULL: what vfm_identity_init says). What cannot be
 * read twice is ESPIPE. Then the device goes to RESUMING, through a reset unless it is in RUNNING
 * or STOP, and at last to RUNNING. After a failure it is reset. Errors as for vfm_state_file_check,
 * and EINVAL: the file is another device's.
 */
int vfm_state_restore(struct vfm_device *device, const struct vfm_identity *identity, int fd,
		      const struct vfm_state_options *options, enum vfm_device_end *end,
		      struct vfm_error *error);

#ifdef __cplusplus
}
#endif
#endif
