/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device behind a vfio-user client.
 *
 * What differs from the kernel: data travels in requests instead of through an fd, so there is no
 * poll, and wait() is left to the caller's timer; sizes are known only with the extension. What
 * servers do differently from each other is settled here or in the client:
 *
 *	read to size 0, padded replies, clipped dirty logs, EINVAL and ENOTTY   in the client
 *	the state at connect need not be RUNNING                                device_init reads it
 *	a reset is refused in STOP and STOP_COPY                                by way of RESUMING
 *	GET_INFO and the like are refused there too                             not used here
 *
 * Cancelling holds the client's data requests until the next set_state or reset.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <vfio-migrate/device.h>
#include "base/cleanup.h"
#include "device/device.h"
#include "device/vfio-user-client.h"

struct vfio_user_device {
	struct vfm_device dev; /* first, so that the two pointers are one */
	struct vfm_vfio_user *client;
};

static struct vfm_vfio_user *client_of(struct vfm_device *dev)
{
	return container_of(dev, struct vfio_user_device, dev)->client;
}

/* ---- states ---- */

static int get_state(struct vfm_device *dev, enum vfm_state *state)
{
	return vfm_vfio_user_get_mig_state(client_of(dev), state);
}

static int set_state(struct vfm_device *dev, enum vfm_state state)
{
	vfio_user_hold(client_of(dev), false);
	return vfm_vfio_user_set_mig_state(client_of(dev), state);
}

/* A stopped device that refuses a reset accepts it in RESUMING: there, unlike in RUNNING, it does
 * nothing with the state that is to be thrown away. */
static int reset_stopped(struct vfm_vfio_user *client, int refusal)
{
	enum vfm_state state;
	int ret = vfm_vfio_user_get_mig_state(client, &state);

	if (ret < 0 || (state != VFM_STATE_STOP && state != VFM_STATE_STOP_COPY))
		return refusal;
	ret = vfm_vfio_user_set_mig_state(client, VFM_STATE_RESUMING);
	return ret < 0 ? refusal : vfm_vfio_user_reset(client);
}

static int reset(struct vfm_device *dev)
{
	struct vfm_vfio_user *client = client_of(dev);
	int ret;

	vfio_user_hold(client, false);
	ret = vfm_vfio_user_reset(client);
	return ret == -EINVAL ? reset_stopped(client, ret) : ret;
}

/* ---- data ---- */

static ssize_t read_data(struct vfm_device *dev, void *buf, size_t len)
{
	ssize_t ret = vfm_vfio_user_mig_data_read(client_of(dev), buf, len);

	return ret == -ENOMSG ? 0 : ret;
}

static int write_data(struct vfm_device *dev, const void *buf, size_t len)
{
	return vfm_vfio_user_mig_data_write(client_of(dev), buf, len);
}

static int precopy_info(struct vfm_device *dev, struct device_precopy *info)
{
	struct vfm_precopy_info got;
	int ret;

	*info = (struct device_precopy){VFM_SIZE_UNKNOWN, VFM_SIZE_UNKNOWN, false};
	if (!dev->info.has_precopy_info)
		return 0;
	ret = vfm_vfio_user_get_precopy_info(client_of(dev), &got);
	if (ret < 0)
		return ret;
	info->initial_bytes = got.initial_bytes;
	info->dirty_bytes = got.dirty_bytes;
	info->reinit = got.flags & VFM_PRECOPY_INFO_REINIT;
	return 0;
}

static int stop_copy_size(struct vfm_device *dev, uint64_t *size)
{
	return vfm_vfio_user_get_data_size(client_of(dev), size);
}

/* ---- dirty logging ---- */

static int log_start(struct vfm_device *dev, const struct device_range *ranges, unsigned count,
		     uint64_t *page_size)
{
	CLEANUP(cleanup_free) struct vfm_vfio_user_logging_range *wire = NULL;

	/* More ranges than a request takes: log everything, which is no less. */
	if (count > VFM_VFIO_USER_LOG_RANGES_MAX)
		count = 0;
	if (count) {
		wire = calloc(count, sizeof(*wire));
		if (!wire)
			return -ENOMEM;
	}
	for (unsigned i = 0; i < count; i++) {
		wire[i].iova = ranges[i].iova;
		wire[i].length = ranges[i].size;
	}
	return vfm_vfio_user_log_start(client_of(dev), wire, count, page_size);
}

