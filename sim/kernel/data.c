// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/*
 * The data fd of a data session.
 *
 * It belongs to one session of one user of the device: it says ENODEV once the device was closed,
 * and once that session has ended, whichever way. It may outlive both, and the device's removal:
 * it holds a reference to the device's memory, and its file one to the module.
 *
 * Bytes go through a buffer, since a user's memory may take as long as the user likes: it is touched
 * with the fd's own lock held alone, which comes before `calls`. So one read gives at most BUFFER_SIZE
 * bytes. What could not be copied out stays there for the next read.
 */
#include <linux/anon_inodes.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "sim/kernel/compat.h"
#include "sim/kernel/ksim.h"

#define BUFFER_SIZE (1u << 20)

struct data {
	struct ksim *k;
	u64 user;    /* who has it */
	u64 session; /* which one it belongs to, 0: none */
	struct mutex lock;
	/* under lock: */
	u8 *buffer;
	size_t at;   /* in the buffer, what was taken from the device but not given to the user */
	size_t end;
	struct iovec iov[SIM_READ_IOV];
};

static void free_data(struct data *d)
{
	mutex_destroy(&d->lock);
	kvfree(d->buffer);
	kvfree(d);
}

static int release_data(struct inode *inode, struct file *file)
{
	struct data *d = file->private_data;
	struct ksim *k = d->k;

	free_data(d);
	vfio_put_device(&k->vdev);
	return 0;
}

/* Is it the data fd of the session that is open? core is held. */
static bool is_live(const struct data *d)
{
	return d->session && d->k->open && d->user == d->k->user &&
	       d->session == sim_session(d->k->sim);
}

/* A mutant may have something to say where there is no session: -ENODEV otherwise. */
static int refuse(struct data *d)
{
	d->k->count.stale++;
	return -ENODEV;
}

/* ---- reading ---- */

static void collect(struct data *d, const struct iovec *iov, int count)
{
	int i;

	d->at = 0;
	d->end = 0;
	for (i = 0; i < count; i++) {
		memcpy(d->buffer + d->end, iov[i].iov_base, iov[i].iov_len);
		d->end += iov[i].iov_len;
	}
}

/* No session at all: what the device's own rules say, which only a mutant makes anything but an
 * error. */
static ssize_t read_ended(struct data *d)
{
	bool none = d->k->open && d->user == d->k->user && !sim_session(d->k->sim);
	int count;

	if (none && d->k->config.sim.mutant && !sim_mig_read(d->k->sim, 1, d->iov, &count))
		return 0;
	return refuse(d);
}

static ssize_t fill(struct data *d, size_t max)
{
	struct ksim *k = d->k;
	int count = 0;
	ssize_t ret = ksim_lock_calls(k);

	if (ret)
		return ret;
	ksim_lock_core(k);
	if (!is_live(d)) {
		d->at = d->end;
		ret = read_ended(d);
	} else if (d->at == d->end) {
		ret = sim_mig_read(k->sim, min_t(size_t, max, BUFFER_SIZE), d->iov, &count);
		collect(d, d->iov, count);
		k->count.bytes_read += d->end;
	} else {
		ret = d->end - d->at;
	}
	ksim_unlock_core(k);
	mutex_unlock(&k->calls);
	return ret;
}

static ssize_t give(struct data *d, char __user *buf, size_t max)
{
	size_t len = min(max, d->end - d->at);
	size_t left = copy_to_user(buf, d->buffer + d->at, len);

	d->at += len - left;
	return len - left ? len - left : -EFAULT;
}

static ssize_t read_data(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	struct data *d = file->private_data;
	ssize_t ret = len ? mutex_lock_killable(&d->lock) : 0;

	if (ret || !len)
		return ret;
	ret = fill(d, len);
	if (ret > 0)
		ret = give(d, buf, len);
	mutex_unlock(&d->lock);
	return ret;
}

static long info_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	size_t size = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct data *d = file->private_data;
	struct vfio_precopy_info info = {};
	struct vfm_precopy_info told = {};
	struct ksim *k = d->k;
	int ret = vfio_check_precopy_ioctl(&k->vdev, cmd, arg, &info);

	if (!ret)
		ret = ksim_lock_calls(k);
	if (ret)
		return ret;
	ksim_lock_core(k);
	if (!is_live(d)) {
		ret = refuse(d);
	} else {
		told.flags = info.flags;
		if (ksim_wants_infov2(&k->vdev))
			sim_precopy_infov2(k->sim);
		ret = sim_precopy_info(k->sim, &told);
	}
	ksim_unlock_core(k);
	mutex_unlock(&k->calls);
	if (ret)
		return ret;
	info.flags = told.flags;
	info.initial_bytes = told.initial_bytes;
	info.dirty_bytes = told.dirty_bytes;
	return copy_to_user((void __user *)arg, &info, size) ? -EFAULT : 0;
}

