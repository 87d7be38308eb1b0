/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The vfio-user protocol: what the bytes on the socket look like. Made from the specification in
 * QEMU's documentation (docs/interop/vfio-user.rst), and from what existing servers do.
 *
 *	 0        2         4                8                12               16
 *	+--------+---------+----------------+----------------+----------------+---------...
 *	| id     | command | size (with     | flags          | error          | payload
 *	|        |         | this header)   | type, E, N     | (replies)      | one struct, then
 *	+--------+---------+----------------+----------------+----------------+ its data
 *
 * A request is answered by a reply with the same id and command; a failed one by a bare header.
 * File descriptors travel as SCM_RIGHTS with the first byte of their message. All integers are in
 * the byte order of the host, as the specification says, so little endian wherever this is used.
 *
 * The layouts are packed: take a field's value, never its address.
 */
#ifndef VFIO_MIGRATE_VFIO_USER_PROTOCOL_H
#define VFIO_MIGRATE_VFIO_USER_PROTOCOL_H

#include <stdint.h>
#include <vfio-migrate/uapi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VFM_VFIO_USER_PACKED __attribute__((packed))

#define VFM_VFIO_USER_MAJOR 0u /**< the protocol version this describes */
#define VFM_VFIO_USER_MINOR 1u

/* ---- limits: of us, or defaults of the specification where a peer tells nothing ---- */

#define VFM_VFIO_USER_XFER_DEFAULT      (1u << 20)  /**< max_data_xfer_size when not told */
#define VFM_VFIO_USER_XFER_MIN          4096u       /**< a smaller max_data_xfer_size is refused */
#define VFM_VFIO_USER_XFER_LIMIT        (16u << 20) /**< the most that we ever announce or use */
#define VFM_VFIO_USER_FDS_DEFAULT       1u          /**< max_msg_fds when not told */
#define VFM_VFIO_USER_FDS_LIMIT         16u         /**< the most that we ever send or accept */
#define VFM_VFIO_USER_DMA_MAPS_DEFAULT  65535u      /**< max_dma_maps when not told */
#define VFM_VFIO_USER_PGSIZES_DEFAULT   4096u       /**< pgsizes when not told */
#define VFM_VFIO_USER_VERSION_DATA_MAX  4096u       /**< bytes of JSON with its NUL */
#define VFM_VFIO_USER_JSON_DEPTH        8           /**< nesting of that JSON */
#define VFM_VFIO_USER_REGIONS_MAX       64u         /**< num_regions of a device */
#define VFM_VFIO_USER_IRQS_MAX          64u         /**< num_irqs (indexes) of a device */
#define VFM_VFIO_USER_IRQ_COUNT_MAX     4096u       /**< interrupts of one index */
#define VFM_VFIO_USER_CAPS_MAX          65536u      /**< bytes of region info with capabilities */
#define VFM_VFIO_USER_IO_FDS_MAX        256u        /**< sub-regions of one region */
#define VFM_VFIO_USER_LOG_RANGES_MAX    4096u       /**< ranges of one DMA_LOGGING_START */
#define VFM_VFIO_USER_WRITE_MULTI_MAX   64u         /**< writes in one REGION_WRITE_MULTI */
/** Bytes of any payload beside the data of a transfer; bounds a message together with it. */
#define VFM_VFIO_USER_FIXED_MAX         (VFM_VFIO_USER_CAPS_MAX + 4096u)

