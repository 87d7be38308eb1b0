/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `downtime`: how long an idle guest stands still, and what had been predicted. A guest of 256 MiB,
 * alone and with a simulated device of 64 MiB, the demo's defaults without its load.
 */
#include <errno.h>
#include "bench/move.h"
#include "bench/report.h"
#include "bench/simulated-move.h"

#define VM_BYTES       (UINT64_C(256) << 20)
#define STATE_BYTES    (UINT64_C(64) << 20)
#define VM_QUICK       (UINT64_C(8) << 20)
#define STATE_QUICK    (UINT64_C(4) << 20)
#define LIMIT_NS       UINT64_C(300000000)
#define ALL_FLAGS      (VFM_MIG_STOP_COPY | VFM_MIG_P2P | VFM_MIG_PRE_COPY)

struct columns {
	struct series predicted, measured, ratio;
};

static void add(struct columns *c, const struct move *move)
{
	double predicted = (double)move->predicted.total_ns / 1e6;
	double measured = (double)move->measured.total_ns / 1e6;

	series_add(&c->predicted, predicted);
	series_add(&c->measured, measured);
	series_add(&c->ratio, predicted > 0 ? measured / predicted : 0);
}

static int check(const struct guest *guests)
{
	if (guests[1].running && !guests[0].running && guest_equal(&guests[0], &guests[1]))
		return 0;
	return bench_fail(-EBADMSG, "the VM after the migration");
}

/* @state_size 0: no device. */
static int run_once(struct guest *guests, uint64_t state_size, struct columns *c)
{
	struct meter meters[MOVE_SIDES];
	struct move move = {.guests = {&guests[0], &guests[1]},
			    .downtime_limit_ns = LIMIT_NS};
	int r;

	meter_init_sides(meters, move.meters);
	guest_clear(&guests[1], guests[1].size);
	guests[0].running = true;
	r = state_size ? simulated_move(&move, state_size, ALL_FLAGS) : move_run(&move);
	if (!r)
		r = check(guests);
	if (!r)
		add(c, &move);
	return r;
}

static int run_case(struct guest *guests, const struct bench_options *options, const char *name,
		    uint64_t state_size, struct report *report)
{
	struct columns c = {0};
	int r = 0;

	for (uint32_t i = 0; i < options->runs && !r; i++)
		r = run_once(guests, state_size, &c);
	if (r)
		return r;
	report_part(report, name, "an idle guest; predicted when it was stopped, then measured");
	report_series(report, name, "predicted", "ms", &c.predicted, NO_AIM);
	report_series(report, name, "measured", "ms", &c.measured, NO_AIM);
	report_series(report, name, "measured / predicted", "", &c.ratio, NO_AIM);
	return 0;
}

static int run_cases(struct guest *guests, const struct bench_options *options,
		     struct report *report)
{
	int r;

	guest_fill(&guests[0], guests[0].size, 1);
	r = run_case(guests, options, "Downtime, no device", 0, report);
	if (r)
		return r;
	return run_case(guests, options, "Downtime, one device",
			options->quick ? STATE_QUICK : STATE_BYTES, report);
}

int bench_downtime(const struct bench_options *options, struct report *report)
{
	uint64_t size = options->quick ? VM_QUICK : VM_BYTES;
	struct guest guests[MOVE_SIDES];
	int r = guest_init(&guests[0], size, size);

	if (r)
		return bench_fail(r, "memory of the source guest");
	r = guest_init(&guests[1], size, size);
	if (r) {
		bench_fail(r, "memory of the destination guest");
	} else {
		r = run_cases(guests, options, report);
		guest_destroy(&guests[1]);
	}
	guest_destroy(&guests[0]);
	return r;
}
