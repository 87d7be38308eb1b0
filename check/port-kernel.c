/* SPDX-License-Identifier: BSD-3-Clause */
/* A device fd of the kernel's, and the data fds that it gives. A data fd is kept until the next one
 * comes, so that a rule can see what the old one answers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/checked.h"
#include "check/patience.h"
#include "check/port.h"

#define CALL_MS 60000u /* a call that sleeps for so long sleeps for ever */

static int control(struct port *port, int fd, unsigned long request, void *arg)
{
	struct patience patience;

	patience_begin(&patience, CALL_MS);
	return (int)patience_end(&patience, port->sys->ioctl(port->sys, fd, request, arg));
}

static int feature(struct port *port, uint32_t flags, void *payload, size_t in, size_t room)
{
	struct {
		struct vfm_feature head;
		uint8_t payload[PORT_PAYLOAD_MAX] __attribute__((aligned(8)));
	} arg = {.head = {.argsz = (uint32_t)(sizeof(arg.head) + room), .flags = flags}};
	int ret;

	if (in > room || room > sizeof(arg.payload))
		return -E2BIG;
	if (in)
		memcpy(arg.payload, payload, in);
	ret = control(port, port->fd, VFM_IOCTL_DEVICE_FEATURE, &arg);
	if (ret < 0)
		return ret;
	if (payload && room)
		memcpy(payload, arg.payload, room);
	return 0;
}

static void close_data(struct port *port)
{
	if (port->data_fd >= 0)
		port->sys->close(port->sys, port->data_fd);
	port->data_fd = -1;
}

static int set_state(struct port *port, uint32_t state)
{
	struct vfm_feature_mig_state set = {.device_state = state, .data_fd = -1};
	int ret = feature(port, VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET, &set, sizeof(set),
			  sizeof(set));

	port->gave = !ret && set.data_fd >= 0;
	if (port->gave) {
		close_data(port);
		port->data_fd = set.data_fd;
	}
	return ret;
}

static ssize_t read_data(struct port *port, void *buf, size_t len)
{
	struct patience patience;

	if (port->data_fd < 0)
		return -EBADF;
	patience_begin(&patience, CALL_MS);
	return patience_end(&patience, port->sys->read(port->sys, port->data_fd, buf, len));
}

static ssize_t write_data(struct port *port, const void *buf, size_t len)
{
	struct patience patience;

	if (port->data_fd < 0)
		return -EBADF;
	patience_begin(&patience, CALL_MS);
	return patience_end(&patience, port->sys->write(port->sys, port->data_fd, buf, len));
}

static int info(struct port *port, struct vfm_precopy_info *info)
{
	info->argsz = sizeof(*info);
	if (port->data_fd < 0)
		return -EINVAL;
	return control(port, port->data_fd, VFM_IOCTL_MIG_GET_PRECOPY_INFO, info);
}

static int reset(struct port *port)
{
	return control(port, port->fd, VFM_IOCTL_DEVICE_RESET, NULL);
}

static int log_start(struct port *port, uint64_t *page_size,
		     const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	struct vfm_feature_logging_control control = {
		.page_size = *page_size, .num_ranges = count, .ranges = (uintptr_t)ranges};
	int ret = feature(port, VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET, &control,
			  sizeof(control), sizeof(control));

	if (!ret)
		*page_size = control.page_size;
	return ret;
}

static int log_report(struct port *port, const struct vfm_feature_logging_range *range,
		      uint64_t page_size, uint64_t *bitmap)
{
	struct vfm_feature_logging_report report = {.iova = range->iova, .length = range->length,
						    .page_size = page_size,
						    .bitmap = (uintptr_t)bitmap};

	return feature(port, VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET, &report,
		       sizeof(report), sizeof(report));
}

/* ---- memory and regions ---- */

static int map(struct port *port, uint64_t iova, uint64_t size, const struct port_memory *memory)
{
	return port->space.map ? port->space.map(port->space.opaque, iova, size, memory->host)
			       : -ENOTSUP;
}

static int unmap(struct port *port, uint64_t iova, uint64_t size)
{
	return port->space.unmap ? port->space.unmap(port->space.opaque, iova, size) : -ENOTSUP;
}

/* Where [at, at + len) of the region is in the device fd. */
static int find_region(struct port *port, uint32_t region, uint64_t at, size_t len,
		       struct vfm_uapi_region_info *info)
{
	int ret;

	*info = (struct vfm_uapi_region_info){.argsz = sizeof(*info), .index = region};
	ret = port->sys->ioctl(port->sys, port->fd, VFM_IOCTL_DEVICE_GET_REGION_INFO, info);
	if (ret < 0)
		return ret;
	return range_within(at, len, info->size) ? 0 : -EINVAL;
}

static int region_read(struct port *port, uint32_t region, uint64_t at, void *buf, size_t len)
{
	struct vfm_uapi_region_info info;
	int ret = find_region(port, region, at, len, &info);
	ssize_t got;

	if (ret)
		return ret;
	got = port->sys->pread(port->sys, port->fd, buf, len, info.offset + at);
	return got < 0 ? (int)got : (size_t)got == len ? 0 : -EIO;
}

static int region_write(struct port *port, uint32_t region, uint64_t at, const void *buf,
			size_t len)
{
	struct vfm_uapi_region_info info;
	int ret = find_region(port, region, at, len, &info);
	ssize_t took;

	if (ret)
		return ret;
	took = port->sys->pwrite(port->sys, port->fd, buf, len, info.offset + at);
	return took < 0 ? (int)took : (size_t)took == len ? 0 : -EIO;
}

static int share(struct port *port, uint32_t region, uint64_t size, struct port_memory *memory)
{
	struct vfm_uapi_region_info info;
	int ret = find_region(port, region, 0, size, &info);

	if (ret)
		return ret;
	if (!(info.flags & VFM_REGION_INFO_MMAP))
		return -ENOTSUP;
	*memory = (struct port_memory){.fd = port->fd, .offset = info.offset};
	memory->host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, port->fd,
			    (off_t)info.offset);
	return memory->host == MAP_FAILED ? -errno : 0;
}

static void unshare(struct port *port, uint64_t size, struct port_memory *memory)
{
	munmap(memory->host, size);
}

static const struct port_ops ops = {
	.backend = "vfio",
	.free = close_data,
	.feature = feature,
	.set_state = set_state,
	.read = read_data,
	.write = write_data,
	.info = info,
	.reset = reset,
	.log_start = log_start,
	.log_report = log_report,
	.map = map,
	.unmap = unmap,
	.region_read = region_read,
	.region_write = region_write,
	.share = share,
	.unshare = unshare,
};

static unsigned can(const struct port *port)
{
	return PORT_FD | PORT_INFO | port_opener_can(&port->opener) |
	       (port->space.map ? PORT_MEMORY : 0u);
}

void port_take_fd(struct port *port, int fd)
{
	close_data(port);
	port->fd = fd;
	port->can = can(port);
	if (fd >= 0 && port_probe(port, VFM_FEATURE_MIG_DATA_SIZE | VFM_FEATURE_GET))
		port->can |= PORT_SIZE;
}

struct port *port_kernel(const struct vfio_sys *sys, int fd, const struct port_opener *opener)
{
	struct port *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	port->ops = &ops;
	port->hold_max = PORT_HOLD_MAX;
	port->sys = sys;
	port->data_fd = -1;
	if (opener)
		port->opener = *opener;
	port_take_fd(port, fd);
	return port;
}

void port_set_space(struct port *port, const struct port_space *space)
{
	port->space = *space;
	port->can |= PORT_MEMORY;
}
