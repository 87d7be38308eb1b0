/* SPDX-License-Identifier: BSD-3-Clause */
/**
 * The numbers and layouts of the kernel's VFIO and iommufd uAPI that are needed, carried here because
 * the headers of current distributions lack half of them. Everything has a prefix of its own, so
 * that this file can stand beside <linux/vfio.h> in one source file. Whether a kernel or a server
 * knows a feature is found out at run time.
 *
 * The state numbers and the capability bits of VFM_FEATURE_MIGRATION are in state.h.
 */
#ifndef VFIO_MIGRATE_UAPI_H
#define VFIO_MIGRATE_UAPI_H

#include <stdint.h>
#include <vfio-migrate/state.h>

#ifdef __cplusplus
#define VFM_UAPI_SIZE(type, bytes) static_assert(sizeof(type) == (bytes), #type)
extern "C" {
#else
#define VFM_UAPI_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type)
#endif

/** An integer that is eight-byte aligned on every architecture. */
typedef uint64_t vfm_aligned_u64 __attribute__((aligned(8)));

/* ---- ioctl numbers: 'type' and 'number' of _IO(), which none of these encodes a size in ---- */

#define VFM_VFIO_TYPE ';'
#define VFM_VFIO_BASE 100u
#define VFM_VFIO_IO(nr) ((unsigned long)(((unsigned)VFM_VFIO_TYPE << 8) | (VFM_VFIO_BASE + (nr))))

#define VFM_IOCTL_GET_API_VERSION        VFM_VFIO_IO(0u)
#define VFM_IOCTL_CHECK_EXTENSION        VFM_VFIO_IO(1u)
#define VFM_IOCTL_SET_IOMMU              VFM_VFIO_IO(2u)
#define VFM_IOCTL_GROUP_GET_STATUS       VFM_VFIO_IO(3u)
#define VFM_IOCTL_GROUP_SET_CONTAINER    VFM_VFIO_IO(4u)
#define VFM_IOCTL_GROUP_UNSET_CONTAINER  VFM_VFIO_IO(5u)
#define VFM_IOCTL_GROUP_GET_DEVICE_FD    VFM_VFIO_IO(6u)
#define VFM_IOCTL_DEVICE_GET_INFO        VFM_VFIO_IO(7u)
#define VFM_IOCTL_DEVICE_GET_REGION_INFO VFM_VFIO_IO(8u)
#define VFM_IOCTL_DEVICE_GET_IRQ_INFO    VFM_VFIO_IO(9u)
#define VFM_IOCTL_DEVICE_SET_IRQS        VFM_VFIO_IO(10u)
#define VFM_IOCTL_DEVICE_RESET           VFM_VFIO_IO(11u)
#define VFM_IOCTL_DEVICE_FEATURE         VFM_VFIO_IO(17u)
#define VFM_IOCTL_DEVICE_BIND_IOMMUFD    VFM_VFIO_IO(18u)
#define VFM_IOCTL_DEVICE_ATTACH_PT       VFM_VFIO_IO(19u)
#define VFM_IOCTL_DEVICE_DETACH_PT       VFM_VFIO_IO(20u)
#define VFM_IOCTL_MIG_GET_PRECOPY_INFO   VFM_VFIO_IO(21u)

/* Of a container; the numbers are used by devices for other things. */
#define VFM_IOCTL_IOMMU_GET_INFO         VFM_VFIO_IO(12u)
#define VFM_IOCTL_IOMMU_MAP_DMA          VFM_VFIO_IO(13u)
#define VFM_IOCTL_IOMMU_UNMAP_DMA        VFM_VFIO_IO(14u)
#define VFM_IOCTL_IOMMU_DIRTY_PAGES      VFM_VFIO_IO(17u)

/* Of an iommufd. */
#define VFM_IOMMUFD_IO(nr) ((unsigned long)(((unsigned)VFM_VFIO_TYPE << 8) | (0x80u + (nr))))

#define VFM_IOCTL_IOMMU_DESTROY          VFM_IOMMUFD_IO(0u)
#define VFM_IOCTL_IOMMU_IOAS_ALLOC       VFM_IOMMUFD_IO(1u)
#define VFM_IOCTL_IOMMU_IOAS_MAP         VFM_IOMMUFD_IO(5u)
#define VFM_IOCTL_IOMMU_IOAS_UNMAP       VFM_IOMMUFD_IO(6u)
#define VFM_IOCTL_IOMMU_HWPT_ALLOC       VFM_IOMMUFD_IO(9u)
#define VFM_IOCTL_IOMMU_HWPT_SET_DIRTY   VFM_IOMMUFD_IO(11u)
#define VFM_IOCTL_IOMMU_HWPT_GET_DIRTY   VFM_IOMMUFD_IO(12u)

/* ---- device, regions, interrupts ---- */

enum vfm_device_flags {
	VFM_DEVICE_FLAG_RESET = 1 << 0, /**< can be reset */
	VFM_DEVICE_FLAG_PCI = 1 << 1,   /**< region and interrupt indexes are the PCI ones below */
};

/** Of VFM_IOCTL_DEVICE_GET_INFO, without what later kernels append. */
struct vfm_uapi_device_info {
	uint32_t argsz;
	uint32_t flags;       /**< enum vfm_device_flags */
	uint32_t num_regions; /**< highest index + 1 */
	uint32_t num_irqs;    /**< highest index + 1 */
};
VFM_UAPI_SIZE(struct vfm_uapi_device_info, 16);

/** Of VFM_IOCTL_DEVICE_GET_REGION_INFO; a chain of struct vfm_info_cap may follow. */
struct vfm_uapi_region_info {
	uint32_t argsz;      /**< in: room; out: what the whole answer needs */
	uint32_t flags;      /**< enum vfm_region_info_flags */
	uint32_t index;
	uint32_t cap_offset; /**< of the first capability from the start of the info, 0: none */
	vfm_aligned_u64 size;
	vfm_aligned_u64 offset; /**< in the device fd, for pread, pwrite and mmap */
};
VFM_UAPI_SIZE(struct vfm_uapi_region_info, 32);

/** Of VFM_IOCTL_DEVICE_GET_IRQ_INFO. */
struct vfm_uapi_irq_info {
	uint32_t argsz;
	uint32_t flags; /**< enum vfm_irq_info_flags */
	uint32_t index;
	uint32_t count; /**< interrupts of that index */
};
VFM_UAPI_SIZE(struct vfm_uapi_irq_info, 16);

/** Of VFM_IOCTL_DEVICE_SET_IRQS; a byte or an int32_t for each interrupt follows. */
struct vfm_uapi_irq_set {
	uint32_t argsz; /**< head and data together */
	uint32_t flags; /**< enum vfm_irq_set_flags */
	uint32_t index;
	uint32_t start;
	uint32_t count;
};
VFM_UAPI_SIZE(struct vfm_uapi_irq_set, 20);

enum vfm_region_info_flags {
	VFM_REGION_INFO_READ = 1 << 0,  /**< may be read */
	VFM_REGION_INFO_WRITE = 1 << 1, /**< may be written */
	VFM_REGION_INFO_MMAP = 1 << 2,  /**< may be mapped, in whole or as the sparse cap says */
	VFM_REGION_INFO_CAPS = 1 << 3,  /**< a chain of capabilities follows */
};

/** Head of one capability in a chain. */
struct vfm_info_cap {
	uint16_t id;      /**< VFM_REGION_CAP_* */
	uint16_t version; /**< of this capability's layout */
	uint32_t next;    /**< offset of the next one from the start of the info, 0: last */
};
VFM_UAPI_SIZE(struct vfm_info_cap, 8);

#define VFM_REGION_CAP_SPARSE_MMAP    1u /**< struct vfm_region_cap_sparse */
#define VFM_REGION_CAP_TYPE           2u /**< struct vfm_region_cap_type */
#define VFM_REGION_CAP_MSIX_MAPPABLE  3u /**< no body */

/** A part of a region that may be mapped. */
struct vfm_region_sparse_area {
	uint64_t offset; /**< bytes from the start of the region */
	uint64_t size;   /**< bytes */
};
VFM_UAPI_SIZE(struct vfm_region_sparse_area, 16);

/** Version 1 of the sparse mmap capability. @nr_areas areas follow. */
struct vfm_region_cap_sparse {
	struct vfm_info_cap cap;
	uint32_t nr_areas; /**< struct vfm_region_sparse_area entries that follow */
	uint32_t reserved; /**< 0 */
};
VFM_UAPI_SIZE(struct vfm_region_cap_sparse, 16);

/** Version 1 of the region type capability. */
struct vfm_region_cap_type {
	struct vfm_info_cap cap;
	uint32_t type;    /**< global per bus driver */
	uint32_t subtype; /**< specific to the type */
};
VFM_UAPI_SIZE(struct vfm_region_cap_type, 16);

enum vfm_irq_info_flags {
	VFM_IRQ_INFO_EVENTFD = 1 << 0,    /**< can signal through an eventfd */
	VFM_IRQ_INFO_MASKABLE = 1 << 1,   /**< MASK and UNMASK work */
	VFM_IRQ_INFO_AUTOMASKED = 1 << 2, /**< masks itself when it fires */
	VFM_IRQ_INFO_NORESIZE = 1 << 3,   /**< set up as a whole */
};

/** One DATA and one ACTION flag per call. */
enum vfm_irq_set_flags {
	VFM_IRQ_SET_DATA_NONE = 1 << 0,      /**< act on all of start..start+count */
	VFM_IRQ_SET_DATA_BOOL = 1 << 1,      /**< act where the byte is not 0 */
	VFM_IRQ_SET_DATA_EVENTFD = 1 << 2,   /**< connect eventfds */
	VFM_IRQ_SET_ACTION_MASK = 1 << 3,
	VFM_IRQ_SET_ACTION_UNMASK = 1 << 4,
	VFM_IRQ_SET_ACTION_TRIGGER = 1 << 5,
};
#define VFM_IRQ_SET_DATA_MASK   0x07u /**< all DATA flags */
#define VFM_IRQ_SET_ACTION_ALL  0x38u /**< all ACTION flags */

/** Region indexes of a PCI device; from VFM_PCI_NUM_REGIONS on they are device specific. */
enum vfm_pci_region {
	VFM_PCI_BAR0_REGION = 0,
	VFM_PCI_BAR1_REGION = 1,
	VFM_PCI_BAR2_REGION = 2,
	VFM_PCI_BAR3_REGION = 3,
	VFM_PCI_BAR4_REGION = 4,
	VFM_PCI_BAR5_REGION = 5,
	VFM_PCI_ROM_REGION = 6,
	VFM_PCI_CONFIG_REGION = 7,
	VFM_PCI_VGA_REGION = 8,
	VFM_PCI_NUM_REGIONS = 9,
};

/** Interrupt indexes of a PCI device. */
enum vfm_pci_irq {
	VFM_PCI_INTX_IRQ = 0,
	VFM_PCI_MSI_IRQ = 1,
	VFM_PCI_MSIX_IRQ = 2,
	VFM_PCI_ERR_IRQ = 3,
	VFM_PCI_REQ_IRQ = 4,
	VFM_PCI_NUM_IRQS = 5,
};

/* ---- groups and containers ---- */

#define VFM_VFIO_API_VERSION 0
#define VFM_VFIO_TYPE1V2     3u /**< the IOMMU type, for CHECK_EXTENSION and SET_IOMMU */

/** Of VFM_IOCTL_GROUP_GET_STATUS. */
struct vfm_group_status {
	uint32_t argsz;
	uint32_t flags; /**< enum vfm_group_flags */
};
VFM_UAPI_SIZE(struct vfm_group_status, 8);

enum vfm_group_flags {
	VFM_GROUP_VIABLE = 1 << 0,        /**< no device of it is bound to another kind of driver */
	VFM_GROUP_CONTAINER_SET = 1 << 1,
};

enum vfm_dma_map_flags {
	VFM_DMA_MAP_READ = 1 << 0,  /**< the device may read */
	VFM_DMA_MAP_WRITE = 1 << 1,
};

/** Of VFM_IOCTL_IOMMU_MAP_DMA. */
struct vfm_dma_map {
	uint32_t argsz;
	uint32_t flags; /**< enum vfm_dma_map_flags */
	vfm_aligned_u64 vaddr;
	vfm_aligned_u64 iova;
	vfm_aligned_u64 size; /**< bytes */
};
VFM_UAPI_SIZE(struct vfm_dma_map, 32);

/** Of VFM_IOCTL_IOMMU_UNMAP_DMA. */
struct vfm_dma_unmap {
	uint32_t argsz;
	uint32_t flags; /**< 0 */
	vfm_aligned_u64 iova;
	vfm_aligned_u64 size; /**< out: what was unmapped */
};
VFM_UAPI_SIZE(struct vfm_dma_unmap, 24);

enum vfm_dirty_pages_flags {
	VFM_DIRTY_PAGES_START = 1 << 0,
	VFM_DIRTY_PAGES_STOP = 1 << 1,
	VFM_DIRTY_PAGES_GET = 1 << 2,
};

/** Of VFM_IOCTL_IOMMU_DIRTY_PAGES: the head alone, with GET all of it. The range may not cut a
 *  mapping, and the bitmap has to be zero. */
struct vfm_dirty_pages {
	uint32_t argsz;
	uint32_t flags; /**< one of enum vfm_dirty_pages_flags */
	vfm_aligned_u64 iova;
	vfm_aligned_u64 size;        /**< bytes */
	vfm_aligned_u64 page_size;   /**< the smallest of the IOMMU's */
	vfm_aligned_u64 bitmap_size; /**< bytes, whole words of 64 bits */
	vfm_aligned_u64 bitmap;      /**< address of an array of u64 */
};
VFM_UAPI_SIZE(struct vfm_dirty_pages, 48);
#define VFM_DIRTY_PAGES_HEAD 8u /**< bytes of it without GET */

/* ---- iommufd: each struct begins with its size ---- */

/** Of VFM_IOCTL_DEVICE_BIND_IOMMUFD. */
struct vfm_bind_iommufd {
	uint32_t argsz;
	uint32_t flags;     /**< 0 */
	int32_t iommufd;
	uint32_t out_devid; /**< the device in that iommufd */
};
VFM_UAPI_SIZE(struct vfm_bind_iommufd, 16);

/** Of VFM_IOCTL_DEVICE_ATTACH_PT. */
struct vfm_attach_pt {
	uint32_t argsz;
	uint32_t flags; /**< 0 */
	uint32_t pt_id; /**< an IOAS or a page table; out: the page table that is used */
};
VFM_UAPI_SIZE(struct vfm_attach_pt, 12);

/** Of VFM_IOCTL_DEVICE_DETACH_PT. */
struct vfm_detach_pt {
	uint32_t argsz;
	uint32_t flags; /**< 0 */
};
VFM_UAPI_SIZE(struct vfm_detach_pt, 8);

/** Of VFM_IOCTL_IOMMU_DESTROY. */
struct vfm_iommu_destroy {
	uint32_t size;
	uint32_t id;
};
VFM_UAPI_SIZE(struct vfm_iommu_destroy, 8);

/** Of VFM_IOCTL_IOMMU_IOAS_ALLOC. */
struct vfm_ioas_alloc {
	uint32_t size;
	uint32_t flags; /**< 0 */
	uint32_t out_ioas_id;
};
VFM_UAPI_SIZE(struct vfm_ioas_alloc, 12);

enum vfm_ioas_map_flags {
	VFM_IOAS_MAP_FIXED_IOVA = 1 << 0,
	VFM_IOAS_MAP_WRITEABLE = 1 << 1,
	VFM_IOAS_MAP_READABLE = 1 << 2,
};

/** Of VFM_IOCTL_IOMMU_IOAS_MAP. */
struct vfm_ioas_map {
	uint32_t size;
	uint32_t flags; /**< enum vfm_ioas_map_flags */
	uint32_t ioas_id;
	uint32_t reserved; /**< 0 */
	vfm_aligned_u64 user_va;
	vfm_aligned_u64 length;
	vfm_aligned_u64 iova;
};
VFM_UAPI_SIZE(struct vfm_ioas_map, 40);

/** Of VFM_IOCTL_IOMMU_IOAS_UNMAP. */
struct vfm_ioas_unmap {
	uint32_t size;
	uint32_t ioas_id;
	vfm_aligned_u64 iova;
	vfm_aligned_u64 length; /**< out: what was unmapped */
};
VFM_UAPI_SIZE(struct vfm_ioas_unmap, 24);

#define VFM_HWPT_ALLOC_DIRTY_TRACKING (1u << 1)

/** Of VFM_IOCTL_IOMMU_HWPT_ALLOC: a page table of the IOMMU's. */
struct vfm_hwpt_alloc {
	uint32_t size;
	uint32_t flags;  /**< VFM_HWPT_ALLOC_DIRTY_TRACKING */
	uint32_t dev_id;
	uint32_t pt_id;  /**< the IOAS that it maps */
	uint32_t out_hwpt_id;
	uint32_t reserved;  /**< 0 */
	uint32_t data_type; /**< 0 */
	uint32_t data_len;  /**< 0 */
	vfm_aligned_u64 data_uptr; /**< 0 */
};
VFM_UAPI_SIZE(struct vfm_hwpt_alloc, 40);

#define VFM_HWPT_DIRTY_ENABLE (1u << 0)

/** Of VFM_IOCTL_IOMMU_HWPT_SET_DIRTY. */
struct vfm_hwpt_set_dirty {
	uint32_t size;
	uint32_t flags; /**< VFM_HWPT_DIRTY_ENABLE, or 0: off */
	uint32_t hwpt_id;
	uint32_t reserved; /**< 0 */
};
VFM_UAPI_SIZE(struct vfm_hwpt_set_dirty, 16);

/** Of VFM_IOCTL_IOMMU_HWPT_GET_DIRTY: ORs into the bitmap and clears the log. */
struct vfm_hwpt_get_dirty {
	uint32_t size;
	uint32_t hwpt_id;
	uint32_t flags;    /**< 0 */
	uint32_t reserved; /**< 0 */
	vfm_aligned_u64 iova;
	vfm_aligned_u64 length;    /**< bytes */
	vfm_aligned_u64 page_size; /**< one bit per so many bytes */
	vfm_aligned_u64 bitmap;    /**< address of an array of u64 */
};
VFM_UAPI_SIZE(struct vfm_hwpt_get_dirty, 48);

/* ---- device features ---- */

/** Head of VFM_IOCTL_DEVICE_FEATURE; the feature's payload follows. */
struct vfm_feature {
	uint32_t argsz; /**< bytes of head and payload together */
	uint32_t flags; /**< a feature index and VFM_FEATURE_GET, _SET or _PROBE */
};
VFM_UAPI_SIZE(struct vfm_feature, 8);

#define VFM_FEATURE_MASK  0xffffu    /**< the bits of the index */
#define VFM_FEATURE_GET   (1u << 16) /**< device to payload */
#define VFM_FEATURE_SET   (1u << 17) /**< payload to device; never together with GET */
#define VFM_FEATURE_PROBE (1u << 18) /**< only ask whether the other flags would work */

#define VFM_FEATURE_MIGRATION          1u  /**< struct vfm_feature_migration, GET */
#define VFM_FEATURE_MIG_DEVICE_STATE   2u  /**< struct vfm_feature_mig_state, GET and SET */
#define VFM_FEATURE_DMA_LOGGING_START  6u  /**< struct vfm_feature_logging_control, SET */
#define VFM_FEATURE_DMA_LOGGING_STOP   7u  /**< no payload, SET */
#define VFM_FEATURE_DMA_LOGGING_REPORT 8u  /**< struct vfm_feature_logging_report, GET */
#define VFM_FEATURE_MIG_DATA_SIZE      9u  /**< struct vfm_feature_mig_data_size, GET */
#define VFM_FEATURE_MIG_PRECOPY_INFOV2 12u /**< no payload, SET: from now on the flags of struct
						vfm_precopy_info are told */

/** Payload of VFM_FEATURE_MIGRATION. */
struct vfm_feature_migration {
	vfm_aligned_u64 flags; /**< enum vfm_mig_flags */
};
VFM_UAPI_SIZE(struct vfm_feature_migration, 8);

/** Payload of VFM_FEATURE_MIG_DEVICE_STATE. */
struct vfm_feature_mig_state {
	uint32_t device_state; /**< enum vfm_state */
	int32_t data_fd;       /**< SET, out: the data session's fd, -1 when none was opened */
};
VFM_UAPI_SIZE(struct vfm_feature_mig_state, 8);

/** Payload of VFM_FEATURE_DMA_LOGGING_START. */
struct vfm_feature_logging_control {
	vfm_aligned_u64 page_size; /**< in: wanted, out: chosen by the driver */
	uint32_t num_ranges;       /**< entries of the array */
	uint32_t reserved;         /**< 0 */
	vfm_aligned_u64 ranges;    /**< address of an array of struct vfm_feature_logging_range */
};
VFM_UAPI_SIZE(struct vfm_feature_logging_control, 24);

/** A range whose writes are logged. Page aligned, and no two overlap. */
struct vfm_feature_logging_range {
	vfm_aligned_u64 iova;
	vfm_aligned_u64 length; /**< bytes */
};
VFM_UAPI_SIZE(struct vfm_feature_logging_range, 16);

/** Payload of VFM_FEATURE_DMA_LOGGING_REPORT: ORs into the bitmap and clears the device's log. */
struct vfm_feature_logging_report {
	vfm_aligned_u64 iova;
	vfm_aligned_u64 length;    /**< bytes */
	vfm_aligned_u64 page_size; /**< one bit per so many bytes */
	vfm_aligned_u64 bitmap;    /**< address of an array of u64 */
};
VFM_UAPI_SIZE(struct vfm_feature_logging_report, 32);

/** Payload of VFM_FEATURE_MIG_DATA_SIZE. */
struct vfm_feature_mig_data_size {
	vfm_aligned_u64 stop_copy_length; /**< bytes, an estimate */
};
VFM_UAPI_SIZE(struct vfm_feature_mig_data_size, 8);

/** Of VFM_IOCTL_MIG_GET_PRECOPY_INFO, on the data fd. */
struct vfm_precopy_info {
	uint32_t argsz;                /**< sizeof of this */
	uint32_t flags;                /**< VFM_PRECOPY_INFO_REINIT; zero it before the call, and
					    trust it only after the opt-in */
	vfm_aligned_u64 initial_bytes; /**< left of what must come early to be of use */
	vfm_aligned_u64 dirty_bytes;   /**< changed since it was read */
};
VFM_UAPI_SIZE(struct vfm_precopy_info, 24);

#define VFM_PRECOPY_INFO_REINIT (1u << 0) /**< initial_bytes started anew */

#ifdef __cplusplus
}
#endif
#endif
