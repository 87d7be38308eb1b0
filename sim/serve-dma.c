/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <string.h>

#include "sim/serve.h"

int serve_dma_map_validate(struct server *s)
{
	struct vfm_vfio_user_dma_map in;

	memcpy(&in, s->payload, sizeof(in));
	/* Range, flags and overlap are checked by dma_map_add(). */
	return in.argsz < sizeof(in) || (!s->msg.nfds && in.offset) ? -EINVAL : 0;
}

int serve_dma_map(struct server *s)
{
	struct vfm_vfio_user_dma_map in;

	memcpy(&in, s->payload, sizeof(in));
	return dma_map_add(&s->dma, in.addr, in.size, in.flags, s->msg.nfds ? s->msg.fds[0] : -1,
			   in.offset);
}

int serve_dma_unmap_validate(struct server *s)
{
	struct vfm_vfio_user_dma_unmap in;

	memcpy(&in, s->payload, sizeof(in));
	return in.argsz < sizeof(in) || in.flags ? -EINVAL : 0;
}

int serve_dma_unmap(struct server *s)
{
	struct vfm_vfio_user_dma_unmap in;
	int ret;

	memcpy(&in, s->payload, sizeof(in));
	ret = dma_map_remove(&s->dma, in.addr, in.size);
	if (ret)
		return ret;
	in.argsz = sizeof(in);
	memcpy(serve_reply(s, sizeof(in)), &in, sizeof(in));
	return 0;
}
