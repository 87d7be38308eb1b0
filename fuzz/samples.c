/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames of every type: one as a session has it, and where there are limits, one at them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "base/compiler.h"
#include "fuzz/wire-any.h"
#include "wire/format.h"

static void fill_hello(struct any *any)
{
	any->hello = (struct wire_hello){
		.version = WIRE_VERSION,
		.version_low = WIRE_VERSION_LOW,
		.intent = WIRE_INTENT_MIGRATE,
		.token = "0123456789abcde",
	};
}

static void fill_hello_ask(struct any *any)
{
	fill_hello(any);
	any->hello.intent = WIRE_INTENT_ASK;
}

static void fill_hello_extreme(struct any *any)
{
	any->hello = (struct wire_hello){
		.version = UINT16_MAX,
		.version_low = UINT16_MAX,
		.intent = WIRE_INTENT_CHANNEL,
		.channel = WIRE_CHANNELS_MAX - 1,
		.features = UINT64_MAX,
	};
	memset(any->hello.token, 0xff, sizeof(any->hello.token));
}

static void fill_reply(struct any *any)
{
	any->reply = (struct wire_hello_reply){.version = WIRE_VERSION};
}

static void fill_reply_refused(struct any *any)
{
	any->reply = (struct wire_hello_reply){.version = 0};
}

static void fill_reply_extreme(struct any *any)
{
	any->reply = (struct wire_hello_reply){
		.version = UINT16_MAX,
		.fate = WIRE_FATE_NEVER,
		.features = UINT64_MAX,
	};
}

static void fill_describe(struct any *any)
{
	any->describe = (struct wire_describe){
		.page_size = VFM_PAGE_SIZE,
		.device_chunk = 256u << 10,
		.region_count = 2,
		.device_count = 1,
		.regions = {
			{.name = "ram-low", .gpa = 0, .size = 0xa0000},
			{.name = "ram", .gpa = 1u << 20, .size = 255u << 20},
		},
		.devices = {{
			.name = "nic0",
			.backend = "vfio-user",
			.mig_flags = VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY,
			.pci_vendor = 0x1b36,
			.pci_device = 0x0010,
			.pci_subsystem_vendor = 0xffff,
			.pci_subsystem = 0xffff,
		}},
	};
}

static void fill_describe_nothing(struct any *any)
{
	any->describe = (struct wire_describe){
		.page_size = VFM_PAGE_SIZE,
		.device_chunk = VFM_PAGE_SIZE,
	};
}

static void fill_name(char *name, size_t size, unsigned number)
{
	int length = snprintf(name, size, "%u", number);

	memset(name + length, 'n', size - 1 - (size_t)length);
	name[size - 1] = '\0';
}

static void fill_describe_extreme(struct any *any)
{
	struct wire_describe *describe = &any->describe;

	describe->page_size = WIRE_PAGE_SIZE_MAX;
	describe->device_chunk = WIRE_CHUNK_MAX;
	describe->region_count = VFM_REGIONS_MAX;
	describe->device_count = VFM_DEVICES_MAX;
	for (unsigned i = 0; i < VFM_REGIONS_MAX; i++) {
		fill_name(describe->regions[i].name, VFM_NAME_MAX, i);
		describe->regions[i].gpa = UINT64_MAX - 2 * VFM_PAGE_SIZE + 1;
		describe->regions[i].size = VFM_PAGE_SIZE;
	}
	for (unsigned i = 0; i < VFM_DEVICES_MAX; i++) {
		memset(&describe->devices[i], 0xff, sizeof(describe->devices[i]));
		fill_name(describe->devices[i].name, VFM_NAME_MAX, i);
		fill_name(describe->devices[i].backend, sizeof(describe->devices[i].backend), i);
	}
}

static void fill_answer(struct any *any)
{
	(void)any; /* 0 reasons: accepted */
}

static void fill_answer_refused(struct any *any)
{
	any->answer.count = 2;
	snprintf(any->answer.reasons[0], VFM_ERROR_TEXT_MAX,
		 "region ram: 255 MiB there, 511 MiB here");
	snprintf(any->answer.reasons[1], VFM_ERROR_TEXT_MAX, "device nic0: missing h\u00e9re");
}

