/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of one figure, a run each. */
#ifndef BENCH_SERIES_H
#define BENCH_SERIES_H

#include "bench/bench.h"

struct series {
	unsigned count;
	double values[BENCH_RUNS_MAX];
};

static inline void series_add(struct series *series, double value)
{
	if (series->count < BENCH_RUNS_MAX)
		series->values[series->count++] = value;
}

/* All 0 for an empty series. */
struct summary {
	double median;
	double low;
	double high;
};

struct summary series_summary(const struct series *series);

#endif
