/* SPDX-License-Identifier: BSD-3-Clause */
#include <string.h>
#include "base/compiler.h"
#include "engine/policy.h"

#define NS_PER_S 1000000000.0

static uint64_t sat_add(uint64_t a, uint64_t b)
{
	uint64_t sum;

	return __builtin_add_overflow(a, b, &sum) ? UINT64_MAX : sum;
}

static uint64_t to_ns(double ns)
{
	return ns >= 1.8e19 ? UINT64_MAX : (uint64_t)ns;
}

uint64_t policy_wire_ns(uint64_t bytes, uint64_t bandwidth)
{
	if (!bytes)
		return 0;
	if (!bandwidth)
		return VFM_UNLIMITED;
	return to_ns((double)bytes * NS_PER_S / (double)bandwidth);
}

/* A device may run until the last of them is in STOP_COPY, P2P state or not. */
static uint64_t state_bytes(const struct policy_input *in, const struct policy_device *d,
			    uint64_t stop_ns)
{
	double grown = (double)d->growth_rate * (double)stop_ns / NS_PER_S;

	if (d->state_bytes == VFM_SIZE_UNKNOWN)
		return in->unknown_bytes;
	return sat_add(d->state_bytes,
		       grown < (double)d->growth_max ? (uint64_t)grown : d->growth_max);
}

/* What of a device's loading is left when the wire is done: it loads while the wire works. */
static uint64_t load_rest(const struct policy_input *in, const struct policy_device *d,
			  uint64_t bytes, uint64_t wire_ns)
{
	uint64_t load;

	if (d->load_ns_mib == VFM_SIZE_UNKNOWN)
		return policy_wire_ns(bytes, in->bandwidth);
	load = to_ns((double)bytes / (1 << 20) * (double)d->load_ns_mib);
	return load > wire_ns ? load - wire_ns : 0;
}

/* Keep the slowest device of a term. */
static void slowest(uint64_t ns, unsigned device, uint64_t *max, int *who)
{
	if (ns <= *max)
		return;
	*max = ns;
	*who = (int)device;
}

/* The device behind each term. */
struct slow_devices {
	int stop, state, load, run;
};

/* Arcs of all devices with a barrier behind them: what that takes. */
struct step {
	uint64_t slowest, sum;
};

static void step_add(struct step *step, uint64_t arc_ns)
{
	step->slowest = MAX(step->slowest, arc_ns);
	step->sum = sat_add(step->sum, arc_ns);
}

/* @overhead_ns is measured the way in which steps are made, so that it needs no sum. */
static uint64_t step_ns(const struct policy_input *in, const struct step *step,
			uint64_t overhead_ns)
{
	if (!in->device_count)
		return 0;
	return sat_add(in->serial ? step->sum : step->slowest, overhead_ns);
}

/* The terms that are transitions. */
static void predict_steps(const struct policy_input *in, struct vfm_downtime *p,
			  struct slow_devices *who)
{
	struct step stop_p2p = { 0 }, stop = { 0 }, check = { 0 }, run_p2p = { 0 }, run = { 0 };
	uint64_t longest_stop = 0, longest_run = 0;

	for (unsigned i = 0; i < in->device_count; i++) {
		const struct policy_device *d = &in->devices[i];

		step_add(&stop_p2p, d->stop_p2p_ns);
		step_add(&stop, d->stop_ns);
		step_add(&check, d->check_ns);
		step_add(&run_p2p, d->run_p2p_ns);
		step_add(&run, d->run_ns);
		slowest(sat_add(d->stop_p2p_ns, d->stop_ns), i, &longest_stop, &who->stop);
		slowest(sat_add(d->run_p2p_ns, d->run_ns), i, &longest_run, &who->run);
	}
	p->stop_ns = sat_add(step_ns(in, &stop_p2p, in->step_ns), step_ns(in, &stop, in->step_ns));
	p->stop_ns = sat_add(p->stop_ns, sat_add(in->vcpus_stop_ns, in->query_ns));
	p->load_ns = step_ns(in, &check, in->peer_step_ns);
	p->handover_ns = sat_add(step_ns(in, &run_p2p, in->peer_step_ns),
				 step_ns(in, &run, in->peer_step_ns));
}

static void predict(const struct policy_input *in, struct vfm_downtime *p, struct slow_devices *who)
{
	uint64_t state = in->vm_state_bytes, largest = 0, load = 0, longest = 0, bytes, wire;

	predict_steps(in, p, who);
	for (unsigned i = 0; i < in->device_count; i++) {
		bytes = state_bytes(in, &in->devices[i], p->stop_ns);
		state = sat_add(state, bytes);
		slowest(bytes, i, &largest, &who->state);
	}
	p->memory_ns = sat_add(in->sync_ns, policy_wire_ns(in->memory_bytes, in->bandwidth));
	p->state_ns = policy_wire_ns(state, in->bandwidth);
	wire = sat_add(p->memory_ns, p->state_ns);
	for (unsigned i = 0; i < in->device_count; i++) {
		const struct policy_device *d = &in->devices[i];
		uint64_t rest = load_rest(in, d, state_bytes(in, d, p->stop_ns), wire);

		load = MAX(load, rest);
		slowest(sat_add(rest, d->check_ns), i, &longest, &who->load);
	}
	p->load_ns = sat_add(p->load_ns, load);
	p->handover_ns = sat_add(p->handover_ns, sat_add(in->round_trip_ns, in->round_trip_ns));
	p->total_ns = sat_add(sat_add(sat_add(p->stop_ns, wire), p->load_ns), p->handover_ns);
}

static void name_largest(struct policy_output *out, const struct slow_devices *who)
{
	const struct vfm_downtime *p = &out->predicted;
	const struct {
		const char *name;
		uint64_t ns;
		int device;
	} terms[] = {
		{ "memory", p->memory_ns, -1 },     { "state", p->state_ns, who->state },
		{ "stop", p->stop_ns, who->stop },  { "load", p->load_ns, who->load },
		{ "handover", p->handover_ns, who->run },
	};
	unsigned max = 0;

	for (unsigned i = 1; i < ARRAY_SIZE(terms); i++)
		if (terms[i].ns > terms[max].ns)
			max = i;
	out->term = terms[max].name;
	out->device = terms[max].device;
}

void policy_decide(const struct policy_input *in, struct policy_output *out)
{
	struct slow_devices who = { -1, -1, -1, -1 };

	memset(out, 0, sizeof(*out));
	predict(in, &out->predicted, &who);
	name_largest(out, &who);
	if (in->pending_acks)
		out->verdict = POLICY_WAIT_ACKS;
	else if (in->limit_ns == VFM_UNLIMITED)
		out->verdict = POLICY_GO;
	else if (!in->bandwidth)
		out->verdict = POLICY_WAIT_BANDWIDTH;
	else
		out->verdict = out->predicted.total_ns <= in->limit_ns ? POLICY_GO :
									 POLICY_WAIT_LIMIT;
}
