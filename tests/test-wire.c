/* SPDX-License-Identifier: BSD-3-Clause */
/* Frames: every type there and back, at its limits, cut, altered and out of order. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/compiler.h"
#include "fuzz/wire-any.h"
#include "wire/format.h"
#include "wire/rules.h"
#include "wire/text.h"

#define TYPES_END (WIRE_ARCS + 1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Too large for a stack. */
struct fixture {
	uint8_t bytes[WIRE_HEADER_SIZE + WIRE_HEAD_MAX];
	uint8_t again[WIRE_HEADER_SIZE + WIRE_HEAD_MAX];
	struct any sent, got;
	struct wire_frame frame;
	struct wire_sequences sequences;
};

static int setup(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	free(*state);
	return 0;
}

struct source {
	const uint8_t *at;
	size_t left;
};

static int read_source(void *opaque, void *buf, size_t size)
{
	struct source *source = opaque;

	if (size > source->left)
		return -ECONNRESET;
	memcpy(buf, source->at, size);
	source->at += size;
	source->left -= size;
	return 0;
}

/* Read one frame from the first @size of fx->bytes, all sequences at 0. */
static int read_bytes(struct fixture *fx, size_t size)
{
	struct source source = {fx->bytes, size};
	struct wire_input input = {read_source, &source};

	memset(&fx->sequences, 0, sizeof(fx->sequences));
	return wire_read_frame(&input, &fx->sequences, &fx->frame);
}

static const struct sample *find_sample(const char *name)
{
	for (unsigned i = 0; i < sample_count; i++)
		if (!strcmp(samples[i].name, name))
			return &samples[i];
	fail_msg("no sample %s", name);
	return NULL;
}

/* ---- what was sent is what is got, field by field ---- */

#define SAME(field) assert_true((a)->field == (b)->field)

static void same_hello(const struct any *sent, const struct any *got)
{
	const struct wire_hello *a = &sent->hello, *b = &got->hello;

	SAME(version);
	SAME(version_low);
	SAME(intent);
	SAME(channel);
	SAME(features);
	assert_memory_equal(a->token, b->token, WIRE_TOKEN_SIZE);
}

static void same_hello_reply(const struct any *sent, const struct any *got)
{
	const struct wire_hello_reply *a = &sent->reply, *b = &got->reply;

	SAME(version);
	SAME(fate);
	SAME(features);
}

static void same_region(const struct wire_region *a, const struct wire_region *b)
{
	assert_string_equal(a->name, b->name);
	SAME(gpa);
	SAME(size);
}

static void same_device(const struct wire_device *a, const struct wire_device *b)
{
	assert_string_equal(a->name, b->name);
	assert_string_equal(a->backend, b->backend);
	SAME(mig_flags);
	SAME(pci_vendor);
	SAME(pci_device);
	SAME(pci_subsystem_vendor);
	SAME(pci_subsystem);
}

static void same_describe(const struct any *sent, const struct any *got)
{
	const struct wire_describe *a = &sent->describe, *b = &got->describe;

	SAME(page_size);
	SAME(device_chunk);
	SAME(region_count);
	SAME(device_count);
	for (uint32_t i = 0; i < a->region_count; i++)
		same_region(&a->regions[i], &b->regions[i]);
	for (uint32_t i = 0; i < a->device_count; i++)
		same_device(&a->devices[i], &b->devices[i]);
}

static void same_answer(const struct any *sent, const struct any *got)
{
	const struct wire_answer *a = &sent->answer, *b = &got->answer;

	SAME(count);
	for (uint32_t i = 0; i < a->count; i++)
		assert_string_equal(a->reasons[i], b->reasons[i]);
}

static void same_ready(const struct any *sent, const struct any *got)
{
	assert_int_equal(sent->ready.window, got->ready.window);
}

static void same_run(const struct wire_run *a, const struct wire_run *b)
{
	SAME(first);
	SAME(count);
	SAME(zero);
}

static void same_memory(const struct any *sent, const struct any *got)
{
	const struct wire_memory *a = &sent->memory, *b = &got->memory;

	SAME(region);
	SAME(run_count);
	SAME(page_count);
	for (uint32_t i = 0; i < a->run_count; i++)
		same_run(&a->runs[i], &b->runs[i]);
	for (uint32_t i = 0; i < a->page_count; i++)
		SAME(digests[i]);
}

static void same_bulk(const struct any *sent, const struct any *got)
{
	const struct wire_bulk *a = &sent->bulk, *b = &got->bulk;

	SAME(offset);
	SAME(digest);
}

static void same_credit(const struct any *sent, const struct any *got)
{
	const struct wire_credit *a = &sent->credit, *b = &got->credit;

	SAME(device);
	SAME(consumed);
	SAME(load_ns);
}

static void same_ack(const struct any *sent, const struct any *got)
{
	assert_int_equal(sent->ack.device, got->ack.device);
}

