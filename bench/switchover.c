/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `switchover`: what many devices cost when they stop and start, and what acks save.
 *
 * Part 1. Devices whose two stop arcs and two start arcs take ARC_MS each, and an idle guest. The
 * downtime is compared with what no order of things could beat:
 *
 *	ideal = 4 arcs, each once                 all devices at the same time
 *	      + stop-copy bytes / bandwidth       as the migration itself measured it
 *	      + one round trip                    likewise
 *
 * The numbers of devices take turns in each run, so that a busy moment of the machine meets all of
 * them. With parallel-transitions=off the arcs of the devices add up: that is the contrast.
 *
 * Part 2. The destination's device needs ALLOC_MS of time when initial bytes begin to come. With
 * acks that passes while the guest runs, after a REINIT as well; without, it is downtime.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "bench/move.h"
#include "bench/report.h"
#include "bench/simulated.h"
#include "sim/core.h"

#define DEVICES_MAX 16u
#define ARC_MS      20
#define ARCS        4
#define ALLOC_MS    1500
#define VM_BYTES    (UINT64_C(8) << 20)
#define STATE_BYTES (UINT64_C(16) << 20)
#define RATIO_AIM   1.15
#define GROWTH_AIM  5.0 /* % of one device's downtime, per added device */

static const unsigned counts[] = {1, 2, 4, 8, 16};
static const unsigned quick_counts[] = {1, 3};

/* One migration, in and out. */
struct trial {
	unsigned devices;
	bool serial;
	enum vfm_ack_mode acks;
	struct sim_options sim[MOVE_SIDES];
	/* Out. */
	double downtime_ms, ideal_ms;
	unsigned device_acks, reinits; /* of the first device */
};

/* ---- one migration ---- */

static double number(json_object *o, const char *name)
{
	json_object *value;

	return json_object_object_get_ex(o, name, &value) ? json_object_get_double(value) : 0;
}

/* The last element of the list @name; NULL: there is none. */
static json_object *last(json_object *o, const char *name)
{
	json_object *list;
	size_t count;

	if (!json_object_object_get_ex(o, name, &list))
		return NULL;
	count = json_object_array_length(list);
	return count ? json_object_array_get_idx(list, count - 1) : NULL;
}

static void read_devices(struct trial *trial, json_object *report, double *bytes)
{
	json_object *list, *device;

	*bytes = 0;
	if (!json_object_object_get_ex(report, "devices", &list))
		return;
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		device = json_object_array_get_idx(list, i);
		*bytes += number(device, "stopcopy_bytes");
		if (i)
			continue;
		trial->device_acks = (unsigned)number(device, "acks");
		trial->reinits = (unsigned)number(device, "reinits");
	}
}

static int read_report(struct trial *trial, const struct move *move)
{
	json_object *report = move->report ? json_tokener_parse(move->report) : NULL;
	double bytes, bandwidth;

	if (!report)
		return bench_fail(-ENOMEM, "the report");
	read_devices(trial, report, &bytes);
	bandwidth = number(report, "bandwidth");
	trial->downtime_ms = (double)move->measured.total_ns / 1e6;
	trial->ideal_ms = ARCS * ARC_MS + (bandwidth > 0 ? bytes / bandwidth * 1e3 : 0) +
			  number(last(report, "samples"), "round_trip_ns") / 1e6;
	json_object_put(report);
	return 0;
}

static int open_all(struct move *move, struct trial *trial,
		    struct simulated sims[MOVE_SIDES][DEVICES_MAX],
		    struct vfm_device *devices[MOVE_SIDES][DEVICES_MAX])
{
	int r = 0;

	for (int side = 0; side < MOVE_SIDES; side++) {
		move->devices[side] = devices[side];
		for (unsigned i = 0; i < trial->devices && !r; i++) {
			r = simulated_open(&sims[side][i], move->meters[side]);
			devices[side][i] = sims[side][i].device;
		}
	}
	move->device_count = trial->devices;
	return r;
}

/* Did each device's memory arrive? */
static int compare(struct trial *trial, struct simulated sims[MOVE_SIDES][DEVICES_MAX])
{
	uint64_t hash[MOVE_SIDES];

	for (unsigned i = 0; i < trial->devices; i++) {
		int r = simulated_hash(&sims[MOVE_SOURCE][i], &hash[MOVE_SOURCE]);

		if (!r)
			r = simulated_hash(&sims[MOVE_DESTINATION][i], &hash[MOVE_DESTINATION]);
		if (!r && hash[MOVE_SOURCE] != hash[MOVE_DESTINATION])
			r = -EBADMSG;
		if (r)
			return bench_fail(r, "a device's memory after the migration");
	}
	return 0;
}

