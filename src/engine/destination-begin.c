/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The destination's stages before data moves. Until a source has said hello and described a VM
 * that fits, nothing is at stake: whoever fails at that is sent away, with the reason in the log,
 * and the waiting goes on.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <vfio-migrate/identity.h>
#include "base/compiler.h"
#include "engine/destination.h"
#include "engine/greeter.h"
#include "engine/link.h"
#include "engine/stage.h"
#include "engine/worker.h"

#define DESCRIBE_PATIENCE_NS (UINT64_C(10) * 1000000000)

/* ---- hello ---- */

/* The newest version that both speak, 0: none. */
static uint16_t choose_version(const struct wire_hello *hello)
{
	uint16_t newest = MIN(hello->version, (uint16_t)WIRE_VERSION);
	uint16_t oldest = MAX(hello->version_low, (uint16_t)WIRE_VERSION_LOW);

	return newest >= oldest ? newest : 0;
}

static void begin_session(struct session *s, const struct wire_hello *hello, uint64_t common)
{
	memcpy(s->token, hello->token, sizeof(s->token));
	s->features = session_choose(common);
}

int destination_answer_hello(struct session *s)
{
	struct wire_hello_reply reply = { .fate = s->fate };
	struct channel *channel;
	struct wire_hello hello;
	uint8_t head[64];
	int fd, r;

	link_stop(s);
	session_drop_inbox(s);
	fd = greeter_take(s, &hello);
	r = channel_new_fd(fd, &channel);
	if (!r)
		r = link_start(s, channel, 1);
	if (r)
		return r;
	reply.version = choose_version(&hello);
	reply.features = reply.version ? hello.features & session_offer(s) : 0;
	if (hello.intent == WIRE_INTENT_MIGRATE)
		begin_session(s, &hello, reply.features);
	link_control(s->link, WIRE_HELLO_REPLY, head, wire_put_hello_reply(head, &reply));
	return reply.version ? 0 : -EPROTONOSUPPORT;
}

/* ---- describe ---- */

