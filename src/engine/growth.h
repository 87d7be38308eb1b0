/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * growth: how fast a device that runs makes state that will have to be sent when it has stopped.
 *
 *	total = what was read of it so far + what it says is left
 *
 * grows by what the device changed, whatever was read meanwhile. A device that sends all of its
 * state again with every save is as large as ever, and so cannot be told from one that changes
 * fast by its total; but what is left of it does not fall either. Hence the room: no device grows
 * beyond the most that was ever left of it.
 *
 * Sizes are a device's word, and jump where initial bytes begin anew: the median of the last few
 * measurements counts. A worker's own, until it tells others of it.
 */
#ifndef ENGINE_GROWTH_H
#define ENGINE_GROWTH_H

#include <stdint.h>
#include "engine/recent.h"

/* Zero bytes: nothing was noted yet. */
struct growth {
	uint64_t at_ns, total; /* of the last measurement */
	uint64_t largest;      /* most that was left at any time, bytes */
	struct recent rates;
};

/* @left bytes are left at @now_ns, VFM_SIZE_UNKNOWN: it does not say; @read were read so far. */
void growth_note(struct growth *growth, uint64_t now_ns, uint64_t left, uint64_t read);

/* Bytes per second; 0 before two measurements. */
uint64_t growth_rate(const struct growth *growth);

/* How much more than @left it may come to. */
uint64_t growth_room(const struct growth *growth, uint64_t left);

#endif
