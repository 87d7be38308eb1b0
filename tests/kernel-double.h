/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The kernel's VFIO without a kernel: one device (a simulated one, with the personality of a
 * driver) that answers the ioctls of the uAPI, its data fd, one group, a type 1 container, and an
 * iommufd. It is one more struct vfio_sys, so that the code under test is the real one.
 *
 *	struct vfio_sys ──> kernel-double ──> sim core ──> memory of the test
 *
 * Descriptors are real ones that nobody reads: their numbers are unique, and they can be leaked
 * and found. Time is the test's: it passes where a driver says that something takes time, and when
 * told to.
 */
#ifndef TESTS_KERNEL_DOUBLE_H
#define TESTS_KERNEL_DOUBLE_H

#include "device/vfio.h"
#include "sim/core.h"
#include "sim/personality.h"

enum {
	KD_SESSIONS = 64,        /* that are open or alive at a time */
	KD_MAPS = 16,
	KD_PAGES = 4096,         /* that an IOMMU can find dirty */
	KD_HWPT = 77,            /* id of the page table */
	KD_IOAS = 5,
};

#define KD_ADDRESS "0000:3a:00.1"
#define KD_SYSFS   "/sys/devices/pci0000:3a/0000:3a:00.1"
#define KD_GROUP   42

struct kd_session {
	int fd;
	bool loading;
	bool dead;               /* it answers ENODEV */
	bool open;               /* and its user has not closed it */
	bool nonblock;
};

struct kd_dirty {            /* an IOMMU that found pages */
	bool on;
	uint64_t pages[KD_PAGES]; /* addresses */
	unsigned count;
	unsigned starts, stops, gets;
};

struct kernel_double {
	struct vfio_sys sys;     /* first */
	struct sim *sim;
	uint8_t *ram;            /* guest memory from ram_iova on; NULL: none */
	uint64_t ram_iova, ram_size;
	uint64_t now;
	uint64_t step_ns;        /* that pass with each call */

	/* What is open. */
	int device;
	int container, iommufd, group; /* -1: not */
	bool bound;              /* a cdev: to an iommufd */
	bool by_cdev;
	struct kd_session sessions[KD_SESSIONS];
	unsigned session_count;
	struct vfm_dma_map maps[KD_MAPS];
	unsigned map_count;
	bool type1;              /* SET_IOMMU was called */
	uint32_t attached;       /* page table or IOAS */
	int hwpts;               /* page tables that exist */
	struct kd_dirty by_container, by_iommufd;

	/* What the kernel is like. */
	bool has_poll;           /* the driver implements it */
	bool echo_flags;         /* PRECOPY_INFO without the opt-in has REINIT in its flags */
	bool no_infov2, no_data_size, no_logging, no_migration, no_reset;
	int report_errno;        /* DMA_LOGGING_REPORT fails so */
	int start_errno;         /* DMA_LOGGING_START */
	unsigned ranges_max;     /* 0: what the kernel takes */
	bool no_pci;             /* it is a platform device, say */
	uint32_t region_argsz;   /* what region info wants room for; 0: no more than the least */
	int bind_errno, attach_errno, info_errno; /* these fail so; info: of an attached cdev */
	bool no_vfio_driver;     /* the device is bound to something else */
	bool no_cdev, no_iommufd_node, no_hwpt, no_container_cap;
	int group_errno;         /* opening the group fails so */
	bool not_viable;
	char driver[32];

	/* What happens. */
	unsigned again;          /* so many reads say EAGAIN */
	unsigned write_again;    /* so many writes, likewise */
	unsigned eintr_at;       /* the read or write with this number is interrupted; 0: none */
	unsigned write_max, read_max; /* bytes of a call; 0: all */
	bool accepts_after_error; /* RESUMING is left without the check, as mtty does */
	unsigned nomsg_stop;     /* so many reads in STOP_COPY say ENOMSG */

	/* What happened. */
	unsigned reads, writes, polls, queries, resets, optins, log_starts, log_stops, reports;
	unsigned silent_polls;   /* that ended by their timeout */
	unsigned blocked;        /* reads that would have slept in the kernel */
	unsigned unblocked;      /* reads and writes on threads that may take signals */
	struct vfm_feature_logging_range ranges[256];
	unsigned range_count;
	uint64_t log_page;
};

/* A device as the driver of that name, with @tune (may be NULL) called on its options. */
void kernel_double_init(struct kernel_double *kd, const char *driver,
			void (*tune)(struct sim_options *options));
/* Checks that nothing was left open. */
void kernel_double_destroy(struct kernel_double *kd);

/* A device of the back end over it, without container and iommufd. */
struct vfm_device *kernel_double_device(struct kernel_double *kd);

/* Let @ms pass. */
void kernel_double_pass(struct kernel_double *kd, unsigned ms);

/* Forget the present user: sessions are gone, the state stays what it is. */
void kernel_double_user_died(struct kernel_double *kd);

/* The device's inside, for tests that cannot see it (sim/device.h beside the engine's headers). */
const void *kernel_double_memory(const struct kernel_double *kd, size_t *size);
uint64_t kernel_double_written(const struct kernel_double *kd); /* words, to guest memory */
bool kernel_double_logs(const struct kernel_double *kd);
struct sim_options *kernel_double_options(struct kernel_double *kd);

/* The IOMMU saw a write. */
void kernel_double_dirty(struct kd_dirty *dirty, uint64_t iova);

#endif
