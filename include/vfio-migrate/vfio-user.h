/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * A complete vfio-user client: everything that a VMM needs to use a device in another process,
 * and what migration needs on top. For one message of its own kind see vfio-user-protocol.h.
 *
 * Threads: every function may be called from any number of threads at the same time, except
 * vfm_vfio_user_free. One thread of the client reads the socket; it alone calls the callbacks.
 *
 * Errors: 0 or a count, or a negative errno. Common to all functions that talk to the server, and
 * not named again below:
 *	ENOTCONN   the server is lost: it closed, died, or broke the protocol. For good.
 *	ETIMEDOUT  no answer in time. The connection lives; the answer is thrown away if it comes.
 *	ECANCELED  vfm_vfio_user_cancel woke the call, which then has an unknown outcome
 *	ENOMEM
 *	others     the server's own errno; EIO where it told none
 *
 * What migration data costs MMIO: both share the socket, and a server answers in order. One data
 * request is under way at a time, and moves at most data_chunk bytes, so an access to a region
 * waits for one such transfer at most: the time the device needs to make or take data_chunk bytes,
 * and to copy them through a socket once in, once out (256 KiB: some tenths of a millisecond).
 * A smaller chunk makes the wait shorter and the transfer slower.
 */
#ifndef VFIO_MIGRATE_VFIO_USER_H
#define VFIO_MIGRATE_VFIO_USER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <vfio-migrate/log.h>
#include <vfio-migrate/thread.h>
#include <vfio-migrate/vfio-user-protocol.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One connection to one device. */
struct vfm_vfio_user;

#define VFM_VFIO_USER_CHUNK_DEFAULT      (256u << 10) /**< bytes of one data request */
#define VFM_VFIO_USER_CHUNK_MIN          4096u        /**< a smaller data_chunk is EINVAL */
#define VFM_VFIO_USER_TIMEOUT_DEFAULT    5000u        /**< ms, requests */
#define VFM_VFIO_USER_TRANSITION_DEFAULT 60000u       /**< ms, transitions, data, reset */
#define VFM_VFIO_USER_WHY_MAX            256          /**< bytes of a reason with its NUL */

/** How the client behaves. Zero bytes mean the default of each member. */
struct vfm_vfio_user_options {
	size_t size; /**< sizeof(struct vfm_vfio_user_options) */

	/** Most bytes in one transfer that we announce and use; the server may want less. Default
	 *  1 MiB; VFM_VFIO_USER_XFER_MIN to VFM_VFIO_USER_XFER_LIMIT. */
	uint32_t max_data_xfer;
	/** Most bytes of one migration data request; see above. Default 256 KiB. */
	uint32_t data_chunk;
	/** ms that a server may take to answer, and to take or give one whole message. Default
	 *  5000. */
	uint32_t request_timeout_ms;
	/** ms for an answer to a state transition, a migration data request or a reset. Default
	 *  60000. */
	uint32_t transition_timeout_ms;
	/** enum vfm_vfio_user_ext members that are not offered to the server. Default none. */
	uint32_t ext_off;

	/** How the client's thread is made; copied. NULL: by the library. */
	const struct vfm_thread_hooks *threads;

	void *opaque; /**< first argument of the callbacks below */

	/** Log lines; may come on the client's thread. */
	vfm_log_fn *log;

	/**
	 * The server reads or writes guest memory through the socket: [iova, iova + len) is inside
	 * one mapping that allows it, and @len is at most max_data_xfer. Return 0 or a negative
	 * errno, which the server is told. On the client's thread: be quick, and call nothing of this
	 * client. NULL: the server is told EOPNOTSUPP.
	 */
	int (*dma_read)(void *opaque, uint64_t iova, void *buf, size_t len);
	int (*dma_write)(void *opaque, uint64_t iova, const void *buf, size_t len);

	/** The server is lost, and why; once at most, and not for vfm_vfio_user_shutdown. On the
	 *  client's thread; it may call vfm_vfio_user_lost, nothing else of this client. */
	void (*lost)(void *opaque, const char *why);
};

/* ---- connection ---- */

