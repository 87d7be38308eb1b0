/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Guest memory: which of it the server may use, and its requests to read and write it.
 *
 * The table of mappings is sorted by iova without overlaps. A mapping is in it from before the
 * server hears of it until after it let go, so that each of its requests finds what it may rely on.
 *
 * A server's request is answered on the reader's thread, out of one bounce buffer of max_data_xfer
 * bytes: memory is the owner's, who may have it anywhere, so the callbacks copy.
 *
 * Limit: while a reply is being sent nothing is read. A server that sends on without reading,
 * while its requests wait for replies, stops both ends until a timeout loses it; the protocol's
 * separate socket for such servers is not offered.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/checked.h"
#include "device/vfio-user-client.h"

/* ---- the table; lock is held in all of these ---- */

/* The place of the first mapping that ends behind @iova. */
static size_t map_find(const struct vfm_vfio_user *client, uint64_t iova)
{
	size_t low = 0, high = client->map_count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct vfio_user_map *map = &client->maps[mid];

		if (iova > map->iova && iova - map->iova >= map->size)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static int map_room(struct vfm_vfio_user *client)
{
	size_t room = client->map_room ? client->map_room * 2 : 16;
	struct vfio_user_map *maps;

	if (client->map_count < client->map_room)
		return 0;
	maps = reallocarray(client->maps, room, sizeof(*maps));
	if (!maps)
		return -ENOMEM;
	client->maps = maps;
	client->map_room = room;
	return 0;
}

static int map_insert(struct vfm_vfio_user *client, const struct vfio_user_map *map)
{
	size_t at = map_find(client, map->iova);

	if (client->map_count >= client->agreed.max_dma_maps)
		return -ENOSPC;
	if (at < client->map_count &&
	    ranges_overlap(map->iova, map->size, client->maps[at].iova, client->maps[at].size))
		return -EEXIST;
	if (map_room(client) < 0)
		return -ENOMEM;
	memmove(&client->maps[at + 1], &client->maps[at],
		(client->map_count - at) * sizeof(*client->maps));
	client->maps[at] = *map;
	client->map_count++;
	return 0;
}

static const struct vfio_user_map *map_exact(const struct vfm_vfio_user *client, uint64_t iova,
					     uint64_t size)
{
	size_t at = map_find(client, iova);
	const struct vfio_user_map *map = &client->maps[at];

	return at < client->map_count && map->iova == iova && map->size == size ? map : NULL;
}

static void map_remove(struct vfm_vfio_user *client, uint64_t iova, uint64_t size)
{
	const struct vfio_user_map *map = map_exact(client, iova, size);
	size_t at;

	if (!map)
		return;
	at = (size_t)(map - client->maps);
	client->map_count--;
	memmove(&client->maps[at], &client->maps[at + 1],
		(client->map_count - at) * sizeof(*client->maps));
}

/* ---- mapping ---- */

static void forget(struct vfm_vfio_user *client, uint64_t iova, uint64_t size)
{
	pthread_mutex_lock(&client->lock);
	map_remove(client, iova, size);
	pthread_mutex_unlock(&client->lock);
}

static int remember(struct vfm_vfio_user *client, uint64_t iova, uint64_t size, uint32_t flags)
{
	const struct vfio_user_map map = {.iova = iova, .size = size, .flags = flags};
	int ret;

	pthread_mutex_lock(&client->lock);
	ret = map_insert(client, &map);
	pthread_mutex_unlock(&client->lock);
	return ret;
}

VFM_API int vfm_vfio_user_dma_map(struct vfm_vfio_user *client, uint64_t iova, uint64_t size,
				  uint32_t flags, int fd, uint64_t offset)
{
	struct vfm_vfio_user_dma_map map = {
		.argsz = sizeof(map), .flags = flags, .offset = offset, .addr = iova, .size = size};
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DMA_MAP,
		.out = {{&map, sizeof(map)}},
		.fds = &fd, .fd_count = fd >= 0,
		.slack = sizeof(map),
	};
	uint64_t last;
	int ret;

	if (!size || !checked_add_u64(iova, size - 1, &last) ||
	    flags & ~(VFM_VFIO_USER_DMA_READABLE | VFM_VFIO_USER_DMA_WRITEABLE))
		return -EINVAL;
	ret = remember(client, iova, size, flags);
	if (ret < 0)
		return ret;
	ret = vfio_user_call(client, &call);
	/* After a silence the server may yet map it, so it stays in the table. */
	if (ret < 0 && ret != -ETIMEDOUT)
		forget(client, iova, size);
	return ret;
}

VFM_API int vfm_vfio_user_dma_unmap(struct vfm_vfio_user *client, uint64_t iova, uint64_t size)
{
	struct vfm_vfio_user_dma_unmap unmap = {
		.argsz = sizeof(unmap), .addr = iova, .size = size};
	struct vfio_user_call call = {
		.command = VFM_VFIO_USER_DMA_UNMAP,
		.out = {{&unmap, sizeof(unmap)}},
		.slack = sizeof(unmap),
	};
	bool known;
	int ret;

	pthread_mutex_lock(&client->lock);
	known = map_exact(client, iova, size) != NULL;
	pthread_mutex_unlock(&client->lock);
	if (!known)
		return -ENOENT;
	ret = vfio_user_call(client, &call);
	if (!ret)
		forget(client, iova, size);
	return ret;
}

