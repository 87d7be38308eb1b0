/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The source's rounds: send what is dirty, measure, look at the dirty logs, ask the policy.
 *
 *	pass over memory ──> ROUND mark ──> ROUND_DONE ──> dirty logs, device sizes ──> policy
 *	   ^  (devices stream beside it all the time)                                     │
 *	   └──────────────────────────────── not yet ─────────────────────────────────────┘
 *
 * The mark makes bandwidth and round trip true ones: they end when the destination has loaded what
 * went before, not when a socket buffer took it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "engine/acks.h"
#include "engine/link.h"
#include "engine/source.h"
#include "engine/stage.h"
#include "engine/worker.h"

enum {
	ROUND_MIN_NS = 10 * 1000 * 1000,   /* rounds are not shorter than that */
	BANDWIDTH_DEFAULT = 100 << 20,     /* of a wire that had nothing to carry yet */
	LOAD_MIN_BYTES = 1 << 20,          /* less says little about a device's loading */
	VM_STATE_DEFAULT = 64 << 10,       /* VMM state that was not saved yet */
};

uint64_t source_sent_bytes(struct session *s)
{
	uint64_t bytes;

	pthread_mutex_lock(&s->lock);
	bytes = s->link->memory_bytes + s->link->device_bytes;
	pthread_mutex_unlock(&s->lock);
	return bytes;
}

/* ---- dirty logs ---- */

static int sync_vm(struct session *s)
{
	for (unsigned i = 0; i < memory_region_count(s->memory); i++) {
		uint64_t *bitmap = memory_scratch(s->memory, i);
		int r = s->vm.dirty_sync(s->vm_opaque, i, bitmap);

		if (!r) {
			memory_or(s->memory, i, bitmap);
			continue;
		}
		session_log(s, VFM_LOG_WARN, "the VMM's dirty log failed: region %s counts as dirty",
			    memory_region(s->memory, i)->name);
		memory_mark_region(s->memory, i);
	}
	return 0;
}

int source_sync_dirty(struct session *s)
{
	int r;

	workers_post(s, job_log_sync);
	sync_vm(s);
	r = workers_wait(s, 0);
	for (unsigned i = 0; i < s->device_count && !r; i++) {
		struct worker *w = s->workers[i];

		if (!w->log_lost)
			continue;
		w->log_lost = false;
		session_log(s, VFM_LOG_WARN, "device %s: its dirty log failed: all memory is dirty",
			    w->device->info.name);
	}
	return r;
}

/* ---- numbers ---- */

/* ns per MiB on the destination, VFM_SIZE_UNKNOWN: too little was loaded to tell. */
static uint64_t load_rate(const struct worker *w)
{
	bool bulk = w->bulk_bytes >= LOAD_MIN_BYTES;
	uint64_t bytes = bulk ? w->bulk_bytes : w->consumed;
	double ns_mib;

	if (bytes < LOAD_MIN_BYTES)
		return VFM_SIZE_UNKNOWN;
	ns_mib = (double)(bulk ? w->bulk_ns : w->load_ns) * (1 << 20) / (double)bytes;
	/* The time is the peer's word. */
	return (uint64_t)MIN(ns_mib, 1e18);
}

/* A transition's time as measured on this device, else as long as @like took on the destination's,
 * which is of its kind, and not less than configured. */
static uint64_t arc_ns(const struct worker *w, enum vfm_state from, enum vfm_state to,
		       uint64_t like)
{
	return w->arc_ns[from][to] ? w->arc_ns[from][to]
				   : MAX(like, w->s->options.transition_estimate_ns);
}

static void stop_arcs(const struct worker *w, struct policy_device *d)
{
	bool precopy = device_can(w->device, VFM_MIG_PRE_COPY);
	enum vfm_state runs = precopy ? VFM_STATE_PRE_COPY : VFM_STATE_RUNNING;
	enum vfm_state p2p = precopy ? VFM_STATE_PRE_COPY_P2P : VFM_STATE_RUNNING_P2P;

	if (!device_can(w->device, VFM_MIG_P2P)) {
		d->stop_ns = arc_ns(w, runs, VFM_STATE_STOP_COPY, w->twin.stop_ns);
		return;
	}
	d->stop_p2p_ns = arc_ns(w, runs, p2p, w->twin.p2p_ns);
	d->stop_ns = arc_ns(w, p2p, VFM_STATE_STOP_COPY, w->twin.stop_ns);
}

