/* SPDX-License-Identifier: BSD-3-Clause */
/* How long arcs took: the newest LATENCY_KEPT of each, from which the percentiles are. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "check/check.h"

void latency_add(struct check *check, enum vfm_state from, enum vfm_state to, uint64_t ns)
{
	struct latency *l = &check->latency[from][to];

	l->ns[l->count++ % LATENCY_KEPT] = ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return x < y ? -1 : x > y;
}

bool latency_of(const struct check *check, enum vfm_state from, enum vfm_state to,
		struct latency_summary *out)
{
	const struct latency *l = &check->latency[from][to];
	unsigned kept = MIN(l->count, LATENCY_KEPT);
	uint64_t sorted[LATENCY_KEPT];

	if (!kept)
		return false;
	memcpy(sorted, l->ns, kept * sizeof(sorted[0]));
	qsort(sorted, kept, sizeof(sorted[0]), compare);
	*out = (struct latency_summary){
		.count = l->count,
		.p50_ns = sorted[(kept - 1) / 2],
		.p95_ns = sorted[(kept * 95 + 99) / 100 - 1],
		.max_ns = sorted[kept - 1],
	};
	return true;
}

static double ms(uint64_t ns)
{
	return (double)ns / (double)NS_PER_MSEC;
}

void check_print_latency(FILE *out, const struct check *check)
{
	struct latency_summary l;

	fprintf(out, "%-13s %-13s %8s %10s %10s %10s\n", "from", "to", "times", "p50 ms", "p95 ms",
		"max ms");
	for (int from = 0; from < VFM_STATE_COUNT; from++)
		for (int to = 0; to < VFM_STATE_COUNT; to++)
			if (latency_of(check, from, to, &l))
				fprintf(out, "%-13s %-13s %8u %10.3f %10.3f %10.3f\n",
					vfm_state_name(from), vfm_state_name(to), l.count,
					ms(l.p50_ns), ms(l.p95_ns), ms(l.max_ns));
}

static void add_ns(struct json_object *o, const char *key, uint64_t ns)
{
	json_object_object_add(o, key, json_object_new_uint64(ns));
}

struct json_object *check_latency_json(const struct check *check)
{
	struct json_object *list = json_object_new_array(), *o;
	struct latency_summary l;

	for (int from = 0; from < VFM_STATE_COUNT; from++)
		for (int to = 0; to < VFM_STATE_COUNT; to++) {
			if (!latency_of(check, from, to, &l))
				continue;
			o = json_object_new_object();
			json_object_object_add(o, "from",
					       json_object_new_string(vfm_state_name(from)));
			json_object_object_add(o, "to", json_object_new_string(vfm_state_name(to)));
			add_ns(o, "count", l.count);
			add_ns(o, "p50_ns", l.p50_ns);
			add_ns(o, "p95_ns", l.p95_ns);
			add_ns(o, "max_ns", l.max_ns);
			json_object_array_add(list, o);
		}
	return list;
}
