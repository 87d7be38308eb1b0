/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/computed.h"

#include <errno.h>
#include <string.h>
#include "base/compiler.h"

static struct computed *of(struct vfm_device *dev)
{
	return (struct computed *)dev;
}

static uint64_t word_at(uint64_t offset)
{
	return (offset + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static int get_state(struct vfm_device *dev, enum vfm_state *state)
{
	*state = dev->state;
	return 0;
}

static int set_state(struct vfm_device *dev, enum vfm_state state)
{
	if (dev->state == VFM_STATE_RESUMING && state == VFM_STATE_STOP &&
	    of(dev)->at != of(dev)->size)
		return -EBADMSG;
	if (state == VFM_STATE_RESUMING || state == VFM_STATE_STOP_COPY)
		of(dev)->at = 0;
	return 0;
}

static int reset(struct vfm_device *dev)
{
	dev->state = VFM_STATE_RUNNING;
	return 0;
}

static ssize_t read_state(struct vfm_device *dev, void *buf, size_t len)
{
	struct computed *device = of(dev);
	size_t size = (size_t)MIN((uint64_t)len, device->size - device->at);

	for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
		uint64_t word = word_at(device->at + i);

		memcpy((char *)buf + i, &word, sizeof(word));
	}
	device->at += size;
	return (ssize_t)size;
}

static int write_state(struct vfm_device *dev, const void *buf, size_t len)
{
	struct computed *device = of(dev);

	for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
		uint64_t word = word_at(device->at + i);

		if (memcmp((const char *)buf + i, &word, sizeof(word)))
			return -EBADMSG;
	}
	device->at += len;
	return 0;
}

static int stop_copy_size(struct vfm_device *dev, uint64_t *size)
{
	*size = of(dev)->size;
	return 0;
}

/* They do no DMA, so that there is nothing to log. */
static int log_start(struct vfm_device *dev UNUSED, const struct device_range *ranges UNUSED,
		     unsigned count UNUSED, uint64_t *page_size UNUSED)
{
	return 0;
}

static int log_stop(struct vfm_device *dev UNUSED)
{
	return 0;
}

static int log_report(struct vfm_device *dev UNUSED, uint64_t iova UNUSED, uint64_t size UNUSED,
		      uint64_t page_size UNUSED, uint64_t *bitmap UNUSED)
{
	return 0;
}

static const struct device_ops ops = {
	.backend = "computed",
	.get_state = get_state,
	.set_state = set_state,
	.reset = reset,
	.read = read_state,
	.write = write_state,
	.stop_copy_size = stop_copy_size,
	.log_start = log_start,
	.log_stop = log_stop,
	.log_report = log_report,
};

int computed_init(struct computed *device, const char *name, uint64_t size)
{
	memset(device, 0, sizeof(*device));
	device->size = size;
	device->dev.info.mig_flags = VFM_MIG_STOP_COPY | VFM_MIG_P2P;
	device->dev.info.has_dma_logging = 1;
	device->dev.info.pci_vendor = 0x1234;
	return device_init(&device->dev, &ops, name);
}
