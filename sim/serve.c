/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One request: read, validate, do, answer. The table says for each command how large its payload
 * may be, how many fds it may bring, who validates it and who does it. A request that is wrong
 * gets an error reply; only what breaks the framing costs the connection.
 */
#include <errno.h>
#include <string.h>

#include "sim/serve.h"

struct command {
	uint32_t min;     /* bytes of payload that must be there */
	uint32_t max;     /* and that may; for data, what precedes it */
	uint32_t max_fds;
	bool data;        /* more follows, up to max_transfer: the handler reads it */
	int (*validate)(struct server *s);
	int (*handle)(struct server *s);
};

#define FIXED(type) sizeof(struct vfm_vfio_user_##type), sizeof(struct vfm_vfio_user_##type)

static const struct command table[] = {
	[VFM_VFIO_USER_VERSION] = {sizeof(struct vfm_vfio_user_version),
				   sizeof(struct vfm_vfio_user_version) +
					   VFM_VFIO_USER_VERSION_DATA_MAX,
				   0, false, NULL, serve_version},
	[VFM_VFIO_USER_DMA_MAP] = {FIXED(dma_map), 1, false, serve_dma_map_validate,
				   serve_dma_map},
	[VFM_VFIO_USER_DMA_UNMAP] = {FIXED(dma_unmap), 0, false, serve_dma_unmap_validate,
				     serve_dma_unmap},
	[VFM_VFIO_USER_DEVICE_GET_INFO] = {FIXED(device_info), 0, false, NULL, serve_device_info},
	[VFM_VFIO_USER_DEVICE_GET_REGION_INFO] = {FIXED(region_info), 0, false, NULL,
						  serve_region_info},
	[VFM_VFIO_USER_DEVICE_GET_REGION_IO_FDS] = {FIXED(region_io_fds), 0, false, NULL,
						    serve_region_io_fds},
	[VFM_VFIO_USER_DEVICE_GET_IRQ_INFO] = {FIXED(irq_info), 0, false, NULL, serve_irq_info},
	[VFM_VFIO_USER_DEVICE_SET_IRQS] = {sizeof(struct vfm_vfio_user_irq_set),
					   sizeof(struct vfm_vfio_user_irq_set) +
						   SIM_MSIX_VECTORS_MAX,
					   VFM_VFIO_USER_FDS_LIMIT, false,
					   serve_set_irqs_validate, serve_set_irqs},
	[VFM_VFIO_USER_REGION_READ] = {FIXED(region_rw), 0, false, serve_region_validate,
				       serve_region_read},
	[VFM_VFIO_USER_REGION_WRITE] = {sizeof(struct vfm_vfio_user_region_rw),
					sizeof(struct vfm_vfio_user_region_rw) + SIM_BAR_SIZE, 0,
					false, serve_region_validate, serve_region_write},
	[VFM_VFIO_USER_DEVICE_RESET] = {0, 0, 0, false, NULL, serve_reset},
	[VFM_VFIO_USER_REGION_WRITE_MULTI] = {sizeof(struct vfm_vfio_user_write_multi),
					      sizeof(struct vfm_vfio_user_write_multi) +
						      VFM_VFIO_USER_WRITE_MULTI_MAX *
							      sizeof(struct vfm_vfio_user_write_one),
					      0, false, serve_write_multi_validate,
					      serve_write_multi},
	[VFM_VFIO_USER_DEVICE_FEATURE] = {sizeof(struct vfm_vfio_user_feature), SERVE_PAYLOAD_MAX,
					  0, false, serve_feature_validate, serve_feature},
	[VFM_VFIO_USER_MIG_DATA_READ] = {FIXED(mig_data), 0, false, serve_mig_read_validate,
					 serve_mig_read},
	[VFM_VFIO_USER_MIG_DATA_WRITE] = {FIXED(mig_data), 0, true, serve_mig_write_validate,
					  serve_mig_write},
};

void *serve_reply(struct server *s, size_t len)
{
	void *at = s->fixed + s->fixed_used;

	s->fixed_used += len;
	memset(at, 0, len);
	serve_reply_bytes(s, at, len);
	return at;
}

void serve_reply_bytes(struct server *s, const void *data, size_t len)
{
	s->iov[s->iov_count++] = (struct iovec){(void *)data, len};
}

/* The command's row, if the client may ask for it now and the payload can be one of it. */
static int validate_head(const struct server *s, const struct command **row)
{
	uint16_t command = s->msg.header.command;

	if (command >= ARRAY_SIZE(table) || !table[command].handle)
		return -ENOTSUP;
	*row = &table[command];
	if (s->negotiated == (command == VFM_VFIO_USER_VERSION))
		return -EINVAL;
	if (s->msg.left < (*row)->min || s->msg.nfds > (*row)->max_fds)
		return -EINVAL;
	return (*row)->data || s->msg.left <= (*row)->max ? 0 : -EINVAL;
}

static int process(struct server *s)
{
	const struct command *row;
	int ret = validate_head(s, &row);

	if (ret)
		return ret;
	s->size = (uint32_t)(row->data ? row->min : s->msg.left);
	ret = conn_read(&s->conn, &s->msg, s->payload, s->size);
	if (!ret && row->validate)
		ret = row->validate(s);
	return ret ? ret : row->handle(s);
}

int serve_request(struct server *s)
{
	int ret = conn_next(&s->conn, &s->msg), result;

	if (ret)
		return ret;
	s->fixed_used = 0;
	s->iov_count = 1;
	s->reply_fd = -1;
	result = process(s);
	ret = conn_finish(&s->conn, &s->msg);
	if (ret || s->conn.dead)
		return -ECONNRESET;
	if (!s->negotiated && result)
		return -EPROTO; /* a port scanner, or a version that is not ours */
	if (s->msg.header.flags & VFM_VFIO_USER_FLAG_NO_REPLY)
		return 0;
	return conn_reply(&s->conn, &s->msg, -result, s->iov, s->iov_count, s->reply_fd);
}
