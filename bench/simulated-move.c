/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/simulated-move.h"

#include <errno.h>
#include "bench/bench.h"
#include "bench/simulated.h"

/* The hashes differ before and are the same after: the seeds were not. */
static int move_between(struct move *move, struct simulated *sims)
{
	uint64_t before[MOVE_SIDES], after[MOVE_SIDES];
	int r = 0;

	for (int side = 0; side < MOVE_SIDES && !r; side++)
		r = simulated_hash(&sims[side], &before[side]);
	if (r)
		return bench_fail(r, "a hash of a device's memory");
	r = move_run(move);
	for (int side = 0; side < MOVE_SIDES && !r; side++)
		r = simulated_hash(&sims[side], &after[side]);
	if (!r && (before[0] == before[1] || after[0] != before[0] || after[1] != before[0]))
		return bench_fail(-EBADMSG, "the device's memory after the migration");
	return r;
}

static int open_and_move(struct move *move, struct simulated *sims)
{
	struct vfm_device *devices[MOVE_SIDES];
	int r = 0;

	for (int side = 0; side < MOVE_SIDES && !r; side++) {
		r = simulated_open(&sims[side], move->meters[side]);
		devices[side] = sims[side].device;
		move->devices[side] = &devices[side];
	}
	move->device_count = 1;
	return r ? r : move_between(move, sims);
}

int simulated_move(struct move *move, uint64_t state_size, uint32_t mig_flags)
{
	struct simulated sims[MOVE_SIDES] = {{.fd = -1}, {.fd = -1}};
	int r = 0, s;

	for (int side = 0; side < MOVE_SIDES && !r; side++) {
		struct simulated_kind kind = {.state_size = state_size,
					      .seed = (uint64_t)side + 1,
					      .mig_flags = mig_flags};

		r = simulated_fork(&sims[side], &kind);
	}
	if (!r)
		r = open_and_move(move, sims);
	for (int side = 0; side < MOVE_SIDES; side++) {
		s = simulated_close(&sims[side]);
		if (s && !r)
			r = bench_fail(s, "a simulated device's end");
	}
	return r;
}
