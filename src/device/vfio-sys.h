/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The system calls of the kernel VFIO back end, as a table: the kernel's (vfio-sys.c) or a double
 * in the tests. All return what the call does, and -errno instead of -1 and errno. They do not
 * begin again after EINTR: what that means is the caller's to know.
 *
 * @sys is the table itself, so that an implementation can embed it.
 */
#ifndef DEVICE_VFIO_SYS_H
#define DEVICE_VFIO_SYS_H

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vfio_sys {
	int (*open)(const struct vfio_sys *sys, const char *path, int flags);
	void (*close)(const struct vfio_sys *sys, int fd);
	/* @arg: an address, or a number as some requests want it. */
	int (*ioctl)(const struct vfio_sys *sys, int fd, unsigned long request, void *arg);
	ssize_t (*read)(const struct vfio_sys *sys, int fd, void *buf, size_t len);
	ssize_t (*write)(const struct vfio_sys *sys, int fd, const void *buf, size_t len);
	ssize_t (*pread)(const struct vfio_sys *sys, int fd, void *buf, size_t len, uint64_t at);
	ssize_t (*pwrite)(const struct vfio_sys *sys, int fd, const void *buf, size_t len,
			  uint64_t at);
	int (*poll)(const struct vfio_sys *sys, struct pollfd *fds, unsigned count, int timeout_ms);
	/* O_NONBLOCK. */
	int (*set_nonblock)(const struct vfio_sys *sys, int fd);
	/* A second fd of the same file. */
	int (*dup)(const struct vfio_sys *sys, int fd);
	/* The target of a symbolic link, with a NUL; what does not fit is -ENAMETOOLONG. */
	int (*readlink)(const struct vfio_sys *sys, const char *path, char *buf, size_t size);
	/* The absolute path without links, likewise. */
	int (*realpath)(const struct vfio_sys *sys, const char *path, char *buf, size_t size);
	/* The name of the first entry of a directory, likewise. -ENOENT: it is empty. */
	int (*first_entry)(const struct vfio_sys *sys, const char *path, char *buf, size_t size);
};

/* The kernel's. */
extern const struct vfio_sys vfio_sys_kernel;

#endif
