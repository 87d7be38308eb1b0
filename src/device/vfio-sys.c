/* SPDX-License-Identifier: BSD-3-Clause */
#include "device/vfio-sys.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "base/compiler.h"

static int sys_open(const struct vfio_sys *sys UNUSED, const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static void sys_close(const struct vfio_sys *sys UNUSED, int fd)
{
	close(fd);
}

static int sys_ioctl(const struct vfio_sys *sys UNUSED, int fd, unsigned long request, void *arg)
{
	int ret = ioctl(fd, request, arg);

	return ret < 0 ? -errno : ret;
}

static ssize_t sys_read(const struct vfio_sys *sys UNUSED, int fd, void *buf, size_t len)
{
	ssize_t ret = read(fd, buf, len);

	return ret < 0 ? -errno : ret;
}

static ssize_t sys_write(const struct vfio_sys *sys UNUSED, int fd, const void *buf, size_t len)
{
	ssize_t ret = write(fd, buf, len);

	return ret < 0 ? -errno : ret;
}

static ssize_t sys_pread(const struct vfio_sys *sys UNUSED, int fd, void *buf, size_t len,
			 uint64_t at)
{
	ssize_t ret = pread(fd, buf, len, (off_t)at);

	return ret < 0 ? -errno : ret;
}

static ssize_t sys_pwrite(const struct vfio_sys *sys UNUSED, int fd, const void *buf, size_t len,
			  uint64_t at)
{
	ssize_t ret = pwrite(fd, buf, len, (off_t)at);

	return ret < 0 ? -errno : ret;
}

static int sys_poll(const struct vfio_sys *sys UNUSED, struct pollfd *fds, unsigned count,
		    int timeout_ms)
{
	int ret = poll(fds, count, timeout_ms);

	return ret < 0 ? -errno : ret;
}

static int sys_set_nonblock(const struct vfio_sys *sys UNUSED, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

static int sys_dup(const struct vfio_sys *sys UNUSED, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	return copy < 0 ? -errno : copy;
}

static int sys_readlink(const struct vfio_sys *sys UNUSED, const char *path, char *buf,
			size_t size)
{
	ssize_t len = readlink(path, buf, size);

	if (len < 0)
		return -errno;
	if ((size_t)len >= size)
		return -ENAMETOOLONG;
	buf[len] = 0;
	return 0;
}

static int copy_name(const char *name, char *buf, size_t size)
{
	size_t len = strlen(name);

	if (len >= size)
		return -ENAMETOOLONG;
	memcpy(buf, name, len + 1);
	return 0;
}

static int sys_realpath(const struct vfio_sys *sys UNUSED, const char *path, char *buf,
			size_t size)
{
	char *real = realpath(path, NULL);
	int ret = real ? copy_name(real, buf, size) : -errno;

	free(real);
	return ret;
}

static int sys_first_entry(const struct vfio_sys *sys UNUSED, const char *path, char *buf,
			   size_t size)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int ret = -ENOENT;

	if (!dir)
		return -errno;
	while (ret == -ENOENT && (entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			ret = copy_name(entry->d_name, buf, size);
	closedir(dir);
	return ret;
}

const struct vfio_sys vfio_sys_kernel = {
	.open = sys_open,
	.close = sys_close,
	.ioctl = sys_ioctl,
	.read = sys_read,
	.write = sys_write,
	.pread = sys_pread,
	.pwrite = sys_pwrite,
	.poll = sys_poll,
	.set_nonblock = sys_set_nonblock,
	.dup = sys_dup,
	.readlink = sys_readlink,
	.realpath = sys_realpath,
	.first_entry = sys_first_entry,
};
