/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inside of the kernel VFIO back end: its parts, a file each.
 *
 *	vfio-sys.c        the system calls, a seam        vfio-find.c       from an address to sysfs
 *	vfio-space.c      what is mapped for the devices  vfio-open.c       opening, closing
 *	vfio-container.c  that in a container             vfio-iommufd.c    that in an iommufd
 *	vfio-region.c     device, regions                 vfio-irq.c        interrupts
 *	vfio-feature.c    DEVICE_FEATURE                  vfio-data.c       the data session
 *	vfio-log.c        who tracks dirty pages          vfio-log-*.c      each of the three trackers
 *	vfio-ranges.c     what is tracked                 vfio-migration.c  the device's ops
 */
#ifndef DEVICE_VFIO_H
#define DEVICE_VFIO_H

#include <stdatomic.h>
#include <vfio-migrate/vfio.h>
#include "base/compiler.h"
#include "device/vfio-sys.h"

/* ---- vfio-space.c ---- */

/* One mapping, sorted by iova. */
struct vfio_map {
	uint64_t iova;
	uint64_t size;
	void *host;
};

/* An open IOMMU group: it can be opened once, and may have several devices. */
struct vfio_group {
	struct vfio_group *next;
	int number;
	int fd;
	unsigned users;
};

struct vfm_vfio_space {
	const struct vfio_sys *sys;
	enum vfm_vfio_way way;
	struct vfio_map *maps;
	unsigned map_count;
	unsigned map_room;
	int container;             /* -1: not open */
	struct vfio_group *groups;
	int iommufd;               /* -1: not open; open: a device was attached by it */
	uint32_t ioas;
	uint32_t hwpt;             /* page table with dirty tracking that devices share, 0: none */
	unsigned hwpt_users;
};

int vfio_space_new(const struct vfio_sys *sys, enum vfm_vfio_way way,
		   struct vfm_vfio_space **space);

/* One ioctl: 0 or -errno. */
int vfio_space_ioctl(struct vfm_vfio_space *space, int fd, unsigned long request, void *arg);

/* Give the kernel the whole list: something has begun to hold it. */
int vfio_space_map_all(struct vfm_vfio_space *space);

/* ---- vfio-container.c ---- */

/* Get group @number into the container. The group's fd is the space's. */
int vfio_space_get_group(struct vfm_vfio_space *space, int number, struct vfio_group **group,
			 char *why, size_t why_size);
void vfio_space_put_group(struct vfm_vfio_space *space, struct vfio_group *group);

/* ---- vfio-iommufd.c ---- */

/* Bind the cdev vfio->fd and attach it; sets vfio->bound, attached and hwpt. */
int vfio_space_attach(struct vfm_vfio *vfio, char *why, size_t why_size);
/* Give its page table back. After its fd was closed, or vfio_space_leave. */
void vfio_space_detach(struct vfm_vfio_space *space, uint32_t hwpt);
/* Let an fd that stays open no longer reach the memory. It stays bound: nothing undoes that. */
void vfio_space_leave(struct vfm_vfio *vfio);

/* ---- vfio-find.c ---- */

int vfio_find(const struct vfio_sys *sys, const char *address, struct vfm_vfio_place *place,
	      char *why, size_t why_size);

/* Write a line into @why, which may be NULL, and return @ret. */
int vfio_why(char *why, size_t why_size, int ret, const char *fmt, ...) PRINTF(4, 5);

/* ---- vfio-open.c ---- */

/* Where a region is in the device fd. */
struct vfio_extent {
	uint64_t offset;
	uint64_t size; /* 0: there is none */
};

struct vfm_vfio {
	const struct vfio_sys *sys;
	struct vfm_vfio_space *space;
	struct vfio_group *group; /* NULL: not by group */
	bool bound;               /* to the space's iommufd, by us */
	bool attached;            /* and to its memory */
	int fd;
	uint32_t hwpt;            /* page table with dirty tracking, 0: none */
	struct vfm_vfio_place place;
	struct vfio_extent extents[VFM_VFIO_REGIONS_MAX]; /* as of opening */
};

/* Open by @address; see vfm_vfio_open. */
int vfio_open(struct vfm_vfio_space *space, const char *address, struct vfm_vfio **vfio, char *why,
	      size_t why_size);

/* ---- vfio-region.c ---- */

int vfio_get_device(const struct vfio_sys *sys, int fd, struct vfm_vfio_device *device);
int vfio_get_region(const struct vfio_sys *sys, int fd, uint32_t index,
		    struct vfm_vfio_region *region);
int vfio_region_read(const struct vfio_sys *sys, int fd, uint32_t region, uint64_t offset,
		     void *buf, size_t len);
int vfio_get_extents(struct vfm_vfio *vfio);

/* ---- vfio-feature.c ---- */

/* One VFM_IOCTL_DEVICE_FEATURE: @flags is an index and VFM_FEATURE_GET or SET; @payload of @len bytes
 * goes in and comes out. 0, or -errno: -ENOTTY it does not know the feature. */
#define VFIO_FEATURE_MAX 64u /* bytes of a payload at most */
int vfio_feature(const struct vfio_sys *sys, int fd, uint32_t flags, void *payload, size_t len);

/* Would it? A yes promises nothing: see vfio-log.c. */
bool vfio_feature_probe(const struct vfio_sys *sys, int fd, uint32_t flags);

/* ---- vfio-data.c ---- */

/*
 * A data session: the fd that an arc gave, and what is known of it.
 *
 *	none ──SET gives an fd──> saving | loading ──error──> dead ──next arc──> none
 */
struct vfio_data {
	const struct vfio_sys *sys;
	int fd;            /* -1: none */
	int wake;          /* eventfd: readable while cancelled */
	atomic_bool cancelled;
	bool loading;
	bool poll_lies;    /* poll said that there is something, and there was nothing */
	bool poll_said;    /* it said so since the last read */
	int dead;          /* -errno of what ended it; 0: it lives */
	uint64_t bytes;    /* moved so far */
};

int vfio_data_init(struct vfio_data *data, const struct vfio_sys *sys);
void vfio_data_destroy(struct vfio_data *data);
void vfio_data_open(struct vfio_data *data, int fd, bool loading);
void vfio_data_close(struct vfio_data *data);
/* As in struct device_ops. @last: the device is in STOP_COPY. */
ssize_t vfio_data_read(struct vfio_data *data, void *buf, size_t len, bool last);
int vfio_data_write(struct vfio_data *data, const void *buf, size_t len);
int vfio_data_wait(struct vfio_data *data, int timeout_ms);
/* Any thread; until vfio_data_resume. */
void vfio_data_cancel(struct vfio_data *data);
void vfio_data_resume(struct vfio_data *data);

/* ---- vfio-migration.c ---- */

/* vfm_device_new_vfio_fds over any system calls. */
int vfio_device_new(const struct vfio_sys *sys, const struct vfm_vfio_fds *fds, const char *name,
		    struct vfm_device **device);

#endif