static int fork_all(struct trial *trial, struct simulated sims[MOVE_SIDES][DEVICES_MAX])
{
	struct simulated_kind kind = {0};
	char name[16];
	int r = 0;

	for (int side = 0; side < MOVE_SIDES; side++)
		for (unsigned i = 0; i < DEVICES_MAX; i++)
			sims[side][i] = (struct simulated){.fd = -1};
	for (unsigned n = 0; n < MOVE_SIDES * trial->devices && !r; n++) {
		unsigned side = n % MOVE_SIDES, i = n / MOVE_SIDES;

		snprintf(name, sizeof(name), "sim%u", i);
		kind.name = name;
		kind.options = &trial->sim[side];
		kind.seed = n + 1;
		r = simulated_fork(&sims[side][i], &kind);
	}
	return r;
}

static int close_all(struct simulated sims[MOVE_SIDES][DEVICES_MAX])
{
	int r = 0, s;

	for (int side = 0; side < MOVE_SIDES; side++)
		for (unsigned i = 0; i < DEVICES_MAX; i++) {
			s = simulated_close(&sims[side][i]);
			if (s && !r)
				r = bench_fail(s, "a simulated device's end");
		}
	return r;
}

static int move_devices(struct trial *trial, struct guest *guests)
{
	struct simulated sims[MOVE_SIDES][DEVICES_MAX];
	struct vfm_device *devices[MOVE_SIDES][DEVICES_MAX];
	struct meter meters[MOVE_SIDES];
	struct vfm_options options;
	struct move move = {.guests = {&guests[0], &guests[1]},
			    .meters = {&meters[0], &meters[1]},
			    .downtime_limit_ns = VFM_UNLIMITED,
			    .options = &options};
	int r = fork_all(trial, sims), s;

	meter_init(&meters[0]);
	meter_init(&meters[1]);
	vfm_options_init(&options);
	options.serial_transitions = trial->serial;
	options.switchover_ack = trial->acks;
	if (!r)
		r = open_all(&move, trial, sims, devices);
	if (!r)
		r = move_run(&move);
	if (!r)
		r = read_report(trial, &move);
	if (!r)
		r = compare(trial, sims);
	free(move.report);
	s = close_all(sims);
	return r ? r : s;
}

static int run_trial(struct trial *trial, struct guest *guests)
{
	int r;

	guest_clear(&guests[1], guests[1].size);
	guests[0].running = true;
	r = move_devices(trial, guests);
	if (!r && !(guests[1].running && !guests[0].running && guest_equal(&guests[0], &guests[1])))
		r = bench_fail(-EBADMSG, "the VM after the migration");
	return r;
}

static void init_trial(struct trial *trial, unsigned devices, uint64_t state_size)
{
	*trial = (struct trial){.devices = devices, .acks = VFM_ACK_PER_DEVICE};
	for (int side = 0; side < MOVE_SIDES; side++) {
		struct sim_options *sim = &trial->sim[side];

		sim_options_init(sim);
		sim->state_size = sim->initial_size = state_size;
		sim->dirty_rate = 0;
		sim->dma_rate = 0;
	}
}

/* ---- many devices ---- */

struct column {
	struct series downtime, ideal, ratio;
};

static void set_arcs(struct sim_options *sim, uint32_t ms)
{
	sim->latency_ms[VFM_STATE_PRE_COPY][VFM_STATE_PRE_COPY_P2P] = ms;
	sim->latency_ms[VFM_STATE_PRE_COPY_P2P][VFM_STATE_STOP_COPY] = ms;
	sim->latency_ms[VFM_STATE_STOP][VFM_STATE_RUNNING_P2P] = ms;
	sim->latency_ms[VFM_STATE_RUNNING_P2P][VFM_STATE_RUNNING] = ms;
}

static int run_count(struct guest *guests, unsigned devices, bool serial, uint64_t state_size,
		     struct column *c)
{
	struct trial trial;
	int r;

	init_trial(&trial, devices, state_size);
	trial.serial = serial;
	for (int side = 0; side < MOVE_SIDES; side++)
		set_arcs(&trial.sim[side], ARC_MS);
	r = run_trial(&trial, guests);
	if (r)
		return r;
	series_add(&c->downtime, trial.downtime_ms);
	series_add(&c->ideal, trial.ideal_ms);
	series_add(&c->ratio, trial.downtime_ms / trial.ideal_ms);
	return 0;
}

/* % of one device's downtime, per added device. */
static double growth(const struct column *one, const struct column *many, unsigned devices)
{
	double first = series_summary(&one->downtime).median;

	return (series_summary(&many->downtime).median - first) / (devices - 1) / first * 100;
}

