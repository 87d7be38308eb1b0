/* SPDX-License-Identifier: BSD-3-Clause */
/* A migration between two simulated devices, each in a process of its own. */
#ifndef BENCH_SIMULATED_MOVE_H
#define BENCH_SIMULATED_MOVE_H

#include "bench/move.h"

/* Start them, move, see that the destination's device has the source's memory, end them. @move
 * comes without devices; its meters count the clients' threads as well. While no other thread runs.
 * 0, or -errno after a line on standard error. */
int simulated_move(struct move *move, uint64_t state_size, uint32_t mig_flags);

#endif