static void same_round(const struct any *sent, const struct any *got)
{
	const struct wire_round *a = &sent->round, *b = &got->round;

	SAME(round);
	SAME(memory_bytes);
	SAME(device_bytes);
}

static void same_prepare(const struct any *sent, const struct any *got)
{
	const struct wire_prepare *a = &sent->prepare, *b = &got->prepare;

	SAME(memory_pages);
	SAME(device_bytes);
}

static void same_costs(const struct any *sent, const struct any *got)
{
	const struct wire_costs *a = &sent->costs, *b = &got->costs;

	SAME(step_ns);
}

static void same_arcs(const struct any *sent, const struct any *got)
{
	const struct wire_arcs *a = &sent->arcs, *b = &got->arcs;

	SAME(device_count);
	for (uint32_t i = 0; i < a->device_count; i++) {
		SAME(devices[i].p2p_ns);
		SAME(devices[i].stop_ns);
	}
}

static void same_prepared(const struct any *sent, const struct any *got)
{
	const struct wire_prepared *a = &sent->prepared, *b = &got->prepared;

	SAME(load_ns);
	SAME(check_ns);
	SAME(inspect_ns);
}

static void same_running(const struct any *sent, const struct any *got)
{
	const struct wire_running *a = &sent->running, *b = &got->running;

	SAME(devices_ns);
	SAME(vcpus_ns);
}

static void same_arc(const struct wire_arc *a, const struct wire_arc *b)
{
	SAME(device);
	SAME(from);
	SAME(to);
	SAME(result);
	SAME(start_ns);
	SAME(duration_ns);
}

static void same_report(const struct any *sent, const struct any *got)
{
	const struct wire_report *a = &sent->report, *b = &got->report;

	SAME(device_count);
	SAME(arc_count);
	for (uint32_t i = 0; i < a->device_count; i++) {
		SAME(devices[i].bytes);
		SAME(devices[i].load_ns);
	}
	for (uint32_t i = 0; i < a->arc_count; i++)
		same_arc(&a->arcs[i], &b->arcs[i]);
}

static void same_error(const struct any *sent, const struct any *got)
{
	const struct vfm_error *a = &sent->error, *b = &got->error;

	SAME(code);
	SAME(stage);
	SAME(remote);
	SAME(has_arc);
	SAME(from);
	SAME(to);
	assert_string_equal(a->device, b->device);
	assert_string_equal(a->text, b->text);
}

typedef void same_fn(const struct any *sent, const struct any *got);

static same_fn *const same[TYPES_END] = {
	[WIRE_HELLO] = same_hello,
	[WIRE_HELLO_REPLY] = same_hello_reply,
	[WIRE_DESCRIBE] = same_describe,
	[WIRE_ANSWER] = same_answer,
	[WIRE_READY] = same_ready,
	[WIRE_MEMORY] = same_memory,
	[WIRE_DEVICE] = same_bulk,
	[WIRE_CREDIT] = same_credit,
	[WIRE_ROUND] = same_round,
	[WIRE_ROUND_DONE] = same_round,
	[WIRE_VM_STATE] = same_bulk,
	[WIRE_PREPARE] = same_prepare,
	[WIRE_PREPARED] = same_prepared,
	[WIRE_RUNNING] = same_running,
	[WIRE_REPORT] = same_report,
	[WIRE_ABORT] = same_error,
	[WIRE_ACK] = same_ack,
	[WIRE_COSTS] = same_costs,
	[WIRE_ARCS] = same_arcs,
};

static void round_trip(struct fixture *fx, const struct sample *sample)
{
	size_t size = sample_encode(sample, 0, fx->bytes, &fx->sent);

	assert_int_equal(read_bytes(fx, size), 0);
	assert_int_equal(fx->frame.header.type, sample->type);
	assert_int_equal(fx->frame.header.flags, sample->flags);
	assert_int_equal(fx->frame.header.stream, sample->stream);
	assert_int_equal(fx->frame.header.bulk, sample->bulk);
	assert_int_equal(fx->frame.header.head, size - WIRE_HEADER_SIZE);
	/* Nothing may be left over from before. */
	memset(&fx->got, 0xa5, sizeof(fx->got));
	assert_int_equal(any_get(&fx->frame.header, fx->frame.head, &fx->got), 0);
	if (same[sample->type])
		same[sample->type](&fx->sent, &fx->got);
	memset(fx->again, 0xa5, sizeof(fx->again));
	assert_int_equal(any_put(sample->type, fx->again, &fx->got), size - WIRE_HEADER_SIZE);
	assert_memory_equal(fx->again, fx->bytes + WIRE_HEADER_SIZE, size - WIRE_HEADER_SIZE);
}

static void test_round_trip(void **state)
{
	bool seen[TYPES_END] = {false};

	for (unsigned i = 0; i < sample_count; i++) {
		round_trip(*state, &samples[i]);
		seen[samples[i].type] = true;
	}
	for (unsigned type = 1; type < TYPES_END; type++)
		assert_true(seen[type]);
}

