/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Header, checksum and sequence: what every frame has, and the one way in for what a peer sends.
 *
 * wire_read_frame checks in an order in which nothing is believed too early: magic and limits
 * before the head is read, so that a length is never more than the buffer; the checksum before the
 * sequence is counted, so that a damaged frame changes no state.
 */
#include "wire/wire.h"

#include <errno.h>
#include <string.h>
#define XXH_INLINE_ALL /* a state on the stack, whose size the shared library may change */
#include <xxhash.h>
#include "wire/format.h"
#include "wire/rules.h"

uint64_t wire_digest(const void *data, size_t size)
{
	return XXH3_64bits(data, size);
}

/* Of a header, its checksum field counting as zero, and its head. */
static uint64_t frame_checksum(const struct wire_header_le *header, const void *head, size_t size)
{
	struct wire_header_le zeroed = *header;
	XXH3_state_t state;

	zeroed.checksum = put_le64(0);
	XXH3_INITSTATE(&state);
	XXH3_64bits_reset(&state);
	XXH3_64bits_update(&state, &zeroed, sizeof(zeroed));
	if (size)
		XXH3_64bits_update(&state, head, size);
	return XXH3_64bits_digest(&state);
}

void wire_put_header(uint8_t *out, const struct wire_header *header, const void *head)
{
	struct wire_header_le le = {
		.magic = put_le16(WIRE_MAGIC),
		.type = put_le16(header->type),
		.flags = put_le32(header->flags),
		.stream = put_le32(header->stream),
		.head = put_le32(header->head),
		.bulk = put_le32(header->bulk),
		.sequence = put_le64(header->sequence),
	};

	le.checksum = put_le64(frame_checksum(&le, head, header->head));
	memcpy(out, &le, sizeof(le));
	/* The head may have been encoded where it belongs. */
	if (header->head && head != out + sizeof(le))
		memcpy(out + sizeof(le), head, header->head);
}

/* Type against everything else that the header says. */
static int validate_header(const struct wire_header_le *le)
{
	const struct wire_rule *rule = wire_rule(get_le16(le->type));
	uint32_t stream = get_le32(le->stream);
	uint32_t head = get_le32(le->head);

	if (!rule || get_le32(le->reserved))
		return -EPROTO;
	if (stream < rule->stream_first || stream > rule->stream_last)
		return -EPROTO;
	if (get_le32(le->flags) & ~rule->flags)
		return -EPROTO;
	if (head < rule->head_min || head > rule->head_max || get_le32(le->bulk) > rule->bulk_max)
		return -EPROTO;
	return 0;
}

int wire_get_header(const uint8_t *in, struct wire_header *header)
{
	struct wire_header_le le;
	int ret;

	memcpy(&le, in, sizeof(le));
	if (get_le16(le.magic) != WIRE_MAGIC)
		return -EBADMSG;
	ret = validate_header(&le);
	if (ret)
		return ret;
	*header = (struct wire_header){
		.type = get_le16(le.type),
		.flags = (uint16_t)get_le32(le.flags),
		.stream = get_le32(le.stream),
		.head = get_le32(le.head),
		.bulk = get_le32(le.bulk),
		.sequence = get_le64(le.sequence),
	};
	return 0;
}

int wire_check(const uint8_t *in, const struct wire_header *header, const void *head)
{
	struct wire_header_le le;

	memcpy(&le, in, sizeof(le));
	if (get_le64(le.checksum) != frame_checksum(&le, head, header->head))
		return -EBADMSG;
	return 0;
}

int wire_sequence_check(struct wire_sequences *sequences, const struct wire_header *header)
{
	if (header->stream >= WIRE_STREAM_END)
		return -EPROTO;
	if (header->sequence != sequences->next[header->stream])
		return -EPROTO;
	sequences->next[header->stream]++;
	return 0;
}

int wire_read_frame(struct wire_input *input, struct wire_sequences *sequences,
		    struct wire_frame *frame)
{
	uint8_t raw[WIRE_HEADER_SIZE];
	int ret;

	ret = input->read(input->opaque, raw, sizeof(raw));
	if (ret)
		return ret;
	ret = wire_get_header(raw, &frame->header);
	if (ret)
		return ret;
	if (frame->header.head) {
		ret = input->read(input->opaque, frame->head, frame->header.head);
		if (ret)
			return ret;
	}
	ret = wire_check(raw, &frame->header, frame->head);
	if (ret)
		return ret;
	return wire_sequence_check(sequences, &frame->header);
}
