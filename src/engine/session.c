/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "base/log.h"
#include "engine/greeter.h"
#include "engine/link.h"
#include "engine/options.h"
#include "engine/session.h"
#include "engine/worker.h"

/* The sender's pauses end by the clock that the library uses. */
static void init_send_cond(struct session *s)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->send_cond, &attr);
	pthread_condattr_destroy(&attr);
}

int session_init(struct session *s, enum session_side side, const struct vfm_region *regions,
		 unsigned count, const struct vfm_vm_ops *ops, void *opaque,
		 const struct vfm_options *options)
{
	int r;

	memset(s, 0, sizeof(*s));
	s->side = side;
	s->wake_fd = -1;
	s->resolved = -1;
	s->inbox_tail = &s->inbox;
	s->vm_opaque = opaque;
	s->predicted.total_ns = VFM_SIZE_UNKNOWN;
	s->stand_until_ns = UINT64_MAX;
	s->progress.predicted_downtime_ns = VFM_SIZE_UNKNOWN;
	r = options_copy(s, ops, options);
	if (r)
		return r;
	r = memory_new(regions, count, &s->memory, &s->error);
	if (r)
		return r;
	buffer_init(&s->vm_state, VFM_VM_STATE_MAX);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0) {
		r = -errno;
		memory_free(s->memory);
		return r;
	}
	samples_init(&s->samples);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->ended_cond, NULL);
	init_send_cond(s);
	s->limit_ns = s->options.downtime_limit_ns;
	s->max_bandwidth = s->options.max_bandwidth;
	s->owner = VFM_OWNER_SOURCE;
	return 0;
}

void session_destroy(struct session *s)
{
	thread_join(&s->thread);
	link_stop(s);
	greeter_free(s->greeter);
	for (unsigned i = 0; i < s->device_count; i++)
		worker_free(s->workers[i]);
	session_drop_inbox(s);
	buffer_free(&s->vm_state);
	memory_free(s->memory);
	free(s->reasons);
	free(s->peer_report);
	samples_free(&s->samples);
	close(s->wake_fd);
	pthread_cond_destroy(&s->send_cond);
	pthread_cond_destroy(&s->ended_cond);
	pthread_mutex_destroy(&s->lock);
}

int session_add_device(struct session *s, struct vfm_device *device)
{
	int r;

	if (s->thread_started)
		return -EBUSY;
	if (s->device_count == VFM_DEVICES_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i < s->device_count; i++)
		if (!strcmp(s->workers[i]->device->info.name, device->info.name))
			return -EEXIST;
	r = worker_new(s, device, &s->workers[s->device_count]);
	if (r)
		return r;
	s->workers[s->device_count]->index = s->device_count;
	s->workers[s->device_count]->wire_index = s->device_count;
	s->device_count++;
	return 0;
}

int session_add_handler(struct session *s, const struct vfm_handler *handler)
{
	unsigned at = s->handler_count;

	if (s->thread_started)
		return -EBUSY;
	if (handler->size != sizeof(*handler) || !handler->stop || !handler->start ||
	    !memchr(handler->name, 0, sizeof(handler->name)))
		return -EINVAL;
	if (at == VFM_HANDLERS_MAX)
		return -ENOSPC;
	for (; at && s->handlers[at - 1].priority > handler->priority; at--)
		s->handlers[at] = s->handlers[at - 1];
	s->handlers[at] = *handler;
	s->handler_count++;
	return 0;
}

/* Blocks of all devices together stay within SESSION_BLOCK_BYTES: first fewer, then smaller. */
static void fix_block_sizes(struct session *s)
{
	unsigned devices = s->device_count ? s->device_count : 1;
	uint32_t share = (SESSION_BLOCK_BYTES / devices) & ~(VFM_PAGE_SIZE - 1);

	s->device_chunk = MIN(s->options.device_chunk, share / SESSION_BLOCKS_MIN);
	s->device_chunk &= ~(VFM_PAGE_SIZE - 1);
	s->device_blocks = MIN(share / s->device_chunk, (uint32_t)SESSION_BLOCKS_MAX);
}

int session_start(struct session *s, void (*run)(void *opaque))
{
	int r = 0;

	s->start_ns = clock_ns();
	fix_block_sizes(s);
	for (unsigned i = 0; i < s->device_count && !r; i++)
		r = worker_start(s->workers[i]);
	if (r)
		return r;
	s->thread_started = true;
	s->status = VFM_STATUS_ACTIVE;
	r = thread_start(&s->thread, s->options.threads, "vfm-steer", run, s);
	if (r) {
		s->thread_started = false;
		s->status = VFM_STATUS_NONE;
	}
	return r;
}

void session_wake(struct session *s)
{
	uint64_t one = 1;

	/* Cannot block; a counter that is full has woken it already. */
	if (write(s->wake_fd, &one, sizeof(one)) < 0)
		return;
}

void session_tell(struct session *s, enum session_watch what)
{
	if (!(s->watch & what))
		return;
	s->watch &= ~(unsigned)what;
	session_wake(s);
}

