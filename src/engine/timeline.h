/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * timeline: which device made which transition when, on this side. Bounded; what does not fit is
 * counted. Guarded by its owner's lock.
 */
#ifndef ENGINE_TIMELINE_H
#define ENGINE_TIMELINE_H

#include "device/device.h"

enum { TIMELINE_MAX = 1024 };

struct timeline_arc {
	unsigned device;
	struct device_arc arc;
};

struct timeline {
	unsigned count;
	unsigned lost;
	struct timeline_arc arcs[TIMELINE_MAX];
};

static inline void timeline_add(struct timeline *t, unsigned device, const struct device_arc *arc)
{
	if (t->count == TIMELINE_MAX) {
		t->lost++;
		return;
	}
	t->arcs[t->count++] = (struct timeline_arc){ device, *arc };
}

#endif