static void tell_columns(struct report *report, const char *part, const struct column *columns,
			 const unsigned *devices, unsigned count, bool aims)
{
	char name[64];

	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "%u: downtime", devices[i]);
		report_series(report, part, name, "ms", &columns[i].downtime, NO_AIM);
		snprintf(name, sizeof(name), "%u: ideal", devices[i]);
		report_series(report, part, name, "ms", &columns[i].ideal, NO_AIM);
		snprintf(name, sizeof(name), "%u: downtime / ideal", devices[i]);
		report_series(report, part, name, "", &columns[i].ratio,
			      aims && devices[i] == DEVICES_MAX ? AT_MOST(RATIO_AIM) : NO_AIM);
		if (!i)
			continue;
		snprintf(name, sizeof(name), "%u: growth per device", devices[i]);
		report_value(report, part, name, "%", growth(&columns[0], &columns[i], devices[i]),
			     aims ? AT_MOST(GROWTH_AIM) : NO_AIM);
	}
}

static int run_many(struct guest *guests, const struct bench_options *options, bool serial,
		    struct report *report)
{
	const char *part = serial ? "Many devices, one by one" : "Many devices";
	const unsigned *devices = options->quick ? quick_counts : counts;
	unsigned count = options->quick ? ARRAY_SIZE(quick_counts) : ARRAY_SIZE(counts);
	uint64_t state_size = options->quick ? STATE_BYTES / 16 : STATE_BYTES;
	struct column columns[ARRAY_SIZE(counts)] = {0};
	char meaning[128];
	int r = 0;

	for (uint32_t run = 0; run < options->runs && !r; run++)
		for (unsigned i = 0; i < count && !r; i++)
			r = run_count(guests, devices[i], serial, state_size, &columns[i]);
	if (r)
		return r;
	snprintf(meaning, sizeof(meaning), "%u MiB each; two stop arcs, two start arcs of %u ms%s",
		 (unsigned)(state_size >> 20), ARC_MS,
		 serial ? "; parallel-transitions=off" : "");
	report_part(report, part, meaning);
	tell_columns(report, part, columns, devices, count, !serial);
	return 0;
}

/* ---- acks ---- */

static const struct alloc_case {
	const char *name;
	enum vfm_ack_mode acks;
	bool reinit;
} alloc_cases[] = {
	{"acks", VFM_ACK_PER_DEVICE, false},
	{"acks, after a REINIT", VFM_ACK_PER_DEVICE, true},
	{"legacy acks, after a REINIT", VFM_ACK_LEGACY, true},
	{"no acks", VFM_ACK_OFF, false},
};

/* The initial bytes begin anew once all of them were read. */
static int run_alloc(struct guest *guests, const struct alloc_case *c, uint32_t alloc_ms,
		     struct series *series)
{
	struct trial trial;
	int r;

	init_trial(&trial, 1, STATE_BYTES / 16);
	trial.acks = c->acks;
	trial.sim[MOVE_DESTINATION].alloc_cost_ms = alloc_ms;
	if (c->reinit)
		trial.sim[MOVE_SOURCE].reinit =
			(struct sim_trigger){SIM_WHEN_BYTES, STATE_BYTES / 16, 1};
	r = run_trial(&trial, guests);
	if (!r && trial.reinits != c->reinit)
		r = bench_fail(-EBADMSG, "the REINIT");
	if (!r)
		series_add(series, trial.downtime_ms);
	return r;
}

static int run_allocs(struct guest *guests, const struct bench_options *options,
		      struct report *report)
{
	const char *part = "Allocation on the destination";
	uint32_t alloc_ms = options->quick ? ALLOC_MS / 10 : ALLOC_MS;
	struct series series[ARRAY_SIZE(alloc_cases)] = {0};
	char meaning[128];
	int r = 0;

	for (uint32_t run = 0; run < options->runs && !r; run++)
		for (unsigned i = 0; i < ARRAY_SIZE(alloc_cases) && !r; i++)
			r = run_alloc(guests, &alloc_cases[i], alloc_ms, &series[i]);
	if (r)
		return r;
	snprintf(meaning, sizeof(meaning),
		 "%u ms, where initial bytes begin to come; downtime of an idle guest", alloc_ms);
	report_part(report, part, meaning);
	for (unsigned i = 0; i < ARRAY_SIZE(alloc_cases); i++)
		report_series(report, part, alloc_cases[i].name, "ms", &series[i], NO_AIM);
	return 0;
}

/* ---- the word ---- */

static int run_parts(struct guest *guests, const struct bench_options *options,
		     struct report *report)
{
	int r = run_many(guests, options, false, report);

	if (!r)
		r = run_many(guests, options, true, report);
	return r ? r : run_allocs(guests, options, report);
}

int bench_switchover(const struct bench_options *options, struct report *report)
{
	struct guest guests[MOVE_SIDES];
	int r = guest_init(&guests[0], VM_BYTES, VM_BYTES);

	if (r)
		return bench_fail(r, "memory of the source guest");
	r = guest_init(&guests[1], VM_BYTES, VM_BYTES);
	if (r) {
		bench_fail(r, "memory of the destination guest");
	} else {
		guest_fill(&guests[0], guests[0].size, 1);
		r = run_parts(guests, options, report);
		guest_destroy(&guests[1]);
	}
	guest_destroy(&guests[0]);
	return r;
}