/* The bytes that format.h draws. */
static void test_worked_example(void **state)
{
	static const uint8_t drawn[] = {
		0x56, 0x4d, 0x09, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xae, 0x86, 0xf2, 0x33,
		0x3f, 0x5f, 0x35, 0xa9, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x40, 0x42, 0x0f, 0x00, 0x00, 0x00, 0x00, 0x00,
	};
	struct fixture *fx = *state;
	size_t size = sample_encode(find_sample("credit"), 2, fx->bytes, &fx->sent);

	assert_int_equal(size, sizeof(drawn));
	assert_memory_equal(fx->bytes, drawn, sizeof(drawn));
}

/* ---- cut ---- */

/* Steps through large frames in strides, since each step costs the whole. */
static size_t stride(size_t size)
{
	return size < 4096 ? 1 : 61;
}

static void truncate_frame(struct fixture *fx, const struct sample *sample)
{
	size_t size = sample_encode(sample, 0, fx->bytes, &fx->sent);

	for (size_t cut = 0; cut < size; cut += stride(size))
		assert_int_equal(read_bytes(fx, cut), -ECONNRESET);
	assert_int_equal(fx->sequences.next[sample->stream], 0);
}

static void test_truncated_frame(void **state)
{
	for (unsigned i = 0; i < sample_count; i++)
		truncate_frame(*state, &samples[i]);
}

/* A head of @size bytes whose first ones are right, in memory that ends there. */
static int get_resized(struct fixture *fx, const struct sample *sample, size_t whole, size_t size)
{
	struct wire_header header = {
		.type = sample->type,
		.flags = sample->flags,
		.stream = sample->stream,
		.bulk = sample->bulk,
		.head = (uint32_t)size,
	};
	uint8_t *head = calloc(1, size ? size : 1);
	int ret;

	assert_non_null(head);
	memcpy(head, fx->bytes + WIRE_HEADER_SIZE, MIN(size, whole));
	ret = any_get(&header, head, &fx->got);
	free(head);
	return ret;
}

static void resize_head(struct fixture *fx, const struct sample *sample)
{
	size_t size = sample_encode(sample, 0, fx->bytes, &fx->sent) - WIRE_HEADER_SIZE;

	if (!sample->fill)
		return;
	for (size_t cut = 0; cut < size; cut += stride(size))
		assert_int_equal(get_resized(fx, sample, size, cut), -EPROTO);
	assert_int_equal(get_resized(fx, sample, size, size), 0);
	assert_int_equal(get_resized(fx, sample, size, size + 1),
			 sample->type == WIRE_HELLO ? 0 : -EPROTO);
}

static void test_resized_head(void **state)
{
	for (unsigned i = 0; i < sample_count; i++)
		resize_head(*state, &samples[i]);
}

/* ---- altered ---- */

static void mutate_frame(struct fixture *fx, const struct sample *sample)
{
	size_t size = sample_encode(sample, 0, fx->bytes, &fx->sent);

	for (size_t at = 0; at < size; at += stride(size)) {
		for (unsigned bit = 0; bit < 8; bit++) {
			fx->bytes[at] ^= (uint8_t)(1u << bit);
			assert_true(read_bytes(fx, size) < 0);
			/* With the checksum made right: what is accepted encodes to the same. */
			if (!sample->large)
				LLVMFuzzerTestOneInput(fx->bytes, size);
			fx->bytes[at] ^= (uint8_t)(1u << bit);
		}
	}
	assert_int_equal(read_bytes(fx, size), 0);
}

static void test_mutated_frame(void **state)
{
	for (unsigned i = 0; i < sample_count; i++)
		mutate_frame(*state, &samples[i]);
}

/* One field of a good head set to a value that must be refused. */
struct poke {
	const char *sample;
	size_t offset;
	unsigned size;
	uint64_t value;
};

#define POKE(sample, type, field, value)                                                           \
	{sample, offsetof(struct type, field), sizeof(((struct type *)0)->field), value}
#define POKE_AT(sample, base, type, field, value)                                                  \
	{sample, (base) + offsetof(struct type, field), sizeof(((struct type *)0)->field), value}
#define BYTE(sample, offset, value) {sample, offset, 1, value}

#define REGION(n) (sizeof(struct wire_describe_le) + (n) * sizeof(struct wire_region_le))
#define DEVICE    REGION(2)
#define RUN(n)    (sizeof(struct wire_memory_le) + (n) * sizeof(struct wire_run_le))
#define ARC(n)                                                                                     \
	(sizeof(struct wire_report_le) + sizeof(struct wire_load_le) +                             \
	 (n) * sizeof(struct wire_arc_le))
#define ERROR_DEVICE offsetof(struct wire_error_le, device)
#define ERROR_TEXT   offsetof(struct wire_error_le, text)

