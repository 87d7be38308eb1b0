/* SPDX-License-Identifier: BSD-3-Clause */
/* The device and its regions: what they are, and access through the socket. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/checked.h"
#include "base/cleanup.h"
#include "device/region-caps.h"
#include "device/vfio-user-client.h"

#define REGION_FIRST_TRY 4096u /* bytes of region info that we ask for at first */

VFM_API int vfm_vfio_user_get_device(struct vfm_vfio_user *client,
				     struct vfm_vfio_user_device *device)
{
	struct vfm_vfio_user_device_info ask = {.argsz = sizeof(ask)};
	struct vfm_vfio_user_device_info info;
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DEVICE_GET_INFO,
		.out = {{&ask, sizeof(ask)}},
		.reply = &info, .reply_min = sizeof(info), .reply_max = sizeof(info),
		.slack = VFM_VFIO_USER_FIXED_MAX,
	};
	int ret;

	if (device->size < sizeof(*device))
		return -EINVAL;
	ret = vfio_user_call(client, &call);
	if (ret < 0)
		return ret;
	if (info.num_regions > VFM_VFIO_USER_REGIONS_MAX || info.num_irqs > VFM_VFIO_USER_IRQS_MAX)
		return vfio_user_lose(client, "a device with %u regions and %u interrupt types",
				      info.num_regions, info.num_irqs);
	device->flags = info.flags;
	device->num_regions = info.num_regions;
	device->num_irqs = info.num_irqs;
	return 0;
}

static void close_list(int *fds, uint32_t *count)
{
	for (uint32_t i = 0; i < *count; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	*count = 0;
}

/* ---- region info ---- */

VFM_API void vfm_vfio_user_region_clear(struct vfm_vfio_user_region *region)
{
	close_list(region->fds, &region->fd_count);
	free(region->areas);
	region->areas = NULL;
	region->area_count = 0;
}

static int take_caps(struct vfm_vfio_user_region *region, const unsigned char *reply, size_t size,
		     uint32_t room)
{
	struct region_caps caps;
	int ret = region_caps_read(&caps, reply, size, room);

	region->type = caps.type;
	region->subtype = caps.subtype;
	region->msix_mappable = caps.msix_mappable;
	region->has_sparse = caps.has_sparse;
	region->area_count = caps.area_count;
	region->areas = caps.areas;
	return ret;
}

/* One request with room for @room bytes; the fds are in @region. Bytes that came, or -errno. */
static int ask_region(struct vfm_vfio_user *client, uint32_t index, void *buf, uint32_t room,
		      struct vfm_vfio_user_region *region)
{
	struct vfm_vfio_user_region_info info = {.argsz = room, .index = index};
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DEVICE_GET_REGION_INFO,
		.out = {{&info, sizeof(info)}},
		.reply = buf, .reply_min = sizeof(info), .reply_max = room,
		.reply_fds = region->fds, .reply_fds_max = ARRAY_SIZE(region->fds),
	};
	int ret = vfio_user_call(client, &call);

	region->fd_count = call.reply_fd_count;
	if (ret < 0)
		return ret;
	return (int)call.reply_size;
}

static int take_region(struct vfm_vfio_user_region *region, const unsigned char *buf, size_t size,
		       uint32_t room)
{
	struct vfm_vfio_user_region_info info;

	memcpy(&info, buf, sizeof(info));
	if (info.index != region->index)
		return -EPROTO;
	region->flags = info.flags;
	region->bytes = info.size;
	region->offset = info.offset;
	return take_caps(region, buf, size, room);
}

/* How much room the full answer needs, 0: it is here. */
static uint32_t more_room(const unsigned char *buf, uint32_t room)
{
	struct vfm_vfio_user_region_info info;

	memcpy(&info, buf, sizeof(info));
	return info.argsz > room && info.argsz <= VFM_VFIO_USER_CAPS_MAX ? info.argsz : 0;
}

VFM_API int vfm_vfio_user_get_region(struct vfm_vfio_user *client, uint32_t index,
				     struct vfm_vfio_user_region *region)
{
	CLEANUP(cleanup_free) unsigned char *buf = NULL;
	uint32_t room = REGION_FIRST_TRY;
	int ret;