/**
 * Make a client of the connected stream socket @fd: exchange versions. @options may be NULL. The
 * client owns @fd on success only. @why (may be NULL): the reason of a failure as one line.
 * EINVAL: options; EPROTONOSUPPORT: the server's version; EPROTO: it answered nonsense.
 */
int vfm_vfio_user_new(int fd, const struct vfm_vfio_user_options *options,
		      struct vfm_vfio_user **client, char *why, size_t why_size);

/** The same for the server that listens at the unix socket @path. Also the errnos of connect(2),
 *  ENAMETOOLONG. */
int vfm_vfio_user_connect_path(const char *path, const struct vfm_vfio_user_options *options,
			       struct vfm_vfio_user **client, char *why, size_t why_size);

/** 1: the server is lost, and @why (may be NULL) tells the reason in one line; 0: it is not. */
int vfm_vfio_user_lost(struct vfm_vfio_user *client, char *why, size_t size);

/** Wake what waits in feature (state, logging, sizes), migration data or reset requests: it fails
 *  with ECANCELED soon (the message being received is finished first). Region access, mapping and
 *  interrupts go on. Later calls are as if nothing had been. */
void vfm_vfio_user_cancel(struct vfm_vfio_user *client);

/** End the connection: every call under way and every later one fails with ENOTCONN. */
void vfm_vfio_user_shutdown(struct vfm_vfio_user *client);

/** Shut down, wait for the client's thread and free. Nobody may be inside a call, and it may not
 *  be called from a callback. NULL is fine. */
void vfm_vfio_user_free(struct vfm_vfio_user *client);

/** What both ends agreed on. */
struct vfm_vfio_user_agreed {
	size_t size;            /**< sizeof(struct vfm_vfio_user_agreed), set by the caller */
	uint16_t major;         /**< protocol version */
	uint16_t minor;
	uint32_t max_data_xfer; /**< bytes of one transfer: the smaller of both sides' limits */
	uint32_t data_chunk;    /**< bytes of one migration data request */
	uint32_t max_msg_fds;   /**< fds that the server takes in one message */
	uint32_t max_dma_maps;  /**< mappings that it takes */
	uint32_t write_multi;   /**< 1: it takes several region writes in one message */
	uint64_t pgsizes;       /**< page sizes of mappings, or'ed */
	uint32_t ext;           /**< enum vfm_vfio_user_ext in use */
};

/** EINVAL: agreed->size is no version of the struct. Never waits. */
int vfm_vfio_user_get_agreed(struct vfm_vfio_user *client, struct vfm_vfio_user_agreed *agreed);

/* ---- device, regions, interrupts ---- */

struct vfm_vfio_user_device {
	size_t size;          /**< sizeof(struct vfm_vfio_user_device), set by the caller */
	uint32_t flags;       /**< enum vfm_device_flags */
	uint32_t num_regions; /**< highest index + 1, at most VFM_VFIO_USER_REGIONS_MAX */
	uint32_t num_irqs;    /**< highest index + 1, at most VFM_VFIO_USER_IRQS_MAX */
};

int vfm_vfio_user_get_device(struct vfm_vfio_user *client, struct vfm_vfio_user_device *device);

struct vfm_vfio_user_region {
	size_t size;         /**< sizeof(struct vfm_vfio_user_region), set by the caller */
	uint32_t index;
	uint32_t flags;      /**< enum vfm_region_info_flags */
	uint64_t bytes;      /**< size of the region; 0: not there */
	uint64_t offset;     /**< what to add in mmap() of fds[0] */
	uint32_t type;       /**< of a device-specific region; 0: not told */
	uint32_t subtype;
	int msix_mappable;   /**< 1: the pages of the MSI-X table may be mapped too */
	int has_sparse;      /**< 1: only the areas below may be mapped */
	uint32_t area_count;
	struct vfm_region_sparse_area *areas; /**< inside the region; offsets from its start */
	uint32_t fd_count;   /**< fds that came along; 0: cannot be mapped */
	int fds[VFM_VFIO_USER_FDS_LIMIT];
};

