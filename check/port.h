/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device as the checker sees it: raw, with nothing between a rule and the driver or server. Two
 * implementations, the kernel's fd (port-kernel.c) and vfio-user (port-vfio-user.c).
 *
 * What a transport cannot express is told by port->can: rules that need it do not apply.
 * Functions return 0 or a count, or -errno as the device said it; -ENOTCONN: the server is gone.
 * One thread at a time.
 */
#ifndef CHECK_PORT_H
#define CHECK_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <vfio-migrate/uapi.h>
#include <vfio-migrate/vfio-user.h>
#include "base/compiler.h"
#include "device/vfio-sys.h"

enum port_can {
	PORT_FD = 1 << 0,     /* data sessions are file descriptors */
	PORT_INFO = 1 << 1,   /* it carries precopy info */
	PORT_SIZE = 1 << 2,   /* and MIG_DATA_SIZE */
	PORT_MEMORY = 1 << 3, /* memory can be lent to the device */
	PORT_REOPEN = 1 << 4, /* it can be closed and opened anew */
	PORT_SPAWN = 1 << 5,  /* and in between be used by a process that is killed */
};

#define PORT_PAYLOAD_MAX 4096u /* bytes of a feature's payload */
#define PORT_RANGES_MAX  1024u
#define PORT_HOLD_MAX    ((size_t)256 << 20)

struct latency;
struct port;

/* Memory for a device to reach, whole pages of it: both, since one transport wants a file, and the
 * other what this process has mapped. */
struct port_memory {
	void *host;
	int fd;          /* borrowed */
	uint64_t offset; /* of @host, in the file */
};

struct port_ops {
	const char *backend;
	void (*free)(struct port *port);
	/* One DEVICE_FEATURE whose argsz tells of @room bytes of payload. @in of them go in. */
	int (*feature)(struct port *port, uint32_t flags, void *payload, size_t in, size_t room);
	int (*set_state)(struct port *port, uint32_t state);
	ssize_t (*read)(struct port *port, void *buf, size_t len);
	ssize_t (*write)(struct port *port, const void *buf, size_t len);
	/* info->flags go in, too, where the transport lets them. */
	int (*info)(struct port *port, struct vfm_precopy_info *info);
	int (*reset)(struct port *port);
	int (*log_start)(struct port *port, uint64_t *page_size,
			 const struct vfm_feature_logging_range *ranges, uint32_t count);
	/* The range is inside one mapping. */
	int (*log_report)(struct port *port, const struct vfm_feature_logging_range *range,
			  uint64_t page_size, uint64_t *bitmap);
	int (*map)(struct port *port, uint64_t iova, uint64_t size,
		   const struct port_memory *memory);
	int (*unmap)(struct port *port, uint64_t iova, uint64_t size);
	int (*region_read)(struct port *port, uint32_t region, uint64_t at, void *buf, size_t len);
	int (*region_write)(struct port *port, uint32_t region, uint64_t at, const void *buf,
			    size_t len);
	/* A region of the device's as memory for another one, given back with unshare. -ENOTSUP: it
	 * cannot be mapped. */
	int (*share)(struct port *port, uint32_t region, uint64_t size, struct port_memory *memory);
	void (*unshare)(struct port *port, uint64_t size, struct port_memory *memory);
};

/* What opens the device again; whatever handle it gives up was closed before. */
struct port_opener {
	int (*reopen)(void *opaque, struct port *port);
	/* Give the handle up, and have a process open the device that does @what (hold.c); it is at
	 * it. NULL: cannot be. */
	int (*spawn)(void *opaque, struct port *port, const char *what);
	/* That process, with SIGKILL: it is gone. */
	void (*kill)(void *opaque);
	void *opaque;
};

/* The address space that a device of the kernel is attached to. */
struct port_space {
	int (*map)(void *opaque, uint64_t iova, uint64_t size, void *host);
	int (*unmap)(void *opaque, uint64_t iova, uint64_t size);
	void *opaque;
};

struct port {
	const struct port_ops *ops;
	unsigned can; /* enum port_can */
	struct port_opener opener;
	struct latency *latency; /* check.h: [from * VFM_STATE_COUNT + to]; NULL: not kept */
	size_t hold_max; /* bytes of a state that rules hold in memory; PORT_HOLD_MAX */

	/* vfio-user, borrowed. */
	struct vfm_vfio_user *client;

	/* Kernel: the device fd, borrowed, and the data fds that it gave. */
	const struct vfio_sys *sys;
	struct port_space space; /* map is NULL: none */
	int fd;
	int data_fd;  /* of the last session, living or not; -1: there was none */
	int gave;     /* the last SET gave an fd: data_fd is new */
};

/* Borrow an open device. NULL: no memory. @opener may be NULL: it cannot be opened again. */
struct port *port_vfio_user(struct vfm_vfio_user *client, const struct port_opener *opener);
struct port *port_kernel(const struct vfio_sys *sys, int fd, const struct port_opener *opener);
void port_free(struct port *port);

/* Kernel: memory is lent through @space from now on; it outlives the port. */
void port_set_space(struct port *port, const struct port_space *space);

/* Used by openers: the port goes on with another handle. */
void port_take_client(struct port *port, struct vfm_vfio_user *client);
void port_take_fd(struct port *port, int fd);

/* ---- for rules ---- */

int port_get_flags(struct port *port, uint64_t *flags);
/* Any number that the device tells. */
int port_get_state(struct port *port, uint32_t *state);
int port_set_state(struct port *port, uint32_t state);
ssize_t port_read(struct port *port, void *buf, size_t len);
/* All of it or -errno. */
int port_write(struct port *port, const void *buf, size_t len);
int port_info(struct port *port, struct vfm_precopy_info *info);
int port_opt_in(struct port *port);
int port_size(struct port *port, uint64_t *size);
int port_reset(struct port *port);
int port_reopen(struct port *port);
bool port_probe(struct port *port, uint32_t flags);
int port_log_stop(struct port *port);

/* PORT_REOPEN, PORT_SPAWN. */
unsigned port_opener_can(const struct port_opener *opener);

#endif
