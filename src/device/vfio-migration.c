/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A kernel VFIO device as struct vfm_device: states by DEVICE_FEATURE, data by vfio-data.c, dirty
 * pages by vfio-log.c. Works on descriptors that somebody else owns.
 *
 * Every feature is probed or simply asked for, since each is missing on some kernel, and what is
 * missing is unknown, never zero. Cancelling wakes what sleeps; an ioctl that the driver does not
 * finish cannot be interrupted from here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "device/device.h"
#include "device/vfio-log.h"
#include "device/vfio.h"

struct vfio_device {
	struct vfm_device dev; /* first, so that the two pointers are one */
	const struct vfio_sys *sys;
	struct vfm_vfio_fds fds;
	struct vfio_data data;
	struct vfio_log log;
};

static struct vfio_device *device_of(struct vfm_device *dev)
{
	return (struct vfio_device *)dev;
}

static int feature(struct vfio_device *d, uint32_t flags, void *payload, size_t len)
{
	return vfio_feature(d->sys, d->fds.device, flags, payload, len);
}

/* ---- states ---- */

static int get_state(struct vfm_device *dev, enum vfm_state *state)
{
	struct vfm_feature_mig_state arg = {.data_fd = -1};
	int ret = feature(device_of(dev), VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_GET, &arg,
			  sizeof(arg));

	/* One driver goes to ERROR by itself and answers nothing else from then on (rule 11). */
	if (ret == -EIO) {
		*state = VFM_STATE_ERROR;
		return 0;
	}
	if (!ret && arg.device_state >= VFM_STATE_COUNT)
		return -EPROTO;
	if (!ret)
		*state = (enum vfm_state)arg.device_state;
	return ret;
}

static bool is_saving(enum vfm_state state)
{
	return state == VFM_STATE_PRE_COPY || state == VFM_STATE_PRE_COPY_P2P ||
	       state == VFM_STATE_STOP_COPY;
}

/* Which session goes with a state; -1: none. */
static int session_of(enum vfm_state state)
{
	if (state == VFM_STATE_RESUMING)
		return 1;
	return is_saving(state) ? 0 : -1;
}

/* An arc between saving states goes on with its session. A new one means that the device was reset
 * behind our back and began anew: what was read so far belongs to no state any more. */
static bool began_anew(const struct vfio_device *d, enum vfm_state to, int fd)
{
	return fd >= 0 && d->data.fd >= 0 && !d->data.loading && !d->data.dead &&
	       is_saving(d->dev.state) && is_saving(to);
}

/* The device is in @state; @fd: what the arc gave, -1: nothing (rule 12). */
static int take_session(struct vfio_device *d, enum vfm_state state, int fd)
{
	int session = session_of(state);

	if (began_anew(d, state, fd)) {
		d->sys->close(d->sys, fd);
		vfio_data_close(&d->data);
		return -ENODEV;
	}
	if (fd >= 0 && session < 0) {
		d->sys->close(d->sys, fd);
		fd = -1;
	}
	if (session < 0)
		vfio_data_close(&d->data);
	else if (fd >= 0)
		vfio_data_open(&d->data, fd, session);
	else if (d->data.fd < 0 || d->data.loading != session)
		return -EBADF; /* somebody else's session: it was in that state before */
	return 0;
}

static int set_state(struct vfm_device *dev, enum vfm_state state)
{
	struct vfm_feature_mig_state arg = {.device_state = state, .data_fd = -1};
	struct vfio_device *d = device_of(dev);
	int ret;

	vfio_data_resume(&d->data);
	/* What could not be written is missing, even where the driver forgot that. */
	if (d->data.fd >= 0 && d->data.loading && d->data.dead)
		return d->data.dead;
	ret = feature(d, VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET, &arg, sizeof(arg));
	return ret < 0 ? ret : take_session(d, state, arg.data_fd);
}

static int reset(struct vfm_device *dev)
{
	struct vfio_device *d = device_of(dev);
	int ret;

	vfio_data_resume(&d->data);
	ret = d->sys->ioctl(d->sys, d->fds.device, VFM_IOCTL_DEVICE_RESET, NULL);
	if (ret < 0)
		return ret;
	vfio_data_close(&d->data);
	return 0;
}

/* ---- data ---- */

static ssize_t read_data(struct vfm_device *dev, void *buf, size_t len)
{
	return vfio_data_read(&device_of(dev)->data, buf, len, dev->state == VFM_STATE_STOP_COPY);
}

static int write_data(struct vfm_device *dev, const void *buf, size_t len)
{
	return vfio_data_write(&device_of(dev)->data, buf, len);
}

static int wait_data(struct vfm_device *dev, int timeout_ms)
{
	return vfio_data_wait(&device_of(dev)->data, timeout_ms);
}

static void cancel(struct vfm_device *dev)
{
	vfio_data_cancel(&device_of(dev)->data);
}

/* ---- sizes ---- */

static int precopy_info(struct vfm_device *dev, struct device_precopy *info)
{
	struct vfm_precopy_info arg = {.argsz = sizeof(arg)};
	struct vfio_device *d = device_of(dev);
	int ret;

	*info = (struct device_precopy){VFM_SIZE_UNKNOWN, VFM_SIZE_UNKNOWN, false};
	if (d->data.fd < 0 || d->data.loading)
		return -EBADF;
	ret = d->sys->ioctl(d->sys, d->data.fd, VFM_IOCTL_MIG_GET_PRECOPY_INFO, &arg);
	if (ret < 0)
		return ret;
	info->initial_bytes = arg.initial_bytes;
	info->dirty_bytes = arg.dirty_bytes;
	info->reinit = dev->info.has_reinit && arg.flags & VFM_PRECOPY_INFO_REINIT;
	return 0;
}

