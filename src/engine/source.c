/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/error.h"
#include "engine/handover.h"
#include "engine/link.h"
#include "engine/source.h"
#include "engine/stage.h"
#include "engine/worker.h"

VFM_API int vfm_source_new(const struct vfm_region *regions, unsigned count,
			   const struct vfm_vm_ops *ops, void *opaque,
			   const struct vfm_options *options, struct vfm_source **source)
{
	struct vfm_source *src = calloc(1, sizeof(*src));
	int r;

	if (!src)
		return -ENOMEM;
	r = session_init(&src->session, SESSION_SOURCE, regions, count, ops, opaque, options);
	if (r)
		free(src);
	else
		*source = src;
	return r;
}

VFM_API int vfm_source_add_device(struct vfm_source *source, struct vfm_device *device)
{
	return session_add_device(&source->session, device);
}

VFM_API int vfm_source_add_handler(struct vfm_source *source, const struct vfm_handler *handler)
{
	return session_add_handler(&source->session, handler);
}

/* ---- blockers ---- */

struct lines {
	char (*line)[VFM_ERROR_TEXT_MAX];
	unsigned max, count;
};

static void add_line(struct lines *lines, const char *device, const char *what)
{
	if (lines->count < lines->max)
		snprintf(lines->line[lines->count], VFM_ERROR_TEXT_MAX, "device %s: %s", device,
			 what);
	lines->count++;
}

static void list_blockers(struct session *s, struct lines *lines)
{
	for (unsigned i = 0; i < s->device_count; i++) {
		struct vfm_device *dev = s->workers[i]->device;

		if (!device_can(dev, VFM_MIG_STOP_COPY))
			add_line(lines, dev->info.name, "it has no migration support");
		else if (s->device_count > 1 && !device_can(dev, VFM_MIG_P2P))
			add_line(lines, dev->info.name,
				 "it has no P2P states, which it needs beside other devices");
	}
}

VFM_API int vfm_source_blockers(struct vfm_source *source, char (*lines)[VFM_ERROR_TEXT_MAX],
				unsigned max)
{
	struct lines found = { lines, max, 0 };

	list_blockers(&source->session, &found);
	return (int)found.count;
}

static int refuse_blocked(struct session *s)
{
	struct lines found = { NULL, VFM_DEVICES_MAX, 0 };

	free(s->reasons); /* of a start that was refused before */
	s->reasons = calloc(VFM_DEVICES_MAX, sizeof(*s->reasons));
	if (!s->reasons)
		return -ENOMEM;
	found.line = s->reasons;
	list_blockers(s, &found);
	s->reason_count = found.count;
	if (!found.count)
		return 0;
	s->status = VFM_STATUS_FAILED;
	return error_set(&s->error, EPERM, "%s%s", s->reasons[0],
			 found.count > 1 ? " (and more, see the report)" : "");
}

/* ---- the steering thread ---- */

static enum vfm_status failure_status(struct session *s)
{
	enum vfm_status status = VFM_STATUS_FAILED;

	pthread_mutex_lock(&s->lock);
	if (!s->failed && s->cancelled)
		status = VFM_STATUS_CANCELLED;
	pthread_mutex_unlock(&s->lock);
	return status;
}

/* Ends with the session. In doubt it stays, waiting for an operator's word or for the free. */
static void source_run(void *arg)
{
	struct session *s = arg;
	struct channel *channel = TAKE_PTR(source_of(s)->channel);
	int r = link_start(s, channel, 0);

	if (r)
		session_failf(s, -r, "the connection cannot be served");
	else
		r = stages_run(s);
	if (!r)
		session_end(s, VFM_STATUS_COMPLETED);
	else if (s->committed)
		handover_end(s, r);
	else
		session_end(s, failure_status(s));
}

int source_start_channel(struct vfm_source *source, struct channel *channel)
{
	struct session *s = &source->session;
	int r = s->thread_started ? -EALREADY : refuse_blocked(s);

	if (!r) {
		source->channel = channel;
		r = session_start(s, source_run);
	}
	if (r) {
		source->channel = NULL;
		channel_close(channel);
	}
	return r;
}

VFM_API int vfm_source_start(struct vfm_source *source, int fd)
{
	struct channel *channel;
	int r = channel_new_fd(fd, &channel);

	return r ? r : source_start_channel(source, channel);
}

VFM_API int vfm_source_cancel(struct vfm_source *source)
{
	struct session *s = &source->session;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->ended || s->committed)
		r = -EALREADY;
	else
		s->cancelled = true;
	pthread_mutex_unlock(&s->lock);
	session_wake(s);
	return r;
}

VFM_API int vfm_source_set_downtime_limit(struct vfm_source *source, uint64_t ns)
{
	pthread_mutex_lock(&source->session.lock);
	source->session.limit_ns = ns;
	pthread_mutex_unlock(&source->session.lock);
	return 0;
}

VFM_API int vfm_source_set_max_bandwidth(struct vfm_source *source, uint64_t bytes_per_second)
{
	struct session *s = &source->session;

	if (!bytes_per_second)
		return -EINVAL;
	pthread_mutex_lock(&s->lock);
	s->max_bandwidth = bytes_per_second;
	if (s->link)
		s->link->next_send_ns = 0;
	pthread_mutex_unlock(&s->lock);
	pthread_cond_signal(&s->send_cond);
	return 0;
}

VFM_API int vfm_source_resolve(struct vfm_source *source, int destination_runs)
{
	return handover_resolve(&source->session, destination_runs);
}

VFM_API int vfm_source_wait(struct vfm_source *source)
{
	return session_wait_ended(&source->session);
}

VFM_API int vfm_source_get_progress(struct vfm_source *source, struct vfm_progress *progress)
{
	session_get_progress(&source->session, progress);
	return 0;
}

VFM_API char *vfm_source_report_json(struct vfm_source *source)
{
	return session_report_json(&source->session);
}

VFM_API void vfm_source_get_error(struct vfm_source *source, struct vfm_error *error)
{
	pthread_mutex_lock(&source->session.lock);
	*error = source->session.error;
	pthread_mutex_unlock(&source->session.lock);
}

VFM_API void vfm_source_get_downtime(struct vfm_source *source, struct vfm_downtime *predicted,
				     struct vfm_downtime *measured)
{
	pthread_mutex_lock(&source->session.lock);
	*predicted = source->session.predicted;
	*measured = source->session.measured;
	pthread_mutex_unlock(&source->session.lock);
}

VFM_API void vfm_source_free(struct vfm_source *source)
{
	if (!source)
		return;
	vfm_source_cancel(source);
	handover_give_up(&source->session);
	session_destroy(&source->session);
	free(source);
}