static __poll_t poll_data(struct file *file, poll_table *table)
{
	struct data *d = file->private_data;
	__poll_t events = 0;

	poll_wait(file, &d->k->readers, table);
	ksim_lock_core(d->k);
	if (!is_live(d))
		events = EPOLLIN | EPOLLRDNORM | EPOLLERR | EPOLLHUP;
	else if (d->at < d->end || sim_mig_readable(d->k->sim))
		events = EPOLLIN | EPOLLRDNORM;
	ksim_unlock_core(d->k);
	return events;
}

/* ---- writing ---- */

static int begin_write(struct data *d)
{
	int ret = ksim_lock_calls(d->k);

	if (ret)
		return ret;
	ksim_lock_core(d->k);
	ret = is_live(d) ? sim_mig_begin_write(d->k->sim) : refuse(d);
	ksim_unlock_core(d->k);
	mutex_unlock(&d->k->calls);
	return ret;
}

/* The buffer's first @len bytes to where they belong. The device may take its time between. */
static int load(struct data *d, size_t len)
{
	struct ksim *k = d->k;
	size_t done, room;
	int ret = ksim_lock_calls(k);
	void *where;

	if (ret)
		return ret;
	ksim_lock_core(k);
	for (done = 0; done < len && !ret; done += room) {
		ret = is_live(d) ? sim_mig_space(k->sim, &where, &room) : refuse(d);
		if (ret)
			break;
		room = min(room, len - done);
		memcpy(where, d->buffer + done, room);
		k->count.bytes_written += room;
		ret = sim_mig_wrote(k->sim, room);
	}
	ksim_unlock_core(k);
	mutex_unlock(&k->calls);
	return ret;
}

/* What the device says of the stream counts more than how many bytes it took before. */
static ssize_t take(struct data *d, const char __user *buf, size_t len)
{
	size_t done, part;
	int ret;

	for (done = 0; done < len; done += part) {
		part = min_t(size_t, len - done, BUFFER_SIZE);
		if (copy_from_user(d->buffer, buf + done, part))
			return done ? done : -EFAULT;
		ret = load(d, part);
		if (ret)
			return ret;
		if (fatal_signal_pending(current))
			return done + part;
	}
	return done;
}

static ssize_t write_data(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct data *d = file->private_data;
	ssize_t ret = mutex_lock_killable(&d->lock);

	if (ret)
		return ret;
	ret = begin_write(d);
	if (!ret)
		ret = take(d, buf, len);
	mutex_unlock(&d->lock);
	return ret;
}

/* ---- the file ---- */

static const struct file_operations read_ops = {
	.owner = THIS_MODULE,
	.read = read_data,
	.unlocked_ioctl = info_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = release_data,
};

/* Of drivers that have it. */
static const struct file_operations polled_read_ops = {
	.owner = THIS_MODULE,
	.read = read_data,
	.poll = poll_data,
	.unlocked_ioctl = info_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = release_data,
};

static const struct file_operations write_ops = {
	.owner = THIS_MODULE,
	.write = write_data,
	.release = release_data,
};

static struct data *new_data(struct ksim *k)
{
	struct data *d = kvzalloc(sizeof(*d), GFP_KERNEL_ACCOUNT);

	if (!d)
		return NULL;
	d->k = k;
	d->user = k->user;
	mutex_init(&d->lock);
	d->buffer = kvmalloc(BUFFER_SIZE, GFP_KERNEL_ACCOUNT);
	if (d->buffer)
		return d;
	free_data(d);
	return NULL;
}

static struct file *open_file(struct ksim *k, const struct file_operations *ops, int flags)
{
	struct data *d = new_data(k);
	struct file *file;

	if (!d)
		return ERR_PTR(-ENOMEM);
	file = anon_inode_getfile("vfm_sim-data", ops, d, flags);
	if (IS_ERR(file)) {
		free_data(d);
		return file;
	}
	get_device(&k->vdev.device);
	stream_open(file_inode(file), file);
	return file;
}

/* Asked for where a session may be opened: not where one goes on. */
struct file *ksim_new_data(struct ksim *k, u32 state)
{
	lockdep_assert_held(&k->calls);
	switch (state) {
	case VFIO_DEVICE_STATE_RESUMING:
		return open_file(k, &write_ops, O_WRONLY);
	case VFIO_DEVICE_STATE_PRE_COPY:
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
	case VFIO_DEVICE_STATE_STOP_COPY:
		return open_file(k, k->config.poll ? &polled_read_ops : &read_ops, O_RDONLY);
	default:
		return NULL;
	}
}

void ksim_connect_data(struct ksim *k, struct file *file)
{
	struct data *d = file->private_data;

	lockdep_assert_held(&k->calls);
	ksim_lock_core(k);
	d->session = sim_session(k->sim);
	ksim_unlock_core(k);
}
