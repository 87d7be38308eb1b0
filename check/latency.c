/* SPDX-License-Identifier: BSD-3-Clause */
/* How long arcs took: the newest LATENCY_KEPT of each, from which the percentiles are. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "check/check.h"

void latency_add(struct port *port, enum vfm_state from, enum vfm_state to, uint64_t ns)
{
	struct latency *l;

	if (!port->latency)
		return;
	l = &port->latency[from * VFM_STATE_COUNT + to];
	l->ns[l->count++ % LATENCY_KEPT] = ns;
}

static uint64_t newest(const struct port *port, enum vfm_state from, enum vfm_state to)
{
	const struct latency *l = &port->latency[from * VFM_STATE_COUNT + to];

	return l->count ? l->ns[(l->count - 1) % LATENCY_KEPT] : 0;
}

int latency_take(struct port *port, enum vfm_state from, enum vfm_state to)
{
	uint64_t start = clock_ns();
	int ret = port_set_state(port, to);

	if (!ret)
		latency_add(port, from, to, clock_ns() - start);
	return ret;
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

/* ---- a switchover ---- */

#define LIMIT_NS  (300 * NS_PER_MSEC) /* QEMU's downtime limit unless told otherwise */
#define TIMES     8
#define TIMES_MIN 5                   /* so that a machine that is busy for a while decides nothing */
#define BUDGET_NS (2 * NS_PER_SEC)    /* after which there is no further time */

/* The states that the device has of @way, one after the other; *@ns is what the arcs took. */
static int walk(struct check *check, const enum vfm_state *way, size_t count, uint64_t *ns)
{
	enum vfm_state from = way[0];
	uint64_t start = clock_ns();
	int ret = 0;

	for (size_t i = 1; i < count && !ret; i++)
		if (check_has_state(check, way[i])) {
			ret = latency_take(check->port, from, way[i]);
			from = way[i];
		}
	*ns += clock_ns() - start;
	return ret;
}

/* Into STOP_COPY on a source, out of RESUMING on a destination: nothing in between runs. */
static int switch_over(struct check *check, const struct stream *stream, uint64_t *ns)
{
	static const enum vfm_state early[] = {VFM_STATE_PRE_COPY, VFM_STATE_PRE_COPY_P2P,
					       VFM_STATE_STOP_COPY, VFM_STATE_STOP};
	static const enum vfm_state late[] = {VFM_STATE_RUNNING, VFM_STATE_RUNNING_P2P,
					      VFM_STATE_STOP, VFM_STATE_STOP_COPY};
	static const enum vfm_state back[] = {VFM_STATE_STOP, VFM_STATE_RUNNING_P2P,
					      VFM_STATE_RUNNING};
	const enum vfm_state *way = check_has_state(check, early[0]) ? early : late;
	int ret = check_go(check->port, way[0]);

	/* RUNNING or PRE_COPY to STOP_COPY; where there is no P2P, one SET is both arcs. */
	if (!ret)
		ret = walk(check, way, way == early ? 3 : 4, ns);
	if (!ret)
		ret = port_set_state(check->port, VFM_STATE_STOP);
	if (!ret)
		ret = check_load_stream(check->port, stream, 0, NULL);
	*ns += ret ? 0 : newest(check->port, VFM_STATE_RESUMING, VFM_STATE_STOP);
	return ret ? ret : walk(check, back, ARRAY_SIZE(back), ns);
}

static enum check_verdict time_switchovers(struct check *check, struct stream *stream)
{
	uint64_t end = clock_after(BUDGET_NS), best = UINT64_MAX, ns;
	int ret = check_fresh(check->port);

	if (!ret)
		ret = check_save(check->port, stream);
	if (ret == -EFBIG)
		return check_na(check, "its state is larger than the rule can hold");
	for (unsigned i = 0; i < TIMES && !ret && (i < TIMES_MIN || clock_ns() < end); i++) {
		ns = 0;
		ret = switch_over(check, stream, &ns);
		best = MIN(best, ns);
	}
	if (ret)
		return check_unjudged(check, "no switchover: %s", strerror(-ret));
	if (best > LIMIT_NS)
		return check_fail(check, "%.1f ms at best", ms(best));
	return check_pass(check, "%.1f ms at best", ms(best));
}

enum check_verdict check_downtime(struct check *check)
{
	struct stream stream = {0};
	enum check_verdict verdict = time_switchovers(check, &stream);

	stream_free(&stream);
	return verdict;
}

/* ---- the table ---- */

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
