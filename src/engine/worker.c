/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/bitmap.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/error.h"
#include "engine/acks.h"
#include "engine/link.h"
#include "engine/worker.h"

enum {
	LOG_PAGES = 1 << 18,                   /* of a report at a time: 1 GiB of IOVA at 4 KiB */
	IDLE_MIN_NS = 2 * 1000 * 1000,         /* a device that has nothing now is asked again */
	IDLE_MAX_NS = 64 * 1000 * 1000,
	STEP_TRIES = 5,
	STEP_PAUSE_NS = 1000 * 1000,
	HALT_AGAIN_NS = 20 * 1000 * 1000, /* for a call that began after it was interrupted */
};

void worker_wake(struct worker *w)
{
	pthread_cond_signal(&w->wake);
}

/* A call into the device begins or ends; what is between can be interrupted by workers_halt. */
static void enter_device(struct worker *w, bool in)
{
	pthread_mutex_lock(&w->s->lock);
	w->in_device = in;
	if (!in)
		session_tell(w->s, SESSION_WATCH_IDLE);
	pthread_mutex_unlock(&w->s->lock);
}

static void fail(struct worker *w, int result, const char *what)
{
	struct vfm_error error = { 0 };

	error_set_device(&error, result, w->device->info.name, "%s", what);
	session_fail(w->s, &error);
}

/* ---- source: device to blocks ---- */

/* A step that found nothing: ask for sizes, which makes some drivers save the next piece, and
 * leave the device alone for a while. */
static void idle(struct worker *w)
{
	w->idle_ns = w->idle_ns ? MIN(2 * w->idle_ns, (uint64_t)IDLE_MAX_NS) : IDLE_MIN_NS;
	if (job_query(w) == -ENOTCONN)
		fail(w, -ENOTCONN, "it is gone");
	w->idle_until_ns = clock_ns() + w->idle_ns;
}

static void queue_block(struct worker *w, struct block *b, uint32_t size, bool last)
{
	struct session *s = w->s;

	b->size = size;
	b->last = last;
	b->offset = w->offset;
	b->digest = wire_digest(b->data, size);
	w->offset += size;
	pthread_mutex_lock(&s->lock);
	b->initial = acks_read(w, size);
	if (queue_empty(&w->filled) && s->link)
		w->served = MAX(w->served, s->link->served_floor);
	queue_push(&w->filled, &b->node);
	if (w->device->state == VFM_STATE_STOP_COPY)
		w->stopcopy_bytes += size;
	else
		w->precopy_bytes += size;
	if (last) {
		w->finished = true;
		w->pumping = false;
	}
	pthread_mutex_unlock(&s->lock);
	pthread_cond_signal(&s->send_cond);
}

static void put_back(struct worker *w, struct block *b)
{
	pthread_mutex_lock(&w->s->lock);
	queue_push_front(&w->free, &b->node);
	pthread_mutex_unlock(&w->s->lock);
}

static bool flag_due(struct worker *w)
{
	bool due;

	pthread_mutex_lock(&w->s->lock);
	due = acks_flag_due(w);
	pthread_mutex_unlock(&w->s->lock);
	return due;
}

static void save_step(struct worker *w, struct block *b)
{
	bool last = w->device->state == VFM_STATE_STOP_COPY;
	ssize_t n;

	if (flag_due(w)) {
		queue_block(w, b, 0, false);
		return;
	}
	enter_device(w, true);
	n = w->device->ops->read(w->device, b->data, w->s->device_chunk);
	enter_device(w, false);
	if (n > 0) {
		w->idle_ns = 0;
		queue_block(w, b, (uint32_t)n, false);
	} else if (n == 0 && last) {
		queue_block(w, b, 0, true);
	} else {
		put_back(w, b);
		if (n == 0 || n == -EAGAIN)
			idle(w);
		else if (n != -ECANCELED)
			fail(w, (int)n, "reading its state failed");
		if (n < 0 && n != -EAGAIN) {
			pthread_mutex_lock(&w->s->lock);
			w->pumping = false;
			pthread_mutex_unlock(&w->s->lock);
		}
	}
}

/* ---- destination: blocks to device ---- */

/* Frames to load before the peer is told: a part of its window, so that it never runs dry, and not
 * each, since a small frame costs two threads a wake-up. */
static uint64_t credit_step(const struct session *s)
{
	return MAX(s->device_blocks / 4, 1u);
}

