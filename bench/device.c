/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `device`: the state of a simulated device in a process of its own, through both engines into
 * another process, against a plain relay over the same chain of sockets (relay.h). Once a device
 * that has stop-copy alone, once one that gives all of its state as initial bytes of a pre-copy.
 */
#include <stdio.h>
#include "bench/move.h"
#include "bench/relay.h"
#include "bench/report.h"
#include "bench/simulated-move.h"

#define VM_BYTES         (UINT64_C(1) << 20)
#define PRECOPY_LIMIT_NS UINT64_C(50000000) /* small enough that pre-copy carries most */

struct variant {
	const char *name;
	uint32_t mig_flags;
	uint64_t downtime_limit_ns;
};

static const struct variant variants[] = {
	{"stop-copy", VFM_MIG_STOP_COPY | VFM_MIG_P2P, VFM_UNLIMITED},
	{"pre-copy", VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY, PRECOPY_LIMIT_NS},
};

struct columns {
	struct series plain_rate, rate, ratio;
	struct series plain_cpu[MOVE_SIDES], cpu[MOVE_SIDES];
};

static int run_relay(uint64_t size, struct columns *c, double *rate)
{
	double gib = (double)size / GIB;
	struct relay relay = {.size = size};
	struct meter meters[MOVE_SIDES];
	int r;

	meter_init_sides(meters, relay.meters);
	r = relay_run(&relay);
	if (r)
		return r;
	*rate = gib / relay.seconds;
	series_add(&c->plain_rate, *rate);
	series_add_cpu(c->plain_cpu, meters, gib);
	return 0;
}

static int run_move(struct guest *guests, uint64_t size, const struct variant *variant,
		    struct columns *c, double *rate)
{
	double gib = (double)size / GIB;
	struct move move = {.guests = {&guests[0], &guests[1]},
			    .downtime_limit_ns = variant->downtime_limit_ns};
	struct meter meters[MOVE_SIDES];
	int r;

	meter_init_sides(meters, move.meters);
	r = simulated_move(&move, size, variant->mig_flags);
	if (r)
		return r;
	*rate = gib / move.seconds;
	series_add(&c->rate, *rate);
	series_add_cpu(c->cpu, meters, gib);
	return 0;
}

static void tell(struct report *report, const char *name, const struct columns *c)
{
	char title[64];

	snprintf(title, sizeof(title), "Device state, %s", name);
	report_part(report, title,
		    "process -> engine -> engine -> process, against a plain relay on that way");
	report_series(report, name, "plain relay", "GiB/s", &c->plain_rate, NO_AIM);
	report_series(report, name, "migration", "GiB/s", &c->rate, NO_AIM);
	report_series(report, name, "migration / plain relay", "", &c->ratio, AT_LEAST(0.7));
	report_series(report, name, "processor, relay, source", "s/GiB", &c->plain_cpu[0], NO_AIM);
	report_series(report, name, "processor, source", "s/GiB", &c->cpu[0], NO_AIM);
	report_series(report, name, "processor, relay, destination", "s/GiB", &c->plain_cpu[1], NO_AIM);
	report_series(report, name, "processor, destination", "s/GiB", &c->cpu[1], NO_AIM);
}

static int alternate(struct guest *guests, const struct bench_options *options,
		     const struct variant *variant, struct report *report)
{
	struct columns columns = {0};
	double plain = 0, rate = 0;
	int r = 0;

	for (uint32_t i = 0; i < options->runs && !r; i++) {
		r = run_relay(options->size, &columns, &plain);
		if (!r)
			r = run_move(guests, options->size, variant, &columns, &rate);
		if (!r)
			series_add(&columns.ratio, rate / plain);
	}
	if (!r)
		tell(report, variant->name, &columns);
	return r;
}

int bench_device(const struct bench_options *options, struct report *report)
{
	struct guest guests[MOVE_SIDES];
	int r = guest_init(&guests[0], VM_BYTES, VM_BYTES);

	if (r)
		return bench_fail(r, "memory of the source guest");
	r = guest_init(&guests[1], VM_BYTES, VM_BYTES);
	if (r) {
		guest_destroy(&guests[0]);
		return bench_fail(r, "memory of the destination guest");
	}
	for (unsigned i = 0; i < sizeof(variants) / sizeof(variants[0]) && !r; i++)
		r = alternate(guests, options, &variants[i], report);
	guest_destroy(&guests[0]);
	guest_destroy(&guests[1]);
	return r;
}
