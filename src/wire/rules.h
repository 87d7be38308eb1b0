/* SPDX-License-Identifier: BSD-3-Clause */
/* What each type of frame may look like, before its head is read: one row per type. */
#ifndef WIRE_RULES_H
#define WIRE_RULES_H

#include <stdint.h>

struct wire_rule {
	const char *name;
	uint32_t stream_first, stream_last; /* where it may travel, both included */
	uint32_t flags;                     /* those that it may carry */
	uint32_t head_min, head_max;        /* bytes */
	uint32_t bulk_max;                  /* bytes */
};

/* NULL: no such type. */
const struct wire_rule *wire_rule(uint16_t type);

#endif