/** Numbers of 14 and from 19 on are not in use. */
enum vfm_vfio_user_command {
	VFM_VFIO_USER_VERSION = 1,                  /**< client to server, the first message */
	VFM_VFIO_USER_DMA_MAP = 2,                  /**< client to server, 0 or 1 fd */
	VFM_VFIO_USER_DMA_UNMAP = 3,                /**< client to server */
	VFM_VFIO_USER_DEVICE_GET_INFO = 4,          /**< client to server */
	VFM_VFIO_USER_DEVICE_GET_REGION_INFO = 5,   /**< client to server, fds in the reply */
	VFM_VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6, /**< client to server, fds in the reply */
	VFM_VFIO_USER_DEVICE_GET_IRQ_INFO = 7,      /**< client to server */
	VFM_VFIO_USER_DEVICE_SET_IRQS = 8,          /**< client to server, eventfds */
	VFM_VFIO_USER_REGION_READ = 9,              /**< client to server */
	VFM_VFIO_USER_REGION_WRITE = 10,            /**< client to server */
	VFM_VFIO_USER_DMA_READ = 11,                /**< server to client */
	VFM_VFIO_USER_DMA_WRITE = 12,               /**< server to client */
	VFM_VFIO_USER_DEVICE_RESET = 13,            /**< client to server, no payload either way */
	VFM_VFIO_USER_REGION_WRITE_MULTI = 15,      /**< client to server, if write_multiple */
	VFM_VFIO_USER_DEVICE_FEATURE = 16,          /**< client to server */
	VFM_VFIO_USER_MIG_DATA_READ = 17,           /**< client to server */
	VFM_VFIO_USER_MIG_DATA_WRITE = 18,          /**< client to server */
};

/** Before every message. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_header {
	uint16_t id;      /**< chosen by whoever asks, echoed in the reply */
	uint16_t command; /**< enum vfm_vfio_user_command, echoed in the reply */
	uint32_t size;    /**< bytes of the message, this header included */
	uint32_t flags;   /**< VFM_VFIO_USER_TYPE_* and the bits below */
	uint32_t error;   /**< positive errno in a reply with VFM_VFIO_USER_FLAG_ERROR; may be 0 */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_header, 16);

#define VFM_VFIO_USER_TYPE_MASK     0xfu      /**< the bits of the message type */
#define VFM_VFIO_USER_TYPE_REQUEST  0u
#define VFM_VFIO_USER_TYPE_REPLY    1u
#define VFM_VFIO_USER_FLAG_NO_REPLY (1u << 4) /**< in a request: do not answer */
#define VFM_VFIO_USER_FLAG_ERROR    (1u << 5) /**< in a reply: it failed, no payload */

/** VERSION, both ways. A NUL-terminated JSON text may follow; see below. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_version {
	uint16_t major; /**< the reply's equals the request's */
	uint16_t minor; /**< the reply's is at most the request's */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_version, 4);

/*
 * {"capabilities": {
 *	"max_msg_fds": 16,              fds that the sender can receive in one message
 *	"max_data_xfer_size": 1048576,  bytes of data that the sender can take in one transfer
 *	"max_dma_maps": 65535,          mappings at the same time
 *	"pgsizes": 4096,                page sizes of mappings, or'ed
 *	"write_multiple": true,         REGION_WRITE_MULTI is understood
 *	"vfio_migrate": {               our extension: a server answers it only if it was offered
 *		"version": 1,           of the extension; another number: as if it were missing
 *		"p2p": true,            the P2P states work, and MIG flags may have VFM_MIG_P2P
 *		"data_size": true,      VFM_FEATURE_MIG_DATA_SIZE is carried
 *		"precopy_info": true,   VFM_VFIO_USER_FEATURE_PRECOPY_INFO is carried
 *		"reinit": true          the opt-in VFM_FEATURE_MIG_PRECOPY_INFOV2 is carried
 *	}}}
 *
 * A member of "vfio_migrate" that is missing is false, and what is in use is the AND of both
 * sides. "reinit" needs "precopy_info". Without the extension the P2P flag is masked and sizes
 * are unknown.
 */
#define VFM_VFIO_USER_EXT_KEY     "vfio_migrate"
#define VFM_VFIO_USER_EXT_VERSION 1

/** The members of the extension as bits. */
enum vfm_vfio_user_ext {
	VFM_VFIO_USER_EXT_P2P = 1 << 0,          /**< "p2p" */
	VFM_VFIO_USER_EXT_DATA_SIZE = 1 << 1,    /**< "data_size" */
	VFM_VFIO_USER_EXT_PRECOPY_INFO = 1 << 2, /**< "precopy_info" */
	VFM_VFIO_USER_EXT_REINIT = 1 << 3,       /**< "reinit" */
	VFM_VFIO_USER_EXT_ALL = 0xf,
};

