/* SPDX-License-Identifier: BSD-3-Clause */
/* Devices that another process serves, through a unix socket. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include "base/checked.h"
#include "base/clock.h"
#include "vmm/attach.h"

#define DMA_ACCESS (VFM_VFIO_USER_DMA_READABLE | VFM_VFIO_USER_DMA_WRITEABLE)
#define SERVER_NS  (5 * NS_PER_SEC) /* for a server that was started together with us */
#define RETRY_NS   (20 * NS_PER_MSEC)

static struct vfm_vfio_user *client_of(const struct vmm_device *d)
{
	return d->handle;
}

static void on_log(void *opaque, enum vfm_log_level level, const char *line)
{
	struct vmm_device *d = opaque;

	if (!vmm_is_ending(d->vm))
		vmm_log(d->vm, level, "device %s: %s", d->name, line);
}

static void on_lost(void *opaque, const char *why)
{
	struct vmm_device *d = opaque;

	__atomic_store_n(&d->lost, true, __ATOMIC_RELAXED);
	if (!vmm_is_ending(d->vm))
		vmm_log(d->vm, VFM_LOG_ERROR, "device %s: lost: %s", d->name, why);
	vmm_notice(d->vm, VMM_NOTICE_LOST);
}

static bool absent(int ret)
{
	return ret == -ENOENT || ret == -ECONNREFUSED;
}

static int user_open(struct vmm_device *d, const char *path, char *why)
{
	struct vfm_vfio_user_options options = {
		.size = sizeof(options), .opaque = d, .log = on_log, .lost = on_lost};
	const struct timespec pause = {.tv_nsec = RETRY_NS};
	char reason[VFM_VFIO_USER_WHY_MAX] = "";
	uint64_t deadline = clock_after(SERVER_NS);
	struct vfm_vfio_user *client;
	int ret;

	for (;;) {
		ret = vfm_vfio_user_connect_path(path, &options, &client, reason, sizeof(reason));
		if (!absent(ret) || clock_ns() > deadline || vmm_is_ending(d->vm))
			break;
		nanosleep(&pause, NULL);
	}
	if (!ret)
		d->handle = client;
	else
		snprintf(why, VMM_WHY_MAX, "device %s: %.150s%s", d->name,
			 reason[0] ? reason : strerror(-ret),
			 absent(ret) ? ": is its server running?" : "");
	return ret;
}

static void user_close(struct vmm_device *d)
{
	vfm_vfio_user_free(client_of(d));
	d->handle = NULL;
}

static int user_get_info(struct vmm_device *d, uint32_t *regions, uint32_t *irqs)
{
	struct vfm_vfio_user_device info = {.size = sizeof(info)};
	int ret = vfm_vfio_user_get_device(client_of(d), &info);

	*regions = info.num_regions;
	*irqs = info.num_irqs;
	return ret;
}

static void take_areas(const struct vfm_vfio_user_region *r, struct attach_region *out)
{
	if (!r->has_sparse) {
		out->area[0] = (struct vfm_region_sparse_area){0, r->bytes};
		out->areas = 1;
		return;
	}
	out->areas = MIN(r->area_count, ATTACH_AREAS_MAX);
	if (out->areas)
		memcpy(out->area, r->areas, out->areas * sizeof(*out->area));
}

static int user_get_region(struct vmm_device *d, unsigned index, struct attach_region *out)
{
	struct vfm_vfio_user_region r = {.size = sizeof(r)};
	int ret = vfm_vfio_user_get_region(client_of(d), index, &r);

	*out = (struct attach_region){.fd = -1};
	if (ret < 0)
		return ret;
	out->bytes = r.bytes;
	out->flags = r.flags;
	out->offset = r.offset;
	if (r.fd_count) {
		out->fd = r.fds[0];
		r.fds[0] = -1;
		take_areas(&r, out);
	}
	vfm_vfio_user_region_clear(&r);
	return 0;
}

static int user_read(struct vmm_device *d, unsigned region, uint64_t offset, void *data, size_t len)
{
	return vfm_vfio_user_region_read(client_of(d), region, offset, data, len);
}

static int user_write(struct vmm_device *d, unsigned region, uint64_t offset, const void *data,
		      size_t len)
{
	return vfm_vfio_user_region_write(client_of(d), region, offset, data, len);
}

static int user_get_irq(struct vmm_device *d, unsigned index, uint32_t *flags, uint32_t *count)
{
	return vfm_vfio_user_get_irq(client_of(d), index, flags, count);
}

static int user_set_irq(struct vmm_device *d, unsigned index, int eventfd)
{
	return vfm_vfio_user_set_irq_fds(client_of(d), index, VFM_IRQ_SET_ACTION_TRIGGER, 0, 1,
					 &eventfd);
}

static int user_unmask(struct vmm_device *d, unsigned index)
{
	return vfm_vfio_user_set_irqs(client_of(d), index,
				      VFM_IRQ_SET_ACTION_UNMASK | VFM_IRQ_SET_DATA_NONE, 0, 1,
				      NULL);
}

static int user_map_peer(struct vmm_device *d, uint64_t gpa, uint64_t size, int fd, uint64_t offset)
{
	return vfm_vfio_user_dma_map(client_of(d), gpa, size, DMA_ACCESS, fd, offset);
}

static int user_map_memory(struct vmm_device *d)
{
	const struct vmm_memory *m = &d->vm->memory;
	unsigned i;
	int ret = 0;

	for (i = 0; i < m->count && !ret; i++)
		ret = vfm_vfio_user_dma_map(client_of(d), m->region[i].gpa, m->region[i].size,
					    DMA_ACCESS, m->fd, m->offset[i]);
	return ret;
}

static int user_new_device(struct vmm_device *d, struct vfm_device **device)
{
	return vfm_device_new_vfio_user(client_of(d), d->name, device);
}

const struct attach_ops attach_vfio_user = {
	.kind = "vfio-user",
	.open = user_open,
	.close = user_close,
	.get_info = user_get_info,
	.get_region = user_get_region,
	.read = user_read,
	.write = user_write,
	.get_irq = user_get_irq,
	.set_irq = user_set_irq,
	.unmask = user_unmask,
	.map_memory = user_map_memory,
	.map_peer = user_map_peer,
	.new_device = user_new_device,
};
