/* SPDX-License-Identifier: BSD-3-Clause */
/* Processor time of all threads that were made through a meter's hooks, in user and kernel. */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stdatomic.h>
#include <stdint.h>
#include <vfio-migrate/thread.h>

struct meter {
	struct vfm_thread_hooks hooks;
	_Atomic uint64_t ns; /* of threads that have ended */
};

/* @meter must stay until the last thread was joined. */
void meter_init(struct meter *meter);

/* One for each side: @sides points to them. */
void meter_init_sides(struct meter meters[2], struct meter *sides[2]);

/* Start a thread of our own under the meter, and join it. 0 or -errno. */
int meter_start(struct meter *meter, void (*run)(void *arg), void *arg, void **thread);
void meter_join(struct meter *meter, void *thread);

static inline double meter_seconds(const struct meter *meter)
{
	return (double)atomic_load(&meter->ns) / 1e9;
}

#endif
