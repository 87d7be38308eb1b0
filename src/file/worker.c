/* SPDX-License-Identifier: BSD-3-Clause */
/* The thread that a save or a restore runs on: a signal in the middle of a read or a write of
 * device data can lose some, and a pipe whose reader has gone would end the process. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include "base/checked.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/thread.h"
#include "device/device.h"
#include "file/file.h"

#define ASK_NS (100 * NS_PER_MSEC) /* between two questions whether it is cancelled */

static int copy_options(struct vfm_state_options *out, const struct vfm_state_options *options)
{
	*out = (struct vfm_state_options){.size = sizeof(*out)};
	if (!options)
		return 0;
	if (options->size != sizeof(*options))
		return -EINVAL;
	*out = *options;
	return 0;
}

/* What a caller knows beyond what the device tells. The rest is the device's word, so that no file
 * is written that could not be read. */
static int copy_identity(struct file_job *job, const struct vfm_identity *identity)
{
	struct vfm_identity own = {.size = sizeof(own)};

	vfm_identity_init(&own, job->device);
	job->identity = own;
	if (!identity)
		return 0;
	if (identity->size != sizeof(*identity) ||
	    (identity->page_size && !is_power_of_two(identity->page_size)))
		return -EINVAL;
	job->identity = *identity;
	job->identity.mig_flags = own.mig_flags;
	memcpy(job->identity.name, own.name, sizeof(own.name));
	memcpy(job->identity.backend, own.backend, sizeof(own.backend));
	return 0;
}

static int prepare(struct file_job *job, const struct vfm_identity *identity,
		   const struct vfm_state_options *options)
{
	int ret = copy_options(&job->options, options);

	if (!ret)
		ret = copy_identity(job, identity);
	if (ret)
		return error_set(job->error, ret, "the identity or the options are not such");
	if (!device_can(job->device, VFM_MIG_STOP_COPY))
		return error_set_device(job->error, EOPNOTSUPP, job->device->info.name,
					"it has no migration support");
	return 0;
}

/* ---- the caller's thread ---- */

static void job_init(struct file_job *job)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&job->ended, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&job->lock, NULL);
}

static void job_destroy(struct file_job *job)
{
	pthread_cond_destroy(&job->ended);
	pthread_mutex_destroy(&job->lock);
}

/* Each time that it is moving: it may have begun to after the first. */
static void cancel(struct file_job *job)
{
	atomic_store(&job->cancelled, true);
	pthread_mutex_lock(&job->lock);
	if (job->moving && job->device->ops->cancel)
		job->device->ops->cancel(job->device);
	job->moving = false;
	pthread_mutex_unlock(&job->lock);
}

/* True: the worker has ended. */
static bool wait_for_end(struct file_job *job)
{
	uint64_t until = clock_after(ASK_NS);
	struct timespec at = {.tv_sec = (time_t)(until / NS_PER_SEC),
			      .tv_nsec = (long)(until % NS_PER_SEC)};
	bool done;
	int ret = 0;

	pthread_mutex_lock(&job->lock);
	while (!job->done && !ret)
		ret = pthread_cond_timedwait(&job->ended, &job->lock, &at);
	done = job->done;
	pthread_mutex_unlock(&job->lock);
	return done;
}

static void oversee(struct file_job *job)
{
	while (job->options.cancelled && !wait_for_end(job))
		if (job->options.cancelled(job->options.opaque))
			cancel(job);
}

/* ---- the worker ---- */

static void work(void *arg)
{
	struct file_job *job = arg;

	job->run(job);
	pthread_mutex_lock(&job->lock);
	job->done = true;
	pthread_cond_signal(&job->ended);
	pthread_mutex_unlock(&job->lock);
}

void file_moving(struct file_job *job, bool moving)
{
	pthread_mutex_lock(&job->lock);
	job->moving = moving;
	pthread_mutex_unlock(&job->lock);
}

/* ---- both ---- */

int file_run(struct file_job *job, void (*run)(void *job), const struct vfm_identity *identity,
	     const struct vfm_state_options *options, enum vfm_device_end *end,
	     struct vfm_error *error)
{
	struct vfm_error own = {.code = 0};
	struct thread thread = {.started = false};
	int ret;

	job->error = error ? error : &own;
	memset(job->error, 0, sizeof(*job->error));
	job->end = VFM_DEVICE_UNTOUCHED;
	job->run = run;
	job_init(job);
	ret = prepare(job, identity, options);
	if (!ret) {
		ret = thread_start(&thread, job->options.threads, "vfm-state", work, job);
		if (ret)
			error_set(job->error, ret, "no thread");
	}
	if (!ret) {
		oversee(job);
		thread_join(&thread);
		ret = job->result;
	}
	job_destroy(job);
	if (end)
		*end = job->end;
	return ret;
}

int file_progress(struct file_job *job, uint64_t bytes, uint64_t total)
{
	if (atomic_load(&job->cancelled))
		return -ECANCELED;
	if (!job->options.progress || !job->options.progress(job->options.opaque, bytes, total))
		return 0;
	return -ECANCELED;
}