static void fill_answer_extreme(struct any *any)
{
	any->answer.count = WIRE_REASONS_MAX;
	for (unsigned i = 0; i < WIRE_REASONS_MAX; i++)
		fill_name(any->answer.reasons[i], VFM_ERROR_TEXT_MAX, i);
}

static void fill_ready(struct any *any)
{
	any->ready.window = 4u << 20;
}

static void fill_ready_extreme(struct any *any)
{
	any->ready.window = WIRE_WINDOW_MAX;
}

/* The worked example of format.h. */
static void fill_memory(struct any *any)
{
	any->memory = (struct wire_memory){
		.run_count = 2,
		.page_count = 2,
		.runs = {{.first = 16, .count = 2}, {.first = 40, .count = 1, .zero = true}},
		.digests = {0x0123456789abcdef, 0xfedcba9876543210},
	};
}

static void fill_memory_zero(struct any *any)
{
	any->memory = (struct wire_memory){
		.region = VFM_REGIONS_MAX - 1,
		.run_count = 1,
		.runs = {{.first = WIRE_PAGE_END - UINT32_MAX, .count = UINT32_MAX, .zero = true}},
	};
}

static void fill_memory_extreme(struct any *any)
{
	struct wire_memory *memory = &any->memory;

	memory->region = VFM_REGIONS_MAX - 1;
	memory->run_count = WIRE_RUNS_MAX;
	memory->page_count = WIRE_PAGES_MAX;
	for (unsigned i = 0; i < WIRE_RUNS_MAX; i++) {
		memory->runs[i].first = WIRE_PAGE_END - WIRE_RUNS_MAX + i;
		memory->runs[i].count = 1;
		memory->runs[i].zero = i >= WIRE_PAGES_MAX;
	}
	memset(memory->digests, 0xff, sizeof(memory->digests));
}

static void fill_bulk(struct any *any)
{
	any->bulk = (struct wire_bulk){.offset = 0x40000, .digest = 0x0123456789abcdef};
}

static void fill_bulk_extreme(struct any *any)
{
	any->bulk = (struct wire_bulk){
		.offset = UINT64_MAX - WIRE_BULK_MAX,
		.digest = UINT64_MAX,
	};
}

static void fill_vm_state_extreme(struct any *any)
{
	any->bulk = (struct wire_bulk){
		.offset = VFM_VM_STATE_MAX - WIRE_BULK_MAX,
		.digest = UINT64_MAX,
	};
}

/* The worked example of format.h. */
static void fill_credit(struct any *any)
{
	any->credit = (struct wire_credit){
		.device = 1,
		.frames = 2,
		.consumed = 0x40000,
		.load_ns = 1000000,
	};
}

static void fill_credit_extreme(struct any *any)
{
	any->credit = (struct wire_credit){
		.device = VFM_DEVICES_MAX - 1,
		.frames = UINT64_MAX,
		.consumed = UINT64_MAX,
		.load_ns = UINT64_MAX,
	};
}

static void fill_round(struct any *any)
{
	any->round = (struct wire_round){1, 256u << 20, 64u << 20};
}

static void fill_round_extreme(struct any *any)
{
	any->round = (struct wire_round){UINT64_MAX, UINT64_MAX, UINT64_MAX};
}

static void fill_arcs(struct any *any)
{
	any->arcs = (struct wire_arcs){
		.device_count = 3,
		.devices = {{20000000, 1500000}, {0, 40000000}, {0, 0}},
	};
}

static void fill_costs(struct any *any)
{
	any->costs = (struct wire_costs){90000};
}

static void fill_prepare(struct any *any)
{
	any->prepare = (struct wire_prepare){65536, 64u << 20};
}

static void fill_prepared(struct any *any)
{
	any->prepared = (struct wire_prepared){2000000, 300000, UINT64_MAX};
}