static const struct poke pokes[] = {
	POKE("hello", wire_hello_le, version_low, 0),
	POKE("hello", wire_hello_le, version_low, WIRE_VERSION + 1),
	POKE("hello", wire_hello_le, version, 0),
	POKE("hello", wire_hello_le, intent, 0),
	POKE("hello", wire_hello_le, intent, WIRE_INTENT_ASK + 1),
	POKE("hello", wire_hello_le, channel, 1),
	POKE("hello-ask", wire_hello_le, channel, 1),
	POKE("hello-extreme", wire_hello_le, channel, 0),
	POKE("hello-extreme", wire_hello_le, channel, WIRE_CHANNELS_MAX),
	POKE("reply", wire_hello_reply_le, reserved, 1),
	POKE("reply", wire_hello_reply_le, fate, WIRE_FATE_NEVER + 1),
	POKE("reply-refused", wire_hello_reply_le, fate, WIRE_FATE_OWNED),
	POKE("reply-refused", wire_hello_reply_le, features, 1),
	POKE("describe", wire_describe_le, page_size, 0),
	POKE("describe", wire_describe_le, page_size, VFM_PAGE_SIZE / 2),
	POKE("describe", wire_describe_le, page_size, VFM_PAGE_SIZE * 3),
	POKE("describe", wire_describe_le, page_size, 1u << 31),
	POKE("describe", wire_describe_le, device_chunk, 0),
	POKE("describe", wire_describe_le, device_chunk, VFM_PAGE_SIZE + 1),
	POKE("describe", wire_describe_le, device_chunk, WIRE_CHUNK_MAX + VFM_PAGE_SIZE),
	POKE("describe", wire_describe_le, region_count, 1),
	POKE("describe", wire_describe_le, region_count, VFM_REGIONS_MAX + 1),
	POKE("describe", wire_describe_le, region_count, UINT32_MAX),
	POKE("describe", wire_describe_le, device_count, 2),
	POKE("describe", wire_describe_le, device_count, VFM_DEVICES_MAX + 1),
	POKE("describe", wire_describe_le, device_count, UINT32_MAX),
	POKE_AT("describe", REGION(0), wire_region_le, size, 0),
	POKE_AT("describe", REGION(0), wire_region_le, size, 0xa0001),
	POKE_AT("describe", REGION(1), wire_region_le, gpa, 1),
	POKE_AT("describe", REGION(1), wire_region_le, gpa, UINT64_MAX - VFM_PAGE_SIZE + 1),
	BYTE("describe", REGION(0), 0),
	BYTE("describe", REGION(0), '\n'),
	BYTE("describe", REGION(0) + VFM_NAME_MAX - 1, 'x'),
	BYTE("describe", DEVICE, 0),
	BYTE("describe", DEVICE, 0x80),
	BYTE("describe", DEVICE + VFM_NAME_MAX - 1, 'x'),
	BYTE("describe", DEVICE + VFM_NAME_MAX, 0),
	BYTE("describe", DEVICE + VFM_NAME_MAX, 0x1b),
	POKE("answer", wire_answer_le, count, 1),
	POKE("answer-refused", wire_answer_le, count, 1),
	POKE("answer-refused", wire_answer_le, count, 3),
	POKE("answer-refused", wire_answer_le, count, WIRE_REASONS_MAX + 1),
	POKE("answer-refused", wire_answer_le, count, UINT32_MAX),
	POKE_AT("answer-refused", sizeof(struct wire_answer_le), wire_line_le, length, 0),
	POKE_AT("answer-refused", sizeof(struct wire_answer_le), wire_line_le, length, UINT16_MAX),
	POKE_AT("answer-extreme", sizeof(struct wire_answer_le), wire_line_le, length,
		VFM_ERROR_TEXT_MAX),
	BYTE("answer-refused", sizeof(struct wire_answer_le) + sizeof(struct wire_line_le), 0),
	BYTE("answer-refused", sizeof(struct wire_answer_le) + sizeof(struct wire_line_le), 0x7f),
	POKE("ready", wire_ready_le, window, 0),
	POKE("ready", wire_ready_le, window, WIRE_WINDOW_MIN - 1),
	POKE("ready", wire_ready_le, window, WIRE_WINDOW_MAX + 1),
	POKE("ready", wire_ready_le, reserved, 1),
	POKE("memory", wire_memory_le, region, VFM_REGIONS_MAX),
	POKE("memory", wire_memory_le, reserved, 1),
	POKE("memory", wire_memory_le, run_count, 0),
	POKE("memory", wire_memory_le, run_count, 1),
	POKE("memory", wire_memory_le, run_count, 3),
	POKE("memory", wire_memory_le, run_count, WIRE_RUNS_MAX + 1),
	POKE("memory", wire_memory_le, run_count, UINT32_MAX),
	POKE("memory", wire_memory_le, page_count, 1),
	POKE("memory", wire_memory_le, page_count, 3),
	POKE("memory", wire_memory_le, page_count, UINT32_MAX),
	POKE_AT("memory", RUN(0), wire_run_le, count, 0),
	POKE_AT("memory", RUN(0), wire_run_le, count, 1),
	POKE_AT("memory", RUN(0), wire_run_le, count, UINT32_MAX),
	POKE_AT("memory", RUN(0), wire_run_le, first, 39),
	POKE_AT("memory", RUN(0), wire_run_le, first, UINT64_MAX),
	POKE_AT("memory", RUN(0), wire_run_le, flags, WIRE_RUN_ZERO),
	POKE_AT("memory", RUN(0), wire_run_le, flags, 2),
	POKE_AT("memory", RUN(1), wire_run_le, first, 17),
	POKE_AT("memory", RUN(1), wire_run_le, first, 0),
	POKE_AT("memory", RUN(1), wire_run_le, first, WIRE_PAGE_END),
	POKE_AT("memory", RUN(1), wire_run_le, first, UINT64_MAX),
	POKE_AT("memory", RUN(1), wire_run_le, count, 0),
	POKE_AT("memory", RUN(1), wire_run_le, flags, 0),
	POKE("device", wire_bulk_le, offset, UINT64_MAX - 98),
	POKE("vm-state", wire_bulk_le, offset, VFM_VM_STATE_MAX - 63),
	POKE("vm-state", wire_bulk_le, offset, UINT64_MAX),
	POKE("credit", wire_credit_le, device, VFM_DEVICES_MAX),
	POKE("credit", wire_credit_le, reserved, 1),
	POKE("ack", wire_ack_le, device, VFM_DEVICES_MAX),
	POKE("ack", wire_ack_le, reserved, 1),
	POKE("report", wire_report_le, device_count, 0),
	POKE("report", wire_report_le, device_count, 2),
	POKE("report", wire_report_le, device_count, UINT32_MAX),
	POKE("report", wire_report_le, arc_count, 1),
	POKE("report", wire_report_le, arc_count, WIRE_ARCS_MAX + 1),
	POKE("report", wire_report_le, arc_count, UINT32_MAX),
	POKE_AT("report", ARC(0), wire_arc_le, device, 1),
	POKE_AT("report", ARC(0), wire_arc_le, from, VFM_STATE_COUNT),
	POKE_AT("report", ARC(1), wire_arc_le, to, VFM_STATE_COUNT),
	POKE_AT("report", ARC(1), wire_arc_le, code, WIRE_ERRNO_MAX + 1),
	POKE("abort", wire_error_le, code, 0),
	POKE("abort", wire_error_le, code, WIRE_ERRNO_MAX + 1),
	POKE("abort", wire_error_le, stage, VFM_STAGE_COUNT),
	POKE("abort", wire_error_le, flags, 0),
	POKE("abort", wire_error_le, flags, 3),
	POKE("abort", wire_error_le, from, VFM_STATE_COUNT),
	POKE("abort", wire_error_le, to, VFM_STATE_COUNT),
	POKE("abort", wire_error_le, reserved, 1),
	POKE("abort-plain", wire_error_le, to, 1),
	BYTE("abort", ERROR_DEVICE, '\r'),
	BYTE("abort", ERROR_DEVICE + VFM_NAME_MAX - 1, 'x'),
	BYTE("abort", ERROR_TEXT, 0xff),
	BYTE("abort", ERROR_TEXT + VFM_ERROR_TEXT_MAX - 1, 'x'),
};

