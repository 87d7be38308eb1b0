/* SPDX-License-Identifier: BSD-3-Clause */
/* The source's stages while the VM stands still: stop, stop-copy. Each line here is downtime. */
#include <errno.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "engine/link.h"
#include "engine/source.h"
#include "engine/stage.h"
#include "engine/worker.h"

/* The vCPUs were stopped by the last attempt of pre-copy. Every device reaches its P2P state before
 * any goes to STOP_COPY. */
int source_stop(struct session *s)
{
	int r = session_stop_handlers(s, true);

	if (!r)
		r = workers_run(s, job_stop_p2p, 0);
	if (!r)
		r = workers_run(s, job_stop_copy, 0);
	if (!r)
		r = session_stop_handlers(s, false);
	if (!r)
		workers_tell(s);
	return r;
}

static int save_vm(struct session *s)
{
	int r;

	buffer_clear(&s->vm_state);
	r = s->vm.save(s->vm_opaque, &s->vm_state);
	if (r)
		return session_failf(s, -r, "the VMM could not save its state");
	r = link_send_vm_state(s->link, buffer_data(&s->vm_state), buffer_size(&s->vm_state));
	return r == -ENOTCONN ? session_link_failed(s) :
	       r	      ? session_failf(s, -r, "the VMM state cannot be sent") :
				0;
}

static bool all_sent(struct session *s, void *arg)
{
	return link_pass_done(s, arg) && link_devices_sent(s, arg) && link_rests(s->link);
}

int source_stopcopy(struct session *s)
{
	struct source_meter *m = &source_of(s)->meter;
	int r;

	m->copy_start_ns = clock_ns();
	pthread_mutex_lock(&s->lock);
	m->final_memory_bytes = s->link->memory_bytes;
	m->final_state_bytes = s->link->device_bytes;
	pthread_mutex_unlock(&s->lock);
	r = source_sync_dirty(s);
	if (r)
		return r;
	m->known_ns = clock_ns();
	link_start_pass(s->link, false);
	r = save_vm(s);
	if (!r)
		r = link_wait_moving(s, all_sent);
	if (r)
		return r;
	m->copied_ns = clock_ns();
	pthread_mutex_lock(&s->lock);
	s->progress.memory_sent = s->link->memory_bytes;
	s->progress.device_sent = s->link->device_bytes;
	s->progress.memory_left = s->progress.device_left = 0;
	pthread_mutex_unlock(&s->lock);
	s->pages = s->link->pages;
	s->zero_pages = s->link->zero_pages;
	m->final_memory_bytes = s->link->memory_bytes - m->final_memory_bytes;
	m->final_state_bytes = s->link->device_bytes - m->final_state_bytes +
			       buffer_size(&s->vm_state);
	return 0;
}

/* What is dirty has to be known first. Then memory and state share the wire: its time is divided as
 * the bytes were. */
void source_measure_downtime(struct session *s, uint64_t running_ns)
{
	struct source_meter *m = &source_of(s)->meter;
	const struct wire_prepared *prepared = &m->prepared;
	uint64_t wire = m->copied_ns - m->known_ns;
	uint64_t bytes = m->final_memory_bytes + m->final_state_bytes;
	struct vfm_downtime d = { 0 };
	uint64_t known;

	d.total_ns = running_ns - s->stopped_ns;
	d.total_ns -= MIN(d.total_ns, prepared->inspect_ns);
	d.stop_ns = m->copy_start_ns - s->stopped_ns;
	d.memory_ns = bytes ? (uint64_t)((double)wire * (double)m->final_memory_bytes /
					 (double)bytes) :
			      wire;
	d.state_ns = wire - d.memory_ns;
	d.memory_ns += m->known_ns - m->copy_start_ns;
	known = d.stop_ns + d.memory_ns + d.state_ns;
	d.load_ns = MIN(prepared->load_ns + prepared->check_ns,
			d.total_ns > known ? d.total_ns - known : 0);
	d.handover_ns = d.total_ns - MIN(d.total_ns, known + d.load_ns);
	pthread_mutex_lock(&s->lock);
	s->measured = d;
	s->inspect_ns = prepared->inspect_ns;
	pthread_mutex_unlock(&s->lock);
}