static void fill_running(struct any *any)
{
	any->running = (struct wire_running){400000, UINT64_MAX};
}

static void fill_report(struct any *any)
{
	any->report = (struct wire_report){
		.device_count = 1,
		.arc_count = 2,
		.devices = {{.bytes = 64u << 20, .load_ns = 5000000}},
		.arcs = {
			{0, VFM_STATE_RUNNING, VFM_STATE_STOP, 0, 1000, 2000},
			{0, VFM_STATE_STOP, VFM_STATE_RESUMING, -EIO, 3000, 4000},
		},
	};
}

static void fill_report_extreme(struct any *any)
{
	struct wire_report *report = &any->report;

	report->device_count = VFM_DEVICES_MAX;
	report->arc_count = WIRE_ARCS_MAX;
	memset(report->devices, 0xff, sizeof(report->devices));
	for (unsigned i = 0; i < WIRE_ARCS_MAX; i++)
		report->arcs[i] = (struct wire_arc){
			.device = VFM_DEVICES_MAX - 1,
			.from = VFM_STATE_COUNT - 1,
			.to = VFM_STATE_COUNT - 1,
			.result = -(int32_t)WIRE_ERRNO_MAX,
			.start_ns = UINT64_MAX,
			.duration_ns = UINT64_MAX,
		};
}

static void fill_error(struct any *any)
{
	any->error = (struct vfm_error){
		.code = EFAULT,
		.stage = VFM_STAGE_PREPARE,
		.remote = 1,
		.has_arc = 1,
		.from = VFM_STATE_RESUMING,
		.to = VFM_STATE_STOP,
		.device = "nic0",
		.text = "the device refuses its state",
	};
}

static void fill_error_plain(struct any *any)
{
	any->error = (struct vfm_error){.code = ECANCELED, .remote = 1};
}

static void fill_error_extreme(struct any *any)
{
	any->error.code = WIRE_ERRNO_MAX;
	any->error.stage = VFM_STAGE_COUNT - 1;
	any->error.remote = 1;
	any->error.has_arc = 1;
	any->error.from = VFM_STATE_COUNT - 1;
	any->error.to = VFM_STATE_COUNT - 1;
	fill_name(any->error.device, VFM_NAME_MAX, 0);
	fill_name(any->error.text, VFM_ERROR_TEXT_MAX, 0);
}

static void fill_ack(struct any *any)
{
	any->ack.device = 3;
}

static void fill_ack_all(struct any *any)
{
	any->ack.device = WIRE_ACK_ALL;
}

#define PAGES(n)    ((n) * VFM_PAGE_SIZE)
#define LAST_STREAM (WIRE_STREAM_END - 1)

/* On the control stream, or on another with a bulk; LARGE: at the limits. */
#define HEAD(name, type, fill) {name, type, 0, WIRE_STREAM_CONTROL, 0, fill, false}
#define BULK(name, type, flags, stream, bulk, fill) {name, type, flags, stream, bulk, fill, false}
#define LARGE(name, type, flags, stream, bulk, fill) {name, type, flags, stream, bulk, fill, true}

