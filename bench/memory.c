/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `memory`: a migration of an idle guest whose every page has content, against a plain copy of the
 * same memory. Both have one thread that sends and one that receives the bytes. The migration's
 * time begins before hello and ends when both sessions have ended.
 */
#include <errno.h>
#include "bench/move.h"
#include "bench/plain.h"
#include "bench/report.h"

struct columns {
	struct series plain_rate, rate, ratio;
	struct series plain_cpu[MOVE_SIDES], cpu[MOVE_SIDES];
};

static int run_plain(struct guest *guests, struct columns *c, double *rate)
{
	double gib = (double)guests[0].size / GIB;
	struct plain plain = {.from = &guests[0], .to = &guests[1]};
	struct meter meters[MOVE_SIDES];
	int r;

	meter_init_sides(meters, plain.meters);
	guest_clear(&guests[1], guests[1].size);
	r = plain_run(&plain);
	if (r)
		return r;
	guests[1].seed = guests[0].seed;
	if (!guest_equal(&guests[0], &guests[1]))
		return bench_fail(-EBADMSG, "memory after the plain copy");
	*rate = gib / plain.seconds;
	series_add(&c->plain_rate, *rate);
	series_add_cpu(c->plain_cpu, meters, gib);
	return 0;
}

static int run_move(struct guest *guests, struct columns *c, double *rate)
{
	double gib = (double)guests[0].size / GIB;
	struct move move = {.guests = {&guests[0], &guests[1]}, .downtime_limit_ns = VFM_UNLIMITED};
	struct meter meters[MOVE_SIDES];
	int r;

	meter_init_sides(meters, move.meters);
	guest_clear(&guests[1], guests[1].size);
	guests[0].running = true;
	r = move_run(&move);
	if (r)
		return r;
	if (!guests[1].running || !guest_equal(&guests[0], &guests[1]))
		return bench_fail(-EBADMSG, "memory after the migration");
	*rate = gib / move.seconds;
	series_add(&c->rate, *rate);
	series_add_cpu(c->cpu, meters, gib);
	return 0;
}

static int alternate(struct guest *guests, const struct bench_options *options, struct columns *c)
{
	double plain = 0, rate = 0;
	int r = 0;

	for (uint32_t i = 0; i < options->runs && !r; i++) {
		r = run_plain(guests, c, &plain);
		if (!r)
			r = run_move(guests, c, &rate);
		if (!r)
			series_add(&c->ratio, rate / plain);
	}
	return r;
}

static void tell(struct report *report, const struct columns *c)
{
	report_part(report, "Guest memory",
		    "all of it with content, over TCP on loopback, against a plain copy of it");
	report_series(report, "memory", "plain copy", "GiB/s", &c->plain_rate, NO_AIM);
	report_series(report, "memory", "migration", "GiB/s", &c->rate, NO_AIM);
	report_series(report, "memory", "migration / plain copy", "", &c->ratio, AT_LEAST(0.8));
	report_series(report, "memory", "processor, plain sender", "s/GiB", &c->plain_cpu[0], NO_AIM);
	report_series(report, "memory", "processor, source", "s/GiB", &c->cpu[0], NO_AIM);
	report_series(report, "memory", "processor, plain receiver", "s/GiB", &c->plain_cpu[1], NO_AIM);
	report_series(report, "memory", "processor, destination", "s/GiB", &c->cpu[1], NO_AIM);
}

static int with_guests(struct guest *guests, const struct bench_options *options,
		       struct report *report)
{
	struct columns columns = {0};
	int r;

	guest_fill(&guests[0], guests[0].size, 1);
	r = alternate(guests, options, &columns);
	if (!r)
		tell(report, &columns);
	return r;
}

int bench_memory(const struct bench_options *options, struct report *report)
{
	struct guest guests[MOVE_SIDES];
	int r = guest_init(&guests[0], options->size, options->size);

	if (r)
		return bench_fail(r, "memory of the source guest");
	r = guest_init(&guests[1], options->size, options->size);
	if (r) {
		bench_fail(r, "memory of the destination guest");
	} else {
		r = with_guests(guests, options, report);
		guest_destroy(&guests[1]);
	}
	guest_destroy(&guests[0]);
	return r;
}
