/* SPDX-License-Identifier: BSD-3-Clause */
/* One migration, both ends in this process, over TCP on loopback. */
#ifndef BENCH_MOVE_H
#define BENCH_MOVE_H

#include <vfio-migrate/migrate.h>
#include "bench/guest.h"
#include "bench/meter.h"

enum move_side { MOVE_SOURCE, MOVE_DESTINATION, MOVE_SIDES };

struct move {
	/* In. Hooks in meters[] are used for the engine's threads; others may use them, too. */
	struct guest *guests[MOVE_SIDES];
	struct vfm_device **devices[MOVE_SIDES];
	unsigned device_count;
	uint64_t downtime_limit_ns;
	struct meter *meters[MOVE_SIDES];
	const struct vfm_options *options; /* of both sides, but for the above; NULL: defaults */
	/* Out. */
	double seconds; /* from the start until both sides had ended */
	struct vfm_downtime predicted, measured;
	char *report; /* the source's, only if there were options; to be freed */
};

/* 0, or -errno after a line on standard error. */
int move_run(struct move *move);

/* One side alone, on a connected socket, until it has ended. */
int move_source(struct move *move, int fd);
int move_destination(struct move *move, int fd);

#endif
