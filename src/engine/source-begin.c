/* SPDX-License-Identifier: BSD-3-Clause */
/* The source's stages before data moves: hello, describe, set up. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "engine/link.h"
#include "engine/source.h"
#include "engine/stage.h"
#include "engine/worker.h"

/* A session's token is what a later connection proves itself with: it must not be guessed. */
static int make_token(struct session *s)
{
	if (getrandom(s->token, sizeof(s->token), 0) != sizeof(s->token))
		return session_failf(s, errno ? errno : EIO, "no random bytes for the token");
	return 0;
}

/* The better of the ways that both have; none, where one was wanted, is a refusal. */
static int agree(struct session *s, uint64_t offered, uint64_t common)
{
	if (offered & WIRE_FEATURES_ACK && !(common & WIRE_FEATURES_ACK))
		return session_failf(s, EPROTONOSUPPORT,
				     "the ends have no way of switchover acks in common: set the "
				     "same profile, or switchover-ack=off, on both");
	s->features = session_choose(common);
	return 0;
}

int source_hello(struct session *s)
{
	struct wire_hello hello = {
		.version = WIRE_VERSION,
		.version_low = WIRE_VERSION_LOW,
		.intent = WIRE_INTENT_MIGRATE,
		.features = session_offer(s),
	};
	struct wire_hello_reply reply;
	uint8_t head[256];
	struct message *m;
	int r = workers_run(s, job_check_owned, 0);

	if (!r)
		r = make_token(s);
	if (r)
		return r;
	memcpy(hello.token, s->token, sizeof(hello.token));
	link_control(s->link, WIRE_HELLO, head, wire_put_hello(head, &hello));
	r = session_expect(s, WIRE_HELLO_REPLY, s->options.peer_timeout_ns, &m);
	if (r)
		return r;
	r = wire_get_hello_reply(m->head, m->header.head, &reply);
	free(m);
	if (!r && !reply.version)
		return session_failf(s, EPROTONOSUPPORT,
				     "the ends have no version of the protocol in common");
	if (r || reply.version < WIRE_VERSION_LOW || reply.version > WIRE_VERSION ||
	    reply.features & ~hello.features || reply.fate != WIRE_FATE_NONE)
		return session_failf(s, EPROTO, "the destination chose what was not offered");
	return agree(s, hello.features, reply.features);
}

/* ---- describe ---- */

static void describe_device(const struct vfm_device *dev, struct wire_device *out)
{
	const struct vfm_device_info *info = &dev->info;

	snprintf(out->name, sizeof(out->name), "%s", info->name);
	snprintf(out->backend, sizeof(out->backend), "%s", info->backend);
	out->mig_flags = info->mig_flags;
	out->pci_vendor = info->pci_vendor;
	out->pci_device = info->pci_device;
	out->pci_subsystem_vendor = info->pci_subsystem_vendor;
	out->pci_subsystem = info->pci_subsystem;
}

static void describe(struct session *s, struct wire_describe *d)
{
	d->page_size = VFM_PAGE_SIZE;
	d->device_chunk = s->device_chunk;
	d->region_count = memory_region_count(s->memory);
	d->device_count = s->device_count;
	for (unsigned i = 0; i < d->region_count; i++) {
		const struct vfm_region *region = memory_region(s->memory, i);

		memcpy(d->regions[i].name, region->name, sizeof(region->name));
		d->regions[i].gpa = region->gpa;
		d->regions[i].size = region->size;
	}
	for (unsigned i = 0; i < s->device_count; i++)
		describe_device(s->workers[i]->device, &d->devices[i]);
}

/* Every reason goes to the log and to the report; the error names the first. */
static int read_answer(struct session *s, const struct wire_answer *answer)
{
	if (!answer->count)
		return 0;
	free(s->reasons);
	s->reasons = calloc(answer->count, sizeof(*s->reasons));
	if (!s->reasons)
		return session_failf(s, ENOMEM, "no memory for the destination's reasons");
	s->reason_count = answer->count;
	for (unsigned i = 0; i < answer->count; i++) {
		memcpy(s->reasons[i], answer->reasons[i], sizeof(s->reasons[i]));
		session_log(s, VFM_LOG_ERROR, "the destination refuses: %s", s->reasons[i]);
	}
	if (answer->count == 1)
		return session_failf(s, EINVAL, "refused: %s", s->reasons[0]);
	return session_failf(s, EINVAL, "refused for %u reasons, the first: %s", answer->count,
			     s->reasons[0]);
}

static int await_answer(struct session *s)
{
	struct wire_answer *answer = calloc(1, sizeof(*answer));
	struct message *m = NULL;
	int r = answer ? session_expect(s, WIRE_ANSWER, s->options.peer_timeout_ns, &m) :
			 session_failf(s, ENOMEM, "no memory for the destination's answer");

	if (!r && wire_get_answer(m->head, m->header.head, answer))
		r = session_failf(s, EPROTO, "the destination's answer is not well formed");
	if (!r)
		r = read_answer(s, answer);
	free(m);
	free(answer);
	return r;
}

int source_describe(struct session *s)
{
	struct wire_describe *d = calloc(1, sizeof(*d));
	uint8_t *head = malloc(WIRE_HEAD_MAX);
	int r = 0;

	if (d && head) {
		describe(s, d);
		link_control(s->link, WIRE_DESCRIBE, head, wire_put_describe(head, d));
	} else {
		r = session_failf(s, ENOMEM, "no memory for the description");
	}
	free(head);
	free(d);
	return r ? r : await_answer(s);
}

/* ---- set up ---- */