	if (region->size < sizeof(*region) || index >= VFM_VFIO_USER_REGIONS_MAX)
		return -EINVAL;
	memset((char *)region + sizeof(region->size), 0, sizeof(*region) - sizeof(region->size));
	region->index = index;
	buf = malloc(VFM_VFIO_USER_CAPS_MAX);
	if (!buf)
		return -ENOMEM;
	ret = ask_region(client, index, buf, room, region);
	if (ret > 0 && more_room(buf, room)) {
		room = more_room(buf, room);
		close_list(region->fds, &region->fd_count);
		ret = ask_region(client, index, buf, room, region);
	}
	if (ret > 0)
		ret = take_region(region, buf, (size_t)ret, room);
	if (ret < 0)
		vfm_vfio_user_region_clear(region);
	if (ret == -EPROTO)
		return vfio_user_lose(client, "the description of region %u makes no sense", index);
	return ret;
}

/* ---- regions served through fds ---- */

VFM_API void vfm_vfio_user_io_fds_clear(struct vfm_vfio_user_io_fds *io_fds)
{
	close_list(io_fds->fds, &io_fds->fd_count);
	free(io_fds->entries);
	io_fds->entries = NULL;
	io_fds->count = 0;
}

/* @buf has @size bytes of head and entries. The entries may be longer than those we know. */
static int take_io_fds(struct vfm_vfio_user_io_fds *io_fds, const unsigned char *buf, size_t size,
		       uint32_t index)
{
	struct vfm_vfio_user_region_io_fds head;
	size_t stride;

	memcpy(&head, buf, sizeof(head));
	if (head.index != index || head.count > VFM_VFIO_USER_IO_FDS_MAX || head.argsz > size)
		return -EPROTO;
	if (!head.count)
		return 0;
	stride = (size - sizeof(head)) / head.count;
	if (stride < sizeof(*io_fds->entries))
		return -EPROTO;
	io_fds->entries = calloc(head.count, sizeof(*io_fds->entries));
	if (!io_fds->entries)
		return -ENOMEM;
	io_fds->count = head.count;
	for (uint32_t i = 0; i < head.count; i++) {
		memcpy(&io_fds->entries[i], buf + sizeof(head) + i * stride,
		       sizeof(*io_fds->entries));
		if (io_fds->entries[i].fd_index >= io_fds->fd_count)
			return -EPROTO;
	}
	return 0;
}

VFM_API int vfm_vfio_user_get_io_fds(struct vfm_vfio_user *client, uint32_t index,
				     struct vfm_vfio_user_io_fds *io_fds)
{
	enum { ROOM = 32768 };
	CLEANUP(cleanup_free) unsigned char *buf = NULL;
	struct vfm_vfio_user_region_io_fds ask = {.argsz = ROOM, .index = index};
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DEVICE_GET_REGION_IO_FDS,
		.out = {{&ask, sizeof(ask)}},
		.reply_min = sizeof(ask), .reply_max = ROOM,
		.reply_fds = io_fds->fds, .reply_fds_max = ARRAY_SIZE(io_fds->fds),
	};
	int ret;

	if (io_fds->size < sizeof(*io_fds) || index >= VFM_VFIO_USER_REGIONS_MAX)
		return -EINVAL;
	memset((char *)io_fds + sizeof(io_fds->size), 0, sizeof(*io_fds) - sizeof(io_fds->size));
	call.reply = buf = malloc(ROOM);
	if (!buf)
		return -ENOMEM;
	ret = vfio_user_call(client, &call);
	io_fds->fd_count = call.reply_fd_count;
	if (!ret)
		ret = take_io_fds(io_fds, buf, call.reply_size, index);
	if (ret < 0)
		vfm_vfio_user_io_fds_clear(io_fds);
	if (ret == -EPROTO)
		return vfio_user_lose(client, "the I/O fds of region %u make no sense", index);
	return ret;
}

/* ---- access ---- */

/* The reply's head is what we asked for; a server that did less failed. */
static int check_rw(struct vfm_vfio_user *client, const struct vfm_vfio_user_region_rw *asked,
		    const struct vfm_vfio_user_region_rw *done, size_t data)
{
	if (done->count > asked->count || data > done->count)
		return vfio_user_lose(client, "%u bytes of region %u where %u were asked for",
				      done->count, asked->region, asked->count);
	return done->count == asked->count ? 0 : -EIO;
}

