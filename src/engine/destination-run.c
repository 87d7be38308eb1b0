/* SPDX-License-Identifier: BSD-3-Clause */
/* The destination's stages commit and release: it gets the VM, starts it, and says so until the
 * source has heard it. handover.h tells how the VM changes hands. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "engine/destination.h"
#include "engine/greeter.h"
#include "engine/link.h"
#include "engine/stage.h"
#include "engine/worker.h"

enum { GIVEN_UP = 2 }; /* session.resolved: the VMM does not want to wait any longer */

/* ---- commit ---- */

/* With the lock held: the source has said ABORT. */
static bool aborted(const struct session *s)
{
	return s->failed && s->error.remote;
}

static bool message_or_hello(struct session *s, void *arg)
{
	return s->inbox || greeter_has_hello(s, arg) || s->resolved == GIVEN_UP || aborted(s);
}

static void tell_that_we_wait(struct session *s)
{
	session_log(s, VFM_LOG_WARN,
		    "the connection is lost; the VM is complete here, and the source alone knows "
		    "whether it has given it away: waiting for it, or for an operator's cancel");
}

/* Until COMMIT: 0. A lost connection is waited out; what ends it is the source's word or an
 * operator's. */
static int await_commit(struct session *s)
{
	bool told = false;

	for (;;) {
		unsigned flags = told ? SESSION_WAIT_NO_LINK : 0;
		struct message *m;
		int r = session_wait(s, message_or_hello, NULL, UINT64_MAX, flags);

		if (r == -ENOTCONN) {
			tell_that_we_wait(s);
			link_stop(s);
			session_forgive(s);
			told = true;
			continue;
		}
		if (r)
			return r;
		if (greeter_has_hello(s, NULL)) {
			told = destination_answer_hello(s) != 0;
			continue;
		}
		r = session_expect(s, WIRE_COMMIT, 0, &m);
		if (r)
			return r;
		destination_of(s)->commit_ns = m->arrived_ns;
		free(m);
		return 0;
	}
}

/* COMMIT has come: from the moment on that `committed` is set the VM is ours, whatever happens.
 * A cancel or a failure that came first wins, and the source learns so when it asks. */
static int take_ownership(struct session *s)
{
	bool ours;

	pthread_mutex_lock(&s->lock);
	ours = !s->cancelled && !s->failed;
	if (ours) {
		s->committed = true;
		s->owner = VFM_OWNER_DESTINATION;
		s->fate = WIRE_FATE_OWNED;
	}
	pthread_mutex_unlock(&s->lock);
	if (!ours)
		return -ECANCELED;
	if (s->vm.owned)
		s->vm.owned(s->vm_opaque);
	return 0;
}

static int start_vm(struct session *s)
{
	struct wire_running *running = &destination_of(s)->running;
	uint64_t devices;
	int r = session_start_handlers(s, false);

	if (!r)
		r = workers_run(s, job_run_p2p, 0);
	if (!r)
		r = workers_transition(s, VFM_STATE_RUNNING);
	if (!r)
		r = session_start_handlers(s, true);
	if (r)
		return r;
	devices = clock_ns();
	r = session_run_vcpus(s);
	running->devices_ns = devices - destination_of(s)->commit_ns;
	running->vcpus_ns = clock_ns() - devices;
	return r;
}

/*
 * Given up between PREPARED and COMMIT: nothing is said on this connection, for the source may have
 * sent COMMIT already, and would take an abort for the word of an owner. It asks, and hears NEVER.
 */
static void give_up(struct session *s)
{
	s->fate = WIRE_FATE_NEVER;
	session_set_owner(s, VFM_OWNER_SOURCE);
	link_stop(s);
}

int destination_commit(struct session *s)
{
	int r = await_commit(s);

	if (!r)
		r = take_ownership(s);
	if (r) {
		give_up(s);
		return r;
	}
	r = start_vm(s);
	if (r) {
		session_log(s, VFM_LOG_ERROR, "the VM belongs to this side and could not be started");
		link_abort(s);
		link_flush_abort(s);
		link_stop(s);
	}
	return r;
}

/* ---- release ---- */

static void fill_report(struct session *s, struct wire_report *report)
{
	memset(report, 0, sizeof(*report));
	report->device_count = s->device_count;
	for (unsigned i = 0; i < s->device_count; i++) {
		report->devices[s->workers[i]->wire_index].bytes = s->workers[i]->consumed;
		report->devices[s->workers[i]->wire_index].load_ns = s->workers[i]->load_ns;
	}
	report->arc_count = MIN(s->timeline.count, WIRE_ARCS_MAX);
	for (unsigned i = 0; i < report->arc_count; i++) {
		const struct timeline_arc *t = &s->timeline.arcs[i];

		report->arcs[i] = (struct wire_arc){
			.device = (uint16_t)s->workers[t->device]->wire_index,
			.from = (uint16_t)t->arc.from,
			.to = (uint16_t)t->arc.to,
			.result = t->arc.result,
			.start_ns = t->arc.start_ns - s->start_ns,
			.duration_ns = t->arc.end_ns - t->arc.start_ns,
		};
	}
}

static void send_report(struct session *s)
{
	struct wire_report *report = malloc(sizeof(*report));
	uint8_t *head = malloc(WIRE_HEAD_MAX);

	if (report && head) {
		pthread_mutex_lock(&s->lock);
		fill_report(s, report);
		pthread_mutex_unlock(&s->lock);
		link_control(s->link, WIRE_REPORT, head, wire_put_report(head, report));
	}
	free(report);
	free(head);
}

static void tell_running(struct session *s)
{
	uint8_t head[64];

	link_control(s->link, WIRE_RUNNING, head,
		     wire_put_running(head, &destination_of(s)->running));
	send_report(s);
}

/* What a source that asks hears after the answer to its hello. It may then say COMMIT once more. */
static void tell_again(struct session *s)
{
	if (destination_answer_hello(s) || s->fate != WIRE_FATE_OWNED)
		return;
	tell_running(s);
}

/* True: the source has said BYE. Anything else that it says is late, and no harm. */
static bool hear_bye(struct session *s)
{
	bool bye = false;

	while (!bye && s->inbox) {
		struct message *m;

		if (session_receive(s, 0, SESSION_WAIT_UNDO, &m))
			break;
		bye = m->header.type == WIRE_BYE;
		free(m);
	}
	return bye;
}

static bool source_gone(struct session *s)
{
	bool gone;

	pthread_mutex_lock(&s->lock);
	gone = aborted(s);
	pthread_mutex_unlock(&s->lock);
	return gone;
}

void destination_linger(struct session *s)
{
	uint64_t until = clock_after(s->options.doubt_timeout_ns);
	unsigned flags = SESSION_WAIT_UNDO | (s->link ? 0 : SESSION_WAIT_NO_LINK);

	greeter_want(s, WIRE_INTENT_ASK);
	for (;;) {
		int r = session_wait(s, message_or_hello, NULL, until, flags);

		if (r == -ENOTCONN)
			link_stop(s);
		else if (r || s->resolved == GIVEN_UP || source_gone(s) || hear_bye(s))
			return;
		else if (greeter_has_hello(s, NULL))
			tell_again(s);
		flags = SESSION_WAIT_UNDO | (s->link ? 0 : SESSION_WAIT_NO_LINK);
	}
}

int destination_release(struct session *s)
{
	if (s->link)
		tell_running(s);
	destination_linger(s);
	link_stop(s); /* the source waits for that, so that its last words are not lost */
	return 0;
}
