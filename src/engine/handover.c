/* SPDX-License-Identifier: BSD-3-Clause */
/* The source's half of the handover. handover.h tells how it works. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "engine/handover.h"
#include "engine/link.h"
#include "engine/source.h"
#include "engine/stage.h"
#include "engine/worker.h"

enum { ASK_PAUSE_NS = 200 * 1000 * 1000, RESOLVE_NONE = -1, RESOLVE_GIVE_UP = 2 };

static int await_prepared(struct session *s)
{
	struct message *m;
	int r = session_expect(s, WIRE_PREPARED, s->options.peer_timeout_ns, &m);

	if (r)
		return r;
	r = wire_get_prepared(m->head, m->header.head, &source_of(s)->meter.prepared);
	free(m);
	return r ? session_failf(s, EPROTO, "PREPARED is not well formed") : 0;
}

int source_prepare(struct session *s)
{
	struct wire_prepare prepare = { 0 };
	uint8_t head[64];

	pthread_mutex_lock(&s->lock);
	prepare.memory_pages = s->link->pages;
	prepare.device_bytes = s->link->device_bytes;
	pthread_mutex_unlock(&s->lock);
	link_control(s->link, WIRE_PREPARE, head, wire_put_prepare(head, &prepare));
	return await_prepared(s);
}

/*
 * The point of no return. Under the lock it looks a last time for a failure or a cancel: from the
 * moment on that `committed` is set, neither brings the VM back, and only the destination's word
 * or an operator's does.
 */
static int give_away(struct session *s)
{
	int r = session_check(s);

	if (r)
		return r;
	pthread_mutex_lock(&s->lock);
	if (s->failed || s->cancelled) {
		r = -ECANCELED;
	} else if (s->link->error) {
		r = -ENOTCONN;
	} else {
		s->committed = true;
		s->owner = VFM_OWNER_UNKNOWN;
	}
	pthread_mutex_unlock(&s->lock);
	if (r == -ENOTCONN)
		return session_link_failed(s);
	if (r)
		return r;
	s->stand_until_ns = UINT64_MAX; /* from here on it is the destination's to end this */
	link_control(s->link, WIRE_COMMIT, NULL, 0);
	return 0;
}

/* ---- the destination's answer ---- */

/* The peer said why it could not: it has the VM, and keeps it. */
static bool answered(struct session *s, void *arg UNUSED)
{
	return s->inbox || (s->failed && s->error.remote);
}

static bool peer_failed(struct session *s)
{
	bool failed;

	pthread_mutex_lock(&s->lock);
	failed = s->failed && s->error.remote;
	pthread_mutex_unlock(&s->lock);
	return failed;
}

enum answer { ANSWER_RUNNING, ANSWER_FAILED, ANSWER_NONE };

static enum answer await_running(struct session *s, uint64_t *running_ns)
{
	uint64_t deadline = clock_after(s->options.peer_timeout_ns);
	struct wire_running running;
	struct message *m;
	int r = session_wait(s, answered, NULL, deadline, SESSION_WAIT_UNDO);

	if (!r && peer_failed(s))
		return ANSWER_FAILED;
	if (r || session_receive(s, 0, SESSION_WAIT_UNDO, &m))
		return ANSWER_NONE;
	r = m->header.type == WIRE_RUNNING ?
		    wire_get_running(m->head, m->header.head, &running) :
		    -EPROTO;
	*running_ns = m->arrived_ns;
	free(m);
	return r ? ANSWER_NONE : ANSWER_RUNNING;
}

/* ---- in doubt ---- */

static int open_link(struct session *s)
{
	struct channel *channel;
	int fd = s->options.reconnect ? s->options.reconnect(s->options.opaque) : -ENOTCONN;
	int r = fd < 0 ? fd : channel_new_fd(fd, &channel);

	return r ? r : link_start(s, channel, 0);
}

/* Ask over a new link. 0 and the fate, or -errno: no answer. */
static int ask(struct session *s, enum wire_fate *fate)
{
	struct wire_hello hello = {
		.version = WIRE_VERSION,
		.version_low = WIRE_VERSION_LOW,
		.intent = WIRE_INTENT_ASK,
	};
	struct wire_hello_reply reply;
	uint8_t head[256];
	struct message *m;
	int r;

	link_stop(s);
	session_drop_inbox(s);
	session_forgive(s); /* what the broken link left behind says nothing about the VM */
	r = open_link(s);
	if (r)
		return r;
	memcpy(hello.token, s->token, sizeof(hello.token));
	link_control(s->link, WIRE_HELLO, head, wire_put_hello(head, &hello));
	r = session_receive(s, s->options.peer_timeout_ns, SESSION_WAIT_UNDO, &m);
	if (r)
		return r;
	r = m->header.type == WIRE_HELLO_REPLY ?
		    wire_get_hello_reply(m->head, m->header.head, &reply) :
		    -EPROTO;
	free(m);
	if (!r)
		*fate = reply.fate;
	return r;
}

static bool resolved(struct session *s, void *arg UNUSED)
{
	return s->resolved != RESOLVE_NONE;
}

/* The destination gave it up: it is ours again. */
static int take_back(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	s->committed = false;
	s->owner = VFM_OWNER_SOURCE;
	pthread_mutex_unlock(&s->lock);
	return session_failf(s, ECONNABORTED,
			     "the destination gave the VM up before it had received it");
}

static bool fate_known(enum wire_fate fate)
{
	return fate == WIRE_FATE_PREPARED || fate == WIRE_FATE_OWNED;
}