static void poke(uint8_t *at, const struct poke *p)
{
	for (unsigned i = 0; i < p->size; i++)
		at[i] = (uint8_t)(p->value >> 8 * i);
}

static void test_refused_fields(void **state)
{
	struct fixture *fx = *state;

	for (size_t i = 0; i < ARRAY_SIZE(pokes); i++) {
		const struct sample *sample = find_sample(pokes[i].sample);
		size_t size = sample_encode(sample, 0, fx->bytes, &fx->sent);

		assert_int_equal(read_bytes(fx, size), 0);
		poke(fx->frame.head + pokes[i].offset, &pokes[i]);
		if (any_get(&fx->frame.header, fx->frame.head, &fx->got) != -EPROTO)
			fail_msg("row %zu: %s with %#jx at %zu was accepted", i, pokes[i].sample,
				 (uintmax_t)pokes[i].value, pokes[i].offset);
	}
}

/* A frame of a stream that says neither anything nor that it ends. */
static void test_empty_bulk(void **state)
{
	struct fixture *fx = *state;

	sample_encode(find_sample("device-last"), 0, fx->bytes, &fx->sent);
	assert_int_equal(read_bytes(fx, sizeof(fx->bytes)), 0);
	fx->frame.header.flags = 0;
	assert_int_equal(any_get(&fx->frame.header, fx->frame.head, &fx->got), -EPROTO);
}

