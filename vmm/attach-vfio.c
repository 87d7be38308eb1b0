/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Devices of the kernel. They share one address space, made with the first of them: guest memory is
 * mapped once for all.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <vfio-migrate/vfio.h>
#include "base/checked.h"
#include "vmm/attach.h"

static struct vfm_vfio *vfio_of(const struct vmm_device *d)
{
	return d->handle;
}

static int make_space(struct vmm *vm)
{
	const struct vmm_memory *m = &vm->memory;
	unsigned i;
	int ret;

	ret = vfm_vfio_space_new(vm->config.vfio_way, &vm->space);
	for (i = 0; i < m->count && !ret; i++)
		ret = vfm_vfio_space_map(vm->space, m->region[i].gpa, m->region[i].size,
					 m->region[i].host);
	return ret;
}

/* Into the memory that somebody else gave it we cannot map the guest's. */
static int check_memory(const struct vmm_device *d, const char *address, char *why)
{
	if (vfm_vfio_in_space(vfio_of(d)))
		return 0;
	snprintf(why, VMM_WHY_MAX, "device %s: %.40s is attached already, to memory that is not the "
		 "guest's: give an open character device that is not bound", d->name, address);
	return -EINVAL;
}

static int vfio_open(struct vmm_device *d, const char *address, char *why)
{
	char reason[VFM_VFIO_WHY_MAX] = "";
	struct vfm_vfio *vfio = NULL;
	int ret = 0;

	if (!d->vm->space)
		ret = make_space(d->vm);
	if (ret < 0)
		return attach_blame(d, why, ret, "mapping guest memory");
	ret = vfm_vfio_open(d->vm->space, address, &vfio, reason, sizeof(reason));
	d->handle = vfio;
	if (!ret)
		return check_memory(d, address, why);
	snprintf(why, VMM_WHY_MAX, "device %s: %.180s", d->name,
		 reason[0] ? reason : strerror(-ret));
	return ret;
}

static void vfio_close(struct vmm_device *d)
{
	vfm_vfio_close(vfio_of(d));
	d->handle = NULL;
}

static int vfio_get_info(struct vmm_device *d, uint32_t *regions, uint32_t *irqs)
{
	struct vfm_vfio_device info = {.size = sizeof(info)};
	int ret = vfm_vfio_get_device(vfio_of(d), &info);

	*regions = info.num_regions;
	*irqs = info.num_irqs;
	return ret;
}

/* The region's fd is the device's. */
static int take_areas(struct vmm_device *d, const struct vfm_vfio_region *r,
		      struct attach_region *out)
{
	if (!(r->flags & VFM_REGION_INFO_MMAP))
		return 0;
	out->fd = fcntl(vfm_vfio_fd(vfio_of(d)), F_DUPFD_CLOEXEC, 0);
	if (out->fd < 0)
		return -errno;
	out->areas = r->has_sparse ? MIN(r->area_count, ATTACH_AREAS_MAX) : 1;
	if (!r->has_sparse)
		out->area[0] = (struct vfm_region_sparse_area){0, r->bytes};
	else if (out->areas)
		memcpy(out->area, r->areas, out->areas * sizeof(*out->area));
	return 0;
}

static int vfio_get_region(struct vmm_device *d, unsigned index, struct attach_region *out)
{
	struct vfm_vfio_region r = {.size = sizeof(r)};
	int ret = vfm_vfio_get_region(vfio_of(d), index, &r);

	*out = (struct attach_region){.fd = -1};
	if (ret < 0)
		return ret;
	out->bytes = r.bytes;
	out->flags = r.flags;
	out->offset = r.offset;
	ret = take_areas(d, &r, out);
	vfm_vfio_region_clear(&r);
	return ret;
}

static int vfio_read(struct vmm_device *d, unsigned region, uint64_t offset, void *data, size_t len)
{
	return vfm_vfio_region_read(vfio_of(d), region, offset, data, len);
}

static int vfio_write(struct vmm_device *d, unsigned region, uint64_t offset, const void *data,
		      size_t len)
{
	return vfm_vfio_region_write(vfio_of(d), region, offset, data, len);
}

static int vfio_get_irq(struct vmm_device *d, unsigned index, uint32_t *flags, uint32_t *count)
{
	return vfm_vfio_get_irq(vfio_of(d), index, flags, count);
}

static int vfio_set_irq(struct vmm_device *d, unsigned index, int eventfd)
{
	return vfm_vfio_set_irq_fds(vfio_of(d), index, VFM_IRQ_SET_ACTION_TRIGGER, 0, 1, &eventfd);
}

static int vfio_unmask(struct vmm_device *d, unsigned index)
{
	return vfm_vfio_set_irqs(vfio_of(d), index,
				 VFM_IRQ_SET_ACTION_UNMASK | VFM_IRQ_SET_DATA_NONE, 0, 1, NULL);
}

static int vfio_map_memory(struct vmm_device *d)
{
	return 0; /* the space has it */
}

/* The guest's own mapping of the peer's BAR goes into the space. All devices share that: one of them
 * was first. */
static int vfio_map_peer(struct vmm_device *d, uint64_t gpa, uint64_t size, int fd, uint64_t offset)
{
	const struct vmm *vm = d->vm;
	unsigned i;
	int ret;

	for (i = 0; i < vm->mappings; i++)
		if (vm->mapping[i].gpa == gpa && vm->mapping[i].size == size)
			break;
	if (i == vm->mappings)
		return -ENODEV;
	ret = vfm_vfio_space_map(vm->space, gpa, size, vm->mapping[i].host);
	return ret == -EEXIST ? 0 : ret;
}

static int vfio_new_device(struct vmm_device *d, struct vfm_device **device)
{
	return vfm_device_new_vfio(vfio_of(d), d->name, device);
}

const struct attach_ops attach_vfio = {
	.kind = "vfio",
	.open = vfio_open,
	.close = vfio_close,
	.get_info = vfio_get_info,
	.get_region = vfio_get_region,
	.read = vfio_read,
	.write = vfio_write,
	.get_irq = vfio_get_irq,
	.set_irq = vfio_set_irq,
	.unmask = vfio_unmask,
	.map_memory = vfio_map_memory,
	.map_peer = vfio_map_peer,
	.new_device = vfio_new_device,
};