/* Who tracks, where it is not who it was to be. */
static void tell_tracker(struct session *s, const struct worker *w)
{
	const struct vfm_device *dev = w->device;
	const char *name = dev->info.name;

	if (!memory_region_count(s->memory))
		return;
	if (!w->log_on && dev->log_refusal)
		session_log(s, VFM_LOG_WARN,
			    "device %s was to track its writes, and does not (%s): all memory "
			    "counts as dirty", name, strerror(-dev->log_refusal));
	else if (!w->log_on)
		session_log(s, VFM_LOG_WARN,
			    "device %s does not track its writes: all memory counts as dirty",
			    name);
	else if (dev->log_refusal)
		session_log(s, VFM_LOG_WARN,
			    "a better way to track the writes of device %s was refused (%s): %s "
			    "tracks them", name, strerror(-dev->log_refusal),
			    vfm_tracker_name(dev->info.tracker));
}

static int start_tracking(struct session *s)
{
	int r = s->vm.dirty_start(s->vm_opaque);

	if (r)
		return session_failf(s, -r, "the VMM cannot track the guest's stores");
	s->tracking = true;
	memory_mark_all(s->memory);
	r = workers_run(s, job_log_start, 0);
	for (unsigned i = 0; i < s->device_count && !r; i++)
		tell_tracker(s, s->workers[i]);
	return r;
}

/* What stopping its devices took: theirs are of the same kind. */
static int await_arcs(struct session *s)
{
	struct wire_arcs arcs;
	struct message *m;
	int r;

	if (!(s->features & WIRE_FEATURE_ARCS))
		return 0;
	r = session_expect(s, WIRE_ARCS, s->options.peer_timeout_ns, &m);
	if (r)
		return r;
	r = wire_get_arcs(m->head, m->header.head, &arcs);
	free(m);
	if (r || arcs.device_count != s->device_count)
		return session_failf(s, EPROTO, "the destination's transitions are not well told");
	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->twin = arcs.devices[s->workers[i]->wire_index];
	return 0;
}

/* A destination that does not tell is taken for one like this side. */
static int await_costs(struct session *s)
{
	struct source_meter *meter = &source_of(s)->meter;
	struct wire_costs costs;
	struct message *m;
	int r;

	meter->peer_step_ns = meter->step_ns;
	if (!(s->features & WIRE_FEATURE_COSTS))
		return 0;
	r = session_expect(s, WIRE_COSTS, s->options.peer_timeout_ns, &m);
	if (r)
		return r;
	r = wire_get_costs(m->head, m->header.head, &costs);
	free(m);
	if (r)
		return session_failf(s, EPROTO, "the destination's costs are not well formed");
	meter->peer_step_ns = costs.step_ns;
	return 0;
}

static int await_ready(struct session *s)
{
	struct wire_ready ready;
	struct message *m;
	int r = await_arcs(s);

	if (!r)
		r = await_costs(s);
	if (!r)
		r = session_expect(s, WIRE_READY, s->options.peer_timeout_ns, &m);
	if (r)
		return r;
	r = wire_get_ready(m->head, m->header.head, &ready);
	free(m);
	if (r || ready.window < s->device_chunk)
		return session_failf(s, EPROTO, "the destination's window holds no block");
	workers_set_window(s, ready.window / s->device_chunk);
	return 0;
}

int source_setup(struct session *s)
{
	int r;

	link_control(s->link, WIRE_SETUP, NULL, 0);
	r = workers_measure_step(s, &source_of(s)->meter.step_ns);
	if (!r)
		r = start_tracking(s);
	if (!r)
		r = await_ready(s);
	if (!r)
		r = workers_run(s, job_precopy, 0);
	if (!r)
		workers_tell(s);
	return r;
}

/* Bring a device back; what cannot be done is told, and the guest runs on without it. */
static void tell_recovery(struct session *s, const struct worker *w)
{
	const char *name = w->device->info.name;

	if (w->recovered == 1)
		session_log(s, VFM_LOG_WARN, "device %s had to be reset", name);
	else if (w->recovered < 0)
		session_log(s, VFM_LOG_ERROR, "device %s cannot be brought back to RUNNING: %s",
			    name, strerror(-w->recovered));
}

/* The way back has the barrier of the way out: no device may reach another one that is not yet
 * ready for it, so that all are in RUNNING_P2P before any runs. */
static void recover_devices(struct session *s)
{
	for (unsigned i = 0; i < s->device_count; i++) {
		s->workers[i]->target = VFM_STATE_RUNNING_P2P;
		s->workers[i]->recovered = 0;
	}
	workers_run(s, job_recover_p2p, SESSION_WAIT_UNDO);
	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->target = VFM_STATE_RUNNING;
	workers_run(s, job_recover, SESSION_WAIT_UNDO);
	for (unsigned i = 0; i < s->device_count; i++)
		tell_recovery(s, s->workers[i]);
	workers_tell(s);
}

void source_undo_setup(struct session *s)
{
	recover_devices(s);
	workers_run(s, job_log_stop, SESSION_WAIT_UNDO);
	if (s->tracking && s->vm.dirty_stop(s->vm_opaque))
		session_log(s, VFM_LOG_WARN, "the VMM could not stop tracking the guest's stores");
	s->tracking = false;
}

/* Harmless where nothing was stopped. */
void source_undo_stop(struct session *s)
{
	session_start_handlers(s, false);
	recover_devices(s);
	session_start_handlers(s, true);
	if (s->vcpus_stopped && session_run_vcpus(s))
		session_log(s, VFM_LOG_ERROR, "the guest is stopped: its vCPUs did not start");
}