static int read_one(struct vfm_vfio_user *client, uint32_t region, uint64_t offset, void *buf,
		    uint32_t len)
{
	struct vfm_vfio_user_region_rw ask = {.offset = offset, .region = region, .count = len};
	struct vfm_vfio_user_region_rw done;
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_REGION_READ,
		.out = {{&ask, sizeof(ask)}},
		.reply = &done, .reply_min = sizeof(done), .reply_max = sizeof(done),
		.data = buf, .data_max = len,
	};
	int ret = vfio_user_call(client, &call);

	if (ret < 0)
		return ret;
	ret = check_rw(client, &ask, &done, call.reply_size - sizeof(done));
	if (!ret && call.reply_size - sizeof(done) != len)
		return vfio_user_lose(client, "a read of region %u that came without its data",
				      region);
	return ret;
}

static int write_one(struct vfm_vfio_user *client, uint32_t region, uint64_t offset,
		     const void *buf, uint32_t len)
{
	struct vfm_vfio_user_region_rw ask = {.offset = offset, .region = region, .count = len};
	struct vfm_vfio_user_region_rw done;
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_REGION_WRITE,
		.out = {{&ask, sizeof(ask)}, {(void *)buf, len}},
		.reply = &done, .reply_min = sizeof(done), .reply_max = sizeof(done),
	};
	int ret = vfio_user_call(client, &call);

	return ret < 0 ? ret : check_rw(client, &ask, &done, 0);
}

VFM_API int vfm_vfio_user_region_read(struct vfm_vfio_user *client, uint32_t region,
				      uint64_t offset, void *buf, size_t len)
{
	unsigned char *at = buf;
	uint32_t part;
	int ret = 0;

	for (; len && !ret; len -= part, at += part, offset += part) {
		part = (uint32_t)MIN(len, (size_t)client->agreed.max_data_xfer);
		ret = read_one(client, region, offset, at, part);
	}
	return ret;
}

VFM_API int vfm_vfio_user_region_write(struct vfm_vfio_user *client, uint32_t region,
				       uint64_t offset, const void *buf, size_t len)
{
	const unsigned char *at = buf;
	uint32_t part;
	int ret = 0;

	for (; len && !ret; len -= part, at += part, offset += part) {
		part = (uint32_t)MIN(len, (size_t)client->agreed.max_data_xfer);
		ret = write_one(client, region, offset, at, part);
	}
	return ret;
}

static int write_batch(struct vfm_vfio_user *client, const struct vfm_vfio_user_write_one *writes,
		       unsigned count)
{
	struct vfm_vfio_user_write_multi head = {.count = count};
	struct vfm_vfio_user_write_multi done;
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_REGION_WRITE_MULTI,
		.out = {{&head, sizeof(head)}, {(void *)writes, count * sizeof(*writes)}},
		.reply = &done, .reply_min = sizeof(done), .reply_max = sizeof(done),
	};
	int ret = vfio_user_call(client, &call);

	if (ret < 0)
		return ret;
	return done.count == count ? 0 : -EIO;
}

VFM_API int vfm_vfio_user_region_write_multi(struct vfm_vfio_user *client,
					     const struct vfm_vfio_user_write_one *writes,
					     unsigned count)
{
	unsigned part;
	int ret = 0;

	for (unsigned i = 0; i < count; i++)
		if (!writes[i].count || writes[i].count > sizeof(writes[i].data))
			return -EINVAL;
	for (unsigned i = 0; i < count && !ret; i += part) {
		part = MIN(count - i, client->agreed.write_multi ? VFM_VFIO_USER_WRITE_MULTI_MAX : 1);
		if (part > 1)
			ret = write_batch(client, writes + i, part);
		else
			ret = write_one(client, writes[i].region, writes[i].offset,
					(const char *)&writes[i] +
						offsetof(struct vfm_vfio_user_write_one, data),
					writes[i].count);
	}
	return ret;
}

VFM_API int vfm_vfio_user_reset(struct vfm_vfio_user *client)
{
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DEVICE_RESET,
		.cancellable = true,
		.timeout_ms = client->options.transition_timeout_ms,
	};

	return vfio_user_call(client, &call);
}
