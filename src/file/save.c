/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Saving: to STOP_COPY, read to the end, and back. The header is written first, so that a full disk
 * or a wrong fd is found out before the device is touched.
 */
#include <errno.h>
#include <string.h>
#include <time.h>
#include "base/clock.h"
#include "base/error.h"
#include "device/device.h"
#include "file/file.h"

#define IDLE_MS 10 /* a device that has nothing now is asked again */

/* The state that a device is put back to: as it was, without a session that somebody left. */
static enum vfm_state home_of(enum vfm_state state)
{
	switch (state) {
	case VFM_STATE_STOP_COPY:
		return VFM_STATE_STOP;
	case VFM_STATE_PRE_COPY:
		return VFM_STATE_RUNNING;
	case VFM_STATE_PRE_COPY_P2P:
		return VFM_STATE_RUNNING_P2P;
	default:
		return state;
	}
}

static int find_home(struct file_job *job, enum vfm_state *home)
{
	const char *name = job->device->info.name;
	enum vfm_state state;
	int ret = vfm_device_get_state(job->device, &state);

	if (ret)
		return error_set_device(job->error, ret, name, "it does not tell its state");
	*home = home_of(state);
	if (state == VFM_STATE_RESUMING || state == VFM_STATE_ERROR)
		return error_set_device(job->error, EBUSY, name,
					"it is in %s and has no state to save: reset it",
					vfm_state_name(state));
	return 0;
}

static void wait_a_little(struct vfm_device *device)
{
	const struct timespec pause = {.tv_nsec = IDLE_MS * NS_PER_MSEC};

	if (!device->ops->wait || device->ops->wait(device, IDLE_MS))
		nanosleep(&pause, NULL);
}

/* One piece. 1: there may be more, 0: that was the end, or -errno, recorded. */
static int copy_piece(struct file_job *job, struct file_writer *writer)
{
	struct vfm_device *device = job->device;
	size_t room;
	void *buffer = file_writer_buffer(writer, &room);
	ssize_t n = device->ops->read(device, buffer, room);
	int ret;

	if (n == -EAGAIN) {
		wait_a_little(device);
		return 1;
	}
	if (n < 0)
		return error_set_device(job->error, (int)n, device->info.name,
					"reading its state failed");
	if (!n)
		return 0;
	ret = file_writer_add(writer, (size_t)n);
	if (ret == -EFBIG)
		return error_set_device(job->error, ret, device->info.name,
					"its state does not end");
	return ret ? error_set(job->error, ret, "writing the file failed") : 1;
}

static int copy(struct file_job *job, struct file_writer *writer)
{
	uint64_t total = VFM_SIZE_UNKNOWN;
	int ret;

	vfm_device_get_stop_copy_size(job->device, &total);
	do {
		ret = file_progress(job, file_writer_bytes(writer), total);
		ret = ret ? error_set(job->error, ret, "cancelled") : copy_piece(job, writer);
	} while (ret > 0);
	if (!ret)
		ret = file_writer_end(writer);
	return ret ? error_set(job->error, ret, "writing the file failed") : 0;
}

static int stop(struct file_job *job, enum vfm_state home)
{
	int ret = device_transition(job->device, home, NULL, NULL, job->error);

	if (!ret)
		ret = device_transition(job->device, VFM_STATE_STOP_COPY, NULL, NULL, job->error);
	return ret;
}

/* A whole file of a device that could not be put back is whole all the same, but that is a failure:
 * its user would go on with a device that is not what it was. */
static int put_back(struct file_job *job, enum vfm_state home, bool whole)
{
	int ret = device_recover(job->device, home, NULL, NULL);

	if (!ret)
		return 0;
	if (whole)
		job->end = ret > 0 ? VFM_DEVICE_SAVED_RESET : VFM_DEVICE_SAVED_LOST;
	else
		job->end = ret > 0 ? VFM_DEVICE_RESET : VFM_DEVICE_LOST;
	if (ret > 0)
		ret = -EIO;
	return error_set_device(job->error, ret, job->device->info.name,
				"it could not be brought back to %s", vfm_state_name(home));
}

static void save(void *arg)
{
	struct file_job *job = arg;
	struct file_writer *writer = NULL;
	enum vfm_state home = VFM_STATE_ERROR;
	int ret = find_home(job, &home), back;

	if (!ret) {
		ret = file_writer_new(job->fd, &job->identity, &job->cancelled, &writer);
		if (ret)
			error_set(job->error, ret, "writing the file failed");
	}
	if (!ret) {
		ret = stop(job, home);
		if (!ret) {
			file_moving(job, true);
			ret = copy(job, writer);
			file_moving(job, false);
		}
		back = put_back(job, home, !ret);
		ret = ret ? ret : back;
	}
	file_writer_free(writer);
	job->result = ret;
}

VFM_API int vfm_state_save(struct vfm_device *device, const struct vfm_identity *identity, int fd,
			   const struct vfm_state_options *options, enum vfm_device_end *end,
			   struct vfm_error *error)
{
	struct file_job job = {.device = device, .fd = fd};

	return file_run(&job, save, identity, options, end, error);
}
