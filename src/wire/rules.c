/* SPDX-License-Identifier: BSD-3-Clause */
#include "wire/rules.h"
#include "wire/format.h"

/* A head of one size. */
#define FIXED(type) .head_min = sizeof(type), .head_max = sizeof(type)

/* A part of one size, and between @least and @most bytes of records behind it. */
#define GROWS(type, least, most)                                                                   \
	.head_min = sizeof(type) + (least), .head_max = sizeof(type) + (most)

#define ON_STREAM(stream) .stream_first = (stream), .stream_last = (stream)

static const struct wire_rule rules[] = {
	[WIRE_HELLO] = {
		.name = "HELLO",
		.head_min = sizeof(struct wire_hello_le),
		.head_max = WIRE_HELLO_MAX,
	},
	[WIRE_HELLO_REPLY] = {
		.name = "HELLO_REPLY",
		FIXED(struct wire_hello_reply_le),
	},
	[WIRE_DESCRIBE] = {
		.name = "DESCRIBE",
		GROWS(struct wire_describe_le, 0,
		      VFM_REGIONS_MAX * sizeof(struct wire_region_le) +
		      VFM_DEVICES_MAX * sizeof(struct wire_device_le)),
	},
	[WIRE_ANSWER] = {
		.name = "ANSWER",
		GROWS(struct wire_answer_le, 0,
		      WIRE_REASONS_MAX * (sizeof(struct wire_line_le) + VFM_ERROR_TEXT_MAX - 1)),
	},
	[WIRE_SETUP] = {
		.name = "SETUP",
	},
	[WIRE_READY] = {
		.name = "READY",
		FIXED(struct wire_ready_le),
	},
	[WIRE_MEMORY] = {
		.name = "MEMORY",
		ON_STREAM(WIRE_STREAM_MEMORY),
		.flags = WIRE_FLAG_LIVE,
		GROWS(struct wire_memory_le, sizeof(struct wire_run_le),
		      WIRE_RUNS_MAX * sizeof(struct wire_run_le) + WIRE_PAGES_MAX * sizeof(le64)),
		.bulk_max = WIRE_BULK_MAX,
	},
	[WIRE_DEVICE] = {
		.name = "DEVICE",
		.stream_first = WIRE_STREAM_DEVICE,
		.stream_last = WIRE_STREAM_END - 1,
		.flags = WIRE_FLAG_LAST | WIRE_FLAG_INITIAL,
		FIXED(struct wire_bulk_le),
		.bulk_max = WIRE_BULK_MAX,
	},
	[WIRE_CREDIT] = {
		.name = "CREDIT",
		FIXED(struct wire_credit_le),
	},
	[WIRE_ROUND] = {
		.name = "ROUND",
		FIXED(struct wire_round_le),
	},
	[WIRE_ROUND_DONE] = {
		.name = "ROUND_DONE",
		FIXED(struct wire_round_le),
	},
	[WIRE_STOPPED] = {
		.name = "STOPPED",
	},
	[WIRE_CONTINUE] = {
		.name = "CONTINUE",
	},
	[WIRE_VM_STATE] = {
		.name = "VM_STATE",
		ON_STREAM(WIRE_STREAM_VM),
		.flags = WIRE_FLAG_LAST,
		FIXED(struct wire_bulk_le),
		.bulk_max = WIRE_BULK_MAX,
	},
	[WIRE_PREPARE] = {
		.name = "PREPARE",
		FIXED(struct wire_prepare_le),
	},
	[WIRE_PREPARED] = {
		.name = "PREPARED",
		FIXED(struct wire_prepared_le),
	},
	[WIRE_COMMIT] = {
		.name = "COMMIT",
	},
	[WIRE_RUNNING] = {
		.name = "RUNNING",
		FIXED(struct wire_running_le),
	},
	[WIRE_REPORT] = {
		.name = "REPORT",
		GROWS(struct wire_report_le, 0,
		      VFM_DEVICES_MAX * sizeof(struct wire_load_le) +
		      WIRE_ARCS_MAX * sizeof(struct wire_arc_le)),
	},
	[WIRE_BYE] = {
		.name = "BYE",
	},
	[WIRE_ABORT] = {
		.name = "ABORT",
		FIXED(struct wire_error_le),
	},
	[WIRE_ACK] = {
		.name = "ACK",
		FIXED(struct wire_ack_le),
	},
	[WIRE_COSTS] = {
		.name = "COSTS",
		FIXED(struct wire_costs_le),
	},
	[WIRE_ARCS] = {
		.name = "ARCS",
		GROWS(struct wire_arcs_le, 0,
		      WIRE_ARCS_SIZE_MAX - sizeof(struct wire_arcs_le)),
	},
};

const struct wire_rule *wire_rule(uint16_t type)
{
	if (type >= ARRAY_SIZE(rules) || !rules[type].name)
		return NULL;
	return &rules[type];
}

const char *wire_type_name(uint16_t type)
{
	const struct wire_rule *rule = wire_rule(type);

	return rule ? rule->name : "unknown";
}