static void add_reason(struct wire_answer *answer, const char *fmt, ...) PRINTF(2, 3);
static void add_reason(struct wire_answer *answer, const char *fmt, ...)
{
	va_list ap;

	/* What does not fit is counted, and told as "and N more". */
	if (answer->count++ >= WIRE_REASONS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(answer->reasons[answer->count - 1], VFM_ERROR_TEXT_MAX, fmt, ap);
	va_end(ap);
}

static const struct wire_region *find_region(const struct wire_describe *d, const char *name)
{
	for (unsigned i = 0; i < d->region_count; i++)
		if (!strcmp(d->regions[i].name, name))
			return &d->regions[i];
	return NULL;
}

/* Frames name regions by number, so that the order counts too. */
static void compare_regions(struct session *s, const struct wire_describe *d,
			    struct wire_answer *answer)
{
	unsigned count = memory_region_count(s->memory);

	for (unsigned i = 0; i < count; i++) {
		const struct vfm_region *here = memory_region(s->memory, i);
		const struct wire_region *there = find_region(d, here->name);

		if (!there)
			add_reason(answer, "memory %s: the source has none of that name",
				   here->name);
		else if (there->size != here->size)
			add_reason(answer, "memory %s: %llu bytes on the source, %llu here",
				   here->name, (unsigned long long)there->size,
				   (unsigned long long)here->size);
		else if (there->gpa != here->gpa)
			add_reason(answer, "memory %s: at 0x%llx on the source, at 0x%llx here",
				   here->name, (unsigned long long)there->gpa,
				   (unsigned long long)here->gpa);
		else if (there != &d->regions[i])
			add_reason(answer, "memory %s: another place in the list of regions",
				   here->name);
	}
	if (d->region_count > count)
		add_reason(answer, "memory: %u regions on the source, %u here", d->region_count,
			   count);
}

static const struct wire_device *find_device(const struct wire_describe *d, const char *name,
					     unsigned *index)
{
	for (*index = 0; *index < d->device_count; ++*index)
		if (!strcmp(d->devices[*index].name, name))
			return &d->devices[*index];
	return NULL;
}

#define REASONS_MAX 16 /* of one device; there are not that many ways to differ */

/* A peer tells less of its device than ours knows: what is not told is not known. */
static void compare_identity(struct worker *w, const struct wire_device *there,
			     struct wire_answer *answer)
{
	struct vfm_identity from = {
		.size = sizeof(from),
		.mig_flags = there->mig_flags,
		.pci_vendor = there->pci_vendor,
		.pci_device = there->pci_device,
		.pci_subsystem_vendor = there->pci_subsystem_vendor,
		.pci_subsystem = there->pci_subsystem,
	};
	struct vfm_identity to = {.size = sizeof(to)};
	char lines[REASONS_MAX][VFM_ERROR_TEXT_MAX];
	int count;

	memcpy(from.backend, there->backend, sizeof(from.backend));
	vfm_identity_init(&to, w->device);
	count = vfm_identity_compare(&from, "on the source", &to, "here", lines, REASONS_MAX);
	for (int i = 0; i < MIN(count, REASONS_MAX); i++)
		add_reason(answer, "device %s: %.400s", to.name, lines[i]);
}

static void compare_device(struct worker *w, const struct wire_describe *d,
			   struct wire_answer *answer)
{
	const struct vfm_device_info *here = &w->device->info;
	const struct wire_device *there = find_device(d, here->name, &w->wire_index);

	if (!there) {
		add_reason(answer, "device %s: the source has none of that name", here->name);
		return;
	}
	w->peer_precopy = there->mig_flags & VFM_MIG_PRE_COPY;
	compare_identity(w, there, answer);
}

static void compare_devices(struct session *s, const struct wire_describe *d,
			    struct wire_answer *answer)
{
	for (unsigned i = 0; i < s->device_count; i++)
		compare_device(s->workers[i], d, answer);
	for (unsigned i = 0; i < d->device_count; i++) {
		bool found = false;

		for (unsigned j = 0; j < s->device_count; j++)
			found |= !strcmp(s->workers[j]->device->info.name, d->devices[i].name);
		if (!found)
			add_reason(answer, "device %s: there is none of that name here",
				   d->devices[i].name);
	}
}

void destination_compare(struct session *s, const struct wire_describe *d,
			 struct wire_answer *answer)
{
	memset(answer, 0, sizeof(*answer));
	if (d->page_size != VFM_PAGE_SIZE)
		add_reason(answer, "the source's pages have %u bytes, those here %u", d->page_size,
			   VFM_PAGE_SIZE);
	if (d->device_count && d->device_chunk > s->device_chunk)
		add_reason(answer, "the source's device frames have %u bytes, %u fit here",
			   d->device_chunk, s->device_chunk);
	s->peer_chunk = d->device_chunk;
	compare_regions(s, d, answer);
	compare_devices(s, d, answer);
}

/* ---- meeting a peer ---- */

static int read_description(struct session *s, struct wire_describe *d)
{
	struct message *m;
	int r = session_receive(s, DESCRIBE_PATIENCE_NS, 0, &m);

	if (r)
		return r;
	r = m->header.type == WIRE_DESCRIBE ? wire_get_describe(m->head, m->header.head, d) :
					      -EPROTO;
	free(m);
	return r;
}

static void send_answer(struct session *s, const struct wire_answer *answer)
{
	uint8_t *head = malloc(WIRE_HEAD_MAX);

	if (head)
		link_control(s->link, WIRE_ANSWER, head, wire_put_answer(head, answer));
	else
		session_failf(s, ENOMEM, "no memory for an answer");
	free(head);
}

static int judge(struct session *s, struct wire_describe *d, struct wire_answer *answer)
{
	int r = destination_answer_hello(s);

	if (!r)
		r = read_description(s, d);
	if (r)
		return r;
	destination_compare(s, d, answer);
	for (unsigned i = 0; i < MIN(answer->count, WIRE_REASONS_MAX); i++)
		session_log(s, VFM_LOG_ERROR, "the source does not fit: %s",
			    answer->reasons[i]);
	send_answer(s, answer);
	return answer->count ? -EINVAL : 0;
}

static int meet(struct session *s)
{
	struct wire_describe *d = malloc(sizeof(*d));
	struct wire_answer *answer = malloc(sizeof(*answer));
	int r = d && answer ? judge(s, d, answer) : -ENOMEM;

	free(d);
	free(answer);
	return r;
}

static bool cancelled(struct session *s)
{
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = s->cancelled;
	pthread_mutex_unlock(&s->lock);
	return yes;
}

static void send_away(struct session *s, int r)
{
	session_log(s, VFM_LOG_WARN, "a peer was sent away: %s; still waiting", strerror(-r));
	link_flush_abort(s);
	link_stop(s);
	session_drop_inbox(s);
	session_forgive(s);
}

int destination_hello(struct session *s)
{
	for (;;) {
		int r;

		greeter_want(s, WIRE_INTENT_MIGRATE);
		r = session_wait(s, greeter_has_hello, NULL, UINT64_MAX, 0);
		greeter_want(s, 0);
		if (r)
			return r;
		r = meet(s);
		if (!r)
			return 0;
		if (cancelled(s))
			return r;
		send_away(s, r);
	}
}

/* The comparison was made while the peer was met; from here on failures are the session's. */
int destination_describe(struct session *s)
{
	struct message *m;
	int r = session_expect(s, WIRE_SETUP, s->options.peer_timeout_ns, &m);

	if (!r)
		free(m);
	return r;
}

/* ---- set up ---- */

static void take_arcs(const struct worker *w, struct wire_stop_arcs *arcs)
{
	enum vfm_state from = device_can(w->device, VFM_MIG_P2P) ? VFM_STATE_RUNNING_P2P
								 : VFM_STATE_RUNNING;

	arcs->p2p_ns = w->arc_ns[VFM_STATE_RUNNING][VFM_STATE_RUNNING_P2P];
	arcs->stop_ns = w->arc_ns[from][VFM_STATE_STOP];
}

/* The devices were stopped on their way to RESUMING, and are of the source's kind: they know better
 * than anybody what it will take there. */
static void tell_arcs(struct session *s)
{
	struct wire_arcs arcs = {.device_count = s->device_count};
	uint8_t head[WIRE_ARCS_SIZE_MAX];

	if (!(s->features & WIRE_FEATURE_ARCS))
		return;
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->device_count; i++)
		take_arcs(s->workers[i], &arcs.devices[s->workers[i]->wire_index]);
	pthread_mutex_unlock(&s->lock);
	link_control(s->link, WIRE_ARCS, head, wire_put_arcs(head, &arcs));
}

