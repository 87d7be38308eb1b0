/* SPDX-License-Identifier: BSD-3-Clause */
/* Heads that steer: ACK, COSTS, ROUND and ROUND_DONE, PREPARE, PREPARED, RUNNING. Any number will
 * do in them: they are compared with the receiver's own or are times. */
#include "wire/wire.h"

#include <errno.h>
#include <string.h>
#include "wire/format.h"

size_t wire_put_ack(uint8_t *out, const struct wire_ack *ack)
{
	struct wire_ack_le le = {.device = put_le32(ack->device)};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

int wire_get_ack(const void *head, size_t size, struct wire_ack *ack)
{
	const struct wire_ack_le *le = head;

	if (size != sizeof(*le) || get_le32(le->reserved))
		return -EPROTO;
	ack->device = get_le32(le->device);
	return ack->device < VFM_DEVICES_MAX || ack->device == WIRE_ACK_ALL ? 0 : -EPROTO;
}

size_t wire_put_costs(uint8_t *out, const struct wire_costs *costs)
{
	struct wire_costs_le le = {.step_ns = put_le64(costs->step_ns)};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

int wire_get_costs(const void *head, size_t size, struct wire_costs *costs)
{
	const struct wire_costs_le *le = head;

	if (size != sizeof(*le))
		return -EPROTO;
	costs->step_ns = get_le64(le->step_ns);
	return 0;
}

size_t wire_put_arcs(uint8_t *out, const struct wire_arcs *arcs)
{
	struct wire_arcs_le le = {.device_count = put_le32(arcs->device_count)};
	struct wire_stop_arcs_le *to = (struct wire_stop_arcs_le *)(out + sizeof(le));

	assert(arcs->device_count <= VFM_DEVICES_MAX);
	memcpy(out, &le, sizeof(le));
	for (uint32_t i = 0; i < arcs->device_count; i++) {
		to[i].p2p_ns = put_le64(arcs->devices[i].p2p_ns);
		to[i].stop_ns = put_le64(arcs->devices[i].stop_ns);
	}
	return sizeof(le) + arcs->device_count * sizeof(*to);
}

int wire_get_arcs(const void *head, size_t size, struct wire_arcs *arcs)
{
	const struct wire_arcs_le *le = head;
	const struct wire_stop_arcs_le *from = (const void *)(le + 1);

	if (size < sizeof(*le) || get_le32(le->device_count) > VFM_DEVICES_MAX ||
	    get_le32(le->reserved) ||
	    size != sizeof(*le) + get_le32(le->device_count) * sizeof(*from))
		return -EPROTO;
	arcs->device_count = get_le32(le->device_count);
	for (uint32_t i = 0; i < arcs->device_count; i++) {
		arcs->devices[i].p2p_ns = get_le64(from[i].p2p_ns);
		arcs->devices[i].stop_ns = get_le64(from[i].stop_ns);
	}
	return 0;
}

size_t wire_put_round(uint8_t *out, const struct wire_round *round)
{
	struct wire_round_le le = {
		.round = put_le64(round->round),
		.memory_bytes = put_le64(round->memory_bytes),
		.device_bytes = put_le64(round->device_bytes),
	};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

int wire_get_round(const void *head, size_t size, struct wire_round *round)
{
	const struct wire_round_le *le = head;

	if (size != sizeof(*le))
		return -EPROTO;
	round->round = get_le64(le->round);
	round->memory_bytes = get_le64(le->memory_bytes);
	round->device_bytes = get_le64(le->device_bytes);
	return 0;
}

size_t wire_put_prepare(uint8_t *out, const struct wire_prepare *prepare)
{
	struct wire_prepare_le le = {
		.memory_pages = put_le64(prepare->memory_pages),
		.device_bytes = put_le64(prepare->device_bytes),
	};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

int wire_get_prepare(const void *head, size_t size, struct wire_prepare *prepare)
{
	const struct wire_prepare_le *le = head;

	if (size != sizeof(*le))
		return -EPROTO;
	prepare->memory_pages = get_le64(le->memory_pages);
	prepare->device_bytes = get_le64(le->device_bytes);
	return 0;
}

size_t wire_put_prepared(uint8_t *out, const struct wire_prepared *prepared)
{
	struct wire_prepared_le le = {
		.load_ns = put_le64(prepared->load_ns),
		.check_ns = put_le64(prepared->check_ns),
		.inspect_ns = put_le64(prepared->inspect_ns),
	};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

int wire_get_prepared(const void *head, size_t size, struct wire_prepared *prepared)
{
	const struct wire_prepared_le *le = head;

	if (size != sizeof(*le))
		return -EPROTO;
	prepared->load_ns = get_le64(le->load_ns);
	prepared->check_ns = get_le64(le->check_ns);
	prepared->inspect_ns = get_le64(le->inspect_ns);
	return 0;
}

size_t wire_put_running(uint8_t *out, const struct wire_running *running)
{
	struct wire_running_le le = {
		.devices_ns = put_le64(running->devices_ns),
		.vcpus_ns = put_le64(running->vcpus_ns),
	};

	memcpy(out, &le, sizeof(le));
	return sizeof(le);
}

int wire_get_running(const void *head, size_t size, struct wire_running *running)
{
	const struct wire_running_le *le = head;

	if (size != sizeof(*le))
		return -EPROTO;
	running->devices_ns = get_le64(le->devices_ns);
	running->vcpus_ns = get_le64(le->vcpus_ns);
	return 0;
}