/* The bulk's length against the pages that the head tells. */
static void test_memory_bulk(void **state)
{
	static const uint32_t bulks[] = {
		0, VFM_PAGE_SIZE, 2 * VFM_PAGE_SIZE - 1, 3 * VFM_PAGE_SIZE,
	};
	struct fixture *fx = *state;

	sample_encode(find_sample("memory"), 0, fx->bytes, &fx->sent);
	assert_int_equal(read_bytes(fx, sizeof(fx->bytes)), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bulks); i++) {
		fx->frame.header.bulk = bulks[i];
		assert_int_equal(any_get(&fx->frame.header, fx->frame.head, &fx->got), -EPROTO);
	}
}

/* ---- header and table ---- */

static void test_rules(void **state)
{
	for (unsigned type = 1; type < TYPES_END; type++) {
		const struct wire_rule *rule = wire_rule((uint16_t)type);

		assert_non_null(rule);
		assert_true(rule->stream_first <= rule->stream_last);
		assert_true(rule->stream_last < WIRE_STREAM_END);
		assert_true(rule->head_min <= rule->head_max && rule->head_max <= WIRE_HEAD_MAX);
		assert_true(rule->bulk_max <= WIRE_BULK_MAX);
		/* Bulk travels apart from control, and flags go with bulk. */
		assert_int_equal(rule->bulk_max != 0, rule->stream_first != WIRE_STREAM_CONTROL);
		assert_int_equal(rule->bulk_max != 0, rule->flags != 0);
		assert_string_equal(wire_type_name((uint16_t)type), rule->name);
		for (unsigned other = 1; other < type; other++)
			assert_string_not_equal(rule->name, wire_type_name((uint16_t)other));
	}
	assert_null(wire_rule(0));
	assert_null(wire_rule(TYPES_END));
	assert_null(wire_rule(UINT16_MAX));
	assert_string_equal(wire_type_name(0), "unknown");
}

/* 0 or what wire_get_header says to these numbers. */
static int try_header(const struct wire_header *header)
{
	static const uint8_t head[2 * WIRE_HEAD_MAX];
	uint8_t *raw = malloc(WIRE_HEADER_SIZE + sizeof(head));
	struct wire_header got;
	int ret;

	assert_non_null(raw);
	wire_put_header(raw, header, head);
	ret = wire_get_header(raw, &got);
	free(raw);
	return ret;
}

static struct wire_header least_header(unsigned type)
{
	return (struct wire_header){
		.type = (uint16_t)type,
		.stream = wire_rule((uint16_t)type)->stream_first,
		.head = wire_rule((uint16_t)type)->head_min,
	};
}

static void check_streams_and_flags(unsigned type)
{
	const struct wire_rule *rule = wire_rule((uint16_t)type);
	struct wire_header header = least_header(type);

	for (uint32_t stream = 0; stream <= WIRE_STREAM_END; stream++) {
		header.stream = stream;
		assert_int_equal(try_header(&header),
				 stream >= rule->stream_first && stream <= rule->stream_last
					 ? 0
					 : -EPROTO);
	}
	header = least_header(type);
	for (unsigned bit = 0; bit < 16; bit++) {
		header.flags = (uint16_t)(1u << bit);
		assert_int_equal(try_header(&header), rule->flags & (1u << bit) ? 0 : -EPROTO);
	}
}

static void check_lengths(unsigned type)
{
	const struct wire_rule *rule = wire_rule((uint16_t)type);
	struct wire_header header = least_header(type);

	header.head = rule->head_max;
	header.bulk = rule->bulk_max;
	assert_int_equal(try_header(&header), 0);
	header.head = rule->head_max + 1;
	assert_int_equal(try_header(&header), -EPROTO);
	header.head = rule->head_max;
	header.bulk = rule->bulk_max + 1;
	assert_int_equal(try_header(&header), -EPROTO);
	header.bulk = UINT32_MAX;
	assert_int_equal(try_header(&header), -EPROTO);
	header = least_header(type);
	header.head = rule->head_min - 1;
	if (rule->head_min)
		assert_int_equal(try_header(&header), -EPROTO);
}

static void test_header_limits(void **state)
{
	for (unsigned type = 1; type < TYPES_END; type++) {
		check_streams_and_flags(type);
		check_lengths(type);
	}
}