/** DMA_MAP request, with an fd when the server may map the memory. The reply is bare. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_dma_map {
	uint32_t argsz;  /**< sizeof of this */
	uint32_t flags;  /**< VFM_VFIO_USER_DMA_* */
	uint64_t offset; /**< in the file, 0 without fd */
	uint64_t addr;   /**< IOVA */
	uint64_t size;   /**< bytes */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_dma_map, 32);

#define VFM_VFIO_USER_DMA_READABLE  (1u << 0) /**< the device may read the memory */
#define VFM_VFIO_USER_DMA_WRITEABLE (1u << 1) /**< the device may write to it */

/** DMA_UNMAP request: exactly one earlier mapping. Echoed in the reply. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_dma_unmap {
	uint32_t argsz; /**< most bytes of the reply's payload */
	uint32_t flags; /**< 0 */
	uint64_t addr;  /**< IOVA */
	uint64_t size;  /**< bytes */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_dma_unmap, 24);

/** DEVICE_GET_INFO, both ways; all but argsz is 0 in the request. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_device_info {
	uint32_t argsz;       /**< most bytes of the reply's payload; reply: bytes needed */
	uint32_t flags;       /**< enum vfm_device_flags */
	uint32_t num_regions; /**< highest region index + 1 */
	uint32_t num_irqs;    /**< highest interrupt index + 1 */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_device_info, 16);

/** DEVICE_GET_REGION_INFO, both ways. In the reply capabilities may follow. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_region_info {
	uint32_t argsz;      /**< most bytes of the reply's payload; reply: bytes needed for all */
	uint32_t flags;      /**< reply: enum vfm_region_info_flags */
	uint32_t index;      /**< which region */
	uint32_t cap_offset; /**< reply: of the first capability, from the start of this; 0: none */
	uint64_t size;       /**< reply: bytes of the region; 0: not there */
	uint64_t offset;     /**< reply: what to add in mmap() of the reply's fd */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_region_info, 32);

/** DEVICE_GET_REGION_IO_FDS, both ways. In the reply @count sub-regions follow. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_region_io_fds {
	uint32_t argsz; /**< most bytes of the reply's payload; reply: bytes needed for all */
	uint32_t flags; /**< 0 */
	uint32_t index; /**< which region */
	uint32_t count; /**< reply: sub-regions */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_region_io_fds, 16);

/** One sub-region that is served through an fd. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_io_fd {
	uint64_t offset;   /**< bytes from the start of the region */
	uint64_t size;     /**< bytes; 0: any access size */
	uint32_t fd_index; /**< which fd of the message; several may share one */
	uint32_t type;     /**< VFM_VFIO_USER_IO_FD_* */
	uint32_t flags;    /**< KVM's flags of that mechanism */
	uint32_t padding;  /**< 0 */
	uint64_t data;     /**< ioeventfd: datamatch; ioregionfd: user_data */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_io_fd, 40);

#define VFM_VFIO_USER_IO_FD_IOEVENTFD  0u
#define VFM_VFIO_USER_IO_FD_IOREGIONFD 1u

/** DEVICE_GET_IRQ_INFO, both ways. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_irq_info {
	uint32_t argsz; /**< most bytes of the reply's payload; reply: bytes needed */
	uint32_t flags; /**< reply: enum vfm_irq_info_flags */
	uint32_t index; /**< which interrupt type */
	uint32_t count; /**< reply: interrupts of it */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_irq_info, 16);

/**
 * DEVICE_SET_IRQS request; with DATA_BOOL @count bytes follow, with DATA_EVENTFD come @count fds,
 * or none to disconnect. start and count 0 with DATA_NONE and ACTION_TRIGGER: disable the index.
 * The reply is bare.
 */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_irq_set {
	uint32_t argsz; /**< bytes of this and the data */
	uint32_t flags; /**< enum vfm_irq_set_flags */
	uint32_t index; /**< which interrupt type */
	uint32_t start; /**< the first interrupt */
	uint32_t count; /**< interrupts */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_irq_set, 20);

/** REGION_READ and REGION_WRITE, both ways; @count bytes of data follow where they travel. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_region_rw {
	uint64_t offset; /**< bytes from the start of the region */
	uint32_t region; /**< which region */
	uint32_t count;  /**< bytes, at most the receiver's max_data_xfer_size */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_region_rw, 16);

