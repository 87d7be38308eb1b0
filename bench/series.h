/* SPDX-License-Identifier: BSD-3-Clause */
/* Values of one figure, a run each. */
#ifndef BENCH_SERIES_H
#define BENCH_SERIES_H

#include "bench/bench.h"
#include "bench/meter.h"

struct series {
	unsigned count;
	double values[BENCH_RUNS_MAX];
};

static inline void series_add(struct series *series, double value)
{
	if (series->count < BENCH_RUNS_MAX)
		series->values[series->count++] = value;
}

/* Seconds of processor time per GiB of both sides, a series each. */
static inline void series_add_cpu(struct series series[2], const struct meter meters[2], double gib)
{
	for (int i = 0; i < 2; i++)
		series_add(&series[i], meter_seconds(&meters[i]) / gib);
}

/* All 0 for an empty series. */
struct summary {
	double median;
	double low;
	double high;
};

struct summary series_summary(const struct series *series);

#endif
