/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "base/compiler.h"
#include "engine/destination.h"
#include "engine/greeter.h"
#include "engine/handover.h"
#include "engine/link.h"
#include "engine/stage.h"

VFM_API int vfm_destination_new(const struct vfm_region *regions, unsigned count,
				const struct vfm_vm_ops *ops, void *opaque,
				const struct vfm_options *options,
				struct vfm_destination **destination)
{
	struct vfm_destination *dst = calloc(1, sizeof(*dst));
	int r;

	if (!dst)
		return -ENOMEM;
	r = session_init(&dst->session, SESSION_DESTINATION, regions, count, ops, opaque, options);
	if (!r) {
		r = greeter_new(&dst->session.greeter);
		if (r)
			session_destroy(&dst->session);
	}
	if (r)
		free(dst);
	else
		*destination = dst;
	return r;
}

VFM_API int vfm_destination_add_device(struct vfm_destination *destination,
				       struct vfm_device *device)
{
	return session_add_device(&destination->session, device);
}

VFM_API int vfm_destination_add_handler(struct vfm_destination *destination,
					const struct vfm_handler *handler)
{
	return session_add_handler(&destination->session, handler);
}

/* A source in doubt asks, hears NEVER, and says that it aborts: then it is over. That is no failure
 * of this side, which has its own. */
static void linger_given_up(struct session *s)
{
	struct vfm_error error = s->error;
	bool failed = s->failed;

	session_forgive(s);
	destination_linger(s);
	link_stop(s);
	pthread_mutex_lock(&s->lock);
	s->failed = failed;
	s->error = error;
	pthread_mutex_unlock(&s->lock);
}

/* Ends with the session: completed, given up, or the VM is here and could not be started. */
static void destination_run(void *arg)
{
	struct session *s = arg;
	int r = stages_run(s);
	enum vfm_status status = VFM_STATUS_COMPLETED;

	bool told = false;

	if (r) {
		pthread_mutex_lock(&s->lock);
		status = s->failed ? VFM_STATUS_FAILED : VFM_STATUS_CANCELLED;
		told = s->error.remote; /* by the source: it does not have to ask */
		pthread_mutex_unlock(&s->lock);
	}
	if (s->fate == WIRE_FATE_NEVER && !told) {
		session_log(s, VFM_LOG_WARN,
			    "given up; for %.1f s the source can still ask and hear so; cancel "
			    "again to end at once", (double)s->options.doubt_timeout_ns / 1e9);
		linger_given_up(s);
	}
	session_end(s, status);
}

VFM_API int vfm_destination_start(struct vfm_destination *destination)
{
	if (destination->session.thread_started)
		return -EALREADY;
	return session_start(&destination->session, destination_run);
}

VFM_API int vfm_destination_attach(struct vfm_destination *destination, int fd)
{
	struct session *s = &destination->session;
	bool ended;

	pthread_mutex_lock(&s->lock);
	ended = s->ended;
	pthread_mutex_unlock(&s->lock);
	if (ended) {
		close(fd);
		return -ESHUTDOWN;
	}
	return greeter_attach(s, fd);
}

VFM_API int vfm_destination_cancel(struct vfm_destination *destination)
{
	struct session *s = &destination->session;
	bool again = false;
	int r = 0;

	pthread_mutex_lock(&s->lock);
	if (s->ended || s->committed)
		r = -EALREADY;
	else if (s->cancelled)
		again = true;
	s->cancelled = true;
	pthread_mutex_unlock(&s->lock);
	if (again)
		handover_give_up(s);
	session_wake(s);
	return r;
}

VFM_API int vfm_destination_wait(struct vfm_destination *destination)
{
	return session_wait_ended(&destination->session);
}

VFM_API int vfm_destination_get_progress(struct vfm_destination *destination,
					 struct vfm_progress *progress)
{
	session_get_progress(&destination->session, progress);
	return 0;
}

VFM_API char *vfm_destination_report_json(struct vfm_destination *destination)
{
	return session_report_json(&destination->session);
}

VFM_API void vfm_destination_get_error(struct vfm_destination *destination, struct vfm_error *error)
{
	pthread_mutex_lock(&destination->session.lock);
	*error = destination->session.error;
	pthread_mutex_unlock(&destination->session.lock);
}

VFM_API void vfm_destination_free(struct vfm_destination *destination)
{
	if (!destination)
		return;
	vfm_destination_cancel(destination);
	handover_give_up(&destination->session);
	session_destroy(&destination->session);
	free(destination);
}
