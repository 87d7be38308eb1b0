/* SPDX-License-Identifier: BSD-3-Clause */
/* The reference of `memory`: a plain copy through a socket, one thread that sends, one that
 * receives, in large system calls and nothing else. */
#ifndef BENCH_PLAIN_H
#define BENCH_PLAIN_H

#include "bench/guest.h"
#include "bench/meter.h"

#define PLAIN_CALL_BYTES (512u << 10) /* of one system call: an engine's frame has as much */

struct plain {
	/* In. */
	const struct guest *from;
	struct guest *to;
	struct meter *meters[2]; /* the sender's, the receiver's */
	/* Out. */
	double seconds;
};

/* 0, or -errno after a line on standard error. */
int plain_run(struct plain *plain);

#endif
