/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data session of a kernel device: bytes out of its data fd, and into it.
 *
 * Theory of operation. The fd is made non-blocking: one driver lets a read wait for a save in
 * progress (rule 9), and a thread that sleeps in there could be woken by a signal alone, which
 * another driver answers by losing data (rule 19). With EAGAIN we sleep in poll instead, where an
 * eventfd wakes us. Drivers without poll say that they are always ready (rule 2), so that every
 * sleep has a timer as well: a poll that is found to lie is not asked again in this session, and
 * one that never says anything costs RETRY_MS.
 *
 *	what read() says    in PRE_COPY             in STOP_COPY
 *	bytes               bytes                   bytes
 *	0                   nothing now (rule 1)    the end
 *	ENOMSG              nothing now (rule 1)    dead: there is no "now" any more
 *	EAGAIN              -EAGAIN, ask again      sleep, read again: it is the downtime
 *	EINTR               before the first byte: again; later: dead (rule 19)
 *	others              dead (ENODEV: the session is gone, rule 10)
 *
 * A session that died stays dead. For a loading one that means that the device must not leave
 * RESUMING for a state in which it runs, whatever the driver says: some accept what they refused
 * a moment before. vfio-migration.c sees to that.
 *
 * Bytes go from the fd into the caller's buffer and from the caller's buffer into the fd: nothing
 * is copied here.
 *
 * Threads: everything belongs to the device's thread but vfio_data_cancel.
 */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include "base/clock.h"
#include "device/vfio.h"

#define RETRY_MS 20 /* between two looks at a driver that said EAGAIN and whose poll is silent */

int vfio_data_init(struct vfio_data *data, const struct vfio_sys *sys)
{
	*data = (struct vfio_data){.sys = sys, .fd = -1};
	data->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return data->wake < 0 ? -errno : 0;
}

void vfio_data_destroy(struct vfio_data *data)
{
	vfio_data_close(data);
	close(data->wake);
}

void vfio_data_open(struct vfio_data *data, int fd, bool loading)
{
	vfio_data_close(data);
	data->fd = fd;
	data->loading = loading;
	/* Where it does not work, a read may sleep in the kernel: no reason to fail. */
	data->sys->set_nonblock(data->sys, fd);
}

void vfio_data_close(struct vfio_data *data)
{
	if (data->fd >= 0)
		data->sys->close(data->sys, data->fd);
	data->fd = -1;
	data->loading = false;
	data->dead = 0;
	data->bytes = 0;
	data->poll_lies = false;
	data->poll_said = false;
}

/* ---- cancelling ---- */

void vfio_data_cancel(struct vfio_data *data)
{
	uint64_t one = 1;

	atomic_store(&data->cancelled, true);
	/* It can only be full, which is as good. */
	if (write(data->wake, &one, sizeof(one)) < 0)
		return;
}

void vfio_data_resume(struct vfio_data *data)
{
	uint64_t count;

	atomic_store(&data->cancelled, false);
	if (read(data->wake, &count, sizeof(count)) < 0)
		return; /* it was not cancelled */
}

/* ---- sleeping ---- */

/* Until the fd is ready for @events, @timeout_ms or a cancel. */
static int sleep_for(struct vfio_data *data, short events, int timeout_ms)
{
	struct pollfd fds[2] = {
		{.fd = data->wake, .events = POLLIN},
		{.fd = data->fd, .events = events},
	};
	unsigned count = data->poll_lies || data->fd < 0 ? 1 : 2;
	int ret = data->sys->poll(data->sys, fds, count, timeout_ms);

	if (ret < 0)
		return ret == -EINTR ? 0 : ret;
	if (fds[0].revents)
		return -ECANCELED;
	if (count == 2 && fds[1].revents)
		data->poll_said = true;
	return 0;
}

int vfio_data_wait(struct vfio_data *data, int timeout_ms)
{
	return sleep_for(data, POLLIN, timeout_ms);
}

/* ---- moving ---- */

static int die(struct vfio_data *data, int cause)
{
	data->dead = cause;
	return cause;
}

static int check_alive(struct vfio_data *data, bool loading)
{
	if (data->fd < 0 || data->loading != loading)
		return -EBADF;
	if (data->dead)
		return data->dead;
	return atomic_load(&data->cancelled) ? -ECANCELED : 0;
}

/* A call moved nothing. 0: try again. */
static int nothing_moved(struct vfio_data *data, int ret, short events)
{
	if (ret == -EINTR && !data->bytes)
		return 0;
	if (ret == -EAGAIN)
		return sleep_for(data, events, RETRY_MS);
	return die(data, ret);
}

/* Nothing to read, or no room to write, though poll said that there is: then its word is worth
 * nothing. */
static void note_nothing(struct vfio_data *data)
{
	if (data->poll_said)
		data->poll_lies = true;
	data->poll_said = false;
}

ssize_t vfio_data_read(struct vfio_data *data, void *buf, size_t len, bool last)
{
	int ret = check_alive(data, false);

	while (!ret) {
		ssize_t got = data->sys->read(data->sys, data->fd, buf, len);

		if (got > 0) {
			data->bytes += (size_t)got;
			data->poll_said = false;
			return got;
		}
		note_nothing(data);
		if (got == 0 || (got == -ENOMSG && !last))
			return 0;
		if (got == -EAGAIN && !last)
			return got;
		ret = nothing_moved(data, (int)got, POLLIN);
	}
	return ret;
}

int vfio_data_write(struct vfio_data *data, const void *buf, size_t len)
{
	int ret = check_alive(data, true);
	size_t done = 0;

	while (!ret && done < len) {
		ssize_t put = data->sys->write(data->sys, data->fd, (const char *)buf + done,
					       len - done);

		if (put > 0) {
			done += (size_t)put;
			data->bytes += (size_t)put;
			data->poll_said = false;
		} else {
			note_nothing(data);
			ret = put ? nothing_moved(data, (int)put, POLLOUT) : -EIO;
		}
	}
	/* The stream lacks these bytes now. */
	return ret && ret != -EBADF ? die(data, ret) : ret;
}
