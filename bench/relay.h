/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reference of `device`: the same bytes over the same chain of sockets, and nothing else.
 *
 *	process      thread      thread          thread      thread      process
 *	giver ─unix─> reader ─> sender ──tcp──> receiver ─> writer ─unix─> taker
 *	              8 blocks of 256 KiB       8 blocks of 256 KiB
 *
 * The giver sends from memory of the stream's size, the taker receives into as much, touched
 * before. The bytes just flow: nobody asks for them, answers, counts, names or checks them on the
 * way. The blocks are as many and as large as the engine's. On each side the engine has a third
 * thread, that of the vfio-user client.
 */
#ifndef BENCH_RELAY_H
#define BENCH_RELAY_H

#include "bench/meter.h"

#define RELAY_BLOCK_BYTES (256u << 10)
#define RELAY_BLOCKS      8u

struct relay {
	uint64_t size;           /* bytes; a multiple of 8 */
	struct meter *meters[2]; /* of the two threads on each side */
	/* Out. */
	double seconds;
};

/* While no other thread runs. 0, or -errno after a line on standard error. */
int relay_run(struct relay *relay);

#endif
