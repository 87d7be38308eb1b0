/* SPDX-License-Identifier: BSD-3-Clause */
/* What a PCI device is to its user: regions and interrupts. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "sim/serve.h"

int serve_device_info(struct server *s)
{
	struct vfm_vfio_user_device_info in, *out;

	memcpy(&in, s->payload, sizeof(in));
	if (in.argsz < sizeof(in))
		return -EINVAL;
	out = serve_reply(s, sizeof(*out));
	out->argsz = sizeof(*out);
	out->flags = VFM_DEVICE_FLAG_RESET | VFM_DEVICE_FLAG_PCI;
	out->num_regions = VFM_PCI_NUM_REGIONS;
	out->num_irqs = VFM_PCI_NUM_IRQS;
	return 0;
}

int serve_region_info(struct server *s)
{
	struct vfm_vfio_user_region_info in, *out;

	memcpy(&in, s->payload, sizeof(in));
	if (in.argsz < sizeof(in) || in.index >= VFM_PCI_NUM_REGIONS)
		return -EINVAL;
	out = serve_reply(s, sizeof(*out));
	out->argsz = sizeof(*out);
	out->index = in.index;
	out->size = sim_region_size(s->sim, in.index);
	if (out->size)
		out->flags = VFM_REGION_INFO_READ | VFM_REGION_INFO_WRITE;
	if (in.index == VFM_PCI_BAR0_REGION + SIM_BAR_MAILBOX) {
		out->flags |= VFM_REGION_INFO_MMAP;
		s->reply_fd = sim_mailbox_fd(s->sim);
	}
	return 0;
}

/* Every register does something when touched: nothing can be served through an eventfd. */
int serve_region_io_fds(struct server *s)
{
	struct vfm_vfio_user_region_io_fds in, *out;

	memcpy(&in, s->payload, sizeof(in));
	if (in.argsz < sizeof(in) || in.flags || in.index >= VFM_PCI_NUM_REGIONS)
		return -EINVAL;
	out = serve_reply(s, sizeof(*out));
	out->argsz = sizeof(*out);
	out->index = in.index;
	return 0;
}

/* ---- interrupts ---- */

static uint32_t irq_count(const struct server *s, uint32_t index)
{
	return index == VFM_PCI_MSIX_IRQ ? sim_vectors(s->sim) : 0;
}

int serve_irq_info(struct server *s)
{
	struct vfm_vfio_user_irq_info in, *out;

	memcpy(&in, s->payload, sizeof(in));
	if (in.argsz < sizeof(in) || in.index >= VFM_PCI_NUM_IRQS)
		return -EINVAL;
	out = serve_reply(s, sizeof(*out));
	out->argsz = sizeof(*out);
	out->index = in.index;
	out->count = irq_count(s, in.index);
	out->flags = VFM_IRQ_INFO_NORESIZE | (out->count ? VFM_IRQ_INFO_EVENTFD : 0);
	return 0;
}

static bool one_bit(uint32_t value)
{
	return is_power_of_two(value);
}

/* The data that has to come with the flags: bytes behind the struct, and fds. */
static bool irq_data_fits(const struct server *s, const struct vfm_vfio_user_irq_set *in)
{
	uint32_t bytes = in->flags & VFM_IRQ_SET_DATA_BOOL ? in->count : 0;
	bool fds = in->flags & VFM_IRQ_SET_DATA_EVENTFD;

	return s->size == sizeof(*in) + bytes && in->argsz >= s->size &&
	       (!s->msg.nfds || (fds && s->msg.nfds == in->count));
}

int serve_set_irqs_validate(struct server *s)
{
	struct vfm_vfio_user_irq_set in;
	uint32_t disable = VFM_IRQ_SET_DATA_NONE | VFM_IRQ_SET_ACTION_TRIGGER;

	memcpy(&in, s->payload, sizeof(in));
	if (in.index >= VFM_PCI_NUM_IRQS ||
	    in.flags & ~(VFM_IRQ_SET_DATA_MASK | VFM_IRQ_SET_ACTION_ALL) ||
	    !one_bit(in.flags & VFM_IRQ_SET_DATA_MASK) ||
	    !(in.flags & VFM_IRQ_SET_ACTION_TRIGGER) || !one_bit(in.flags & VFM_IRQ_SET_ACTION_ALL))
		return -EINVAL;
	if (!range_within(in.start, in.count, irq_count(s, in.index)))
		return -EINVAL;
	if (!in.count && (in.flags != disable || in.start))
		return -EINVAL;
	return irq_data_fits(s, &in) ? 0 : -EINVAL;
}