/* Until there is an answer, time is up, or an operator has spoken. */
static int settle_doubt(struct session *s, uint64_t *running_ns)
{
	uint64_t deadline = clock_after(s->options.doubt_timeout_ns);
	enum wire_fate fate;

	session_log(s, VFM_LOG_WARN, "in doubt: COMMIT was sent and no answer came; the VM stays "
				     "stopped here while the destination is asked");
	do {
		int r = ask(s, &fate);

		if (!r && fate == WIRE_FATE_NEVER)
			return take_back(s);
		if (!r && fate == WIRE_FATE_PREPARED)
			link_control(s->link, WIRE_COMMIT, NULL, 0);
		if (!r && fate_known(fate)) {
			enum answer a = await_running(s, running_ns);

			if (a != ANSWER_NONE)
				return a == ANSWER_RUNNING ? 0 : -EREMOTEIO;
		}
		if (!session_wait(s, resolved, NULL, clock_ns() + ASK_PAUSE_NS,
				  SESSION_WAIT_UNDO | SESSION_WAIT_NO_LINK))
			break;
	} while (clock_ns() < deadline);
	return -EINPROGRESS;
}

/* ---- the stage ---- */

static int take_outcome(struct session *s, enum answer answer, uint64_t *running_ns)
{
	int r = answer == ANSWER_RUNNING ? 0 :
		answer == ANSWER_FAILED	 ? -EREMOTEIO :
					   settle_doubt(s, running_ns);

	if (!r || r == -EREMOTEIO)
		session_set_owner(s, VFM_OWNER_DESTINATION);
	return r;
}

int source_commit(struct session *s)
{
	uint64_t running_ns = 0;
	int r = give_away(s);

	if (r)
		return r;
	r = take_outcome(s, await_running(s, &running_ns), &running_ns);
	if (r)
		return r;
	session_forgive(s);
	source_measure_downtime(s, running_ns);
	return 0;
}

/* ---- release: the VM runs elsewhere, nothing here is urgent ---- */

static void take_report(struct session *s)
{
	struct wire_report *report = calloc(1, sizeof(*report));
	struct message *m = NULL;

	if (report && !session_receive(s, s->options.peer_timeout_ns, SESSION_WAIT_UNDO, &m) &&
	    m->header.type == WIRE_REPORT && !wire_get_report(m->head, m->header.head, report)) {
		pthread_mutex_lock(&s->lock);
		s->peer_report = TAKE_PTR(report);
		pthread_mutex_unlock(&s->lock);
	} else {
		session_log(s, VFM_LOG_WARN, "the destination's report did not arrive");
	}
	free(m);
	free(report);
}

static void look(struct session *s)
{
	if (s->vm.inspect && s->vm.inspect(s->vm_opaque))
		session_log(s, VFM_LOG_WARN, "the VMM's inspection failed");
}

/* What is left of the VM here. */
static void let_go(struct session *s)
{
	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->target = VFM_STATE_STOP;
	if (workers_run(s, job_transition, SESSION_WAIT_UNDO))
		session_log(s, VFM_LOG_WARN, "a device here did not go to STOP");
	workers_run(s, job_log_stop, SESSION_WAIT_UNDO);
	if (s->tracking && s->vm.dirty_stop(s->vm_opaque))
		session_log(s, VFM_LOG_WARN, "the VMM could not stop tracking the guest's stores");
	s->tracking = false;
}

int source_release(struct session *s)
{
	take_report(s);
	link_control(s->link, WIRE_BYE, NULL, 0);
	link_flush_abort(s);
	link_stop(s);
	look(s);
	let_go(s);
	return 0;
}

/* ---- the end that was no good one ---- */

static void end_in_failure(struct session *s)
{
	session_log(s, VFM_LOG_ERROR, "the VM belongs to the destination, which failed to start it");
	link_stop(s);
	let_go(s);
	session_end(s, VFM_STATUS_FAILED);
}

static void mark_resolved(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	pthread_cond_broadcast(&s->ended_cond);
	pthread_mutex_unlock(&s->lock);
}

static void act_on_word(struct session *s)
{
	if (s->resolved == 1) {
		session_set_owner(s, VFM_OWNER_DESTINATION);
		link_stop(s);
		let_go(s);
		session_end(s, VFM_STATUS_COMPLETED);
	} else if (s->resolved == 0) {
		take_back(s);
		stages_undo(s, stage_row_count - 1);
		session_end(s, VFM_STATUS_FAILED);
	} else {
		mark_resolved(s);
	}
}

static void reopen(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	s->ended = false;
	pthread_mutex_unlock(&s->lock);
}

void handover_end(struct session *s, int result)
{
	if (result == -EREMOTEIO) {
		end_in_failure(s);
		return;
	}
	session_forgive(s); /* whatever a stranger said where the destination was asked */
	session_failf(s, ENOTCONN,
		      "COMMIT was sent and the destination does not answer: it may run the VM. "
		      "Look there, then say which side has it");
	session_end(s, VFM_STATUS_IN_DOUBT);
	session_wait(s, resolved, NULL, UINT64_MAX, SESSION_WAIT_UNDO | SESSION_WAIT_NO_LINK);
	reopen(s);
	act_on_word(s);
}

int handover_resolve(struct session *s, int destination_runs)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->status != VFM_STATUS_IN_DOUBT || s->resolved != RESOLVE_NONE)
		r = -EINVAL;
	else
		s->resolved = !!destination_runs;
	pthread_mutex_unlock(&s->lock);
	if (r)
		return r;
	session_wake(s);
	pthread_mutex_lock(&s->lock);
	while (s->status == VFM_STATUS_IN_DOUBT || !s->ended)
		pthread_cond_wait(&s->ended_cond, &s->lock);
	pthread_mutex_unlock(&s->lock);
	return 0;
}

void handover_give_up(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	if (s->resolved == RESOLVE_NONE)
		s->resolved = RESOLVE_GIVE_UP;
	pthread_mutex_unlock(&s->lock);
	session_wake(s);
}
