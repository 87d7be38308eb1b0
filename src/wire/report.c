/* SPDX-License-Identifier: BSD-3-Clause */
/* Heads that tell how it went: REPORT and ABORT. */
#include "wire/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "wire/format.h"
#include "wire/text.h"

static void put_arc(struct wire_arc_le *le, const struct wire_arc *arc)
{
	le->device = put_le16(arc->device);
	le->from = put_le16(arc->from);
	le->to = put_le16(arc->to);
	le->code = put_le16((uint16_t)abs(arc->result));
	le->start_ns = put_le64(arc->start_ns);
	le->duration_ns = put_le64(arc->duration_ns);
}

size_t wire_put_report(uint8_t *out, const struct wire_report *report)
{
	struct wire_report_le *le = (struct wire_report_le *)out;
	struct wire_load_le *loads = (struct wire_load_le *)(le + 1);
	struct wire_arc_le *arcs;

	assert(report->device_count <= VFM_DEVICES_MAX && report->arc_count <= WIRE_ARCS_MAX);
	le->device_count = put_le32(report->device_count);
	le->arc_count = put_le32(report->arc_count);
	for (uint32_t i = 0; i < report->device_count; i++) {
		loads[i].bytes = put_le64(report->devices[i].bytes);
		loads[i].load_ns = put_le64(report->devices[i].load_ns);
	}
	arcs = (struct wire_arc_le *)(loads + report->device_count);
	for (uint32_t i = 0; i < report->arc_count; i++)
		put_arc(&arcs[i], &report->arcs[i]);
	return (size_t)((uint8_t *)(arcs + report->arc_count) - out);
}

static int get_arc(const struct wire_arc_le *le, uint32_t device_count, struct wire_arc *arc)
{
	*arc = (struct wire_arc){
		.device = get_le16(le->device),
		.from = get_le16(le->from),
		.to = get_le16(le->to),
		.result = -(int32_t)get_le16(le->code),
		.start_ns = get_le64(le->start_ns),
		.duration_ns = get_le64(le->duration_ns),
	};
	if (arc->device >= device_count || get_le16(le->code) > WIRE_ERRNO_MAX)
		return -EPROTO;
	return arc->from < VFM_STATE_COUNT && arc->to < VFM_STATE_COUNT ? 0 : -EPROTO;
}

static int validate_report(const struct wire_report *report, size_t size)
{
	if (report->device_count > VFM_DEVICES_MAX || report->arc_count > WIRE_ARCS_MAX)
		return -EPROTO;
	if (size != sizeof(struct wire_report_le) +
			    report->device_count * sizeof(struct wire_load_le) +
			    report->arc_count * sizeof(struct wire_arc_le))
		return -EPROTO;
	return 0;
}

static int get_report_lists(const struct wire_report_le *le, struct wire_report *report)
{
	const struct wire_load_le *loads = (const struct wire_load_le *)(le + 1);
	const struct wire_arc_le *arcs;

	for (uint32_t i = 0; i < report->device_count; i++) {
		report->devices[i].bytes = get_le64(loads[i].bytes);
		report->devices[i].load_ns = get_le64(loads[i].load_ns);
	}
	arcs = (const struct wire_arc_le *)(loads + report->device_count);
	for (uint32_t i = 0; i < report->arc_count; i++)
		if (get_arc(&arcs[i], report->device_count, &report->arcs[i]))
			return -EPROTO;
	return 0;
}

int wire_get_report(const void *head, size_t size, struct wire_report *report)
{
	const struct wire_report_le *le = head;

	if (size < sizeof(*le))
		return -EPROTO;
	report->device_count = get_le32(le->device_count);
	report->arc_count = get_le32(le->arc_count);
	if (validate_report(report, size))
		return -EPROTO;
	return get_report_lists(le, report);
}

/* An error must reach the peer even if its record is poor: what cannot be sent becomes EIO. */
static uint32_t sendable_code(int code)
{
	return code > 0 && (unsigned)code <= WIRE_ERRNO_MAX ? (uint32_t)code : EIO;
}

size_t wire_put_error(uint8_t *out, const struct vfm_error *error)
{
	struct wire_error_le *le = (struct wire_error_le *)out;

	memset(le, 0, sizeof(*le));
	le->code = put_le32(sendable_code(error->code));
	le->stage = put_le16((uint16_t)error->stage);
	if (error->has_arc) {
		le->flags = put_le16(WIRE_ERROR_ARC);
		le->from = put_le16((uint16_t)error->from);
		le->to = put_le16((uint16_t)error->to);
	}
	wire_put_field(le->device, sizeof(le->device), error->device);
	wire_put_field(le->text, sizeof(le->text), error->text);
	return sizeof(*le);
}

static int validate_error(const struct wire_error_le *le)
{
	uint16_t flags = get_le16(le->flags), from = get_le16(le->from), to = get_le16(le->to);
	uint32_t code = get_le32(le->code);

	if (!code || code > WIRE_ERRNO_MAX || get_le16(le->stage) >= VFM_STAGE_COUNT)
		return -EPROTO;
	if (flags & ~WIRE_ERROR_ARC || get_le32(le->reserved))
		return -EPROTO;
	if (!(flags & WIRE_ERROR_ARC))
		return from || to ? -EPROTO : 0;
	return from < VFM_STATE_COUNT && to < VFM_STATE_COUNT ? 0 : -EPROTO;
}

int wire_get_error(const void *head, size_t size, struct vfm_error *error)
{
	const struct wire_error_le *le = head;

	if (size != sizeof(*le) || validate_error(le))
		return -EPROTO;
	*error = (struct vfm_error){
		.code = (int)get_le32(le->code),
		.stage = (enum vfm_stage)get_le16(le->stage),
		.remote = 1,
		.has_arc = get_le16(le->flags) & WIRE_ERROR_ARC,
		.from = (enum vfm_state)get_le16(le->from),
		.to = (enum vfm_state)get_le16(le->to),
	};
	if (wire_get_field(le->device, sizeof(le->device), error->device))
		return -EPROTO;
	return wire_get_field(le->text, sizeof(le->text), error->text);
}