static void connect_irq(struct server *s, unsigned vector, int fd)
{
	if (s->irq_fds[vector] >= 0)
		close(s->irq_fds[vector]);
	s->irq_fds[vector] = fd;
}

void serve_irqs_clear(struct server *s)
{
	unsigned i;

	for (i = 0; i < SIM_MSIX_VECTORS_MAX; i++)
		connect_irq(s, i, -1);
}

static void connect_irqs(struct server *s, uint32_t start, uint32_t count)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		connect_irq(s, start + i, s->msg.nfds ? s->msg.fds[i] : -1);
		if (s->msg.nfds)
			s->msg.fds[i] = -1;
	}
}

int serve_set_irqs(struct server *s)
{
	struct vfm_vfio_user_irq_set in;
	const uint8_t *bools = s->payload + sizeof(in);
	uint32_t i;

	memcpy(&in, s->payload, sizeof(in));
	if (!in.count && in.index == VFM_PCI_MSIX_IRQ)
		serve_irqs_clear(s);
	else if (in.flags & VFM_IRQ_SET_DATA_EVENTFD)
		connect_irqs(s, in.start, in.count);
	else
		for (i = 0; i < in.count; i++)
			if (in.flags & VFM_IRQ_SET_DATA_NONE || bools[i])
				host_ops.irq(s, in.start + i);
	return 0;
}

/* ---- regions ---- */

/* REGION_READ and REGION_WRITE: the count against the region, and against what came. */
int serve_region_validate(struct server *s)
{
	bool write = s->msg.header.command == VFM_VFIO_USER_REGION_WRITE;
	struct vfm_vfio_user_region_rw in;

	memcpy(&in, s->payload, sizeof(in));
	if (!in.count || in.count > s->client_transfer ||
	    !range_within(in.offset, in.count, sim_region_size(s->sim, in.region)))
		return -EINVAL;
	return s->size == sizeof(in) + (write ? in.count : 0) ? 0 : -EINVAL;
}

int serve_region_read(struct server *s)
{
	struct vfm_vfio_user_region_rw in;
	int ret;

	memcpy(&in, s->payload, sizeof(in));
	memcpy(serve_reply(s, sizeof(in)), &in, sizeof(in));
	ret = sim_region_read(s->sim, in.region, in.offset, s->data, in.count);
	serve_reply_bytes(s, s->data, in.count);
	return ret;
}

int serve_region_write(struct server *s)
{
	struct vfm_vfio_user_region_rw in;

	memcpy(&in, s->payload, sizeof(in));
	memcpy(serve_reply(s, sizeof(in)), &in, sizeof(in));
	return sim_region_write(s->sim, in.region, in.offset, s->payload + sizeof(in), in.count);
}

int serve_write_multi_validate(struct server *s)
{
	struct vfm_vfio_user_write_multi in;

	memcpy(&in, s->payload, sizeof(in));
	if (!in.count || in.count > VFM_VFIO_USER_WRITE_MULTI_MAX)
		return -EINVAL;
	return s->size == sizeof(in) + in.count * sizeof(struct vfm_vfio_user_write_one) ? 0
											  : -EINVAL;
}

static int write_one(struct server *s, const struct vfm_vfio_user_write_one *one)
{
	uint64_t data = one->data;

	if (one->count > sizeof(data))
		return -EINVAL;
	return sim_region_write(s->sim, one->region, one->offset, &data, one->count);
}

/* The first write that fails ends it; the reply says how many were done. */
int serve_write_multi(struct server *s)
{
	struct vfm_vfio_user_write_multi in, *out;
	struct vfm_vfio_user_write_one one;
	uint64_t i;

	memcpy(&in, s->payload, sizeof(in));
	for (i = 0; i < in.count; i++) {
		memcpy(&one, s->payload + sizeof(in) + i * sizeof(one), sizeof(one));
		if (write_one(s, &one))
			break;
	}
	out = serve_reply(s, sizeof(*out));
	out->count = i;
	return 0;
}

int serve_reset(struct server *s)
{
	sim_reset(s->sim);
	return 0;
}