bool vfio_user_next_mapped(struct vfm_vfio_user *client, uint64_t iova, uint64_t size,
			   struct vfio_user_map *piece)
{
	const struct vfio_user_map *map;
	uint64_t skip;
	size_t at;
	bool found;

	pthread_mutex_lock(&client->lock);
	at = map_find(client, iova);
	map = at < client->map_count ? &client->maps[at] : NULL;
	found = map && ranges_overlap(iova, size, map->iova, map->size);
	if (found) {
		piece->flags = map->flags;
		piece->iova = MAX(iova, map->iova);
		skip = piece->iova - iova;
		piece->size = MIN(size - skip, map->size - (piece->iova - map->iova));
	}
	pthread_mutex_unlock(&client->lock);
	return found;
}

/* ---- requests of the server ---- */

static int reply(struct vfm_vfio_user *client, const struct vfm_vfio_user_header *asked, int error,
		 struct vfm_vfio_user_dma_rw *rw, void *data, size_t len)
{
	size_t head = error || !rw ? 0 : sizeof(*rw);
	struct vfm_vfio_user_header header = {
		.id = asked->id,
		.command = asked->command,
		.size = (uint32_t)(sizeof(header) + head + len),
		.flags = VFM_VFIO_USER_TYPE_REPLY | (error ? VFM_VFIO_USER_FLAG_ERROR : 0),
		.error = (uint32_t)-error,
	};
	struct iovec iov[] = {{&header, sizeof(header)}, {rw, head}, {data, len}};
	int ret;

	if (asked->flags & VFM_VFIO_USER_FLAG_NO_REPLY)
		return 0;
	ret = vfio_user_send(client, iov, ARRAY_SIZE(iov), NULL, 0, NULL);
	if (ret == -ETIMEDOUT)
		return vfio_user_lose(client, "the server does not take the reply it asked for");
	return ret;
}

/* Is the whole range inside one mapping that allows it? */
static bool allowed(struct vfm_vfio_user *client, uint64_t iova, uint64_t size, uint32_t flag)
{
	struct vfio_user_map piece;

	return size && vfio_user_next_mapped(client, iova, size, &piece) && piece.iova == iova &&
	       piece.size == size && (piece.flags & flag);
}

static int check_access(struct vfm_vfio_user *client, const struct vfm_vfio_user_dma_rw *rw,
			uint32_t flag, bool has_callback)
{
	if (!has_callback)
		return -EOPNOTSUPP;
	if (rw->count > client->options.max_data_xfer)
		return -EINVAL;
	if (!allowed(client, rw->addr, rw->count, flag))
		return -EFAULT;
	if (!client->bounce)
		client->bounce = malloc(client->options.max_data_xfer);
	return client->bounce ? 0 : -ENOMEM;
}

static int serve_read(struct vfm_vfio_user *client, const struct vfm_vfio_user_header *header,
		      struct vfm_vfio_user_dma_rw *rw)
{
	const struct vfm_vfio_user_options *options = &client->options;
	int ret = check_access(client, rw, VFM_VFIO_USER_DMA_READABLE, options->dma_read);

	if (!ret)
		ret = options->dma_read(options->opaque, rw->addr, client->bounce, rw->count);
	return reply(client, header, MIN(ret, 0), rw, client->bounce, ret < 0 ? 0 : rw->count);
}

/* @data bytes follow in the stream, the same as rw->count. */
static int serve_write(struct vfm_vfio_user *client, const struct vfm_vfio_user_header *header,
		       struct vfm_vfio_user_dma_rw *rw, size_t data)
{
	const struct vfm_vfio_user_options *options = &client->options;
	int result = check_access(client, rw, VFM_VFIO_USER_DMA_WRITEABLE, options->dma_write);
	struct iovec iov = {.iov_base = client->bounce, .iov_len = data};
	int ret = result < 0 ? vfio_user_drain(client, data)
			     : vfio_user_receive(client, &iov, 1, NULL);

	if (ret < 0)
		return ret;
	if (!result)
		result = options->dma_write(options->opaque, rw->addr, client->bounce, rw->count);
	return reply(client, header, MIN(result, 0), rw, NULL, 0);
}

int vfio_user_serve(struct vfm_vfio_user *client, const struct vfm_vfio_user_header *header)
{
	struct vfm_vfio_user_dma_rw rw;
	struct iovec iov = {.iov_base = &rw, .iov_len = sizeof(rw)};
	size_t size = header->size - sizeof(*header);
	bool is_write = header->command == VFM_VFIO_USER_DMA_WRITE;
	int ret;

	if (!is_write && header->command != VFM_VFIO_USER_DMA_READ) {
		ret = vfio_user_drain(client, size);
		return ret < 0 ? ret : reply(client, header, -EOPNOTSUPP, NULL, NULL, 0);
	}
	if (size < sizeof(rw))
		return vfio_user_lose(client, "a request %u of %zu bytes", header->command, size);
	ret = vfio_user_receive(client, &iov, 1, NULL);
	if (ret < 0)
		return ret;
	size -= sizeof(rw);
	if (size != (is_write ? rw.count : 0))
		return vfio_user_lose(client, "a request %u for %llu bytes with %zu bytes",
				      header->command, (unsigned long long)rw.count, size);
	return is_write ? serve_write(client, header, &rw, size) : serve_read(client, header, &rw);
}