/* Nothing moves yet: now the devices can be asked how long they take to answer. */
static int tell_costs(struct session *s)
{
	struct wire_costs costs;
	uint8_t head[64];
	int r;

	if (!(s->features & WIRE_FEATURE_COSTS))
		return 0;
	r = workers_measure_step(s, &costs.step_ns);
	if (!r)
		link_control(s->link, WIRE_COSTS, head, wire_put_costs(head, &costs));
	return r;
}

int destination_setup(struct session *s)
{
	/* A buffer per frame: in frames of the source's size, of which it may make less use than we. */
	struct wire_ready ready = { s->device_blocks * s->peer_chunk };
	uint8_t head[64];
	int r = workers_run(s, job_resuming, 0);

	if (r)
		return r;
	tell_arcs(s);
	r = tell_costs(s);
	if (r)
		return r;
	workers_tell(s);
	pthread_mutex_lock(&s->lock);
	s->link->accept_data = true;
	pthread_mutex_unlock(&s->lock);
	workers_pump(s);
	link_control(s->link, WIRE_READY, head, wire_put_ready(head, &ready));
	s->handlers_stopped = s->handler_count; /* the VM stands still */
	return 0;
}

/* By a reset alone: a device that left RESUMING well would walk from STOP to RUNNING with the VM's
 * state in it, while the VM runs on the source. */
void destination_undo_setup(struct session *s)
{
	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->target = VFM_STATE_ERROR;
	if (workers_run(s, job_recover, SESSION_WAIT_UNDO))
		session_log(s, VFM_LOG_WARN, "a device here could not be reset");
}