static int stop_copy_size(struct vfm_device *dev, uint64_t *size)
{
	struct vfm_feature_mig_data_size arg = {0};
	int ret;

	*size = VFM_SIZE_UNKNOWN;
	if (!dev->info.has_data_size)
		return 0;
	ret = feature(device_of(dev), VFM_FEATURE_MIG_DATA_SIZE | VFM_FEATURE_GET, &arg,
		      sizeof(arg));
	if (ret < 0)
		return ret;
	if (arg.stop_copy_length > INT64_MAX)
		return -EIO; /* an errno that the driver stored as a size (rule 15) */
	*size = arg.stop_copy_length;
	return 0;
}

/* ---- dirty pages ---- */

static int log_start(struct vfm_device *dev, const struct device_range *ranges, unsigned count,
		     uint64_t *page_size)
{
	return vfio_log_start(&device_of(dev)->log, ranges, count, page_size, &dev->info.tracker,
			      &dev->log_refusal);
}

static int log_stop(struct vfm_device *dev)
{
	return vfio_log_stop(&device_of(dev)->log);
}

static int log_report(struct vfm_device *dev, uint64_t iova, uint64_t size, uint64_t page_size,
		      uint64_t *bitmap)
{
	return vfio_log_report(&device_of(dev)->log, iova, size, page_size, bitmap);
}

static void destroy(struct vfm_device *dev)
{
	struct vfio_device *d = device_of(dev);

	vfio_log_destroy(&d->log);

	vfio_data_destroy(&d->data);
	free(d);
}

static const struct device_ops ops = {
	.backend = "vfio",
	.get_state = get_state,
	.set_state = set_state,
	.reset = reset,
	.read = read_data,
	.write = write_data,
	.wait = wait_data,
	.precopy_info = precopy_info,
	.stop_copy_size = stop_copy_size,
	.log_start = log_start,
	.log_stop = log_stop,
	.log_report = log_report,
	.cancel = cancel,
	.destroy = destroy,
};

/* ---- making one ---- */

static uint16_t config_u16(const unsigned char *config, unsigned at)
{
	return (uint16_t)(config[at] | config[at + 1] << 8);
}

/* Of other devices the region with that number is something else. */
static bool has_config(struct vfio_device *d)
{
	struct vfm_vfio_device device = {.size = sizeof(device)};

	return vfio_get_device(d->sys, d->fds.device, &device) == 0 &&
	       (device.flags & VFM_DEVICE_FLAG_PCI);
}

static void read_identity(struct vfio_device *d, struct vfm_device_info *info)
{
	unsigned char config[64];

	if (!has_config(d) ||
	    vfio_region_read(d->sys, d->fds.device, VFM_PCI_CONFIG_REGION, 0, config,
			     sizeof(config)) < 0)
		memset(config, 0xff, sizeof(config));
	info->pci_vendor = config_u16(config, 0x00);
	info->pci_device = config_u16(config, 0x02);
	info->pci_subsystem_vendor = config_u16(config, 0x2c);
	info->pci_subsystem = config_u16(config, 0x2e);
}

static uint32_t read_flags(struct vfio_device *d)
{
	const uint32_t known = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY;
	struct vfm_feature_migration arg = {0};

	if (feature(d, VFM_FEATURE_MIGRATION | VFM_FEATURE_GET, &arg, sizeof(arg)) < 0)
		return 0;
	return (uint32_t)arg.flags & known;
}

/* The opt-in is the open device's, not the driver's: for each open (rule 6). */
static void read_info(struct vfio_device *d, struct vfm_device_info *info)
{
	read_identity(d, info);
	info->mig_flags = read_flags(d);
	if (!info->mig_flags)
		return;
	info->tracker = vfio_log_probe(&d->log);
	info->has_dma_logging = info->tracker == VFM_TRACKER_DEVICE;
	info->has_data_size = vfio_feature_probe(d->sys, d->fds.device,
						 VFM_FEATURE_MIG_DATA_SIZE | VFM_FEATURE_GET);
	if (!(info->mig_flags & VFM_MIG_PRE_COPY))
		return;
	info->has_precopy_info = 1;
	info->has_reinit = feature(d, VFM_FEATURE_MIG_PRECOPY_INFOV2 | VFM_FEATURE_SET, NULL,
				   0) == 0;
}

int vfio_device_new(const struct vfio_sys *sys, const struct vfm_vfio_fds *fds, const char *name,
		    struct vfm_device **device)
{
	struct vfio_device *made = calloc(1, sizeof(*made));
	int ret = made ? vfio_data_init(&made->data, sys) : -ENOMEM;

	if (ret < 0) {
		free(made);
		return ret;
	}
	made->sys = sys;
	made->fds = *fds;
	vfio_log_init(&made->log, sys, &made->fds);
	read_info(made, &made->dev.info);
	ret = device_init(&made->dev, &ops, name);
	if (ret < 0)
		destroy(&made->dev);
	else
		*device = &made->dev;
	return ret;
}

VFM_API int vfm_device_new_vfio_fds(const struct vfm_vfio_fds *fds, const char *name,
				    struct vfm_device **device)
{
	if (fds->size < sizeof(*fds))
		return -EINVAL;
	return vfio_device_new(&vfio_sys_kernel, fds, name, device);
}

VFM_API int vfm_device_new_vfio(struct vfm_vfio *vfio, const char *name,
				struct vfm_device **device)
{
	struct vfm_vfio_fds fds = {
		.size = sizeof(fds),
		.device = vfio->fd,
		.iommufd = vfio->hwpt ? vfio->space->iommufd : -1,
		.hwpt = vfio->hwpt,
		.container = vfio->group ? vfio->space->container : -1,
	};

	return vfio_device_new(vfio->sys, &fds, name, device);
}
