/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A peer's bytes, from a buffer instead of a socket, through wire_read_frame and the function that
 * decodes the frame's head, frame after frame, as a receiver does it.
 *
 * Each input is read twice: as it is, and with checksums and sequence numbers made right, since
 * no mutation would get past those.
 *
 * Beyond what the sanitizers see, these must hold, or we trap: a frame that was accepted gives the
 * same bytes when it is encoded again, and its sums and strings are what the header promises.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "fuzz/wire-any.h"
#include "wire/format.h"
#include "wire/text.h"

#define CHECK(condition)                                                                           \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);           \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* Everything that a run needs, on the heap. */
struct run {
	const uint8_t *at;
	size_t left;
	struct wire_sequences sequences;
	struct wire_frame frame;
	struct any any;
	uint8_t again[WIRE_HEADER_SIZE + WIRE_HEAD_MAX];
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int read_buffer(void *opaque, void *buf, size_t size)
{
	struct run *run = opaque;

	if (size > run->left)
		return -ECONNRESET;
	memcpy(buf, run->at, size);
	run->at += size;
	run->left -= size;
	return 0;
}

static void check_memory(const struct wire_header *header, const struct wire_memory *memory)
{
	uint64_t pages = 0, end = 0;

	for (uint32_t i = 0; i < memory->run_count; i++) {
		const struct wire_run *r = &memory->runs[i];

		CHECK(r->count && r->first >= end && r->first <= UINT64_MAX - r->count);
		end = r->first + r->count;
		pages += r->zero ? 0 : r->count;
	}
	CHECK(end <= UINT64_MAX / VFM_PAGE_SIZE);
	CHECK(pages == memory->page_count && pages * VFM_PAGE_SIZE == header->bulk);
}

static void check_string(const char *text, size_t size)
{
	size_t length = strnlen(text, size);

	CHECK(length < size && wire_text_valid(text, length));
}

static void check_describe(const struct wire_describe *describe)
{
	CHECK(describe->region_count <= VFM_REGIONS_MAX);
	CHECK(describe->device_count <= VFM_DEVICES_MAX);
	for (uint32_t i = 0; i < describe->region_count; i++)
		check_string(describe->regions[i].name, VFM_NAME_MAX);
	for (uint32_t i = 0; i < describe->device_count; i++) {
		check_string(describe->devices[i].name, VFM_NAME_MAX);
		check_string(describe->devices[i].backend, sizeof(describe->devices[i].backend));
	}
}

static void check_answer(const struct wire_answer *answer)
{
	CHECK(answer->count <= WIRE_REASONS_MAX);
	for (uint32_t i = 0; i < answer->count; i++)
		check_string(answer->reasons[i], VFM_ERROR_TEXT_MAX);
}

static void check_error(const struct vfm_error *error)
{
	CHECK(error->code > 0 && error->remote == 1);
	check_string(error->device, VFM_NAME_MAX);
	check_string(error->text, VFM_ERROR_TEXT_MAX);
}

static void check_meaning(const struct run *run)
{
	switch (run->frame.header.type) {
	case WIRE_MEMORY:
		check_memory(&run->frame.header, &run->any.memory);
		break;
	case WIRE_DESCRIBE:
		check_describe(&run->any.describe);
		break;
	case WIRE_ANSWER:
		check_answer(&run->any.answer);
		break;
	case WIRE_ABORT:
		check_error(&run->any.error);
		break;
	}
}

/* @raw: the bytes that the frame came from. */
static void check_encoding(struct run *run, const uint8_t *raw)
{
	struct wire_header header = run->frame.header;
	uint8_t *head = run->again + WIRE_HEADER_SIZE;
	size_t size = any_put(header.type, head, &run->any);

	/* The end of a later version's HELLO is skipped. */
	CHECK(size == header.head || (header.type == WIRE_HELLO && size < header.head));
	CHECK(!memcmp(head, raw + WIRE_HEADER_SIZE, size));
	memcpy(head, raw + WIRE_HEADER_SIZE, header.head);
	wire_put_header(run->again, &header, head);
	CHECK(!memcmp(run->again, raw, WIRE_HEADER_SIZE));
}

static void read_frames(struct run *run, const uint8_t *data, size_t size)
{
	const uint8_t *raw = data;
	struct wire_input input = {.read = read_buffer, .opaque = run};

	run->at = data;
	run->left = size;
	memset(&run->sequences, 0, sizeof(run->sequences));
	while (!wire_read_frame(&input, &run->sequences, &run->frame)) {
		const struct wire_header *header = &run->frame.header;

		if (any_get(header, run->frame.head, &run->any))
			return;
		check_meaning(run);
		check_encoding(run, raw);
		if (header->bulk > run->left)
			return;
		wire_digest(run->at, header->bulk);
		run->at += header->bulk;
		run->left -= header->bulk;
		raw = run->at;
	}
}

/* Make checksum and sequence right in each frame whose header could be. */
static void mend(uint8_t *data, size_t size)
{
	struct wire_sequences sequences = {0};
	struct wire_header header;
	size_t taken;

	while (size >= WIRE_HEADER_SIZE && !wire_get_header(data, &header)) {
		taken = WIRE_HEADER_SIZE + header.head;
		if (taken > size)
			return;
		header.sequence = sequences.next[header.stream]++;
		wire_put_header(data, &header, data + WIRE_HEADER_SIZE);
		if (header.bulk > size - taken)
			return;
		data += taken + header.bulk;
		size -= taken + header.bulk;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run *run = malloc(sizeof(*run));
	uint8_t *mended = malloc(size ? size : 1);

	CHECK(run && mended);
	read_frames(run, data, size);
	if (size)
		memcpy(mended, data, size);
	mend(mended, size);
	read_frames(run, mended, size);
	free(mended);
	free(run);
	return 0;
}