static int log_stop(struct vfm_device *dev)
{
	return vfm_vfio_user_log_stop(client_of(dev));
}

static int log_report(struct vfm_device *dev, uint64_t iova, uint64_t size, uint64_t page_size,
		      uint64_t *bitmap)
{
	return vfm_vfio_user_log_report(client_of(dev), iova, size, page_size, bitmap);
}

static void cancel(struct vfm_device *dev)
{
	vfio_user_hold(client_of(dev), true);
	vfm_vfio_user_cancel(client_of(dev));
}

static void destroy(struct vfm_device *dev)
{
	free(container_of(dev, struct vfio_user_device, dev));
}

static const struct device_ops ops = {
	.backend = "vfio-user",
	.get_state = get_state,
	.set_state = set_state,
	.reset = reset,
	.read = read_data,
	.write = write_data,
	.precopy_info = precopy_info,
	.stop_copy_size = stop_copy_size,
	.log_start = log_start,
	.log_stop = log_stop,
	.log_report = log_report,
	.cancel = cancel,
	.destroy = destroy,
};

/* ---- making one ---- */

/* Failures after which it makes no sense to go on; others only mean that something is missing. */
static bool is_fatal(int ret)
{
	return ret == -ENOTCONN || ret == -ETIMEDOUT || ret == -ENOMEM || ret == -ECANCELED;
}

static uint16_t config_u16(const unsigned char *config, unsigned at)
{
	return (uint16_t)(config[at] | config[at + 1] << 8);
}

static int read_identity(struct vfm_vfio_user *client, struct vfm_device_info *info)
{
	unsigned char config[64];
	int ret = vfm_vfio_user_region_read(client, VFM_PCI_CONFIG_REGION, 0, config,
					    sizeof(config));

	if (ret < 0)
		memset(config, 0xff, sizeof(config));
	info->pci_vendor = config_u16(config, 0x00);
	info->pci_device = config_u16(config, 0x02);
	info->pci_subsystem_vendor = config_u16(config, 0x2c);
	info->pci_subsystem = config_u16(config, 0x2e);
	return is_fatal(ret) ? ret : 0;
}

static int probe_logging(struct vfm_vfio_user *client, struct vfm_device_info *info)
{
	int start = vfm_vfio_user_feature_probe(client,
						VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET);
	int report = start > 0 ? vfm_vfio_user_feature_probe(
					 client, VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET)
			       : start;

	info->has_dma_logging = report > 0;
	return is_fatal(report) ? report : 0;
}

static int probe_precopy(struct vfm_vfio_user *client, struct vfm_device_info *info)
{
	int ret;

	if (!(info->mig_flags & VFM_MIG_PRE_COPY) ||
	    !(client->agreed.ext & VFM_VFIO_USER_EXT_PRECOPY_INFO))
		return 0;
	info->has_precopy_info = 1;
	ret = vfm_vfio_user_optin_precopy_info(client);
	info->has_reinit = ret == 0;
	return is_fatal(ret) ? ret : 0;
}

static int read_info(struct vfm_vfio_user *client, struct vfm_device_info *info)
{
	int ret = read_identity(client, info);

	if (!ret)
		ret = vfm_vfio_user_get_mig_flags(client, &info->mig_flags);
	if (ret < 0 || !info->mig_flags)
		return ret;
	ret = probe_logging(client, info);
	if (!ret)
		ret = probe_precopy(client, info);
	info->has_data_size = !!(client->agreed.ext & VFM_VFIO_USER_EXT_DATA_SIZE);
	return ret;
}

VFM_API int vfm_device_new_vfio_user(struct vfm_vfio_user *client, const char *name,
				     struct vfm_device **device)
{
	struct vfio_user_device *made = calloc(1, sizeof(*made));
	int ret;

	if (!made)
		return -ENOMEM;
	made->client = client;
	ret = read_info(client, &made->dev.info);
	if (!ret)
		ret = device_init(&made->dev, &ops, name);
	if (ret < 0)
		free(made);
	else
		*device = &made->dev;
	return ret;
}