/** Ask for a region; give what it returned back with vfm_vfio_user_region_clear. EINVAL: index, or
 *  region->size is no version of the struct. */
int vfm_vfio_user_get_region(struct vfm_vfio_user *client, uint32_t index,
			     struct vfm_vfio_user_region *region);

/** Free the areas and close the fds that are still there (an fd that was taken is set to -1). */
void vfm_vfio_user_region_clear(struct vfm_vfio_user_region *region);

/** The sub-regions of a region that are served through eventfds or ioregionfds. */
struct vfm_vfio_user_io_fds {
	size_t size;      /**< sizeof(struct vfm_vfio_user_io_fds), set by the caller */
	uint32_t count;
	struct vfm_vfio_user_io_fd *entries; /**< fd_index is below fd_count */
	uint32_t fd_count;
	int fds[VFM_VFIO_USER_FDS_LIMIT];
};

/** Whether the sub-regions are inside the region is for the caller to check. */
int vfm_vfio_user_get_io_fds(struct vfm_vfio_user *client, uint32_t index,
			     struct vfm_vfio_user_io_fds *io_fds);
void vfm_vfio_user_io_fds_clear(struct vfm_vfio_user_io_fds *io_fds);

/** @flags: enum vfm_irq_info_flags; @count: interrupts of that index. */
int vfm_vfio_user_get_irq(struct vfm_vfio_user *client, uint32_t index, uint32_t *flags,
			  uint32_t *count);

/**
 * Mask, unmask or trigger. @flags: one ACTION and DATA_NONE or DATA_BOOL; @bools: @count bytes with
 * DATA_BOOL, else NULL. DATA_NONE, ACTION_TRIGGER, 0, 0: disable the index. EINVAL: arguments.
 */
int vfm_vfio_user_set_irqs(struct vfm_vfio_user *client, uint32_t index, uint32_t flags,
			   uint32_t start, uint32_t count, const uint8_t *bools);

/**
 * Connect @count eventfds from interrupt @start on; -1 disconnects one, @fds NULL all of them. They
 * stay the caller's. @action: VFM_IRQ_SET_ACTION_TRIGGER, or MASK, UNMASK to be told of those.
 * Sent in several messages where the server takes fewer fds in one; a failure may leave some
 * connected.
 */
int vfm_vfio_user_set_irq_fds(struct vfm_vfio_user *client, uint32_t index, uint32_t action,
			      uint32_t start, uint32_t count, const int *fds);

/** Read or write a region, in several requests above max_data_xfer; accesses of up to 8 bytes are
 *  always one. A failure in the middle leaves the earlier part done. */
int vfm_vfio_user_region_read(struct vfm_vfio_user *client, uint32_t region, uint64_t offset,
			      void *buf, size_t len);
int vfm_vfio_user_region_write(struct vfm_vfio_user *client, uint32_t region, uint64_t offset,
			       const void *buf, size_t len);

/** Do several small writes in order, in one message where the server can. EINVAL: a count that is
 *  not 1 to 8. EIO: the server stopped early. */
int vfm_vfio_user_region_write_multi(struct vfm_vfio_user *client,
				     const struct vfm_vfio_user_write_one *writes, unsigned count);

/** Reset the device: RUNNING with initial contents. Servers may refuse it (EINVAL) in STOP and
 *  STOP_COPY; a device of vfm_device_new_vfio_user knows a way round. */
int vfm_vfio_user_reset(struct vfm_vfio_user *client);

/* ---- guest memory ---- */

/**
 * Let the device use [iova, iova + size). @flags: VFM_VFIO_USER_DMA_*. @fd and @offset: where the
 * server may map it; -1 and 0: not at all, it then asks through dma_read and dma_write. @fd stays
 * the caller's. EINVAL: empty, or wraps; EEXIST: overlaps a mapping; ENOSPC: too many.
 */
int vfm_vfio_user_dma_map(struct vfm_vfio_user *client, uint64_t iova, uint64_t size,
			  uint32_t flags, int fd, uint64_t offset);

/** Take back exactly one mapping; after return the device does not touch it. ENOENT: there is
 *  none. Where the server refuses, the mapping stays. */