/* On the destination's device; this side's has seldom made these arcs. Starting is taken to last as
 * long as stopping did, and the check of what was loaded as the longer part of that. */
static void run_arcs(const struct worker *w, struct policy_device *d)
{
	d->check_ns = arc_ns(w, VFM_STATE_RESUMING, VFM_STATE_STOP,
			     MAX(w->twin.p2p_ns, w->twin.stop_ns));
	if (!device_can(w->device, VFM_MIG_P2P)) {
		d->run_ns = arc_ns(w, VFM_STATE_STOP, VFM_STATE_RUNNING, w->twin.stop_ns);
		return;
	}
	d->run_p2p_ns = arc_ns(w, VFM_STATE_STOP, VFM_STATE_RUNNING_P2P, w->twin.stop_ns);
	d->run_ns = arc_ns(w, VFM_STATE_RUNNING_P2P, VFM_STATE_RUNNING, w->twin.p2p_ns);
}

/* With the lock held. */
static void device_input(const struct worker *w, struct policy_device *d)
{
	*d = (struct policy_device){
		.state_bytes = w->stop_copy_size,
		.growth_rate = growth_rate(&w->growth),
		.growth_max = growth_room(&w->growth, w->stop_copy_size),
		.load_ns_mib = load_rate(w),
	};
	stop_arcs(w, d);
	run_arcs(w, d);
}

void source_policy_input(struct session *s, struct policy_input *in)
{
	struct source_meter *m = &source_of(s)->meter;

	*in = (struct policy_input){
		.bandwidth = m->bandwidth.now,
		.vm_state_bytes = VM_STATE_DEFAULT,
		.unknown_bytes = s->options.unknown_stop_copy_size,
		.round_trip_ns = m->round_trip_ns,
		.query_ns = session_has_acks(s) ? recent_median(&m->query_ns) : 0,
		.sync_ns = recent_median(&m->sync_ns),
		.step_ns = m->step_ns,
		.peer_step_ns = m->peer_step_ns,
		.serial = s->options.serial_transitions,
		.device_count = s->device_count,
	};
	in->memory_bytes = memory_dirty_pages(s->memory) * VFM_PAGE_SIZE;
	pthread_mutex_lock(&s->lock);
	in->limit_ns = s->limit_ns;
	in->pending_acks = acks_pending(s);
	if (in->limit_ns == VFM_UNLIMITED && !in->bandwidth)
		in->bandwidth = m->bandwidth.first;
	if (s->max_bandwidth != VFM_UNLIMITED && in->bandwidth)
		in->bandwidth = MIN(in->bandwidth, s->max_bandwidth);
	for (unsigned i = 0; i < s->device_count; i++)
		device_input(s->workers[i], &in->devices[i]);
	pthread_mutex_unlock(&s->lock);
}

/* No round carried anything worth a measurement: a guest of zero pages, devices of a few bytes, or
 * that gave all between two rounds. What was sent at all is then a low guess; without any the rounds
 * must end nevertheless. */
static uint64_t guess_bandwidth(struct session *s, uint64_t now_ns)
{
	uint64_t bytes = source_sent_bytes(s);
	uint64_t average = bandwidth_of(bytes, now_ns - s->start_ns);

	return bytes < BANDWIDTH_TINY || !average ? BANDWIDTH_DEFAULT : average;
}

static void measure_round(struct session *s, uint64_t mark_ns, uint64_t done_ns)
{
	struct source_meter *m = &source_of(s)->meter;
	uint64_t bytes = source_sent_bytes(s) - m->round_start_bytes, trip = done_ns - mark_ns;

	if (!m->round_trip_ns || trip < m->round_trip_ns)
		m->round_trip_ns = trip;
	bandwidth_add(&m->bandwidth, bytes, done_ns - m->round_start_ns, trip,
		      guess_bandwidth(s, done_ns));
}

static void sum_devices(struct session *s, struct vfm_progress *p)
{
	p->device_left = 0;
	p->device_unknown = 0;
	for (unsigned i = 0; i < s->device_count; i++) {
		uint64_t left = s->workers[i]->stop_copy_size;

		if (left == VFM_SIZE_UNKNOWN)
			p->device_unknown++;
		else
			p->device_left += left;
	}
}

