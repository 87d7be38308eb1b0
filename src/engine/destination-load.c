/* SPDX-License-Identifier: BSD-3-Clause */
/* The destination's stages load and prepare: until the VM is complete here, and known to be. */
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

/* ---- load: receiver and workers do it; here only the marks are followed ---- */

static int follow_mark(struct session *s, const struct message *m)
{
	struct vfm_destination *dst = destination_of(s);

	switch (m->header.type) {
	case WIRE_ROUND: /* not answered by the receiver: round trips of the handover end here */
		link_control(s->link, WIRE_ROUND_DONE, m->head, m->header.head);
		return 0;
	case WIRE_STOPPED:
		session_enter(s, VFM_STAGE_STOP);
		return 0;
	case WIRE_CONTINUE:
		session_enter(s, VFM_STAGE_PRECOPY);
		return 0;
	case WIRE_PREPARE:
		dst->prepare_ns = m->arrived_ns;
		if (!wire_get_prepare(m->head, m->header.head, &dst->prepare))
			return 0;
		return session_failf(s, EPROTO, "PREPARE is not well formed");
	default:
		return session_failf(s, EPROTO, "the source sent %s while data was moving",
				     wire_type_name(m->header.type));
	}
}

int destination_load(struct session *s)
{
	bool done = false;

	while (!done) {
		struct message *m;
		int r = session_receive(s, VFM_UNLIMITED, 0, &m);

		if (r)
			return r == -ENOTCONN ? session_link_failed(s) : r;
		r = follow_mark(s, m);
		done = m->header.type == WIRE_PREPARE;
		free(m);
		if (r)
			return r;
	}
	return 0;
}

/* ---- prepare: is it all here, and do the devices take it? ---- */

static bool devices_loaded(struct session *s, void *arg UNUSED)
{
	for (unsigned i = 0; i < s->device_count; i++)
		if (!s->workers[i]->finished)
			return false;
	return true;
}

/* The source sends PREPARE behind the last block, so that only loading is waited for: a block
 * that is missing will not come. */
static bool nothing_queued(struct session *s, void *arg)
{
	if (devices_loaded(s, arg))
		return true;
	for (unsigned i = 0; i < s->device_count; i++)
		if (s->workers[i]->consumed_frames < s->workers[i]->moved_frames) {
			s->watch |= SESSION_WATCH_LOADED;
			return false;
		}
	return true;
}

static int await_devices(struct session *s)
{
	int r = session_wait(s, nothing_queued, NULL, UINT64_MAX, 0);

	if (r)
		return r == -ENOTCONN ? session_link_failed(s) : r;
	for (unsigned i = 0; i < s->device_count; i++)
		if (!s->workers[i]->finished)
			return session_failf(s, EPROTO, "device %s: the end of its state is missing",
					     s->workers[i]->device->info.name);
	return 0;
}

static int check_complete(struct session *s)
{
	const struct wire_prepare *said = &destination_of(s)->prepare;
	uint64_t unsure = memory_unsure_pages(s->memory), bytes = 0;

	for (unsigned i = 0; i < s->device_count; i++)
		bytes += s->workers[i]->consumed;
	if (unsure)
		return session_failf(s, EBADMSG, "%llu pages of memory are missing or torn",
				     (unsigned long long)unsure);
	if (said->memory_pages != memory_loaded_pages(s->memory) || said->device_bytes != bytes)
		return session_failf(s, EPROTO, "more was sent than has arrived");
	if (!s->link->vm_state_last)
		return session_failf(s, EPROTO, "the end of the VMM's state is missing");
	return 0;
}

/* Every device's own final check, beside the VMM's loading of its state. */
static int check_devices(struct session *s)
{
	int r, vm;

	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->target = VFM_STATE_STOP;
	if (s->options.serial_transitions)
		workers_run(s, job_transition, 0);
	else
		workers_post(s, job_transition);
	vm = s->vm.load(s->vm_opaque, buffer_data(&s->vm_state), buffer_size(&s->vm_state));
	r = workers_wait(s, 0);
	if (!r && vm)
		r = session_failf(s, -vm, "the VMM refused its state");
	if (r)
		return r;
	workers_tell(s);
	return 0;
}

static int inspect(struct session *s)
{
	int r = s->vm.inspect ? s->vm.inspect(s->vm_opaque) : 0;

	return r ? session_failf(s, -r, "the VMM's inspection failed") : 0;
}

/* From here on a source may be in doubt about us, so that its question is welcome. Over a link that
 * is lost already nothing will be said: then the source cannot commit, and all is undone. */
static int say_prepared(struct session *s, const struct wire_prepared *prepared)
{
	uint8_t head[64];
	bool lost;

	pthread_mutex_lock(&s->lock);
	lost = s->link->error;
	pthread_mutex_unlock(&s->lock);
	if (lost)
		return session_link_failed(s);
	s->fate = WIRE_FATE_PREPARED;
	session_set_owner(s, VFM_OWNER_UNKNOWN);
	greeter_want(s, WIRE_INTENT_ASK);
	link_control(s->link, WIRE_PREPARED, head, wire_put_prepared(head, prepared));
	return 0;
}

int destination_prepare(struct session *s)
{
	struct wire_prepared prepared = { 0 };
	uint64_t loaded, checked;
	int r = await_devices(s);

	loaded = clock_ns();
	if (!r)
		r = check_complete(s);
	if (!r)
		r = check_devices(s);
	checked = clock_ns();
	if (!r)
		r = inspect(s);
	if (r)
		return r;
	prepared.load_ns = loaded - destination_of(s)->prepare_ns;
	prepared.check_ns = checked - loaded;
	prepared.inspect_ns = clock_ns() - checked;
	return say_prepared(s, &prepared);
}