int vfm_vfio_user_dma_unmap(struct vfm_vfio_user *client, uint64_t iova, uint64_t size);

/* ---- features and migration ---- */

/**
 * One DEVICE_FEATURE request. @flags: index and VFM_FEATURE_GET, SET or PROBE. @in: payload of the
 * request, at most VFM_VFIO_USER_FIXED_MAX bytes. @out: where the reply's payload goes, at most
 * @out_max bytes, apart from @in; @out_len (may be NULL): how many it was. EINVAL or ENOTTY: not
 * supported.
 */
int vfm_vfio_user_feature(struct vfm_vfio_user *client, uint32_t flags, const void *in,
			  size_t in_len, void *out, size_t out_max, size_t *out_len);

/** 1: supported, 0: not. @flags: index and VFM_FEATURE_GET, SET or both. */
int vfm_vfio_user_feature_probe(struct vfm_vfio_user *client, uint32_t flags);

/** enum vfm_mig_flags; 0 where the server cannot migrate. P2P is left out unless the extension has
 *  it, since the protocol alone does not use those states. */
int vfm_vfio_user_get_mig_flags(struct vfm_vfio_user *client, uint32_t *flags);

/** The state now. EPROTO: the server named a state that does not exist. */
int vfm_vfio_user_get_mig_state(struct vfm_vfio_user *client, enum vfm_state *state);

/** Bring the device to @state; returns when it is there. After a failure: get the state. */
int vfm_vfio_user_set_mig_state(struct vfm_vfio_user *client, enum vfm_state state);

/**
 * Up to @len bytes, and no more than data_chunk, of the saving session into @buf, received in
 * place. 0: nothing now in PRE_COPY, the end in STOP_COPY; fewer than @len bytes say nothing.
 * EBUSY: another data request is under way.
 */
ssize_t vfm_vfio_user_mig_data_read(struct vfm_vfio_user *client, void *buf, size_t len);

/** All of @len bytes into the loading session, data_chunk bytes at a time, sent in place. EBUSY:
 *  another data request is under way. */
int vfm_vfio_user_mig_data_write(struct vfm_vfio_user *client, const void *buf, size_t len);

/** Bytes that STOP_COPY would give, VFM_SIZE_UNKNOWN (device.h) without the extension. A size
 *  above INT64_MAX is an error that the device disguised: EIO. */
int vfm_vfio_user_get_data_size(struct vfm_vfio_user *client, uint64_t *size);

/** What PRE_COPY has to say; the flags are 0 without a successful opt-in. EOPNOTSUPP: not without
 *  the extension. EINVAL: the device is in no PRE_COPY state. */
int vfm_vfio_user_get_precopy_info(struct vfm_vfio_user *client, struct vfm_precopy_info *info);

/** Opt in to the flags of precopy info. EOPNOTSUPP without the extension; EINVAL, ENOTTY. */
int vfm_vfio_user_optin_precopy_info(struct vfm_vfio_user *client);

/** Start logging the device's writes. @page_size: wanted, then what the server took. @count 0: all
 *  of memory. Servers may ignore the ranges and log everything. EINVAL: above
 *  VFM_VFIO_USER_LOG_RANGES_MAX. */
int vfm_vfio_user_log_start(struct vfm_vfio_user *client,
			    const struct vfm_vfio_user_logging_range *ranges, unsigned count,
			    uint64_t *page_size);
int vfm_vfio_user_log_stop(struct vfm_vfio_user *client);

/**
 * Take the log of [iova, iova + size): bit i of @bitmap = page i from @iova on, of @page_size
 * bytes, OR-ed. Asked for mapping by mapping, since servers refuse other ranges; what is not mapped
 * cannot have been written. On any error all of it counts as dirty. EINVAL: @page_size is no power
 * of two, the range is not made of whole pages, or a mapping does not begin and end at one.
 */
int vfm_vfio_user_log_report(struct vfm_vfio_user *client, uint64_t iova, uint64_t size,
			     uint64_t page_size, uint64_t *bitmap);

#ifdef __cplusplus
}
#endif
#endif
