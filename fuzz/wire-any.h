/* SPDX-License-Identifier: BSD-3-Clause */
/* Any head, decoded; and samples of every type, as the tests and the corpus use them. */
#ifndef FUZZ_WIRE_ANY_H
#define FUZZ_WIRE_ANY_H

#include "wire/wire.h"

/* Large: not for the stack. */
struct any {
	union {
		struct wire_hello hello;
		struct wire_hello_reply reply;
		struct wire_describe describe;
		struct wire_answer answer;
		struct wire_ready ready;
		struct wire_memory memory;
		struct wire_bulk bulk;
		struct wire_credit credit;
		struct wire_ack ack;
		struct wire_costs costs;
		struct wire_arcs arcs;
		struct wire_round round;
		struct wire_prepare prepare;
		struct wire_prepared prepared;
		struct wire_running running;
		struct wire_report report;
		struct vfm_error error;
	};
};

/* Decode with the function that belongs to header->type; 0 or -EPROTO. Types whose head is empty
 * always succeed. */
int any_get(const struct wire_header *header, const void *head, struct any *any);

/* Encode what any_get gave. Returns the head's size. */
size_t any_put(uint16_t type, uint8_t *out, const struct any *any);

struct sample {
	const char *name;
	uint16_t type;
	uint16_t flags;
	uint32_t stream;
	uint32_t bulk; /* bytes */
	void (*fill)(struct any *any); /* NULL: the head is empty. @any is zero before. */
	bool large;                    /* at the limits: not for the corpus */
};

extern const struct sample samples[];
extern const unsigned sample_count;

/* Encode a sample's header and head into @out (WIRE_HEADER_SIZE + WIRE_HEAD_MAX bytes). Returns
 * their size. @any is used on the way and holds what was encoded. */
size_t sample_encode(const struct sample *sample, uint64_t sequence, uint8_t *out, struct any *any);

#endif
