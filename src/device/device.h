/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * device: one device behind one ops table.
 *
 *	engine ──> device_*() ──> struct device_ops ──> vfio-user.c | vfio-migration.c | test double
 *
 * The functions here hold what is common: they check each arc against the fsm before the back end
 * sees it, trace it, read the state back after a failure, and recover. The ops hold what differs.
 *
 * Threads: all ops of one device are called from one thread at a time (the device's worker, or
 * the steering thread while the worker is idle); different devices run in parallel.
 */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H

#include <stdbool.h>
#include <sys/types.h>
#include <vfio-migrate/device.h>

/* What PRE_COPY has to say. Sizes are estimates in bytes, VFM_SIZE_UNKNOWN where not told. */
struct device_precopy {
	uint64_t initial_bytes;
	uint64_t dirty_bytes;
	bool reinit; /* new initial bytes; only ever set after the opt-in succeeded */
};

/* A range of IOVA, in bytes, page aligned. */
struct device_range {
	uint64_t iova;
	uint64_t size;
};

/* How a transition went: for the timeline. */
struct device_arc {
	enum vfm_state from;
	enum vfm_state to;
	uint64_t start_ns; /* CLOCK_MONOTONIC */
	uint64_t end_ns;
	int result;        /* 0 or -errno */
};

/*
 * All ops return 0 or -errno. A missing op is NULL where "may be NULL" is said.
 */
struct device_ops {
	const char *backend;

	int (*get_state)(struct vfm_device *dev, enum vfm_state *state);

	/* One arc as the fsm's table has it, or a path that the device walks by itself: the caller
	 * has checked that it is allowed. Opens and ends the data session as a side effect. */
	int (*set_state)(struct vfm_device *dev, enum vfm_state state);

	/* RUNNING with initial contents afterwards. */
	int (*reset)(struct vfm_device *dev);

	/*
	 * Up to @len bytes of the saving session. Returns bytes, or 0: nothing now in a PRE_COPY
	 * state, the end of the data in STOP_COPY (the back end has folded ENOMSG and padding into
	 * this), or -EAGAIN: ask again after wait(), or another -errno: the session is dead.
	 */
	ssize_t (*read)(struct vfm_device *dev, void *buf, size_t len);

	/* All of @len bytes into the loading session. 0, or -errno: the session is dead, whatever a
	 * later arc would say. */
	int (*write)(struct vfm_device *dev, const void *buf, size_t len);

	/* Sleep until read() may have something, at most @timeout_ms. May be NULL: sleep by timer. */
	int (*wait)(struct vfm_device *dev, int timeout_ms);

	/* Only in PRE_COPY and PRE_COPY_P2P. May trigger the next save. May be NULL: unknown. */
	int (*precopy_info)(struct vfm_device *dev, struct device_precopy *info);

	/* The bytes that STOP_COPY would give. May be NULL: unknown. */
	int (*stop_copy_size)(struct vfm_device *dev, uint64_t *size);

	/*
	 * Tracking of the device's writes, by whoever can. All three NULL: nobody.
	 *
	 * In: @page_size wanted; out: what the tracker took. What the device wrote before this
	 * returned is the caller's to count as dirty. dev->info.tracker says who tracks now, and
	 * dev->log_refusal why it is not the one that it was to be.
	 */
	int (*log_start)(struct vfm_device *dev, const struct device_range *ranges, unsigned count,
			 uint64_t *page_size);
	int (*log_stop)(struct vfm_device *dev);
	/* OR into @bitmap, bit i = page i of the range of @page_size pages, and clear the device's
	 * own log. On any error all pages of the range count as dirty; the caller sees to it. */
	int (*log_report)(struct vfm_device *dev, uint64_t iova, uint64_t size, uint64_t page_size,
			  uint64_t *bitmap);

	/* Wake a thread that is inside read, write, wait or an arc: it fails with -ECANCELED soon.
	 * Any thread. May be NULL. The device is then fit for get_state, set_state and reset only. */
	void (*cancel)(struct vfm_device *dev);

	void (*destroy)(struct vfm_device *dev);
};

/* The common part; a back end embeds it as its first member. */
struct vfm_device {
	const struct device_ops *ops;
	struct vfm_device_info info;
	enum vfm_state state; /* as last seen; written by device.c alone */
	int log_refusal;      /* -errno with which a tracker before the present one refused, 0: none */
};

/* Called by back ends: fill the common part and read the first state. */
int device_init(struct vfm_device *dev, const struct device_ops *ops, const char *name);

/* Where finished transitions go; called on the thread that made them. */
typedef void device_arc_fn(void *opaque, const struct device_arc *arc);

/*
 * Walk to @target along the fsm's path, arc by arc, so that each is timed. Stops at the first arc
 * that fails, with the error's device, arc and errno filled; the device's state is then read back
 * but nothing is recovered. 0, or -errno: -EINVAL no such path, else the device's answer.
 */
int device_transition(struct vfm_device *dev, enum vfm_state target, device_arc_fn *done,
		      void *opaque, struct vfm_error *error);

/*
 * After a failure: bring the device to @target if it can be done, else reset it. Returns 0 when
 * it is in @target, 1 when it had to be reset for that, -errno when neither worked. With
 * VFM_STATE_ERROR as @target (fsm_recover_state's "nowhere") it is reset and stays RUNNING. A
 * device found in RESUMING is always reset first.
 */
int device_recover(struct vfm_device *dev, enum vfm_state target, device_arc_fn *done,
		   void *opaque);

static inline bool device_can(const struct vfm_device *dev, uint32_t flags)
{
	return (dev->info.mig_flags & flags) == flags;
}

/* Is there a tracker to try? One that refused once may have changed its mind. */
static inline bool device_has_log(const struct vfm_device *dev)
{
	return dev->ops->log_report &&
	       (dev->info.tracker != VFM_TRACKER_NONE || dev->log_refusal);
}

#endif