static void test_header_constants(void **state)
{
	struct wire_header header = least_header(WIRE_BYE), got;
	uint8_t raw[WIRE_HEADER_SIZE];

	wire_put_header(raw, &header, NULL);
	assert_int_equal(wire_get_header(raw, &got), 0);
	raw[0] ^= 1;
	assert_int_equal(wire_get_header(raw, &got), -EBADMSG);
	raw[0] ^= 1;
	raw[offsetof(struct wire_header_le, reserved)] = 1;
	assert_int_equal(wire_get_header(raw, &got), -EPROTO);
	raw[offsetof(struct wire_header_le, reserved)] = 0;
	/* The upper half of the flags has no place in struct wire_header. */
	raw[offsetof(struct wire_header_le, flags) + 2] = 1;
	assert_int_equal(wire_get_header(raw, &got), -EPROTO);
	raw[offsetof(struct wire_header_le, flags) + 2] = 0;
	raw[offsetof(struct wire_header_le, type)] = 0;
	assert_int_equal(wire_get_header(raw, &got), -EPROTO);
	raw[offsetof(struct wire_header_le, type)] = TYPES_END;
	assert_int_equal(wire_get_header(raw, &got), -EPROTO);
}

/* What a scanner or a browser says. */
static void test_strangers(void **state)
{
	static const char *const words[] = {
		"GET / HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n",
		"SSH-2.0-OpenSSH_9.2p1 and what else belongs to it\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a client hello of TLS, more or less",
	};
	struct fixture *fx = *state;

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		memcpy(fx->bytes, words[i], WIRE_HEADER_SIZE);
		assert_int_equal(read_bytes(fx, WIRE_HEADER_SIZE), -EBADMSG);
	}
}

/* ---- order ---- */

static int read_next(struct fixture *fx, const char *name, uint64_t sequence)
{
	size_t size = sample_encode(find_sample(name), sequence, fx->bytes, &fx->sent);
	struct source source = {fx->bytes, size};
	struct wire_input input = {read_source, &source};

	return wire_read_frame(&input, &fx->sequences, &fx->frame);
}

static void test_sequence(void **state)
{
	struct fixture *fx = *state;

	memset(&fx->sequences, 0, sizeof(fx->sequences));
	assert_int_equal(read_next(fx, "hello", 0), 0);
	assert_int_equal(read_next(fx, "hello", 0), -EPROTO);  /* again */
	assert_int_equal(read_next(fx, "setup", 2), -EPROTO);  /* one is missing */
	assert_int_equal(read_next(fx, "setup", 1), 0);
	assert_int_equal(read_next(fx, "memory", 1), -EPROTO); /* streams count by themselves */
	assert_int_equal(read_next(fx, "memory", 0), 0);
	assert_int_equal(read_next(fx, "device", 0), 0);
	assert_int_equal(read_next(fx, "device-extreme", 0), 0);
	assert_int_equal(read_next(fx, "device", 1), 0);
	assert_int_equal(read_next(fx, "round", UINT64_MAX), -EPROTO);
	assert_int_equal(read_next(fx, "round", 2), 0);
}

/* A damaged frame is not counted. */
static void test_damage_is_not_counted(void **state)
{
	struct fixture *fx = *state;
	size_t size = sample_encode(find_sample("credit"), 0, fx->bytes, &fx->sent);

	fx->bytes[size - 1] ^= 0x40;
	assert_int_equal(read_bytes(fx, size), -EBADMSG);
	assert_int_equal(fx->sequences.next[WIRE_STREAM_CONTROL], 0);
}

static int read_failing(void *opaque, void *buf, size_t size)
{
	return -ETIMEDOUT;
}

static void test_input_error(void **state)
{
	struct fixture *fx = *state;
	struct wire_input input = {read_failing, NULL};

	assert_int_equal(wire_read_frame(&input, &fx->sequences, &fx->frame), -ETIMEDOUT);
}

/* ---- text ---- */

static const struct {
	const char *text;
	bool valid;
	const char *cleaned;
} texts[] = {
	{"", true, ""},
	{"plain", true, "plain"},
	{"tab\t", false, "tab?"},
	{"line\n", false, "line?"},
	{"\x1b[2J", false, "?[2J"},
	{"\x7f", false, "?"},
	{"\xc3\xa4", true, "\xc3\xa4"},
	{"\xe2\x82\xac", true, "\xe2\x82\xac"},
	{"\xf0\x9f\x98\x80", true, "\xf0\x9f\x98\x80"},
	{"\xf4\x8f\xbf\xbf", true, "\xf4\x8f\xbf\xbf"},
	{"\xc2\x9b", false, "??"},                 /* C1: a one-byte escape sequence */
	{"\xe2\x80\xa8", false, "???"},            /* line separator */
	{"\xc0\xaf", false, "??"},                 /* overlong */
	{"\xe0\x80\xaf", false, "???"},            /* overlong */
	{"\xf0\x80\x80\xaf", false, "????"},       /* overlong */
	{"\xed\xa0\x80", false, "???"},            /* surrogate */
	{"\xf4\x90\x80\x80", false, "????"},       /* past the end */
	{"\xf5\x80\x80\x80", false, "????"},
	{"\x80", false, "?"},
	{"\xff\xfe", false, "??"},
	{"cut \xe2\x82", false, "cut ??"},
	{"\xc3(", false, "?("},
};