/** REGION_WRITE_MULTI, request and reply; in the request @count writes follow. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_write_multi {
	uint64_t count; /**< writes; reply: how many were done */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_write_multi, 8);

/** One of the writes. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_write_one {
	uint64_t offset; /**< bytes from the start of the region */
	uint32_t region; /**< which region */
	uint32_t count;  /**< bytes, 1 to 8 */
	uint64_t data;   /**< the first @count bytes of it count */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_write_one, 24);

/** DMA_READ and DMA_WRITE, from the server; @count bytes of data follow where they travel. The
 *  specification ends the DMA_WRITE reply after 4 bytes of count; servers expect all 8. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_dma_rw {
	uint64_t addr;  /**< IOVA */
	uint64_t count; /**< bytes, at most the client's max_data_xfer_size */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_dma_rw, 16);

/** DEVICE_FEATURE, both ways; one of the payloads below follows (never when probing). */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_feature {
	uint32_t argsz; /**< most bytes of the reply's payload, with this; reply: bytes needed */
	uint32_t flags; /**< a VFM_FEATURE_* index and GET, SET, PROBE; echoed */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_feature, 8);

/** VFM_FEATURE_MIGRATION: reply of GET. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_migration {
	uint64_t flags; /**< enum vfm_mig_flags */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_migration, 8);

/** VFM_FEATURE_MIG_DEVICE_STATE: reply of GET, request and reply of SET. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_mig_state {
	uint32_t device_state; /**< enum vfm_state */
	uint32_t data_fd;      /**< not in use */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_mig_state, 8);

/** VFM_FEATURE_DMA_LOGGING_START: SET, both ways; @num_ranges ranges follow. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_logging_control {
	uint64_t page_size;  /**< bytes, wanted; reply: taken */
	uint32_t num_ranges; /**< 0: log everything */
	uint32_t reserved;   /**< 0 */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_logging_control, 16);

/** A range whose writes are logged. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_logging_range {
	uint64_t iova;
	uint64_t length; /**< bytes */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_logging_range, 16);

/** VFM_FEATURE_DMA_LOGGING_REPORT: GET, both ways; in the reply the bitmap follows as u64s, one
 *  bit per page from @iova on. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_logging_report {
	uint64_t iova;
	uint64_t length;    /**< bytes */
	uint64_t page_size; /**< bytes per bit, a power of two */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_logging_report, 24);

/** VFM_FEATURE_MIG_DATA_SIZE: reply of GET. Needs VFM_VFIO_USER_EXT_DATA_SIZE. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_data_size {
	uint64_t stop_copy_length; /**< bytes, an estimate */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_data_size, 8);

/** A feature index of ours, what VFIO_MIG_GET_PRECOPY_INFO is on a kernel's data fd: GET in a
 *  PRE_COPY state, else EINVAL. Needs VFM_VFIO_USER_EXT_PRECOPY_INFO. */
#define VFM_VFIO_USER_FEATURE_PRECOPY_INFO 0xff01u

/** VFM_VFIO_USER_FEATURE_PRECOPY_INFO: reply of GET. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_precopy_info {
	uint32_t flags;         /**< VFM_PRECOPY_INFO_REINIT, only after the opt-in */
	uint32_t reserved;      /**< 0 */
	uint64_t initial_bytes; /**< as in struct vfm_precopy_info */
	uint64_t dirty_bytes;
};
VFM_UAPI_SIZE(struct vfm_vfio_user_precopy_info, 24);

/** MIG_DATA_READ, both ways, and MIG_DATA_WRITE request; @size bytes of data follow where they
 *  travel. The reply of a read may be padded beyond them; the reply of a write is bare. */
struct VFM_VFIO_USER_PACKED vfm_vfio_user_mig_data {
	uint32_t argsz; /**< read: most bytes of the reply's payload; write and reply: this + data */
	uint32_t size;  /**< bytes of data wanted, or present */
};
VFM_UAPI_SIZE(struct vfm_vfio_user_mig_data, 8);

#ifdef __cplusplus
}
#endif
#endif