/* With the lock held. */
static void record(struct session *s, const struct vfm_error *error)
{
	if (s->failed)
		return;
	s->failed = true;
	s->error = *error;
	if (!error->remote)
		s->error.stage = s->stage;
}

int session_fail(struct session *s, const struct vfm_error *error)
{
	pthread_mutex_lock(&s->lock);
	record(s, error);
	pthread_mutex_unlock(&s->lock);
	session_wake(s);
	return -error->code;
}

int session_fail_by_peer(struct session *s, const struct vfm_error *error)
{
	pthread_mutex_lock(&s->lock);
	if (!s->committed)
		record(s, error);
	pthread_mutex_unlock(&s->lock);
	session_wake(s);
	return -error->code;
}

int session_failf(struct session *s, int code, const char *fmt, ...)
{
	struct vfm_error error = { 0 };
	char text[VFM_ERROR_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	error_set(&error, code, "%s", text);
	return session_fail(s, &error);
}

static int check_locked(const struct session *s)
{
	if (s->failed)
		return s->error.code ? -s->error.code : -EIO;
	return s->cancelled && !s->committed ? -ECANCELED : 0;
}

int session_check(struct session *s)
{
	int r;

	pthread_mutex_lock(&s->lock);
	r = check_locked(s);
	pthread_mutex_unlock(&s->lock);
	return r;
}

void session_forgive(struct session *s)
{
	pthread_mutex_lock(&s->lock);
	s->failed = false;
	memset(&s->error, 0, sizeof(s->error));
	pthread_mutex_unlock(&s->lock);
}

void session_log(struct session *s, int level, const char *fmt, ...)
{
	struct log_sink sink = { s->options.log, s->options.opaque };
	char line[LOG_LINE_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log_line(&sink, level, "%s", line);
}

/* One look with the lock held: 1 go on waiting, 0 holds, -errno. */
static int look(struct session *s, session_condition *condition, void *arg, unsigned flags)
{
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (!(flags & SESSION_WAIT_UNDO))
		r = check_locked(s);
	if (!r && !condition(s, arg)) {
		bool lost = s->link && s->link->error;

		r = lost && !(flags & SESSION_WAIT_NO_LINK) ? -ENOTCONN : 1;
	}
	pthread_mutex_unlock(&s->lock);
	return r;
}

static int stood_too_long(struct session *s)
{
	s->stand_until_ns = UINT64_MAX;
	return session_failf(s, ETIME, "the VM stood still for %.1f s and was not given away",
			     (double)(clock_ns() - s->stopped_ns) / 1e9);
}

int session_wait(struct session *s, session_condition *condition, void *arg, uint64_t deadline_ns,
		 unsigned flags)
{
	for (;;) {
		/* An undoing is already on its way to end the standstill. */
		uint64_t stand = flags & SESSION_WAIT_UNDO ? UINT64_MAX : s->stand_until_ns;
		int r = look(s, condition, arg, flags);

		if (r <= 0)
			return r;
		if (clock_ns() >= deadline_ns)
			return -ETIMEDOUT;
		if (clock_ns() >= stand)
			return stood_too_long(s);
		greeter_poll(s, MIN(deadline_ns, stand));
	}
}

static bool never(struct session *s UNUSED, void *arg UNUSED)
{
	return false;
}

int session_rest(struct session *s, uint64_t until_ns)
{
	int r = session_wait(s, never, NULL, until_ns, 0);

	if (r == -ENOTCONN)
		return session_link_failed(s);
	return r == -ETIMEDOUT ? 0 : r;
}

static bool inbox_filled(struct session *s, void *arg UNUSED)
{
	return s->inbox;
}

static struct message *inbox_take(struct session *s)
{
	struct message *m;

	pthread_mutex_lock(&s->lock);
	m = s->inbox;
	s->inbox = m->next;
	if (!s->inbox)
		s->inbox_tail = &s->inbox;
	s->inbox_count--;
	pthread_mutex_unlock(&s->lock);
	return m;
}

int session_receive(struct session *s, uint64_t timeout_ns, unsigned flags,
		    struct message **message)
{
	int r = session_wait(s, inbox_filled, NULL, clock_after(timeout_ns), flags);

	if (!r)
		*message = inbox_take(s);
	return r;
}

int session_expect(struct session *s, uint16_t type, uint64_t timeout_ns, struct message **message)
{
	int r = session_receive(s, timeout_ns, 0, message);

	if (r == -ENOTCONN)
		return session_link_failed(s);
	if (r == -ETIMEDOUT)
		return session_failf(s, ETIMEDOUT, "the peer owes %s and is silent",
				     wire_type_name(type));
	if (r)
		return r;
	if ((*message)->header.type == type)
		return 0;
	r = session_failf(s, EPROTO, "the peer sent %s where %s was due",
			  wire_type_name((*message)->header.type), wire_type_name(type));
	free(*message);
	*message = NULL;
	return r;
}

void session_drop_inbox(struct session *s)
{
	while (s->inbox)
		free(inbox_take(s));
}

void session_event(struct session *s, enum vfm_event_type type, const char *device,
		   enum vfm_state state)
{
	struct vfm_event event = { .type = type, .device = device, .state = state };

	pthread_mutex_lock(&s->lock);
	event.stage = s->stage;
	event.status = s->status;
	pthread_mutex_unlock(&s->lock);
	if (s->options.event)
		s->options.event(s->options.opaque, &event);
}

void session_enter(struct session *s, enum vfm_stage stage)
{
	pthread_mutex_lock(&s->lock);
	s->stage = stage;
	pthread_mutex_unlock(&s->lock);
	session_event(s, VFM_EVENT_STAGE, NULL, VFM_STATE_ERROR);
}

void session_set_owner(struct session *s, enum vfm_owner owner)
{
	pthread_mutex_lock(&s->lock);
	s->owner = owner;
	pthread_mutex_unlock(&s->lock);
}

int session_link_failed(struct session *s)
{
	int error;

	pthread_mutex_lock(&s->lock);
	error = s->link ? -s->link->error : ENOTCONN;
	pthread_mutex_unlock(&s->lock);
	if (error == EBADMSG)
		return session_failf(s, error, "a frame arrived altered");
	if (error == EPROTO)
		return session_failf(s, error, "the peer broke the protocol");
	return session_failf(s, error, "the connection to the peer is lost");
}

void session_end(struct session *s, enum vfm_status status)
{
	pthread_mutex_lock(&s->lock);
	s->status = status;
	s->stage = VFM_STAGE_DONE;
	s->progress.elapsed_ns = clock_ns() - s->start_ns;
	pthread_mutex_unlock(&s->lock);
	session_event(s, VFM_EVENT_ENDED, NULL, VFM_STATE_ERROR);
	pthread_mutex_lock(&s->lock);
	s->ended = true;
	pthread_cond_broadcast(&s->ended_cond);
	pthread_mutex_unlock(&s->lock);
}

int session_stop_handlers(struct session *s, bool before_devices)
{
	while (s->handlers_stopped < s->handler_count) {
		struct vfm_handler *h = &s->handlers[s->handlers_stopped];
		int r;

		if ((h->priority < 0) != before_devices)
			return 0;
		r = h->stop(h->opaque);
		if (r)
			return session_failf(s, -r, "the VMM's handler %s did not stop", h->name);
		s->handlers_stopped++;
	}
	return 0;
}

int session_start_handlers(struct session *s, bool before_devices)
{
	int result = 0;

	while (s->handlers_stopped) {
		struct vfm_handler *h = &s->handlers[s->handlers_stopped - 1];
		int r;

		if ((h->priority < 0) != before_devices)
			break;
		s->handlers_stopped--;
		r = h->start(h->opaque);
		if (!r)
			continue;
		/* In an undoing the session's failure is another one: nobody would hear of this. */
		session_log(s, VFM_LOG_ERROR, "the VMM's handler %s did not start: %s", h->name,
			    strerror(-r));
		result = session_failf(s, -r, "the VMM's handler %s did not start", h->name);
	}
	return result;
}

int session_stop_vcpus(struct session *s)
{
	int r = s->vm.stop(s->vm_opaque);

	if (r)
		return session_failf(s, -r, "the VMM did not stop its vCPUs");
	s->stopped_ns = clock_ns();
	s->stand_until_ns = clock_after(s->options.standstill_timeout_ns);
	s->vcpus_stopped = true;
	session_event(s, VFM_EVENT_STOPPED, NULL, VFM_STATE_ERROR);
	return 0;
}

int session_run_vcpus(struct session *s)
{
	int r = s->vm.run(s->vm_opaque);

	if (r)
		return session_failf(s, -r, "the VMM did not start its vCPUs");
	s->vcpus_stopped = false;
	s->stand_until_ns = UINT64_MAX;
	session_event(s, VFM_EVENT_RUNNING, NULL, VFM_STATE_ERROR);
	return 0;
}

int session_wait_ended(struct session *s)
{
	int r;

	if (!s->thread_started)
		return s->error.code ? -s->error.code : -EINVAL;
	pthread_mutex_lock(&s->lock);
	while (!s->ended)
		pthread_cond_wait(&s->ended_cond, &s->lock);
	r = s->error.code ? -s->error.code : 0;
	if (!r && s->status == VFM_STATUS_CANCELLED)
		r = -ECANCELED;
	pthread_mutex_unlock(&s->lock);
	return r;
}

void session_get_progress(struct session *s, struct vfm_progress *progress)
{
	size_t size = MIN(progress->size, sizeof(*progress));
	struct vfm_progress now;

	pthread_mutex_lock(&s->lock);
	now = s->progress;
	if (s->link && s->stage <= VFM_STAGE_STOPCOPY && s->side == SESSION_SOURCE) {
		now.memory_left = memory_dirty_pages(s->memory) * VFM_PAGE_SIZE;
		now.memory_sent = s->link->memory_bytes;
		now.device_sent = s->link->device_bytes;
	}
	now.size = size;
	now.status = s->status;
	now.stage = s->stage;
	now.owner = s->owner;
	if (!s->ended)
		now.elapsed_ns = s->start_ns ? clock_ns() - s->start_ns : 0;
	pthread_mutex_unlock(&s->lock);
	memcpy(progress, &now, size);
}