static void test_text(void **state)
{
	char cleaned[64];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		size_t length = strlen(texts[i].text);

		assert_int_equal(wire_text_valid(texts[i].text, length), texts[i].valid);
		memset(cleaned, 0, sizeof(cleaned));
		wire_text_clean(cleaned, texts[i].text, length);
		assert_string_equal(cleaned, texts[i].cleaned);
		assert_true(wire_text_valid(cleaned, length));
	}
	assert_false(wire_text_valid("a\0b", 3));
}

/* No record of an error is so bad that it would not arrive. */
static void test_poor_error_arrives(void **state)
{
	struct fixture *fx = *state;
	struct vfm_error *error = &fx->sent.error;
	size_t size;

	memset(error, 0, sizeof(*error));
	memset(error->device, 0xe2, sizeof(error->device));
	memset(error->text, '\n', sizeof(error->text));
	size = wire_put_error(fx->bytes, error);
	assert_int_equal(wire_get_error(fx->bytes, size, &fx->got.error), 0);
	assert_int_equal(fx->got.error.code, EIO);
	assert_int_equal(fx->got.error.remote, 1);
	assert_int_equal(strlen(fx->got.error.device), VFM_NAME_MAX - 1);
	assert_int_equal(strspn(fx->got.error.text, "?"), VFM_ERROR_TEXT_MAX - 1);
}

static void test_too_many_reasons(void **state)
{
	struct fixture *fx = *state;
	struct wire_answer *answer = &fx->sent.answer;
	size_t size;

	memset(answer, 0, sizeof(*answer));
	answer->count = WIRE_REASONS_MAX + 7;
	for (unsigned i = 0; i < WIRE_REASONS_MAX; i++)
		snprintf(answer->reasons[i], VFM_ERROR_TEXT_MAX, "reason %u", i);
	size = wire_put_answer(fx->bytes, answer);
	assert_int_equal(wire_get_answer(fx->bytes, size, &fx->got.answer), 0);
	assert_int_equal(fx->got.answer.count, WIRE_REASONS_MAX);
	assert_string_equal(fx->got.answer.reasons[WIRE_REASONS_MAX - 2], "reason 98");
	assert_string_equal(fx->got.answer.reasons[WIRE_REASONS_MAX - 1], "and 8 reasons more");
}

/* An empty reason would be no line. */
static void test_empty_reason(void **state)
{
	struct fixture *fx = *state;
	size_t size;

	memset(&fx->sent.answer, 0, sizeof(fx->sent.answer));
	fx->sent.answer.count = 1;
	size = wire_put_answer(fx->bytes, &fx->sent.answer);
	assert_int_equal(wire_get_answer(fx->bytes, size, &fx->got.answer), 0);
	assert_string_equal(fx->got.answer.reasons[0], "?");
}

/* A later version's HELLO says more at its end. */
static void test_longer_hello(void **state)
{
	struct fixture *fx = *state;
	struct wire_header header = {.type = WIRE_HELLO, .head = WIRE_HELLO_MAX};

	sample_encode(find_sample("hello"), 0, fx->bytes, &fx->sent);
	memset(fx->bytes + WIRE_HEADER_SIZE + sizeof(struct wire_hello_le), 0xee,
	       WIRE_HELLO_MAX - sizeof(struct wire_hello_le));
	wire_put_header(fx->bytes, &header, fx->bytes + WIRE_HEADER_SIZE);
	assert_int_equal(read_bytes(fx, WIRE_HEADER_SIZE + WIRE_HELLO_MAX), 0);
	assert_int_equal(any_get(&fx->frame.header, fx->frame.head, &fx->got), 0);
	same_hello(&fx->sent, &fx->got);
}

static void test_digest(void **state)
{
	uint8_t page[VFM_PAGE_SIZE] = {0};
	uint64_t zero = wire_digest(page, sizeof(page));

	for (size_t i = 0; i < sizeof(page); i += 511) {
		page[i] = 1;
		assert_true(wire_digest(page, sizeof(page)) != zero);
		page[i] = 0;
	}
	assert_true(wire_digest(page, sizeof(page)) == zero);
	/* XXH3-64 of nothing, from its specification: the digest of an empty last bulk. */
	assert_true(wire_digest(NULL, 0) == UINT64_C(0x2d06800538d394c2));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip),
		TEST(test_worked_example),
		TEST(test_truncated_frame),
		TEST(test_resized_head),
		TEST(test_mutated_frame),
		TEST(test_refused_fields),
		TEST(test_empty_bulk),
		TEST(test_memory_bulk),
		TEST(test_rules),
		TEST(test_header_limits),
		TEST(test_header_constants),
		TEST(test_strangers),
		TEST(test_sequence),
		TEST(test_damage_is_not_counted),
		TEST(test_input_error),
		TEST(test_text),
		TEST(test_poor_error_arrives),
		TEST(test_too_many_reasons),
		TEST(test_empty_reason),
		TEST(test_longer_hello),
		TEST(test_digest),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