static void load_step(struct worker *w, struct block *b)
{
	uint64_t start = clock_ns(), took;
	bool last = b->last, initial = b->initial, give_credit = false;
	int r = 0;

	if (wire_digest(b->data, b->size) != b->digest)
		r = -EBADMSG;
	if (!r && b->size) {
		enter_device(w, true);
		r = w->device->ops->write(w->device, b->data, b->size);
		enter_device(w, false);
	}
	took = clock_ns() - start;
	if (r && r != -ECANCELED)
		fail(w, r, r == -EBADMSG ? "its state arrived altered" : "it refused its state");
	pthread_mutex_lock(&w->s->lock);
	queue_push(&w->free, &b->node);
	if (r) {
		w->pumping = false;
	} else {
		w->consumed += b->size;
		w->consumed_frames++;
		w->load_ns += took;
		w->finished = last;
		give_credit = w->consumed_frames - w->credited >= credit_step(w->s) || last;
		w->credit_due |= give_credit;
		if (give_credit)
			w->credited = w->consumed_frames;
		if (initial)
			acks_loaded(w);
		if (w->consumed_frames == w->moved_frames)
			session_tell(w->s, SESSION_WATCH_LOADED);
	}
	pthread_mutex_unlock(&w->s->lock);
	if (give_credit || initial)
		pthread_cond_signal(&w->s->send_cond);
	if (last)
		session_wake(w->s);
}

/* ---- the thread ---- */

/* With the lock held: the block to work on, NULL: nothing to do now. */
static struct block *next_block(struct worker *w)
{
	bool save = w->s->side == SESSION_SOURCE;

	if (!w->pumping || (save && clock_ns() < w->idle_until_ns))
		return NULL;
	return QUEUE_ENTRY(queue_pop(save ? &w->free : &w->filled), struct block, node);
}

static void wait_for_work(struct worker *w)
{
	uint64_t until = w->idle_until_ns;
	struct timespec ts = { (time_t)(until / NS_PER_SEC), (long)(until % NS_PER_SEC) };

	if (w->pumping && clock_ns() < until)
		pthread_cond_timedwait(&w->wake, &w->s->lock, &ts);
	else
		pthread_cond_wait(&w->wake, &w->s->lock);
}

static void run_job(struct worker *w, worker_job *job)
{
	struct session *s = w->s;
	int r = job(w);

	pthread_mutex_lock(&s->lock);
	w->result = r;
	w->job = NULL;
	w->idle_until_ns = 0;
	s->jobs--;
	pthread_mutex_unlock(&s->lock);
	session_wake(s);
}

/* Ends when w->quit is set and no job is left. */
static void worker_run(void *arg)
{
	struct worker *w = arg;
	struct session *s = w->s;

	for (;;) {
		struct block *b = NULL;
		worker_job *job;

		pthread_mutex_lock(&s->lock);
		w->moving = false;
		session_tell(s, SESSION_WATCH_IDLE);
		while (!w->job && !w->quit && !(b = next_block(w)))
			wait_for_work(w);
		job = w->job;
		w->moving = b;
		pthread_mutex_unlock(&s->lock);
		if (b && s->side == SESSION_SOURCE)
			save_step(w, b);
		else if (b)
			load_step(w, b);
		else if (job)
			run_job(w, job);
		else
			return;
	}
}

int worker_new(struct session *s, struct vfm_device *device, struct worker **worker)
{
	struct worker *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;

	if (!w)
		return -ENOMEM;
	w->s = s;
	w->device = device;
	w->stop_copy_size = VFM_SIZE_UNKNOWN;
	w->precopy = (struct device_precopy){ VFM_SIZE_UNKNOWN, VFM_SIZE_UNKNOWN, false };
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w->wake, &attr);
	pthread_condattr_destroy(&attr);
	*worker = w;
	return 0;
}

static int make_blocks(struct worker *w)
{
	struct session *s = w->s;

	w->blocks = calloc(s->device_blocks, sizeof(*w->blocks));
	w->bitmap = calloc(LOG_PAGES / 64, sizeof(*w->bitmap));
	w->memory = aligned_alloc(VFM_PAGE_SIZE, (size_t)s->device_blocks * s->device_chunk);
	if (!w->blocks || !w->memory || !w->bitmap)
		return -ENOMEM;
	for (unsigned i = 0; i < s->device_blocks; i++) {
		w->blocks[i].data = w->memory + (size_t)i * s->device_chunk;
		queue_push(&w->free, &w->blocks[i].node);
	}
	return 0;
}

