/* SPDX-License-Identifier: BSD-3-Clause */
#include "check/port.h"

#include <errno.h>
#include <stdlib.h>

void port_free(struct port *port)
{
	if (!port)
		return;
	if (port->ops->free)
		port->ops->free(port);
	free(port);
}

int port_get_flags(struct port *port, uint64_t *flags)
{
	struct vfm_feature_migration payload = {0};
	int ret = port->ops->feature(port, VFM_FEATURE_MIGRATION | VFM_FEATURE_GET, &payload, 0,
				     sizeof(payload));

	*flags = payload.flags;
	return ret;
}

int port_get_state(struct port *port, uint32_t *state)
{
	struct vfm_feature_mig_state payload = {0};
	int ret = port->ops->feature(port, VFM_FEATURE_MIG_DEVICE_STATE | VFM_FEATURE_GET,
				     &payload, 0, sizeof(payload));

	*state = payload.device_state;
	return ret;
}

int port_set_state(struct port *port, uint32_t state)
{
	return port->ops->set_state(port, state);
}

ssize_t port_read(struct port *port, void *buf, size_t len)
{
	return port->ops->read(port, buf, len);
}

int port_write(struct port *port, const void *buf, size_t len)
{
	const uint8_t *at = buf;
	ssize_t took;

	for (; len; len -= (size_t)took, at += took) {
		took = port->ops->write(port, at, len);
		if (took < 0)
			return (int)took;
		if (!took || (size_t)took > len)
			return -EPROTO;
	}
	return 0;
}

int port_info(struct port *port, struct vfm_precopy_info *info)
{
	return port->ops->info(port, info);
}

int port_opt_in(struct port *port)
{
	return port->ops->feature(port, VFM_FEATURE_MIG_PRECOPY_INFOV2 | VFM_FEATURE_SET, NULL, 0,
				  0);
}

int port_size(struct port *port, uint64_t *size)
{
	struct vfm_feature_mig_data_size payload = {0};
	int ret = port->ops->feature(port, VFM_FEATURE_MIG_DATA_SIZE | VFM_FEATURE_GET, &payload,
				     0, sizeof(payload));

	*size = payload.stop_copy_length;
	return ret;
}

int port_reset(struct port *port)
{
	return port->ops->reset(port);
}

int port_reopen(struct port *port)
{
	if (!port->opener.reopen)
		return -ENOTSUP;
	return port->opener.reopen(port->opener.opaque, port);
}

bool port_probe(struct port *port, uint32_t flags)
{
	return !port->ops->feature(port, flags | VFM_FEATURE_PROBE, NULL, 0, 0);
}

int port_log_stop(struct port *port)
{
	return port->ops->feature(port, VFM_FEATURE_DMA_LOGGING_STOP | VFM_FEATURE_SET, NULL, 0,
				  0);
}

unsigned port_opener_can(const struct port_opener *opener)
{
	return (opener->reopen ? PORT_REOPEN : 0u) | (opener->spawn ? PORT_SPAWN : 0u);
}