/* With the lock held: why it does not go, for people. */
static void explain_acks(struct session *s, char *text, size_t size)
{
	unsigned pending = acks_pending(s);

	for (unsigned i = 0; i < s->device_count; i++) {
		struct worker *w = s->workers[i];

		if (w->asked == w->acked)
			continue;
		snprintf(text, size, "%u %s of %s", pending,
			 pending == 1 ? "ack is pending, that" : "acks are pending, the first",
			 w->device->info.name);
		return;
	}
}

static void explain(struct session *s, const struct policy_output *out, char *text, size_t size)
{
	const char *device = out->device < 0 ? "" : s->workers[out->device]->device->info.name;

	text[0] = 0;
	if (out->verdict == POLICY_WAIT_ACKS)
		explain_acks(s, text, size);
	else if (out->verdict == POLICY_WAIT_BANDWIDTH)
		snprintf(text, size, "the bandwidth is not known yet");
	else if (out->verdict == POLICY_WAIT_LIMIT)
		snprintf(text, size, "predicted downtime %.3f ms is above the limit, mostly %s%s%s",
			 (double)out->predicted.total_ns / 1e6, out->term,
			 *device ? " of " : "", device);
}

/* Numbers of the round's end, for everybody. */
static void publish(struct session *s, const struct policy_input *in,
		    const struct policy_output *out)
{
	struct vfm_progress *p = &s->progress;

	pthread_mutex_lock(&s->lock);
	p->memory_total = memory_total_pages(s->memory) * VFM_PAGE_SIZE;
	p->memory_left = in->memory_bytes;
	p->memory_sent = s->link->memory_bytes;
	p->device_sent = s->link->device_bytes;
	p->bandwidth = in->bandwidth ? in->bandwidth : source_of(s)->meter.bandwidth.first;
	p->dirty_rate = source_of(s)->meter.dirty_rate;
	p->predicted_downtime_ns = out->predicted.total_ns;
	p->pending_acks = in->pending_acks;
	sum_devices(s, p);
	explain(s, out, p->waiting_for, sizeof(p->waiting_for));
	s->predicted = out->predicted;
	pthread_mutex_unlock(&s->lock);
	samples_add(&s->samples, p->round, clock_ns() - s->start_ns, in, out);
	session_event(s, VFM_EVENT_ROUND, NULL, VFM_STATE_ERROR);
}

/* ---- a round ---- */

static int await_mark(struct session *s, uint64_t round)
{
	struct wire_round mark = { .round = round }, echo;
	uint8_t head[64];
	uint64_t sent_ns;
	struct message *m;
	int r;

	link_control(s->link, WIRE_ROUND, head, wire_put_round(head, &mark));
	sent_ns = clock_ns();
	r = session_expect(s, WIRE_ROUND_DONE, s->options.peer_timeout_ns, &m);
	if (r)
		return r;
	r = wire_get_round(m->head, m->header.head, &echo);
	if (r || echo.round != round)
		r = session_failf(s, EPROTO, "the destination confirmed another round");
	else
		measure_round(s, sent_ns, clock_ns());
	free(m);
	return r;
}

static int send_pass(struct session *s, bool live)
{
	link_start_pass(s->link, live);
	return link_wait_moving(s, link_pass_done);
}

static void begin_round(struct session *s, uint64_t round)
{
	struct source_meter *m = &source_of(s)->meter;

	m->round_start_ns = clock_ns();
	m->round_start_bytes = source_sent_bytes(s);
	pthread_mutex_lock(&s->lock);
	s->progress.round = round;
	s->progress.memory_total = memory_total_pages(s->memory) * VFM_PAGE_SIZE;
	pthread_mutex_unlock(&s->lock);
}

static int look_at_dirty(struct session *s)
{
	struct source_meter *m = &source_of(s)->meter;
	uint64_t before = m->synced_ns, start = clock_ns(), now;
	int r = source_sync_dirty(s);

	now = m->synced_ns = clock_ns();
	if (before) /* the first look is not like the others */
		recent_add(&m->sync_ns, now - start);
	m->dirty_bytes = memory_dirty_pages(s->memory) * VFM_PAGE_SIZE;
	if (before && now > before)
		m->dirty_rate = bandwidth_of(m->dirty_bytes, now - before);
	return r;
}