int worker_start(struct worker *w)
{
	char name[32];
	int r = make_blocks(w);

	if (r)
		return r;
	snprintf(name, sizeof(name), "vfm-dev%u", w->index);
	return thread_start(&w->thread, w->s->options.threads, name, worker_run, w);
}

void worker_free(struct worker *w)
{
	pthread_mutex_lock(&w->s->lock);
	w->quit = true;
	w->pumping = false;
	worker_wake(w);
	pthread_mutex_unlock(&w->s->lock);
	thread_join(&w->thread);
	pthread_cond_destroy(&w->wake);
	free(w->blocks);
	free(w->memory);
	free(w->bitmap);
	free(w);
}

/* ---- the steering thread's side ---- */

static bool jobs_done(struct session *s, void *arg UNUSED)
{
	return !s->jobs;
}

static void post(struct worker *w, worker_job *job)
{
	w->job = job;
	w->result = 0;
	memset(&w->error, 0, sizeof(w->error));
	w->s->jobs++;
	worker_wake(w);
}

void workers_post(struct session *s, worker_job *job)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->device_count; i++)
		post(s->workers[i], job);
	pthread_mutex_unlock(&s->lock);
}

int workers_wait(struct session *s, unsigned flags)
{
	int r = session_wait(s, jobs_done, NULL, UINT64_MAX, flags | SESSION_WAIT_NO_LINK);

	for (unsigned i = 0; i < s->device_count && !r; i++) {
		struct worker *w = s->workers[i];

		if (!w->result)
			continue;
		r = w->result;
		error_set_device(&w->error, r, w->device->info.name, "a request to it failed");
		if (!(flags & SESSION_WAIT_UNDO))
			session_fail(s, &w->error);
	}
	return r;
}

static int run_serially(struct session *s, worker_job *job, unsigned flags)
{
	int result = 0;

	for (unsigned i = 0; i < s->device_count && (!result || flags & SESSION_WAIT_UNDO); i++) {
		int r;

		pthread_mutex_lock(&s->lock);
		post(s->workers[i], job);
		pthread_mutex_unlock(&s->lock);
		r = workers_wait(s, flags);
		result = result ? result : r;
	}
	return result;
}

int workers_run(struct session *s, worker_job *job, unsigned flags)
{
	if (s->options.serial_transitions)
		return run_serially(s, job, flags);
	workers_post(s, job);
	return workers_wait(s, flags);
}

void workers_tell(struct session *s)
{
	for (unsigned i = 0; i < s->device_count; i++)
		session_event(s, VFM_EVENT_DEVICE, s->workers[i]->device->info.name,
			      s->workers[i]->device->state);
}

/* A request as small as there is one, the answer to which is of no interest. */
static int job_touch(struct worker *w)
{
	enum vfm_state state;

	enter_device(w, true);
	w->device->ops->get_state(w->device, &state);
	enter_device(w, false);
	return 0;
}

/*
 * With a pause before each try: a step of the switchover finds threads and processors asleep, too,
 * since the device took its time over the arc before. The shortest counts: while a session is set
 * up much else goes on, which will be over when the VM stands still.
 */
int workers_measure_step(struct session *s, uint64_t *ns)
{
	*ns = s->device_count ? UINT64_MAX : 0;
	for (unsigned i = 0; i < STEP_TRIES && s->device_count; i++) {
		int r = session_rest(s, clock_ns() + STEP_PAUSE_NS);
		uint64_t start = clock_ns();

		if (!r)
			r = workers_run(s, job_touch, 0);
		if (r)
			return r;
		*ns = MIN(*ns, clock_ns() - start);
	}
	return 0;
}

int workers_transition(struct session *s, enum vfm_state target)
{
	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->target = target;
	return workers_run(s, job_transition, 0);
}

void workers_pause(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->pumping = false;
	pthread_mutex_unlock(&s->lock);
}

void workers_pump(struct session *s)
{
	bool load = s->side == SESSION_DESTINATION;

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->device_count; i++) {
		struct worker *w = s->workers[i];

		w->pumping = load || w->device->state == VFM_STATE_PRE_COPY;
		worker_wake(w);
	}
	pthread_mutex_unlock(&s->lock);
}

void workers_set_window(struct session *s, uint64_t window)
{
	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->device_count; i++)
		s->workers[i]->window = window;
	pthread_mutex_unlock(&s->lock);
}

