/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Restoring: read the file through, compare, and only then touch the device. A file can change in
 * between: on its second way the header must be the one that was compared, which is found out
 * before the device is touched, and each chunk and at last the sum of all data are checked again;
 * that, like any other failure from there on, ends in a reset.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "base/error.h"
#include "device/device.h"
#include "file/file.h"

#define REASONS_MAX 16

/* All reasons on one line, as far as they fit. */
static int refuse(struct file_job *job, const struct vfm_identity *from)
{
	char lines[REASONS_MAX][VFM_ERROR_TEXT_MAX], text[VFM_ERROR_TEXT_MAX];
	int count = vfm_identity_compare(from, "in the file", &job->identity, "here", lines,
					 REASONS_MAX);
	size_t used = 0;

	for (int i = 0; i < count && i < REASONS_MAX && used < sizeof(text); i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%s", i ? "; " : "",
					 lines[i]);
	return count ? error_set_device(job->error, EINVAL, job->device->info.name,
					"the file is another device's: %s", text)
		     : 0;
}

static int cancel_check(void *job)
{
	return file_progress(job, 0, VFM_SIZE_UNKNOWN);
}

/* Leaves the file where it was. */
static int check(struct file_job *job, struct vfm_state_file *file, struct file_sums *sums)
{
	off_t start = lseek(job->fd, 0, SEEK_CUR);
	char why[VFM_ERROR_TEXT_MAX] = "";
	int ret;

	if (start < 0)
		return error_set(job->error, errno, "the file cannot be read twice");
	ret = file_check(job->fd, file, sums, cancel_check, job, why, sizeof(why));
	if (ret)
		return error_set(job->error, ret, "%s", why);
	if (lseek(job->fd, start, SEEK_SET) < 0)
		return error_set(job->error, errno, "the file cannot be read twice");
	return refuse(job, &file->identity);
}

/* Whatever it holds is thrown away, and a session or an error that somebody left with it. */
static int begin(struct file_job *job)
{
	enum vfm_state state = VFM_STATE_ERROR;
	int ret = vfm_device_get_state(job->device, &state);

	if (ret || (state != VFM_STATE_RUNNING && state != VFM_STATE_STOP))
		ret = vfm_device_reset(job->device);
	if (ret)
		return error_set_device(job->error, ret, job->device->info.name,
					"it could not be reset");
	return device_transition(job->device, VFM_STATE_RESUMING, NULL, NULL, job->error);
}

static int load_piece(struct file_job *job, struct file_reader *reader, size_t *size)
{
	const void *data;
	int ret = file_reader_next(reader, &data, size);

	if (ret)
		return error_set(job->error, ret, "the file changed while it was read");
	if (*size)
		ret = job->device->ops->write(job->device, data, *size);
	return ret ? error_set_device(job->error, ret, job->device->info.name, "it refused its state")
		   : 0;
}

static int changed(struct file_job *job)
{
	return error_set(job->error, EBADMSG, "the file changed while it was read");
}

/* @checked: of the first way. */
static int load(struct file_job *job, struct file_reader *reader, uint64_t total,
		const struct file_sums *checked)
{
	size_t size = 0;
	int ret;

	do {
		ret = file_progress(job, file_reader_bytes(reader), total);
		ret = ret ? error_set(job->error, ret, "cancelled") : load_piece(job, reader, &size);
	} while (!ret && size);
	return !ret && file_reader_sums(reader).data != checked->data ? changed(job) : ret;
}

static int finish(struct file_job *job)
{
	int ret = device_transition(job->device, VFM_STATE_STOP, NULL, NULL, job->error);

	if (!ret && !job->options.stay_stopped)
		ret = device_transition(job->device, VFM_STATE_RUNNING, NULL, NULL, job->error);
	return ret;
}

static int touch(struct file_job *job, struct file_reader *reader, uint64_t total,
		 const struct file_sums *checked)
{
	int ret = begin(job);

	if (!ret) {
		file_moving(job, true);
		ret = load(job, reader, total, checked);
		file_moving(job, false);
	}
	if (!ret)
		ret = finish(job);
	job->end = VFM_DEVICE_RESTORED;
	if (ret)
		job->end = vfm_device_reset(job->device) ? VFM_DEVICE_LOST : VFM_DEVICE_RESET;
	return ret;
}

/* The second way, up to where the device is touched. */
static int open_again(struct file_job *job, const struct file_sums *checked,
		      struct file_reader **reader)
{
	int ret = cancel_check(job);

	if (ret)
		return error_set(job->error, ret, "cancelled");
	ret = file_reader_new(job->fd, reader);
	if (ret)
		return error_set(job->error, ret, "the file changed while it was read");
	return file_reader_sums(*reader).header != checked->header ? changed(job) : 0;
}

static void restore(void *arg)
{
	struct file_job *job = arg;
	struct vfm_state_file file = {.size = sizeof(file)};
	struct file_reader *reader = NULL;
	struct file_sums sums = {.header = 0};
	int ret = check(job, &file, &sums);

	if (!ret)
		ret = open_again(job, &sums, &reader);
	if (!ret)
		ret = touch(job, reader, file.bytes, &sums);
	file_reader_free(reader);
	job->result = ret;
}

VFM_API int vfm_state_restore(struct vfm_device *device, const struct vfm_identity *identity, int fd,
			      const struct vfm_state_options *options, enum vfm_device_end *end,
			      struct vfm_error *error)
{
	struct file_job job = {.device = device, .fd = fd};

	return file_run(&job, restore, identity, options, end, error);
}