static int ask_devices(struct session *s)
{
	uint64_t start = clock_ns();
	int r = workers_run(s, job_query, 0);

	recent_add(&source_of(s)->meter.query_ns, clock_ns() - start);
	return r;
}

/* One round to its end; the verdict in @out. */
static int run_round(struct session *s, uint64_t round, struct policy_output *out)
{
	struct policy_input in;
	int r;

	begin_round(s, round);
	r = send_pass(s, true);
	if (!r)
		r = await_mark(s, round);
	if (!r)
		r = look_at_dirty(s);
	if (!r)
		r = ask_devices(s);
	if (r)
		return r;
	source_policy_input(s, &in);
	policy_decide(&in, out);
	publish(s, &in, out);
	return 0;
}

static int check_patience(struct session *s, uint64_t round)
{
	uint64_t elapsed = clock_ns() - s->start_ns;

	if (round >= s->options.max_rounds)
		return session_failf(s, ETIME,
				     "the downtime limit was not met within %llu round%s",
				     (unsigned long long)round, round == 1 ? "" : "s");
	if (elapsed >= s->options.timeout_ns)
		return session_failf(s, ETIME, "the downtime limit was not met within %.1f s",
				     (double)elapsed / 1e9);
	return 0;
}

/* A guest that dirties little would make us spin. */
static int rest(struct session *s)
{
	return session_rest(s, source_of(s)->meter.round_start_ns + ROUND_MIN_NS);
}

/* ---- the switchover begins, and may have to be taken back ---- */

/* A device that asks for an ack now has new initial bytes; its number, -1: none. */
static int late_device(struct session *s)
{
	int late = -1;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->device_count && late < 0; i++)
		if (s->workers[i]->asked != s->workers[i]->acked)
			late = (int)i;
	pthread_mutex_unlock(&s->lock);
	return late;
}

static int go_on(struct session *s, unsigned device)
{
	struct attempt attempt = { s->stopped_ns, 0, device };
	uint64_t count;
	int r;

	link_control(s->link, WIRE_CONTINUE, NULL, 0);
	r = session_run_vcpus(s);
	if (r)
		return r;
	attempt.cost_ns = clock_ns() - s->stopped_ns;
	pthread_mutex_lock(&s->lock);
	if (s->attempt_count < SESSION_ATTEMPTS_MAX)
		s->attempts[s->attempt_count++] = attempt;
	count = s->progress.switchover_attempts;
	pthread_mutex_unlock(&s->lock);
	session_log(s, VFM_LOG_INFO,
		    "device %s had new initial bytes when the vCPUs had stopped: pre-copy goes on",
		    s->workers[device]->device->info.name);
	if (count >= s->options.max_switchover_attempts)
		return session_failf(s, ETIME,
				     "device %s had new initial bytes at each attempt (%llu)",
				     s->workers[device]->device->info.name,
				     (unsigned long long)count);
	workers_pump(s);
	return 0;
}

/*
 * Stop the vCPUs, and ask the devices a last time, in PRE_COPY: in PRE_COPY_P2P some cannot tell.
 * Data has stopped flowing out of them before, so that no worker is inside a long read when its
 * transition is due. 1: the VM stands still for good; 0: it runs again.
 */
static int try_switchover(struct session *s)
{
	int late, r;

	workers_pause(s);
	r = session_stop_vcpus(s);
	if (r)
		return r;
	link_control(s->link, WIRE_STOPPED, NULL, 0);
	pthread_mutex_lock(&s->lock);
	s->progress.switchover_attempts++;
	pthread_mutex_unlock(&s->lock);
	r = session_has_acks(s) ? workers_run(s, job_late_query, 0) : 0;
	if (r)
		return r;
	late = late_device(s);
	return late < 0 ? 1 : go_on(s, (unsigned)late);
}

int source_precopy(struct session *s)
{
	struct policy_output out;
	int r = look_at_dirty(s);

	if (r)
		return r;
	for (uint64_t round = 1;; round++) {
		r = run_round(s, round, &out);
		if (!r && out.verdict == POLICY_GO)
			r = try_switchover(s);
		if (r)
			return r < 0 ? r : 0;
		r = check_patience(s, round);
		if (!r)
			r = rest(s);
		if (r)
			return r;
	}
}