static bool workers_idle(struct session *s, void *arg UNUSED)
{
	for (unsigned i = 0; i < s->device_count; i++)
		if (s->workers[i]->in_device || s->workers[i]->moving) {
			s->watch |= SESSION_WATCH_IDLE;
			return false;
		}
	return !s->jobs;
}

static void interrupt_calls(struct session *s)
{
	bool busy[VFM_DEVICES_MAX];

	pthread_mutex_lock(&s->lock);
	for (unsigned i = 0; i < s->device_count; i++)
		busy[i] = s->workers[i]->in_device;
	pthread_mutex_unlock(&s->lock);
	for (unsigned i = 0; i < s->device_count; i++)
		if (busy[i] && s->workers[i]->device->ops->cancel)
			s->workers[i]->device->ops->cancel(s->workers[i]->device);
}

/* A job makes more than one call, and a call may just be about to begin: no single interrupt is sure
 * to meet it. */
void workers_halt(struct session *s)
{
	workers_pause(s);
	do
		interrupt_calls(s);
	while (session_wait(s, workers_idle, NULL, clock_after(HALT_AGAIN_NS),
			    SESSION_WAIT_UNDO | SESSION_WAIT_NO_LINK) == -ETIMEDOUT);
}

/* ---- jobs ---- */

static void record_arc(void *opaque, const struct device_arc *arc)
{
	struct worker *w = opaque;

	pthread_mutex_lock(&w->s->lock);
	timeline_add(&w->s->timeline, w->index, arc);
	if (!arc->result)
		w->arc_ns[arc->from][arc->to] = arc->end_ns - arc->start_ns;
	pthread_mutex_unlock(&w->s->lock);
}

static int transition(struct worker *w, enum vfm_state target)
{
	int r;

	enter_device(w, true);
	r = device_transition(w->device, target, record_arc, w, &w->error);
	enter_device(w, false);
	return r;
}

static void start_pumping(struct worker *w)
{
	pthread_mutex_lock(&w->s->lock);
	w->pumping = true;
	pthread_mutex_unlock(&w->s->lock);
}

int job_transition(struct worker *w)
{
	return transition(w, w->target);
}

/* Data of another session, an error, a dead user's saving state: only a reset leads out of it. */
int job_resuming(struct worker *w)
{
	enum vfm_state state = VFM_STATE_ERROR;
	int r = 0;

	enter_device(w, true);
	if (vfm_device_get_state(w->device, &state) ||
	    (state != VFM_STATE_RUNNING && state != VFM_STATE_STOP))
		r = vfm_device_reset(w->device);
	enter_device(w, false);
	return r ? r : transition(w, VFM_STATE_RESUMING);
}

/*
 * One owner: what does not run here may run elsewhere, and a migration begins and ends with RUNNING.
 * A dead user's PRE_COPY ran until the end; from PRE_COPY_P2P on it may have given the device away.
 */
int job_check_owned(struct worker *w)
{
	enum vfm_state state = VFM_STATE_ERROR;
	int r;

	enter_device(w, true);
	r = vfm_device_get_state(w->device, &state); /* others may have used it since it was made */
	enter_device(w, false);
	if (r || state == VFM_STATE_RUNNING || state == VFM_STATE_PRE_COPY)
		return r;
	return error_set_device(&w->error, EPERM, w->device->info.name,
				"it is in %s and does not run here: it was given away, or somebody "
				"stopped it; if it belongs to this side, reset it first",
				vfm_state_name(state));
}

/* A dead user's session is not ours: its data is gone with it. */
int job_precopy(struct worker *w)
{
	int r = w->device->state == VFM_STATE_PRE_COPY ? transition(w, VFM_STATE_RUNNING) : 0;

	if (r || !device_can(w->device, VFM_MIG_PRE_COPY))
		return r;
	r = transition(w, VFM_STATE_PRE_COPY);
	if (!r)
		r = job_query(w);
	if (r)
		return r;
	pthread_mutex_lock(&w->s->lock);
	acks_ask(w, &w->precopy);
	w->pumping = true;
	pthread_mutex_unlock(&w->s->lock);
	return 0;
}

int job_late_query(struct worker *w)
{
	return w->device->state == VFM_STATE_PRE_COPY ? job_query(w) : 0;
}

int job_stop_p2p(struct worker *w)
{
	if (!device_can(w->device, VFM_MIG_P2P))
		return 0;
	return transition(w, w->device->state == VFM_STATE_PRE_COPY ? VFM_STATE_PRE_COPY_P2P :
								      VFM_STATE_RUNNING_P2P);
}

