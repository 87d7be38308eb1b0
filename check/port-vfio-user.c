/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user server. It has no data fd: the session is where MIG_DATA_READ and MIG_DATA_WRITE go.
 * Sizes and precopy info exist where both ends have our extension.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "check/port.h"

static int feature(struct port *port, uint32_t flags, void *payload, size_t in, size_t room)
{
	uint8_t out[PORT_PAYLOAD_MAX];
	size_t got = 0;
	int ret;

	if (room > sizeof(out))
		return -E2BIG;
	ret = vfm_vfio_user_feature(port->client, flags, in ? payload : NULL, in, out, room, &got);
	if (!ret && payload && flags & VFM_FEATURE_GET && got)
		memcpy(payload, out, MIN(got, room));
	return ret;
}

static int set_state(struct port *port, uint32_t state)
{
	struct vfm_vfio_user_mig_state set = {.device_state = state, .data_fd = UINT32_MAX};

	return vfm_vfio_user_feature(port->client, VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_SET,
				     &set, sizeof(set), NULL, 0, NULL);
}

static ssize_t read_data(struct port *port, void *buf, size_t len)
{
	return vfm_vfio_user_mig_data_read(port->client, buf, len);
}

static ssize_t write_data(struct port *port, const void *buf, size_t len)
{
	int ret = vfm_vfio_user_mig_data_write(port->client, buf, len);

	return ret ? ret : (ssize_t)len;
}

static int info(struct port *port, struct vfm_precopy_info *info)
{
	struct vfm_vfio_user_precopy_info got = {0};
	int ret = feature(port, VFM_VFIO_USER_FEATURE_PRECOPY_INFO | VFM_FEATURE_GET, &got, 0,
			  sizeof(got));

	if (ret)
		return ret;
	info->flags = got.flags;
	info->initial_bytes = got.initial_bytes;
	info->dirty_bytes = got.dirty_bytes;
	return 0;
}

static int reset(struct port *port)
{
	return vfm_vfio_user_reset(port->client);
}

static int log_start(struct port *port, uint64_t *page_size,
		     const struct vfm_feature_logging_range *ranges, uint32_t count)
{
	struct {
		struct vfm_vfio_user_logging_control control;
		struct vfm_vfio_user_logging_range ranges[PORT_RANGES_MAX];
	} payload = {.control = {.page_size = *page_size, .num_ranges = count}};
	struct vfm_vfio_user_logging_control taken = payload.control;
	int ret;

	if (count > PORT_RANGES_MAX)
		return -ENOTSUP;
	for (uint32_t i = 0; i < count; i++)
		payload.ranges[i] = (struct vfm_vfio_user_logging_range){ranges[i].iova,
									 ranges[i].length};
	ret = vfm_vfio_user_feature(port->client, VFM_FEATURE_DMA_LOGGING_START | VFM_FEATURE_SET,
				    &payload,
				    sizeof(payload.control) + count * sizeof(payload.ranges[0]),
				    &taken, sizeof(taken), NULL);
	if (!ret)
		*page_size = taken.page_size;
	return ret;
}

static int log_report(struct port *port, const struct vfm_feature_logging_range *range,
		      uint64_t page_size, uint64_t *bitmap)
{
	struct vfm_vfio_user_logging_report ask = {.iova = range->iova, .length = range->length,
						   .page_size = page_size};
	size_t bytes = page_size ? div_round_up(div_round_up(range->length, page_size), 64) * 8 : 0;
	uint8_t out[PORT_PAYLOAD_MAX];
	size_t got;
	int ret;

	if (bytes > sizeof(out) - sizeof(ask))
		return -E2BIG;
	ret = vfm_vfio_user_feature(port->client, VFM_FEATURE_DMA_LOGGING_REPORT | VFM_FEATURE_GET,
				    &ask, sizeof(ask), out, sizeof(ask) + bytes, &got);
	if (ret)
		return ret;
	if (got != sizeof(ask) + bytes)
		return -EPROTO;
	for (size_t i = 0; i < bytes / 8; i++) {
		uint64_t word;

		memcpy(&word, out + sizeof(ask) + i * 8, sizeof(word));
		bitmap[i] |= word;
	}
	return 0;
}

static int map(struct port *port, uint64_t iova, uint64_t size, const struct port_memory *memory)
{
	return vfm_vfio_user_dma_map(port->client, iova, size,
				     VFM_VFIO_USER_DMA_READABLE | VFM_VFIO_USER_DMA_WRITEABLE,
				     memory->fd, memory->offset);
}

static int unmap(struct port *port, uint64_t iova, uint64_t size)
{
	return vfm_vfio_user_dma_unmap(port->client, iova, size);
}

static int region_read(struct port *port, uint32_t region, uint64_t at, void *buf, size_t len)
{
	return vfm_vfio_user_region_read(port->client, region, at, buf, len);
}

static int region_write(struct port *port, uint32_t region, uint64_t at, const void *buf,
			size_t len)
{
	return vfm_vfio_user_region_write(port->client, region, at, buf, len);
}

/* Its first fd is the whole region. */
static int share(struct port *port, uint32_t region, uint64_t size, struct port_memory *memory)
{
	struct vfm_vfio_user_region got = {.size = sizeof(got)};
	int ret = vfm_vfio_user_get_region(port->client, region, &got);

	if (ret)
		return ret;
	*memory = (struct port_memory){.fd = got.fd_count ? fcntl(got.fds[0], F_DUPFD_CLOEXEC, 0)
							  : -1};
	ret = !got.fd_count || got.bytes < size ? -ENOTSUP : memory->fd < 0 ? -errno : 0;
	if (ret && memory->fd >= 0)
		close(memory->fd);
	vfm_vfio_user_region_clear(&got);
	return ret;
}

static void unshare(struct port *port, uint64_t size, struct port_memory *memory)
{
	close(memory->fd);
}

static const struct port_ops ops = {
	.backend = "vfio-user",
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

void port_take_client(struct port *port, struct vfm_vfio_user *client)
{
	struct vfm_vfio_user_agreed agreed = {.size = sizeof(agreed)};

	port->client = client;
	port->can = PORT_MEMORY | port_opener_can(&port->opener);
	if (!client || vfm_vfio_user_get_agreed(client, &agreed))
		return;
	port->can |= (agreed.ext & VFM_VFIO_USER_EXT_PRECOPY_INFO ? PORT_INFO : 0u) |
		     (agreed.ext & VFM_VFIO_USER_EXT_DATA_SIZE ? PORT_SIZE : 0u);
}

struct port *port_vfio_user(struct vfm_vfio_user *client, const struct port_opener *opener)
{
	struct port *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	port->ops = &ops;
	port->hold_max = PORT_HOLD_MAX;
	port->fd = port->data_fd = -1;
	if (opener)
		port->opener = *opener;
	port_take_client(port, client);
	return port;
}
