/* SPDX-License-Identifier: BSD-3-Clause */
#include "bench/series.h"

#include <stdlib.h>

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct summary series_summary(const struct series *series)
{
	struct series sorted = *series;
	unsigned n = sorted.count;

	if (!n)
		return (struct summary){0};
	qsort(sorted.values, n, sizeof(sorted.values[0]), compare);
	return (struct summary){
		.median = (sorted.values[(n - 1) / 2] + sorted.values[n / 2]) / 2,
		.low = sorted.values[0],
		.high = sorted.values[n - 1],
	};
}
