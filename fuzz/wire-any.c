/* SPDX-License-Identifier: BSD-3-Clause */
#include "fuzz/wire-any.h"

#include "base/compiler.h"

struct codec {
	int (*get)(const struct wire_header *header, const void *head, struct any *any);
	size_t (*put)(uint8_t *out, const struct any *any);
};

#define PUT(name, member)                                                                          \
	static size_t put_##name(uint8_t *out, const struct any *any)                              \
	{                                                                                          \
		return wire_put_##name(out, &any->member);                                         \
	}

/* Most heads need only their size; those with a bulk need the header. */
#define BY_SIZE(name, member)                                                                      \
	static int get_##name(const struct wire_header *header, const void *head, struct any *any) \
	{                                                                                          \
		return wire_get_##name(head, header->head, &any->member);                          \
	}                                                                                          \
	PUT(name, member)

#define BY_HEADER(name, member)                                                                    \
	static int get_##name(const struct wire_header *header, const void *head, struct any *any) \
	{                                                                                          \
		return wire_get_##name(header, head, &any->member);                                \
	}                                                                                          \
	PUT(name, member)

BY_SIZE(hello, hello)
BY_SIZE(hello_reply, reply)
BY_SIZE(describe, describe)
BY_SIZE(answer, answer)
BY_SIZE(ready, ready)
BY_HEADER(memory, memory)
BY_HEADER(bulk, bulk)
BY_SIZE(credit, credit)
BY_SIZE(ack, ack)
BY_SIZE(costs, costs)
BY_SIZE(arcs, arcs)
BY_SIZE(round, round)
BY_SIZE(prepare, prepare)
BY_SIZE(prepared, prepared)
BY_SIZE(running, running)
BY_SIZE(report, report)
BY_SIZE(error, error)

#define CODEC(name) {get_##name, put_##name}

static const struct codec codecs[] = {
	[WIRE_HELLO] = CODEC(hello),
	[WIRE_HELLO_REPLY] = CODEC(hello_reply),
	[WIRE_DESCRIBE] = CODEC(describe),
	[WIRE_ANSWER] = CODEC(answer),
	[WIRE_READY] = CODEC(ready),
	[WIRE_MEMORY] = CODEC(memory),
	[WIRE_DEVICE] = CODEC(bulk),
	[WIRE_CREDIT] = CODEC(credit),
	[WIRE_ROUND] = CODEC(round),
	[WIRE_ROUND_DONE] = CODEC(round),
	[WIRE_VM_STATE] = CODEC(bulk),
	[WIRE_PREPARE] = CODEC(prepare),
	[WIRE_PREPARED] = CODEC(prepared),
	[WIRE_RUNNING] = CODEC(running),
	[WIRE_REPORT] = CODEC(report),
	[WIRE_ABORT] = CODEC(error),
	[WIRE_ACK] = CODEC(ack),
	[WIRE_COSTS] = CODEC(costs),
	[WIRE_ARCS] = CODEC(arcs),
};

static const struct codec *codec_of(uint16_t type)
{
	return type < ARRAY_SIZE(codecs) && codecs[type].get ? &codecs[type] : NULL;
}

int any_get(const struct wire_header *header, const void *head, struct any *any)
{
	const struct codec *codec = codec_of(header->type);

	return codec ? codec->get(header, head, any) : 0;
}

size_t any_put(uint16_t type, uint8_t *out, const struct any *any)
{
	const struct codec *codec = codec_of(type);

	return codec ? codec->put(out, any) : 0;
}