int job_stop_copy(struct worker *w)
{
	int r = transition(w, VFM_STATE_STOP_COPY);

	if (r)
		return r;
	start_pumping(w);
	return 0;
}

int job_run_p2p(struct worker *w)
{
	return device_can(w->device, VFM_MIG_P2P) ? transition(w, VFM_STATE_RUNNING_P2P) : 0;
}

int job_recover(struct worker *w)
{
	int r;

	enter_device(w, true);
	r = device_recover(w->device, w->target, record_arc, w);
	enter_device(w, false);
	w->recovered = r < 0 ? r : r || w->recovered == 1; /* a reset on the way counts */
	return r < 0 ? r : 0;
}

int job_recover_p2p(struct worker *w)
{
	enum vfm_state state = w->device->state;

	if (!device_can(w->device, VFM_MIG_P2P) || state == VFM_STATE_RUNNING ||
	    state == VFM_STATE_PRE_COPY)
		return 0;
	return job_recover(w);
}

int job_query(struct worker *w)
{
	const struct device_ops *ops = w->device->ops;
	struct device_precopy info = { VFM_SIZE_UNKNOWN, VFM_SIZE_UNKNOWN, false };
	uint64_t size = VFM_SIZE_UNKNOWN;
	bool precopy = w->device->state == VFM_STATE_PRE_COPY ||
		       w->device->state == VFM_STATE_PRE_COPY_P2P;
	int r = 0;

	enter_device(w, true);
	if (precopy && ops->precopy_info)
		r = ops->precopy_info(w->device, &info);
	if (r)
		info = (struct device_precopy){ VFM_SIZE_UNKNOWN, VFM_SIZE_UNKNOWN, false };
	if (r != -ENOTCONN && ops->stop_copy_size && (r = ops->stop_copy_size(w->device, &size)))
		size = VFM_SIZE_UNKNOWN;
	enter_device(w, false);
	pthread_mutex_lock(&w->s->lock);
	w->precopy = info;
	w->stop_copy_size = size;
	growth_note(&w->growth, clock_ns(), size, w->offset);
	if (precopy)
		acks_note(w, &info);
	pthread_mutex_unlock(&w->s->lock);
	return r == -ENOTCONN ? r : 0; /* what a device cannot tell is unknown, no failure */
}

int job_log_start(struct worker *w)
{
	struct memory *m = w->s->memory;
	unsigned count = memory_region_count(m);
	struct device_range ranges[VFM_REGIONS_MAX];

	if (!count || !device_has_log(w->device))
		return 0;
	for (unsigned i = 0; i < count; i++)
		ranges[i] = (struct device_range){ memory_region(m, i)->gpa,
						   memory_region(m, i)->size };
	w->log_page_size = VFM_PAGE_SIZE;
	enter_device(w, true);
	w->log_on = !w->device->ops->log_start(w->device, ranges, count, &w->log_page_size);
	enter_device(w, false);
	return 0; /* without it all memory is dirty, which is slow but right */
}

int job_log_stop(struct worker *w)
{
	if (!w->log_on)
		return 0;
	w->log_on = false;
	enter_device(w, true);
	int r = w->device->ops->log_stop(w->device);
	enter_device(w, false);
	return r;
}

/* One region, in pieces that the bitmap holds. */
static int sync_region(struct worker *w, const struct vfm_region *region)
{
	uint64_t step;

	/* The page size is the device's word. */
	if (!checked_mul_u64(LOG_PAGES, w->log_page_size, &step))
		return -ERANGE;
	for (uint64_t done = 0; done < region->size; done += step) {
		uint64_t size = MIN(step, region->size - done);
		int r;

		memset(w->bitmap, 0, LOG_PAGES / 8);
		enter_device(w, true);
		r = w->device->ops->log_report(w->device, region->gpa + done, size,
					       w->log_page_size, w->bitmap);
		enter_device(w, false);
		if (r)
			return r;
		memory_or_iova(w->s->memory, region->gpa + done, size, w->log_page_size,
			       w->bitmap);
	}
	return 0;
}

int job_log_sync(struct worker *w)
{
	struct memory *m = w->s->memory;

	if (!w->log_on) {
		memory_mark_all(m);
		return 0;
	}
	for (unsigned i = 0; i < memory_region_count(m); i++) {
		if (!sync_region(w, memory_region(m, i)))
			continue;
		w->log_lost = true;
		memory_mark_all(m);
		return 0;
	}
	return 0;
}