const struct sample samples[] = {
	HEAD("hello", WIRE_HELLO, fill_hello),
	HEAD("hello-ask", WIRE_HELLO, fill_hello_ask),
	HEAD("hello-extreme", WIRE_HELLO, fill_hello_extreme),
	HEAD("reply", WIRE_HELLO_REPLY, fill_reply),
	HEAD("reply-refused", WIRE_HELLO_REPLY, fill_reply_refused),
	HEAD("reply-extreme", WIRE_HELLO_REPLY, fill_reply_extreme),
	HEAD("describe", WIRE_DESCRIBE, fill_describe),
	HEAD("describe-nothing", WIRE_DESCRIBE, fill_describe_nothing),
	LARGE("describe-extreme", WIRE_DESCRIBE, 0, WIRE_STREAM_CONTROL, 0, fill_describe_extreme),
	HEAD("answer", WIRE_ANSWER, fill_answer),
	HEAD("answer-refused", WIRE_ANSWER, fill_answer_refused),
	LARGE("answer-extreme", WIRE_ANSWER, 0, WIRE_STREAM_CONTROL, 0, fill_answer_extreme),
	HEAD("setup", WIRE_SETUP, NULL),
	HEAD("ready", WIRE_READY, fill_ready),
	HEAD("ready-extreme", WIRE_READY, fill_ready_extreme),
	BULK("memory", WIRE_MEMORY, WIRE_FLAG_LIVE, WIRE_STREAM_MEMORY, PAGES(2), fill_memory),
	BULK("memory-zero", WIRE_MEMORY, 0, WIRE_STREAM_MEMORY, 0, fill_memory_zero),
	LARGE("memory-extreme", WIRE_MEMORY, 0, WIRE_STREAM_MEMORY, WIRE_BULK_MAX,
	      fill_memory_extreme),
	BULK("device", WIRE_DEVICE, 0, WIRE_STREAM_DEVICE, 100, fill_bulk),
	BULK("device-last", WIRE_DEVICE, WIRE_FLAG_LAST, WIRE_STREAM_DEVICE, 0, fill_bulk),
	LARGE("device-extreme", WIRE_DEVICE, WIRE_FLAG_LAST, LAST_STREAM, WIRE_BULK_MAX,
	      fill_bulk_extreme),
	HEAD("credit", WIRE_CREDIT, fill_credit),
	HEAD("credit-extreme", WIRE_CREDIT, fill_credit_extreme),
	HEAD("round", WIRE_ROUND, fill_round),
	HEAD("round-extreme", WIRE_ROUND, fill_round_extreme),
	HEAD("round-done", WIRE_ROUND_DONE, fill_round),
	HEAD("stopped", WIRE_STOPPED, NULL),
	HEAD("continue", WIRE_CONTINUE, NULL),
	BULK("vm-state", WIRE_VM_STATE, WIRE_FLAG_LAST, WIRE_STREAM_VM, 64, fill_bulk),
	LARGE("vm-state-extreme", WIRE_VM_STATE, 0, WIRE_STREAM_VM, WIRE_BULK_MAX,
	      fill_vm_state_extreme),
	HEAD("prepare", WIRE_PREPARE, fill_prepare),
	HEAD("prepared", WIRE_PREPARED, fill_prepared),
	HEAD("commit", WIRE_COMMIT, NULL),
	HEAD("running", WIRE_RUNNING, fill_running),
	HEAD("report", WIRE_REPORT, fill_report),
	LARGE("report-extreme", WIRE_REPORT, 0, WIRE_STREAM_CONTROL, 0, fill_report_extreme),
	HEAD("bye", WIRE_BYE, NULL),
	HEAD("abort", WIRE_ABORT, fill_error),
	HEAD("abort-plain", WIRE_ABORT, fill_error_plain),
	HEAD("abort-extreme", WIRE_ABORT, fill_error_extreme),
	HEAD("ack", WIRE_ACK, fill_ack),
	HEAD("ack-all", WIRE_ACK, fill_ack_all),
	HEAD("costs", WIRE_COSTS, fill_costs),
	HEAD("arcs", WIRE_ARCS, fill_arcs),
	BULK("device-initial", WIRE_DEVICE, WIRE_FLAG_INITIAL, WIRE_STREAM_DEVICE, 0, fill_bulk),
};
const unsigned sample_count = ARRAY_SIZE(samples);

size_t sample_encode(const struct sample *sample, uint64_t sequence, uint8_t *out, struct any *any)
{
	struct wire_header header = {
		.type = sample->type,
		.flags = sample->flags,
		.stream = sample->stream,
		.bulk = sample->bulk,
		.sequence = sequence,
	};

	memset(any, 0, sizeof(*any));
	if (sample->fill) {
		sample->fill(any);
		header.head = (uint32_t)any_put(sample->type, out + WIRE_HEADER_SIZE, any);
	}
	wire_put_header(out, &header, out + WIRE_HEADER_SIZE);
	return WIRE_HEADER_SIZE + header.head;
}
